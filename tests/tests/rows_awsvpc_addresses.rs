//! The feature table, awsvpc mode: addresses. Rows 23–28.

use netmode_tests::awsvpc::{dual, serve, serve_in};
use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, eventually, tcp};

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
        .refused(1, &["IPv4 cannot be switched off", "--cidr", "ipv6_only"]);
    assert_eq!(lab.json(&["subnet", "ls"]), serde_json::json!([]));
}

#[test]
fn row_27_ipv6_alone_where_the_configuration_allows_it() {
    for backend in ["macvlan", "veth"] {
        let lab = Lab::with().ipv6().config("[vpc]\nipv6_only = true\n").start();
        lab.netmode(&["subnet", "create", "tasks", "--ipv6-cidr", "fd00:2::/64", "--backend", backend]).success();
        let shown = lab.json(&["subnet", "show", "tasks"])[0].take();
        assert_eq!((&shown["cidrBlock"], &shown["availableIpAddressCount"]), (&serde_json::Value::Null, &0.into()));
        lab.netmode(&["sg", "create", "open"]).success();
        lab.netmode(&["sg", "authorize", "open", "--cidr", "::/0"]).success();
        lab.sh(&format!("nsenter --net=/run/netns/lan ip -6 route add fd00:2::/64 via {HOST6}"));
        let flags = ["--mode", "awsvpc", "--subnet", "tasks", "--security-group", "open"];
        lab.serve("one", &flags, &["tcp/80"]);
        lab.serve("two", &flags, &["tcp/80"]);
        let (one, two) = (lab.address6("one"), lab.address6("two"));
        assert!(one.starts_with("fd00:2::") && one != two, "{one} {two}");
        let macs = ["one", "two"].map(|name| lab.json(&["eni", "show", name])[0]["macAddress"].to_string());
        assert_ne!(macs[0], macs[1]);
        let v4 = lab.netmode(&["exec", "one", "ip", "-4", "addr", "show", "eth0"]).success().stdout;
        assert_eq!(v4, "", "no IPv4");
        for from in [lab.inside("one"), lab.inside("two"), lab.at("host"), lab.at("client")] {
            assert_eq!(from.who(tcp(format!("[{two}]:80"))).map(|s| s.tag).as_deref(), Ok("two"), "{backend}");
        }
        lab.at("far").serve("far", &["tcp/80"]);
        assert_eq!(lab.inside("one").who(tcp(format!("[{FAR6}]:80"))).map(|s| s.tag).as_deref(), Ok("far"));
        let asked = ["run", "-d", "--ip", "10.0.2.9", "--rootfs", "/", "--mode", "awsvpc", "--subnet", "tasks", "true"];
        lab.netmode(&asked).refused(125, &["10.0.2.9", "no IPv4 prefix"]);
        lab.restart_agent("KILL");
        lab.serve("three", &flags, &["tcp/80"]);
        let three = lab.address6("three");
        assert_eq!(lab.inside("one").who(tcp(format!("[{three}]:80"))).map(|s| s.tag).as_deref(), Ok("three"));
    }
}

#[test]
fn a_switch_that_takes_one_hardware_address_is_noticed() {
    let lab = Lab::start();
    let flags = ["--cidr", "192.0.2.0/24", "--ip-range", "192.0.2.64/26", "--backend"];
    let create = |backend: &str| lab.netmode(&[&["subnet", "create", "tasks"], &flags[..], &[backend]].concat());
    // The router's port takes frames from the address of uplink0 alone.
    let port = lab.sh("nsenter --net=/run/netns/lan ip -br link | sed -n 's/@.*//p' | head -1").trim().to_owned();
    let mac = lab.sh("cat /sys/class/net/uplink0/address").trim().to_owned();
    let filter = format!(
        "table netdev port {{ chain in {{ type filter hook ingress device \"{port}\" priority 0; \
         ether saddr != {mac} drop; }}; }}"
    );
    lab.write("/run/lab/filter", &filter.replace("; ", ";\n"));
    lab.sh("nsenter --net=/run/netns/lan nft -f /run/lab/filter");
    lab.sh("ping -c1 -W1 192.0.2.254");
    create("macvlan").refused(1, &["192.0.2.254 answers uplink0", "choose ipvlan"]);
    // On Wi-Fi and here auto takes ipvlan, where the kernel has it.
    let auto = create("auto");
    let why = "192.0.2.254 answers uplink0 and no other hardware address";
    if auto.status == 0 {
        let shown = lab.json(&["subnet", "show", "tasks"])[0].take();
        assert_eq!(shown["backend"], "ipvlan:l2");
        assert!(shown["backendReason"].as_str().is_some_and(|reason| reason.contains(why)), "{shown}");
        lab.netmode(&["subnet", "rm", "tasks"]).success();
    } else {
        auto.refused(1, &["192.0.2.0/24", why, "no ipvlan", "another prefix"]);
    }
    lab.sh("nsenter --net=/run/netns/lan nft delete table netdev port; ping -c1 -W1 192.0.2.254");
    create("auto").success();
    assert_eq!(lab.json(&["subnet", "show", "tasks"])[0]["backend"], "macvlan:bridge");
    assert!(!lab.sh("ip netns list; ip link").contains("trial"));
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
