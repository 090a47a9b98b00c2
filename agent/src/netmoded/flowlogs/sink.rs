//! Where records go. A place that cannot be written costs its records, which are counted, and nothing else: one thread for
//! each log writes, and nobody waits for it.

use super::place::Place;
use netmode_engine::flowlog::{Action, Entry, FlowLog, Status, Template};
use netmode_model::flowlog::TrafficType;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Windows that may wait to be written.
const WAITING: usize = 256;

/// What a window of an ENI held, for one log.
pub(super) struct Batch {
    /// Its form.
    pub(super) template: Template,
    /// Which of it is recorded.
    pub(super) traffic: TrafficType,
    /// The window, in seconds since 1970.
    pub(super) between: (u64, u64),
    /// What was carried.
    pub(super) entries: Arc<[Entry]>,
    /// Something was not seen.
    pub(super) lost: bool,
}

impl Batch {
    /// The records, as they are written.
    fn records(&self) -> impl Iterator<Item = Status<'_>> {
        let wanted = |entry: &&Entry| match self.traffic {
            TrafficType::All => true,
            TrafficType::Accept => entry.action == Action::Accept,
            TrafficType::Reject => entry.action == Action::Reject,
        };
        let nothing = (self.entries.is_empty() && !self.lost).then_some(Status::NoData);
        let skipped = self.lost.then_some(Status::SkipData);
        self.entries.iter().filter(wanted).map(Status::Data).chain(nothing).chain(skipped)
    }
}

/// Work for the thread that writes.
enum Work {
    Batch(Batch),
    /// Told when everything before it is done.
    Settled(Sender<()>),
}

/// What became of records.
#[derive(Default)]
struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
    error: Mutex<Option<String>>,
}

/// Where the records of a log go.
pub(super) struct Sink {
    place: Arc<Place>,
    counts: Arc<Counts>,
    work: SyncSender<Work>,
}

impl Sink {
    /// The place that a record names, and a thread that writes there.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn of(record: &FlowLog) -> Result<Self, String> {
        let place = Arc::new(Place::of(record)?);
        let counts = Arc::<Counts>::default();
        let (work, todo) = sync_channel(WAITING);
        let (to, told) = (place.clone(), counts.clone());
        let write = move || write_all(&to, &told, &todo);
        std::thread::Builder::new().name("flow-log".into()).spawn(write).map_err(|e| e.to_string())?;
        Ok(Self { place, counts, work })
    }

    /// Sees whether the place can be written.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn try_out(&self) -> io::Result<()> {
        self.place.try_out()
    }

    /// Whether both write, or put aside, the same file.
    pub(super) fn shares_files(&self, other: &Self) -> bool {
        self.place.shares_files(&other.place)
    }

    /// Has records written. Those for which there is no room are lost, and counted.
    pub(super) fn write(&self, batch: Batch) {
        let count = batch.records().count() as u64;
        if count > 0 && self.work.try_send(Work::Batch(batch)).is_err() {
            self.counts.lost.fetch_add(count, Ordering::Relaxed);
            self.counts.tell(&self.place, Some("it takes records slower than they come".into()));
        }
    }

    /// Waits until what was handed in is written, but not for ever.
    pub(super) fn settle(&self, patience: Duration) {
        let (done, settled) = channel();
        if self.work.try_send(Work::Settled(done)).is_ok() {
            let _ = settled.recv_timeout(patience);
        }
    }

    /// How many records were written.
    pub(super) fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }

    /// How many could not be.
    pub(super) fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Why the last one could not.
    pub(super) fn error(&self) -> Option<String> {
        self.counts.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Counts {
    /// Tells once when it begins, and once when it is over.
    fn tell(&self, place: &Place, now: Option<String>) {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if *error == now {
            return;
        }
        match &now {
            Some(why) => tracing::error!(%place, why, "flow log records are lost until it can be written"),
            None => {
                let lost = self.lost.load(Ordering::Relaxed);
                tracing::info!(%place, lost, "flow log records are written again");
            }
        }
        *error = now;
    }
}

fn write_all(place: &Place, counts: &Counts, todo: &Receiver<Work>) {
    while let Ok(work) = todo.recv() {
        match work {
            Work::Settled(done) => _ = done.send(()),
            Work::Batch(batch) => {
                let (mut text, mut count) = (String::new(), 0);
                for record in batch.records() {
                    batch.template.write(&mut text, batch.between, record);
                    count += 1;
                }
                let (written, done) = place.write(&text, count);
                counts.written.fetch_add(written as u64, Ordering::Relaxed);
                counts.lost.fetch_add((count - written) as u64, Ordering::Relaxed);
                counts.tell(place, done.err().map(|e| e.to_string()));
            }
        }
    }
}
