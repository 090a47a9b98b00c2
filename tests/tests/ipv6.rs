//! What holds for IPv4 holds for IPv6: the twins of tests elsewhere that use IPv4 alone.

use netmode_model::error::Code;
use netmode_tests::lab::address::*;
use netmode_tests::wire::Tally;
use netmode_tests::{Failure, Lab, all_at_once, eventually, tcp, udp};
use serde_json::Value;
use std::time::Duration;

/// Nothing answers, and nothing tells that something is there.
#[track_caller]
fn assert_closed(lab: &Lab, from: &str, targets: &[netmode_tests::Target]) {
    let at = |target| match from.strip_prefix("in:") {
        Some(task) => lab.inside(task).who(target),
        None => lab.at(from).who(target),
    };
    for (target, answer) in targets.iter().zip(all_at_once(targets, |t| at(*t))) {
        assert!(matches!(answer, Err(Failure::Timeout | Failure::Unreachable)), "{from} → {target:?}: {answer:?}");
    }
}

/// First IPv6 address of a task on a network.
fn address_on(lab: &Lab, task: &str, network: &str) -> String {
    lab.address_on(task, network, "ipv6Addresses")
}

fn create(lab: &Lab, words: &[&str]) {
    lab.netmode(&[&["network", "create", "--ipv6"], words].concat()).success();
}

/// From an attacker's namespace: ::1 is no longer its own, and leads to `via`.
fn route_loopback_to(at: &netmode_tests::vantage::At<'_>, via: &str) {
    at.sh(&format!("ip -6 addr flush dev lo; ip -6 route add ::1 via {via} dev eth0"));
}

#[test]
fn s3_a_port_published_on_loopback_is_for_the_host_alone() {
    let lab = Lab::dual_stack();
    lab.serve("db", &["-p", "[::1]:5432:5432", "-p", "[::1]:53:53/udp"], &["tcp/5432", "udp/53"]);
    lab.serve("other", &[], &["tcp/80"]);
    assert!(lab.at("host").who(tcp("[::1]:5432")).is_ok(), "the host itself is served");
    assert!(lab.at("host").who(udp("[::1]:53")).is_ok());
    assert_eq!(lab.inspect("db")["containers"][0]["networkBindings"][0]["bindIP"], "::1");
    for (place, address) in
        [("client", HOST6), ("client", HOST6_TOO), ("host", HOST6), ("in:other", HOST6), ("in:other", GATEWAY6)]
    {
        let target = tcp(format!("[{address}]:5432"));
        let answer = if let Some(task) = place.strip_prefix("in:") {
            lab.inside(task).who(target)
        } else {
            lab.at(place).who(target)
        };
        assert!(answer.is_err(), "{place} → {address}: {answer:?}");
    }
    route_loopback_to(&lab.at("client"), HOST6);
    assert_closed(&lab, "client", &[tcp("[::1]:5432"), udp("[::1]:53")]);
}

#[test]
fn s2_services_on_the_hosts_loopback_stay_there() {
    let lab = Lab::dual_stack();
    lab.at("host").serve("secret", &["tcp/[::1]:51679", "udp/[::1]:51679"]);
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    assert!(lab.at("host").who(tcp("[::1]:8080")).is_ok());
    assert!(lab.at("host").who(tcp("[::1]:51679")).is_ok());
    let targets = [tcp("[::1]:51679"), udp("[::1]:51679")];
    route_loopback_to(&lab.at("client"), HOST6);
    assert_closed(&lab, "client", &targets);
    route_loopback_to(&lab.inside("web"), GATEWAY6);
    assert_closed(&lab, "in:web", &targets);
}

#[test]
fn routed_traffic_is_never_caught() {
    // A router already: the agent shuts nobody out.
    let router = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
    let lab = Lab::with().ipv6().first(router).start();
    lab.at("far").serve("far", &["tcp/8080", "udp/53", "tcp/9001"]);
    let ports = ["-p", "53:53/udp", "-p", "8080:80", "-p", "9000-9009:9000-9009"];
    lab.serve("dns", &ports, &["udp/53", "tcp/80", "tcp/9001"]);
    let through = [tcp(format!("[{FAR6}]:8080")), udp(format!("[{FAR6}]:53")), tcp(format!("[{FAR6}]:9001"))];
    for (from, answers) in [
        ("client", all_at_once(&through, |t| lab.at("client").who(*t))),
        ("host", all_at_once(&through, |t| lab.at("host").who(*t))),
        ("container", all_at_once(&through, |t| lab.inside("dns").who(*t))),
    ] {
        for (target, answer) in through.iter().zip(answers) {
            assert_eq!(answer.map(|seen| seen.tag).as_deref(), Ok("far"), "{from} → {target:?}");
        }
    }
    assert_eq!(lab.at("client").who(tcp(format!("[{HOST6}]:8080"))).map(|s| s.tag).as_deref(), Ok("dns"));
}

#[test]
fn ranges_reach_the_right_container_port() {
    let lab = Lab::dual_stack();
    let cases = [("7000-7009", "7000-7009"), ("7100-7109", "7300-7309"), ("60000-60009", "1000-1009")];
    let flags: Vec<String> = cases
        .iter()
        .flat_map(|(host, container)| ["tcp", "udp"].map(|p| format!("--publish={host}:{container}/{p}")))
        .collect();
    let served: Vec<String> =
        cases.iter().flat_map(|(_, container)| ["tcp", "udp"].map(|p| format!("{p}/{container}"))).collect();
    let [flags, served] = [&flags, &served].map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
    lab.serve("ranges", &flags, &served);
    let asked: Vec<(u16, u16)> = [(7000, 7000), (7100, 7300), (60000, 1000)]
        .iter()
        .flat_map(|(host, container)| [0, 4, 9].map(|n| (host + n, container + n)))
        .collect();
    for (place, host) in [("client", HOST6), ("host", "::1"), ("host", HOST6)] {
        let answers = all_at_once(&asked, |(port, _)| {
            let to = format!("[{host}]:{port}");
            (lab.at(place).who(tcp(&to)).map(|s| s.port), lab.at(place).who(udp(&to)).map(|s| s.port))
        });
        for ((port, container), answer) in asked.iter().zip(answers) {
            assert_eq!(answer, (Ok(*container), Ok(*container)), "{place} → [{host}]:{port}");
        }
    }
    for port in [6999, 7010, 60010] {
        let answer = lab.at("client").who(tcp(format!("[{HOST6}]:{port}")));
        assert_eq!(answer, Err(Failure::Refused), "port {port} is beyond a range");
    }
}

#[test]
fn a_udp_flow_survives_a_new_container() {
    let lab = Lab::dual_stack();
    let ask = || lab.at("client").who_from(udp(format!("[{HOST6}]:53")), Some("[::]:4000"));
    assert!(ask().is_err(), "begun while nobody served: tracked without translation");
    lab.serve("one", &["-p", "53:53/udp"], &["udp/53"]);
    assert_eq!(ask().map(|s| (s.tag, s.peer.to_string())), Ok(("one".into(), CLIENT6.into())), "the flow from before");
    lab.netmode(&["rm", "-f", "one"]).success();
    lab.serve("two", &["-p", "53:5353/udp"], &["udp/5353"]);
    assert_eq!(ask().map(|s| (s.tag, s.port)), Ok(("two".into(), 5353)), "and the next one");
    lab.netmode(&["rm", "-f", "two"]).success();
    eventually("no translation stays behind", 1.0, || {
        !lab.sh("conntrack -L -f ipv6 -p udp --orig-port-dst 53 2>/dev/null").contains("fd00:17:")
    });
}

#[test]
fn a_restart_loses_no_packet() {
    let lab = Lab::dual_stack();
    lab.serve("web", &["-p", "8080:80", "-p", "8080:80/udp"], &["tcp/80", "udp/80"]);
    let open = lab.at("client").open(tcp(format!("[{HOST6}]:8080")));
    let address = lab.address6("web");
    let tallies: [Tally; 2] = std::thread::scope(|scope| {
        let stream = scope.spawn(|| lab.at("client").hammer(tcp(format!("[{HOST6}]:8080")), 2000));
        let datagrams = scope.spawn(|| lab.at("client").hammer(udp(format!("[{HOST6}]:8080")), 2000));
        std::thread::sleep(Duration::from_millis(200));
        lab.restart_agent("KILL");
        [stream, datagrams].map(|thread| thread.join().expect("a tally"))
    });
    for tally in tallies {
        assert!(tally.failed == 0 && tally.answered > 50, "{tally:?}");
    }
    assert_eq!(open.say("still the same connection"), Ok(()));
    assert_eq!(lab.address6("web"), address);
    assert_eq!(lab.at("host").bind(tcp("[::]:8080"), true), Err(Failure::Taken), "held again");
    lab.serve("next", &["-p", "8081:80"], &["tcp/80"]);
    assert_ne!(lab.address6("next"), address, "the adopted address is not given twice");
}

#[test]
fn a_reboot_gives_networks_addresses_and_ports_again() {
    let lab = Lab::start();
    create(&lab, &["--subnet", "fd09::/64", "app"]);
    let flags = ["--network", "app", "--ip6", "fd09::77", "--restart", "always", "-p", "8080:80"];
    lab.serve("web", &flags, &["tcp/80"]);
    lab.serve("once", &["--network", "app", "-p", "8081:80"], &["tcp/80"]);
    let shown = |lab: &Lab| lab.json(&["network", "inspect", "app"])[0]["IPAM"].clone();
    let before = shown(&lab);
    lab.reboot();
    assert_eq!(shown(&lab), before, "the network is the same");
    eventually("what is kept up serves again", 10.0, || {
        lab.at("client").seen_as(tcp(format!("[{HOST6}]:8080"))).as_deref() == Ok(CLIENT6)
    });
    assert_eq!(address_on(&lab, "web", "app"), "fd09::77");
    assert_eq!(lab.inspect("once")["state"], "STOPPED");
    assert_eq!(lab.at("client").who(tcp(format!("[{HOST6}]:8081"))), Err(Failure::Refused));
    lab.serve("new", &["--network", "app", "-p", "8081:80"], &["tcp/80"]);
    assert_eq!(address_on(&lab, "new", "app"), "fd09::2", "the address of what has ended is free");
}

#[test]
fn an_address_is_pinned_or_refused() {
    let lab = Lab::dual_stack();
    lab.serve("web", &["--ip6", "fd00:17::77"], &["tcp/80"]);
    assert_eq!(lab.address6("web"), "fd00:17::77");
    assert!(lab.at("host").who(tcp("[fd00:17::77]:80")).is_ok());
    let pin = |ip: &str| lab.netmode(&["run", "-d", "--ip6", ip, "--rootfs", "/", "-o", "json", "sleep", "9"]);
    for (ip, code, words) in [
        ("fd00:17::77", Code::AddressTaken, &["fd00:17::77", "web"][..]),
        ("fd00:18::2", Code::AddressOutside, &["fd00:18::2", "fd00:17::/64"]),
        ("fd00:17::1", Code::AddressTaken, &["fd00:17::1"]),
        ("fd00:17::", Code::AddressTaken, &["fd00:17::"]),
    ] {
        pin(ip).refused_with(125, code);
        lab.netmode(&["run", "-d", "--ip6", ip, "--rootfs", "/", "sleep", "9"]).refused(125, words);
    }
    for ip in ["ff02::1", "172.17.0.9", "fd00::17::2"] {
        assert_eq!(pin(ip).status, 125, "{ip}");
    }
    lab.netmode(&["rm", "-f", "web"]).success();
    eventually("it is free again", 3.0, || pin("fd00:17::77").status == 0);
}

#[test]
fn a_running_task_joins_and_leaves() {
    let lab = Lab::start();
    create(&lab, &["--subnet", "fd09::/64", "app"]);
    create(&lab, &["--internal", "--subnet", "fd08::/64", "data"]);
    create(&lab, &["--subnet", "fd07::/64", "late"]);
    lab.serve("web", &["--network", "data", "--network", "app"], &["tcp/80"]);
    let way_out = || lab.netmode(&["exec", "web", "ip", "-6", "route", "show", "default"]).success().stdout;
    assert!(way_out().contains("via fd09::1 dev eth1"), "the first network that leads out: {}", way_out());
    let joined = ["network", "connect", "--ip6", "fd07::77", "--mac-address", "02:00:00:00:00:77", "late", "web"];
    lab.netmode(&joined).success();
    assert_eq!(address_on(&lab, "web", "late"), "fd07::77");
    let link = lab.netmode(&["exec", "web", "ip", "link", "show", "eth2"]).success().stdout;
    assert!(link.contains("02:00:00:00:00:77"), "{link}");
    assert!(lab.at("host").who(tcp("[fd07::77]:80")).is_ok());
    lab.at("far").serve("far", &["tcp/9000"]);
    let outside = || lab.inside("web").seen_as(tcp(format!("[{FAR6}]:9000")));
    assert_eq!(outside().as_deref(), Ok(HOST6), "masqueraded");
    lab.netmode(&["network", "disconnect", "app", "web"]).success();
    assert!(way_out().contains("via fd07::1 dev eth2"), "the way out goes to the next: {}", way_out());
    assert_eq!(outside().as_deref(), Ok(HOST6));
    for (ip, words) in [("fd09::1", &["fd09::1"][..]), ("fd0a::2", &["fd0a::2", "fd09::/64"])] {
        lab.netmode(&["network", "connect", "--ip6", ip, "app", "web"]).refused(1, words);
    }
    lab.netmode(&["network", "disconnect", "late", "web"]).success();
    assert_eq!(way_out(), "", "an internal network leads nowhere");
    assert!(outside().is_err());
}

#[test]
fn an_internal_network_leads_nowhere() {
    let lab = Lab::start();
    create(&lab, &["--internal", "--subnet", "fd07::/64", "shut"]);
    create(&lab, &["open"]);
    lab.serve("inside", &["--network", "shut"], &["tcp/80"]);
    lab.serve("mate", &["--network", "shut"], &["tcp/80"]);
    lab.serve("web", &["--network", "open", "-p", "8080:80"], &["tcp/80"]);
    assert!(lab.inside("mate").who(tcp("[fd07::2]:80")).is_ok());
    // Even with a route: nothing passes, by whatever way.
    let pin = lab.inspect("inside")["netns"].as_str().unwrap_or_default().replace("/run/netns/", "");
    lab.sh(&format!("ip -n {pin} -6 route add default via fd07::1"));
    lab.at("far").serve("far", &["tcp/9000"]);
    let web = address_on(&lab, "web", "open");
    for target in [format!("[{FAR6}]:9000"), format!("[{web}]:80"), format!("[{HOST6}]:8080")] {
        let answer = lab.inside("inside").who(tcp(&target));
        assert!(answer.is_err(), "{target}: {answer:?}");
    }
    lab.at("client").sh("ip -6 route replace fd07::/64 via 2001:db8:1::1");
    assert_closed(&lab, "client", &[tcp("[fd07::2]:80")]);
}

#[test]
fn networks_are_inspected_with_both_families() {
    let lab = Lab::start();
    create(&lab, &["--subnet", "fd09::/64", "--subnet", "10.9.0.0/24", "app"]);
    lab.serve("web", &["--network", "app"], &["tcp/80"]);
    let shown = lab.json(&["network", "inspect", "app"])[0].take();
    let prefixes: Vec<&Value> =
        shown["IPAM"]["Config"].as_array().into_iter().flatten().map(|config| &config["Subnet"]).collect();
    assert_eq!(prefixes, ["10.9.0.0/24", "fd09::/64"]);
    let containers = shown["Containers"].as_object().expect("containers");
    let web = containers.values().next().expect("one");
    assert_eq!((&web["IPv4Address"], &web["IPv6Address"]), (&"10.9.0.2/24".into(), &"fd09::2/64".into()), "{web}");
}
