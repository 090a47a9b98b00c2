//! Those who watch: one for each ENI, in its namespace, and one for what the host refuses.

use super::{Log, Order, Shared, Target, locked};
use crate::agent::blocking;
use netmode_engine::flowlog::line::{Status, line};
use netmode_engine::flowlog::{Action, Entry, Window};
use netmode_kernel::{Told, Watch};
use netmode_model::flow::{Flow, Refusal};
use netmode_model::flowlog::TrafficType;
use netmode_model::{Inverse, Op, Place};
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// How long what the kernel has told already may take to be read when an ENI goes.
const LAST: Duration = Duration::from_millis(2);

/// How many times it is listened for that.
const MOST: usize = 200;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What one watcher keeps.
struct Watcher {
    shared: Arc<Shared>,
    target: Target,
    /// A window for each interval that a log has.
    windows: BTreeMap<u32, Window>,
    /// Those that were added have not seen what stands.
    anew: bool,
}

impl Watcher {
    fn place(&self) -> Place {
        Place::Netns(self.target.netns.clone())
    }

    /// There is a window for each interval of the logs about it. Tells whether there is a log.
    async fn renew(&mut self) -> bool {
        let logs = self.shared.about(&self.target);
        let wanted: Vec<u32> = logs.iter().map(|log| log.record.interval).collect();
        self.windows.retain(|interval, _| wanted.contains(interval));
        for interval in wanted {
            if !self.windows.contains_key(&interval) {
                let (own, routers) = (self.target.addresses.clone(), self.target.routers.clone());
                let mut window = Window::new(own, routers, now(), self.anew);
                window.passed(&self.standing().await);
                self.windows.insert(interval, window);
            }
        }
        !self.windows.is_empty()
    }

    async fn standing(&self) -> Vec<Flow> {
        let (shared, place) = (self.shared.clone(), self.place());
        let read = blocking(move || shared.kernel.flows(&place)).await;
        read.ok().and_then(Result::ok).unwrap_or_default()
    }

    fn ended(&mut self, told: &Told<Flow>) {
        let now = now();
        for window in self.windows.values_mut() {
            told.all.iter().for_each(|flow| window.ended(flow, now));
            if told.lost {
                window.lose();
            }
        }
    }

    fn refused(&mut self, told: &Told<Refusal>) {
        let now = now();
        for window in self.windows.values_mut() {
            told.all.iter().for_each(|refusal| window.refused(refusal, now));
            if told.lost {
                window.lose();
            }
        }
    }

    /// Ends windows, all of them or those that are due, and writes what they hold.
    async fn close(&mut self, all: bool) {
        let at = now();
        let due =
            |interval: u32, window: &Window| all || at / u64::from(interval) > window.since() / u64::from(interval);
        let due: Vec<u32> = self.windows.iter().filter(|(i, w)| due(**i, w)).map(|(i, _)| *i).collect();
        if due.is_empty() {
            return;
        }
        let standing = self.standing().await;
        let logs = self.shared.about(&self.target);
        for interval in due {
            let Some(window) = self.windows.get_mut(&interval) else { continue };
            let since = window.since();
            window.standing(&standing, at);
            let (entries, lost) = window.close(at);
            for log in logs.iter().filter(|log| log.record.interval == interval) {
                let lines = lines(log, &self.target, (since, at), &entries, lost);
                let log = log.clone();
                let _ = blocking(move || log.sink.write(&lines)).await;
            }
        }
    }

    /// Nobody asks for the connections any more; in somebody else's namespace nothing of ours stays.
    fn stop_tracking(&self) {
        let table = self.target.tracking.table.clone();
        for failure in self.shared.kernel.undo(vec![Inverse::Op(Op::TableDel { table })]) {
            tracing::warn!(eni = self.target.eni, %failure, "could not be taken back");
        }
    }

    /// What the kernel has told already.
    async fn hear_out(&mut self, flows: &mut Option<Watch<Flow>>, refusals: &mut Option<Watch<Refusal>>) {
        // Bounded: others may go on for ever.
        for _ in 0..MOST {
            let heard = tokio::time::timeout(LAST, async {
                tokio::select! {
                    told = next(flows) => (Some(told), None),
                    told = next(refusals) => (None, Some(told)),
                }
            });
            match heard.await {
                Ok((Some(told), _)) => self.ended(&told),
                Ok((_, Some(told))) => self.refused(&told),
                _ => return,
            }
        }
    }

    /// So long until the next window ends.
    fn rest(&self) -> Duration {
        let at = now();
        let left = |interval: &u32| u64::from(*interval) - at % u64::from(*interval);
        Duration::from_secs(self.windows.keys().map(left).min().unwrap_or(60))
    }
}

/// The records of a window in a log.
fn lines(log: &Log, target: &Target, between: (u64, u64), entries: &[Entry], lost: bool) -> Vec<String> {
    let wanted = |entry: &&Entry| match log.record.traffic {
        TrafficType::All => true,
        TrafficType::Accept => entry.action == Action::Accept,
        TrafficType::Reject => entry.action == Action::Reject,
    };
    let nothing = (entries.is_empty() && !lost).then_some(Status::NoData);
    let skipped = lost.then_some(Status::SkipData);
    let all = entries.iter().filter(wanted).map(Status::Data).chain(nothing).chain(skipped);
    all.map(|status| line(&log.format, &target.about, between, status) + "\n").collect()
}

async fn next<T>(watch: &mut Option<Watch<T>>) -> Told<T> {
    match watch {
        None => pending().await,
        Some(open) => match open.next().await {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, "the kernel does not tell of flows any more");
                *watch = None;
                Told { all: Vec::new(), lost: true }
            }
        },
    }
}

/// Opens what the kernel tells; what it does not, is told and missing.
fn opened<T>(eni: &str, what: &str, watch: Result<Watch<T>, netmode_model::op::OpError>) -> Option<Watch<T>> {
    watch.inspect_err(|error| tracing::warn!(eni, %error, "{what} of it are not recorded")).ok()
}

/// Watches an ENI until it goes, or no log is about it.
pub(super) async fn eni(shared: Arc<Shared>, target: Target, mut orders: mpsc::Receiver<Order>, anew: bool) {
    let place = Place::Netns(target.netns.clone());
    let mut flows = opened(&target.eni, "flows", shared.kernel.watch_flows(&place));
    let inside = target.walled_inside.then(|| shared.kernel.watch_refusals(&place));
    let mut refusals = inside.and_then(|watch| opened(&target.eni, "refusals", watch));
    let mut watcher = Watcher { shared, target, windows: BTreeMap::new(), anew };
    watcher.renew().await;
    watcher.anew = false;
    loop {
        tokio::select! {
            told = next(&mut flows) => watcher.ended(&told),
            told = next(&mut refusals) => watcher.refused(&told),
            () = tokio::time::sleep(watcher.rest()) => watcher.close(false).await,
            order = orders.recv() => match order {
                Some(Order::Refused(refusal)) => watcher.refused(&Told { all: vec![refusal], lost: false }),
                Some(Order::Lost) => watcher.refused(&Told { all: Vec::new(), lost: true }),
                Some(Order::Logs) => {
                    if !watcher.renew().await {
                        break;
                    }
                }
                Some(Order::Close { done, last }) => {
                    watcher.hear_out(&mut flows, &mut refusals).await;
                    watcher.close(true).await;
                    if last {
                        watcher.stop_tracking();
                    }
                    let _ = done.send(());
                    if last {
                        return;
                    }
                }
                None => return,
            },
        }
    }
    watcher.stop_tracking();
    locked(&watcher.shared.watched).remove(&watcher.target.endpoint);
}

/// Watches what the host refuses, and hands it to those whose it is.
pub(super) fn host(shared: &Arc<Shared>) {
    let mut watched = locked(&shared.host);
    if *watched {
        return;
    }
    let mut refusals = opened("host", "refusals", shared.kernel.watch_refusals(&Place::Host));
    *watched = refusals.is_some();
    let shared = shared.clone();
    tokio::spawn(async move {
        while refusals.is_some() {
            let told = next(&mut refusals).await;
            if told.lost {
                shared.tell(|| Order::Lost);
            }
            for refusal in told.all {
                let own = if refusal.inward { refusal.tuple.to.ip } else { refusal.tuple.from.ip };
                let all = locked(&shared.watched);
                if let Some(watched) = all.values().find(|w| w.addresses.contains(&own))
                    && watched.orders.try_send(Order::Refused(refusal)).is_err()
                {
                    let _ = watched.orders.try_send(Order::Lost);
                }
            }
        }
        *locked(&shared.host) = false;
    });
}
