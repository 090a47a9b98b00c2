//! The first process of a lab: buries orphans, and ends on SIGTERM; the kernel then kills whatever is left.

use crate::failure::Failure;
use netmode_model::Code;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Returns when it is told to end.
pub(crate) fn hold() -> Result<(), Failure> {
    let failed =
        |error: Errno| Failure::new(Code::State, format!("cannot wait for signals: {error}; start the lab again"));
    let wanted = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM]);
    wanted.thread_block().map_err(failed)?;
    loop {
        // Once before waiting: a child may have ended before the signal was blocked.
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(_) | Ok(WaitStatus::StillAlive)) {}
        if wanted.wait().map_err(failed)? == Signal::SIGTERM {
            return Ok(());
        }
    }
}
