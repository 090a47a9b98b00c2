//! CNI: the plugin `netmode`, as a runtime calls it.

use netmode_tests::cli::Output;
use netmode_tests::cni::{self, assert_refused};
use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, eventually, tcp};
use serde_json::{Value, json};

/// A lab with a namespace to attach.
fn lab() -> Lab {
    let lab = Lab::start();
    lab.sh("ip netns add c1");
    lab.at("far").serve("far", &["tcp/9000"]);
    lab
}

fn config(keys: &Value) -> String {
    let mut config = json!({"cniVersion": "1.1.0", "name": "n1", "type": "netmode"});
    config.as_object_mut().expect("keys").extend(keys.as_object().expect("keys").clone());
    config.to_string()
}

fn call(lab: &Lab, verb: &str, netns: &str, keys: &Value) -> Output {
    let env = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", netns),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
        ("CNI_ARGS", ""),
    ];
    lab.at("host").run_with(&["netmode-cni"], &config(keys), &env)
}

const NETNS: &str = "/run/netns/c1";

#[test]
fn c1_d1_an_attachment_works_and_goes_without_a_trace() {
    let lab = lab();
    let before = Machine::settled(&lab);
    let ports = json!({"runtimeConfig": {"portMappings": [{"HostPort": 8081, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]}});
    let added = call(&lab, "ADD", NETNS, &ports).success();
    assert_eq!(added.stderr, "");
    let result = added.json();
    assert_eq!(result["interfaces"][0]["name"], "eth0");
    assert_eq!(result["interfaces"][0]["sandbox"], NETNS);
    assert_eq!(result["ips"][0]["address"], "172.17.0.2/16", "{result}");
    assert_eq!(result["ips"][0]["gateway"], GATEWAY);
    let inside = lab.sh("ip -n c1 -br addr show eth0; ip -n c1 route show default");
    assert!(inside.contains("172.17.0.2/16") && inside.contains(GATEWAY), "{inside}");
    let pod = lab.spawn(&["ip", "netns", "exec", "c1", "probe", "serve", "--tag", "pod", "tcp/80"], "/run/lab/pod.log");
    eventually("the published port answers", 5.0, || {
        lab.at("client").seen_as(tcp(format!("{HOST}:8081"))).as_deref() == Ok(CLIENT)
    });
    let ask = format!("{{\"who\":{{\"proto\":\"tcp\",\"to\":\"{FAR}:9000\",\"from\":null,\"wait_ms\":3000}}}}");
    assert!(lab.sh(&format!("ip netns exec c1 probe once '{ask}'")).contains("far"), "it reaches outside");

    assert_eq!(call(&lab, "DEL", NETNS, &ports).success().stdout, "");
    lab.sh(&format!("kill {pod}"));
    assert!(lab.reap(pod, 5000).is_some());
    before.assert_unchanged(&lab, "ADD and DEL");
    for netns in [NETNS, "", "/run/netns/gone"] {
        assert_eq!(call(&lab, "DEL", netns, &json!({})).success().stdout, "", "DEL again, {netns:?}");
    }
}

#[test]
fn d2_d9_a_removal_needs_no_namespace_and_no_capability() {
    let lab = lab();
    let before = Machine::settled(&lab);
    let ports =
        json!({"runtimeConfig": {"portMappings": [{"hostPort": 8081, "containerPort": 80, "protocol": "tcp"}]}});
    call(&lab, "ADD", NETNS, &ports).success();
    lab.restart_agent("KILL");
    call(&lab, "DEL", "", &json!({})).success();
    before.assert_unchanged(&lab, "DEL with nothing but the key");
}

#[test]
fn g_every_version_gets_its_shape() {
    let lab = lab();
    for (version, key) in
        [("", "ip4"), ("0.2.0", "ip4"), ("0.3.1", "ips"), ("0.4.0", "ips"), ("1.0.0", "ips"), ("1.1.0", "ips")]
    {
        let of = json!({"cniVersion": version, "dns": {"nameservers": ["10.0.0.53"]}});
        let result = call(&lab, "ADD", NETNS, &of).success().json();
        assert_eq!(result["cniVersion"], if version.is_empty() { "0.1.0" } else { version });
        assert!(result.get(key).is_some() && result["dns"]["nameservers"][0] == "10.0.0.53", "{version}: {result}");
        assert_eq!(result["ips"][0].get("version").is_some(), version.starts_with("0.") && key == "ips", "{result}");
        call(&lab, "DEL", NETNS, &of).success();
    }
}

#[test]
fn a_network_of_ones_own_and_a_pinned_address() {
    let lab = lab();
    lab.netmode(&["network", "create", "--subnet", "10.9.0.0/24", "--subnet", "fd09::/64", "app"]).success();
    let keys =
        json!({"network": "app", "runtimeConfig": {"ips": ["10.9.0.77/24", "fd09::77"], "mac": "02:00:00:00:00:77"}});
    let result = call(&lab, "ADD", NETNS, &keys).success().json();
    let addresses: Vec<&Value> = result["ips"].as_array().expect("a list").iter().map(|ip| &ip["address"]).collect();
    assert_eq!(addresses, ["10.9.0.77/24", "fd09::77/64"]);
    assert_eq!(result["ips"][1]["gateway"], "fd09::1", "{result}");
    assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:77");
    assert!(lab.sh("ip -n c1 -6 route show default").contains("fd09::1"));
    lab.netmode(&["network", "rm", "app"]).refused(1, &["app", "cni/n1/c1"]);
    call(&lab, "DEL", NETNS, &keys).success();
    eventually("nobody is on it", 3.0, || lab.netmode(&["network", "rm", "app"]).status == 0);
    // The command line takes the name of a network as well.
    lab.netmode(&["network", "create", "--subnet", "10.8.0.0/24", "other"]).success();
    lab.netmode(&["attach", "--netns", NETNS, "--network", "other"]).success();
    assert!(lab.sh("ip -n c1 -br addr show eth0").contains("10.8.0.2/24"));
}

#[test]
fn what_cannot_be_is_refused_by_its_code_and_changes_nothing() {
    let lab = lab();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    lab.sh("touch /run/plain");
    let before = Machine::settled(&lab);
    let port =
        |n: u16| json!({"runtimeConfig": {"portMappings": [{"hostPort": n, "containerPort": 80, "protocol": "tcp"}]}});
    for (keys, code, words) in [
        (json!({"mode": "awsvpc"}), 2, &["mode", "awsvpc"][..]),
        (json!({"ipam": {"type": "nosuch"}}), 7, &["nosuch", "CNI_PATH"]),
        (json!({"mode": "bogus"}), 7, &["mode", "bogus"]),
        (json!({"network": "nosuch"}), 7, &["nosuch"]),
        (json!({"mode": "none", "network": "bridge"}), 101, &["bridge"]),
        (json!({"runtimeConfig": {"ips": ["172.17.0.2"]}}), 101, &["172.17.0.2", "web"]),
        (json!({"runtimeConfig": {"ips": ["10.1.2.3"]}}), 7, &["10.1.2.3"]),
        (port(8080), 101, &["8080", "web"]),
        (port(0), 7, &["hostPort"]),
    ] {
        assert_refused(&call(&lab, "ADD", NETNS, &keys), code, words);
    }
    for netns in ["/run/netns/gone", "/run/plain", "/proc/self/ns/net", "/proc/self/ns/pid"] {
        assert_refused(&call(&lab, "ADD", netns, &json!({})), 8, &[]);
    }
    before.assert_unchanged(&lab, "refusals");
}

#[test]
fn without_the_agent_the_runtime_is_told_to_come_again() {
    let lab = lab();
    assert_eq!(call(&lab, "STATUS", "", &json!({})).success().stdout, "");
    lab.end_agent("KILL");
    assert_refused(&call(&lab, "ADD", NETNS, &json!({})), 11, &["systemctl start netmode"]);
    assert_refused(&call(&lab, "DEL", NETNS, &json!({})), 11, &["systemctl start netmode"]);
    assert_refused(&call(&lab, "STATUS", "", &json!({})), 50, &["systemctl start netmode"]);
    lab.start_agent();
    call(&lab, "ADD", NETNS, &json!({})).success();
}

#[test]
fn e2_e6_a_check_finds_what_is_missing_and_changes_nothing() {
    let lab = lab();
    let result = call(&lab, "ADD", NETNS, &json!({})).success().json();
    let check = |netns: &str| call(&lab, "CHECK", netns, &json!({ "prevResult": result }));
    let port = lab.sh("ip -br link show master nm0 | cut -d@ -f1").trim().to_owned();
    assert_refused(&call(&lab, "CHECK", NETNS, &json!({})), 7, &["prevResult"]);
    assert_refused(&check("/run/netns/gone"), 8, &[]);
    // What the agent mends by itself has to stay broken for a moment.
    let damages = [
        ("ip -n c1 addr flush dev eth0".to_owned(), "addr add"),
        ("ip -n c1 link set eth0 down".to_owned(), "link set"),
        ("ip -n c1 route del default".to_owned(), "route add"),
        ("ip -n c1 link del eth0".to_owned(), "link add"),
    ];
    for restarted in [false, true] {
        if restarted {
            lab.restart_agent("KILL");
        }
        let before = Machine::settled(&lab);
        assert_eq!(check(NETNS).success().stdout, "", "right after, and after a restart: {restarted}");
        before.assert_unchanged(&lab, "a check");
    }
    for (damage, missing) in damages {
        lab.sh(&damage);
        let out = check(NETNS);
        assert_ne!(out.status, 0, "{damage}");
        assert_refused(&out, 101, &["eth0", "cni/n1/c1", missing]);
        call(&lab, "DEL", NETNS, &json!({})).success();
        lab.sh("ip netns del c1; ip netns add c1");
        call(&lab, "ADD", NETNS, &json!({})).success();
    }
    assert!(port.starts_with("nm"), "{port}");
    lab.sh("ip netns add other");
    assert_refused(&check("/run/netns/other"), 101, &["not as it should be", "ip -n NETNS"]);
    call(&lab, "DEL", NETNS, &json!({})).success();
    assert_refused(&check(NETNS), 7, &["no attachment", "cni/n1/c1"]);
}

#[test]
fn f5_f6_what_no_runtime_knows_is_collected_and_nothing_else() {
    let lab = lab();
    let add = |container: &str, network: &str| {
        lab.sh(&format!("ip netns add {network}-{container}"));
        let netns = format!("/run/netns/{network}-{container}");
        let env = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", container),
            ("CNI_NETNS", netns.as_str()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        lab.at("host").run_with(&["netmode-cni"], &config(&json!({ "name": network })), &env).success();
    };
    for (container, network) in [("a", "n1"), ("b", "n1"), ("a", "n2"), ("a", "n1x")] {
        add(container, network);
    }
    lab.sh("ip netns add mine");
    lab.netmode(&["attach", "--netns", "/run/netns/mine"]).success();
    let standing = || lab.sh("ip -br link show master nm0 | wc -l").trim().parse::<usize>().expect("a number");
    assert_eq!(standing(), 5);
    let gc = |keys: &Value| assert_eq!(call(&lab, "GC", "", keys).success().stdout, "");
    gc(&json!({}));
    assert_eq!(standing(), 5, "a runtime that lists nothing means nothing");
    gc(&json!({"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}));
    eventually("b of n1 goes alone", 3.0, || standing() == 4);
    assert!(lab.sh("ip -n n1-a -br link; ip -n n2-a -br link; ip -n n1x-a -br link").matches("eth0").count() == 3);
    gc(&json!({"cni.dev/valid-attachments": []}));
    eventually("a of n1 as well", 3.0, || standing() == 3);
    assert_refused(&call(&lab, "GC", "", &json!({"cni.dev/valid-attachments": [7]})), 7, &["valid-attachments"]);
    assert_eq!(standing(), 3);
}

#[test]
fn c17_addresses_can_be_another_plugins_and_a_second_attachment_takes_none() {
    let lab = lab();
    cni::install(&lab);
    let ipam =
        json!({"ipam": {"type": "host-local", "ranges": [[{"subnet": "172.17.0.0/16", "rangeStart": "172.17.5.9"}]]}});
    let config = json!({"cniVersion": "1.1.0", "name": "n1", "type": "netmode"});
    let call = cni::Call::of("netmode", &config).with(&ipam);
    let result = call.add(&lab);
    assert_eq!(result["ips"][0]["address"], "172.17.5.9/16", "{result}");
    assert_refused(&call.run(&lab, "ADD"), 101, &["already"]);
    assert_eq!(lab.sh("ls /var/lib/cni/networks/n1 | grep ^172"), "172.17.5.9\n", "the first one's stays");
    call.check(&lab, &result);
    call.del(&lab);
    assert_eq!(lab.sh("ls /var/lib/cni/networks/n1 | grep ^172 || true"), "");
}

#[test]
fn a_user_who_may_attach_gets_no_more_than_that_by_cni() {
    let access = "[[api.access]]\nuid = 1000\nallow = \"attach\"\n";
    let lab = Lab::with().config(access).first("groupadd netmode").start();
    cni::install(&lab);
    lab.sh("ip netns add c1");
    let group = lab.sh("getent group netmode | cut -d: -f3").trim().to_owned();
    let by_user = |plugin: &str, ipam: Value| {
        let config = json!({"cniVersion": "1.1.0", "name": "n1", "type": plugin, "ipam": ipam, "bridge": "br9"});
        lab.write("/run/lab/config", &config.to_string());
        lab.sh(&format!(
            "export CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_NETNS=/run/netns/c1 CNI_IFNAME=eth0 CNI_PATH={dir}; setpriv --reuid 1000 --regid {group} --clear-groups {dir}/{plugin} </run/lab/config || true",
            dir = cni::DIR
        ))
    };
    let directory = json!({"type": "host-local", "subnet": "10.1.2.0/24", "dataDir": "/etc"});
    for (plugin, ipam, word) in [
        ("host-local", directory.clone(), "host-local is for root"),
        ("netmode", directory, "host-local is for root"),
        ("bridge", json!({}), "bridge is for root"),
        ("netmode", json!({}), "belongs to user 0"),
    ] {
        let said = by_user(plugin, ipam);
        assert!(said.contains(word), "{plugin}: {said}");
    }
    assert!(!lab.has_file("/etc/n1"));
}
