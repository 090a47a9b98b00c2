//! Connections that go by a flowtable, past the rules: on kernels that have them (`make vm-test`).
#![allow(missing_docs, clippy::unwrap_used)]

use netmode_tests::awsvpc::serve_in;
use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, eventually, need, tcp};

const CONFIG: &str = "[firewall]\nflowtable = [\"uplink0\"]\n";

/// What is fetched: some 11,000 packets of a wire's size.
const BYTES: u64 = 16 << 20;

/// With a rule of somebody else's that counts what is forwarded.
fn lab(config: &str) -> Lab {
    let lab = Lab::with().config(config).ipv6().start();
    lab.sh("nft -f - <<X
table inet watch {
    chain passing { type filter hook forward priority -10; policy accept; counter; }
}
X
mkdir /srv/www && truncate -s 16M /srv/www/zero");
    lab
}

fn has_flowtables(lab: &Lab) -> bool {
    let script = "nft add table inet trial && nft add flowtable inet trial f '{ hook ingress priority 0; }' &&
        nft add flowtable inet trial f '{ devices = { lo }; }'
        status=$?; nft delete table inet trial; exit $status";
    lab.run(&["sh", "-c", script]).status == 0
}

/// Packets that rules have seen.
fn passed(lab: &Lab) -> u64 {
    let text = lab.sh("nft list chain inet watch passing");
    text.split("packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// The links of our flowtable.
fn links(lab: &Lab) -> Vec<String> {
    let text = lab.sh("nft list flowtable inet netmode fast_path");
    let inner = text.split("devices = {").nth(1).and_then(|rest| rest.split('}').next()).unwrap_or_default();
    let mut links: Vec<String> = inner.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect();
    links.retain(|name| !name.is_empty());
    links.sort();
    links
}

/// A server of the file in a task, whose packets are of a wire's size.
fn web(lab: &Lab) {
    lab.task("web", &["-p", "8080:80"], &["busybox", "httpd", "-f", "-p", "80", "-h", "/srv/www"]);
    lab.inside("web").sh("ethtool -K eth0 tso off gso off gro off >/dev/null");
    eventually("the server answers", 5.0, || {
        lab.at("client").run(&["curl", "-sI", "http://192.0.2.1:8080/zero"]).status == 0
    });
}

/// Bytes per second of one fetch, and how many of its packets rules have seen.
fn fetch(lab: &Lab, from: &str, url: &str) -> (f64, u64) {
    let before = passed(lab);
    let at = if from == "client" { lab.at("client") } else { lab.inside(from) };
    let curl = ["curl", "-sS", "-m", "50", "-o", "/dev/null", "-w", "%{size_download} %{speed_download}", url];
    let said = at.run(&curl).success().stdout;
    let (size, speed) = said.split_once(' ').unwrap();
    assert_eq!(size.parse::<u64>().unwrap(), BYTES);
    (speed.parse().unwrap(), passed(lab) - before)
}

#[test]
fn established_connections_pass_the_rules_by() {
    let lab = lab(CONFIG);
    need!(kernel: has_flowtables(&lab), "flowtables");
    web(&lab);
    for url in [format!("http://{HOST}:8080/zero"), format!("http://[{HOST6}]:8080/zero")] {
        let (_, seen) = fetch(&lab, "client", &url);
        assert!(seen < 1000, "{url}: {seen} packets were seen by rules");
    }
    lab.at("far").sh("busybox httpd -p 9000 -h /srv/www");
    let (_, seen) = fetch(&lab, "web", &format!("http://{FAR}:9000/zero"));
    assert!(seen < 1000, "outward: {seen} packets were seen by rules");
    lab.at("far").serve("far", &["tcp/9001"]);
    assert_eq!(lab.inside("web").seen_as(tcp(format!("{FAR}:9001"))).as_deref(), Ok(HOST));
}

#[test]
fn what_is_taken_back_is_cut_at_once() {
    let lab = lab(CONFIG);
    need!(kernel: has_flowtables(&lab), "flowtables");
    lab.serve("echo", &["-p", "8081:80"], &["tcp/80"]);
    let kept = lab.at("client").open(tcp(format!("{HOST}:8081")));
    for _ in 0..3 {
        kept.say("there").unwrap();
    }
    let flows = lab.sh("conntrack -L -p tcp --orig-port-dst 8081 2>/dev/null");
    assert!(flows.contains("[OFFLOAD]"), "{flows}");
    // What may not begin still may not.
    let direct = tcp(format!("{}:80", lab.address("echo")));
    assert_eq!(lab.at("client").who(direct), Err(Failure::Unreachable));
    let counted = lab.sh("conntrack -L -p tcp --orig-port-dst 8081 2>/dev/null");
    assert!(counted.contains("[OFFLOAD]"), "{counted}");
    lab.netmode(&["rm", "-f", "echo"]).success();
    assert!(kept.say("there").is_err(), "the connection has gone with the task");
}

/// An ENI behind the host: a rule that goes leaves open connections, as ever, and `--cut` ends those past the rules, too.
#[test]
fn connections_of_a_group_are_cut() {
    let lab = lab(CONFIG);
    need!(kernel: has_flowtables(&lab), "flowtables");
    lab.netmode(&["sg", "create", "web"]).success();
    let rule = ["web", "--protocol", "tcp", "--port", "80", "--cidr", "192.0.2.0/24"];
    lab.netmode(&[&["sg", "authorize"], &rule[..]].concat()).success();
    lab.netmode(&["subnet", "create", "tasks", "--cidr", "10.0.2.0/24", "--backend", "veth"]).success();
    lab.sh(&format!("nsenter --net=/run/netns/lan ip route add 10.0.2.0/24 via {HOST}"));
    let web = serve_in(&lab, "web", &["web"]);
    let kept = lab.at("client").open(tcp(format!("{web}:80")));
    for _ in 0..3 {
        kept.say("there").unwrap();
    }
    let flows = lab.sh(&format!("conntrack -L -p tcp -d {web} 2>/dev/null"));
    assert!(flows.contains("[OFFLOAD]"), "{flows}");
    lab.netmode(&[&["sg", "revoke", "--cut"], &rule[..]].concat()).success();
    assert!(kept.say("there").is_err(), "the group does not let it in any more");
    assert_eq!(lab.at("client").who(tcp(format!("{web}:80"))), Err(Failure::Timeout));
}

#[test]
fn the_links_of_the_flowtable_are_those_that_there_are() {
    let lab = lab(CONFIG);
    need!(kernel: has_flowtables(&lab), "flowtables");
    assert_eq!(links(&lab), ["nm0", "uplink0"]);
    let said = lab.agent_log();
    let events = || lab.netmode(&["events", "--since", "1h"]).stdout;
    assert!(!said.contains("repaired"), "nothing was to be repaired: {said}\n{}", events());
    lab.netmode(&["network", "create", "app"]).success();
    let bridge = lab.json(&["network", "inspect", "app"])[0]["Options"]["com.docker.network.bridge.name"]
        .as_str()
        .map_or_else(|| panic!("no name: {}", lab.json(&["network", "inspect", "app"])), str::to_owned);
    assert!(links(&lab).contains(&bridge), "{:?}", links(&lab));
    lab.restart_agent("KILL");
    assert_eq!(links(&lab).len(), 3, "{:?}", links(&lab));
    if lab.run(&["nft", "delete", "table", "inet", "netmode"]).status == 0 {
        eventually("the table is there again, with the flowtable's links", 2.0, || {
            lab.run(&["nft", "list", "flowtable", "inet", "netmode", "fast_path"]).status == 0 && links(&lab).len() == 3
        });
    }
    lab.netmode(&["network", "rm", "app"]).success();
    assert_eq!(links(&lab), ["nm0", "uplink0"]);
    let findings = lab.netmode(&["doctor"]).stdout;
    assert!(!findings.contains("are missing"), "{findings}");
}

/// Its effect, as `docs/benchmarks.md` tells it. What is asserted is what no machine's speed changes.
#[test]
fn what_it_saves() {
    let plain = lab("");
    need!(kernel: has_flowtables(&plain), "flowtables");
    let fast = lab(CONFIG);
    let url = format!("http://{HOST}:8080/zero");
    let mut speeds = [Vec::new(), Vec::new()];
    let mut seen = [0, 0];
    for lab in [&plain, &fast] {
        web(lab);
    }
    for _ in 0..3 {
        for (at, lab) in [&plain, &fast].into_iter().enumerate() {
            let (speed, packets) = fetch(lab, "client", &url);
            speeds[at].push(speed);
            seen[at] += packets;
        }
    }
    let [plain, fast] = speeds.map(|mut speeds| {
        speeds.sort_by(f64::total_cmp);
        speeds[speeds.len() / 2] / 1e6
    });
    println!("flowtable: {plain:.1} MB/s by the rules, {fast:.1} past them: {:.2} x", fast / plain);
    println!("flowtable: rules saw {} packets without, {} with it", seen[0], seen[1]);
    assert!(seen[1] * 10 < seen[0], "{seen:?}");
}
