//! Services: so many tasks of a definition are kept running, and what happens is told as ECS words it (ECS developer
//! guide, "Amazon ECS service event messages").

use super::record::{EcsRecord, EcsTask};
use super::run::{self, Wanted};
use super::stop;
use crate::agent::{Agent, blocking};
use crate::events::{self, By, told};
use crate::{clock, startup};
use netmode_engine::store::{self, Kind, StoreError};
use netmode_model::ecs::{EventView, RunTaskRequest, ServiceRequest, ServiceView, StopCode, TaskStatus};
use netmode_model::{ApiError, Code, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Version of the record that this agent writes.
const VERSION: u32 = 1;

/// Events that are kept of a service (ECS has the latest 100).
const KEPT: usize = 100;

/// Most tasks of a service (ECS quota "Tasks per service", with Cloud Map 1,000).
const MOST: u32 = 1000;

/// The first pause after a task that could not be placed or did not start; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// A task that ran for so long has not failed at once.
const SETTLED: Duration = Duration::from_secs(10);

/// What is recorded of a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    v: u32,
    name: Name,
    /// Without the values of secrets.
    request: RunTaskRequest,
    desired: u32,
    created_at: String,
    events: Vec<EventView>,
}

/// A service.
#[derive(Debug)]
struct Service {
    record: Mutex<Record>,
    /// Values of secrets, in memory alone.
    secrets: Mutex<BTreeMap<String, String>>,
    /// Somebody wants it otherwise.
    changed: Notify,
    /// A task of it has come to another status.
    stirred: Notify,
    /// Its record is removed, and is not to be written again. Looked at with the record's lock.
    gone: AtomicBool,
}

/// Every service.
#[derive(Debug, Default)]
pub struct Services(Mutex<BTreeMap<Name, Arc<Service>>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    fn new(record: Record, secrets: BTreeMap<String, String>) -> Arc<Self> {
        let (record, secrets) = (Mutex::new(record), Mutex::new(secrets));
        let (changed, stirred) = (Notify::default(), Notify::default());
        Arc::new(Self { record, secrets, changed, stirred, gone: AtomicBool::default() })
    }

    fn now(&self) -> Record {
        locked(&self.record).clone()
    }

    fn update(&self, agent: &Agent, change: impl FnOnce(&mut Record)) {
        let mut record = locked(&self.record);
        change(&mut record);
        if let Err(error) = self.write(agent, &record) {
            tracing::error!(service = %record.name, %error, "a change could not be recorded");
        }
    }

    /// Writes its record, with its lock.
    fn write(&self, agent: &Agent, record: &Record) -> Result<(), StoreError> {
        match self.gone.load(Ordering::Relaxed) {
            true => Ok(()),
            false => store::put(&*agent.store, Kind::Service, record.name.as_str(), record),
        }
    }

    /// Removes its record; nothing has changed where that cannot be.
    fn remove(&self, agent: &Agent) -> Result<(), ApiError> {
        let record = locked(&self.record);
        if self.gone.load(Ordering::Relaxed) {
            return Err(missing(record.name.as_str()));
        }
        let removed = agent.store.remove(Kind::Service, record.name.as_str());
        removed.map_err(|e| ApiError::new(Code::State, e.to_string()))?;
        self.gone.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Tells an event, on a thread that may wait for the disk.
    async fn tell(self: &Arc<Self>, agent: &Arc<Agent>, action: &'static str, message: String) {
        let (service, agent) = (self.clone(), agent.clone());
        if let Err(error) = blocking(move || service.tell_now(&agent, action, message)).await {
            tracing::error!(%error, "an event was not told");
        }
    }

    /// The same one is not told twice in a row.
    fn tell_now(&self, agent: &Agent, action: &'static str, message: String) {
        if self.now().events.first().is_some_and(|e| e.message == message) {
            return;
        }
        tracing::info!(message, "event");
        told::service(agent, self.now().name.as_str(), action, &message);
        let id = clock::fresh_id().map(netmode_model::vpc::uuid).unwrap_or_default();
        self.update(agent, |r| {
            r.events.insert(0, EventView { id, created_at: clock::now(), message });
            r.events.truncate(KEPT);
        });
    }

    fn group(&self) -> String {
        format!("service:{}", self.now().name)
    }

    fn tasks(&self, agent: &Agent) -> Vec<Arc<EcsTask>> {
        let group = self.group();
        agent.ecs.all().into_iter().filter(|t| t.look(|r| r.group == group)).collect()
    }
}

/// Reads the records and keeps on.
///
/// # Errors
/// A record of a newer version.
pub fn load(agent: &Arc<Agent>) -> anyhow::Result<()> {
    let listing = store::list::<Record>(&*agent.store, Kind::Service, VERSION.into())?;
    startup::told(&listing.set_aside);
    tell_again(agent, &listing.records);
    for record in listing.records {
        let service = Service::new(record, BTreeMap::new());
        locked(&agent.services.0).insert(service.now().name, service.clone());
        begin(agent, service);
    }
    Ok(())
}

/// What was told by agents before this one is told with its time: of services it is recorded.
fn tell_again(agent: &Agent, records: &[Record]) {
    let of = |record: &'_ Record| record.events.iter().map(|e| (record.name.clone(), e.clone())).collect::<Vec<_>>();
    let mut all: Vec<(Name, EventView)> = records.iter().flat_map(of).collect();
    all.sort_by(|(_, a), (_, b)| a.created_at.cmp(&b.created_at));
    for (name, event) in all {
        let by = By::agent(format!("service {name}"));
        events::within(by, || told::service_again(agent, name.as_str(), event));
    }
}

fn begin(agent: &Arc<Agent>, service: Arc<Service>) {
    let by = By::agent(format!("service {}", service.now().name));
    tokio::spawn(events::scope(by, keep(agent.clone(), service)));
}

fn find(agent: &Agent, name: &str) -> Result<Arc<Service>, ApiError> {
    let parsed = name.parse::<Name>().ok();
    parsed.and_then(|n| locked(&agent.services.0).get(&n).cloned()).ok_or_else(|| missing(name))
}

/// A task of this group has come to another status.
pub fn stir(agent: &Agent, group: &str) {
    let name = group.strip_prefix("service:").and_then(|name| name.parse::<Name>().ok());
    if let Some(service) = name.and_then(|name| locked(&agent.services.0).get(&name).cloned()) {
        service.stirred.notify_one();
    }
}

fn missing(name: &str) -> ApiError {
    let shown: String = name.chars().take(64).collect();
    ApiError::new(Code::NotFound, format!("Service not found: {shown:?}; \"netmode service ls\" lists the services"))
}

/// Makes a service.
///
/// # Errors
/// The name is taken, or the definition cannot be used.
pub async fn create(agent: &Arc<Agent>, name: Name, request: ServiceRequest) -> Result<ServiceView, ApiError> {
    let desired = bounded(request.desired_count.unwrap_or(1))?;
    let mut run = request.task;
    let (shared, trial) = (agent.clone(), run.clone());
    blocking(move || run::wanted(&shared, trial)).await??;
    let secrets = std::mem::take(&mut run.secrets);
    let record = Record { v: VERSION, name, request: run, desired, created_at: clock::now(), events: Vec::new() };
    let service = Service::new(record, secrets);
    let (shared, made) = (agent.clone(), service.clone());
    blocking(move || enter(&shared, &made)).await??;
    let name = service.now().name;
    told::service(agent, name.as_str(), "created", &format!("service {name} was made for {desired} tasks."));
    begin(agent, service.clone());
    Ok(view(agent, &service))
}

/// Gives a new service its place, of two of one name to the first, and records it.
fn enter(agent: &Agent, service: &Arc<Service>) -> Result<(), ApiError> {
    let name = service.now().name;
    match locked(&agent.services.0).entry(name.clone()) {
        Entry::Vacant(place) => _ = place.insert(service.clone()),
        Entry::Occupied(_) => {
            let text =
                format!("Creation of service was not idempotent: {name} is there; use \"netmode service update\"");
            return Err(ApiError::new(Code::NameTaken, text));
        }
    }
    let written = service.write(agent, &locked(&service.record));
    written.map_err(|e| {
        locked(&agent.services.0).remove(&name);
        ApiError::new(Code::State, e.to_string())
    })
}

fn bounded(desired: u32) -> Result<u32, ApiError> {
    match desired {
        0..=MOST => Ok(desired),
        _ => Err(ApiError::new(Code::Invalid, "desiredCount is from 0 to 1000; make another service for more")),
    }
}

/// Gives a service another number of tasks.
///
/// # Errors
/// There is none, or the number cannot be.
pub fn scale(agent: &Agent, name: &str, desired: Option<u32>) -> Result<ServiceView, ApiError> {
    let service = find(agent, name)?;
    if let Some(desired) = desired {
        let desired = bounded(desired)?;
        service.update(agent, |r| r.desired = desired);
        told::service(agent, name, "changed", &format!("service {name} is to have {desired} tasks."));
    }
    service.changed.notify_one();
    Ok(view(agent, &service))
}

/// Ends a service with its tasks.
///
/// # Errors
/// There is none, or its record stays.
pub async fn remove(agent: &Arc<Agent>, name: &str) -> Result<(), ApiError> {
    let service = find(agent, name)?;
    let (shared, ended) = (agent.clone(), service.clone());
    blocking(move || ended.remove(&shared)).await??;
    locked(&agent.services.0).remove(&service.now().name);
    service.changed.notify_one();
    for task in service.tasks(agent).into_iter().filter(|t| !t.look(EcsRecord::ending)) {
        scheduler_stops(agent, &task, &service.now().name).await;
    }
    told::service(agent, name, "removed", &format!("service {name} was removed."));
    Ok(())
}

async fn scheduler_stops(agent: &Arc<Agent>, task: &Arc<EcsTask>, name: &Name) {
    let reason = format!("Scaling activity initiated by (service {name})");
    stop::because(agent, task, Some(StopCode::ServiceSchedulerInitiated), reason).await;
}

/// Every service.
pub fn list(agent: &Agent) -> Vec<ServiceView> {
    let all: Vec<_> = locked(&agent.services.0).values().cloned().collect();
    all.iter().map(|service| view(agent, service)).collect()
}

/// A service.
///
/// # Errors
/// There is none.
pub fn show(agent: &Agent, name: &str) -> Result<ServiceView, ApiError> {
    Ok(view(agent, &*find(agent, name)?))
}

fn view(agent: &Agent, service: &Service) -> ServiceView {
    let record = service.now();
    let tasks = service.tasks(agent);
    let count = |status: fn(TaskStatus) -> bool| tasks.iter().filter(|t| status(t.look(|r| r.status))).count() as u32;
    ServiceView {
        service_name: record.name.to_string(),
        status: "ACTIVE".into(),
        desired_count: record.desired,
        running_count: count(|s| s == TaskStatus::Running),
        pending_count: count(|s| s < TaskStatus::Running),
        created_at: record.created_at,
        events: record.events,
    }
}

/// Keeps the number of tasks.
async fn keep(agent: Arc<Agent>, service: Arc<Service>) {
    let mut failures: u32 = 0;
    let mut steady = false;
    let name = service.now().name;
    let known = |agent: &Agent| locked(&agent.services.0).get(&name).is_some_and(|s| Arc::ptr_eq(s, &service));
    while known(&agent) && !agent.ending.begun() {
        let record = service.now();
        let tasks: Vec<_> = service.tasks(&agent).into_iter().filter(|t| !t.look(EcsRecord::ending)).collect();
        let wanted = record.desired as usize;
        if tasks.len() < wanted {
            steady = false;
            match one_more(&agent, &service).await {
                // Removed meanwhile, with the tasks that it had then.
                Ok(task) if !known(&agent) => scheduler_stops(&agent, &task, &record.name).await,
                Ok(task) => failures = if lived(&agent, &service, &task) { 0 } else { failures },
                Err(()) => failures = failures.saturating_add(1),
            }
        } else if tasks.len() > wanted {
            steady = false;
            if let Some(youngest) = tasks.last() {
                scheduler_stops(&agent, youngest, &record.name).await;
                let id = youngest.now().id;
                let text = format!("service {} has stopped 1 running tasks: task {id}.", record.name);
                service.tell(&agent, "stopped", text).await;
            }
            continue;
        } else if !steady && tasks.iter().all(|t| t.look(|r| r.status) == TaskStatus::Running) {
            (steady, failures) = (true, 0);
            service.tell(&agent, "steady", format!("service {} has reached a steady state.", record.name)).await;
        }
        failures = failures.max(hasty(&service, &agent).await);
        let pause = if failures == 0 {
            Duration::from_millis(200)
        } else {
            (PAUSE * (1 << (failures - 1).min(6))).min(LONGEST)
        };
        tokio::select! {
            () = service.changed.notified() => failures = 0,
            () = service.stirred.notified(), if steady => {}
            () = tokio::time::sleep(pause), if !steady => {}
        }
    }
}

/// Whether the task before this one has lived long enough not to count as a failure.
fn lived(agent: &Agent, service: &Service, task: &EcsTask) -> bool {
    let id = task.now().id;
    service.tasks(agent).iter().filter(|t| t.look(|r| r.id) != id).all(|t| !failed(t))
}

fn failed(task: &EcsTask) -> bool {
    let record = task.now();
    let ran = || {
        let (from, to) = (record.started_at.as_deref()?, record.stopped_at.as_deref()?);
        Some(clock::since(from)?.saturating_sub(clock::since(to)?))
    };
    record.status == TaskStatus::Stopped
        && !matches!(record.stop_code, Some(StopCode::UserInitiated | StopCode::ServiceSchedulerInitiated))
        && ran().is_none_or(|ran| ran < SETTLED)
}

/// How many of the latest tasks in a row failed at once.
async fn hasty(service: &Arc<Service>, agent: &Arc<Agent>) -> u32 {
    let tasks = service.tasks(agent);
    let ended = tasks.iter().rev().filter(|t| t.look(|r| r.status) == TaskStatus::Stopped);
    let failures = ended.take_while(|t| failed(t)).count() as u32;
    if failures >= 3 && tasks.iter().all(|t| t.look(|r| r.status) != TaskStatus::Running) {
        let text = format!("service {} is unable to consistently start tasks successfully.", service.now().name);
        service.tell(agent, "failing", text).await;
    }
    failures
}

/// Places one more task, and tells what came of it.
async fn one_more(agent: &Arc<Agent>, service: &Arc<Service>) -> Result<Arc<EcsTask>, ()> {
    let record = service.now();
    let request = RunTaskRequest { secrets: locked(&service.secrets).clone(), ..record.request.clone() };
    let shared = agent.clone();
    let wanted = blocking(move || run::wanted(&shared, request)).await.and_then(|w| w);
    let placed = match wanted {
        Ok(wanted) => run::place(agent, &Wanted { group: service.group(), ..wanted }).await,
        Err(error) => Err(error),
    };
    match placed {
        Ok(task) => {
            let text = format!("service {} has started 1 tasks: task {}.", record.name, task.now().id);
            service.tell(agent, "started", text).await;
            Ok(task)
        }
        Err(error) => {
            let cause = By::agent(error.message.clone());
            let text = unplaced(agent, &record.name, error);
            events::scope(cause, service.tell(agent, "unplaced", text)).await;
            Err(())
        }
    }
}

fn unplaced(agent: &Agent, name: &Name, error: ApiError) -> String {
    let head = format!(
        "service {name} was unable to place a task because no container instance met all of its requirements. The closest matching container-instance {}",
        crate::instance::id(agent)
    );
    match error.code {
        Code::PortTaken => format!("{head} is already using a port required by your task."),
        Code::ResourceEni => format!("{head} encountered error \"RESOURCE:ENI\"."),
        _ => format!("service {name} was unable to place a task. Reason: {}.", error.message),
    }
}
