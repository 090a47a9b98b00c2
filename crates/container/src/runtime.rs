//! Driving the OCI runtime, directly and through conmon.
//!
//! conmon is started once per container and forks itself away: it is nobody's child but init's, so it and the
//! container outlive the agent. It runs `runc create`, hands the container's pid or runc's error text back through a
//! pipe (`_OCI_SYNCPIPE`, one JSON object a line), keeps the log and the attach socket, and writes the exit file.
//! Sources: conmon(8), containers/conmon `src/conmon.c` v2.1.6.

use crate::error::ContainerError;
use crate::layout::{Layout, Process};
use crate::program::{self, Output, ProgramError};
use netmode_model::Id;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a killed process may take to be gone.
const END: Duration = Duration::from_secs(2);

/// The programs and how long they may take.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    pub(crate) runtime: String,
    pub(crate) conmon: String,
    pub(crate) limit: Duration,
    pub(crate) systemd: bool,
}

/// A message of conmon's.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Message {
    /// A pid, an exit status, or below zero for a failure.
    pub(crate) data: i32,
    /// Error text of the runtime.
    #[serde(default)]
    pub(crate) message: String,
}

impl Runtime {
    /// Runs the runtime itself.
    pub(crate) fn call(&self, layout: &Layout, args: &[&str]) -> Result<Output, ProgramError> {
        let mut command = program::command(&program::find(&self.runtime)?);
        command.arg("--root").arg(layout.runtime());
        if self.systemd {
            command.arg("--systemd-cgroup");
        }
        command.args(args);
        program::run(command, &[], self.limit)
    }

    /// What is the same for a container and for a command in it. `dir` gets the sockets and pid files.
    pub(crate) fn conmon(&self, layout: &Layout, id: Id, unique: &str, dir: &Path) -> Result<Command, ProgramError> {
        let runtime = program::find(&self.runtime)?;
        let conmon = program::find(&self.conmon)?;
        let mut command = if self.systemd {
            // Left in the agent's control group it would be taken for a part of the agent: limited, counted and, by
            // `systemctl kill`, ended with it. At shutdown its turn is after the agent's, as the container's is (see
            // `bundle`). It gets no name, which could still belong to the one before.
            let mut command = program::command(&program::find("systemd-run")?);
            let described = format!("--description=monitor of netmode container {unique}");
            command.args([
                "--scope",
                "--quiet",
                "--collect",
                "--slice=system.slice",
                "--property=Before=netmode.service",
            ]);
            command.args([&described, "--"]).arg(conmon);
            command
        } else {
            program::command(&conmon)
        };
        // Its console socket lies in TMPDIR and must fit the 108 bytes of a socket address.
        let short = layout.run.as_os_str().len() < 80;
        command.env("TMPDIR", if short { layout.run.as_path() } else { Path::new("/tmp") });
        command.args(["--api-version", "1", "--cid", &id.to_string(), "--cuuid", unique]);
        command.arg("--runtime").arg(runtime).arg("--bundle").arg(dir);
        command.arg("--container-pidfile").arg(dir.join("pid"));
        command.arg("--conmon-pidfile").arg(dir.join("conmon.pid"));
        // Without --full-attach the socket would lie behind a link whose path is cut at 108 bytes.
        command.arg("--full-attach").arg("--no-sync-log");
        if self.systemd {
            command.arg("--systemd-cgroup");
        }
        let log = dir.join("runtime.log");
        let args = [format!("--root={}", layout.runtime().display()), format!("--log={}", log.display())];
        for arg in args {
            command.arg("--runtime-arg").arg(arg);
        }
        Ok(command)
    }

    /// The runtime did not come to an end below conmon, or the pipe to it broke.
    pub(crate) fn no_answer(&self, dir: &Path, error: io::Error) -> ContainerError {
        if error.kind() == io::ErrorKind::TimedOut {
            return ProgramError::Hangs { path: self.runtime.clone().into(), limit: self.limit }.into();
        }
        ContainerError::file("read the answer of", dir)(error)
    }

    /// Makes a container: its namespaces, control group and first process, which waits to be started.
    pub(crate) fn create(
        &self,
        layout: &Layout,
        id: Id,
        tty: bool,
        stdin: bool,
    ) -> Result<(Process, Option<Process>), ContainerError> {
        let bundle = layout.bundle(id);
        let mut command = self.conmon(layout, id, &id.to_string(), &bundle)?;
        command.arg("--exit-dir").arg(layout.exits()).arg("--persist-dir").arg(layout.container(id));
        command.arg("--log-path").arg(format!("k8s-file:{}", layout.log(id).display()));
        // With a terminal, -i would close it for good when the first client leaves.
        match (tty, stdin) {
            (true, _) => drop(command.arg("--terminal")),
            (false, true) => drop(command.arg("--stdin")),
            (false, false) => {}
        }
        let mut sync = Lines::pipe()?;
        let output = sync.run(command, "_OCI_SYNCPIPE", &[], self.limit)?;
        let answer = match sync.next(Instant::now() + self.limit) {
            Ok(answer) => answer,
            Err(e) => {
                kill_monitor(&bundle);
                return Err(self.no_answer(&bundle, e));
            }
        };
        let Some(answer) = answer else {
            return Err(ContainerError::Monitor { id, text: or_log(output.text(), &bundle) });
        };
        let init = (answer.data > 0).then(|| Process::of(answer.data)).flatten();
        let monitor = read_pid(&bundle.join("conmon.pid")).and_then(Process::of);
        match init {
            Some(init) => Ok((init, monitor)),
            None => Err(classify("create", id, &answer.message)),
        }
    }
}

fn or_log(text: String, bundle: &Path) -> String {
    if !text.is_empty() {
        return text;
    }
    let log = fs::read_to_string(bundle.join("runtime.log")).unwrap_or_default();
    log.lines().last().unwrap_or("no reason given").to_owned()
}

fn read_pid(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 1)
}

/// The conmon that works in a directory; the descriptor means this process and no other.
pub(crate) fn open_monitor(dir: &Path) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(read_pid(&dir.join("conmon.pid"))?)?;
    let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // The number may be another process's by now, even another container's conmon: it must name our directory.
    // Asked after the descriptor was had, which from then on means the process that was asked about.
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
    line.split(|b| *b == 0).any(|arg| arg == dir.as_os_str().as_bytes()).then_some(fd)
}

/// Ends a conmon that does not answer, and waits until it is gone; runc, its child, goes with it (PR_SET_PDEATHSIG).
pub(crate) fn kill_monitor(dir: &Path) {
    if let Some(monitor) = open_monitor(dir) {
        kill_and_wait(&monitor);
    }
}

/// Ends a process, and waits a while until it is gone.
pub(crate) fn kill_and_wait(process: &OwnedFd) {
    if pidfd_send_signal(process, Signal::KILL).is_ok() {
        let _ = program::wait_readable(&[Some(process.as_fd())], Instant::now() + END);
    }
}

/// A pipe on which conmon writes one [`Message`] a line.
#[derive(Debug)]
pub(crate) struct Lines {
    read: fs::File,
    write: Option<OwnedFd>,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn pipe() -> Result<Self, ContainerError> {
        let pipe = || -> nix::Result<(OwnedFd, OwnedFd)> {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            program::nonblocking(read.as_fd())?;
            Ok((read, write))
        };
        let made = pipe().map_err(io::Error::from).map_err(ContainerError::file("make", PathBuf::from("a pipe")))?;
        Ok(Self { read: made.0.into(), write: Some(made.1), buffer: Vec::new() })
    }

    /// Starts a command that knows the write end by the variable `name`, and closes it here.
    pub(crate) fn run(
        &mut self,
        mut command: Command,
        name: &str,
        others: &[&OwnedFd],
        limit: Duration,
    ) -> Result<Output, ProgramError> {
        let write = self.write.take();
        let mut given = Vec::new();
        if let Some(write) = &write {
            command.env(name, program::number(write));
            given.push(write.as_fd());
        }
        given.extend(others.iter().map(|fd| fd.as_fd()));
        program::run(command, &given, limit)
    }

    /// The write end, for a caller that hands it over together with another pipe.
    pub(crate) fn take_write(&mut self) -> Option<OwnedFd> {
        self.write.take()
    }

    /// The next message; `None` when conmon is gone without one.
    pub(crate) fn next(&mut self, deadline: Instant) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            let mut chunk = [0; 4096];
            match self.read.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if program::wait_readable(&[Some(self.read.as_fd())], deadline)?.is_none() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn buffered(&mut self) -> io::Result<Option<Message>> {
        let Some(end) = self.buffer.iter().position(|b| *b == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Ok(Some(serde_json::from_slice(&line)?))
    }

    /// The read end and what was read of it too much.
    pub(crate) fn into_parts(self) -> (OwnedFd, Vec<u8>) {
        (self.read.into(), self.buffer)
    }
}

/// Tells a missing command from everything else that runc complains about.
///
/// runc says `exec: "x": executable file not found in $PATH`, `stat /x: no such file or directory`,
/// `exec: "/x": permission denied` or `exec: "/x": is a directory` (os/exec, syscall).
pub(crate) fn classify(doing: &'static str, id: Id, text: &str) -> ContainerError {
    let text = text.trim();
    let reason = text.rsplit(": ").next().unwrap_or(text);
    let about_exec = text.contains("exec: ") || text.contains("error during container init: stat");
    if let Some(command) = quoted(text).filter(|_| about_exec) {
        if text.contains("executable file not found") || reason == "no such file or directory" {
            return ContainerError::CommandNotFound(command);
        }
        if ["permission denied", "is a directory", "exec format error"].contains(&reason) {
            return ContainerError::CommandNotExecutable { command, why: reason.to_owned() };
        }
    }
    let text = if text.is_empty() { "no reason given".to_owned() } else { text.replace('\n', "; ") };
    ContainerError::Runtime { doing, id, text }
}

/// The word in quotes after `exec: `.
fn quoted(text: &str) -> Option<String> {
    let after = text.split_once("exec: ").map_or(text, |(_, rest)| rest);
    let mut parts = after.splitn(3, '"');
    parts.next()?;
    Some(parts.next()?.to_owned()).filter(|_| parts.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmode_model::Code;

    #[test]
    fn runcs_words_become_codes() {
        let code = |text: &str| classify("create", Id::from_bytes([0; 16]), text).code();
        let prefix = "runc create failed: unable to start container process: ";
        assert_eq!(code(&format!("{prefix}exec: \"nope\": executable file not found in $PATH")), Code::CommandNotFound);
        assert_eq!(
            code(&format!("{prefix}exec: \"/nope\": stat /nope: no such file or directory")),
            Code::CommandNotFound
        );
        assert_eq!(code(&format!("{prefix}exec: \"/etc/passwd\": permission denied")), Code::CommandNotExecutable);
        assert_eq!(code(&format!("{prefix}exec: \"/etc\": is a directory")), Code::CommandNotExecutable);
        assert_eq!(code("runc create failed: cgroups: permission denied"), Code::Runtime);
        assert_eq!(code(""), Code::Runtime);
    }

    #[test]
    fn messages_come_line_by_line() {
        let mut lines = Lines::pipe().unwrap();
        let write = lines.take_write().unwrap();
        nix::unistd::write(&write, b"{\"data\": 12}\n{\"data\": -1, \"message\": \"a\\nb\"}\n{").unwrap();
        drop(write);
        let mut next = || lines.next(Instant::now() + Duration::from_secs(1)).unwrap();
        assert_eq!(next().unwrap().data, 12);
        assert_eq!(next().unwrap().message, "a\nb");
        assert!(next().is_none());
    }

    #[test]
    fn a_silent_monitor_is_not_waited_for() {
        let mut lines = Lines::pipe().unwrap();
        let error = lines.next(Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
