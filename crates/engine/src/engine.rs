//! What one agent has decided, and what is asked of it.

use crate::cni::Attachments;
use crate::endpoint::{Endpoint, EndpointLink};
use crate::leases::Leases;
use crate::network::Network;
use crate::outside::{Apply, Hold, Kept};
use crate::settings::Settings;
use crate::store::{self, Kind, Store, StoreError};
use crate::vpc::{Asked, Groups};
use netmode_model::{HostAddr, Id, IfName, Protocol, Published};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

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
    pub(crate) eni_limit: RwLock<Option<usize>>,
    /// Security groups. Written only by who holds [`Engine::changing`] for writing.
    pub(crate) groups: RwLock<Arc<Groups>>,
    /// Endpoints with groups that went a moment ago. Held by who tells walls in namespaces that somebody has come or
    /// gone, so that the one does not pass the other.
    pub(crate) departed: Mutex<Vec<(Instant, EndpointLink)>>,
    /// Addresses of LANs that nobody had a moment ago.
    pub(crate) asked: Asked,
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

    /// Whether an endpoint that fits was detached and its link is still there.
    pub fn is_leaving(&self, fits: impl Fn(&Endpoint) -> bool) -> bool {
        lock(&self.leaving).values().any(fits)
    }

    /// Links of endpoints that were detached and have not been seen gone.
    pub fn leaving(&self) -> Vec<IfName> {
        lock(&self.leaving).keys().cloned().chain(self.leaving_links()).collect()
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
}

/// Whether the host's `::1` leads to the container by this mapping.
pub(crate) fn answers(endpoint: &Endpoint, host: HostAddr) -> bool {
    let reached = host.specific().is_none_or(|ip| ip.is_loopback());
    endpoint.has_v6() && host.has_v6() && reached
}

/// A poisoned lock means that another request panicked; its data is still whole, since every change
/// to it is a single call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
