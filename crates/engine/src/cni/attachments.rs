//! Attachments of CNI's reference plugins: reserve, record, apply, and back.

use super::attachment::{born, is_inside, stays};
use super::lan::Known;
use super::{Attachment, Key, Planned, VERSION, kernel, told};
use crate::endpoint::{Owner, OwnerKind};
use crate::engine::{Engine, lock};
use crate::error::AttachError;
use crate::outside::Host;
use crate::store::{self, Kind};
use netmode_model::cni::CniError;
use netmode_model::nft::{Element, TableName};
use netmode_model::op::OpError;
use netmode_model::{ApiError, Code, Final, Id, IfName, Inverse, Op, Published};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What stands, and what is known of it.
#[derive(Debug, Default)]
pub struct Attachments {
    live: Mutex<HashMap<Key, Attachment>>,
    /// How many attachments need an element.
    shared: Mutex<HashMap<Element, usize>>,
    pub(super) lans: Mutex<HashMap<IfName, Known>>,
    leaving: Mutex<Vec<Leaving>>,
}

/// A link of the host that is being deleted, and whose it was.
#[derive(Debug)]
struct Leaving {
    record: Id,
    container: String,
    interface: String,
    dev: IfName,
}

/// Whom an attachment is made for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The id, random.
    pub id: Id,
    /// What it is found by.
    pub key: Key,
    /// Inode number of its namespace.
    pub netns: u64,
    /// RFC 3339, for the record.
    pub now: String,
}

fn unrecorded(error: &store::StoreError) -> CniError {
    told(&ApiError::new(Code::State, error.to_string()))
}

impl Engine {
    /// What one plugin has made for a container.
    pub fn attachment(&self, key: &Key) -> Option<Attachment> {
        lock(&self.cni.live).get(key).cloned()
    }

    /// Everything that plugins have made.
    pub fn attachments(&self) -> Vec<Attachment> {
        lock(&self.cni.live).values().cloned().collect()
    }

    /// Ports that a container has published on other networks than a key's.
    pub fn published_elsewhere(&self, key: &Key) -> Vec<Published> {
        let live = lock(&self.cni.live);
        let others = live.iter().filter(|(other, _)| other.container == key.container && *other != key);
        others.flat_map(|(_, made)| made.ports.clone()).collect()
    }

    /// The elements that all of them need, of all tables.
    pub fn attachment_elements(&self) -> Vec<(TableName, Element)> {
        lock(&self.cni.live).values().flat_map(|made| made.elements(&self.settings.table)).collect()
    }

    /// The links of others' networks that are let through.
    pub fn open_links(&self) -> Vec<IfName> {
        let named = |element: &Element| match element.key.first() {
            Some(netmode_model::nft::Span::One(netmode_model::nft::Datum::Name(name))) => Some(name.clone()),
            _ => None,
        };
        let open = self.attachment_elements().into_iter().filter(|(_, e)| e.set == crate::ruleset::OPEN);
        let mut links: Vec<IfName> = open.filter_map(|(_, element)| named(&element)).collect();
        links.sort();
        links.dedup();
        links
    }

    /// Makes what a plan says.
    ///
    /// # Errors
    /// Why not; nothing has changed then, but for a bridge that was made.
    pub fn make_attachment(&self, subject: Subject, plan: Planned, host: &dyn Host) -> Result<Attachment, CniError> {
        self.take_ports(&subject, &plan.ports)?;
        let result = self.make_with(&subject, &plan, host);
        if result.is_err() {
            self.release_ports(subject.id, &plan.ports);
        }
        result
    }

    fn make_with(&self, subject: &Subject, plan: &Planned, host: &dyn Host) -> Result<Attachment, CniError> {
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(lan) = &plan.lan {
            self.cni.ensure(lan, &*self.outside, host, &self.settings)?;
        }
        let born = born(&plan.ops);
        let needed = |undo: Vec<Inverse>| undo.into_iter().filter(|inverse| stays(inverse, &born)).collect::<Vec<_>>();
        let mut record = Attachment {
            v: VERSION,
            id: subject.id,
            key: subject.key.clone(),
            ready: false,
            leaving: false,
            netns: subject.netns,
            steps: plan.ops.clone(),
            undo: needed(plan.ops.iter().map(Op::inverse).collect()),
            behind: plan.behind.clone(),
            shared: plan.shared.clone(),
            ports: plan.ports.clone(),
            bridge: plan.lan.as_ref().map(|lan| lan.dev.clone()),
            gateways: plan.lan.iter().flat_map(|lan| lan.gateways.clone()).collect(),
            created: subject.now.clone(),
        };
        self.write(&record).map_err(|e| unrecorded(&e))?;
        let made = self.share(&plan.shared).and_then(|()| {
            let all: Vec<Op> = plan.lasting.iter().chain(&plan.ops).cloned().collect();
            let done = self.outside.apply(&all).map(|mut undo| undo.split_off(plan.lasting.len()));
            done.inspect_err(|_| drop(self.unshare(&plan.shared)))
        });
        let undo = match made {
            Ok(undo) => undo,
            Err(error) => {
                let _ = self.store.remove(Kind::Attachment, &record.id.to_string());
                return Err(kernel(&error));
            }
        };
        record.ready = true;
        record.undo = needed(undo.clone());
        if let Err(error) = self.write(&record) {
            self.outside.undo(undo);
            self.unshare(&plan.shared);
            let _ = self.store.remove(Kind::Attachment, &record.id.to_string());
            return Err(unrecorded(&error));
        }
        lock(&self.cni.live).insert(record.key.clone(), record.clone());
        self.outside.finish(&plan.then);
        Ok(record)
    }

    fn write(&self, record: &Attachment) -> Result<(), store::StoreError> {
        store::put(&*self.store, Kind::Attachment, &record.id.to_string(), record)
    }

    /// Adopts a recorded attachment.
    pub fn adopt_attachment(&self, record: Attachment) {
        let mut leases = self.leases();
        leases.name(record.id, &owner(&record.key, record.id));
        for published in &record.ports {
            // Records were checked against each other when they were made.
            let _ = leases.ports.take(published, record.id);
        }
        drop(leases);
        let mut shared = lock(&self.cni.shared);
        record.shared.iter().for_each(|element| *shared.entry(element.clone()).or_default() += 1);
        drop(shared);
        lock(&self.cni.live).insert(record.key.clone(), record);
    }

    /// Takes ports by record alone: podman binds those of its containers itself, behind its plugins' backs, as does
    /// whoever has learned from the reference, which binds none.
    fn take_ports(&self, subject: &Subject, ports: &[Published]) -> Result<(), CniError> {
        if ports.is_empty() {
            return Ok(());
        }
        let mut leases = self.leases();
        leases.name(subject.id, &owner(&subject.key, subject.id));
        let taken: Result<(), AttachError> = ports.iter().try_for_each(|port| leases.take_ports(port, subject.id));
        taken.map_err(|error| {
            ports.iter().for_each(|port| leases.ports.release(port, subject.id));
            leases.forget(subject.id);
            told(&error.into())
        })
    }

    fn release_ports(&self, id: Id, ports: &[Published]) {
        let mut leases = self.leases();
        ports.iter().for_each(|published| leases.ports.release(published, id));
        leases.forget(id);
    }

    /// Has elements that several may need be there.
    fn share(&self, elements: &[Element]) -> Result<(), OpError> {
        if elements.is_empty() {
            return Ok(());
        }
        let mut shared = lock(&self.cni.shared);
        let missing: Vec<Op> =
            elements.iter().filter(|element| !shared.contains_key(element)).map(|e| self.add(e)).collect();
        self.outside.apply(&missing)?;
        elements.iter().for_each(|element| *shared.entry(element.clone()).or_default() += 1);
        Ok(())
    }

    /// Takes away those that nobody needs any more.
    fn unshare(&self, elements: &[Element]) -> Vec<OpError> {
        let mut shared = lock(&self.cni.shared);
        let mut last = Vec::new();
        for element in elements {
            let Some(count) = shared.get_mut(element) else { continue };
            *count -= 1;
            if *count == 0 {
                shared.remove(element);
                last.push(self.add(element).inverse());
            }
        }
        if last.is_empty() { Vec::new() } else { self.outside.undo(last) }
    }

    fn add(&self, element: &Element) -> Op {
        Op::ElementAdd { table: TableName::inet(&self.settings.table), element: element.clone() }
    }

    /// Takes away what a plugin has made; nothing is done already. `inside` tells whether the namespace could be handed
    /// over: without it what is in there goes with it. Goes on past failures and returns all of them.
    pub fn remove_attachment(&self, key: &Key, inside: bool) -> Vec<OpError> {
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = lock(&self.cni.live).remove(key) else { return Vec::new() };
        let undo = record.undo.iter().filter(|inverse| inside || !is_inside(inverse)).cloned().collect();
        let mut failures = self.outside.undo(undo);
        // Its record stays until the kernel has deleted its links: whoever kills the agent in between leaves none behind.
        let left = Attachment { leaving: true, steps: Vec::new(), undo: Vec::new(), ..record.clone() };
        let id = record.id.to_string();
        if record.behind.is_empty() || store::put(&*self.store, Kind::Attachment, &id, &left).is_err() {
            let _ = self.store.remove(Kind::Attachment, &id);
        }
        let leaving = |dev: &IfName| Leaving {
            record: record.id,
            container: key.container.clone(),
            interface: key.interface.clone(),
            dev: dev.clone(),
        };
        lock(&self.cni.leaving).extend(record.behind.iter().map(leaving));
        let drop_link = |dev: &IfName| Final::LinkDrop { dev: dev.clone() };
        let mut then: Vec<Final> = record.behind.iter().map(drop_link).collect();
        then.extend(crate::bridge::flush(&record.ports, &[]));
        failures.extend(self.outside.finish(&then));
        failures.extend(self.unshare(&record.shared));
        self.release_ports(record.id, &record.ports);
        failures
    }

    /// Links of the host that a container's earlier attachment of the same link had, and that are still to be deleted.
    pub fn leaving_of(&self, container: &str, interface: &str) -> Vec<IfName> {
        let leaving = lock(&self.cni.leaving);
        let of = leaving.iter().filter(|left| left.container == container && left.interface == interface);
        of.map(|left| left.dev.clone()).collect()
    }

    /// All links of the host that are still to be deleted.
    pub(crate) fn leaving_links(&self) -> Vec<IfName> {
        lock(&self.cni.leaving).iter().map(|left| left.dev.clone()).collect()
    }

    /// A link that was to be deleted is gone, and with the last one of an attachment its record.
    pub(crate) fn forget_leaving(&self, dev: &IfName) {
        let mut leaving = lock(&self.cni.leaving);
        let gone: Vec<Id> = leaving.iter().filter(|left| left.dev == *dev).map(|left| left.record).collect();
        leaving.retain(|left| left.dev != *dev);
        let last: Vec<Id> = gone.into_iter().filter(|id| !leaving.iter().any(|left| left.record == *id)).collect();
        drop(leaving);
        for id in last {
            let _ = self.store.remove(Kind::Attachment, &id.to_string());
        }
    }
}

fn owner(key: &Key, id: Id) -> Owner {
    Owner { kind: OwnerKind::Netns, id, name: key.owner(), uid: 0 }
}
