//! Network namespaces: the one place where threads change theirs.
//!
//! `setns` and `unshare` act on a thread, so they happen only on a few threads made for it ([`Pool`]), which
//! are back in the host's namespace before the next job. Everybody else stays where the process began.

mod fd;
mod pin;
mod pool;
mod proc;
mod queue;
mod registry;
mod spares;

pub use fd::{NetnsError, NetnsFd, own_inode};
pub(crate) use pin::Pins;
pub(crate) use pool::{Pool, Worker};
pub(crate) use registry::Registry;
