//! Nothing of an ENI, a group or a task of ECS leaks, whenever the agent is killed.

use netmode_tests::awsvpc::lab_on;
use netmode_tests::ecs::*;
use netmode_tests::lab::address::CLIENT;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, eventually, tcp};
use serde_json::{Value, json};
use std::time::Duration;

/// When the agent is killed, in milliseconds after a command was given: in each step of making a task.
const MOMENTS: [u64; 10] = [1, 3, 6, 10, 15, 25, 40, 60, 90, 130];

/// Gives a command, kills the agent in the middle of it, and starts the next one.
fn killed_during(lab: &Lab, command: &[&str]) {
    for after_ms in MOMENTS {
        let half = lab.spawn(command, "/run/lab/half.log");
        std::thread::sleep(Duration::from_millis(after_ms));
        lab.restart_agent("KILL");
        lab.reap(half, 5000);
    }
}

fn tasks(lab: &Lab) -> Vec<String> {
    let all = lab.json(&["task", "ls", "-a"]);
    let arns = all.as_array().into_iter().flatten().filter_map(|t| t["taskArn"].as_str());
    arns.map(str::to_owned).collect()
}

/// Ends every task and forgets it.
fn clear(lab: &Lab) {
    for id in tasks(lab) {
        lab.netmode(&["task", "stop", &id]).success();
        lab.netmode(&["task", "rm", &id]).success();
    }
    let left = || lab.netmode(&["ps", "-aq"]).success().stdout;
    for id in left().lines() {
        lab.netmode(&["rm", "-f", id]).success();
    }
    eventually("every ENI is released", 3.0, || lab.json(&["eni", "ls"]) == json!([]));
}

fn whole(lab: &Lab, before: &Machine, when: &str) {
    clear(lab);
    before.assert_unchanged(lab, when);
    assert_eq!(lab.sh("find /sys/fs/cgroup -path '*netmode/*' -type d; ls -A /run/netmode/c"), "", "{when}");
}

fn a_task_that_is_being_made(backend: &str, more: Value) {
    let lab = lab_on(backend);
    let members = vec![serving("web", &["tcp/80"]), shell("side", "exec sleep 1000")];
    let definition = with(definition("awsvpc", members), more);
    let on = ["--subnet", "tasks", "--security-group", "open"];
    // Once in peace: what appears with the first one is there.
    let id = run(&lab, &definition, &on);
    until(&lab, &id, "RUNNING");
    clear(&lab);
    lab.restart_agent("KILL");
    let before = Machine::settled(&lab);
    let command = [&["netmode", "task", "run", "-f", "/run/lab/taskdef.json"], &on[..]].concat();
    killed_during(&lab, &command);
    // Each of them runs whole, or has ended with a reason.
    for id in tasks(&lab) {
        let settled = |t: &Value| t["lastStatus"] == "RUNNING" || t["lastStatus"] == "STOPPED";
        eventually(&format!("{id} has come to something"), 8.0, || settled(&task(&lab, &id)));
        let shown = task(&lab, &id);
        if shown["lastStatus"] == "RUNNING" {
            let seen = lab.at("client").who(tcp(format!("{}:80", address(&shown))));
            assert_eq!(seen.map(|s| s.peer.to_string()), Ok(CLIENT.to_owned()), "{shown}");
        } else {
            assert!(shown["stoppedReason"].as_str().is_some_and(|r| !r.is_empty()), "{shown}");
        }
    }
    whole(&lab, &before, backend);
    // And while one of them ends.
    for after_ms in MOMENTS {
        let id = run(&lab, &definition, &on);
        until(&lab, &id, "RUNNING");
        let half = lab.spawn(&["netmode", "task", "stop", &id], "/run/lab/half.log");
        std::thread::sleep(Duration::from_millis(after_ms));
        lab.restart_agent("KILL");
        lab.reap(half, 5000);
    }
    whole(&lab, &before, backend);
}

#[test]
fn a_task_that_is_being_made_or_ended_leaves_nothing_macvlan() {
    a_task_that_is_being_made("macvlan", json!({"memory": "256"}));
}

#[test]
fn a_task_that_is_being_made_or_ended_leaves_nothing_veth() {
    a_task_that_is_being_made("veth", json!({"pidMode": "task", "ipcMode": "task"}));
}

#[test]
fn a_subnet_or_a_group_that_is_being_changed_is_there_whole_or_not_at_all() {
    let lab = lab_on("macvlan");
    lab.netmode(&["sg", "create", "web"]).success();
    let flags = ["--mode", "awsvpc", "--subnet", "tasks", "--security-group", "web", "--security-group", "open"];
    lab.serve("one", &flags, &["tcp/80"]);
    lab.restart_agent("KILL");
    let before = Machine::settled(&lab);
    // Rules change while the agent is killed: what the kernel has is what the agent says.
    for (n, after_ms) in MOMENTS.into_iter().enumerate() {
        let port = (1000 + n).to_string();
        let change =
            ["netmode", "sg", "authorize", "web", "--protocol", "tcp", "--cidr", "192.0.2.0/24", "--port", &port];
        let half = lab.spawn(&change, "/run/lab/half.log");
        std::thread::sleep(Duration::from_millis(after_ms / 4));
        lab.restart_agent("KILL");
        lab.reap(half, 5000);
        let shown = lab.json(&["sg", "show", "web"])[0].take();
        let ports =
            shown["rules"].as_array().map_or(0, |rules| rules.iter().filter(|r| r["direction"] == "ingress").count());
        let netns = lab.inspect("one")["netns"].as_str().unwrap_or_default().to_owned();
        let chain = shown["groupId"].as_str().unwrap_or_default().replace("sg-", "in_");
        let rules = |place: &str| {
            let list = format!("{place} nft list chain inet netmode_walls {chain} | grep -c 'tcp dport' || :");
            lab.sh(&list).trim().parse::<usize>().unwrap_or(usize::MAX)
        };
        let inside = format!("nsenter --net={netns}");
        eventually("both tables say so", 3.0, || (rules(""), rules(&inside)) == (ports, ports));
    }
    let rules = lab.json(&["sg", "show", "web"])[0]["rules"].clone();
    for rule in rules.as_array().into_iter().flatten().filter(|r| r["direction"] == "ingress") {
        let id = rule["id"].as_str().expect("an id");
        lab.netmode(&["sg", "revoke", "web", "--rule", id]).success();
    }
    // Subnets.
    for after_ms in MOMENTS {
        let create = ["netmode", "subnet", "create", "more", "--cidr", "10.9.0.0/24", "--backend", "veth"];
        let half = lab.spawn(&create, "/run/lab/half.log");
        std::thread::sleep(Duration::from_millis(after_ms / 4));
        lab.restart_agent("KILL");
        lab.reap(half, 5000);
        let there = lab.json(&["subnet", "ls"]).as_array().is_some_and(|all| all.iter().any(|s| s["name"] == "more"));
        if there {
            lab.netmode(&["subnet", "rm", "more"]).success();
        }
    }
    before.assert_unchanged(&lab, "groups and subnets that were changed");
}
