//! The Container Network Interface: what a runtime and a plugin say to each other (CNI specification 1.1.0).
//!
//! A plugin reads its call from the environment and its configuration from standard input ([`Call`], [`Config`]); it
//! answers with one JSON document, a result or a [`CniError`]. Keys of the configuration are matched without regard to
//! case, as Go's decoder does, on which real runtimes rely.

mod call;
mod config;
mod error;
mod result;
mod version;
mod wish;

pub use call::{Call, Verb};
pub use config::{Config, field};
pub use error::{CniCode, CniError};
pub use result::result;
pub use version::Version;
pub use wish::{check, collect, owner, request};
