//! Tasks of task definitions, as they are asked for and shown (ECS API reference, RunTask and DescribeTasks).

use crate::api::{NetworkBinding, NetworkInterface};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Tasks to run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunTaskRequest {
    /// The task definition.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub definition: Value,
    /// Fields of it that may be left out.
    pub ignore: Vec<String>,
    /// How many; one where none is given.
    pub count: Option<u32>,
    /// Subnets, by name or id.
    pub subnets: Vec<String>,
    /// Security groups, by name or id.
    pub security_groups: Vec<String>,
    /// Tasks may have what leads round their security groups.
    pub sg_best_effort: bool,
    /// Refuse what ECS refuses, where the agent could do better, and count host ports as it does.
    pub strict_ecs: bool,
    /// `ENABLED` is refused, as ECS does it for instances of one's own.
    pub assign_public_ip: bool,
    /// Values of secrets, by the variable's name or by `valueFrom`. They are never recorded.
    pub secrets: BTreeMap<String, String>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunTaskReply {
    /// The tasks.
    pub tasks: Vec<EcsTaskView>,
    /// Those that could not be placed.
    pub failures: Vec<TaskFailure>,
    /// What of the definition was mapped or left out.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A task that could not be placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskFailure {
    /// The container instance.
    pub arn: String,
    /// `RESOURCE:ENI`, ….
    pub reason: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Where a task is in its life (ECS developer guide, "Task lifecycle states").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TaskStatus {
    /// Its ENI is made.
    Provisioning,
    /// Its containers are waited for.
    Pending,
    /// It is made known.
    Activating,
    /// Its containers run.
    Running,
    /// It is made unknown.
    Deactivating,
    /// Its containers are ended.
    Stopping,
    /// Its ENI is taken away.
    Deprovisioning,
    /// It has ended.
    Stopped,
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        })
    }
}

/// Whether a container is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Health {
    /// Nobody has looked, or it has no health check.
    #[default]
    Unknown,
    /// It is.
    Healthy,
    /// It is not.
    Unhealthy,
}

/// A task in the shape of DescribeTasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EcsTaskView {
    /// `arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID`.
    pub task_arn: String,
    /// `arn:…:task-definition/FAMILY:REVISION`.
    pub task_definition_arn: String,
    /// `family:FAMILY`, or `service:NAME`.
    pub group: String,
    /// Where it is.
    pub last_status: TaskStatus,
    /// `RUNNING` or `STOPPED`.
    pub desired_status: TaskStatus,
    /// `EC2`.
    pub launch_type: String,
    /// Its ENI.
    pub attachments: Vec<TaskAttachment>,
    /// Its containers.
    pub containers: Vec<EcsContainerView>,
    /// CPU units, where the definition has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// MiB, where the definition has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// The worst of its essential containers'.
    pub health_status: Health,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping_at: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<String>,
    /// Why it ended, as a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_code: Option<StopCode>,
    /// Why it ended, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    /// Of netmode's own: the mode in effect.
    pub network_mode: String,
}

/// Why a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StopCode {
    /// It never ran.
    TaskFailedToStart,
    /// A container that it cannot be without ended.
    EssentialContainerExited,
    /// Somebody asked for it.
    UserInitiated,
    /// Its service asked for it.
    ServiceSchedulerInitiated,
}

/// An ENI of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskAttachment {
    /// In the shape of a UUID.
    pub id: String,
    /// `ElasticNetworkInterface`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `ATTACHED`, `DELETED`.
    pub status: String,
    /// Names and values.
    pub details: Vec<Detail>,
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Detail {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A container in the shape of DescribeTasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EcsContainerView {
    /// Its name within the task.
    pub name: String,
    /// The id, under which `exec`, `logs` and `inspect` find it.
    pub runtime_id: String,
    /// What it is called on this host.
    pub runtime_name: String,
    /// The image or root directory.
    pub image: String,
    /// Where it is.
    pub last_status: TaskStatus,
    /// Exit status, once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it did not start, or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it is well.
    pub health_status: Health,
    /// Published ports.
    pub network_bindings: Vec<NetworkBinding>,
    /// Addresses.
    pub network_interfaces: Vec<NetworkInterface>,
}

/// How to end a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StopTaskRequest {
    /// Why, for `stoppedReason`.
    pub reason: Option<String>,
}

/// The instance type that this host is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Profile {
    /// Such as `c5.large`.
    pub instance_type: String,
    /// Whether tasks have branches of a trunk.
    #[serde(default)]
    pub trunking: bool,
    /// The subnet that the instance itself is in, by name or id; the default one where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
}

/// Another instance type for this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileRequest {
    /// None for no limit.
    pub profile: Option<Profile>,
}

/// This host as a container instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceView {
    /// Its ARN.
    pub container_instance_arn: String,
    /// The instance type that it is to be; none for no limit.
    pub profile: Option<Profile>,
    /// Tasks that have an ENI.
    pub running_tasks_with_eni: usize,
    /// How many may.
    pub task_eni_limit: Option<usize>,
    /// The subnet that it would be in itself.
    pub subnet_id: Option<String>,
    /// Its own addresses there, which no task gets.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub private_ip_addresses: Vec<IpAddr>,
    /// Interfaces that the instance would have.
    pub attachments: usize,
    /// Addresses of its subnets that it and its tasks would have.
    pub addresses: usize,
}

/// A service to make or to change.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceRequest {
    /// Its name.
    pub service_name: String,
    /// What its tasks are.
    pub task: RunTaskRequest,
    /// How many; one where none is given.
    pub desired_count: Option<u32>,
}

/// A service in the shape of DescribeServices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceView {
    /// Its name.
    pub service_name: String,
    /// `ACTIVE`.
    pub status: String,
    /// How many there should be.
    pub desired_count: u32,
    /// How many run.
    pub running_count: u32,
    /// How many are on their way.
    pub pending_count: u32,
    /// RFC 3339.
    pub created_at: String,
    /// What happened, the latest first.
    pub events: Vec<EventView>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventView {
    /// In the shape of a UUID.
    pub id: String,
    /// RFC 3339.
    pub created_at: String,
    /// In ECS' words.
    pub message: String,
}
