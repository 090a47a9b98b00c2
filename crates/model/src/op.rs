//! Kernel operations, plans, and what takes them back.

mod kinds;

pub use kinds::*;

use crate::link::{IfName, Mac, NetnsName, Place};
use crate::nft::{Chain, Element, Ruleset, Set, TableName};
use crate::port::{HostAddr, PortRange, Protocol};
use crate::rate::Rate;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One step on the kernel that can be taken back.
///
/// An `Op` knows no mode: it says what shall be, in the kernel's words. Its text form
/// ([`std::fmt::Display`]) is the command that would do the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// A new network namespace with `lo` up, pinned as `/run/netns/<name>`.
    NetnsAdd {
        /// Its pin.
        netns: NetnsName,
        /// Kernel variables that are set before anybody is in it: path below `/proc/sys`, and value.
        variables: Vec<(String, String)>,
    },
    /// A bridge, down, without spanning tree, multicast snooping and IPv6 addresses of its own making.
    BridgeAdd {
        /// Name of the link on the host.
        dev: IfName,
        /// Fixed address: an inherited one would change with the ports and make neighbours' caches stale.
        mac: Mac,
        /// Bytes.
        mtu: u32,
        /// Who owns it (ifalias).
        alias: String,
        /// `IFLA_GROUP`: by it other firewalls know our traffic, however many bridges there are.
        group: u32,
    },
    /// A veth pair: the host's end a port of a bridge, or of none, and down, the other end born inside a namespace
    /// with its final name, address and MTU. That end cannot be created up (the kernel answers ENOTCONN).
    VethAdd {
        /// The host's end.
        dev: IfName,
        /// Hardware address of the host's end; the kernel's choice where none is given.
        #[serde(default)]
        mac: Option<Mac>,
        /// The bridge, if it is a port of one.
        bridge: Option<IfName>,
        /// Namespace of the other end.
        peer_at: Place,
        /// Name of the other end.
        peer: IfName,
        /// Hardware address of the other end.
        peer_mac: Mac,
        /// Bytes, of both ends.
        mtu: u32,
        /// `IFLA_GROUP` of the host's end.
        group: u32,
    },
    /// An upper device: a link on top of another, born in its namespace.
    UpperAdd {
        /// Where.
        at: Place,
        /// Its name.
        dev: IfName,
        /// What it is.
        kind: Upper,
        /// Where the lower device is.
        lower_at: Place,
        /// The lower device.
        lower: IfName,
        /// Bytes; the kernel's choice where none are given.
        mtu: Option<u32>,
        /// Hardware address; the kernel's choice where none is given.
        mac: Option<Mac>,
        /// Who owns it (ifalias).
        #[serde(default)]
        alias: Option<String>,
    },
    /// Moves a link to another namespace, under another name.
    LinkMove {
        /// Where it is.
        from: Place,
        /// Its name there.
        dev: IfName,
        /// Where it shall be.
        to: Place,
        /// Its name there.
        name: IfName,
    },
    /// Switches a flag of a link.
    LinkFlag {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
        /// Which.
        flag: LinkFlag,
        /// On or off.
        on: bool,
    },
    /// Sets the length of a link's queue.
    LinkQueue {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
        /// Packets.
        length: u32,
    },
    /// Gives a link of the host another `IFLA_GROUP`.
    LinkGroup {
        /// The link.
        dev: IfName,
        /// The group.
        group: u32,
    },
    /// Flags of a bridge port; labels the link and brings it up in the same message.
    PortUp {
        /// The port's link on the host.
        dev: IfName,
        /// Frames may go out by the port they came from.
        hairpin: bool,
        /// No frames to other isolated ports.
        isolated: bool,
        /// Who owns it (ifalias).
        alias: String,
    },
    /// Takes a link away; a veth takes its peer along.
    LinkDel {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
    },
    /// Brings a link up.
    LinkUp {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
    },
    /// Brings a link down.
    LinkDown {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
    },
    /// Sets a link's MTU.
    LinkMtu {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
        /// Bytes.
        mtu: u32,
    },
    /// Sets a link's hardware address.
    LinkMac {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
        /// The address.
        mac: Mac,
    },
    /// A token bucket as the link's root qdisc (tc-tbf(8)): what goes out by it is no faster.
    RateSet {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
        /// How fast.
        rate: Rate,
        /// How much at once, in bytes; more than the link's MTU.
        burst: u32,
    },
    /// The link's root qdisc is the kernel's own again.
    RateDel {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
    },
    /// An address; IPv6 without duplicate detection, since the agent alone gives them out.
    AddrAdd {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
        /// Address with prefix length.
        addr: IpNetwork,
    },
    /// The inverse of [`Op::AddrAdd`].
    AddrDel {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
        /// Address with prefix length.
        addr: IpNetwork,
    },
    /// A route.
    RouteAdd(Route),
    /// The inverse of [`Op::RouteAdd`].
    RouteDel(Route),
    /// A policy routing rule on the host.
    RuleAdd(PolicyRule),
    /// The inverse of [`Op::RuleAdd`].
    RuleDel(PolicyRule),
    /// A route that refuses (`RTN_PROHIBIT`), in a table of the host that a policy routing rule leads to.
    ProhibitAdd(Prohibit),
    /// The inverse of [`Op::ProhibitAdd`].
    ProhibitDel(Prohibit),
    /// A route that throws away (`RTN_BLACKHOLE`): whoever sends there gets EINVAL.
    BlackholeAdd(Blackhole),
    /// The inverse of [`Op::BlackholeAdd`].
    BlackholeDel(Blackhole),
    /// Writes a kernel variable.
    Sysctl {
        /// Where.
        at: Place,
        /// Path below `/proc/sys`, such as `net/ipv4/ip_forward`.
        key: String,
        /// What to write.
        value: String,
    },
    /// A whole nf_tables table in one transaction.
    TableAdd(Ruleset),
    /// Takes a table away.
    TableDel {
        /// Which.
        table: TableName,
    },
    /// A set or map in a table that is there.
    SetAdd {
        /// The table.
        table: TableName,
        /// The set.
        set: Set,
    },
    /// The inverse of [`Op::SetAdd`].
    SetDel {
        /// The table.
        table: TableName,
        /// The set.
        set: Set,
    },
    /// A link of the host is one of those between which a flowtable carries connections; so it may be already.
    FlowtableLink {
        /// The table.
        table: TableName,
        /// The flowtable.
        flowtable: String,
        /// The link. When it goes, the kernel takes it out.
        dev: IfName,
    },
    /// A chain has these rules, whatever it had; it is made where it is not there.
    ChainSet {
        /// The table.
        table: TableName,
        /// The chain.
        chain: Chain,
        /// What it was before; `None` where it is new.
        before: Option<Chain>,
    },
    /// Takes a chain away that nothing leads to.
    ChainDel {
        /// The table.
        table: TableName,
        /// The chain.
        chain: Chain,
    },
    /// An element of a set or map; taken is an error (EEXIST).
    ElementAdd {
        /// The table.
        table: TableName,
        /// The element.
        element: Element,
    },
    /// The inverse of [`Op::ElementAdd`].
    ElementDel {
        /// The table.
        table: TableName,
        /// The element.
        element: Element,
    },
}

/// A step that cannot be taken back. Only after the point of no return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Final {
    /// Forget tracked connections whose original destination is a published port, so that packets
    /// of an old flow meet the rules of now.
    FlushConntrack {
        /// The transport protocol.
        protocol: Protocol,
        /// The host's address, if one was named.
        host: HostAddr,
        /// The host's ports (not the container's: moby#53384).
        ports: PortRange,
        /// Where they should lead by now: flows that do lead there, whose other end may have sent the last word, stay.
        #[serde(default)]
        kept: Vec<IpAddr>,
    },
    /// Tell the neighbours: gratuitous ARP (RFC 5227 §3) or unsolicited NA (RFC 4861 §7.2.6).
    Announce {
        /// Where.
        at: Place,
        /// The link.
        dev: IfName,
        /// The address.
        ip: IpAddr,
        /// The hardware address it has now.
        mac: Mac,
    },
    /// Delete a link of the host. Done behind the reply and many at once: one by one they cost 15–40 ms each.
    LinkDrop {
        /// The link.
        dev: IfName,
    },
    /// Unpin a namespace and close the agent's descriptor. The kernel takes the links away behind it.
    NetnsDrop {
        /// The pin.
        netns: NetnsName,
    },
}

/// What takes back an operation that was carried out; a changed value is restored only while
/// it is still what we wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Inverse {
    /// Another operation.
    Op(Op),
    /// Compare and restore.
    Restore {
        /// Where.
        at: Place,
        /// Path below `/proc/sys`.
        key: String,
        /// What we wrote.
        ours: String,
        /// What was there.
        previous: String,
    },
    /// Drop the namespace that was made.
    NetnsDrop {
        /// The pin.
        netns: NetnsName,
    },
    /// What is taken away with something else, or was so already.
    Nothing,
}

/// What will be done: reversible steps, then those that are not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// In order. Should one fail, those before it are taken back, newest first.
    pub ops: Vec<Op>,
    /// Carried out when all of [`Plan::ops`] are done; failures are reported, nothing stops.
    pub then: Vec<Final>,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.then.is_empty()
    }

    /// Appends another plan's steps.
    pub fn extend(&mut self, other: Plan) {
        self.ops.extend(other.ops);
        self.then.extend(other.then);
    }
}

/// A step that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{step}: {}{}", std::io::Error::from_raw_os_error(*errno), if detail.is_empty() { String::new() } else { format!(" ({detail})") })]
pub struct OpError {
    /// The command that would do the same.
    pub step: String,
    /// The kernel's error number, positive.
    pub errno: i32,
    /// The kernel's extended text (NLMSGERR_ATTR_MSG), or empty.
    pub detail: String,
}

impl Op {
    /// The table that this is done to, if it is one of nf_tables' operations.
    pub fn table(&self) -> Option<&TableName> {
        match self {
            Self::TableAdd(ruleset) => Some(&ruleset.table),
            Self::TableDel { table } | Self::ElementAdd { table, .. } | Self::ElementDel { table, .. } => Some(table),
            Self::SetAdd { table, .. } | Self::SetDel { table, .. } => Some(table),
            Self::FlowtableLink { table, .. } => Some(table),
            Self::ChainSet { table, .. } | Self::ChainDel { table, .. } => Some(table),
            _ => None,
        }
    }

    /// The link that this is done to, and where that is; of a route, the one that it leaves by.
    pub fn link(&self) -> Option<(&Place, &IfName)> {
        match self {
            Self::LinkDel { at, dev } | Self::LinkUp { at, dev } | Self::LinkDown { at, dev } => Some((at, dev)),
            Self::LinkMtu { at, dev, .. } | Self::LinkMac { at, dev, .. } => Some((at, dev)),
            Self::LinkFlag { at, dev, .. } | Self::LinkQueue { at, dev, .. } => Some((at, dev)),
            Self::RateSet { at, dev, .. } | Self::RateDel { at, dev } => Some((at, dev)),
            Self::AddrAdd { at, dev, .. } | Self::AddrDel { at, dev, .. } => Some((at, dev)),
            Self::RouteAdd(route) | Self::RouteDel(route) => Some((&route.at, &route.dev)),
            Self::LinkMove { from, dev, .. } => Some((from, dev)),
            Self::LinkGroup { dev, .. } | Self::PortUp { dev, .. } => Some((&Place::Host, dev)),
            _ => None,
        }
    }

    /// The operation that takes this one back where no earlier value is needed.
    pub fn inverse(&self) -> Inverse {
        let del = |at: &Place, dev: &IfName| Inverse::Op(Op::LinkDel { at: at.clone(), dev: dev.clone() });
        match self {
            Self::NetnsAdd { netns, .. } => Inverse::NetnsDrop { netns: netns.clone() },
            Self::BridgeAdd { dev, .. } | Self::VethAdd { dev, .. } => del(&Place::Host, dev),
            Self::UpperAdd { at, dev, .. } => del(at, dev),
            Self::LinkMove { from, dev, to, name } => {
                Inverse::Op(Self::LinkMove { from: to.clone(), dev: name.clone(), to: from.clone(), name: dev.clone() })
            }
            Self::LinkUp { at, dev } => Inverse::Op(Self::LinkDown { at: at.clone(), dev: dev.clone() }),
            Self::LinkDown { at, dev } => Inverse::Op(Self::LinkUp { at: at.clone(), dev: dev.clone() }),
            Self::AddrAdd { at, dev, addr } => {
                Inverse::Op(Self::AddrDel { at: at.clone(), dev: dev.clone(), addr: *addr })
            }
            Self::AddrDel { at, dev, addr } => {
                Inverse::Op(Self::AddrAdd { at: at.clone(), dev: dev.clone(), addr: *addr })
            }
            Self::RouteAdd(route) => Inverse::Op(Self::RouteDel(route.clone())),
            Self::RouteDel(route) => Inverse::Op(Self::RouteAdd(route.clone())),
            Self::RuleAdd(rule) => Inverse::Op(Self::RuleDel(rule.clone())),
            Self::RuleDel(rule) => Inverse::Op(Self::RuleAdd(rule.clone())),
            Self::ProhibitAdd(route) => Inverse::Op(Self::ProhibitDel(*route)),
            Self::ProhibitDel(route) => Inverse::Op(Self::ProhibitAdd(*route)),
            Self::BlackholeAdd(route) => Inverse::Op(Self::BlackholeDel(route.clone())),
            Self::BlackholeDel(route) => Inverse::Op(Self::BlackholeAdd(route.clone())),
            Self::TableAdd(ruleset) => Inverse::Op(Self::TableDel { table: ruleset.table.clone() }),
            Self::SetAdd { table, set } => Inverse::Op(Self::SetDel { table: table.clone(), set: set.clone() }),
            Self::SetDel { table, set } => Inverse::Op(Self::SetAdd { table: table.clone(), set: set.clone() }),
            Self::ChainSet { table, chain, before } => Inverse::Op(match before {
                Some(before) => {
                    Self::ChainSet { table: table.clone(), chain: before.clone(), before: Some(chain.clone()) }
                }
                None => Self::ChainDel { table: table.clone(), chain: chain.clone() },
            }),
            Self::ChainDel { table, chain } => {
                Inverse::Op(Self::ChainSet { table: table.clone(), chain: chain.clone(), before: None })
            }
            Self::ElementAdd { table, element } => {
                Inverse::Op(Self::ElementDel { table: table.clone(), element: element.clone() })
            }
            Self::ElementDel { table, element } => {
                Inverse::Op(Self::ElementAdd { table: table.clone(), element: element.clone() })
            }
            // A port goes with its link, and so does a flowtable's link. What was there before a sysctl, an MTU, a rate or a hardware address only the
            // executor has seen, and a deleted link or table cannot be made again from its name.
            Self::PortUp { .. } | Self::Sysctl { .. } | Self::LinkMtu { .. } | Self::LinkMac { .. } => Inverse::Nothing,
            Self::RateSet { .. } | Self::RateDel { .. } | Self::LinkFlag { .. } => Inverse::Nothing,
            Self::LinkQueue { .. } | Self::LinkGroup { .. } | Self::FlowtableLink { .. } => Inverse::Nothing,
            Self::LinkDel { .. } | Self::TableDel { .. } => Inverse::Nothing,
        }
    }
}
