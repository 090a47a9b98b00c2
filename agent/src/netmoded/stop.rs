//! The end of a task by hand: signals, patience, SIGKILL.

use crate::agent::{Agent, blocking};
use crate::clock;
use crate::events::{self, told};
use crate::life::{Ending, KILL_PATIENCE, alone, end, set, wait};
use crate::metrics::Operation;
use crate::registry::Task;
use netmode_model::api::TaskState;
use netmode_model::{ApiError, Code, Id, RestartPolicy};
use std::sync::Arc;
use std::time::Duration;

/// Seconds between SIGTERM and SIGKILL where nothing is said: Docker's.
const STOP_TIMEOUT: u32 = 10;

/// signal(7).
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Ends a task: SIGTERM, and SIGKILL after a while. Its restart policy does not start it again.
///
/// # Errors
/// The runtime failed.
pub async fn stop(agent: &Arc<Agent>, task: &Arc<Task>, timeout: Option<u32>) -> Result<(), ApiError> {
    let mode = task.now().mode();
    agent.metrics.operations.timed(Operation::Stop, mode, stop_now(agent, task, timeout)).await
}

async fn stop_now(agent: &Arc<Agent>, task: &Arc<Task>, timeout: Option<u32>) -> Result<(), ApiError> {
    let patience = Duration::from_secs(timeout.unwrap_or(STOP_TIMEOUT).into());
    {
        let _life = alone(agent, task).await?;
        match task.now().state {
            TaskState::Stopped => return stay_stopped(agent, task).await,
            TaskState::Pending => {
                stay_stopped(agent, task).await?;
                end(agent, task, Ending::because("stopped before it was started")).await;
                return Ok(());
            }
            // On disk before the signal: whatever becomes of this agent, the next one goes on with it.
            TaskState::Running | TaskState::Stopping => {
                let kill_at = clock::after(patience);
                task.asked_to_end();
                let stopping = set(agent, task, move |r| {
                    r.state = TaskState::Stopping;
                    r.again.stopped_by_hand = true;
                    r.kill_at = Some(kill_at);
                });
                told::task(agent, &stopping.await?, "stopping");
            }
        }
    }
    stop_within(agent, task, patience).await
}

async fn stop_within(agent: &Arc<Agent>, task: &Arc<Task>, patience: Duration) -> Result<(), ApiError> {
    send(agent, task.now().id, SIGTERM).await?;
    if tokio::time::timeout(patience, wait(task)).await.is_err() {
        kill_and_wait(agent, task).await?;
    }
    Ok(())
}

/// Goes on with what an agent had begun that has ended meanwhile: its stop, with what is left of its time.
///
/// SIGTERM is sent once more, since nobody knows whether that agent came to it.
pub fn go_on(agent: Arc<Agent>, task: Arc<Task>) {
    events::spawn(async move {
        let record = task.now();
        let longest = Duration::from_secs(STOP_TIMEOUT.into());
        let left = record.kill_at.as_deref().and_then(clock::until).unwrap_or(longest);
        if let Err(error) = stop_within(&agent, &task, left).await {
            tracing::error!(task = %record.name, %error, "could not be stopped");
        }
    });
}

/// What its restart policy would start again stays ended.
async fn stay_stopped(agent: &Arc<Agent>, task: &Arc<Task>) -> Result<(), ApiError> {
    if task.now().policy() == RestartPolicy::No {
        return Ok(());
    }
    let record = set(agent, task, |r| {
        r.again.stopped_by_hand = true;
        r.again.due = false;
    });
    record.await.map(drop)
}

/// What nothing can withstand; a process that still does hangs in the kernel.
///
/// # Errors
/// It does not end.
pub async fn kill_and_wait(agent: &Arc<Agent>, task: &Arc<Task>) -> Result<(), ApiError> {
    stay_stopped(agent, task).await?;
    task.asked_to_end();
    let record = task.now();
    send(agent, record.id, SIGKILL).await?;
    let text = format!(
        "task {} did not end after SIGKILL; its process hangs in the kernel, see \"ps -o stat,wchan\"",
        record.name
    );
    let ended = tokio::time::timeout(KILL_PATIENCE, wait(task)).await;
    ended.map(drop).map_err(|_| ApiError::new(Code::Runtime, text))
}

async fn send(agent: &Arc<Agent>, id: Id, signal: i32) -> Result<(), ApiError> {
    let shared = agent.clone();
    // One that has just ended has nobody to tell; the watch clears up behind it.
    blocking(move || shared.containers.kill(id, signal)).await?.or_else(|e| match e.code() {
        Code::WrongState => Ok(()),
        code => Err(ApiError::new(code, e.to_string())),
    })
}

/// Sends a signal. One that asks for the end (INT, QUIT, TERM, KILL) also keeps the restart policy from its work.
///
/// # Errors
/// The task does not run, or there is no such signal.
pub async fn kill(agent: &Arc<Agent>, task: &Arc<Task>, signal: String) -> Result<(), ApiError> {
    let record = task.now();
    if record.stopped() {
        let text = format!(
            "cannot signal task {}: it is {}; start it with \"netmode start {}\"",
            record.name, record.state, record.name
        );
        return Err(ApiError::new(Code::WrongState, text));
    }
    let number = netmode_container::signal(&signal)?;
    if [SIGINT, SIGQUIT, SIGTERM, SIGKILL].contains(&number) {
        stay_stopped(agent, task).await?;
        task.asked_to_end();
    }
    let shared = agent.clone();
    blocking(move || shared.containers.kill(record.id, number))
        .await?
        .map_err(|e| ApiError::new(e.code(), e.to_string()))
}
