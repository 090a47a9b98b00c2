//! Flow logs: who sent what to whom, with what the security groups said. Row 8 of the feature table.

use netmode_tests::lab::address::*;
use netmode_tests::{Lab, awsvpc, ecs, eventually, tcp};
use serde_json::json;
use std::collections::BTreeSet;

const FILE: &str = "/run/lab/flow.log";

/// A lab with a group that lets tcp/80 in and everything out but tcp/25.
fn lab_on(backend: &str) -> Lab {
    let lab = awsvpc::lab_on(backend);
    lab.netmode(&["sg", "create", "web"]).success();
    lab.netmode(&["sg", "authorize", "web", "--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0,::/0"]).success();
    lab.netmode(&["sg", "revoke", "web", "--egress", "--protocol", "all", "--cidr", "0.0.0.0/0"]).success();
    lab.netmode(&["sg", "authorize", "web", "--egress", "--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0"])
        .success();
    lab.netmode(&["sg", "authorize", "web", "--egress", "--protocol", "udp", "--cidr", "0.0.0.0/0"]).success();
    lab
}

fn create(lab: &Lab, flags: &[&str]) -> String {
    lab.netmode(&[&["flow-log", "create"], flags].concat()).success().stdout.trim().to_owned()
}

/// Records by their fields.
fn records(lab: &Lab, file: &str) -> Vec<Vec<String>> {
    lab.read(file).lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// Records of this action between two ends, `port` being that of the far end or of the near one.
fn of<'a>(all: &'a [Vec<String>], action: &str, from: &str, to: &str, ports: (&str, &str)) -> Vec<&'a Vec<String>> {
    let fits = |r: &&Vec<String>| {
        r[3] == from
            && r[4] == to
            && r[12] == action
            && ["*", &r[5]].contains(&ports.0)
            && ["*", &r[6]].contains(&ports.1)
    };
    all.iter().filter(fits).collect()
}

fn allowed_and_refused(backend: &str) {
    let lab = lab_on(backend);
    lab.serve("far", &["--network", "host"], &["tcp/8080"]);
    // Windows end with the clock: one of a minute ends too often between two tries of a connection.
    let id = create(&lab, &["--to", &format!("file:{FILE}"), "--max-aggregation-interval", "600"]);
    assert!(id.starts_with("fl-") && id.len() == 20, "{id}");
    let ip = awsvpc::serve_in(&lab, "web", &["web"]);
    let eni = lab.json(&["eni", "show", "web"])[0]["networkInterfaceId"].as_str().expect("an id").to_owned();
    let begun = lab.sh("date +%s").trim().parse::<u64>().expect("a time");

    assert!(lab.at("client").who(tcp(format!("{ip}:80"))).is_ok());
    assert!(lab.at("client").who(tcp(format!("{ip}:22"))).is_err());
    // Outward: tcp/80 may (and nobody answers or refuses), tcp/25 may not.
    let out = |port: &str| lab.netmode(&["exec", "web", "timeout", "1", "nc", "-z", CLIENT, port]).status;
    assert_ne!(out("80"), 0);
    assert_ne!(out("25"), 0);
    // Never recorded: names, and what stays within the task.
    lab.netmode(&["exec", "web", "dig", "+time=1", "+tries=1", "web.netmode.internal"]).success();
    lab.netmode(&["exec", "web", "curl", "-s", "--max-time", "1", "http://127.0.0.1:80/"]);
    lab.netmode(&["rm", "-f", "web"]).success();

    let all = records(&lab, FILE);
    let whole = lab.read(FILE);
    assert!(all.iter().all(|r| r.len() == 14), "{whole}");
    for r in &all {
        assert_eq!((r[0].as_str(), r[1].as_str(), &r[2], r[13].as_str()), ("2", "000000000000", &eni, "OK"), "{whole}");
        let (start, end): (u64, u64) = (r[10].parse().expect("a time"), r[11].parse().expect("a time"));
        assert!(begun <= start + 1 && start <= end && end <= begun + 60, "{r:?}");
    }
    // One allowed connection: a record for each direction.
    let (there, back) = (of(&all, "ACCEPT", CLIENT, &ip, ("*", "80")), of(&all, "ACCEPT", &ip, CLIENT, ("80", "*")));
    assert_eq!((there.len(), back.len()), (1, 1), "{whole}");
    assert_eq!((&there[0][7], &there[0][5]), (&"6".to_owned(), &back[0][6]));
    let packets = |r: &[String]| r[8].parse::<u64>().expect("a number");
    let bytes = |r: &[String]| r[9].parse::<u64>().expect("a number");
    assert!(packets(there[0]) >= 4 && bytes(there[0]) >= packets(there[0]) * 40, "{whole}");
    // One that was refused: its own direction alone, with every try in one record.
    assert_eq!(of(&all, "REJECT", CLIENT, &ip, ("*", "22")).len(), 1, "{whole}");
    assert_eq!(of(&all, "REJECT", &ip, CLIENT, ("*", "25")).len(), 1, "{whole}");
    assert_eq!(of(&all, "ACCEPT", CLIENT, &ip, ("*", "22")).len(), 0, "{whole}");
    assert_eq!(of(&all, "ACCEPT", &ip, CLIENT, ("*", "25")).len(), 0, "{whole}");
    assert_eq!(of(&all, "ACCEPT", &ip, CLIENT, ("*", "80")).len(), 1, "{whole}");
    for never in ["169.254.", "127.0.0.1", " 53 "] {
        assert!(!whole.contains(never), "{never}: {whole}");
    }
    let shown = lab.json(&["flow-log", "show", &id])[0].take();
    assert_eq!((&shown["records"], &shown["lost"]), (&json!(all.len()), &json!(0)));
    assert_eq!(shown["deliverLogsStatus"], "SUCCESS");
    lab.netmode(&["flow-log", "rm", &id]).success();
    assert_eq!(lab.json(&["flow-log", "ls"]), json!([]));
}

#[test]
fn row_8_flow_logs_tell_what_was_allowed_and_what_refused_macvlan() {
    allowed_and_refused("macvlan");
}

#[test]
fn row_8_flow_logs_tell_what_was_allowed_and_what_refused_veth() {
    allowed_and_refused("veth");
}

#[test]
fn a_window_without_traffic_and_a_flow_over_several() {
    let lab = awsvpc::lab_on("veth");
    create(&lab, &["--to", &format!("file:{FILE}"), "--max-aggregation-interval", "60"]);
    awsvpc::serve(&lab, "idle");
    let idle = lab.json(&["eni", "show", "idle"])[0]["networkInterfaceId"].as_str().expect("an id").to_owned();
    let busy = awsvpc::serve(&lab, "busy");
    // Sends now, and again in the window after: a server that answers each line.
    let script = format!(
        "import socket, time
s = socket.create_connection(('{busy}', 9000), 5)
for n in range(7):
    s.sendall(b'x' * 1000); assert s.recv(1000); time.sleep(10)"
    );
    lab.spawn(&["netmode", "exec", "busy", "socat", "TCP-LISTEN:9000,fork", "EXEC:cat"], "/run/lab/socat.log");
    eventually("it listens", 5.0, || lab.inside("busy").sh("ss -Hltn sport = :9000 | wc -l").trim() == "1");
    let client = lab.spawn(&["nsenter", "--net=/run/netns/client", "python3", "-c", &script], "/run/lab/client.log");
    // The restart between is no gap: what was gathered is written, and what comes after is counted on.
    lab.sh("sleep 5");
    lab.restart_agent("TERM");
    assert_eq!(lab.reap(client, 90_000), Some(0), "{}", lab.read("/run/lab/client.log"));
    lab.netmode(&["rm", "-f", "busy", "idle"]).success();
    let (all, whole) = (records(&lab, FILE), lab.read(FILE));
    let there = of(&all, "ACCEPT", CLIENT, &busy, ("*", "9000"));
    assert!(there.len() >= 3, "a record for each window: {whole}");
    let sum = |index: usize| there.iter().filter_map(|r| r[index].parse::<u64>().ok()).sum::<u64>();
    assert!(sum(9) >= 7000 + sum(8) * 40 && sum(9) < 7000 + sum(8) * 72, "each byte once: {whole}");
    let nothing =
        |r: &&Vec<String>| r[2] == idle && r[13] == "NODATA" && r[3..10].iter().all(|f| f == "-") && r[12] == "-";
    assert!(all.iter().any(|r| nothing(&r)), "{whole}");
    assert!(all.iter().any(|r| r[13] == "SKIPDATA"), "an agent that starts does not know what it has missed: {whole}");
    let ends: BTreeSet<u64> = all.iter().filter_map(|r| r[11].parse().ok()).collect();
    assert!(ends.iter().any(|end| end % 60 < 3), "windows end with the minute: {whole}");
}

#[test]
fn a_window_ends_also_while_something_comes_all_the_time() {
    let lab = lab_on("macvlan");
    create(&lab, &["--to", &format!("file:{FILE}"), "--max-aggregation-interval", "60"]);
    let ip = awsvpc::serve_in(&lab, "web", &["web"]);
    // Refused tries without a pause, over a whole window and more.
    let script = format!(
        "import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.time() + 75
while time.time() < end: s.sendto(b'x', ('{ip}', 9)); time.sleep(0.05)"
    );
    let scan = lab.spawn(&["nsenter", "--net=/run/netns/client", "python3", "-c", &script], "/run/lab/scan.log");
    eventually("records of a window that ended", 75.0, || lab.read(FILE).contains(" REJECT OK"));
    assert!(lab.run(&["kill", "-0", &scan.to_string()]).status == 0, "while it goes on");
    lab.sh(&format!("kill {scan}"));
    lab.reap(scan, 2000);
}

#[test]
fn custom_fields_filters_and_scopes() {
    let lab = lab_on("veth");
    lab.netmode(&[
        "subnet",
        "create",
        "others",
        "--cidr",
        "10.0.3.0/24",
        "--ipv6-cidr",
        "fd00:3::/64",
        "--backend",
        "veth",
    ])
    .success();
    let format = "${version} ${srcaddr} ${dstport} ${tcp-flags} ${type} ${flow-direction} ${action} ${subnet-id} ${vpc-id} \
                  ${pkt-srcaddr} ${ecs-task-id} ${ecs-service-name} ${ecs-cluster-name} ${az-id} ${log-status}";
    create(&lab, &["--subnet", "tasks", "--to", "file:tasks.log", "--log-format", format]);
    create(&lab, &["--to", "file:rejected.log", "--traffic-type", "reject"]);
    let definition = ecs::definition("awsvpc", vec![ecs::serving("app", &["tcp/80"])]);
    let id = ecs::run(&lab, &definition, &["--subnet", "tasks", "--security-group", "web"]);
    let ip = ecs::address(&ecs::until(&lab, &id, "RUNNING"));
    lab.netmode(&[
        "run",
        "-d",
        "--name",
        "six",
        "--mode",
        "awsvpc",
        "--subnet",
        "others",
        "--security-group",
        "open",
        "--rootfs",
        "/",
        "probe",
        "serve",
        "tcp/80",
    ])
    .success();
    let six = lab.address6("six");
    // Only of the one ENI.
    create(
        &lab,
        &["--eni", "six", "--to", "file:six.log", "--log-format", "${srcaddr} ${dstaddr} ${type} ${protocol}"],
    );
    eventually("it listens", 5.0, || lab.at("client").who(tcp(format!("{ip}:80"))).is_ok());
    assert!(lab.at("client").who(tcp(format!("{ip}:22"))).is_err());
    assert!(lab.at("client").who(tcp(format!("[{six}]:80"))).is_ok());
    lab.at("client").run(&["ping", "-c", "1", "-W", "1", &six]);
    lab.netmode(&["task", "stop", &id]).success();
    lab.netmode(&["rm", "-f", "six"]).success();

    let of_tasks = lab.read("/var/log/netmode/tasks.log");
    let all: Vec<Vec<&str>> = of_tasks.lines().map(|l| l.split(' ').collect()).collect();
    assert!(all.iter().all(|r| r.len() == 15 && r[0] == "7"), "{of_tasks}");
    let there = all
        .iter()
        .find(|r| r[2] == "80" && r[6] == "ACCEPT" && r[5] == "ingress")
        .unwrap_or_else(|| panic!("{of_tasks}"));
    assert_eq!((there[1], there[4], there[9], there[14]), (CLIENT, "IPv4", CLIENT, "OK"));
    assert!(there[7].starts_with("subnet-") && there[8].starts_with("vpc-"), "{of_tasks}");
    assert_eq!((there[10], there[11], there[12]), (id.as_str(), "-", "default"));
    assert_eq!(there[3].parse::<u8>().map(|f| f & 2), Ok(2), "SYN: {of_tasks}");
    assert!(
        all.iter().any(|r| r[1] == ip && r[5] == "egress" && r[3].parse::<u8>().is_ok_and(|f| f & 18 == 18)),
        "{of_tasks}"
    );
    let refused = all.iter().find(|r| r[6] == "REJECT").unwrap_or_else(|| panic!("{of_tasks}"));
    assert_eq!((refused[2], refused[3]), ("22", "2"));

    let rejected = lab.read("/var/log/netmode/rejected.log");
    assert!(rejected.contains(" REJECT OK") && !rejected.contains(" ACCEPT "), "{rejected}");
    let of_six = lab.read("/var/log/netmode/six.log");
    assert!(of_six.lines().all(|l| l.contains(" IPv6 ") && l.contains(&six)), "{of_six}");
    assert!(of_six.lines().any(|l| l.ends_with(" 6")) && of_six.lines().any(|l| l.ends_with(" 58")), "{of_six}");
    let mode = lab.sh("stat -c %a /var/log/netmode /var/log/netmode/six.log");
    assert_eq!(mode.split_whitespace().collect::<Vec<_>>(), ["750", "640"]);
}

#[test]
fn no_flow_is_lost_at_two_thousand_connections_a_second() {
    let lab = awsvpc::lab_on("veth");
    // They are forgotten, and told of, up to the moment when the task ends, and while what is left is read.
    lab.sh("for state in close time_wait last_ack; do echo 7 >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_$state; done");
    create(&lab, &["--to", &format!("file:{FILE}"), "--max-aggregation-interval", "60"]);
    let ip = awsvpc::serve(&lab, "web");
    let said = lab.at("client").run(&["probe", "connect", &format!("{ip}:80"), "20000", "3000"]).success().stdout;
    let n: Vec<f64> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    println!("{} connections in {} s", n[0], n[1]);
    assert_eq!(n[0], 20_000.0, "{said}");
    lab.netmode(&["rm", "-f", "web"]).success();
    let all = records(&lab, FILE);
    let accepted = of(&all, "ACCEPT", CLIENT, &ip, ("*", "80"));
    let there: BTreeSet<&String> = accepted.iter().map(|r| &r[5]).collect();
    assert_eq!(there.len(), 20_000, "each connection has its record; it took {} s", n[1]);
    let mut packets: Vec<u32> = accepted.iter().filter_map(|r| r[8].parse().ok()).collect();
    packets.sort_unstable();
    let (usual, most) = (packets[packets.len() / 2], packets[packets.len() - 1]);
    assert!(most < 2 * usual, "none is counted twice: {usual} packets a record, and {most}");
    assert!(!all.iter().any(|r| r[13] == "SKIPDATA"));
}

/// The kernel remembers a connection for two minutes behind its end: whoever has the address then did not carry it.
#[test]
fn connections_of_who_had_the_address_before_are_not_told() {
    let lab = awsvpc::lab_on("veth");
    create(&lab, &["--to", &format!("file:{FILE}"), "--max-aggregation-interval", "60"]);
    let ip = awsvpc::serve(&lab, "web");
    assert!(lab.at("client").who(tcp(format!("{ip}:80"))).is_ok());
    lab.netmode(&["rm", "-f", "web"]).success();
    assert!(lab.sh("conntrack -L -p tcp 2>/dev/null").contains(&ip), "it is remembered");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let flags = ["--mode", "awsvpc", "--subnet", "tasks", "--security-group", "open", "--ip", &ip];
    lab.task("next", &flags, &["sleep", "99"]);
    let eni = lab.json(&["eni", "show", "next"])[0]["networkInterfaceId"].as_str().expect("an id").to_owned();
    lab.netmode(&["rm", "-f", "next"]).success();
    let all = records(&lab, FILE);
    let (of_next, before): (Vec<_>, Vec<_>) = all.iter().partition(|r| r[2] == eni);
    assert_eq!(before.iter().filter(|r| r[12] == "ACCEPT").count(), 2, "{all:?}");
    assert!(of_next.iter().all(|r| r[12] != "ACCEPT"), "{of_next:?}");
}

#[test]
fn files_are_put_aside_and_a_full_or_read_only_place_costs_its_records_alone() {
    let lab = awsvpc::lab_on("veth");
    lab.sh("mkdir -p /run/lab/small; mount -t tmpfs -o size=64k small /run/lab/small");
    let id = create(&lab, &["--to", "file:/run/lab/small/flow.log", "--max-size", "64k", "--keep", "2"]);
    lab.sh("dd if=/dev/zero of=/run/lab/small/fill bs=1k count=64 2>/dev/null || true");
    let visit = |name: &str| {
        let ip = awsvpc::serve(&lab, name);
        assert!(lab.at("client").who(tcp(format!("{ip}:80"))).is_ok(), "tasks go on");
        lab.netmode(&["rm", "-f", name]).success();
    };
    visit("one");
    let shown = lab.json(&["flow-log", "show", &id])[0].take();
    assert!(shown["lost"].as_u64() >= Some(2) && shown["deliverLogsStatus"] == "FAILED", "{shown}");
    assert!(shown["deliverLogsErrorMessage"].as_str().is_some_and(|e| e.contains("No space left")), "{shown}");
    assert!(lab.agent_log().contains("flow log records are lost"), "{}", lab.agent_log());
    let listed = lab.netmode(&["flow-log", "ls"]).success().stdout;
    assert!(listed.contains("FAILED"), "{listed}");
    lab.sh("rm /run/lab/small/fill; mount -o remount,ro /run/lab/small");
    visit("two");
    let again = lab.json(&["flow-log", "show", &id])[0].take();
    assert!(again["deliverLogsErrorMessage"].as_str().is_some_and(|e| e.contains("Read-only")), "{again}");
    assert!(again["lost"].as_u64() > shown["lost"].as_u64());
    lab.sh("mount -o remount,rw,size=1m /run/lab/small");
    visit("three");
    assert_eq!(lab.json(&["flow-log", "show", &id])[0]["deliverLogsStatus"], "SUCCESS");
    assert!(lab.read("/run/lab/small/flow.log").lines().count() >= 2);
    // Three files at most, each not longer than it may be.
    lab.sh("for n in 1 2 3; do head -c 65000 /dev/zero | tr '\\0' x >>/run/lab/small/flow.log; done");
    for name in ["four", "five", "six", "seven"] {
        lab.sh("head -c 65500 /dev/zero | tr '\\0' x >>/run/lab/small/flow.log");
        visit(name);
    }
    let files = lab.sh("cd /run/lab/small; ls");
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["flow.log", "flow.log.1", "flow.log.2"]);
}

#[test]
fn journald_and_the_agents_standard_output_are_places_too() {
    let lab = awsvpc::lab_on("veth");
    lab.netmode(&["flow-log", "create", "--to", "journald"]).refused(1, &["journald", "cannot be written", "--to"]);
    lab.sh("mkdir -p /run/systemd/journal");
    lab.spawn(
        &[
            "python3",
            "-c",
            "import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('/run/systemd/journal/socket')
while True: print(s.recv(65536).decode(), end='\\n--\\n', flush=True)",
        ],
        "/run/lab/journal",
    );
    eventually("the journal listens", 5.0, || lab.has_file("/run/systemd/journal/socket"));
    let id = create(&lab, &["--to", "journald"]);
    create(&lab, &["--to", "stdout"]);
    let ip = awsvpc::serve(&lab, "web");
    assert!(lab.at("client").who(tcp(format!("{ip}:80"))).is_ok());
    lab.netmode(&["rm", "-f", "web"]).success();
    let said = lab.read("/run/lab/journal");
    assert!(said.contains(&format!("FLOW_LOG_ID={id}\nMESSAGE=2 000000000000 eni-")), "{said}");
    assert!(said.contains("SYSLOG_IDENTIFIER=netmode-flow-log"), "{said}");
    assert!(lab.agent_log().lines().any(|l| l.starts_with("2 000000000000 eni-") && l.ends_with(" ACCEPT OK")));
}

#[test]
fn what_cannot_be_is_refused() {
    let lab = awsvpc::lab_on("veth");
    let refused = |flags: &[&str], status: i32, words: &[&str]| {
        lab.netmode(&[&["flow-log", "create"], flags].concat()).refused(status, words);
    };
    let to = ["--to", "file:x.log"];
    refused(&["--to", "elsewhere"], 1, &["elsewhere", "file:NAME", "journald"]);
    for path in
        ["file:", "file:../x", "file:/run/../etc/passwd", "file:/etc/", "file:a b", "file:.x", "file:/run/lab/a\nb"]
    {
        refused(&["--to", path], 1, &["no place for a flow log"]);
    }
    refused(&["--to", "file:/proc/nonsense/x"], 1, &["cannot be written", "file:/proc/nonsense/x", "--to"]);
    refused(&[&to[..], &["--subnet", "nonsense"]].concat(), 1, &["nonsense", "subnet"]);
    refused(&[&to[..], &["--eni", "nonsense"]].concat(), 1, &["nonsense", "eni ls"]);
    refused(&[&to[..], &["--eni", "a", "--subnet", "tasks"]].concat(), 1, &["exclude each other"]);
    refused(&[&to[..], &["--max-aggregation-interval", "30"]].concat(), 1, &["60 or 600"]);
    refused(&[&to[..], &["--log-format", "${srcaddr} ${nonsense}"]].concat(), 1, &["${nonsense}", "srcaddr dstaddr"]);
    refused(&[&to[..], &["--log-format", " "]].concat(), 1, &["names no field"]);
    refused(&[&to[..], &["--max-size", "1k"]].concat(), 1, &["64KiB"]);
    refused(&[&to[..], &["--max-size", "nonsense"]].concat(), 1, &["--max-size", "64m"]);
    let id = create(&lab, &to);
    for file in ["x.log", "x.log.1"] {
        refused(&["--to", &format!("file:{file}")], 1, &[&id, "another file"]);
    }
    lab.netmode(&["flow-log", "rm", &id]).success();
    lab.sh("mkfifo /run/lab/fifo");
    refused(&["--to", "file:/run/lab/fifo"], 1, &["cannot be written"]);
    lab.netmode(&["flow-log", "rm", "fl-nonsense"]).refused(1, &["fl-nonsense", "flow-log ls"]);
    // A link in the place of the file is not followed.
    lab.sh("mkdir -p /var/log/netmode; ln -s /etc/shadow /var/log/netmode/link.log");
    refused(&["--to", "file:link.log"], 1, &["cannot be written"]);
    assert_eq!(lab.json(&["flow-log", "ls"]), json!([]), "and nothing has changed");
}
