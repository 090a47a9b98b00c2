//! Another command in a running container, again under a conmon of its own.
//!
//! conmon waits for a byte on `_OCI_STARTPIPE`, makes its attach socket and says so on `_OCI_ATTACHPIPE`; a second
//! byte lets the command begin, so nothing it writes is missed. The pid, and at the end the exit status, come on
//! `_OCI_SYNCPIPE`.

use crate::bundle::{Invocation, make_process};
use crate::containers::Containers;
use crate::error::ContainerError;
use crate::layout::{self, private_dir, write_private};
use crate::program;
use crate::rooted::Rooted;
use crate::runtime::{Lines, Message, classify, kill_and_wait, kill_monitor, open_monitor};
use crate::session::{Input, Output, Session};
use crate::spec::{self, BadSpec};
use crate::{process, user};
use netmode_model::Id;
use netmode_model::api::ExecRequest;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, write};
use oci_spec::runtime::{Process, Spec};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// A command that runs in a container.
#[derive(Debug)]
pub struct Execution {
    /// What goes in.
    pub input: Input,
    /// What comes out.
    pub output: Output,
    ending: Ending,
}

/// What is waited for at the end.
#[derive(Debug)]
struct Ending {
    id: Id,
    command: Option<layout::Process>,
    sync: Receiver,
    buffer: Vec<u8>,
    dir: PathBuf,
}

/// Ends a command in a container that nobody wants any more.
#[derive(Debug)]
pub struct Killer {
    command: Option<layout::Process>,
    monitor: Option<OwnedFd>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // conmon holds what it needs open; a command that still runs goes on.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Killer {
    /// Kills the command, what it has started in its process group, and the conmon that waits for them. Waits until that
    /// is gone; one that has ended is done already.
    pub fn kill(self) {
        // The runtime gives a command a session of its own, so its number is its group's as well while it lives.
        let group = self.command.filter(|c| layout::Process::of(c.pid) == Some(*c)).and_then(|c| Pid::from_raw(c.pid));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.monitor.iter().for_each(kill_and_wait);
    }
}

impl Execution {
    /// What ends the command, also once this has been [split](Self::split).
    pub fn killer(&self) -> Killer {
        Killer { command: self.ending.command, monitor: open_monitor(&self.ending.dir) }
    }

    /// The two halves and the end apart, for tasks that run side by side.
    pub fn split(self) -> (Input, Output, impl Future<Output = Result<i32, ContainerError>> + Send + use<>) {
        (self.input, self.output, self.ending.code())
    }

    /// Waits for the end without reading more output; see [`Self::split`]. The exit status: 128 + signal for a
    /// command that was killed.
    ///
    /// # Errors
    /// conmon was killed.
    pub async fn wait(self) -> Result<i32, ContainerError> {
        self.ending.code().await
    }
}

impl Containers {
    /// Runs a command in a running container, with the container's capabilities and filters.
    ///
    /// # Errors
    /// A container that does not run; a command that is missing or cannot be executed; an unknown user; a runtime
    /// that hangs.
    pub async fn exec(&self, id: Id, request: &ExecRequest) -> Result<Execution, ContainerError> {
        let (containers, request) = (self.clone(), request.clone());
        let handle = tokio::runtime::Handle::current();
        let work = move || {
            // The session's socket belongs to the runtime of the caller.
            let _inside = handle.enter();
            containers.exec_now(id, &request)
        };
        let failed = |e: tokio::task::JoinError| ContainerError::Monitor { id, text: e.to_string() };
        tokio::task::spawn_blocking(work).await.map_err(failed)?
    }

    fn exec_now(&self, id: Id, request: &ExecRequest) -> Result<Execution, ContainerError> {
        let process = self.exec_process(id, request)?;
        let dir = exec_dir(&self.layout().bundle(id))?;
        let started = self.exec_start(id, request, &process, &dir);
        if started.is_err() {
            kill_monitor(&dir);
            let _ = fs::remove_dir_all(&dir);
        }
        started
    }

    /// The process as the container's own, changed where the request says so.
    fn exec_process(&self, id: Id, request: &ExecRequest) -> Result<Process, ContainerError> {
        let record = self.record(id)?;
        let init = record.init.filter(|p| record.started && p.is_alive()).ok_or(ContainerError::NotRunning(id))?;
        let path = self.layout().bundle(id).join("config.json");
        let broken = |text: String| ContainerError::Record { path: path.clone(), text };
        let text = fs::read(&path).map_err(ContainerError::file("read", &path))?;
        let spec: Spec = serde_json::from_slice(&text).map_err(|e| broken(e.to_string()))?;
        let own = spec.process().as_ref().ok_or_else(|| broken("it has no process".into()))?;
        if request.command.is_empty() {
            return Err(BadSpec::NoCommand(id.short()).into());
        }
        spec::check_env(&request.env)?;
        if request.command.iter().any(|a| a.contains('\0')) {
            return Err(BadSpec::Nul("command").into());
        }
        // As the container sees it, volumes included.
        let root_path = format!("/proc/{}/root", init.pid);
        let root = Rooted::open(Path::new(&root_path)).map_err(|_| ContainerError::NotRunning(id))?;
        let mut env = own.env().clone().unwrap_or_default();
        let account = match &request.user {
            Some(name) => {
                let account = user::resolve(Some(name), &root)?;
                process::set(&mut env, &format!("HOME={}", account.home));
                account
            }
            None => own_account(own),
        };
        if request.tty && process::value(&env, "TERM").is_none() {
            process::set(&mut env, "TERM=xterm");
        }
        request.env.iter().for_each(|e| process::set(&mut env, e));
        let cwd = match &request.workdir {
            Some(dir) => spec::absolute("working directory", dir)?,
            None => own.cwd().clone(),
        };
        let capabilities = own.capabilities().as_ref().and_then(|c| c.bounding().clone()).unwrap_or_default();
        let what = Invocation { args: request.command.clone(), env, cwd, tty: request.tty };
        let made = make_process(&account, what, &capabilities, own.no_new_privileges().unwrap_or(false));
        let mut process = made.map_err(|e| broken(e.to_string()))?;
        process.set_rlimits(own.rlimits().clone());
        Ok(process)
    }

    fn exec_start(
        &self,
        id: Id,
        request: &ExecRequest,
        process: &Process,
        dir: &Path,
    ) -> Result<Execution, ContainerError> {
        let spec = dir.join("process.json");
        let text = serde_json::to_vec(process)
            .map_err(|e| ContainerError::Record { path: spec.clone(), text: e.to_string() })?;
        write_private(&spec, &text)?;
        let runtime = self.runtime();
        let unique = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut command = runtime.conmon(self.layout(), id, &unique, dir)?;
        command.args(["--exec", "--exec-attach", "--log-path", "none", "--exec-process-spec"]).arg(&spec);
        match (request.tty, request.stdin) {
            (true, _) => drop(command.arg("--terminal")),
            (false, true) => drop(command.arg("--stdin")),
            (false, false) => {}
        }
        let io = |doing: &'static str| move |e: nix::Error| ContainerError::file(doing, dir)(e.into());
        let (mut sync, mut attach) = (Lines::pipe()?, Lines::pipe()?);
        let (start_read, start) = pipe2(OFlag::O_CLOEXEC).map_err(io("make a pipe for"))?;
        let attach_write = attach.take_write();
        command.env("_OCI_STARTPIPE", program::number(&start_read));
        let mut others = vec![&start_read];
        if let Some(fd) = &attach_write {
            command.env("_OCI_ATTACHPIPE", program::number(fd));
            others.push(fd);
        }
        // Before conmon forks itself away it waits for this byte: we have no control group to put it in.
        write(&start, b"\0").map_err(io("start conmon in"))?;
        let output = sync.run(command, "_OCI_SYNCPIPE", &others, runtime.limit)?;
        drop((attach_write, start_read));
        let deadline = Instant::now() + runtime.limit;
        let gone = |lines: &mut Lines| lines.next(deadline).map_err(|e| runtime.no_answer(dir, e));
        if gone(&mut attach)?.is_none() {
            return Err(ContainerError::Monitor { id, text: output.text() });
        }
        let session = Session::connect(dir, request.tty, request.stdin);
        let session = session.map_err(ContainerError::file("attach to", dir.join("attach")))?;
        write(&start, b"\0").map_err(io("start conmon in"))?;
        let command = match gone(&mut sync)? {
            Some(Message { data, .. }) if data > 0 => layout::Process::of(data),
            Some(Message { message, .. }) => return Err(classify("run a command in", id, &message)),
            None => return Err(ContainerError::Monitor { id, text: output.text() }),
        };
        let (fd, buffer) = sync.into_parts();
        let sync = Receiver::from_owned_fd(fd).map_err(ContainerError::file("watch", dir))?;
        let ending = Ending { id, command, sync, buffer, dir: dir.into() };
        Ok(Execution { input: session.input, output: session.output, ending })
    }
}

fn own_account(own: &Process) -> user::Account {
    let who = own.user();
    let groups = who.additional_gids().clone().unwrap_or_default();
    user::Account { uid: who.uid(), gid: who.gid(), groups, home: String::new() }
}

/// A new directory for one command.
fn exec_dir(bundle: &Path) -> Result<PathBuf, ContainerError> {
    let parent = bundle.join("exec");
    private_dir(&parent)?;
    for n in 0..u32::MAX {
        let dir = parent.join(n.to_string());
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(ContainerError::file("create", &dir)(e)),
        }
    }
    Err(ContainerError::file("create", &parent)(io::ErrorKind::AlreadyExists.into()))
}

impl Ending {
    async fn code(mut self) -> Result<i32, ContainerError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let message: Result<Message, _> = serde_json::from_slice(&self.buffer[..end]);
                let broken = |e: serde_json::Error| ContainerError::Monitor { id: self.id, text: e.to_string() };
                return message.map(|m| m.data).map_err(broken);
            }
            let mut chunk = [0; 512];
            let got = self.sync.read(&mut chunk).await;
            match got.map_err(ContainerError::file("read", &self.dir))? {
                0 => return Err(ContainerError::Monitor { id: self.id, text: "it was killed".into() }),
                n => self.buffer.extend_from_slice(&chunk[..n]),
            }
        }
    }
}
