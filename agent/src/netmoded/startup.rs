//! The start: what is recorded and what exists are compared and made equal.
//!
//! Attachments that are complete are adopted without touching them; those that are half-made are removed;
//! records of namespaces that a reboot took are dropped. Nothing is removed that no record and no mark of
//! this instance names.

use crate::clock;
use crate::config::Config;
use crate::forwarding::Forwarding;
use crate::join::Linux;
use crate::legacy::Legacy;
use crate::mended::Mended;
use crate::reconcile::{Desired, Table};
use netmode_agent::settings;
use netmode_engine::cni::{self, Attachment};
use netmode_engine::converge::{self, Present};
use netmode_engine::endpoint::{self, NetnsUse, Progress};
use netmode_engine::settings::HostFacts;
use netmode_engine::store::{self, FileStore, Kind, Store};
use netmode_engine::vpc::{self, Group, Groups};
use netmode_engine::{Apply, Endpoint, Engine, Network, Observe, Settings, modes};
use netmode_kernel::{Kernel, NetnsFd};
use netmode_model::nft::Family;
use netmode_model::op::OpError;
use netmode_model::{Id, IfName, Inverse, NetnsName, Observed, Op, Place};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// MTU where there is no way out to take it from, in bytes.
const ETHERNET: u32 = 1500;

/// What is ready when the agent is.
pub struct Started {
    /// Decisions.
    pub engine: Arc<Engine>,
    /// The kernel, as the engine sees it.
    pub linux: Linux,
    /// Records.
    pub store: Arc<dyn Store>,
    /// The host's forwarding.
    pub forwarding: Forwarding,
}

/// Brings the host into the state that the records describe.
///
/// # Errors
/// Records that a newer agent wrote, no free pool, or a kernel that refuses a step.
pub fn start(
    config: &Config,
    kernel: &Arc<Kernel>,
    legacy: &Legacy,
    run_dir: &Path,
    state_dir: &Path,
) -> anyhow::Result<Started> {
    let settings = settings::of(config, kernel)?;
    let linux = Linux::new(kernel.clone(), legacy.keeper.clone(), legacy.inherited.clone())?;
    linux.keep_table();
    let store: Arc<dyn Store> = Arc::new(FileStore::open(run_dir, state_dir)?);
    let networks = networks(&settings, kernel, &*store)?;
    let records = store::list::<Endpoint>(&*store, Kind::Endpoint, endpoint::VERSION.into())?;
    told(&records.set_aside);
    let pins: Vec<NetnsName> = records.records.iter().filter_map(|e| e.netns.name().cloned()).collect();
    let known = pins.into_iter().filter(|p| kernel.adopt(p).is_ok());
    let known: Vec<NetnsName> = known.chain(records.records.iter().filter_map(|e| reopen(kernel, e))).collect();
    let mut seen = linux.observe(&known)?;
    recognise(kernel, &settings, &records.records, &mut seen);
    let (standing, gone) = sort(records.records, &seen);
    let forwarding =
        Forwarding::open(kernel.clone(), linux.clone(), settings.table.clone(), run_dir, config.firewall.forward);
    let with_v6 = networks.iter().any(|n| n.v6.is_some());
    let closed = forwarding.elements()?;
    let guests = store::list::<Attachment>(&*store, Kind::Attachment, cni::VERSION.into())?;
    told(&guests.set_aside);
    let whole = guests.records.iter().filter(|guest| guest.ready && !guest.leaving);
    let attachments = whole.clone().flat_map(|guest| guest.elements(&settings.table)).collect();
    let flushes = whole.flat_map(Attachment::flushes).collect();
    let groups = groups(&*store)?;
    let walls = (!groups.groups.is_empty()).then(|| vpc::host_walls(&groups, &networks, &standing, &settings));
    let desired =
        Desired { settings: &settings, networks: &networks, endpoints: &standing, closed, attachments, flushes, walls };
    let mended = desired.restore(kernel, &linux, &seen, Table::Always)?;
    let steps = mended.iter().map(Mended::count).sum::<usize>();
    forwarding.switch_on(Family::V4)?;
    if with_v6 {
        forwarding.switch_on(Family::V6)?;
    }
    tracing::info!(steps, adopted = standing.len(), "compared what is recorded and what is");
    let outside = Arc::new(linux.clone());
    let engine = Engine::new(settings, networks, groups, outside.clone(), outside, store.clone());
    for endpoint in gone {
        clear(&engine, &linux, &*store, &endpoint);
    }
    orphans(&engine, &linux, &seen, &standing);
    for endpoint in standing {
        adopt(&engine, endpoint);
    }
    for guest in guests.records {
        adopt_guest(&engine, &linux, &*store, guest);
    }
    // Sockets of endpoints that are no more.
    legacy.inherited.clear();
    Ok(Started { engine: Arc::new(engine), linux, store, forwarding })
}

/// Security groups and prefix lists, as recorded.
fn groups(store: &dyn Store) -> anyhow::Result<Groups> {
    let groups = store::list::<Group>(store, Kind::Group, vpc::groups::VERSION.into())?;
    let lists = store::list::<vpc::groups::List>(store, Kind::PrefixList, vpc::groups::VERSION.into())?;
    told(&groups.set_aside);
    told(&lists.set_aside);
    Ok(Groups {
        groups: groups.records.into_iter().map(|g| (g.id.clone(), g)).collect(),
        lists: lists.records.into_iter().map(|l| (l.list.prefix_list_id.clone(), l.list)).collect(),
    })
}

/// Names the records that could not be read.
pub fn told(set_aside: &[String]) {
    for sentence in set_aside {
        tracing::error!("{sentence}");
    }
}

fn networks(settings: &Settings, kernel: &Kernel, store: &dyn Store) -> anyhow::Result<Vec<Network>> {
    let listing = store::list::<Network>(store, Kind::Network, netmode_engine::network::VERSION.into())?;
    told(&listing.set_aside);
    let mut networks = listing.records;
    let listing = store::list::<Network>(store, Kind::Subnet, netmode_engine::network::VERSION.into())?;
    told(&listing.set_aside);
    networks.extend(listing.records);
    if !networks.iter().any(Network::built_in) {
        networks.push(default_network(settings, kernel, store)?);
    }
    Ok(networks)
}

fn default_network(settings: &Settings, kernel: &Kernel, store: &dyn Store) -> anyhow::Result<Network> {
    let network = Network::default_bridge(settings, &facts(kernel, &[])?, clock::fresh_id()?, clock::now())?;
    if let Some(reason) = &network.pool_reason {
        tracing::warn!(pool = %network.prefix(), reason, "the first pool is not free");
    }
    store::put(store, Kind::Network, &network.name, &network)?;
    Ok(network)
}

/// What of the host decides about networks, beside those that there are.
///
/// # Errors
/// A dump that the kernel refused.
pub fn facts(kernel: &Kernel, networks: &[Network]) -> Result<HostFacts, OpError> {
    let around = kernel.surroundings(networks.iter().flat_map(Network::prefixes).collect())?;
    Ok(HostFacts { prefixes: around.prefixes, egress_mtu: around.egress_mtu.unwrap_or(ETHERNET) })
}

/// The namespace of someone else that an ENI without an end on the host is in, if it can still be found.
fn reopen(kernel: &Kernel, endpoint: &Endpoint) -> Option<NetnsName> {
    let NetnsUse::Foreign(name) = &endpoint.netns else { return None };
    endpoint.link.as_ref().filter(|link| !link.has_host_end())?;
    kernel.register(name, NetnsFd::of_inode(endpoint.inode?)?);
    Some(name.clone())
}

/// Takes what was [reopened](reopen) for the endpoint's if the ENI is in it; another one that has got its number is let go.
fn recognise(kernel: &Kernel, settings: &Settings, records: &[Endpoint], seen: &mut Observed) {
    for endpoint in records {
        let NetnsUse::Foreign(name) = &endpoint.netns else { continue };
        match converge::bears_our_link(endpoint, settings, seen) {
            // No pin has its name, and yet it was looked into.
            true => _ = seen.netns.insert(name.clone()),
            false => kernel.forget(name),
        }
    }
}

/// Those whose namespace lives and that were complete, and the others. A namespace that was handed over cannot be
/// looked into any more; its link on the host tells whether it lives, or where there is none, what was [recognised](recognise).
fn sort(records: Vec<Endpoint>, seen: &Observed) -> (Vec<Endpoint>, Vec<Endpoint>) {
    let present = Present::new(seen);
    records.into_iter().partition(|e| {
        let alive = match (&e.netns, &e.link) {
            (NetnsUse::Host, _) => true,
            (NetnsUse::Own(name) | NetnsUse::Joined(name), _) => seen.netns.contains(name),
            (NetnsUse::Foreign(name), Some(link)) if !link.has_host_end() => seen.netns.contains(name),
            (NetnsUse::Foreign(_), link) => link.as_ref().is_some_and(|l| present.has_link(&l.host_dev)),
        };
        e.progress == Progress::Ready && alive
    })
}

/// Removes what is left of an attachment that is not whole.
fn clear(engine: &Engine, linux: &Linux, store: &dyn Store, endpoint: &Endpoint) {
    let plan = modes::detach(endpoint, engine.settings());
    // A link without an end on the host is taken out of a namespace that stays.
    let inside = |op: &Op| matches!(op, Op::LinkDel { at: Place::Netns(_), .. } | Op::TableDel { .. });
    let _ = linux.undo(plan.ops.into_iter().rev().filter(inside).map(Inverse::Op).collect());
    // Its elements went with the table's replacement; what else is not there is done already.
    for failure in linux.finish(&plan.then) {
        tracing::warn!(endpoint = %endpoint.id, %failure, "could not be removed");
    }
    let _ = store.remove(Kind::Endpoint, &endpoint.id.to_string());
    tracing::info!(endpoint = %endpoint.id, owner = endpoint.owner.name, "removed what was not whole");
}

/// Deletes links that bear our mark and that no record names: of endpoints and of networks.
fn orphans(engine: &Engine, linux: &Linux, seen: &Observed, standing: &[Endpoint]) {
    let mark = format!("netmode/{}/", engine.settings().instance);
    let networks = engine.networks();
    let standing: HashSet<Id> = standing.iter().map(|e| e.id).collect();
    let known = |what: &str| match what.split_once('/') {
        Some(("endpoint", id)) => {
            id.split('/').next().unwrap_or_default().parse().is_ok_and(|id| standing.contains(&id))
        }
        Some(("network", id)) => networks.iter().any(|n| n.id.short() == id),
        _ => true,
    };
    for link in seen.links.iter().filter(|l| l.at == Place::Host) {
        if link.alias.as_deref().and_then(|alias| alias.strip_prefix(&mark)).is_some_and(|what| !known(what)) {
            tracing::info!(link = %link.name, "deleted a link without a record");
            linux.undo(vec![Inverse::Op(Op::LinkDel { at: Place::Host, dev: link.name.clone() })]);
        }
    }
    // The refusing routes of networks that are no more.
    let table = engine.settings().guard_table;
    let stale = seen.prohibited.iter().filter(|p| p.table == table);
    let stale = stale.filter(|p| !networks.iter().any(|n| n.prefixes().contains(&p.to)));
    linux.undo(stale.map(|p| Inverse::Op(Op::ProhibitDel(*p))).collect());
}

fn adopt(engine: &Engine, endpoint: Endpoint) {
    let owner = endpoint.owner.name.clone();
    for (port, why) in engine.adopt(endpoint) {
        tracing::error!(owner, %port, why, "a published port was lost while no agent held it; its mapping stays");
    }
}

/// Takes an attachment of a CNI plugin over, or ends taking it away. Of one that was being made when the agent ended, what is on the host is taken
/// back here; the record stays until DEL, which has the namespace.
fn adopt_guest(engine: &Engine, linux: &Linux, store: &dyn Store, mut guest: Attachment) {
    let drop_link = |dev: &IfName| Inverse::Op(Op::LinkDel { at: Place::Host, dev: dev.clone() });
    if guest.leaving {
        linux.undo(guest.behind.iter().map(drop_link).collect());
        let _ = store.remove(Kind::Attachment, &guest.id.to_string());
        return;
    }
    if !guest.ready {
        linux.undo(guest.undo.clone());
        linux.undo(guest.behind.iter().map(drop_link).collect());
        (guest.ports, guest.shared) = (Vec::new(), Vec::new());
        tracing::info!(owner = guest.key.owner(), plugin = guest.key.plugin, "removed what was not whole");
    }
    engine.adopt_attachment(guest);
}
