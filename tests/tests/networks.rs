//! User-defined networks: made, used, joined, left, removed.

use netmode_model::Code;
use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Failure, Lab, all_at_once, eventually, tcp, udp};
use serde_json::Value;

/// `network create`, which must succeed.
fn create(lab: &Lab, words: &[&str]) {
    lab.netmode(&[&["network", "create"], words].concat()).success();
}

fn refused(answer: &Result<netmode_tests::Seen, Failure>) -> bool {
    matches!(answer, Err(Failure::Timeout | Failure::Unreachable))
}

#[test]
fn a_network_has_what_was_asked_for() {
    let lab = Lab::start();
    create(&lab, &["plain"]);
    create(
        &lab,
        &[
            "--subnet",
            "10.9.0.0/16",
            "--subnet",
            "fd09::/64",
            "--gateway",
            "10.9.255.254",
            "--ip-range",
            "10.9.4.0/24",
            "-o",
            "mtu=1400",
            "--label",
            "tier=web",
            "given",
        ],
    );
    create(&lab, &["--ipv6", "six"]);
    let shown = |name: &str| lab.json(&["network", "inspect", name])[0].take();
    let plain = shown("plain");
    assert_eq!(plain["IPAM"]["Config"][0]["Subnet"], "172.18.0.0/24", "{plain}");
    let given = shown("given");
    assert_eq!(given["IPAM"]["Config"][0]["Gateway"], "10.9.255.254", "{given}");
    assert_eq!(given["IPAM"]["Config"][0]["IPRange"], "10.9.4.0/24", "{given}");
    assert_eq!((&given["EnableIPv6"], &given["Labels"]["tier"]), (&Value::from(true), &Value::from("web")));
    let six = shown("six")["IPAM"]["Config"][1]["Subnet"].as_str().unwrap_or_default().to_owned();
    assert!(six.starts_with("fd") && six.ends_with("::/64"), "a unique local prefix: {six}");
    let keys = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    assert_eq!(keys(&given), keys(&shown("bridge")), "the shape is docker's, as for the default one");

    lab.serve("web", &["--network", "given", "-p", "8080:80"], &["tcp/80", "udp/80"]);
    assert_eq!(lab.address_on("web", "given", "ipv4Addresses"), "10.9.4.0", "of the range");
    assert_eq!(lab.address_on("web", "given", "ipv6Addresses"), "fd09::2");
    assert_eq!(lab.inspect("web")["networks"][0]["mtu"], 1400);
    assert!(lab.netmode(&["exec", "web", "ip", "link", "show", "eth0"]).success().stdout.contains("mtu 1400"));
    let bridge = given["Options"]["com.docker.network.bridge.name"].as_str().unwrap_or_default().to_owned();
    assert!(lab.sh(&format!("ip -br link show master {bridge}")).contains("nm"));
    assert_eq!(shown("given")["Containers"].as_object().map(|c| c.len()), Some(1));
    let listed = lab.netmode(&["network", "ls"]).success().stdout;
    for word in ["bridge", "plain", "given", "six", "10.9.0.0/16"] {
        assert!(listed.contains(word), "{listed}");
    }
}

#[test]
fn the_paths_of_the_default_bridge_hold_on_a_network_of_ones_own() {
    let lab = Lab::start();
    create(&lab, &["--ipv6", "app"]);
    lab.serve("web", &["--network", "app", "-p", "8080:80", "-p", "8080:80/udp"], &["tcp/80", "udp/80"]);
    lab.serve("mate", &["--network", "app"], &["tcp/80"]);
    for (client, host) in [(CLIENT, HOST.to_owned()), (CLIENT6, format!("[{HOST6}]"))] {
        assert_eq!(lab.at("client").seen_as(tcp(format!("{host}:8080"))).as_deref(), Ok(client));
        assert_eq!(lab.at("client").seen_as(udp(format!("{host}:8080"))).as_deref(), Ok(client));
        assert!(lab.at("host").who(tcp(format!("{host}:8080"))).is_ok());
        assert!(lab.inside("web").who(tcp(format!("{host}:8080"))).is_ok(), "itself, by the published port");
    }
    assert!(lab.at("host").who(tcp("127.0.0.1:8080")).is_ok());
    assert!(lab.at("host").who(tcp("[::1]:8080")).is_ok());
    let (four, six) = (lab.address_on("web", "app", "ipv4Addresses"), lab.address_on("web", "app", "ipv6Addresses"));
    assert!(lab.inside("mate").who(tcp(format!("{four}:80"))).is_ok());
    assert!(lab.inside("mate").who(tcp(format!("[{six}]:80"))).is_ok());
    lab.at("far").serve("far", &["tcp/9000"]);
    assert_eq!(lab.inside("web").seen_as(tcp(format!("{FAR}:9000"))).as_deref(), Ok(HOST), "masqueraded");
    assert_eq!(lab.inside("web").seen_as(tcp(format!("[{FAR6}]:9000"))).as_deref(), Ok(HOST6), "masqueraded");
    for target in [format!("{four}:80"), format!("[{six}]:80")] {
        assert!(refused(&lab.at("client").who(tcp(&target))), "{target} is closed to other machines");
    }
}

#[test]
fn s17_networks_do_not_reach_each_other_unless_a_container_is_on_both() {
    let lab = Lab::start();
    for name in ["one", "two"] {
        create(&lab, &["--ipv6", name]);
    }
    create(&lab, &["--internal", "--ipv6", "shut"]);
    create(&lab, &["-o", "icc=false", "--ipv6", "apart"]);
    for (task, network) in [("a", "one"), ("b", "two"), ("c", "shut"), ("d", "apart"), ("e", "bridge")] {
        for n in 1..=2 {
            lab.serve(&format!("{task}{n}"), &["--network", network], &["tcp/80", "udp/80"]);
        }
    }
    let tasks: Vec<String> =
        ["a", "b", "c", "d", "e"].iter().flat_map(|t| [format!("{t}1"), format!("{t}2")]).collect();
    let network = |task: &str| lab.inspect(task)["networks"][0].clone();
    let all: Vec<(String, Value)> = tasks.iter().map(|t| (t.clone(), network(t))).collect();
    let mut questions = Vec::new();
    for (from, here) in &all {
        for (to, there) in all.iter().filter(|(to, _)| to != from) {
            let wanted = here["name"] == there["name"] && here["name"] != "apart";
            for key in ["ipv4Addresses", "ipv6Addresses"] {
                let Some(address) = there[key][0].as_str().and_then(|a| a.split('/').next()) else { continue };
                let target = if key == "ipv4Addresses" { format!("{address}:80") } else { format!("[{address}]:80") };
                questions.push((from.clone(), to.clone(), target, wanted));
            }
        }
    }
    assert!(questions.len() > 100);
    // A few at a time: silence is measured, and a crowded machine is silent now and then.
    let ask = |(from, _, target, _): &(String, String, String, bool)| lab.inside(from).who(tcp(target));
    let answers = questions.chunks(16).flat_map(|some| all_at_once(some, ask));
    for ((from, to, target, wanted), answer) in questions.iter().zip(answers) {
        assert_eq!(answer.is_ok(), *wanted, "{from} -> {to} {target}: {answer:?}");
    }
    // A container on both is reached from both, and carries nothing over.
    lab.netmode(&["network", "connect", "two", "a1"]).success();
    assert!(lab.inside("b1").who(tcp(format!("{}:80", lab.address_on("a1", "two", "ipv4Addresses")))).is_ok());
    let across = format!("{}:80", lab.address_on("a2", "one", "ipv4Addresses"));
    assert!(lab.inside("b1").who(tcp(&across)).is_err());
}

#[test]
fn an_internal_network_leads_nowhere() {
    let lab = Lab::start();
    create(&lab, &["--internal", "--subnet", "10.7.0.0/24", "shut"]);
    create(&lab, &["open"]);
    lab.serve("inside", &["--network", "shut"], &["tcp/80"]);
    lab.serve("mate", &["--network", "shut"], &["tcp/80"]);
    lab.serve("web", &["--network", "open", "-p", "8080:80"], &["tcp/80"]);
    assert!(lab.inside("mate").who(tcp("10.7.0.2:80")).is_ok());
    assert_eq!(lab.netmode(&["exec", "inside", "ip", "route", "show", "default"]).success().stdout, "");
    // Even with a route: nothing passes, by whatever way.
    let pin = lab.inspect("inside")["netns"].as_str().unwrap_or_default().replace("/run/netns/", "");
    lab.sh(&format!("ip -n {pin} route add default via 10.7.0.1"));
    lab.at("far").serve("far", &["tcp/9000"]);
    assert!(lab.inside("inside").who(tcp(format!("{FAR}:9000"))).is_err());
    let web = lab.address("web");
    assert!(lab.inside("inside").who(tcp(format!("{web}:80"))).is_err());
    assert!(lab.inside("inside").who(tcp(format!("{HOST}:8080"))).is_err(), "not by a published port either");
    let before = Machine::settled(&lab);
    let publish = ["run", "--network", "shut", "-p", "8081:80", "--rootfs", "/", "true"];
    lab.netmode(&publish).refused(125, &["8081", "shut", "internal"]);
    before.assert_unchanged(&lab, "a port on an internal network");
}

#[test]
fn several_networks_in_the_order_in_which_they_were_named() {
    let lab = Lab::start();
    for name in ["front", "back"] {
        create(&lab, &[name]);
    }
    create(&lab, &["--internal", "data"]);
    let flags = ["--network", "data", "--network", "front", "--network", "back"];
    lab.serve("web", &flags, &["tcp/80"]);
    let view = lab.inspect("web");
    let names: Vec<_> = view["networks"].as_array().into_iter().flatten().map(|n| n["name"].clone()).collect();
    assert_eq!(names, ["data", "front", "back"]);
    let interfaces: Vec<_> =
        view["networks"].as_array().into_iter().flatten().map(|n| n["interface"].clone()).collect();
    assert_eq!(interfaces, ["eth0", "eth1", "eth2"]);
    let route = || lab.netmode(&["exec", "web", "ip", "route", "show", "default"]).success().stdout;
    assert!(route().contains("dev eth1"), "the first network that leads out: {}", route());
    assert!(
        view["networks"][1]["gateway"].is_string() && view["networks"][2]["gateway"].is_null(),
        "and it shows: {view}"
    );

    lab.netmode(&["network", "disconnect", "front", "web"]).success();
    assert!(route().contains("dev eth2"), "the way out goes to the next one: {}", route());
    lab.netmode(&["network", "connect", "--ip", "172.18.0.77", "front", "web"]).success();
    assert_eq!(lab.address_on("web", "front", "ipv4Addresses"), "172.18.0.77");
    assert!(lab.netmode(&["exec", "web", "cat", "/etc/hosts"]).success().stdout.contains("172.18.0.77"));
    assert!(lab.at("host").who(tcp("172.18.0.77:80")).is_ok());

    // What was joined is joined again after a stop and a start, and after the agent's death.
    lab.restart_agent("KILL");
    assert_eq!(lab.inspect("web")["networks"].as_array().map(Vec::len), Some(3));
    lab.netmode(&["stop", "-t", "0", "web"]).success();
    eventually("nobody is on it while the task is stopped", 3.0, || {
        lab.netmode(&["network", "rm", "front"]).status == 0
    });
    lab.netmode(&["start", "web"]).refused(1, &["front"]);
    create(&lab, &["--subnet", "172.18.0.0/24", "front"]);
    lab.netmode(&["start", "web"]).success();
    lab.ready("web");
    assert_eq!(lab.address_on("web", "front", "ipv4Addresses"), "172.18.0.77");
    // Out of everything, and in again.
    for name in ["data", "back", "front"] {
        lab.netmode(&["network", "disconnect", name, "web"]).success();
    }
    assert_eq!(lab.netmode(&["exec", "web", "ip", "-br", "link"]).success().stdout.lines().count(), 1, "lo alone");
    lab.netmode(&["network", "connect", "back", "web"]).success();
    assert!(route().contains("dev eth0"), "{}", route());
    lab.netmode(&["rm", "-f", "web"]).success();
    for name in ["data", "back", "front"] {
        eventually("it can be removed", 3.0, || lab.netmode(&["network", "rm", name]).status == 0);
    }
}

#[test]
fn networks_go_without_a_trace() {
    // Forwarding that is on stays on; elsewhere the first network with IPv6 switches it on.
    let on = "sysctl -qw net.ipv4.ip_forward=1; sysctl -qw net.ipv6.conf.all.forwarding=1";
    let lab = Lab::with().first(on).start();
    let before = Machine::settled(&lab);
    create(&lab, &["--ipv6", "one"]);
    create(&lab, &["--internal", "two"]);
    lab.serve("web", &["--network", "one"], &["tcp/80"]);
    let refused = lab.netmode(&["network", "rm", "one"]);
    refused.refused(1, &["one", "web", "in use"]);
    lab.netmode(&["network", "rm", "bridge"]).refused(1, &["bridge", "built in"]);
    assert_eq!(lab.netmode(&["network", "prune", "-f"]).success().stdout, "two\n");
    lab.netmode(&["rm", "-f", "web"]).success();
    eventually("it can be removed", 3.0, || lab.netmode(&["network", "rm", "one"]).status == 0);
    before.assert_unchanged(&lab, "two networks that came and went");
    lab.netmode(&["network", "rm", "one"]).refused(1, &["one", "network ls"]);
}

#[test]
fn networks_outlive_the_agent_and_a_half_made_one_is_made_whole() {
    let lab = Lab::start();
    create(&lab, &["--ipv6", "app"]);
    lab.serve("web", &["--network", "app", "-p", "8080:80"], &["tcp/80"]);
    let look = || {
        lab.sh("nft -s list table inet netmode 2>/dev/null; ip -br link; ip rule; ip route show table 28269; ip -6 route show table 28269")
    };
    let before = look();
    lab.restart_agent("KILL");
    assert_eq!(look(), before);
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
    // Its bridge goes while nobody looks.
    lab.netmode(&["rm", "-f", "web"]).success();
    let bridge = lab.json(&["network", "inspect", "app"])[0]["Options"]["com.docker.network.bridge.name"].clone();
    lab.end_agent("KILL");
    lab.sh(&format!("ip link del {}", bridge.as_str().unwrap_or_default()));
    // And one is there that no record names.
    lab.sh("ip link add nmorphan type bridge; ip link set nmorphan alias netmode/default/network/0123456789ab");
    lab.start_agent();
    lab.serve("again", &["--network", "app", "-p", "8080:80"], &["tcp/80"]);
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
    assert_eq!(lab.sh("ip -br link show nmorphan 2>/dev/null || echo gone").trim(), "gone");
}

#[test]
fn two_hundred_networks_add_no_rule() {
    let lab = Lab::start();
    let rules = || {
        lab.sh("ip rule | wc -l; ip -6 rule | wc -l; nft list table inet netmode 2>/dev/null | grep -cE '(accept|drop|jump|masquerade|dnat)' || :")
    };
    let before = rules();
    for n in 0..200 {
        create(&lab, &[&format!("n{n}")]);
    }
    assert_eq!(rules(), before);
    lab.serve("last", &["--network", "n199", "-p", "8080:80"], &["tcp/80"]);
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
    assert_eq!(lab.netmode(&["network", "prune", "-f"]).success().stdout.lines().count(), 199);
}

#[test]
fn forwarding_is_for_containers_alone_where_the_agent_switched_it_on() {
    // The client's way to `far` leads over the host.
    let far = |lab: &Lab| lab.at("far").serve("far", &["tcp/9000"]);
    let strangers = |lab: &Lab| lab.at("client").who(tcp(format!("{FAR}:9000")));
    let off = "sysctl -qw net.ipv4.ip_forward=0; sysctl -qw net.ipv6.conf.all.forwarding=0";
    let lab = Lab::with().first(off).start();
    far(&lab);
    assert_eq!(lab.sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
    assert!(strangers(&lab).is_err(), "the agent switched it on: strangers do not pass");
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    assert!(lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok());
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9000"))).is_ok());
    // What somebody else makes later, as Docker does when it starts after the agent, is his to open.
    lab.sh("ip link add docker0 type bridge; ip addr add 10.77.0.1/24 dev docker0; ip link set docker0 up; \
            ip netns add guest; ip link add g0 master docker0 up type veth peer name eth0 netns guest; \
            ip -n guest addr add 10.77.0.2/24 dev eth0; ip -n guest link set eth0 up; \
            ip -n guest route add default via 10.77.0.1; \
            iptables -t nat -A POSTROUTING -s 10.77.0.0/24 ! -o docker0 -j MASQUERADE");
    let ask = format!("{{\"who\":{{\"proto\":\"tcp\",\"to\":\"{FAR}:9000\",\"from\":null,\"wait_ms\":3000}}}}");
    let others = |lab: &Lab| lab.run(&["ip", "netns", "exec", "guest", "probe", "once", &ask]).success().stdout;
    assert!(others(&lab).contains("\"seen\""), "{}", others(&lab));
    // A link that is stacked on a wire leads where that leads.
    let closed = || lab.sh("nft list set inet netmode closed4");
    lab.sh("ip link add mv0 link uplink0 type macvlan mode bridge");
    eventually("closed as well", 3.0, || closed().contains("\"mv0\""));
    assert!(!closed().contains("docker0"), "{}", closed());
    lab.restart_agent("KILL");
    assert!(closed().contains("\"mv0\"") && !closed().contains("docker0"), "{}", closed());
    assert!(strangers(&lab).is_err(), "nor after a restart");
    assert!(others(&lab).contains("\"seen\""), "{}", others(&lab));
    assert!(lab.netmode(&["doctor"]).stdout.contains("switched on by netmode"));

    // The same for IPv6 as soon as a network has it; and all of it is put back.
    let strangers6 = || lab.at("client").who(tcp(format!("[{FAR6}]:9000")));
    create(&lab, &["--ipv6", "six"]);
    assert_eq!(lab.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim(), "1");
    assert!(strangers6().is_err(), "IPv6 is closed as well");
    lab.serve("on6", &["--network", "six", "-p", "8086:80"], &["tcp/80"]);
    assert!(lab.at("client").who(tcp(format!("[{HOST6}]:8086"))).is_ok());
    let plan = lab.netmode(&["system", "reset", "--plan"]).success().stdout;
    assert!(plan.contains("# docker0 came after") && plan.contains("sysctl -w net.ipv4.ip_forward=1"), "{plan}");
    lab.sh("ip netns del guest; ip link del docker0; ip link del mv0");
    let reset = lab.netmode(&["system", "reset", "--yes"]).success();
    assert!(!reset.stderr.contains("docker0"), "{reset:#?}");
    let left = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";
    eventually("put back", 3.0, || lab.sh(left) == "0\n0\n");

    let lab = Lab::with().first("sysctl -qw net.ipv4.ip_forward=1").start();
    far(&lab);
    assert!(strangers(&lab).is_ok(), "it was on before: nothing changes for others");
    let lab = Lab::with().first(off).config("[firewall]\nforward = true").start();
    far(&lab);
    assert!(strangers(&lab).is_ok(), "or wanted so");
}

#[test]
fn a_task_that_left_its_first_network_starts_on_the_next_with_what_that_one_has() {
    let lab = Lab::start();
    create(&lab, &["--subnet", "10.9.0.0/24", "app"]);
    create(&lab, &["--subnet", "10.8.0.0/24", "--internal", "data"]);
    lab.serve("web", &["--network", "app", "--ip", "10.9.0.9", "-p", "8080:80"], &["tcp/80"]);
    lab.netmode(&["network", "connect", "--ip", "10.8.0.8", "data", "web"]).success();
    lab.netmode(&["network", "disconnect", "app", "web"]).success();
    let again = || {
        lab.netmode(&["stop", "-t", "0", "web"]).success();
        lab.netmode(&["start", "web"]).success();
    };
    again();
    assert_eq!(lab.address_on("web", "data", "ipv4Addresses"), "10.8.0.8", "the address that was asked for there");
    assert!(lab.at("client").who(tcp(format!("{HOST}:8080"))).is_err(), "an internal network publishes nothing");
    lab.netmode(&["network", "connect", "app", "web"]).success();
    lab.netmode(&["network", "disconnect", "data", "web"]).success();
    again();
    eventually("published again", 3.0, || lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok());

    // Who has left holds nobody up.
    lab.netmode(&["stop", "-t", "0", "web"]).success();
    lab.netmode(&["network", "rm", "app"]).success();
    assert_eq!(lab.netmode(&["network", "prune", "-f"]).success().stdout.trim(), "data");
}

/// The kernel deletes the links of a namespace a moment behind it.
#[test]
fn the_last_address_can_be_had_again_at_once() {
    let lab = Lab::start();
    lab.netmode(&["network", "create", "tiny", "--subnet", "10.9.0.0/30"]).success();
    for round in 0..5 {
        lab.task("one", &["--network", "tiny"], &["sleep", "1000"]);
        let full = lab.netmode(&["-o", "json", "run", "-d", "--network", "tiny", "--rootfs", "/", "sleep", "9"]);
        full.refused_with(125, Code::PoolExhausted);
        lab.netmode(&["rm", "-f", "one"]).success();
        let again = lab.netmode(&["run", "-d", "--name", "two", "--network", "tiny", "--rootfs", "/", "sleep", "1000"]);
        assert_eq!(again.status, 0, "round {round}: {again:?}");
        lab.netmode(&["rm", "-f", "two"]).success();
    }
}
