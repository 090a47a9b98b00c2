//! Single facts of the host, read when they are needed.

use crate::kernel::Kernel;
use crate::route::{Path, RouteSocket};
use crate::wire::Refused;
use ipnetwork::IpNetwork;
use netmode_model::op::OpError;
use netmode_model::state::LinkState;
use netmode_model::{IfName, Mac, NetnsName, Observed, Place, PortRange};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// `RT_TABLE_MAIN`, linux/rtnetlink.h.
const MAIN: u32 = 254;

/// What is around a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Prefixes of addresses and routes (default routes left out), and the link that has each.
    pub prefixes: Vec<(IpNetwork, String)>,
    /// MTU of the link that the default route leaves by, in bytes; `None` without a default route.
    pub egress_mtu: Option<u32>,
}

/// A link that is no more needs no deletion.
fn gone_is_done(done: Result<(), Refused>) -> Result<(), Refused> {
    done.or_else(|refused| if refused.is(Errno::ENODEV) { Ok(()) } else { Err(refused) })
}

/// The link that the default route leaves by: IPv4's with the lowest metric, else IPv6's.
fn egress(paths: &[Path]) -> Option<u32> {
    let defaults = paths.iter().filter(|p| p.table == MAIN && p.to.is_none_or(|to| to.prefix() == 0));
    defaults.filter_map(|p| Some((p.six, p.metric, p.oif?))).min().map(|(_, _, index)| index)
}

fn is_link_local(prefix: &IpNetwork) -> bool {
    matches!(prefix, IpNetwork::V6(p) if p.ip().is_unicast_link_local())
}

/// Name of a link, asked for once; its number where it has just gone.
fn name(route: &mut RouteSocket, known: &mut BTreeMap<u32, String>, index: u32) -> Result<String, Refused> {
    if let Some(name) = known.get(&index) {
        return Ok(name.clone());
    }
    let name = match route.name_of(index) {
        Ok(found) => found.map_or_else(|| format!("link {index}"), |name| name.to_string()),
        Err(e) if e.is(Errno::ENODEV) => format!("link {index}"),
        Err(e) => return Err(e),
    };
    known.insert(index, name.clone());
    Ok(name)
}

impl Kernel {
    fn ask<T: Send + 'static>(
        &self,
        command: &str,
        job: impl FnOnce(&mut crate::netns::Worker) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, OpError> {
        self.pool.run(job).and_then(|result| result).map_err(|refused| refused.of(&command))
    }

    /// The host's addresses with their prefix lengths, of every link.
    ///
    /// # Errors
    /// A dump that the kernel refused.
    pub fn host_addresses(&self) -> Result<Vec<IpNetwork>, OpError> {
        let addresses = self.ask("ip address", |worker| worker.route(&Place::Host)?.addresses())?;
        Ok(addresses.into_iter().map(|(_, address)| address).collect())
    }

    /// What the host has addresses in and routes to, and its way out. Prefixes whose owner the caller knows are left
    /// out, and link-local addresses.
    ///
    /// # Errors
    /// A dump that the kernel refused.
    pub fn surroundings(&self, known: Vec<IpNetwork>) -> Result<Surroundings, OpError> {
        self.ask("ip route show table all", move |worker| {
            let route = worker.route(&Place::Host)?;
            let (addresses, paths) = (route.addresses()?, route.paths()?);
            let by_link = addresses.into_iter().map(|(index, address)| (MAIN, Some(index), address));
            let routes = paths.iter().filter_map(|p| Some((p.table, p.oif, p.to?)));
            let mut names = BTreeMap::new();
            let mut prefixes: Vec<(IpNetwork, String)> = Vec::new();
            for (table, index, prefix) in by_link.chain(routes).filter(|(.., p)| p.prefix() > 0 && !is_link_local(p)) {
                let whole = IpNetwork::new(prefix.network(), prefix.prefix()).unwrap_or(prefix);
                let is_main = table == MAIN && index.is_some();
                let told = !is_main && prefixes.iter().any(|(p, _)| *p == prefix);
                if known.contains(&whole) || told {
                    continue;
                }
                let by = index.map(|index| name(route, &mut names, index)).transpose()?;
                let owner = match by {
                    Some(dev) if is_main => dev,
                    // A VPN's, say.
                    Some(dev) => format!("a route by {dev} in table {table}"),
                    None => format!("a route in table {table}"),
                };
                prefixes.push((prefix, owner));
            }
            let egress_mtu = egress(&paths).map_or(Ok(None), |index| route.mtu_of(index))?;
            Ok(Surroundings { prefixes, egress_mtu })
        })
    }

    /// MTU of the link that the host's default route leaves by: IPv4's with the lowest metric, else IPv6's.
    /// `None` without a default route.
    ///
    /// # Errors
    /// A dump that the kernel refused.
    pub fn egress_mtu(&self) -> Result<Option<u32>, OpError> {
        self.ask("ip route show default", |worker| {
            let route = worker.route(&Place::Host)?;
            egress(&route.paths()?).map_or(Ok(None), |index| route.mtu_of(index))
        })
    }

    /// A link, if it is there.
    ///
    /// # Errors
    /// An unknown namespace (ENOENT), or a request that the kernel refused.
    pub fn link(&self, at: &Place, dev: &IfName) -> Result<Option<LinkState>, OpError> {
        let command = format!("ip link show dev {dev}");
        let (at, dev) = (at.clone(), dev.clone());
        self.ask(&command, move |worker| match worker.route(&at)?.link_state(&at, &dev) {
            Err(e) if e.is(Errno::ENODEV) => Ok(None),
            other => other,
        })
    }

    /// Links, addresses and routes of one namespace, and one link of the host: one way for all that a plan needs to know.
    ///
    /// # Errors
    /// An unknown namespace (ENOENT), or a dump that the kernel refused.
    pub fn look(&self, netns: &NetnsName, dev: Option<&IfName>) -> Result<(Observed, Option<LinkState>), OpError> {
        let (at, dev) = (Place::Netns(netns.clone()), dev.cloned());
        let (facts, link) = self.ask("ip -details address", move |worker| {
            let link = match dev.map(|dev| worker.route(&Place::Host)?.link_state(&Place::Host, &dev)) {
                Some(Err(e)) if !e.is(Errno::ENODEV) => return Err(e),
                found => found.and_then(Result::ok).flatten(),
            };
            Ok((worker.route(&at)?.facts(&at)?, link))
        })?;
        let (links, addrs, routes) = (facts.links, facts.addrs, facts.routes);
        Ok((Observed { links, addrs, routes, netns: [netns.clone()].into(), ..Observed::default() }, link))
    }

    /// Addresses of one link of the host.
    ///
    /// # Errors
    /// A dump that the kernel refused.
    pub fn addresses_of(&self, index: u32) -> Result<Vec<IpNetwork>, OpError> {
        let all = self.ask("ip address", |worker| worker.route(&Place::Host)?.addresses())?;
        Ok(all.into_iter().filter(|(at, _)| *at == index).map(|(_, address)| address).collect())
    }

    /// The link that the host's default route leaves by.
    ///
    /// # Errors
    /// A dump that the kernel refused.
    pub fn egress(&self) -> Result<Option<IfName>, OpError> {
        self.ask("ip route show default", |worker| {
            let route = worker.route(&Place::Host)?;
            egress(&route.paths()?).map_or(Ok(None), |index| route.name_of(index))
        })
    }

    /// IPv4 addresses on a link of the host whose machines have answered lately.
    ///
    /// # Errors
    /// ENODEV without such a link; a dump that the kernel refused.
    pub fn reachable(&self, dev: &IfName) -> Result<Vec<IpAddr>, OpError> {
        let (step, dev) = (format!("ip neigh show dev {dev} nud reachable"), dev.clone());
        self.ask(&step, move |worker| worker.route(&Place::Host)?.reachable(&dev))
    }

    /// Who on a link has an address, asked by ARP or neighbour discovery; nobody where no answer comes within
    /// `patience`. From a namespace without addresses it is asked in nobody's name (RFC 5227 §2.1.1).
    ///
    /// # Errors
    /// ENODEV without such a link; a request that the kernel refused.
    pub fn neighbour(&self, at: &Place, dev: &IfName, ip: IpAddr, patience: Duration) -> Result<Option<Mac>, OpError> {
        let step = format!("ip neigh get {ip} dev {dev}");
        let (ask, place) = (dev.clone(), at.clone());
        self.ask(&step, move |worker| worker.route(&place)?.ask_neighbour(&ask, ip))?;
        let begun = Instant::now();
        loop {
            let (look, place) = (dev.clone(), at.clone());
            let found = self.ask(&step, move |worker| worker.route(&place)?.answered(&look, ip))?;
            if found.is_some() || begun.elapsed() >= patience {
                let (forget, place) = (dev.clone(), at.clone());
                self.ask(&step, move |worker| worker.route(&place)?.forget_neighbour(&forget, ip))?;
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether a link of the host is a wireless one, as far as the kernel's list of them tells.
    ///
    /// # Errors
    /// The list cannot be read for another reason than that there is none.
    pub fn wireless(&self, dev: &IfName) -> Result<bool, OpError> {
        const LIST: &str = "/proc/thread-self/net/wireless";
        let text = match std::fs::read_to_string(LIST) {
            Ok(text) => text,
            // A kernel without such links.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Refused::from(e).of(&format!("cat {LIST}"))),
        };
        // Two lines of headings, then `NAME: …` (net/wireless/wext-proc.c).
        Ok(text.lines().any(|l| l.trim_start().strip_prefix(dev.as_str()).is_some_and(|l| l.starts_with(':'))))
    }

    /// Name of a link of the host, if it is there.
    ///
    /// # Errors
    /// A request that the kernel refused.
    pub fn link_name(&self, index: u32) -> Result<Option<IfName>, OpError> {
        self.ask("ip link show", move |worker| match worker.route(&Place::Host)?.name_of(index) {
            Err(e) if e.is(Errno::ENODEV) => Ok(None),
            other => other,
        })
    }

    /// The value of a network variable of the host, by its path below `/proc/sys`.
    ///
    /// # Errors
    /// ENOENT if there is none of that name.
    pub fn variable(&self, key: &str) -> Result<String, OpError> {
        let path = key.to_owned();
        self.ask(&format!("sysctl {key}"), move |worker| worker.variables(&Place::Host)?.read(&path))
    }

    /// The value of a network variable of a place.
    ///
    /// # Errors
    /// ENOENT if there is none of that name, or no such namespace.
    pub fn variable_at(&self, at: &Place, key: &str) -> Result<String, OpError> {
        let (path, place) = (key.to_owned(), at.clone());
        self.ask(&format!("sysctl {key}"), move |worker| worker.variables(&place)?.read(&path))
    }

    /// Ports that the kernel gives to outgoing connections (`ip_local_port_range`).
    ///
    /// # Errors
    /// The variable cannot be read.
    pub fn local_port_range(&self) -> Result<PortRange, OpError> {
        self.ask("sysctl net/ipv4/ip_local_port_range", |worker| {
            let text = worker.variables(&Place::Host)?.read("net/ipv4/ip_local_port_range")?;
            let mut ports = text.split_whitespace().filter_map(|port| port.parse().ok());
            let range = ports.next().zip(ports.next()).and_then(|(first, last)| PortRange::new(first, last));
            range.ok_or_else(|| Refused::new(Errno::EINVAL, format!("it reads {text:?}")))
        })
    }

    /// Ports that the kernel gives to nobody who does not name them (`ip_local_reserved_ports`).
    ///
    /// # Errors
    /// The variable cannot be read.
    pub fn reserved_ports(&self) -> Result<Vec<PortRange>, OpError> {
        self.ask("sysctl net/ipv4/ip_local_reserved_ports", |worker| {
            let text = worker.variables(&Place::Host)?.read("net/ipv4/ip_local_reserved_ports")?;
            Ok(text.split(',').filter_map(|range| range.trim().parse().ok()).collect())
        })
    }

    /// Deletes links of the host, known by their numbers, in one message: 0.3–0.65 ms a link, where one by one
    /// they cost 15–40. They are moved to the group `doomed`; where somebody else has links in it they go one by one.
    /// What is gone already counts as done.
    ///
    /// # Errors
    /// Whatever the kernel says to the deletion.
    pub fn delete_links(&self, indexes: &[u32], doomed: u32) -> Result<(), OpError> {
        let indexes = indexes.to_vec();
        // Once is enough, and a dump of a thousand veths takes some 100 ms.
        let (checked, unchecked) = (self.doomed.clone(), self.doomed.load(Ordering::Relaxed) != doomed);
        self.ask(&format!("ip link del group {doomed}"), move |worker| {
            let route = worker.route(&Place::Host)?;
            if unchecked && let Some(link) = route.links(&Place::Host)?.iter().find(|link| link.group == doomed) {
                tracing::warn!(link = %link.name, group = doomed, "links are deleted one by one: somebody else's is in their group");
                return indexes.into_iter().try_for_each(|index| gone_is_done(route.delete_index(index)));
            }
            checked.store(doomed, Ordering::Relaxed);
            let mut moved = false;
            for index in indexes {
                let done = route.set_group(index, doomed);
                moved |= done.is_ok();
                gone_is_done(done)?;
            }
            if moved { route.delete_group(doomed) } else { Ok(()) }
        })
    }
}
