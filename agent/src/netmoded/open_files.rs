//! The agent's limit of open files: a port that is published is a socket, and a namespace a descriptor.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Raises the soft limit to the hard one (`RLIMIT_NOFILE`, getrlimit(2)), and gives what it was: what a process is started
/// with is meant for programs that use select(2) or close each number up to it, and so for containers.
pub fn raise() -> Option<rlim_t> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        tracing::warn!(%error, soft, hard, "the limit of open files stays where it was");
    }
    Some(soft)
}
