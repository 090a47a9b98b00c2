//! Those who watch: one for each ENI, and one for the host, which tracks the flows of those whose packets it forwards
//! (once more in their namespaces would cost a twentieth of a short connection), and refuses some.

use super::sink::Batch;
use super::{Shared, Target, locked};
use crate::agent::blocking;
use netmode_engine::flowlog::{Entry, Template, Window};
use netmode_kernel::{Kernel, Told, Watch};
use netmode_model::flow::{Flow, Refusal};
use netmode_model::op::OpError;
use netmode_model::{Inverse, Op, Place};
use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How long it is listened on when an ENI goes: refusals are told in batches, and those of the host are handed on.
const LAST: Duration = Duration::from_millis(120);

/// How many times it is listened for that.
const MOST: usize = 200;

/// How long the host's watcher may take to hand on what it has been told; less than the end of a task waits.
const HANDED_ON: Duration = Duration::from_millis(1500);

/// What has been heard is left to gather for so long: a reading for each connection would cost as much as the connection.
/// The sockets hold some 6,000.
const GATHER: Duration = Duration::from_millis(50);

/// What a watcher is told.
pub(super) enum Order {
    /// The host refused this.
    Refused(Refusal),
    /// The host has tracked these to their end.
    Ended(Vec<Flow>),
    /// What was gathered is written now. Told when that is done; `last`: the ENI goes.
    Close { done: std::sync::mpsc::Sender<()>, last: bool },
}

/// What reaches a watcher.
pub(super) struct Heard {
    pub(super) orders: mpsc::Receiver<Order>,
    /// More was refused than fitted among the orders.
    pub(super) lost: Arc<AtomicBool>,
    /// Other flow logs than before.
    pub(super) logs: watch::Receiver<u64>,
}

/// What the kernel tells of an ENI.
#[derive(Default)]
pub(super) struct Ears {
    flows: Option<Watch<Flow>>,
    refusals: Option<Watch<Refusal>>,
}

impl Ears {
    /// Has the kernel track, count and tell. What it does not tell is missing, and said to be. Waits for the kernel.
    pub(super) fn open(kernel: &Kernel, target: &Target) -> Self {
        if target.by_host {
            return Self::default();
        }
        let place = target.tracked_at();
        let tracked = kernel.replace_tables(&[(target.tracking.clone(), Vec::new())], &[]);
        if let Err(error) = tracked.and_then(|()| kernel.account(&place)) {
            tracing::warn!(eni = target.eni, %error, "its flows are not counted");
        }
        let inside = target.walled_inside.then(|| kernel.watch_refusals(&place));
        Self {
            flows: opened(&target.eni, "flows", kernel.watch_flows(&place)),
            refusals: inside.and_then(|watch| opened(&target.eni, "refusals", watch)),
        }
    }
}

impl Target {
    /// Where its connections are tracked.
    fn tracked_at(&self) -> Place {
        if self.by_host { Place::Host } else { Place::Netns(self.netns.clone()) }
    }

    fn is_its(&self, flow: &Flow) -> bool {
        [flow.tuple.from.ip, flow.tuple.to.ip].iter().any(|ip| self.addresses.contains(ip))
    }
}

fn opened<T>(eni: &str, what: &str, watch: Result<Watch<T>, OpError>) -> Option<Watch<T>> {
    watch.inspect_err(|error| tracing::warn!(eni, %error, "{what} of it are not recorded")).ok()
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    since_1970().as_secs()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What one watcher keeps.
struct Watcher {
    shared: Arc<Shared>,
    target: Target,
    ears: Ears,
    /// A window for each interval that a log has.
    windows: BTreeMap<u32, Window>,
}

impl Watcher {
    /// There is a window for each interval of the logs about it, and ears where there is a log. Those of an ENI that has
    /// just come see everything; `unseen`: what came before is not known.
    async fn renew(&mut self, fresh: bool, unseen: bool) {
        let wanted: Vec<u32> = self.shared.about(&self.target).iter().map(|log| log.record.interval).collect();
        self.windows.retain(|interval, _| wanted.contains(interval));
        // The host's watcher listens for those whose connections the host tracks.
        match (wanted.is_empty(), self.ears.flows.is_some() || self.target.by_host) {
            (true, true) => self.fall_silent().await,
            (false, false) => {
                let (shared, target) = (self.shared.clone(), self.target.clone());
                self.ears = blocking(move || Ears::open(&shared.kernel, &target)).await.unwrap_or_default();
            }
            _ => {}
        }
        for interval in wanted.into_iter().filter(|interval| !self.windows.contains_key(interval)).collect::<Vec<_>>() {
            let (own, routers) = (self.target.addresses.clone(), self.target.routers.clone());
            let born = if fresh { self.target.since } else { 0 };
            let mut window = Window::new(own, routers, now(), unseen).of_one_born(born);
            match self.standing().await {
                Some(flows) if !fresh => window.passed(&flows),
                Some(_) => {}
                None => window.lose(),
            }
            self.windows.insert(interval, window);
        }
    }

    /// Nobody asks for the connections any more; in somebody else's namespace nothing of ours stays.
    async fn fall_silent(&mut self) {
        self.ears = Ears::default();
        if self.target.by_host {
            return;
        }
        let (shared, eni) = (self.shared.clone(), self.target.eni.clone());
        let table = self.target.tracking.table.clone();
        let _ = blocking(move || {
            for failure in shared.kernel.undo(vec![Inverse::Op(Op::TableDel { table })]) {
                tracing::warn!(eni, %failure, "could not be taken back");
            }
        })
        .await;
    }

    /// The flows that stand; `None` if the kernel cannot be asked. One ENI at a time: each walks the whole table.
    async fn standing(&self) -> Option<Vec<Flow>> {
        let _turn = self.shared.turn.acquire().await;
        let (shared, target) = (self.shared.clone(), self.target.clone());
        let read = blocking(move || {
            let mut flows = shared.kernel.flows(&target.tracked_at())?;
            flows.retain(|flow| target.is_its(flow));
            Ok::<_, OpError>(flows)
        });
        read.await
            .ok()?
            .inspect_err(|error| tracing::warn!(eni = self.target.eni, %error, "its flows cannot be read"))
            .ok()
    }

    /// What the host's watcher has handed on.
    fn told(&mut self, order: Order) {
        match order {
            Order::Refused(refusal) => self.refused(&[refusal], false),
            Order::Ended(all) => self.ended(&Told { all, lost: false, drained: true }),
            Order::Close { .. } => {}
        }
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

    fn refused(&mut self, all: &[Refusal], lost: bool) {
        let now = now();
        for window in self.windows.values_mut() {
            all.iter().for_each(|refusal| window.refused(refusal, now));
            if lost {
                window.lose();
            }
        }
    }

    /// Ends windows, all of them or those that are due, and hands what they hold to the logs. `last`: the ENI goes, and
    /// this is by what the host's watcher hands on.
    async fn close(&mut self, all: bool, last: Option<&mut Heard>) {
        let at = now();
        let over = |interval: u32, window: &Window| all || at >= end_of(interval, window);
        if self.windows.iter().any(|(interval, window)| over(*interval, window)) {
            let standing = self.standing().await;
            for (_, window) in self.windows.iter_mut().filter(|(interval, window)| over(**interval, window)) {
                match &standing {
                    Some(flows) => window.standing(flows, at),
                    None => window.lose(),
                }
            }
            // A flow that ended before it was read is not among those, and nobody hears of it later. Those that were
            // among them have only the rest counted.
            if let Some(heard) = last {
                self.linger(heard).await;
            }
            if all {
                self.hear_out();
            }
        }
        for (interval, window) in &mut self.windows {
            // One that is full ends early, without a look at what stands: the interval is the longest that a record may be
            // about.
            if !over(*interval, window) && !window.is_full() {
                continue;
            }
            let between = (window.since(), at);
            let (entries, lost) = window.close(at);
            let entries: Arc<[Entry]> = entries.into();
            for log in self.shared.about(&self.target).iter().filter(|log| log.record.interval == *interval) {
                let template = Template::new(&log.format, &self.target.about);
                log.sink.write(Batch {
                    template,
                    traffic: log.record.traffic,
                    between,
                    entries: entries.clone(),
                    lost,
                });
            }
        }
    }

    /// So long until the next window ends: from its beginning, whatever has come meanwhile.
    fn rest(&self) -> Duration {
        let end = self.windows.iter().map(|(interval, window)| end_of(*interval, window)).min();
        end.map_or(Duration::from_secs(600), |end| Duration::from_secs(end).saturating_sub(since_1970()))
    }

    /// What is on its way: the kernel's last batch of refusals, then whatever the host's watcher has not read yet.
    async fn linger(&mut self, heard: &mut Heard) {
        self.listen(heard, tokio::time::sleep(LAST)).await;
        let (done, drained) = oneshot::channel();
        let asked = locked(&self.shared.drains).as_ref().is_some_and(|drains| drains.send(done).is_ok());
        let (mut late, patience) = (false, tokio::time::timeout(HANDED_ON, drained));
        if asked {
            self.listen(heard, async { late = patience.await.is_err() }).await;
        }
        while let Ok(order) = heard.orders.try_recv() {
            self.told(order);
        }
        self.refused(&[], late | heard.lost.swap(false, Ordering::Relaxed));
    }

    /// Takes what is handed on until something has happened.
    async fn listen(&mut self, heard: &mut Heard, until: impl Future<Output = ()>) {
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                Some(order) = heard.orders.recv() => self.told(order),
            }
        }
    }

    /// What the kernel has told already.
    fn hear_out(&mut self) {
        // Bounded: others may go on for ever.
        for _ in 0..MOST {
            let (flows, refusals) = (taken(&mut self.ears.flows), taken(&mut self.ears.refusals));
            self.ended(&flows);
            self.refused(&refusals.all, refusals.lost);
            if flows.drained && refusals.drained {
                return;
            }
        }
    }
}

/// When a window ends, which is when the clock has a whole number of its intervals.
fn end_of(interval: u32, window: &Window) -> u64 {
    let interval = u64::from(interval);
    (window.since() / interval + 1) * interval
}

/// What is there. That it cannot be read any more is told once, as a loss, and nothing after it.
fn taken<T>(watch: &mut Option<Watch<T>>) -> Told<T> {
    match watch.as_mut().map(Watch::take) {
        Some(Ok(told)) => told,
        Some(Err(error)) => {
            tracing::warn!(%error, "the kernel does not tell of flows any more");
            *watch = None;
            Told { all: Vec::new(), lost: true, drained: true }
        }
        None => Told { all: Vec::new(), lost: false, drained: true },
    }
}

/// What has come, when it has gathered for a while. `due`: when it is to be read, once something has come; it outlives
/// this, so that others do not put it off.
async fn gathered<T>(watch: &mut Option<Watch<T>>, due: &mut Option<Instant>) -> Told<T> {
    let Some(open) = watch else { return pending().await };
    let at = match due {
        Some(at) => *at,
        // What cannot be waited for is seen when it is read.
        None => {
            let _ = open.ready().await;
            *due.insert(Instant::now() + GATHER)
        }
    };
    tokio::time::sleep_until(at).await;
    let told = taken(watch);
    *due = (!told.drained).then(Instant::now);
    told
}

/// Watches an ENI until it goes. `fresh`: it has just come, so that all it carries is heard.
pub(super) async fn eni(shared: Arc<Shared>, target: Target, ears: Ears, mut heard: Heard, fresh: bool, unseen: bool) {
    let mut watcher = Watcher { shared, target, ears, windows: BTreeMap::new() };
    let (mut flows_due, mut refusals_due) = (None, None);
    watcher.renew(fresh, unseen).await;
    loop {
        let rest = watcher.rest();
        tokio::select! {
            told = gathered(&mut watcher.ears.flows, &mut flows_due) => watcher.ended(&told),
            told = gathered(&mut watcher.ears.refusals, &mut refusals_due) => {
                watcher.refused(&told.all, told.lost);
            }
            () = tokio::time::sleep(rest) => {}
            Ok(()) = heard.logs.changed() => watcher.renew(false, false).await,
            order = heard.orders.recv() => match order {
                Some(Order::Close { done, last }) => {
                    watcher.refused(&[], heard.lost.swap(false, Ordering::Relaxed));
                    watcher.close(true, last.then_some(&mut heard)).await;
                    if last {
                        watcher.fall_silent().await;
                    }
                    let _ = done.send(());
                    if last {
                        return;
                    }
                }
                Some(order) => watcher.told(order),
                None => return watcher.fall_silent().await,
            },
        }
        if heard.lost.swap(false, Ordering::Relaxed) {
            watcher.refused(&[], true);
        }
        // Whatever came: a window that is over is not kept open by what comes after it.
        watcher.close(false, None).await;
    }
}

/// Watches the host, and hands what it tells to those whose it is.
pub(super) fn host(shared: &Arc<Shared>) {
    let mut watched = locked(&shared.host);
    if *watched {
        return;
    }
    let kernel = &shared.kernel;
    if let Err(error) = kernel.account(&Place::Host) {
        tracing::warn!(%error, "flows on the host are not counted");
    }
    let mut refusals = opened("host", "refusals", kernel.watch_refusals(&Place::Host));
    let mut flows = opened("host", "flows", kernel.watch_flows(&Place::Host));
    *watched = refusals.is_some() || flows.is_some();
    let (drains, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    *locked(&shared.drains) = Some(drains);
    let shared = shared.clone();
    tokio::spawn(async move {
        let (mut refusals_due, mut flows_due) = (None, None);
        let mut logs = shared.changed.subscribe();
        while refusals.is_some() || flows.is_some() {
            tokio::select! {
                told = gathered(&mut refusals, &mut refusals_due) => hand_refusals(&shared, told),
                told = gathered(&mut flows, &mut flows_due) => hand_flows(&shared, told),
                Some(done) = asked.recv() => {
                    drain(&mut refusals, |told| hand_refusals(&shared, told));
                    drain(&mut flows, |told| hand_flows(&shared, told));
                    let _ = done.send(());
                }
                Ok(()) = logs.changed() => {}
            }
            // Who makes the next log finds nobody listening, and has somebody do so.
            let mut watched = locked(&shared.host);
            if locked(&shared.logs).is_empty() {
                *watched = false;
                return;
            }
        }
        *locked(&shared.host) = false;
    });
}

/// Hands on all that has been told by now.
fn drain<T>(watch: &mut Option<Watch<T>>, hand: impl Fn(Told<T>)) {
    // Bounded: others may go on for ever.
    for _ in 0..MOST {
        let told = taken(watch);
        let drained = told.drained;
        hand(told);
        if drained {
            return;
        }
    }
}

fn hand_refusals(shared: &Shared, told: Told<Refusal>) {
    let watched = locked(&shared.watched);
    if told.lost {
        watched.all().for_each(|w| w.lost.store(true, Ordering::Relaxed));
    }
    for refusal in told.all {
        let own = if refusal.inward { refusal.tuple.to.ip } else { refusal.tuple.from.ip };
        if let Some(watched) = watched.of(own) {
            watched.hand(Order::Refused(refusal));
        }
    }
}

fn hand_flows(shared: &Shared, told: Told<Flow>) {
    let watched = locked(&shared.watched);
    let by_host = || watched.all().filter(|w| w.by_host);
    if told.lost {
        by_host().for_each(|w| w.lost.store(true, Ordering::Relaxed));
    }
    let mut ended: HashMap<IpAddr, Vec<Flow>> = HashMap::new();
    for flow in told.all {
        for ip in [flow.tuple.from.ip, flow.tuple.to.ip] {
            if watched.of(ip).is_some_and(|w| w.by_host) {
                ended.entry(ip).or_default().push(flow);
            }
        }
    }
    for (ip, flows) in ended {
        if let Some(watched) = watched.of(ip) {
            watched.hand(Order::Ended(flows));
        }
    }
}
