//! The text of tables, as nft(8) writes them.

use crate::flow::REFUSED;
use crate::nft::*;
use std::fmt::{self, Display, Formatter, Write};

impl Display for TableName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            TableFamily::Inet => "inet",
            TableFamily::Bridge => "bridge",
        };
        write!(f, "{family} {}", self.name)
    }
}

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {{", self.table)?;
        if self.owner {
            writeln!(f, "\tflags owner,persist")?;
        }
        if let Some(flowtable) = &self.flowtable {
            writeln!(f, "\tflowtable {flowtable} {{\n\t\thook ingress priority 0\n\t\tcounter\n\t}}")?;
        }
        self.sets.iter().try_for_each(|set| write!(f, "{set}"))?;
        self.chains.iter().try_for_each(|chain| write!(f, "{chain}"))?;
        writeln!(f, "}}")
    }
}

pub(super) fn dotted<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ")
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = if self.data.is_empty() { "set" } else { "map" };
        write!(f, "\t{kind} {} {{\n\t\ttype {}", self.name, dotted(&self.key))?;
        if !self.data.is_empty() {
            write!(f, " : {}", dotted(&self.data))?;
        }
        if self.interval {
            f.write_str("\n\t\tflags interval")?;
        }
        f.write_str("\n\t}\n")
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::IfName => "ifname",
            Self::EtherAddr => "ether_addr",
        })
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(base) = &self.base {
            writeln!(f, "\t\t{base}")?;
        }
        self.rules.iter().try_for_each(|rule| writeln!(f, "\t\t{rule}"))?;
        writeln!(f, "\t}}")
    }
}

impl Display for Base {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        write!(f, "type {kind} hook {hook} priority {}; policy accept;", self.priority)
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.matches.iter().try_for_each(|m| write!(f, "{m} "))?;
        self.action.fmt(f)
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saddr(family) => write!(f, "{} saddr", family.word()),
            Self::Daddr(family) => write!(f, "{} daddr", family.word()),
            Self::L4Proto => f.write_str("meta l4proto"),
            Self::Dport => f.write_str("th dport"),
            Self::Sport => f.write_str("th sport"),
            Self::Iifname => f.write_str("iifname"),
            Self::Oifname => f.write_str("oifname"),
            Self::EtherSaddr => f.write_str("ether saddr"),
            Self::ArpSaddrEther => f.write_str("arp saddr ether"),
            Self::ArpSaddrIp => f.write_str("arp saddr ip"),
            // nft(8) has a word for the target since 1.0.8, and none for what is in an option.
            Self::NdTarget => f.write_str("@th,64,128"),
            Self::NdLladdr => f.write_str("@th,208,48"),
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iifgroup => "iifgroup",
            Self::EtherType => "ether type",
            Self::ArpOperation => "arp operation",
            Self::L4Proto => "meta l4proto",
            Self::Ip6NextHeader => "ip6 nexthdr",
            Self::Ip6Length => "ip6 length",
            Self::UdpSport => "udp sport",
            Self::UdpDport => "udp dport",
            Self::IcmpType => "icmp type",
            Self::Icmp6Type => "icmpv6 type",
            Self::IcmpCode => "icmp code",
            Self::Icmp6Code => "icmpv6 code",
            Self::NdOption => "@th,192,8",
        })
    }
}

impl Number {
    /// nft's word for a value, if it has one.
    fn word(self, value: u32) -> Option<&'static str> {
        Some(match (self, value) {
            (Self::EtherType, 0x0800) => "ip",
            (Self::EtherType, 0x0806) => "arp",
            (Self::EtherType, 0x86dd) => "ip6",
            (Self::ArpOperation, 1) => "request",
            (Self::L4Proto, 6) => "tcp",
            (Self::L4Proto, 17) => "udp",
            (Self::L4Proto, 132) => "sctp",
            (Self::L4Proto | Self::Ip6NextHeader, 58) => "ipv6-icmp",
            (Self::IcmpType, 5) => "redirect",
            (Self::IcmpType, 9) => "router-advertisement",
            (Self::Icmp6Type, 133) => "nd-router-solicit",
            (Self::Icmp6Type, 134) => "nd-router-advert",
            (Self::Icmp6Type, 135) => "nd-neighbor-solicit",
            (Self::Icmp6Type, 136) => "nd-neighbor-advert",
            (Self::Icmp6Type, 137) => "nd-redirect",
            (Self::Icmp6Type, 143) => "mld2-listener-report",
            _ => return None,
        })
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let not = |negate: &bool| if *negate { "!= " } else { "" };
        match self {
            Self::Family(Family::V4) => f.write_str("meta nfproto ipv4"),
            Self::Family(Family::V6) => f.write_str("meta nfproto ipv6"),
            Self::DaddrLocal => f.write_str("fib daddr type local"),
            // nft lists a whole address without its length.
            Self::Prefix { field, prefix, negate } if prefix.prefix() == if prefix.is_ipv4() { 32 } else { 128 } => {
                write!(f, "{field} {}{}", not(negate), prefix.ip())
            }
            Self::Prefix { field, prefix, negate } => write!(f, "{field} {}{prefix}", not(negate)),
            Self::Iif { name, negate } => write!(f, "iifname {}\"{name}\"", not(negate)),
            Self::Oif { name, negate } => write!(f, "oifname {}\"{name}\"", not(negate)),
            Self::Ports { field, first, last } if first == last => write!(f, "{field} {first}"),
            Self::Ports { field, first, last } => write!(f, "{field} {first}-{last}"),
            Self::In { fields, set, negate } => write!(f, "{} {}@{set}", dotted(fields), not(negate)),
            Self::Established => f.write_str("ct state established,related"),
            Self::New => f.write_str("ct state new"),
            Self::Dnat => f.write_str("ct status dnat"),
            Self::Snat => f.write_str("ct status snat"),
            Self::Is { number, value, negate } => {
                write!(f, "{number} {}", not(negate))?;
                match number.word(*value) {
                    Some(word) => f.write_str(word),
                    None if *number == Number::NdOption => write!(f, "{value:#x}"),
                    None => write!(f, "{value}"),
                }
            }
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("counter drop"),
            Self::Refuse(prefix) => write!(f, "log prefix \"{prefix}\" group {REFUSED} counter drop"),
            Self::Count => f.write_str("counter"),
            Self::Counted(action) => write!(f, "counter {action}"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::FlowAdd(flowtable) => write!(f, "flow add @{flowtable}"),
            Self::MarkOr(bit) => write!(f, "meta mark set meta mark | {bit:#010x}"),
            Self::Masquerade { ports: None } => f.write_str("masquerade fully-random"),
            Self::Masquerade { ports: Some((first, last)) } => {
                write!(f, "masquerade to :{first}-{last} fully-random")
            }
            Self::DnatBy { fields, map, form } => {
                let (word, data) = match form {
                    DnatForm::AddrPort(family) => (family.word(), " addr . port"),
                    DnatForm::Addr(family) => (family.word(), ""),
                    DnatForm::Shift(family) => (family.word(), " addr . port-offset"),
                };
                write!(f, "dnat {word}{data} to {} map @{map}", dotted(fields))
            }
        }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {{ {}", self.set, Key(&self.key))?;
        if !self.data.is_empty() {
            write!(f, " : {}", dotted(&self.data))?;
        }
        f.write_str(" }")
    }
}

pub(super) struct Key<'a>(pub(super) &'a [Span]);

impl Display for Key<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&dotted(self.0))
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(datum) => datum.fmt(f),
            Self::Range(from, to) if from == to => from.fmt(f),
            Self::Range(from, to) => write!(f, "{from}-{to}"),
        }
    }
}

impl Display for Datum {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(ip) => ip.fmt(f),
            Self::V6(ip) => ip.fmt(f),
            Self::Proto(protocol) => protocol.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
            Self::Name(name) => {
                f.write_char('"')?;
                name.fmt(f)?;
                f.write_char('"')
            }
        }
    }
}
