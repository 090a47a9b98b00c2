//! The engine: carries a request through reserve → plan → intent → apply → ready, and back.

use crate::cni::Attachments;
use crate::endpoint::{self, Endpoint, EndpointLink, NetnsUse, Owner, Progress};
use crate::error::AttachError;
use crate::ipam::IpamError;
use crate::leases::Leases;
use crate::modes;
use crate::network::Network;
use crate::outside::{Apply, Hold, HoldFailure, Kept};
use crate::ports::Within;
use crate::settings::Settings;
use crate::store::{self, Kind, Store, StoreError};
use crate::vpc::Asked;
use crate::vpc::Groups;
use netmode_model::api::NetOptions;
use netmode_model::op::OpError;
use netmode_model::{HostAddr, Id, IfName, Inverse, Plan, PortRange, PortSpec, Protocol, Published, RequestedMode};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

/// `EIO`, errno(3): of a failure that has no number.
const EIO: i32 = 5;

/// A request to attach. Everything random or clocked comes in with it.
#[derive(Debug, Clone)]
pub struct Attach {
    /// The endpoint's id, random.
    pub id: Id,
    /// Whose it will be.
    pub owner: Owner,
    /// The namespace; [`NetnsUse::Host`] in host mode.
    pub netns: NetnsUse,
    /// The inode of someone else's.
    pub inode: Option<u64>,
    /// Name of the link inside.
    pub interface: IfName,
    /// The mode asked for.
    pub requested: RequestedMode,
    /// Name of the network, in modes that have one.
    pub network: String,
    /// Other networks that would do as well: the one with the most free addresses is taken.
    pub or_else: Vec<String>,
    /// Ids of its security groups, in the mode that has them.
    pub groups: Vec<String>,
    /// Whether the way out leads over this network, if it has one.
    pub default_route: bool,
    /// The options.
    pub net: NetOptions,
    /// RFC 3339, for the record.
    pub now: String,
    /// The same by the clock that never goes back.
    pub begun: Instant,
}

/// A socket on the host's `[::1]`, and where it leads.
#[derive(Debug)]
pub struct Answering {
    /// The protocol.
    pub protocol: Protocol,
    /// Address and port in the container.
    pub to: SocketAddr,
    /// Bound; TCP listens. Not blocking.
    pub socket: OwnedFd,
}

/// A standing endpoint with what holds its ports.
pub(crate) struct Live {
    pub(crate) record: Endpoint,
    pub(crate) kept: Vec<(Published, Kept)>,
    /// The same for the agent's successor.
    pub(crate) _left: Box<dyn Send + Sync>,
}

/// The decisions of one agent, and their records. Shared by all requests; no lock is held across a wait.
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) outside: Arc<dyn Apply>,
    pub(crate) hold: Arc<dyn Hold>,
    pub(crate) store: Arc<dyn Store>,
    leases: Mutex<Leases>,
    pub(crate) live: Mutex<HashMap<Id, Live>>,
    /// Held for reading by what adds to the kernel or takes away, for writing by what compares all of it.
    pub(crate) changing: RwLock<()>,
    /// Endpoints that were detached and whose link has not been seen gone, by the link on the host.
    pub(crate) leaving: Mutex<HashMap<IfName, Endpoint>>,
    /// What CNI's reference plugins have made.
    pub(crate) cni: Attachments,
    /// How many ENIs there may be; none for no limit.
    eni_limit: RwLock<Option<usize>>,
    /// Security groups. Written only by who holds [`Engine::changing`] for writing.
    pub(crate) groups: RwLock<Arc<Groups>>,
    /// Endpoints with groups that went a moment ago. Held by who tells walls in namespaces that somebody has come or
    /// gone, so that the one does not pass the other.
    pub(crate) departed: Mutex<Vec<(Instant, EndpointLink)>>,
    /// Addresses of LANs that nobody had a moment ago.
    pub(crate) asked: Asked,
}

/// What a request has reserved: given back unless it is [kept](Reserved::keep).
pub(crate) struct Reserved<'a> {
    engine: &'a Engine,
    endpoint: Option<Endpoint>,
    kept: Vec<(Published, Kept)>,
}

impl Engine {
    /// An engine without endpoints.
    pub fn new(
        settings: Settings,
        networks: Vec<Network>,
        groups: Groups,
        outside: Arc<dyn Apply>,
        hold: Arc<dyn Hold>,
        store: Arc<dyn Store>,
    ) -> Self {
        let leases = Mutex::new(Leases::new(networks));
        Self {
            settings,
            outside,
            hold,
            store,
            leases,
            live: Mutex::default(),
            changing: RwLock::default(),
            leaving: Mutex::default(),
            departed: Mutex::default(),
            cni: Attachments::default(),
            eni_limit: RwLock::default(),
            groups: RwLock::new(Arc::new(groups)),
            asked: Asked::default(),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The networks, by name.
    pub fn networks(&self) -> Vec<Network> {
        self.leases().networks()
    }

    /// Gives a network and the records of its endpoints another MTU, in bytes. The links are the caller's to change.
    ///
    /// # Errors
    /// A record could not be written.
    pub fn set_mtu(&self, network: &str, mtu: u32) -> Result<(), StoreError> {
        // The lock is not held while the disk is waited for.
        let changed = self.leases().set_mtu(network, mtu);
        if let Some(changed) = changed {
            store::put(&*self.store, changed.record(), network, &changed)?;
        }
        let mut changed = Vec::new();
        for live in lock(&self.live).values_mut() {
            if let Some(link) = live.record.link.as_mut().filter(|l| l.network == network) {
                link.mtu = mtu;
                changed.push(live.record.clone());
            }
        }
        changed.iter().try_for_each(|e| store::put(&*self.store, Kind::Endpoint, &e.id.to_string(), e))
    }

    /// Every standing endpoint.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        lock(&self.live).values().map(|l| l.record.clone()).collect()
    }

    /// What is wanted of every standing endpoint, without a copy of their records.
    pub fn seen<T>(&self, look: impl Fn(&Endpoint) -> T) -> Vec<T> {
        lock(&self.live).values().map(|live| look(&live.record)).collect()
    }

    /// The standing endpoints that carry one of some groups; where there is no group, nothing is looked at.
    pub(crate) fn carrying(&self, groups: &BTreeSet<String>) -> Vec<Endpoint> {
        if groups.is_empty() {
            return Vec::new();
        }
        let carries = |e: &&Endpoint| e.link.iter().flat_map(|l| l.groups()).any(|id| groups.contains(id));
        lock(&self.live).values().map(|l| &l.record).filter(carries).cloned().collect()
    }

    /// The first standing endpoint that fits.
    pub fn find(&self, fits: impl Fn(&Endpoint) -> bool) -> Option<Endpoint> {
        lock(&self.live).values().map(|l| &l.record).find(|e| fits(e)).cloned()
    }

    /// A standing endpoint.
    pub fn endpoint(&self, id: Id) -> Option<Endpoint> {
        lock(&self.live).get(&id).map(|l| l.record.clone())
    }

    /// Whether every port of an endpoint is held by a socket.
    pub fn held(&self, id: Id) -> bool {
        lock(&self.live)
            .get(&id)
            .is_some_and(|l| l.kept.len() == l.record.ports.len() && l.kept.iter().all(|(_, k)| k.by_socket))
    }

    /// Takes the sockets on the host's `[::1]` that an endpoint's ports came with, each with the address in the
    /// container that it leads to. Whoever takes them serves them.
    pub fn answering(&self, id: Id) -> Vec<Answering> {
        let mut live = lock(&self.live);
        let Some(live) = live.get_mut(&id) else { return Vec::new() };
        let Some(ip) = live.record.link.as_ref().and_then(|l| l.addr(false)) else { return Vec::new() };
        let mut taken = Vec::new();
        for (published, kept) in &mut live.kept {
            for (port, socket) in kept.answering.drain(..) {
                let inside = published.container.first() + (port - published.host_ports.first());
                taken.push(Answering { protocol: published.protocol, to: (ip, inside).into(), socket });
            }
        }
        taken
    }

    /// What [`Engine::attach`] would do, without doing it.
    ///
    /// # Errors
    /// As [`Engine::attach`].
    pub fn plan(&self, request: &Attach) -> Result<(Endpoint, Plan), AttachError> {
        let cursor = self.leases().ports.cursor();
        let reserved = self.reserve(request)?;
        let endpoint = reserved.endpoint();
        let plan = modes::attach(&endpoint, self.walls(&endpoint), &self.settings);
        drop(reserved);
        // The port that was shown is the one that the next request gets.
        self.leases().ports.turn_back(cursor);
        Ok((endpoint, plan))
    }

    /// Attaches an endpoint. What went wrong behind the point of no return is told beside it.
    ///
    /// # Errors
    /// Why not; nothing has changed then, but for what the error names.
    pub fn attach(&self, request: &Attach) -> Result<(Endpoint, Vec<OpError>), AttachError> {
        let reserved = self.reserve(request)?;
        let mut endpoint = reserved.endpoint();
        self.record(&endpoint)?;
        let changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        // Not before: groups change while nobody attaches.
        let plan = modes::attach(&endpoint, self.walls(&endpoint), &self.settings);
        let undo = match self.outside.apply(&plan.ops) {
            Ok(undo) => undo,
            Err(refused) => {
                let _ = self.store.remove(Kind::Endpoint, &endpoint.id.to_string());
                return Err(AttachError::refused(refused, &endpoint));
            }
        };
        endpoint.progress = Progress::Ready;
        if let Err(unrecorded) = self.put(&endpoint) {
            let left = self.outside.undo(undo);
            let _ = self.store.remove(Kind::Endpoint, &endpoint.id.to_string());
            return Err(AttachError::unrecorded(unrecorded, left));
        }
        // The point of no return: from here on the endpoint stands, whatever the rest reports.
        reserved.keep(endpoint.clone());
        drop(changing);
        let failures = self.outside.finish(&plan.then);
        Ok((endpoint, failures))
    }

    pub(crate) fn record(&self, endpoint: &Endpoint) -> Result<(), AttachError> {
        Ok(self.put(endpoint)?)
    }

    fn put(&self, endpoint: &Endpoint) -> Result<(), StoreError> {
        store::put(&*self.store, Kind::Endpoint, &endpoint.id.to_string(), endpoint)
    }

    /// Takes an endpoint away; one that is not there is done already.
    ///
    /// Goes on past failures and returns all of them. Ports are free when this returns, the address when
    /// the link has been [seen gone](Engine::link_gone).
    pub fn detach(&self, id: Id) -> Vec<OpError> {
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Live { record, kept, _left }) = lock(&self.live).remove(&id) else { return Vec::new() };
        let mut plan = modes::detach(&record, &self.settings);
        plan.ops.extend(record.link.iter().flat_map(|link| self.unwall(link)));
        // Taken back as an inverse is: one step's failure does not keep the next from being taken.
        // Before the namespace is dropped: the kernel may take the link away before that call returns.
        if let Some(link) = &record.link {
            lock(&self.leaving).insert(link.host_dev.clone(), record.clone());
        }
        let steps = plan.ops.into_iter().rev().map(Inverse::Op).collect();
        let mut failures = self.outside.undo(steps);
        failures.extend(self.outside.finish(&plan.then));
        drop((kept, _left));
        failures.extend(self.store.remove(Kind::Endpoint, &record.id.to_string()).err().map(stays));
        self.leases().release_ports(&record);
        if record.link.is_none() {
            self.leases().release_link(&record, None);
        }
        failures
    }

    /// Runs what compares everything with the kernel, while nothing is attached or detached.
    pub fn exclusively<T>(&self, work: impl FnOnce() -> T) -> T {
        let _alone = self.changing.write().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Whether a link of the host is a network's bridge or a standing endpoint's.
    pub fn owns_link(&self, dev: &IfName) -> bool {
        let of_endpoint = |l: &Live| l.record.link.as_ref().is_some_and(|l| l.host_dev == *dev);
        lock(&self.live).values().any(of_endpoint) || self.networks().iter().any(|n| n.bridge == *dev)
    }

    /// A link of the host is gone: what it stood for is free again. Tells whose it was, if it was ours and had been
    /// detached.
    pub fn link_gone(&self, dev: &IfName) -> Option<Endpoint> {
        self.forget_leaving(dev);
        let gone = lock(&self.leaving).remove(dev);
        if let Some(record) = &gone {
            self.leases().release_link(record, Some(Instant::now()));
        }
        gone
    }

    /// Whether an endpoint that fits was detached and its link is still there.
    pub fn is_leaving(&self, fits: impl Fn(&Endpoint) -> bool) -> bool {
        lock(&self.leaving).values().any(fits)
    }

    /// Links of endpoints that were detached and have not been seen gone.
    pub fn leaving(&self) -> Vec<IfName> {
        lock(&self.leaving).keys().cloned().chain(self.leaving_links()).collect()
    }

    /// Adopts a recorded endpoint that stands. Tells which of its ports could not be held again.
    pub fn adopt(&self, record: Endpoint) -> Vec<(Published, String)> {
        self.leases().adopt(&record);
        let mut lost = Vec::new();
        let mut kept = Vec::new();
        let by_socket = modes::needs(record.mode).link;
        for p in &record.ports {
            if !by_socket {
                kept.push((*p, Kept::by_record()));
                continue;
            }
            match self.hold.hold(p.protocol, p.host, p.host_ports, answers(&record, p.host)) {
                Ok(k) => kept.push((*p, k)),
                Err(why) => lost.push((*p, why.to_string())),
            }
        }
        self.stand(record, kept);
        lost
    }

    fn stand(&self, record: Endpoint, kept: Vec<(Published, Kept)>) {
        let sockets: Vec<&Kept> = kept.iter().map(|(_, k)| k).filter(|k| k.by_socket).collect();
        let left = if sockets.is_empty() { Box::new(()) } else { self.hold.keep(&sockets) };
        lock(&self.live).insert(record.id, Live { record, kept, _left: left });
    }

    pub(crate) fn leases(&self) -> MutexGuard<'_, Leases> {
        lock(&self.leases)
    }

    /// Bounds the number of ENIs; those that there are stay.
    pub fn limit_enis(&self, limit: Option<usize>) {
        *self.eni_limit.write().unwrap_or_else(PoisonError::into_inner) = limit;
    }

    /// How many ENIs there are, and how many there may be.
    pub fn eni_slots(&self) -> (usize, Option<usize>) {
        let limit = *self.eni_limit.read().unwrap_or_else(PoisonError::into_inner);
        (self.leases().enis(), limit)
    }

    /// Takes addresses on the network of a request, or on one of those that would do as well.
    pub(crate) fn take_link(&self, endpoint: &Endpoint, request: &Attach) -> Result<EndpointLink, AttachError> {
        let limit = *self.eni_limit.read().unwrap_or_else(PoisonError::into_inner);
        let mut leases = self.leases();
        // Under the same lock as what follows: two that want the last slot do not both get it.
        if let Some(limit) = limit.filter(|_| modes::needs(endpoint.mode).eni) {
            let used = leases.enis();
            if used >= limit {
                return Err(AttachError::NoSlot { used, limit });
            }
        }
        let all: Vec<String> = std::iter::once(&request.network).chain(&request.or_else).cloned().collect();
        let mut first = None;
        for network in leases.by_free(&all) {
            match leases.take_link(&network, endpoint, request) {
                Err(full @ AttachError::Address { source: IpamError::Exhausted { .. }, .. }) => {
                    first.get_or_insert(full);
                }
                other => return other,
            }
        }
        Err(first.unwrap_or_else(|| AttachError::NoSuchNetwork(request.network.clone())))
    }

    /// Reserves addresses, names and ports for a request.
    fn reserve(&self, request: &Attach) -> Result<Reserved<'_>, AttachError> {
        let mode = request.requested.effective();
        modes::admit(mode, &request.net)?;
        let mut endpoint = Endpoint {
            v: endpoint::VERSION,
            id: request.id,
            owner: request.owner.clone(),
            mode,
            requested: request.requested,
            progress: Progress::Intent,
            netns: request.netns.clone(),
            inode: request.inode,
            link: None,
            ports: Vec::new(),
            created: request.now.clone(),
        };
        let link = modes::needs(mode).link;
        if link {
            endpoint.link = Some(self.take_unused_link(&endpoint, request)?);
        }
        self.leases().name(endpoint.id, &endpoint.owner);
        let mut reserved = Reserved { engine: self, endpoint: Some(endpoint), kept: Vec::new() };
        reserved.take_ports(&request.net)?;
        Ok(reserved)
    }
}

impl Reserved<'_> {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone().unwrap_or_else(|| unreachable!("taken by keep, which consumes self"))
    }

    fn keep(mut self, record: Endpoint) {
        let kept = std::mem::take(&mut self.kept);
        self.endpoint = None;
        self.engine.stand(record, kept);
    }

    /// Takes the ports of every mapping: by record first, then by a socket.
    fn take_ports(&mut self, net: &NetOptions) -> Result<(), AttachError> {
        // A task with an ENI has all ports of its own address.
        if self.endpoint.as_ref().is_some_and(|e| modes::needs(e.mode).eni) {
            return Ok(());
        }
        for spec in &net.ports {
            self.refuse_unreachable_family(spec)?;
            let fixed = match self.endpoint.as_ref().and_then(|e| e.link.as_ref()) {
                Some(_) => spec.host_ports,
                None => Some(spec.container),
            };
            match fixed {
                Some(host_ports) => self.take_fixed(spec, host_ports)?,
                None => self.take_dynamic(spec.protocol, spec.host, spec.container.count(), Some(spec.container))?,
            }
        }
        match net.port_env {
            Some(_) => self.take_dynamic(Protocol::Tcp, HostAddr::Any, 1, None),
            None => Ok(()),
        }
    }

    fn id(&self) -> Id {
        self.endpoint.as_ref().map_or_else(|| unreachable!("taken by keep, which consumes self"), |e| e.id)
    }

    fn answers(&self, host: HostAddr) -> bool {
        self.endpoint.as_ref().is_some_and(|e| answers(e, host))
    }

    fn refuse_unreachable_family(&self, spec: &PortSpec) -> Result<(), AttachError> {
        match self.endpoint.as_ref().and_then(|e| e.link.as_ref()) {
            Some(link) if !spec.host.has_v4() && link.addr(false).is_none() => {
                Err(AttachError::NoIpv6 { spec: *spec, network: link.network.clone() })
            }
            _ => Ok(()),
        }
    }

    fn take_fixed(&mut self, spec: &PortSpec, host_ports: PortRange) -> Result<(), AttachError> {
        let published = mapping(spec, host_ports);
        let id = self.id();
        self.engine.leases().take_ports(&published, id)?;
        match self.engine.hold.hold(spec.protocol, spec.host, host_ports, self.answers(spec.host)) {
            Ok(kept) => {
                self.add(published, kept);
                Ok(())
            }
            Err(failure) => {
                self.engine.leases().ports.release(&published, id);
                let failure = match failure {
                    HoldFailure::Taken { port, .. } => {
                        HoldFailure::Taken { port, holder: self.engine.hold.holder(spec.protocol, port) }
                    }
                    other => other,
                };
                Err(not_held(published, failure))
            }
        }
    }

    /// Chooses `count` neighbouring ports for the container's ports, or for the same ports inside.
    fn take_dynamic(
        &mut self,
        protocol: Protocol,
        host: HostAddr,
        count: u32,
        container: Option<PortRange>,
    ) -> Result<(), AttachError> {
        let (id, answering) = (self.id(), self.answers(host));
        let dynamic = &self.engine.settings.dynamic;
        let within = Within { protocol, host, range: dynamic.range, skip: &dynamic.skip };
        let hold = &self.engine.hold;
        // Binding waits for nothing, so the order of choice may be kept under the lock.
        let chosen = self.engine.leases().ports.choose(&within, count, |ports, run| {
            let published = Published { host, host_ports: run, container: container.unwrap_or(run), protocol };
            match hold.hold(protocol, host, run, answering) {
                Ok(kept) => match ports.take(&published, id) {
                    Ok(()) => Ok(Ok((published, kept))),
                    Err(clash) => Ok(Err(clash.port)),
                },
                Err(HoldFailure::Taken { port, .. }) => Ok(Err(port)),
                Err(failure) => Err(not_held(published, failure)),
            }
        })?;
        let (published, kept) = chosen.ok_or(AttachError::PortsExhausted { count })?;
        self.add(published, kept);
        Ok(())
    }

    fn add(&mut self, published: Published, kept: Kept) {
        let Some(endpoint) = &mut self.endpoint else { return };
        endpoint.ports.push(published);
        // In host mode the container binds its ports itself: the trial has shown that they are free.
        let kept = if modes::needs(endpoint.mode).link { kept } else { Kept::by_record() };
        self.kept.push((published, kept));
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            self.kept.clear();
            let mut leases = self.engine.leases();
            leases.release_ports(&endpoint);
            leases.release_link(&endpoint, None);
        }
    }
}

/// A record that could not be removed, as the step that was refused.
fn stays(error: StoreError) -> OpError {
    let step = format!("rm {}", error.path.display());
    match error.source.raw_os_error() {
        Some(errno) => OpError { step, errno, detail: String::new() },
        None => OpError { step, errno: EIO, detail: error.source.to_string() },
    }
}

/// Whether the host's `::1` leads to the container by this mapping.
fn answers(endpoint: &Endpoint, host: HostAddr) -> bool {
    let reached = host.specific().is_none_or(|ip| ip.is_loopback());
    endpoint.has_v6() && host.has_v6() && reached
}

fn mapping(spec: &PortSpec, host_ports: PortRange) -> Published {
    Published { host: spec.host, host_ports, container: spec.container, protocol: spec.protocol }
}

/// Narrows the mapping to the port that stands in the way.
fn not_held(published: Published, failure: HoldFailure) -> AttachError {
    let port = match &failure {
        HoldFailure::Taken { port, .. } => PortRange::single(*port),
        _ => None,
    };
    AttachError::NotHeld {
        published: Published { host_ports: port.unwrap_or(published.host_ports), ..published },
        failure,
    }
}

/// A poisoned lock means that another request panicked; its data is still whole, since every change
/// to it is a single call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
