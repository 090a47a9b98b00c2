//! Host ports: who has which, and which one is next.
//!
//! Uniqueness is decided here, by record, before a socket is bound or a map element written
//! (the maps' EXCL holds only within one map). The order of dynamic choice is the ECS agent's
//! (`ephemeral_ports.go`): upward from the last choice, one cursor for all protocols and sizes,
//! then from the start again; without its defects.

use netmode_model::{HostAddr, Id, PortRange, Protocol, Published};
use std::collections::HashMap;

/// Every host port that is given out.
#[derive(Debug, Default)]
pub struct Ports {
    taken: HashMap<(Protocol, u16), Vec<(HostAddr, Id)>>,
    cursor: Option<u16>,
}

/// A port somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortClash {
    /// The port.
    pub port: u16,
    /// Who has it.
    pub owner: Id,
}

impl Ports {
    /// Takes every port of a mapping, or none.
    ///
    /// # Errors
    /// The first port that somebody has, which may be the same owner.
    pub fn take(&mut self, p: &Published, owner: Id) -> Result<(), PortClash> {
        if let Some(clash) = p.host_ports.iter().find_map(|port| self.clash(p.protocol, p.host, port)) {
            return Err(clash);
        }
        for port in p.host_ports.iter() {
            self.taken.entry((p.protocol, port)).or_default().push((p.host, owner));
        }
        Ok(())
    }

    /// The last dynamic choice.
    pub fn cursor(&self) -> Option<u16> {
        self.cursor
    }

    /// Has the next dynamic choice begin where it would have begun then.
    pub fn turn_back(&mut self, cursor: Option<u16>) {
        self.cursor = cursor;
    }

    /// Makes the ports of a mapping free again, as far as they are the owner's.
    pub fn release(&mut self, p: &Published, owner: Id) {
        for port in p.host_ports.iter() {
            if let Some(holders) = self.taken.get_mut(&(p.protocol, port)) {
                holders.retain(|holder| *holder != (p.host, owner));
                if holders.is_empty() {
                    self.taken.remove(&(p.protocol, port));
                }
            }
        }
    }

    /// Who stands in the way of a port on an address.
    pub fn clash(&self, protocol: Protocol, host: HostAddr, port: u16) -> Option<PortClash> {
        let holders = self.taken.get(&(protocol, port))?;
        holders.iter().find(|(h, _)| h.overlaps(host)).map(|(_, owner)| PortClash { port, owner: *owner })
    }

    /// The runs of `count` ports that are free by record, in the order in which they are to be tried,
    /// each for one call of `attempt`. That answers with what it got, or with the port that was in the way.
    ///
    /// # Errors
    /// What `attempt` fails with for good; `Ok(None)` when no run is left.
    pub fn choose<T, E>(
        &mut self,
        within: &Within<'_>,
        count: u32,
        mut attempt: impl FnMut(&mut Self, PortRange) -> Result<Result<T, u16>, E>,
    ) -> Result<Option<T>, E> {
        let (low, high) = (u32::from(within.range.first()), u32::from(within.range.last()));
        let start = self.cursor.map_or(low, |c| u32::from(c) + 1).clamp(low, high + 1);
        // The second pass ends so that every run that begins before the start is seen: the ECS agent's
        // bound there made it fail once although ports were free.
        for (from, to) in [(start, high), (low, (start + count).saturating_sub(2).min(high))] {
            let mut first = from;
            while first + count - 1 <= to {
                let run = first..first + count;
                if let Some(busy) = run.clone().rev().find(|p| !self.free(within, *p as u16)) {
                    first = busy + 1;
                    continue;
                }
                let Some(range) = PortRange::new(first as u16, (run.end - 1) as u16) else { break };
                match attempt(self, range)? {
                    Ok(got) => {
                        self.cursor = Some(range.last());
                        return Ok(Some(got));
                    }
                    Err(busy) => first = u32::from(busy) + 1,
                }
            }
        }
        Ok(None)
    }

    fn free(&self, within: &Within<'_>, port: u16) -> bool {
        !within.skip.iter().any(|r| r.contains(port)) && self.clash(within.protocol, within.host, port).is_none()
    }
}

/// Where a dynamic port may lie.
#[derive(Debug, Clone, Copy)]
pub struct Within<'a> {
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address.
    pub host: HostAddr,
    /// From where to where.
    pub range: PortRange,
    /// Never these.
    pub skip: &'a [PortRange],
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> Id {
        Id::from_bytes([n; 16])
    }

    fn range(a: u16, b: u16) -> PortRange {
        PortRange::new(a, b).unwrap()
    }

    fn mapping(ports: PortRange) -> Published {
        Published { host: HostAddr::Any, host_ports: ports, container: ports, protocol: Protocol::Tcp }
    }

    fn within(skip: &[PortRange]) -> Within<'_> {
        Within { protocol: Protocol::Tcp, host: HostAddr::Any, range: range(100, 105), skip }
    }

    /// Chooses and gives back at once, as the vectors of the ECS agent were made.
    fn pick(ports: &mut Ports, count: u32, busy: &[u16]) -> Option<String> {
        let got = ports.choose(&within(&[]), count, |_, run| -> Result<_, ()> {
            Ok(run.iter().find(|p| busy.contains(p)).map_or(Ok(run), Err))
        });
        got.unwrap().map(|r| r.to_string())
    }

    #[test]
    fn single_ports_go_upward_and_start_again() {
        let mut ports = Ports::default();
        let got: Vec<_> = (0..8).filter_map(|_| pick(&mut ports, 1, &[])).collect();
        assert_eq!(got, ["100", "101", "102", "103", "104", "105", "100", "101"]);
    }

    #[test]
    fn a_busy_port_is_passed_by() {
        let mut ports = Ports::default();
        let got: Vec<_> = (0..6).filter_map(|_| pick(&mut ports, 1, &[102])).collect();
        assert_eq!(got, ["100", "101", "103", "104", "105", "100"]);
    }

    #[test]
    fn runs_of_three() {
        let mut ports = Ports::default();
        let got: Vec<_> = (0..3).filter_map(|_| pick(&mut ports, 3, &[])).collect();
        assert_eq!(got, ["100-102", "103-105", "100-102"]);
        let mut ports = Ports::default();
        pick(&mut ports, 4, &[]);
        assert_eq!(pick(&mut ports, 3, &[]).as_deref(), Some("100-102"));
    }

    #[test]
    fn free_ports_below_the_cursor_are_found_at_once() {
        // The ECS agent fails here once: cursor at 103, 104 and 105 busy, 100 to 103 free.
        let mut ports = Ports::default();
        pick(&mut ports, 4, &[]);
        assert_eq!(pick(&mut ports, 1, &[104, 105]).as_deref(), Some("100"));
        assert_eq!(pick(&mut ports, 7, &[]), None);
    }

    #[test]
    fn a_run_over_the_old_start_is_found() {
        let mut ports = Ports::default();
        pick(&mut ports, 2, &[]);
        assert_eq!(pick(&mut ports, 5, &[]).as_deref(), Some("100-104"));
    }

    #[test]
    fn reserved_ports_are_never_chosen() {
        let mut ports = Ports::default();
        let skip = [range(100, 103)];
        let got = ports.choose(&within(&skip), 1, |_, run| Ok::<_, ()>(Ok(run.first()))).unwrap();
        assert_eq!(got, Some(104));
    }

    #[test]
    fn an_address_clashes_with_every_address_but_not_with_another() {
        let mut ports = Ports::default();
        let on = |ip: &str| Published { host: HostAddr::Ip(ip.parse().unwrap()), ..mapping(range(80, 80)) };
        ports.take(&on("192.0.2.1"), id(1)).unwrap();
        ports.take(&on("192.0.2.2"), id(2)).unwrap();
        assert_eq!(ports.take(&on("0.0.0.0"), id(3)), Err(PortClash { port: 80, owner: id(1) }));
        assert_eq!(ports.take(&mapping(range(79, 81)), id(3)).unwrap_err().port, 80);
        ports.take(&on("::"), id(3)).unwrap();
        ports.release(&on("192.0.2.1"), id(2));
        assert!(ports.take(&on("192.0.2.1"), id(4)).is_err(), "only its owner gives a port back");
    }

    proptest! {
        #[test]
        fn no_port_is_given_twice(steps in prop::collection::vec((1u32..4, any::<bool>(), 0usize..9), 1..100)) {
            let mut ports = Ports::default();
            let mut held: Vec<(Published, Id)> = Vec::new();
            for (n, (count, take, which)) in steps.into_iter().enumerate() {
                if take {
                    let owner = id(n as u8);
                    let got = ports.choose(&within(&[]), count, |ports, run| -> Result<_, ()> {
                        Ok(ports.take(&mapping(run), owner).map(|()| mapping(run)).map_err(|c| c.port))
                    }).unwrap();
                    if let Some(p) = got {
                        prop_assert!(!held.iter().any(|(h, _)| h.host_ports.overlaps(p.host_ports)));
                        held.push((p, owner));
                    } else {
                        let free: Vec<_> = (100..=105).filter(|p| !held.iter().any(|(h, _)| h.host_ports.contains(*p))).collect();
                        prop_assert!(!free.windows(count as usize).any(|w| w[w.len() - 1] - w[0] + 1 == count as u16));
                    }
                } else if !held.is_empty() {
                    let (p, owner) = held.swap_remove(which % held.len());
                    ports.release(&p, owner);
                }
            }
        }
    }
}
