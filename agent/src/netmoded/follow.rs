//! What the kernel tells is followed: links that go free their addresses, damage is repaired, the MTU follows the
//! egress route.

use crate::agent::{Agent, blocking};
use crate::events::{self, By, told};
use crate::mended::Mended;
use crate::reconcile::{self, Desired, Table};
use crate::{beside, vpc};
use netmode_engine::cni::Attachment;
use netmode_engine::{Apply, Endpoint, Network, Observe, endpoint};
use netmode_kernel::monitor::{Change, Monitor};
use netmode_model::op::OpError;
use netmode_model::state::LinkState;
use netmode_model::{ApiError, Code, IfName, Place};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Changes come in bursts; so long after the first of them everything is looked at once.
const BURST: Duration = Duration::from_millis(10);

/// Pause before what failed, or may have been missed, is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the kernel's messages until the agent ends.
///
/// # Errors
/// The messages cannot be subscribed to.
pub fn watch(agent: &Arc<Agent>) -> std::io::Result<()> {
    let monitor = Monitor::open(&agent.kernel)?;
    let changed = Arc::new(Changed::default());
    look_for_gone(agent);
    tokio::spawn(look_behind(agent.clone(), changed.clone()));
    changed.egress.notify_one();
    beside::begin(agent);
    tokio::spawn(beside::follow(agent.clone()));
    tokio::spawn(sweep(agent.clone(), changed.clone()));
    tokio::spawn(close_wires(agent.clone(), changed.clone()));
    tokio::spawn(listen(agent.clone(), monitor, changed.clone()));
    tokio::spawn(answer(agent.clone(), changed));
    Ok(())
}

/// What has to be looked at.
#[derive(Debug, Default)]
struct Changed {
    /// What is ours.
    ours: Notify,
    /// The way out.
    egress: Notify,
    /// What may not be as it should.
    suspects: Mutex<BTreeSet<Suspect>>,
    /// There is some.
    doubt: Notify,
    /// Links that lead outside and came or changed.
    wires: Mutex<BTreeSet<IfName>>,
    /// There are some.
    plugged: Notify,
    /// Messages were lost.
    missed: Notify,
}

/// What may not be as it should. Those who tell of it look at nothing: asking the kernel takes a thread that may wait.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Suspect {
    /// A link of ours.
    Link(IfName),
    /// The link with this number, if it is a bridge of ours.
    Bridge(u32),
}

impl Changed {
    fn doubt(&self, suspect: Suspect) {
        locked(&self.suspects).insert(suspect);
        self.doubt.notify_one();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a message about a link is a reason to look at it: a bridge of ours whatever it says, a link of an endpoint
/// that is down or no port any more. Endpoints come and go all the time, so looking at everything would be too much.
fn suspect(agent: &Agent, name: &IfName, stands: bool) -> bool {
    let bridge = agent.engine.networks().iter().any(|n| n.bridge == *name);
    bridge || !stands && agent.engine.owns_link(name)
}

/// The bridge of ours with this number.
fn bridge_of(agent: &Agent, index: u32) -> Option<IfName> {
    let name = agent.kernel.link_name(index).ok().flatten()?;
    agent.engine.networks().into_iter().map(|n| n.bridge).find(|bridge| *bridge == name)
}

/// Whether one of the links that were talked about is not as it should be. What was said may be over.
fn doubtful(agent: &Agent, suspects: BTreeSet<Suspect>) -> bool {
    let networks = agent.engine.networks();
    let named = suspects.into_iter().filter_map(|suspect| match suspect {
        Suspect::Link(name) => Some(name),
        Suspect::Bridge(index) => bridge_of(agent, index),
    });
    named.collect::<BTreeSet<_>>().iter().any(|name| {
        let Ok(Some(link)) = agent.kernel.link(&Place::Host, name) else { return true };
        match networks.iter().find(|n| n.bridge == *name) {
            Some(network) if !network.has_host_link() => false,
            Some(network) => !link.up || link.mac != Some(network.mac) || !has_gateways(agent, network),
            None => !link.up || agent.engine.find(|e| is_port(e, &link)).is_none(),
        }
    })
}

fn is_port(endpoint: &Endpoint, link: &LinkState) -> bool {
    endpoint.link.as_ref().is_some_and(|l| l.host_dev == link.name && link.master.as_ref() == Some(&l.bridge))
}

fn has_gateways(agent: &Agent, network: &Network) -> bool {
    let addresses = agent.kernel.host_addresses().unwrap_or_default();
    network.host_addresses().iter().all(|gateway| addresses.contains(gateway))
}

async fn listen(agent: Arc<Agent>, mut monitor: Monitor, changed: Arc<Changed>) {
    loop {
        match monitor.next().await {
            Ok(Change::Link { name: Some(name), gone: true, .. }) => {
                if !seen_gone(&agent, &name) && agent.engine.owns_link(&name) {
                    told::link_lost(&agent, &name);
                    changed.ours.notify_one();
                }
            }
            Ok(Change::Link { name: Some(name), gone: false, stands, .. }) if suspect(&agent, &name, stands) => {
                if agent.engine.networks().iter().any(|n| n.bridge == name) {
                    agent.beside.met(&name);
                }
                changed.doubt(Suspect::Link(name));
            }
            Ok(Change::Address { index, gone: true }) => changed.doubt(Suspect::Bridge(index)),
            Ok(Change::Unlinked { alias }) => vpc::unlinked(&agent, &alias),
            Ok(Change::Table | Change::Rule) => changed.ours.notify_one(),
            Ok(Change::Foreign) => agent.beside.look_again(),
            Ok(Change::Route) => changed.egress.notify_one(),
            Ok(Change::Link { name: Some(name), wire: true, .. }) => {
                locked(&changed.wires).insert(name);
                changed.plugged.notify_one();
            }
            Ok(Change::Link { .. } | Change::Address { .. }) => {}
            Ok(Change::Lost) => {
                changed.missed.notify_one();
                vpc::look_for_lost(&agent);
                tokio::spawn(look_for_wires(agent.clone(), changed.clone()));
                beside::all_bridges(&agent);
                changed.ours.notify_one();
                changed.egress.notify_one();
            }
            Err(error) => {
                tracing::error!(%error, "the kernel's messages cannot be read any more; restart the agent");
                return;
            }
        }
    }
}

/// What happened between the start's comparison and the first message is looked for when the agent has answered: reading
/// everything once more would keep it from that.
async fn look_behind(agent: Arc<Agent>, changed: Arc<Changed>) {
    tokio::time::sleep(AGAIN).await;
    changed.ours.notify_one();
    look_for_wires(agent, changed).await;
}

/// Links may have been plugged in while nobody listened. Behind everything else: it reads every link.
async fn look_for_wires(agent: Arc<Agent>, changed: Arc<Changed>) {
    if let Ok(some) = blocking(move || agent.forwarding.look_again()).await {
        closed(&changed, some);
    }
}

/// Closes what is plugged in to strangers. Beside the repairs: one that fails does not put it off.
async fn close_wires(agent: Arc<Agent>, changed: Arc<Changed>) {
    loop {
        changed.plugged.notified().await;
        let (shared, wires) = (agent.clone(), std::mem::take(&mut *locked(&changed.wires)));
        let work = move || wires.iter().map(|wire| shared.forwarding.met(wire)).collect::<Vec<_>>();
        let all = blocking(work).await.unwrap_or_default();
        all.into_iter().for_each(|some| closed(&changed, some));
    }
}

/// Something was closed to strangers: a repair that went on at that moment may not know it.
fn closed(changed: &Changed, some: Result<bool, OpError>) {
    match some {
        Ok(true) => changed.ours.notify_one(),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "a link that was plugged in is not closed to strangers"),
    }
}

/// Every link that is on its way is looked for.
fn look_for_gone(agent: &Agent) {
    for dev in agent.engine.leaving() {
        if let Ok(None) = agent.kernel.link(&Place::Host, &dev) {
            seen_gone(agent, &dev);
        }
    }
}

/// What a link stood for that was to go is free again. Tells whether it was one.
fn seen_gone(agent: &Agent, dev: &IfName) -> bool {
    let gone = agent.engine.link_gone(dev);
    gone.iter().for_each(|endpoint| told::released(agent, endpoint));
    gone.is_some()
}

async fn answer(agent: Arc<Agent>, changed: Arc<Changed>) {
    loop {
        let shared = agent.clone();
        let work: fn(&Agent) -> Result<(), ApiError> = tokio::select! {
            () = changed.ours.notified() => repair,
            () = changed.egress.notified() => follow_mtu,
            () = changed.doubt.notified() => {
                tokio::time::sleep(BURST).await;
                let suspects = std::mem::take(&mut *locked(&changed.suspects));
                let wrong = blocking(move || doubtful(&shared, suspects)).await;
                if !matches!(wrong, Ok(false)) {
                    changed.ours.notify_one();
                }
                continue;
            }
        };
        let shared = agent.clone();
        tokio::time::sleep(BURST).await;
        if let Err(error) = blocking(move || work(&shared)).await.and_then(|done| done) {
            tracing::error!(%error, "could not be mended and is tried again; see \"netmode doctor\"");
            tokio::time::sleep(AGAIN).await;
            changed.ours.notify_one();
        }
    }
}

/// A link may have gone before its endpoint was detached; then no message tells of it. So may messages have been lost.
async fn sweep(agent: Arc<Agent>, changed: Arc<Changed>) {
    loop {
        let _ = tokio::time::timeout(AGAIN, changed.missed.notified()).await;
        if !agent.engine.leaving().is_empty() {
            let shared = agent.clone();
            let _ = blocking(move || look_for_gone(&shared)).await;
        }
    }
}

/// Compares everything with what is there, and mends.
fn repair(agent: &Agent) -> Result<(), ApiError> {
    let mended = agent.engine.exclusively(|| {
        if agent.ending.begun() {
            return Ok(Vec::new());
        }
        let (networks, endpoints) = (agent.engine.networks(), agent.engine.endpoints());
        let seen = agent.linux.observe(&endpoint::namespaces(&endpoints))?;
        let closed = agent.forwarding.elements()?;
        let (settings, attachments) = (agent.engine.settings(), agent.engine.attachment_elements());
        let walls = agent.engine.host_walls();
        let flushes = agent.engine.attachments().iter().flat_map(Attachment::flushes).collect();
        let (networks, endpoints) = (&networks, &endpoints);
        let desired = Desired { settings, networks, endpoints, closed, attachments, flushes, walls };
        desired.restore(&agent.kernel, &agent.linux, &seen, Table::IfDamaged)
    });
    let mended = mended.map_err(|e| ApiError::new(Code::Kernel, e.to_string()))?;
    agent.metrics.repairs.count(&mended);
    if !mended.is_empty() {
        let steps = mended.iter().map(Mended::count).sum::<usize>();
        tracing::warn!(steps, "somebody changed what is ours; repaired");
    }
    mended.iter().for_each(|mended| told::repaired(agent, mended));
    Ok(())
}

/// Without a configured MTU the networks have that of the egress route.
fn follow_mtu(agent: &Agent) -> Result<(), ApiError> {
    let failed = |e: &dyn std::fmt::Display| ApiError::new(Code::Kernel, e.to_string());
    // No way out for a moment (a lease that is renewed) is no reason to change anything.
    let Some(mtu) = agent.kernel.egress_mtu().map_err(|e| failed(&e))? else { return Ok(()) };
    agent.engine.exclusively(|| {
        for network in agent.engine.networks().into_iter().filter(|n| n.mtu != mtu && !n.mtu_chosen) {
            for step in reconcile::mtu(&network, &agent.engine.endpoints(), mtu) {
                // A link that goes at this moment keeps no other from being changed.
                if let Err(error) = agent.linux.apply(std::slice::from_ref(&step)) {
                    tracing::warn!(network = network.name, %error, "the MTU of a link was not changed");
                }
            }
            agent.engine.set_mtu(&network.name, mtu).map_err(|e| ApiError::new(Code::State, e.to_string()))?;
            tracing::info!(network = network.name, mtu, "the MTU follows the egress route");
            let by = By::kernel("the MTU of the egress route changed");
            events::within(by, || told::network(agent, &Network { mtu, ..network }, "changed"));
        }
        Ok(())
    })
}
