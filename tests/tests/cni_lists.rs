//! CNI: lists of plugins as real runtimes have them, with published ports, other firewalls, rates and settings. The names
//! of the tests have the rows of the project's checklist.

use netmode_tests::cni::{Call, List, assert_refused, install};
use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, eventually, tcp, udp};
use serde_json::{Value, json};

fn lab() -> Lab {
    lab_of(Lab::with())
}

fn lab_of(options: netmode_tests::lab::Options) -> Lab {
    let lab = options.start();
    install(&lab);
    lab.sh("ip netns add c1; ip netns add c2");
    lab.at("far").serve("far", &["tcp/9000"]);
    lab
}

/// The list that containerd's documentation has, with what Nomad and podman add.
fn list(ports: &Value) -> List {
    List::of(&json!({
        "cniVersion": "1.0.0", "name": "brnet",
        "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}, "runtimeConfig": {"portMappings": ports}},
            {"type": "firewall"},
            {"type": "tuning"}
        ]
    }))
}

fn dual_stack(ports: &Value) -> List {
    let mut list = list(ports);
    list.calls[0] = list.calls[0].clone().with(&json!({"ipam": {
        "type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    }}));
    list
}

/// Serves in a namespace until the lab ends.
fn serve(lab: &Lab, netns: &str, ports: &[&str]) -> u32 {
    let mut argv = vec!["ip", "netns", "exec", netns, "probe", "serve", "--tag", netns];
    argv.extend(ports);
    lab.spawn(&argv, &format!("/run/lab/{netns}.log"))
}

fn end(lab: &Lab, pid: u32) {
    lab.sh(&format!("kill {pid}"));
    assert!(lab.reap(pid, 5000).is_some());
}

fn from_inside(lab: &Lab, netns: &str, proto: &str, to: &str) -> String {
    let ask = format!("{{\"who\":{{\"proto\":\"{proto}\",\"to\":\"{to}\",\"from\":null,\"wait_ms\":3000}}}}");
    lab.sh(&format!("ip netns exec {netns} probe once '{ask}'"))
}

#[test]
fn i_published_ports_answer_from_everywhere_and_go_without_a_trace() {
    let lab = lab();
    let ports = json!([
        {"HostPort": 8081, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
        {"HostPort": 5353, "ContainerPort": 53, "Protocol": "udp", "HostIP": "0.0.0.0"},
        {"HostPort": 8082, "ContainerPort": 80, "Protocol": "TCP", "HostIP": HOST},
        {"HostPort": 8083, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "2001:db8::1"}
    ]);
    let list = list(&ports);
    // The bridge stays for the next.
    list.del(&lab, &list.add(&lab));
    let before = Machine::settled(&lab);
    let result = list.add(&lab);
    assert_eq!(result["interfaces"].as_array().map(Vec::len), Some(3), "what is chained changes nothing: {result}");
    let pod = serve(&lab, "c1", &["tcp/80", "udp/53"]);
    eventually("the published port answers another machine", 5.0, || {
        lab.at("client").seen_as(tcp(format!("{HOST}:8081"))).as_deref() == Ok(CLIENT)
    });
    assert_eq!(lab.at("client").seen_as(udp(format!("{HOST}:5353"))).as_deref(), Ok(CLIENT));
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8082"))).as_deref(), Ok(CLIENT));
    lab.at("host").who(tcp(format!("{HOST}:8081"))).expect("the host itself");
    lab.at("host").who(tcp("127.0.0.1:8081")).expect("the host's loopback");
    assert!(lab.at("client").who(tcp(format!("{HOST}:8083"))).is_err(), "a mapping of another family is nobody's");
    assert!(from_inside(&lab, "c1", "tcp", &format!("{HOST}:8081")).contains("c1"), "the container itself");
    let other = Call::of("bridge", list.calls[0].config()).container("c2");
    other.add(&lab);
    assert!(from_inside(&lab, "c2", "tcp", &format!("{HOST}:8081")).contains("c1"), "a neighbour");
    assert!(from_inside(&lab, "c2", "tcp", "10.88.0.3:80").contains("c1"), "a neighbour, straight");
    other.del(&lab);
    list.check(&lab, &result);
    list.del(&lab, &result);
    list.del(&lab, &Value::Null);
    end(&lab, pod);
    before.assert_unchanged(&lab, "ADD and DEL");
    assert!(lab.at("client").who(tcp(format!("{HOST}:8081"))).is_err());
}

#[test]
fn i_both_families_are_published_and_kept_over_a_restart() {
    let lab = lab_of(Lab::with().ipv6());
    let list = dual_stack(&json!([{"hostPort": 8081, "containerPort": 80, "protocol": "tcp"}]));
    let result = list.add(&lab);
    let pod = serve(&lab, "c1", &["tcp/80"]);
    let both = |lab: &Lab| {
        eventually("IPv4", 5.0, || lab.at("client").seen_as(tcp(format!("{HOST}:8081"))).as_deref() == Ok(CLIENT));
        eventually("IPv6", 5.0, || lab.at("client").seen_as(tcp(format!("[{HOST6}]:8081"))).as_deref() == Ok(CLIENT6));
    };
    both(&lab);
    for signal in ["KILL", "TERM"] {
        lab.restart_agent(signal);
        both(&lab);
        list.check(&lab, &result);
    }
    // Whatever somebody takes out of the table comes back.
    lab.end_agent("KILL");
    lab.sh("nft flush ruleset");
    lab.start_agent();
    both(&lab);
    list.each(|call| call.netns("")).del(&lab, &Value::Null);
    assert!(lab.at("client").who(tcp(format!("{HOST}:8081"))).is_err());
    end(&lab, pod);
}

#[test]
fn a_port_that_somebody_has_is_refused_with_its_holder_and_nothing_is_left() {
    let lab = lab();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let clash = list(&json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]));
    let made = clash.calls[0].add(&lab);
    let before = Machine::settled(&lab);
    let portmap = clash.calls[1].clone().with(&json!({"prevResult": made}));
    assert_refused(&portmap.run(&lab, "ADD"), 101, &["8080", "web"]);
    for (mapping, word) in [
        (json!({"hostPort": 0, "containerPort": 80, "protocol": "tcp"}), "hostPort"),
        (json!({"hostPort": 1, "containerPort": 80}), "protocol"),
        (json!({"hostPort": 1, "containerPort": 80, "protocol": "tcp", "hostIP": "x"}), "hostIP"),
        (json!({"hostPort": 1, "containerPort": 0, "protocol": "tcp"}), "containerPort"),
    ] {
        let keys = json!({"runtimeConfig": {"portMappings": [mapping]}});
        assert_refused(&portmap.clone().with(&keys).run(&lab, "ADD"), 7, &[word]);
    }
    for (keys, code, word) in [
        (json!({"conditionsV4": ["-d", "10.0.0.0/8"]}), 2, "conditionsV4"),
        (json!({"backend": "pf"}), 7, "backend"),
        (json!({"markMasqBit": 32}), 7, "markMasqBit"),
        (json!({"markMasqBit": 5, "externalSetMarkChain": "KUBE-MARK-MASQ"}), 7, "externalSetMarkChain"),
        (json!({"snat": "yes"}), 7, "snat"),
    ] {
        assert_refused(&portmap.clone().with(&keys).run(&lab, "ADD"), code, &[word]);
    }
    before.assert_unchanged(&lab, "refusals");
    let ours = portmap.with(
        &json!({"runtimeConfig": {"portMappings": [{"hostPort": 8081, "containerPort": 80, "protocol": "tcp"}]}}),
    );
    ours.add(&lab);
    let run = ["run", "-d", "-p", "8081:80", "--rootfs", "/", "true"];
    lab.netmode(&run).refused(125, &["8081", "cni/brnet/c1"]);
    assert!(lab.netmode(&["port", "ls"]).success().stdout.contains("cni/brnet/c1"));
    // As the message says.
    lab.netmode(&["detach", "--owner", "cni/brnet/c1"]).success();
    assert!(!lab.netmode(&["port", "ls"]).success().stdout.contains("cni/brnet/c1"));
}

#[test]
fn c8_the_results_before_are_passed_on_whole() {
    let lab = lab();
    let made = list(&json!([])).calls[0].add(&lab);
    let rich = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "cni0", "mac": "02:42:0a:58:00:01", "mtu": 1500}, made["interfaces"][1],
            {"name": "eth0", "mac": "02:42:0a:58:00:02", "mtu": 1400, "sandbox": "/run/netns/c1", "socketPath": "/s", "pciID": "0000:04:00.5"}],
        "ips": [{"interface": 2, "address": "10.88.0.2/16", "gateway": "10.88.0.1"}],
        "routes": [{"dst": "0.0.0.0/0", "mtu": 1400, "advmss": 1360, "priority": 7, "table": 100, "scope": 0}],
        "unknown": {"kept": true}
    });
    for plugin in ["portmap", "firewall", "tuning", "bandwidth", "loopback"] {
        let call =
            Call::of(plugin, &json!({"cniVersion": "1.1.0", "name": "brnet", "type": plugin, "prevResult": rich}));
        assert_eq!(call.add(&lab), rich, "{plugin}");
        call.del(&lab);
        // A caller of another version gets its shape.
        let older = call.with(&json!({"cniVersion": "1.0.0"})).add(&lab);
        assert!(older["cniVersion"] == "1.0.0" && older["interfaces"][2].get("mtu").is_none(), "{older}");
    }
}

#[test]
fn c8_a_bridge_behind_loopback_keeps_both() {
    let lab = lab();
    // As Nomad has it; loopback is called with the link's name.
    let list = List::of(&json!({
        "cniVersion": "0.4.0", "name": "nomad",
        "plugins": [
            {"type": "loopback"},
            {"type": "bridge", "bridge": "nomad", "ipMasq": true, "isGateway": true, "forceAddress": true, "hairpinMode": true,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": "172.26.64.0/20"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/var/run/cni"}},
            {"type": "firewall", "backend": "iptables", "iptablesAdminChainName": "NOMAD-ADMIN"},
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true,
             "runtimeConfig": {"portMappings": [{"HostPort": 8081, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]}}
        ]
    }));
    let result = list.add(&lab);
    let named = |name: &str| result["interfaces"].as_array().expect("links").iter().any(|i| i["name"] == name);
    assert!(named("lo") && named("nomad") && named("eth0"), "{result}");
    assert_eq!(result["ips"][0]["address"], "172.26.64.2/20");
    assert!(lab.has_file("/run/cni/nomad/172.26.64.2"));
    let pod = serve(&lab, "c1", &["tcp/80"]);
    eventually("the published port answers", 5.0, || lab.at("client").who(tcp(format!("{HOST}:8081"))).is_ok());
    list.check(&lab, &result);
    list.del(&lab, &result);
    assert!(!lab.has_file("/run/cni/nomad/172.26.64.2"));
    end(&lab, pod);
}

#[test]
fn loopback_is_up_with_its_addresses_whatever_the_link_is_called() {
    let lab = lab();
    lab.sh("ip -n c1 link set lo down");
    for version in ["0.1.0", "0.3.1", "1.1.0"] {
        let call = Call::of("loopback", &json!({"cniVersion": version, "name": "cni-loopback", "type": "loopback"}));
        let result = call.add(&lab);
        if version == "0.1.0" {
            assert_eq!(result["ip4"]["ip"], "127.0.0.1/8", "{result}");
        } else {
            assert_eq!(
                result["interfaces"][0],
                json!({"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/netns/c1"})
            );
            assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
            assert_eq!(result["ips"][0].get("version").is_some(), version < "1.0.0", "REF leaves it out");
        }
        assert!(lab.sh("ip -n c1 -br link show lo").contains("UP"));
        if version > "0.4.0" {
            call.check(&lab, &result);
            lab.sh("ip -n c1 link set lo down");
            call.check_fails(&lab, &result, &["lo"]);
            lab.sh("ip -n c1 link set lo up");
        }
        call.del(&lab);
        assert!(!lab.sh("ip -n c1 -br link show lo").contains("UP"));
    }
}

#[test]
fn tuning_sets_what_it_is_told_tells_it_and_puts_it_back() {
    let lab = lab();
    let made = list(&json!([])).calls[0].clone().with(&json!({"cniVersion": "1.1.0"})).add(&lab);
    let before = lab.sh("ip -n c1 -d link show eth0");
    let call = Call::of(
        "tuning",
        &json!({
            "cniVersion": "1.1.0", "name": "brnet", "type": "tuning", "prevResult": made,
            "sysctl": {"net.core.somaxconn": "500", "net/ipv4/conf/IFNAME/arp_filter": "1"},
            "mac": "02:00:00:00:00:aa", "promisc": true, "allmulti": true, "mtu": 1400, "txQLen": 77
        }),
    );
    let result = call.add(&lab);
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:aa");
    assert_eq!(result["interfaces"][2]["mtu"], 1400, "{result}");
    let link = lab.sh("ip -n c1 -d link show eth0");
    for word in ["02:00:00:00:00:aa", "PROMISC", "ALLMULTI", "mtu 1400", "qlen 77"] {
        assert!(link.contains(word), "{word} in {link}");
    }
    assert_eq!(lab.sh("ip netns exec c1 sysctl -n net.core.somaxconn net.ipv4.conf.eth0.arp_filter"), "500\n1\n");
    // E7: the bridge's CHECK is told the last result.
    let bridge = list(&json!([])).calls[0].clone().with(&json!({"cniVersion": "1.1.0"}));
    bridge.check(&lab, &result);
    call.check(&lab, &result);
    for (damage, repair, word) in [
        (
            "ip netns exec c1 sysctl -w net.core.somaxconn=7",
            "ip netns exec c1 sysctl -w net.core.somaxconn=500",
            "somaxconn",
        ),
        ("ip -n c1 link set eth0 mtu 1300", "ip -n c1 link set eth0 mtu 1400", "mtu"),
        ("ip -n c1 link set eth0 promisc off", "ip -n c1 link set eth0 promisc on", "promisc"),
    ] {
        lab.sh(damage);
        call.check_fails(&lab, &result, &[word]);
        lab.sh(repair);
        call.check(&lab, &result);
    }
    call.del(&lab);
    assert_eq!(lab.sh("ip -n c1 -d link show eth0"), before, "everything is as it was");
    for (sysctl, word) in [
        (json!({"kernel.core_pattern": "x"}), "kernel.core_pattern"),
        (json!({"net/../kernel/x": "1"}), "net/../kernel/x"),
        (json!({"net.core.somaxconn": 7}), "somaxconn"),
    ] {
        assert_refused(&call.clone().with(&json!({ "sysctl": sysctl })).run(&lab, "ADD"), 7, &[word]);
    }
    assert_eq!(lab.sh("ip -n c1 -d link show eth0"), before, "a refusal changes nothing");
    lab.sh("mkdir -p /etc/cni/tuning; printf '^net\\\\.core\\\\.\\n\\n' > /etc/cni/tuning/allowlist.conf");
    assert_refused(&call.run(&lab, "ADD"), 7, &["net/ipv4/conf/IFNAME/arp_filter", "allowlist.conf"]);
    call.with(&json!({"sysctl": {"net.core.somaxconn": "600"}})).add(&lab);
    assert_eq!(lab.sh("ip netns exec c1 sysctl -n net.core.somaxconn"), "600\n");
}

#[test]
fn bandwidth_limits_each_way_by_itself() {
    let lab = lab();
    let made = list(&json!([])).calls[0].add(&lab);
    let before = Machine::settled(&lab);
    let port = made["interfaces"][1]["name"].as_str().expect("a name").to_owned();
    let call = Call::of(
        "bandwidth",
        &json!({"cniVersion": "1.0.0", "name": "brnet", "type": "bandwidth", "prevResult": made}),
    );
    let rates = |host: bool, inside: bool, runtime: &Value| {
        let call = call.clone().with(&json!({"runtimeConfig": {"bandwidth": runtime}}));
        let result = call.add(&lab);
        let shown = lab.sh(&format!("tc qdisc show dev {port}; ip netns exec c1 tc qdisc show dev eth0"));
        assert_eq!(shown.matches("tbf").count(), usize::from(host) + usize::from(inside), "{shown}");
        assert_eq!(shown.contains("rate 8Mbit"), host, "{shown}");
        assert_eq!(shown.contains("rate 4Mbit"), inside, "{shown}");
        call.check(&lab, &result);
        call.del(&lab);
        assert!(!lab.sh(&format!("tc qdisc show dev {port}; ip netns exec c1 tc qdisc show dev eth0")).contains("tbf"));
    };
    // containerd sends the greatest burst that there is.
    rates(true, false, &json!({"IngressRate": 8_000_000, "IngressBurst": 4_294_967_295_u64}));
    rates(false, true, &json!({"egressRate": 4_000_000, "egressBurst": 1_000_000}));
    rates(
        true,
        true,
        &json!({"ingressRate": 8_000_000, "ingressBurst": 100, "egressRate": 4_000_000, "egressBurst": 100}),
    );
    before.assert_unchanged(&lab, "rates");
    for (keys, word) in [
        (json!({"ingressRate": 8_000_000}), "ingressBurst"),
        (json!({"egressBurst": 8}), "egressRate"),
        (json!({"ingressRate": 1, "ingressBurst": 8}), "ingressRate"),
        (json!({"ingressRate": 8_000_000, "ingressBurst": 34_359_738_368_u64}), "ingressBurst"),
    ] {
        assert_refused(&call.clone().with(&keys).run(&lab, "ADD"), 7, &[word]);
    }
}

#[test]
fn firewall_lets_through_a_shut_chain_and_keeps_bridges_apart() {
    let lab = lab_of(Lab::with().first("iptables -P FORWARD DROP"));
    let second = |policy: &str| {
        let mut other = list(&json!([])).each(|call| call.container("c2").with(&json!({"name": "net2"})));
        other.calls[0] = other.calls[0].clone().with(&json!({
            "bridge": "cni1",
            "ipam": {"type": "host-local", "subnet": "10.89.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
        }));
        other.calls[2] = other.calls[2].clone().with(&json!({ "ingressPolicy": policy }));
        other
    };
    let mut first = list(&json!([]));
    first.calls[2] = first.calls[2].clone().with(&json!({"ingressPolicy": "same-bridge"}));
    let (one, pod) = (first.add(&lab), serve(&lab, "c1", &["tcp/80"]));
    eventually("it reaches outside through iptables' policy", 5.0, || {
        from_inside(&lab, "c1", "tcp", &format!("{FAR}:9000")).contains("far")
    });
    let reached = |lab: &Lab| from_inside(lab, "c2", "tcp", "10.88.0.2:80").contains("\"c1\"");
    let open = second("open");
    let two = open.add(&lab);
    eventually("an open network reaches another", 5.0, || reached(&lab));
    open.del(&lab, &two);
    let apart = second("same-bridge");
    let two = apart.add(&lab);
    assert!(!reached(&lab), "two bridges are apart");
    first.check(&lab, &one);
    apart.check(&lab, &two);
    apart.del(&lab, &two);
    assert_refused(
        &first.calls[2].clone().with(&json!({"ingressPolicy": "x", "prevResult": one})).run(&lab, "ADD"),
        7,
        &["ingressPolicy"],
    );
    end(&lab, pod);
}

#[test]
fn firewall_keeps_containers_of_one_bridge_apart_where_they_are_isolated() {
    let lab = lab();
    let isolated = |container: &str| {
        let mut list = list(&json!([])).each(|call| call.container(container));
        list.calls[2] = list.calls[2].clone().with(&json!({"ingressPolicy": "isolated"}));
        list
    };
    isolated("c1").add(&lab);
    isolated("c2").add(&lab);
    let pod = serve(&lab, "c1", &["tcp/80"]);
    eventually("the host reaches it", 5.0, || lab.at("host").who(tcp("10.88.0.2:80")).is_ok());
    assert!(!from_inside(&lab, "c2", "tcp", "10.88.0.2:80").contains("\"c1\""));
    end(&lab, pod);
}

/// portmap needs `route_localnet` on the bridge, which must open nothing else (CVE-2020-8558).
#[test]
fn s2_the_hosts_loopback_stays_shut_to_pods() {
    let lab = lab();
    lab.at("host").serve("secret", &["tcp/127.0.0.1:6000"]);
    let list = list(&json!([{"hostPort": 8081, "containerPort": 80, "protocol": "tcp"}]));
    list.add(&lab);
    let pod = serve(&lab, "c1", &["tcp/80"]);
    eventually("127.0.0.1 leads to the pod", 5.0, || lab.at("host").who(tcp("127.0.0.1:8081")).is_ok());
    assert_eq!(lab.sh("cat /proc/sys/net/ipv4/conf/cni0/route_localnet").trim(), "1");
    // From a pod, and from a machine on the LAN, each with its own loopback out of the way.
    for (netns, via) in [("c1", "10.88.0.1"), ("client", HOST)] {
        let script = format!(
            "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; ip addr flush dev lo; ip route flush table local 127.0.0.0/8 2>/dev/null; ip route add 127.0.0.0/8 via {via} dev eth0"
        );
        lab.sh(&format!("ip netns exec {netns} sh -c '{script}'"));
        assert!(!from_inside(&lab, netns, "tcp", "127.0.0.1:6000").contains("secret"), "{netns}");
    }
    end(&lab, pod);
}
