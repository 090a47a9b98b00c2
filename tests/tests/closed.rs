//! What must never be reachable, whoever asks and whatever a stranger did to the firewall; and what must reach the right
//! port and no other.

use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, Seen, Target, all_at_once, eventually, skip, tcp, udp};

/// Nothing answers, and nothing tells that something is there: silence, or a router's "prohibited". A refusal (RST, port
/// unreachable) would come from the target itself: it was reached.
#[track_caller]
fn assert_closed(what: &str, answer: &Result<Seen, Failure>) {
    assert!(matches!(answer, Err(Failure::Timeout | Failure::Unreachable)), "{what}: {answer:?}");
}

/// Asks for all of them at once from one place; none may answer.
#[track_caller]
fn assert_all_closed(lab: &Lab, from: &str, what: &str, targets: &[Target]) {
    let answers = all_at_once(targets, |target| lab.at(from).who(*target));
    for (target, answer) in targets.iter().zip(&answers) {
        assert_closed(&format!("{from}, {what}, {target:?}"), answer);
    }
}

/// From an attacker's namespace: 127.0.0.1 is no longer its own, and leads to `via`.
fn route_loopback_to(at: &netmode_tests::vantage::At<'_>, via: &str) {
    at.sh(&format!(
        "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
         ip addr flush dev lo
         ip route flush table local 127.0.0.0/8 2>/dev/null || :
         ip route add 127.0.0.0/8 via {via} dev eth0"
    ));
}

#[test]
fn s3_a_container_has_no_door_but_its_published_ports() {
    let lab = Lab::dual_stack();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80", "tcp/81", "udp/80"]);
    let (four, six) = (lab.address("web"), lab.address6("web"));
    let targets = [
        tcp(format!("{four}:80")),
        tcp(format!("{four}:81")),
        tcp(format!("{four}:8080")),
        udp(format!("{four}:80")),
        tcp(format!("[{six}]:80")),
        tcp(format!("[{six}]:81")),
        udp(format!("[{six}]:80")),
    ];
    assert_all_closed(&lab, "client", "a container's address by a route through the host", &targets);
    let ping = lab.at("client").run(&["ping", "-c", "1", "-W", "1", &four]);
    assert_ne!(ping.status, 0, "even an echo request is not let in: {ping:#?}");
    assert!(lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok(), "the published port answers");
}

#[test]
fn s3_a_port_published_on_loopback_is_for_the_host_alone() {
    let lab = Lab::start();
    lab.serve("db", &["-p", "127.0.0.1:5432:5432", "-p", "127.0.0.1:53:53/udp"], &["tcp/5432", "udp/53"]);
    lab.serve("other", &[], &["tcp/80"]);
    route_loopback_to(&lab.at("client"), HOST);

    let local = lab.at("host").seen_as(tcp("127.0.0.1:5432"));
    assert_eq!(local.as_deref(), Ok(GATEWAY), "the host itself is served");
    assert!(lab.at("host").who(udp("127.0.0.1:53")).is_ok());
    assert_eq!(lab.inspect("db")["containers"][0]["networkBindings"][0]["bindIP"], "127.0.0.1");

    let crafted = [tcp("127.0.0.1:5432"), udp("127.0.0.1:53"), tcp("127.0.0.2:5432")];
    assert_all_closed(&lab, "client", "packets for 127.0.0.1 sent to the host's MAC", &crafted);
    for (place, address) in [("client", HOST), ("host", HOST), ("client", HOST_TOO)] {
        let answer = lab.at(place).who(tcp(format!("{address}:5432")));
        assert!(answer.is_err(), "{place} → {address}: {answer:?}");
    }
    for target in [tcp("172.17.0.1:5432"), tcp(format!("{HOST}:5432"))] {
        let answer = lab.inside("other").who(target);
        assert!(answer.is_err(), "a container → {target:?}: {answer:?}");
    }
}

#[test]
fn s2_services_on_the_hosts_loopback_stay_there() {
    let lab = Lab::start();
    lab.at("host").serve("secret", &["tcp/127.0.0.1:51679", "udp/127.0.0.1:51679", "tcp/127.0.0.1:6000"]);
    // route_localnet is needed for 127.0.0.1:8080; it must not open all the rest.
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    assert!(lab.at("host").who(tcp("127.0.0.1:8080")).is_ok());
    assert!(lab.at("host").who(tcp("127.0.0.1:51679")).is_ok());

    route_loopback_to(&lab.at("client"), HOST);
    let targets = [tcp("127.0.0.1:51679"), udp("127.0.0.1:51679"), tcp("127.0.0.1:6000")];
    assert_all_closed(&lab, "client", "the host's loopback", &targets);

    // The same from within a container whose root is an attacker: he has the bridge's route_localnet before him.
    route_loopback_to(&lab.inside("web"), GATEWAY);
    for target in targets {
        assert_closed(&format!("container → {target:?}"), &lab.inside("web").who(target));
    }
    let on = lab.sh("cd /proc/sys/net/ipv4/conf && grep -l 1 */route_localnet | grep -v nm0 || :");
    assert_eq!(on, "", "route_localnet is on elsewhere than on our bridge");
}

#[test]
fn routed_traffic_is_never_caught() {
    // A router already: the agent shuts nobody out.
    let lab = Lab::with().first("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").start();
    lab.at("far").serve("far", &["tcp/8080", "udp/53", "tcp/9001"]);
    lab.serve(
        "dns",
        &["-p", "53:53/udp", "-p", "8080:80", "-p", "9000-9009:9000-9009"],
        &["udp/53", "tcp/80", "tcp/9001"],
    );
    let through = [tcp(format!("{FAR}:8080")), udp(format!("{FAR}:53")), tcp(format!("{FAR}:9001"))];
    for (from, answers) in [
        ("client", all_at_once(&through, |t| lab.at("client").who(*t))),
        ("host", all_at_once(&through, |t| lab.at("host").who(*t))),
        ("container", all_at_once(&through, |t| lab.inside("dns").who(*t))),
    ] {
        for (target, answer) in through.iter().zip(answers) {
            assert_eq!(answer.map(|seen| seen.tag).as_deref(), Ok("far"), "{from} → {target:?}");
        }
    }
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))).map(|s| s.tag).as_deref(), Ok("dns"));
}

#[test]
fn a_mapping_on_one_address_is_not_on_another() {
    let lab = Lab::dual_stack();
    let on =
        [format!("{HOST_TOO}:8080:80"), format!("[{HOST6_TOO}]:8080:80"), format!("{HOST_TOO}:7000-7004:7000-7004")];
    lab.serve("bound", &["-p", &on[0], "-p", &on[1], "-p", &on[2]], &["tcp/80", "tcp/7001"]);
    // The same port on the other address is somebody else's.
    let other = format!("{HOST}:8080:80");
    lab.serve("neighbour", &["-p", &other], &["tcp/80"]);
    let tag = |to: String| lab.at("client").who(tcp(to)).map(|seen| seen.tag);
    assert_eq!(tag(format!("{HOST_TOO}:8080")).as_deref(), Ok("bound"));
    assert_eq!(tag(format!("{HOST_TOO}:7001")).as_deref(), Ok("bound"));
    assert_eq!(tag(format!("[{HOST6_TOO}]:8080")).as_deref(), Ok("bound"));
    assert_eq!(tag(format!("{HOST}:8080")).as_deref(), Ok("neighbour"));
    for to in [format!("[{HOST6}]:8080"), format!("{HOST}:7001")] {
        assert!(tag(to.clone()).is_err(), "{to}");
    }
    assert!(lab.at("host").who(tcp("127.0.0.1:8080")).is_err(), "not asked for on 127.0.0.1");
}

#[test]
fn ranges_reach_the_right_container_port() {
    // (host ports, container ports): equal, shifted up and down, and one that cannot be one element.
    let cases = [
        ("7000-7009", "7000-7009"),
        ("7100-7109", "7300-7309"),
        ("7400-7409", "4400-4409"),
        ("100-109", "7500-7509"),
        ("7600-7609", "20-29"),
        ("60000-60009", "1000-1009"),
        ("10-29", "65516-65535"),
    ];
    let lab = Lab::start();
    let (mut flags, mut served) = (vec![], vec![]);
    for (host, container) in cases {
        flags.extend([
            "-p".to_owned(),
            format!("{host}:{container}"),
            "-p".to_owned(),
            format!("{host}:{container}/udp"),
        ]);
        served.extend([format!("tcp/{container}"), format!("udp/{container}")]);
    }
    let words = |list: &[String]| -> Vec<String> { list.to_vec() };
    let (flags, served) = (words(&flags), words(&served));
    lab.serve(
        "ranges",
        &flags.iter().map(String::as_str).collect::<Vec<_>>(),
        &served.iter().map(String::as_str).collect::<Vec<_>>(),
    );

    let first = |range: &str| range.split('-').next().and_then(|n| n.parse::<u16>().ok()).expect("a range");
    let mut asked = vec![];
    for (host, container) in cases {
        let count = range_length(host);
        for n in [0, 1, count / 2, count - 1] {
            asked.push((first(host) + n, first(container) + n));
        }
    }
    for place in ["client", "host"] {
        let answers = all_at_once(&asked, |(host, _)| {
            let to = if place == "host" { format!("127.0.0.1:{host}") } else { format!("{HOST}:{host}") };
            (lab.at(place).who(tcp(&to)).map(|s| s.port), lab.at(place).who(udp(&to)).map(|s| s.port))
        });
        for ((host, container), answer) in asked.iter().zip(answers) {
            assert_eq!(answer, (Ok(*container), Ok(*container)), "{place} → {host}");
        }
    }
    // One beyond each end is nobody's.
    for (host, _) in cases {
        for port in [first(host) - 1, first(host) + range_length(host)] {
            let answer = lab.at("client").who(tcp(format!("{HOST}:{port}")));
            assert_eq!(answer, Err(Failure::Refused), "port {port} beyond the range {host}");
        }
    }
    let shown = lab.netmode(&["port", "ranges"]).success().stdout;
    assert!(shown.contains("7300-7309/tcp -> 0.0.0.0:7100-7109\n"), "ranges are collapsed: {shown}");
}

fn range_length(range: &str) -> u16 {
    let (first, last) = range.split_once('-').expect("a range");
    last.parse::<u16>().expect("a port") - first.parse::<u16>().expect("a port") + 1
}

/// What a stranger may do to the firewall.
const STRANGERS: [&str; 3] =
    ["nft flush ruleset", "nft delete table inet netmode", "nft flush chain inet netmode publish"];

/// Where a table can outlive its owner (NFT_TABLE_F_PERSIST, Linux 6.9) it has one and a stranger passes by; elsewhere
/// the agent mends what he did.
#[test]
fn an_owned_table_lets_a_stranger_pass_by() {
    let owned = skip::kernel_version() >= (6, 9);
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let table = || lab.run(&["sh", "-c", "nft -s list table inet netmode 2>/dev/null"]).stdout;
    let before = table();
    assert_eq!(before.contains("flags owner"), owned, "{before}");
    for command in STRANGERS {
        let _ = lab.run(&["sh", "-c", command]);
        if owned {
            assert_eq!(table(), before, "after {command}");
        } else {
            eventually(&format!("mended after {command}"), 3.0, || table() == before);
        }
        assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT), "after {command}");
        let direct = lab.at("client").who(tcp(format!("{}:80", lab.address("web"))));
        assert_closed(&format!("after {command}"), &direct);
    }
    // Others' tables are theirs: the flush took them.
    lab.sh("nft add table inet theirs && nft flush ruleset && ! nft list table inet theirs 2>/dev/null");
}

#[test]
fn the_guard_closes_containers_while_no_table_is_there() {
    for rp_filter in [0, 1, 2] {
        let options = Lab::with().ipv6().config("[firewall]\nowner = false").rp_filter(rp_filter);
        let lab = options.start();
        lab.serve("web", &["-p", "8080:80"], &["tcp/80", "udp/80"]);
        lab.at("client").serve("outside", &["tcp/80"]);
        let what = format!("rp_filter {rp_filter}");
        assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT), "{what}");
        assert!(lab.inside("web").who(tcp(format!("{CLIENT}:80"))).is_ok(), "{what}: outbound");
        assert_eq!(lab.at("host").seen_as(tcp("127.0.0.1:8080")).as_deref(), Ok(GATEWAY), "{what}");
        let (four, six) = (lab.address("web"), lab.address6("web"));
        let direct = [
            tcp(format!("{four}:80")),
            udp(format!("{four}:80")),
            tcp(format!("[{six}]:80")),
            udp(format!("[{six}]:80")),
        ];
        // The agent is stopped for the while, so that it cannot mend what is being looked at.
        lab.signal_agent("STOP");
        lab.sh("nft flush ruleset");
        assert_all_closed(&lab, "client", &format!("{what}, no table"), &direct);
        assert!(lab.at("host").who(tcp(format!("{four}:80"))).is_ok(), "{what}: the host itself still gets in");
        lab.signal_agent("CONT");
    }
}

#[test]
fn a_flushed_table_that_is_not_owned_comes_back_with_the_agent() {
    let lab = Lab::with().config("[firewall]\nowner = false").start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let before = lab.sh("nft -s list table inet netmode 2>/dev/null");
    lab.sh("nft flush ruleset");
    lab.restart_agent("TERM");
    assert_eq!(lab.sh("nft -s list table inet netmode 2>/dev/null"), before);
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
}

#[test]
fn a_published_port_is_held_against_every_stranger() {
    let lab = Lab::dual_stack();
    lab.serve("web", &["-p", "8080:80", "-p", "8053:53/udp", "-p", "7000-7009:7000-7009"], &["tcp/80", "udp/53"]);
    let bound = format!("{HOST_TOO}:9090:80");
    lab.serve("bound", &["-p", &bound, "-p", "127.0.0.1:9091:80"], &["tcp/80"]);
    let held = [
        tcp("0.0.0.0:8080"),
        tcp("[::]:8080"),
        tcp("127.0.0.1:8080"),
        tcp("[::1]:8080"),
        tcp(format!("{HOST}:8080")),
        tcp(format!("[{HOST6}]:8080")),
        tcp("0.0.0.0:7005"),
        udp("0.0.0.0:8053"),
        udp("[::]:8053"),
        udp("127.0.0.1:8053"),
        udp(format!("{HOST}:8053")),
        udp(format!("[{HOST6}]:8053")),
        tcp(format!("{HOST_TOO}:9090")),
        tcp("0.0.0.0:9090"),
        tcp("127.0.0.1:9091"),
        tcp("0.0.0.0:9091"),
    ];
    for target in held {
        for tricks in [false, true] {
            let answer = lab.at("host").bind(target, tricks);
            assert_eq!(answer, Err(Failure::Taken), "a stranger binds {target:?}, tricks: {tricks}");
        }
    }
    // What was not asked for is free: the other protocol, the other address.
    for target in [udp("0.0.0.0:8080"), tcp("0.0.0.0:8053"), tcp(format!("{HOST}:9090")), tcp(format!("{HOST}:9091"))] {
        assert_eq!(lab.at("host").bind(target, false), Ok(()), "{target:?}");
    }
    // And nobody's flow goes to a stranger: the port answers by the container alone.
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))).map(|s| s.tag).as_deref(), Ok("web"));
}

#[test]
fn a_port_is_free_again_when_its_task_ends() {
    let lab = Lab::start();
    for round in 0..3 {
        lab.serve("web", &["-p", "8080:80", "-p", "8080:80/udp"], &["tcp/80", "udp/80"]);
        let answer = lab.at("client").who(tcp(format!("{HOST}:8080")));
        assert!(answer.is_ok(), "round {round}: {answer:?}");
        lab.netmode(&["rm", "-f", "web"]).success();
        assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8080"), false), Ok(()), "round {round}: free at once");
        assert_eq!(lab.at("host").bind(udp("0.0.0.0:8080"), false), Ok(()), "round {round}: free at once");
        assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))), Err(Failure::Refused), "round {round}");
    }
}

#[test]
fn leftovers_in_time_wait_do_not_hinder() {
    let lab = Lab::start();
    // A server of the host closes first: its port has TIME_WAIT connections for a minute, and no listener.
    let script = "
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('0.0.0.0', 8080)); s.listen()
for _ in range(3):
    c, _ = socket.create_connection(('127.0.0.1', 8080)), None
    a, _ = s.accept(); a.close(); c.recv(1); c.close()
";
    lab.run(&["python3", "-c", script]).success();
    assert!(lab.sh("ss -Htan state time-wait sport = :8080").contains("8080"), "there are leftovers");
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
}

#[test]
fn a_udp_flow_survives_a_new_container() {
    let lab = Lab::start();
    let from = Some("0.0.0.0:4000");
    let ask = || lab.at("client").who_from(udp(format!("{HOST}:53")), from);
    // Begun while nobody served: tracked without translation.
    assert!(ask().is_err());
    lab.serve("one", &["-p", "53:53/udp"], &["udp/53"]);
    assert_eq!(ask().map(|s| s.tag).as_deref(), Ok("one"), "the flow from before reaches the new container");
    // Serves on another container port: a stale translation would lead nowhere.
    lab.netmode(&["rm", "-f", "one"]).success();
    lab.serve("two", &["-p", "53:5353/udp"], &["udp/5353"]);
    assert_eq!(ask().map(|s| (s.tag, s.port)), Ok(("two".into(), 5353)), "and the next one");
    lab.netmode(&["rm", "-f", "two"]).success();
    eventually("no translation stays behind", 1.0, || {
        !lab.sh("conntrack -L -p udp --orig-port-dst 53 2>/dev/null").contains("172.17.")
    });
}

#[test]
fn a_udp_flow_begun_without_the_table_lives_after_repair() {
    let lab = Lab::with().config("[firewall]\nowner = false").start();
    lab.serve("dns", &["-p", "53:53/udp"], &["udp/53"]);
    let ask = || lab.at("client").who_from(udp(format!("{HOST}:53")), Some("0.0.0.0:4000"));
    assert!(ask().is_ok());
    lab.signal_agent("STOP");
    lab.sh("nft flush ruleset; conntrack -F 2>/dev/null");
    assert!(ask().is_err(), "begun without the table");
    lab.signal_agent("CONT");
    lab.restart_agent("TERM");
    eventually("the same flow is served again", 3.0, || ask().is_ok());
}
