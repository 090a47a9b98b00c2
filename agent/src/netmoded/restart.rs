//! Restart policies, with docker's meaning (moby, `daemon/internal/restartmanager`).
//!
//! A container that ends is started again after 100 ms; each time that it ends within ten seconds the pause doubles,
//! up to a minute. Between the two the task is STOPPED and has given everything back, as after any end. Unlike
//! docker a start that fails (a port that somebody else has, say) is tried again, too: after a reboot what it needs
//! may be late.

use crate::agent::Agent;
use crate::events::{self, By};
use crate::life;
use crate::registry::Task;
use crate::task::TaskRecord;
use netmode_model::RestartPolicy;
use netmode_model::api::TaskState;
use std::sync::Arc;
use std::time::Duration;

/// The first pause; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);

/// A container that ran for so long has not failed at once: the pause is the first one again.
const SETTLED: Duration = Duration::from_secs(10);

/// Whether a task that has ended is to be started again while the agent runs.
fn wanted(record: &TaskRecord) -> bool {
    record.started_at.is_some()
        && !record.again.stopped_by_hand
        && match record.policy() {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { most } => {
                // An end that nobody saw, and a start that failed, have no status and are failures.
                record.exit_code != Some(0) && most.is_none_or(|most| record.again.count < most)
            }
        }
}

/// Whether a task that is ended is to be started with the agent: also `always` that was stopped by hand.
fn wanted_at_start(record: &TaskRecord) -> bool {
    record.again.due || wanted(record) || (record.policy() == RestartPolicy::Always && record.started_at.is_some())
}

/// Whether somebody looks after a task that is not running at the moment.
pub fn is_kept_up(record: &TaskRecord) -> bool {
    record.policy() != RestartPolicy::No && record.started_at.is_some() && !record.again.stopped_by_hand
}

/// Notes in the record of a task that has just ended whether it is to be started again.
pub fn note_end(record: &mut TaskRecord, ran: Duration) {
    record.again.due = wanted(record);
    if record.again.due {
        record.again.count = record.again.count.saturating_add(1);
        record.again.hasty = if ran >= SETTLED { 1 } else { record.again.hasty.saturating_add(1) };
    }
}

/// The pause before the start: of the first end in a row, the second, and so on.
fn pause(hasty: u32) -> Duration {
    PAUSE.saturating_mul(1 << hasty.saturating_sub(1).min(20)).min(LONGEST)
}

/// Starts a task again that is due, after its pause.
pub fn schedule(agent: Arc<Agent>, task: Arc<Task>) {
    let record = task.now();
    let pause = pause(record.again.hasty);
    tracing::info!(task = %record.name, count = record.again.count, ?pause, "is started again");
    tokio::spawn(events::scope(By::agent("restart policy"), async move {
        tokio::time::sleep(pause).await;
        life::start_again(&agent, &task, record.stopped_at.as_deref()).await;
    }));
}

/// Starts the tasks that are to run whenever the agent does. Those that share another's network come up when that one
/// does: their start is tried again until then.
pub fn all(agent: &Arc<Agent>) {
    for task in agent.tasks.all() {
        if task.now().state == TaskState::Pending && is_kept_up(&task.now()) {
            // Made anew and not started when the agent ended.
            let agent = agent.clone();
            events::spawn(async move { life::go_on(&agent, &task).await });
            continue;
        }
        if !task.now().stopped() || !wanted_at_start(&task.now()) {
            continue;
        }
        let noted = agent.update(&task, |r| {
            // One that was due when the agent ended has been counted.
            r.again.count = r.again.count.saturating_add(u32::from(!r.again.due));
            r.again.stopped_by_hand = false;
            r.again.due = true;
            r.again.hasty = 0;
        });
        match noted {
            Ok(_) => schedule(agent.clone(), task),
            Err(error) => tracing::error!(task = %task.now().name, %error, "is not started again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        let pauses = [0, 1, 2, 3, 9, 10, 11, 40].map(|n| pause(n).as_millis());
        assert_eq!(pauses, [100, 100, 200, 400, 25_600, 51_200, 60_000, 60_000]);
    }
}
