//! What is said of each kind of thing when it happens.

use super::{By, New, new, within};
use crate::agent::Agent;
use crate::ecs::EcsRecord;
use crate::mended::Mended;
use crate::task::TaskRecord;
use ipnetwork::IpNetwork;
use netmode_container::Exit;
use netmode_engine::cni::Attachment;
use netmode_engine::{Endpoint, Network};
use netmode_model::ecs::{EventView, TaskStatus};
use netmode_model::{EventKind, IfName, Place, Published};

/// A task of `netmode run` came to another state.
pub fn task(agent: &Agent, record: &TaskRecord, action: &'static str) {
    let name = &record.name;
    let message = match action {
        "created" => format!("task {name} was made in {} mode", record.mode()),
        "started" => format!("task {name} runs"),
        "stopping" => format!("task {name} is being stopped"),
        "stopped" => {
            let reason = record.stopped_reason.as_deref().unwrap_or("it ended");
            format!("task {name} has stopped: {reason}")
        }
        "removed" => format!("task {name} was removed"),
        action => format!("task {name}: {action}"),
    };
    let event = new(EventKind::Task, action, record.id, name, message)
        .with("mode", record.mode())
        .with_some("exitCode", record.exit_code.filter(|_| record.stopped()))
        .with_some("pod", record.pod);
    agent.events.publish(event);
}

/// Why a task has ended whose end nobody asked for.
pub fn why_ended(exit: Option<&Exit>, reason: &str) -> String {
    match exit {
        Some(exit) if !exit.lost => format!("the container exited with {}", exit.code),
        _ => reason.to_owned(),
    }
}

/// The interfaces of a running task got other rates.
pub fn rates_changed(agent: &Agent, record: &TaskRecord) {
    let message = format!("the rates of task {} were changed", record.name);
    agent.events.publish(new(EventKind::Task, "changed", record.id, &record.name, message));
}

/// What becomes of a task that comes to a status of ECS.
pub fn action(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Provisioning => "provisioning",
        TaskStatus::Pending => "pending",
        TaskStatus::Activating | TaskStatus::Running => "started",
        TaskStatus::Deactivating | TaskStatus::Stopping => "stopping",
        TaskStatus::Deprovisioning => "deprovisioning",
        TaskStatus::Stopped => "stopped",
    }
}

/// Something became of a task of a task definition.
pub fn ecs_task(agent: &Agent, record: &EcsRecord, action: &'static str) {
    let name = format!("{}:{}", record.definition.family, record.revision);
    let reason = record.stopped_reason.as_ref().filter(|_| record.ending());
    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let message = match action {
        "created" => format!("task {} of {name} was placed", record.id),
        "removed" => format!("task {} of {name} is not shown any more", record.id),
        _ => format!("task {} of {name} is {}{why}", record.id, record.status),
    };
    let event = new(EventKind::Task, action, record.id, name, message)
        .with("group", &record.group)
        .with("mode", record.requested.effective())
        .with("status", record.status)
        .with_some("stopCode", record.stop_code.map(|code| format!("{code:?}")));
    agent.events.publish(event);
}

fn addresses(endpoint: &Endpoint) -> Vec<String> {
    endpoint.link.iter().flat_map(|l| &l.addrs).map(|a| a.ip().to_string()).collect()
}

fn attachment(endpoint: &Endpoint, action: &'static str, message: String) -> New {
    let link = endpoint.link.as_ref();
    let addresses = addresses(endpoint);
    new(EventKind::Attachment, action, endpoint.id, &endpoint.owner.name, message)
        .with("mode", endpoint.mode)
        .with("owner", endpoint.owner.id)
        .with_some("network", link.map(|l| &l.network))
        .with_some("interface", link.map(|l| &l.interface))
        .with_some("macAddress", link.map(|l| l.mac))
        .with_some("networkInterfaceId", link.and_then(|l| Some(&l.eni.as_ref()?.id)))
        .with_some("address", Some(addresses.join(",")).filter(|a| !a.is_empty()))
}

/// Where an endpoint stands, in words.
fn place(endpoint: &Endpoint) -> String {
    match &endpoint.link {
        Some(link) => format!("{} on the network {}", addresses(endpoint).join(" and "), link.network),
        None => format!("{} mode", endpoint.mode),
    }
}

fn port(agent: &Agent, port: &Published, action: &'static str, owner: &str, owner_id: impl ToString) {
    let id = format!("{}:{}/{}", port.host, port.host_ports, port.protocol);
    let message = match action {
        "published" => format!("{} {id} leads to port {} of {owner}", port.protocol, port.container),
        _ => format!("{} {id} does not lead to {owner} any more", port.protocol),
    };
    let event = new(EventKind::Port, action, &id, owner, message)
        .with("protocol", port.protocol)
        .with("hostAddress", port.host)
        .with("hostPort", port.host_ports)
        .with("port", port.container)
        .with("owner", owner_id);
    agent.events.publish(event);
}

/// An endpoint stands, and its ports are published.
pub fn attached(agent: &Agent, endpoint: &Endpoint) {
    let owner = &endpoint.owner;
    let message = format!("{} was attached: {}", owner.name, place(endpoint));
    agent.events.publish(attachment(endpoint, "attached", message));
    endpoint.ports.iter().for_each(|p| port(agent, p, "published", &owner.name, owner.id));
}

/// An endpoint was taken away, and its ports with it.
pub fn detached(agent: &Agent, endpoint: &Endpoint) {
    let owner = &endpoint.owner;
    endpoint.ports.iter().for_each(|p| port(agent, p, "unpublished", &owner.name, owner.id));
    let message = format!("{} was detached: {}", owner.name, place(endpoint));
    agent.events.publish(attachment(endpoint, "detached", message));
}

/// A plugin of CNI's reference has made something for a container.
pub fn guest(agent: &Agent, made: &Attachment, action: &'static str) {
    let owner = made.key.owner();
    let (interface, plugin) = (&made.key.interface, &made.key.plugin);
    let message = format!("{interface} of {owner} was {action} by the plugin {plugin}");
    let event = new(EventKind::Attachment, action, made.id, &owner, message)
        .with("plugin", plugin)
        .with("interface", interface)
        .with("network", &made.key.network);
    agent.events.publish(event);
    let of_port = if action == "attached" { "published" } else { "unpublished" };
    made.ports.iter().for_each(|p| port(agent, p, of_port, &owner, made.id));
}

/// The link of a detached endpoint is gone: its addresses are free again.
pub fn released(agent: &Agent, endpoint: &Endpoint) {
    let Some(link) = &endpoint.link else { return };
    within(By::kernel(format!("the link {} is gone", link.host_dev)), || {
        for address in link.addrs.iter().map(IpNetwork::ip) {
            let message = format!("{address} of the network {} is free again", link.network);
            let event = new(EventKind::Address, "released", address, &endpoint.owner.name, message)
                .with("address", address)
                .with("network", &link.network);
            agent.events.publish(event);
        }
    });
}

/// A link on the host is gone that should stand: of an endpoint, or a network's own. That of an ENI is
/// [told](interface_lost) by whoever ends its task.
pub fn link_lost(agent: &Agent, dev: &IfName) {
    // Taken away by a repair, which has made it anew.
    if matches!(agent.kernel.link(&Place::Host, dev), Ok(Some(_))) {
        return;
    }
    let of = |e: &Endpoint| e.link.as_ref().is_some_and(|l| l.host_dev == *dev);
    let by = || By::kernel(format!("the link {dev} is gone: somebody deleted it, or its namespace went"));
    if let Some(endpoint) = agent.engine.find(of) {
        if endpoint.link.as_ref().is_some_and(|l| l.eni.is_none()) {
            let message = format!("{} has lost its link {dev}", endpoint.owner.name);
            within(by(), || agent.events.publish(attachment(&endpoint, "lost", message)));
        }
    } else if let Some(network) = agent.engine.networks().into_iter().find(|n| n.bridge == *dev) {
        let message = format!("the network {} has lost its link {dev}", network.name);
        within(by(), || agent.events.publish(new(EventKind::Network, "lost", network.id, &network.name, message)));
    }
}

/// The interface of a task is gone, which the task ends for.
pub fn interface_lost(agent: &Agent, endpoint: &Endpoint, reason: &str) {
    let message = format!("{} has lost its interface: {reason}", endpoint.owner.name);
    agent.events.publish(attachment(endpoint, "lost", message));
}

/// A network or subnet came, changed or went.
pub fn network(agent: &Agent, network: &Network, action: &'static str) {
    let prefixes = network.prefixes().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let event = match &network.subnet {
        Some(subnet) => {
            let message = format!("the subnet {} ({prefixes}) was {action}", subnet.title);
            new(EventKind::Subnet, action, &network.name, &subnet.title, message).with("backend", subnet.backend)
        }
        None => {
            let message = format!("the network {} ({prefixes}) was {action}", network.name);
            new(EventKind::Network, action, network.id, &network.name, message)
        }
    };
    agent.events.publish(event.with("prefix", prefixes).with("mtu", network.mtu));
}

/// A task joined a network, or left it.
pub fn membership(agent: &Agent, network: &Network, task: &TaskRecord, action: &'static str) {
    let word = if action == "connected" { "was connected to" } else { "was disconnected from" };
    let message = format!("task {} {word} the network {}", task.name, network.name);
    let event = new(EventKind::Network, action, network.id, &network.name, message).with("task", &task.name);
    agent.events.publish(event);
}

/// A security group or prefix list came, changed or went; `what` says how, in words.
pub fn group(agent: &Agent, action: &'static str, id: &str, name: &str, what: &str) {
    let kind = if id.starts_with("pl-") { "prefix list" } else { "security group" };
    let message = format!("the {kind} {name} ({id}) {what}");
    agent.events.publish(new(EventKind::Group, action, id, name, message).with("group", id));
}

/// Something of a service, in the words of ECS where it has them.
pub fn service(agent: &Agent, name: &str, action: &'static str, message: &str) {
    agent.events.publish(new(EventKind::Service, action, name, name, message));
}

/// What an agent before this one had told of a service.
pub fn service_again(agent: &Agent, name: &str, event: EventView) {
    agent.events.publish(new(EventKind::Service, "told", name, name, event.message).at(event.created_at));
}

/// What was put back.
pub fn repaired(agent: &Agent, mended: &Mended) {
    let message = format!("{} was put back as it should be", mended.object);
    let event = new(EventKind::Repair, "repaired", &mended.object, &mended.object, message)
        .because(mended.cause.clone())
        .with("steps", mended.steps.len())
        .with_some("commands", mended.commands());
    agent.events.publish(event);
}
