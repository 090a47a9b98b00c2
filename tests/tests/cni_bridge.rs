//! CNI: the plugin `bridge` with `host-local`, under the reference's names. The names of the tests have the rows of the
//! project's checklist.

use netmode_tests::cni::{Call, DIR, assert_refused, install};
use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, all_at_once, eventually};
use serde_json::{Value, json};

const VERSIONS: [&str; 8] = ["", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn lab() -> Lab {
    let lab = Lab::start();
    install(&lab);
    lab.sh("ip netns add c1; ip netns add c2");
    lab.at("far").serve("far", &["tcp/9000"]);
    lab
}

fn config() -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "n1", "type": "bridge", "bridge": "br9", "isGateway": true, "ipMasq": true,
        "ipam": {"type": "host-local", "subnet": "10.1.2.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    })
}

fn bridge() -> Call {
    Call::of("bridge", &config())
}

fn reaches_outside(lab: &Lab, netns: &str) -> String {
    let ask = format!("{{\"who\":{{\"proto\":\"tcp\",\"to\":\"{FAR}:9000\",\"from\":null,\"wait_ms\":3000}}}}");
    lab.sh(&format!("ip netns exec {netns} probe once '{ask}'"))
}

#[test]
fn c1_c3_c4_c5_c6_d1_an_attachment_works_and_goes_without_a_trace() {
    let lab = lab();
    // The bridge is left for the next container, as the reference does.
    bridge().container("c2").add(&lab);
    bridge().container("c2").del(&lab);
    let before = Machine::settled(&lab);
    let result = bridge().add(&lab);
    let names: Vec<&Value> = result["interfaces"].as_array().expect("links").iter().map(|i| &i["name"]).collect();
    assert_eq!((names[0], names[2]), (&json!("br9"), &json!("eth0")), "{result}");
    assert!(names[1].as_str().is_some_and(|name| name.starts_with("veth") && name.len() == 12), "{result}");
    assert_eq!(result["interfaces"][2]["sandbox"], "/run/netns/c1");
    assert!(result["interfaces"][0].get("sandbox").is_none() && result["interfaces"][1].get("sandbox").is_none());
    for link in result["interfaces"].as_array().expect("links") {
        assert_eq!(link["mac"].as_str().map(str::len), Some(17), "{result}");
    }
    assert_eq!(result["ips"], json!([{"interface": 2, "address": "10.1.2.3/24", "gateway": "10.1.2.1"}]));
    assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0"}]));
    let inside = lab.sh("ip -n c1 -br addr show eth0; ip -n c1 route");
    assert!(inside.contains("UP") && inside.contains("10.1.2.3/24"), "{inside}");
    assert!(inside.contains("default via 10.1.2.1 dev eth0"), "{inside}");
    assert!(reaches_outside(&lab, "c1").contains(HOST), "it reaches outside under the host's address");
    bridge().check(&lab, &result);
    for netns in ["/run/netns/c1", "", "/run/netns/gone"] {
        bridge().netns(netns).del(&lab);
    }
    before.assert_unchanged(&lab, "ADD and DEL");
}

#[test]
fn a15_a17_g_every_version_gets_its_shape_and_keys_match_in_any_case() {
    let lab = lab();
    for version in VERSIONS {
        let call = bridge().with(&json!({"cniVersion": version}));
        let result = call.add(&lab);
        let first = version.is_empty() || version < "0.3.0";
        assert_eq!(result["cniVersion"], if version.is_empty() { "0.1.0" } else { version });
        assert_eq!(result.get("ip4").is_some(), first, "{version}: {result}");
        if first {
            assert_eq!(result["ip4"]["routes"][0]["dst"], "0.0.0.0/0", "{result}");
            assert!(result.get("interfaces").is_none(), "{result}");
        } else {
            assert_eq!(result["ips"][0].get("version").is_some(), version < "1.0.0", "{version}: {result}");
            assert_eq!(result.get("dns").is_some(), version < "1.0.0", "{version}: {result}");
            assert_eq!(result["interfaces"][2].get("mtu").is_some(), version == "1.1.0", "{version}: {result}");
        }
        if version >= "0.4.0" {
            call.check(&lab, &result);
        }
        call.del(&lab);
    }
    let go = json!({
        "cniVersion": "1.0.0", "NAME": "n2", "Bridge": "br8", "ISGATEWAY": true, "ipMASQ": true,
        "IPAM": {"TYPE": "host-local", "Ranges": [[{"Subnet": "10.1.3.0/24", "RangeStart": "10.1.3.9"}]]}
    });
    assert_eq!(Call::of("bridge", &go).add(&lab)["ips"][0]["address"], "10.1.3.9/24");
}

#[test]
fn a18_a21_namespaces_and_the_executable_are_found_however_they_are_named() {
    let lab = lab();
    let sleeper = lab.spawn(&["ip", "netns", "exec", "c1", "sleep", "60"], "/run/lab/sleeper.log");
    lab.sh("ln -s /run/netns/c1 /run/lab/link; touch /run/lab/bound; mount --bind /run/netns/c1 /run/lab/bound");
    lab.sh("ls -d /var/run/netns || ln -s /run /var/run");
    for netns in
        ["/run/netns/c1", "/var/run/netns/c1", &format!("/proc/{sleeper}/ns/net"), "/run/lab/link", "/run/lab/bound"]
    {
        let result = bridge().netns(netns).add(&lab);
        assert_eq!(result["interfaces"][2]["sandbox"], netns);
        bridge().netns(netns).del(&lab);
    }
    // buildah names a descriptor of its own.
    let script = format!(
        "exec 9</run/netns/c1; echo '{}' | CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=/proc/$$/fd/9 CNI_PATH={DIR} {DIR}/bridge",
        bridge().config()
    );
    assert!(lab.sh(&script).contains("/fd/9"));
    bridge().del(&lab);
    lab.sh(&format!("mkdir /run/lab/copies; cp -L {DIR}/bridge /run/lab/copies/bridge; ln /run/lab/copies/bridge /run/lab/copies/host-local"));
    for (path, cwd) in [("/run/lab/copies", "/"), (DIR, "/tmp")] {
        for verb in ["ADD", "DEL"] {
            let script = format!(
                "cd {cwd}; echo '{}' | env -i CNI_COMMAND={verb} CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=/run/netns/c1 CNI_PATH={path} {path}/bridge",
                bridge().config()
            );
            lab.sh(&script);
        }
    }
    lab.sh(&format!("kill {sleeper}; umount /run/lab/bound"));
    lab.reap(sleeper, 5000);
}

#[test]
fn a19_the_hosts_own_namespace_is_refused_before_anything_is_done() {
    let lab = lab();
    let before = Machine::settled(&lab);
    for netns in ["/proc/self/ns/net", "/run/netns/nope", "/etc/hostname", "/proc/self/ns/pid"] {
        assert_refused(&bridge().netns(netns).run(&lab, "ADD"), 8, &[]);
    }
    before.assert_unchanged(&lab, "refusals");
    assert!(!lab.has_file("/var/lib/cni/networks/n1"), "no address was given");
}

#[test]
fn a20_many_containers_come_and_go_at_once_on_a_bridge_that_is_not_there() {
    let lab = lab();
    let names: Vec<String> = (0..32).map(|n| format!("p{n}")).collect();
    lab.sh(&format!("for n in {}; do ip netns add $n; done", names.join(" ")));
    let before = Machine::settled(&lab);
    let results = all_at_once(&names, |name| bridge().container(name).run(&lab, "ADD"));
    let mut addresses: Vec<String> = results
        .into_iter()
        .map(|out| out.success().json()["ips"][0]["address"].as_str().expect("an address").to_owned())
        .collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), names.len());
    assert!(reaches_outside(&lab, "p31").contains(HOST));
    for out in all_at_once(&names, |name| bridge().container(name).run(&lab, "DEL")) {
        out.success();
    }
    lab.sh("ip link del br9");
    before.assert_unchanged(&lab, "all of them");
}

#[test]
fn a23_a24_what_cannot_be_is_refused_by_its_code_and_changes_nothing() {
    let lab = lab();
    lab.sh("ip link add notabridge type veth peer name itspeer");
    let before = Machine::settled(&lab);
    let ipam = |ipam: Value| json!({ "ipam": ipam });
    for (keys, code, words) in [
        (json!({"mtu": 1500.5}), 7, &["mtu", "1500.5"][..]),
        (json!({"mtu": -1}), 7, &["mtu", "-1"]),
        (json!({"mtu": "1500"}), 7, &["mtu"]),
        (json!({"bridge": 7}), 7, &["bridge", "7"]),
        (json!({"bridge": "a/b"}), 7, &["bridge", "a/b"]),
        (json!({"bridge": "notabridge"}), 101, &["notabridge", "no bridge"]),
        (json!({"isGateway": "yes"}), 7, &["isGateway"]),
        (json!({"hairpinMode": true, "promiscMode": true}), 7, &["hairpinMode", "promiscMode"]),
        (json!({"vlan": 100}), 2, &["vlan", "100"]),
        (json!({"vlanTrunk": [{"id": 5}]}), 2, &["vlanTrunk"]),
        (json!({"ipMasqBackend": "pf"}), 2, &["ipMasqBackend", "pf"]),
        (json!({"disableContainerInterface": true}), 7, &["disableContainerInterface", "ipam"]),
        (json!({"runtimeConfig": {"mac": "x"}}), 7, &["mac"]),
        (json!({"runtimeConfig": {"mac": "01:00:00:00:00:01"}}), 7, &["mac"]),
        (json!({"prevResult": 7}), 6, &["prevResult"]),
        (ipam(json!(7)), 7, &["ipam"]),
        (ipam(json!({"type": "nosuch"})), 7, &["nosuch", "CNI_PATH"]),
        (ipam(json!({"type": "../x"})), 7, &["../x"]),
        (ipam(json!({"type": "bridge"})), 7, &["bridge"]),
        (ipam(json!({"type": "host-local"})), 7, &["ranges"]),
        (ipam(json!({"type": "host-local", "subnet": "10.1.2.1/24"})), 7, &["10.1.2.1/24", "10.1.2.0/24"]),
        (ipam(json!({"type": "host-local", "subnet": "10.1.2.0/31"})), 7, &["10.1.2.0/31"]),
        (ipam(json!({"type": "host-local", "subnet": "10.1.2.0/24", "dataDir": "../x"})), 7, &["dataDir", "../x"]),
        (ipam(json!({"type": "static"})), 7, &["addresses"]),
        (ipam(json!({"type": "static", "addresses": [{"address": "10.1.2.3"}]})), 7, &["10.1.2.3", "/24"]),
    ] {
        assert_refused(&bridge().with(&keys).run(&lab, "ADD"), code, words);
    }
    for (args, words) in [("FOO=bar", &["FOO"][..]), ("IP", &["IP"]), ("IP=x", &["IP"])] {
        assert_refused(&bridge().args(args).run(&lab, "ADD"), 4, words);
    }
    assert_refused(&Call::of("portmap", &config()).run(&lab, "ADD"), 7, &["prevResult", "portmap"]);
    before.assert_unchanged(&lab, "refusals");
    lab.sh("ip link del notabridge");
    let left = lab.sh("ls /var/lib/cni/networks/n1 2>/dev/null || true");
    assert!(!left.lines().any(|name| name.starts_with("10.")), "no address is lost: {left}");
}

#[test]
fn c2_c10_a_failed_attachment_leaves_nothing() {
    let lab = lab();
    lab.sh("ip netns add c3; ip -n c1 link add eth0 type veth peer name other");
    let before = Machine::settled(&lab);
    let there = lab.sh("ip -n c1 -br link");
    assert_refused(&bridge().run(&lab, "ADD"), 101, &["eth0", "already"]);
    assert_eq!(lab.sh("ip -n c1 -br link"), there, "the link that was there is untouched");
    // One address for a gateway and one container.
    let tight = bridge().with(&json!({"ipam": {"type": "host-local", "subnet": "10.1.2.0/30"}}));
    tight.clone().container("c2").add(&lab);
    assert_refused(&tight.clone().container("c3").run(&lab, "ADD"), 101, &["10.1.2.0/30", "free"]);
    assert_eq!(lab.sh("ip -n c3 -br link | grep -v ^lo || true"), "");
    tight.container("c2").del(&lab);
    lab.sh("ip link del br9");
    before.assert_unchanged(&lab, "failures");
}

#[test]
fn c7_c14_c20_without_addresses_a_link_is_up_and_dns_is_passed_on() {
    let lab = lab();
    let l2 = bridge().with(&json!({"ipam": null, "isGateway": false, "ipMasq": false}));
    let result = l2.add(&lab);
    assert!(result.get("ips").is_none() && result["interfaces"].as_array().map(Vec::len) == Some(3), "{result}");
    assert!(lab.sh("ip -n c1 -br link show eth0").contains("UP"));
    l2.check(&lab, &result);
    l2.del(&lab);
    // A bridge whose last port has left may have no address of its own any more, and takes a gateway all the same (C20).
    lab.sh(
        "ip link add br7 type bridge; ip link add p0 type veth peer name p1; ip link set p0 master br7; ip link del p0",
    );
    assert!(lab.sh("ip link show br7").contains("00:00:00:00:00:00 brd"));
    let call = bridge().with(&json!({"name": "n7", "bridge": "br7"}));
    let result = call.add(&lab);
    call.check(&lab, &result);
    assert!(reaches_outside(&lab, "c1").contains(HOST));
    call.del(&lab);
    lab.sh("printf 'nameserver 10.0.0.53\\nsearch a.example b.example\\n' > /run/lab/resolv");
    let with = |conf: Value| {
        let ipam = json!({"type": "host-local", "subnet": "10.1.2.0/24", "resolvConf": "/run/lab/resolv"});
        let call = bridge().with(&json!({"ipam": ipam, "dns": conf}));
        let result = call.add(&lab);
        call.del(&lab);
        result["dns"].clone()
    };
    assert_eq!(with(Value::Null), json!({"nameservers": ["10.0.0.53"], "search": ["a.example", "b.example"]}));
    assert_eq!(with(json!({"nameservers": ["10.9.9.9"]})), json!({"nameservers": ["10.9.9.9"]}));
}

#[test]
fn c9_c11_c12_c13_a_delegated_plugin_sees_all_of_the_call() {
    let lab = lab();
    lab.sh("mkdir -p /run/lab/ipam");
    let fake = |body: &str| {
        lab.write("/run/lab/ipam/fake", &format!("#!/bin/sh\ncat > /run/lab/stdin.$CNI_COMMAND\nenv | grep ^CNI_ | sort > /run/lab/env.$CNI_COMMAND\necho $CNI_COMMAND >> /run/lab/calls\n{body}\n"));
        lab.sh("chmod +x /run/lab/ipam/fake; rm -f /run/lab/calls");
    };
    let call =
        bridge().with(&json!({"ipam": {"type": "fake", "any": [1, 2]}, "zzz": 1})).path("/nowhere:/run/lab/ipam");
    let before = Machine::settled(&lab);
    for answer in [
        r#"{"ip4":{"ip":"10.1.2.7/24","gateway":"10.1.2.1","routes":[{"dst":"0.0.0.0/0"}]}}"#,
        r#"{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.1.2.7/24","gateway":"10.1.2.1"}],"routes":[{"dst":"0.0.0.0/0"}]}"#,
        r#"{"ips":[{"address":"10.1.2.7/24"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}]}"#,
    ] {
        fake(&format!("[ $CNI_COMMAND != ADD ] || echo '{answer}'"));
        let result = call.add(&lab);
        assert_eq!(result["ips"][0]["address"], "10.1.2.7/24");
        assert!(lab.sh("ip -n c1 route").contains("default via 10.1.2.1"));
        assert_eq!(lab.read("/run/lab/stdin.ADD").trim_end(), call.config().to_string(), "the whole input, unchanged");
        let env = lab.read("/run/lab/env.ADD");
        for word in
            ["CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_NETNS=/run/netns/c1", "CNI_PATH=/nowhere"]
        {
            assert!(env.contains(word), "{word} in {env}");
        }
        call.check(&lab, &result);
        call.del(&lab);
        assert_eq!(lab.read("/run/lab/calls"), "ADD\nCHECK\nDEL\n");
        // D7, F3, F7: without a namespace as well, and for the verbs of a network.
        for verb in ["DEL", "STATUS", "GC"] {
            lab.sh("rm /run/lab/calls");
            assert_eq!(call.clone().netns("").run(&lab, verb).success().stdout, "");
            assert_eq!(lab.read("/run/lab/calls"), format!("{verb}\n"));
        }
        lab.sh("rm /run/lab/calls");
    }
    fake("[ $CNI_COMMAND != ADD ] || { echo '{\"code\":123,\"msg\":\"no more\",\"details\":\"d\"}'; exit 1; }");
    let refused = call.run(&lab, "ADD");
    assert_refused(&refused, 123, &["no more"]);
    assert_eq!(lab.read("/run/lab/calls"), "ADD\nDEL\n", "what failed is taken back");
    fake("[ $CNI_COMMAND != ADD ] || echo '{}'");
    assert_refused(&call.run(&lab, "ADD"), 101, &["no address"]);
    assert_eq!(lab.read("/run/lab/calls"), "ADD\nDEL\n");
    // What it did not take back is told each time, also when there is nothing of ours left.
    fake("[ $CNI_COMMAND != DEL ] || { echo '{\"code\":124,\"msg\":\"not now\"}'; exit 1; }");
    assert_refused(&call.run(&lab, "DEL"), 124, &["not now"]);
    assert_refused(&call.run(&lab, "DEL"), 124, &["not now"]);
    fake("[ $CNI_COMMAND != ADD ] || exit 7");
    assert_refused(&call.run(&lab, "ADD"), 101, &["fake"]);
    lab.sh("ip link del br9");
    before.assert_unchanged(&lab, "delegation");
}

#[test]
fn c15_c16_the_nearest_wish_counts() {
    let lab = lab();
    let address = |call: &Call| {
        let result = call.add(&lab);
        call.del(&lab);
        (
            result["ips"][0]["address"].as_str().expect("one").to_owned(),
            result["interfaces"][2]["mac"].as_str().expect("one").to_owned(),
        )
    };
    let environment = bridge().args("IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.2.77;MAC=02:00:00:00:00:01");
    assert_eq!(address(&environment), ("10.1.2.77/24".into(), "02:00:00:00:00:01".into()));
    let args = environment.with(&json!({"args": {"cni": {"ips": ["10.1.2.78/24"], "mac": "02:00:00:00:00:02"}}}));
    assert_eq!(address(&args), ("10.1.2.78/24".into(), "02:00:00:00:00:02".into()));
    let all = args.with(&json!({"runtimeConfig": {"ips": ["10.1.2.79"], "mac": "02:00:00:00:00:03"}}));
    assert_eq!(address(&all), ("10.1.2.79/24".into(), "02:00:00:00:00:03".into()));
    let wanted = |ip: &str| bridge().container("c2").with(&json!({"runtimeConfig": {"ips": [ip]}})).run(&lab, "ADD");
    bridge().with(&json!({"runtimeConfig": {"ips": ["10.1.2.50"]}})).add(&lab);
    assert_refused(&wanted("10.1.2.50"), 101, &["10.1.2.50", "c1"]);
    assert_refused(&wanted("10.1.2.1"), 7, &["10.1.2.1", "gateway"]);
    assert_refused(&wanted("10.9.9.9"), 7, &["10.9.9.9"]);
    // Malformed arguments do not keep anything from being removed.
    bridge().args("FOO").del(&lab);
}

#[test]
fn c17_c19_d8_a_second_attachment_is_an_error_and_the_first_one_stays() {
    let lab = lab();
    let result = bridge().add(&lab);
    assert_refused(&bridge().run(&lab, "ADD"), 101, &["already"]);
    bridge().check(&lab, &result);
    assert!(reaches_outside(&lab, "c1").contains(HOST));
    bridge().del(&lab);
    let again = bridge().add(&lab);
    bridge().check(&lab, &again);
    bridge().netns("").del(&lab);
    // Another container has its address now; removing the first one again does not touch that.
    let wanted = json!({"runtimeConfig": {"ips": [again["ips"][0]["address"]]}});
    let second = bridge().container("c2").with(&wanted).add(&lab);
    bridge().netns("").with(&json!({"prevResult": again})).del(&lab);
    bridge().container("c2").check(&lab, &second);
    assert!(reaches_outside(&lab, "c2").contains(HOST));
}

#[test]
fn c18_a_second_network_has_its_own_link_and_the_first_keeps_the_way_out() {
    let lab = lab();
    let other = bridge().ifname("eth1").with(&json!({
        "name": "n2", "bridge": "br8",
        "ipam": {"type": "host-local", "subnet": "10.1.4.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    }));
    let (first, second) = (bridge().add(&lab), other.add(&lab));
    assert_eq!(second["interfaces"][2]["name"], "eth1");
    let routes = lab.sh("ip -n c1 route");
    assert!(routes.contains("default via 10.1.2.1") && !routes.contains("default via 10.1.4.1"), "{routes}");
    bridge().check(&lab, &first);
    other.check(&lab, &second);
    other.del(&lab);
    assert!(reaches_outside(&lab, "c1").contains(HOST));
}

#[test]
fn d2_d3_d4_d5_d6_d9_d10_a_removal_needs_nothing_but_the_names() {
    let lab = lab();
    lab.sh("touch /run/netns/plain");
    bridge().add(&lab);
    bridge().del(&lab);
    let before = Machine::settled(&lab);
    for netns in ["", "/run/netns/nope", "/run/netns/plain"] {
        bridge().add(&lab);
        bridge().netns(netns).del(&lab);
        before.assert_unchanged(&lab, &format!("DEL with {netns:?}"));
    }
    for keys in [
        json!({"prevResult": {"garbage": 7, "ips": "x"}}),
        json!({"ipMasq": "maybe", "mtu": "x"}),
        json!({"cniVersion": "0.1.0"}),
        json!({"cniVersion": ""}),
    ] {
        bridge().add(&lab);
        bridge().with(&keys).del(&lab);
        before.assert_unchanged(&lab, &format!("DEL with {keys}"));
    }
    // Without the IPAM plugin the rest is cleaned up all the same, and the error comes in the end.
    bridge().add(&lab);
    assert_refused(&bridge().with(&json!({"ipam": {"type": "gone"}})).run(&lab, "DEL"), 7, &["gone"]);
    eventually("the link is gone", 3.0, || lab.sh("ip -n c1 -br link | grep -v ^lo || true").is_empty());
    bridge().del(&lab);
    before.assert_unchanged(&lab, "DEL without the IPAM plugin");
    // A namespace that went by itself.
    lab.sh("ip netns add doomed");
    bridge().container("doomed").add(&lab);
    lab.sh("ip netns del doomed");
    bridge().container("doomed").netns("").del(&lab);
    before.assert_unchanged(&lab, "DEL after the namespace");
}

#[test]
fn e1_e3_e4_e5_e6_e8_e9_e10_a_check_is_truthful() {
    let lab = lab();
    assert_refused(&bridge().with(&json!({"cniVersion": "0.3.1"})).run(&lab, "CHECK"), 1, &["CHECK"]);
    assert_refused(&bridge().run(&lab, "CHECK"), 7, &["prevResult"]);
    let result = bridge().add(&lab);
    let before = Machine::settled(&lab);
    bridge().check(&lab, &result);
    before.assert_unchanged(&lab, "CHECK");
    let port = result["interfaces"][1]["name"].as_str().expect("a name").to_owned();
    for (damage, repair, words) in [
        ("ip -n c1 route del default", "ip -n c1 route add default via 10.1.2.1", &["default"][..]),
        (
            "ip -n c1 addr del 10.1.2.2/24 dev eth0",
            "ip -n c1 addr add 10.1.2.2/24 dev eth0; ip -n c1 route add default via 10.1.2.1",
            &["10.1.2.2"],
        ),
        ("ip link set PORT nomaster", "ip link set PORT master br9", &["br9"]),
        (
            "ip -n c1 link set eth0 address 02:00:00:00:00:99",
            "ip -n c1 link set eth0 address 02:42:0a:01:02:02",
            &["eth0"],
        ),
        ("ip link set br9 down", "ip link set br9 up", &["br9", "up"]),
        ("ip link set PORT down", "ip link set PORT up", &["up"]),
        (
            "ip -n c1 link set eth0 down",
            "ip -n c1 link set eth0 up; ip -n c1 route add default via 10.1.2.1",
            &["eth0", "up"],
        ),
        ("ip addr del 10.1.2.1/24 dev br9", "ip addr add 10.1.2.1/24 dev br9", &["10.1.2.1/24"]),
        (
            "rm /var/lib/cni/networks/n1/10.1.2.2",
            "printf 'c1\\r\\neth0' > /var/lib/cni/networks/n1/10.1.2.2",
            &["reserved"],
        ),
    ] {
        lab.sh(&damage.replace("PORT", &port));
        bridge().check_fails(&lab, &result, words);
        lab.sh(&repair.replace("PORT", &port));
        bridge().check(&lab, &result);
    }
    assert_refused(&bridge().netns("/run/netns/gone").with(&json!({"prevResult": result})).run(&lab, "CHECK"), 8, &[]);
    let other = bridge().netns("/run/netns/c2").with(&json!({"prevResult": result}));
    assert_refused(&other.run(&lab, "CHECK"), 101, &["missing"]);
    bridge().del(&lab);
    let gone = bridge().with(&json!({"prevResult": result})).run(&lab, "CHECK");
    assert_refused(&gone, 3, &["no attachment"]);
}

#[test]
fn e5_a_check_sees_that_the_masquerade_is_gone() {
    // Without ownership of the table, which would keep anybody from flushing it.
    let lab = Lab::with().config("[firewall]\nowner = false\n").start();
    install(&lab);
    lab.sh("ip netns add c1");
    let result = bridge().add(&lab);
    lab.signal_agent("STOP");
    lab.sh("nft delete element inet netmode guest_masq4 { 10.1.2.2 }");
    lab.signal_agent("CONT");
    eventually("what is missing is told, or mended already", 5.0, || {
        let checked = bridge().with(&json!({"prevResult": result})).run(&lab, "CHECK");
        checked.status == 1 && checked.stdout.contains("guest_masq4") || checked.status == 0
    });
    eventually("the agent mends it", 5.0, || lab.sh("nft list set inet netmode guest_masq4").contains("10.1.2.2"));
    bridge().check(&lab, &result);
}

#[test]
fn f2_f3_f5_f6_f7_status_and_collection_are_truthful() {
    let lab = lab();
    assert_eq!(bridge().container("").netns("").ifname("").run(&lab, "STATUS").success().stdout, "");
    let tight = json!({"name": "n0", "bridge": "br0", "ipam": {"type": "host-local", "subnet": "10.1.2.0/30"}});
    let tight = bridge().with(&tight);
    tight.add(&lab);
    assert_refused(&tight.run(&lab, "STATUS"), 50, &["10.1.2.0/30"]);
    tight.del(&lab);
    assert_refused(&bridge().with(&json!({"ipam": {"type": "nosuch"}})).run(&lab, "STATUS"), 50, &["nosuch"]);
    let (first, _) = (bridge().add(&lab), bridge().container("c2").add(&lab));
    let other = bridge().ifname("eth1").container("c2").with(&json!({
        "name": "n2", "bridge": "br8", "ipam": {"type": "host-local", "subnet": "10.1.4.0/24"}
    }));
    let beside = other.add(&lab);
    let valid = |list: Value| {
        bridge().container("").netns("").with(&json!({"cni.dev/valid-attachments": list})).run(&lab, "GC")
    };
    // Nothing said is not the same as nothing valid.
    bridge().run(&lab, "GC").success();
    bridge().check(&lab, &first);
    assert_eq!(valid(json!([{"containerID": "c1", "ifname": "eth0"}])).success().stdout, "");
    bridge().check(&lab, &first);
    other.check(&lab, &beside);
    eventually("the stale one is gone", 3.0, || {
        lab.sh("ip -n c2 -br link").contains("eth1") && !lab.sh("ip -n c2 -br link").contains("eth0")
    });
    assert_eq!(lab.sh("ls /var/lib/cni/networks/n1 | grep ^10"), "10.1.2.2\n");
    assert_refused(&valid(json!(7)), 7, &["valid-attachments"]);
    assert_eq!(valid(json!([])).success().stdout, "");
    assert_eq!(lab.sh("ls /var/lib/cni/networks/n1 | grep ^10 || true"), "");
    other.check(&lab, &beside);
}

#[test]
fn records_and_addresses_survive_the_agent_and_not_a_reboot() {
    let lab = lab();
    let result = bridge().add(&lab);
    for signal in ["TERM", "KILL"] {
        lab.restart_agent(signal);
        bridge().check(&lab, &result);
        assert!(reaches_outside(&lab, "c1").contains(HOST));
    }
    lab.end_agent("KILL");
    assert_refused(&bridge().run(&lab, "ADD"), 11, &["systemctl start netmode"]);
    assert_refused(&bridge().run(&lab, "STATUS"), 50, &["systemctl start netmode"]);
    lab.start_agent();
    bridge().del(&lab);
    // A directory of an earlier boot: nobody has those addresses any more.
    lab.sh(
        "printf 'old\\r\\neth0' > /var/lib/cni/networks/n1/10.1.2.9; echo another > /var/lib/cni/networks/n1/.boot_id",
    );
    lab.restart_agent("TERM");
    bridge().add(&lab);
    assert!(!lab.has_file("/var/lib/cni/networks/n1/10.1.2.9"));
}

#[test]
fn our_host_local_serves_the_reference_plugins() {
    let lab = lab();
    lab.sh("mkdir /run/lab/mixed; cp -L /usr/lib/cni/bridge /run/lab/mixed/");
    lab.sh(&format!("ln -s {DIR}/host-local /run/lab/mixed/host-local"));
    let call = bridge().dir("/run/lab/mixed").with(&json!({"cniVersion": "1.0.0"}));
    let result = call.add(&lab);
    assert_eq!(result["ips"][0]["address"], "10.1.2.2/24");
    call.check(&lab, &result);
    let alone = Call::of("host-local", call.config());
    assert_refused(&alone.run(&lab, "ADD"), 101, &["duplicate allocation"]);
    assert_eq!(lab.sh("ls /var/lib/cni/networks/n1 | grep ^10"), "10.1.2.2\n");
    call.del(&lab);
    assert_eq!(lab.sh("ls /var/lib/cni/networks/n1 | grep ^10 || true"), "");
    // And theirs serves ours.
    lab.sh("mkdir /run/lab/theirs; cp -L /usr/lib/cni/host-local /run/lab/theirs/");
    let call = bridge().path("/run/lab/theirs").with(&json!({"cniVersion": "1.0.0"}));
    let result = call.add(&lab);
    call.check(&lab, &result);
    assert_refused(&call.run(&lab, "ADD"), 101, &["already"]);
    call.check(&lab, &result);
    call.del(&lab);
    assert_eq!(lab.sh("ls /var/lib/cni/networks/n1 | grep ^10 || true"), "");
}

#[test]
fn an_agent_that_says_nothing_is_told_from_one_that_is_busy() {
    let lab = lab();
    lab.signal_agent("STOP");
    let begun = std::time::Instant::now();
    assert_refused(&bridge().run(&lab, "ADD"), 11, &["did not answer"]);
    assert_refused(&bridge().run(&lab, "STATUS"), 50, &["did not answer"]);
    assert!(begun.elapsed().as_secs() < 20);
    lab.signal_agent("CONT");
    // Nobody waits any more for what was asked meanwhile: it is taken back.
    eventually("what nobody waits for is gone", 5.0, || lab.sh("ls /run/netmode/attachments").is_empty());
    let left = || lab.sh("ls /var/lib/cni/networks/n1 2>/dev/null | grep ^10 || true").is_empty();
    eventually("and its address", 5.0, left);
    bridge().add(&lab);
}

#[test]
fn a_call_starts_the_agent_where_its_socket_waits() {
    let lab = Lab::with().no_agent().start();
    install(&lab);
    lab.sh("ip netns add c1; mkdir -p /run/netmode");
    let activate = ["systemd-socket-activate", "-l", "/run/netmode/netmode.sock", "netmoded"];
    let pid = lab.spawn(&activate, "/run/lab/activate.log");
    eventually("the socket waits", 5.0, || lab.has_file("/run/netmode/netmode.sock"));
    assert_eq!(bridge().add(&lab)["ips"][0]["address"], "10.1.2.2/24");
    bridge().del(&lab);
    lab.sh(&format!("kill {pid}"));
    lab.reap(pid, 10_000);
}
