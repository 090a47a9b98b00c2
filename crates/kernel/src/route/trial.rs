//! Links made only to see whether the kernel can.

use super::{NEW, RouteSocket};
use crate::features::Child;
use crate::wire::Refused;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{IpVlanMode, MacVlanMode};
use netmode_model::IfName;
use rtnetlink::{LinkIpVlan, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan};

impl RouteSocket {
    /// A link that others can be made on, and its number.
    pub(crate) fn add_parent(&mut self, dev: &IfName) -> Result<u32, Refused> {
        let veth = LinkMessageBuilder::<LinkVeth>::new(dev.as_str(), "trial-peer").build();
        self.request(Message::NewLink(veth), NEW)?;
        self.index(dev)
    }

    pub(crate) fn add_child(&mut self, kind: Child, parent: u32) -> Result<(), Refused> {
        const NAME: &str = "trial";
        let link = match kind {
            Child::MacVlan => LinkMacVlan::new(NAME, parent, MacVlanMode::Bridge).build(),
            Child::IpVlan => LinkIpVlan::new(NAME, parent, IpVlanMode::L2).build(),
            Child::Vlan => LinkVlan::new(NAME, parent, 5).build(),
        };
        self.request(Message::NewLink(link), NEW)?;
        // One parent has macvlan or ipvlan children, not both: each goes before the next comes.
        self.request(Message::DelLink(LinkUnspec::new_with_name(NAME).build()), 0)
    }
}
