//! What goes to the agent's successor, and who holds it in between.
//!
//! Under systemd its descriptor store does (sd_notify(3), FDSTORE); elsewhere a process that does nothing else.

use crate::activation::Activation;
use netmode_container::{KeepProcess, end_kept, find_kept};
use netmode_kernel::hold::Inherited;
use netmode_kernel::keep::Keeper;
use sd_notify::NotifyState;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names of the two ends in systemd's store.
pub const STORED: [&str; 2] = ["netmode-keep-in", "netmode-keep-out"];

/// The queue that outlives this agent, and what the one before left in it.
pub struct Legacy {
    /// The queue.
    pub keeper: Arc<Keeper>,
    /// What was in it.
    pub inherited: Arc<Inherited>,
    /// Whether whoever is to hold the queue does so already.
    found: bool,
    /// Whether systemd holds it.
    by_manager: bool,
    record: PathBuf,
}

/// Who holds the queue.
pub enum Held {
    /// The service manager.
    Manager,
    /// A process.
    Process(Arc<KeepProcess>),
    /// Nobody: a successor has to bind the ports again.
    Nobody,
}

impl Legacy {
    /// Finds the queue of a predecessor in the same network namespace, or makes one.
    ///
    /// # Errors
    /// Without a descriptor to spare.
    pub fn find(activation: &mut Activation, run_dir: &Path, netns: u64) -> io::Result<Self> {
        let record = run_dir.join(format!("keep-{netns}.json"));
        let by_manager = activation.has_manager();
        let stored = activation.take_stored(STORED);
        let is_stored = stored.is_some();
        let ends = stored.or_else(|| find_kept(&record));
        let found = if by_manager { is_stored } else { ends.is_some() };
        let keeper = match ends {
            Some([into, out]) => Keeper::of(into, out),
            None => Keeper::new()?,
        };
        let inherited = Arc::new(keeper.inherit());
        Ok(Self { keeper, inherited, found, by_manager, record })
    }

    /// Has somebody hold the queue. A failure is told and costs no more than what it says.
    pub fn entrust(&self) -> Held {
        let held = if self.by_manager { self.to_manager() } else { self.to_process() };
        held.unwrap_or_else(|error| {
            tracing::warn!(%error, "nobody keeps the sockets for a successor, which will have to bind the ports again");
            Held::Nobody
        })
    }

    fn to_manager(&self) -> io::Result<Held> {
        for (name, end) in STORED.iter().zip(self.keeper.ends()).filter(|_| !self.found) {
            sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(name)], &[end])?;
        }
        // One that was started by hand before has nothing to do any more.
        end_kept(&self.record);
        Ok(Held::Manager)
    }

    fn to_process(&self) -> io::Result<Held> {
        let program = std::env::current_exe()?;
        let [into, out] = self.keeper.ends();
        let ends: [OwnedFd; 2] = [into.try_clone_to_owned()?, out.try_clone_to_owned()?];
        KeepProcess::start(&program, &self.record, ends, self.found).map(Held::Process)
    }
}

impl Held {
    /// In words, for the doctor.
    pub fn describe(&self) -> String {
        match self {
            Self::Manager => "kept for a successor by the service manager".into(),
            Self::Process(process) => format!("kept for a successor by process {}", process.pid()),
            Self::Nobody => "kept by this agent alone: its successor has to bind them again".into(),
        }
    }

    /// Nothing is left to be kept.
    pub fn end(&self) {
        if let Self::Process(process) = self {
            process.end();
        }
    }
}
