//! Ranges of addresses, as the IPAM plugin `host-local` is told them.

use super::invalid;
use crate::ipam::{canonical, first_host, overlap};
use ipnetwork::IpNetwork;
use netmode_model::cni::{CniError, Config, Keys};
use serde_json::Value;
use std::net::{IpAddr, Ipv6Addr};

/// Addresses from one to another within a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) subnet: IpNetwork,
    first: u128,
    last: u128,
    pub(super) gateway: IpAddr,
}

/// Ranges of one family, from which a container gets one address.
pub(super) type Set = Vec<Range>;

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

impl Range {
    fn read(value: &Value) -> Result<Self, CniError> {
        let keys = Keys::in_value("ranges", value)?;
        let bad = |why: String| invalid(format!("range {value}: {why}"));
        let subnet: IpNetwork =
            keys.parsed("subnet", "a prefix")?.ok_or_else(|| bad("its subnet is missing".into()))?;
        if canonical(subnet) != subnet {
            return Err(bad(format!("{subnet} has host bits; the prefix is {}", canonical(subnet))));
        }
        let default =
            first_host(subnet).ok_or_else(|| bad(format!("{subnet} has no room for a gateway and a host")))?;
        let within = |key| -> Result<Option<u128>, CniError> {
            let Some(ip) = keys.parsed::<IpAddr>(key, "an address")? else { return Ok(None) };
            if subnet.contains(ip) {
                Ok(Some(number(ip)))
            } else {
                Err(bad(format!("{key} {ip} is outside of {subnet}")))
            }
        };
        // The broadcast address is nobody's (RFC 919); IPv6 has none.
        let end = number(subnet.broadcast()) - u128::from(subnet.is_ipv4());
        let first = within("rangeStart")?.unwrap_or(number(default));
        let last = within("rangeEnd")?.unwrap_or(end).min(end);
        if first > last {
            return Err(bad("its rangeStart is behind its rangeEnd".into()));
        }
        let first = first.max(number(subnet.network()) + 1);
        let gateway = keys.parsed("gateway", "an address")?.unwrap_or(default);
        Ok(Self { subnet, first, last, gateway })
    }

    fn ip(&self, number: u128) -> IpAddr {
        match self.subnet {
            IpNetwork::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or_default().into()),
            IpNetwork::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
        }
    }

    /// Whether an address can be given out by it.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.subnet.is_ipv4() && (self.first..=self.last).contains(&number(ip))
    }

    /// How many addresses it can give out.
    pub(super) fn size(&self) -> u128 {
        self.last - self.first + 1 - u128::from(self.has(self.gateway))
    }
}

/// The sets of a configuration: the runtime's first, then the old form of one range, then the others.
///
/// # Errors
/// None, or some that cannot be.
pub(super) fn read(config: &Config) -> Result<Vec<Set>, CniError> {
    let runtime = config.keys().object("runtimeConfig")?;
    let ipam = config.keys().object("ipam")?;
    let mut sets: Vec<Set> = runtime.list("ipRanges")?.iter().map(set).collect::<Result<_, _>>()?;
    if ipam.get("subnet").is_some() {
        let keys = ["subnet", "rangeStart", "rangeEnd", "gateway"];
        let one = keys.into_iter().filter_map(|key| Some((key.to_owned(), ipam.get(key)?.clone())));
        sets.push(vec![Range::read(&Value::Object(one.collect()))?]);
    }
    for value in ipam.list("ranges")? {
        sets.push(set(value)?);
    }
    if sets.is_empty() {
        return Err(invalid("no ranges: host-local needs \"ranges\" or \"subnet\""));
    }
    let all: Vec<(usize, IpNetwork)> =
        sets.iter().enumerate().flat_map(|(n, set)| set.iter().map(move |range| (n, range.subnet))).collect();
    for (n, subnet) in &all {
        if let Some((_, other)) = all.iter().find(|(m, other)| m != n && overlap(*subnet, *other)) {
            return Err(invalid(format!("the ranges {subnet} and {other} overlap: each address belongs to one set")));
        }
    }
    Ok(sets)
}

fn set(value: &Value) -> Result<Set, CniError> {
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| invalid(format!("ranges {value}: each set is a list of ranges")))?;
    let set: Set = list.iter().map(Range::read).collect::<Result<_, _>>()?;
    if set.iter().any(|range| range.subnet.is_ipv4() != set[0].subnet.is_ipv4()) {
        return Err(invalid(format!("ranges {value}: a set is of one family")));
    }
    Ok(set)
}

/// The addresses of a set in the order in which they are to be tried: from behind the last that was given on, and around.
pub(super) fn candidates(set: &Set, last: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> {
    let start = last.and_then(|ip| set.iter().position(|range| range.has(ip)).map(|at| (at, number(ip) + 1)));
    let (at, first) = start.unwrap_or((0, set.first().map_or(0, |range| range.first)));
    let whole = |range: &Range| (range.first, range.last);
    let rest = set.get(at).map(|range| (range, first, range.last));
    let behind = set.iter().skip(at + 1).map(move |range| (range, whole(range).0, whole(range).1));
    let before = set.iter().take(at).map(move |range| (range, whole(range).0, whole(range).1));
    let begin = set.get(at).map(|range| (range, range.first, first.saturating_sub(1)));
    let runs = rest.into_iter().chain(behind).chain(before).chain(begin);
    runs.flat_map(|(range, first, last)| (first..=last).map(move |n| (range.ip(n), range)))
        .filter(|(ip, range)| *ip != range.gateway)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sets(ipam: Value) -> Result<Vec<Set>, CniError> {
        read(&Config::of(json!({"cniVersion": "1.0.0", "name": "n", "ipam": ipam})).unwrap())
    }

    fn shown(set: &Set, last: Option<&str>) -> Vec<String> {
        candidates(set, last.map(|ip| ip.parse().unwrap())).map(|(ip, _)| ip.to_string()).collect()
    }

    #[test]
    fn addresses_come_in_turn_and_the_gateway_never() {
        let set = &sets(json!({"subnet": "10.1.2.0/29"})).unwrap()[0];
        assert_eq!(shown(set, None), ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]);
        assert_eq!(shown(set, Some("10.1.2.4")), ["10.1.2.5", "10.1.2.6", "10.1.2.2", "10.1.2.3", "10.1.2.4"]);
        assert_eq!(set[0].size(), 5);
        let two = &sets(json!({"ranges": [[
            {"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.10", "rangeEnd": "10.1.2.11"},
            {"subnet": "10.1.3.0/24", "rangeStart": "10.1.3.10", "rangeEnd": "10.1.3.11", "gateway": "10.1.3.10"}
        ]]}))
        .unwrap()[0];
        assert_eq!(shown(two, Some("10.1.2.11")), ["10.1.3.11", "10.1.2.10", "10.1.2.11"]);
        let six = &sets(json!({"subnet": "fd88::/64"})).unwrap()[0];
        assert_eq!(candidates(six, None).next().unwrap().0.to_string(), "fd88::2");
    }

    #[test]
    fn ranges_that_cannot_be_are_named() {
        for bad in [
            json!({}),
            json!({"subnet": "10.1.2.1/24"}),
            json!({"subnet": "10.1.2.0/31"}),
            json!({"subnet": "10.1.2.0/24", "rangeStart": "10.9.0.1"}),
            json!({"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.3"}),
            json!({"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "10.1.0.0/16"}]]}),
            json!({"ranges": [[{"subnet": "10.1.2.0/24"}, {"subnet": "fd88::/64"}]]}),
            json!({"ranges": [[]]}),
            json!({"ranges": 7}),
        ] {
            assert!(sets(bad.clone()).is_err(), "{bad}");
        }
    }
}
