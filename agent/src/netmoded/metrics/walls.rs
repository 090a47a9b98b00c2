//! What security groups dropped, by the counters of the rules that did.

use crate::agent::Agent;
use netmode_engine::Endpoint;
use netmode_engine::vpc::wall;
use netmode_model::nft::{Family, TableName};
use netmode_model::op::OpError;
use std::collections::{BTreeMap, HashMap};

/// Packets from or to tasks that carry a group and that none of their groups let pass, by the id of the group. A packet
/// of a task with several groups is counted for each of them.
pub fn dropped(agent: &Agent) -> BTreeMap<String, u64> {
    let groups = agent.engine.groups();
    let mut dropped: BTreeMap<String, u64> = groups.groups.keys().map(|id| (id.clone(), 0)).collect();
    if dropped.is_empty() {
        return dropped;
    }
    if let Err(error) = on_host(agent, &mut dropped) {
        tracing::warn!(%error, "what security groups dropped on the host is not told");
    }
    in_namespaces(agent, &mut dropped);
    dropped
}

fn on_host(agent: &Agent, dropped: &mut BTreeMap<String, u64>) -> Result<(), OpError> {
    let sets = |id: &String| [Family::V4, Family::V6].map(|family| (wall::members(id, family), id.clone()));
    let group_of: HashMap<String, String> = dropped.keys().flat_map(sets).collect();
    let table = wall::host_table(agent.engine.settings());
    for rule in agent.kernel.counted(&table, &wall::COUNTING)? {
        let group = rule.set.as_ref().and_then(|set| group_of.get(set));
        if let Some(count) = group.and_then(|id| dropped.get_mut(id)) {
            *count += rule.packets;
        }
    }
    Ok(())
}

/// Where the host does not see a task's packets its own table counts. One visit of a namespace each.
fn in_namespaces(agent: &Agent, dropped: &mut BTreeMap<String, u64>) {
    let walled = |e: &Endpoint| {
        let link = e.link.as_ref().filter(|link| link.walled_inside())?;
        Some((wall::inner_table(e, agent.engine.settings())?, link.groups().to_vec()))
    };
    let groups_of: HashMap<TableName, Vec<String>> = agent.engine.seen(walled).into_iter().flatten().collect();
    let tables: Vec<TableName> = groups_of.keys().cloned().collect();
    for (table, rules) in agent.kernel.counted_of(&tables, &wall::INNER) {
        // The last rule of each chain: those before it drop for other reasons.
        let packets: u64 = rules.iter().filter(|rule| rule.always).map(|rule| rule.packets).sum();
        for id in groups_of.get(&table).into_iter().flatten() {
            if let Some(count) = dropped.get_mut(id) {
                *count += packets;
            }
        }
    }
}
