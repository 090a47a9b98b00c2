//! Links, addresses, routes and rules by NETLINK_ROUTE.

mod address;
mod link;
mod neighbour;
mod observe;
mod path;
mod rate;
mod rule;
mod trial;

pub(crate) use link::{UpperLink, Veth};
pub(crate) use observe::{Path, kind_of};

use crate::wire::{Netlink, Refused};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netmode_model::IfName;
use std::io;

/// New, and an error if it is there.
const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// A route socket of one namespace.
pub(crate) struct RouteSocket {
    netlink: Netlink,
    /// The link that was last asked for, on a visit: several operations in a row name the same one.
    last: Option<(IfName, u32)>,
    visit: bool,
}

impl RouteSocket {
    /// In the namespace of the calling thread, for long.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open(NETLINK_ROUTE)?, last: None, visit: false })
    }

    /// In the namespace of the calling thread, for the operations of one job.
    pub(crate) fn for_a_visit() -> io::Result<Self> {
        Ok(Self { visit: true, ..Self::open()? })
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Refused> {
        self.netlink.request(message, flags)
    }

    /// Number of a link; ENODEV if there is none.
    fn index(&mut self, dev: &IfName) -> Result<u32, Refused> {
        match &self.last {
            Some((last, index)) if last == dev => Ok(*index),
            _ => self.link(dev).map(|link| link.index),
        }
    }
}
