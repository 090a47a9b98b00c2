//! Task definitions of ECS: made, run, asked.

use crate::{Lab, eventually};
use serde_json::{Value, json};

/// A container that serves `ports` with its name as the answer.
pub fn serving(name: &str, ports: &[&str]) -> Value {
    let mut command = vec!["probe".to_owned(), "serve".into(), "--tag".into(), name.into()];
    command.extend(ports.iter().map(|p| (*p).to_owned()));
    json!({"name": name, "rootDirectory": "/", "command": command, "stopTimeout": 1})
}

/// A container that runs a script.
pub fn shell(name: &str, script: &str) -> Value {
    // A shell that is process 1 does not hear SIGTERM.
    json!({"name": name, "rootDirectory": "/", "command": ["sh", "-c", script], "stopTimeout": 1})
}

/// A container, or a definition, with more of it.
pub fn with(mut container: Value, more: Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    container
}

/// A definition of these containers.
pub fn definition(mode: &str, containers: Vec<Value>) -> Value {
    json!({"family": "shop", "revision": 7, "networkMode": mode, "containerDefinitions": containers})
}

/// Runs a definition and returns the task's id.
pub fn run(lab: &Lab, definition: &Value, flags: &[&str]) -> String {
    lab.write("/run/lab/taskdef.json", &definition.to_string());
    let out = lab.netmode(&[&["task", "run", "-f", "/run/lab/taskdef.json"], flags].concat()).success();
    out.stdout.trim().to_owned()
}

/// A definition that cannot be: these words say why.
pub fn refused(lab: &Lab, definition: &Value, words: &[&str]) {
    lab.write("/run/lab/taskdef.json", &definition.to_string());
    lab.netmode(&["task", "run", "-f", "/run/lab/taskdef.json"]).refused(1, words);
}

/// The task as `describe-tasks` shows it.
pub fn task(lab: &Lab, id: &str) -> Value {
    lab.json(&["task", "show", id])["tasks"][0].take()
}

/// The task, once it has a status.
pub fn until(lab: &Lab, id: &str, status: &str) -> Value {
    eventually(&format!("{id} is {status}"), 5.0, || task(lab, id)["lastStatus"] == status);
    task(lab, id)
}

/// A container of a task.
pub fn container<'a>(task: &'a Value, name: &str) -> &'a Value {
    task["containers"].as_array().and_then(|all| all.iter().find(|c| c["name"] == name)).expect("a container")
}

/// The address of a task's ENI.
pub fn address(task: &Value) -> String {
    let details = task["attachments"][0]["details"].as_array().cloned().unwrap_or_default();
    let own = details.iter().find(|d| d["name"] == "privateIPv4Address");
    own.and_then(|d| d["value"].as_str()).expect("an address").to_owned()
}

/// A security group that lets everything in.
pub fn open(lab: &Lab) {
    lab.netmode(&["sg", "create", "open"]).success();
    lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0,::/0"]).success();
}

/// What a container is called on its host.
pub fn runtime(task: &Value, name: &str) -> String {
    container(task, name)["runtimeName"].as_str().expect("a name").to_owned()
}

/// What a script says in a container.
pub fn exec(lab: &Lab, container: &str, script: &str) -> String {
    lab.netmode(&["exec", container, "sh", "-c", script]).success().stdout.trim().to_owned()
}
