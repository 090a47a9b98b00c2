//! What is said of an ENI in every record.

use crate::agent::Agent;
use crate::{ecs, instance};
use netmode_engine::flowlog::About;
use netmode_engine::vpc::vpc_id;
use netmode_engine::{Endpoint, Network};

/// The account, of which there is none.
const ACCOUNT: &str = "000000000000";

/// The values of an ENI, and of the task of ECS that it is of.
pub fn about(agent: &Agent, endpoint: &Endpoint, eni: &str, network: &Network) -> About {
    let mut about = About::default();
    let mut put = |field, value: String| _ = about.values.insert(field, value);
    put("account-id", ACCOUNT.into());
    put("interface-id", eni.into());
    put("vpc-id", vpc_id(&agent.engine.settings().instance));
    put("subnet-id", network.name.clone());
    put("instance-id", format!("i-{}", &instance::id(agent).to_string()[..17]));
    put("az-id", network.subnet.as_ref().map(|s| s.availability_zone.clone()).unwrap_or_default());
    put("region", "local".into());
    let Some(task) = agent.ecs.get(endpoint.owner.id).map(|task| task.now()) else { return about };
    put("ecs-cluster-name", ecs::CLUSTER.into());
    put("ecs-cluster-arn", ecs::cluster_arn());
    put("ecs-container-instance-arn", ecs::instance_arn(agent));
    put("ecs-container-instance-id", instance::id(agent).to_string());
    put("ecs-task-id", task.id.to_string());
    put("ecs-task-arn", ecs::task_arn(task.id));
    put("ecs-task-definition-arn", ecs::definition_arn(&task.definition.family, task.revision));
    put("ecs-service-name", task.group.strip_prefix("service:").unwrap_or_default().into());
    about
}
