//! The feature table, awsvpc mode: one test a row, named after it, with each stand-in that this kernel has.

use netmode_tests::awsvpc::{lab_on, serve, serve_in};
use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, eventually, need, tcp, udp};

fn an_interface_each(backend: &str) {
    let lab = lab_on(backend);
    let (one, two) = (serve(&lab, "one"), serve(&lab, "two"));
    assert_ne!(one, two);
    for (name, address) in [("one", &one), ("two", &two)] {
        let shown = lab.netmode(&["exec", name, "ip", "-j", "addr", "show", "eth0"]).success().json();
        assert_eq!(shown[0]["addr_info"][0]["local"], address.as_str(), "{shown}");
        let eni = lab.json(&["eni", "show", name])[0].take();
        assert_eq!(eni["macAddress"], shown[0]["address"], "{eni}");
        assert_eq!(eni["privateIpAddress"], address.as_str());
        let id = eni["networkInterfaceId"].as_str().unwrap_or_default();
        assert!(id.starts_with("eni-") && id.len() == 21, "{id}");
        assert_eq!(eni["attachment"]["status"], "ATTACHED");
        let names = lab.netmode(&["exec", name, "ip", "-br", "link"]).success().stdout;
        let names: Vec<_> = names.lines().filter_map(|l| l.split(['@', ' ']).next()).collect();
        assert_eq!(names, ["lo", "eth0"]);
        let netns = lab.inspect(name)["netns"].as_str().map(str::to_owned).expect("a namespace");
        let inside = lab.sh(&format!("nsenter --net={netns} ip -d link show eth0; ip -d link"));
        assert!(inside.contains(id), "the whole id is in an alias: {inside}");
        // Its neighbour, itself, and its own loopback.
        for from in ["one", "two"] {
            let seen = lab.inside(from).who(tcp(format!("{address}:80"))).expect("a neighbour answers");
            assert_eq!((seen.tag.as_str(), seen.peer.to_string()), (name, lab.address(from)), "nothing is translated");
            assert_eq!(lab.inside(from).who(udp(format!("{address}:53"))).map(|s| s.tag).as_deref(), Ok(name));
        }
        assert_eq!(lab.inside(name).who(tcp("127.0.0.1:80")).map(|s| s.tag).as_deref(), Ok(name));
        // The host and a machine of the LAN.
        assert_eq!(lab.at("host").who(tcp(format!("{address}:80"))).map(|s| s.tag).as_deref(), Ok(name));
        let seen = lab.at("client").who(tcp(format!("{address}:80"))).expect("reached from the LAN");
        assert_eq!((seen.tag.as_str(), seen.peer.to_string().as_str()), (name, CLIENT));
    }
    lab.at("far").serve("far", &["tcp/80"]);
    lab.at("host").serve("host", &["tcp/8080"]);
    let from = lab.inside("one").who(tcp(format!("{FAR}:80"))).map(|s| s.peer.to_string());
    assert_eq!(from.as_deref(), Ok(if backend == "macvlan" { one.as_str() } else { HOST }), "outward");
    let host = lab.inside("one").who(tcp(format!("{HOST}:8080"))).map(|s| s.peer.to_string());
    assert_eq!(host.as_deref(), Ok(one.as_str()), "the host sees the task's own address");
}

#[test]
fn row_1_every_task_has_an_interface_and_an_address_macvlan() {
    an_interface_each("macvlan");
}

#[test]
fn row_1_every_task_has_an_interface_and_an_address_veth() {
    an_interface_each("veth");
}

#[test]
fn an_eni_in_a_namespace_of_others_outlives_the_agent() {
    let lab = lab_on("macvlan");
    lab.sh("ip netns add theirs; ip netns add again");
    let attach = |name: &str| {
        let netns = format!("/run/netns/{name}");
        let place = ["--mode", "awsvpc", "--subnet", "tasks", "--security-group", "open"];
        lab.netmode(&[&["attach", "--netns", &netns], &place[..]].concat()).success();
    };
    attach("theirs");
    attach("again");
    lab.spawn(
        &["nsenter", "--net=/run/netns/theirs", "probe", "serve", "--tag", "theirs", "tcp/80"],
        "/run/lab/theirs",
    );
    eventually("it serves", 3.0, || lab.read("/run/lab/theirs").contains("ready"));
    let shown = lab.sh("ip -n theirs -4 -o addr show eth0");
    let address = shown.split_whitespace().nth(3).and_then(|a| a.split('/').next()).expect("an address").to_owned();
    let ask = || lab.at("client").who(tcp(format!("{address}:80"))).map(|seen| seen.tag);
    assert_eq!(ask().as_deref(), Ok("theirs"));

    lab.end_agent("KILL");
    lab.sh("ip netns del again; ip netns add again; ip -n again link add eth0 type veth");
    lab.start_agent();
    assert_eq!(ask().as_deref(), Ok("theirs"), "it was not touched");
    let enis = lab.json(&["eni", "ls"]);
    assert_eq!(enis.as_array().map(Vec::len), Some(1), "another namespace of the same name is not ours: {enis}");
    // Its walls, which stand in its namespace, still follow the group.
    lab.netmode(&["sg", "revoke", "open", "--cidr", "0.0.0.0/0"]).success();
    assert_eq!(ask(), Err(Failure::Timeout));
    lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0"]).success();
    assert_eq!(ask().as_deref(), Ok("theirs"));

    lab.netmode(&["detach", "--owner", "theirs"]).success();
    eventually("its link is gone", 2.0, || !lab.sh("ip -n theirs -br link").contains("eth0"));
    assert!(lab.sh("ip -n again -br link").contains("eth0"), "what a stranger made stays");
    eventually("it is released", 2.0, || lab.json(&["eni", "ls"]).as_array().is_some_and(Vec::is_empty));
    assert_eq!(lab.sh("ip netns exec theirs nft list ruleset"), "", "its walls went with it");
    // A second ENI has walls of its own, and leaves the way out to the first.
    attach("theirs");
    let walls = || lab.sh("ip netns exec theirs nft list tables").lines().count();
    let second = ["--interface", "eth1", "--mode", "awsvpc", "--subnet", "tasks", "--security-group", "open"];
    lab.netmode(&[&["attach", "--netns", "/run/netns/theirs"], &second[..]].concat()).success();
    assert_eq!((walls(), lab.sh("ip -n theirs route show default | wc -l").trim()), (2, "1"));
    let shown = lab.sh("ip -n theirs -4 -o addr show eth1");
    let address = shown.split_whitespace().nth(3).and_then(|a| a.split('/').next()).expect("an address").to_owned();
    assert_eq!(lab.at("client").who(tcp(format!("{address}:80"))).map(|seen| seen.tag).as_deref(), Ok("theirs"));
    lab.netmode(&["detach", "--owner", "theirs", "--interface", "eth1"]).success();
    eventually("its walls went with it", 2.0, || walls() == 1);
    assert_eq!(lab.sh("ip -n theirs route show default | wc -l").trim(), "1");
}

fn enis_are_protected(backend: &str) {
    let lab = lab_on(backend);
    serve(&lab, "one");
    let eni = lab.json(&["eni", "show", "one"])[0].take();
    let id = eni["networkInterfaceId"].as_str().unwrap_or_default().to_owned();
    assert!(eni["managedBy"].as_str().is_some_and(|m| m.starts_with("task/")), "{eni}");
    for verb in ["delete", "detach"] {
        lab.netmode(&["eni", verb, &id]).refused(1, &[&id, "managed by task/", "netmode stop one"]);
    }
    lab.netmode(&["subnet", "rm", "tasks"]).refused(1, &["the subnet tasks is in use by one"]);
    lab.netmode(&["sg", "rm", "open"]).refused(1, &["dependent object", "one"]);
    // Somebody deletes the link by hand.
    let netns = lab.inspect("one")["netns"].as_str().map(str::to_owned).expect("a namespace");
    lab.sh(&format!("nsenter --net={netns} ip link del dev eth0"));
    eventually("the task has ended", 1.0, || lab.inspect("one")["state"] == "STOPPED");
    let reason = lab.inspect("one")["stoppedReason"].to_string();
    assert!(reason.contains(&id) && reason.contains("somebody deleted its link"), "{reason}");
    eventually("and its ENI is gone", 3.0, || lab.json(&["eni", "ls"]).as_array().is_some_and(Vec::is_empty));
    // Started again it has another one.
    lab.netmode(&["start", "one"]).success();
    lab.ready("one");
    let anew = lab.json(&["eni", "show", "one"])[0]["networkInterfaceId"].to_string();
    assert!(!anew.contains(&id), "{anew}");
}

#[test]
fn row_5_enis_are_protected_from_deletion_macvlan() {
    enis_are_protected("macvlan");
}

#[test]
fn row_5_enis_are_protected_from_deletion_veth() {
    enis_are_protected("veth");
}

#[test]
fn row_5_a_parent_that_disappears_ends_its_tasks_with_the_reason() {
    let lab =
        Lab::with().first("ip link add name trunk0 type veth peer name trunk1").first("ip link set trunk0 up").start();
    let flags = ["--cidr", "10.0.2.0/24", "--backend", "macvlan", "--parent", "trunk0"];
    lab.netmode(&[&["subnet", "create", "tasks"], &flags[..]].concat()).success();
    for name in ["one", "two"] {
        serve_in(&lab, name, &[]);
    }
    lab.sh("ip link del dev trunk0");
    for name in ["one", "two"] {
        eventually("the task has ended", 1.0, || lab.inspect(name)["state"] == "STOPPED");
        let reason = lab.inspect(name)["stoppedReason"].to_string();
        assert!(reason.contains("its parent link trunk0 disappeared"), "{reason}");
    }
}

fn copies_do_not_clash(backend: &str) {
    let lab = lab_on(backend);
    let addresses = ["a", "b", "c"].map(|name| serve(&lab, name));
    assert!(!lab.sh("ss -Hlntu").lines().any(|l| l.contains(":80 ") || l.contains(":53 ")), "nothing on the host");
    for (name, address) in ["a", "b", "c"].iter().zip(&addresses) {
        // The container's port is the task's.
        assert_eq!(lab.at("client").who(tcp(format!("{address}:80"))).map(|s| s.tag).as_deref(), Ok(*name));
        let shown = lab.inspect(name)["containers"][0].take();
        assert_eq!(shown["networkBindings"], serde_json::json!([]), "{shown}");
        assert_eq!(shown["networkInterfaces"][0]["privateIpv4Address"], address.as_str());
    }
    assert!(lab.netmode(&["port", "ls", "-q"]).success().stdout.is_empty());
}

#[test]
fn row_12_14_copies_of_one_definition_do_not_clash_macvlan() {
    copies_do_not_clash("macvlan");
}

#[test]
fn row_12_14_copies_of_one_definition_do_not_clash_veth() {
    copies_do_not_clash("veth");
}

fn names_and_native_functions(backend: &str) {
    let lab = lab_on(backend);
    let (one, two) = (serve(&lab, "one"), serve(&lab, "two"));
    let name = format!("ip-{}.netmode.internal", one.replace('.', "-"));
    assert_eq!(lab.netmode(&["exec", "one", "hostname"]).success().stdout.trim(), name);
    let hosts = lab.netmode(&["exec", "one", "cat", "/etc/hosts"]).success().stdout;
    assert!(hosts.lines().any(|l| l.starts_with(&one) && l.contains(&name)), "{hosts}");
    assert_eq!(lab.json(&["eni", "show", "one"])[0]["privateDnsName"], name.as_str());
    // The task's own address in both directions: nothing is translated.
    let seen = lab.inside("one").who(tcp(format!("{two}:80"))).expect("an answer");
    assert_eq!(seen.peer.to_string(), one);
    lab.at("client").serve("client", &["tcp/80"]);
    lab.sh(&format!("nsenter --net=/run/netns/client ip route replace {one}/32 via {HOST} || true"));
    let seen = lab.inside("one").seen_as(tcp(format!("{CLIENT}:80")));
    let outward = if backend == "macvlan" { one.as_str() } else { HOST };
    assert_eq!(seen.as_deref(), Ok(outward), "out of a VPC that nobody else routes to by the host's address");
    assert!(lab.netmode(&["run", "--help"]).success().stdout.contains("awsvpc"), "and it can be chosen");
}

#[test]
fn row_4_6_the_task_uses_native_network_functions_macvlan() {
    names_and_native_functions("macvlan");
}

#[test]
fn row_4_6_the_task_uses_native_network_functions_veth() {
    names_and_native_functions("veth");
}

fn no_translation(backend: &str) {
    let lab = lab_on(backend);
    let (one, two) = (serve(&lab, "one"), serve(&lab, "two"));
    lab.inside("one").who(tcp(format!("{two}:80"))).expect("an answer");
    lab.at("client").who(tcp(format!("{one}:80"))).expect("an answer");
    let host = lab.sh("cat /proc/net/nf_conntrack 2>/dev/null || conntrack -L 2>/dev/null || true");
    let of_tasks = |l: &&str| l.contains(&one) || l.contains(&two);
    // The reply's destination is the source of what was asked: nothing in between was changed.
    for line in host.lines().filter(of_tasks) {
        let all = |key: &str| line.split_whitespace().filter_map(|w| w.strip_prefix(key)).collect::<Vec<_>>();
        let (from, to) = (all("src="), all("dst="));
        assert_eq!((from[0], to[0]), (to[1], from[1]), "{line}");
    }
    assert_eq!(lab.sh("ip link show master nm0").trim(), "", "and no shared bridge nm0");
}

#[test]
fn row_13_no_port_translation_and_no_shared_bridge_macvlan() {
    no_translation("macvlan");
}

#[test]
fn row_13_no_port_translation_and_no_shared_bridge_veth() {
    no_translation("veth");
}

#[test]
fn row_17_22_a_branch_of_a_trunk_has_its_own_address_and_groups() {
    let lab = Lab::start();
    let has = lab.run(&["sh", "-c", "ip link add link uplink0 name x type vlan id 5 && ip link del x"]);
    need!(kernel: has.status == 0, "802.1Q links");
    let flags = ["--cidr", "10.0.2.0/24", "--backend", "vlan", "--vlan", "100-199"];
    lab.netmode(&[&["subnet", "create", "tasks"], &flags[..]].concat()).success();
    lab.netmode(&["sg", "create", "closed"]).success();
    for (name, id) in [("one", 100), ("two", 101)] {
        serve_in(&lab, name, &["closed"]);
        let inside = lab.netmode(&["exec", name, "ip", "-d", "link", "show", "eth0"]).success().stdout;
        assert!(inside.contains(&format!("vlan protocol 802.1Q id {id}")), "{inside}");
        assert_eq!(lab.json(&["eni", "show", name])[0]["vlanId"], id);
    }
}

/// The shortest of a hundred round trips, in milliseconds: the others wait for other programs as well.
fn round_trip(lab: &Lab, task: &str, to: &str) -> f64 {
    let netns = lab.inspect(task)["netns"].as_str().expect("a namespace").to_owned();
    let said = lab.sh(&format!("nsenter --net={netns} ping -q -c 100 -i 0.005 {to}"));
    let shortest = said.rsplit("= ").next().and_then(|all| all.split('/').next()).expect("rtt min/avg/max");
    shortest.parse().expect("a number")
}

/// With a trunk and without one: how long a task takes to be there, and to be answered. Neither is a promise of ours in
/// milliseconds; the one must not be a multiple of the other.
fn a_trunk_costs_nothing(backend: &str) {
    let lab = lab_on(backend);
    let to = serve(&lab, "peer");
    let mut seen = Vec::new();
    for flags in [&["c5.large"][..], &["c5.large", "--trunking"]] {
        lab.netmode(&[&["instance", "set-profile"], flags].concat()).success();
        let mut starts = Vec::new();
        for n in 0..3 {
            let begun = std::time::Instant::now();
            serve(&lab, "one");
            starts.push(begun.elapsed().as_secs_f64() * 1000.0);
            if n == 2 {
                seen.push((starts.iter().copied().fold(f64::MAX, f64::min), round_trip(&lab, "one", &to)));
            }
            lab.netmode(&["rm", "-f", "one"]).success();
        }
    }
    println!("{backend}: start and round trip in ms, plain {:?}, with a trunk {:?}", seen[0], seen[1]);
    assert!(seen[1].0 < 5.0 * seen[0].0 && seen[1].1 < 5.0 * seen[0].1, "{seen:?}");
}

#[test]
fn row_21_a_trunk_changes_neither_latency_nor_start_macvlan() {
    a_trunk_costs_nothing("macvlan");
}

#[test]
fn row_21_a_trunk_changes_neither_latency_nor_start_veth() {
    a_trunk_costs_nothing("veth");
}

#[test]
fn row_21_a_branch_is_as_near_as_a_plain_interface() {
    let lab = lab_on("macvlan");
    let has = lab.run(&["sh", "-c", "ip link add link uplink0 name x type vlan id 5 && ip link del x"]);
    need!(kernel: has.status == 0, "802.1Q links");
    serve(&lab, "plain");
    let flags = ["--cidr", "10.7.0.0/24", "--backend", "vlan", "--vlan", "100-100", "--gateway", "10.7.0.1"];
    lab.netmode(&[&["subnet", "create", "branches"], &flags[..]].concat()).success();
    // The router of the VLAN.
    lab.sh("nsenter --net=/run/netns/lan sh -c 'br=$(ip -br link show type bridge | cut -d\" \" -f1); \
            ip link add link $br name v100 type vlan id 100; ip addr add 10.7.0.1/24 dev v100; ip link set v100 up'");
    let on = ["--mode", "awsvpc", "--subnet", "branches", "--security-group", "open"];
    lab.serve("branch", &on, &["tcp/80"]);
    let (plain, branch) = (round_trip(&lab, "plain", "192.0.2.254"), round_trip(&lab, "branch", "10.7.0.1"));
    println!("round trip in ms: plain {plain}, branch {branch}");
    assert!(branch < 5.0 * plain, "{plain} {branch}");
}

#[test]
fn row_1_10_an_ipvlan_stands_in_as_well() {
    let lab = Lab::start();
    let has = lab.run(&["sh", "-c", "ip link add link uplink0 name x type ipvlan && ip link del x"]);
    need!(kernel: has.status == 0, "ipvlan links");
    let flags = ["--cidr", "10.0.2.0/24", "--backend", "ipvlan"];
    lab.netmode(&[&["subnet", "create", "tasks"], &flags[..]].concat()).success();
    lab.netmode(&["sg", "create", "open"]).success();
    lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0"]).success();
    let (one, two) = (serve(&lab, "one"), serve(&lab, "two"));
    assert_eq!(lab.inside("one").seen_as(tcp(format!("{two}:80"))).as_deref(), Ok(one.as_str()));
}
