//! What tasks use, as `netmode stats` shows it. Numbers are in base units: bytes, seconds, packets.

use crate::link::IfName;
use crate::mode::Mode;
use crate::name::Name;
use crate::{Id, api::TaskState};
use serde::{Deserialize, Serialize};

/// What a task uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskStats {
    /// The id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: Id,
    /// The name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// The mode in effect.
    pub network_mode: Mode,
    /// Where it is in its life; what does not run uses nothing.
    pub state: TaskState,
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// Processor time of the last fifth of a second, in percent of one processor.
    pub cpu_percent: f64,
    /// Memory, without files' that could be given back.
    pub memory_bytes: u64,
    /// Most memory; the machine's where there is no limit.
    pub memory_limit_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Tracked connections that it began or answers; absent where it has no network of its own.
    pub connections: Option<u64>,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceStats>,
}

/// What an interface has carried, as its task sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InterfaceStats {
    /// The link inside.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub interface: IfName,
    /// Name of the network.
    pub network: String,
    /// Bytes received.
    pub receive_bytes: u64,
    /// Bytes sent.
    pub transmit_bytes: u64,
    /// Packets received.
    pub receive_packets: u64,
    /// Packets sent.
    pub transmit_packets: u64,
    /// Packets for it that were thrown away.
    pub receive_drops: u64,
    /// Packets of it that were thrown away.
    pub transmit_drops: u64,
}

/// What is asked of `GET /v1/stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatsQuery {
    /// Tasks by name, id or the beginning of an id, with commas between; every one that runs where none is given.
    pub task: String,
    /// Those that have ended as well, where none is named.
    pub all: bool,
}
