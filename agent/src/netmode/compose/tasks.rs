//! The tasks of a project, known by their labels.

use super::request::label;
use crate::failure::Failure;
use netmode_client::Client;
use netmode_model::api::TaskView;

/// Every task of the project, stopped ones too, by service.
///
/// # Errors
/// The agent cannot be asked.
pub(crate) fn of(client: &Client, project: &str) -> Result<Vec<TaskView>, Failure> {
    let mut tasks = client.tasks(true)?;
    tasks.retain(|task| task.labels.get(label::PROJECT).is_some_and(|name| name == project));
    tasks.sort_by(|a, b| (service(a), &a.name).cmp(&(service(b), &b.name)));
    Ok(tasks)
}

/// The service that a task belongs to.
pub(crate) fn service(task: &TaskView) -> &str {
    task.labels.get(label::SERVICE).map(String::as_str).unwrap_or_default()
}

/// The services that its service depends on.
pub(crate) fn needs(task: &TaskView) -> Vec<String> {
    let text = task.labels.get(label::DEPENDS_ON).map(String::as_str).unwrap_or_default();
    text.split(',').filter_map(|part| part.split(':').next()).filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

/// Keeps the tasks of these services; all where none is named.
///
/// # Errors
/// A service that has no task.
pub(crate) fn narrow(tasks: &mut Vec<TaskView>, project: &str, services: &[String]) -> Result<(), Failure> {
    let known: Vec<&str> = tasks.iter().map(service).collect();
    if let Some(unknown) = services.iter().find(|name| !known.contains(&name.as_str())) {
        let text = format!("the service {unknown:?} of {project} has no task; \"netmode compose ps -a\" lists them");
        return Err(Failure::new(netmode_model::Code::NotFound, text));
    }
    tasks.retain(|task| services.is_empty() || services.iter().any(|name| name == service(task)));
    Ok(())
}
