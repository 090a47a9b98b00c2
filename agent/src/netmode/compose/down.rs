//! `netmode compose down`.

use super::{networks, order, tasks, told};
use crate::failure::Failure;
use crate::output::Output;
use netmode_client::{Client, ClientError};
use netmode_model::Code;
use netmode_model::api::{StopRequest, TaskView};

/// Ends and removes the project's tasks, those that others depend on last, and then its networks.
///
/// # Errors
/// All is tried; every failure is told, the last one is returned.
pub(crate) fn down(client: &Client, project: &str, timeout: Option<u32>, output: Output) -> Result<(), Failure> {
    let mut failed: Option<Failure> = None;
    let mut note = |result: Result<(), Failure>, done: String| match result {
        Ok(()) => told(output, &done),
        Err(failure) => {
            if let Some(before) = failed.replace(failure) {
                before.print(output.json());
            }
        }
    };
    let all = backwards(tasks::of(client, project)?);
    for task in &all {
        note(remove(client, task, timeout), format!("service {}: {} removed", tasks::service(task), task.name));
    }
    let networks = networks::of(client, project)?;
    for name in &networks {
        note(gone(client.remove_network(name)), format!("network {name} removed"));
    }
    if all.is_empty() && networks.is_empty() {
        told(output, &format!("the project {project} has no task and no network"));
    }
    failed.map_or(Ok(()), Err)
}

/// Services that depend on others first.
pub(crate) fn backwards(mut tasks: Vec<TaskView>) -> Vec<TaskView> {
    let needs: Vec<_> = tasks.iter().map(|task| (tasks::service(task).to_owned(), tasks::needs(task))).collect();
    // Labels of somebody else's making may go round in a circle: then any order is as good.
    let order = order::order(&needs).unwrap_or_default();
    let place = |task: &TaskView| order.iter().position(|name| name == tasks::service(task));
    tasks.sort_by_key(|task| std::cmp::Reverse(place(task)));
    tasks
}

fn remove(client: &Client, task: &TaskView, timeout: Option<u32>) -> Result<(), Failure> {
    let id = task.id.to_string();
    if timeout.is_some() {
        match client.stop(&id, StopRequest { timeout }) {
            // One that has ended already needs no end.
            Err(ClientError::Api(error)) if error.code == Code::WrongState => {}
            stopped => gone(stopped)?,
        }
    }
    gone(client.remove(&id, true))
}

/// What is not there is removed.
fn gone(result: Result<(), ClientError>) -> Result<(), Failure> {
    match result {
        Err(ClientError::Api(error)) if error.code == Code::NotFound => Ok(()),
        other => Ok(other?),
    }
}
