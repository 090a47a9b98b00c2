//! The decisions of netmode.
//!
//! A request and the facts of the host become a [`netmode_model::Plan`] here, without a system call:
//! [`bridge`] and [`modes`] say what a mode is made of, [`ruleset`] what the one nf_tables table holds,
//! [`ipam`] and [`ports`] what is given to whom. [`Engine`] carries a request through: reserve, plan,
//! record the intent, apply, record that it is ready. The kernel is reached through the traits of
//! [`outside`] alone.
#![forbid(unsafe_code)]

pub mod attach;
pub mod beside;
pub mod bridge;
pub mod cni;
pub mod converge;
pub mod ecs;
pub mod endpoint;
mod engine;
pub mod error;
pub mod flowlog;
pub mod hosts;
pub mod ipam;
mod leases;
mod links;
pub mod modes;
pub mod network;
pub mod networks;
pub mod outside;
pub mod ports;
pub mod recorder;
mod reserve;
pub mod ruleset;
pub mod seat;
pub mod settings;
pub mod source_guard;
pub mod store;
pub mod vpc;
pub mod wish;

pub use attach::Attach;
pub use endpoint::{Endpoint, NetnsUse, Owner};
pub use engine::{Answering, Engine};
pub use error::AttachError;
pub use network::Network;
pub use networks::NetworkError;
pub use outside::{Apply, Hold, HoldFailure, Host, Kept, Observe, Sockets};
pub use settings::Settings;
