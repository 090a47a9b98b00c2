//! CNI: the plugins that make links of other kinds: macvlan, ipvlan, vlan, ptp, host-device.

use netmode_tests::cni::{Call, List, assert_refused, install};
use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, eventually, skip, tcp};
use serde_json::{Value, json};

fn lab() -> Lab {
    let lab = Lab::start();
    install(&lab);
    lab.sh("ip netns add c1; ip netns add c2");
    lab.at("far").serve("far", &["tcp/9000"]);
    lab
}

fn from_inside(lab: &Lab, netns: &str, to: &str) -> String {
    let ask = format!("{{\"who\":{{\"proto\":\"tcp\",\"to\":\"{to}\",\"from\":null,\"wait_ms\":3000}}}}");
    lab.sh(&format!("ip netns exec {netns} probe once '{ask}'"))
}

/// The link that leads to the LAN.
fn uplink(lab: &Lab) -> String {
    let route = lab.sh("ip route show default");
    route.split_whitespace().skip_while(|word| *word != "dev").nth(1).expect("a link").to_owned()
}

fn upper(plugin: &str, keys: &Value) -> Call {
    let config = json!({
        "cniVersion": "1.1.0", "name": "n1", "type": plugin,
        "ipam": {"type": "static", "addresses": [{"address": "192.0.2.77/24", "gateway": "192.0.2.254"}]}
    });
    Call::of(plugin, &config).with(keys)
}

#[test]
fn c5_macvlan_is_on_the_lan_itself_and_names_no_link_of_the_host() {
    let lab = lab();
    let before = Machine::settled(&lab);
    for mode in [Value::Null, json!("bridge"), json!("private"), json!("vepa")] {
        // The link of the default route where none is named.
        let call = upper("macvlan", &json!({ "mode": mode }));
        let result = call.add(&lab);
        assert_eq!(result["interfaces"].as_array().map(Vec::len), Some(1), "{result}");
        assert_eq!(result["interfaces"][0]["name"], "eth0");
        assert_eq!(result["ips"][0]["interface"], 0);
        let link = lab.sh("ip -n c1 -d link show eth0");
        let word = format!("macvlan mode {}", mode.as_str().unwrap_or("bridge"));
        assert!(link.contains(&word), "{word}: {link}");
        call.check(&lab, &result);
        if mode != json!("vepa") {
            let pod =
                lab.spawn(&["ip", "netns", "exec", "c1", "probe", "serve", "--tag", "c1", "tcp/80"], "/run/lab/c1.log");
            eventually("a machine on the LAN reaches it", 5.0, || {
                lab.at("client").seen_as(tcp("192.0.2.77:80")).as_deref() == Ok(CLIENT)
            });
            lab.sh(&format!("kill {pod}"));
            lab.reap(pod, 5000);
        }
        call.del(&lab);
        assert_eq!(lab.sh("ip -n c1 -br link | grep -v ^lo || true"), "");
        call.netns("").del(&lab);
    }
    before.assert_unchanged(&lab, "macvlan");
}

#[test]
fn macvlan_takes_wishes_and_refuses_what_cannot_be() {
    let lab = lab();
    let (before, master) = (Machine::settled(&lab), uplink(&lab));
    let call = upper("macvlan", &json!({"master": master, "mtu": 1400, "mac": "02:00:00:00:00:77"}));
    let result = call.add(&lab);
    assert_eq!(
        (&result["interfaces"][0]["mac"], &result["interfaces"][0]["mtu"]),
        (&json!("02:00:00:00:00:77"), &json!(1400))
    );
    call.del(&lab);
    let layer2 = upper("macvlan", &json!({"master": master, "ipam": null}));
    let result = layer2.add(&lab);
    assert!(result.get("ips").is_none());
    layer2.del(&lab);
    let inner = upper("macvlan", &json!({"master": "eth0", "linkInContainer": true})).ifname("net1");
    upper("macvlan", &json!({})).add(&lab);
    let inner = inner.with(&json!({"ipam": null}));
    inner.add(&lab);
    let links = lab.sh("ip -n c1 -br link");
    assert!(links.contains("net1@"), "{links}");
    inner.del(&lab);
    upper("macvlan", &json!({})).del(&lab);
    for (keys, code, words) in [
        (json!({"master": "nosuch"}), 101, &["nosuch"][..]),
        (json!({"mode": "x"}), 7, &["mode", "x"]),
        (json!({"mtu": 9000}), 7, &["mtu", "9000"]),
        (json!({"mac": "x"}), 7, &["mac"]),
        (json!({"linkInContainer": true}), 7, &["master"]),
        (json!({"master": "lo2", "linkInContainer": true}), 101, &["lo2"]),
    ] {
        assert_refused(&upper("macvlan", &keys).run(&lab, "ADD"), code, words);
    }
    assert_refused(&upper("macvlan", &json!({"master": "nosuch"})).run(&lab, "STATUS"), 50, &["nosuch"]);
    assert_eq!(upper("macvlan", &json!({})).run(&lab, "STATUS").success().stdout, "");
    before.assert_unchanged(&lab, "refusals");
}

#[test]
fn ipvlan_and_vlan_stand_on_the_lan_where_the_kernel_has_them() {
    let lab = lab();
    let (before, master) = (Machine::settled(&lab), uplink(&lab));
    for (plugin, keys, word) in [
        ("ipvlan", json!({"master": master}), "ipvlan"),
        ("ipvlan", json!({"master": master, "mode": "l3"}), "l3"),
        ("vlan", json!({"master": master, "vlanId": 7}), "id 7"),
    ] {
        let call = upper(plugin, &keys);
        let out = call.run(&lab, "ADD");
        if out.status == 1 && out.stdout.contains("not supported") {
            skip::note(module_path!(), &format!("a kernel with {plugin}"));
            assert_refused(&out, 101, &[plugin]);
            assert_eq!(lab.sh("ip -n c1 -br link | grep -v ^lo || true"), "");
            continue;
        }
        let result = out.success().json();
        assert!(lab.sh("ip -n c1 -d link show eth0").contains(word));
        call.check(&lab, &result);
        call.del(&lab);
    }
    for (plugin, keys, code, words) in [
        ("ipvlan", json!({"mode": "x"}), 7, &["mode", "x"][..]),
        ("ipvlan", json!({"ipam": null}), 7, &["ipam"]),
        ("vlan", json!({"master": master}), 7, &["vlanId"]),
        ("vlan", json!({"vlanId": 7}), 7, &["master"]),
        ("vlan", json!({"master": master, "vlanId": 4095}), 7, &["vlanId", "4095"]),
    ] {
        assert_refused(&upper(plugin, &keys).run(&lab, "ADD"), code, words);
    }
    // The lower device may be gone at DEL, and not be given.
    upper("ipvlan", &json!({"master": "gone"})).del(&lab);
    upper("vlan", &json!({})).del(&lab);
    before.assert_unchanged(&lab, "refusals");
}

#[test]
fn ptp_is_routed_at_both_ends() {
    let lab = lab();
    let before = Machine::settled(&lab);
    let list = List::of(&json!({
        "cniVersion": "1.0.0", "name": "p",
        "plugins": [
            {"type": "ptp", "ipMasq": true, "mtu": 1400,
             "ipam": {"type": "host-local", "subnet": "10.1.1.0/24", "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "runtimeConfig": {"portMappings": [{"hostPort": 8081, "containerPort": 80, "protocol": "tcp"}]}},
            {"type": "firewall"}
        ]
    }));
    let result = list.add(&lab);
    let second = list.calls[0].clone().container("c2");
    second.add(&lab);
    assert_eq!(result["interfaces"][1]["name"], "eth0");
    assert_eq!(result["ips"][0]["interface"], 1, "{result}");
    let routes = lab.sh("ip -n c1 route");
    for word in ["default via 10.1.1.1", "10.1.1.0/24 via 10.1.1.1", "10.1.1.1 dev eth0"] {
        assert!(routes.contains(word), "{word} in {routes}");
    }
    let pod = lab.spawn(&["ip", "netns", "exec", "c1", "probe", "serve", "--tag", "c1", "tcp/80"], "/run/lab/c1.log");
    eventually("the published port answers", 5.0, || {
        lab.at("client").seen_as(tcp(format!("{HOST}:8081"))).as_deref() == Ok(CLIENT)
    });
    assert!(from_inside(&lab, "c1", &format!("{FAR}:9000")).contains(HOST), "outward under the host's address");
    assert!(from_inside(&lab, "c2", "10.1.1.2:80").contains("10.1.1.3"), "a neighbour, under its own address");
    assert!(from_inside(&lab, "c2", &format!("{HOST}:8081")).contains("c1"), "a neighbour, by the published port");
    lab.at("host").who(tcp("127.0.0.1:8081")).expect("the host's loopback");
    list.check(&lab, &result);
    lab.restart_agent("KILL");
    list.check(&lab, &result);
    second.del(&lab);
    list.each(|call| call.netns("")).del(&lab, &Value::Null);
    lab.sh(&format!("kill {pod}"));
    lab.reap(pod, 5000);
    before.assert_unchanged(&lab, "ptp");
}

#[test]
fn a_device_of_the_host_moves_and_comes_back() {
    let lab = lab();
    lab.sh("ip link add spare address 02:00:00:00:00:55 type veth peer name other netns c2");
    let before = Machine::settled(&lab);
    for keys in [json!({"device": "spare"}), json!({"hwaddr": "02:00:00:00:00:55"})] {
        let call = upper("host-device", &keys);
        assert_eq!(call.run(&lab, "STATUS").success().stdout, "");
        let result = call.add(&lab);
        assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:55");
        assert!(lab.sh("ip -n c1 -br addr show eth0").contains("192.0.2.77/24"));
        assert!(!lab.sh("ip -br link").contains("spare"));
        call.check(&lab, &result);
        assert_refused(&call.run(&lab, "STATUS"), 50, &[]);
        lab.restart_agent("KILL");
        call.del(&lab);
        call.del(&lab);
        before.assert_unchanged(&lab, "it is back under its name");
    }
    for (keys, code, word) in [
        (json!({}), 7, "device"),
        (json!({"device": "nosuch"}), 101, "nosuch"),
        (json!({"pciBusID": "0000:04:00.5"}), 2, "pciBusID"),
        (json!({"runtimeConfig": {"deviceID": "0000:04:00.5"}}), 2, "deviceID"),
    ] {
        assert_refused(&upper("host-device", &keys).run(&lab, "ADD"), code, &[word]);
    }
    lab.sh("ip link del spare");
}
