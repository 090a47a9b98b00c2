//! The feature table, bridge mode: its limits and costs. Rows 45–51.

use netmode_tests::lab::address::*;
use netmode_tests::sandbox::repository;
use netmode_tests::{Failure, Lab, all_at_once, tcp};

#[test]
fn row_45_only_the_assigned_port_is_open() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "3000"], &["tcp/3000", "tcp/22"]);
    let port = lab.host_port("web", "tcp");
    let neighbours: Vec<u16> = (port - 5..port).chain(port + 1..port + 5).chain([3000, 22]).collect();
    let answers = all_at_once(&neighbours, |p| lab.at("client").who(tcp(format!("{HOST}:{p}"))));
    for (neighbour, answer) in neighbours.iter().zip(answers) {
        assert_eq!(answer, Err(Failure::Refused), "{neighbour} beside {port}");
    }
    assert!(lab.at("client").who(tcp(format!("{HOST}:{port}"))).is_ok());
    // The operator's own firewall can close it: our rules stay out of the input and forward decisions of others.
    lab.sh(&format!(
        "nft add table inet site
         nft add chain inet site pre '{{ type filter hook prerouting priority -150; }}'
         nft add rule inet site pre ip saddr {CLIENT} tcp dport {port} drop"
    ));
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:{port}"))), Err(Failure::Timeout), "source → this port");
    assert!(lab.at("lan").who(tcp(format!("{HOST}:{port}"))).is_ok(), "for others it is open");
}

#[test]
fn row_46_the_extra_hop_is_one_translation_and_no_process() {
    let lab = Lab::start();
    let processes = || lab.sh("ps -e --no-headers | wc -l").trim().parse::<i32>().expect("a number");
    lab.serve("one", &["-p", "8000:80"], &["tcp/80"]);
    let before = processes();
    lab.serve("many", &["-p", "9000-9499:9000-9499", "-p", "7000-7499:7500-7999/udp", "-p", "8001:80"], &["tcp/80"]);
    let added = processes() - before;
    assert!(added <= 2, "conmon and the container, whatever the number of ports: {added}");
    let held = lab.at("client").open(tcp(format!("{HOST}:8001")));
    let flow = lab.sh("conntrack -L -p tcp --orig-port-dst 8001 2>/dev/null");
    assert_eq!(flow.lines().count(), 1, "{flow}");
    assert!(flow.contains("src=172.17.0.3"), "translated once: {flow}");
    assert_eq!(held.say("still here"), Ok(()));
}

#[test]
fn row_47_not_reachable_by_the_containers_address_from_other_hosts() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:3000"], &["tcp/3000"]);
    let direct = lab.at("client").who(tcp("172.17.0.2:3000"));
    assert!(matches!(direct, Err(Failure::Timeout | Failure::Unreachable)), "{direct:?}");
    lab.serve("sibling", &[], &["tcp/80"]);
    assert!(lab.inside("sibling").who(tcp("172.17.0.2:3000")).is_ok(), "icc: siblings reach every port");
}

#[test]
fn row_48_port_ls_shows_every_port_and_its_owner() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80", "-p", "127.0.0.1:9000-9002:9000-9002/udp"], &["tcp/80"]);
    let id = lab.inspect("web")["id"].clone();
    let list = lab.json(&["port", "ls"]);
    let rows = list.as_array().expect("a list");
    assert_eq!(rows.len(), 2, "{list}");
    for row in rows {
        assert_eq!(row["owner"], "web");
        assert_eq!(row["ownerId"], id, "the id that `inspect` shows");
        assert_eq!(row["held"], true);
        assert!(row["since"].as_str().is_some_and(|s| s.len() > 18 && s.contains('T')), "{row}");
    }
    assert!(
        rows.iter().any(|r| r["bindIP"] == "127.0.0.1" && r["hostPortRange"] == "9000-9002" && r["protocol"] == "udp")
    );
    let table = lab.netmode(&["port", "ls"]).success().stdout;
    assert!(table.contains("8080") && table.contains("80/tcp") && table.contains("web"), "{table}");
    lab.netmode(&["stop", "-t", "1", "web"]).success();
    assert_eq!(lab.json(&["port", "ls"]), serde_json::json!([]), "a stopped task holds nothing");
}

#[test]
fn row_49_outbound_shares_the_hosts_address() {
    let lab = Lab::start();
    for place in ["client", "far"] {
        lab.at(place).serve(place, &["tcp/80"]);
    }
    lab.serve("one", &[], &["tcp/80"]);
    lab.serve("two", &[], &["tcp/80"]);
    for task in ["one", "two"] {
        for to in [CLIENT, FAR] {
            assert_eq!(lab.inside(task).seen_as(tcp(format!("{to}:80"))).as_deref(), Ok(HOST), "{task} → {to}");
        }
    }
    // Fully random: two flows with one source port each do not show it.
    let ports: Vec<u16> = (0..4)
        .filter_map(|_| lab.inside("one").who_from(tcp(format!("{FAR}:80")), Some("0.0.0.0:5555")).ok())
        .map(|seen| seen.peer_port)
        .collect();
    assert!(ports.iter().all(|p| *p != 5555), "{ports:?}");
    // Between containers nothing is translated.
    assert_eq!(lab.inside("one").seen_as(tcp("172.17.0.3:80")).as_deref(), Ok("172.17.0.2"));
}

#[test]
fn row_50_no_security_group_of_its_own() {
    let lab = Lab::start();
    lab.serve("plain", &["-p", "8080:80"], &["tcp/80"]);
    let open = lab.json(&["sg", "effective", "plain"]);
    assert!(open["guardedBy"].as_str().is_some_and(|g| g.starts_with("the host")), "{open}");
    assert_eq!(open["rules"][0]["group"]["groupId"], "", "{open}");
    // In bridge mode they are an extension, and said to be.
    lab.serve("own", &["-p", "8081:80", "--security-group", "default"], &["tcp/80"]);
    let open = lab.json(&["sg", "effective", "own"]);
    assert!(open["guardedBy"].as_str().is_some_and(|g| g.contains("an extension")), "{open}");
    let refused = lab.netmode(&["run", "-d", "--security-group", "web", "--rootfs", "/", "sleep", "100"]);
    refused.refused(125, &["web", "does not exist"]);
    let refused = lab.netmode(&["run", "-d", "--mode", "host", "--security-group", "default", "--rootfs", "/", "true"]);
    refused.refused(125, &["Network Configuration is not valid", "awsvpc"]);
    let refused = lab.netmode(&["run", "-d", "--mode", "bridge", "--subnet", "a", "--rootfs", "/", "sleep", "100"]);
    refused.refused(125, &["subnet", "awsvpc"]);
}

#[test]
fn row_51_where_bridge_mode_exists_in_ecs_is_documented() {
    let docs = documentation();
    assert!(
        docs.contains("Fargate"),
        "that ECS has bridge, host and none on EC2 alone, not on Fargate, stands nowhere"
    );
}

/// README and everything below `docs/`.
fn documentation() -> String {
    let top = repository();
    let pages = std::fs::read_dir(top.join("docs")).expect("docs/").flatten().map(|entry| entry.path());
    pages.chain([top.join("README.md")]).filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}
