//! CNI: two nodes on one LAN as `docs/cni/kubernetes.md` sets them up, with what kube-proxy needs.

use netmode_tests::cni::{List, install};
use netmode_tests::lab::address::*;
use netmode_tests::sandbox::repository;
use netmode_tests::{Lab, eventually};
use serde_json::{Value, json};

/// The list of the recipe, with a node's podCIDR and its agent.
fn list(cidr: &str, socket: &str) -> List {
    let path = repository().join("docs/cni/examples/10-kubernetes.conflist");
    let text = std::fs::read_to_string(&path).expect("the example");
    let list: Value = serde_json::from_str(&text.replace("10.244.1.0/24", cidr)).expect("JSON");
    List::of(&list).each(|call| call.with(&json!({ "socket": socket })))
}

fn ask(lab: &Lab, netns: &str, to: &str) -> String {
    let ask = format!("{{\"who\":{{\"proto\":\"tcp\",\"to\":\"{to}\",\"from\":null,\"wait_ms\":3000}}}}");
    lab.sh(&format!("ip netns exec {netns} probe once '{ask}'"))
}

#[test]
fn two_nodes_with_static_routes_carry_pods_and_services() {
    let lab = Lab::start();
    install(&lab);
    lab.at("far").serve("far", &["tcp/9000"]);
    lab.sh("for n in pod1 pod2 pod3; do ip netns add $n; done");
    // The second node is the client's machine, with an agent of its own.
    let second = "/run/n2/netmode.sock";
    let words = ["ip", "netns", "exec", "client", "netmoded", "--run-dir", "/run/n2", "--state-dir", "/var/lib/n2"];
    let agent = lab.spawn(&words, "/run/lab/n2.log");
    eventually("the second agent answers", 10.0, || lab.run(&["netmode", "--socket", second, "version"]).status == 0);

    let here = list("10.244.1.0/24", "/run/netmode/netmode.sock");
    let there = list("10.244.2.0/24", second).each(|call| call.on("client"));
    let pod = |list: &List, name: &str| list.clone().each(|call| call.container(name)).add(&lab);
    let address = |result: &Value| {
        let text = result["ips"][0]["address"].as_str().expect("an address");
        text.split('/').next().unwrap_or_default().to_owned()
    };
    let (one, three) = (address(&pod(&here, "pod1")), address(&pod(&here, "pod3")));
    let two = address(&pod(&there, "pod2"));
    assert_eq!((one.as_str(), two.as_str()), ("10.244.1.2", "10.244.2.2"));
    lab.sh(&format!(
        "ip route add 10.244.2.0/24 via {CLIENT}; ip netns exec client ip route add 10.244.1.0/24 via {HOST}"
    ));
    let masquerade = "nft add table ip nodes; nft add chain ip nodes post '{ type nat hook postrouting priority 100; }'; nft add rule ip nodes post ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade";
    lab.sh(masquerade);
    let servers = ["pod1", "pod2"].map(|name| {
        lab.spawn(
            &["ip", "netns", "exec", name, "probe", "serve", "--tag", name, "tcp/80"],
            &format!("/run/lab/{name}.log"),
        )
    });

    eventually("a pod reaches one of another node", 5.0, || {
        ask(&lab, "pod1", &format!("{two}:80")).contains("\"pod2\"")
    });
    assert!(ask(&lab, "pod1", &format!("{two}:80")).contains(&one), "under its own address");
    assert!(ask(&lab, "pod2", &format!("{one}:80")).contains(&two), "and the other way about");
    assert!(ask(&lab, "pod1", &format!("{FAR}:9000")).contains(HOST), "outside under its node's");

    // As kube-proxy makes a service with one endpoint.
    let service = "iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.244.1.2:80; iptables -t nat -A OUTPUT -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.244.1.2:80; iptables -t nat -A POSTROUTING -s 10.244.1.2 -d 10.244.1.2 -j MASQUERADE";
    lab.sh(service);
    lab.at("client").sh(service);
    assert!(ask(&lab, "pod2", "10.96.0.10:80").contains("\"pod1\""), "a service from another node");
    assert!(ask(&lab, "pod1", "10.96.0.10:80").contains("\"pod1\""), "a service from the pod itself, by hairpin");
    lab.at("host").who(netmode_tests::tcp("10.96.0.10:80")).expect("a service from the node");
    if lab.has_file("/proc/sys/net/bridge/bridge-nf-call-iptables") {
        lab.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1");
        let seen = ask(&lab, "pod3", "10.96.0.10:80");
        assert!(seen.contains("\"pod1\"") && seen.contains(&three), "a service from a neighbour: {seen}");
    } else {
        netmode_tests::skip::note(module_path!(), "br_netfilter (a service from a neighbour on the same bridge)");
    }
    for (list, name) in [(&here, "pod1"), (&here, "pod3"), (&there, "pod2")] {
        list.clone().each(|call| call.container(name)).del(&lab, &Value::Null);
    }
    for pid in servers.into_iter().chain([agent]) {
        lab.sh(&format!("kill {pid}"));
        assert!(lab.reap(pid, 10_000).is_some());
    }
}

#[test]
fn a_plugin_that_is_called_elsewhere_than_the_agent_is_told_so() {
    let lab = Lab::start();
    install(&lab);
    lab.sh("ip netns add pod1");
    let call = list("10.244.1.0/24", "/run/netmode/netmode.sock").calls[0].clone().container("pod1").on("client");
    netmode_tests::cni::assert_refused(&call.run(&lab, "ADD"), 11, &["net:["]);
}
