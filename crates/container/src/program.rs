//! The one place where programs are started.
//!
//! Every descriptor of this process is close-on-exec. conmon, though, takes its pipes by number, so for the
//! moment of that one spawn a descriptor must be inheritable; a lock over all spawns keeps it from every other child.

use netmode_model::Code;
use nix::fcntl::{F_GETFL, F_SETFD, F_SETFL, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where programs are looked for; also their whole `PATH`, so that the caller's has no say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program may write before the rest is thrown away.
const MOST_OUTPUT: usize = 1 << 20;

static SPAWN: Mutex<()> = Mutex::new(());

/// A program that netmode drives could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not installed.
    #[error("the program {name:?} is missing; install the package {package:?}")]
    Missing {
        /// The program.
        name: String,
        /// Debian's package.
        package: String,
    },
    /// It could not be started.
    #[error("cannot start {}: {source}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Nobody waits for its work any more.
    #[error("{} was ended because its caller went away; ask again", .0.display())]
    Abandoned(PathBuf),
    /// It did not come to an end and was killed.
    #[error("{} did not answer within {} s and was killed; try again, or see its own log", path.display(), limit.as_secs())]
    Hangs {
        /// The program.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
}

impl ProgramError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::MissingProgram,
            Self::Start { .. } | Self::Hangs { .. } | Self::Abandoned(_) => Code::Runtime,
        }
    }
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// Its last words: standard error, else standard output.
    pub(crate) fn text(&self) -> String {
        let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let err = of(&self.stderr);
        if err.is_empty() { of(&self.stdout) } else { err }
    }
}

/// Debian's package of a program.
fn package(name: &str) -> String {
    match name {
        "tini" | "tini-static" => "tini".into(),
        other => other.rsplit('/').next().unwrap_or(other).into(),
    }
}

/// The absolute path of a program, looked up in [`PATH`] unless it is one already.
pub(crate) fn find(name: &str) -> Result<PathBuf, ProgramError> {
    let runs = |p: &Path| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let found = if name.contains('/') {
        Some(PathBuf::from(name)).filter(|p| p.is_absolute() && runs(p))
    } else {
        PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|p| runs(p))
    };
    found.ok_or_else(|| ProgramError::Missing { name: name.into(), package: package(name) })
}

/// Where a program that netmode drives lies.
///
/// # Errors
/// It is not installed; the sentence names Debian's package.
pub fn find_program(name: &str) -> Result<PathBuf, ProgramError> {
    find(name)
}

/// Runs a program that only looks, and gives what it wrote: standard output, or its complaint where it failed.
///
/// # Errors
/// It is not installed, cannot be started, or does not end in time.
pub fn look(name: &str, args: &[&str], limit: Duration) -> Result<String, ProgramError> {
    let mut command = command(&find(name)?);
    command.args(args);
    let output = run(command, &[], limit)?;
    Ok(if output.status.success() { String::from_utf8_lossy(&output.stdout).into_owned() } else { output.text() })
}

/// A command with an environment of ours and no standard input.
pub(crate) fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("PATH", PATH).env("HOME", "/root").current_dir("/").stdin(Stdio::null());
    command
}

/// Starts a command; `inherited` are the only descriptors besides 0, 1 and 2 that it gets.
fn spawn(command: &mut Command, inherited: &[BorrowedFd<'_>]) -> io::Result<Child> {
    let _alone = SPAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let cloexec = |on: bool| {
        let flag = if on { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
        inherited.iter().try_for_each(|fd| fcntl(*fd, F_SETFD(flag)).map(drop))
    };
    cloexec(false)?;
    let child = command.spawn();
    cloexec(true)?;
    child
}

/// Starts a command that goes on by itself, in a process group of its own, so that a terminal's ^C passes it by.
pub(crate) fn start(command: &mut Command) -> io::Result<Child> {
    spawn(command.process_group(0), &[])
}

/// Runs a command to its end and collects what it writes; it is killed when the time is over.
pub(crate) fn run(command: Command, inherited: &[BorrowedFd<'_>], limit: Duration) -> Result<Output, ProgramError> {
    run_watched(command, inherited, limit, &mut || true)
}

/// What a command shall read from its standard input: at most what a pipe holds, a password say. Unlike an argument or
/// a file nobody else can see it.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> io::Result<()> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    nonblocking(write.as_fd())?;
    std::fs::File::from(write).write_all(input)?;
    command.stdin(Stdio::from(read));
    Ok(())
}

/// As [`run`]; every tenth of a second `go_on` is asked, and a no ends the command.
pub(crate) fn run_watched(
    mut command: Command,
    inherited: &[BorrowedFd<'_>],
    limit: Duration,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Output, ProgramError> {
    let path = PathBuf::from(command.get_program());
    let start = |source| ProgramError::Start { path: path.clone(), source };
    // Its own process group, so that killing it takes its children along and a terminal's ^C does not.
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = spawn(&mut command, inherited).map_err(start)?;
    match collect(&mut child, Instant::now() + limit, go_on) {
        Ok(Collected::Ended(output)) => Ok(output),
        Ok(Collected::OutOfTime) => {
            end(&mut child);
            Err(ProgramError::Hangs { path, limit })
        }
        Ok(Collected::Abandoned) => {
            end(&mut child);
            Err(ProgramError::Abandoned(path))
        }
        Err(source) => {
            end(&mut child);
            Err(start(source))
        }
    }
}

fn end(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().filter(|pid| *pid > 1) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// How often somebody is asked whether the work shall go on.
const LOOK: Duration = Duration::from_millis(100);

enum Collected {
    Ended(Output),
    OutOfTime,
    Abandoned,
}

/// Reads until the process is gone: a grandchild that keeps a pipe open is not waited for.
fn collect(child: &mut Child, deadline: Instant, go_on: &mut dyn FnMut() -> bool) -> io::Result<Collected> {
    let pid = rustix::process::Pid::from_child(child);
    let ended: OwnedFd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let mut out = Pipe::of(child.stdout.take())?;
    let mut err = Pipe::of(child.stderr.take())?;
    let mut look = Instant::now() + LOOK;
    loop {
        let ready = wait_readable(&[Some(ended.as_fd()), out.fd(), err.fd()], deadline.min(look))?;
        out.drain()?;
        err.drain()?;
        if ready.is_some_and(|ready| ready[0]) {
            let status = child.wait()?;
            return Ok(Collected::Ended(Output { status, stdout: out.bytes, stderr: err.bytes }));
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(Collected::OutOfTime);
        }
        if now >= look {
            if !go_on() {
                return Ok(Collected::Abandoned);
            }
            look = now + LOOK;
        }
    }
}

/// Waits until one of the descriptors can be read; says which. `None`: the time is over.
pub(crate) fn wait_readable(fds: &[Option<BorrowedFd<'_>>], deadline: Instant) -> io::Result<Option<Vec<bool>>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut polled: Vec<PollFd> = fds.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        let mut ready = polled.iter().map(|p| p.any().unwrap_or(true));
        return Ok(Some(fds.iter().map(|fd| fd.is_some() && ready.next().unwrap_or(false)).collect()));
    }
}

/// Makes reads and writes of a descriptor return at once.
pub(crate) fn nonblocking(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, F_GETFL)?);
    fcntl(fd, F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

struct Pipe<R> {
    source: Option<R>,
    bytes: Vec<u8>,
}

impl<R: Read + AsFd> Pipe<R> {
    fn of(source: Option<R>) -> io::Result<Self> {
        if let Some(source) = &source {
            nonblocking(source.as_fd())?;
        }
        Ok(Self { source, bytes: Vec::new() })
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there; closes at the end of the stream.
    fn drain(&mut self) -> io::Result<()> {
        let mut chunk = [0; 8192];
        while let Some(source) = &mut self.source {
            match source.read(&mut chunk) {
                Ok(0) => self.source = None,
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n.min(MOST_OUTPUT.saturating_sub(self.bytes.len()))]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// The number of a descriptor as an environment variable wants it.
pub(crate) fn number(fd: &OwnedFd) -> String {
    fd.as_raw_fd().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = find("netmode-no-such-program").unwrap_err();
        assert_eq!(error.code(), Code::MissingProgram);
        assert!(find("/nonexistent/bin/runc").unwrap_err().to_string().contains("package \"runc\""));
    }

    #[test]
    fn output_and_status_are_collected() {
        let mut ls = command(&find("ls").unwrap());
        ls.args(["--no-such-option"]);
        let output = run(ls, &[], Duration::from_secs(10)).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(output.text().contains("no-such-option"), "{}", output.text());
    }

    #[test]
    fn a_hanging_program_is_killed() {
        let mut sleep = command(&find("sleep").unwrap());
        sleep.arg("60");
        let start = Instant::now();
        let error = run(sleep, &[], Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ProgramError::Hangs { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn only_the_named_descriptor_is_inherited() {
        let (_, given) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let (_, kept) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut ls = command(&find("ls").unwrap());
        ls.arg("/proc/self/fd");
        let output = run(ls, &[given.as_fd()], Duration::from_secs(10)).unwrap();
        let seen = String::from_utf8(output.stdout).unwrap();
        let has = |fd: &OwnedFd| seen.lines().any(|line| line == number(fd));
        assert!(has(&given) && !has(&kept), "{seen}");
        assert!(FdFlag::from_bits_truncate(fcntl(&given, nix::fcntl::F_GETFD).unwrap()).contains(FdFlag::FD_CLOEXEC));
    }
}
