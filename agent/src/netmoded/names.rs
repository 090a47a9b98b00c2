//! Names: what of tasks is published in the book of names, and what the clients of their resolvers see.

use crate::agent::Agent;
use crate::metadata::{self, Asker};
use crate::registry::Task;
use crate::seats;
use crate::task::TaskRecord;
use ipnetwork::IpNetwork;
use netmode_agent::config::Dns;
use netmode_dns::{Book, Counters, Entry, Forward, Limits, Resolver, Servers, Sockets, VPC, View};
use netmode_engine::{Endpoint, Network, seat};
use netmode_model::{ApiError, Id};
use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The host's servers.
const HOST_FILE: &str = "/etc/resolv.conf";

/// The zone that the host itself sees. No network has a name with a slash.
const HOST_ZONE: &str = "host/";

/// Most addresses in an answer about a VPC's name (AWS Cloud Map, MULTIVALUE routing).
const MOST_IN_VPC: usize = 8;

/// The names of this agent, and who answers for them.
#[derive(Debug)]
pub struct Names {
    /// Who has which.
    book: Arc<Book>,
    /// What was answered.
    pub counters: Arc<Counters>,
    limits: Limits,
    /// The servers of the host.
    of_host: Arc<Servers>,
    domain: Arc<str>,
    /// The host's own resolver.
    host: Mutex<Option<Resolver>>,
}

/// What a task asks for of names.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Its names on networks that have names, the one that its addresses are called by first.
    names: Vec<String>,
    /// Its names for others.
    links: BTreeMap<String, String>,
    /// Servers instead of the host's.
    servers: Vec<IpAddr>,
}

impl Wanted {
    /// What a task's record asks for.
    pub fn of(record: &TaskRecord) -> Self {
        let net = &record.request.net;
        let own = [record.name.to_string(), record.id.short()];
        let names = own.into_iter().chain(net.network_aliases.iter().cloned()).chain(net.hostname.clone());
        let link = |text: &String| {
            let (target, alias) = text.split_once(':').unwrap_or((text, text));
            (alias.to_ascii_lowercase(), target.to_ascii_lowercase())
        };
        Self { names: names.collect(), links: net.links.iter().map(link).collect(), servers: net.dns.clone() }
    }

    /// What tasks with a network of their own ask for: the name of their service, if they are of one.
    pub fn of_group(group: &str) -> Self {
        Self { names: group.strip_prefix("service:").map(str::to_owned).into_iter().collect(), ..Self::default() }
    }
}

impl Names {
    /// No names yet.
    pub fn new(config: &Dns) -> Self {
        Self {
            book: Arc::default(),
            counters: Arc::default(),
            limits: Limits::default(),
            of_host: Arc::new(Servers::File(netmode_dns::upstream::File::new(PathBuf::from(HOST_FILE)))),
            domain: config.domain().into(),
            host: Mutex::default(),
        }
    }

    /// Answers for the host itself. Must be called within the runtime of tokio.
    ///
    /// # Errors
    /// Somebody else has the port.
    pub fn serve_host(&self, config: &Dns) -> std::io::Result<()> {
        let Some(at) = config.host else { return Ok(()) };
        let udp = UdpSocket::bind(at)?;
        let sockets = Sockets { tcp: TcpListener::bind(udp.local_addr()?)?, udp };
        let view = View {
            zones: vec![HOST_ZONE.into()],
            prefixes: Vec::new(),
            links: BTreeMap::new(),
            domain: self.domain.clone(),
            most: usize::MAX,
            forward: Forward::Never,
        };
        let resolver = self.resolver(sockets, view)?;
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(resolver);
        Ok(())
    }

    /// A resolver that answers on these sockets. Must be called within the runtime of tokio.
    ///
    /// # Errors
    /// The runtime cannot watch the sockets.
    pub fn resolver(&self, sockets: Sockets, view: View) -> std::io::Result<Resolver> {
        Resolver::start(self.book.clone(), self.counters.clone(), self.limits.clone(), sockets, view)
    }

    /// An endpoint has no names any more.
    pub fn forget(&self, endpoint: Id) {
        self.book.take(endpoint);
    }

    fn publish(&self, endpoint: &Endpoint, wanted: &Wanted) {
        let Some(link) = &endpoint.link else { return };
        let addresses: Vec<IpAddr> = link.addrs.iter().map(IpNetwork::ip).collect();
        let suffixed = |suffix: &str| wanted.names.iter().map(|name| format!("{name}.{suffix}")).collect::<Vec<_>>();
        let (zone, names) = match &link.eni {
            Some(eni) => {
                let zone = eni.zone().unwrap_or_default();
                (vpc_zone(zone), [vec![eni.name.clone()], suffixed(zone)].concat())
            }
            // The first name is what an address is called: with its network, as Docker has it.
            None => (link.network.as_str().into(), {
                let called = suffixed(&link.network).into_iter().next();
                called.into_iter().chain(wanted.names.iter().cloned()).collect()
            }),
        };
        let in_domain = |name: &String| match name.strip_suffix(&*self.domain).and_then(|n| n.strip_suffix('.')) {
            Some(bare) => bare.to_owned(),
            None => name.clone(),
        };
        let of_host = names.iter().map(in_domain).chain(wanted.names.iter().cloned()).collect();
        let mut entries = vec![Entry { zone: HOST_ZONE.into(), names: of_host, addresses: addresses.clone() }];
        if seat::has_names(link) {
            entries.push(Entry { zone, names, addresses });
        }
        self.book.put(endpoint.id, entries);
    }
}

/// Zone of a VPC's names.
fn vpc_zone(zone: &str) -> Arc<str> {
    format!("{VPC}{zone}").into()
}

/// Publishes the names of a task's endpoints and serves in its namespace what it is to have there. Done again, it tells
/// what has changed. Must be called within the runtime of tokio.
///
/// # Errors
/// The kernel refused the place. The names are published all the same.
pub fn begin(
    agent: &Agent,
    endpoints: &[Endpoint],
    wanted: &Wanted,
    asker: Option<(Arc<Agent>, Asker)>,
) -> Result<(), ApiError> {
    endpoints.iter().for_each(|endpoint| agent.names.publish(endpoint, wanted));
    let view = || view(agent, endpoints, wanted);
    match (seat::seat(endpoints, asker.is_some()), endpoints.first().and_then(|e| e.netns.name())) {
        (Some(seat), _) => seats::take(agent, &seat, seats::Wanted { view: view(), asker })?,
        // Who has left the last network with names is told none of them any more.
        (None, Some(netns)) if agent.seats.serve(netns) => agent.seats.show(netns, view()),
        (None, _) => {}
    }
    Ok(())
}

/// The same for a task of `netmode run`, after its networks have changed.
///
/// # Errors
/// As [`begin`].
pub fn renew(agent: &Agent, record: &TaskRecord) -> Result<(), ApiError> {
    begin(agent, &record.endpoints(&agent.engine), &Wanted::of(record), None)
}

/// At the start: whatever stands is published again, and what an agent before this one answered on is opened anew.
pub fn begin_all(agent: &Arc<Agent>) {
    let told = |name: &str, done: Result<(), ApiError>| {
        if let Err(error) = done {
            tracing::warn!(task = name, %error, "its names are not answered for");
        }
    };
    for record in agent.tasks.all().iter().map(|task: &Arc<Task>| task.now()).filter(|r| !r.stopped()) {
        // Whoever shares a namespace has the names of whom it is.
        if record.endpoint.is_some() {
            let endpoints = record.endpoints(&agent.engine);
            let asker = metadata::asker(agent, &record).map(|asker| (agent.clone(), asker));
            told(record.name.as_str(), begin(agent, &endpoints, &Wanted::of(&record), asker));
        }
    }
    for record in agent.ecs.all().iter().map(|task| task.now()) {
        let own = record.endpoint.and_then(|id| agent.engine.endpoint(id));
        if let Some(endpoint) = own {
            let asker = Some((agent.clone(), Asker::Task(record.id)));
            told(&record.group, begin(agent, &[endpoint], &Wanted::of_group(&record.group), asker));
        }
    }
}

fn view(agent: &Agent, endpoints: &[Endpoint], wanted: &Wanted) -> View {
    let links = || endpoints.iter().filter_map(|e| e.link.as_ref());
    let networks: Vec<Network> = links().filter_map(|l| agent.engine.lookup(&l.network)).collect();
    let zones = links().filter(|l| seat::has_names(l)).map(|l| match &l.eni {
        Some(eni) => vpc_zone(eni.zone().unwrap_or_default()),
        None => l.network.as_str().into(),
    });
    let servers = match &wanted.servers[..] {
        [] => agent.names.of_host.clone(),
        given => Arc::new(Servers::Fixed(given.to_vec())),
    };
    View {
        zones: zones.collect(),
        prefixes: networks.iter().flat_map(Network::prefixes).collect(),
        links: wanted.links.clone(),
        domain: agent.names.domain.clone(),
        most: if links().any(|l| l.eni.is_some()) { MOST_IN_VPC } else { usize::MAX },
        // Where no network leads out, no question does.
        forward: if networks.iter().all(|n| n.internal) { Forward::Never } else { Forward::To(servers) },
    }
}
