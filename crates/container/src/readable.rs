//! Waiting for a descriptor that tokio has no type of its own for: a pidfd, an inotify instance.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the runtime that the caller is in; only reading is of interest.
#[expect(
    deprecated,
    reason = "deprecated for types that may close their descriptor early; an OwnedFd cannot, and the successor is an \
              unsafe function, which this crate forbids"
)]
pub(crate) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
