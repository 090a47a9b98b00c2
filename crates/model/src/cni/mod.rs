//! The Container Network Interface: what a runtime and a plugin say to each other (CNI specification 1.1.0).
//!
//! A plugin reads its call from the environment and its configuration from standard input ([`Call`], [`Config`]); it
//! answers with one JSON document, a result or a [`CniError`]. Keys of the configuration are matched without regard to
//! case, as Go's decoder does, on which real runtimes rely.

mod call;
mod config;
mod error;
mod exchange;
mod keys;
mod result;
mod runtime;
mod version;
mod wish;

pub use call::{Call, Verb};
pub use config::{Config, field};
pub use error::{CniCode, CniError};
pub use exchange::{CniReply, CniRequest, Ipam, valid};
pub use keys::{Keys, unsupported};
pub use result::{CniResult, CniRoute, Interface, Ip};
pub use runtime::{Runtime, WantedIp};
pub use version::Version;
pub use wish::{owner, owners, request};
