//! Commands that ask and print: exit statuses, sentences, formats.

use crate::fake::*;
use serde_json::{Value, json};
use std::io::Read;
use std::process::Stdio;

pub(crate) const ID: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn task() -> Value {
    let binding = |ip: &str, host: u16, container: u16| json!({"bindIP": ip, "containerPort": container, "hostPort": host, "protocol": "tcp"});
    json!({
        "id": ID, "name": "web-1", "networkMode": "bridge", "requestedMode": "default", "state": "RUNNING",
        "netns": "/run/netns/nm-0123456789ab", "pid": 42, "createdAt": "2020-01-01T00:00:00Z", "labels": {},
        "containers": [{
            "name": "web-1", "image": "evil\u{1b}[31m.tar\u{9b}2J", "command": ["nginx", "-g", "x"], "networkInterfaces": [],
            "networkBindings": [binding("0.0.0.0", 8080, 3000), binding("::", 8080, 3000), binding("0.0.0.0", 8081, 3001), binding("0.0.0.0", 9000, 9000)],
        }],
        "networks": [{
            "name": "bridge", "interface": "eth0", "macAddress": "02:42:ac:11:00:02", "ipv4Addresses": ["172.17.0.2/16"],
            "ipv6Addresses": [], "gateway": "172.17.0.1", "subnet": "172.17.0.0/16", "mtu": 1500,
        }],
        "fieldOfALaterRelease": 1,
    })
}

#[test]
fn an_agent_that_does_not_run_is_told_with_the_next_step() {
    let socket = nobody();
    let sentence = format!(
        "netmode: cannot reach the agent at {}: No such file or directory; start it with \"systemctl start netmode\" or run \"netmoded\"\n",
        socket.display()
    );
    let run = |words: &[&str]| Done::of(netmode(&socket, words).stdin(Stdio::null()).output().unwrap());
    for words in
        [&["run", "--rootfs", "/", "true"][..], &["run", "-d", "x"], &["run", "--plan", "x"], &["exec", "web", "true"]]
    {
        assert_eq!(run(words), Done { status: 125, out: String::new(), err: sentence.clone() }, "{words:?}");
    }
    for words in [
        &["ps"][..],
        &["inspect", "x"],
        &["logs", "x"],
        &["port", "x"],
        &["port", "ls"],
        &["stop", "x"],
        &["kill", "x"],
        &["wait", "x"],
        &["rm", "x"],
        &["start", "x"],
        &["network", "ls"],
        &["network", "inspect", "bridge"],
        &["attach", "--netns", "/proc/self/ns/net", "--owner", "x"],
        &["detach", "--owner", "x"],
    ] {
        assert_eq!(run(words), Done { status: 1, out: String::new(), err: sentence.clone() }, "{words:?}");
    }
    let json = run(&["ps", "-o", "json"]);
    let error: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!((json.status, &error["code"]), (1, &json!("agent-unreachable")));
    assert!(error["message"].as_str().unwrap().starts_with("cannot reach the agent at "));
}

#[test]
fn version_and_doctor_work_with_the_agent_dead() {
    let socket = nobody();
    let version = Done::of(netmode(&socket, &["version"]).output().unwrap());
    assert_eq!((version.status, version.err.as_str()), (0, ""));
    assert!(
        version.out.starts_with(&format!("netmode {}\nagent   unknown: cannot reach", env!("CARGO_PKG_VERSION"))),
        "{version:?}"
    );
    let json = Done::of(netmode(&socket, &["version", "-o", "json"]).output().unwrap());
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap()["agent"], Value::Null);
    let doctor = Done::of(netmode(&socket, &["doctor", "-o", "json"]).output().unwrap());
    assert_eq!(doctor.status, 2);
    let findings: Value = serde_json::from_str(&doctor.out).unwrap();
    assert_eq!((&findings[0]["object"], &findings[0]["level"]), (&json!("agent"), &json!("fail")));
    assert!(findings.as_array().unwrap().iter().any(|f| f["object"] == "kernel"), "{findings}");
}

#[test]
fn wrong_usage_is_2_and_a_bad_value_of_run_or_exec_is_125_without_asking() {
    let agent = Fake::says(500, "{}");
    agent.run(&["run", "--bogus", "x"]).fails(2, "unexpected argument '--bogus' found; see \"netmode run --help\"");
    agent.run(&["run"]).fails(2, "required arguments were not provided");
    agent.run(&["exec", "web"]).fails(2, "netmode exec --help");
    agent.run(&["frobnicate"]).fails(2, "unrecognized subcommand 'frobnicate'");
    agent.run(&["ps", "-o", "xml"]).fails(2, "invalid value 'xml'");
    agent.run(&["stop", "-t", "soon", "web"]).fails(2, "invalid value 'soon'");
    agent.run(&["run", "-p", "8080:0", "x"]).fails(125, "cannot publish \"8080:0\": \"0\" is not a port");
    agent
        .run(&["run", "--mode", "foo", "x"])
        .fails(125, "unknown network mode \"foo\": choose one of awsvpc, bridge, host, none, default");
    agent.run(&["run", "--restart", "sometimes", "x"]).fails(125, "unknown restart policy \"sometimes\"");
    agent.run(&["exec", "-w", "x", "web", "true"]).fails(125, "absolute path");
    agent.run(&["run", "--name", "a\u{1b}]0;b", "x"]).fails(125, "is not allowed");
    agent.run(&["attach", "--netns", "/run/netns/x", "-p", "80:81:82:83"]).fails(1, "cannot publish");
    agent.run(&["kill", "-s", "NOPE", "web"]).fails(1, "there is no such signal");
    agent.run(&["rm", ""]).fails(1, "cannot be empty");
    agent.run(&["logs", "--tail", "x", "web"]).fails(1, "a number of lines");
    agent.run(&["port", "web", "0"]).fails(1, "is not a container port");
    let json = agent.run(&["-o", "json", "run", "-p", "0", "x"]);
    let error: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!((json.status, &error["code"]), (125, &json!("invalid-port")));
    let json = agent.run(&["ps", "--bogus", "-o", "json"]);
    let error: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!((json.status, &error["code"]), (2, &json!("bad-request")));
    assert_eq!(agent.lines(), Vec::<String>::new());
}

#[test]
fn help_and_completion_need_no_agent() {
    let agent = Fake::says(500, "{}");
    let help = agent.run(&["--help"]);
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    assert!(help.out.contains("125 netmode failed"), "{}", help.out);
    let run = agent.run(&["run", "--help"]).out;
    for flag in
        ["--port-env", "--add-host", "--security-opt", "--mac-address", "netmode run [OPTIONS] --rootfs DIR COMMAND..."]
    {
        assert!(run.contains(flag), "{flag}");
    }
    assert_eq!(agent.run(&["--version"]).out, format!("netmode {}\n", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        assert!(agent.run(&["completion", shell]).out.contains("netmode"), "{shell}");
    }
    assert_eq!(agent.lines(), Vec::<String>::new());
}

#[test]
fn the_agents_refusals_become_sentences_and_statuses() {
    for (code, status, exit) in [
        ("port-taken", 409, 125),
        ("command-not-executable", 400, 126),
        ("command-not-found", 400, 127),
        ("code-of-a-later-release", 418, 125),
    ] {
        let agent = Fake::new(move |_, stream| error(stream, status, code, "the agent's\nown \u{1b}[31msentence"));
        agent.run(&["run", "-d", "x"]).fails(exit, "netmode: the agent's own [31msentence");
        agent.run(&["exec", "web", "x"]).fails(exit, "own [31msentence");
        agent.run(&["ps"]).fails(1, "own [31msentence");
    }
    Fake::says(200, "<html>").run(&["ps"]).fails(1, "the agent's answer cannot be understood");
    Fake::new(|_, _| {}).run(&["ps"]).fails(1, "closed the connection before its answer was complete");
}

#[test]
fn run_in_the_background_prints_the_id_and_a_plan_prints_commands() {
    let created = json!({"id": ID, "name": "web-1", "warnings": ["loopback services\nare in reach"]}).to_string();
    let agent = Fake::says(201, &created);
    let done = agent.run(&["run", "-d", "--name", "web-1", "-p", "8080:80", "--rm", "./app.tar", "serve", "--fast"]);
    assert_eq!(
        (done.status, done.out, done.err.as_str()),
        (0, format!("{ID}\n"), "netmode: warning: loopback services are in reach\n")
    );
    let asked = &agent.asked()[0];
    assert_eq!(asked.line, "POST /v1/tasks?start=true");
    assert_eq!(asked.body["net"]["ports"], json!(["8080:80/tcp"]));
    assert_eq!(asked.body["container"]["command"], json!(["serve", "--fast"]));
    assert!(asked.body["container"]["image"].as_str().unwrap().ends_with("/app.tar"));

    let agent =
        Fake::says(200, r#"{"commands":["ip netns add nm-1","nft -f - <<'EOF'\ntable inet x {\n\t\u001b}\nEOF"]}"#);
    agent.run(&["run", "--plan", "x"]).prints("ip netns add nm-1\nnft -f - <<'EOF'\ntable inet x {\n\t}\nEOF\n");
    assert_eq!(agent.lines(), ["POST /v1/tasks/plan"]);
}

#[test]
fn a_listing_has_columns_and_no_escape_sequences() {
    let agent = Fake::says(200, &json!([task()]).to_string());
    let done = agent.run(&["ps", "-a"]);
    let lines: Vec<&str> = done.out.lines().collect();
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words, ["ID", "NAME", "MODE", "IMAGE", "STATE", "AGE", "PORTS"]);
    assert!(lines[1].starts_with("0123456789ab   web-1   bridge   evil[31m.tar2J   RUNNING   "), "{}", lines[1]);
    assert!(lines[1].ends_with("   0.0.0.0:8080-8081->3000-3001/tcp, 0.0.0.0:9000->9000/tcp"), "{}", lines[1]);
    assert_eq!(agent.lines(), ["GET /v1/tasks?all=true"]);
    let wide = agent.run(&["ps", "-o", "wide"]).out;
    assert!(wide.lines().nth(2).unwrap().trim().starts_with("0.0.0.0:9000->9000/tcp"), "{wide}");
    assert!(wide.contains("172.17.0.2") && wide.contains("nginx -g x"), "{wide}");
    agent.run(&["ps", "-q"]).prints("0123456789ab\n");
    let json = agent.run(&["ps", "-o", "json"]).out;
    assert!(!json.contains(['\u{1b}', '\u{9b}']), "{json}");
    assert_eq!(
        serde_json::from_str::<Value>(&json).unwrap()[0]["containers"][0]["image"],
        "evil\u{1b}[31m.tar\u{9b}2J"
    );
    assert!(agent.run(&["ps", "-o", "yaml"]).out.starts_with(&format!("- id: {ID}\n")));
}

#[test]
fn inspect_gives_an_array_by_default() {
    let agent = Fake::says(200, &task().to_string());
    let all: Value = serde_json::from_str(&agent.run(&["inspect", "web-1", "0123"]).out).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(all[0]["containers"][0]["networkBindings"][0]["bindIP"], "0.0.0.0");
    assert_eq!(agent.lines(), ["GET /v1/tasks/web-1", "GET /v1/tasks/0123"]);
    let agent = Fake::says(200, r#"{"Name":"bridge","IPAM":{}}"#);
    let all: Value = serde_json::from_str(&agent.run(&["network", "inspect", "bridge"]).out).unwrap();
    assert_eq!(all, json!([{"Name": "bridge", "IPAM": {}}]));
}

#[test]
fn ports_are_printed_as_docker_does() {
    let agent = Fake::says(200, &task().to_string());
    agent.run(&["port", "web-1"]).prints("3000-3001/tcp -> 0.0.0.0:8080-8081\n9000/tcp -> 0.0.0.0:9000\n");
    agent.run(&["port", "web-1", "3001"]).prints("0.0.0.0:8081\n");
    agent.run(&["port", "web-1", "3001/udp"]).fails(1, "web-1 publishes no port 3001/udp");
    let port = json!({"bindIP": "127.0.0.1", "containerPort": 80, "hostPort": 8080, "protocol": "tcp", "owner": "web-1",
        "ownerId": ID, "since": "2020-01-01T00:00:00Z", "held": true});
    let agent = Fake::says(200, &json!([port]).to_string());
    let done = agent.run(&["port", "ls"]).out;
    let row: Vec<&str> = done.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["127.0.0.1:8080", "80/tcp", "web-1", "0123456789ab", "2020-01-01T00:00:00Z"]);
    assert_eq!(row[6], "held");
    assert_eq!(agent.lines(), ["GET /v1/ports"]);
}

#[test]
fn several_tasks_are_all_tried_and_each_failure_is_told() {
    let agent = Fake::new(|asked, stream| match asked.line.contains("gone") {
        true => error(stream, 404, "not-found", "no task is named like that"),
        false => reply(stream, 204, ""),
    });
    let done = agent.run(&["stop", "-t", "3", "gone-1", "a", "gone-2", "b"]);
    assert_eq!((done.status, done.out.as_str()), (1, "a\nb\n"));
    assert_eq!(done.err.lines().count(), 2, "{done:?}");
    let asked = agent.asked();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[1].body, json!({"timeout": 3}));
    agent.run(&["rm", "-f", "a/b"]).prints("a/b\n");
    agent.run(&["kill", "-s", "sigusr1", "a"]).prints("a\n");
    let last: Vec<_> = agent.asked().split_off(4);
    assert_eq!(last[0].line, "DELETE /v1/tasks/a%2Fb?force=true");
    assert_eq!(last[1].body, json!({"signal": "USR1"}));
    Fake::says(200, r#"{"exitCode":3}"#).run(&["wait", "a", "b"]).prints("3\n3\n");
}

#[test]
fn networks_and_findings_are_listed() {
    let network = json!({"v": 1, "id": ID, "name": "bridge", "bridge": "nm0", "mac": "02:42:ac:11:00:01", "mtu": 1500,
        "v4": "172.18.0.0/16", "v6": null, "poolReason": "172.17.0.0/16 overlaps eth1", "created": "2020-01-01T00:00:00Z"});
    let out = Fake::says(200, &json!([network]).to_string()).run(&["network", "ls"]).out;
    assert!(
        out.contains("0123456789ab   bridge   nm0      172.18.0.0/16   1500   172.17.0.0/16 overlaps eth1"),
        "{out}"
    );
    for (level, status) in [("ok", 0), ("warn", 1), ("fail", 2)] {
        let findings = json!([{"level": "ok", "object": "kernel", "message": "6.18"}, {"level": level, "object": "x", "message": "m", "fix": "do it"}]);
        let done = Fake::says(200, &findings.to_string()).run(&["doctor"]);
        assert_eq!(done.status, status);
        assert!(done.out.contains(&format!("{level:4}    x        m       do it")), "{}", done.out);
    }
}

#[test]
fn a_namespace_is_opened_here_and_taken_back_by_its_owner() {
    let reply_body = json!({"id": ID, "networkBindings": [], "networks": task()["networks"]}).to_string();
    let agent = Fake::says(201, &reply_body);
    let done = agent.run(&["attach", "--netns", "/proc/self/ns/net", "--owner", "me", "--mode", "none"]);
    assert_eq!(done.status, 0, "{done:?}");
    assert!(done.out.contains("eth0        172.17.0.2/16   172.17.0.1   02:42:ac:11:00:02   bridge"), "{}", done.out);
    assert_eq!(agent.asked()[0].body["netns"], json!({"fd": 0}));
    agent.run(&["attach", "--netns", "/etc/hostname"]).fails(1, "it is not a namespace");
    agent
        .run(&["attach", "--netns", "/run/netns/none-such"])
        .fails(1, "cannot attach /run/netns/none-such: No such file");
    let agent = Fake::says(204, "");
    agent.run(&["detach", "--owner", "a b", "--interface", "eth1"]).prints("");
    assert_eq!(agent.lines(), ["DELETE /v1/endpoints?owner=a%20b&interface=eth1"]);
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let tasks = Value::Array(vec![task(); 500]);
    let agent = Fake::says(200, &tasks.to_string());
    for words in [&["ps"][..], &["ps", "-o", "json"], &["completion", "bash"], &["run", "--help"]] {
        let mut child = agent.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""), "{words:?}");
    }
}
