//! Whether somebody on a link has an address: the kernel asks by ARP (RFC 826) or neighbour solicitation (RFC 4861), as
//! it does before it sends anything there.

use super::RouteSocket;
use crate::wire::{Refused, attr};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netmode_model::{IfName, Mac};
use nix::errno::Errno;
use std::net::IpAddr;

/// `NDA_LLADDR`, linux/neighbour.h.
const LLADDR: u16 = 2;

/// `NDA_DST`, linux/neighbour.h.
const DESTINATION: u16 = 1;

/// `NUD_REACHABLE`: it has answered lately.
const REACHABLE: u16 = 0x02;

/// States in which somebody has answered: reachable, stale, delay, probe.
const ANSWERED: u16 = 0x02 | 0x04 | 0x08 | 0x10;

impl RouteSocket {
    /// Has the kernel ask for an address anew; what it knew of it is forgotten.
    pub(crate) fn ask_neighbour(&mut self, dev: &IfName, ip: IpAddr) -> Result<(), Refused> {
        self.forget_neighbour(dev, ip)?;
        let mut message = self.neighbour(dev, ip)?;
        message.header.flags = NeighbourFlags::Use;
        self.request(Message::NewNeighbour(message), NLM_F_CREATE)
    }

    /// Who has answered.
    pub(crate) fn answered(&mut self, dev: &IfName, ip: IpAddr) -> Result<Option<Mac>, Refused> {
        let message = self.neighbour(dev, ip)?;
        let answer = self.netlink.get(Message::GetNeighbour(message), |answer| {
            // `struct ndmsg`: the state is in bytes 8 and 9, attributes begin at 12.
            let state = answer.body.get(8..10).and_then(|s| s.try_into().ok()).map_or(0, u16::from_ne_bytes);
            let mac = answer.body.get(12..).and_then(|body| attr(body, LLADDR))?;
            (state & ANSWERED != 0).then(|| mac.try_into().ok().map(Mac::from_octets)).flatten()
        });
        match answer {
            Err(e) if e.is(Errno::ENOENT) => Ok(None),
            other => other,
        }
    }

    /// IPv4 addresses on a link whose machines have answered lately.
    pub(crate) fn reachable(&mut self, dev: &IfName) -> Result<Vec<IpAddr>, Refused> {
        let index = self.index(dev)?;
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        let found = self.netlink.dump(Message::GetNeighbour(message), |frame| {
            // `struct ndmsg`: the link is in bytes 4 to 7, the state in 8 and 9, attributes begin at 12.
            let link = frame.body.get(4..8).and_then(|i| i.try_into().ok()).map_or(0, u32::from_ne_bytes);
            let state = frame.body.get(8..10).and_then(|s| s.try_into().ok()).map_or(0, u16::from_ne_bytes);
            let ip = frame.body.get(12..).and_then(|body| attr(body, DESTINATION)).and_then(|ip| ip.try_into().ok());
            let here = link == index && state & REACHABLE != 0;
            ip.filter(|_| here).map(|octets: [u8; 4]| IpAddr::from(octets))
        })?;
        Ok(found)
    }

    /// Forgets what is known of an address.
    pub(crate) fn forget_neighbour(&mut self, dev: &IfName, ip: IpAddr) -> Result<(), Refused> {
        let message = self.neighbour(dev, ip)?;
        match self.request(Message::DelNeighbour(message), 0) {
            Err(e) if e.is(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn neighbour(&mut self, dev: &IfName, ip: IpAddr) -> Result<NeighbourMessage, Refused> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = self.index(dev)?;
        message.header.state = NeighbourState::None;
        let (family, address) = match ip {
            IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
            IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
        };
        message.header.family = family;
        message.attributes.push(NeighbourAttribute::Destination(address));
        Ok(message)
    }
}
