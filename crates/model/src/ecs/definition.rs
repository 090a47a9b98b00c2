//! The parts of a task definition that are honoured. What else there is stands in [`super::read`].

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A task definition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TaskDefinition {
    /// What its revisions have in common.
    pub family: String,
    /// Its number within the family; 1 where none is given.
    pub revision: Option<u32>,
    /// One of the five words; bridge where none is given.
    pub network_mode: Option<String>,
    /// The containers, at least one.
    pub container_definitions: Vec<ContainerDefinition>,
    /// What they can mount.
    pub volumes: Vec<Volume>,
    /// CPU units of the whole task, 1024 to a CPU; `"1 vCPU"` as well.
    #[serde(deserialize_with = "cpu_units")]
    pub cpu: Option<u32>,
    /// MiB of the whole task; `"1 GB"` as well.
    #[serde(deserialize_with = "mebibytes")]
    pub memory: Option<u32>,
    /// Whose processes its containers see: `host`, `task`; each its own where none is given.
    pub pid_mode: Option<String>,
    /// Whose IPC its containers have: `host`, `task`, `none`; each its own where none is given.
    pub ipc_mode: Option<String>,
    /// `EC2`, `EXTERNAL`, `FARGATE`.
    pub requires_compatibilities: Vec<String>,
}

/// A container of a task definition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContainerDefinition {
    /// Its name within the task.
    pub name: String,
    /// Its image.
    pub image: Option<String>,
    /// A root directory instead of an image: an extension of netmode.
    pub root_directory: Option<String>,
    /// CPU units.
    #[serde(deserialize_with = "cpu_units")]
    pub cpu: Option<u32>,
    /// MiB.
    #[serde(deserialize_with = "mebibytes")]
    pub memory: Option<u32>,
    /// MiB that it keeps where memory is scarce.
    #[serde(deserialize_with = "mebibytes")]
    pub memory_reservation: Option<u32>,
    /// `NAME[:ALIAS]` of containers of the same task.
    pub links: Vec<String>,
    /// Its ports.
    pub port_mappings: Vec<PortMapping>,
    /// Whether the task ends with it; yes where nothing is said.
    pub essential: Option<bool>,
    /// Whether it is started again by itself.
    pub restart_policy: Option<ContainerRestart>,
    /// Replaces the image's.
    pub entry_point: Vec<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Variables.
    pub environment: Vec<KeyValue>,
    /// Variables whose values come from elsewhere.
    pub secrets: Vec<SecretRef>,
    /// What it mounts.
    pub mount_points: Vec<MountPoint>,
    /// Containers whose mounts it has as well.
    pub volumes_from: Vec<VolumeFrom>,
    /// Capabilities, init, tmpfs.
    pub linux_parameters: Option<LinuxParameters>,
    /// What has to have happened before it is started.
    pub depends_on: Vec<Dependency>,
    /// Seconds that others wait for it to be ready.
    pub start_timeout: Option<u32>,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_timeout: Option<u32>,
    /// Host name.
    pub hostname: Option<String>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
    /// Working directory.
    pub working_directory: Option<String>,
    /// It has no network, whatever the task has.
    pub disable_networking: Option<bool>,
    /// All capabilities, all devices.
    pub privileged: Option<bool>,
    /// Root file system read-only.
    pub readonly_root_filesystem: Option<bool>,
    /// Name servers.
    pub dns_servers: Vec<IpAddr>,
    /// Search domains.
    pub dns_search_domains: Vec<String>,
    /// Lines of `/etc/hosts`.
    pub extra_hosts: Vec<ExtraHost>,
    /// `no-new-privileges`, ….
    pub docker_security_options: Vec<String>,
    /// Keep standard input open.
    pub interactive: Option<bool>,
    /// Give it a terminal.
    pub pseudo_terminal: Option<bool>,
    /// Labels.
    pub docker_labels: BTreeMap<String, String>,
    /// Limits.
    pub ulimits: Vec<Ulimit>,
    /// Where its output goes.
    pub log_configuration: Option<LogConfiguration>,
    /// Whether it is well.
    pub health_check: Option<HealthCheck>,
    /// Kernel variables.
    pub system_controls: Vec<SystemControl>,
}

/// A port, or a range of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PortMapping {
    /// The container's.
    pub container_port: Option<i64>,
    /// The host's; 0 and none are a dynamic one.
    pub host_port: Option<i64>,
    /// `FIRST-LAST` instead of one.
    pub container_port_range: Option<String>,
    /// `tcp` or `udp`; tcp where none is given.
    pub protocol: Option<String>,
    /// For Service Connect.
    pub name: Option<String>,
    /// For Service Connect: `http`, `http2`, `grpc`.
    pub app_protocol: Option<String>,
}

/// A variable.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeyValue {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A variable whose value is not in the definition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecretRef {
    /// The variable.
    pub name: String,
    /// Where AWS keeps the value.
    pub value_from: String,
}

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MountPoint {
    /// Name of the volume.
    pub source_volume: String,
    /// Where.
    pub container_path: String,
    /// Read-only.
    pub read_only: Option<bool>,
}

/// Another container's mounts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VolumeFrom {
    /// The container.
    pub source_container: String,
    /// Read-only.
    pub read_only: Option<bool>,
}

/// A volume of a task.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// A directory of the host; without a path one that goes with the task.
    pub host: Option<HostVolume>,
    /// One that docker's driver `local` would make.
    pub docker_volume_configuration: Option<DockerVolume>,
}

/// A directory of the host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostVolume {
    /// Its path.
    pub source_path: Option<String>,
}

/// A volume of docker's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DockerVolume {
    /// `task` (the default) or `shared`: whether it outlives the task.
    pub scope: Option<String>,
    /// Whether a shared one is made where it is not there.
    pub autoprovision: Option<bool>,
    /// `local`.
    pub driver: Option<String>,
    /// None are known.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Linux' own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LinuxParameters {
    /// Capabilities.
    pub capabilities: Option<Capabilities>,
    /// A small init as first process.
    pub init_process_enabled: Option<bool>,
    /// Fresh file systems in memory.
    pub tmpfs: Vec<TmpfsMount>,
}

/// Capabilities.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Capabilities {
    /// To add.
    pub add: Vec<String>,
    /// To take.
    pub drop: Vec<String>,
}

/// A tmpfs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TmpfsMount {
    /// Where.
    pub container_path: String,
    /// MiB.
    pub size: u32,
    /// Options.
    pub mount_options: Vec<String>,
}

/// What has to have happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// To whom.
    pub container_name: String,
    /// What.
    pub condition: Condition,
}

/// What another container has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Condition {
    /// It has been started.
    Start,
    /// It has ended.
    Complete,
    /// It has ended with status 0.
    Success,
    /// Its health check has passed.
    Healthy,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtraHost {
    /// The name.
    pub hostname: String,
    /// The address.
    pub ip_address: String,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ulimit {
    /// Which.
    pub name: String,
    /// Soft.
    pub soft_limit: i64,
    /// Hard.
    pub hard_limit: i64,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogConfiguration {
    /// The driver.
    pub log_driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// Whether a container is well.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// `CMD` and words, `CMD-SHELL` and a line for the container's shell, or `NONE`.
    pub command: Vec<String>,
    /// Seconds between two; 5 to 300, 30 where none is given.
    pub interval: Option<u32>,
    /// Seconds that one may take; 2 to 60, 5 where none is given.
    pub timeout: Option<u32>,
    /// Failures in a row until it is unhealthy; 1 to 10, 3 where none is given.
    pub retries: Option<u32>,
    /// Seconds at the beginning in which failures do not count; 0 to 300.
    pub start_period: Option<u32>,
}

/// A kernel variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SystemControl {
    /// Its name.
    pub namespace: String,
    /// Its value.
    pub value: String,
}

/// Whether a container is started again by itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContainerRestart {
    /// Whether.
    pub enabled: bool,
    /// Statuses after which it is not.
    pub ignored_exit_codes: Vec<i32>,
    /// Seconds that it must have run; 60 to 1800, 300 where none is given.
    pub restart_attempt_period: Option<u32>,
}

/// A number, or text that holds one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u32),
    Text(String),
}

fn amount<'de, D: Deserializer<'de>>(d: D, units: &[(&str, f64)]) -> Result<Option<u32>, D::Error> {
    let text = match Option::<Amount>::deserialize(d)? {
        None => return Ok(None),
        Some(Amount::Number(n)) => return Ok(Some(n)),
        Some(Amount::Text(text)) => text,
    };
    let lower = text.trim().to_ascii_lowercase();
    let of_unit = |(unit, factor): &(&str, f64)| {
        let number: f64 = lower.strip_suffix(unit)?.trim().parse().ok()?;
        Some((number * factor) as u32)
    };
    let plain = lower.parse().ok();
    plain.or_else(|| units.iter().find_map(of_unit)).map(Some).ok_or_else(|| {
        let shown: String = text.chars().take(32).collect();
        serde::de::Error::custom(format!("{shown:?} is no amount: write a number such as 256"))
    })
}

fn cpu_units<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    amount(d, &[("vcpu", 1024.0)])
}

fn mebibytes<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    amount(d, &[("gb", 1024.0), ("mb", 1.0)])
}

impl ContainerDefinition {
    /// Whether the task ends with it.
    pub fn is_essential(&self) -> bool {
        self.essential.unwrap_or(true)
    }
}
