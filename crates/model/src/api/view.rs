//! What is answered; replies may grow.

use crate::id::Id;
use crate::link::{IfName, Mac};
use crate::mode::{Mode, RequestedMode};
use crate::name::Name;
use crate::port::{HostAddr, PortRange, Protocol, Published};
use crate::rate::NetRate;
use crate::restart::RestartPolicy;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// What a new task answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Created {
    /// The id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: Id,
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// What the caller should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What would be done, as commands (`--plan`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Planned {
    /// `ip`, `nft`, `sysctl` and `conntrack` commands, in order.
    pub commands: Vec<String>,
}

/// Where a task is in its life (ECS `lastStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TaskState {
    /// Being made, or made and not started.
    Pending,
    /// Its container runs.
    Running,
    /// Being ended.
    Stopping,
    /// Its container ended; network and ports are given back.
    Stopped,
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
        })
    }
}

/// A task as `inspect` shows it. Names follow ECS DescribeTasks wherever it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskView {
    /// The id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: Id,
    /// The name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// The mode in effect.
    pub network_mode: Mode,
    /// The mode asked for.
    pub requested_mode: RequestedMode,
    /// Where it is in its life.
    pub state: TaskState,
    /// Path of its namespace; absent in host mode and when stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The first process, in the agent's process namespace; 0 when there is none.
    pub pid: i32,
    /// Its containers: one.
    pub containers: Vec<ContainerView>,
    /// Its interfaces.
    pub networks: Vec<NetworkView>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<String>,
    /// Why it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it is started again by itself.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub restart_policy: RestartPolicy,
    /// How often that was done since somebody started it.
    #[serde(default)]
    pub restart_count: u32,
    /// It has ended and is about to be started again.
    #[serde(default)]
    pub restarting: bool,
}

/// A container of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContainerView {
    /// Its name: the task's.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// The image or root directory.
    pub image: String,
    /// Digest of the image's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// What was run.
    pub command: Vec<String>,
    /// Exit status, once it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Published ports.
    pub network_bindings: Vec<NetworkBinding>,
    /// Addresses.
    pub network_interfaces: Vec<NetworkInterface>,
}

/// A published port or range (ECS NetworkBinding).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkBinding {
    /// The host's address.
    #[serde(rename = "bindIP")]
    pub bind_ip: String,
    /// A single container port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_port: Option<u16>,
    /// A single host port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// A range of container ports, `8080-8090`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_port_range: Option<String>,
    /// A range of host ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port_range: Option<String>,
    /// The protocol.
    pub protocol: Protocol,
}

impl NetworkBinding {
    /// The bindings of a mapping on a network that has IPv6 or not: `::` is shown only where it leads somewhere.
    pub fn of(published: &Published, has_v6: bool) -> Vec<Self> {
        let one = |bind_ip: String| {
            let single = published.container.count() == 1;
            let port = |range: PortRange| single.then(|| range.first());
            let range = |range: PortRange| (!single).then(|| range.to_string());
            Self {
                bind_ip,
                container_port: port(published.container),
                host_port: port(published.host_ports),
                container_port_range: range(published.container),
                host_port_range: range(published.host_ports),
                protocol: published.protocol,
            }
        };
        match published.host {
            HostAddr::Any if has_v6 => vec![one("0.0.0.0".into()), one("::".into())],
            HostAddr::Any => vec![one("0.0.0.0".into())],
            HostAddr::Ip(ip) => vec![one(ip.to_string())],
        }
    }
}

/// An address of a container (ECS NetworkInterface).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkInterface {
    /// The endpoint.
    pub attachment_id: String,
    /// IPv4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_ipv4_address: Option<String>,
    /// IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
}

/// An interface of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkView {
    /// The network's name.
    pub name: String,
    /// The link inside the namespace.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub interface: IfName,
    /// Its hardware address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub mac_address: Mac,
    /// With prefix length.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub ipv4_addresses: Vec<IpNetwork>,
    /// With prefix length.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub ipv6_addresses: Vec<IpNetwork>,
    /// Next hop of the default route.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub gateway: Option<IpAddr>,
    /// Next hop of the default route of IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ipv6_gateway: Option<IpAddr>,
    /// The network's prefix.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub subnet: Option<IpNetwork>,
    /// Bytes.
    pub mtu: u32,
    /// How fast it is.
    #[serde(default, skip_serializing_if = "NetRate::is_unlimited")]
    pub net_rate: NetRate,
}

/// A published port with its owner, for `port ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortView {
    /// The mapping.
    #[serde(flatten)]
    pub binding: NetworkBinding,
    /// Name of the task.
    pub owner: String,
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub owner_id: Id,
    /// RFC 3339.
    pub since: String,
    /// `held` by a socket, or `recorded` only (SCTP without the module, or lost and taken meanwhile).
    pub held: bool,
}

/// What an attachment answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttachReply {
    /// The endpoint.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: Id,
    /// Its interfaces.
    pub networks: Vec<NetworkView>,
    /// Its published ports.
    pub network_bindings: Vec<NetworkBinding>,
}

/// The end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exited {
    /// Exit status; 128 + signal for one that was killed.
    pub exit_code: i32,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionReply {
    /// Version of the agent.
    pub version: String,
    /// Version of the API.
    pub api: String,
    /// Inode number of the namespace that is "the host" for this agent.
    pub netns: u64,
}

/// One line of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// What it is about.
    pub object: String,
    /// What was found.
    pub message: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but should be looked at.
    Warn,
    /// Does not work.
    Fail,
}
