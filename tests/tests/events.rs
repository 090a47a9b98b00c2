//! What has happened is told, with cause and actor: as a list, by `events -f`, and as server-sent events.

use netmode_tests::{Lab, all_at_once, eventually, patience};
use serde_json::Value;

/// The events that fit, as `netmode events -o json` lists them.
fn events(lab: &Lab, filters: &[&str]) -> Vec<Value> {
    let flags = filters.iter().flat_map(|f| ["--filter", f]);
    let listed = lab.json(&["events"].into_iter().chain(flags).collect::<Vec<_>>());
    listed.as_array().cloned().unwrap_or_default()
}

/// Kind, action, cause and actor of each.
fn told(events: &[Value]) -> Vec<String> {
    let word = |e: &Value, key: &str| e[key].as_str().unwrap_or_default().to_owned();
    events.iter().map(|e| ["kind", "action", "cause", "actor"].map(|key| word(e, key)).join("|")).collect()
}

/// Waits for an event that fits, and gives the newest one.
fn until(lab: &Lab, what: &str, filters: &[&str]) -> Value {
    let mut found = Vec::new();
    eventually(what, 5.0, || {
        found = events(lab, filters);
        !found.is_empty()
    });
    found.pop().unwrap_or_default()
}

const BY_ROOT: [&str; 2] = ["netmode run|uid 0", "netmode stop|uid 0"];

#[test]
fn the_life_of_a_task_is_told_in_order() {
    let lab = Lab::start();
    let id = lab.task("web", &["-p", "8080:80"], &["sleep", "1000"]);
    let address = lab.address("web");
    lab.netmode(&["stop", "-t", "0", "web"]).success();
    lab.netmode(&["rm", "web"]).success();
    let released = until(&lab, "the address is free", &["kind=address"]);
    assert_eq!((&released["id"], &released["name"]), (&Value::from(address.as_str()), &Value::from("web")));
    assert_eq!((&released["action"], &released["actor"]), (&Value::from("released"), &Value::from("kernel")));
    let all = events(&lab, &["name=web"]);
    let rest: Vec<Value> = all.iter().filter(|e| e["kind"] != "address").cloned().collect();
    let [run, stop] = BY_ROOT;
    let expected = [
        format!("attachment|attached|{run}"),
        format!("port|published|{run}"),
        format!("task|created|{run}"),
        format!("task|started|{run}"),
        format!("task|stopping|{stop}"),
        format!("port|unpublished|{stop}"),
        format!("attachment|detached|{stop}"),
        format!("task|stopped|{stop}"),
        "task|removed|netmode rm|uid 0".into(),
    ];
    assert_eq!(told(&rest), expected);
    assert_eq!(
        (&rest[0]["attributes"]["address"], &rest[0]["attributes"]["network"]),
        (&address.into(), &"bridge".into())
    );
    assert_eq!((&rest[1]["id"], &rest[1]["attributes"]["port"]), (&"0.0.0.0:8080/tcp".into(), &"80".into()));
    assert_eq!(rest[2]["id"], id.as_str());
    assert_eq!(rest[7]["attributes"]["exitCode"], "137");
    let numbers: Vec<u64> = all.iter().filter_map(|e| e["sequence"].as_u64()).collect();
    assert!(numbers.len() == all.len() && numbers.is_sorted(), "{numbers:?}");
}

#[test]
fn a_task_that_ends_by_itself_says_why_and_is_started_by_its_policy() {
    let lab = Lab::start();
    lab.task("short", &["--restart", "on-failure:1"], &["sh", "-c", "exit 3"]);
    eventually("it ended twice", 10.0, || events(&lab, &["kind=task", "action=stopped"]).len() == 2);
    let tasks = events(&lab, &["kind=task", "name=short"]);
    let expected = [
        "task|created|netmode run|uid 0",
        "task|started|netmode run|uid 0",
        "task|stopped|the container exited with 3|agent",
        "task|started|restart policy|agent",
        "task|stopped|the container exited with 3|agent",
    ];
    assert_eq!(told(&tasks), expected);
    // One that a task definition made is told in the words of ECS.
    let definition = netmode_tests::ecs::definition("bridge", vec![netmode_tests::ecs::shell("c", "sleep 0.3")]);
    let id = netmode_tests::ecs::run(&lab, &definition, &[]);
    netmode_tests::ecs::until(&lab, &id, "STOPPED");
    let filter = format!("id={id}");
    let actions = told(&events(&lab, &[&filter]));
    let expected = [
        "task|created|netmode task run|uid 0",
        "task|started|netmode task run|uid 0",
        "task|stopping|Essential container in task exited|agent",
        "task|stopped|Essential container in task exited|agent",
    ];
    assert_eq!(actions, expected);
}

#[test]
fn networks_groups_and_memberships_are_told() {
    let lab = Lab::start();
    lab.netmode(&["network", "create", "back"]).success();
    lab.task("web", &[], &["sleep", "1000"]);
    lab.netmode(&["network", "connect", "back", "web"]).success();
    lab.netmode(&["network", "disconnect", "back", "web"]).success();
    lab.netmode(&["network", "rm", "back"]).success();
    let expected = [
        "network|created|netmode network create|uid 0",
        "network|connected|netmode network connect|uid 0",
        "network|disconnected|netmode network disconnect|uid 0",
        "network|removed|netmode network rm|uid 0",
    ];
    assert_eq!(told(&events(&lab, &["kind=network"])), expected);
    lab.netmode(&["subnet", "create", "tasks", "--cidr", "10.0.2.0/24"]).success();
    lab.netmode(&["sg", "create", "web"]).success();
    lab.netmode(&["sg", "authorize", "web", "--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0"]).success();
    lab.netmode(&["sg", "rm", "web"]).success();
    lab.netmode(&["subnet", "rm", "tasks"]).success();
    let groups = events(&lab, &["kind=group"]);
    let expected = [
        "group|created|netmode sg create|uid 0",
        "group|changed|netmode sg authorize|uid 0",
        "group|removed|netmode sg rm|uid 0",
    ];
    assert_eq!(told(&groups), expected);
    assert!(groups[1]["message"].as_str().is_some_and(|m| m.contains("tcp:80 from 0.0.0.0/0")), "{}", groups[1]);
    let actions = ["subnet|created|netmode subnet create|uid 0", "subnet|removed|netmode subnet rm|uid 0"];
    assert_eq!(told(&events(&lab, &["kind=subnet"])), actions);
}

#[test]
fn what_a_stranger_does_is_told_with_its_repair() {
    let lab = Lab::with().config("[firewall]\nowner = false").start();
    lab.task("web", &["-p", "8080:80"], &["sleep", "1000"]);
    lab.sh("nft delete table inet netmode");
    let repair = until(&lab, "the table's repair", &["kind=repair"]);
    assert_eq!(told(std::slice::from_ref(&repair)), ["repair|repaired|somebody deleted table inet netmode|agent"]);
    assert_eq!(repair["id"], "table inet netmode");
    lab.sh("ip link del $(ip -br link show master nm0 | cut -d@ -f1)");
    let lost = until(&lab, "the link's loss", &["kind=attachment", "action=lost"]);
    assert_eq!((&lost["name"], &lost["actor"]), (&Value::from("web"), &Value::from("kernel")));
    eventually("the link's repair", 5.0, || {
        let repairs = events(&lab, &["kind=repair"]);
        repairs.iter().any(|e| e["cause"].as_str().is_some_and(|c| c.starts_with("somebody deleted the link ")))
    });
    lab.sh("ip link set nm0 down");
    eventually("the bridge's repair", 5.0, || {
        let repairs = events(&lab, &["kind=repair"]);
        let of_bridge = |e: &&Value| e["cause"] == "somebody took the link nm0 down";
        repairs.iter().find(of_bridge).is_some_and(|e| e["attributes"]["commands"] != Value::Null)
    });
}

#[test]
fn no_repair_is_told_where_nobody_has_changed_anything() {
    let lab = Lab::start();
    lab.netmode(&["network", "create", "back"]).success();
    lab.netmode(&["sg", "create", "web"]).success();
    for round in 0..3 {
        let names: Vec<String> = (0..6).map(|n| format!("t{round}-{n}")).collect();
        all_at_once(&names, |name| {
            let network = if name.ends_with(['0', '1']) { "back" } else { "bridge" };
            lab.task(name, &["--network", network, "-p", "80"], &["sleep", "1000"]);
            lab.netmode(&["sg", "authorize", "web", "--protocol", "tcp", "--port", "80", "--cidr", "192.0.2.0/24"]);
            lab.netmode(&["network", "connect", "back", name]);
            lab.netmode(&["rm", "-f", name]).success();
        });
    }
    lab.restart_agent("TERM");
    lab.task("last", &[], &["sleep", "1000"]);
    // A second after its start the agent looks behind itself.
    lab.sh("sleep 1.3");
    assert_eq!(told(&events(&lab, &["action=lost"])), [""; 0]);
    assert_eq!(told(&events(&lab, &["kind=repair"])), [""; 0]);
    assert!(!lab.agent_log().contains("somebody changed"), "{}", lab.agent_log());
}

#[test]
fn followers_see_events_as_they_come() {
    let lab = Lab::start();
    let pid = lab.spawn(&["netmode", "events", "-f", "--filter", "kind=task", "-o", "json"], "/run/lab/follow");
    let table = lab.spawn(&["netmode", "events", "-f"], "/run/lab/table");
    lab.task("web", &[], &["sleep", "1000"]);
    let lines = || -> Vec<Value> {
        let text = lab.read("/run/lab/follow");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {text}"))).collect()
    };
    eventually("it was told of the start", 5.0, || lines().len() >= 2);
    assert_eq!(told(&lines()), ["task|created|netmode run|uid 0", "task|started|netmode run|uid 0"]);
    lab.netmode(&["rm", "-f", "web"]).success();
    eventually("and of the end", 5.0, || lines().last().is_some_and(|e| e["action"] == "removed"));
    eventually("the table, too", 5.0, || lab.read("/run/lab/table").contains("task web runs"));
    assert!(lab.read("/run/lab/table").starts_with("TIME "));
    for pid in [pid, table] {
        lab.sh(&format!("kill -INT {pid}"));
        assert_eq!(lab.reap(pid, 5000), Some(130), "it ends with Ctrl-C");
    }
    // The agent's end is the end of the stream, with a sentence.
    let pid = lab.spawn(&["netmode", "events", "-f"], "/run/lab/end");
    eventually("it follows", 5.0, || lab.read("/run/lab/end").contains("task web runs"));
    lab.end_agent("TERM");
    assert_eq!(lab.reap(pid, 5000), Some(1), "{}", lab.read("/run/lab/end"));
}

/// The lines of a stream of server-sent events that goes on.
fn stream(lab: &Lab, headers: &[&str], query: &str) -> String {
    let url = format!("http://netmode/v1/events{query}");
    let span = format!("{:.1}", 0.3 * patience());
    let mut argv = vec!["curl", "-sSN", "--max-time", &span, "--unix-socket", "/run/netmode/netmode.sock", &url];
    headers.iter().for_each(|header| argv.extend(["-H", header]));
    // 28: the time was up.
    lab.run(&argv).exits(28).stdout
}

#[test]
fn the_api_streams_server_sent_events_that_can_be_resumed() {
    let lab = Lab::start();
    lab.task("web", &[], &["sleep", "1000"]);
    let text = stream(&lab, &[], "?follow=true");
    let blocks: Vec<Vec<&str>> = text.trim().split("\n\n").map(|block| block.lines().collect()).collect();
    assert_eq!(blocks.len(), 3, "{text}");
    assert_eq!(blocks[0][0], "event: attachment");
    let of = |block: &[&str], field: &str| {
        let line = block.iter().find_map(|line| line.strip_prefix(field));
        line.unwrap_or_else(|| panic!("no {field} in {block:?}")).trim().to_owned()
    };
    let second: Value = serde_json::from_str(&of(&blocks[1], "data:")).expect("JSON");
    assert_eq!(second["sequence"].to_string(), of(&blocks[1], "id:"));
    let resumed = format!("Last-Event-ID: {}", of(&blocks[1], "id:"));
    let text = stream(&lab, &["Accept: text/event-stream", &resumed], "");
    assert_eq!(text.matches("event: ").count(), 1, "{text}");
    assert!(text.contains("\"action\":\"started\""), "{text}");
    // An agent before this one is not remembered, and that is said.
    lab.restart_agent("TERM");
    lab.netmode(&["stop", "-t", "0", "web"]).success();
    let text = stream(&lab, &[&resumed], "?follow=true");
    assert!(text.starts_with("event: stream\n") && text.contains("\"action\":\"stopped\""), "{text}");
}

#[test]
fn a_time_bounds_what_is_told() {
    let lab = Lab::start();
    lab.task("first", &[], &["sleep", "1000"]);
    lab.sh("sleep 0.1");
    let now = lab.sh("date -u +%Y-%m-%dT%H:%M:%S.%NZ").trim().to_owned();
    lab.task("second", &[], &["sleep", "1000"]);
    let names = |flags: &[&str]| {
        let listed = lab.json(&[&["events", "--filter", "kind=task"], flags].concat());
        let names = listed.as_array().into_iter().flatten().filter_map(|e| e["name"].as_str());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.dedup();
        names
    };
    assert_eq!(names(&["--since", &now]), ["second"]);
    assert_eq!(names(&["--until", &now]), ["first"]);
    assert_eq!(names(&["--since", "10m"]), ["first", "second"]);
    assert_eq!(names(&["--since", "0s"]), [""; 0]);
    let (status, listed) = lab.api("GET", "/v1/events?since=10m", None);
    assert!(status == 200 && listed.as_array().is_some_and(|all| all.len() >= 6), "{listed}");
    for bad in ["yesterday", "-5m"] {
        let given = format!("--since={bad}");
        lab.netmode(&["events", &given]).refused(1, &["--since", bad, "2026-01-31T12:00:00Z", "10m"]);
        lab.netmode(&["events", "-f", &given]).refused(1, &["--since", bad]);
    }
    let (status, refusal) = lab.api("GET", "/v1/events?since=yesterday", None);
    assert!(status == 400 && refusal["message"].as_str().is_some_and(|m| m.contains("yesterday")), "{refusal}");
    let (status, refusal) = lab.api("GET", "/v1/events?bogus=1", None);
    assert!(status == 400 && refusal["message"].as_str().is_some_and(|m| m.contains("bogus")), "{refusal}");
    lab.netmode(&["events", "--filter", "kind=tusk"]).refused(1, &["kind=tusk", "a kind is one of task, "]);
    lab.netmode(&["events", "--filter", "kin=task"]).refused(1, &["the keys are kind or type, "]);
    let lines = lab.netmode(&["events", "--filter", "kind=task", "--format", "{{.Action}} {{.Name}}"]).success().stdout;
    assert_eq!(lines, "created first\nstarted first\ncreated second\nstarted second\n");
}

#[test]
fn who_may_read_may_read_events() {
    let lab = Lab::with().config("[[api.access]]\nuid = 1000\nallow = \"read\"").first("groupadd netmode").start();
    lab.task("web", &[], &["sleep", "1000"]);
    let group = lab.sh("getent group netmode | cut -d: -f3").trim().to_owned();
    let as_user = |uid: &str, words: &[&str]| {
        lab.run(&[&["setpriv", "--reuid", uid, "--regid", &group, "--clear-groups"], words].concat())
    };
    let seen = as_user("1000", &["netmode", "events"]).success().stdout;
    assert!(seen.contains("task web runs"), "{seen}");
    let followed = as_user("1000", &["timeout", &format!("{:.1}", 0.3 * patience()), "netmode", "events", "-f"]);
    assert!(followed.stdout.contains("task web runs"), "{followed:?}");
    lab.write(netmode_tests::lab::CONFIG, "[[api.access]]\nuid = 1000\nallow = \"nothing\"\n");
    lab.signal_agent("HUP");
    eventually("nothing is allowed", 3.0, || as_user("1000", &["netmode", "events"]).status != 0);
    as_user("1000", &["netmode", "events", "-f"]).refused(1, &["user 1000 may not", "[[api.access]]"]);
}
