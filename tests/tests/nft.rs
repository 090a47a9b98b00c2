//! The product's table as nft(8) shows it: static rules, elements per endpoint, and the plan that tells what will be done.

use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, eventually, tcp};
use serde_json::Value;
use std::collections::BTreeSet;

/// The rules without counters, and without the elements of sets and maps.
const RULES: &str = "nft -s -t list ruleset 2>/dev/null";

#[test]
fn rules_never_grow_with_containers() {
    let lab = Lab::dual_stack();
    let before = lab.sh(RULES);
    assert!(before.contains("table inet netmode"), "{before}");
    let elements = || lab.sh("nft -s list ruleset 2>/dev/null");
    let elements_before = elements();
    for n in 0..20 {
        let (name, one) = (format!("c{n}"), format!("{}:80", 8000 + n));
        let (two, three) =
            (format!("{HOST}:{}:53/udp", 5000 + n), format!("{}-{}:7000-7009", 10000 + n * 10, 10009 + n * 10));
        lab.task(&name, &["-p", &one, "-p", &two, "-p", &three, "-p", "90"], &["sleep", "1000"]);
    }
    assert_eq!(lab.sh(RULES), before, "not one rule, chain or set more");
    assert_ne!(elements(), elements_before);
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let words: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
    lab.netmode(&words).success();
    assert_eq!(elements(), elements_before, "and every element is gone with its container");
}

#[test]
fn two_tables_of_our_own_and_nothing_else() {
    let lab = Lab::with().first("nft add table inet site; nft add chain inet site c").start();
    let listed: Value = serde_json::from_str(&lab.sh("nft -j list tables")).expect("JSON");
    let tables: BTreeSet<String> = listed["nftables"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|t| Some(format!("{} {}", t["table"]["family"].as_str()?, t["table"]["name"].as_str()?)))
        .collect();
    assert_eq!(
        tables,
        ["bridge netmode", "inet netmode", "inet site"].map(String::from).into(),
        "ours, and a stranger's untouched"
    );
    let iptables = lab.run(&["sh", "-c", "iptables-legacy-save 2>/dev/null | grep -c '^-A' || :"]);
    assert_eq!(iptables.stdout.trim(), "0");
    let rules = lab.sh(RULES);
    // Published ports are for the host's own addresses alone, and the map's key has the address.
    assert!(rules.contains("fib daddr type local"), "{rules}");
    assert!(!rules.contains("172.17."), "addresses are elements, not rules: {rules}");
    for chain in ["prerouting", "output", "forward", "postrouting"] {
        assert!(rules.contains(&format!("hook {chain} ")), "{chain}: {rules}");
    }
    assert!(rules.contains("127.0.0.0/8") && rules.contains("drop"), "{rules}");
}

#[test]
fn an_element_for_each_kind_of_mapping() {
    let lab = Lab::start();
    let here = format!("{HOST}:9000:80");
    let ranges = ["7000-7099:7000-7099", "7200-7299:7300-7399"];
    let flags = ["-p", "8080:80", "-p", &here, "-p", ranges[0], "-p", ranges[1]];
    lab.serve("web", &flags, &["tcp/80", "tcp/7000-7000", "tcp/7399-7399"]);
    let listed: Value = serde_json::from_str(&lab.sh("nft -j list ruleset 2>/dev/null")).expect("JSON");
    let maps = listed["nftables"].as_array().expect("a list").iter().filter_map(|o| o.get("map"));
    let mut count = 0;
    let mut names = BTreeSet::new();
    for map in maps {
        let elements = map["elem"].as_array().map_or(0, Vec::len);
        count += elements;
        if elements > 0 {
            names.insert(map["name"].as_str().expect("a name").to_owned());
        }
    }
    assert_eq!(count, 4, "a single port and a range alike are one element: {names:?}");
    assert_eq!(names.len(), 4, "each in its own map: {names:?}");
    for (host, container) in [(7000, 7000), (7299, 7399)] {
        assert_eq!(lab.at("client").who(tcp(format!("{HOST}:{host}"))).map(|s| s.port), Ok(container));
    }
}

#[test]
fn a_plan_changes_nothing() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let before = netmode_tests::machine::Machine::settled(&lab);
    for flags in [
        &["-p", "8081:80"][..],
        &["--mode", "none"],
        &["--mode", "host", "-p", "8081"],
        &["-p", "80", "-p", "9000-9009:9100-9109/udp", "--ip", "172.17.0.99"],
    ] {
        let plan = lab.netmode(&[&["run", "--plan"], flags, &["--rootfs", "/", "true"]].concat()).success();
        before.assert_unchanged(&lab, &format!("--plan {flags:?}"));
        assert_eq!(plan.stdout.is_empty(), flags.contains(&"host"), "{plan:#?}");
    }
    // Neither is the next dynamic port another one for having been shown.
    let dynamic = || lab.netmode(&["run", "--plan", "-p", "80", "--rootfs", "/", "true"]).success().stdout;
    let port =
        |plan: &str| plan.split("tcp . ").nth(1).and_then(|t| t.split(' ').next()).unwrap_or_default().to_owned();
    assert_eq!(port(&dynamic()), port(&dynamic()));
    let refused = lab.netmode(&["run", "--plan", "-p", "8080:80", "--rootfs", "/", "true"]);
    refused.refused(125, &["8080", "web"]);
    before.assert_unchanged(&lab, "a refused plan");
}

/// What the kernel has of a bridge-mode task, with names that derive from its random id made equal.
fn picture(lab: &Lab) -> String {
    let netns = lab.sh("ls /run/netns | grep ^nm-").trim().to_owned();
    let text = lab.sh(&format!(
        "nft -s list ruleset 2>/dev/null | grep -v 'progname\\|flags owner'
         ip -br -n {netns} addr; ip -n {netns} route; ip -n {netns} -6 route | grep -v ^fe80
         ip -n {netns} -d link show eth0 | grep -o 'mtu [0-9]*\\|link/ether [0-9a-f:]*'
         ip -d link show master nm0 | grep -o 'mtu [0-9]*\\|master nm0\\|hairpin [a-z]*\\|isolated [a-z]*\\|group [0-9]*'
         nsenter --net=/run/netns/{netns} sh -c 'grep . /proc/sys/net/ipv6/conf/*/accept_ra'"
    ));
    // The port's name are the first digits of the same id.
    let port = format!("nm{}", &netns[3..14]);
    let scope_link = |line: &&str| !line.contains("fe80::");
    text.lines()
        .map(|l| l.trim_end())
        .filter(scope_link)
        .map(|l| l.replace(&netns, "NETNS").replace(&port, "PORT") + "\n")
        .collect()
}

/// The plan's commands, typed in by hand on another machine, make what the agent makes.
#[test]
fn the_plan_is_what_happens() {
    let options = || Lab::with().ipv6().config("[firewall]\nowner = false");
    let here = format!("{HOST}:9000:81");
    let flags = ["-p", "8080:80", "-p", "7000-7009:7000-7009", "-p", "7200-7209:7300-7309/udp", "-p", &here];

    let real = options().start();
    real.serve("web", &flags, &["tcp/80"]);
    let made = picture(&real);

    let typed = options().start();
    let command = [&["run", "--plan"], &flags[..], &["--rootfs", "/", "true"]].concat();
    let plan = typed.netmode(&command).success().stdout;
    // It would repair what a stranger does to its table.
    typed.end_agent("KILL");
    let mut skipped = 0;
    for line in plan.lines() {
        // Announcing needs a program that Debian's base lacks; it leaves no trace. Nothing is tracked yet.
        if line.contains("arping") || line.contains("ndsend") || line.starts_with("conntrack") {
            skipped += 1;
            continue;
        }
        let out = typed.run(&["sh", "-c", line]);
        assert_eq!(out.status, 0, "{line}: {out:#?}");
    }
    assert!(plan.lines().count() > skipped + 8, "{plan}");
    // Container set-up writes two sysctls of its own; everything of the network is in the plan.
    let typed = picture(&typed);
    let only =
        |one: &str, other: &str| one.lines().filter(|l| !other.lines().any(|o| o == *l)).collect::<Vec<_>>().join("\n");
    assert!(
        typed == made,
        "by hand only:\n{}\nby the agent only:\n{}\n{plan}",
        only(&typed, &made),
        only(&made, &typed)
    );
}

/// The same of an ENI: typed in by hand it has its address, its way out and its walls.
#[test]
fn the_plan_of_an_eni_is_what_happens() {
    for backend in ["macvlan", "veth"] {
        let lab = Lab::with().config("[firewall]\nowner = false").start();
        lab.netmode(&["subnet", "create", "tasks", "--cidr", "10.0.2.0/24", "--backend", backend]).success();
        lab.netmode(&["sg", "create", "web"]).success();
        let rule = ["--protocol", "tcp", "--port", "80", "--cidr", "192.0.2.9/32"];
        lab.netmode(&[&["sg", "authorize", "web"], &rule[..]].concat()).success();
        let flags = ["--mode", "awsvpc", "--subnet", "tasks", "--security-group", "web", "--rootfs", "/", "true"];
        let before = netmode_tests::machine::Machine::settled(&lab);
        let plan = lab.netmode(&[&["run", "--plan"], &flags[..]].concat()).success().stdout;
        before.assert_unchanged(&lab, "a plan");
        lab.end_agent("KILL");
        let typed = plan.lines().filter(|l| !l.contains("arping") && !l.contains("ndsend"));
        lab.write("/run/lab/plan", &typed.map(|l| l.to_owned() + "\n").collect::<String>());
        let out = lab.run(&["sh", "-e", "/run/lab/plan"]);
        assert_eq!(out.status, 0, "{out:#?}\n{plan}");
        let netns = lab.sh("ls /run/netns | grep ^nm-").trim().to_owned();
        assert!(lab.sh(&format!("ip -n {netns} -4 -o addr show eth0")).contains("10.0.2.4"), "{plan}");
        for port in ["80", "81"] {
            let serve = ["ip", "netns", "exec", &netns, "probe", "serve", "--tag", "typed", &format!("tcp/{port}")];
            lab.spawn(&serve, &format!("/run/lab/typed{port}"));
            eventually("it serves", 3.0, || lab.read(&format!("/run/lab/typed{port}")).contains("ready"));
        }
        let ask = |port: u16| lab.at("client").who(tcp(format!("10.0.2.4:{port}"))).map(|s| s.tag);
        assert_eq!(ask(80).as_deref(), Ok("typed"), "{backend}: {plan}");
        assert_eq!(ask(81), Err(Failure::Timeout), "{backend}: no rule lets it in");
        lab.at("far").serve("far", &["tcp/80"]);
        let far = ["ip", "netns", "exec", &netns, "nc", "-z", "-w", "2", FAR, "80"];
        assert_eq!(lab.run(&far).status, 0, "{backend}: the way out");
    }
}
