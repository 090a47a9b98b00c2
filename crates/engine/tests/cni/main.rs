//! CNI calls of every kind: whatever a runtime, or somebody else, sends is answered with one document, and never with a
//! panic. The same harness is a target of cargo-fuzz (`crates/engine/fuzz`).
#![allow(missing_docs)]
#![recursion_limit = "512"]

mod harness;

use proptest::prelude::*;
use serde_json::{Value, json};

/// A configuration with every key that a plugin reads.
fn whole() -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "n1", "type": "bridge", "bridge": "br9", "isGateway": true, "isDefaultGateway": true,
        "ipMasq": true, "ipMasqBackend": "nftables", "hairpinMode": false, "promiscMode": false, "mtu": 1400, "vlan": 0,
        "vlanTrunk": [], "macspoofchk": true, "portIsolation": true, "forceAddress": true,
        "disableContainerInterface": false, "master": "lan0", "mode": "bridge", "vlanId": 7, "linkInContainer": false,
        "device": "lan0", "hwaddr": "02:00:00:00:00:07", "backend": "iptables", "ingressPolicy": "open", "snat": true,
        "masqAll": true, "markMasqBit": 13, "sysctl": {"net.core.somaxconn": "500"}, "mac": "02:00:00:00:00:09",
        "promisc": true, "allmulti": true, "txQLen": 100, "ingressRate": 8_000_000, "ingressBurst": 8_000_000,
        "egressRate": 8_000_000, "egressBurst": 8_000_000, "dns": {"nameservers": ["10.0.0.53"]},
        "ipam": {"type": "static", "addresses": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1"}],
                 "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}]},
        "args": {"cni": {"ips": ["10.1.2.9/24"], "mac": "02:00:00:00:00:08"}},
        "runtimeConfig": {
            "portMappings": [{"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.1"}],
            "ips": ["10.1.2.7/24"], "mac": "02:00:00:00:00:0a", "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 1}
        },
        "prevResult": {
            "interfaces": [{"name": "br9"}, {"name": "veth0"}, {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/x"}],
            "ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 2}], "routes": [{"dst": "0.0.0.0/0"}]
        },
        "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]
    })
}

/// Every place within a value.
fn places(value: &Value, path: String, all: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| {
            let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
            all.push(path.clone());
            places(inner, path, all);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, inner)| {
            let path = format!("{path}/{n}");
            all.push(path.clone());
            places(inner, path, all);
        }),
        _ => {}
    }
}

fn odd() -> impl Strategy<Value = Value> {
    static TEXTS: [&str; 22] = [
        "",
        "x",
        "10.1.2.3",
        "10.1.2.3/33",
        "::/0",
        "fd00::1/64",
        "0",
        "-1",
        "../x",
        "a b",
        "\u{0}",
        "eth0",
        "l3s",
        "vepa",
        "same-bridge",
        "isolated",
        "0.3.1",
        "0.1.0",
        "1.0.0",
        "255.255.255.255/32",
        "0.0.0.0/0",
        "ff:ff:ff:ff:ff:ff",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(&TEXTS[..]).prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[{}]])),
    ]
}

fn stdin() -> impl Strategy<Value = Vec<u8>> {
    let mut all = Vec::new();
    places(&whole(), String::new(), &mut all);
    let changes = proptest::collection::vec((proptest::sample::select(all), odd()), 0..6);
    let changed = changes
        .prop_map(|changes| {
            let mut config = whole();
            for (path, value) in changes {
                if let Some(place) = config.pointer_mut(&path) {
                    *place = value;
                }
            }
            config.to_string().into_bytes()
        })
        .boxed();
    prop_oneof![
        8 => changed.clone(),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => (changed, any::<proptest::sample::Index>()).prop_map(|(mut text, at)| {
            let at = at.index(text.len());
            text.truncate(at);
            text
        }),
    ]
}

fn environment() -> impl Strategy<Value = String> {
    let verbs =
        proptest::sample::select(&["ADD", "ADD", "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "add", ""][..]);
    let ids = prop_oneof![4 => Just("c1".to_owned()), 1 => "[^\0]{0,20}"];
    let links = prop_oneof![4 => Just("eth0".to_owned()), 1 => "[^\0]{0,20}"];
    let args = prop_oneof![
        3 => Just(String::new()),
        1 => Just("IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.2.5/24;MAC=02:00:00:00:00:05;GATEWAY=10.1.2.1".to_owned()),
        1 => "[A-Z]{0,5}[=;]{0,2}[^\0]{0,20}"
    ];
    (verbs, ids, links, args)
        .prop_map(|(verb, id, link, args)| format!("{verb}\0{id}\0/run/netns/c1\0{link}\0{args}\0/opt/cni/bin\0"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_half_of_a_hundred_thousand_calls_is_answered(env in environment(), stdin in stdin()) {
        serve(env, stdin);
    }

    #[test]
    fn the_second_half_of_a_hundred_thousand_calls_is_answered(env in environment(), stdin in stdin()) {
        serve(env, stdin);
    }
}

fn serve(env: String, stdin: Vec<u8>) {
    let mut input = env.into_bytes();
    input.extend(stdin);
    harness::serve(&input);
}

#[test]
fn the_whole_configuration_is_planned_by_every_plugin() {
    let mut input = b"ADD\0c1\0/run/netns/c1\0eth0\0\0/opt/cni/bin\0".to_vec();
    input.extend(whole().to_string().into_bytes());
    harness::serve(&input);
}
