//! Flow logs: which there are, and who watches the ENIs that they are about.

mod about;
mod place;
mod sink;
mod watch;

use crate::agent::Agent;
use crate::{clock, startup};
use netmode_engine::Endpoint;
use netmode_engine::endpoint::EndpointLink;
use netmode_engine::flowlog::{self, About, FlowLog, Scope, VERSION};
use netmode_engine::store::{self, Kind, Store};
use netmode_kernel::Kernel;
use netmode_model::flowlog::{BadFormat, FlowLogRequest, FlowLogView, Format, flow_log_id};
use netmode_model::nft::Ruleset;
use netmode_model::vpc::EniView;
use netmode_model::{ApiError, Code, Id, NetnsName};
use sink::Sink;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch as changes};
use watch::{Ears, Heard, Order};

/// Bytes of a file where nothing is said.
const MAX_SIZE: u64 = 64 << 20;

/// The least: a record is some 120 bytes, and a file that is put aside at each of them is no log.
const LEAST_SIZE: u64 = 64 << 10;

/// Files that are kept where nothing is said, and at most.
const KEEP: (u32, u32) = (5, 1000);

/// Seconds that records may be about, the first where nothing is said (EC2 API, CreateFlowLogs).
const INTERVALS: [u32; 2] = [600, 60];

/// How long the last records of an ENI are waited for when it goes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Refusals, and batches of flows, that may wait for a watcher.
const WAITING: usize = 4096;

/// A flow log in force.
struct Log {
    record: FlowLog,
    format: Format,
    sink: Sink,
}

/// An ENI that is watched.
struct Watched {
    orders: mpsc::Sender<Order>,
    lost: Arc<AtomicBool>,
    addresses: Vec<IpAddr>,
    by_host: bool,
}

impl Watched {
    /// Hands on what the host told. Nobody waits for a watcher: what it has no room for is lost to it.
    fn hand(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

/// Those that are watched, by endpoint and by address.
#[derive(Default)]
struct AllWatched {
    by_id: HashMap<Id, Watched>,
    by_address: HashMap<IpAddr, Id>,
}

impl AllWatched {
    fn all(&self) -> impl Iterator<Item = &Watched> {
        self.by_id.values()
    }

    fn of(&self, ip: IpAddr) -> Option<&Watched> {
        self.by_id.get(self.by_address.get(&ip)?)
    }

    /// Takes a place, unless it is taken.
    fn add(&mut self, id: Id, watched: Watched) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        self.by_address.extend(watched.addresses.iter().map(|ip| (*ip, id)));
        self.by_id.insert(id, watched);
        true
    }

    fn take(&mut self, id: Id) -> Option<Watched> {
        let watched = self.by_id.remove(&id)?;
        self.by_address.retain(|_, of| *of != id);
        Some(watched)
    }
}

/// What watchers share.
struct Shared {
    kernel: Arc<Kernel>,
    logs: Mutex<BTreeMap<String, Arc<Log>>>,
    /// Counts the changes of [`Shared::logs`].
    changed: changes::Sender<u64>,
    watched: Mutex<AllWatched>,
    /// Held by who reads flows that stand.
    turn: Semaphore,
    /// Held while a log is made: no two are given one file.
    making: Mutex<()>,
    /// Whether somebody hears what the host refuses, and of flows that it tracks.
    host: Mutex<bool>,
    /// Who asks the host's watcher to hand on all that it has been told.
    drains: Mutex<Option<mpsc::UnboundedSender<oneshot::Sender<()>>>>,
    /// Records written and lost by logs that are no more.
    before: Mutex<(u64, u64)>,
}

/// An ENI as watchers know it.
#[derive(Clone)]
struct Target {
    netns: NetnsName,
    subnet: String,
    eni: String,
    addresses: Vec<IpAddr>,
    routers: Vec<IpAddr>,
    /// When it was found to be watched, in seconds since 1970.
    since: u64,
    /// Its groups stand in its own namespace.
    walled_inside: bool,
    /// The host tracks its connections: it forwards its packets.
    by_host: bool,
    /// The host forwards its packets, or refuses some of them.
    heard_on_host: bool,
    about: About,
    /// What has the kernel track its connections.
    tracking: Ruleset,
}

/// The flow logs of this agent.
pub struct FlowLogs(Arc<Shared>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The logs that are about an ENI.
    fn about(&self, target: &Target) -> Vec<Arc<Log>> {
        let covers = |log: &&Arc<Log>| log.record.scope.covers(&target.subnet, &target.eni);
        locked(&self.logs).values().filter(covers).cloned().collect()
    }
}

impl FlowLogs {
    /// None yet.
    pub fn new(kernel: Arc<Kernel>) -> Self {
        Self(Arc::new(Shared {
            kernel,
            logs: Mutex::default(),
            changed: changes::Sender::new(0),
            watched: Mutex::default(),
            turn: Semaphore::new(1),
            making: Mutex::default(),
            host: Mutex::default(),
            drains: Mutex::default(),
            before: Mutex::default(),
        }))
    }

    /// An ENI has come: it is watched before its task runs, if a log is about it. Must be called within the runtime of tokio,
    /// on a thread that may wait.
    pub fn joined(&self, agent: &Agent, endpoint: &Endpoint) {
        self.begin(agent, endpoint, true, false);
    }

    fn begin(&self, agent: &Agent, endpoint: &Endpoint, fresh: bool, unseen: bool) {
        // Most agents have none.
        if locked(&self.0.logs).is_empty() {
            return;
        }
        let Some(target) = target(agent, endpoint) else { return };
        if self.0.about(&target).is_empty() {
            return;
        }
        let (orders, heard) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicBool::new(false));
        let (addresses, by_host) = (target.addresses.clone(), target.by_host);
        let watched = Watched { orders, lost: lost.clone(), addresses, by_host };
        let heard = Heard { orders: heard, lost, logs: self.0.changed.subscribe() };
        // Also where the ENI is watched already: what could not be heard then may be heard now.
        if target.heard_on_host {
            watch::host(&self.0);
        }
        if !locked(&self.0.watched).add(endpoint.id, watched) {
            return;
        }
        // It may have gone since it was looked up, and whoever watched it would hold its namespace. One that goes from here
        // on is found among those that are watched.
        if agent.engine.endpoint(endpoint.id).is_none() {
            drop(locked(&self.0.watched).take(endpoint.id));
            return;
        }
        let ears = Ears::open(&self.0.kernel, &target);
        tokio::spawn(watch::eni(self.0.clone(), target, ears, heard, fresh, unseen));
    }

    /// An ENI goes: what it has carried is written.
    pub fn leaves(&self, endpoint: Id) {
        let orders = locked(&self.0.watched).by_id.get(&endpoint).map(|watched| watched.orders.clone());
        let Some(orders) = orders else { return };
        let (done, closed) = std::sync::mpsc::channel();
        if orders.blocking_send(Order::Close { done, last: true }).is_ok() {
            let _ = closed.recv_timeout(PATIENCE);
        }
        // Until then what the host refuses is handed to it.
        drop(locked(&self.0.watched).take(endpoint));
        self.written();
    }

    /// Waits until what was handed to the logs is written, or takes too long.
    fn written(&self) {
        let logs: Vec<_> = locked(&self.0.logs).values().cloned().collect();
        logs.iter().for_each(|log| log.sink.settle(PATIENCE));
    }

    /// Writes what was gathered so far.
    pub fn close_all(&self) {
        let (done, closed) = std::sync::mpsc::channel();
        let told: Vec<_> = locked(&self.0.watched).all().map(|w| w.orders.clone()).collect();
        for orders in told {
            let _ = orders.blocking_send(Order::Close { done: done.clone(), last: false });
        }
        drop(done);
        while closed.recv_timeout(PATIENCE).is_ok() {}
        self.written();
    }

    fn find(&self, id: &str) -> Result<Arc<Log>, ApiError> {
        let shown: String = id.chars().take(64).collect();
        let missing =
            || ApiError::new(Code::NotFound, format!("no flow log {shown:?}; \"netmode flow-log ls\" lists them"));
        locked(&self.0.logs).get(id).cloned().ok_or_else(missing)
    }

    /// Every flow log.
    pub fn list(&self, agent: &Agent) -> Vec<FlowLogView> {
        locked(&self.0.logs).values().map(|log| log.view(agent)).collect()
    }

    /// A flow log.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn show(&self, agent: &Agent, id: &str) -> Result<FlowLogView, ApiError> {
        Ok(self.find(id)?.view(agent))
    }

    /// Makes a flow log, and begins to watch what it is about.
    ///
    /// # Errors
    /// What cannot be, or a target that cannot be written; nothing has changed then.
    pub fn create(&self, agent: &Agent, request: &FlowLogRequest) -> Result<FlowLogView, ApiError> {
        let record = wished(agent, request)?;
        let log = Log::of(record.clone())?;
        let _alone = locked(&self.0.making);
        if let Some(other) = locked(&self.0.logs).values().find(|other| other.sink.shares_files(&log.sink)) {
            let text = format!(
                "the flow log {} has {} and what is put aside of it; name another file with --to",
                other.record.id, other.record.destination
            );
            return Err(ApiError::new(Code::Conflict, text));
        }
        log.sink.try_out().map_err(|e| {
            ApiError::new(
                Code::Invalid,
                format!("the flow log cannot be written to {}: {e}; name another place with --to", record.destination),
            )
        })?;
        store::put(&*agent.store, Kind::FlowLog, &record.id, &record)
            .map_err(|e| ApiError::new(Code::State, e.to_string()))?;
        let view = log.view(agent);
        locked(&self.0.logs).insert(record.id, Arc::new(log));
        self.0.changed.send_modify(|n| *n += 1);
        // What stands has carried something before.
        agent.engine.endpoints().iter().for_each(|endpoint| self.begin(agent, endpoint, false, false));
        Ok(view)
    }

    /// Removes a flow log, after what was gathered for it was written.
    ///
    /// # Errors
    /// There is none of that id, or its record stays.
    pub fn remove(&self, store: &dyn Store, id: &str) -> Result<(), ApiError> {
        let log = self.find(id)?;
        self.close_all();
        store.remove(Kind::FlowLog, &log.record.id).map_err(|e| ApiError::new(Code::State, e.to_string()))?;
        locked(&self.0.logs).remove(id);
        let mut before = locked(&self.0.before);
        *before = (before.0 + log.sink.written(), before.1 + log.sink.lost());
        self.0.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    /// Records that were written and that were lost, of all logs since the agent started.
    pub fn counts(&self) -> (u64, u64) {
        let sum = |(written, lost): (u64, u64), log: &Arc<Log>| (written + log.sink.written(), lost + log.sink.lost());
        let before = *locked(&self.0.before);
        locked(&self.0.logs).values().fold(before, sum)
    }
}

/// Reads the records, and watches what they are about.
///
/// # Errors
/// A record of a newer version.
pub fn load(agent: &Agent) -> anyhow::Result<()> {
    let listing = store::list::<FlowLog>(&*agent.store, Kind::FlowLog, VERSION.into())?;
    startup::told(&listing.set_aside);
    for record in listing.records {
        let id = record.id.clone();
        match Log::of(record) {
            Ok(log) => _ = locked(&agent.flowlogs.0.logs).insert(id, Arc::new(log)),
            Err(error) => tracing::error!(flow_log = id, %error, "it is left out"),
        }
    }
    agent.engine.endpoints().iter().for_each(|endpoint| agent.flowlogs.begin(agent, endpoint, false, true));
    Ok(())
}

impl Log {
    fn of(record: FlowLog) -> Result<Self, ApiError> {
        let invalid = |e: String| ApiError::new(Code::Invalid, e);
        let format = record.format.parse().map_err(|e: BadFormat| invalid(e.to_string()))?;
        let sink = Sink::of(&record).map_err(invalid)?;
        Ok(Self { record, format, sink })
    }

    fn view(&self, agent: &Agent) -> FlowLogView {
        let record = &self.record;
        let error = self.sink.error();
        FlowLogView {
            flow_log_id: record.id.clone(),
            resource_id: match &record.scope {
                Scope::Vpc => netmode_engine::vpc::vpc_id(&agent.engine.settings().instance),
                Scope::Subnet(id) | Scope::Eni(id) => id.clone(),
            },
            traffic_type: record.traffic,
            max_aggregation_interval: record.interval,
            log_format: record.format.clone(),
            log_destination: record.destination.clone(),
            records: self.sink.written(),
            lost: self.sink.lost(),
            deliver_logs_status: if error.is_some() { "FAILED" } else { "SUCCESS" }.into(),
            deliver_logs_error_message: error,
            creation_time: record.created.clone(),
        }
    }
}

/// What a request asks for, checked.
fn wished(agent: &Agent, request: &FlowLogRequest) -> Result<FlowLog, ApiError> {
    let invalid = |text: &str| Err(ApiError::new(Code::Invalid, text));
    let scope = match (&request.subnet, &request.eni) {
        (Some(_), Some(_)) => return invalid("--subnet and --eni exclude each other; leave one of them out"),
        (Some(subnet), None) => Scope::Subnet(agent.engine.subnet(subnet)?.name),
        (None, Some(reference)) => Scope::Eni(eni(agent, reference)?.network_interface_id),
        (None, None) => Scope::Vpc,
    };
    let interval = request.max_aggregation_interval.unwrap_or(INTERVALS[0]);
    if !INTERVALS.contains(&interval) {
        return invalid("--max-aggregation-interval is 60 or 600 seconds");
    }
    let format: Format = match &request.log_format {
        Some(text) => text.parse().map_err(|e: BadFormat| ApiError::new(Code::Invalid, e.to_string()))?,
        None => Format::default(),
    };
    let max_size = request.max_size.unwrap_or(MAX_SIZE);
    let keep = request.keep.unwrap_or(KEEP.0);
    if max_size < LEAST_SIZE || keep > KEEP.1 {
        return invalid("--max-size is at least 64KiB, and --keep at most 1000");
    }
    let id = clock::fresh_id().map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))?;
    Ok(FlowLog {
        v: VERSION,
        id: flow_log_id(id),
        scope,
        traffic: request.traffic_type,
        interval,
        format: format.to_string(),
        destination: request.log_destination.clone(),
        max_size,
        keep,
        created: clock::now(),
    })
}

fn eni(agent: &Agent, reference: &str) -> Result<EniView, ApiError> {
    let fits = |e: &EniView| {
        e.network_interface_id == reference
            || e.attachment.task == reference
            || e.managed_by.strip_prefix("task/").is_some_and(|id| reference.len() >= 12 && id.starts_with(reference))
    };
    let shown: String = reference.chars().take(64).collect();
    let missing = || ApiError::new(Code::NotFound, format!("no ENI {shown:?}; \"netmode eni ls\" lists the ENIs"));
    agent.engine.enis().into_iter().find(fits).ok_or_else(missing)
}

/// An ENI in a namespace that can be looked into.
fn target(agent: &Agent, endpoint: &Endpoint) -> Option<Target> {
    let link: &EndpointLink = endpoint.link.as_ref()?;
    let eni = link.eni.as_ref()?;
    let network = agent.engine.lookup(&link.network)?;
    Some(Target {
        netns: endpoint.netns.name()?.clone(),
        subnet: link.network.clone(),
        eni: eni.id.clone(),
        addresses: link.addrs.iter().map(ipnetwork::IpNetwork::ip).collect(),
        routers: network.gateways().iter().map(ipnetwork::IpNetwork::ip).collect(),
        since: watch::now(),
        walled_inside: link.walled_inside(),
        by_host: link.has_host_end(),
        heard_on_host: link.has_host_end() || link.comes_in_by_host(),
        about: about::about(agent, endpoint, &eni.id, &network),
        tracking: flowlog::tracking(endpoint.netns.name()?, agent.engine.settings()),
    })
}
