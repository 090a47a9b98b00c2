//! `netmode task`, `service` and `instance`.

use crate::args::{Format, Global};
use crate::ecs_args::{InstanceCommand, ServiceCommand, TaskCommand, TaskRunArgs};
use crate::failure::{self, Failure};
use crate::images;
use crate::network::each;
use crate::output::{Output, print};
use crate::request::some;
use netmode_client::Client;
use netmode_model::Code;
use netmode_model::ecs::{
    EcsTaskView, Profile, ProfileRequest, RunTaskReply, RunTaskRequest, ServiceRequest, StopTaskRequest, TaskStatus,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

type Result<T> = std::result::Result<T, Failure>;

/// Largest task definition, in bytes: what the agent takes as the body of a request, with room for the rest of it.
const LARGEST: u64 = 1000 << 10;

/// The id within an ARN.
fn id(task: &EcsTaskView) -> &str {
    task.task_arn.rsplit('/').next().unwrap_or(&task.task_arn)
}

/// `netmode task …`.
pub(crate) fn task(client: &Client, command: &TaskCommand, global: &Global) -> Result<()> {
    let (listed, shown) = (Output::of(global, Format::Table), Output::of(global, Format::Json));
    match command {
        TaskCommand::Run(args) => run(client, args, listed),
        TaskCommand::Ls { all } => {
            let tasks = client.ecs_tasks()?;
            let tasks: Vec<_> = tasks.into_iter().filter(|t| *all || t.last_status != TaskStatus::Stopped).collect();
            if listed.quiet {
                return tasks.iter().try_for_each(|t| print(&format!("{}\n", id(t))));
            }
            let headings = ["TASK", "DEFINITION", "GROUP", "MODE", "STATUS", "HEALTH", "ADDRESS", "REASON"];
            listed.listing(&tasks, &headings, || tasks.iter().map(row).collect())
        }
        TaskCommand::Show { tasks } => {
            let all = tasks.iter().map(|task| Ok(client.ecs_task(some("task", task)?)?)).collect::<Result<Vec<_>>>()?;
            shown.data(&json!({"tasks": all, "failures": []}))
        }
        TaskCommand::Stop { reason, tasks } => {
            let request = StopTaskRequest { reason: reason.clone() };
            each(tasks, |task| Ok(client.stop_ecs_task(some("task", task)?, &request).map(drop)?))
        }
        TaskCommand::Rm { tasks } => each(tasks, |task| Ok(client.remove_ecs_task(some("task", task)?)?)),
    }
}

fn row(task: &EcsTaskView) -> Vec<String> {
    let details = task.attachments.iter().flat_map(|a| &a.details);
    let address = details.filter(|d| d.name == "privateIPv4Address").map(|d| d.value.clone()).next();
    vec![
        id(task)[..12].to_owned(),
        task.task_definition_arn.rsplit('/').next().unwrap_or_default().to_owned(),
        task.group.clone(),
        task.network_mode.clone(),
        task.last_status.to_string(),
        format!("{:?}", task.health_status).to_uppercase(),
        address.unwrap_or_default(),
        task.stopped_reason.clone().unwrap_or_default(),
    ]
}

fn run(client: &Client, args: &TaskRunArgs, output: Output) -> Result<()> {
    let request = request(args)?;
    let reply = with_images(client, &request, || Ok(client.run_tasks(&request)?))?;
    tell(&reply, output)?;
    match reply.failures.first() {
        // One that was not placed is a failure of the command.
        Some(first) => {
            let detail = first.detail.clone().unwrap_or_default();
            Err(Failure::new(Code::ResourceEni, format!("a task could not be placed: {} ({detail})", first.reason)))
        }
        None => Ok(()),
    }
}

fn tell(reply: &RunTaskReply, output: Output) -> Result<()> {
    if output.structured() {
        return output.data(reply);
    }
    reply.notes.iter().for_each(|note| failure::warn(note));
    reply.tasks.iter().try_for_each(|task| print(&format!("{}\n", id(task))))
}

/// Images that are not here are fetched, as the calling user, and it is tried again.
fn with_images<T>(client: &Client, request: &RunTaskRequest, work: impl Fn() -> Result<T>) -> Result<T> {
    match work() {
        Err(refused) if refused.code == Code::NoSuchImage => {
            let definition = request.definition.get("taskDefinition").unwrap_or(&request.definition);
            let containers = definition["containerDefinitions"].as_array().cloned().unwrap_or_default();
            for image in containers.iter().filter_map(|c| c["image"].as_str()) {
                images::ensure(client, image)?;
            }
            work()
        }
        other => other,
    }
}

fn request(args: &TaskRunArgs) -> Result<RunTaskRequest> {
    Ok(RunTaskRequest {
        definition: definition(&args.file)?,
        ignore: args.ignore.clone(),
        count: args.count,
        subnets: args.eni.subnet.clone(),
        security_groups: args.eni.security_group.clone(),
        sg_best_effort: args.eni.sg_best_effort,
        strict_ecs: args.eni.strict_ecs,
        assign_public_ip: args.assign_public_ip,
        secrets: secrets(args)?,
    })
}

fn text(path: &Path) -> Result<String> {
    let failed = |e: std::io::Error| Failure::new(Code::NoSuchPath, format!("cannot read {}: {e}", path.display()));
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().take(LARGEST + 1).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|f| f.take(LARGEST + 1).read_to_string(&mut text)),
    };
    read.map_err(failed)?;
    if text.len() as u64 > LARGEST {
        let text = format!(
            "{} is larger than {LARGEST} bytes, which no task definition is; give another file",
            path.display()
        );
        return Err(Failure::new(Code::TooLarge, text));
    }
    Ok(text)
}

fn definition(path: &Path) -> Result<Value> {
    let text = text(path)?;
    serde_json::from_str(&text).map_err(|e| {
        let place = format!("{} line {} column {}", path.display(), e.line(), e.column());
        Failure::invalid(format!("{place}: this is not well-formed JSON: {e}"))
    })
}

fn secrets(args: &TaskRunArgs) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    // Never repeated in an error: it may be the value that came first.
    let bad = |place: &str| Failure::invalid(format!("{place}: write NAME=VALUE"));
    if let Some(file) = &args.secrets_file {
        for (n, line) in text(file)?.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#')) {
            let pair = line.split_once('=').ok_or_else(|| bad(&format!("{} line {}", file.display(), n + 1)))?;
            all.insert(pair.0.to_owned(), pair.1.to_owned());
        }
    }
    for given in &args.secret {
        let pair = given.split_once('=').ok_or_else(|| bad("--secret"))?;
        all.insert(pair.0.to_owned(), pair.1.to_owned());
    }
    Ok(all)
}

/// `netmode service …`.
pub(crate) fn service(client: &Client, command: &ServiceCommand, global: &Global) -> Result<()> {
    let (listed, shown) = (Output::of(global, Format::Table), Output::of(global, Format::Json));
    match command {
        ServiceCommand::Create { desired_count, task, name } => {
            let wanted =
                ServiceRequest { service_name: name.clone(), task: request(task)?, desired_count: *desired_count };
            let made = with_images(client, &wanted.task, || Ok(client.create_service(&wanted)?))?;
            if listed.structured() { shown.data(&made) } else { print(&format!("{}\n", made.service_name)) }
        }
        ServiceCommand::Update { desired_count, name } => {
            let wanted = ServiceRequest { desired_count: Some(*desired_count), ..ServiceRequest::default() };
            let changed = client.update_service(some("service", name)?, &wanted)?;
            if listed.structured() { shown.data(&changed) } else { print(&format!("{}\n", changed.service_name)) }
        }
        ServiceCommand::Ls => {
            let all = client.services()?;
            let row = |s: &netmode_model::ecs::ServiceView| {
                let numbers = [s.desired_count, s.running_count, s.pending_count].map(|n| n.to_string());
                [vec![s.service_name.clone()], numbers.to_vec()].concat()
            };
            listed.listing(&all, &["SERVICE", "DESIRED", "RUNNING", "PENDING"], || all.iter().map(row).collect())
        }
        ServiceCommand::Show { services } => {
            let all = services.iter().map(|name| Ok(client.service(some("service", name)?)?));
            shown.data(&all.collect::<Result<Vec<_>>>()?)
        }
        ServiceCommand::Rm { services } => each(services, |name| Ok(client.remove_service(some("service", name)?)?)),
    }
}

/// `netmode instance …`.
pub(crate) fn instance(client: &Client, command: &InstanceCommand, global: &Global) -> Result<()> {
    let shown = Output::of(global, Format::Json);
    match command {
        InstanceCommand::Show => shown.data(&client.instance()?),
        InstanceCommand::SetProfile { trunking, instance_type, subnet } => {
            let profile = (instance_type != "none").then(|| Profile {
                instance_type: instance_type.clone(),
                trunking: *trunking,
                subnet: subnet.clone(),
            });
            shown.data(&client.set_profile(&ProfileRequest { profile })?)
        }
    }
}

/// The container of a task that a reference and `-c` name, as `logs` and `exec` know it.
pub(crate) fn container(client: &Client, task: &str, container: Option<&str>) -> Result<Option<String>> {
    let found = match client.ecs_task(task) {
        Ok(found) => found,
        Err(error) if container.is_none() && error.code() == Code::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let names: Vec<&str> = found.containers.iter().map(|c| c.name.as_str()).collect();
    let one = match (container, &found.containers[..]) {
        (Some(name), all) => all.iter().find(|c| c.name == name),
        (None, [one]) => Some(one),
        (None, _) => None,
    };
    let text = || format!("task {} has the containers {}: name one with -c", id(&found), names.join(", "));
    one.map(|c| Some(c.runtime_name.clone())).ok_or_else(|| Failure::invalid(text()))
}
