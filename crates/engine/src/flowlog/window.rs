//! What one interface carries in a time.

use netmode_model::flow::{Carried, Flow, Refusal, Tuple, tcp};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// What the security groups said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Yes.
    Accept,
    /// No.
    Reject,
}

/// What was carried in one direction between two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// From whom to whom.
    pub tuple: Tuple,
    /// What the groups said.
    pub action: Action,
    /// How much.
    pub carried: Carried,
    /// Seconds since 1970.
    pub start: u64,
    /// Seconds since 1970.
    pub end: u64,
    /// Flags of TCP that were seen: SYN, FIN and RST, and SYN with ACK as 18.
    pub tcp_flags: u8,
    /// Whether it came in.
    pub inward: bool,
}

/// What is never recorded: the resolver, the clock, the machine's and the task's metadata (§"Flow log limitations").
const NEVER: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(169, 254, 169, 123),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
];

/// Ports of DHCP, for IPv4 and IPv6.
const DHCP: [u16; 4] = [67, 68, 546, 547];

/// Entries with which a window is full. Who tries all ports from all addresses would otherwise have all of the memory.
const FULL: usize = 50_000;

/// `TCP_CONNTRACK_*`, linux/netfilter/nf_conntrack_tcp.h.
mod state {
    pub(super) const SYN_RECV: u8 = 2;
    pub(super) const FIN_WAIT: u8 = 4;
    pub(super) const TIME_WAIT: u8 = 7;
    pub(super) const CLOSE: u8 = 8;
}

/// Whose flow it is, and what has been recorded of its two directions.
type Recorded = (Tuple, Carried, Carried);

/// What an interface carries, from the end of the window before on.
#[derive(Debug)]
pub struct Window {
    own: Vec<IpAddr>,
    /// Addresses of its routers, whose traffic is not recorded.
    routers: Vec<IpAddr>,
    since: u64,
    /// When the interface came, in seconds since 1970: what began before was another's that had its address.
    born: u64,
    entries: HashMap<(Tuple, Action), Entry>,
    /// What of flows that stand has been recorded, by the kernel's number.
    recorded: HashMap<u32, Recorded>,
    /// The same of flows that are there no more, while their event may be on its way.
    leaving: HashMap<u32, Recorded>,
    lost: bool,
}

impl Window {
    /// The first window of an interface with these addresses. `anew`: the agent has just started, and does not know what
    /// came before.
    pub fn new(own: Vec<IpAddr>, routers: Vec<IpAddr>, now: u64, anew: bool) -> Self {
        Self {
            own,
            routers,
            since: now,
            born: 0,
            entries: HashMap::new(),
            recorded: HashMap::new(),
            leaving: HashMap::new(),
            lost: anew,
        }
    }

    /// Of an interface that came then.
    pub fn of_one_born(self, born: u64) -> Self {
        Self { born, ..self }
    }

    /// Flows that stand have carried this before: it is not recorded.
    pub fn passed(&mut self, flows: &[Flow]) {
        for flow in flows {
            self.recorded.insert(flow.id, (flow.tuple, flow.sent, flow.answered));
        }
    }

    /// Something was not told.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// A flow has ended.
    pub fn ended(&mut self, flow: &Flow, now: u64) {
        let known = self.recorded.remove(&flow.id).or_else(|| self.leaving.remove(&flow.id));
        let before = known.filter(|(tuple, ..)| *tuple == flow.tuple);
        self.record(flow, before, flow.ended.unwrap_or(now).min(now));
    }

    /// These flows stand.
    pub fn standing(&mut self, flows: &[Flow], now: u64) {
        let mut standing = HashMap::with_capacity(flows.len());
        for flow in flows {
            let before = self.recorded.get(&flow.id).copied().filter(|(tuple, ..)| *tuple == flow.tuple);
            self.record(flow, before, now);
            standing.insert(flow.id, (flow.tuple, flow.sent, flow.answered));
        }
        self.leaving = std::mem::replace(&mut self.recorded, standing);
        self.leaving.retain(|id, _| !self.recorded.contains_key(id));
    }

    /// A packet was refused.
    pub fn refused(&mut self, refusal: &Refusal, now: u64) {
        let own = if refusal.inward { refusal.tuple.to.ip } else { refusal.tuple.from.ip };
        if !self.own.contains(&own) || self.is_never(&refusal.tuple) {
            return;
        }
        let syn_ack = tcp::SYN | tcp::ACK;
        let flags =
            if refusal.tcp_flags & syn_ack == syn_ack { refusal.tcp_flags } else { refusal.tcp_flags & !tcp::ACK };
        self.add(Entry {
            tuple: refusal.tuple,
            action: Action::Reject,
            carried: Carried { packets: 1, bytes: refusal.bytes },
            start: now,
            end: now,
            tcp_flags: flags,
            inward: refusal.inward,
        });
    }

    /// What was carried since the last time, and whether something was lost.
    pub fn close(&mut self, now: u64) -> (Vec<Entry>, bool) {
        let mut entries = std::mem::take(&mut self.entries);
        // Where the host asks the groups, the task's own tracking sees what leaves it before it is refused.
        let refused: Vec<Tuple> = entries.keys().filter(|(_, a)| *a == Action::Reject).map(|(t, _)| *t).collect();
        for tuple in refused {
            if !entries.contains_key(&(tuple.reversed(), Action::Accept)) {
                entries.remove(&(tuple, Action::Accept));
            }
        }
        self.since = now;
        let mut entries: Vec<Entry> = entries.into_values().collect();
        entries.sort_unstable_by_key(|entry| (entry.tuple, entry.action));
        (entries, std::mem::take(&mut self.lost))
    }

    /// Whether it should end now.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= FULL
    }

    /// When it began.
    pub fn since(&self) -> u64 {
        self.since
    }

    fn record(&mut self, flow: &Flow, before: Option<Recorded>, end: u64) {
        let ends = (self.own.contains(&flow.tuple.from.ip), self.own.contains(&flow.tuple.to.ip));
        // Between its own addresses nothing passes an interface.
        if ends.0 == ends.1 || self.is_never(&flow.tuple) || flow.began.is_some_and(|began| began < self.born) {
            return;
        }
        let (_, sent, answered) = before.unwrap_or((flow.tuple, Carried::default(), Carried::default()));
        let start = flow.began.unwrap_or(self.since).max(self.since).min(end);
        let begins = before.is_none();
        let inward = ends.1;
        let directions = [
            (flow.tuple, flow.sent.since(sent), inward, flags(flow.tcp_state, begins, false)),
            (flow.tuple.reversed(), flow.answered.since(answered), !inward, flags(flow.tcp_state, begins, true)),
        ];
        for (tuple, carried, inward, tcp_flags) in directions {
            if carried.packets > 0 {
                self.add(Entry { tuple, action: Action::Accept, carried, start, end, tcp_flags, inward });
            }
        }
    }

    fn add(&mut self, new: Entry) {
        let entry = self.entries.entry((new.tuple, new.action));
        entry
            .and_modify(|there| {
                there.carried = there.carried.and(new.carried);
                there.start = there.start.min(new.start);
                there.end = there.end.max(new.end);
                there.tcp_flags |= new.tcp_flags;
            })
            .or_insert(new);
    }

    fn is_never(&self, tuple: &Tuple) -> bool {
        let special = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => NEVER.contains(&v4) || v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_loopback(),
        };
        let dhcp = tuple.protocol == 17 && DHCP.contains(&tuple.from.port) && DHCP.contains(&tuple.to.port);
        let ends = [tuple.from.ip, tuple.to.ip];
        dhcp || ends.iter().any(|ip| special(*ip) || self.routers.contains(ip))
    }
}

/// Flags that a connection must have had to be where it is.
fn flags(tcp_state: Option<u8>, begins: bool, answer: bool) -> u8 {
    let Some(now) = tcp_state else { return 0 };
    let opening = match (begins, answer) {
        (true, false) => tcp::SYN,
        (true, true) if now >= state::SYN_RECV => tcp::SYN | tcp::ACK,
        _ => 0,
    };
    let closing = match now {
        state::FIN_WAIT..=state::TIME_WAIT => tcp::FIN,
        state::CLOSE => tcp::RST,
        _ => 0,
    };
    opening | closing
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmode_model::flow::End;

    const NOW: u64 = 1_000_000;

    fn tuple(from: &str, from_port: u16, to: &str, to_port: u16) -> Tuple {
        let end = |ip: &str, port| End { ip: ip.parse().unwrap(), port };
        Tuple { protocol: 6, from: end(from, from_port), to: end(to, to_port) }
    }

    fn flow(id: u32, tuple: Tuple, sent: u64, answered: u64) -> Flow {
        let carried = |packets| Carried { packets, bytes: packets * 100 };
        Flow {
            id,
            tuple,
            sent: carried(sent),
            answered: carried(answered),
            began: Some(NOW + 1),
            ended: Some(NOW + 3),
            tcp_state: Some(7),
        }
    }

    fn window() -> Window {
        Window::new(vec!["10.0.2.4".parse().unwrap()], vec!["10.0.2.1".parse().unwrap()], NOW, false)
    }

    #[test]
    fn a_flow_of_two_directions_is_two_entries() {
        let mut window = window();
        let asked = tuple("10.0.2.9", 50000, "10.0.2.4", 80);
        window.ended(&flow(1, asked, 6, 4), NOW + 9);
        let (entries, lost) = window.close(NOW + 60);
        assert!(!lost);
        assert_eq!(entries.len(), 2);
        let of = |tuple: Tuple| entries.iter().find(|e| e.tuple == tuple).unwrap();
        let (there, back) = (of(asked), of(asked.reversed()));
        assert_eq!((there.carried.packets, there.inward, there.tcp_flags), (6, true, tcp::SYN | tcp::FIN));
        assert_eq!((back.carried.packets, back.inward, back.tcp_flags), (4, false, tcp::SYN | tcp::ACK | tcp::FIN));
        assert_eq!((there.start, there.end), (NOW + 1, NOW + 3));
        assert_eq!(window.close(NOW + 120), (vec![], false));
    }

    #[test]
    fn a_flow_that_stands_is_recorded_bit_by_bit() {
        let mut window = window();
        let asked = tuple("10.0.2.4", 50000, "203.0.113.9", 443);
        window.standing(&[flow(1, asked, 10, 5)], NOW + 60);
        assert_eq!(window.close(NOW + 60).0[0].carried.packets, 10);
        window.standing(&[flow(1, asked, 10, 5)], NOW + 120);
        assert_eq!(window.close(NOW + 120).0, [], "nothing new");
        window.ended(&flow(1, asked, 12, 5), NOW + 130);
        let (entries, _) = window.close(NOW + 180);
        assert_eq!((entries.len(), entries[0].carried.packets), (1, 2));
        // One that ended right before a look, and whose event comes after it.
        window.standing(&[flow(3, asked, 8, 8)], NOW + 181);
        window.close(NOW + 182);
        window.standing(&[], NOW + 183);
        window.ended(&flow(3, asked, 9, 8), NOW + 183);
        assert_eq!(window.close(NOW + 184).0[0].carried.packets, 1);
        // Another flow under the same number.
        window.passed(&[flow(2, asked, 7, 7)]);
        window.ended(&flow(2, tuple("10.0.2.4", 50001, "203.0.113.9", 443), 3, 3), NOW + 190);
        assert_eq!(window.close(NOW + 240).0[0].carried.packets, 3);
    }

    #[test]
    fn what_began_before_the_interface_came_was_anothers() {
        let mut window = window().of_one_born(NOW);
        let began =
            |id, began| Flow { began, ..flow(id, tuple("10.0.2.4", 50000 + id as u16, "203.0.113.9", 443), 4, 4) };
        window.standing(&[began(1, Some(NOW - 1)), began(2, Some(NOW)), began(3, None)], NOW + 1);
        window.ended(&began(4, Some(NOW - 90)), NOW + 2);
        let ports: Vec<_> = window.close(NOW + 3).0.iter().map(|e| e.tuple.from.port.max(e.tuple.to.port)).collect();
        assert!(ports.len() == 4 && ports.iter().all(|port| [50002, 50003].contains(port)), "{ports:?}");
    }

    #[test]
    fn refusals_are_counted_and_stand_alone() {
        let mut window = window();
        let refusal = |tuple, inward| Refusal { tuple, bytes: 60, tcp_flags: tcp::SYN, inward };
        let inward = tuple("10.0.2.9", 50000, "10.0.2.4", 22);
        window.refused(&refusal(inward, true), NOW + 1);
        window.refused(&refusal(inward, true), NOW + 2);
        // What the host refuses outward the task's own tracking has seen.
        let outward = tuple("10.0.2.4", 50000, "203.0.113.9", 25);
        window.ended(&flow(1, outward, 2, 0), NOW + 3);
        window.refused(&refusal(outward, false), NOW + 3);
        window.refused(&refusal(tuple("10.0.2.9", 1, "10.0.2.8", 22), true), NOW + 4);
        let (entries, _) = window.close(NOW + 60);
        let shown: Vec<_> = entries.iter().map(|e| (e.tuple, e.action, e.carried.packets, e.inward)).collect();
        assert_eq!(shown, [(outward, Action::Reject, 1, false), (inward, Action::Reject, 2, true)]);
    }

    #[test]
    fn what_is_never_recorded() {
        let mut window = window();
        for (n, other) in ["169.254.169.253", "169.254.170.2", "10.0.2.1", "10.0.2.4", "127.0.0.1"].iter().enumerate() {
            window.ended(&flow(n as u32, tuple("10.0.2.4", 4000, other, 53), 1, 1), NOW + 1);
        }
        let lease = Tuple { protocol: 17, ..tuple("10.0.2.4", 68, "10.0.2.77", 67) };
        window.ended(&flow(9, lease, 1, 1), NOW + 1);
        window.ended(&flow(10, tuple("127.0.0.1", 1, "127.0.0.1", 2), 1, 1), NOW + 1);
        assert_eq!(window.close(NOW + 60).0, []);
    }
}
