//! The one nf_tables table: static rules, and sets that endpoints are elements of.
//!
//! No rule is added when a container starts. A packet meets at most a handful of rules and hash
//! look-ups, however many ports are published.

mod names;

use names::SHADOWS;
pub use names::*;

use crate::settings::Settings;
use ipnetwork::{IpNetwork, Ipv4Network};
use netmode_model::nft::*;
use netmode_model::{PortRange, Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The rules of our tables.
pub fn rulesets(settings: &Settings) -> Vec<Ruleset> {
    let guard = settings.source_guard.then(|| crate::source_guard::ruleset(settings));
    std::iter::once(ruleset(settings)).chain(guard).collect()
}

/// The whole table. No chain bears a word of nft(8): it could not be named in a command.
pub fn ruleset(settings: &Settings) -> Ruleset {
    Ruleset {
        table: TableName::inet(&settings.table),
        owner: settings.own_table,
        flowtable: (!settings.flowtable.is_empty()).then(|| FLOWTABLE.into()),
        sets: sets(),
        chains: vec![
            loopback_shield(settings.group),
            publish(),
            hook("prerouting_nat", ChainKind::Nat, Hook::Prerouting, -100, to_publish()),
            hook("output_nat", ChainKind::Nat, Hook::Output, -100, to_publish_from_here()),
            guard_mark(settings.mark),
            to_container(settings),
            hook("forward_filter", ChainKind::Filter, Hook::Forward, 0, forward(settings)),
            outward(settings.outward),
            masquerade(),
            no_shadow(),
            // Behind the translation, before the connection is confirmed.
            hook(
                "port_shadow",
                ChainKind::Filter,
                Hook::Postrouting,
                110,
                vec![
                    rule([Match::New, Match::Snat, iif_ours(false)], jump("no_shadow")),
                    rule([Match::New, Match::Snat, is_in(&[Field::Iifname], OPEN)], jump("no_shadow")),
                    rule([Match::New, Match::Snat, is_in(&[Field::Iifname], ENIS)], jump("no_shadow")),
                ],
            ),
        ],
    }
}

fn address(family: Family) -> Type {
    match family {
        Family::V4 => Type::Ipv4Addr,
        Family::V6 => Type::Ipv6Addr,
    }
}

fn sets() -> Vec<Set> {
    let set = |name: &str, key: Vec<Type>, data: Vec<Type>, interval| Set { name: name.into(), key, data, interval };
    let mut sets = vec![
        set(BRIDGES, vec![Type::IfName], vec![], false),
        set(SAME_BRIDGE, vec![Type::IfName, Type::IfName], vec![], false),
        set(INTERNAL, vec![Type::IfName], vec![], false),
        set(OPEN, vec![Type::IfName], vec![], false),
        set(APART, vec![Type::IfName], vec![], false),
        set(ENIS, vec![Type::IfName], vec![], false),
        set(EGRESS_ONLY, vec![Type::Ipv6Addr], vec![], true),
    ];
    for family in [Family::V4, Family::V6] {
        sets.push(set(closed(family), vec![Type::IfName], vec![], false));
        sets.push(set(tasks(family), vec![address(family)], vec![], false));
        for name in [subnets(family), vpc(family), vpc_nat(family)] {
            sets.push(set(name, vec![address(family)], vec![], true));
        }
        sets.push(set(home(family), vec![address(family), Type::IfName], vec![], true));
        for guest in [Guests::Masquerade, Guests::Hairpin, Guests::Behind] {
            sets.push(set(guests(guest, family), vec![address(family)], vec![], false));
        }
        sets.push(set(guests(Guests::Plain, family), vec![address(family), address(family)], vec![], true));
        for form in FORMS {
            for with_address in [true, false] {
                let mut key = vec![Type::InetProto, Type::InetService];
                if with_address {
                    key.insert(1, address(family));
                }
                let mut data = vec![address(family)];
                data.extend(vec![Type::InetService; ports_in_data(form)]);
                sets.push(set(map(form, with_address, family), key, data, form != Form::Port));
            }
        }
        for (range, with_address) in SHADOWS {
            let mut key = vec![Type::InetProto, Type::InetService];
            if with_address {
                key.insert(1, address(family));
            }
            sets.push(set(shadow(range, with_address, family), key, vec![], range));
        }
    }
    sets
}

fn ports_in_data(form: Form) -> usize {
    match form {
        Form::Port => 1,
        Form::Range => 0,
        Form::Shift => 2,
    }
}

fn rule(matches: impl IntoIterator<Item = Match>, action: Action) -> Rule {
    Rule { matches: matches.into_iter().collect(), action }
}

fn jump(chain: &str) -> Action {
    Action::Jump(chain.into())
}

fn hook(name: &str, kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), base: Some(Base { kind, hook, priority }), rules }
}

fn iif_ours(negate: bool) -> Match {
    Match::In { fields: vec![Field::Iifname], set: BRIDGES.into(), negate }
}

fn oif_ours(negate: bool) -> Match {
    Match::In { fields: vec![Field::Oifname], set: BRIDGES.into(), negate }
}

fn is_in(fields: &[Field], set: &str) -> Match {
    Match::In { fields: fields.to_vec(), set: set.into(), negate: false }
}

fn not_in(fields: &[Field], set: &str) -> Match {
    Match::In { fields: fields.to_vec(), set: set.into(), negate: true }
}

fn same_bridge(negate: bool) -> Match {
    Match::In { fields: vec![Field::Iifname, Field::Oifname], set: SAME_BRIDGE.into(), negate }
}

/// By the links of subnets the host forwards for tasks alone. A machine of a LAN could send to the host's own macvlan
/// there, and have it forwarded past what is said of the link below.
fn for_tasks(family: Family) -> [Rule; 5] {
    let pass = |link, address| {
        let of_task = is_in(&[address], tasks(family));
        rule([Match::Family(family), is_in(&[link], ENIS), of_task], Action::Accept)
    };
    let drop = |from, to| {
        let pair = [is_in(&[Field::Iifname], from), is_in(&[Field::Oifname], to)];
        rule(std::iter::once(Match::Family(family)).chain(pair), Action::Drop)
    };
    [
        pass(Field::Iifname, Field::Saddr(family)),
        pass(Field::Oifname, Field::Daddr(family)),
        drop(ENIS, closed(family)),
        drop(closed(family), ENIS),
        drop(ENIS, ENIS),
    ]
}

/// What is forwarded: an internal network's packets only to itself; to a container what [`to_container`] lets in; and
/// between others' links nothing where the host forwards only for us.
fn forward(settings: &Settings) -> Vec<Rule> {
    let internal = Match::In { fields: vec![Field::Iifname], set: INTERNAL.into(), negate: false };
    let strangers = |family| {
        let closed = |field| Match::In { fields: vec![field], set: closed(family).into(), negate: false };
        rule([Match::Family(family), closed(Field::Iifname), closed(Field::Oifname)], Action::Drop)
    };
    let mut rules = vec![
        rule([internal, same_bridge(true)], Action::Drop),
        rule([oif_ours(false)], jump("to_container")),
        rule([iif_ours(false)], Action::Accept),
        // An egress-only internet gateway, where this host is one.
        rule(
            [
                Match::Family(Family::V6),
                Match::New,
                is_in(&[Field::Daddr(Family::V6)], EGRESS_ONLY),
                not_in(&[Field::Saddr(Family::V6)], vpc(Family::V6)),
            ],
            Action::Drop,
        ),
        rule([is_in(&[Field::Iifname], APART), is_in(&[Field::Oifname], APART), same_bridge(true)], Action::Drop),
    ];
    for family in [Family::V4, Family::V6] {
        let to_task =
            [Match::Family(family), is_in(&[Field::Oifname], ENIS), is_in(&[Field::Daddr(family)], tasks(family))];
        rules.extend(by_flowtable(settings, &to_task));
        rules.extend(for_tasks(family));
    }
    rules.extend([strangers(Family::V4), strangers(Family::V6)]);
    rules
}

/// From a prefix to the bridge that has it. Which link the packet came by is not known here: a bridge that
/// passes its frames through iptables (`bridge-nf-call-iptables`) does not tell.
fn at_home(family: Family) -> Match {
    Match::In { fields: vec![Field::Saddr(family), Field::Oifname], set: home(family).into(), negate: false }
}

fn loopback(field: Field) -> Match {
    let prefix = Ipv4Network::new(Ipv4Addr::new(127, 0, 0, 0), 8).unwrap_or_else(|_| unreachable!("a constant prefix"));
    Match::Prefix { field, prefix: prefix.into(), negate: false }
}

fn not_loopback6() -> Match {
    let field = Field::Daddr(Family::V6);
    Match::Prefix { field, prefix: IpAddr::from(Ipv6Addr::LOCALHOST).into(), negate: true }
}

/// Nothing that comes by a wire is for 127.0.0.0/8. Our bridges have `route_localnet`, so that 127.0.0.1 can be
/// translated, and translation comes before the kernel's own check: without this rule a container could reach
/// what listens on the host's loopback, and a machine on the LAN what is published there (CVE-2020-8558).
///
/// Neither does anything come by a port of a bridge, but by the bridge; only frames to a link-local group do
/// (01:80:c2:00:00:0x, Linux `br_handle_frame`), past whatever is said of the bridge.
fn loopback_shield(ports: u32) -> Chain {
    let port = Match::Is { number: Number::Iifgroup, value: ports, negate: false };
    let wire = Match::Iif { name: "lo".parse().unwrap_or_else(|_| unreachable!("a constant name")), negate: true };
    let rules = vec![
        rule([wire, Match::Family(Family::V4), loopback(Field::Daddr(Family::V4))], Action::Drop),
        rule([port, iif_ours(true), not_in(&[Field::Iifname], OPEN), not_in(&[Field::Iifname], ENIS)], Action::Drop),
    ];
    hook("loopback_shield", ChainKind::Filter, Hook::Prerouting, -300, rules)
}

fn to_publish() -> Vec<Rule> {
    vec![rule([Match::DaddrLocal], jump("publish"))]
}

/// As what arrives, but not what is for `::1`: a container cannot be reached from there, so the agent carries it.
fn to_publish_from_here() -> Vec<Rule> {
    vec![
        rule([Match::Family(Family::V4), Match::DaddrLocal], jump("publish")),
        rule([Match::Family(Family::V6), not_loopback6(), Match::DaddrLocal], jump("publish")),
    ]
}

/// Asks the maps one after the other; a key that is not there passes on to the next.
fn publish() -> Chain {
    let mut rules = Vec::new();
    for family in [Family::V4, Family::V6] {
        for form in FORMS {
            for with_address in [true, false] {
                let mut fields = vec![Field::L4Proto, Field::Dport];
                if with_address {
                    fields.insert(1, Field::Daddr(family));
                }
                let dnat = match form {
                    Form::Port => DnatForm::AddrPort(family),
                    Form::Range => DnatForm::Addr(family),
                    Form::Shift => DnatForm::Shift(family),
                };
                let map = map(form, with_address, family).into();
                rules.push(rule([Match::Family(family)], Action::DnatBy { fields, map, form: dnat }));
            }
        }
    }
    Chain { name: "publish".into(), base: None, rules }
}

/// Marks what the policy routing guard may let through to a container. To tasks of the VPC everything: their security
/// groups decide.
fn guard_mark(bit: u32) -> Chain {
    let mark = |m: Match| rule([m], Action::MarkOr(bit));
    let to_vpc = |family| {
        let to = is_in(&[Field::Daddr(family)], vpc(family));
        rule([Match::Family(family), to], Action::MarkOr(bit))
    };
    let rules = vec![
        mark(iif_ours(false)),
        mark(Match::Dnat),
        mark(Match::Established),
        to_vpc(Family::V4),
        to_vpc(Family::V6),
    ];
    hook("guard_mark", ChainKind::Filter, Hook::Prerouting, -90, rules)
}

/// Has the kernel carry an established connection by the flowtable, if there is one. It is asked of packets to containers
/// alone: only those have the mark by which the way back to a container is found, too.
fn by_flowtable(settings: &Settings, to: &[Match]) -> Vec<Rule> {
    let by = |protocol: Protocol| {
        let own = [Match::Established, with_protocol(protocol)];
        rule(to.iter().cloned().chain(own), Action::FlowAdd(FLOWTABLE.into()))
    };
    let wanted = !settings.flowtable.is_empty();
    [Protocol::Tcp, Protocol::Udp].into_iter().filter(|_| wanted).map(by).collect()
}

fn with_protocol(protocol: Protocol) -> Match {
    Match::Is { number: Number::L4Proto, value: protocol.number().into(), negate: false }
}

/// What may be forwarded to a container: replies, published ports, neighbours on the same bridge.
fn to_container(settings: &Settings) -> Chain {
    let mut rules = by_flowtable(settings, &[]);
    rules.extend([
        rule([Match::Established], Action::Accept),
        rule([Match::Dnat], Action::Accept),
        rule([same_bridge(false)], Action::Accept),
        rule([], Action::Drop),
    ]);
    Chain { name: "to_container".into(), base: None, rules }
}

/// Who gets the host's address, or the gateway's.
fn masquerade() -> Chain {
    let from_us = |family| Match::In { fields: vec![Field::Saddr(family)], set: subnets(family).into(), negate: false };
    let rules = vec![
        rule([Match::Family(Family::V4), from_us(Family::V4), oif_ours(true)], jump("outward")),
        rule([Match::Family(Family::V6), from_us(Family::V6), oif_ours(true)], jump("outward")),
        // A container cannot answer to 127.0.0.1.
        rule([Match::Family(Family::V4), loopback(Field::Saddr(Family::V4)), oif_ours(false)], jump("outward")),
        // To a neighbour or to itself through a published port: the answer would go straight over
        // the bridge, past the translation.
        rule([Match::Dnat, at_home(Family::V4)], jump("outward")),
        rule([Match::Dnat, at_home(Family::V6)], jump("outward")),
        out_of_vpc(Family::V4),
        out_of_vpc(Family::V6),
    ];
    let rules = rules.into_iter().chain([Family::V4, Family::V6].into_iter().flat_map(masquerade_guests)).collect();
    hook("postrouting_nat", ChainKind::Nat, Hook::Postrouting, 100, rules)
}

/// Between addresses of the VPC nothing is translated.
fn out_of_vpc(family: Family) -> Rule {
    let from = is_in(&[Field::Saddr(family)], vpc_nat(family));
    let outside = not_in(&[Field::Daddr(family)], vpc(family));
    rule([Match::Family(family), from, outside, not_in(&[Field::Oifname], ENIS)], jump("outward"))
}

/// The same for CNI's attachments, as the reference plugins have it: one address at a time, but for what stays within
/// its prefixes or is for a group.
fn masquerade_guests(family: Family) -> Vec<Rule> {
    let from = || is_in(&[Field::Saddr(family)], guests(Guests::Masquerade, family));
    let to = |set| is_in(&[Field::Daddr(family)], guests(set, family));
    let pair = [Field::Saddr(family), Field::Daddr(family)];
    let plain = |negate| Match::In { fields: pair.to_vec(), set: guests(Guests::Plain, family).into(), negate };
    let group = Match::Prefix { field: Field::Daddr(family), prefix: groups(family), negate: true };
    let mut rules = vec![
        rule([Match::Family(family), from(), plain(true), group], jump("outward")),
        rule([Match::Family(family), Match::Dnat, to(Guests::Hairpin), plain(false)], jump("outward")),
        rule([Match::Family(family), Match::Dnat, to(Guests::Behind)], jump("outward")),
    ];
    if family == Family::V4 {
        let inside = loopback(Field::Saddr(family));
        rules.push(rule([Match::Family(family), Match::Dnat, to(Guests::Hairpin), inside], jump("outward")));
    }
    rules
}

/// Addresses of groups (RFC 5771, RFC 4291 §2.7).
fn groups(family: Family) -> IpNetwork {
    let (ip, length): (IpAddr, u8) = match family {
        Family::V4 => (Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        Family::V6 => (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    };
    IpNetwork::new(ip, length).unwrap_or_else(|_| unreachable!("a constant prefix"))
}

/// Translates the source. Without a range the kernel gives a port below 512 for one below 512, and with enough
/// connections every one of them, 53 and 443 too: then what others send to the service there would be taken for an
/// answer and go to the container (port shadow, CVE-2021-3773).
fn outward(ports: PortRange) -> Chain {
    let to = || Action::Masquerade { ports: Some((ports.first(), ports.last())) };
    let mut rules: Vec<Rule> =
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(|p| rule([with_protocol(p)], to())).into();
    rules.push(rule([], Action::Masquerade { ports: None }));
    Chain { name: "outward".into(), base: None, rules }
}

/// Where a published port lies within that range, a connection that would get it is dropped before it is tracked; its
/// next packet gets another port.
fn no_shadow() -> Chain {
    let mut rules = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (range, with_address) in SHADOWS {
            let mut fields = vec![Field::L4Proto, Field::Sport];
            if with_address {
                fields.insert(1, Field::Saddr(family));
            }
            let taken = Match::In { fields, set: shadow(range, with_address, family).into(), negate: false };
            rules.push(rule([Match::Family(family), taken], Action::Drop));
        }
    }
    Chain { name: "no_shadow".into(), base: None, rules }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_as_text() {
        insta::assert_snapshot!(ruleset(&Settings::default()).to_string());
    }

    #[test]
    fn a_flowtable_is_asked_behind_what_refuses_and_for_what_goes_to_containers_alone() {
        let settings = Settings { flowtable: vec!["eth0".parse().unwrap()], ..Settings::default() };
        let text = ruleset(&settings).to_string();
        let adds: Vec<&str> =
            text.lines().map(str::trim).filter(|line| line.ends_with("flow add @fast_path")).collect();
        assert_eq!(adds.len(), 6, "{text}");
        assert_eq!(adds[0], "ct state established,related meta l4proto tcp flow add @fast_path");
        assert!(
            adds[2..].iter().all(|line| line.contains("oifname @enis") && line.contains("daddr @tasks")),
            "{adds:?}"
        );
        assert!(text.contains("flowtable fast_path {"));
        assert!(!ruleset(&Settings::default()).to_string().contains("flow"));
    }
}
