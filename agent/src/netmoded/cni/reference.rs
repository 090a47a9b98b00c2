//! The reference's plugins: [`netmode_engine::cni`] says what each is made of.

use super::ipam::checked;
use super::{Called, allowlist};
use crate::agent::Agent;
use crate::clock;
use crate::events::told;
use crate::foreign::fresh_failure;
use crate::join::Linux;
use ipnetwork::IpNetwork;
use netmode_engine::cni::{self, Ask, Attachment, Key, Plugin, told};
use netmode_engine::converge::Present;
use netmode_engine::{Host, Observe};
use netmode_kernel::NetnsFd;
use netmode_model::cni::{Call, CniCode, CniError, CniResult, Config, Verb, valid};
use netmode_model::nft::Family;
use netmode_model::op::OpError;
use netmode_model::state::LinkState;
use netmode_model::{ApiError, Code, Id, IfName, NetnsName, Observed, Op, Place};
use serde_json::Value;
use std::os::fd::OwnedFd;

/// What a call is about.
struct Subject<'a> {
    plugin: Plugin,
    call: &'a Call,
    config: &'a Config,
    key: Key,
    only_ask: bool,
}

pub(super) fn answer(
    called: &Called<'_>,
    plugin: Plugin,
    given: Option<CniResult>,
    handed: Option<OwnedFd>,
) -> Result<Option<Value>, CniError> {
    let Called { agent, call, config, only_ask, .. } = *called;
    let subject = Subject { plugin, call, config, key: called.key(), only_ask };
    match call.verb {
        Verb::Add => add(agent, &subject, given, handed),
        Verb::Del => del(agent, &subject, handed).map(|()| None),
        Verb::Check => check(agent, &subject, handed).map(|()| None),
        Verb::Status => plugin.status(config, &agent.linux).map(|()| None),
        Verb::Gc => collect(agent, &subject).map(|()| None),
        Verb::Version => Ok(None),
    }
}

/// A namespace that is known to the kernel crate by a name for as long as a call lasts.
struct Guest<'a> {
    agent: &'a Agent,
    name: NetnsName,
    at: Place,
    inode: u64,
}

impl<'a> Guest<'a> {
    fn enter(agent: &'a Agent, id: Id, netns: NetnsFd) -> Result<Self, CniError> {
        let inode = netns.inode().map_err(|e| CniError::new(CniCode::InvalidNetns, format!("CNI_NETNS: {e}")))?;
        let name = Attachment::netns_name(id).ok_or_else(|| told(&fresh_failure("no name for a namespace")))?;
        agent.kernel.register(&name, netns);
        Ok(Self { agent, at: Place::Netns(name.clone()), name, inode })
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        // Not kept: a namespace that its maker lets go shall go.
        self.agent.kernel.forget(&self.name);
    }
}

/// The namespace that was handed over.
pub(super) fn netns(call: &Call, handed: Option<OwnedFd>) -> Result<NetnsFd, CniError> {
    let path = call.netns.as_deref().unwrap_or_default();
    let bad = |why: String| CniError::new(CniCode::InvalidNetns, format!("CNI_NETNS {path:?}: {why}"));
    let fd = handed.ok_or_else(|| bad("it could not be opened".into()))?;
    NetnsFd::from_fd(fd).map_err(|e| bad(e.to_string()))
}

fn id() -> Result<Id, CniError> {
    clock::fresh_id().map_err(|e| told(&fresh_failure(&e.to_string())))
}

fn refused(error: &OpError) -> CniError {
    told(&ApiError::new(Code::Kernel, error.to_string()))
}

fn add(
    agent: &Agent,
    subject: &Subject<'_>,
    ipam: Option<CniResult>,
    handed: Option<OwnedFd>,
) -> Result<Option<Value>, CniError> {
    let Subject { plugin, call, config, key, only_ask } = subject;
    let previous = config.previous()?;
    let id = id()?;
    let guest = Guest::enter(agent, id, netns(call, handed)?)?;
    make_room(agent, subject, &guest)?;
    let (inside, host) = look(agent, subject, &guest)?;
    let published = match plugin {
        Plugin::Portmap => agent.engine.published_elsewhere(key),
        _ => Vec::new(),
    };
    let ask = Ask {
        published: &published,
        call,
        config,
        id,
        at: &guest.at,
        inside: &inside,
        previous: previous.as_ref(),
        ipam: ipam.as_ref(),
        settings: agent.engine.settings(),
        host: &host,
    };
    if *only_ask {
        return ask.new_link().map(|_| None);
    }
    if *plugin == Plugin::Tuning {
        allowlist::admit(config)?;
    }
    let mut planned = plugin.plan(&ask)?;
    let result = planned.result.take();
    if let Some(lan) = &planned.lan
        && lan.gateways.iter().any(IpNetwork::is_ipv6)
    {
        agent.forwarding.switch_on(Family::V6).map_err(|e| refused(&e))?;
    }
    let opened = plugin == &Plugin::Firewall && !planned.shared.is_empty();
    // Nothing is made whose result the caller's version has no place for.
    let result = result.map(|result| result.document(config.version)).transpose()?;
    let subject = cni::Subject { id, key: key.clone(), netns: guest.inode, now: clock::now() };
    agent.engine.make_attachment(subject, planned, &agent.linux)?;
    agent.engine.attachment(key).iter().for_each(|made| told::guest(agent, made, "attached"));
    if opened {
        agent.beside.look_again();
    }
    match result {
        Some(result) => Ok(Some(result)),
        None => passed_on(config, previous).map(Some),
    }
}

/// What the plan of a plugin depends on: what is in the namespace, and the host.
fn look<'a>(agent: &'a Agent, subject: &Subject<'_>, guest: &Guest<'_>) -> Result<(Observed, Seen<'a>), CniError> {
    let dev = subject.plugin.host_link(subject.config);
    if !subject.plugin.looks_inside() {
        return Ok((Observed::default(), Seen { linux: &agent.linux, link: None }));
    }
    let (inside, link) = agent.kernel.look(&guest.name, dev.as_ref()).map_err(|e| refused(&e))?;
    Ok((inside, Seen { linux: &agent.linux, link: dev.map(|dev| (dev, link)) }))
}

/// The host, of which one link was looked at already.
struct Seen<'a> {
    linux: &'a Linux,
    link: Option<(IfName, Option<LinkState>)>,
}

impl Host for Seen<'_> {
    fn link(&self, dev: &IfName) -> Result<Option<LinkState>, OpError> {
        match &self.link {
            Some((name, link)) if name == dev => Ok(link.clone()),
            _ => self.linux.link(dev),
        }
    }

    fn links(&self) -> Result<Vec<LinkState>, OpError> {
        self.linux.links()
    }

    fn addresses(&self, index: u32) -> Result<Vec<IpNetwork>, OpError> {
        self.linux.addresses(index)
    }

    fn egress(&self) -> Result<Option<IfName>, OpError> {
        self.linux.egress()
    }
}

/// An earlier attachment of the same key is no more if its namespace or its link is; one that stands is in the way, and
/// stays.
fn make_room(agent: &Agent, subject: &Subject<'_>, guest: &Guest<'_>) -> Result<(), CniError> {
    let Subject { plugin, call, key, .. } = subject;
    if let Some(old) = agent.engine.attachment(key) {
        let stands = old.ready && old.netns == guest.inode && !plugin.is_chained();
        let link: IfName = call.link()?;
        let there = || agent.kernel.link(&guest.at, &link).map_err(|e| refused(&e));
        if stands && there()?.is_some() {
            let text = format!("{link} of {} is attached already; call DEL first", key.owner());
            return Err(CniError::new(CniCode::Refused, text));
        }
        take_away(agent, &old, Some(guest));
    }
    for dev in agent.engine.leaving_of(&key.container, &key.interface) {
        agent.until(|| !matches!(agent.kernel.link(&Place::Host, &dev), Ok(Some(_))));
        agent.engine.link_gone(&dev);
    }
    Ok(())
}

/// The result of the plugins before: as it is where it is of the caller's version.
fn passed_on(config: &Config, previous: Option<CniResult>) -> Result<Value, CniError> {
    let same = |value: &&Value| value.get("cniVersion").and_then(Value::as_str) == Some(config.version.as_str());
    match config.get("prevResult").filter(same) {
        Some(value) => Ok(value.clone()),
        None => previous.unwrap_or_default().document(config.version),
    }
}

/// Takes away what plugins have made for an owner's link, as `netmode detach` is asked to.
pub fn detach(agent: &Agent, owner: &str, interface: &str) {
    let fits = |made: &Attachment| made.key.owner() == owner && made.key.interface == interface;
    for made in agent.engine.attachments().into_iter().filter(fits) {
        take_away(agent, &made, None);
    }
}

/// Takes an attachment away. In the namespace only if it is its own.
fn take_away(agent: &Agent, old: &Attachment, guest: Option<&Guest<'_>>) {
    let inside = guest.is_some_and(|guest| guest.inode == old.netns);
    if let (true, Some(guest), Some(name)) = (inside, guest, Attachment::netns_name(old.id)) {
        agent.kernel.alias(&guest.name, &name);
    }
    for failure in agent.engine.remove_attachment(&old.key, inside) {
        tracing::warn!(owner = old.key.owner(), plugin = old.key.plugin, %failure, "could not be taken back");
    }
    if let (true, Some(name)) = (inside, Attachment::netns_name(old.id)) {
        agent.kernel.forget(&name);
    }
    told::guest(agent, old, "detached");
}

/// Whatever the configuration says: the record tells what to take away.
fn del(agent: &Agent, subject: &Subject<'_>, handed: Option<OwnedFd>) -> Result<(), CniError> {
    let key = &subject.key;
    let Some(old) = agent.engine.attachment(key) else { return Err(unknown(key)) };
    // A file that is no namespace any more, or another one, is none.
    let guest = handed.and_then(|fd| NetnsFd::from_fd(fd).ok());
    let guest = guest.map(|netns| Guest::enter(agent, id()?, netns)).transpose()?;
    take_away(agent, &old, guest.as_ref());
    Ok(())
}

/// Nothing of that key is recorded: it is gone, or a plugin before ours has made it. The executable knows whom to ask.
fn unknown(key: &Key) -> CniError {
    let text = format!("no attachment {} of {} by {}; attach it anew", key.interface, key.owner(), key.plugin);
    CniError::new(CniCode::UnknownContainer, text)
}

fn collect(agent: &Agent, subject: &Subject<'_>) -> Result<(), CniError> {
    let Some(valid) = valid(subject.config)? else { return Ok(()) };
    let key = &subject.key;
    let of = |made: &Attachment| made.key.network == key.network && made.key.plugin == key.plugin;
    for stale in agent.engine.attachments().into_iter().filter(of) {
        if !valid.contains(&(stale.key.container.clone(), stale.key.interface.clone())) {
            tracing::info!(owner = stale.key.owner(), "no runtime knows it any more: detached");
            take_away(agent, &stale, None);
        }
    }
    Ok(())
}

fn check(agent: &Agent, subject: &Subject<'_>, handed: Option<OwnedFd>) -> Result<(), CniError> {
    let Subject { plugin, call, config, key, only_ask } = subject;
    checked(config)?;
    let result = config.previous()?.unwrap_or_default();
    let guest = Guest::enter(agent, id()?, netns(call, handed)?)?;
    let seen = agent.linux.observe(std::slice::from_ref(&guest.name)).map_err(|e| refused(&e))?;
    let wrong = |missing: String| {
        let text = format!("{} of {} is not as it should be; missing: {missing}", key.interface, key.owner());
        CniError::new(CniCode::Refused, text)
    };
    let made = agent.engine.attachment(key).filter(|made| made.ready);
    let wanted = match (made, only_ask) {
        (Some(made), false) => cni::expected(&made, *plugin, &guest.at, &result, agent.engine.settings()),
        (None, true) => cni::expected_of_others(&call.link()?, &guest.at, &result),
        _ => return Err(unknown(key)),
    };
    match first_missing(agent, &seen, &wanted) {
        None => Ok(()),
        // The name is gone by now.
        Some(op) => Err(wrong(op.to_string().replace(guest.name.as_str(), "NETNS"))),
    }
}

fn first_missing<'o>(agent: &Agent, seen: &Observed, wanted: &'o [Op]) -> Option<&'o Op> {
    let present = Present::new(seen);
    wanted.iter().find(|op| match op {
        Op::Sysctl { at, key, value } => {
            let now = agent.kernel.variable_at(at, key).unwrap_or_default();
            !now.split_whitespace().eq(value.split_whitespace())
        }
        op => !present.holds(op),
    })
}
