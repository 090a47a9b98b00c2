//! What stands in for an ENI, on kernels that have every kind of link: the virtual machine's (`make vm-test`).

use netmode_tests::awsvpc::serve_in;
use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, all_at_once, eventually, need, tcp};
use std::fmt::Write;

/// Whether the kernel makes such a link (`type …` of ip-link(8)) on the uplink.
fn makes(lab: &Lab, kind: &str) -> bool {
    let script = format!("ip link add link uplink0 name x type {kind} && ip link del x");
    lab.run(&["sh", "-c", &script]).status == 0
}

fn open_group(lab: &Lab) {
    lab.netmode(&["sg", "create", "open"]).success();
    lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0,::/0"]).success();
    lab.netmode(&["sg", "create", "closed"]).success();
}

fn subnet(lab: &Lab, name: &str, flags: &str) {
    let words: Vec<&str> = ["subnet", "create", name].into_iter().chain(flags.split(' ')).collect();
    lab.netmode(&words).success();
}

/// Two tasks that let everything in and one that lets in nothing, asked by a neighbour and by a machine of the LAN.
fn tasks_and_their_groups(lab: &Lab) {
    let open = [serve_in(lab, "one", &["open"]), serve_in(lab, "two", &["open"])];
    let closed = serve_in(lab, "shut", &["closed"]);
    for (name, address) in ["one", "two"].iter().zip(&open) {
        let seen = lab.inside("one").who(tcp(format!("{address}:80"))).expect("a neighbour answers");
        assert_eq!((seen.tag.as_str(), seen.peer.to_string()), (*name, open[0].clone()), "nothing is translated");
        let seen = lab.at("client").who(tcp(format!("{address}:80"))).expect("reached from the LAN");
        assert_eq!((seen.tag.as_str(), seen.peer.to_string().as_str()), (*name, CLIENT));
    }
    let shut = tcp(format!("{closed}:80"));
    let answers = all_at_once(&["neighbour", "lan"], |from| match *from {
        "neighbour" => lab.inside("one").who(shut),
        _ => lab.at("client").who(shut),
    });
    assert_eq!(answers, [Err(Failure::Timeout), Err(Failure::Timeout)], "its group lets nobody in");
    assert!(lab.inside("shut").who(tcp(format!("{}:80", open[0]))).is_ok(), "and everything out");
    lab.at("far").serve("far", &["tcp/9000"]);
    let outward = lab.inside("one").seen_as(tcp(format!("{FAR}:9000")));
    assert_eq!(outward.as_deref(), Ok(open[0].as_str()), "outward, under its own address");
}

#[test]
fn ipvlan_l2_is_on_the_lan_itself() {
    let lab = Lab::start();
    need!(kernel: makes(&lab, "ipvlan"), "ipvlan links");
    open_group(&lab);
    subnet(&lab, "tasks", "--cidr 192.0.2.0/24 --ip-range 192.0.2.64/26 --gateway 192.0.2.254 --backend ipvlan:l2");
    tasks_and_their_groups(&lab);
    let link = lab.netmode(&["exec", "one", "ip", "-d", "link", "show", "eth0"]).success().stdout;
    assert!(link.contains("ipvlan  mode l2") || link.contains("ipvlan mode l2"), "{link}");
    // One hardware address for all of them: the parent's.
    let own = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    assert!(lab.sh("ip link show uplink0").contains(own), "{link}");
    assert_eq!(lab.json(&["eni", "show", "one"])[0]["macAddress"], own);
    assert_eq!(lab.inspect("one")["networks"][0]["macAddress"], own);
}

/// An ipvlan of layer 3 is routed by its parent's machine: the LAN needs a route to it, as it would in a VPC.
fn ipvlan_of_layer_3(mode: &str) {
    let lab = Lab::start();
    need!(kernel: makes(&lab, &format!("ipvlan mode {mode}")), "ipvlan links");
    open_group(&lab);
    subnet(&lab, "tasks", &format!("--cidr 10.0.2.0/24 --ipv6-cidr fd00:2::/64 --backend ipvlan:{mode}"));
    lab.sh(&format!(
        "nsenter --net=/run/netns/lan sh -c 'ip route add 10.0.2.0/24 via {HOST}; ip -6 route add fd00:2::/64 via {HOST6}'"
    ));
    tasks_and_their_groups(&lab);
    let link = lab.netmode(&["exec", "one", "ip", "-d", "link", "show", "eth0"]).success().stdout;
    assert!(link.contains(&format!("mode {mode} ")), "{link}");
    let six = lab.address6("two");
    for from in [lab.inside("one"), lab.at("client")] {
        assert_eq!(from.who(tcp(format!("[{six}]:80"))).map(|s| s.tag).as_deref(), Ok("two"), "both families");
    }
    let shut = lab.address6("shut");
    assert_eq!(lab.at("client").who(tcp(format!("[{shut}]:80"))), Err(Failure::Timeout));
}

#[test]
fn ipvlan_l3_is_routed_by_the_host() {
    ipvlan_of_layer_3("l3");
}

#[test]
fn ipvlan_l3s_is_routed_by_the_host() {
    ipvlan_of_layer_3("l3s");
}

/// c5.large: three network interfaces, two of them for plain tasks; ten branches of its trunk.
#[test]
fn row_20_a_trunk_carries_ten_branches_each_in_a_vlan_of_its_own() {
    let lab = Lab::start();
    need!(kernel: makes(&lab, "vlan id 5"), "802.1Q links");
    open_group(&lab);
    lab.netmode(&["instance", "set-profile", "c5.large", "--trunking"]).success();
    subnet(&lab, "tasks", "--cidr 10.0.2.0/24 --backend vlan --vlan 100-109");
    // The peer of each VLAN: it has the router's address, as everybody else's router does in a VLAN of its own.
    let mut peers = String::new();
    for id in 100..110 {
        write!(
            peers,
            "ip netns add peer{id}
             ip -n lan link add link switch0 name v{id} netns peer{id} type vlan id {id}
             ip -n peer{id} -batch - <<X
link set lo up
addr add 10.0.2.1/24 dev v{id}
link set v{id} up
X
"
        )
        .expect("a string");
    }
    lab.sh(&peers);
    let ids: Vec<u32> = (100..110).collect();
    for id in &ids {
        let netns = format!("--net=/run/netns/peer{id}");
        let tag = format!("peer{id}");
        lab.spawn(&["nsenter", &netns, "probe", "serve", "--tag", &tag, "tcp/80"], &format!("/run/lab/{tag}.log"));
        serve_in(&lab, &format!("b{id}"), &["open"]);
    }
    let shown = lab.json(&["eni", "ls"]);
    let of_branches = |key: &str| -> std::collections::BTreeSet<String> {
        shown.as_array().into_iter().flatten().filter_map(|e| e.get(key)).map(ToString::to_string).collect()
    };
    assert_eq!((of_branches("vlanId").len(), of_branches("macAddress").len()), (10, 10), "{shown}");
    for id in &ids {
        let name = format!("b{id}");
        let vlan = lab.json(&["eni", "show", &name])[0]["vlanId"].to_string();
        let seen = lab.inside(&name).who_patiently(tcp("10.0.2.1:80")).expect("the peer of its VLAN answers");
        assert_eq!((seen.tag, seen.peer.to_string()), (format!("peer{vlan}"), lab.address(&name)));
    }
    // Two branches of one subnet are two VLANs: they meet nowhere.
    let other = tcp(format!("{}:80", lab.address("b101")));
    assert!(lab.inside("b100").who(other).is_err(), "another VLAN is out of reach");
    // On the wire the frames are tagged.
    let watch = "nsenter --net=/run/netns/lan timeout 20 tcpdump -nei host0 -c 1 vlan 2>/dev/null";
    let seen = lab.spawn(&["sh", "-c", &format!("{watch} >/run/lab/tagged")], "/run/lab/tcpdump.log");
    eventually("a tagged frame is seen", 5.0, || {
        let _ = lab.inside("b100").who(tcp("10.0.2.1:80"));
        lab.read("/run/lab/tagged").contains("802.1Q")
    });
    assert!(lab.reap(seen, 30_000).is_some());
    let eleventh = ["run", "-d", "--mode", "awsvpc", "--subnet", "tasks", "--rootfs", "/", "sleep", "9"];
    lab.netmode(&eleventh).refused(125, &["RESOURCE:ENI"]);
    lab.netmode(&["rm", "-f", "b100"]).success();
    eventually("its place is free", 3.0, || lab.netmode(&eleventh).status == 0);
}

#[test]
fn a_macvlan_stands_on_a_link_without_a_wire() {
    let lab = Lab::start();
    let made = lab.run(&["sh", "-c", "ip link add name wire0 type dummy && ip link set wire0 up"]);
    need!(kernel: made.status == 0, "dummy links");
    open_group(&lab);
    subnet(&lab, "tasks", "--cidr 10.0.2.0/24 --ipv6-cidr fd00:2::/64 --backend macvlan --parent wire0");
    let one = serve_in(&lab, "one", &["open"]);
    let two = serve_in(&lab, "two", &["open"]);
    let shut = serve_in(&lab, "shut", &["closed"]);
    let seen = lab.inside("one").who(tcp(format!("{two}:80"))).expect("a neighbour answers");
    assert_eq!((seen.tag.as_str(), seen.peer.to_string()), ("two", one));
    assert_eq!(lab.at("host").who(tcp(format!("{two}:80"))).map(|s| s.tag).as_deref(), Ok("two"));
    let six = lab.address6("two");
    for from in [lab.inside("one"), lab.at("host")] {
        assert_eq!(from.who(tcp(format!("[{six}]:80"))).map(|s| s.tag).as_deref(), Ok("two"), "both families");
    }
    assert_eq!(lab.inside("one").who(tcp(format!("{shut}:80"))), Err(Failure::Timeout));
    // The host routes: the world outside sees the host.
    lab.at("far").serve("far", &["tcp/9000"]);
    assert_eq!(lab.inside("one").seen_as(tcp(format!("{FAR}:9000"))).as_deref(), Ok(HOST));
}

#[test]
fn two_kinds_of_ipvlan_cannot_share_a_parent() {
    let lab = Lab::start();
    need!(kernel: makes(&lab, "ipvlan"), "ipvlan links");
    open_group(&lab);
    subnet(&lab, "two", "--cidr 10.0.2.0/24 --backend ipvlan:l2");
    let create = ["subnet", "create", "three", "--cidr", "10.0.3.0/24", "--backend", "ipvlan:l3"];
    // The mode is the parent's: the second kind would change the links of the first (ipvlan_set_port_mode).
    lab.netmode(&create).refused(1, &["ipvlan:l3", "uplink0", "two", "ipvlan:l2"]);
    let create = ["subnet", "create", "four", "--cidr", "10.0.4.0/24", "--backend", "macvlan"];
    lab.netmode(&create).refused(1, &["macvlan", "uplink0", "two", "ipvlan:l2"]);
}
