//! Security groups as nf_tables: what of them is rules, and what is elements.
//!
//! A group is two chains, one for each direction, whose rules are the group's; its members are elements of a set for
//! each family. Rules grow with rules alone: however many tasks carry a group, one more is an element. The same text
//! stands in two places. On the host, for tasks whose packets the host forwards, two chains ask one group after the
//! other whether the task carries it. In a task's own namespace, where the host does not see its packets (macvlan,
//! ipvlan, VLAN), there are the chains of its groups alone, and the sets that their rules name. A task on a bridge has
//! both: the host asks about what comes by it, the task's own table about its neighbours on the bridge.

use super::groups::{Group, Groups};
use crate::endpoint::{Endpoint, EndpointLink, NetnsUse};
use crate::network::Network;
use crate::settings::Settings;
use ipnetwork::IpNetwork;
use netmode_model::group::{Direction, Peer, PrefixList, Rule as GroupRule, Traffic};
use netmode_model::nft::*;
use netmode_model::vpc::Backend;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names of the links that lead to nothing but tasks with groups.
pub const LINKS: &str = "walled_links";
/// Where the rules of the direction out end that let pass.
const PASSED: &str = "passed_out";
/// Chains of the host's table in which what is dropped is counted by group.
pub const COUNTING: [&str; 2] = [FROM, TO];
/// Chains of a task's own table whose last rule drops what no group lets pass.
pub const INNER: [&str; 2] = ["input_walls", "output_walls"];
/// Directions of a group.
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];
/// Asks the groups of who sends.
const FROM: &str = "from_task";
/// Asks the groups of who is sent to.
const TO: &str = "to_task";

/// Destinations that no group filters: the resolver, the clock, and the metadata of instance and task.
const NEVER: [[u8; 4]; 4] = [[169, 254, 169, 253], [169, 254, 169, 123], [169, 254, 169, 254], [169, 254, 170, 2]];

/// Link-local addresses (RFC 4291 §2.5.6).
const LINK_LOCAL: IpNetwork =
    IpNetwork::V6(match ipnetwork::Ipv6Network::new_checked(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10) {
        Some(prefix) => prefix,
        None => unreachable!(),
    });

/// ICMPv6 types without which nobody finds a neighbour (RFC 4861): as ARP, they are not filtered.
const NEIGHBOURS: [u32; 4] = [133, 134, 135, 136];

/// Digits of an id, behind its prefix.
fn digits(id: &str) -> &str {
    id.rsplit('-').next().unwrap_or(id)
}

fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

/// Name of the set of a group's members of a family.
pub fn members(group: &str, family: Family) -> String {
    format!("members{}_{}", number(family), digits(group))
}

fn prefixes(list: &str, family: Family) -> String {
    format!("prefixes{}_{}", number(family), digits(list))
}

fn walled(family: Family) -> &'static str {
    match family {
        Family::V4 => "walled4",
        Family::V6 => "walled6",
    }
}

fn chain_name(group: &str, direction: Direction) -> String {
    let word = match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    };
    format!("{word}_{}", digits(group))
}

/// The chains of a group, whose rules count what they let pass.
pub fn passing(group: &str) -> [String; 2] {
    DIRECTIONS.map(|direction| chain_name(group, direction))
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn address(family: Family) -> Type {
    match family {
        Family::V4 => Type::Ipv4Addr,
        Family::V6 => Type::Ipv6Addr,
    }
}

fn set(name: String, key: Type, interval: bool) -> Set {
    Set { name, key: vec![key], data: vec![], interval }
}

/// The sets of a group.
pub fn group_sets(id: &str) -> Vec<Set> {
    FAMILIES.map(|family| set(members(id, family), address(family), false)).into()
}

/// The sets of a prefix list.
pub fn list_sets(id: &str) -> Vec<Set> {
    FAMILIES.map(|family| set(prefixes(id, family), address(family), true)).into()
}

/// The elements of a prefix list.
pub fn list_elements(list: &PrefixList) -> Vec<Element> {
    let element = |prefix: &IpNetwork| {
        let family = Family::of(prefix.ip());
        let span = Span::Range(Datum::ip(prefix.network()), Datum::ip(prefix.broadcast()));
        Element { set: prefixes(&list.prefix_list_id, family), key: vec![span], data: vec![] }
    };
    list.entries.iter().map(element).collect()
}

fn is_in(field: Field, set: &str) -> Match {
    Match::In { fields: vec![field], set: set.into(), negate: false }
}

fn rule(matches: impl IntoIterator<Item = Match>, action: Action) -> Rule {
    Rule { matches: matches.into_iter().collect(), action }
}

fn jump(chain: &str) -> Action {
    Action::Jump(chain.into())
}

fn is(number: Number, value: u32) -> Match {
    Match::Is { number, value, negate: false }
}

/// The chain of a group in one direction; what it lets pass goes on with `pass`.
fn group_chain(group: &Group, direction: Direction, pass: &Action) -> Chain {
    let rules = group.of(direction).flat_map(|r| group_rule(r, pass)).collect();
    Chain { name: chain_name(&group.id, direction), base: None, rules }
}

/// Both chains of a group as they stand at a place: on the host what a task may send has still to be let in.
pub fn group_chains(group: &Group, on_host: bool) -> [Chain; 2] {
    let out = if on_host { jump(PASSED) } else { Action::Accept };
    [group_chain(group, Direction::Ingress, &Action::Accept), group_chain(group, Direction::Egress, &out)]
}

/// A rule of a group, once for each family that it is about.
fn group_rule(wanted: &GroupRule, pass: &Action) -> Vec<Rule> {
    let of_family = |family: Family| {
        let mut matches = vec![Match::Family(family)];
        let field = match wanted.direction {
            Direction::Ingress => Field::Saddr(family),
            Direction::Egress => Field::Daddr(family),
        };
        match &wanted.peer {
            Peer::Cidr(prefix) if Family::of(prefix.ip()) != family => return None,
            Peer::Cidr(prefix) if prefix.prefix() == 0 => {}
            Peer::Cidr(prefix) => matches.push(Match::Prefix { field, prefix: *prefix, negate: false }),
            Peer::Group(id) => matches.push(is_in(field, &members(id, family))),
            Peer::PrefixList(id) => matches.push(is_in(field, &prefixes(id, family))),
        }
        matches.extend(traffic(wanted.traffic, family)?);
        Some(rule(matches, Action::Counted(Box::new(pass.clone()))))
    };
    FAMILIES.into_iter().filter_map(of_family).collect()
}

/// Conditions for a kind of traffic; `None` where a family has none of it.
fn traffic(traffic: Traffic, family: Family) -> Option<Vec<Match>> {
    let protocol = |number: u8| is(Number::L4Proto, number.into());
    let ports = |number, range: netmode_model::PortRange| {
        let all = range.is_all();
        let ports = Match::Ports { field: Field::Dport, first: range.first(), last: range.last() };
        std::iter::once(protocol(number)).chain((!all).then_some(ports)).collect()
    };
    let message = |number, names: [Number; 2], kind: Option<u8>, code: Option<u8>| {
        let parts = names.into_iter().zip([kind, code]).filter_map(|(n, value)| Some(is(n, value?.into())));
        std::iter::once(protocol(number)).chain(parts).collect()
    };
    Some(match (traffic, family) {
        (Traffic::All, _) => Vec::new(),
        (Traffic::Tcp(range), _) => ports(6, range),
        (Traffic::Udp(range), _) => ports(17, range),
        (Traffic::Icmp(kind, code), Family::V4) => message(1, [Number::IcmpType, Number::IcmpCode], kind, code),
        (Traffic::Icmp6(kind, code), Family::V6) => message(58, [Number::Icmp6Type, Number::Icmp6Code], kind, code),
        (Traffic::Icmp(..) | Traffic::Icmp6(..), _) => return None,
        (Traffic::Other(number), _) => vec![protocol(number)],
    })
}

/// What no group lets pass.
fn refuse(direction: Direction) -> Rule {
    let word = match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    };
    rule([], Action::Refuse(word.into()))
}

fn neighbours() -> impl Iterator<Item = Rule> {
    NEIGHBOURS.into_iter().map(|kind| rule([is(Number::Icmp6Type, kind)], Action::Accept))
}

fn hook(name: &str, hook: Hook, rules: Vec<Rule>) -> Chain {
    // Behind the tables of others and our own filter.
    Chain { name: name.into(), base: Some(Base { kind: ChainKind::Filter, hook, priority: 10 }), rules }
}

/// The table of the host.
pub fn host_ruleset(groups: &Groups, settings: &Settings) -> Ruleset {
    let mut sets = vec![set(LINKS.into(), Type::IfName, false)];
    sets.extend(FAMILIES.map(|family| set(walled(family).into(), address(family), false)));
    sets.extend(groups.groups.keys().flat_map(|id| group_sets(id)));
    sets.extend(groups.lists.keys().flat_map(|id| list_sets(id)));
    let mut chains = vec![passed()];
    chains.extend(groups.groups.values().flat_map(|group| group_chains(group, true)));
    chains.extend(dispatchers(groups));
    chains.extend([forwarded(), to_host(), from_host()]);
    Ruleset { table: host_table(settings), owner: settings.own_table, flowtable: None, sets, chains }
}

/// The name of the host's table.
pub fn host_table(settings: &Settings) -> TableName {
    TableName::inet(&walls(&settings.table))
}

/// The name of the table in an endpoint's own namespace. One that has several endpoints keeps the others' tables when
/// one goes.
pub fn inner_table(endpoint: &Endpoint, settings: &Settings) -> Option<TableName> {
    let netns = endpoint.netns.name()?.clone();
    let name = match endpoint.netns {
        NetnsUse::Foreign(_) | NetnsUse::Joined(_) => format!("{}_{}", walls(&settings.table), endpoint.id.short()),
        _ => walls(&settings.table),
    };
    Some(TableName::inet(&name).within(netns))
}

/// What a task may send has to be let in where it is for another one.
fn passed() -> Chain {
    let rules = to_tasks(TO).chain([rule([], Action::Accept)]).collect();
    Chain { name: PASSED.into(), base: None, rules }
}

fn to_tasks(chain: &str) -> impl Iterator<Item = Rule> {
    let by_link = rule([is_in(Field::Oifname, LINKS)], jump(chain));
    std::iter::once(by_link).chain(to_addresses(chain))
}

fn to_addresses(chain: &str) -> impl Iterator<Item = Rule> {
    let to = jump(chain);
    FAMILIES
        .into_iter()
        .map(move |family| rule([Match::Family(family), is_in(Field::Daddr(family), walled(family))], to.clone()))
}

fn from_tasks(chain: &str) -> impl Iterator<Item = Rule> {
    let by_link = rule([is_in(Field::Iifname, LINKS)], jump(chain));
    let to = jump(chain);
    let by_address =
        move |family| rule([Match::Family(family), is_in(Field::Saddr(family), walled(family))], to.clone());
    std::iter::once(by_link).chain(FAMILIES.into_iter().map(by_address))
}

/// The two chains that ask which groups a task carries. What no group lets pass is dropped.
pub fn dispatchers(groups: &Groups) -> [Chain; 2] {
    let ask = |name: &str, direction: Direction, field: fn(Family) -> Field| {
        let mut rules: Vec<Rule> = neighbours().collect();
        for id in groups.groups.keys() {
            let chain = chain_name(id, direction);
            let carries =
                |family| rule([Match::Family(family), is_in(field(family), &members(id, family))], jump(&chain));
            rules.extend(FAMILIES.map(carries));
        }
        // What comes here is dropped; it is counted for each of the groups that had a say.
        let of_group = |id: &String| FAMILIES.map(|f| (f, members(id, f)));
        let counted =
            |(family, set): (Family, String)| rule([Match::Family(family), is_in(field(family), &set)], Action::Count);
        rules.extend(groups.groups.keys().flat_map(of_group).map(counted));
        rules.push(refuse(direction));
        Chain { name: name.into(), base: None, rules }
    };
    [ask(FROM, Direction::Egress, Field::Saddr), ask(TO, Direction::Ingress, Field::Daddr)]
}

fn forwarded() -> Chain {
    let established = rule([Match::Established], Action::Accept);
    hook(
        "forward_walls",
        Hook::Forward,
        std::iter::once(established).chain(from_tasks(FROM)).chain(to_tasks(TO)).collect(),
    )
}

/// What comes in here is the host's; and what is for an ipvlan of mode l3s, whose own namespace is not asked: it is
/// handed over behind this hook (`ipvlan_nf_input`).
fn to_host() -> Chain {
    let established = rule([Match::Established], Action::Accept);
    let rules = std::iter::once(established).chain(from_tasks(FROM)).chain(to_addresses(TO));
    hook("input_walls", Hook::Input, rules.collect())
}

/// What the host sends to a task. Between a subnet's tasks it is the router, and comes and goes by the same link; its
/// advice to speak directly (ICMP redirect) would lead to where an isolated port hears nobody.
fn from_host() -> Chain {
    let advice = rule([is_in(Field::Oifname, LINKS), is(Number::IcmpType, 5)], Action::Drop);
    let advice6 = rule([is_in(Field::Oifname, LINKS), is(Number::Icmp6Type, 137)], Action::Drop);
    let established = rule([Match::Established], Action::Accept);
    hook("output_walls", Hook::Output, [advice, advice6, established].into_iter().chain(to_tasks(TO)).collect())
}

fn member(set: String, datum: Datum) -> Element {
    Element { set, key: vec![Span::One(datum)], data: vec![] }
}

fn addresses(link: &EndpointLink) -> impl Iterator<Item = IpAddr> {
    link.addrs.iter().map(IpNetwork::ip)
}

/// An endpoint's elements in the sets of its groups, as far as `wanted`.
pub fn memberships(link: &EndpointLink, wanted: impl Fn(&str) -> bool) -> Vec<Element> {
    let groups: Vec<&String> = link.groups().iter().filter(|id| wanted(id)).collect();
    let of = |ip: IpAddr| groups.iter().map(move |id| member(members(id, Family::of(ip)), Datum::ip(ip)));
    addresses(link).flat_map(of).collect()
}

/// The elements of an endpoint in the host's table.
pub fn host_elements(link: &EndpointLink) -> Vec<Element> {
    if link.groups().is_empty() {
        return Vec::new();
    }
    let own = |ip: IpAddr| member(walled(Family::of(ip)).into(), Datum::ip(ip));
    let mut elements = memberships(link, |_| true);
    if link.walled_by_host() || link.comes_in_by_host() {
        elements.extend(addresses(link).map(own));
    }
    elements
}

/// The element of a subnet in the host's table.
pub fn subnet_element(network: &Network) -> Option<Element> {
    let routed = network.subnet.as_ref().is_some_and(|s| s.backend == Backend::Veth);
    routed.then(|| member(LINKS.into(), Datum::Name(network.bridge.clone())))
}

/// The table of a task's own namespace, with its elements.
pub fn task_table(
    table: TableName,
    link: &EndpointLink,
    groups: &Groups,
    others: &[Endpoint],
    egress_only: &[IpNetwork],
) -> (Ruleset, Vec<Element>) {
    let (named, lists) = groups.named_by(link.groups());
    let mut sets: Vec<Set> = named.iter().flat_map(|id| group_sets(id)).collect();
    sets.extend(lists.iter().flat_map(|id| list_sets(id)));
    let own: Vec<&Group> = link.groups().iter().filter_map(|id| groups.groups.get(id)).collect();
    let mut chains: Vec<Chain> = own.iter().flat_map(|group| group_chains(group, false)).collect();
    chains.extend(task_hooks(&own, link, egress_only));
    let links = others.iter().filter_map(|e| e.link.as_ref()).chain([link]);
    let mut elements: Vec<Element> = links.flat_map(|l| memberships(l, |id| named.contains(id))).collect();
    elements.sort();
    elements.dedup();
    elements.extend(lists.iter().filter_map(|id| groups.lists.get(id)).flat_map(list_elements));
    (Ruleset { table, owner: false, flowtable: None, sets, chains }, elements)
}

fn task_hooks(own: &[&Group], link: &EndpointLink, vpc: &[IpNetwork]) -> [Chain; 2] {
    let dev = &link.interface;
    let established = || rule([Match::Established], Action::Accept);
    let ask = |direction| own.iter().map(move |group| rule([], jump(&chain_name(&group.id, direction))));
    let elsewhere = Match::Iif { name: dev.clone(), negate: true };
    let mut inward = vec![rule([elsewhere], Action::Accept), established()];
    inward.extend(neighbours());
    inward.extend(by_host(link, Field::Saddr));
    inward.extend(egress_only(vpc));
    inward.extend(ask(Direction::Ingress));
    inward.push(refuse(Direction::Ingress));
    let elsewhere = Match::Oif { name: dev.clone(), negate: true };
    let mut outward = vec![rule([elsewhere], Action::Accept), established()];
    outward.extend(neighbours());
    outward.extend(by_host(link, Field::Daddr));
    outward.extend(NEVER.map(|octets| {
        let prefix = IpNetwork::from(IpAddr::V4(Ipv4Addr::from(octets)));
        rule([Match::Prefix { field: Field::Daddr(Family::V4), prefix, negate: false }], Action::Accept)
    }));
    outward.extend(ask(Direction::Egress));
    outward.push(refuse(Direction::Egress));
    [hook(INNER[0], Hook::Input, inward), hook(INNER[1], Hook::Output, outward)]
}

/// What goes by the host, which has asked already: all but neighbours on the bridge, who are those of its prefix and
/// whoever has a link-local address.
fn by_host(link: &EndpointLink, field: fn(Family) -> Field) -> Vec<Rule> {
    if !link.walled_by_host() {
        return Vec::new();
    }
    let prefix = |prefix, negate| Match::Prefix { field: field(Family::of(IpNetwork::ip(&prefix))), prefix, negate };
    let far = |own: &IpNetwork| {
        let family = Family::of(own.ip());
        let mut matches = vec![Match::Family(family), prefix(crate::ipam::canonical(*own), true)];
        if family == Family::V6 {
            matches.push(prefix(LINK_LOCAL, true));
        }
        rule(matches, Action::Accept)
    };
    let router = |via: &IpAddr| rule([prefix(IpNetwork::from(*via), false)], Action::Accept);
    link.addrs.iter().map(far).chain(link.gateways.iter().map(router)).collect()
}

/// An egress-only gateway, where packets do not come by this host: IPv6 from outside of the VPC begins nothing.
fn egress_only(vpc: &[IpNetwork]) -> Option<Rule> {
    let outside = |prefix: &IpNetwork| Match::Prefix { field: Field::Saddr(Family::V6), prefix: *prefix, negate: true };
    let mut matches = vec![Match::Family(Family::V6), Match::New];
    matches.extend(vpc.iter().map(outside));
    (!vpc.is_empty()).then(|| rule(matches, Action::Drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmode_model::group::Rule as GroupRule;

    fn groups() -> Groups {
        let rule = |n: u8, direction, traffic: &str, peer| GroupRule {
            id: format!("sgr-{n}"),
            direction,
            traffic: traffic.parse().unwrap(),
            peer,
            description: None,
        };
        let cidr = |text: &str| Peer::Cidr(text.parse().unwrap());
        let (web, db) = ("sg-0aaaaaaaaaaaaaaaa", "sg-0bbbbbbbbbbbbbbbb");
        let group = |id: &str, name: &str, rules| Group {
            v: 1,
            id: id.into(),
            name: name.into(),
            description: String::new(),
            rules,
        };
        let list = PrefixList {
            prefix_list_id: "pl-0cccccccccccccccc".into(),
            prefix_list_name: "office".into(),
            entries: vec!["198.51.100.0/24".parse().unwrap()],
        };
        let of_web = vec![
            rule(1, Direction::Ingress, "tcp:80", cidr("0.0.0.0/0")),
            rule(2, Direction::Ingress, "tcp:8000-8099", Peer::PrefixList(list.prefix_list_id.clone())),
            rule(3, Direction::Egress, "all", cidr("0.0.0.0/0")),
            rule(4, Direction::Egress, "all", cidr("::/0")),
        ];
        let of_db = vec![
            rule(5, Direction::Ingress, "tcp:5432", Peer::Group(web.into())),
            rule(6, Direction::Ingress, "icmp:8/0", cidr("10.0.0.0/8")),
            rule(7, Direction::Egress, "udp", cidr("10.0.2.2/32")),
        ];
        let all = [group(web, "web", of_web), group(db, "db", of_db)];
        Groups {
            groups: all.into_iter().map(|g| (g.id.clone(), g)).collect(),
            lists: [(list.prefix_list_id.clone(), list)].into(),
        }
    }

    #[test]
    fn the_hosts_table_as_text() {
        insta::assert_snapshot!(host_ruleset(&groups(), &Settings::default()).to_string());
    }

    #[test]
    fn the_table_of_a_task_on_a_bridge_as_text() {
        let link: EndpointLink = serde_json::from_value(serde_json::json!({
            "network": "bridge", "bridge": "nm0", "announce": false, "hostDev": "nm2", "interface": "eth0",
            "mac": "02:42:ac:11:00:02", "mtu": 1500, "addrs": ["172.17.0.2/16", "fd00:17::2/64"],
            "gateways": ["172.17.0.1", "fd00:17::1"], "groups": ["sg-0bbbbbbbbbbbbbbbb"],
        }))
        .unwrap();
        let (ruleset, _) = task_table(TableName::inet("netmode_walls"), &link, &groups(), &[], &[]);
        let text = ruleset.to_string();
        let hooks = text.find("chain input_walls").unwrap();
        insta::assert_snapshot!(text[hooks..]);
    }

    #[test]
    fn a_tasks_table_as_text() {
        let link: EndpointLink = serde_json::from_value(serde_json::json!({
            "network": "subnet-1", "bridge": "nm1", "announce": false, "hostDev": "nm2", "interface": "eth0",
            "mac": "02:42:0a:00:02:04", "mtu": 1500, "addrs": ["10.0.2.4/24", "fd00:2::4/64"], "gateways": [],
            "eni": {"id": "eni-1", "subnet": "10.0.2.0/24", "backend": "macvlan:bridge", "parent": "eth0",
                    "vlan": null, "name": ""},
            "groups": ["sg-0bbbbbbbbbbbbbbbb"],
        }))
        .unwrap();
        let mut web = link.clone();
        web.addrs = vec!["10.0.2.9/24".parse().unwrap()];
        web.groups = vec!["sg-0aaaaaaaaaaaaaaaa".into()];
        let other = Endpoint {
            v: 1,
            id: netmode_model::Id::from_bytes([1; 16]),
            owner: crate::Owner {
                kind: crate::endpoint::OwnerKind::Task,
                id: netmode_model::Id::from_bytes([1; 16]),
                name: "web".into(),
                uid: 0,
            },
            mode: netmode_model::Mode::Awsvpc,
            requested: netmode_model::RequestedMode::Awsvpc,
            progress: crate::endpoint::Progress::Ready,
            netns: crate::NetnsUse::Host,
            inode: None,
            link: Some(web),
            ports: vec![],
            created: String::new(),
        };
        let vpc = ["fd00:2::/64".parse().unwrap()];
        let (ruleset, elements) = task_table(TableName::inet("netmode_walls"), &link, &groups(), &[other], &vpc);
        let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(format!("{ruleset}{}", elements.join("\n")));
    }
}
