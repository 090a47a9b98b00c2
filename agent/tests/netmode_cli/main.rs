//! The command line as a black box, before a scripted agent.
#![allow(clippy::unwrap_used, missing_docs)]

mod commands;
mod fake;
mod listings;
mod streams;
mod system;
