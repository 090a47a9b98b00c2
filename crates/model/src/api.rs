//! What travels over the unix socket: requests refuse unknown fields, replies may grow.

use crate::id::Id;
use crate::link::{IfName, Mac};
use crate::mode::{Mode, RequestedMode, UnknownMode};
use crate::name::Name;
use crate::port::{HostAddr, PortRange, PortSpec, Protocol, Published};
use crate::rate::NetRate;
use crate::restart::RestartPolicy;
pub use crate::stream::{Control, STREAM_PROTOCOL, Stream};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{fmt, str::FromStr};

/// What a container is attached to: the value of `--mode` and `--network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NetworkRef {
    /// One of the five words.
    Mode(RequestedMode),
    /// `container:NAME`: the namespace of another task, by name, id or the beginning of an id.
    Container(String),
    /// `ns:PATH`: a namespace that someone else made.
    Netns(String),
    /// A network that somebody made, by name, id or the beginning of an id.
    Named(String),
}

impl Default for NetworkRef {
    fn default() -> Self {
        Self::Mode(RequestedMode::Default)
    }
}

impl FromStr for NetworkRef {
    type Err = UnknownMode;
    fn from_str(s: &str) -> Result<Self, UnknownMode> {
        if let Some(name) = s.strip_prefix("container:").filter(|n| !n.is_empty()) {
            return Ok(Self::Container(name.into()));
        }
        if let Some(path) = s.strip_prefix("ns:").filter(|p| !p.is_empty()) {
            return Ok(Self::Netns(path.into()));
        }
        match s.parse() {
            Ok(mode) => Ok(Self::Mode(mode)),
            Err(_) if s.parse::<Name>().is_ok() => Ok(Self::Named(s.into())),
            Err(unknown) => Err(unknown),
        }
    }
}

impl TryFrom<String> for NetworkRef {
    type Error = UnknownMode;
    fn try_from(s: String) -> Result<Self, UnknownMode> {
        s.parse()
    }
}

impl From<NetworkRef> for String {
    fn from(n: NetworkRef) -> String {
        n.to_string()
    }
}

impl fmt::Display for NetworkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode(mode) => mode.fmt(f),
            Self::Container(name) => write!(f, "container:{name}"),
            Self::Netns(path) => write!(f, "ns:{path}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// A one-container task to make: the flags of `netmode run`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunRequest {
    /// Name of the task; made from the id where none is given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub name: Option<Name>,
    /// What the container is attached to.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub network: NetworkRef,
    /// Networks beyond the first, by name or id. The way out leads over the first one that has any.
    pub networks: Vec<String>,
    /// Options of the first network.
    pub net: NetOptions,
    /// What runs.
    pub container: ContainerSpec,
    /// Remove the task when its container ends.
    pub auto_remove: bool,
}

/// The network side of a request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetOptions {
    /// Port mappings in Docker's spelling, `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub ports: Vec<PortSpec>,
    /// Publish every exposed port on a port that the agent chooses.
    pub publish_all: bool,
    /// Ports that the image or `--expose` names: `PORT[-PORT][/PROTOCOL]`.
    pub expose: Vec<String>,
    /// Host mode: a free reserved port in the environment variable of this name.
    pub port_env: Option<String>,
    /// A wanted IPv4 address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip: Option<Ipv4Addr>,
    /// A wanted IPv6 address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip6: Option<Ipv6Addr>,
    /// A wanted hardware address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub mac_address: Option<Mac>,
    /// The container's host name; the first 12 digits of the id where none is given.
    pub hostname: Option<String>,
    /// Name servers; the host's where none is given.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Options of resolv.conf(5).
    pub dns_options: Vec<String>,
    /// `NAME:IP` lines for `/etc/hosts`; the IP may be `host-gateway`.
    pub add_hosts: Vec<String>,
    /// `TASK[:ALIAS]`: a line in `/etc/hosts` for another task.
    pub links: Vec<String>,
    /// Other names on networks that have names.
    pub network_aliases: Vec<String>,
    /// Kernel variables of the namespace, `net.*` only.
    pub sysctls: BTreeMap<String, String>,
    /// How fast its interfaces are.
    #[serde(skip_serializing_if = "NetRate::is_unlimited")]
    pub net_rate: NetRate,
}

/// The container side of a request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContainerSpec {
    /// An image: a `docker save` tar or an OCI layout, by path (`docker-archive:` and `oci:` prefixes are understood).
    pub image: Option<String>,
    /// A directory instead of an image; `/` is the host's own, read-only under a temporary overlay.
    pub rootfs: Option<String>,
    /// The command and its arguments; the image's where empty.
    pub command: Vec<String>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// `SOURCE:TARGET[:ro]`.
    pub volumes: Vec<String>,
    /// `TARGET[:OPTIONS]`.
    pub tmpfs: Vec<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// `USER[:GROUP]`, names or numbers.
    pub user: Option<String>,
    /// Keep standard input open.
    pub stdin: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Capabilities to add (`NET_ADMIN`, or `ALL`).
    pub cap_add: Vec<String>,
    /// Capabilities to take (`CHOWN`, or `ALL`).
    pub cap_drop: Vec<String>,
    /// All capabilities, all devices, no seccomp.
    pub privileged: bool,
    /// `no-new-privileges`, `seccomp=unconfined` or `seccomp=FILE`.
    pub security_opt: Vec<String>,
    /// Root file system read-only.
    pub read_only: bool,
    /// Bytes.
    pub memory: Option<i64>,
    /// CPUs, 1.5 is one and a half.
    pub cpus: Option<f64>,
    /// Most processes.
    pub pids_limit: Option<i64>,
    /// `NAME=SOFT[:HARD]`.
    pub ulimits: Vec<String>,
    /// A small init as first process.
    pub init: bool,
    /// `no`, `always`, `unless-stopped`, `on-failure[:MAX]`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub restart: Option<RestartPolicy>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

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

/// A namespace that someone else made, to be attached (`netmode attach`, CNI ADD).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttachRequest {
    /// Who asks for it: with `interface` the key by which it is found again.
    pub owner: String,
    /// The namespace.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub netns: NetnsRef,
    /// Name of the link inside; `eth0` where none is given.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub interface: Option<IfName>,
    /// The mode.
    #[serde(default)]
    pub mode: RequestedMode,
    /// Options of the network.
    #[serde(default)]
    pub net: NetOptions,
}

/// A namespace: a descriptor handed over with the connection, or a path (root only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetnsRef {
    /// Index among the descriptors sent by SCM_RIGHTS with the first bytes of the connection.
    Fd(u32),
    /// A path, resolved by the agent.
    Path(String),
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

/// How to end a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StopRequest {
    /// Seconds between SIGTERM and SIGKILL; 10 where none is given.
    pub timeout: Option<u32>,
}

/// What changes of a task that runs; what is absent stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateRequest {
    /// How fast its interfaces are from now on.
    pub net_rate: Option<NetRate>,
}

/// A signal to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KillRequest {
    /// `TERM`, `SIGTERM` or `15`.
    pub signal: String,
}

/// The end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exited {
    /// Exit status; 128 + signal for one that was killed.
    pub exit_code: i32,
}

/// A command to run in a running container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecRequest {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
    /// Keep standard input open.
    pub stdin: bool,
    /// Give it a terminal.
    pub tty: bool,
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

/// Which tasks a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListQuery {
    /// Stopped ones, too.
    pub all: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_of_a_request_are_refused() {
        let error = serde_json::from_str::<RunRequest>(r#"{"bogus":1}"#).unwrap_err();
        assert!(error.to_string().contains("bogus"), "{error}");
    }

    #[test]
    fn a_binding_shows_v6_only_where_the_network_has_it() {
        let published = Published {
            host: HostAddr::Any,
            host_ports: PortRange::single(8080).unwrap(),
            container: PortRange::single(80).unwrap(),
            protocol: Protocol::Tcp,
        };
        let shown = |v6| NetworkBinding::of(&published, v6).into_iter().map(|b| b.bind_ip).collect::<Vec<_>>();
        assert_eq!(shown(false), ["0.0.0.0"]);
        assert_eq!(shown(true), ["0.0.0.0", "::"]);
        let json = serde_json::to_value(&NetworkBinding::of(&published, false)[0]).unwrap();
        assert_eq!(json, serde_json::json!({"bindIP":"0.0.0.0","containerPort":80,"hostPort":8080,"protocol":"tcp"}));
    }
}
