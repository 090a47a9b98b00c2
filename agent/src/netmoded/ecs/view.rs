//! Tasks in the shape of DescribeTasks.

use super::record::{EcsRecord, MemberRecord, Stage};
use super::run::CLUSTER;
use crate::agent::Agent;
use crate::instance;
use crate::task::TaskRecord;
use netmode_engine::modes;
use netmode_model::Id;
use netmode_model::api::{NetworkBinding, NetworkInterface};
use netmode_model::ecs::{Detail, EcsContainerView, EcsTaskView, Health, TaskAttachment, TaskStatus};
use netmode_model::vpc::EniView;

/// What stands for a region and an account in names: there is neither.
const PREFIX: &str = "arn:aws:ecs:local:000000000000";

/// A task's ARN.
pub fn task_arn(id: Id) -> String {
    format!("{PREFIX}:task/{CLUSTER}/{id}")
}

/// The cluster's ARN.
pub fn cluster_arn() -> String {
    format!("{PREFIX}:cluster/{CLUSTER}")
}

/// A task definition's ARN.
pub fn definition_arn(family: &str, revision: u32) -> String {
    format!("{PREFIX}:task-definition/{family}:{revision}")
}

/// The ARN of a task's container.
pub fn container_arn(id: Id, container: &str) -> String {
    format!("{PREFIX}:container/{CLUSTER}/{id}/{container}")
}

/// This host's ARN as a container instance.
pub fn instance_arn(agent: &Agent) -> String {
    format!("{PREFIX}:container-instance/{CLUSTER}/{}", instance::id(agent))
}

/// A task as it is shown.
pub fn view(agent: &Agent, record: &EcsRecord) -> EcsTaskView {
    let essential = |m: &&MemberRecord| {
        let own = record.definition.container_definitions.iter().find(|c| c.name == m.container);
        own.is_some_and(|c| c.is_essential() && c.health_check.is_some())
    };
    let health: Vec<Health> = record.members.iter().filter(essential).map(|m| m.health).collect();
    EcsTaskView {
        task_arn: task_arn(record.id),
        task_definition_arn: definition_arn(&record.definition.family, record.revision),
        group: record.group.clone(),
        last_status: record.status,
        desired_status: record.desired,
        launch_type: "EC2".into(),
        attachments: record.eni.iter().map(attachment).collect(),
        containers: record.members.iter().map(|m| container(agent, record, m)).collect(),
        cpu: record.definition.cpu.map(|n| n.to_string()),
        memory: record.definition.memory.map(|n| n.to_string()),
        health_status: match &health[..] {
            all if all.contains(&Health::Unhealthy) => Health::Unhealthy,
            all if !all.is_empty() && all.iter().all(|h| *h == Health::Healthy) => Health::Healthy,
            _ => Health::Unknown,
        },
        created_at: record.created_at.clone(),
        started_at: record.started_at.clone(),
        stopping_at: record.stopping_at.clone(),
        stopped_at: record.stopped_at.clone(),
        stop_code: record.stop_code,
        stopped_reason: record.stopped_reason.clone(),
        network_mode: record.requested.effective().to_string(),
    }
}

fn attachment(eni: &EniView) -> TaskAttachment {
    let detail = |name: &str, value: String| Detail { name: name.into(), value };
    let mut details = vec![
        detail("subnetId", eni.subnet_id.clone()),
        detail("networkInterfaceId", eni.network_interface_id.clone()),
        detail("macAddress", eni.mac_address.to_string()),
        detail("privateDnsName", eni.private_dns_name.clone()),
    ];
    details.extend(eni.private_ip_address.map(|ip| detail("privateIPv4Address", ip.to_string())));
    details.extend(eni.ipv6_addresses.iter().map(|ip| detail("ipv6Address", ip.to_string())));
    TaskAttachment {
        id: eni.attachment.attachment_id.clone(),
        kind: "ElasticNetworkInterface".into(),
        status: eni.attachment.status.clone(),
        details,
    }
}

fn container(agent: &Agent, record: &EcsRecord, member: &MemberRecord) -> EcsContainerView {
    let task = agent.tasks.find(member.name.as_str()).ok().map(|t| t.now());
    let own = record.definition.container_definitions.iter().find(|c| c.name == member.container);
    let image = own.and_then(|c| c.image.clone().or_else(|| c.root_directory.clone()));
    EcsContainerView {
        name: member.container.clone(),
        runtime_id: member.id.map(|id| id.to_string()).unwrap_or_default(),
        runtime_name: member.name.to_string(),
        image: image.unwrap_or_default(),
        last_status: match member.stage {
            Stage::Waiting => TaskStatus::Pending,
            Stage::Started => TaskStatus::Running,
            Stage::Ended(_) => TaskStatus::Stopped,
        },
        exit_code: match member.stage {
            Stage::Ended(code) => code,
            _ => None,
        },
        reason: member.reason.clone(),
        health_status: member.health,
        network_bindings: task.as_ref().map(|t| bindings(agent, record, t)).unwrap_or_default(),
        network_interfaces: record.eni.iter().map(interface).collect(),
    }
}

fn interface(eni: &EniView) -> NetworkInterface {
    NetworkInterface {
        attachment_id: eni.attachment.attachment_id.clone(),
        private_ipv4_address: eni.private_ip_address.map(|ip| ip.to_string()),
        ipv6_address: eni.ipv6_addresses.first().map(ToString::to_string),
    }
}

fn bindings(agent: &Agent, record: &EcsRecord, task: &TaskRecord) -> Vec<NetworkBinding> {
    match modes::needs(record.requested.effective()) {
        needs if needs.eni => Vec::new(),
        // The container binds them itself.
        needs if !needs.netns => {
            let ports = task.request.net.ports.iter();
            let own = |p: &netmode_model::PortSpec| NetworkBinding {
                bind_ip: "0.0.0.0".into(),
                container_port: Some(p.container.first()),
                host_port: Some(p.container.first()),
                container_port_range: None,
                host_port_range: None,
                protocol: p.protocol,
            };
            ports.map(own).collect()
        }
        _ => task.endpoints(&agent.engine).iter().flat_map(netmode_engine::Endpoint::bindings).collect(),
    }
}
