//! The source guard: what a container may call itself.
//!
//! Everybody on a bridge believes what he is told: who sends a frame, who has an address, who is the router. So a port
//! of ours may speak in its own name alone. One static table of family `bridge`, asked before a frame is switched,
//! handed to the host or learned from; an endpoint is a few elements of its sets. Ports are known by the group of their
//! links: one that has no elements, not yet or not any more, may say nothing.

use crate::settings::{DOOMED, Settings};
use ipnetwork::IpNetwork;
use netmode_model::nft::*;
use netmode_model::{IfName, Mac};
use std::net::{IpAddr, Ipv6Addr};

/// Hardware addresses with the port of each.
pub const PORT_MAC: &str = "port_mac";
/// IPv4 addresses with the port of each.
pub const PORT_IP4: &str = "port_ip4";
/// IPv6 addresses with the port of each.
pub const PORT_IP6: &str = "port_ip6";

/// ICMPv6 types, RFC 4861 §4 and RFC 3810 §5.2.
mod icmp6 {
    pub(super) const ROUTER_SOLICIT: u32 = 133;
    pub(super) const ROUTER_ADVERT: u32 = 134;
    pub(super) const NEIGHBOUR_SOLICIT: u32 = 135;
    pub(super) const NEIGHBOUR_ADVERT: u32 = 136;
    pub(super) const REDIRECT: u32 = 137;
    pub(super) const MLD2_REPORT: u32 = 143;
    /// The protocol.
    pub(super) const PROTOCOL: u32 = 58;
}

/// The whole table.
pub fn ruleset(settings: &Settings) -> Ruleset {
    let set = |name: &str, t| Set { name: name.into(), key: vec![Type::IfName, t], data: vec![], interval: false };
    Ruleset {
        table: TableName::bridge(&settings.table),
        owner: settings.own_table,
        flowtable: None,
        sets: vec![set(PORT_MAC, Type::EtherAddr), set(PORT_IP4, Type::Ipv4Addr), set(PORT_IP6, Type::Ipv6Addr)],
        chains: vec![
            chain("from_port_arp", arp()),
            chain("from_port_ip4", ip4()),
            chain("from_port_nd", nd()),
            chain("from_port_ip6", ip6()),
            chain("from_port", from_port()),
            Chain {
                name: "source_guard".into(),
                // Before whatever else a bridge's hook does with a frame: -300 is translation, 0 iptables.
                base: Some(Base { kind: ChainKind::Filter, hook: Hook::Prerouting, priority: -310 }),
                // A link that is about to be deleted is in another group.
                rules: [settings.group, DOOMED].map(|g| rule([is(Number::Iifgroup, g)], jump("from_port"))).into(),
            },
        ],
    }
}

/// The elements of an endpoint.
pub fn elements(dev: &IfName, mac: Mac, addrs: &[IpNetwork]) -> Vec<Element> {
    let port = || Span::One(Datum::Name(dev.clone()));
    let of = |set: &str, datum| Element { set: set.into(), key: vec![port(), Span::One(datum)], data: vec![] };
    let mut elements = vec![of(PORT_MAC, Datum::Mac(mac))];
    elements.extend(addrs.iter().map(|addr| match addr.ip() {
        IpAddr::V4(ip) => of(PORT_IP4, Datum::V4(ip)),
        IpAddr::V6(ip) => of(PORT_IP6, Datum::V6(ip)),
    }));
    if addrs.iter().any(IpNetwork::is_ipv6) {
        elements.push(of(PORT_IP6, Datum::V6(link_local(mac))));
    }
    elements
}

/// The link-local address that the kernel gives a link by its hardware address (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

fn chain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), base: None, rules }
}

fn rule(matches: impl IntoIterator<Item = Match>, action: Action) -> Rule {
    Rule { matches: matches.into_iter().collect(), action }
}

fn drop_if(matches: impl IntoIterator<Item = Match>) -> Rule {
    rule(matches, Action::Drop)
}

fn jump(chain: &str) -> Action {
    Action::Jump(chain.into())
}

fn is(number: Number, value: u32) -> Match {
    Match::Is { number, value, negate: false }
}

fn is_not(number: Number, value: u32) -> Match {
    Match::Is { number, value, negate: true }
}

/// The field is one of the port's own.
fn own(field: Field, set: &str, negate: bool) -> Match {
    Match::In { fields: vec![Field::Iifname, field], set: set.into(), negate }
}

/// IPv4, IPv6 and ARP in the port's own name. All else is dropped: other protocols, and VLAN tags, which would hide
/// what is behind them.
fn from_port() -> Vec<Rule> {
    let kind = |ether_type, chain| rule([is(Number::EtherType, ether_type)], jump(chain));
    vec![
        drop_if([own(Field::EtherSaddr, PORT_MAC, true)]),
        kind(0x0800, "from_port_ip4"),
        kind(0x86dd, "from_port_ip6"),
        kind(0x0806, "from_port_arp"),
        drop_if([]),
    ]
}

/// A probe (RFC 5227 §1.1) has no sender's address yet, and nobody learns from it.
fn arp() -> Vec<Rule> {
    let nobody = Match::Prefix { field: Field::ArpSaddrIp, prefix: IpAddr::from([0; 4]).into(), negate: false };
    let mac = || own(Field::ArpSaddrEther, PORT_MAC, false);
    vec![
        rule([mac(), own(Field::ArpSaddrIp, PORT_IP4, false)], Action::Accept),
        rule([mac(), is(Number::ArpOperation, 1), nobody], Action::Accept),
        drop_if([]),
    ]
}

/// No word of a router or a DHCP server: its answers come from port 67 or go to port 68 (RFC 2131 §4.1).
fn ip4() -> Vec<Rule> {
    vec![
        drop_if([own(Field::Saddr(Family::V4), PORT_IP4, true)]),
        rule([is(Number::L4Proto, 6)], Action::Accept),
        drop_if([is(Number::UdpSport, 67)]),
        drop_if([is(Number::UdpDport, 68)]),
        drop_if([is(Number::IcmpType, 5)]),
        drop_if([is(Number::IcmpType, 9)]),
        rule([], Action::Accept),
    ]
}

/// The unspecified address has one use, to ask whether an address is free (RFC 4862 §5.4.2), and the multicast group
/// for that. DHCPv6 answers from port 547 to port 546 (RFC 8415 §7.2).
fn ip6() -> Vec<Rule> {
    let nobody = Match::Prefix {
        field: Field::Saddr(Family::V6),
        prefix: IpAddr::from(Ipv6Addr::UNSPECIFIED).into(),
        negate: false,
    };
    vec![
        rule([own(Field::Saddr(Family::V6), PORT_IP6, false), is(Number::L4Proto, 6)], Action::Accept),
        rule([is(Number::L4Proto, icmp6::PROTOCOL)], jump("from_port_nd")),
        rule(
            [nobody.clone(), is(Number::Icmp6Type, icmp6::NEIGHBOUR_SOLICIT), own(Field::NdTarget, PORT_IP6, false)],
            Action::Accept,
        ),
        rule([nobody, is(Number::Icmp6Type, icmp6::MLD2_REPORT)], Action::Accept),
        drop_if([own(Field::Saddr(Family::V6), PORT_IP6, true)]),
        drop_if([is(Number::UdpSport, 547)]),
        drop_if([is(Number::UdpDport, 546)]),
        rule([], Action::Accept),
    ]
}

/// Neighbour discovery: no word of a router, and none that a router would answer, since there is none. Solicitations
/// and advertisements stand right behind the IPv6 header, and have no option, or one that fits in 8 bytes: then its
/// place is known. Where it is a hardware address it is the port's own, and so is the target of an advertisement.
fn nd() -> Vec<Rule> {
    let mut rules = vec![
        drop_if([is(Number::Icmp6Type, icmp6::ROUTER_ADVERT)]),
        drop_if([is(Number::Icmp6Type, icmp6::REDIRECT)]),
        drop_if([is(Number::Icmp6Type, icmp6::ROUTER_SOLICIT)]),
    ];
    for kind in [icmp6::NEIGHBOUR_SOLICIT, icmp6::NEIGHBOUR_ADVERT] {
        let this = || is(Number::Icmp6Type, kind);
        rules.push(drop_if([this(), is_not(Number::Ip6NextHeader, icmp6::PROTOCOL)]));
        rules.push(drop_if([this(), is_not(Number::Ip6Length, 24), is_not(Number::Ip6Length, 32)]));
        for option in [1, 2] {
            rules.push(drop_if([this(), is(Number::NdOption, option), own(Field::NdLladdr, PORT_MAC, true)]));
        }
    }
    rules.push(drop_if([is(Number::Icmp6Type, icmp6::NEIGHBOUR_ADVERT), own(Field::NdTarget, PORT_IP6, true)]));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_as_text() {
        insta::assert_snapshot!(ruleset(&Settings::default()).to_string());
    }

    #[test]
    fn the_link_local_address_is_made_of_the_hardware_address() {
        let mac = Mac::from_octets([0x02, 0x42, 0xac, 0x11, 0x00, 0x02]);
        assert_eq!(link_local(mac).to_string(), "fe80::42:acff:fe11:2");
    }
}
