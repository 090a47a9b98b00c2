//! Namespaces that someone else made: attached by descriptor or path, kept by owner and interface.

use crate::agent::Agent;
use crate::clock;
use netmode_engine::endpoint::{NetnsUse, Owner, OwnerKind};
use netmode_engine::{Attach, Endpoint};
use netmode_kernel::NetnsFd;
use netmode_model::api::{AttachReply, AttachRequest, NetnsRef};
use netmode_model::{ApiError, Code, NetnsName};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Longest time that the kernel may take to delete a link.
const LINK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Attaches a namespace. A second call for the same owner and interface answers what stands.
///
/// # Errors
/// Why not; nothing has changed.
pub fn attach(agent: &Agent, request: AttachRequest, handed: Option<OwnedFd>) -> Result<AttachReply, ApiError> {
    let failed = |e: String| ApiError::new(Code::Unavailable, e);
    if !(1..=255).contains(&request.owner.len()) || request.owner.chars().any(char::is_control) {
        let text = "the owner of an attachment is 1 to 255 characters without control characters; give another one";
        return Err(ApiError::new(Code::Invalid, text));
    }
    let interface = match request.interface {
        Some(name) => name,
        None => "eth0".parse().map_err(|_| failed("no name for a link".into()))?,
    };
    if let Some(endpoint) = find(agent, &request.owner, interface.as_str()) {
        return Ok(reply(&endpoint));
    }
    wait_for_the_last(agent, &request.owner, interface.as_str());
    let netns = open(&request.netns, handed)?;
    let id = clock::fresh_id().map_err(|e| failed(e.to_string()))?;
    let name: NetnsName = format!("nm-{}", id.short()).parse().map_err(|_| failed("no name for a namespace".into()))?;
    agent.kernel.register(&name, netns);
    let attached = agent.attach(&Attach {
        id,
        owner: Owner { kind: OwnerKind::Netns, id, name: request.owner },
        netns: NetnsUse::Foreign(name.clone()),
        interface,
        requested: request.mode,
        net: request.net,
        now: clock::now(),
    });
    if attached.is_err() {
        agent.kernel.finish(&[netmode_model::Final::NetnsDrop { netns: name }]);
    }
    Ok(reply(&attached?))
}

fn open(netns: &NetnsRef, handed: Option<OwnedFd>) -> Result<NetnsFd, ApiError> {
    let checked = match (netns, handed) {
        (NetnsRef::Path(path), _) => NetnsFd::open(Path::new(path)),
        (NetnsRef::Fd(_), Some(fd)) => NetnsFd::from_fd(fd),
        (NetnsRef::Fd(n), None) => {
            let text = format!("no descriptor {n} came with the connection; send it with the first bytes (SCM_RIGHTS)");
            return Err(ApiError::new(Code::BadNetns, text));
        }
    };
    checked.map_err(|e| ApiError::new(Code::BadNetns, format!("{e}; name a network namespace such as /run/netns/NAME")))
}

/// Detaches what the owner has on the interface; nothing is no error.
pub fn detach(agent: &Agent, owner: &str, interface: &str) {
    if let Some(endpoint) = find(agent, owner, interface) {
        agent.detach(endpoint.id);
    }
}

fn find(agent: &Agent, owner: &str, interface: &str) -> Option<Endpoint> {
    agent.engine.find(|e| is_of(e, owner, interface))
}

fn is_of(endpoint: &Endpoint, owner: &str, interface: &str) -> bool {
    let link = endpoint.link.as_ref().map_or("eth0", |l| l.interface.as_str());
    endpoint.owner.kind == OwnerKind::Netns && endpoint.owner.name == owner && link == interface
}

/// The link of a detach just before is deleted behind its reply, and its name must be free again.
fn wait_for_the_last(agent: &Agent, owner: &str, interface: &str) {
    let begun = std::time::Instant::now();
    while agent.engine.is_leaving(|e| is_of(e, owner, interface)) && begun.elapsed() < LINK_PATIENCE {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn reply(endpoint: &Endpoint) -> AttachReply {
    AttachReply { id: endpoint.id, networks: endpoint.views(), network_bindings: endpoint.bindings() }
}
