//! Beside other firewalls: two rules in each that would drop what is ours, kept there and shown by the doctor.

use crate::agent::{Agent, blocking};
use netmode_agent::checks::finding;
use netmode_agent::firewalls;
use netmode_container::{FIREWALLD_ZONE, Firewalld, FirewalldError};
use netmode_engine::Network;
use netmode_engine::beside::{self, Way};
use netmode_kernel::Kernel;
use netmode_model::api::{Finding, Level};
use netmode_model::foreign::RuleChange;
use netmode_model::op::OpError;
use netmode_model::{IfName, Place};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Changes come in bursts; so long after the first of them everything is looked at once.
const BURST: Duration = Duration::from_millis(10);

/// Longest pause before somebody who takes our rules away, or moves his own behind them, is answered again.
const PATIENCE: Duration = Duration::from_secs(2);

/// So often somebody is answered at once: who starts a daemon or edits rules does not quarrel.
const AT_ONCE: u32 = 8;

/// After so many pauses without a change of ours, and [`PATIENCE`] at least, the quarrel is over: a busy machine makes
/// even a fierce one halt for a moment.
const QUIET: u32 = 8;

/// firewalld's table is there before firewalld answers.
const AGAIN: Duration = Duration::from_secs(2);

/// So often it is asked again.
const TRIES: u32 = 5;

/// What the agent keeps of it.
#[derive(Debug, Default)]
pub struct Beside {
    /// Firewalls of others, or our bridges, may have changed.
    changed: Notify,
    /// Bridges of ours that may be in another group.
    bridges: Mutex<BTreeSet<IfName>>,
    /// Whether all was taken away for good. One at a time compares and writes: nobody tells us of what we wrote.
    ended: Mutex<bool>,
}

impl Beside {
    /// Has everything looked at again, soon.
    pub fn look_again(&self) {
        self.changed.notify_one();
    }

    /// A bridge of ours came, or changed.
    pub fn met(&self, bridge: &IfName) {
        self.bridges().insert(bridge.clone());
        self.look_again();
    }

    fn bridges(&self) -> MutexGuard<'_, BTreeSet<IfName>> {
        self.bridges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, bool> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the rules in, and has the rest looked at behind that.
pub fn begin(agent: &Agent) {
    all_bridges(agent);
    rules(agent);
    agent.beside.look_again();
}

/// Has everything looked at again, every bridge included.
pub fn all_bridges(agent: &Agent) {
    agent.beside.bridges().extend(bridges(agent));
    agent.beside.look_again();
}

/// Follows the changes of others until the agent ends.
pub async fn follow(agent: Arc<Agent>) {
    let (mut answers, mut last, mut tries) = (0, Instant::now(), 0);
    loop {
        agent.beside.changed.notified().await;
        if last.elapsed() > (pause(answers) * QUIET).max(PATIENCE) {
            answers = 0;
        }
        tokio::time::sleep(pause(answers)).await;
        let shared = agent.clone();
        let changes = blocking(move || rules(&shared)).await.unwrap_or_default();
        if changes > 0 {
            answers += 1;
            last = Instant::now();
        }
        let shared = agent.clone();
        let asked = blocking(move || firewalld(&shared)).await;
        tries = if matches!(asked, Ok(true)) { 0 } else { tries + 1 };
        if (1..TRIES).contains(&tries) {
            tokio::time::sleep(AGAIN).await;
            agent.beside.look_again();
        }
    }
}

/// How long the next answer waits after so many. In the end twice as long each time: two who both want to be last would
/// otherwise do nothing else.
fn pause(answers: u32) -> Duration {
    (BURST * 2u32.saturating_pow(answers.saturating_sub(AT_ONCE))).min(PATIENCE)
}

/// Whether the configuration in force wants it.
fn is_on(agent: &Agent) -> bool {
    agent.config.read().unwrap_or_else(PoisonError::into_inner).firewall.beside
}

fn bridges(agent: &Agent) -> Vec<IfName> {
    let own = agent.engine.networks().into_iter().filter(Network::has_host_link).map(|network| network.bridge);
    own.chain(agent.engine.open_links()).collect()
}

fn look(agent: &Agent, wanted: bool) -> Result<beside::Beside, OpError> {
    Ok(beside::compare(&agent.kernel.foreign()?, &bridges(agent), agent.engine.settings(), wanted))
}

/// Has the rules where they should be, and tells how many changes that took. What is refused goes to the log; whoever
/// changed it meanwhile causes another look.
fn rules(agent: &Agent) -> usize {
    let ended = agent.beside.turn();
    let met = std::mem::take(&mut *agent.beside.bridges());
    for bridge in met {
        if let Err(error) = agent.kernel.put_in_group(&bridge, agent.engine.settings().group) {
            tracing::warn!(%error, "other firewalls will not know the traffic of this bridge");
            agent.beside.bridges().insert(bridge);
        }
    }
    let (changes, failures) = match look(agent, is_on(agent) && !*ended) {
        Ok(seen) => settle(&agent.kernel, &seen.changes),
        Err(error) => (0, vec![error]),
    };
    for error in failures {
        tracing::error!(%error, "another firewall may drop what is ours; see \"netmode doctor\"");
    }
    if changes > 0 {
        agent.metrics.repairs.count_firewalls(changes);
        tracing::info!(changes, "rules in other firewalls were put right");
    }
    changes
}

/// Each table by itself: one that cannot be written keeps no other from it.
fn settle(kernel: &Kernel, changes: &[RuleChange]) -> (usize, Vec<OpError>) {
    let table = |change: &RuleChange| {
        let (RuleChange::Add(netmode_model::foreign::AcceptRule { at, .. }) | RuleChange::Del { at, .. }) = change;
        (at.family, at.table.clone())
    };
    let mut sorted = changes.to_vec();
    // Stable: deletions stay before what comes in their place.
    sorted.sort_by_key(table);
    let (mut done, mut failures) = (0, Vec::new());
    for of_table in sorted.chunk_by(|a, b| table(a) == table(b)) {
        match kernel.settle(of_table) {
            Ok(()) => done += of_table.len(),
            Err(error) => failures.push(error),
        }
    }
    (done, failures)
}

/// Asks firewalld for what it has to know; whether it does.
fn firewalld(agent: &Agent) -> bool {
    // It takes its time, and is asked by nobody else.
    let wanted = is_on(agent) && !*agent.beside.turn();
    let bridges = bridges(agent);
    let asked = match look(agent, wanted).ok().and_then(what_firewalld_knows) {
        Some((unknown, stale)) if wanted => tell(agent, &unknown, stale),
        Some((unknown, _)) if unknown.len() < bridges.len() => dismiss(&bridges),
        _ => Ok(()),
    };
    if let Err(error) = &asked {
        tracing::warn!(%error, "firewalld may drop what is ours; see \"netmode doctor\"");
    }
    asked.is_ok()
}

/// Bridges that firewalld does not know, and names that it knows in vain, if it is there.
fn what_firewalld_knows(seen: beside::Beside) -> Option<(Vec<IfName>, Vec<IfName>)> {
    seen.shut.into_iter().find_map(|shut| match shut.way {
        Way::Firewalld { unknown, stale } => Some((unknown, stale)),
        _ => None,
    })
}

fn tell(agent: &Agent, unknown: &[IfName], mut stale: Vec<IfName>) -> Result<(), FirewalldError> {
    // A link that stands is another agent's.
    stale.retain(|name| matches!(agent.kernel.link(&Place::Host, name), Ok(None)));
    if !stale.is_empty() {
        Firewalld::find()?.forget(&stale);
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Firewalld::find()?.admit(unknown)?;
    tracing::info!(zone = FIREWALLD_ZONE, bridges = ?unknown, "firewalld knows our bridges");
    Ok(())
}

fn dismiss(bridges: &[IfName]) -> Result<(), FirewalldError> {
    Firewalld::find()?.dismiss(bridges)
}

/// Takes away for good whatever of ours is with other firewalls, as at uninstall: this agent puts nothing back. Goes
/// on past failures and returns them all.
pub fn remove(agent: &Agent) -> Vec<String> {
    let mut ended = agent.beside.turn();
    *ended = true;
    let seen = match look(agent, false) {
        Ok(seen) => seen,
        Err(error) => return vec![error.to_string()],
    };
    let mut failures: Vec<String> = settle(&agent.kernel, &seen.changes).1.iter().map(ToString::to_string).collect();
    if what_firewalld_knows(seen).is_some() {
        failures.extend(dismiss(&bridges(agent)).err().map(|error| error.to_string()));
    }
    failures
}

/// The commands that do what [`remove`] does.
pub fn removal(agent: &Agent) -> Vec<String> {
    let Ok(seen) = look(agent, false) else { return Vec::new() };
    let mut commands: Vec<String> = seen.changes.iter().map(ToString::to_string).collect();
    if what_firewalld_knows(seen).is_some() {
        commands.push(format!("firewall-cmd --permanent --delete-zone={FIREWALLD_ZONE}"));
    }
    commands
}

/// A line for each firewall that drops what it does not know.
pub fn examine(agent: &Agent) -> Vec<Finding> {
    let wanted = is_on(agent);
    let seen = match look(agent, wanted) {
        Ok(seen) => seen,
        Err(error) => return vec![finding(Level::Fail, "other firewalls", error.to_string(), None)],
    };
    firewalls::lines(&seen, wanted)
}
