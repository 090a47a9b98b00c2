//! Links, addresses, routes and rules by NETLINK_ROUTE.

mod address;
mod link;
mod observe;
mod path;
mod rule;
mod trial;

pub(crate) use link::Veth;

use crate::wire::{Netlink, Refused};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;

/// New, and an error if it is there.
const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// A route socket of one namespace.
pub(crate) struct RouteSocket(Netlink);

impl RouteSocket {
    /// In the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        Netlink::open(NETLINK_ROUTE).map(Self)
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Refused> {
        self.0.request(message, flags)
    }
}
