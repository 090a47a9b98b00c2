//! Links.

use super::{NEW, RouteSocket};
use crate::wire::{Refused, attrs, u32_at};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridgePort, InfoData, InfoPortData, InfoPortKind,
    InfoVeth, IpVlanMode, LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage, MacVlanMode,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netmode_model::op::{IpvlanMode, LinkFlag, MacvlanMode, Upper};
use netmode_model::{IfName, Mac};
use nix::errno::Errno;
use rtnetlink::{LinkBridge, LinkIpVlan, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The few facts that an operation needs to know of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkHead {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
}

/// A pair of ends.
pub(crate) struct Veth<'a> {
    pub(crate) dev: &'a IfName,
    pub(crate) mac: Option<Mac>,
    pub(crate) bridge: Option<u32>,
    pub(crate) group: u32,
    pub(crate) mtu: u32,
    pub(crate) peer: &'a IfName,
    pub(crate) peer_mac: Mac,
    /// Namespace of the peer; the socket's own if none.
    pub(crate) peer_at: Option<BorrowedFd<'a>>,
}

/// A link on top of another.
pub(crate) struct UpperLink<'a> {
    pub(crate) dev: &'a IfName,
    pub(crate) kind: Upper,
    pub(crate) lower: &'a IfName,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<Mac>,
    /// Its namespace; the socket's own if none.
    pub(crate) at: Option<BorrowedFd<'a>>,
}

impl RouteSocket {
    /// A link by name; ENODEV if there is none.
    pub(crate) fn link(&mut self, dev: &IfName) -> Result<LinkHead, Refused> {
        let mut message = named(dev).build();
        // Statistics make up most of the answer.
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let link = self.netlink.get(Message::GetLink(message), |answer| LinkHead {
            index: u32_at(answer.body, 4),
            up: u32_at(answer.body, 8) & libc::IFF_UP as u32 != 0,
            mtu: attrs(answer.body.get(16..).unwrap_or_default())
                .find(|(kind, _)| *kind == libc::IFLA_MTU)
                .map_or(0, |(_, mtu)| u32_at(mtu, 0)),
        })?;
        self.last = self.visit.then(|| (dev.clone(), link.index));
        Ok(link)
    }

    /// A bridge without spanning tree: a new port forwards at once. And without multicast snooping: where nobody
    /// sends queries it floods as well, and each port that comes up starts the timers of all others anew
    /// (`br_port_state_selection`: 0.35 ms at 1,000 ports). It learns nothing of frames to a link-local group: those
    /// to 01:80:c2:00:00:0e pass by every netfilter hook of the bridge (`br_handle_frame`).
    pub(crate) fn add_bridge(
        &mut self,
        dev: &IfName,
        mac: Mac,
        mtu: u32,
        group: u32,
        alias: &str,
    ) -> Result<(), Refused> {
        let bridge = LinkBridge::new(dev.as_str()).stp_state(BridgeStpState::Disabled).mcast_snooping(false);
        let bridge = bridge.no_linklocal_learn(true).address(mac.octets().to_vec()).mtu(mtu).link_group(group);
        self.request(Message::NewLink(bridge.build()), NEW)?;
        // RTM_NEWLINK with CREATE ignores IFLA_IFALIAS (`rtnl_create_link`).
        let labelled = self.set_alias(dev, alias);
        if labelled.is_err() {
            let _ = self.delete_link(dev);
        }
        labelled
    }

    pub(crate) fn add_veth(&mut self, veth: &Veth<'_>) -> Result<(), Refused> {
        let peer = named(veth.peer).address(veth.peer_mac.octets().to_vec()).mtu(veth.mtu);
        let peer = match veth.peer_at {
            Some(fd) => peer.setns_by_fd(fd.as_raw_fd()),
            None => peer,
        };
        let link = LinkMessageBuilder::<LinkVeth>::new(veth.dev.as_str(), veth.peer.as_str())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
            .link_group(veth.group)
            .mtu(veth.mtu);
        let link = match veth.bridge {
            Some(bridge) => link.controller(bridge),
            None => link,
        };
        let link = match veth.mac {
            Some(mac) => link.address(mac.octets().to_vec()),
            None => link,
        };
        self.request(Message::NewLink(link.build()), NEW)
    }

    /// An upper device on a link of the socket's namespace, born in another one or in the same.
    pub(crate) fn add_upper(&mut self, upper: &UpperLink<'_>) -> Result<(), Refused> {
        let lower = self.index(upper.lower)?;
        let name = upper.dev.as_str();
        let mut message = match upper.kind {
            Upper::Macvlan(mode) => LinkMacVlan::new(name, lower, macvlan_mode(mode)).build(),
            Upper::Ipvlan(mode) => LinkIpVlan::new(name, lower, ipvlan_mode(mode)).build(),
            Upper::Vlan(id) => LinkVlan::new(name, lower, id).build(),
        };
        message.attributes.extend(upper.mtu.map(LinkAttribute::Mtu));
        message.attributes.extend(upper.mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
        message.attributes.extend(upper.at.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        self.request(Message::NewLink(message), NEW)
    }

    /// Gives a namespace a number here, so that its links' messages are heard here as well
    /// (`NETLINK_LISTEN_ALL_NSID`); one that has a number keeps it.
    pub(crate) fn number_namespace(&mut self, netns: BorrowedFd<'_>) -> Result<(), Refused> {
        let mut message = NsidMessage::default();
        message.attributes = vec![NsidAttribute::Fd(netns.as_raw_fd() as u32), NsidAttribute::Id(-1)];
        match self.request(Message::NewNsId(message), 0) {
            Err(e) if e.is(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Moves a link to another namespace under a name.
    pub(crate) fn move_link(&mut self, dev: &IfName, to: BorrowedFd<'_>, name: &IfName) -> Result<(), Refused> {
        let index = self.link(dev)?.index;
        self.last = None;
        let message = LinkUnspec::new_with_index(index).name(name.to_string()).setns_by_fd(to.as_raw_fd());
        self.request(Message::SetLink(message.build()), 0)
    }

    /// Switches a flag.
    pub(crate) fn set_flag(&mut self, dev: &IfName, flag: LinkFlag, on: bool) -> Result<(), Refused> {
        let bit = match flag {
            LinkFlag::Promisc => LinkFlags::Promisc,
            LinkFlag::Allmulti => LinkFlags::Allmulti,
        };
        let mut message = named(dev).build();
        message.header.change_mask = bit;
        message.header.flags = if on { bit } else { LinkFlags::empty() };
        self.request(Message::SetLink(message), 0)
    }

    /// Sets the length of a link's queue, in packets.
    pub(crate) fn set_queue(&mut self, dev: &IfName, length: u32) -> Result<(), Refused> {
        let mut message = named(dev).build();
        message.attributes.push(LinkAttribute::TxQueueLen(length));
        self.request(Message::SetLink(message), 0)
    }

    /// Port flags need RTM_NEWLINK: RTM_SETLINK ignores them without a word.
    pub(crate) fn port_up(&mut self, dev: &IfName, hairpin: bool, isolated: bool, alias: &str) -> Result<(), Refused> {
        let flags = vec![InfoBridgePort::HairpinMode(hairpin), InfoBridgePort::Isolated(isolated)];
        let port = || {
            named(dev)
                .set_port_kind(InfoPortKind::Bridge)
                .set_port_data(InfoPortData::BridgePort(flags.clone()))
                .alias(alias)
        };
        // A bridge port needs no IPv6 of its own: without this it gets a link-local address when it comes up, and
        // speaks MLD and neighbour discovery on everybody's network. Not by sysctl: that write spins while another
        // thread holds RTNL (addrconf_sysctl_disable tries, and begins anew).
        let silent = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let silent = port().append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![silent]));
        match self.request(Message::NewLink(silent.build()), 0) {
            // A kernel without IPv6.
            Err(e) if e.is(Errno::EAFNOSUPPORT) => self.request(Message::NewLink(port().build()), 0)?,
            other => other?,
        }
        // Not in the same message: a link that is up and has no carrier yet tells everybody that it was changed,
        // and IPv6 then walks its whole routing table (`rt6_sync_down_dev`: 0.25 ms at 1,000 links).
        self.request(Message::SetLink(named(dev).up().build()), 0)
    }

    /// Brings up the link that every namespace is born with.
    pub(crate) fn loopback_up(&mut self) -> Result<(), Refused> {
        self.request(Message::SetLink(LinkUnspec::new_with_name("lo").up().build()), 0)
    }

    pub(crate) fn set_up(&mut self, link: LinkHead, up: bool) -> Result<(), Refused> {
        let message = LinkUnspec::new_with_index(link.index);
        self.request(Message::SetLink(if up { message.up() } else { message.down() }.build()), 0)
    }

    pub(crate) fn set_mtu(&mut self, link: LinkHead, mtu: u32) -> Result<(), Refused> {
        self.request(Message::SetLink(LinkUnspec::new_with_index(link.index).mtu(mtu).build()), 0)
    }

    pub(crate) fn delete_link(&mut self, dev: &IfName) -> Result<(), Refused> {
        self.last = None;
        self.request(Message::DelLink(named(dev).build()), 0)
    }

    /// Deletes a link by its number.
    pub(crate) fn delete_index(&mut self, index: u32) -> Result<(), Refused> {
        self.last = None;
        self.request(Message::DelLink(LinkUnspec::new_with_index(index).build()), 0)
    }

    /// Sets the hardware address; the kernel tells everybody even if it is the same.
    pub(crate) fn set_mac(&mut self, dev: &IfName, mac: Mac) -> Result<(), Refused> {
        self.request(Message::SetLink(named(dev).address(mac.octets().to_vec()).build()), 0)
    }

    /// Says whose a link is.
    pub(crate) fn set_alias(&mut self, dev: &IfName, alias: &str) -> Result<(), Refused> {
        self.request(Message::SetLink(named(dev).alias(alias).build()), 0)
    }

    /// Gives a link another group.
    pub(crate) fn set_group(&mut self, index: u32, group: u32) -> Result<(), Refused> {
        self.request(Message::SetLink(LinkUnspec::new_with_index(index).link_group(group).build()), 0)
    }

    /// Deletes every link of a group in one go: 0.3–0.65 ms a link instead of 15–40.
    pub(crate) fn delete_group(&mut self, group: u32) -> Result<(), Refused> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        self.request(Message::DelLink(message), 0)
    }
}

fn named(dev: &IfName) -> LinkMessageBuilder<LinkUnspec> {
    LinkUnspec::new_with_name(dev.as_str())
}

fn macvlan_mode(mode: MacvlanMode) -> MacVlanMode {
    match mode {
        MacvlanMode::Bridge => MacVlanMode::Bridge,
        MacvlanMode::Private => MacVlanMode::Private,
        MacvlanMode::Vepa => MacVlanMode::Vepa,
        MacvlanMode::Passthru => MacVlanMode::Passthrough,
    }
}

fn ipvlan_mode(mode: IpvlanMode) -> IpVlanMode {
    match mode {
        IpvlanMode::L2 => IpVlanMode::L2,
        IpvlanMode::L3 => IpVlanMode::L3,
        IpvlanMode::L3s => IpVlanMode::L3S,
    }
}
