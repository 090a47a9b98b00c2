//! The client of the agent's unix socket.
//!
//! Blocking, without a runtime and without a pool: one connection a call, closed after its answer,
//! so that a CNI plugin that lives for milliseconds can afford it. Output of containers travels
//! over upgraded connections ([`Session`]).
//!
//! ```no_run
//! let client = netmode_client::Client::new(netmode_client::DEFAULT_SOCKET.into());
//! for task in client.tasks(false)? {
//!     println!("{} {}", task.id.short(), task.name);
//! }
//! # Ok::<(), netmode_client::ClientError>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod body;
mod call;
mod ecs;
mod error;
mod events;
mod flowlogs;
mod groups;
mod head;
mod images;
mod path;
mod routes;
mod session;
mod system;
mod vpc;
mod wire;

pub use call::Pending;
pub use error::{ClientError, ProtocolError};
pub use events::EventStream;
pub use routes::{Client, DEFAULT_SOCKET};
pub use session::{Frame, FrameReader, FrameWriter, MAX_FRAME, Session};
