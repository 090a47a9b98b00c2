//! What the configuration decides, as the engine needs it.

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use netmode_model::{IfName, PortRange};

/// `IFLA_GROUP` of links that are about to be deleted; nobody else's.
pub const DOOMED: u32 = 0x6e6d_6472;

/// Settings of the engine. They do not change while it lives.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Marks what is ours in ifalias, so that several agents can share a machine.
    pub instance: String,
    /// Name of the nf_tables tables, families inet and bridge.
    pub table: String,
    /// Own the tables by the agent's socket where the kernel keeps owned tables.
    pub own_table: bool,
    /// Let containers send in their own name alone.
    pub source_guard: bool,
    /// Links of the host between which, and the links of networks, connections go by a flowtable; none: all go by the rules.
    pub flowtable: Vec<IfName>,
    /// One bit of the packet mark that says "may be forwarded to a container".
    pub mark: u32,
    /// Priority of the first of three policy routing rules of the guard.
    pub rule_pref: u32,
    /// Number of the guard's routing table: it refuses our networks.
    pub guard_table: u32,
    /// Number of the routing table with the ways to our networks.
    pub way_table: u32,
    /// `IFLA_GROUP` of our links.
    pub group: u32,
    /// Where dynamic host ports are taken from.
    pub dynamic: DynamicPorts,
    /// Host ports that containers' own connections get outward. No service should listen there.
    pub outward: PortRange,
    /// The default bridge.
    pub bridge: BridgeSettings,
    /// Whether the kernel has IPv6 at all.
    pub kernel_ipv6: bool,
    /// Whether a subnet may be of IPv6 alone.
    pub ipv6_only: bool,
    /// Whether tasks with an ENI are kept from the metadata of the machine that the host is (`ECS_AWSVPC_BLOCK_IMDS`).
    pub block_imds: bool,
}

/// Where dynamic host ports are taken from.
#[derive(Debug, Clone)]
pub struct DynamicPorts {
    /// `net.ipv4.ip_local_port_range`, or what the configuration says.
    pub range: PortRange,
    /// Ports never to choose (`net.ipv4.ip_local_reserved_ports`); empty where the range was configured,
    /// since reserving exactly that range is the way to keep the kernel out of it.
    pub skip: Vec<PortRange>,
}

/// The default bridge.
#[derive(Debug, Clone)]
pub struct BridgeSettings {
    /// Name of the link.
    pub name: IfName,
    /// Prefixes to choose from, the first that overlaps nothing.
    pub pools: Vec<Ipv4Network>,
    /// IPv6 prefix; none leaves IPv6 off.
    pub ipv6: Option<Ipv6Network>,
    /// Bytes; the MTU of the egress route where none is given.
    pub mtu: Option<u32>,
}

/// Facts of the host that plans depend on, read once and kept up by the monitor.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// Prefixes that the host has addresses in or routes to.
    pub prefixes: Vec<(IpNetwork, String)>,
    /// MTU of the link that the default route leaves by, in bytes.
    pub egress_mtu: u32,
}

impl HostFacts {
    /// A prefix that shares an address with this one, and whose it is; those of the link `but` do not count. A default
    /// route covers everything and says nothing about who has what.
    pub fn overlapping(&self, prefix: IpNetwork, but: Option<&IfName>) -> Option<&(IpNetwork, String)> {
        let other = |dev: &str| but.is_none_or(|but| but.as_str() != dev);
        self.prefixes.iter().find(|(p, dev)| p.prefix() > 0 && other(dev) && crate::ipam::overlap(prefix, *p))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance: "default".into(),
            table: "netmode".into(),
            own_table: true,
            source_guard: true,
            flowtable: Vec::new(),
            mark: 0x2000_0000,
            rule_pref: 90,
            guard_table: 0x6e6d,
            way_table: 0x6e6e,
            group: 0x6e6d,
            dynamic: DynamicPorts::default(),
            outward: DynamicPorts::outward(DynamicPorts::default().range),
            bridge: BridgeSettings::default(),
            kernel_ipv6: true,
            ipv6_only: false,
            block_imds: true,
        }
    }
}

impl DynamicPorts {
    /// From the first port that the kernel itself gives to who names none (`net.ipv4.ip_local_port_range`) up: there
    /// services do not listen. Not that range alone: so many connections to one server there can be at once.
    pub fn outward(local: PortRange) -> PortRange {
        PortRange::new(local.first().max(1024), u16::MAX).unwrap_or(local)
    }
}

impl Default for DynamicPorts {
    /// The kernel's default range.
    fn default() -> Self {
        let range = PortRange::new(32768, 60999).unwrap_or_else(|| unreachable!("a constant range"));
        Self { range, skip: Vec::new() }
    }
}

impl Default for BridgeSettings {
    /// `nm0`, and Docker's pools: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in /20s.
    fn default() -> Self {
        use std::net::Ipv4Addr;
        let net = |a, b, c, len| {
            Ipv4Network::new(Ipv4Addr::new(a, b, c, 0), len).unwrap_or_else(|_| unreachable!("a constant prefix"))
        };
        let sixteens = (17..=31).map(|n| net(172, n, 0, 16));
        let twenties = (0..16).map(|n| net(192, 168, n * 16, 20));
        Self {
            name: "nm0".parse().unwrap_or_else(|_| unreachable!("a constant name")),
            pools: sixteens.chain(twenties).collect(),
            ipv6: None,
            mtu: None,
        }
    }
}
