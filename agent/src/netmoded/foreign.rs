//! Namespaces that someone else made: attached by descriptor or path, kept by caller, owner and interface.

use crate::agent::Agent;
use crate::{clock, vpc};
use netmode_engine::converge::{self, Present};
use netmode_engine::endpoint::{NetnsUse, Owner, OwnerKind};
use netmode_engine::{Attach, AttachError, Endpoint, Observe, bridge, modes, ruleset};
use netmode_kernel::NetnsFd;
use netmode_model::api::{AttachReply, AttachRequest, NetnsRef};
use netmode_model::{ApiError, Code, DEFAULT_NETWORK, Final, Id, IfName, NetnsName, Op};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Longest owner, in bytes: that of CNI is the name of a network and the id of a container, 255 each.
const LONGEST_OWNER: usize = 520;

/// What an attachment is found again by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The caller's user id; root finds everybody's.
    pub uid: u32,
    /// Who asked for it.
    pub owner: String,
    /// The link inside.
    pub interface: IfName,
}

impl Key {
    /// The key of a request; the interface is `eth0` where none is given.
    ///
    /// # Errors
    /// An owner that cannot be.
    pub fn new(uid: u32, owner: String, interface: Option<IfName>) -> Result<Self, ApiError> {
        if !(1..=LONGEST_OWNER).contains(&owner.len()) || owner.chars().any(char::is_control) {
            let text = format!(
                "the owner of an attachment is 1 to {LONGEST_OWNER} characters without control characters; give another one"
            );
            return Err(ApiError::new(Code::Invalid, text));
        }
        let interface = interface.or_else(|| "eth0".parse().ok());
        let interface = interface.ok_or_else(|| ApiError::new(Code::Unavailable, "no name for a link"))?;
        Ok(Self { uid, owner, interface })
    }

    fn fits(&self, endpoint: &Endpoint) -> bool {
        let link = endpoint.link.as_ref().map_or("eth0", |l| l.interface.as_str());
        let owner = &endpoint.owner;
        let same = owner.kind == OwnerKind::Netns && owner.name == self.owner && link == self.interface.as_str();
        same && (self.uid == 0 || owner.uid == self.uid)
    }
}

/// Keys that are being attached or detached: one at a time for each.
#[derive(Debug, Default)]
pub struct Busy {
    keys: Mutex<HashSet<(String, IfName)>>,
    freed: Condvar,
}

/// A key that is held; dropped, the next one goes on.
pub struct Turn<'a>(&'a Busy, (String, IfName));

impl Busy {
    /// Waits for the turn of a link of an owner. Not by user: two users may mean the same link of the same namespace.
    pub fn turn(&self, owner: &str, interface: &IfName) -> Turn<'_> {
        let key = (owner.to_owned(), interface.clone());
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = self.freed.wait_while(keys, |k| k.contains(&key)).unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.clone());
        Turn(self, key)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
        self.0.freed.notify_all();
    }
}

/// Attaches a namespace. A second call for the same key answers what stands, where it may come `again`; else it is an
/// error.
///
/// # Errors
/// Why not; nothing has changed.
pub fn attach(
    agent: &Agent,
    key: Key,
    request: AttachRequest,
    handed: Option<OwnedFd>,
    again: bool,
) -> Result<AttachReply, ApiError> {
    let _turn = agent.busy.turn(&key.owner, &key.interface);
    match agent.engine.find(|e| key.fits(e)) {
        Some(endpoint) if again => Ok(reply(&endpoint)),
        Some(_) => Err(not_new(&key)),
        None => make(agent, key, request, handed),
    }
}

/// Whether a key has no attachment.
///
/// # Errors
/// It has one.
pub fn must_be_new(agent: &Agent, key: &Key) -> Result<(), ApiError> {
    if agent.engine.find(|e| key.fits(e)).is_none() { Ok(()) } else { Err(not_new(key)) }
}

fn not_new(key: &Key) -> ApiError {
    let text = format!("{} of {} is attached already; detach it first", key.interface, key.owner);
    ApiError::new(Code::WrongState, text)
}

fn make(agent: &Agent, key: Key, request: AttachRequest, handed: Option<OwnedFd>) -> Result<AttachReply, ApiError> {
    let place = place(agent, &request)?;
    wait_for_the_last(agent, &key);
    let netns = open(&request.netns, handed)?;
    let inode = netns.inode().ok();
    owned_by(&netns, key.uid)?;
    // What another interface has left there is taken away behind its detaching, a way out among it.
    agent.until(|| inode.is_none() || !agent.engine.is_leaving(|e| e.inode == inode));
    // A namespace has one way out: the first that it got from us.
    let leads_out = |e: &Endpoint| e.inode == inode && e.link.as_ref().is_some_and(|l| !l.gateways.is_empty());
    let default_route = inode.is_none() || agent.engine.find(leads_out).is_none();
    let (id, name) = fresh_name()?;
    agent.kernel.register(&name, netns);
    let attached = agent.attach(&Attach {
        id,
        owner: Owner { kind: OwnerKind::Netns, id, name: key.owner, uid: key.uid },
        netns: NetnsUse::Foreign(name.clone()),
        inode,
        interface: key.interface,
        requested: request.mode,
        network: place.network,
        or_else: place.or_else,
        groups: place.groups,
        default_route,
        net: request.net,
        now: clock::now(),
        begun: Instant::now(),
    });
    if attached.is_err() {
        agent.kernel.finish(&[Final::NetnsDrop { netns: name }]);
    }
    Ok(reply(&attached?))
}

/// Where a request wants to be attached.
fn place(agent: &Agent, request: &AttachRequest) -> Result<vpc::Place, ApiError> {
    let needs = modes::needs(request.mode.effective());
    match needs.eni {
        true => vpc::place(agent, &request.net, true),
        false => Ok(vpc::Place { network: network(agent, request)?, ..vpc::Place::default() }),
    }
}

/// Name of the network of a request.
fn network(agent: &Agent, request: &AttachRequest) -> Result<String, ApiError> {
    let Some(wanted) = &request.network else { return Ok(DEFAULT_NETWORK.into()) };
    if !modes::needs(request.mode.effective()).link {
        let text = format!("the network {wanted} is for bridge mode; leave it out, or choose that mode");
        return Err(ApiError::new(Code::Conflict, text));
    }
    let found = agent.engine.network(wanted).map(|network| network.name);
    found.ok_or_else(|| AttachError::NoSuchNetwork(wanted.clone()).into())
}

/// A fresh id, and the name that a namespace is registered by with it.
fn fresh_name() -> Result<(Id, NetnsName), ApiError> {
    let id = clock::fresh_id().map_err(|e| fresh_failure(&e.to_string()))?;
    let name = format!("nm-{}", id.short()).parse().map_err(|_| fresh_failure("no name for a namespace"))?;
    Ok((id, name))
}

/// There is nothing fresh to be had.
pub fn fresh_failure(why: &str) -> ApiError {
    ApiError::new(Code::Unavailable, why)
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

/// Whoever is not root attaches only namespaces of user namespaces of his own: a descriptor alone shows nothing,
/// the pins of others can be opened by everybody.
fn owned_by(netns: &NetnsFd, uid: u32) -> Result<(), ApiError> {
    if uid == 0 {
        return Ok(());
    }
    match netns.owner() {
        Ok(owner) if owner == uid => Ok(()),
        Ok(owner) => {
            let text = format!(
                "the namespace belongs to user {owner}, not to user {uid}; attach one of your own, or use sudo"
            );
            Err(ApiError::new(Code::Forbidden, text))
        }
        Err(error) => {
            Err(ApiError::new(Code::BadNetns, format!("cannot tell whose namespace it is: {error}; use sudo")))
        }
    }
}

/// The link of a detach just before is deleted behind its reply, and its name must be free again.
fn wait_for_the_last(agent: &Agent, key: &Key) {
    agent.until(|| !agent.engine.is_leaving(|e| key.fits(e)));
}

/// Looks whether an attachment is as it should be: its namespace, handed over anew, and all that it stands on.
///
/// # Errors
/// There is none, or what is missing first, as a command.
pub fn check(agent: &Agent, key: &Key, netns: &NetnsRef, handed: Option<OwnedFd>) -> Result<(), ApiError> {
    let netns = open(netns, handed)?;
    owned_by(&netns, key.uid)?;
    let Some(endpoint) = agent.engine.find(|e| key.fits(e)) else {
        let text = format!("no attachment {} of {}; attach it anew", key.interface, key.owner);
        return Err(ApiError::new(Code::NotFound, text));
    };
    // Under a name of its own for the while: that it is the endpoint's own is what is being asked.
    let (_, name) = fresh_name()?;
    agent.kernel.register(&name, netns);
    let seen = agent.linux.observe(std::slice::from_ref(&name));
    agent.kernel.finish(&[Final::NetnsDrop { netns: name.clone() }]);
    let mut seen = seen.map_err(|e| ApiError::new(Code::Kernel, e.to_string()))?;
    // No pin has its name, and yet it was looked into.
    seen.netns.insert(name.clone());
    let settings = agent.engine.settings();
    let tables = ruleset::rulesets(settings).into_iter().map(Op::TableAdd);
    let network = endpoint.link.as_ref().and_then(|link| agent.engine.network(&link.network));
    let below = network.iter().flat_map(|network| bridge::network_up(network, settings));
    let looked_at = Endpoint { netns: NetnsUse::Foreign(name.clone()), ..endpoint };
    let own = converge::expected(&looked_at, settings, &seen);
    let present = Present::new(&seen);
    let host = bridge::host_up(settings, |dev| present.has_link(dev));
    let wanted: Vec<Op> = tables.chain(host).chain(below).chain(own).collect();
    // Variables are not read back.
    match wanted.iter().find(|op| !matches!(op, Op::Sysctl { .. }) && !present.holds(op)) {
        None => Ok(()),
        Some(op) => {
            // The name is gone by now.
            let missing = op.to_string().replace(name.as_str(), "NETNS");
            let text = format!("{} of {} is not as it should be; missing: {missing}", key.interface, key.owner);
            Err(ApiError::new(Code::WrongState, text))
        }
    }
}

/// Detaches what the owners that begin so have, but for what is listed. A user's request is about his own alone.
pub fn collect(agent: &Agent, uid: u32, prefix: &str, keep: &[Key]) {
    let about = |e: &Endpoint| {
        let owner = &e.owner;
        let his = uid == 0 || owner.uid == uid;
        his && owner.kind == OwnerKind::Netns && owner.name.starts_with(prefix)
    };
    let stale = agent.engine.endpoints().into_iter().filter(|e| about(e) && !keep.iter().any(|key| key.fits(e)));
    for endpoint in stale {
        tracing::info!(owner = endpoint.owner.name, "no runtime knows it any more: detached");
        agent.detach(endpoint.id);
    }
}

/// Detaches what the key names; nothing is no error.
pub fn detach(agent: &Agent, key: &Key) {
    let _turn = agent.busy.turn(&key.owner, &key.interface);
    if let Some(endpoint) = agent.engine.find(|e| key.fits(e)) {
        agent.detach(endpoint.id);
    }
}

fn reply(endpoint: &Endpoint) -> AttachReply {
    AttachReply { id: endpoint.id, networks: endpoint.views(), network_bindings: endpoint.bindings() }
}
