//! What goes wrong on a machine, and what must come of it: `docs/architecture.md`, "What happens when".

use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Failure, Lab, eventually, tcp};

#[test]
fn a_dead_monitor_costs_the_exit_status_and_nothing_else() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    lab.task("brief", &["-p", "8081:80"], &["sh", "-c", "sleep 1; exit 7"]);
    lab.sh("kill -9 $(pgrep -x conmon)");
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT), "the container goes on");
    assert_eq!(lab.inspect("web")["state"], "RUNNING");
    eventually("the task ends when its process does", 5.0, || lab.inspect("brief")["state"] == "STOPPED");
    assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8081"), false), Ok(()), "and gives back its port");
    lab.netmode(&["stop", "-t", "1", "web"]).success();
    assert_eq!(lab.inspect("web")["state"], "STOPPED");
    lab.netmode(&["rm", "web", "brief"]).success();
    lab.until_bridge_ports(0);
}

#[test]
fn a_runtime_that_hangs_or_fails_is_not_waited_for() {
    let fails = "#!/bin/sh\necho 'the runtime is out of order' >&2\nexit 1\n";
    let hangs = "#!/bin/sh\nexec sleep 1000\n";
    for (name, script) in [("fails", fails), ("hangs", hangs)] {
        let config = "[container]\nruntime = \"/srv/runtime\"";
        let lab = Lab::with()
            .config(config)
            .first(&format!(
                "printf '{}' >/srv/runtime; chmod 755 /srv/runtime",
                script.replace('\n', "\\n").replace('\'', "'\\''")
            ))
            .start();
        let before = Machine::settled(&lab);
        let out = lab.netmode(&["run", "-d", "-p", "8080:80", "--rootfs", "/", "sleep", "1000"]);
        out.refused(125, &["runtime"]);
        before.assert_unchanged(&lab, name);
        assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8080"), false), Ok(()), "{name}");
        assert_eq!(lab.sh("pgrep -cx 'conmon|sleep' || :").trim(), "0", "{name}: nothing hangs about");
    }
}

/// Empties our chain of the forward hook, whatever its name.
const FLUSH_FORWARD: &str = "nft flush chain inet netmode \
     $(nft list table inet netmode 2>/dev/null | awk '/chain/ { c = $2 } /hook forward/ { print c }')";

#[test]
fn what_a_stranger_takes_away_is_put_back() {
    let lab = Lab::with().ipv6().config("[firewall]\nowner = false").start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let picture = || {
        lab.sh("nft -s list table inet netmode 2>/dev/null; ip rule; ip -6 rule; ip route show table 28269; ip -6 route show table 28269; ip -br addr show nm0; ip -br link show nm0; bridge -d link show | grep -o 'hairpin [a-z]*' || :")
    };
    let before = picture();
    for (what, command) in [
        ("the ruleset", "nft flush ruleset"),
        ("the table", "nft delete table inet netmode"),
        ("a chain's rules", FLUSH_FORWARD),
        ("an element", "nft flush map inet netmode port_any4"),
        ("the guard's rules", "for p in 90 91 92; do ip rule del pref $p; ip -6 rule del pref $p; done"),
        ("one rule", "ip rule del pref 92"),
        ("the refusing routes", "ip route flush table 28269; ip -6 route flush table 28269"),
        ("the bridge, down", "ip link set nm0 down"),
        ("the bridge's address", "ip addr del 172.17.0.1/16 dev nm0"),
        ("the bridge's hardware address", "ip link set nm0 address 02:00:00:00:00:07"),
        ("a port, down", "ip link set $(ip -br link show master nm0 | cut -d@ -f1) down"),
        ("a port outside of the bridge", "ip link set $(ip -br link show master nm0 | cut -d@ -f1) nomaster"),
    ] {
        lab.sh(command);
        eventually(&format!("{what} is back"), 3.0, || picture() == before);
        eventually(&format!("{what}: it answers again"), 3.0, || {
            lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref() == Ok(CLIENT)
        });
        let direct = lab.at("client").who(tcp("172.17.0.2:80"));
        assert!(matches!(direct, Err(Failure::Timeout | Failure::Unreachable)), "{what}: {direct:?}");
    }
}

#[test]
fn torn_records_are_set_aside_and_newer_ones_refused() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    lab.netmode(&["run", "--name", "ended", "--rootfs", "/", "true"]).success();
    let id = lab.inspect("ended")["id"].as_str().expect("an id").to_owned();
    let record = format!("/var/lib/netmode/tasks/{id}.json");
    let whole = lab.read(&record);
    assert!(whole.contains("\"v\""), "records have a version: {whole}");
    lab.end_agent("TERM");
    lab.write(&record, &whole[..whole.len() / 2]);
    lab.start_agent();
    assert!(lab.agent_log().contains(&id), "the torn file is named: {}", lab.agent_log());
    assert!(!lab.has_file(&record), "and set aside");
    assert!(lab.sh("ls /var/lib/netmode/tasks").contains(&id), "not thrown away");
    assert_eq!(
        lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(),
        Ok(CLIENT),
        "others are not disturbed"
    );
    lab.end_agent("TERM");
    lab.write(&record, r#"{"v":99,"id":"x"}"#);
    let out = lab.run(&["timeout", "5", "netmoded"]);
    assert_eq!(out.status, 1, "{out:#?}");
    assert!(out.stderr.contains(&id) && out.stderr.contains("99"), "names the file and the version: {out:#?}");
    assert_eq!(
        lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(),
        Ok(CLIENT),
        "still nobody is disturbed"
    );
}

#[test]
fn no_descriptor_of_the_agent_leaks_into_containers() {
    let lab = Lab::start();
    lab.task("first", &["-p", "8080-8089:8080-8089"], &["sleep", "1000"]);
    lab.task("second", &["-p", "9090:80"], &["sleep", "1000"]);
    for task in ["first", "second"] {
        let pid = lab.inspect(task)["pid"].clone();
        let open = lab.sh(&format!("ls /proc/{pid}/fd"));
        assert_eq!(
            open.split_whitespace().collect::<Vec<_>>(),
            ["0", "1", "2"],
            "{task}: {}",
            lab.sh(&format!("ls -l /proc/{pid}/fd"))
        );
        let exec = lab.netmode(&["exec", task, "sh", "-c", "ls /proc/$$/fd"]).success().stdout;
        assert!(exec.split_whitespace().all(|fd| ["0", "1", "2", "3"].contains(&fd)), "{exec}");
    }
    // The monitor has pipes, its log and its socket, but neither namespaces nor held ports.
    let monitors = lab.sh("for p in $(pgrep -x conmon); do ls -l /proc/$p/fd; done");
    assert!(!monitors.contains("net:["), "{monitors}");
    let agent = lab.sh(&format!("ls -l /proc/{}/fd | grep -o 'socket:.*'", lab.agent_pid()));
    let shared: Vec<_> = agent.lines().filter(|socket| monitors.contains(socket)).collect();
    assert!(shared.is_empty(), "sockets of the agent in monitors: {shared:?}");
}

#[test]
fn doctor_looks_and_does_not_touch() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let before = Machine::settled(&lab);
    let out = lab.netmode(&["doctor", "-o", "json"]);
    let findings = out.json();
    let findings = findings.as_array().expect("a list");
    assert!(findings.len() > 5);
    for finding in findings {
        assert!(["ok", "warn"].contains(&finding["level"].as_str().unwrap_or("")), "nothing fails here: {finding}");
        assert!(finding["object"].is_string() && finding["message"].is_string(), "{finding}");
        assert!(
            finding["level"] == "ok"
                || finding["fix"].is_string()
                || finding["object"].as_str().is_some_and(|o| o.contains("kernel")),
            "{finding}"
        );
    }
    assert_eq!(out.status, i32::from(findings.iter().any(|f| f["level"] == "warn")));
    before.assert_unchanged(&lab, "doctor");
    lab.sh("echo 0 >/proc/sys/net/ipv4/ip_forward");
    let out = lab.netmode(&["doctor"]);
    let line = out.stdout.lines().find(|l| l.contains("ip_forward")).unwrap_or_default().to_owned();
    assert!(out.status == 2 && line.starts_with("fail") && line.contains("sysctl -w"), "{out:#?}");
    assert_eq!(lab.sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "0", "it does not mend");
}

#[test]
fn the_api_is_what_its_document_says() {
    let lab = Lab::start();
    let (status, document) = lab.api("GET", "/v1/openapi.json", None);
    assert_eq!(status, 200);
    let paths: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
    for path in
        ["/v1/tasks", "/v1/tasks/plan", "/v1/networks", "/v1/ports", "/v1/doctor", "/v1/version", "/v1/endpoints"]
    {
        assert!(paths.iter().any(|p| *p == path), "{path} in {paths:?}");
    }
    let file = netmode_tests::sandbox::repository().join("docs/openapi.json");
    let kept: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap_or_default()).unwrap_or_default();
    assert!(kept == document, "docs/openapi.json is not what the agent serves");
    for path in [
        "/v1/version",
        "/v1/tasks",
        "/v1/tasks?all=true",
        "/v1/networks",
        "/v1/networks/bridge",
        "/v1/ports",
        "/v1/doctor",
    ] {
        assert_eq!(lab.api("GET", path, None).0, 200, "{path}");
    }
}
