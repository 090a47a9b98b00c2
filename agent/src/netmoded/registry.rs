//! Every task of the agent: found by name, id or the beginning of an id.

use crate::events::By;
use crate::task::TaskRecord;
use netmode_model::{ApiError, Code, Id, Name};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A task, and the lock that keeps its changes in order.
#[derive(Debug)]
pub struct Task {
    /// The newest record; every change goes through it, and `wait` watches it.
    pub record: watch::Sender<TaskRecord>,
    /// Whether it has been removed, for those who wait for the end of one that removes itself.
    pub removed: watch::Sender<bool>,
    /// Held while the task is started, stopped or removed.
    pub life: tokio::sync::Mutex<()>,
    /// Who asked for its end.
    ender: Mutex<Option<By>>,
}

impl Task {
    /// A task of a record.
    pub fn new(record: TaskRecord) -> Self {
        Self {
            record: watch::Sender::new(record),
            removed: watch::Sender::new(false),
            life: tokio::sync::Mutex::default(),
            ender: Mutex::default(),
        }
    }

    /// Notes that its end is asked for, by whom the work at hand is done.
    pub fn asked_to_end(&self) {
        *self.ender.lock().unwrap_or_else(PoisonError::into_inner) = Some(By::current());
    }

    /// Who asked for its end since this was asked last.
    pub fn take_ender(&self) -> Option<By> {
        self.ender.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A copy of the newest record.
    pub fn now(&self) -> TaskRecord {
        self.record.borrow().clone()
    }
}

#[derive(Debug, Default)]
struct Tasks {
    by_id: BTreeMap<Id, Arc<Task>>,
    /// The names that are taken; a task keeps its own for life.
    names: HashMap<Name, Id>,
}

/// Tasks by id, with the names that are taken.
#[derive(Debug, Default)]
pub struct Registry(Mutex<Tasks>);

impl Registry {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task and takes its name.
    ///
    /// # Errors
    /// The name is taken; the sentence says by whom.
    pub fn add(&self, task: Arc<Task>) -> Result<(), ApiError> {
        let record = task.now();
        let mut tasks = self.tasks();
        if let Some(other) = tasks.names.get(&record.name).and_then(|id| tasks.by_id.get(id)) {
            let other = other.record.borrow();
            return Err(ApiError::new(
                Code::NameTaken,
                format!(
                    "the name {} is taken by task {} ({}); choose another one or remove that task with \"netmode rm {}\"",
                    other.name,
                    other.id.short(),
                    other.state,
                    other.name
                ),
            ));
        }
        tasks.names.insert(record.name, record.id);
        tasks.by_id.insert(record.id, task);
        Ok(())
    }

    /// Forgets a task.
    pub fn forget(&self, id: Id) {
        let mut tasks = self.tasks();
        if let Some(task) = tasks.by_id.remove(&id) {
            tasks.names.remove(&task.record.borrow().name);
            task.removed.send_replace(true);
        }
    }

    /// Every task, oldest first.
    pub fn all(&self) -> Vec<Arc<Task>> {
        let mut all: Vec<_> = self.tasks().by_id.values().cloned().collect();
        all.sort_by_cached_key(|t| t.record.borrow().created_at.clone());
        all
    }

    /// The task of an id.
    pub fn get(&self, id: Id) -> Option<Arc<Task>> {
        self.tasks().by_id.get(&id).cloned()
    }

    /// The task that a person means: by name, by id, or by the beginning of an id.
    ///
    /// # Errors
    /// There is none, or the beginning fits several.
    pub fn find(&self, reference: &str) -> Result<Arc<Task>, ApiError> {
        let tasks = self.tasks();
        let named = reference.parse::<Name>().ok().and_then(|name| tasks.names.get(&name));
        if let Some(task) = named.and_then(|id| tasks.by_id.get(id)) {
            return Ok(task.clone());
        }
        let hex = !reference.is_empty() && reference.bytes().all(|b| b.is_ascii_hexdigit());
        let mut fits = tasks.by_id.iter().filter(|(id, _)| hex && id.to_string().starts_with(reference));
        match (fits.next(), fits.next()) {
            (Some((_, task)), None) => Ok(task.clone()),
            (Some(_), Some(_)) => Err(ApiError::new(
                Code::Invalid,
                format!(
                    "several tasks have an id that begins with {reference}; give more digits (see \"netmode ps -a\")"
                ),
            )),
            _ => {
                let shown: String = reference.chars().take(64).collect();
                Err(ApiError::new(Code::NotFound, format!("no task {shown:?}; \"netmode ps -a\" lists the tasks")))
            }
        }
    }
}
