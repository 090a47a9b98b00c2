//! Addresses.

use super::{NEW, RouteSocket};
use crate::wire::Refused;
use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage};
use netmode_model::IfName;
use rtnetlink::AddressMessageBuilder;
use std::net::{Ipv4Addr, Ipv6Addr};

impl RouteSocket {
    pub(crate) fn add_address(&mut self, dev: &IfName, addr: IpNetwork) -> Result<(), Refused> {
        let index = self.index(dev)?;
        self.request(Message::NewAddress(message(index, addr)), NEW)
    }

    pub(crate) fn delete_address(&mut self, dev: &IfName, addr: IpNetwork) -> Result<(), Refused> {
        let index = self.index(dev)?;
        self.request(Message::DelAddress(message(index, addr)), 0)
    }
}

fn message(index: u32, addr: IpNetwork) -> AddressMessage {
    match addr {
        IpNetwork::V4(addr) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(addr.ip(), addr.prefix()).build()
        }
        IpNetwork::V6(addr) => {
            let builder = AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(addr.ip(), addr.prefix());
            let mut message = builder.build();
            // The agent alone gives addresses out; detection would hold the address back for a second.
            message.header.flags = AddressHeaderFlags::Nodad;
            message
        }
    }
}
