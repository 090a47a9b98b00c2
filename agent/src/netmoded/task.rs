//! A task: what is recorded of it, and what is shown of it.

use netmode_engine::{Endpoint, Engine, modes};
use netmode_model::api::{ContainerView, NetOptions, NetworkInterface, RunRequest, TaskState, TaskView};
use netmode_model::{ConnectRequest, DEFAULT_NETWORK, Id, Mode, Name, RequestedMode, RestartPolicy};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Version of the record that this agent writes.
pub const VERSION: u32 = 1;

/// What is recorded of a task. It outlives the agent and the machine's reboot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// Version of the record.
    pub v: u32,
    /// The id; the container has the same.
    pub id: Id,
    /// The name.
    pub name: Name,
    /// The task of ECS that its container is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Id>,
    /// What was asked for.
    pub request: RunRequest,
    /// The mode asked for.
    pub requested: RequestedMode,
    /// Whose namespace it uses, unless its own endpoint's or the host's.
    pub netns: Joined,
    /// Its endpoint, while it has one: its namespace, and its interface on the first network.
    pub endpoint: Option<Id>,
    /// Endpoints on further networks, in the order in which they came.
    #[serde(default)]
    pub more: Vec<Id>,
    /// The networks that it is to be on, by name, the first of [`TaskRecord::endpoint`]; the default one where nothing
    /// is said.
    #[serde(default)]
    pub networks: Option<Vec<NetworkUse>>,
    /// In awsvpc mode ids of subnets that would do as well as the one in [`TaskRecord::networks`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or_else: Vec<String>,
    /// In awsvpc mode ids of its security groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Where it is in its life.
    pub state: TaskState,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// RFC 3339.
    pub stopped_at: Option<String>,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// Why it stopped.
    pub stopped_reason: Option<String>,
    /// The image by its digest: its name may stand for another one later.
    #[serde(default)]
    pub image_id: Option<String>,
    /// RFC 3339: when it is killed that is being stopped.
    #[serde(default)]
    pub kill_at: Option<String>,
    /// Why it is being ended, where that is not what its container does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending_reason: Option<String>,
    /// What its restart policy has to know.
    #[serde(default)]
    pub again: Again,
}

/// What is recorded for a task's restart policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Again {
    /// Somebody asked it to end.
    pub stopped_by_hand: bool,
    /// It ended and is about to be started.
    pub due: bool,
    /// How often it was started by itself since somebody started it.
    pub count: u32,
    /// How many times in a row it ended soon.
    pub hasty: u32,
}

/// A network that a task is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkUse {
    /// Its name.
    pub name: String,
    /// The addresses that were asked for.
    #[serde(default)]
    pub wanted: ConnectRequest,
}

impl NetworkUse {
    /// A network and nothing special.
    pub fn of(name: &str) -> Self {
        Self { name: name.into(), wanted: ConnectRequest::default() }
    }

    /// The first network of a task, for which the addresses of its options are.
    pub fn first(name: &str, net: &NetOptions) -> Self {
        let (ip, ip6, mac_address) = (net.ip, net.ip6, net.mac_address);
        Self { name: name.into(), wanted: ConnectRequest { ip, ip6, mac_address, ..ConnectRequest::default() } }
    }
}

/// How a task comes by its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Joined {
    /// Its own endpoint's; the host's in host mode.
    Own,
    /// That of another task (`container:NAME`).
    Task(Id),
    /// One that someone else made (`ns:PATH`).
    Path(PathBuf),
    /// That of an endpoint which containers of one task share.
    Endpoint(Id),
}

impl TaskRecord {
    /// The mode in effect.
    pub fn mode(&self) -> Mode {
        self.requested.effective()
    }

    /// The host name with these endpoints: what was asked for, else the ENI's name, else the short id; in host mode the
    /// host's own.
    pub fn hostname(&self, endpoints: &[Endpoint]) -> Option<String> {
        let of_eni = endpoints.iter().find_map(|e| Some(e.link.as_ref()?.eni.as_ref()?.name.clone()));
        let own = || modes::needs(self.mode()).netns.then(|| self.id.short());
        self.request.net.hostname.clone().or(of_eni).or_else(own)
    }

    /// The networks that it is to be on.
    pub fn uses(&self) -> Vec<NetworkUse> {
        self.networks.clone().unwrap_or_else(|| vec![NetworkUse::first(DEFAULT_NETWORK, &self.request.net)])
    }

    /// Its endpoints that stand, the one with the namespace first.
    pub fn endpoints(&self, engine: &Engine) -> Vec<Endpoint> {
        let shared = match &self.netns {
            Joined::Endpoint(id) => Some(id),
            _ => None,
        };
        shared.into_iter().chain(&self.endpoint).chain(&self.more).filter_map(|id| engine.endpoint(*id)).collect()
    }

    /// The image or root directory, as it was named.
    pub fn image(&self) -> String {
        let spec = &self.request.container;
        spec.image.clone().or_else(|| spec.rootfs.clone()).unwrap_or_default()
    }

    /// When it is started again by itself.
    pub fn policy(&self) -> RestartPolicy {
        self.request.container.restart.unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn stopped(&self) -> bool {
        self.state == TaskState::Stopped
    }

    /// The task as `inspect` shows it.
    pub fn view(&self, engine: &Engine, pid: i32) -> TaskView {
        let endpoints = self.endpoints(engine);
        let pin = endpoints.first().and_then(|e| e.netns.name());
        TaskView {
            id: self.id,
            name: self.name.clone(),
            network_mode: self.mode(),
            requested_mode: self.requested,
            state: self.state,
            netns: pin.map(|name| format!("/run/netns/{name}")),
            pid,
            containers: vec![self.container(&endpoints)],
            networks: endpoints.iter().flat_map(Endpoint::views).collect(),
            created_at: self.created_at.clone(),
            started_at: self.started_at.clone(),
            stopped_at: self.stopped_at.clone(),
            stopped_reason: self.stopped_reason.clone(),
            labels: self.request.container.labels.clone(),
            restart_policy: self.policy(),
            restart_count: self.again.count,
            restarting: self.again.due,
        }
    }

    fn container(&self, endpoints: &[Endpoint]) -> ContainerView {
        let interfaces = endpoints.iter().filter_map(|e| {
            let link = e.link.as_ref()?;
            let text = |v4| link.addr(v4).map(|ip| ip.to_string());
            Some(NetworkInterface {
                attachment_id: e.id.to_string(),
                private_ipv4_address: text(true),
                ipv6_address: text(false),
            })
        });
        ContainerView {
            name: self.name.clone(),
            image: self.image(),
            image_id: self.image_id.clone(),
            command: self.request.container.command.clone(),
            exit_code: self.exit_code,
            network_bindings: endpoints.iter().flat_map(Endpoint::bindings).collect(),
            network_interfaces: interfaces.collect(),
        }
    }
}
