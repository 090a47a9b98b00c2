//! Flow logs, as they are asked for and shown (names of the EC2 API: CreateFlowLogs, DescribeFlowLogs).

use crate::id::Id;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which traffic is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TrafficType {
    /// What security groups let pass.
    Accept,
    /// What they refuse.
    Reject,
    /// Both.
    #[default]
    All,
}

/// A field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name, as in `${srcaddr}`.
    pub name: &'static str,
    /// The version of flow logs that brought it.
    pub version: u8,
}

/// Every field that is known here, those of the default format first (Amazon VPC user guide, "Available fields").
pub const FIELDS: [Field; 32] = [
    field("version", 2),
    field("account-id", 2),
    field("interface-id", 2),
    field("srcaddr", 2),
    field("dstaddr", 2),
    field("srcport", 2),
    field("dstport", 2),
    field("protocol", 2),
    field("packets", 2),
    field("bytes", 2),
    field("start", 2),
    field("end", 2),
    field("action", 2),
    field("log-status", 2),
    field("vpc-id", 3),
    field("subnet-id", 3),
    field("instance-id", 3),
    field("tcp-flags", 3),
    field("type", 3),
    field("pkt-srcaddr", 3),
    field("pkt-dstaddr", 3),
    field("az-id", 4),
    field("flow-direction", 5),
    field("ecs-cluster-arn", 7),
    field("ecs-cluster-name", 7),
    field("ecs-container-instance-arn", 7),
    field("ecs-container-instance-id", 7),
    field("ecs-service-name", 7),
    field("ecs-task-arn", 7),
    field("ecs-task-definition-arn", 7),
    field("ecs-task-id", 7),
    field("region", 4),
];

/// How many of [`FIELDS`] the default format has.
const DEFAULT: usize = 14;

const fn field(name: &'static str, version: u8) -> Field {
    Field { name, version }
}

/// The fields of a record, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Field>);

impl Default for Format {
    fn default() -> Self {
        Self(FIELDS[..DEFAULT].to_vec())
    }
}

impl Format {
    /// The fields.
    pub fn fields(&self) -> &[Field] {
        &self.0
    }

    /// The version that its records have: the highest of its fields'.
    pub fn version(&self) -> u8 {
        self.0.iter().map(|f| f.version).max().unwrap_or(2)
    }
}

/// No format of records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFormat {
    /// Nothing to write.
    #[error("the log format names no field; write ${{srcaddr}} ${{dstaddr}} …, or leave it out")]
    Empty,
    /// A field that is not known.
    #[error("the log format has {0:?}, which is no field; fields are ${{NAME}}, apart by a space, of: {1}")]
    Unknown(String, String),
}

impl FromStr for Format {
    type Err = BadFormat;
    fn from_str(text: &str) -> Result<Self, BadFormat> {
        let field = |word: &str| {
            let name = word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let known = FIELDS.iter().find(|f| Some(f.name) == name).copied();
            known.ok_or_else(|| {
                let all: Vec<_> = FIELDS.iter().map(|f| f.name).collect();
                BadFormat::Unknown(word.chars().take(64).collect(), all.join(" "))
            })
        };
        let fields = text.split_whitespace().map(field).collect::<Result<Vec<_>, _>>()?;
        if fields.is_empty() { Err(BadFormat::Empty) } else { Ok(Self(fields)) }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|field| format!("${{{}}}", field.name)).collect();
        f.write_str(&words.join(" "))
    }
}

/// Asks for a flow log. It cannot be changed afterwards.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FlowLogRequest {
    /// A subnet by name or id, or an ENI by its id or its task's name; every ENI of the VPC where nothing is said.
    pub subnet: Option<String>,
    /// An ENI by its id, or by the name or id of its task.
    pub eni: Option<String>,
    /// Which traffic.
    pub traffic_type: TrafficType,
    /// Seconds that a record is about: 60 or 600.
    pub max_aggregation_interval: Option<u32>,
    /// Fields, `${srcaddr} ${dstaddr}`; those of version 2 where none is given.
    pub log_format: Option<String>,
    /// `file:NAME` below `/var/log/netmode`, `file:/PATH`, `journald` or `stdout`.
    pub log_destination: String,
    /// Bytes after which a file is put aside; 64 MiB where nothing is said.
    pub max_size: Option<u64>,
    /// How many files that were put aside are kept; 5 where nothing is said.
    pub keep: Option<u32>,
}

/// A flow log as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FlowLogView {
    /// `fl-…`.
    pub flow_log_id: String,
    /// `vpc-…`, `subnet-…` or `eni-…`.
    pub resource_id: String,
    /// Which traffic.
    pub traffic_type: TrafficType,
    /// Seconds that a record is about.
    pub max_aggregation_interval: u32,
    /// Fields.
    pub log_format: String,
    /// Where the records go.
    pub log_destination: String,
    /// Records that were written since the agent started.
    pub records: u64,
    /// Records that could not be written since then.
    pub lost: u64,
    /// Why the last one could not.
    pub deliver_logs_error_message: Option<String>,
    /// `SUCCESS` or `FAILED`, of the last record.
    pub deliver_logs_status: String,
    /// RFC 3339.
    pub creation_time: String,
}

/// The id of a flow log.
pub fn flow_log_id(id: Id) -> String {
    format!("fl-{}", &id.to_string()[..17])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_its_fields() {
        let default = Format::default();
        assert_eq!(default.fields().len(), 14);
        assert_eq!(default.version(), 2);
        assert_eq!(default.to_string().parse(), Ok(default));
        let custom: Format = "${srcaddr} ${tcp-flags} ${flow-direction}".parse().unwrap();
        assert_eq!((custom.fields().len(), custom.version()), (3, 5));
        assert_eq!("".parse::<Format>(), Err(BadFormat::Empty));
        for bad in ["srcaddr", "${srcaddr", "${nonsense}", "${srcaddr}${dstaddr}"] {
            assert!(matches!(bad.parse::<Format>(), Err(BadFormat::Unknown(word, _)) if word == bad));
        }
    }
}
