//! What containers use, in the shape of Docker's statistics, as ECS hands them on.

use crate::agent::{Agent, blocking};
use crate::ecs::{EcsRecord, MemberRecord};
use crate::{clock, stats};
use netmode_container::Usage;
use netmode_model::state::LinkCounters;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between the two looks that a rate is made of.
const BETWEEN: Duration = Duration::from_millis(100);

/// What was seen of a container at a time.
struct Look {
    at: String,
    instant: Instant,
    usage: Usage,
    links: BTreeMap<String, LinkCounters>,
}

fn look(agent: &Agent, record: &EcsRecord, member: &MemberRecord) -> Option<Look> {
    let task = agent.tasks.get(member.id?)?.now();
    let usage = agent.containers.usage(task.id)?;
    let endpoints = match record.endpoint.and_then(|id| agent.engine.endpoint(id)) {
        Some(shared) => vec![shared],
        None => task.endpoints(&agent.engine),
    };
    Some(Look { at: clock::now(), instant: Instant::now(), usage, links: stats::of_interfaces(agent, &endpoints) })
}

/// A container; null if it does not run.
pub async fn container(agent: &Arc<Agent>, record: &EcsRecord, member: &MemberRecord) -> Value {
    let all = looked(agent, record, vec![member.clone()]).await;
    all.into_iter().next().map_or(Value::Null, |(_, value)| value)
}

/// Every container of a task, by its id; null for one that does not run.
pub async fn task(agent: &Arc<Agent>, record: &EcsRecord) -> Value {
    let all = looked(agent, record, record.members.clone()).await;
    Value::Object(all.into_iter().collect::<Map<_, _>>())
}

async fn looked(agent: &Arc<Agent>, record: &EcsRecord, members: Vec<MemberRecord>) -> Vec<(String, Value)> {
    let once = |agent: Arc<Agent>, record: EcsRecord, members: Vec<MemberRecord>| {
        blocking(move || members.iter().map(|m| look(&agent, &record, m)).collect::<Vec<_>>())
    };
    let before = once(agent.clone(), record.clone(), members.clone()).await.unwrap_or_default();
    tokio::time::sleep(BETWEEN).await;
    let after = once(agent.clone(), record.clone(), members.clone()).await.unwrap_or_default();
    let id = |m: &MemberRecord| m.id.map(|id| id.to_string()).unwrap_or_else(|| m.name.to_string());
    let pairs = before.into_iter().zip(after).zip(&members);
    let one = |((before, after), m): ((Option<Look>, Option<Look>), &MemberRecord)| {
        (id(m), before.zip(after).map_or(Value::Null, |(before, after)| shown(m, &before, &after)))
    };
    pairs.map(one).collect()
}

fn shown(member: &MemberRecord, before: &Look, after: &Look) -> Value {
    let mut value = json!({
        "read": after.at,
        "preread": before.at,
        "name": format!("/{}", member.name),
        "id": member.id.map(|id| id.to_string()).unwrap_or_default(),
        "num_procs": 0,
        "pids_stats": {"current": after.usage.pids},
        "storage_stats": {},
        "blkio_stats": {"io_service_bytes_recursive": [
            {"major": 0, "minor": 0, "op": "Read", "value": after.usage.read},
            {"major": 0, "minor": 0, "op": "Write", "value": after.usage.written},
        ]},
        "cpu_stats": cpu(&after.usage),
        "precpu_stats": cpu(&before.usage),
        "memory_stats": {
            "usage": after.usage.memory,
            "limit": after.usage.memory_limit,
            "stats": {"inactive_file": after.usage.memory_cache},
        },
    });
    if !after.links.is_empty() {
        let networks = after.links.iter().map(|(name, c)| (name.clone(), network(c)));
        value["networks"] = Value::Object(networks.collect());
        let seconds = after.instant.duration_since(before.instant).as_secs_f64();
        let rate = |count: fn(&LinkCounters) -> u64| {
            let sum = |look: &Look| look.links.values().map(count).sum::<u64>();
            sum(after).saturating_sub(sum(before)) as f64 / seconds
        };
        value["network_rate_stats"] =
            json!({"rx_bytes_per_sec": rate(|c| c.rx_bytes), "tx_bytes_per_sec": rate(|c| c.tx_bytes)});
    }
    value
}

fn cpu(usage: &Usage) -> Value {
    json!({
        "cpu_usage": {
            "total_usage": usage.cpu,
            "usage_in_usermode": usage.cpu_user,
            "usage_in_kernelmode": usage.cpu_system,
        },
        "system_cpu_usage": stats::cpu_of_machine(),
        "online_cpus": std::thread::available_parallelism().map_or(1, usize::from),
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    })
}

fn network(c: &LinkCounters) -> Value {
    json!({
        "rx_bytes": c.rx_bytes, "rx_packets": c.rx_packets, "rx_errors": c.rx_errors, "rx_dropped": c.rx_dropped,
        "tx_bytes": c.tx_bytes, "tx_packets": c.tx_packets, "tx_errors": c.tx_errors, "tx_dropped": c.tx_dropped,
    })
}
