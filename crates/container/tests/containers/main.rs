//! Real containers on this machine, by runc and conmon. Needs root; changes nothing outside a directory of its own.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod images;
mod lab;
mod life;
mod refusals;
mod safety;
mod streams;
