//! What each container of a definition is on this machine: the request that a container of `netmode run` would be.

use crate::modes;
use netmode_model::api::{ContainerSpec, NetOptions};
use netmode_model::ecs::{ContainerDefinition, HealthCheck, MountPoint, PortMapping, TaskDefinition};
use netmode_model::{Mode, Name, PortSpec};
use std::collections::BTreeMap;

use super::validate::Invalid;

/// Seconds between SIGTERM and SIGKILL where a definition says nothing: ECS'.
pub const STOP_TIMEOUT: u32 = 30;

/// The weight of a container that says nothing of CPUs: the kernel's least (ECS API reference, ContainerDefinition).
const LEAST_SHARES: u64 = 2;

/// The kernel's greatest weight.
const MOST_SHARES: u64 = 262_144;

/// Bytes of a number of MiB.
pub fn bytes(mebibytes: u32) -> i64 {
    i64::from(mebibytes) << 20
}

/// A container as it is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name within the task.
    pub container: String,
    /// What it is called on this host.
    pub name: Name,
    /// What runs.
    pub spec: ContainerSpec,
    /// Its network, where it has one of its own.
    pub net: NetOptions,
    /// It has no network, whatever the task has.
    pub alone: bool,
    /// Names of its secrets, each with what their value goes by.
    pub secrets: Vec<(String, String)>,
}

/// A task as it is made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Composed {
    /// Its containers, in the order of the definition.
    pub members: Vec<Member>,
    /// What was mapped, a line each.
    pub notes: Vec<String>,
}

/// What the caller has chosen for a task.
#[derive(Debug, Clone)]
pub struct Chosen<'a> {
    /// The mode in effect.
    pub mode: Mode,
    /// Its number within the family.
    pub revision: u32,
    /// 20 hex digits for the name of each container, in their order.
    pub digits: &'a [String],
    /// Directories of the host for the volumes, by name.
    pub volumes: &'a BTreeMap<String, String>,
    /// Labels that every container gets.
    pub labels: &'a BTreeMap<String, String>,
}

/// What a container is called on its host: `ecs-FAMILY-REVISION-NAME-HEX`, as the ECS agent has it (`createContainer`):
/// of the name only letters, digits and `-`.
pub fn runtime_name(family: &str, revision: u32, container: &str, digits: &str) -> Option<Name> {
    let plain: String = container.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let whole = format!("ecs-{family}-{revision}-{plain}-{digits}");
    // ECS takes longer ones than a name here may be; the digits alone tell two apart.
    let cut = whole.len().saturating_sub(netmode_model::name::MAX_NAME);
    let head = &whole[..whole.len() - digits.len() - 1 - cut];
    format!("{head}-{digits}").parse().ok()
}

/// The containers of a definition that was [validated](super::validate::validate).
///
/// # Errors
/// What only becomes clear here: a name that cannot be.
pub fn compose(definition: &TaskDefinition, chosen: &Chosen<'_>) -> Result<Composed, Invalid> {
    let mut composed = Composed::default();
    let mut names = BTreeMap::new();
    for (container, digits) in definition.container_definitions.iter().zip(chosen.digits) {
        let name = runtime_name(&definition.family, chosen.revision, &container.name, digits);
        let name = name.ok_or_else(|| Invalid(format!("container '{}' has no name on this host", container.name)))?;
        names.insert(container.name.clone(), name);
    }
    for container in &definition.container_definitions {
        let Some(name) = names.get(&container.name).cloned() else { continue };
        let spec = spec(definition, container, chosen, &mut composed.notes)?;
        let shared = modes::needs(chosen.mode).eni;
        let net = if shared { NetOptions::default() } else { net(container, &names, chosen.mode)? };
        composed.members.push(Member {
            container: container.name.clone(),
            name,
            spec,
            net: NetOptions { sysctls: sysctls(container), ..net },
            alone: container.disable_networking == Some(true),
            secrets: container.secrets.iter().map(|s| (s.name.clone(), s.value_from.clone())).collect(),
        });
        logs(definition, container, &mut composed.notes)?;
    }
    composed.notes.sort();
    composed.notes.dedup();
    Ok(composed)
}

fn sysctls(c: &ContainerDefinition) -> BTreeMap<String, String> {
    c.system_controls.iter().map(|s| (s.namespace.clone(), s.value.clone())).collect()
}

fn net(c: &ContainerDefinition, names: &BTreeMap<String, Name>, mode: Mode) -> Result<NetOptions, Invalid> {
    let link = |link: &String| {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        names.get(target).map(|name| format!("{name}:{alias}"))
    };
    Ok(NetOptions {
        ports: c.port_mappings.iter().map(|p| port(p, mode)).collect::<Result<_, _>>()?,
        hostname: c.hostname.clone(),
        dns: c.dns_servers.clone(),
        dns_search: c.dns_search_domains.clone(),
        add_hosts: c.extra_hosts.iter().map(|h| format!("{}:{}", h.hostname, h.ip_address)).collect(),
        links: c.links.iter().filter_map(link).collect(),
        ..NetOptions::default()
    })
}

fn port(p: &PortMapping, mode: Mode) -> Result<PortSpec, Invalid> {
    let protocol = p.protocol.as_deref().unwrap_or("tcp");
    let container = p.container_port_range.clone().unwrap_or_else(|| p.container_port.unwrap_or_default().to_string());
    let host = p.host_port.filter(|port| *port != 0 && modes::needs(mode).netns).map(|port| format!("{port}:"));
    let text = format!("{}{container}/{protocol}", host.unwrap_or_default());
    text.parse().map_err(|e| Invalid(format!("the port mapping {text} cannot be: {e}")))
}

fn spec(
    definition: &TaskDefinition,
    c: &ContainerDefinition,
    chosen: &Chosen<'_>,
    notes: &mut Vec<String>,
) -> Result<ContainerSpec, Invalid> {
    let linux = c.linux_parameters.clone().unwrap_or_default();
    let capabilities = linux.capabilities.clone().unwrap_or_default();
    let mut labels = c.docker_labels.clone();
    labels.extend(chosen.labels.clone());
    labels.insert("com.amazonaws.ecs.container-name".into(), c.name.clone());
    if c.start_timeout.is_some() && definition.container_definitions.len() == 1 {
        notes.push(format!("containerDefinitions[{}].startTimeout: nobody waits for it", c.name));
    }
    Ok(ContainerSpec {
        image: c.image.clone().filter(|_| c.root_directory.is_none()),
        rootfs: c.root_directory.clone(),
        command: c.command.clone(),
        entrypoint: (!c.entry_point.is_empty()).then(|| c.entry_point.clone()),
        env: c.environment.iter().map(|e| format!("{}={}", e.name, e.value)).collect(),
        volumes: volumes(definition, c, chosen)?,
        tmpfs: linux.tmpfs.iter().map(tmpfs).collect(),
        workdir: c.working_directory.clone(),
        user: c.user.clone(),
        stdin: c.interactive == Some(true),
        tty: c.pseudo_terminal == Some(true),
        cap_add: capabilities.add,
        cap_drop: capabilities.drop,
        privileged: c.privileged == Some(true),
        security_opt: c.docker_security_options.clone(),
        read_only: c.readonly_root_filesystem == Some(true),
        memory: c.memory.map(bytes),
        memory_reservation: c.memory_reservation.map(bytes),
        // The task's are those of its control group.
        cpus: None,
        cpu_shares: Some(u64::from(c.cpu.unwrap_or_default()).clamp(LEAST_SHARES, MOST_SHARES)),
        pids_limit: None,
        ulimits: c.ulimits.iter().map(|u| format!("{}={}:{}", u.name, u.soft_limit, u.hard_limit)).collect(),
        init: linux.init_process_enabled == Some(true),
        restart: None,
        labels,
    })
}

fn tmpfs(t: &netmode_model::ecs::TmpfsMount) -> String {
    let size = format!("size={}m", t.size);
    let options: Vec<&str> = std::iter::once(size.as_str()).chain(t.mount_options.iter().map(String::as_str)).collect();
    format!("{}:{}", t.container_path, options.join(","))
}

/// Its own mounts, and those of the containers that it names.
fn volumes(definition: &TaskDefinition, c: &ContainerDefinition, chosen: &Chosen<'_>) -> Result<Vec<String>, Invalid> {
    let mount = |m: &MountPoint, read_only: bool| {
        let source = chosen.volumes.get(&m.source_volume);
        let source = source.ok_or_else(|| Invalid(format!("Unknown volume '{}'", m.source_volume)))?;
        let suffix = if read_only || m.read_only == Some(true) { ":ro" } else { "" };
        Ok(format!("{source}:{}{suffix}", m.container_path))
    };
    let mut all = c.mount_points.iter().map(|m| mount(m, false)).collect::<Result<Vec<String>, Invalid>>()?;
    for from in &c.volumes_from {
        let other = definition.container_definitions.iter().find(|o| o.name == from.source_container);
        for m in other.iter().flat_map(|o| &o.mount_points) {
            all.push(mount(m, from.read_only == Some(true))?);
        }
    }
    Ok(all)
}

/// Drivers whose output is kept here, with the line that says so.
fn logs(definition: &TaskDefinition, c: &ContainerDefinition, notes: &mut Vec<String>) -> Result<(), Invalid> {
    let Some(log) = &c.log_configuration else { return Ok(()) };
    let option = |key: &str| log.options.get(key).cloned().unwrap_or_default();
    match log.log_driver.as_str() {
        "json-file" | "local" => {}
        "awslogs" => notes.push(format!(
            "logConfiguration awslogs: kept on this machine instead of {}/{}/{}; read with \"netmode logs TASK -c {}\"",
            option("awslogs-group"),
            option("awslogs-stream-prefix"),
            c.name,
            c.name
        )),
        "journald" => notes.push("logConfiguration journald: kept by netmode, not in the journal".into()),
        "none" => notes.push("logConfiguration none: kept all the same".into()),
        other => {
            let driver: String = other.chars().take(32).collect();
            return Err(Invalid(format!(
                "container '{}' of {}: the log driver {driver:?} is not there. Use awslogs, json-file or journald, or --ignore logConfiguration",
                c.name, definition.family
            )));
        }
    }
    Ok(())
}

/// A health check as it is run: what, and with what patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The words.
    pub command: Vec<String>,
    /// Seconds between two.
    pub interval: u32,
    /// Seconds that one may take.
    pub timeout: u32,
    /// Failures in a row until it is unhealthy.
    pub retries: u32,
    /// Seconds at the beginning in which failures do not count.
    pub start_period: u32,
}

/// The health check of a definition, with ECS' defaults; `None` where it is switched off.
pub fn check(check: &HealthCheck) -> Option<Check> {
    let (kind, rest) = check.command.split_first()?;
    let command = match kind.as_str() {
        "CMD" => rest.to_vec(),
        "CMD-SHELL" => vec!["/bin/sh".into(), "-c".into(), rest.first()?.clone()],
        _ => return None,
    };
    Some(Check {
        command,
        interval: check.interval.unwrap_or(30),
        timeout: check.timeout.unwrap_or(5),
        retries: check.retries.unwrap_or(3),
        start_period: check.start_period.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmode_model::ecs::read;
    use serde_json::json;

    #[test]
    fn containers_have_the_names_of_the_ecs_agent() {
        let name = runtime_name("ecs-django", 25, "ng_inx", "ccf8e0f2a0bec2d1c101").unwrap();
        assert_eq!(name.as_str(), "ecs-ecs-django-25-nginx-ccf8e0f2a0bec2d1c101");
        let long = runtime_name(&"f".repeat(200), 1, &"c".repeat(200), "ccf8e0f2a0bec2d1c101").unwrap();
        assert!(long.as_str().len() <= 128 && long.as_str().ends_with("-ccf8e0f2a0bec2d1c101"));
    }

    #[test]
    fn a_definition_becomes_requests() {
        let value = json!({"family": "f", "cpu": "512", "memory": "128", "volumes": [{"name": "v"}], "containerDefinitions": [
            {"name": "web", "image": "x", "memory": 64, "links": ["app:api"], "volumesFrom": [{"sourceContainer": "app", "readOnly": true}],
             "portMappings": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 53, "protocol": "udp"}, {"containerPortRange": "90-99"}],
             "ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": 20}],
             "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/g", "awslogs-stream-prefix": "p"}}},
            {"name": "app", "rootDirectory": "/", "cpu": 256, "memoryReservation": 32, "command": ["true"], "environment": [{"name": "A", "value": "1"}],
             "mountPoints": [{"sourceVolume": "v", "containerPath": "/data"}]}]});
        let definition = read(value, &[]).unwrap().definition;
        let digits = ["a".repeat(20), "b".repeat(20)];
        let volumes = [("v".to_owned(), "/scratch/v".to_owned())].into();
        let chosen =
            Chosen { mode: Mode::Bridge, revision: 1, digits: &digits, volumes: &volumes, labels: &BTreeMap::new() };
        let composed = compose(&definition, &chosen).unwrap();
        let [web, app] = &composed.members[..] else { panic!("two") };
        let ports: Vec<String> = web.net.ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["8080:80/tcp", "53/udp", "90-99/tcp"]);
        assert_eq!(web.net.links, [format!("{}:api", app.name)]);
        assert_eq!(
            (web.spec.volumes.clone(), app.spec.volumes.clone()),
            (vec!["/scratch/v:/data:ro".into()], vec!["/scratch/v:/data".into()])
        );
        assert_eq!((web.spec.memory, web.spec.cpus, web.spec.cpu_shares), (Some(64 << 20), None, Some(2)));
        assert_eq!((app.spec.memory_reservation, app.spec.cpu_shares), (Some(32 << 20), Some(256)));
        assert_eq!((web.spec.ulimits.clone(), app.spec.rootfs.as_deref()), (vec!["nofile=10:20".into()], Some("/")));
        assert!(composed.notes.iter().any(|n| n.contains("instead of /g/p/web")), "{:?}", composed.notes);
    }
}
