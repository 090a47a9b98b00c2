//! Learning of the end of containers: one inotify instance for all of them.
//!
//! The kernel gives a user 128 instances by default, so one per waiter would not do. A thread reads the events of
//! the directory into which conmon renames its exit files and wakes those who wait for that name.

use netmode_model::Id;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Where no watch can be had: how often waiters look for themselves.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

type Waiters = HashMap<Id, Vec<oneshot::Sender<()>>>;

/// Those who wait.
#[derive(Debug)]
pub(crate) struct Exits {
    dir: PathBuf,
    waiters: Arc<Mutex<Waiters>>,
    /// Whether the thread could be started.
    watching: OnceLock<bool>,
}

fn lock(waiters: &Mutex<Waiters>) -> MutexGuard<'_, Waiters> {
    waiters.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exits {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, waiters: Arc::default(), watching: OnceLock::new() }
    }

    /// Completes when something may have happened to the container. Registered at the call, not at the first poll:
    /// what happens after the caller's own look is not missed.
    pub(crate) fn notice(&self, id: Id) -> impl Future<Output = ()> + use<> {
        let is_watching = *self.watching.get_or_init(|| self.watch().is_ok());
        let (sender, receiver) = oneshot::channel();
        let mut waiters = lock(&self.waiters);
        let all = waiters.entry(id).or_default();
        all.retain(|s| !s.is_closed());
        all.push(sender);
        async move {
            if is_watching {
                let _ = receiver.await;
            } else {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Wakes those who wait for a container that is no more.
    pub(crate) fn forget(&self, id: Id) {
        lock(&self.waiters).remove(&id);
    }

    /// How many are waited for.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.waiters).len()
    }

    fn watch(&self) -> std::io::Result<()> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        // conmon writes a temporary file and renames it (g_file_set_contents).
        let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        inotify.add_watch(&self.dir, flags)?;
        let waiters = Arc::downgrade(&self.waiters);
        let work = move || {
            loop {
                let events = match inotify.read_events() {
                    Ok(events) => events,
                    Err(nix::errno::Errno::EINTR) => continue,
                    Err(_) => Vec::new(),
                };
                let Some(waiters) = waiters.upgrade() else { return };
                let mut waiters = lock(&waiters);
                if events.is_empty() || events.iter().any(|e| e.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)) {
                    // Events were lost: everybody looks.
                    waiters.clear();
                    if events.is_empty() {
                        return;
                    }
                }
                for name in events.iter().filter_map(|e| e.name.as_ref()?.to_str()?.parse::<Id>().ok()) {
                    waiters.remove(&name);
                }
            }
        };
        std::thread::Builder::new().name("exits".into()).stack_size(64 << 10).spawn(work).map(drop)
    }
}
