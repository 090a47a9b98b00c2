//! The table in a task's own namespace.

use super::*;

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
