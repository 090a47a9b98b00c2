//! The text of operations: the commands of iproute2, nft, sysctl and conntrack that do the same.

use crate::flow::REFUSED;
use crate::link::Place;
use crate::nft::*;
use crate::op::{
    Blackhole, Final, Inverse, IpvlanMode, LinkFlag, MAIN_TABLE, MacvlanMode, Op, Plan, PolicyRule, Prohibit, Route,
    Upper,
};
use crate::rate::LATENCY_MS;
use std::fmt::{self, Display, Formatter, Write};
use std::net::IpAddr;

/// `ip`, or `ip -n NETNS` elsewhere than on the host.
fn ip_command(at: &Place) -> String {
    match at {
        Place::Host => "ip".into(),
        Place::Netns(netns) => format!("ip -n {netns}"),
    }
}

/// `tc`, or `tc -n NETNS` elsewhere than on the host.
fn tc_command(at: &Place) -> String {
    match at {
        Place::Host => "tc".into(),
        Place::Netns(netns) => format!("tc -n {netns}"),
    }
}

/// `nft`, elsewhere than on the host by `ip netns exec`.
fn nft_command(table: &TableName) -> String {
    match &table.at {
        Place::Host => "nft".into(),
        Place::Netns(netns) => format!("ip netns exec {netns} nft"),
    }
}

/// Text of a person within double quotes for a POSIX shell; such text is only ever shown.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' | '`' => out.extend(['\\', c]),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out + "\""
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetnsAdd { netns, variables } => {
                write!(f, "ip netns add {netns}\nip -n {netns} link set dev lo up")?;
                let at = Place::Netns(netns.clone());
                variables.iter().try_for_each(|(key, value)| {
                    f.write_char('\n')?;
                    sysctl(f, &at, key, value)
                })
            }
            Self::BridgeAdd { dev, mac, mtu, alias, group } => write!(
                f,
                "ip link add name {dev} address {mac} mtu {mtu} group {group} type bridge stp_state 0 mcast_snooping 0 no_linklocal_learn 1\nip link set dev {dev} alias {}",
                quoted(alias)
            ),
            Self::VethAdd { dev, mac, bridge, peer_at, peer, peer_mac, mtu, group } => {
                write!(f, "ip link add name {dev} ")?;
                mac.iter().try_for_each(|mac| write!(f, "address {mac} "))?;
                write!(f, "mtu {mtu} group {group} ")?;
                bridge.iter().try_for_each(|bridge| write!(f, "master {bridge} "))?;
                write!(f, "type veth peer name {peer} address {peer_mac} mtu {mtu}")?;
                match peer_at {
                    Place::Host => Ok(()),
                    Place::Netns(netns) => write!(f, " netns {netns}"),
                }
            }
            Self::PortUp { dev, hairpin, isolated, alias } => write!(
                f,
                "ip link set dev {dev} up alias {} type bridge_slave hairpin {} isolated {}",
                quoted(alias),
                on_off(*hairpin),
                on_off(*isolated)
            ),
            Self::UpperAdd { .. } | Self::LinkMove { .. } => self.render_placed(f),
            Self::LinkFlag { at, dev, flag, on } => {
                let flag = match flag {
                    LinkFlag::Promisc => "promisc",
                    LinkFlag::Allmulti => "allmulticast",
                };
                write!(f, "{} link set dev {dev} {flag} {}", ip_command(at), on_off(*on))
            }
            Self::LinkQueue { at, dev, length } => {
                write!(f, "{} link set dev {dev} txqueuelen {length}", ip_command(at))
            }
            Self::LinkGroup { dev, group } => write!(f, "ip link set dev {dev} group {group}"),
            Self::LinkDel { at, dev } => write!(f, "{} link del dev {dev}", ip_command(at)),
            Self::LinkUp { at, dev } => write!(f, "{} link set dev {dev} up", ip_command(at)),
            Self::LinkDown { at, dev } => write!(f, "{} link set dev {dev} down", ip_command(at)),
            Self::LinkMtu { at, dev, mtu } => write!(f, "{} link set dev {dev} mtu {mtu}", ip_command(at)),
            Self::LinkMac { at, dev, mac } => write!(f, "{} link set dev {dev} address {mac}", ip_command(at)),
            Self::RateSet { at, dev, rate, burst } => write!(
                f,
                "{} qdisc replace dev {dev} root tbf rate {rate} burst {burst}b latency {LATENCY_MS}ms",
                tc_command(at)
            ),
            Self::RateDel { at, dev } => write!(f, "{} qdisc del dev {dev} root", tc_command(at)),
            Self::AddrAdd { at, dev, addr } => {
                let nodad = if addr.is_ipv6() { " nodad" } else { "" };
                write!(f, "{} addr add {addr} dev {dev}{nodad}", ip_command(at))
            }
            Self::AddrDel { at, dev, addr } => write!(f, "{} addr del {addr} dev {dev}", ip_command(at)),
            Self::RouteAdd(route) => route.render(f, "add"),
            Self::RouteDel(route) => route.render(f, "del"),
            Self::RuleAdd(rule) => rule.render(f, "add"),
            Self::RuleDel(rule) => rule.render(f, "del"),
            Self::ProhibitAdd(route) => route.render(f, "add"),
            Self::ProhibitDel(route) => route.render(f, "del"),
            Self::BlackholeAdd(Blackhole { at, to }) => blackhole(f, at, to, "add"),
            Self::BlackholeDel(Blackhole { at, to }) => blackhole(f, at, to, "del"),
            Self::Sysctl { at, key, value } => sysctl(f, at, key, value),
            Self::TableAdd(ruleset) => write!(f, "{} -f - <<'EOF'\n{ruleset}EOF", nft_command(&ruleset.table)),
            Self::TableDel { table } => write!(f, "{} delete table {table}", nft_command(table)),
            Self::SetAdd { .. } | Self::SetDel { .. } | Self::ChainSet { .. } | Self::ChainDel { .. } => {
                self.render_part(f)
            }
            Self::ElementAdd { table, element } => write!(f, "{} add element {table} {element}", nft_command(table)),
            Self::ElementDel { table, element } => {
                let (nft, set) = (nft_command(table), &element.set);
                write!(f, "{nft} delete element {table} {set} {{ {} }}", Key(&element.key))
            }
        }
    }
}

impl Op {
    /// A part of a table that is there.
    fn render_part(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAdd { table, set } => {
                let kind = if set.data.is_empty() { "set" } else { "map" };
                write!(f, "{} add {kind} {table} {} '{{ type {}", nft_command(table), set.name, dotted(&set.key))?;
                if !set.data.is_empty() {
                    write!(f, " : {}", dotted(&set.data))?;
                }
                f.write_str(if set.interval { "; flags interval; }'" } else { "; }'" })
            }
            Self::SetDel { table, set } => write!(f, "{} delete set {table} {}", nft_command(table), set.name),
            Self::ChainSet { table, chain, .. } => {
                write!(f, "{} -f - <<'EOF'\nadd chain {table} {}", nft_command(table), chain.name)?;
                chain.base.iter().try_for_each(|base| write!(f, " {{ {base} }}"))?;
                write!(f, "\nflush chain {table} {}", chain.name)?;
                let add = |rule: &Rule| write!(f, "\nadd rule {table} {} {rule}", chain.name);
                chain.rules.iter().try_for_each(add)?;
                f.write_str("\nEOF")
            }
            Self::ChainDel { table, chain } => write!(f, "{} delete chain {table} {}", nft_command(table), chain.name),
            _ => Ok(()),
        }
    }

    /// What is born in, or moved to, another namespace than the command is given in.
    fn render_placed(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let place = |f: &mut Formatter<'_>, at: &Place| match at {
            // By the process that is there from the machine's start.
            Place::Host => f.write_str(" netns 1"),
            Place::Netns(netns) => write!(f, " netns {netns}"),
        };
        match self {
            Self::UpperAdd { at, dev, kind, lower_at, lower, mtu, mac, alias } => {
                write!(f, "{} link add name {dev} link {lower}", ip_command(lower_at))?;
                mtu.iter().try_for_each(|mtu| write!(f, " mtu {mtu}"))?;
                mac.iter().try_for_each(|mac| write!(f, " address {mac}"))?;
                if at != lower_at {
                    place(f, at)?;
                }
                write!(f, " {kind}")?;
                let label =
                    |alias: &String| write!(f, "\n{} link set dev {dev} alias {}", ip_command(at), quoted(alias));
                alias.iter().try_for_each(label)
            }
            Self::LinkMove { from, dev, to, name } => {
                write!(f, "{} link set dev {dev}", ip_command(from))?;
                place(f, to)?;
                if name == dev { Ok(()) } else { write!(f, " name {name}") }
            }
            _ => Ok(()),
        }
    }
}

impl Display for Upper {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Macvlan(mode) => write!(
                f,
                "type macvlan mode {}",
                match mode {
                    MacvlanMode::Bridge => "bridge",
                    MacvlanMode::Private => "private",
                    MacvlanMode::Vepa => "vepa",
                    MacvlanMode::Passthru => "passthru",
                }
            ),
            Self::Ipvlan(mode) => write!(
                f,
                "type ipvlan mode {}",
                match mode {
                    IpvlanMode::L2 => "l2",
                    IpvlanMode::L3 => "l3",
                    IpvlanMode::L3s => "l3s",
                }
            ),
            Self::Vlan(id) => write!(f, "type vlan id {id}"),
        }
    }
}

fn sysctl(f: &mut Formatter<'_>, at: &Place, key: &str, value: &str) -> fmt::Result {
    // sysctl(8) takes slashes, which leaves dots in link names alone.
    match at {
        Place::Host => write!(f, "sysctl -w {key}={}", value_text(value)),
        Place::Netns(netns) => write!(f, "ip netns exec {netns} sysctl -w {key}={}", value_text(value)),
    }
}

fn value_text(value: &str) -> String {
    if value.contains(char::is_whitespace) { quoted(value) } else { value.into() }
}

impl Route {
    fn render(&self, f: &mut Formatter<'_>, verb: &str) -> fmt::Result {
        let six = matches!(self.via, Some(IpAddr::V6(_))) || self.to.is_some_and(|to| to.is_ipv6());
        write!(f, "{} {}route {verb} ", ip_command(&self.at), if six { "-6 " } else { "" })?;
        match self.to {
            Some(to) => write!(f, "{to}")?,
            None => f.write_str("default")?,
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        // Without it the route would look like one made at boot.
        write!(f, " dev {} proto static", self.dev)?;
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        let options = &self.options;
        for (word, value) in [("metric", options.priority), ("mtu", options.mtu), ("advmss", options.advmss)] {
            value.iter().try_for_each(|value| write!(f, " {word} {value}"))?;
        }
        options.scope.iter().try_for_each(|scope| write!(f, " scope {scope}"))?;
        if options.onlink { f.write_str(" onlink") } else { Ok(()) }
    }
}

/// `-6 ` where ip(8) would take the family for IPv4.
fn six(is_six: bool) -> &'static str {
    if is_six { "-6 " } else { "" }
}

impl PolicyRule {
    fn render(&self, f: &mut Formatter<'_>, verb: &str) -> fmt::Result {
        write!(f, "ip {}rule {verb} pref {}", six(self.family == Family::V6), self.pref)?;
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        if let Some(mark) = self.mark {
            write!(f, " fwmark {mark:#x}/{mark:#x}")?;
        }
        match self.table {
            MAIN_TABLE => f.write_str(" lookup main"),
            table => write!(f, " lookup {table}"),
        }
    }
}

impl Prohibit {
    fn render(&self, f: &mut Formatter<'_>, verb: &str) -> fmt::Result {
        write!(f, "ip {}route {verb} prohibit {} table {} proto static", six(self.to.is_ipv6()), self.to, self.table)
    }
}

fn blackhole(f: &mut Formatter<'_>, at: &Place, to: &ipnetwork::IpNetwork, verb: &str) -> fmt::Result {
    write!(f, "{} {}route {verb} blackhole {to} proto static", ip_command(at), six(to.is_ipv6()))
}

impl Display for Final {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::FlushConntrack { protocol, host, ports, .. } => {
                write!(f, "conntrack -D -p {protocol}")?;
                if let Some(ip) = host.specific() {
                    write!(f, " -d {ip}")?;
                }
                write!(f, " --dport {ports}")
            }
            Self::Announce { at, dev, ip, mac } => match (at, ip) {
                (Place::Netns(n), IpAddr::V4(_)) => write!(f, "ip netns exec {n} arping -U -c 1 -I {dev} {ip} # {mac}"),
                (Place::Netns(n), IpAddr::V6(_)) => write!(f, "ip netns exec {n} ndsend {ip} {dev} # {mac}"),
                (Place::Host, IpAddr::V4(_)) => write!(f, "arping -U -c 1 -I {dev} {ip} # {mac}"),
                (Place::Host, IpAddr::V6(_)) => write!(f, "ndsend {ip} {dev} # {mac}"),
            },
            Self::LinkDrop { dev } => write!(f, "ip link del dev {dev}"),
            Self::NetnsDrop { netns } => write!(f, "ip netns del {netns}"),
        }
    }
}

impl Display for Inverse {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Op(op) => op.fmt(f),
            Self::Restore { at, key, previous, .. } => sysctl(f, at, key, previous),
            Self::NetnsDrop { netns } => write!(f, "ip netns del {netns}"),
            Self::Nothing => Ok(()),
        }
    }
}

/// One command a line.
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))?;
        self.then.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

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
        self.sets.iter().try_for_each(|set| write!(f, "{set}"))?;
        self.chains.iter().try_for_each(|chain| write!(f, "{chain}"))?;
        writeln!(f, "}}")
    }
}

fn dotted<T: Display>(items: &[T]) -> String {
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

struct Key<'a>(&'a [Span]);

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
