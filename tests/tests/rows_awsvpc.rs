//! The feature table, awsvpc mode: one test a row, named after it, with each stand-in that this kernel has.

use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, eventually, need, tcp, udp};

/// A lab with a subnet on a LAN's own prefix (macvlan), or on one of its own that the host routes to (veth).
fn lab_on(backend: &str) -> Lab {
    let lab = Lab::start();
    match backend {
        "macvlan" => {
            let flags = ["--cidr", "192.0.2.0/24", "--ip-range", "192.0.2.64/26", "--backend", "macvlan"];
            lab.netmode(&[&["subnet", "create", "tasks"], &flags[..]].concat()).success();
        }
        _ => {
            lab.netmode(&["subnet", "create", "tasks", "--cidr", "10.0.2.0/24", "--backend", backend]).success();
        }
    }
    lab.netmode(&["sg", "create", "open"]).success();
    lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0,::/0"]).success();
    lab
}

/// Serves tcp/80 and udp/53 on an ENI with a security group that lets everything in.
fn serve(lab: &Lab, name: &str) -> String {
    serve_in(lab, name, &["open"])
}

/// The same with these groups.
fn serve_in(lab: &Lab, name: &str, groups: &[&str]) -> String {
    let mut flags = vec!["--mode", "awsvpc", "--subnet", "tasks"];
    groups.iter().for_each(|group| flags.extend(["--security-group", group]));
    lab.serve(name, &flags, &["tcp/80", "udp/53"]);
    lab.address(name)
}

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

fn groups_are_walls(backend: &str) {
    let lab = lab_on(backend);
    for group in ["web", "db"] {
        lab.netmode(&["sg", "create", group]).success();
    }
    let (client, web, db) = (serve(&lab, "peer"), serve_in(&lab, "web", &["web"]), serve_in(&lab, "db", &["db"]));
    let ask = |from: &str, to: &str| lab.inside(from).who(tcp(format!("{to}:80"))).map(|s| s.tag);
    // A new group: nothing in, everything out.
    for from in ["peer", "db"] {
        assert_eq!(ask(from, &web), Err(Failure::Timeout), "{from}");
    }
    assert_eq!(lab.at("client").who(tcp(format!("{web}:80"))).map(|s| s.tag), Err(Failure::Timeout));
    assert_eq!(lab.at("host").who(tcp(format!("{web}:80"))).map(|s| s.tag), Err(Failure::Timeout));
    assert_eq!(ask("web", &client).as_deref(), Ok("peer"), "out, and the answer back");
    assert_eq!(ask("web", &web).as_deref(), Ok("web"), "itself");
    // By address, by protocol and port.
    lab.netmode(&["sg", "authorize", "web", "--protocol", "tcp", "--port", "80", "--cidr", &format!("{client}/32")])
        .success();
    assert_eq!(ask("peer", &web).as_deref(), Ok("web"));
    assert_eq!(
        lab.inside("peer").who(udp(format!("{web}:53"))).map(|s| s.tag),
        Err(Failure::Timeout),
        "another protocol"
    );
    assert_eq!(ask("db", &web), Err(Failure::Timeout), "another address");
    // By group: those that carry it, as they come and go.
    lab.netmode(&["sg", "authorize", "db", "--protocol", "tcp", "--port", "80", "--group", "web"]).success();
    assert_eq!(ask("web", &db).as_deref(), Ok("db"));
    assert_eq!(ask("peer", &db), Err(Failure::Timeout));
    serve_in(&lab, "web2", &["web"]);
    assert_eq!(ask("web2", &db).as_deref(), Ok("db"), "one that came later");
    // Several groups are one after the other.
    let both = serve_in(&lab, "both", &["db", "web"]);
    assert_eq!(ask("peer", &both).as_deref(), Ok("both"), "by the group web");
    assert_eq!(ask("web", &both).as_deref(), Ok("both"), "by the group db");
    // Out.
    lab.netmode(&["sg", "revoke", "web", "--egress", "--cidr", "0.0.0.0/0"]).success();
    assert_eq!(ask("web", &client), Err(Failure::Timeout), "without a rule nothing leaves");
    assert_eq!(ask("peer", &web).as_deref(), Ok("web"), "but answers do");
    lab.netmode(&["sg", "authorize", "web", "--egress", "--protocol", "tcp", "--port", "80", "--group", "db"])
        .success();
    assert_eq!(ask("web", &db).as_deref(), Ok("db"));
    // After a restart of the agent everything stands.
    lab.restart_agent("KILL");
    assert_eq!(ask("web", &db).as_deref(), Ok("db"));
    assert_eq!(ask("peer", &db), Err(Failure::Timeout));
    serve_in(&lab, "web3", &["web"]);
    assert_eq!(ask("web3", &db).as_deref(), Ok("db"));
    // What is open, and by which rule.
    let open = lab.json(&["sg", "effective", "db"]);
    let ingress: Vec<_> =
        open["rules"].as_array().into_iter().flatten().filter(|r| r["direction"] == "ingress").collect();
    assert_eq!(ingress.len(), 1, "{open}");
    let addresses = ingress[0]["addresses"].to_string();
    assert!(addresses.contains(&web) && addresses.contains(&both) && !addresses.contains(&client), "{addresses}");
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
    // A second ENI would need a second way out. It is refused, and the walls of the first stand.
    attach("theirs");
    let walls = lab.sh("ip netns exec theirs nft list ruleset");
    let second = ["--interface", "eth1", "--mode", "awsvpc", "--subnet", "tasks", "--security-group", "open"];
    lab.netmode(&[&["attach", "--netns", "/run/netns/theirs"], &second[..]].concat()).refused(1, &["default"]);
    assert_eq!(lab.sh("ip netns exec theirs nft list ruleset"), walls);
}

#[test]
fn row_10_access_is_controlled_by_security_groups_macvlan() {
    groups_are_walls("macvlan");
}

#[test]
fn row_10_access_is_controlled_by_security_groups_veth() {
    groups_are_walls("veth");
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

fn a_neighbour_can_be_refused(backend: &str) {
    let lab = lab_on(backend);
    let (one, two) = (serve(&lab, "one"), serve(&lab, "two"));
    let three = serve_in(&lab, "three", &["default"]);
    assert_eq!(lab.inside("one").who(tcp(format!("{two}:80"))).map(|s| s.tag).as_deref(), Ok("two"));
    assert_eq!(lab.inside("one").who(tcp(format!("{three}:80"))).map(|s| s.tag), Err(Failure::Timeout));
    // The default group lets its own members in.
    let four = serve_in(&lab, "four", &[]);
    assert_eq!(lab.inside("four").who(tcp(format!("{three}:80"))).map(|s| s.tag).as_deref(), Ok("three"));
    assert_eq!(lab.inside("three").who(tcp(format!("{four}:80"))).map(|s| s.tag).as_deref(), Ok("four"));
    assert_eq!(lab.inside("three").who(tcp(format!("{one}:80"))).map(|s| s.tag).as_deref(), Ok("one"));
}

#[test]
fn row_11_a_task_on_the_same_host_can_be_refused_macvlan() {
    a_neighbour_can_be_refused("macvlan");
}

#[test]
fn row_11_a_task_on_the_same_host_can_be_refused_veth() {
    a_neighbour_can_be_refused("veth");
}

fn addresses_run_out(backend: &str) {
    let lab = Lab::start();
    lab.netmode(&["subnet", "create", "tasks", "--cidr", "10.0.2.0/28", "--backend", backend]).success();
    let view = |lab: &Lab| lab.json(&["subnet", "show", "tasks"])[0].take();
    assert_eq!(view(&lab)["availableIpAddressCount"], 11);
    let run = |n: usize| {
        let (name, flags) =
            (format!("t{n}"), ["--mode", "awsvpc", "--subnet", "tasks", "--rootfs", "/", "sleep", "1000"]);
        lab.netmode(&[&["run", "-d", "--name", &name], &flags[..]].concat())
    };
    for n in 0..11 {
        run(n).success();
    }
    assert_eq!((&view(&lab)["availableIpAddressCount"], &view(&lab)["utilization"]), (&0.into(), &100.into()));
    run(11).refused(125, &["no free addresses in 10.0.2.0/28", "end tasks"]);
    // One that is released rests, unless no other is left.
    let first = lab.address("t0");
    lab.netmode(&["rm", "-f", "t0"]).success();
    eventually("released", 3.0, || view(&lab)["availableIpAddressCount"] == 1);
    run(12).success();
    assert_eq!(lab.address("t12"), first);
    lab.netmode(&["rm", "-f", "t1", "t2"]).success();
    eventually("released", 3.0, || view(&lab)["availableIpAddressCount"] == 2);
}

#[test]
fn row_23_addresses_run_out_with_a_clear_error_macvlan() {
    addresses_run_out("macvlan");
}

#[test]
fn row_23_addresses_run_out_with_a_clear_error_veth() {
    addresses_run_out("veth");
}

#[test]
fn row_23_a_released_address_rests_and_tasks_spread_over_subnets() {
    let lab = Lab::start();
    for (name, cidr) in [("a", "10.1.0.0/28"), ("b", "10.2.0.0/27")] {
        lab.netmode(&["subnet", "create", name, "--cidr", cidr]).success();
    }
    let run = |name: &str| {
        let flags = ["--mode", "awsvpc", "--subnet", "a,b", "--rootfs", "/", "sleep", "1000"];
        lab.netmode(&[&["run", "-d", "--name", name], &flags[..]].concat()).success();
        lab.address(name)
    };
    let first = run("t0");
    assert!(first.starts_with("10.2."), "the one with the most free addresses: {first}");
    lab.netmode(&["rm", "-f", "t0"]).success();
    eventually("gone", 3.0, || lab.json(&["eni", "ls"]).as_array().is_some_and(Vec::is_empty));
    assert_ne!(run("t1"), first, "it rests");
    let all: Vec<String> = (2..40)
        .map_while(|n| {
            let name = format!("t{n}");
            let flags = ["--mode", "awsvpc", "--subnet", "a,b", "--rootfs", "/", "sleep", "1000"];
            let out = lab.netmode(&[&["run", "-d", "--name", &name], &flags[..]].concat());
            (out.status == 0).then(|| lab.address(&name))
        })
        .collect();
    assert_eq!(all.len(), 11 + 27 - 1, "every address of both");
    assert!(all.contains(&first), "the one that rested, when no other was left");
}

#[test]
fn row_24_a_20_has_4091_addresses_and_three_of_them_12273() {
    let lab = Lab::start();
    let mut all = 0;
    for (name, cidr) in [("a", "10.0.0.0/20"), ("b", "10.0.16.0/20"), ("c", "10.0.32.0/20")] {
        lab.netmode(&["subnet", "create", name, "--cidr", cidr]).success();
        let free = lab.json(&["subnet", "show", name])[0]["availableIpAddressCount"].as_u64();
        assert_eq!(free, Some(4091));
        all += free.unwrap_or_default();
    }
    assert_eq!(all, 12_273);
}

fn a_secondary_range(backend: &str) {
    // The host's own subnet is another one than its tasks'.
    let lab = Lab::with().first("ip addr add 172.31.16.10/20 dev uplink0").start();
    lab.netmode(&["subnet", "create", "tasks", "--cidr", "100.64.0.0/19", "--backend", backend]).success();
    assert_eq!(lab.json(&["subnet", "show", "tasks"])[0]["availableIpAddressCount"], 8187);
    lab.netmode(&["sg", "create", "open"]).success();
    lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0"]).success();
    let one = serve(&lab, "one");
    assert!(one.starts_with("100.64."), "{one}");
    lab.at("host").serve("host", &["tcp/8080"]);
    assert_eq!(lab.inside("one").seen_as(tcp("172.31.16.10:8080")).as_deref(), Ok(one.as_str()));
    assert_eq!(
        lab.at("host").who_from(tcp(format!("{one}:80")), Some("172.31.16.10:0")).map(|s| s.tag).as_deref(),
        Ok("one")
    );
    assert_eq!(lab.at("host").who(tcp(format!("{one}:80"))).map(|s| s.tag).as_deref(), Ok("one"));
}

#[test]
fn row_25_tasks_in_a_secondary_range_macvlan() {
    a_secondary_range("macvlan");
}

#[test]
fn row_25_tasks_in_a_secondary_range_veth() {
    a_secondary_range("veth");
}

/// A dual-stack subnet whose way back the LAN knows.
fn dual(backend: &str, flags: &[&str]) -> Lab {
    let lab = Lab::dual_stack();
    let create =
        ["subnet", "create", "tasks", "--cidr", "10.0.2.0/24", "--ipv6-cidr", "fd00:2::/64", "--backend", backend];
    lab.netmode(&[&create[..], flags].concat()).success();
    lab.netmode(&["sg", "create", "open"]).success();
    lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0,::/0"]).success();
    lab.sh(&format!("nsenter --net=/run/netns/lan ip -6 route add fd00:2::/64 via {HOST6}"));
    lab
}

fn dual_stack(backend: &str) {
    let lab = dual(backend, &[]);
    let (one, two) = (serve(&lab, "one"), serve(&lab, "two"));
    let (one6, two6) = (lab.address6("one"), lab.address6("two"));
    assert!(one.starts_with("10.0.2.") && one6.starts_with("fd00:2::"), "{one} {one6}");
    let shown =
        lab.netmode(&["exec", "one", "ip", "-6", "addr", "show", "dev", "eth0", "scope", "global"]).success().stdout;
    assert!(shown.contains(&one6), "{shown}");
    for to in [format!("{two}:80"), format!("[{two6}]:80")] {
        for from in ["one", "two"] {
            assert_eq!(lab.inside(from).who(tcp(&to)).map(|s| s.tag).as_deref(), Ok("two"), "{from} {to}");
        }
        assert_eq!(lab.at("host").who(tcp(&to)).map(|s| s.tag).as_deref(), Ok("two"), "host {to}");
        assert_eq!(lab.at("client").who(tcp(&to)).map(|s| s.tag).as_deref(), Ok("two"), "client {to}");
    }
    // A group that knows one address only.
    lab.netmode(&["sg", "create", "six"]).success();
    lab.netmode(&["sg", "authorize", "six", "--protocol", "tcp", "--port", "80", "--cidr", &format!("{one6}/128")])
        .success();
    serve_in(&lab, "three", &["six"]);
    let three6 = lab.address6("three");
    assert_eq!(lab.inside("one").who(tcp(format!("[{three6}]:80"))).map(|s| s.tag).as_deref(), Ok("three"));
    assert_eq!(lab.inside("two").who(tcp(format!("[{three6}]:80"))).map(|s| s.tag), Err(Failure::Timeout));
}

#[test]
fn row_26_dual_stack_macvlan() {
    dual_stack("macvlan");
}

#[test]
fn row_26_dual_stack_veth() {
    dual_stack("veth");
}

#[test]
fn row_27_ipv4_cannot_be_switched_off() {
    let lab = Lab::start();
    lab.netmode(&["subnet", "create", "six", "--ipv6-cidr", "fd00:2::/64"])
        .refused(1, &["IPv4 cannot be switched off"]);
    assert_eq!(lab.json(&["subnet", "ls"]), serde_json::json!([]));
}

fn egress_only(backend: &str) {
    let lab = dual(backend, &["--egress-only"]);
    serve(&lab, "one");
    let (one6, _) = (lab.address6("one"), serve(&lab, "two"));
    lab.at("far").serve("far", &["tcp/80"]);
    let seen = lab.inside("one").seen_as(tcp(format!("[{FAR6}]:80")));
    assert_eq!(seen.as_deref(), Ok(one6.as_str()), "out, with its own address");
    for place in ["far", "client"] {
        assert_eq!(lab.at(place).who(tcp(format!("[{one6}]:80"))).map(|s| s.tag), Err(Failure::Timeout), "{place}");
    }
    assert_eq!(
        lab.inside("two").who(tcp(format!("[{one6}]:80"))).map(|s| s.tag).as_deref(),
        Ok("one"),
        "within the VPC"
    );
}

#[test]
fn row_28_an_egress_only_gateway_lets_out_and_not_in_macvlan() {
    egress_only("macvlan");
}

#[test]
fn row_28_an_egress_only_gateway_lets_out_and_not_in_veth() {
    egress_only("veth");
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

#[test]
fn row_31_what_is_open_is_shown_per_mode() {
    let lab = lab_on("veth");
    lab.netmode(&["sg", "create", "web"]).success();
    lab.netmode(&["sg", "authorize", "web", "--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0"]).success();
    serve_in(&lab, "own", &["web"]);
    lab.serve("shared", &["-p", "80"], &["tcp/80"]);
    let ingress = |name: &str| -> Vec<String> {
        let open = lab.json(&["sg", "effective", name]);
        let rules = open["rules"].as_array().cloned().unwrap_or_default();
        let traffic = |r: &serde_json::Value| r["traffic"].as_str().unwrap_or_default().to_owned();
        rules.iter().filter(|r| r["direction"] == "ingress").map(traffic).collect()
    };
    assert_eq!(ingress("own"), ["tcp:80"], "port 80");
    let port = lab.host_port("shared", "tcp");
    assert_eq!(ingress("shared"), [format!("tcp:{port}")], "a port of the dynamic range");
}

#[test]
fn groups_know_prefix_lists_icmp_and_cut_what_they_let_pass() {
    for backend in ["macvlan", "veth"] {
        let lab = lab_on(backend);
        lab.netmode(&["sg", "create", "web"]).success();
        let (one, web) = (serve(&lab, "one"), serve_in(&lab, "web", &["web"]));
        let ask = || lab.inside("one").who(tcp(format!("{web}:80"))).map(|s| s.tag);
        lab.netmode(&["prefix-list", "set", "office", "--entry", "203.0.113.0/24"]).success();
        lab.netmode(&["sg", "authorize", "web", "--protocol", "tcp", "--port", "1-100", "--prefix-list", "office"])
            .success();
        assert_eq!(ask(), Err(Failure::Timeout));
        lab.netmode(&["prefix-list", "set", "office", "--entry", &format!("203.0.113.0/24,{CLIENT}/32,{one}/32")])
            .success();
        assert_eq!(ask().as_deref(), Ok("web"), "{backend}");
        lab.netmode(&["prefix-list", "rm", "office"]).refused(1, &["dependent object", "web"]);
        // A connection goes on when its rule goes, unless it is cut.
        let ping = || {
            lab.run(&[
                "sh",
                "-c",
                &format!(
                    "nsenter --net={} ping -c1 -W1 {web}",
                    lab.inspect("one")["netns"].as_str().unwrap_or_default()
                ),
            ])
            .status
                == 0
        };
        assert!(!ping());
        lab.netmode(&["sg", "authorize", "web", "--protocol", "icmp", "--port", "8", "--cidr", &format!("{one}/32")])
            .success();
        assert!(ping(), "echo requests");
        let open = lab.at("client").open(tcp(format!("{web}:80")));
        lab.netmode(&["sg", "revoke", "web", "--protocol", "tcp", "--port", "1-100", "--prefix-list", "office"])
            .success();
        assert_eq!(ask(), Err(Failure::Timeout), "{backend}: nothing new");
        assert_eq!(open.say("still there"), Ok(()), "{backend}: what is open goes on");
        lab.netmode(&["sg", "authorize", "web", "--protocol", "tcp", "--port", "9999", "--cidr", &format!("{one}/32")])
            .success();
        lab.netmode(&[
            "sg",
            "revoke",
            "web",
            "--protocol",
            "tcp",
            "--port",
            "9999",
            "--cidr",
            &format!("{one}/32"),
            "--cut",
        ])
        .success();
        assert!(open.say("and now").is_err(), "{backend}: cut");
        lab.netmode(&["prefix-list", "rm", "office"]).success();
    }
}

#[test]
fn what_goes_round_the_groups_does_not_come_through() {
    let lab = lab_on("macvlan");
    lab.netmode(&["sg", "create", "shut"]).success();
    lab.netmode(&["sg", "revoke", "shut", "--egress", "--cidr", "0.0.0.0/0"]).success();
    let one = serve(&lab, "one");
    serve_in(&lab, "shut", &["shut"]);
    let inside = |command: &str| lab.netmode(&["exec", "shut", "sh", "-c", command]);
    for command in [
        "nft flush ruleset",
        "nft delete table inet netmode_walls",
        "ip link set eth0 netns 1",
        "ip link del eth0",
        "unshare -Urn true",
    ] {
        assert_ne!(inside(command).status, 0, "{command}");
    }
    assert_ne!(inside(&format!("ping -c1 -W1 {one}")).status, 0);
    assert_eq!(lab.inside("shut").who(tcp(format!("{one}:80"))).map(|s| s.tag), Err(Failure::Timeout));
    // On veth the walls are not within reach: capabilities need not be refused.
    let lab = lab_on("veth");
    lab.netmode(&["sg", "create", "shut"]).success();
    lab.netmode(&["sg", "revoke", "shut", "--egress", "--cidr", "0.0.0.0/0"]).success();
    let one = serve(&lab, "one");
    let flags = [
        "--mode",
        "awsvpc",
        "--subnet",
        "tasks",
        "--security-group",
        "shut",
        "--cap-add",
        "NET_ADMIN",
        "--cap-add",
        "NET_RAW",
    ];
    lab.serve("admin", &flags, &["tcp/80"]);
    lab.netmode(&["exec", "admin", "sh", "-c", "nft flush ruleset; ip addr add 10.0.2.99/32 dev eth0; true"]).success();
    assert_eq!(lab.inside("admin").who(tcp(format!("{one}:80"))).map(|s| s.tag), Err(Failure::Timeout));
    let as_another = lab.inside("admin").who_from(tcp(format!("{one}:80")), Some("10.0.2.99:0"));
    assert_eq!(as_another.map(|s| s.tag), Err(Failure::Timeout), "nor under another address");
}

#[test]
fn on_a_lan_addresses_of_others_are_passed_by() {
    let lab = Lab::start();
    let flags =
        ["--cidr", "192.0.2.0/24", "--ip-range", "192.0.2.8/29", "--exclude", "192.0.2.11", "--backend", "macvlan"];
    lab.netmode(&[&["subnet", "create", "tasks"], &flags[..]].concat()).success();
    let run = |name: &str, more: &[&str]| {
        lab.netmode(
            &[
                &["run", "-d", "--name", name, "--mode", "awsvpc", "--subnet", "tasks"],
                more,
                &["--rootfs", "/", "sleep", "100"],
            ]
            .concat(),
        )
    };
    let addresses = ["a", "b", "c"].map(|name| {
        run(name, &[]).success();
        lab.address(name)
    });
    assert_eq!(addresses, ["192.0.2.8", "192.0.2.10", "192.0.2.12"], "the client has .9, .11 was excluded");
    run("d", &["--ip", CLIENT]).refused(125, &[CLIENT, "in use on the LAN", "hardware address"]);
    run("e", &["--net-rate", "in=1mbit"]).refused(125, &["--net-rate in=", "veth"]);
}
