//! The namespaces that operations can name.

use super::{NetnsFd, Pins};
use crate::nft::Owner;
use crate::wire::Refused;
use netmode_model::NetnsName;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A namespace and where it came from.
pub(crate) struct Entry {
    pub(crate) fd: OwnedFd,
    /// The socket that writes tables in it, once there was a reason to: kept, for changes of many at once.
    pub(crate) tables: OnceLock<Mutex<Owner>>,
    /// Made by somebody else and not pinned by us.
    foreign: bool,
}

/// Names and descriptors. The lock is held for a look-up, never across a wait.
pub(crate) struct Registry {
    pub(crate) pins: Pins,
    entries: Mutex<BTreeMap<NetnsName, Arc<Entry>>>,
}

impl Registry {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { pins: Pins::new(dir), entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<NetnsName, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespace of a name.
    pub(crate) fn get(&self, name: &NetnsName) -> Result<Arc<Entry>, Refused> {
        let known = self.entries().get(name).cloned();
        known.ok_or_else(|| Refused::new(Errno::ENOENT, format!("the namespace {name} is not known")))
    }

    fn insert(&self, name: &NetnsName, fd: OwnedFd, foreign: bool) {
        self.entries().insert(name.clone(), Arc::new(Entry { fd, tables: OnceLock::new(), foreign }));
    }

    /// Pins the calling thread's namespace under a name.
    pub(super) fn pin(&self, name: &NetnsName) -> Result<(), Refused> {
        let fd = self.pins.add(name)?;
        self.insert(name, fd, false);
        Ok(())
    }

    /// Opens a pin that an earlier agent made.
    pub(crate) fn adopt(&self, name: &NetnsName) -> Result<(), Refused> {
        let fd = self.pins.open(name)?;
        self.insert(name, fd, false);
        Ok(())
    }

    /// Names a namespace that somebody else made.
    pub(crate) fn register(&self, name: &NetnsName, fd: NetnsFd) {
        self.insert(name, fd.into(), true);
    }

    /// Forgets a namespace that somebody else made.
    pub(crate) fn forget(&self, name: &NetnsName) {
        let mut entries = self.entries();
        if entries.get(name).is_some_and(|entry| entry.foreign) {
            entries.remove(name);
        }
    }

    /// Gives a namespace that somebody else made another name as well.
    pub(crate) fn alias(&self, netns: &NetnsName, name: &NetnsName) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get(netns).filter(|entry| entry.foreign).cloned() {
            entries.insert(name.clone(), entry);
        }
    }

    /// Takes the pin away, unless somebody else made it, and closes our descriptor.
    pub(crate) fn remove(&self, name: &NetnsName) -> Result<(), Refused> {
        let entry = self.entries().remove(name);
        match entry {
            Some(entry) if entry.foreign => Ok(()),
            _ => self.pins.remove(name),
        }
    }
}
