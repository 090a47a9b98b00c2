//! What a task definition may not say: the rules that ECS has when one is registered, in its words where they are known
//! (ECS API reference; texts as users report them), each with what to do about it.

use super::order;
use netmode_model::ecs::{ContainerDefinition, DockerVolume, PortMapping, TaskDefinition};
use netmode_model::{Mode, RequestedMode};
use std::collections::{BTreeMap, BTreeSet};

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
    ports_of_task(containers, mode)?;
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
        port(c, mapping, mode)?;
    }
    ranges_of_container(c)?;
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
    match ends(range) {
        Some((first, last)) if first > 0 && first < last => Ok(()),
        _ => invalid(format!(
            "Invalid 'containerPortRange' setting for container '{}'. Write FIRST-LAST from 1 to 65535, FIRST below LAST",
            c.name
        )),
    }
}

/// The ends of a range of ports.
fn ends(range: &str) -> Option<(i64, i64)> {
    let (first, last) = range.split_once('-')?;
    Some((first.parse::<u16>().ok()?.into(), last.parse::<u16>().ok()?.into()))
}

fn protocol(mapping: &PortMapping) -> &str {
    mapping.protocol.as_deref().unwrap_or("tcp")
}

/// Ranges of ports of which none meets another, by protocol and first port.
#[derive(Debug, Default)]
struct Spans<'a>(BTreeMap<(&'a str, i64), i64>);

impl<'a> Spans<'a> {
    /// The first port that a range has in common with one that is here.
    fn meets(&self, protocol: &'a str, (first, last): (i64, i64)) -> Option<i64> {
        let below = self.0.range(..=(protocol, last)).next_back();
        let ((_, begin), _) = below.filter(|((p, _), end)| *p == protocol && **end >= first)?;
        Some(first.max(*begin))
    }

    /// Takes a range in, unless it meets another.
    fn take(&mut self, protocol: &'a str, span: (i64, i64)) -> Result<(), i64> {
        match self.meets(protocol, span) {
            Some(port) => Err(port),
            None => {
                self.0.insert((protocol, span.0), span.1);
                Ok(())
            }
        }
    }
}

/// A port that stands in a range stands nowhere else in its container (ECS API reference, PortMapping).
fn ranges_of_container(c: &ContainerDefinition) -> Result<(), Invalid> {
    let ranges = || c.port_mappings.iter().filter_map(|p| Some((protocol(p), ends(p.container_port_range.as_ref()?)?)));
    if ranges().count() > MOST_RANGES {
        return invalid(format!("container '{}' has more than 100 port ranges. Join some of them", c.name));
    }
    let mut spans = Spans::default();
    let singles = c.port_mappings.iter().filter_map(|p| Some((protocol(p), p.container_port?)));
    let met = ranges().find_map(|(protocol, span)| spans.take(protocol, span).err());
    match met.or_else(|| singles.into_iter().find_map(|(protocol, port)| spans.meets(protocol, (port, port)))) {
        Some(port) => invalid(format!(
            "port ranges of a container cannot overlap: container '{}' has port {port} twice. Take one of the two out",
            c.name
        )),
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

/// The same host port and protocol stands once in a task; with an ENI, or on the host, a container's port is the host's.
fn ports_of_task(containers: &[ContainerDefinition], mode: Mode) -> Result<(), Invalid> {
    let shared = matches!(mode, Mode::Awsvpc | Mode::Host);
    let mut taken = Spans::default();
    for mapping in containers.iter().flat_map(|c| &c.port_mappings) {
        let own = mapping.container_port_range.as_deref().and_then(ends);
        let own = own.or(mapping.container_port.map(|p| (p, p))).filter(|_| shared);
        let Some(span) = own.or(mapping.host_port.filter(|p| *p != 0).map(|p| (p, p))) else { continue };
        if let Err(port) = taken.take(protocol(mapping), span) {
            let word = protocol(mapping).to_ascii_uppercase();
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
        let ranged = |a: Value, b: Value| json!([ports(json!([a])), ports(json!([b]))]);
        let (range, within) = (json!({"containerPortRange": "80-90"}), json!({"containerPort": 85}));
        assert_eq!(
            told_of("awsvpc", ranged(range.clone(), within.clone())),
            "TCP host port '85' is mapped multiple times in task."
        );
        assert_eq!(told_of("bridge", ranged(range.clone(), within.clone())), "");
        for (one, other) in [(&range, &within), (&within, &range), (&range, &json!({"containerPortRange": "70-80"}))] {
            let told = told("bridge", ports(json!([one, other])));
            assert!(
                told.starts_with("port ranges of a container cannot overlap: container 'web' has port 8"),
                "{told}"
            );
        }
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
