//! The wiring of a lab as it is at this moment, read by `ip` and drawn as a tree.

use crate::failure::Failure;
use crate::lab::{drawing, enter};
use serde_json::Value;
use std::collections::btree_map::Entry;
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
    /// Of a bridge of ours: the network's or the subnet's name.
    pub(super) network: Option<String>,
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
    let owners = owners();
    for name in std::iter::once("host".to_owned()).chain(names()) {
        let (shown, note) = owners.get(&name).cloned().unwrap_or((name.clone(), String::new()));
        spaces.insert(name.clone(), space(&name, &shown, note));
    }
    let networks = networks();
    for link in spaces.get_mut("host").into_iter().flat_map(|host: &mut Space| &mut host.links) {
        // The default one has the name of its kind.
        link.network = networks.get(&link.name).filter(|name| *name != "bridge").cloned();
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

/// Owners of namespaces by the name of those: name, and what stands behind it. Tasks in host mode are the host's.
fn owners() -> BTreeMap<String, (String, String)> {
    attachments().into_iter().chain(tasks()).collect()
}

/// What CNI has attached, where its container and its namespace have the same name.
fn attachments() -> BTreeMap<String, (String, String)> {
    let bindings = ask(&[&enter::this().to_string_lossy(), "port", "ls", "-o", "json"]);
    let mut places: BTreeMap<String, (String, String)> = BTreeMap::new();
    for binding in bindings.as_array().into_iter().flatten() {
        let owner = binding["owner"].as_str().filter(|owner| owner.starts_with("cni/"));
        let container = owner.and_then(|owner| owner.rsplit('/').next());
        if let (Some(container), Some(port)) = (container, port(binding)) {
            let place = places.entry(container.into()).or_insert_with(|| (container.into(), "CNI".into()));
            place.1 += &port;
        }
    }
    places
}

fn tasks() -> BTreeMap<String, (String, String)> {
    let netmode = enter::this().to_string_lossy().into_owned();
    let ids =
        enter::answer("host", &[netmode.clone(), "ps".into(), "-q".into()], Duration::from_secs(5)).unwrap_or_default();
    let ids: Vec<&str> = ids.stdout.split_whitespace().collect();
    if ids.is_empty() {
        return BTreeMap::new();
    }
    let list = ask(&[&[netmode.as_str(), "inspect"], &ids[..], &["-o", "json"]].concat());
    // Of a task definition: without the random end.
    let short = |name: &str| match name.rsplit_once('-') {
        Some((short, end)) if name.starts_with("ecs-") && end.len() == 20 => short.to_owned(),
        _ => name.to_owned(),
    };
    let name = |task: &Value| short(task["name"].as_str().unwrap_or_default());
    let mut tasks: Vec<&Value> = list.as_array().into_iter().flatten().collect();
    tasks.sort_by_key(|task| name(task));
    let netns = |task: &Value| Some(task["netns"].as_str()?.rsplit('/').next()?.to_owned());
    let mut places: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (netns, task) in tasks.iter().filter_map(|task| Some((netns(task)?, *task))) {
        // Containers of one awsvpc task share a namespace.
        match places.entry(netns) {
            Entry::Occupied(mut entry) => entry.get_mut().0 += &format!(", {}", name(task)),
            Entry::Vacant(entry) => drop(entry.insert((name(task), note(task)))),
        }
    }
    let on_host: Vec<String> =
        tasks.iter().filter(|task| task["networkMode"] == "host").map(|task| name(task)).collect();
    if !on_host.is_empty() {
        places.insert("host".into(), ("host".into(), format!("and in it {}", on_host.join(", "))));
    }
    places
}

/// Names of networks and subnets by that of their bridge.
fn networks() -> BTreeMap<String, String> {
    let netmode = enter::this().to_string_lossy().into_owned();
    let list = |what, key: &str| {
        let list = ask(&[&netmode, what, "ls", "-o", "json"]);
        let pair = |n: &Value| Some((n[key].as_str()?.to_owned(), n["name"].as_str()?.to_owned()));
        list.as_array().into_iter().flatten().filter_map(pair).collect::<Vec<_>>()
    };
    list("network", "bridge").into_iter().chain(list("subnet", "hostLink")).collect()
}

/// A task's mode and its published ports.
fn note(task: &Value) -> String {
    let containers = task["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["networkBindings"].as_array().into_iter().flatten());
    let ports: BTreeSet<String> = ports.filter_map(port).collect();
    ports.into_iter().fold(task["networkMode"].as_str().unwrap_or_default().to_owned(), |text, port| text + &port)
}

/// `, port 80 to 3000`.
fn port(binding: &Value) -> Option<String> {
    let one = binding["bindIP"].as_str().filter(|ip| !matches!(*ip, "0.0.0.0" | "::"));
    let one = one.map(|ip| format!("{ip}:")).unwrap_or_default();
    let (host, container) = (binding["hostPort"].as_u64()?, binding["containerPort"].as_u64()?);
    Some(format!(", port {one}{host} to {container}"))
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
        network: None,
        addresses: json["addr_info"].as_array().into_iter().flatten().filter_map(address).collect(),
        up: json["flags"].as_array().into_iter().flatten().any(|flag| flag == "UP"),
    })
}
