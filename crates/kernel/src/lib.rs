//! What netmode does to Linux: the executor of [`netmode_model::Op`], and the observer.
//!
//! This crate knows no network mode. It carries out typed operations in order, keeps what takes them back,
//! and reads back what exists. It is the only crate that talks to the kernel's network stack, and the only
//! one with `unsafe`.
//!
//! | module | does |
//! |---|---|
//! | [`Kernel`] | apply, undo, finish, observe |
//! | `netns` | namespaces: the only place where threads change theirs |
//! | `route` | links, addresses, routes, rules (rtnetlink) |
//! | `nft` | tables and elements (nf_tables by netlink) |
//! | [`hold`](mod@hold) | ports held by sockets |
//! | [`keep`] | what outlives the agent: sockets for its successor |
//! | [`monitor`] | what others change |
//! | [`features`] | what this kernel can do, by trial |
//!
//! Everything waits: call it from threads that may block. Several callers proceed in parallel; only
//! transactions on the table are one after the other, because only the socket that owns a table may write it.

mod announce;
mod connections;
mod conntrack;
mod counters;
mod executor;
mod facts;
pub mod features;
mod flows;
mod foreign;
pub mod hold;
pub mod keep;
mod kernel;
mod listen;
mod memory;
pub mod monitor;
mod netns;
mod nft;
mod route;
pub mod scm;
mod sysctl;
mod wire;

pub use connections::Connections;
pub use counters::OfLinks;
pub use facts::Surroundings;
pub use flows::{Told, Watch};
pub use kernel::{Failed, Kernel, KernelConfig, OpenError, Scope};
pub use memory::share_arenas;
pub use netns::{NetnsError, NetnsFd, own_inode};
pub use nft::Counted;
