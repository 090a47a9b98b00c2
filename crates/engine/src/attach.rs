//! Attaching: carries a request through reserve → plan → intent → apply → ready, and back.

use crate::endpoint::{Endpoint, NetnsUse, Owner, Progress};
use crate::engine::{Engine, Live, answers, lock};
use crate::error::AttachError;
use crate::modes;
use crate::outside::Kept;
use crate::store::{self, Kind, StoreError};
use netmode_model::api::NetOptions;
use netmode_model::op::OpError;
use netmode_model::{Id, IfName, Inverse, Plan, Published, RequestedMode};
use std::sync::PoisonError;
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

impl Engine {
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

    pub(crate) fn stand(&self, record: Endpoint, kept: Vec<(Published, Kept)>) {
        let sockets: Vec<&Kept> = kept.iter().map(|(_, k)| k).filter(|k| k.by_socket).collect();
        let left = if sockets.is_empty() { Box::new(()) } else { self.hold.keep(&sockets) };
        lock(&self.live).insert(record.id, Live { record, kept, _left: left });
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
