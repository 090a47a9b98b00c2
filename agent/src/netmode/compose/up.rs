//! `netmode compose up`.

use super::args::UpArgs;
use super::project::Project;
use super::request::{self, Step, label};
use super::service::Service;
use super::{follow, networks, tasks, told};
use crate::failure::{self, Failure};
use crate::images;
use crate::output::Output;
use jiff::Timestamp;
use netmode_client::Client;
use netmode_model::api::{RunRequest, TaskState, TaskView};
use netmode_model::image::PullPolicy;

type Result<T> = std::result::Result<T, Failure>;

/// Makes the networks and starts the services, each behind those that it depends on; gives the exit status.
///
/// # Errors
/// The first network or service that cannot be brought up, with what stands.
pub(crate) fn up(client: &Client, project: &Project, args: &UpArgs, output: Output) -> Result<u8> {
    let begun = Timestamp::now();
    let all = project.services.iter();
    let requests = all.map(|service| Ok((service, request::task(project, service)?))).collect::<Result<Vec<_>>>()?;
    let there = tasks::of(client, &project.name)?;
    orphans(client, project, &there, args, output)?;
    networks::ensure(client, project, output)?;
    for (service, request) in &requests {
        let old = there.iter().find(|task| tasks::service(task) == service.name);
        bring(client, service, request, old, args.force_recreate, output)
            .map_err(|failure| half_up(client, &failure, service, project))?;
    }
    let now = || -> Result<Vec<TaskView>> {
        let mut now = tasks::of(client, &project.name)?;
        now.retain(|task| requests.iter().any(|(service, _)| service.name == tasks::service(task)));
        Ok(now)
    };
    if args.detach {
        if output.structured() {
            output.data(&now()?)?;
        }
        return Ok(0);
    }
    follow::until_the_end(client, project, &now()?, begun, output)
}

/// Does what is to be done about one service.
fn bring(
    client: &Client,
    service: &Service,
    request: &RunRequest,
    old: Option<&TaskView>,
    force: bool,
    output: Output,
) -> Result<()> {
    let same = old.is_some_and(|task| task.labels.get(label::HASH) == request.container.labels.get(label::HASH));
    let step = request::step(old.map(|task| (task.state, task.restarting)), same, force);
    let tell = |name: &str, what: &str| told(output, &format!("service {}: {name} {what}", service.name));
    if let (Step::Keep, Some(task)) = (step, old) {
        tell(task.name.as_str(), "runs already");
        return Ok(());
    }
    if let (Step::Start, Some(task)) = (step, old) {
        client.start(&task.id.to_string())?;
        tell(task.name.as_str(), "started again");
        return Ok(());
    }
    if let Some(task) = old {
        client.remove(&task.id.to_string(), true)?;
    }
    let created = images::create(client, request, PullPolicy::Missing, true, output.quiet);
    let created = created.map_err(|failure| match old {
        Some(task) => Failure::new(failure.code, format!("{} (the old {} is removed)", failure.message, task.name)),
        None => failure,
    })?;
    created.warnings.iter().for_each(|warning| failure::warn(&format!("service {}: {warning}", service.name)));
    let what = match step {
        Step::Replace if same => "replaced",
        Step::Replace => "replaced: the file has changed",
        _ => "started",
    };
    tell(created.name.as_str(), what);
    Ok(())
}

/// What the caller is told when a service cannot be started: which, why, and what stands.
fn half_up(client: &Client, failure: &Failure, service: &Service, project: &Project) -> Failure {
    let name = &project.name;
    // Where the agent has gone nothing can be said of what stands; the failure says that it has.
    let networks = networks::of(client, name).unwrap_or_default().into_iter().map(|name| format!("network {name}"));
    let running = tasks::of(client, name).unwrap_or_default().into_iter().filter(|t| t.state == TaskState::Running);
    let services = running.map(|task| format!("service {}", tasks::service(&task)));
    let standing: Vec<String> = networks.chain(services).collect();
    let text = format!(
        "service {} was not started: {}; still up: {}; run up again when that is mended, or \"netmode compose -p {name} down\"",
        service.name,
        failure.message,
        if standing.is_empty() { "nothing".into() } else { standing.join(", ") },
    );
    Failure::new(failure.code, text)
}

/// Tasks of services that the file does not have: told, or removed if that was asked for.
fn orphans(client: &Client, project: &Project, there: &[TaskView], args: &UpArgs, output: Output) -> Result<()> {
    let is_known = |task: &&TaskView| project.known.iter().any(|name| name == tasks::service(task));
    for task in there.iter().filter(|task| !is_known(task)) {
        if args.remove_orphans {
            client.remove(&task.id.to_string(), true)?;
            told(output, &format!("service {}: {} removed", tasks::service(task), task.name));
        } else {
            failure::warn(&format!(
                "{} belongs to the service {}, which the file does not have; --remove-orphans removes it",
                task.name,
                tasks::service(task)
            ));
        }
    }
    Ok(())
}
