//! What can be refused before anything is made.

use crate::agent::Agent;
use crate::clock;
use crate::task::{Joined, NetworkUse, TaskRecord, VERSION};
use crate::{ecs, exposed, identity, vpc};
use netmode_container::{Containers, Image};
use netmode_engine::modes;
use netmode_kernel::NetnsFd;
use netmode_model::api::{NetOptions, NetworkRef, RunRequest, TaskState};
use netmode_model::{ApiError, Code, DEFAULT_NETWORK, Id, Name, RequestedMode, RestartPolicy};
use std::path::Path;

/// What a request is admitted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To see whether and how it could be.
    Look,
    /// To make the task.
    Make,
    /// To make a container of a task of ECS.
    Within {
        /// The task.
        pod: Id,
        /// The endpoint that it has for all of them.
        endpoint: Option<Id>,
    },
}

impl Intent {
    /// The task of ECS that the container is of.
    fn pod(self) -> Option<Id> {
        match self {
            Self::Within { pod, .. } => Some(pod),
            Self::Look | Self::Make => None,
        }
    }

    /// Whether what is missing appears.
    fn makes(self) -> bool {
        self != Self::Look
    }
}

/// Turns a request into the record of a task that may be made.
///
/// # Errors
/// The first thing that cannot be; nothing has changed.
pub fn admit(
    agent: &Agent,
    mut request: RunRequest,
    image: Option<&Image>,
    intent: Intent,
) -> Result<TaskRecord, ApiError> {
    let id = clock::fresh_id().map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))?;
    let name = match &request.name {
        Some(name) => name.clone(),
        None => {
            format!("task-{}", id.short()).parse::<Name>().map_err(|e| ApiError::new(Code::Invalid, e.to_string()))?
        }
    };
    let Place { requested, netns, networks } = match intent {
        Intent::Within { endpoint: Some(endpoint), .. } => {
            Place::new(RequestedMode::Awsvpc, Joined::Endpoint(endpoint), None)
        }
        Intent::Look | Intent::Make | Intent::Within { .. } => network(agent, &request)?,
    };
    Containers::validate(&request.container).map_err(|e| ApiError::new(e.code(), e.to_string()))?;
    let exposed = image.and_then(|i| i.config.exposed_ports.clone()).unwrap_or_default().into_keys();
    exposed::publish(&mut request, exposed)?;
    let mut record = TaskRecord {
        v: VERSION,
        id,
        name,
        pod: intent.pod(),
        request,
        requested,
        netns,
        endpoint: None,
        more: Vec::new(),
        networks,
        or_else: Vec::new(),
        groups: Vec::new(),
        state: TaskState::Pending,
        created_at: clock::now(),
        started_at: None,
        stopped_at: None,
        exit_code: None,
        stopped_reason: None,
        image_id: image.map(|i| i.digest.clone()),
        kill_at: None,
        ending_reason: None,
        again: crate::task::Again::default(),
    };
    hostname(&record)?;
    resolver(&record.request.net)?;
    port_env(&record.request.net)?;
    restart(&record)?;
    let ipc = record.pod.and_then(|id| ecs::membership(agent, id)).map_or_else(Default::default, |m| m.ipc);
    let of_host = !modes::needs(record.mode()).netns;
    Containers::check_sysctls(&record.request.net.sysctls, of_host, ipc)
        .map_err(|e| ApiError::new(e.code(), e.to_string()))?;
    if record.netns == Joined::Own {
        modes::admit(record.mode(), &record.request.net)?;
    }
    identity::check(&record, &agent.tasks, &agent.engine)?;
    if modes::needs(record.mode()).eni && record.netns == Joined::Own {
        // Last: a request that is refused must not make the default subnet appear.
        let place = vpc::place(agent, &record.request.net, intent.makes())?;
        record.networks = Some(vec![NetworkUse::first(&place.network, &record.request.net)]);
        vpc::keeps_walls(agent, &place, &record.request)?;
        (record.or_else, record.groups) = (place.or_else, place.groups);
    } else if !record.request.net.security_groups.is_empty() {
        vpc::keeps_walls_on_bridge(&record.request)?;
        record.groups = vpc::groups(agent, &record.request.net, intent.makes())?;
    }
    Ok(record)
}

/// Where a task is to be.
struct Place {
    /// The mode.
    requested: RequestedMode,
    /// Whose namespace is used.
    netns: Joined,
    /// The networks to be on, but for a subnet.
    networks: Option<Vec<NetworkUse>>,
}

impl Place {
    fn new(requested: RequestedMode, netns: Joined, networks: Option<Vec<NetworkUse>>) -> Self {
        Self { requested, netns, networks }
    }
}

/// Where a request wants its task to be.
fn network(agent: &Agent, request: &RunRequest) -> Result<Place, ApiError> {
    let needs = |mode: &RequestedMode| modes::needs(mode.effective());
    match &request.network {
        NetworkRef::Mode(mode) if needs(mode).eni && request.networks.is_empty() => {
            Ok(Place::new(*mode, Joined::Own, None))
        }
        other => {
            vpc::only_for_eni(&request.net, other)?;
            elsewhere(agent, request)
        }
    }
}

/// The same outside of the VPC.
fn elsewhere(agent: &Agent, request: &RunRequest) -> Result<Place, ApiError> {
    let needs = |mode: &RequestedMode| modes::needs(mode.effective());
    match &request.network {
        NetworkRef::Mode(mode) if needs(mode).link && !needs(mode).eni => {
            let networks = networks(agent, &request.net, std::iter::once(DEFAULT_NETWORK).chain(further(request)))?;
            Ok(Place::new(*mode, Joined::Own, Some(networks)))
        }
        NetworkRef::Named(name) => {
            let networks = networks(agent, &request.net, std::iter::once(name.as_str()).chain(further(request)))?;
            Ok(Place::new(RequestedMode::Bridge, Joined::Own, Some(networks)))
        }
        other if !request.networks.is_empty() => Err(ApiError::new(
            Code::Conflict,
            format!(
                "--network {other} cannot be joined by other networks; name networks of \"netmode network ls\" alone"
            ),
        )),
        NetworkRef::Mode(mode) => Ok(Place::new(*mode, Joined::Own, None)),
        NetworkRef::Container(name) => {
            own_network_only(&request.network, &request.net)?;
            let task = agent.tasks.find(name)?.now();
            if task.stopped() {
                return Err(ApiError::new(
                    Code::WrongState,
                    format!("cannot join the network of task {name}: it is {}; start it first", task.state),
                ));
            }
            let netns = if task.netns == Joined::Own { Joined::Task(task.id) } else { task.netns };
            Ok(Place::new(task.requested, netns, None))
        }
        NetworkRef::Netns(path) => {
            own_network_only(&request.network, &request.net)?;
            NetnsFd::open(Path::new(path)).map_err(|e| {
                ApiError::new(Code::BadNetns, format!("{e}; name a network namespace such as /run/netns/NAME"))
            })?;
            Ok(Place::new(RequestedMode::None, Joined::Path(path.into()), None))
        }
    }
}

fn further(request: &RunRequest) -> impl Iterator<Item = &str> {
    request.networks.iter().map(String::as_str)
}

/// Networks by the names that people use, each once.
fn networks<'a>(
    agent: &Agent,
    net: &NetOptions,
    named: impl Iterator<Item = &'a str>,
) -> Result<Vec<NetworkUse>, ApiError> {
    let mut all: Vec<NetworkUse> = Vec::new();
    for reference in named {
        let network = agent.engine.network(reference).ok_or_else(|| no_such_network(reference))?;
        if all.iter().any(|n| n.name == network.name) {
            let text = format!("the network {} is named twice; name each once", network.name);
            return Err(ApiError::new(Code::Conflict, text));
        }
        all.push(match all.is_empty() {
            true => NetworkUse::first(&network.name, net),
            false => NetworkUse::of(&network.name),
        });
    }
    Ok(all)
}

fn no_such_network(reference: &str) -> ApiError {
    let unknown = reference.parse::<RequestedMode>().err().map(|e| e.to_string()).unwrap_or_default();
    let text = format!("no network {reference:?} (\"netmode network ls\" lists them), and {unknown}");
    ApiError::new(Code::UnknownMode, text)
}

/// Options of a network of one's own make no sense in somebody else's.
pub fn own_network_only(network: &NetworkRef, net: &NetOptions) -> Result<(), ApiError> {
    let given = [
        ("-p", !net.ports.is_empty()),
        ("-P", net.publish_all),
        ("--expose", !net.expose.is_empty()),
        ("--ip", net.ip.is_some()),
        ("--ip6", net.ip6.is_some()),
        ("--mac-address", net.mac_address.is_some()),
        ("--hostname", net.hostname.is_some()),
        ("--link", !net.links.is_empty()),
        ("--add-host", !net.add_hosts.is_empty()),
        ("--dns", !net.dns.is_empty()),
        ("--dns-search", !net.dns_search.is_empty()),
        ("--dns-option", !net.dns_options.is_empty()),
        ("--network-alias", !net.network_aliases.is_empty()),
        ("--sysctl", !net.sysctls.is_empty()),
        ("--port-env", net.port_env.is_some()),
        ("--net-rate", !net.net_rate.is_unlimited()),
        ("--subnet", !net.subnets.is_empty()),
        ("--security-group", !net.security_groups.is_empty()),
        ("--sg-best-effort", net.sg_best_effort),
        ("--strict-ecs", net.strict_ecs),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(ApiError::new(
            Code::Conflict,
            format!(
                "{flag} cannot be used with --network {network}: that network belongs to another task; give {flag} to that one"
            ),
        )),
        None => Ok(()),
    }
}

/// What becomes a line of resolv.conf(5): the pattern of ECS's dnsSearchDomains, and words for options.
fn resolver(net: &NetOptions) -> Result<(), ApiError> {
    let shown = |text: &str| text.chars().take(80).collect::<String>();
    let domain = |d: &String| {
        let plain = d.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        d == "." || (plain && d.len() <= 254 && d.ends_with(|c: char| c.is_ascii_alphanumeric()))
    };
    if let Some(bad) = net.dns_search.iter().find(|d| !domain(d)) {
        let text = format!("--dns-search {:?} is no domain: letters, digits, \"-\" and \".\"", shown(bad));
        return Err(ApiError::new(Code::Invalid, text));
    }
    let option = |o: &String| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'_');
        (1..=64).contains(&o.len()) && o.bytes().all(plain)
    };
    if let Some(bad) = net.dns_options.iter().find(|o| !option(o)) {
        let text = format!("--dns-option {:?} is no option of resolv.conf, such as ndots:2", shown(bad));
        return Err(ApiError::new(Code::Invalid, text));
    }
    Ok(())
}

/// A name that a shell can read (POSIX, "Name").
fn port_env(net: &NetOptions) -> Result<(), ApiError> {
    let Some(name) = &net.port_env else { return Ok(()) };
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain && (1..=64).contains(&name.len()) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(ApiError::new(
        Code::Invalid,
        format!("--port-env {shown:?} is no name of a variable: letters, digits and \"_\""),
    ))
}

/// A task that removes itself when it ends cannot be started again (docker).
fn restart(record: &TaskRecord) -> Result<(), ApiError> {
    if record.request.auto_remove && record.policy() != RestartPolicy::No {
        let text = format!("--rm and --restart {} exclude each other; leave one of them out", record.policy());
        return Err(ApiError::new(Code::Conflict, text));
    }
    Ok(())
}

/// RFC 1123 §2.1 labels, 63 bytes each as Linux's `sethostname` takes 64 in all.
fn hostname(record: &TaskRecord) -> Result<(), ApiError> {
    let Some(name) = &record.request.net.hostname else { return Ok(()) };
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let ends = name.starts_with(['-', '.']) || name.ends_with(['-', '.']);
    if plain && !ends && (1..=63).contains(&name.len()) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let text = format!("the host name {shown:?} is not allowed: 1 to 63 letters, digits, \"-\", \"_\" and \".\"");
    Err(ApiError::new(Code::Invalid, text))
}
