//! The wiring of a lab as it is at this moment, read by `ip` and drawn as a tree.

use crate::failure::Failure;
use crate::lab::{drawing, enter};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A link of a namespace.
#[derive(Debug, Clone, Default)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) index: u64,
    /// Of a veth: the peer's index, and the id by which this namespace knows the peer's.
    pub(super) peer: Option<(u64, Option<i64>)>,
    pub(super) master: Option<String>,
    pub(super) kind: String,
    pub(super) addresses: Vec<String>,
    pub(super) up: bool,
}

/// A namespace: its name for people, and its links.
#[derive(Debug, Default)]
pub(super) struct Space {
    pub(super) name: String,
    pub(super) links: Vec<Link>,
    /// What it calls other namespaces.
    pub(super) ids: BTreeMap<i64, String>,
    /// Published ports, or whatever stands behind the name.
    pub(super) note: String,
}

/// The picture.
pub(crate) fn draw() -> Result<String, Failure> {
    let mut spaces = BTreeMap::new();
    let tasks = tasks();
    spaces.insert("host".to_owned(), space("host", "host", String::new()));
    for name in names() {
        let (shown, note) = tasks.get(&name).cloned().unwrap_or((name.clone(), String::new()));
        spaces.insert(name.clone(), space(&name, &shown, note));
    }
    Ok(drawing::draw(&spaces))
}

fn ask(words: &[&str]) -> Value {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    // What has gone meanwhile is not in the picture.
    let answer = enter::answer("host", &words, Duration::from_secs(5)).unwrap_or_default();
    serde_json::from_str(&answer.stdout).unwrap_or_default()
}

fn names() -> Vec<String> {
    let list = ask(&["ip", "-j", "netns", "list"]);
    list.as_array().into_iter().flatten().filter_map(|n| n["name"].as_str().map(String::from)).collect()
}

/// Tasks by the name of their namespace: name, and what stands behind it.
fn tasks() -> BTreeMap<String, (String, String)> {
    let netmode = enter::this().to_string_lossy().into_owned();
    let ids =
        enter::answer("host", &[netmode.clone(), "ps".into(), "-q".into()], Duration::from_secs(5)).unwrap_or_default();
    let ids: Vec<&str> = ids.stdout.split_whitespace().collect();
    if ids.is_empty() {
        return BTreeMap::new();
    }
    let list = ask(&[&[netmode.as_str(), "inspect"], &ids[..], &["-o", "json"]].concat());
    let task = |task: &Value| {
        let netns = task["netns"].as_str()?.rsplit('/').next()?.to_owned();
        let mode = task["networkMode"].as_str().unwrap_or_default();
        let ports = task["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|c| c["networkBindings"].as_array().into_iter().flatten());
        let port = |b: &Value| Some(format!("{} to {}", b["hostPort"].as_u64()?, b["containerPort"].as_u64()?));
        let ports: BTreeSet<String> = ports.filter_map(port).collect();
        let ports = ports.into_iter().fold(String::new(), |text, port| format!("{text}, port {port}"));
        Some((netns, (task["name"].as_str()?.to_owned(), format!("{mode}{ports}"))))
    };
    list.as_array().into_iter().flatten().filter_map(task).collect()
}

fn space(netns: &str, name: &str, note: String) -> Space {
    let here = |words: &[&str]| {
        let prefix: &[&str] = if netns == "host" { &["ip"] } else { &["ip", "-n", netns] };
        ask(&[prefix, words].concat())
    };
    let links = here(&["-j", "-d", "addr", "show"]);
    let ids = here(&["-j", "netns", "list-id"]);
    let id = |entry: &Value| Some((entry["nsid"].as_i64()?, entry["name"].as_str().unwrap_or("host").to_owned()));
    Space {
        name: name.to_owned(),
        links: links.as_array().into_iter().flatten().filter_map(link).collect(),
        ids: ids.as_array().into_iter().flatten().filter_map(id).collect(),
        note,
    }
}

fn link(json: &Value) -> Option<Link> {
    let address = |a: &Value| {
        let local = a["local"].as_str()?;
        (a["scope"] != "link").then(|| format!("{local}/{}", a["prefixlen"]))
    };
    let kind = json["linkinfo"]["info_kind"].as_str().unwrap_or_default();
    Some(Link {
        name: json["ifname"].as_str()?.to_owned(),
        index: json["ifindex"].as_u64()?,
        peer: json["link_index"]
            .as_u64()
            .filter(|_| kind == "veth")
            .map(|index| (index, json["link_netnsid"].as_i64())),
        master: json["master"].as_str().map(String::from),
        kind: kind.to_owned(),
        addresses: json["addr_info"].as_array().into_iter().flatten().filter_map(address).collect(),
        up: json["flags"].as_array().into_iter().flatten().any(|flag| flag == "UP"),
    })
}
