//! Health checks: a command in the container, again and again (ECS API reference, HealthCheck).

use super::record::{EcsTask, Stage};
use super::stop;
use crate::agent::{Agent, blocking};
use crate::registry::Task;
use netmode_engine::ecs::compose::{self, Check};
use netmode_model::api::ExecRequest;
use netmode_model::ecs::{Health, HealthCheck, StopCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Checks a container while it runs.
pub fn watch(
    agent: Arc<Agent>,
    task: Arc<EcsTask>,
    container: String,
    running: Arc<Task>,
    check: Option<HealthCheck>,
) -> JoinHandle<()> {
    let check = check.as_ref().and_then(compose::check);
    tokio::spawn(async move {
        let Some(check) = check else { return };
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            tokio::time::sleep(Duration::from_secs(check.interval.into())).await;
            let well = passes(&agent, &running, &check).await;
            let early = begun.elapsed() < Duration::from_secs(check.start_period.into());
            failures = if well || early { 0 } else { failures + 1 };
            let health = match well {
                true => Health::Healthy,
                false if failures >= check.retries => Health::Unhealthy,
                false => continue,
            };
            if task.now().member(&container).is_some_and(|m| m.health == health) {
                continue;
            }
            let name = container.clone();
            let record = task.set(&agent, move |r| {
                if let Some(m) = r.members.iter_mut().find(|m| m.container == name && m.stage == Stage::Started) {
                    m.health = health;
                }
            });
            let record = record.await;
            let own = record.definition.container_definitions.iter().find(|c| c.name == container);
            // As ECS: a task with an unhealthy essential container ends.
            if health == Health::Unhealthy && own.is_some_and(|c| c.is_essential()) {
                let reason = format!("Task failed container health checks: container '{container}'");
                stop::because(&agent, &task, Some(StopCode::EssentialContainerExited), reason).await;
                return;
            }
        }
    })
}

async fn passes(agent: &Agent, running: &Task, check: &Check) -> bool {
    let request = ExecRequest { command: check.command.clone(), ..ExecRequest::default() };
    // Not within its time: a command whose start nobody waits for is one that nobody ends. The runtime has a limit.
    let Ok(execution) = agent.containers.exec(running.now().id, &request).await else { return false };
    let killer = execution.killer();
    let (_input, mut output, end) = execution.split();
    let run = async {
        while let Ok(Some(_)) = output.next().await {}
        end.await.ok()
    };
    match tokio::time::timeout(Duration::from_secs(check.timeout.into()), run).await {
        Ok(code) => code == Some(0),
        Err(_) => {
            let _ = blocking(move || killer.kill()).await;
            false
        }
    }
}
