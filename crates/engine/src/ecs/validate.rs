//! What a task definition may not say: the rules that ECS has when one is registered, in its words where they are known
//! (ECS API reference; texts as users report them), each with what to do about it.

use super::order;
use netmode_model::ecs::{ContainerDefinition, DockerVolume, PortMapping, TaskDefinition};
use netmode_model::{Mode, RequestedMode};
use std::collections::BTreeSet;

/// A definition that cannot be used. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

fn invalid<T>(text: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(text.into()))
}

/// Most port ranges of a container (ECS API reference, PortMapping).
const MOST_RANGES: usize = 100;

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
    ports_of_task(containers, mode)?;
    circles(containers)?;
    Ok(requested)
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
        port(c, mapping, mode)?;
    }
    if c.port_mappings.iter().filter(|p| p.container_port_range.is_some()).count() > MOST_RANGES {
        return invalid(format!("container '{}' has more than 100 port ranges", c.name));
    }
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

fn port(c: &ContainerDefinition, mapping: &PortMapping, mode: Mode) -> Result<(), Invalid> {
    if !matches!(mapping.protocol.as_deref(), None | Some("tcp" | "udp")) {
        let shown: String = mapping.protocol.clone().unwrap_or_default().chars().take(16).collect();
        return invalid(format!("Invalid 'protocol' setting {shown:?} for container '{}'. It is tcp or udp", c.name));
    }
    if let Some(range) = &mapping.container_port_range {
        return port_range(c, mapping, range, mode);
    }
    let Some(container) = mapping.container_port.filter(|p| (1..=65_535).contains(p)) else {
        return invalid(format!("Invalid 'containerPort' setting for container '{}'. It is from 1 to 65535", c.name));
    };
    if mapping.host_port.is_some_and(|p| !(0..=65_535).contains(&p)) {
        return invalid(format!("Invalid 'hostPort' setting for container '{}'. It is from 0 to 65535", c.name));
    }
    let word = match mode {
        Mode::Awsvpc => "awsvpc",
        Mode::Host => "host",
        _ => return Ok(()),
    };
    match mapping.host_port {
        Some(host) if host != container => invalid(format!(
            "When networkMode={word}, the host ports and container ports in port mappings must match. Container '{}' has {host} and {container}: leave hostPort out",
            c.name
        )),
        _ => Ok(()),
    }
}

fn port_range(c: &ContainerDefinition, mapping: &PortMapping, range: &str, mode: Mode) -> Result<(), Invalid> {
    if mapping.container_port.is_some() {
        return invalid(format!("cannot specify both single port and port range: container '{}'", c.name));
    }
    if mapping.host_port.is_some() {
        return invalid(format!("hostPort cannot be given with containerPortRange: container '{}'", c.name));
    }
    if !matches!(mode, Mode::Bridge | Mode::Awsvpc) {
        return invalid(format!(
            "containerPortRange is for the modes bridge and awsvpc: container '{}' has one",
            c.name
        ));
    }
    let ends = range.split_once('-').and_then(|(a, b)| Some((a.parse::<u16>().ok()?, b.parse::<u16>().ok()?)));
    match ends {
        Some((first, last)) if first > 0 && first < last => Ok(()),
        _ => invalid(format!(
            "Invalid 'containerPortRange' setting for container '{}'. Write FIRST-LAST from 1 to 65535, FIRST below LAST",
            c.name
        )),
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

/// The same host port and protocol stands once in a task; with an ENI, or on the host, a container's port is the host's.
fn ports_of_task(containers: &[ContainerDefinition], mode: Mode) -> Result<(), Invalid> {
    let mut taken: BTreeSet<(&str, i64)> = BTreeSet::new();
    for mapping in containers.iter().flat_map(|c| &c.port_mappings) {
        let own = matches!(mode, Mode::Awsvpc | Mode::Host).then_some(mapping.container_port).flatten();
        let Some(port) = own.or(mapping.host_port).filter(|p| *p != 0) else { continue };
        let protocol = mapping.protocol.as_deref().unwrap_or("tcp");
        if !taken.insert((protocol, port)) {
            let word = protocol.to_ascii_uppercase();
            return invalid(format!("{word} host port '{port}' is mapped multiple times in task."));
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
mod tests {
    use super::*;
    use netmode_model::ecs::read;
    use serde_json::{Value, json};

    fn told(mode: &str, container: Value) -> String {
        told_of(mode, json!([container]))
    }

    fn told_of(mode: &str, containers: Value) -> String {
        let mut containers = containers;
        for (n, container) in containers.as_array_mut().unwrap().iter_mut().enumerate() {
            let object = container.as_object_mut().unwrap();
            object.entry("name").or_insert_with(|| json!(["web", "app"][n]));
            object.entry("image").or_insert_with(|| json!("x"));
        }
        let value = json!({"family": "f", "networkMode": mode, "containerDefinitions": containers});
        match validate(&read(value, &[]).unwrap().definition) {
            Ok(_) => String::new(),
            Err(e) => e.to_string(),
        }
    }

    fn ports(all: Value) -> Value {
        json!({"portMappings": all})
    }

    #[test]
    fn what_a_mode_does_not_have_is_refused_in_the_words_of_ecs() {
        for (mode, container, text) in [
            (
                "awsvpc",
                ports(json!([{"containerPort": 80, "hostPort": 8080}])),
                "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
            ),
            (
                "host",
                ports(json!([{"containerPort": 80, "hostPort": 8080}])),
                "When networkMode=host, the host ports and container ports in port mappings must match.",
            ),
            ("none", ports(json!([{"containerPort": 80}])), "Port mappings are not supported when networkMode=none."),
            ("awsvpc", json!({"links": ["web"]}), "Links are not supported when networkMode=awsvpc."),
            ("awsvpc", json!({"hostname": "a"}), "hostname is not supported on container when networkMode=awsvpc."),
            (
                "awsvpc",
                json!({"dnsServers": ["10.0.0.2"]}),
                "DNS servers are not supported on container when networkMode=awsvpc.",
            ),
            (
                "awsvpc",
                json!({"extraHosts": [{"hostname": "a", "ipAddress": "10.0.0.9"}]}),
                "Extra hosts are not supported on container when networkMode=awsvpc.",
            ),
            (
                "awsvpc",
                json!({"disableNetworking": true}),
                "Disable Networking is not supported on container when networkMode=awsvpc.",
            ),
        ] {
            let told = told(mode, container);
            assert!(told.starts_with(text), "{told}");
        }
        for (mode, mapping) in [
            ("awsvpc", json!({"containerPort": 80})),
            ("awsvpc", json!({"containerPort": 80, "hostPort": 80})),
            ("host", json!({"containerPort": 80})),
        ] {
            assert_eq!(told(mode, ports(json!([mapping]))), "");
        }
    }

    #[test]
    fn ports_are_checked_across_the_task() {
        assert!(
            told("bridge", ports(json!([{"hostPort": 80}])))
                .starts_with("Invalid 'containerPort' setting for container 'web'.")
        );
        assert!(
            told("bridge", ports(json!([{"containerPort": 65536}]))).starts_with("Invalid 'containerPort' setting")
        );
        let both = ports(json!([{"containerPort": 80, "containerPortRange": "80-90"}]));
        assert!(told("bridge", both).starts_with("cannot specify both single port and port range"));
        let twice = json!([
            ports(json!([{"containerPort": 1, "hostPort": 3000}])),
            ports(json!([{"containerPort": 2, "hostPort": 3000}]))
        ]);
        assert_eq!(told_of("bridge", twice), "TCP host port '3000' is mapped multiple times in task.");
        let both_80 = json!([ports(json!([{"containerPort": 80}])), ports(json!([{"containerPort": 80}]))]);
        assert_eq!(told_of("awsvpc", both_80.clone()), "TCP host port '80' is mapped multiple times in task.");
        assert_eq!(told_of("bridge", both_80), "", "dynamic ports");
        let dns = ports(json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "udp"}]));
        assert_eq!(told("bridge", dns), "", "more than ECS takes");
    }

    #[test]
    fn circles_and_strangers_are_named() {
        let circle = json!([{"links": ["app"]}, {"links": ["web"]}]);
        assert_eq!(told_of("bridge", circle), "Container links should not have a cycle: web, app");
        let circle = json!([
            {"dependsOn": [{"containerName": "app", "condition": "START"}]},
            {"dependsOn": [{"containerName": "web", "condition": "START"}]},
        ]);
        assert_eq!(told_of("bridge", circle), "Container dependencies should not have a cycle: web, app");
        assert!(told("bridge", json!({"links": ["db"]})).starts_with("Link target not available: db"));
        assert!(told("bridge", json!({"links": ["a:b:c"]})).starts_with("Invalid link format"));
        assert!(
            told("bridge", json!({"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}))
                .starts_with("Unknown volume 'v'")
        );
        assert!(told("bridge", json!({"essential": false})).starts_with("At least one container"));
    }
}
