//! Metrics: what is counted, in which words, and who is told. And `netmode stats`, the same of each task.

use netmode_model::error::Code;
use netmode_tests::lab::address::*;
use netmode_tests::{Lab, awsvpc, eventually, tcp};
use std::collections::{BTreeMap, BTreeSet};

/// A family: type and unit, and its samples by name and labels.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: Option<String>,
    help: String,
    samples: BTreeMap<String, f64>,
}

/// What was told, as OpenMetrics 1.0 has it; what is not allowed there fails the test.
#[derive(Debug, Default)]
struct Told(BTreeMap<String, Family>);

/// Suffixes that the samples of a type have.
fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_count", "_sum"],
        "info" => &["_info"],
        other => panic!("no type {other:?} is told"),
    }
}

impl Told {
    fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("the last line is not # EOF: {text}"));
        assert!(!body.contains("# EOF") && !body.contains("\n\n") && !body.contains('\r'), "{body}");
        let (mut told, mut current) = (Self::default(), String::new());
        for line in body.lines() {
            match line.strip_prefix("# ") {
                Some(described) => told.describe(described, &mut current),
                None => told.sample(line, &current),
            }
        }
        assert!(told.0.values().all(|f| !f.kind.is_empty() && !f.help.is_empty()), "type and help: {told:?}");
        told
    }

    fn describe(&mut self, line: &str, current: &mut String) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let [word, name, rest] = words[..] else { panic!("{line:?}") };
        if name != *current {
            assert!(!self.0.contains_key(name), "the family {name} is interleaved");
            *current = name.into();
        }
        let family = self.0.entry(name.into()).or_default();
        assert!(family.samples.is_empty(), "{line:?} comes behind samples");
        match word {
            "HELP" => family.help = rest.into(),
            "TYPE" => family.kind = rest.into(),
            "UNIT" => {
                assert!(name.ends_with(&format!("_{rest}")), "the unit {rest} is not the end of {name}");
                family.unit = Some(rest.into());
            }
            _ => panic!("{line:?}"),
        }
    }

    fn sample(&mut self, line: &str, current: &str) {
        let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let name = key.split('{').next().unwrap_or_default();
        let family = self.0.get_mut(current).unwrap_or_else(|| panic!("{line:?} has no family"));
        let fits = suffixes(&family.kind).iter().any(|suffix| name == format!("{current}{suffix}"));
        assert!(fits, "{name} is no sample of the {} {current}", family.kind);
        assert!(key == name || key.ends_with('}'), "{line:?}");
        let value: f64 = value.parse().unwrap_or_else(|e| panic!("{e}: {line:?}"));
        assert!(value >= 0.0, "{line:?}");
        assert!(family.samples.insert(key.into(), value).is_none(), "{key} is told twice");
    }

    /// The sum of the samples of a name whose labels include all of these.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_family = |f: &&Family| f.samples.keys().any(|key| key.split('{').next() == Some(name));
        let family = self.0.values().find(of_family).unwrap_or_else(|| panic!("no sample of {name}"));
        let fits = |key: &str| key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label));
        family.samples.iter().filter(|(key, _)| fits(key)).map(|(_, n)| n).sum()
    }
}

const SCRAPE: &str = "curl -sS --unix-socket /run/netmode/netmode.sock http://netmode/v1/metrics";

fn scrape(lab: &Lab) -> Told {
    Told::parse(&lab.sh(SCRAPE))
}

/// What the page of metrics names: family, type, unit.
const FAMILIES: [(&str, &str, &str); 21] = [
    ("netmode_build", "info", ""),
    ("netmode_operations", "counter", ""),
    ("netmode_operation_duration_seconds", "histogram", "seconds"),
    ("netmode_endpoints", "gauge", ""),
    ("netmode_ports", "gauge", ""),
    ("netmode_ipam_addresses", "gauge", ""),
    ("netmode_drift_repairs", "counter", ""),
    ("netmode_dns_queries", "counter", ""),
    ("netmode_dns_forwarded", "counter", ""),
    ("netmode_dns_dropped", "counter", ""),
    ("netmode_flow_log_records", "counter", ""),
    ("netmode_sg_packets", "counter", ""),
    ("netmode_conntrack_entries", "gauge", ""),
    ("netmode_conntrack_entries_limit", "gauge", ""),
    ("netmode_task_receive_bytes", "counter", "bytes"),
    ("netmode_task_transmit_bytes", "counter", "bytes"),
    ("netmode_task_receive_packets", "counter", ""),
    ("netmode_task_transmit_packets", "counter", ""),
    ("netmode_task_receive_drops", "counter", ""),
    ("netmode_task_transmit_drops", "counter", ""),
    ("netmode_task_connections", "gauge", ""),
];

#[test]
fn every_metric_has_type_help_and_unit_before_its_samples() {
    let lab = Lab::start();
    let head = lab.sh(&format!("{SCRAPE} -o /dev/null -D -"));
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.to_lowercase().contains(kind), "{head}");
    let told = scrape(&lab);
    let wanted: BTreeSet<&str> = FAMILIES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(told.0.keys().map(String::as_str).collect::<BTreeSet<_>>(), wanted);
    for (name, kind, unit) in FAMILIES {
        let family = &told.0[name];
        assert_eq!((family.kind.as_str(), family.unit.as_deref().unwrap_or("")), (kind, unit), "{name}");
    }
    let version = lab.netmode(&["--version"]).success().stdout.trim().replace("netmode ", "");
    assert_eq!(told.sum("netmode_build_info", &[&format!("version=\"{version}\"")]), 1.0);
    let page = include_str!("../../docs/metrics.md");
    let samples =
        |f: &Family| f.samples.keys().map(|k| k.split('{').next().unwrap_or("").to_owned()).collect::<Vec<_>>();
    for name in told.0.values().flat_map(samples).filter(|n| !n.ends_with("_bucket")) {
        assert!(page.contains(&format!("`{name}")), "docs/metrics.md does not name {name}");
    }
}

#[test]
fn operations_are_counted_by_mode_and_result() {
    let lab = Lab::start();
    let ops = |told: &Told, op: &str, mode: &str, result: &str| {
        let labels = [("op", op), ("mode", mode), ("result", result)].map(|(k, v)| format!("{k}=\"{v}\""));
        told.sum("netmode_operations_total", &labels.each_ref().map(String::as_str))
    };
    let before = scrape(&lab);
    assert_eq!(before.sum("netmode_operations_total", &[]), 0.0);
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    lab.task("alone", &["--mode", "none"], &["sleep", "600"]);
    lab.task("whole", &["--mode", "host", "-p", "9000"], &["sleep", "600"]);
    let taken = ["run", "-d", "-p", "8080:80", "--rootfs", "/", "true"];
    lab.netmode(&taken).refused(125, &["8080", "web"]);
    lab.netmode(&["stop", "-t", "0", "alone"]).success();
    lab.netmode(&["rm", "alone"]).success();
    lab.netmode(&["rm", "web"]).refused(1, &["web"]);
    let told = scrape(&lab);
    for (op, mode, result, count) in [
        ("attach", "bridge", "ok", 1.0),
        ("attach", "bridge", "refused", 1.0),
        ("attach", "none", "ok", 1.0),
        ("attach", "host", "ok", 1.0),
        ("create", "bridge", "ok", 1.0),
        ("create", "bridge", "refused", 1.0),
        ("start", "bridge", "ok", 1.0),
        ("start", "none", "ok", 1.0),
        ("stop", "none", "ok", 1.0),
        ("detach", "none", "ok", 1.0),
        ("remove", "none", "ok", 1.0),
        ("remove", "bridge", "refused", 1.0),
        ("attach", "awsvpc", "ok", 0.0),
    ] {
        assert_eq!(ops(&told, op, mode, result), count, "{op} {mode} {result}");
    }
    assert_eq!(told.0["netmode_operations"].samples.keys().filter(|k| k.contains("failed")).count(), 24);
    assert_eq!(told.sum("netmode_operations_total", &["result=\"failed\""]), 0.0);
    let attach = ["op=\"attach\"", "mode=\"bridge\""];
    assert_eq!(told.sum("netmode_operation_duration_seconds_count", &attach), 2.0);
    let sum = told.sum("netmode_operation_duration_seconds_sum", &attach);
    assert!(sum > 0.0 && sum < 5.0, "seconds, not anything else: {sum}");
    let whole = [attach[0], attach[1], "le=\"+Inf\""];
    assert_eq!(told.sum("netmode_operation_duration_seconds_bucket", &whole), 2.0);
    for (mode, count) in [("bridge", 1.0), ("host", 1.0), ("none", 0.0), ("awsvpc", 0.0)] {
        assert_eq!(told.sum("netmode_endpoints", &[&format!("mode=\"{mode}\"")]), count, "{mode}");
    }
}

#[test]
fn ports_and_addresses_are_counted() {
    let lab = awsvpc::lab_on("veth");
    lab.serve("web", &["-p", "8080:80", "-p", "9000-9009:9000-9009/udp"], &["tcp/80"]);
    lab.task("whole", &["--mode", "host", "-p", "7000"], &["sleep", "600"]);
    awsvpc::serve(&lab, "eni");
    let told = scrape(&lab);
    let ports = |protocol: &str, kind: &str| {
        told.sum("netmode_ports", &[&format!("protocol=\"{protocol}\""), &format!("kind=\"{kind}\"")])
    };
    assert_eq!((ports("tcp", "published"), ports("udp", "published")), (1.0, 10.0));
    assert_eq!((ports("tcp", "reserved"), ports("sctp", "published")), (1.0, 0.0));
    let pool = |told: &Told, pool: &str| {
        ["used", "free", "resting"]
            .map(|state| told.sum("netmode_ipam_addresses", &[&format!("pool=\"{pool}\""), &format!("\"{state}\"")]))
    };
    assert_eq!(pool(&told, "172.17.0.0/16"), [1.0, 65532.0, 0.0]);
    assert_eq!(pool(&told, "10.0.2.0/24"), [1.0, 250.0, 0.0]);
    lab.netmode(&["rm", "-f", "eni", "web"]).success();
    eventually("the addresses are back, the ENI's at rest", 2.0, || {
        let told = scrape(&lab);
        pool(&told, "10.0.2.0/24") == [0.0, 250.0, 1.0] && pool(&told, "172.17.0.0/16") == [0.0, 65533.0, 0.0]
    });
    assert_eq!(scrape(&lab).sum("netmode_ports", &["published"]), 0.0);
}

#[test]
fn a_repair_is_counted_by_what_was_put_back() {
    let lab = Lab::with().config("[firewall]\nowner = false").start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let repairs = |object: &str| scrape(&lab).sum("netmode_drift_repairs_total", &[&format!("object=\"{object}\"")]);
    // The agent looks behind its start once.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(["table", "policy-rule", "network", "endpoint", "firewall"].map(repairs), [0.0; 5]);
    lab.sh("nft delete table inet netmode");
    eventually("the table is back", 2.0, || repairs("table") >= 1.0);
    lab.sh("ip link set nm0 down");
    eventually("the bridge is up", 2.0, || repairs("network") >= 1.0);
    lab.at("client").who_patiently(tcp("192.0.2.1:8080")).expect("published again");
}

#[test]
fn names_are_counted_by_the_code_of_their_answer() {
    let lab = Lab::start();
    lab.netmode(&["network", "create", "shop"]).success();
    lab.task("web", &["--network", "shop"], &["sleep", "600"]);
    let ask = |name: &str| lab.netmode(&["exec", "web", "dig", "+time=3", "+tries=1", "@127.0.0.11", name]);
    let codes = |code: &str| scrape(&lab).sum("netmode_dns_queries_total", &[&format!("rcode=\"{code}\"")]);
    let before = ["NOERROR", "NXDOMAIN"].map(codes);
    ask("web");
    ask("web");
    ask("nobody.netmode.internal");
    assert_eq!(["NOERROR", "NXDOMAIN"].map(codes), [before[0] + 2.0, before[1] + 1.0]);
    assert_eq!(scrape(&lab).sum("netmode_dns_forwarded_total", &[]), 0.0);
    assert_eq!(scrape(&lab).sum("netmode_dns_dropped_total", &[]), 0.0);
    lab.netmode(&["exec", "web", "bash", "-c", "echo no >/dev/udp/127.0.0.11/53"]).success();
    eventually("what is no question is counted", 3.0, || scrape(&lab).sum("netmode_dns_dropped_total", &[]) == 1.0);
}

/// Received and sent by a task's interface, as its own namespace counts.
fn own_count(lab: &Lab, task: &str) -> [f64; 2] {
    let line = lab.inside(task).sh("grep eth0: /proc/net/dev");
    let numbers: Vec<f64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    [numbers[0], numbers[8]]
}

fn bytes_of(told: &Told, task: &str) -> [f64; 2] {
    let labels = [format!("task=\"{task}\""), "interface=\"eth0\"".into()];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    ["receive", "transmit"].map(|way| told.sum(&format!("netmode_task_{way}_bytes_total"), &labels))
}

#[test]
fn bytes_are_those_that_the_tasks_own_namespace_counts() {
    for backend in ["veth", "macvlan"] {
        let lab = awsvpc::lab_on(backend);
        lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
        let eni = awsvpc::serve(&lab, "eni");
        lab.at("client").who_patiently(tcp("192.0.2.1:8080")).expect("published");
        // The host speaks to its neighbours by macvlan as little as they to it.
        let from = if backend == "macvlan" { "client" } else { "host" };
        lab.at(from).who_patiently(tcp(format!("{eni}:80"))).expect("open");
        for task in ["web", "eni"] {
            // A neighbour's discovery may come in between.
            eventually(&format!("{task} on {backend}"), 5.0, || {
                let before = own_count(&lab, task);
                let told = bytes_of(&scrape(&lab), task);
                before == told && own_count(&lab, task) == before && told[0] > 0.0
            });
        }
    }
}

#[test]
fn connections_are_those_that_the_host_tracks() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let client = lab.at("client");
    let open: Vec<_> = (0..3).map(|_| client.open(tcp("192.0.2.1:8080"))).collect();
    let told = scrape(&lab);
    assert_eq!(told.sum("netmode_task_connections", &["task=\"web\""]), 3.0);
    assert!(told.sum("netmode_conntrack_entries", &[]) >= 3.0);
    let limit: f64 = lab.sh("cat /proc/sys/net/netfilter/nf_conntrack_max").trim().parse().expect("a number");
    assert_eq!(told.sum("netmode_conntrack_entries_limit", &[]), limit);
    drop(open);
}

#[test]
fn what_a_security_group_lets_pass_and_drops_is_counted_for_it() {
    for backend in ["veth", "macvlan"] {
        let lab = awsvpc::lab_on(backend);
        lab.netmode(&["sg", "create", "shut"]).success();
        let groups = lab.json(&["sg", "ls"]);
        let id = |name: &str| {
            let mut all = groups.as_array().into_iter().flatten();
            let group = all.find(|g| g["groupName"] == name).unwrap_or_else(|| panic!("{name}: {groups}"));
            group["groupId"].as_str().expect("an id").to_owned()
        };
        let ip = awsvpc::serve_in(&lab, "web", &["shut"]);
        let beside = awsvpc::serve_in(&lab, "beside", &["open"]);
        let verdict = |name: &str, verdict: &str| {
            let labels = [format!("sg=\"{}\"", id(name)), format!("verdict=\"{verdict}\"")];
            scrape(&lab).sum("netmode_sg_packets_total", &[&labels[0], &labels[1]])
        };
        let (dropped, accepted) = (|name| verdict(name, "drop"), |name| verdict(name, "accept"));
        assert_eq!((dropped("shut"), dropped("open")), (0.0, 0.0), "{backend}");
        let before = accepted("open");
        lab.sh("nsenter --net=/run/netns/lan ip route replace 10.0.2.0/24 via 192.0.2.1");
        assert!(lab.at("client").who(tcp(format!("{ip}:80"))).is_err());
        assert!(dropped("shut") >= 1.0, "{backend}");
        assert_eq!((dropped("open"), accepted("shut")), (0.0, 0.0), "{backend}");
        for _ in 0..3 {
            lab.at("client").who(tcp(format!("{beside}:80"))).expect("a group lets it pass");
        }
        assert_eq!(accepted("open") - before, 3.0, "{backend}: connections, not packets");
    }
}

#[test]
fn names_of_others_are_told_as_they_are_and_once() {
    let lab = Lab::start();
    lab.task("same", &[], &["sleep", "600"]);
    for (netns, owner) in [("one", "odd \"name\" \\ of one"), ("two", "same")] {
        lab.sh(&format!("ip netns add {netns}"));
        lab.netmode(&["attach", "--netns", &format!("/run/netns/{netns}"), "--owner", owner]).success();
        lab.sh(&format!("ip netns exec {netns} ping -qc1 {GATEWAY}"));
    }
    // The parser refuses a sample that comes twice.
    let told = scrape(&lab);
    let odd = r#"task="odd \"name\" \\ of one""#;
    assert!(told.sum("netmode_task_receive_bytes_total", &[odd]) > 0.0, "{told:?}");
    assert!(told.sum("netmode_task_receive_bytes_total", &["task=\"same\""]) > 0.0);
    assert_eq!(told.0["netmode_task_receive_bytes"].samples.len(), 2);
}

#[test]
fn who_may_look_may_scrape() {
    let lab = Lab::with().config("[[api.access]]\nuid = 1000\nallow = \"read\"").start();
    lab.sh("chmod 666 /run/netmode/netmode.sock");
    let as_user = |uid: u32| {
        let words = format!("setpriv --reuid {uid} --clear-groups {SCRAPE} -o /dev/null -w '%{{http_code}}'");
        lab.sh(&words).trim().to_owned()
    };
    assert_eq!((as_user(1000), as_user(1001)), ("200".into(), "403".into()));
}

#[test]
fn the_loopback_port_answers_the_host_alone() {
    let lab = Lab::with().config("[metrics]\nlisten = \"127.0.0.1:9464\"").start();
    let code = |words: &str| lab.sh(&format!("curl -sS -o /dev/null -w '%{{http_code}}' {words}"));
    let own = "http://127.0.0.1:9464";
    Told::parse(&lab.sh(&format!("curl -sS {own}/metrics")));
    assert_eq!(code(&format!("-I {own}/metrics")), "200");
    assert_eq!(code(&format!("-H 'Host: localhost:9464' {own}/metrics")), "200");
    for foreign in
        ["Host: metrics.example", "Host: 192.0.2.1:9464", "Host: localhost.example", "Origin: http://localhost"]
    {
        assert_eq!(code(&format!("-H '{foreign}' {own}/metrics")), "403", "{foreign}");
    }
    assert_eq!((code(&format!("{own}/")), code(&format!("{own}/v1/tasks"))), ("404".into(), "404".into()));
    for method in ["POST", "DELETE", "PUT"] {
        assert_eq!(code(&format!("-X {method} {own}/metrics")), "405", "{method}");
    }
    let long = format!("-H \"X: $(head -c 40000 /dev/zero | tr '\\0' a)\" {own}/metrics");
    assert_eq!(code(&long), "431", "headers have a bound");
    assert!(lab.at("client").who(tcp("192.0.2.1:9464")).is_err());
    lab.sh("nsenter --net=/run/netns/client ip route add 127.0.0.0/8 via 192.0.2.1 2>/dev/null || true");
    let web = lab.serve("web", &[], &["tcp/80"]);
    assert!(!web.is_empty());
    assert!(lab.inside("web").who(tcp(format!("{GATEWAY}:9464"))).is_err());
}

#[test]
fn nobody_is_told_where_nothing_is_configured_and_no_other_place_is_taken() {
    let lab = Lab::start();
    assert_eq!(lab.sh("ss -Hltn sport = :9464").trim(), "");
    let lab = Lab::with().config("[metrics]\nlisten = \"192.0.2.1:9464\"").no_agent().start();
    let error = lab.try_start_agent(&[]).expect_err("not on the loopback");
    assert!(error.contains("metrics.listen: must be an address of the host's loopback with a port"), "{error}");
    lab.write("/etc/netmode/netmode.toml", "[metrics]\nlisten = \"127.0.0.1:9464\"\n");
    let taken = lab.at("host").occupy(tcp("127.0.0.1:9464"));
    let error = lab.try_start_agent(&[]).expect_err("somebody has the port");
    assert!(error.contains("section [metrics]") && error.contains("in use"), "{error}");
    drop(taken);
}

#[test]
fn stats_shows_what_each_task_uses() {
    let lab = awsvpc::lab_on("macvlan");
    lab.serve("web", &["-p", "8080:80", "--memory", "64m"], &["tcp/80"]);
    lab.task("whole", &["--mode", "host"], &["sleep", "600"]);
    let eni = awsvpc::serve(&lab, "eni");
    lab.task("busy", &["--mode", "none"], &["sh", "-c", "while :; do :; done"]);
    lab.task("done", &[], &["true"]);
    lab.netmode(&["wait", "done"]).success();
    let client = lab.at("client");
    let open = [client.open(tcp("192.0.2.1:8080")), client.open(tcp(format!("{eni}:80")))];

    let all = lab.json(&["stats", "--no-stream"]);
    let of = |name: &str| {
        let mut all = all.as_array().into_iter().flatten();
        all.find(|t| t["name"] == name).cloned().unwrap_or_else(|| panic!("{name} is not in {all:?}"))
    };
    assert_eq!(all.as_array().map(Vec::len), Some(4));
    for (name, mode) in [("web", "bridge"), ("eni", "awsvpc")] {
        let task = of(name);
        assert_eq!((&task["networkMode"], &task["connections"]), (&mode.into(), &1.into()), "{task}");
        let link = &task["interfaces"][0];
        assert_eq!(link["interface"], "eth0");
        assert!(link["receiveBytes"].as_u64() > Some(0) && link["transmitPackets"].as_u64() > Some(0), "{task}");
        assert!(task["pids"].as_u64() >= Some(1) && task["memoryBytes"].as_u64() > Some(0), "{task}");
    }
    assert_eq!(of("web")["memoryLimitBytes"], 64 << 20);
    for name in ["whole", "busy"] {
        let task = of(name);
        assert!(task["connections"].is_null() && task["interfaces"].as_array().is_some_and(Vec::is_empty), "{task}");
    }
    let busy = of("busy")["cpuPercent"].as_f64().unwrap_or_default();
    assert!(busy > 1.0 && busy < 250.0, "{busy} % of one processor");
    assert!(of("whole")["cpuPercent"].as_f64() < Some(busy));
    drop(open);

    let table = lab.netmode(&["stats", "--no-stream", "web", "whole"]).success().stdout;
    let lines: Vec<&str> = table.lines().collect();
    let head: Vec<&str> = lines[0].split("   ").map(str::trim).filter(|w| !w.is_empty()).collect();
    let wanted =
        ["NAME", "ID", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET RX / TX", "PACKETS RX / TX", "DROPS RX / TX"];
    assert_eq!(head, [&wanted[..], &["CONNS", "PIDS"]].concat());
    assert!(lines.len() == 3 && lines[1].starts_with("web ") && lines[1].contains(" / 64.0MiB"), "{table}");
    assert!(lines[2].starts_with("whole ") && lines[2].contains("   -   "), "{table}");
    assert!(!table.contains('\u{1b}'), "no colours, and the screen is left alone");
    // Without a terminal it is the same; by a template as well.
    assert_eq!(lab.netmode(&["stats", "web"]).success().stdout.lines().count(), 2);
    let text = lab.netmode(&["stats", "--format", "{{.Name}} {{.PIDs}}", "whole"]).success().stdout;
    assert_eq!(text, "whole 1\n");
    let with_ended = lab.netmode(&["stats", "-a", "--format", "{{.Name}}"]).success().stdout;
    assert!(with_ended.contains("done\n"), "{with_ended}");
}

#[test]
fn stats_of_a_task_that_is_not_there_is_one_sentence() {
    let lab = Lab::start();
    lab.task("web", &[], &["sleep", "600"]);
    lab.netmode(&["stats", "--no-stream", "web", "nobody"]).refused(1, &["no task \"nobody\"", "netmode ps -a"]);
    lab.netmode(&["stats", "nobody", "-o", "json"]).refused_with(1, Code::NotFound);
    lab.netmode(&["stats", ""]).refused(1, &["cannot be empty"]);
}

#[test]
fn stats_is_renewed_on_a_terminal() {
    let lab = Lab::start();
    lab.task("web", &[], &["sleep", "600"]);
    let seen = lab.sh("timeout 8 script -qec 'netmode stats' /dev/null </dev/null || true");
    assert!(seen.matches("NAME ").count() >= 2, "{seen:?}");
}
