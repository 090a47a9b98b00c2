//! The crate against a real kernel, each test in namespaces of its own.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

#[macro_use]
mod lab;
mod facts;
mod flows;
mod links;
mod packets;
mod ports;
mod table;
mod watch;
