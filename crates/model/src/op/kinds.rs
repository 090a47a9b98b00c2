//! What operations are about: kinds of links, routes and rules.

use crate::link::{IfName, Place};
use crate::nft::Family;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What an upper device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Upper {
    /// A hardware address of its own on the lower device.
    Macvlan(MacvlanMode),
    /// The lower device's hardware address, addresses of its own.
    Ipvlan(IpvlanMode),
    /// Frames with an 802.1Q tag.
    Vlan(u16),
}

/// Who of a lower device's macvlans reaches whom (`MACVLAN_MODE_*`, linux/if_link.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Each other.
    Bridge,
    /// Nobody.
    Private,
    /// Each other by the switch outside (IEEE 802.1Qbg).
    Vepa,
    /// One alone, with the lower device's own address.
    Passthru,
}

/// What an ipvlan hands packets on by (`IPVLAN_MODE_*`, linux/if_link.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// Frames.
    L2,
    /// Routes.
    L3,
    /// Routes, and the lower device's netfilter hooks see them.
    L3s,
}

/// A flag of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkFlag {
    /// `IFF_PROMISC`: it takes frames for everybody.
    Promisc,
    /// `IFF_ALLMULTI`: it takes frames for every group.
    Allmulti,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Where.
    pub at: Place,
    /// Destination; `None` is the default route of the gateway's family.
    pub to: Option<IpNetwork>,
    /// Next hop.
    pub via: Option<IpAddr>,
    /// Outgoing link.
    pub dev: IfName,
    /// Number of the routing table; [`MAIN_TABLE`] mostly.
    pub table: u32,
    /// What few routes have.
    #[serde(default, skip_serializing_if = "RouteOptions::is_plain")]
    pub options: RouteOptions,
}

/// What few routes have (ip-route(8)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteOptions {
    /// The next hop is on the link, whatever the addresses say (`RTNH_F_ONLINK`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub onlink: bool,
    /// Metric; the lowest is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// MTU of the path, in bytes (`RTAX_MTU`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// What TCP says that it takes, in bytes (`RTAX_ADVMSS`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// `rtm_scope`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

impl RouteOptions {
    /// Whether there are none.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl Route {
    /// A route of the main table without options.
    pub fn main(at: Place, to: Option<IpNetwork>, via: Option<IpAddr>, dev: IfName) -> Self {
        Self { at, to, via, dev, table: MAIN_TABLE, options: RouteOptions::default() }
    }
}

/// A policy routing rule (RFC-less Linux feature, ip-rule(8)): for what matches, a routing table is asked; one that has
/// no route for the packet passes on to the next rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Priority: lower is asked first.
    pub pref: u32,
    /// Whose packets.
    pub family: Family,
    /// Arriving link; `lo` means sent by this machine.
    pub iif: Option<IfName>,
    /// Mark bit that must be set (value and mask are the same).
    pub mark: Option<u32>,
    /// Number of the table; 254 is `main`.
    pub table: u32,
}

/// A destination that is refused: administratively prohibited (ICMP, EACCES).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Prohibit {
    /// Number of the routing table.
    pub table: u32,
    /// Destination.
    pub to: IpNetwork,
}

/// A destination that nothing is sent to, in the main table of a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Blackhole {
    /// Where.
    pub at: Place,
    /// Destination.
    pub to: IpNetwork,
}

/// `RT_TABLE_MAIN`, linux/rtnetlink.h.
pub const MAIN_TABLE: u32 = 254;
