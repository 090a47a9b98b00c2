//! What the agent serves inside a container's namespace: a resolver, and a task's metadata. Where each is asked, and what
//! leads there.
//!
//! Neither listens on the port that it is asked on, so that a name server or a web server can be run in the container: the
//! namespace's own table sends what is for that address and port to the one where the agent listens. Whoever asks is known
//! by the namespace that he asks in; nothing of it is on the host, on a bridge or on the LAN.

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

/// Where a task of ECS asks about itself (ECS developer guide, "Task metadata endpoint").
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

/// The port of name servers (RFC 1035 §4.2).
const DNS: u16 = 53;

/// The port of web servers.
const HTTP: u16 = 80;

/// The range that ports are derived in: where the kernel gives them to who names none, since nobody counts on one there.
const EPHEMERAL: std::ops::Range<u16> = 32768..60998;

/// What is served in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The namespace.
    pub netns: NetnsName,
    /// Port of the resolver, and the next one of the metadata. A namespace that we made has them free; in the rare case
    /// that something has taken one since, another one does as well.
    pub port: u16,
    /// The resolver, where there is one.
    pub resolver: Option<Resolver>,
    /// Whether its task can ask about itself.
    pub metadata: bool,
}

/// A resolver in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// Where it listens.
    pub at: Ipv4Addr,
    /// Where it is asked, the one that the container is told first.
    pub asked_at: Vec<Ipv4Addr>,
    /// Domains that a name without dots is looked for in, where the container names none.
    pub search: Vec<String>,
}

/// Where the agent listens in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    /// For names.
    pub resolver: Option<u16>,
    /// For the task's metadata.
    pub metadata: Option<u16>,
}

/// What is served in the namespace of these endpoints, the one that made it first: nothing in somebody else's, and no names
/// on the default network, as with ECS and Docker.
pub fn seat(endpoints: &[Endpoint], metadata: bool) -> Option<Seat> {
    let first = endpoints.first()?;
    let NetnsUse::Own(netns) = &first.netns else { return None };
    let resolver = resolver(endpoints);
    if resolver.is_none() && !metadata {
        return None;
    }
    let [a, b, ..] = *first.id.bytes();
    let port = EPHEMERAL.start + u16::from_be_bytes([a, b]) % (EPHEMERAL.end - EPHEMERAL.start);
    Some(Seat { netns: netns.clone(), port, resolver, metadata })
}

/// The resolver of a namespace with these endpoints.
pub fn resolver(endpoints: &[Endpoint]) -> Option<Resolver> {
    let links = || endpoints.iter().filter_map(|e| e.link.as_ref());
    if let Some((link, eni)) = links().find_map(|link| Some((link, link.eni.as_ref()?))) {
        let own = of_subnet(eni.subnet).filter(|_| link.addr(true).is_some());
        let asked_at = own.into_iter().chain([IN_VPC]).collect();
        return Some(Resolver { at: IN_VPC, asked_at, search: eni.zone().map(str::to_owned).into_iter().collect() });
    }
    let on_bridge = || Resolver { at: ON_BRIDGE, asked_at: vec![ON_BRIDGE], search: Vec::new() };
    links().any(has_names).then(on_bridge)
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
    /// Where the agent listens as long as nothing is in the way.
    pub fn ports(&self) -> Ports {
        Ports { resolver: self.resolver.as_ref().map(|_| self.port), metadata: self.metadata.then_some(self.port + 1) }
    }

    /// Addresses for the namespace's `lo`; those of 127.0.0.0/8 it has. Nobody outside is told that they are here: on a LAN
    /// they may be somebody else's (`arp_ignore`, ip-sysctl: 1 is "only addresses of the link that the question came by").
    pub fn addresses(&self) -> Vec<Op> {
        let Ok(lo) = "lo".parse::<IfName>() else { return Vec::new() };
        let of_resolver = self.resolver.iter().flat_map(|r| &r.asked_at).filter(|ip| !ip.is_loopback());
        let own: Vec<_> = of_resolver.chain(self.metadata.then_some(&METADATA)).collect();
        let at = Place::Netns(self.netns.clone());
        let key = "net/ipv4/conf/all/arp_ignore".into();
        let silent = (!own.is_empty()).then(|| Op::Sysctl { at: at.clone(), key, value: "1".into() });
        let add = |ip: &Ipv4Addr| Op::AddrAdd { at: at.clone(), dev: lo.clone(), addr: IpAddr::V4(*ip).into() };
        silent.into_iter().chain(own.into_iter().map(add)).collect()
    }

    /// The namespace's table with its elements.
    pub fn table(&self, ports: Ports, settings: &Settings) -> (Ruleset, Vec<Element>) {
        let table = TableName::inet(&format!("{}_inside", settings.table)).within(self.netns.clone());
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
        (Ruleset { table, owner: false, flowtable: None, sets: vec![map], chains: vec![chain] }, self.elements(ports))
    }

    fn elements(&self, ports: Ports) -> Vec<Element> {
        let one = |protocol, asked: (Ipv4Addr, u16), at: (Ipv4Addr, u16)| Element {
            set: MAP.into(),
            key: [Datum::Proto(protocol), Datum::V4(asked.0), Datum::Port(asked.1)].map(Span::One).into(),
            data: vec![Datum::V4(at.0), Datum::Port(at.1)],
        };
        let names = self.resolver.iter().zip(ports.resolver).flat_map(|(resolver, port)| {
            let both = |ip: Ipv4Addr| [Protocol::Udp, Protocol::Tcp].map(|p| one(p, (ip, DNS), (resolver.at, port)));
            resolver.asked_at.iter().copied().flat_map(both).collect::<Vec<_>>()
        });
        let metadata = ports.metadata.map(|port| one(Protocol::Tcp, (METADATA, HTTP), (METADATA, port)));
        names.chain(metadata).collect()
    }

    /// All of it as operations.
    pub fn ops(&self, settings: &Settings) -> Vec<Op> {
        let (ruleset, elements) = self.table(self.ports(), settings);
        let table = ruleset.table.clone();
        let add = move |element| Op::ElementAdd { table: table.clone(), element };
        self.addresses().into_iter().chain([Op::TableAdd(ruleset)]).chain(elements.into_iter().map(add)).collect()
    }
}

const MAP: &str = "served";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text() {
        let on_bridge = Resolver { at: ON_BRIDGE, asked_at: vec![ON_BRIDGE], search: vec![] };
        let in_vpc = Resolver { at: IN_VPC, asked_at: vec![Ipv4Addr::new(10, 0, 2, 2), IN_VPC], search: vec![] };
        let text = |resolver, metadata| {
            let seat = Seat { netns: "nm-0123456789ab".parse().unwrap(), port: 40053, resolver, metadata };
            seat.ops(&Settings::default()).iter().map(|op| format!("{op}\n")).collect::<String>()
        };
        insta::assert_snapshot!(format!("{}\n{}", text(Some(on_bridge), false), text(Some(in_vpc), true)));
    }
}
