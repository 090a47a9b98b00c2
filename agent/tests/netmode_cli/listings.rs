//! Listings: filters and templates, the same on each of them.

use crate::commands::{ID, task};
use crate::fake::*;
use serde_json::{Value, json};

fn tasks() -> String {
    let mut other = task();
    other["id"] = json!("fedcba98765432100123456789abcdef");
    other["name"] = json!("db-1");
    other["state"] = json!("STOPPED");
    other["containers"][0]["exitCode"] = json!(3);
    other["networks"] = json!([]);
    other["networkMode"] = json!("none");
    other["labels"] = json!({"tier": "back", "team": "a"});
    json!([task(), other]).to_string()
}

#[test]
fn a_template_prints_each_row() {
    let agent = Fake::says(200, &tasks());
    agent.run(&["ps", "-a", "--format", r"{{.Name}}\t{{.State}}"]).prints("web-1\tRUNNING\ndb-1\tSTOPPED\n");
    agent.run(&["ps", "--format", "{{.Names}}: {{ lower .status }}"]).prints("web-1: running\ndb-1: stopped (3)\n");
    agent
        .run(&["ps", "--format", "table {{.Name}}\t{{.ID}}"])
        .prints("NAME    ID\nweb-1   0123456789ab\ndb-1    fedcba987654\n");
    agent.run(&["ps", "--format", "{{json .Name}}"]).prints("\"web-1\"\n\"db-1\"\n");
    for format in ["json", "{{json .}}"] {
        let out = agent.run(&["ps", "--format", format]).out;
        assert!(!out.contains(['\u{1b}', '\u{9b}']), "{out}");
        let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((rows.len(), &rows[0]["id"], &rows[1]["state"]), (2, &json!(ID), &json!("STOPPED")));
    }
    let table = agent.run(&["ps", "--format", "table"]);
    assert_eq!(table, agent.run(&["ps"]));
}

#[test]
fn a_template_that_cannot_be_is_told_with_the_fields() {
    let agent = Fake::says(200, &tasks());
    let fields = "the fields are .ID, .Name, .Mode, .Image, .Status, .Age, .Address, .PID, .Command, .Ports, .State,";
    agent.run(&["ps", "--format", "{{.Nmae}}"]).fails(1, &format!("there is no field .Nmae; {fields}"));
    agent.run(&["ps", "--format", "{{range .}}"]).fails(1, "there is no function \"range\"");
    agent.run(&["ps", "--format", "{{.Name"]).fails(1, "is not closed");
    agent.run(&["ps", "--format", "json", "-o", "yaml"]).fails(1, "--format and -o exclude each other");
    agent.run(&["ps", "--format", "json", "-q"]).fails(1, "--format and -q exclude each other");
    agent.run(&["port", "web-1", "--format", "json"]).fails(1, "are for \"netmode port ls\"");
    let error = agent.run(&["network", "ls", "--format", "{{.X}}"]);
    let fields = ".ID, .Name, .Bridge, .Subnets, .MTU, .Note, .Internal, .IPv6, .Driver, .Scope, .CreatedAt, .Labels";
    error.fails(1, &format!("the fields are {fields}, the functions"));
    assert_eq!(agent.lines(), Vec::<String>::new(), "nobody is asked for what cannot be printed");
}

#[test]
fn filters_choose_rows_in_every_form_of_output() {
    let agent = Fake::says(200, &tasks());
    let names = |filters: &[&str]| {
        let words = filters.iter().flat_map(|f| ["--filter", f]);
        let words: Vec<&str> = ["ps", "--format", "{{.Name}}"].into_iter().chain(words).collect();
        agent.run(&words).out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&["name=web"]), ["web-1"]);
    assert_eq!(names(&["id=fedc"]), ["db-1"]);
    assert_eq!(names(&["state=running"]), ["web-1"]);
    assert_eq!(names(&["status=exited"]), ["db-1"]);
    assert_eq!(names(&["mode=none"]), ["db-1"]);
    assert_eq!(names(&["network=bridge"]), ["web-1"]);
    assert_eq!(names(&["label=tier"]), ["db-1"]);
    assert_eq!(names(&["label=tier=back", "label=team=a"]), ["db-1"]);
    assert_eq!(names(&["label=tier=back", "label=team=b"]), Vec::<String>::new());
    assert_eq!(names(&["name=web", "name=db"]), ["web-1", "db-1"]);
    agent.run(&["ps", "-q", "-f", "name=db"]).prints("fedcba987654\n");
    let json: Value = serde_json::from_str(&agent.run(&["ps", "-o", "json", "-f", "name=db"]).out).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["name"]), (1, &json!("db-1")));
    agent
        .run(&["ps", "-f", "colour=red"])
        .fails(1, "there is no key \"colour\"; the keys are name, id, state or status");
    agent.run(&["ps", "-f", "red"]).fails(1, "write KEY=VALUE");
    agent.run(&["ps", "-f", "state=dead"]).fails(1, "a state is one of pending, running, stopping, stopped");
}

#[test]
fn who_asks_for_a_state_sees_stopped_tasks_too() {
    let agent = Fake::says(200, "[]");
    agent.run(&["ps", "-q", "-f", "status=stopped"]);
    agent.run(&["ps", "-q", "-f", "name=x"]);
    assert_eq!(agent.lines(), ["GET /v1/tasks?all=true", "GET /v1/tasks?all=false"]);
}

#[test]
fn ports_networks_and_findings_have_the_same_flags() {
    let port = |port: u16, owner: &str| {
        json!({"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": port, "protocol": "tcp", "owner": owner,
        "ownerId": ID, "since": "2020-01-01T00:00:00Z", "held": true})
    };
    let agent = Fake::says(200, &json!([port(8080, "a"), port(8081, "b")]).to_string());
    agent.run(&["port", "ls", "-f", "owner=b", "--format", "{{.Owner}} {{.Host}}"]).prints("b 0.0.0.0:8081\n");
    agent.run(&["port", "ls", "-f", "port=8080", "--format", "{{.Container}}"]).prints("80/tcp\n");

    let network = |name: &str| json!({"id": ID, "name": name, "bridge": "nm0", "mtu": 1500, "v4": "172.18.0.0/16"});
    let agent = Fake::says(200, &json!([network("bridge"), network("back")]).to_string());
    agent
        .run(&["network", "ls", "-f", "name=back", "--format", "{{.Name}} {{.Subnets}}"])
        .prints("back 172.18.0.0/16\n");

    let findings = json!([{"level": "ok", "object": "kernel", "message": "6.18"}, {"level": "fail", "object": "x", "message": "m", "fix": "do it"}]);
    let agent = Fake::says(200, &findings.to_string());
    let done = agent.run(&["doctor", "-f", "level=fail", "--format", "{{.Object}}: {{.Fix}}"]);
    assert_eq!((done.status, done.out.as_str()), (2, "x: do it\n"));
    let done = agent.run(&["doctor", "-f", "level=ok", "-q"]);
    assert_eq!((done.status, done.out.as_str()), (0, "kernel\n"));
    agent.run(&["doctor", "-f", "level=bad"]).fails(1, "a level is one of ok, warn, fail");
}
