//! Who may know whom: the arrows between crates, held on what cargo says.
#![allow(missing_docs, clippy::unwrap_used)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crate → ours that it may depend on, tests aside.
const ARROWS: [(&str, &[&str]); 8] = [
    ("netmode-model", &[]),
    ("netmode-kernel", &["netmode-model"]),
    ("netmode-engine", &["netmode-model"]),
    ("netmode-dns", &["netmode-model"]),
    ("netmode-container", &["netmode-model"]),
    ("netmode-client", &["netmode-model"]),
    ("netmode-cni", &["netmode-client", "netmode-model"]),
    (
        "netmode-agent",
        &["netmode-client", "netmode-container", "netmode-dns", "netmode-engine", "netmode-kernel", "netmode-model"],
    ),
];

/// Libraries that only `kernel` may use: they are the kernel's wire.
const WIRE: [&str; 5] =
    ["rtnetlink", "netlink-packet-route", "netlink-packet-netfilter", "netlink-packet-core", "netlink-sys"];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let args = ["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path", manifest];
    let output = Command::new(cargo).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = |p: &Value| {
        let ordinary = |d: &&Value| d["kind"].is_null() || d["kind"] == "build";
        let names = p["dependencies"].as_array().unwrap().iter().filter(ordinary);
        (p["name"].as_str().unwrap().to_owned(), names.map(|d| d["name"].as_str().unwrap().to_owned()).collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn crates_know_each_other_in_one_direction() {
    let all = dependencies();
    for (name, allowed) in ARROWS {
        let ours = all[name].iter().filter(|d| d.starts_with("netmode-"));
        let strange: Vec<_> = ours.filter(|d| !allowed.contains(&d.as_str())).collect();
        assert!(strange.is_empty(), "{name} may not depend on {strange:?}");
    }
    let known: BTreeSet<_> = ARROWS.iter().map(|(n, _)| *n).chain(["netmode-tests"]).collect();
    let new: Vec<_> = all.keys().filter(|n| !known.contains(n.as_str())).collect();
    assert!(new.is_empty(), "say in this test what {new:?} may depend on");
}

#[test]
fn only_the_kernel_crate_speaks_netlink() {
    for (name, dependencies) in dependencies() {
        let wire: Vec<_> = WIRE.iter().filter(|w| dependencies.contains(**w)).collect();
        assert!(name == "netmode-kernel" || wire.is_empty(), "{name} may not depend on {wire:?}");
    }
}
