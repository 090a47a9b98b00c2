//! The agent's unix socket, and the lock that keeps a second agent away.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why the agent cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another agent answers there, or holds the lock.
    #[error(
        "another agent is running ({what}): end it first, or give this one its own --socket, --run-dir and --state-dir"
    )]
    SecondAgent {
        /// What shows it.
        what: String,
    },
    /// A step failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Failed {
        /// The step.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The lock of a run directory; held while the agent lives.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] Flock<File>);

fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> SocketError + 'a {
    move |source| SocketError::Failed { what, path: path.into(), source }
}

/// How long an agent that was just killed may take to be gone.
const LAST_BREATH: Duration = Duration::from_millis(500);

/// Takes the lock of a run directory and network namespace.
///
/// # Errors
/// A second agent, or a directory that cannot be written.
pub fn lock(run_dir: &Path, netns: u64) -> Result<Lock, SocketError> {
    std::fs::create_dir_all(run_dir).map_err(failed("make", run_dir))?;
    let path = run_dir.join(format!("lock-{netns}"));
    let open = || OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let mut file = open().map_err(failed("open", &path))?;
    let begun = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Lock(lock)),
            // The one before has been killed, and the kernel is still taking it apart, or a child of its, forked and not
            // yet another program, has its descriptors: the lock, and the socket, which seems to answer.
            Err((same, nix::errno::Errno::EWOULDBLOCK)) if begun.elapsed() < LAST_BREATH => {
                file = same;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                return Err(SocketError::SecondAgent { what: format!("the lock {} is held", path.display()) });
            }
            Err((_, errno)) => return Err(failed("lock", &path)(errno.into())),
        }
    }
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// Listens on a path. A stale socket is replaced, a live one is a second agent.
///
/// # Errors
/// See [`SocketError`].
pub fn listen(path: &Path, group: &str) -> Result<UnixListener, SocketError> {
    if answers(path) {
        return Err(SocketError::SecondAgent { what: format!("{} answers", path.display()) });
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("remove the stale socket", path)(e)),
        _ => {}
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed("make", dir))?;
    }
    let listener = UnixListener::bind(path).map_err(failed("listen on", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed("set the mode of", path))?;
    // Without the group only root gets in, which is safe.
    if let Some(gid) = netmode_agent::group::gid(group) {
        nix::unistd::chown(path, None, Some(gid.into())).map_err(|e| failed("set the group of", path)(e.into()))?;
    }
    Ok(listener)
}
