//! What is asked for; unknown fields are refused.

use crate::link::{IfName, Mac};
use crate::mode::{RequestedMode, UnknownMode};
use crate::name::Name;
use crate::port::PortSpec;
use crate::rate::NetRate;
use crate::restart::RestartPolicy;
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
    /// awsvpc: subnets by name or id, of which the one with the most free addresses is taken; the default one where none
    /// is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// awsvpc: security groups by name or id; the default one where none is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// awsvpc: the task may have what could go round its security groups.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sg_best_effort: bool,
    /// Refuse what ECS refuses, where the agent could do better.
    pub strict_ecs: bool,
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
    /// Bytes that it keeps where memory is scarce.
    pub memory_reservation: Option<i64>,
    /// CPUs, 1.5 is one and a half.
    pub cpus: Option<f64>,
    /// Weight beside others where CPUs are scarce; the kernel's default is 1024.
    pub cpu_shares: Option<u64>,
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
    /// In bridge mode a network that somebody made, by name or the beginning of its id; the default one where none is
    /// given.
    #[serde(default)]
    pub network: Option<String>,
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

/// Which tasks a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListQuery {
    /// Stopped ones, too.
    pub all: bool,
}
