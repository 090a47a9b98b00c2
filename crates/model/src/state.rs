//! What the kernel says exists: the observed side of `converge`.

use crate::link::{IfName, Mac, NetnsName, Place};
use crate::nft::{Element, TableName};
use crate::op::{Blackhole, LinkFlag, PolicyRule, Prohibit, Route};
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};

/// A snapshot of those parts of the kernel's state that a plan can change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Links, of the host and of the namespaces looked at.
    pub links: Vec<LinkState>,
    /// Addresses.
    pub addrs: Vec<AddrState>,
    /// Unicast routes of every table.
    pub routes: Vec<Route>,
    /// Policy routing rules of the shapes that [`PolicyRule`] can say; others are left out.
    pub rules: Vec<PolicyRule>,
    /// Routes that refuse, of every table of the host.
    pub prohibited: BTreeSet<Prohibit>,
    /// Routes that throw away, of every place looked at.
    pub blackholes: BTreeSet<Blackhole>,
    /// Our tables, as far as they are there.
    pub tables: BTreeMap<TableName, TableState>,
    /// Pins below `/run/netns` that are network namespaces.
    pub netns: BTreeSet<NetnsName>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// Where.
    pub at: Place,
    /// Its number, unique within its namespace while it lives.
    pub index: u32,
    /// Its name.
    pub name: IfName,
    /// Its hardware address, where it has one.
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// IFF_UP.
    pub up: bool,
    /// `bridge`, `veth`, …; absent for a physical link.
    pub kind: Option<String>,
    /// Name of the link it is a port of.
    pub master: Option<IfName>,
    /// ifalias.
    pub alias: Option<String>,
    /// `IFLA_GROUP`.
    pub group: u32,
    /// Bridge port flag.
    pub hairpin: Option<bool>,
    /// Bridge port flag.
    pub isolated: Option<bool>,
    /// Of a token bucket at its root, in bits per second; zero where only that there is one was looked at.
    pub rate: Option<u64>,
    /// Those that are on.
    pub flags: Vec<LinkFlag>,
    /// Length of its queue, in packets.
    pub queue: u32,
}

/// Kinds of links that are stacked on a wire and lead where that leads (`IFLA_INFO_KIND`).
const STACKED: [&str; 7] = ["vlan", "bond", "team", "macvlan", "ipvlan", "macsec", "hsr"];

/// Whether a link of this kind leads to a network outside by itself: a device has no kind, since nobody made it.
pub fn is_wire(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| STACKED.contains(&kind))
}

impl LinkState {
    /// Whether it leads to a network outside by itself.
    pub fn is_wire(&self) -> bool {
        is_wire(self.kind.as_deref())
    }
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddrState {
    /// Where.
    pub at: Place,
    /// The link.
    pub dev: IfName,
    /// With prefix length.
    pub addr: IpNetwork,
}

/// Our nf_tables table as found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableState {
    /// Whether a live socket owns it.
    pub owned: bool,
    /// Chains with the number of their rules.
    pub chains: BTreeMap<String, usize>,
    /// Names of sets and maps.
    pub sets: BTreeSet<String>,
    /// Flowtables with their links.
    pub flowtables: BTreeMap<String, BTreeSet<IfName>>,
    /// Every element of every set and map of the table.
    pub elements: BTreeSet<Element>,
}

/// What a link has carried, as it counts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bad packets received.
    pub rx_errors: u64,
    /// Packets received and thrown away.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets thrown away instead of sent.
    pub tx_dropped: u64,
}

impl LinkCounters {
    /// What two links have carried together.
    pub fn and(self, other: Self) -> Self {
        Self {
            rx_bytes: self.rx_bytes + other.rx_bytes,
            rx_packets: self.rx_packets + other.rx_packets,
            rx_errors: self.rx_errors + other.rx_errors,
            rx_dropped: self.rx_dropped + other.rx_dropped,
            tx_bytes: self.tx_bytes + other.tx_bytes,
            tx_packets: self.tx_packets + other.tx_packets,
            tx_errors: self.tx_errors + other.tx_errors,
            tx_dropped: self.tx_dropped + other.tx_dropped,
        }
    }

    /// The same as the other end of the pair has it.
    pub fn of_peer(self) -> Self {
        Self {
            rx_bytes: self.tx_bytes,
            rx_packets: self.tx_packets,
            rx_errors: self.tx_errors,
            rx_dropped: self.tx_dropped,
            tx_bytes: self.rx_bytes,
            tx_packets: self.rx_packets,
            tx_errors: self.rx_errors,
            tx_dropped: self.rx_dropped,
        }
    }
}
