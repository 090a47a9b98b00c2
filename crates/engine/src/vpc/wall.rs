//! Security groups as nf_tables: what of them is rules, and what is elements.
//!
//! A group is two chains, one for each direction, whose rules are the group's; its members are elements of a set for
//! each family. Rules grow with rules alone: however many tasks carry a group, one more is an element. The same text
//! stands in two places. On the host, for tasks whose packets the host forwards, two chains ask one group after the
//! other whether the task carries it. In a task's own namespace, where the host does not see its packets (macvlan,
//! ipvlan, VLAN), there are the chains of its groups alone, and the sets that their rules name. A task on a bridge has
//! both: the host asks about what comes by it, the task's own table about its neighbours on the bridge.

mod task;

pub use task::task_table;

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

#[cfg(test)]
mod tests;
