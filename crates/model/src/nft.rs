//! nf_tables as data: one static ruleset, and the elements that change.
//!
//! The types hold just what netmode's own table needs, so that the kernel's encoder and the text
//! rendering can both be complete. Sources: `include/uapi/linux/netfilter/nf_tables.h`, nft(8).

use crate::link::{IfName, Mac, NetnsName, Place};
use crate::port::Protocol;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFamily {
    /// IPv4 and IPv6, as the IP layers see them.
    Inet,
    /// Frames, as bridges see them.
    Bridge,
}

/// A table: several may have the same name in different families.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// Its family.
    pub family: TableFamily,
    /// Its name.
    pub name: String,
    /// Where it is.
    #[serde(default = "host", skip_serializing_if = "is_host")]
    pub at: Place,
}

fn host() -> Place {
    Place::Host
}

fn is_host(at: &Place) -> bool {
    *at == Place::Host
}

/// A whole table: sets and maps first, then chains with their rules. It never changes while
/// endpoints come and go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// The table.
    pub table: TableName,
    /// Own the table by the writing socket where the kernel keeps owned tables (PERSIST, Linux 6.9+).
    pub owner: bool,
    /// Name of its flowtable, if it has one: connections in it pass the rules by, from link to link of it
    /// (Linux `Documentation/networking/nf_flowtable.rst`). Its links come and go like elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flowtable: Option<String>,
    /// Named sets and maps.
    pub sets: Vec<Set>,
    /// Chains, in the order of creation; a chain that is jumped to comes before the one that jumps.
    pub chains: Vec<Chain>,
}

/// A named set, or a map if it has data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its name within the table.
    pub name: String,
    /// Types of the key's fields; several make a concatenation.
    pub key: Vec<Type>,
    /// Types of the data's fields, for a map; empty for a set.
    pub data: Vec<Type>,
    /// Whether elements are ranges.
    pub interval: bool,
}

/// Type of a field (nft datatype).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Type {
    /// `ipv4_addr`, 4 bytes.
    Ipv4Addr,
    /// `ipv6_addr`, 16 bytes.
    Ipv6Addr,
    /// `inet_proto`, 1 byte.
    InetProto,
    /// `inet_service`, 2 bytes, network order.
    InetService,
    /// `ifname`, 16 bytes, zero-padded.
    IfName,
    /// `ether_addr`, 6 bytes.
    EtherAddr,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name within the table.
    pub name: String,
    /// Where packets enter it; `None` for one that is only jumped to.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// The hook of a base chain, with policy accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// `nat` or `filter`.
    pub kind: ChainKind,
    /// The hook.
    pub hook: Hook,
    /// Lower comes first: -300 raw, -200 conntrack, -100 dstnat, 0 filter, 100 srcnat.
    pub priority: i32,
}

/// Type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChainKind {
    /// Sees every packet.
    Filter,
    /// Sees the first packet of a connection.
    Nat,
}

/// A netfilter hook of the IP layers, or the one of the same name and number that frames pass on a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hook {
    /// Everything that arrives.
    Prerouting,
    /// What is for this machine.
    Input,
    /// What passes through.
    Forward,
    /// What this machine sends.
    Output,
    /// Everything that leaves.
    Postrouting,
}

/// A rule: all matches must hold, then the statement is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Conditions, in order.
    pub matches: Vec<Match>,
    /// What is done.
    pub action: Action,
}

/// A part of the packet or its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// Source address of the family.
    Saddr(Family),
    /// Destination address of the family.
    Daddr(Family),
    /// Transport protocol (`meta l4proto`).
    L4Proto,
    /// Destination port (`th dport`).
    Dport,
    /// Source port (`th sport`).
    Sport,
    /// Name of the link it came by; empty for what this machine sends.
    Iifname,
    /// Name of the link it leaves by.
    Oifname,
    /// Source address of the frame.
    EtherSaddr,
    /// Hardware address that an ARP message claims for its sender.
    ArpSaddrEther,
    /// Protocol address that an ARP message claims for its sender.
    ArpSaddrIp,
    /// Target of a neighbour solicitation or advertisement (RFC 4861 §4.3, §4.4): 16 bytes at byte 8 of what the rule
    /// has shown to be one.
    NdTarget,
    /// Hardware address in the first option of a neighbour solicitation or advertisement (RFC 4861 §4.6.1).
    NdLladdr,
}

/// A number in the packet or its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Number {
    /// `IFLA_GROUP` of the link it came by.
    Iifgroup,
    /// EtherType. Of a frame with a VLAN tag it is the tag's, wherever the kernel keeps that.
    EtherType,
    /// Operation of an ARP message.
    ArpOperation,
    /// Transport protocol (`meta l4proto`), behind IPv6's extension headers.
    L4Proto,
    /// What follows the IPv6 header at once.
    Ip6NextHeader,
    /// Bytes after the IPv6 header.
    Ip6Length,
    /// Source port of UDP.
    UdpSport,
    /// Destination port of UDP.
    UdpDport,
    /// Type of an ICMP message.
    IcmpType,
    /// Type of an ICMPv6 message.
    Icmp6Type,
    /// Code of an ICMP message.
    IcmpCode,
    /// Code of an ICMPv6 message.
    Icmp6Code,
    /// Type of the first option of a neighbour solicitation or advertisement.
    NdOption,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Match {
    /// `meta nfproto`.
    Family(Family),
    /// `fib daddr type local`: the destination is an address of this machine.
    DaddrLocal,
    /// The address is within the prefix, or outside of it.
    Prefix {
        /// [`Field::Saddr`] or [`Field::Daddr`] of the prefix' family.
        field: Field,
        /// Network address and length.
        prefix: IpNetwork,
        /// Outside of it.
        negate: bool,
    },
    /// `iifname "lo"`, or any other link.
    Iif {
        /// The link.
        name: IfName,
        /// Any but it.
        negate: bool,
    },
    /// `oifname "eth0"`, or any other link.
    Oif {
        /// The link.
        name: IfName,
        /// Any but it.
        negate: bool,
    },
    /// The port is within the range, both ends included. The rule must have shown that there are ports.
    Ports {
        /// [`Field::Sport`] or [`Field::Dport`].
        field: Field,
        /// The least.
        first: u16,
        /// The greatest.
        last: u16,
    },
    /// The fields, concatenated, are an element of the set, or are not.
    In {
        /// Fields in the order of the set's key.
        fields: Vec<Field>,
        /// Name of the set.
        set: String,
        /// Not an element.
        negate: bool,
    },
    /// `ct state established,related`.
    Established,
    /// `ct state new`.
    New,
    /// `ct status dnat`: destination was translated.
    Dnat,
    /// `ct status snat`: source was translated.
    Snat,
    /// The number is this one, or another.
    Is {
        /// Which number.
        number: Number,
        /// As nft(8) writes it, but for names.
        value: u32,
        /// Another one.
        negate: bool,
    },
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Let it pass this hook.
    Accept,
    /// Throw it away, counted.
    Drop,
    /// The same, and told to who listens to the log group [`REFUSED`](crate::flow::REFUSED) with this prefix. Nobody
    /// listening costs nothing.
    Refuse(String),
    /// Count it, and go on with the next rule.
    Count,
    /// Count it, and do this.
    Counted(Box<Action>),
    /// Go on in another chain and come back.
    Jump(String),
    /// `flow add @NAME`: the connection goes by this flowtable from the next packet on, if it is established and its
    /// protocol is TCP or UDP.
    FlowAdd(String),
    /// `meta mark set meta mark or BIT`.
    MarkOr(u32),
    /// `masquerade fully-random`, the new port out of a range where one is given: then the rule must have shown that
    /// the transport protocol has ports.
    Masquerade {
        /// First and last port.
        ports: Option<(u16, u16)>,
    },
    /// Translate the destination by what the map holds; a key that is not there passes on to the next rule.
    DnatBy {
        /// Fields in the order of the map's key.
        fields: Vec<Field>,
        /// Name of the map.
        map: String,
        /// What the map's data means.
        form: DnatForm,
    },
}

/// The data of a translation map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnatForm {
    /// Address and port.
    AddrPort(Family),
    /// Address; the port stays.
    Addr(Family),
    /// Address, `min`, `max` with `NF_NAT_RANGE_PROTO_OFFSET`: the port becomes
    /// `min + dport mod (max − min + 1)` (Linux `nf_nat_core.c`, base port 0).
    Shift(Family),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Element {
    /// Name of the set or map.
    pub set: String,
    /// The key.
    pub key: Vec<Span>,
    /// The data of a map's element; empty in a set.
    pub data: Vec<Datum>,
}

/// A value of a key's field, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Span {
    /// One value.
    One(Datum),
    /// From the first to the last, both included; only in interval sets.
    Range(Datum, Datum),
}

/// A typed value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Datum {
    /// `ipv4_addr`.
    V4(Ipv4Addr),
    /// `ipv6_addr`.
    V6(Ipv6Addr),
    /// `inet_proto`.
    Proto(Protocol),
    /// `inet_service`.
    Port(u16),
    /// `ifname`.
    Name(IfName),
    /// `ether_addr`.
    Mac(Mac),
}

impl TableName {
    /// A table of family `inet`.
    pub fn inet(name: &str) -> Self {
        Self { family: TableFamily::Inet, name: name.into(), at: Place::Host }
    }

    /// The same in a namespace.
    pub fn within(self, netns: NetnsName) -> Self {
        Self { at: Place::Netns(netns), ..self }
    }

    /// A table of family `bridge`.
    pub fn bridge(name: &str) -> Self {
        Self { family: TableFamily::Bridge, name: name.into(), at: Place::Host }
    }
}

/// Name of the table of security groups beside the one of this name.
pub fn walls(table: &str) -> String {
    format!("{table}_walls")
}

impl Family {
    /// The family of an address.
    pub fn of(ip: std::net::IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// `ip` or `ip6`, nft's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

impl Datum {
    /// An address of either family.
    pub fn ip(ip: std::net::IpAddr) -> Self {
        match ip {
            std::net::IpAddr::V4(ip) => Self::V4(ip),
            std::net::IpAddr::V6(ip) => Self::V6(ip),
        }
    }
}

impl Type {
    /// Length in bytes, without the padding of a concatenation.
    pub const fn size(self) -> usize {
        match self {
            Self::Ipv4Addr => 4,
            Self::EtherAddr => 6,
            Self::Ipv6Addr | Self::IfName => 16,
            Self::InetProto => 1,
            Self::InetService => 2,
        }
    }
}
