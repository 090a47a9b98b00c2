//! Addresses on a LAN that others are on as well: nobody gets one that a machine answers for. The answer is waited for,
//! so those that will be given next are asked for ahead, behind the reply.

use crate::attach::Attach;
use crate::endpoint::{Endpoint, EndpointLink};
use crate::engine::{Engine, lock};
use crate::error::AttachError;
use ipnetwork::IpNetwork;
use netmode_model::{IfName, Mac};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How many addresses that strangers have are passed by for one request.
const STRANGERS: usize = 8;

/// How many addresses are asked for ahead.
const AHEAD: usize = 4;

/// How long it counts that nobody answered for an address.
const FRESH: Duration = Duration::from_secs(60);

/// An address on the LAN of a link of the host.
type Key = (IfName, IpAddr);

/// Addresses that nobody had, each with the time when it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    free: Mutex<HashMap<Key, Instant>>,
    /// Those that are being asked for, each by one: two would take the answer from each other.
    busy: Mutex<HashSet<Key>>,
    done: Condvar,
    /// Held by who asks ahead: one at a time is enough.
    ahead: Mutex<()>,
}

impl Asked {
    fn note(&self, key: &Key) {
        let mut free = lock(&self.free);
        free.retain(|_, since| since.elapsed() < FRESH);
        free.insert(key.clone(), Instant::now());
    }

    /// Whether nobody had an address a moment ago.
    fn knows(&self, key: &Key) -> bool {
        lock(&self.free).get(key).is_some_and(|since| since.elapsed() < FRESH)
    }

    /// Somebody has it now.
    fn spend(&self, key: &Key) {
        lock(&self.free).remove(key);
    }

    /// Asks for an address that nobody else asks for meanwhile.
    fn alone<T>(&self, key: &Key, ask: impl FnOnce() -> T) -> T {
        let taken = lock(&self.busy);
        let mut busy = self.done.wait_while(taken, |b| b.contains(key)).unwrap_or_else(PoisonError::into_inner);
        busy.insert(key.clone());
        drop(busy);
        let answer = ask();
        lock(&self.busy).remove(key);
        self.done.notify_all();
        answer
    }
}

impl Engine {
    /// Takes addresses that no machine on the LAN has: those that somebody answers for are passed by for a while.
    pub(crate) fn take_unused_link(&self, endpoint: &Endpoint, request: &Attach) -> Result<EndpointLink, AttachError> {
        for _ in 0..STRANGERS {
            let link = self.take_link(endpoint, request)?;
            let Some((ip, mac)) = self.stranger(&link) else { return Ok(link) };
            let mut leases = self.leases();
            leases.release_link(&Endpoint { link: Some(link.clone()), ..endpoint.clone() }, None);
            leases.shun(&link.network, ip, request.begun);
            let asked = [request.net.ip.map(IpAddr::V4), request.net.ip6.map(IpAddr::V6)].contains(&Some(ip));
            if asked {
                return Err(AttachError::OnLan { ip, mac });
            }
        }
        Err(AttachError::LanFull { tried: STRANGERS })
    }

    /// Who on the LAN has an address of a link. Where nobody else can be there is nobody to be asked.
    fn stranger(&self, link: &EndpointLink) -> Option<(IpAddr, Mac)> {
        let network = self.lookup(&link.network)?;
        let dev = network.probed_by()?;
        link.addrs.iter().map(IpNetwork::ip).find_map(|ip| {
            let key = (dev.clone(), ip);
            let answer = self.who_has(&key);
            self.asked.spend(&key);
            Some((ip, answer?))
        })
    }

    /// Who has an address; nobody where nobody had it a moment ago, or where it could not be asked.
    fn who_has(&self, key: &Key) -> Option<Mac> {
        self.asked.alone(key, || {
            if self.asked.knows(key) {
                return None;
            }
            let answer = self.outside.neighbour(&key.0, key.1);
            if matches!(answer, Ok(None)) {
                self.asked.note(key);
            }
            answer.ok().flatten()
        })
    }

    /// Asks for the addresses of a network that will be given next, where others are on its LAN. It takes time.
    pub fn ask_ahead(&self, network: &str) {
        let Some(dev) = self.lookup(network).and_then(|n| n.probed_by()) else { return };
        let _ahead = match self.asked.ahead.try_lock() {
            Err(TryLockError::WouldBlock) => return,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Ok(held) => held,
        };
        let coming = self.leases().coming(network, AHEAD);
        for ip in coming {
            if self.who_has(&(dev.clone(), ip)).is_some() {
                self.leases().shun(network, ip, Instant::now());
            }
        }
    }
}
