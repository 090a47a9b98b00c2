//! What security groups let pass and what they dropped, by the counters of the rules that did.

use crate::agent::Agent;
use netmode_engine::Endpoint;
use netmode_engine::vpc::wall;
use netmode_kernel::Counted;
use netmode_model::nft::{Family, TableName};
use netmode_model::op::OpError;
use std::collections::{BTreeMap, HashMap};

/// Packets about which a group had a say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Verdicts {
    /// That a rule of it let pass. Only the first packet of a connection asks the rules.
    pub accepted: u64,
    /// From or to tasks that carry it, and that none of their groups let pass: one of a task with several groups is
    /// counted for each of them.
    pub dropped: u64,
}

/// What is counted, by the id of the group.
struct Tally {
    verdicts: BTreeMap<String, Verdicts>,
    /// The groups by the chains of their rules.
    passing: HashMap<String, String>,
}

impl Tally {
    fn accepted(&mut self, rule: &Counted) {
        if let Some(id) = self.passing.get(&rule.chain)
            && let Some(verdicts) = self.verdicts.get_mut(id)
        {
            verdicts.accepted += rule.packets;
        }
    }

    fn dropped(&mut self, group: &str, packets: u64) {
        if let Some(verdicts) = self.verdicts.get_mut(group) {
            verdicts.dropped += packets;
        }
    }
}

/// The verdicts of every group.
pub fn verdicts(agent: &Agent) -> BTreeMap<String, Verdicts> {
    let groups: Vec<String> = agent.engine.groups().groups.keys().cloned().collect();
    if groups.is_empty() {
        return BTreeMap::new();
    }
    let chains = |id: &String| wall::passing(id).map(|chain| (chain, id.clone()));
    let passing = groups.iter().flat_map(chains).collect();
    let mut tally = Tally { verdicts: groups.into_iter().map(|id| (id, Verdicts::default())).collect(), passing };
    if let Err(error) = on_host(agent, &mut tally) {
        tracing::warn!(%error, "the verdicts of security groups on the host are not told");
    }
    in_namespaces(agent, &mut tally);
    tally.verdicts
}

fn on_host(agent: &Agent, tally: &mut Tally) -> Result<(), OpError> {
    let sets = |id: &String| [Family::V4, Family::V6].map(|family| (wall::members(id, family), id.clone()));
    let group_of: HashMap<String, String> = tally.verdicts.keys().flat_map(sets).collect();
    for rule in agent.kernel.counted(&wall::host_table(agent.engine.settings()))? {
        tally.accepted(&rule);
        let asks_who = wall::COUNTING.contains(&rule.chain.as_str());
        if let Some(group) = rule.set.as_ref().filter(|_| asks_who).and_then(|set| group_of.get(set)) {
            tally.dropped(group, rule.packets);
        }
    }
    Ok(())
}

/// Where the host does not see a task's packets its own table counts. One visit of a namespace each.
fn in_namespaces(agent: &Agent, tally: &mut Tally) {
    let walled = |e: &Endpoint| {
        let link = e.link.as_ref().filter(|link| link.walled_inside())?;
        Some((wall::inner_table(e, agent.engine.settings())?, link.groups().to_vec()))
    };
    let groups_of: HashMap<TableName, Vec<String>> = agent.engine.seen(walled).into_iter().flatten().collect();
    let tables: Vec<TableName> = groups_of.keys().cloned().collect();
    for (table, rules) in agent.kernel.counted_of(&tables) {
        rules.iter().for_each(|rule| tally.accepted(rule));
        // The last rule of each hook: those before it drop for other reasons.
        let last = |rule: &&Counted| rule.always && wall::INNER.contains(&rule.chain.as_str());
        let packets: u64 = rules.iter().filter(last).map(|rule| rule.packets).sum();
        groups_of.get(&table).into_iter().flatten().for_each(|id| tally.dropped(id, packets));
    }
}
