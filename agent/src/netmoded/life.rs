//! The life of a task: started, watched, removed. How it is made: [`crate::make`], how it is stopped: [`crate::stop`].

use crate::agent::{Agent, blocking};
use crate::events::{self, By, told};
use crate::make::{build, task_ended};
use crate::metrics::Operation;
use crate::registry::Task;
use crate::task::{Again, TaskRecord};
use crate::{clock, identity, restart, stop};
use netmode_engine::store::Kind;
use netmode_model::api::TaskState;
use netmode_model::{ApiError, Code};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::MutexGuard;

/// How long the kernel may take to end a process that was killed.
pub const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Pause before a container that could not be looked at is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The lock of a task that is still there.
///
/// # Errors
/// It has been removed.
pub async fn alone<'t>(agent: &Agent, task: &'t Task) -> Result<MutexGuard<'t, ()>, ApiError> {
    let guard = task.life.lock().await;
    let record = task.now();
    match agent.tasks.get(record.id) {
        Some(_) => Ok(guard),
        None => {
            let text =
                format!("the task {} has been removed meanwhile; \"netmode ps -a\" lists the tasks", record.name);
            Err(ApiError::new(Code::NotFound, text))
        }
    }
}

/// Works on a task that is still there, with its lock, on a thread that may wait. A caller that goes away does not stop
/// it half-way.
///
/// # Errors
/// The task has been removed, or the work's own.
pub async fn alone_with<T: Send + 'static>(
    agent: Arc<Agent>,
    task: Arc<Task>,
    work: impl FnOnce(&Agent, &Task) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = events::spawn(async move {
        let _life = alone(&agent, &task).await?;
        let (agent, task) = (agent.clone(), task.clone());
        blocking(move || work(&agent, &task)).await?
    });
    done.await.map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))?
}

/// Changes a record, on a thread that may wait for the disk.
///
/// # Errors
/// The record could not be written.
pub async fn set(
    agent: &Arc<Agent>,
    task: &Arc<Task>,
    change: impl FnOnce(&mut TaskRecord) + Send + 'static,
) -> Result<TaskRecord, ApiError> {
    let (agent, task) = (agent.clone(), task.clone());
    blocking(move || agent.update(&task, change)).await?
}

/// Starts a task by hand. One that has ended gets a new network attachment and a new container first.
///
/// # Errors
/// It runs already, or cannot be started.
pub async fn start(agent: &Arc<Agent>, task: &Arc<Task>) -> Result<(), ApiError> {
    let _life = alone(agent, task).await?;
    if task.now().again != Again::default() && task.now().state != TaskState::Running {
        set(agent, task, |r| r.again = Again::default()).await?;
    }
    bring_up(agent, task, false).await
}

/// Starts a task as its restart policy says, unless it has been started, stopped or removed since it ended.
pub async fn start_again(agent: &Arc<Agent>, task: &Arc<Task>, stopped_at: Option<&str>) {
    let Ok(_life) = alone(agent, task).await else { return };
    let record = task.now();
    if !record.stopped() || !record.again.due || record.stopped_at.as_deref() != stopped_at {
        return;
    }
    if let Err(error) = bring_up(agent, task, true).await {
        tracing::warn!(task = %record.name, %error, "could not be started again");
    }
}

/// Starts a task as its restart policy says whose container was made by an agent that ended then.
pub async fn go_on(agent: &Arc<Agent>, task: &Arc<Task>) {
    let Ok(_life) = alone(agent, task).await else { return };
    if task.now().state == TaskState::Pending
        && let Err(error) = bring_up(agent, task, true).await
    {
        tracing::warn!(task = %task.now().name, %error, "could not be started again");
    }
}

/// The start itself, under the task's lock. `by_policy`: a failure is tried again.
async fn bring_up(agent: &Arc<Agent>, task: &Arc<Task>, by_policy: bool) -> Result<(), ApiError> {
    let mode = task.now().mode();
    agent.metrics.operations.timed(Operation::Start, mode, bring_up_now(agent, task, by_policy)).await
}

async fn bring_up_now(agent: &Arc<Agent>, task: &Arc<Task>, by_policy: bool) -> Result<(), ApiError> {
    let record = task.now();
    // Under the lock: who ends a task comes to its containers after it is said to be ending, so none begins behind his back.
    if record.pod.and_then(|id| agent.ecs.get(id)).is_some_and(|t| t.now().ending()) {
        return Err(task_ended(&record));
    }
    let failed = |error: &dyn std::fmt::Display| Ending {
        code: None,
        reason: format!("could not be started: {error}"),
        by_policy,
    };
    match record.state {
        TaskState::Running => return Ok(()),
        TaskState::Stopping => {
            let text = format!(
                "task {} is being stopped; start it when \"netmode wait {}\" has returned",
                record.name, record.name
            );
            return Err(ApiError::new(Code::WrongState, text));
        }
        TaskState::Stopped => {
            let checked = identity::check(&record, &agent.tasks, &agent.engine);
            let made = match checked {
                Ok(()) => build(agent, task).await,
                Err(error) if by_policy => Err(error),
                Err(error) => return Err(error),
            };
            if let Err(error) = made {
                end(agent, task, failed(&error)).await;
                return Err(error);
            }
        }
        TaskState::Pending => {}
    }
    let (shared, id) = (agent.clone(), record.id);
    if let Err(error) = blocking(move || shared.containers.start(id)).await? {
        end(agent, task, failed(&error)).await;
        return Err(ApiError::new(error.code(), error.to_string()));
    }
    task.take_ender();
    // Before the record: whatever becomes of that, the container's end is seen.
    watch(agent.clone(), task.clone());
    let started = set(agent, task, |r| {
        r.state = TaskState::Running;
        r.started_at = Some(clock::now());
    });
    told::task(agent, &started.await?, "started");
    Ok(())
}

/// Waits for the end of a task's container and clears up behind it.
pub fn watch(agent: Arc<Agent>, task: Arc<Task>) {
    tokio::spawn(async move {
        let id = task.now().id;
        let exit = loop {
            match agent.containers.wait(id).await {
                // Out of descriptors, say: that the container cannot be looked at does not mean that it has ended.
                Err(error) if error.code() != Code::NotFound => {
                    tracing::warn!(task = %id, %error, "cannot see whether the container runs; looks again");
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                seen => break seen,
            }
        };
        let Ok(_life) = alone(&agent, &task).await else { return };
        if task.now().stopped() {
            return;
        }
        let reason = match &exit {
            Ok(exit) if exit.lost => "the container ended and nobody saw its exit status".into(),
            Ok(_) => "Essential container in task exited".into(),
            Err(error) => format!("the container was lost: {error}"),
        };
        let by = task.take_ender().unwrap_or_else(|| By::agent(told::why_ended(exit.as_ref().ok(), &reason)));
        let ended = async {
            end(&agent, &task, Ending { code: exit.ok().map(|e| e.code), reason, by_policy: true }).await;
            if task.now().request.auto_remove {
                remove_record(&agent, &task).await;
            }
        };
        events::scope(by, ended).await;
    });
}

/// How a task came to its end.
pub struct Ending {
    /// Exit status, where there is one.
    code: Option<i32>,
    /// For people.
    reason: String,
    /// The restart policy decides what follows.
    by_policy: bool,
}

impl Ending {
    /// An end by hand of what never ran.
    pub fn because(reason: &str) -> Self {
        Self { code: None, reason: reason.into(), by_policy: false }
    }
}

/// Gives everything back that a task had, except its record and its files.
pub async fn end(agent: &Arc<Agent>, task: &Arc<Task>, ending: Ending) {
    let (shared, ended) = (agent.clone(), task.clone());
    let ended = blocking(move || {
        let task = ended;
        let mut record = task.now();
        let ran = matches!(record.state, TaskState::Running | TaskState::Stopping);
        if record.state == TaskState::Pending
            && let Err(failure) = shared.containers.remove(record.id)
        {
            // One that was made and never started would wait for ever.
            tracing::warn!(task = %record.name, %failure, "left behind");
        }
        std::mem::take(&mut record.more).into_iter().for_each(|endpoint| shared.detach(endpoint));
        if let Some(endpoint) = record.endpoint.take() {
            shared.detach(endpoint);
        }
        record.state = TaskState::Stopped;
        record.exit_code = ending.code;
        record.stopped_at = Some(clock::now());
        record.stopped_reason = Some(record.ending_reason.take().unwrap_or(ending.reason));
        record.kill_at = None;
        if ending.by_policy {
            // The time of a start that failed is that of the one before.
            let ran = record.started_at.as_deref().filter(|_| ran).and_then(clock::since);
            restart::note_end(&mut record, ran.unwrap_or_default());
        }
        // A full disk keeps nobody waiting: the next start finds out anew.
        if let Err(error) = shared.write(&record) {
            tracing::error!(task = %record.name, %error, "the end could not be recorded");
        }
        // Before those who wait for the end are woken: they find it told.
        told::task(&shared, &record, "stopped");
        task.record.send_replace(record);
    });
    if let Err(error) = ended.await {
        tracing::error!(%error, "a task could not be ended");
    }
    if task.now().again.due {
        restart::schedule(agent.clone(), task.clone());
    }
}

/// Waits until a task has ended, and tells its exit status. One that removes itself is gone by then.
pub async fn wait(task: &Task) -> i32 {
    let mut changes = task.record.subscribe();
    let (code, auto_remove) = match changes.wait_for(TaskRecord::stopped).await {
        Ok(record) => (record.exit_code, record.request.auto_remove),
        Err(_) => (None, false),
    };
    if auto_remove {
        let mut removed = task.removed.subscribe();
        let _ = tokio::time::timeout(KILL_PATIENCE, removed.wait_for(|removed| *removed)).await;
    }
    code.unwrap_or(125)
}

/// Removes a task; a running one only by force.
///
/// # Errors
/// It runs.
pub async fn remove(agent: &Arc<Agent>, task: &Arc<Task>, force: bool) -> Result<(), ApiError> {
    let mode = task.now().mode();
    agent.metrics.operations.timed(Operation::Remove, mode, remove_now(agent, task, force)).await
}

async fn remove_now(agent: &Arc<Agent>, task: &Arc<Task>, force: bool) -> Result<(), ApiError> {
    let record = task.now();
    if !record.stopped() && record.state != TaskState::Pending {
        if !force {
            let text = format!(
                "cannot remove task {}: it is {}; stop it with \"netmode stop {}\" or use \"netmode rm -f {}\"",
                record.name, record.state, record.name, record.name
            );
            return Err(ApiError::new(Code::WrongState, text));
        }
        stop::kill_and_wait(agent, task).await?;
    }
    // Another may have removed it meanwhile, or the task itself (--rm): it is gone, as asked for.
    let Ok(_life) = alone(agent, task).await else { return Ok(()) };
    if !task.now().stopped() {
        end(agent, task, Ending::because("removed before it was started")).await;
    }
    remove_record(agent, task).await;
    Ok(())
}

async fn remove_record(agent: &Arc<Agent>, task: &Task) {
    let (shared, id) = (agent.clone(), task.now().id);
    let removed = blocking(move || {
        if let Err(failure) = shared.containers.remove(id) {
            tracing::warn!(task = %id, %failure, "left behind");
        }
        shared.store.remove(Kind::Task, &id.to_string())
    });
    match removed.await {
        Ok(Err(error)) => tracing::error!(task = %id, %error, "the record could not be removed"),
        Err(error) => tracing::error!(task = %id, %error, "the record could not be removed"),
        Ok(Ok(())) => {}
    }
    agent.tasks.forget(id);
    told::task(agent, &task.now(), "removed");
}
