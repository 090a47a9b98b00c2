//! The feature table, bridge mode: one test a row, named after it. Rows 33–44.

use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, all_at_once, tcp, udp};
use serde_json::Value;
use std::collections::BTreeSet;

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn row_33_virtual_bridge_between_host_and_containers() {
    let lab = Lab::start();
    for name in ["one", "two"] {
        lab.serve(name, &[], &["tcp/80"]);
    }
    let bridge: Value = serde_json::from_str(&lab.sh("ip -d -j link show nm0")).expect("JSON");
    assert_eq!(bridge[0]["linkinfo"]["info_kind"], "bridge");
    let ports: Value = serde_json::from_str(&lab.sh("ip -d -j link show master nm0")).expect("JSON");
    let ports = ports.as_array().expect("a list");
    assert_eq!(ports.len(), 2, "a port for each container");
    for port in ports {
        assert_eq!(port["linkinfo"]["info_kind"], "veth", "{port}");
        assert_eq!(port["operstate"], "UP", "{port}");
    }
    let own = ["one", "two"].map(|name| lab.netmode(&["exec", name, "readlink", "/proc/self/ns/net"]).success().stdout);
    assert_ne!(own[0], own[1], "a namespace each");
    assert!(!own.contains(&lab.sh("readlink /proc/self/ns/net")), "and not the host's");
    let inside = lab.netmode(&["exec", "one", "ip", "-br", "link"]).success().stdout;
    let names: Vec<_> = inside.lines().filter_map(|l| l.split(['@', ' ']).next()).collect();
    assert_eq!(names, ["lo", "eth0"]);
    let pins = lab.sh("ip netns list");
    let netns = lab.inspect("one")["netns"].as_str().map(|p| p.trim_start_matches("/run/netns/").to_owned());
    assert!(netns.is_some_and(|n| n.starts_with("nm-") && pins.contains(&n)), "`ip netns` knows them: {pins}");

    // A bridge's own address is fixed: with the lowest one of its ports, neighbours' caches would go stale.
    let mac = |lab: &Lab| lab.sh("cat /proc/sys/net/ipv4/conf/nm0/forwarding; ip -br link show nm0 | awk '{print $3}'");
    let before = mac(&lab);
    lab.netmode(&["rm", "-f", "one", "two"]).success();
    lab.serve("three", &[], &["tcp/80"]);
    assert_eq!(mac(&lab), before);
}

#[test]
fn row_34_address_from_172_17_lowest_free_first() {
    let lab = Lab::start();
    lab.serve("one", &[], &["tcp/80"]);
    lab.serve("two", &[], &["tcp/80"]);
    assert_eq!([lab.address("one"), lab.address("two")], ["172.17.0.2", "172.17.0.3"]);
    assert!(lab.sh("ip -br addr show nm0").contains("172.17.0.1/16"));
    let routes = lab.netmode(&["exec", "one", "ip", "route"]).success().stdout;
    assert!(routes.contains("default via 172.17.0.1 dev eth0"), "{routes}");
    let network = lab.inspect("one")["networks"][0].take();
    assert_eq!(network["gateway"], "172.17.0.1");
    assert_eq!(network["subnet"], "172.17.0.0/16");
    assert_eq!(network["macAddress"], "02:42:ac:11:00:02", "02:42 and the address");
    assert!(lab.netmode(&["exec", "one", "ip", "link", "show", "eth0"]).stdout.contains("02:42:ac:11:00:02"));

    lab.netmode(&["rm", "-f", "one"]).success();
    lab.until_bridge_ports(1);
    lab.serve("three", &[], &["tcp/80"]);
    assert_eq!(lab.address("three"), "172.17.0.2", "a freed address is used again first");
    let seen = lab.inside("two").who(tcp("172.17.0.2:80")).map(|s| s.tag);
    assert_eq!(seen.as_deref(), Ok("three"), "and neighbours that knew its predecessor find it");
}

#[test]
fn row_34_the_next_pool_where_the_host_has_a_route() {
    let lab = Lab::with().first("ip route add 172.17.128.0/24 via 192.0.2.254").start();
    lab.serve("one", &[], &["tcp/80"]);
    assert_eq!(lab.address("one"), "172.18.0.2");
    let network = lab.json(&["network", "inspect", "bridge"])[0].take();
    assert_eq!(network["IPAM"]["Config"][0]["Subnet"], "172.18.0.0/16");
    assert!(network.to_string().contains("172.17.128.0/24"), "inspect tells the reason: {network}");
    assert!(lab.agent_log().contains("172.17.128.0/24"), "and so does the log: {}", lab.agent_log());
    // What was chosen stays, also when the reason is gone.
    lab.sh("ip route del 172.17.128.0/24");
    lab.restart_agent("TERM");
    lab.serve("two", &[], &["tcp/80"]);
    assert_eq!(lab.address("two"), "172.18.0.3");
}

#[test]
fn row_34_mtu_follows_the_way_out() {
    let lab = Lab::with().uplink_mtu(1400).start();
    lab.serve("one", &[], &["tcp/80"]);
    assert_eq!(lab.inspect("one")["networks"][0]["mtu"], 1400);
    assert!(lab.sh("ip link show nm0").contains("mtu 1400"));
    assert!(lab.netmode(&["exec", "one", "ip", "link", "show", "eth0"]).stdout.contains("mtu 1400"));
}

#[test]
fn row_45_this_source_may_reach_this_published_port() {
    let lab = Lab::start();
    lab.netmode(&["sg", "create", "office"]).success();
    let allow = ["sg", "authorize", "office", "--protocol", "tcp", "--port", "80", "--cidr"];
    lab.netmode(&[&allow[..], &["192.0.2.9/32"]].concat()).success();
    lab.serve("web", &["-p", "80", "--security-group", "office"], &["tcp/80"]);
    lab.serve("other", &[], &["tcp/80"]);
    let port = lab.host_port("web", "tcp");
    let ask = |place: &str| lab.at(place).who(tcp(format!("{HOST}:{port}"))).map(|s| s.tag);
    assert_eq!(ask("client").as_deref(), Ok("web"), "the one that may");
    assert_eq!(ask("far"), Err(Failure::Timeout), "another source");
    assert_eq!(lab.inside("web").who(tcp("172.17.0.2:80")).map(|s| s.tag).as_deref(), Ok("web"));
    lab.at("far").serve("far", &["tcp/80"]);
    assert_eq!(lab.inside("web").seen_as(tcp(format!("{FAR}:80"))).as_deref(), Ok(HOST), "out");
    lab.netmode(&[&allow[..], &["203.0.113.0/24"]].concat()).success();
    assert_eq!(ask("far").as_deref(), Ok("web"));
    lab.netmode(&["sg", "revoke", "office", "--protocol", "tcp", "--port", "80", "--cidr", "192.0.2.9/32"]).success();
    assert_eq!(ask("client"), Err(Failure::Timeout));
}

#[test]
fn row_45_groups_stand_between_neighbours_on_a_bridge_as_well() {
    let lab = Lab::dual_stack();
    lab.netmode(&["network", "create", "second"]).success();
    for group in ["web", "friends"] {
        lab.netmode(&["sg", "create", group]).success();
    }
    let allow = ["sg", "authorize", "web", "--protocol", "tcp", "--port", "80", "--group", "friends"];
    lab.netmode(&allow).success();
    lab.serve("web", &["-p", "80", "--security-group", "web"], &["tcp/80", "tcp/81"]);
    lab.serve("friend", &["--security-group", "friends"], &["tcp/80"]);
    lab.serve("stranger", &[], &["tcp/80"]);
    lab.serve("second", &["--network", "second", "--security-group", "web"], &["tcp/80"]);
    let (v4, v6, port) = (lab.address("web"), lab.address6("web"), lab.host_port("web", "tcp"));
    let ask = |from: &str, to: &str| lab.inside(from).who(tcp(to)).map(|s| s.tag);
    for to in [format!("{v4}:80"), format!("[{v6}]:80"), format!("{HOST}:{port}")] {
        assert_eq!(ask("friend", &to).as_deref(), Ok("web"), "{to}");
        assert_eq!(ask("stranger", &to), Err(Failure::Timeout), "{to}");
    }
    assert_eq!(ask("friend", &format!("{v4}:81")), Err(Failure::Timeout), "a port that no rule names");
    // By the address that nobody gave it.
    let by_local = |from: &str, to: &str| {
        let show = ["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"];
        let shown = lab.inside(to).run(&show).success().stdout;
        let local = shown.split_whitespace().nth(3).and_then(|a| a.split('/').next()).expect("an address");
        lab.inside(from).run(&["nc", "-6", "-z", "-w", "1", &format!("{local}%eth0"), "80"]).status
    };
    assert_eq!((by_local("stranger", "web"), by_local("web", "stranger")), (1, 0));
    // Outward too.
    lab.netmode(&["sg", "revoke", "friends", "--egress", "--cidr", "0.0.0.0/0"]).success();
    let stranger = lab.address("stranger");
    assert_eq!(ask("friend", &format!("{stranger}:80")), Err(Failure::Timeout));
    assert_eq!(ask("web", &format!("{stranger}:80")).as_deref(), Ok("stranger"));
    assert_eq!(ask("web", "172.17.0.1:22"), Err(Failure::Refused), "the host");
    // Each of several networks has walls of its own, which go with it.
    let on_second = lab.address("second");
    lab.netmode(&["network", "connect", "second", "web"]).success();
    assert_eq!(ask("web", &format!("{on_second}:80")), Err(Failure::Timeout));
    let tables = || lab.inside("web").run(&["nft", "list", "tables"]).success().stdout.lines().count();
    let before = tables();
    lab.netmode(&["network", "disconnect", "second", "web"]).success();
    assert!(tables() <= before);
    // Who could take the walls away is refused, unless that is meant.
    let strong = ["run", "-d", "--security-group", "web", "--cap-add", "NET_ADMIN", "--rootfs", "/", "true"];
    lab.netmode(&strong).refused(125, &["--cap-add NET_ADMIN", "neighbours on its bridge", "--sg-best-effort"]);
    let strong = [&strong[..2], &["--sg-best-effort"], &strong[2..]].concat();
    lab.netmode(&strong).success();
    // They are there again after the agent was.
    lab.restart_agent("KILL");
    assert_eq!(ask("friend", &format!("{v4}:80")), Err(Failure::Timeout), "no way out");
    lab.netmode(&["sg", "authorize", "friends", "--egress", "--cidr", "0.0.0.0/0"]).success();
    assert_eq!(ask("friend", &format!("{v4}:80")).as_deref(), Ok("web"));
    assert_eq!(ask("stranger", &format!("{v4}:80")), Err(Failure::Timeout));
}

#[test]
fn row_35_network_inspect_bridge_as_docker_shows_it() {
    let lab = Lab::start();
    lab.serve("one", &[], &["tcp/80"]);
    let id = lab.serve("two", &[], &["tcp/80"]);
    let list = lab.netmode(&["network", "inspect", "bridge"]).success().json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    let network = &list[0];

    let docker = "Name Id Created Scope Driver EnableIPv6 IPAM Internal Attachable Ingress ConfigFrom ConfigOnly Containers \
                  Options Labels";
    let docker: BTreeSet<&str> = docker.split_whitespace().collect();
    let ours = keys(network);
    assert_eq!(docker.difference(&ours).collect::<Vec<_>>(), Vec::<&&str>::new(), "missing");
    assert_eq!(ours.difference(&docker).collect::<Vec<_>>(), [&"PoolReason"], "of our own");
    assert_eq!(network["Name"], "bridge");
    assert_eq!(network["Driver"], "bridge");
    assert_eq!(network["Scope"], "local");
    assert_eq!(network["EnableIPv6"], false);
    assert_eq!(network["IPAM"]["Driver"], "default");
    assert_eq!(network["IPAM"]["Config"], serde_json::json!([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]));
    assert_eq!(network["ConfigFrom"], serde_json::json!({"Network": ""}));
    for flag in ["Internal", "Attachable", "Ingress", "ConfigOnly"] {
        assert_eq!(network[flag], false, "{flag}");
    }
    let options = serde_json::json!({
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.network.bridge.name": "nm0",
        "com.docker.network.driver.mtu": "1500"
    });
    assert_eq!(network["Options"], options);

    // Containers are found by the id that everything else takes.
    let full = lab.inspect("two")["id"].as_str().expect("an id").to_owned();
    assert!(full.starts_with(&id), "run -d prints the id");
    let two = &network["Containers"][&full];
    let fields: BTreeSet<&str> = ["Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"].into();
    assert_eq!(keys(two), fields, "{}", network["Containers"]);
    assert_eq!(two["Name"], "two");
    assert_eq!(two["MacAddress"], "02:42:ac:11:00:03");
    assert_eq!(two["IPv4Address"], "172.17.0.3/16");
    assert_eq!(two["IPv6Address"], "");
    assert_eq!(keys(&network["Containers"]).len(), 2);

    lab.netmode(&["network", "inspect", "nothing"]).refused(1, &["nothing"]);
    assert!(lab.netmode(&["network", "ls"]).success().stdout.contains("bridge"));
}

#[test]
fn row_36_names_do_not_resolve_on_the_default_bridge() {
    let lab = Lab::start();
    lab.serve("gunicorn", &["--hostname", "app-host"], &["tcp/8000"]);
    lab.serve("nginx", &[], &["tcp/80"]);
    for name in ["gunicorn", "app-host"] {
        let answer = lab.netmode(&["exec", "nginx", "timeout", "2", "getent", "hosts", name]);
        assert_ne!(answer.status, 0, "{name}: {answer:?}");
    }
    assert!(!lab.netmode(&["exec", "nginx", "cat", "/etc/resolv.conf"]).stdout.contains("127.0.0.11"));
    lab.serve("linked", &["--link", "gunicorn:app"], &["tcp/80"]);
    for name in ["app", "gunicorn", "app-host"] {
        // `getent hosts` would ask for IPv6 first, and the lab's name server never answers.
        let answer = lab.netmode(&["exec", "linked", "getent", "ahostsv4", name]).success();
        assert!(answer.stdout.starts_with("172.17.0.2 "), "{name}: {answer:?}");
    }
}

#[test]
fn row_38_an_address_changes_unless_it_is_pinned() {
    let lab = Lab::start();
    lab.serve("app", &[], &["tcp/80"]);
    let before = lab.address("app");
    lab.netmode(&["rm", "-f", "app"]).success();
    lab.until_bridge_ports(0);
    lab.serve("squatter", &[], &["tcp/80"]);
    lab.serve("app", &[], &["tcp/80"]);
    assert_ne!(lab.address("app"), before, "what a proxy's configuration says is now wrong");
    assert_eq!(lab.address("squatter"), before);

    for round in 0..2 {
        lab.serve("pinned", &["--ip", "172.17.5.5"], &["tcp/80"]);
        assert_eq!(lab.address("pinned"), "172.17.5.5", "round {round}");
        lab.netmode(&["rm", "-f", "pinned"]).success();
        lab.until_bridge_ports(2);
    }
    lab.serve("odd", &["--ip", "172.17.9.9", "--mac-address", "02:42:00:00:00:aa"], &["tcp/80"]);
    assert_eq!(lab.inspect("odd")["networks"][0]["macAddress"], "02:42:00:00:00:aa");
    assert_eq!(lab.at("host").who(tcp("172.17.9.9:80")).map(|s| s.tag).as_deref(), Ok("odd"));
}

#[test]
fn row_39_static_mapping_host_80_to_container_3000() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "80:3000"], &["tcp/3000"]);
    let page = lab.at("client").run(&["curl", "-sS", "--max-time", "3", "http://192.0.2.1/"]).success();
    assert!(page.stdout.contains("\"port\":3000"), "the application sees its own port: {page:?}");
    let binding = lab.inspect("web")["containers"][0]["networkBindings"][0].take();
    assert_eq!(binding, serde_json::json!({"bindIP":"0.0.0.0","containerPort":3000,"hostPort":80,"protocol":"tcp"}));
    // Several host ports may lead to one container port.
    lab.serve("two", &["-p", "8001:80", "-p", "8002:80", "-p", "8001:80/udp"], &["tcp/80", "udp/80"]);
    for port in [8001, 8002] {
        assert!(lab.at("client").who(tcp(format!("{HOST}:{port}"))).is_ok(), "{port}");
    }
    assert!(lab.at("client").who(udp(format!("{HOST}:8001"))).is_ok());
}

#[test]
fn row_40_one_copy_a_host_with_a_static_mapping() {
    let lab = Lab::start();
    lab.serve("nginx-1", &["-p", "80:80"], &["tcp/80"]);
    let second =
        lab.netmode(&["run", "-d", "--name", "nginx-2", "-p", "80:80", "--rootfs", "/", "probe", "serve", "tcp/80"]);
    second.refused(125, &["tcp", "0.0.0.0:80", "nginx-1", "netmode stop nginx-1"]);
    assert!(!lab.netmode(&["ps", "-a"]).stdout.contains("nginx-2"), "nothing of it stays");
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:80"))).map(|s| s.tag).as_deref(), Ok("nginx-1"));
    // The whole request is refused when one port of it is taken.
    let three = ["run", "-d", "-p", "81:80", "-p", "80:81", "-p", "82:82", "--rootfs", "/", "sleep", "100"];
    lab.netmode(&three).refused(125, &["0.0.0.0:80", "nginx-1"]);
    for port in [81, 82] {
        assert_eq!(lab.at("host").bind(tcp(format!("0.0.0.0:{port}")), false), Ok(()), "{port} is free");
    }
}

#[test]
fn row_41_dynamic_mapping_gives_ports_of_the_ephemeral_range() {
    let lab = Lab::with().first("echo 40000 40999 >/proc/sys/net/ipv4/ip_local_port_range").start();
    let names = ["one", "two", "three"];
    for name in names {
        lab.serve(name, &["-p", "3000"], &["tcp/3000"]);
    }
    let ports = names.map(|name| lab.host_port(name, "tcp"));
    assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 3, "{ports:?}");
    for (name, port) in names.iter().zip(ports) {
        assert!((40000..=40999).contains(&port), "{name}: {port}");
        let seen = lab.at("client").who(tcp(format!("{HOST}:{port}")));
        assert_eq!(seen.map(|s| (s.tag, s.port)), Ok(((*name).to_owned(), 3000)));
    }
}

/// The order of ECS: upward from the last one with one cursor, first run that is free, then from the start.
#[test]
fn row_41_dynamic_ports_in_the_order_of_ecs() {
    let lab = Lab::with().config("[ports]\nrange = \"100-105\"").start();
    let take = |name: &str, flags: &[&str]| {
        let mapping: Vec<&str> = flags.iter().flat_map(|f| ["-p", f]).collect();
        lab.task(name, &mapping, &["sleep", "1000"]);
        let view = lab.inspect(name);
        let binding = &view["containers"][0]["networkBindings"][0];
        binding["hostPort"].as_u64().map_or_else(|| binding["hostPortRange"].to_string(), |p| p.to_string())
    };
    let free = |name: &str| drop(lab.netmode(&["rm", "-f", name]).success());
    // A stranger on one family alone makes a port busy.
    let stranger = lab.at("host").occupy(tcp("[::1]:102"));
    assert_eq!([take("a", &["80"]), take("b", &["80"]), take("c", &["80"])], ["100", "101", "103"]);
    drop(stranger);
    free("a");
    assert_eq!(take("a", &["80"]), "104", "upward from the last, not the lowest");
    assert_eq!(take("d", &["80"]), "105");
    assert_eq!(take("e", &["80"]), "100", "round again, to what is free");
    assert_eq!(take("f", &["80"]), "102");
    let full = lab.netmode(&["run", "-d", "-p", "80", "--rootfs", "/", "sleep", "1"]);
    full.refused(125, &["a host port is unavailable", "range"]);
    for name in ["a", "b", "c", "d", "e", "f"] {
        free(name);
    }
    // Runs. The cursor stands at 102 now: 103-105, and from the start again.
    assert_eq!(take("r", &["8000-8002"]), "\"103-105\"");
    assert_eq!(take("s", &["8000-8002"]), "\"100-102\"");
    let full = lab.netmode(&["run", "-d", "-p", "8000-8001", "--rootfs", "/", "sleep", "1"]);
    full.refused(125, &["2 contiguous host ports are unavailable", "range"]);
    free("r");
    // ECS's own search fails once here, and then succeeds: the cursor is at 102, 103–105 and nothing else is free.
    assert_eq!(take("t", &["8000-8002"]), "\"103-105\"");
}

#[test]
fn row_41_a_port_is_free_on_both_families_or_not_at_all() {
    let lab = Lab::with()
        .config("[ports]\nrange = \"2000-2009\"")
        .first("echo 2003 >/proc/sys/net/ipv4/ip_local_reserved_ports")
        .start();
    let _four = lab.at("host").occupy(udp("127.0.0.1:2000"));
    let _six = lab.at("host").occupy(udp("[::1]:2001"));
    lab.serve("dns", &["-p", "53/udp"], &["udp/53"]);
    assert_eq!(lab.host_port("dns", "udp"), 2002);
    let here = format!("{HOST}::80");
    lab.serve("here", &["-p", &here], &["tcp/80"]);
    let view = lab.inspect("here");
    assert_eq!(view["containers"][0]["networkBindings"][0]["bindIP"], HOST);
    let port = lab.host_port("here", "tcp");
    assert!(lab.at("client").who(tcp(format!("{HOST}:{port}"))).is_ok());
    assert_eq!(lab.at("client").who(tcp(format!("{HOST_TOO}:{port}"))), Err(Failure::Refused));
}

#[test]
fn row_42_host_port_0_empty_and_absent_are_the_same() {
    let lab = Lab::with().config("[ports]\nrange = \"5000-5099\"").start();
    for (name, mapping) in [("zero", "0:3000"), ("empty", ":3000"), ("absent", "3000")] {
        lab.serve(name, &["-p", mapping], &["tcp/3000"]);
        let port = lab.host_port(name, "tcp");
        assert!((5000..=5099).contains(&port), "{mapping}: {port}");
        assert_eq!(lab.at("client").who(tcp(format!("{HOST}:{port}"))).map(|s| s.tag).as_deref(), Ok(name));
    }
    // By the API as well.
    let body = r#"{"name":"api","net":{"ports":["0:3000"]},"container":{"rootfs":"/","command":["sleep","100"]}}"#;
    let (status, created) = lab.api("POST", "/v1/tasks?start=true", Some(body));
    assert_eq!(status, 201, "{created}");
    assert!((5000..=5099).contains(&lab.host_port("api", "tcp")));
}

#[test]
fn row_43_bindings_are_published_for_clients() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "3000", "-p", "53/udp", "-p", "9000-9002"], &["tcp/3000", "udp/53", "tcp/9000-9002"]);
    let view = lab.inspect("web");
    let bindings = view["containers"][0]["networkBindings"].as_array().expect("bindings").clone();
    assert_eq!(bindings.len(), 3, "{view}");
    for binding in &bindings {
        assert_eq!(binding["bindIP"], "0.0.0.0");
    }
    let range = bindings.iter().find(|b| b["containerPortRange"] == "9000-9002").expect("the range is one binding");
    let host_range = range["hostPortRange"].as_str().expect("host ports");
    assert!(range.get("hostPort").is_none() && range.get("containerPort").is_none(), "{range}");

    // `inspect`, `port`, `port ls` and the API say the same.
    let (tcp_port, udp_port) = (lab.host_port("web", "tcp"), lab.host_port("web", "udp"));
    let text = lab.netmode(&["port", "web"]).success().stdout;
    let lines: BTreeSet<&str> = text.lines().collect();
    let wanted = [
        format!("3000/tcp -> 0.0.0.0:{tcp_port}"),
        format!("53/udp -> 0.0.0.0:{udp_port}"),
        format!("9000-9002/tcp -> 0.0.0.0:{host_range}"),
    ];
    assert_eq!(lines, wanted.iter().map(String::as_str).collect::<BTreeSet<_>>());
    let (status, api) = lab.api("GET", "/v1/tasks/web", None);
    assert_eq!(status, 200);
    assert_eq!(api["containers"], view["containers"]);
    let first: u16 = host_range.split('-').next().and_then(|p| p.parse().ok()).expect("a port");
    for (host, container) in [(tcp_port, 3000), (first, 9000), (first + 2, 9002)] {
        assert_eq!(lab.at("client").who(tcp(format!("{HOST}:{host}"))).map(|s| s.port), Ok(container));
    }
    assert_eq!(lab.at("client").who(udp(format!("{HOST}:{udp_port}"))).map(|s| s.port), Ok(53));
}

#[test]
fn row_44_copies_with_different_host_ports_for_a_balancer() {
    let lab = Lab::start();
    let names: Vec<String> = (1..=4).map(|n| format!("copy-{n}")).collect();
    for name in &names {
        lab.serve(name, &["-p", "80"], &["tcp/80"]);
    }
    // What a balancer reads: every port with its owner.
    let listed = lab.json(&["port", "ls"]);
    let target = |p: &Value| Some((p["hostPort"].as_u64()?, p["owner"].as_str()?.to_owned()));
    let targets: Vec<(u64, String)> = listed.as_array().expect("a list").iter().filter_map(target).collect();
    assert_eq!(targets.len(), 4, "{listed}");
    let answers = all_at_once(&targets, |(port, _)| lab.at("client").who(tcp(format!("{HOST}:{port}"))).map(|s| s.tag));
    for ((_, owner), answer) in targets.iter().zip(answers) {
        assert_eq!(answer.as_ref(), Ok(owner));
    }
    assert_eq!(targets.iter().map(|t| &t.1).collect::<BTreeSet<_>>(), names.iter().collect());
}
