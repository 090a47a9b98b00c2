//! The place of a resolver in a container's namespace: at which address it is asked, and what leads there.
//!
//! It does not listen on port 53, so that a name server can be run in the container: the namespace's own table sends
//! what is for port 53 of its addresses to the port where it listens.

use crate::endpoint::{Endpoint, EndpointLink, NetnsUse};
use crate::ipam;
use crate::settings::Settings;
use ipnetwork::IpNetwork;
use netmode_model::nft::{
    Action, Base, Chain, ChainKind, Datum, DnatForm, Element, Family, Field, Hook, Match, Ruleset, Set, Span,
    TableName, Type,
};
use netmode_model::{DEFAULT_NETWORK, IfName, NetnsName, Op, Place, Protocol};
use std::net::{IpAddr, Ipv4Addr};

/// Where Docker's embedded resolver is asked, and ours on networks of one's own.
pub const ON_BRIDGE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Where a VPC's resolver is asked in every subnet (Amazon VPC user guide, "Amazon DNS server").
pub const IN_VPC: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);

/// The port of name servers (RFC 1035 §4.2).
const PORT: u16 = 53;

/// The range that a port is derived in: where the kernel gives them to who names none, since nobody counts on one there.
const EPHEMERAL: std::ops::Range<u16> = 32768..60999;

/// The resolver of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The namespace.
    pub netns: NetnsName,
    /// Where it listens.
    pub at: Ipv4Addr,
    /// The port there. A namespace that we made has it free; in the rare case that something has taken it since, another
    /// one does as well.
    pub port: u16,
    /// Where it is asked, the one that the container is told first.
    pub asked_at: Vec<Ipv4Addr>,
    /// Domains that a name without dots is looked for in, where the container names none.
    pub search: Vec<String>,
}

/// The resolver of a namespace with these endpoints, the one that made it first. There is none in somebody else's
/// namespace and none on the default network, as with ECS and Docker.
pub fn seat(endpoints: &[Endpoint]) -> Option<Seat> {
    let first = endpoints.first()?;
    let NetnsUse::Own(netns) = &first.netns else { return None };
    let links = || endpoints.iter().filter_map(|e| e.link.as_ref());
    let seat = |at, asked_at, search| {
        let [a, b, ..] = *first.id.bytes();
        let port = EPHEMERAL.start + u16::from_be_bytes([a, b]) % (EPHEMERAL.end - EPHEMERAL.start);
        Seat { netns: netns.clone(), at, port, asked_at, search }
    };
    if let Some((link, eni)) = links().find_map(|link| Some((link, link.eni.as_ref()?))) {
        let own = of_subnet(eni.subnet).filter(|_| link.addr(true).is_some());
        let zone = eni.name.split_once('.').map(|(_, zone)| zone.to_owned());
        return Some(seat(IN_VPC, own.into_iter().chain([IN_VPC]).collect(), zone.into_iter().collect()));
    }
    links().any(has_names).then(|| seat(ON_BRIDGE, vec![ON_BRIDGE], Vec::new()))
}

/// Whether containers on the network of a link have names there.
pub fn has_names(link: &EndpointLink) -> bool {
    link.eni.is_some() || link.network != DEFAULT_NETWORK
}

/// The address of a subnet that is kept for its resolver: the third (Amazon VPC user guide, "Subnet sizing").
fn of_subnet(subnet: IpNetwork) -> Option<Ipv4Addr> {
    match ipam::at(subnet, 2) {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

impl Seat {
    /// Addresses for the namespace's `lo`; those of 127.0.0.0/8 it has.
    pub fn addresses(&self) -> impl Iterator<Item = Op> {
        let lo: Option<IfName> = "lo".parse().ok();
        let own = self.asked_at.iter().filter(|ip| !ip.is_loopback());
        let at = Place::Netns(self.netns.clone());
        own.zip(std::iter::repeat(lo))
            .filter_map(move |(ip, lo)| Some(Op::AddrAdd { at: at.clone(), dev: lo?, addr: IpAddr::V4(*ip).into() }))
    }

    /// The namespace's table with its elements.
    pub fn table(&self, settings: &Settings) -> (Ruleset, Vec<Element>) {
        let table = TableName::inet(&format!("{}_names", settings.table)).within(self.netns.clone());
        let key = vec![Type::InetProto, Type::Ipv4Addr, Type::InetService];
        let map = Set { name: MAP.into(), key, data: vec![Type::Ipv4Addr, Type::InetService], interval: false };
        let rule = netmode_model::nft::Rule {
            matches: vec![Match::Family(Family::V4)],
            action: Action::DnatBy {
                fields: vec![Field::L4Proto, Field::Daddr(Family::V4), Field::Dport],
                map: MAP.into(),
                form: DnatForm::AddrPort(Family::V4),
            },
        };
        let base = Base { kind: ChainKind::Nat, hook: Hook::Output, priority: -100 };
        let chain = Chain { name: "output_nat".into(), base: Some(base), rules: vec![rule] };
        (Ruleset { table, owner: false, sets: vec![map], chains: vec![chain] }, self.elements())
    }

    fn elements(&self) -> Vec<Element> {
        let one = |ip: &Ipv4Addr, protocol| Element {
            set: MAP.into(),
            key: [Datum::Proto(protocol), Datum::V4(*ip), Datum::Port(PORT)].map(Span::One).into(),
            data: vec![Datum::V4(self.at), Datum::Port(self.port)],
        };
        self.asked_at.iter().flat_map(|ip| [Protocol::Udp, Protocol::Tcp].map(|p| one(ip, p))).collect()
    }

    /// All of it as operations.
    pub fn ops(&self, settings: &Settings) -> Vec<Op> {
        let (ruleset, elements) = self.table(settings);
        let table = ruleset.table.clone();
        let add = move |element| Op::ElementAdd { table: table.clone(), element };
        self.addresses().chain([Op::TableAdd(ruleset)]).chain(elements.into_iter().map(add)).collect()
    }
}

const MAP: &str = "resolver";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text() {
        let mut seat = Seat {
            netns: "nm-0123456789ab".parse().unwrap(),
            at: ON_BRIDGE,
            port: 40053,
            asked_at: vec![ON_BRIDGE],
            search: vec![],
        };
        let text = |seat: &Seat| seat.ops(&Settings::default()).iter().map(|op| format!("{op}\n")).collect::<String>();
        let on_bridge = text(&seat);
        (seat.at, seat.asked_at) = (IN_VPC, vec![Ipv4Addr::new(10, 0, 2, 2), IN_VPC]);
        insta::assert_snapshot!(format!("{on_bridge}\n{}", text(&seat)));
    }
}
