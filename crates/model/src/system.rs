//! What is asked of the agent itself: its state, its log, its end.

use serde::{Deserialize, Serialize};

/// The agent, as `netmode system info` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemInfo {
    /// Version of the agent.
    pub version: String,
    /// Version of the API.
    pub api: String,
    /// The agent's process, in its own process namespace.
    pub pid: u32,
    /// RFC 3339.
    pub started_at: String,
    /// Inode number of the namespace that is "the host" for this agent.
    pub netns: u64,
    /// Tells the things of several agents on one machine apart.
    pub instance: String,
    /// The configuration file.
    pub config: String,
    /// Directory of what dies with the machine.
    pub run_dir: String,
    /// Directory of what outlives a reboot.
    pub state_dir: String,
    /// What is logged, as `netmode system log-level` sets it.
    pub log_filter: String,
    /// Tasks, stopped ones too.
    pub tasks: usize,
    /// Attachments: of tasks, and of namespaces that someone else made.
    pub endpoints: usize,
    /// Networks.
    pub networks: usize,
}

/// Another filter for the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogFilterRequest {
    /// A level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or `TARGET=LEVEL` with commas between.
    pub filter: String,
}

/// How much a reset takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResetRequest {
    /// End the tasks and take everything out of the kernel; records, images and the tasks' files stay.
    pub keep_records: bool,
}

/// What a reset did not manage; the agent ends behind this answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResetReply {
    /// A sentence for each thing that is still there.
    pub failures: Vec<String>,
    /// What others may miss now.
    #[serde(default)]
    pub notes: Vec<String>,
}
