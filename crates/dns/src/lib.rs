//! Names: who has which address, as containers ask for it (RFC 1035).
//!
//! A [`Book`] holds the names of every network; it changes by whole snapshots, so that a query sees one state and waits
//! for nobody. A [`View`] says what the clients of one resolver may see of it. [`answer`] makes a reply from a packet, a
//! snapshot and a view, without I/O; [`serve`] does that for the sockets that were opened in a container's namespace, and
//! [`upstream`] asks others about the names that are not ours.
#![forbid(unsafe_code)]

pub mod answer;
mod book;
mod counters;
pub mod serve;
pub mod upstream;
mod view;

pub use book::{Book, Entry, Zones};
pub use counters::Counters;
pub use serve::{Limits, Resolver, Sockets};
pub use upstream::Servers;
pub use view::{Forward, VPC, View};
