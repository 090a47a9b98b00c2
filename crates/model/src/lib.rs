//! The vocabulary of netmode: what exists, what is asked for, and what is done to the kernel.
//!
//! Nothing here performs I/O. Strings become types at the edge ([`Name`], [`IfName`], [`Mac`],
//! [`PortSpec`]); a request is turned by `engine` into a [`Plan`], a list of typed kernel
//! operations ([`Op`]), which `kernel` carries out. Every operation prints as the `ip`, `nft` or
//! `sysctl` command that would do the same.
#![forbid(unsafe_code)]

pub mod api;
pub mod cni;
pub mod ecs;
pub mod error;
pub mod event;
pub mod flow;
pub mod flowlog;
pub mod foreign;
pub mod group;
pub mod id;
pub mod image;
pub mod link;
pub mod mode;
pub mod name;
pub mod network;
pub mod nft;
pub mod op;
pub mod port;
pub mod rate;
mod render;
pub mod restart;
pub mod secret;
pub mod state;
pub mod stats;
pub mod stream;
pub mod system;
pub mod vpc;

pub use error::{ApiError, Code};
pub use event::{EVENT_KINDS, Event, EventKind};
pub use id::Id;
pub use link::{IfName, Mac, NetnsName, Place};
pub use mode::{Mode, RequestedMode};
pub use name::Name;
pub use network::{ConnectRequest, DEFAULT_NETWORK, NetworkCreated, NetworkRequest, NetworkSummary};
pub use op::{Final, Inverse, Op, Plan};
pub use port::{HostAddr, PortRange, PortSpec, Protocol, Published};
pub use rate::{NetRate, Rate};
pub use restart::RestartPolicy;
pub use secret::Secret;
pub use state::Observed;
