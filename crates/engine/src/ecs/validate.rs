//! What a task definition may not say: the rules that ECS has when one is registered, in its words where they are known
//! (ECS API reference; texts as users report them), each with what to do about it.

mod ports;

use super::order;
use netmode_model::ecs::{ContainerDefinition, DockerVolume, TaskDefinition};
use netmode_model::{Mode, RequestedMode};
use std::collections::BTreeSet;

/// A definition that cannot be used. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

fn invalid<T>(text: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(text.into()))
}

/// The mode of a definition; bridge where it names none.
///
/// # Errors
/// A word that is no mode.
pub fn mode(definition: &TaskDefinition) -> Result<RequestedMode, Invalid> {
    match definition.network_mode.as_deref() {
        None => Ok(RequestedMode::Default),
        Some(word) => word.parse().map_err(|e: netmode_model::mode::UnknownMode| Invalid(format!("networkMode: {e}"))),
    }
}

/// Checks a definition.
///
/// # Errors
/// The first rule that it breaks.
pub fn validate(definition: &TaskDefinition) -> Result<RequestedMode, Invalid> {
    let requested = mode(definition)?;
    let mode = requested.effective();
    named("Family", &definition.family)?;
    let containers = &definition.container_definitions;
    if containers.is_empty() {
        return invalid("Container list cannot be empty. Name at least one in containerDefinitions");
    }
    if definition.requires_compatibilities.iter().any(|c| c == "FARGATE") && mode != Mode::Awsvpc {
        return invalid("Fargate only supports network mode 'awsvpc'. Set networkMode, or leave FARGATE out");
    }
    shared(definition)?;
    let mut names = BTreeSet::new();
    for container in containers {
        named("Container name", &container.name)?;
        if !names.insert(container.name.as_str()) {
            return invalid(format!("Container names must be unique: '{}' stands twice", container.name));
        }
        one(container, mode)?;
    }
    if !containers.iter().any(ContainerDefinition::is_essential) {
        return invalid(
            "At least one container of a task definition must be essential. Leave \"essential\" out of one",
        );
    }
    for volume in &definition.volumes {
        named("Volume name", &volume.name)?;
        if let Some(docker) = &volume.docker_volume_configuration {
            docker_volume(&volume.name, docker)?;
        }
    }
    for container in containers {
        references(container, definition, &names)?;
    }
    ports::ports_of_task(containers, mode)?;
    circles(containers)?;
    Ok(requested)
}

/// What an instance of EC2 wants to know besides, where ECS is followed strictly (ECS API reference,
/// `ContainerDefinition.memory`).
///
/// # Errors
/// A container whose memory nobody knows.
pub fn validate_strictly(definition: &TaskDefinition) -> Result<(), Invalid> {
    let unknown = |c: &&ContainerDefinition| c.memory.is_none() && c.memory_reservation.is_none();
    match definition.container_definitions.iter().find(unknown).filter(|_| definition.memory.is_none()) {
        Some(c) => invalid(format!(
            "Invalid setting for container '{}'. At least one of 'memory' or 'memoryReservation' must be specified.",
            c.name
        )),
        None => Ok(()),
    }
}

/// What containers share besides their network (ECS API reference, RegisterTaskDefinition).
fn shared(definition: &TaskDefinition) -> Result<(), Invalid> {
    let fargate = definition.requires_compatibilities.iter().any(|c| c == "FARGATE");
    let wrong = |word: &Option<String>, all: &[&str]| word.as_deref().is_some_and(|w| !all.contains(&w));
    if wrong(&definition.pid_mode, &["host", "task"]) {
        return invalid("Invalid 'pidMode' setting. It is host or task; leave it out, and each container has its own");
    }
    if wrong(&definition.ipc_mode, &["host", "task", "none"]) {
        return invalid(
            "Invalid 'ipcMode' setting. It is host, task or none; leave it out, and each container has its own",
        );
    }
    if fargate && (definition.pid_mode.as_deref() == Some("host") || definition.ipc_mode.is_some()) {
        return invalid("Fargate supports neither pidMode 'host' nor ipcMode. Take them out, or leave FARGATE out");
    }
    Ok(())
}

fn named(what: &str, name: &str) -> Result<(), Invalid> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    match name {
        "" => invalid(format!("{what} should not be null or empty.")),
        name if name.len() <= 255 && name.bytes().all(plain) => Ok(()),
        name => {
            let shown: String = name.chars().take(64).collect();
            invalid(format!("{what} contains invalid characters: {shown:?}. Use up to 255 of A-Z a-z 0-9 - _"))
        }
    }
}

fn one(c: &ContainerDefinition, mode: Mode) -> Result<(), Invalid> {
    let empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    match (empty(&c.image), empty(&c.root_directory)) {
        (true, true) => return invalid(format!("Container.image should not be null or empty: container '{}'", c.name)),
        (false, false) => {
            return invalid(format!("container '{}' has both image and rootDirectory; leave one out", c.name));
        }
        _ => {}
    }
    mode_of_container(c, mode)?;
    for mapping in &c.port_mappings {
        ports::port(c, mapping, mode)?;
    }
    ports::ranges_of_container(c)?;
    health(c)?;
    for link in &c.links {
        if link.split(':').count() > 2 || link.split(':').any(str::is_empty) {
            return invalid(format!(
                "Invalid link format: {link:?} of container '{}'. Write NAME or NAME:ALIAS",
                c.name
            ));
        }
    }
    Ok(())
}

/// Of docker's volumes the plain ones of the driver `local`.
fn docker_volume(name: &str, docker: &DockerVolume) -> Result<(), Invalid> {
    let scope = docker.scope.as_deref().unwrap_or("task");
    if !matches!(scope, "task" | "shared") {
        return invalid(format!("Volume '{name}': the scope is task or shared"));
    }
    if docker.driver.as_deref().is_some_and(|d| d != "local") || !docker.driver_opts.is_empty() {
        return invalid(format!(
            "Volume '{name}': the driver is local, without options; --ignore driverOpts leaves them out"
        ));
    }
    Ok(())
}

/// What a mode does not have.
fn mode_of_container(c: &ContainerDefinition, mode: Mode) -> Result<(), Invalid> {
    let of_eni = [
        (!c.links.is_empty(), "Links are not supported when networkMode=awsvpc."),
        (c.hostname.is_some(), "hostname is not supported on container when networkMode=awsvpc."),
        (!c.dns_servers.is_empty(), "DNS servers are not supported on container when networkMode=awsvpc."),
        (
            !c.dns_search_domains.is_empty(),
            "DNS search domains are not supported on container when networkMode=awsvpc.",
        ),
        (!c.extra_hosts.is_empty(), "Extra hosts are not supported on container when networkMode=awsvpc."),
        (
            c.disable_networking == Some(true),
            "Disable Networking is not supported on container when networkMode=awsvpc.",
        ),
    ];
    let broken = match mode {
        Mode::Awsvpc => of_eni.into_iter().find(|(given, _)| *given).map(|(_, text)| text),
        Mode::Host if !c.links.is_empty() => Some("Links are not supported when networkMode=host."),
        Mode::None if !c.port_mappings.is_empty() => Some("Port mappings are not supported when networkMode=none."),
        Mode::None if !c.links.is_empty() => Some("Links are not supported when networkMode=none."),
        _ => None,
    };
    match broken {
        Some(text) => invalid(format!("{text} Container '{}' has it: take it out, or choose another mode", c.name)),
        None => Ok(()),
    }
}

fn health(c: &ContainerDefinition) -> Result<(), Invalid> {
    let Some(check) = &c.health_check else { return Ok(()) };
    let kind = check.command.first().map(String::as_str);
    let whole = match kind {
        Some("NONE") => check.command.len() == 1,
        Some("CMD") => check.command.len() > 1,
        Some("CMD-SHELL") => check.command.len() == 2,
        _ => false,
    };
    if !whole {
        return invalid(format!(
            "healthCheck of container '{}': the command is [\"CMD\", WORDS…] or [\"CMD-SHELL\", LINE]",
            c.name
        ));
    }
    let bounds = [
        ("interval", check.interval, 5, 300),
        ("timeout", check.timeout, 2, 60),
        ("retries", check.retries, 1, 10),
        ("startPeriod", check.start_period, 0, 300),
    ];
    match bounds.into_iter().find(|(_, value, least, most)| value.is_some_and(|v| !(*least..=*most).contains(&v))) {
        Some((name, _, least, most)) => {
            invalid(format!("healthCheck of container '{}': {name} is from {least} to {most}", c.name))
        }
        None => Ok(()),
    }
}

/// What a container names has to be there.
fn references(c: &ContainerDefinition, definition: &TaskDefinition, names: &BTreeSet<&str>) -> Result<(), Invalid> {
    for link in &c.links {
        let target = link.split(':').next().unwrap_or(link);
        if !names.contains(target) {
            return invalid(format!("Link target not available: {target}. Container '{}' links to it", c.name));
        }
    }
    for dependency in &c.depends_on {
        let Some(other) = definition.container_definitions.iter().find(|o| o.name == dependency.container_name) else {
            return invalid(format!(
                "container '{}' depends on container '{}', which is not in the task definition",
                c.name, dependency.container_name
            ));
        };
        use netmode_model::ecs::Condition::{Complete, Healthy, Success};
        if dependency.condition == Healthy && other.health_check.is_none() {
            return invalid(format!(
                "container '{}' depends on '{}' being HEALTHY, which has no healthCheck",
                c.name, other.name
            ));
        }
        if matches!(dependency.condition, Complete | Success) && other.is_essential() {
            return invalid(format!(
                "container '{}' depends on the end of '{}', which is essential: the task would end with it. Set its \"essential\" to false",
                c.name, other.name
            ));
        }
    }
    for mount in &c.mount_points {
        if !definition.volumes.iter().any(|v| v.name == mount.source_volume) {
            return invalid(format!("Unknown volume '{}'. Container '{}' mounts it", mount.source_volume, c.name));
        }
    }
    for from in &c.volumes_from {
        if !names.contains(from.source_container.as_str()) {
            return invalid(format!(
                "Unknown container '{}' in volumesFrom of container '{}'",
                from.source_container, c.name
            ));
        }
    }
    Ok(())
}

fn circles(containers: &[ContainerDefinition]) -> Result<(), Invalid> {
    let links_only: Vec<ContainerDefinition> = containers
        .iter()
        .map(|c| ContainerDefinition { name: c.name.clone(), links: c.links.clone(), ..Default::default() })
        .collect();
    if let Err(circle) = order::sorted(&links_only) {
        return invalid(format!("Container links should not have a cycle: {}", circle.join(", ")));
    }
    match order::sorted(containers) {
        Err(circle) => invalid(format!("Container dependencies should not have a cycle: {}", circle.join(", "))),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
