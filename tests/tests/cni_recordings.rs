//! CNI: calls that real runtimes made, made again. The recordings (`tests/fixtures/cni`) have what containerd, its `ctr`
//! and buildah asked the reference plugins for, and what those answered.

use netmode_tests::cni::{Call, install};
use netmode_tests::machine::Machine;
use netmode_tests::sandbox::repository;
use netmode_tests::{Lab, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One call.
struct Recorded {
    plugin: String,
    verb: String,
    container: String,
    netns: String,
    call: Call,
    /// Whether another plugin made it, which ours does itself.
    delegated: bool,
    answer: Value,
}

fn recordings(name: &str) -> Vec<Recorded> {
    let path = repository().join("tests/fixtures/cni").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| read(&serde_json::from_str(line).expect("JSON"))).collect()
}

fn read(line: &Value) -> Recorded {
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let call = Call::of(&text("plugin"), &line["stdin"]).ifname(&text("if")).args(&text("args"));
    Recorded {
        plugin: text("plugin"),
        verb: text("cmd"),
        container: text("id"),
        netns: text("netns"),
        call,
        delegated: ["bridge", "portmap"].contains(&text("parent").as_str()),
        answer: line["stdout"].clone(),
    }
}

/// Keys and kinds without the values. Left out is where the reference differs from the specification, or we from it: an
/// empty `dns` is left out from version 1.0.0 on; its loopback forgets the version of an address before that; and its
/// bandwidth makes an ifb device (`bwp…`) where ours limits the container's own link.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| {
                let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
                !(key.as_str() == "dns" && empty) && key.as_str() != "version"
            });
            kept.map(|(key, value)| (key.clone(), shape(value))).collect()
        }
        Value::Array(list) => {
            let ifb = |item: &Value| item["name"].as_str().is_some_and(|name| name.starts_with("bwp"));
            list.iter().filter(|item| !ifb(item)).map(shape).collect()
        }
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        other => other.clone(),
    }
}

fn replay(name: &str) {
    let lab = Lab::with().ipv6().start();
    install(&lab);
    let all = recordings(name);
    // The bridge and the directory of addresses stay: made before the picture is taken.
    let mut before = None;
    for round in ["first", "second"] {
        let mut results: BTreeMap<String, Value> = BTreeMap::new();
        for recorded in &all {
            run(&lab, recorded, &mut results, round);
        }
        eventually("nothing is attached", 5.0, || lab.sh("ls /run/netmode/attachments").is_empty());
        lab.sh("for n in $(ip netns list | cut -d' ' -f1 | grep ^pod); do ip netns del $n; done");
        match &before {
            None => before = Some(Machine::settled(&lab)),
            Some(machine) => Machine::assert_unchanged(machine, &lab, name),
        }
    }
}

fn run(lab: &Lab, recorded: &Recorded, results: &mut BTreeMap<String, Value>, round: &str) {
    let short: String = recorded.container.chars().rev().take(12).collect();
    // What a plugin asked its IPAM plugin for is asked for somebody else: ours has done it for its own container.
    let (pod, container) = match recorded.delegated {
        true => (format!("pod-ipam-{short}"), format!("ipam-{}", recorded.container)),
        false => (format!("pod-{short}"), recorded.container.clone()),
    };
    lab.sh(&format!("[ -e /run/netns/{pod} ] || ip netns add {pod}"));
    let netns = if recorded.netns.is_empty() { String::new() } else { format!("/run/netns/{pod}") };
    let mut call = recorded.call.clone().container(&container).netns(&netns);
    // What the plugins before answered is ours, not the reference's.
    let chain = format!("{container} {}", call.config()["name"]);
    if let (Some(_), Some(result)) = (call.config().get("prevResult"), results.get(&chain)) {
        call = call.with(&json!({ "prevResult": result }));
    }
    let out = call.run(lab, &recorded.verb).success();
    if recorded.verb != "ADD" {
        assert_eq!(out.stdout, "", "{} {} says nothing", recorded.plugin, recorded.verb);
        return;
    }
    let result = out.json();
    assert_eq!(
        shape(&result),
        shape(&recorded.answer),
        "{round}: {} {}: {result} instead of {}",
        recorded.plugin,
        recorded.verb,
        recorded.answer
    );
    results.insert(chain, result);
}

#[test]
fn j_calls_of_containerds_cri() {
    replay("cri-trixie.jsonl");
}

#[test]
fn j_calls_of_ctr() {
    replay("ctr-bookworm.jsonl");
    replay("ctr-trixie.jsonl");
}

#[test]
fn j_calls_of_buildah() {
    replay("buildah.jsonl");
}
