//! The feature table, awsvpc mode: one test a row, named after it, with each stand-in that this kernel has.

use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, tcp, udp};

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
    assert_eq!(lab.inside("peer").who(udp(format!("{web}:53"))).map(|s| s.tag), Err(Failure::Timeout), "another protocol");
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
    lab.netmode(&["sg", "authorize", "web", "--egress", "--protocol", "tcp", "--port", "80", "--group", "db"]).success();
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
fn row_10_access_is_controlled_by_security_groups_macvlan() {
    groups_are_walls("macvlan");
}

#[test]
fn row_10_access_is_controlled_by_security_groups_veth() {
    groups_are_walls("veth");
}
