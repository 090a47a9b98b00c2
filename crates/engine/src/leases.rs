//! What is given to whom: addresses, hardware addresses and host ports, behind the engine's one short lock.

use crate::attach::Attach;
use crate::endpoint::{Endpoint, EndpointLink, Owner, OwnerKind};
use crate::error::AttachError;
use crate::ipam::{IpamError, Pool, PoolUse};
use crate::network::Network;
use crate::ports::Ports;
use crate::vpc::{Eni, Subnet};
use crate::wish::link_name;
use ipnetwork::IpNetwork;
use netmode_model::vpc::{Backend, Resource, private_dns_name};
use netmode_model::{Id, Mac, PortRange, Published};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many addresses are passed by whose hardware addresses others have asked for.
const MOST_ASIDE: usize = 8;

/// How long an address of a subnet rests when its link is gone: flow logs, names and others' neighbour caches may still
/// mean its last holder (as Amazon's VPC CNI has it for its warm pool).
const REST: Duration = Duration::from_secs(30);

/// How long an address is passed by that a machine of the LAN has.
const SHUNNED: Duration = Duration::from_secs(600);

/// Who an address belongs to while it is laid to rest for somebody whom nobody here knows.
const STRANGER: Id = Id::from_bytes([0xff; 16]);

/// Who an address belongs to that is kept for the host.
const HOST: Id = Id::from_bytes([0xfe; 16]);

/// What it is called.
const INSTANCE: &str = "the container instance";

/// Everything that can be given only once.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    networks: BTreeMap<String, Lan>,
    pub(crate) ports: Ports,
    names: HashMap<Id, String>,
    /// Those of the ids that are namespaces of somebody else, not tasks.
    namespaces: HashSet<Id>,
}

/// A network with what is given out on it.
#[derive(Debug)]
struct Lan {
    network: Network,
    pools: Vec<Pool>,
    macs: HashMap<Mac, Id>,
    /// Addresses that were last given with a hardware address of somebody's choice.
    chosen: HashSet<IpAddr>,
    /// 802.1Q ids of branches.
    vlans: HashMap<u16, Id>,
    /// Addresses that are kept for the host itself.
    kept: Vec<IpAddr>,
}

impl Leases {
    pub(crate) fn new(networks: Vec<Network>) -> Self {
        let mut leases = Self { names: [(HOST, INSTANCE.to_owned())].into(), ..Self::default() };
        networks.into_iter().for_each(|network| leases.add_network(network));
        leases
    }

    pub(crate) fn add_network(&mut self, network: Network) {
        let pools = network.pools();
        let lan = Lan {
            network,
            pools,
            macs: HashMap::new(),
            chosen: HashSet::new(),
            vlans: HashMap::new(),
            kept: Vec::new(),
        };
        self.networks.insert(lan.network.name.clone(), lan);
    }

    /// Takes a network away that nobody has an address on any more.
    ///
    /// # Errors
    /// Who has one.
    pub(crate) fn remove_network(&mut self, name: &str) -> Result<(), Vec<String>> {
        let users = self.users(name);
        if users.is_empty() {
            self.networks.remove(name);
            return Ok(());
        }
        Err(users)
    }

    /// Names of those who have an address on a network.
    pub(crate) fn users(&self, name: &str) -> Vec<String> {
        let lan = self.networks.get(name);
        let mut users: Vec<String> = lan.iter().flat_map(|l| l.macs.values()).map(|id| self.owner(*id)).collect();
        users.sort();
        users.extend(lan.filter(|l| !l.kept.is_empty()).map(|_| INSTANCE.to_owned()));
        users
    }

    /// Keeps IPv4 addresses of a network for the host itself: those of `these` that can be, and as many as are missing.
    pub(crate) fn keep(&mut self, network: &str, count: usize, these: &[IpAddr]) -> Result<Vec<IpAddr>, AttachError> {
        let lan = self.networks.get_mut(network).ok_or_else(|| AttachError::NoSuchNetwork(network.into()))?;
        let Some(pool) = lan.pools.iter_mut().find(|pool| pool.prefix().is_ipv4()) else { return Ok(Vec::new()) };
        lan.kept = these.iter().take(count).filter_map(|ip| pool.take(*ip, HOST).ok()).collect();
        while lan.kept.len() < count {
            match pool.take_lowest(HOST) {
                Ok(ip) => lan.kept.push(ip),
                Err(source) => {
                    lan.kept.drain(..).for_each(|ip| pool.release(ip, HOST));
                    return Err(AttachError::Address { source, owner: None });
                }
            }
        }
        Ok(lan.kept.clone())
    }

    /// Gives back what is kept for the host itself.
    pub(crate) fn let_go(&mut self, network: &str) {
        if let Some(lan) = self.networks.get_mut(network) {
            for ip in lan.kept.drain(..) {
                lan.pools.iter_mut().for_each(|pool| pool.release(ip, HOST));
            }
        }
    }

    /// The names of networks, the one with the most free addresses first.
    pub(crate) fn by_free(&self, names: &[String]) -> Vec<String> {
        let free = |name: &String| {
            let pool = self.networks.get(name).and_then(|lan| lan.pools.first());
            pool.map_or(0, |pool| pool.usable().saturating_sub(pool.used() as u128))
        };
        let mut names = names.to_vec();
        names.sort_by_key(|name| std::cmp::Reverse(free(name)));
        names
    }

    /// Passes an address by for a while that a machine of the LAN has.
    pub(crate) fn shun(&mut self, network: &str, ip: IpAddr, now: Instant) {
        let pools = self.networks.get_mut(network).into_iter().flat_map(|lan| &mut lan.pools);
        for pool in pools.filter(|pool| pool.prefix().contains(ip)) {
            if pool.take(ip, STRANGER).is_ok() {
                pool.rest(ip, STRANGER, now + SHUNNED);
            }
        }
    }

    /// The addresses of a network that are given next, of each family.
    pub(crate) fn coming(&self, network: &str, count: usize) -> Vec<IpAddr> {
        let pools = self.networks.get(network).into_iter().flat_map(|lan| &lan.pools);
        pools.flat_map(|pool| pool.coming(count)).collect()
    }

    /// How many ENIs there are, those that the kernel has not taken away yet included.
    pub(crate) fn enis(&self) -> usize {
        self.networks.values().filter(|lan| lan.network.subnet.is_some()).map(|lan| lan.macs.len()).sum()
    }

    /// IPv4 addresses of a network that can be given out now, and in all.
    pub(crate) fn free(&mut self, name: &str, now: Instant) -> (u128, u128) {
        let pools = self.networks.get_mut(name).into_iter().flat_map(|lan| &mut lan.pools);
        pools.into_iter().find(|pool| pool.prefix().is_ipv4()).map_or((0, 0), |pool| {
            pool.wake(now);
            (pool.available(), pool.usable())
        })
    }

    /// How every pool is used.
    pub(crate) fn pools(&mut self, now: Instant) -> Vec<PoolUse> {
        let pools = self.networks.values_mut().flat_map(|lan| &mut lan.pools);
        let used = |pool: &mut Pool| {
            pool.wake(now);
            pool.usage()
        };
        pools.map(used).collect()
    }

    pub(crate) fn network(&self, name: &str) -> Option<&Network> {
        self.networks.get(name).map(|lan| &lan.network)
    }

    pub(crate) fn networks(&self) -> Vec<Network> {
        self.networks.values().map(|l| l.network.clone()).collect()
    }

    /// Gives a network another MTU: links that are made from now on have it.
    pub(crate) fn set_mtu(&mut self, network: &str, mtu: u32) -> Option<Network> {
        let lan = self.networks.get_mut(network)?;
        lan.network.mtu = mtu;
        Some(lan.network.clone())
    }

    /// Remembers whom an id belongs to, for the words of errors.
    pub(crate) fn name(&mut self, id: Id, owner: &Owner) {
        self.names.insert(id, owner.name.clone());
        if owner.kind == OwnerKind::Netns {
            self.namespaces.insert(id);
        }
    }

    /// Forgets whom an id belongs to.
    pub(crate) fn forget(&mut self, id: Id) {
        self.names.remove(&id);
        self.namespaces.remove(&id);
    }

    fn kind(&self, id: Id) -> OwnerKind {
        if self.namespaces.contains(&id) { OwnerKind::Netns } else { OwnerKind::Task }
    }

    fn owner(&self, id: Id) -> String {
        self.names.get(&id).cloned().unwrap_or_else(|| id.short())
    }

    /// Takes addresses and a hardware address for an endpoint.
    pub(crate) fn take_link(
        &mut self,
        network: &str,
        endpoint: &Endpoint,
        request: &Attach,
    ) -> Result<EndpointLink, AttachError> {
        let names = &self.names;
        let name_of = |id: Id| names.get(&id).cloned().unwrap_or_else(|| id.short());
        let lan = self.networks.get_mut(network).ok_or_else(|| AttachError::NoSuchNetwork(network.into()))?;
        if let (true, Some(spec)) = (lan.network.internal, request.net.ports.first()) {
            return Err(AttachError::Internal { spec: *spec, network: network.into() });
        }
        let wanted = [request.net.ip.map(IpAddr::V4), request.net.ip6.map(IpAddr::V6)];
        let has = |ip: &IpAddr| lan.pools.iter().any(|pool| pool.prefix().is_ipv4() == ip.is_ipv4());
        if let Some(ip) = wanted.into_iter().flatten().find(|ip| !has(ip)) {
            return Err(AttachError::NoPrefix { ip, network: network.into() });
        }
        if let Some((mac, owner)) = request.net.mac_address.and_then(|m| Some((m, *lan.macs.get(&m)?))) {
            return Err(AttachError::MacTaken { mac, owner: name_of(owner) });
        }
        lan.pools.iter_mut().for_each(|pool| pool.wake(request.begun));
        let link = lan.free_link(endpoint, request, wanted, &name_of)?;
        if let Some(error) = lan.without_vlan(&link) {
            lan.release(endpoint.id, &link, None);
            return Err(error);
        }
        lan.macs.insert(link.mac, endpoint.id);
        lan.vlans.extend(link.eni.iter().filter_map(|eni| eni.vlan).map(|vlan| (vlan, endpoint.id)));
        Ok(link)
    }

    /// Takes the ports of a mapping by record.
    pub(crate) fn take_ports(&mut self, published: &Published, id: Id) -> Result<(), AttachError> {
        self.ports.take(published, id).map_err(|clash| {
            let host_ports = PortRange::single(clash.port).unwrap_or(published.host_ports);
            let published = Published { host_ports, ..*published };
            if clash.owner == id {
                return AttachError::MappedTwice { published };
            }
            let name = self.owner(clash.owner);
            AttachError::PortPublished { published, owner: self.kind(clash.owner), name }
        })
    }

    pub(crate) fn release_ports(&mut self, endpoint: &Endpoint) {
        for published in &endpoint.ports {
            self.ports.release(published, endpoint.id);
        }
    }

    /// Makes the addresses of an endpoint free, those of a link that was `gone` on a subnet after their rest.
    pub(crate) fn release_link(&mut self, endpoint: &Endpoint, gone: Option<Instant>) {
        if let Some(link) = &endpoint.link
            && let Some(lan) = self.networks.get_mut(&link.network)
        {
            lan.release(endpoint.id, link, gone);
        }
        self.forget(endpoint.id);
    }

    /// Takes what a recorded endpoint has. Records were checked against each other when they were made.
    pub(crate) fn adopt(&mut self, endpoint: &Endpoint) {
        self.name(endpoint.id, &endpoint.owner);
        if let Some(link) = &endpoint.link
            && let Some(lan) = self.networks.get_mut(&link.network)
        {
            lan.macs.insert(link.mac, endpoint.id);
            lan.vlans.extend(link.eni.iter().filter_map(|eni| eni.vlan).map(|vlan| (vlan, endpoint.id)));
            for ip in link.addrs.iter().map(IpNetwork::ip) {
                for pool in lan.pools.iter_mut().filter(|p| p.prefix().contains(ip)) {
                    let _ = pool.take(ip, endpoint.id);
                }
            }
        }
        for published in &endpoint.ports {
            let _ = self.ports.take(published, endpoint.id);
        }
    }
}

impl Lan {
    /// A link whose addresses nobody has. The hardware address that is derived from a free address can be one that a
    /// container has asked for: where nothing was asked for, the next address does as well.
    fn free_link(
        &mut self,
        endpoint: &Endpoint,
        request: &Attach,
        wanted: [Option<IpAddr>; 2],
        name_of: &impl Fn(Id) -> String,
    ) -> Result<EndpointLink, AttachError> {
        let any = wanted == [None; 2] && request.net.mac_address.is_none();
        let mut aside: Vec<EndpointLink> = Vec::new();
        let found = loop {
            let addrs = match self.take_addresses(endpoint.id, wanted) {
                Ok(addrs) => addrs,
                Err(source) => {
                    let owner = match &source {
                        IpamError::Taken { owner, .. } => Some(name_of(*owner)),
                        _ => None,
                    };
                    break Err(AttachError::Address { source, owner });
                }
            };
            let link = self.link(endpoint, request, addrs);
            match self.macs.get(&link.mac) {
                None => break Ok(link),
                Some(owner) if !any || aside.len() == MOST_ASIDE => {
                    let error = AttachError::MacTaken { mac: link.mac, owner: name_of(*owner) };
                    aside.push(link);
                    break Err(error);
                }
                Some(_) => aside.push(link),
            }
        };
        aside.iter().for_each(|link| self.release(endpoint.id, link, None));
        found
    }

    /// Whether a link should be a branch of a trunk, and no VLAN is left for it.
    fn without_vlan(&self, link: &EndpointLink) -> Option<AttachError> {
        let eni = link.eni.as_ref().filter(|eni| eni.backend == Backend::Vlan && eni.vlan.is_none())?;
        let (first, last) = self.network.subnet.as_ref()?.vlans;
        Some(AttachError::VlansExhausted { subnet: eni.subnet, first, last })
    }

    /// One address of each pool, the wanted one where one is wanted; all or none.
    fn take_addresses(&mut self, id: Id, wanted: [Option<IpAddr>; 2]) -> Result<Vec<IpNetwork>, IpamError> {
        let mut taken = Vec::new();
        for pool in &mut self.pools {
            let wanted = wanted.into_iter().flatten().find(|ip| ip.is_ipv4() == pool.prefix().is_ipv4());
            let got = match wanted {
                Some(ip) => pool.take(ip, id),
                None => pool.take_lowest(id),
            };
            match got {
                Ok(ip) => taken.push(self.network.on_link(ip, pool.prefix())),
                Err(why) => {
                    self.give_back(id, &taken, None);
                    return Err(why);
                }
            }
        }
        Ok(taken)
    }

    fn give_back(&mut self, id: Id, addrs: &[IpNetwork], until: Option<Instant>) {
        for ip in addrs.iter().map(IpNetwork::ip) {
            self.pools.iter_mut().for_each(|pool| match until {
                Some(until) => pool.rest(ip, id, until),
                None => pool.release(ip, id),
            });
        }
    }

    fn release(&mut self, id: Id, link: &EndpointLink, gone: Option<Instant>) {
        let until = gone.filter(|_| self.network.subnet.is_some()).map(|gone| gone + REST);
        self.give_back(id, &link.addrs, until);
        self.vlans.retain(|_, owner| *owner != id);
        if self.macs.get(&link.mac) == Some(&id) {
            self.macs.remove(&link.mac);
        }
    }

    fn link(&mut self, endpoint: &Endpoint, request: &Attach, addrs: Vec<IpNetwork>) -> EndpointLink {
        let derived = addrs.first().map(|a| Mac::of(a.ip()));
        // A derived hardware address is always the same for an address: nobody can know a wrong one, unless the last
        // holder had chosen another. Telling everybody costs 4 ms at a thousand ports, under RTNL.
        let mac = request.net.mac_address.or(derived).unwrap_or(self.network.mac);
        let chosen = Some(mac) != derived;
        let announce = addrs.iter().map(IpNetwork::ip).fold(chosen, |known, ip| match chosen {
            true => self.chosen.insert(ip) || known,
            false => self.chosen.remove(&ip) || known,
        });
        let gateways = addrs.iter().filter_map(|a| self.network.next_hop(a.ip())).collect();
        let eni = self.network.subnet.as_ref().map(|subnet| self.eni(subnet, endpoint, request, &addrs));
        EndpointLink {
            network: self.network.name.clone(),
            bridge: self.network.bridge.clone(),
            announce,
            host_dev: link_name(endpoint.id),
            interface: request.interface.clone(),
            mac,
            mtu: self.network.mtu,
            gateways: if request.default_route && !self.network.internal { gateways } else { Vec::new() },
            isolated: !self.network.icc,
            addrs,
            rate: request.net.net_rate,
            groups: request.groups.clone(),
            eni,
        }
    }

    fn eni(&self, subnet: &Subnet, endpoint: &Endpoint, request: &Attach, addrs: &[IpNetwork]) -> Eni {
        let (first, last) = subnet.vlans;
        let named = addrs.first().map(|a| private_dns_name(a.ip(), &subnet.zone));
        Eni {
            id: Resource::Eni.id(endpoint.id),
            subnet: self.network.prefix(),
            backend: subnet.backend,
            parent: subnet.parent.clone(),
            parent_mac: subnet.parent_mac,
            vlan: (first..=last).find(|id| subnet.backend == Backend::Vlan && !self.vlans.contains_key(id)),
            best_effort: request.net.sg_best_effort,
            name: named.unwrap_or_default(),
        }
    }
}
