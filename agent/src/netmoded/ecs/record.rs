//! What is recorded of a task, and every task of the agent.

use super::service;
use crate::agent::{Agent, blocking};
use crate::events::{By, told};
use netmode_engine::store::{self, Kind};
use netmode_model::ecs::{Health, StopCode, TaskDefinition, TaskStatus};
use netmode_model::vpc::EniView;
use netmode_model::{ApiError, Code, Id, Name, RequestedMode};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Version of the record that this agent writes.
pub const VERSION: u32 = 1;

/// What is recorded of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EcsRecord {
    /// Version of the record.
    pub v: u32,
    /// The id.
    pub id: Id,
    /// What it is made of.
    pub definition: TaskDefinition,
    /// Its number within the family.
    pub revision: u32,
    /// The mode asked for.
    pub requested: RequestedMode,
    /// `family:…` or `service:…`.
    pub group: String,
    /// Security groups of its containers, where each has a network of its own.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Its containers may have capabilities that lead round those.
    #[serde(default)]
    pub sg_best_effort: bool,
    /// ECS' rules of hosts hold for it.
    #[serde(default)]
    pub strict_ecs: bool,
    /// The endpoint that its containers share.
    pub endpoint: Option<Id>,
    /// Its ENI, also when that is gone.
    #[serde(default)]
    pub eni: Option<EniView>,
    /// Its containers, in the order of the definition.
    pub members: Vec<MemberRecord>,
    /// Where it is in its life.
    pub status: TaskStatus,
    /// `RUNNING` or `STOPPED`.
    pub desired: TaskStatus,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    #[serde(default)]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub stopping_at: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub stopped_at: Option<String>,
    /// Why it ended.
    #[serde(default)]
    pub stop_code: Option<StopCode>,
    /// Why it ended, in a sentence.
    #[serde(default)]
    pub stopped_reason: Option<String>,
}

/// What is recorded of a container of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRecord {
    /// Its name within the task.
    pub container: String,
    /// What it is called on this host.
    pub name: Name,
    /// Its id, once it was made.
    pub id: Option<Id>,
    /// Where it is.
    pub stage: Stage,
    /// Whether it is well.
    #[serde(default)]
    pub health: Health,
    /// Why it did not start.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Where a container of a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// It waits for others.
    Waiting,
    /// It was started.
    Started,
    /// It has ended, with this status.
    Ended(Option<i32>),
}

impl EcsRecord {
    /// A container by its name within the task.
    pub fn member(&self, container: &str) -> Option<&MemberRecord> {
        self.members.iter().find(|m| m.container == container)
    }

    /// Whether it is to end, or has ended.
    pub fn ending(&self) -> bool {
        self.desired == TaskStatus::Stopped
    }
}

/// A task.
#[derive(Debug)]
pub struct EcsTask {
    record: watch::Sender<EcsRecord>,
    /// Held while the record is changed.
    changing: Mutex<()>,
    /// Who ends it.
    ender: Mutex<Option<By>>,
}

impl EcsTask {
    /// A task of a record.
    pub fn new(record: EcsRecord) -> Self {
        Self { record: watch::Sender::new(record), changing: Mutex::default(), ender: Mutex::default() }
    }

    /// Notes who ends it; false if somebody else does so already.
    pub fn ended_by(&self, by: By) -> bool {
        let mut ender = self.ender.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ender.is_none();
        ender.get_or_insert(by);
        first
    }

    /// Who ends it, where that is known.
    pub fn ender(&self) -> Option<By> {
        self.ender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A copy of the newest record.
    pub fn now(&self) -> EcsRecord {
        self.record.borrow().clone()
    }

    /// Looks at the newest record where it is.
    pub fn look<T>(&self, at: impl FnOnce(&EcsRecord) -> T) -> T {
        at(&self.record.borrow())
    }

    /// Hears of every change.
    pub fn subscribe(&self) -> watch::Receiver<EcsRecord> {
        self.record.subscribe()
    }

    /// As [`EcsTask::update`], on a thread that may wait for the disk.
    pub async fn set(
        self: &Arc<Self>,
        agent: &Arc<Agent>,
        change: impl FnOnce(&mut EcsRecord) + Send + 'static,
    ) -> EcsRecord {
        let (task, agent) = (self.clone(), agent.clone());
        blocking(move || task.update(&agent, change)).await.unwrap_or_else(|error| {
            tracing::error!(task = %self.now().id, %error, "a change was not made");
            self.now()
        })
    }

    /// Changes the record, in memory whatever the disk says: a full one keeps no task from ending. Waits for the disk.
    pub fn update(&self, agent: &Agent, change: impl FnOnce(&mut EcsRecord)) -> EcsRecord {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.now();
        let before = record.status;
        change(&mut record);
        if let Err(error) = store::put(&*agent.store, Kind::EcsTask, &record.id.to_string(), &record) {
            tracing::error!(task = %record.id, %error, "a change could not be recorded");
        }
        if record.status != before {
            told::ecs_task(agent, &record, told::action(record.status));
        }
        self.record.send_replace(record.clone());
        if record.status != before {
            service::stir(agent, &record.group);
        }
        record
    }
}

/// Every task, and what is kept for them in memory alone.
#[derive(Debug, Default)]
pub struct Tasks {
    tasks: Mutex<BTreeMap<Id, Arc<EcsTask>>>,
    /// Variables with secret values, by the container's name on this host. They are on no disk of ours.
    secrets: Mutex<HashMap<Name, Vec<String>>>,
    /// Held while tasks are placed: what one takes the next one does not find.
    pub placing: tokio::sync::Mutex<()>,
    /// Held by the task that waits for a host port.
    pub queue: tokio::sync::Mutex<()>,
}

impl Tasks {
    fn tasks(&self) -> MutexGuard<'_, BTreeMap<Id, Arc<EcsTask>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task.
    pub fn add(&self, task: Arc<EcsTask>) {
        self.tasks().insert(task.now().id, task);
    }

    /// A task.
    pub fn get(&self, id: Id) -> Option<Arc<EcsTask>> {
        self.tasks().get(&id).cloned()
    }

    /// Forgets a task.
    pub fn forget(&self, id: Id) {
        self.tasks().remove(&id);
    }

    /// Every task, the oldest first.
    pub fn all(&self) -> Vec<Arc<EcsTask>> {
        let mut all: Vec<_> = self.tasks().values().cloned().collect();
        all.sort_by_cached_key(|t| t.look(|r| r.created_at.clone()));
        all
    }

    /// The endpoints that tasks share.
    pub fn endpoints(&self) -> Vec<Id> {
        self.tasks().values().filter_map(|t| t.look(|r| r.endpoint)).collect()
    }

    /// The task that a person means: by id, the beginning of an id, or its ARN.
    ///
    /// # Errors
    /// There is none, or several begin so.
    pub fn find(&self, reference: &str) -> Result<Arc<EcsTask>, ApiError> {
        let id = reference.rsplit('/').next().unwrap_or(reference);
        let tasks = self.tasks();
        let mut fits = tasks.iter().filter(|(known, _)| !id.is_empty() && known.to_string().starts_with(id));
        match (fits.next(), fits.next()) {
            (Some((_, task)), None) => Ok(task.clone()),
            (Some(_), Some(_)) => Err(ApiError::new(
                Code::Invalid,
                format!("several tasks have an id that begins with {id}; give more digits (\"netmode task ls\")"),
            )),
            _ => {
                let shown: String = reference.chars().take(80).collect();
                let text =
                    format!("The referenced task was not found: {shown:?}; \"netmode task ls -a\" lists the tasks");
                Err(ApiError::new(Code::NotFound, text))
            }
        }
    }

    /// Keeps the variables with secret values of a container.
    pub fn keep_secrets(&self, name: &Name, variables: Vec<String>) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(name.clone(), variables);
    }

    /// The variables with secret values of a container; none for one without, and for one whose secrets nobody remembers
    /// (see [`Tasks::remembers`]).
    pub fn secrets_of(&self, name: &Name) -> Vec<String> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// Whether the secrets of a container are known: an agent that starts knows none.
    pub fn remembers(&self, name: &Name) -> bool {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// Forgets the secrets of a container.
    pub fn forget_secrets(&self, name: &Name) {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
