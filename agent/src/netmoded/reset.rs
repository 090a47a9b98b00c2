//! `system reset`: every task ends, and all that is this agent's goes, out of the kernel and off the disk.
//!
//! What is removed is named by records or bears this instance's mark; nothing else is looked at. Afterwards the
//! agent ends: the next one starts as on a new machine.

use crate::agent::{Agent, blocking};
use crate::registry::Task;
use crate::{beside, life, stop};
use futures::StreamExt;
use netmode_engine::store::Kind;
use netmode_engine::{Apply, Network, Observe, bridge, modes, ruleset};
use netmode_model::system::{ResetReply, ResetRequest};
use netmode_model::{ApiError, Inverse, Op, Place};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// So many tasks are ended at a time.
const AT_ONCE: usize = 16;

/// Whether the agent is being reset: nothing new is made and nothing is mended from then on.
#[derive(Debug, Default)]
pub struct Ending {
    begun: AtomicBool,
    done: Notify,
}

impl Ending {
    /// Whether a reset has begun.
    pub fn begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Begins one; false if another has begun.
    pub fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::SeqCst)
    }

    /// Lets the agent end.
    pub fn done(&self) {
        self.done.notify_one();
    }

    /// Waits until the agent shall end.
    pub async fn come(&self) {
        self.done.notified().await;
    }
}

/// What a reset would do, as commands, in order.
pub fn plan(agent: &Agent, how: ResetRequest) -> Vec<String> {
    let mut lines = Vec::new();
    for task in agent.tasks.all().iter().map(|t| t.now()) {
        if !task.stopped() {
            lines.push(format!("netmode stop {}", task.name));
        }
        if !how.keep_records {
            lines.push(format!("netmode rm {}", task.name));
        }
    }
    for endpoint in agent.engine.endpoints() {
        let steps = modes::detach(&endpoint, agent.engine.settings());
        lines.extend(steps.ops.iter().map(ToString::to_string));
        lines.extend(steps.then.iter().map(ToString::to_string));
    }
    for guest in agent.engine.attachments() {
        lines.extend(guest.undo.iter().rev().map(ToString::to_string));
        lines.extend(guest.behind.iter().map(|dev| format!("ip link del dev {dev}")));
    }
    lines.extend(beside::removal(agent));
    lines.extend(down(agent, &agent.engine.networks()).iter().rev().map(ToString::to_string));
    lines.extend(agent.forwarding.restoration().iter().map(ToString::to_string));
    lines.extend(agent.forwarding.missed().map(|note| format!("# {note}")));
    if !how.keep_records {
        lines.extend(ours(agent).iter().map(|dir| format!("rm -r {}", dir.display())));
    }
    lines
}

/// What takes the networks, the guard and the tables away, oldest first.
fn down(agent: &Agent, networks: &[Network]) -> Vec<Inverse> {
    let settings = agent.engine.settings();
    let walls = agent.engine.host_walls().map(|(ruleset, _)| ruleset);
    let tables = ruleset::rulesets(settings).into_iter().chain(walls);
    let tables = tables.map(|r| Inverse::Op(Op::TableDel { table: r.table }));
    let mut steps: Vec<Inverse> = tables.collect();
    let made = networks.iter().flat_map(|n| bridge::network_up(n, settings));
    for op in bridge::host_up(settings, |_| false).into_iter().chain(made) {
        steps.extend(match op {
            Op::BridgeAdd { dev, .. } | Op::UpperAdd { at: Place::Host, dev, .. } => {
                Some(Inverse::Op(Op::LinkDel { at: Place::Host, dev }))
            }
            Op::RuleAdd(_) | Op::ProhibitAdd(_) => Some(op.inverse()),
            // Addresses and variables go with the link, elements with the table.
            _ => None,
        });
    }
    steps
}

/// Directories that hold nothing but what agents wrote. Others may lie beside them.
fn ours(agent: &Agent) -> Vec<PathBuf> {
    let of = |dir: &Path, names: &[&str]| names.iter().map(|name| dir.join(name)).collect::<Vec<_>>();
    let mut all: Vec<PathBuf> = Kind::ALL.map(|kind| kind.within(&agent.run_dir, &agent.state_dir)).into();
    all.extend(of(&agent.state_dir, &["volumes", "containers", "images"]));
    all.extend(of(&agent.run_dir, &["c", "exits", "runtime"]));
    all.retain(|dir| dir.is_dir());
    all
}

/// Resets. Goes on past failures and tells them all.
pub async fn run(agent: &Arc<Agent>, how: ResetRequest) -> ResetReply {
    let notes = agent.forwarding.missed().into_iter().collect();
    let mut failures = end_tasks(agent, how).await;
    let shared = agent.clone();
    match blocking(move || clear(&shared, how)).await {
        Ok(left) => failures.extend(left),
        Err(error) => failures.push(error.to_string()),
    }
    for failure in &failures {
        tracing::error!(failure, "not done by the reset");
    }
    tracing::info!(failures = failures.len(), "was reset");
    ResetReply { failures, notes }
}

async fn end_tasks(agent: &Arc<Agent>, how: ResetRequest) -> Vec<String> {
    let failures = Mutex::new(Vec::new());
    futures::stream::iter(agent.tasks.all())
        .for_each_concurrent(AT_ONCE, async |task| {
            if let Err(error) = end_task(agent, &task, how).await {
                failures.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
            }
        })
        .await;
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

async fn end_task(agent: &Arc<Agent>, task: &Arc<Task>, how: ResetRequest) -> Result<(), ApiError> {
    stop::stop(agent, task, None).await?;
    if how.keep_records { Ok(()) } else { life::remove(agent, task, true).await }
}

/// Everything but tasks: attachments of others, containers without a task, links, table, rules, records.
fn clear(agent: &Agent, how: ResetRequest) -> Vec<String> {
    for endpoint in agent.engine.endpoints() {
        agent.detach(endpoint.id);
    }
    let guests = agent.engine.attachments();
    let mut failures: Vec<String> =
        guests.iter().flat_map(|guest| agent.engine.remove_attachment(&guest.key, false)).map(text).collect();
    // Tasks took theirs along; what stays for them is neither mounted nor running.
    let take = |id| if how.keep_records { agent.containers.put_away(id) } else { agent.containers.remove(id) };
    match agent.containers.list() {
        Ok(left) => failures.extend(left.into_iter().filter_map(|id| take(id).err()).map(text)),
        Err(error) => failures.push(error.to_string()),
    }
    wait_for_links(agent);
    failures.extend(beside::remove(agent));
    failures.extend(agent.engine.exclusively(|| {
        let mut left: Vec<String> =
            agent.linux.undo(down(agent, &agent.engine.networks())).into_iter().map(text).collect();
        left.extend(orphans(agent));
        left.extend(agent.forwarding.restore().into_iter().map(text));
        left
    }));
    agent.kernel.put_pins_away();
    agent.containers.put_cgroups_away();
    if !how.keep_records {
        for network in agent.engine.networks() {
            failures.extend(agent.store.remove(network.record(), &network.name).err().map(text));
        }
        failures.extend(ours(agent).iter().filter_map(|dir| remove_dir(dir).err()));
    }
    failures
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// The kernel deletes links some milliseconds after their namespace was dropped.
fn wait_for_links(agent: &Agent) {
    agent.until(|| agent.engine.leaving().is_empty());
}

/// Links that bear our mark and that no record named.
fn orphans(agent: &Agent) -> Vec<String> {
    let mark = format!("netmode/{}/", agent.engine.settings().instance);
    let seen = match agent.linux.observe(&[]) {
        Ok(seen) => seen,
        Err(error) => return vec![error.to_string()],
    };
    let marked = seen.links.into_iter().filter(|l| l.alias.as_deref().is_some_and(|a| a.starts_with(&mark)));
    let steps = marked.map(|l| Inverse::Op(Op::LinkDel { at: l.at, dev: l.name })).collect();
    agent.linux.undo(steps).into_iter().map(text).collect()
}

/// Removes a directory, unless something is mounted in it: that may be anybody's.
fn remove_dir(dir: &Path) -> Result<(), String> {
    let failed = |why: String| format!("cannot remove {}: {why}", dir.display());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| failed(e.to_string()))?;
    if let Some(point) = mounts.lines().filter_map(|l| l.split(' ').nth(4)).find(|p| Path::new(p).starts_with(dir)) {
        return Err(failed(format!("{point} is mounted; unmount it and remove the directory")));
    }
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error.to_string())),
        _ => Ok(()),
    }
}
