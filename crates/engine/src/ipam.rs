//! Addresses: who has which, lowest free first.

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use netmode_model::Id;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

/// The addresses of one prefix.
///
/// Network, gateway and (IPv4) broadcast are never given out. The lowest free address is found
/// without a walk over those in use.
#[derive(Debug, Clone)]
pub struct Pool {
    prefix: IpNetwork,
    gateway: IpAddr,
    /// Offset within the prefix → who has it.
    taken: BTreeMap<u128, Id>,
    /// First and last offset that are given out unasked.
    range: (u128, u128),
    /// Nothing of the range below this offset is free.
    floor: u128,
    /// Offsets from 0 to this one exist.
    last: u128,
    /// How many at the beginning, and whether the last one, are nobody's ([`Pool::reserving`]).
    reserved: Reserved,
    /// First and last offset of what is not given out, whoever asks.
    excluded: Vec<(u128, u128)>,
    /// Offsets that were given back and rest until their time, the earliest first.
    resting: VecDeque<(u128, Instant)>,
}

/// What of a prefix is nobody's, whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reserved {
    first: u128,
    last: bool,
}

/// How the addresses of a pool are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// The pool.
    pub prefix: IpNetwork,
    /// Addresses that somebody has.
    pub used: u128,
    /// Addresses that can be given out at once.
    pub free: u128,
    /// Addresses that were given back and rest.
    pub resting: u128,
}

/// Why an address cannot be given out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// Nothing is free.
    #[error("no free addresses in {prefix}: all {usable} are in use")]
    Exhausted {
        /// The prefix.
        prefix: IpNetwork,
        /// How many could be given out in all.
        usable: u128,
    },
    /// Not of the prefix.
    #[error("{ip} is outside of {prefix}")]
    Outside {
        /// The address.
        ip: IpAddr,
        /// The prefix.
        prefix: IpNetwork,
    },
    /// The network's own.
    #[error("{ip} is the {what} address of {prefix}")]
    Reserved {
        /// The address.
        ip: IpAddr,
        /// `network`, `gateway`, `broadcast` or `reserved`.
        what: &'static str,
        /// The prefix.
        prefix: IpNetwork,
    },
    /// The host's own, or somebody's whom nobody here knows.
    #[error("{ip} is not given out: it is the host's own, or was excluded")]
    Excluded {
        /// The address.
        ip: IpAddr,
    },
    /// Somebody has it.
    #[error("{ip} is in use")]
    Taken {
        /// The address.
        ip: IpAddr,
        /// Who.
        owner: Id,
    },
}

impl Pool {
    /// The addresses of a prefix. Of those in `range`, a part of it, the lowest free one is given out; any other one
    /// to whom asks for it.
    pub fn new(prefix: IpNetwork, gateway: IpAddr, range: Option<IpNetwork>) -> Self {
        let prefix = canonical(prefix);
        let last = size(prefix) - 1;
        let within = range.map(canonical).filter(|r| prefix.contains(r.ip()));
        let (first, end) = within.map_or((0, last), |r| {
            let first = offset(prefix, r.ip()).unwrap_or(0);
            (first, (first + (size(r) - 1)).min(last))
        });
        let range = (first.max(1), end.min(last - u128::from(prefix.is_ipv4())));
        let reserved = Reserved { first: 1, last: prefix.is_ipv4() };
        let (taken, excluded, resting) = (BTreeMap::new(), Vec::new(), VecDeque::new());
        Self { prefix, gateway, taken, range, floor: range.0, last, reserved, excluded, resting }
    }

    /// The same as a VPC has it (Amazon VPC user guide, "Subnet sizing"): the first four addresses and the last one are
    /// nobody's. What is in `exclude` is not given out either, whoever asks.
    pub fn reserving(mut self, exclude: &[IpNetwork]) -> Self {
        self.reserved = Reserved { first: 4, last: true };
        self.range = (self.range.0.max(4), self.range.1.min(self.last.saturating_sub(1)));
        self.floor = self.range.0;
        let span = |net: &IpNetwork| {
            let first = offset(self.prefix, net.network())?;
            Some((first, (first + (size(*net) - 1)).min(self.last)))
        };
        self.excluded = exclude.iter().filter_map(span).collect();
        self.excluded.sort_unstable();
        self
    }

    /// The prefix, with its network address.
    pub fn prefix(&self) -> IpNetwork {
        self.prefix
    }

    /// The gateway's address.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// How many addresses can be given out unasked.
    pub fn usable(&self) -> u128 {
        let (first, last) = self.range;
        let gateway = offset(self.prefix, self.gateway)
            .is_some_and(|o| (first..=last).contains(&o) && self.excluded_until(o).is_none());
        let mut excluded = 0;
        let mut from = first;
        for (a, b) in &self.excluded {
            let (a, b) = ((*a).max(from), (*b).min(last));
            if a <= b {
                excluded += b - a + 1;
                from = b + 1;
            }
        }
        (last + 1).saturating_sub(first + u128::from(gateway) + excluded)
    }

    /// The last offset of the excluded part that one is in.
    fn excluded_until(&self, offset: u128) -> Option<u128> {
        self.excluded.iter().filter(|(a, b)| (*a..=*b).contains(&offset)).map(|(_, b)| *b).max()
    }

    /// How many could be given out unasked now; those that rest are among them.
    pub fn available(&self) -> u128 {
        let within = |o: &u128| (self.range.0..=self.range.1).contains(o) && self.excluded_until(*o).is_none();
        let used = self.taken.keys().filter(|o| within(o)).count() - self.resting.len();
        self.usable().saturating_sub(used as u128)
    }

    /// How many of the prefix are whose.
    pub fn usage(&self) -> PoolUse {
        let (used, resting) = (self.used() as u128, self.resting.len() as u128);
        PoolUse { prefix: self.prefix, used, free: self.available().saturating_sub(resting), resting }
    }

    /// How many are given out.
    pub fn used(&self) -> usize {
        self.taken.len() - self.resting.len()
    }

    /// Makes those free again whose time has come.
    pub fn wake(&mut self, now: Instant) {
        while let Some((offset, _)) = self.resting.front().copied().filter(|(_, until)| *until <= now) {
            self.resting.pop_front();
            self.free(offset);
        }
    }

    /// Gives an address back that nobody gets before `until`, unless no other one is left: flow logs, neighbours'
    /// caches and names may still mean the last holder.
    pub fn rest(&mut self, ip: IpAddr, owner: Id, until: Instant) {
        let offset = offset(self.prefix, ip).filter(|o| self.taken.get(o) == Some(&owner));
        if let Some(offset) = offset {
            self.taken.insert(offset, NOBODY);
            let at = self.resting.partition_point(|(_, other)| *other <= until);
            self.resting.insert(at, (offset, until));
        }
    }

    fn free(&mut self, offset: u128) {
        self.taken.remove(&offset);
        self.floor = self.floor.min(offset.max(self.range.0));
    }

    /// Gives out the lowest free address.
    ///
    /// # Errors
    /// [`IpamError::Exhausted`].
    pub fn take_lowest(&mut self, owner: Id) -> Result<IpAddr, IpamError> {
        let gateway = offset(self.prefix, self.gateway);
        loop {
            if let Some(last) = self.excluded_until(self.floor) {
                self.floor = last + 1;
            } else if self.taken.contains_key(&self.floor) || Some(self.floor) == gateway {
                self.floor += 1;
            } else {
                break;
            }
        }
        let offset = match self.floor <= self.range.1 {
            true => self.floor,
            // The one that has rested longest, of those that may be given unasked.
            false => {
                let unasked = |(o, _): &(u128, Instant)| (self.range.0..=self.range.1).contains(o);
                let rested = self.resting.iter().position(unasked).and_then(|n| self.resting.remove(n));
                let exhausted = IpamError::Exhausted { prefix: self.prefix, usable: self.usable() };
                rested.ok_or(exhausted)?.0
            }
        };
        self.taken.insert(offset, owner);
        Ok(at(self.prefix, offset))
    }

    /// The lowest free addresses, so many, which stay free.
    pub fn coming(&self, count: usize) -> Vec<IpAddr> {
        let gateway = offset(self.prefix, self.gateway);
        let mut found = Vec::new();
        let mut next = self.floor;
        while found.len() < count && next <= self.range.1 {
            match self.excluded_until(next) {
                Some(last) => next = last + 1,
                None => {
                    if !self.taken.contains_key(&next) && Some(next) != gateway {
                        found.push(at(self.prefix, next));
                    }
                    next += 1;
                }
            }
        }
        found
    }

    /// Gives out a certain address.
    ///
    /// # Errors
    /// It is outside, the network's own, or somebody's.
    pub fn take(&mut self, ip: IpAddr, owner: Id) -> Result<IpAddr, IpamError> {
        let prefix = self.prefix;
        let offset = offset(prefix, ip).ok_or(IpamError::Outside { ip, prefix })?;
        let reserved = |what| Err(IpamError::Reserved { ip, what, prefix });
        match offset {
            0 => return reserved("network"),
            _ if ip == self.gateway => return reserved("gateway"),
            o if o == self.last && prefix.is_ipv4() => return reserved("broadcast"),
            o if o < self.reserved.first || o == self.last && self.reserved.last => return reserved("reserved"),
            o if self.excluded_until(o).is_some() => return Err(IpamError::Excluded { ip }),
            _ => {}
        }
        match self.taken.get(&offset) {
            Some(owner) if *owner == NOBODY => self.resting.retain(|(o, _)| *o != offset),
            Some(owner) => return Err(IpamError::Taken { ip, owner: *owner }),
            None => {}
        }
        self.taken.insert(offset, owner);
        Ok(ip)
    }

    /// Makes an address free again, if it is the owner's.
    pub fn release(&mut self, ip: IpAddr, owner: Id) {
        if let Some(offset) = offset(self.prefix, ip).filter(|o| self.taken.get(o) == Some(&owner)) {
            self.free(offset);
        }
    }
}

/// Who an address belongs to that rests.
const NOBODY: Id = Id::from_bytes([0; 16]);

/// Whether a prefix is a part of another, or the same.
pub fn within(part: IpNetwork, whole: IpNetwork) -> bool {
    part.prefix() >= whole.prefix() && whole.contains(part.network())
}

/// The prefix with the host bits of its address cleared: 100.68.0.18/18 is 100.68.0.0/18.
pub fn canonical(prefix: IpNetwork) -> IpNetwork {
    match prefix {
        IpNetwork::V4(p) => Ipv4Network::new(p.network(), p.prefix()).map_or(prefix, IpNetwork::V4),
        IpNetwork::V6(p) => Ipv6Network::new(p.network(), p.prefix()).map_or(prefix, IpNetwork::V6),
    }
}

/// The first address of a prefix that a host can have: the usual one of a gateway.
pub fn first_host(prefix: IpNetwork) -> Option<IpAddr> {
    match canonical(prefix) {
        IpNetwork::V4(p) if p.prefix() <= 30 => u32::from(p.ip()).checked_add(1).map(|ip| IpAddr::V4(ip.into())),
        IpNetwork::V6(p) if p.prefix() <= 126 => u128::from(p.ip()).checked_add(1).map(|ip| IpAddr::V6(ip.into())),
        _ => None,
    }
}

/// Whether two prefixes share an address.
pub fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a.contains(b.network()) || b.contains(a.network()))
}

/// How many addresses a prefix has; `u128::MAX` for ::/0, one too few.
fn size(prefix: IpNetwork) -> u128 {
    let host_bits = u32::from(if prefix.is_ipv4() { 32 } else { 128 } - prefix.prefix());
    if host_bits == 128 { u128::MAX } else { 1 << host_bits }
}

/// The address at an offset of a prefix.
pub fn at(prefix: IpNetwork, offset: u128) -> IpAddr {
    match prefix {
        // An offset within the prefix fits its width.
        IpNetwork::V4(p) => Ipv4Addr::from(u32::from(p.network()) + offset as u32).into(),
        IpNetwork::V6(p) => Ipv6Addr::from(u128::from(p.network()) + offset).into(),
    }
}

fn offset(prefix: IpNetwork, ip: IpAddr) -> Option<u128> {
    match (prefix, ip) {
        (IpNetwork::V4(p), IpAddr::V4(ip)) if p.contains(ip) => {
            Some(u128::from(u32::from(ip) - u32::from(p.network())))
        }
        (IpNetwork::V6(p), IpAddr::V6(ip)) if p.contains(ip) => Some(u128::from(ip) - u128::from(p.network())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(prefix: &str) -> Pool {
        let prefix: IpNetwork = prefix.parse().unwrap();
        Pool::new(prefix, at(prefix, 1), None)
    }

    #[test]
    fn a_range_bounds_what_is_given_unasked_and_a_gateway_may_lie_anywhere() {
        let prefix: IpNetwork = "10.0.0.0/24".parse().unwrap();
        let mut p = Pool::new(prefix, "10.0.0.129".parse().unwrap(), "10.0.0.128/29".parse().ok());
        let got: Vec<_> = std::iter::from_fn(|| p.take_lowest(id(1)).ok()).map(|ip| ip.to_string()).collect();
        assert_eq!((got.len() as u128, p.usable()), (7, 7));
        assert_eq!((got[0].as_str(), got[1].as_str()), ("10.0.0.128", "10.0.0.130"), "the gateway is passed by");
        assert!(p.take("10.0.0.5".parse().unwrap(), id(2)).is_ok(), "asked for, outside of the range");
        p.release("10.0.0.5".parse().unwrap(), id(2));
        assert!(p.take_lowest(id(1)).is_err(), "and not given unasked for having been given back");
        assert!(matches!(
            p.take("10.0.0.129".parse().unwrap(), id(2)),
            Err(IpamError::Reserved { what: "gateway", .. })
        ));
        let whole = Pool::new(prefix, "10.0.0.254".parse().unwrap(), None);
        assert_eq!(whole.usable(), 253);
    }

    fn id(n: u8) -> Id {
        Id::from_bytes([n; 16])
    }

    fn subnet(prefix: &str, exclude: &[&str]) -> Pool {
        let exclude: Vec<IpNetwork> = exclude.iter().map(|e| e.parse().unwrap()).collect();
        pool(prefix).reserving(&exclude)
    }

    #[test]
    fn a_vpc_keeps_four_addresses_at_the_beginning_and_one_at_the_end() {
        for (prefix, usable) in
            [("10.0.0.0/28", 11), ("10.0.0.0/24", 251), ("10.0.0.0/20", 4091), ("10.0.0.0/16", 65_531)]
        {
            let p = subnet(prefix, &[]);
            assert_eq!((p.usable(), p.available()), (usable, usable), "{prefix}");
        }
        let mut p = subnet("10.0.0.0/28", &[]);
        let got: Vec<_> = std::iter::from_fn(|| p.take_lowest(id(1)).ok()).map(|ip| ip.to_string()).collect();
        assert_eq!((got.len(), got[0].as_str(), got[10].as_str()), (11, "10.0.0.4", "10.0.0.14"));
        assert_eq!(p.available(), 0);
        for reserved in ["10.0.0.2", "10.0.0.3"] {
            let taken = p.take(reserved.parse().unwrap(), id(2));
            assert!(matches!(taken, Err(IpamError::Reserved { what: "reserved", .. })), "{reserved}");
        }
        let mut six = subnet("fd00:9::/64", &[]);
        assert_eq!(six.take_lowest(id(1)).unwrap().to_string(), "fd00:9::4");
        assert!(six.take("fd00:9::ffff:ffff:ffff:ffff".parse().unwrap(), id(2)).is_err());
    }

    #[test]
    fn what_is_excluded_is_passed_by_and_not_counted() {
        let mut p = subnet("10.0.0.0/28", &["10.0.0.4/31", "10.0.0.6/32", "10.0.0.1/32"]);
        assert_eq!(p.usable(), 8);
        assert_eq!(p.take_lowest(id(1)).unwrap().to_string(), "10.0.0.7");
        let asked = p.take("10.0.0.5".parse().unwrap(), id(2));
        assert!(matches!(asked, Err(IpamError::Excluded { .. })), "not to whom asks for it either");
        assert_eq!(p.available(), 7);
    }

    #[test]
    fn a_released_address_rests_unless_no_other_is_left() {
        let begun = Instant::now();
        let later = |s| begun + std::time::Duration::from_secs(s);
        let mut p = subnet("10.0.0.0/28", &[]);
        let first = p.take_lowest(id(1)).unwrap();
        p.rest(first, id(1), later(30));
        assert_eq!((p.used(), p.available()), (0, 11));
        assert_eq!(p.take_lowest(id(2)).unwrap().to_string(), "10.0.0.5", "another one");
        let states = |p: &Pool| (p.usage().used, p.usage().free, p.usage().resting);
        assert_eq!(states(&p), (1, 9, 1));
        p.wake(later(29));
        assert_eq!(p.take_lowest(id(2)).unwrap().to_string(), "10.0.0.6");
        p.wake(later(30));
        assert_eq!(p.take_lowest(id(3)).unwrap(), first, "rested");
        let all: Vec<_> = std::iter::from_fn(|| p.take_lowest(id(4)).ok()).collect();
        assert_eq!(all.len(), 8);
        p.rest(all[0], id(4), later(90));
        p.rest(all[1], id(4), later(95));
        assert_eq!(p.take_lowest(id(5)).unwrap(), all[0], "no other is left: the one that has rested longest");
        assert!(p.take(all[1], id(6)).is_ok(), "and to whom asks for it");
        assert!(p.take_lowest(id(7)).is_err());
        p.wake(later(1000));
        assert!(p.take_lowest(id(7)).is_err(), "nothing rests any more");
    }

    #[test]
    fn the_lowest_free_address_comes_first() {
        let mut p = pool("172.17.0.0/16");
        let first: Vec<_> = (0..3).map(|n| p.take_lowest(id(n)).unwrap().to_string()).collect();
        assert_eq!(first, ["172.17.0.2", "172.17.0.3", "172.17.0.4"]);
        p.release("172.17.0.3".parse().unwrap(), id(1));
        assert_eq!(p.take_lowest(id(9)).unwrap().to_string(), "172.17.0.3");
        assert_eq!(p.take_lowest(id(9)).unwrap().to_string(), "172.17.0.5");
    }

    #[test]
    fn a_small_pool_gives_out_all_and_then_refuses() {
        let mut p = pool("10.0.0.0/29");
        for n in 0..5 {
            p.take_lowest(id(n)).unwrap();
        }
        assert_eq!(p.usable(), 5);
        assert!(matches!(p.take_lowest(id(7)), Err(IpamError::Exhausted { usable: 5, .. })));
    }

    #[test]
    fn own_taken_and_foreign_addresses_are_told_apart() {
        let mut p = pool("10.0.0.0/24");
        let mut take = |ip: &str| p.take(ip.parse().unwrap(), id(1));
        assert!(matches!(take("10.0.0.0"), Err(IpamError::Reserved { what: "network", .. })));
        assert!(matches!(take("10.0.0.1"), Err(IpamError::Reserved { what: "gateway", .. })));
        assert!(matches!(take("10.0.0.255"), Err(IpamError::Reserved { what: "broadcast", .. })));
        assert!(matches!(take("10.0.1.4"), Err(IpamError::Outside { .. })));
        assert!(matches!(take("fd00::5"), Err(IpamError::Outside { .. })));
        assert!(take("10.0.0.4").is_ok());
        assert!(matches!(take("10.0.0.4"), Err(IpamError::Taken { .. })));
    }

    #[test]
    fn ipv6_starts_after_the_gateway() {
        let mut p = pool("fd00:1::/64");
        assert_eq!(p.gateway().to_string(), "fd00:1::1");
        assert_eq!(p.take_lowest(id(1)).unwrap().to_string(), "fd00:1::2");
        assert!(p.take("fd00:1::ffff:ffff:ffff:ffff".parse().unwrap(), id(1)).is_ok());
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(steps in prop::collection::vec((any::<bool>(), 0usize..40), 1..200)) {
            let mut p = pool("192.0.2.0/27");
            let mut held: Vec<(IpAddr, Id)> = Vec::new();
            for (n, (take, which)) in steps.into_iter().enumerate() {
                if take {
                    if let Ok(ip) = p.take_lowest(id(n as u8)) {
                        prop_assert!(!held.iter().any(|(h, _)| *h == ip));
                        let lowest = (2..31).map(|o| at(p.prefix(), o)).find(|a| !held.iter().any(|(h, _)| h == a));
                        prop_assert_eq!(Some(ip), lowest);
                        held.push((ip, id(n as u8)));
                    } else {
                        prop_assert_eq!(held.len(), 29);
                    }
                } else if !held.is_empty() {
                    let (ip, owner) = held.swap_remove(which % held.len());
                    p.release(ip, owner);
                }
            }
            prop_assert_eq!(p.used(), held.len());
        }
    }
}
