//! The feature table, awsvpc mode: security groups. Rows 10, 11 and 31.

use netmode_tests::awsvpc::{lab_on, serve, serve_in};
use netmode_tests::lab::address::*;
use netmode_tests::{Failure, tcp, udp};

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
fn row_10_access_is_controlled_by_security_groups_macvlan() {
    groups_are_walls("macvlan");
}

#[test]
fn row_10_access_is_controlled_by_security_groups_veth() {
    groups_are_walls("veth");
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
