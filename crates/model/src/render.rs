//! The text of operations: the commands of iproute2, nft, sysctl and conntrack that do the same.

mod nft;

use nft::{Key, dotted};

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
            Self::FlowtableLink { table, flowtable, dev } => {
                write!(f, "{} add flowtable {table} {flowtable} '{{ devices = {{ {dev} }}; }}'", nft_command(table))
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
