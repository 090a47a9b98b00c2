//! Names: what containers are called, who answers, and what nobody is told. Rows 2, 3 and 37 of the feature table.

use netmode_tests::lab::address::*;
use netmode_tests::{Lab, awsvpc, ecs, eventually, tcp};
use std::collections::BTreeSet;

/// A lab whose host asks the far server, which knows `www.example.test` and keeps a record of who asks for what.
fn lab_with_upstream(servers: &[&str]) -> Lab {
    let lines: String = servers.iter().map(|ip| format!("nameserver {ip}\n")).collect();
    let lab = Lab::with().first(&format!("printf '{lines}search corp.test\n' >/run/lab/resolv.conf; mount --bind /run/lab/resolv.conf /etc/resolv.conf")).start();
    serve_upstream(&lab, "far", FAR, "");
    lab
}

/// A name server in a place of the lab.
fn serve_upstream(lab: &Lab, place: &str, ip: &str, more: &str) {
    lab.sh(&format!(
        "nsenter --net=/run/netns/{place} dnsmasq --no-resolv --no-hosts --no-daemon --user=root --bind-interfaces \
         --listen-address={ip} --address=/www.example.test/203.0.113.80 --address=/app.corp.test/203.0.113.81 \
         --log-queries --log-facility=- {more} >/run/lab/upstream-{place}.log 2>&1 &
         for n in $(seq 100); do nsenter --net=/run/netns/{place} dig +time=1 +tries=1 @{ip} www.example.test >/dev/null && break; sleep 0.05; done; \
         : >/run/lab/upstream-{place}.log"
    ));
}

fn dig(lab: &Lab, task: &str, words: &str) -> String {
    let script = format!("dig +time=3 +tries=1 {words}");
    lab.netmode(&["exec", task, "sh", "-c", &script]).stdout
}

fn short(lab: &Lab, task: &str, words: &str) -> Vec<String> {
    dig(lab, task, &format!("+short {words}")).lines().map(str::to_owned).collect()
}

/// The response code and the answers' count of a query.
fn status(lab: &Lab, task: &str, words: &str) -> String {
    let said = dig(lab, task, words);
    let line = said.lines().find(|l| l.contains("status:")).unwrap_or_else(|| panic!("{said}"));
    line.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default().to_owned()
}

fn shop(lab: &Lab) {
    lab.netmode(&["network", "create", "--subnet", "10.9.0.0/24", "--ipv6", "--subnet", "fd00:9::/64", "shop"])
        .success();
}

#[test]
fn row_37_a_network_of_ones_own_has_names() {
    let lab = Lab::start();
    shop(&lab);
    let id = lab.serve("web-1", &["--network", "shop", "--network-alias", "web"], &["tcp/80"]);
    lab.serve("web-2", &["--network", "shop", "--network-alias", "web"], &["tcp/80"]);
    lab.task("client", &["--network", "shop", "--link", "web-1:front"], &["sleep", "600"]);
    let told = lab.netmode(&["exec", "client", "cat", "/etc/resolv.conf"]).success().stdout;
    assert!(told.starts_with("nameserver 127.0.0.11\n") && told.contains("ndots:0"), "{told}");
    let (one, two) = (lab.address("web-1"), lab.address("web-2"));

    for name in ["web-1", "WEB-1", "web-1.shop", "front", &id[..12], "web-1.netmode.internal"] {
        assert_eq!(short(&lab, "client", &format!("@127.0.0.11 {name}")).join(" "), one, "{name}");
        assert_eq!(short(&lab, "client", &format!("+tcp @127.0.0.11 {name}")).join(" "), one, "{name} by TCP");
    }
    assert_eq!(short(&lab, "client", "AAAA web-1"), [lab.address6("web-1")]);
    assert_eq!(short(&lab, "client", &format!("-x {one}")), ["web-1.shop."]);
    assert_eq!(short(&lab, "client", &format!("-x {}", lab.address6("web-1"))), ["web-1.shop."]);
    let said = dig(&lab, "client", "web-1");
    assert!(said.contains("\tA\t") && said.contains("web-1.\t\t\t5\tIN"), "a short TTL: {said}");

    // Round robin: both orders come.
    let firsts: BTreeSet<String> = (0..30).filter_map(|_| short(&lab, "client", "web").into_iter().next()).collect();
    assert_eq!(firsts, [one.clone(), two.clone()].into());
    // Clients of the C library, and curl.
    let found = lab.netmode(&["exec", "client", "getent", "ahosts", "web"]).success().stdout;
    assert!(found.contains(&one) && found.contains(&two), "{found}");
    let seen = lab.netmode(&["exec", "client", "curl", "-sS", "--max-time", "5", "http://web-1/"]);
    assert_eq!(seen.status, 0, "{}", seen.stderr);

    // A name goes with its container, at once.
    lab.netmode(&["rm", "-f", "web-1"]).success();
    assert_eq!(status(&lab, "client", "web-1"), "NXDOMAIN");
    assert_eq!(short(&lab, "client", "web"), [two]);
}

#[test]
fn a_name_server_can_be_run_in_a_container() {
    let lab = Lab::start();
    shop(&lab);
    lab.task(
        "ns",
        &["--network", "shop"],
        &["dnsmasq", "-k", "--user=root", "--no-resolv", "--no-hosts", "--port=53", "--address=/own.test/192.0.2.77"],
    );
    lab.task("client", &["--network", "shop"], &["sleep", "600"]);
    eventually("it answers", 5.0, || short(&lab, "client", "@ns own.test") == ["192.0.2.77"]);
    assert_eq!(short(&lab, "ns", "client"), [lab.address("client")], "and has ours beside its own");
    assert_eq!(lab.netmode(&["exec", "ns", "sh", "-c", "ss -Hlun sport = :53 | wc -l"]).stdout.trim(), "2");
}

#[test]
fn who_joins_a_network_joins_its_names_and_who_leaves_it_loses_them() {
    let lab = Lab::start();
    shop(&lab);
    lab.netmode(&["network", "create", "back"]).success();
    lab.task("db", &["--network", "back"], &["sleep", "600"]);
    lab.task("web", &["--network", "shop"], &["sleep", "600"]);
    for name in ["db", "db.back", "db.netmode.internal"] {
        assert_eq!(status(&lab, "web", name), "NXDOMAIN", "{name} is of a network that web is not on");
    }
    assert_eq!(status(&lab, "web", &format!("-x {}", lab.address("db"))), "NXDOMAIN");
    lab.netmode(&["network", "connect", "back", "web"]).success();
    assert_eq!(short(&lab, "web", "db"), [lab.address("db")]);
    assert_eq!(short(&lab, "db", "web"), [lab.address_on("web", "back", "ipv4Addresses")]);
    lab.netmode(&["network", "disconnect", "back", "web"]).success();
    assert_eq!(status(&lab, "web", "db"), "NXDOMAIN");
    assert_eq!(status(&lab, "db", "web"), "NXDOMAIN");
    // Also with the last one.
    lab.netmode(&["network", "disconnect", "shop", "web"]).success();
    assert_ne!(status(&lab, "web", "@127.0.0.11 web"), "NOERROR");
    assert_ne!(status(&lab, "web", "@127.0.0.11 web.shop"), "NOERROR");
    lab.netmode(&["network", "connect", "shop", "web"]).success();
    // Whoever shares the namespace shares the names.
    let out = lab.netmode(&["run", "--rm", "--network", "container:web", "--rootfs", "/", "dig", "+short", "web"]);
    assert_eq!(out.stdout.trim(), lab.address("web"), "{}", out.stderr);
}

#[test]
fn nothing_answers_on_the_default_network() {
    let lab = Lab::start();
    lab.task("one", &[], &["sleep", "600"]);
    let inside = lab.inside("one");
    assert_eq!(inside.sh("ss -Hlnu; ss -Hlnt").trim(), "");
    assert!(!inside.sh("nft list tables").contains("netmode_inside"));
    assert_ne!(lab.netmode(&["exec", "one", "getent", "hosts", "one-more"]).status, 0);
    // One that joins a network of one's own later has its resolver from then on.
    shop(&lab);
    lab.task("web", &["--network", "shop"], &["sleep", "600"]);
    lab.netmode(&["network", "connect", "shop", "one"]).success();
    assert_eq!(short(&lab, "one", "@127.0.0.11 web"), [lab.address("web")]);
}

#[test]
fn other_names_are_asked_of_the_hosts_servers() {
    let lab = lab_with_upstream(&[FAR]);
    shop(&lab);
    lab.task("web", &["--network", "shop"], &["sleep", "600"]);
    assert_eq!(short(&lab, "web", "www.example.test"), ["203.0.113.80"]);
    assert_eq!(short(&lab, "web", "+tcp www.example.test"), ["203.0.113.80"]);
    let found = lab.netmode(&["exec", "web", "getent", "hosts", "app"]).success().stdout;
    assert!(found.contains("203.0.113.81"), "the host's search domain: {found}");
    assert_eq!(status(&lab, "web", "ANY www.example.test"), "NOTIMP");
    for private in ["app", "-x 10.9.0.77", "gone.netmode.internal", "'my host'"] {
        assert_eq!(status(&lab, "web", private), "NXDOMAIN", "{private}");
    }
    let asked = lab.read("/run/lab/upstream-far.log");
    for private in ["10.9.0.77", "77.0.9.10", "netmode.internal", "my host", "query[A] app from"] {
        assert!(!asked.contains(private), "{private} went out:\n{asked}");
    }
    // Servers of the host that change are asked from then on; those that a container names, at once.
    serve_upstream(&lab, "client", CLIENT, "--address=/moved.example.test/192.0.2.99");
    assert_ne!(status(&lab, "web", "moved.example.test"), "NOERROR");
    lab.task("other", &["--network", "shop", "--dns", CLIENT], &["sleep", "600"]);
    assert_eq!(short(&lab, "other", "moved.example.test"), ["192.0.2.99"]);
    assert_eq!(short(&lab, "other", "web"), [lab.address("web")], "and ours are known all the same");
    lab.sh(&format!("echo nameserver {CLIENT} >/run/lab/resolv.conf"));
    eventually("the new server", 5.0, || short(&lab, "web", "moved.example.test") == ["192.0.2.99"]);
}

#[test]
fn a_resolver_on_the_hosts_loopback_is_asked_there() {
    // As systemd-resolved's stub: no other server is named.
    let lab = lab_with_upstream(&["127.0.0.53"]);
    lab.sh(
        "dnsmasq --no-resolv --no-hosts --no-daemon --user=root --bind-interfaces --listen-address=127.0.0.53 \
         --address=/stub.example.test/192.0.2.53 >/run/lab/stub.log 2>&1 &
         for n in $(seq 100); do dig +time=1 +tries=1 @127.0.0.53 stub.example.test >/dev/null && break; sleep 0.05; done",
    );
    shop(&lab);
    lab.task("web", &["--network", "shop"], &["sleep", "600"]);
    assert_eq!(short(&lab, "web", "stub.example.test"), ["192.0.2.53"]);
    assert_eq!(short(&lab, "web", "+tcp stub.example.test"), ["192.0.2.53"]);
}

#[test]
fn a_dead_first_server_costs_its_head_start() {
    let lab = lab_with_upstream(&["203.0.113.77", FAR]);
    shop(&lab);
    lab.task("web", &["--network", "shop"], &["sleep", "600"]);
    let took = |said: &str| {
        let line = said.lines().find(|l| l.contains("Query time")).map(str::to_owned);
        line.and_then(|l| l.split_whitespace().nth(3)?.parse::<u32>().ok()).unwrap_or(u32::MAX)
    };
    let mut times: Vec<u32> = (0..9).map(|_| took(&dig(&lab, "web", "www.example.test"))).collect();
    times.sort_unstable();
    assert!((90..1000).contains(&times[4]), "peers take 5 s: {times:?} ms");
}

#[test]
fn s7_an_internal_network_sends_no_question_out() {
    let lab = lab_with_upstream(&[FAR]);
    lab.netmode(&["network", "create", "--internal", "vault"]).success();
    lab.task("a", &["--network", "vault"], &["sleep", "600"]);
    lab.task("b", &["--network", "vault"], &["sleep", "600"]);
    assert_eq!(short(&lab, "a", "b"), [lab.address("b")]);
    let said = dig(&lab, "a", "www.example.test");
    assert!(said.contains("status: REFUSED") && !said.contains(" ra"), "{said}");
    let dump = lab.spawn(
        &["tcpdump", "-ni", "any", "-w", "/run/lab/dump", "port", "53", "and", "not", "host", "127.0.0.11"],
        "/run/lab/tcpdump.log",
    );
    eventually("tcpdump listens", 5.0, || lab.read("/run/lab/tcpdump.log").contains("listening"));
    lab.netmode(&["exec", "a", "sh", "-c",
        "for n in $(seq 1000); do echo \"n$n.example.test A\"; done >/tmp/names; dig +time=1 +tries=1 +short -f /tmp/names >/dev/null"]);
    lab.sh(&format!("kill {dump}"));
    lab.reap(dump, 3000);
    assert_eq!(lab.sh("tcpdump -nr /run/lab/dump 2>/dev/null | wc -l").trim(), "0");
    assert_eq!(lab.read("/run/lab/upstream-far.log"), "");
    // With a second network that leads out, it asks.
    shop(&lab);
    lab.netmode(&["network", "connect", "shop", "a"]).success();
    assert_eq!(short(&lab, "a", "www.example.test"), ["203.0.113.80"]);
}

#[test]
fn what_nobody_should_ask_is_refused() {
    let lab = Lab::start();
    shop(&lab);
    lab.task("web", &["--network", "shop"], &["sleep", "600"]);
    assert!(dig(&lab, "web", "ANY web").contains("RFC8482"));
    assert!(dig(&lab, "web", "AXFR shop").contains("Transfer failed"));
    assert_eq!(status(&lab, "web", "CH TXT version.bind"), "REFUSED");
    assert_eq!(status(&lab, "web", "+edns=1 +noednsneg web"), "BADVERS");
    assert_eq!(status(&lab, "web", "+opcode=update web"), "NOTIMP");
    // A label of 64 bytes by hand; no tool sends one.
    let script = r"import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)
head = b'\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00'
for bad in [bytes([64]) + b'a' * 64 + b'\0\0\1\0\1', b'\xc0\x0c\0\1\0\1', b'\3web']:
    s.sendto(head + bad, ('127.0.0.11', 53)); r = s.recv(512)
    assert r[:2] == head[:2] and r[3] & 15 == 1, r
s.sendto(head[:2] + b'\x81' + head[3:] + b'\3web\0\0\1\0\1', ('127.0.0.11', 53))
try: s.recv(512); raise SystemExit('a reply was answered')
except TimeoutError: print('fine')";
    let out = lab.netmode(&["exec", "web", "python3", "-c", script]);
    assert_eq!(out.stdout.trim(), "fine", "{}", out.stderr);
}

#[test]
fn s8_one_client_with_a_thousand_slow_connections_changes_nobody_elses_answers() {
    let lab = Lab::start();
    shop(&lab);
    lab.task("bad", &["--network", "shop", "--ulimit", "nofile=4096:4096"], &["sleep", "600"]);
    lab.task("good", &["--network", "shop"], &["sleep", "600"]);
    let slow = r"import socket, threading, time, os
def flood():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True: s.sendto(os.urandom(40), ('127.0.0.11', 53)); time.sleep(0.0002)
threading.Thread(target=flood, daemon=True).start()
held = []
for n in range(1000):
    try:
        s = socket.create_connection(('127.0.0.11', 53), 1); s.send(b'\x10'); held.append(s)
    except OSError: pass
print('held', flush=True); time.sleep(20)";
    lab.write("/run/lab/slow.py", slow);
    lab.spawn(&["netmode", "exec", "bad", "python3", "-c", slow], "/run/lab/slow.log");
    eventually("a thousand connections were begun", 15.0, || lab.read("/run/lab/slow.log").contains("held"));
    let ask = r"import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
q = b'\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\4good\0\0\1\0\1'
t = []
for n in range(1000):
    b = time.perf_counter(); s.sendto(q, ('127.0.0.11', 53)); r = s.recv(512); t.append(time.perf_counter() - b)
    assert r[3] & 15 == 0 and r[7] == 1, r
c = socket.create_connection(('127.0.0.11', 53), 10); c.send(len(q).to_bytes(2, 'big') + q); assert c.recv(512)
print(sorted(t)[989] * 1000)";
    let out = lab.netmode(&["exec", "good", "python3", "-c", ask]);
    let p99: f64 = out.stdout.trim().parse().unwrap_or_else(|_| panic!("{}", out.stderr));
    println!("p99 beside a flood: {p99:.2} ms");
    let open = lab.sh(&format!("ls /proc/{}/fd | wc -l", lab.agent_pid()));
    assert!(open.trim().parse::<u32>().unwrap_or(0) < 300, "descriptors of the agent: {open}");
}

#[test]
fn no_query_is_lost_while_names_change_a_thousand_times() {
    let lab = Lab::start();
    shop(&lab);
    lab.netmode(&["network", "create", "busy"]).success();
    lab.task("web", &["--network", "shop"], &["sleep", "600"]);
    let ask = r"import socket, time, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
q = b'\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\3web\0\0\1\0\1'
n = lost = 0
end = time.time() + 600
import os
while time.time() < end and not os.path.exists('/tmp/stop'):
    n += 1
    try:
        s.sendto(q, ('127.0.0.11', 53)); r = s.recv(512)
        if r[3] & 15 or r[7] != 1: lost += 1
    except TimeoutError: lost += 1
print(n, lost)";
    let asking = lab.spawn(&["netmode", "exec", "web", "python3", "-c", ask], "/run/lab/asked.log");
    // Each connect and each disconnect is a change of the names.
    lab.sh("for n in $(seq 500); do netmode network connect busy web && netmode network disconnect busy web || exit 1; done");
    lab.netmode(&["exec", "web", "touch", "/tmp/stop"]).success();
    lab.reap(asking, 5000);
    let said = lab.read("/run/lab/asked.log");
    let (asked, lost) = said.trim().split_once(' ').unwrap_or_else(|| panic!("{said}"));
    assert!(asked.parse::<u32>().unwrap_or(0) > 1000 && lost == "0", "{said}");
}

#[test]
fn names_outlive_the_agent_and_come_back_with_it() {
    let lab = Lab::start();
    shop(&lab);
    lab.task("web", &["--network", "shop", "--network-alias", "front"], &["sleep", "600"]);
    lab.task("db", &["--network", "shop"], &["sleep", "600"]);
    for signal in ["TERM", "KILL"] {
        let table = lab.inside("web").sh("nft list table inet netmode_inside");
        lab.restart_agent(signal);
        assert_eq!(short(&lab, "db", "front"), [lab.address("web")], "after {signal}");
        assert_eq!(lab.inside("web").sh("nft list table inet netmode_inside"), table);
    }
    // Something has taken the port meanwhile.
    let port = lab.inside("web").sh("ss -Hlun | grep -o '127.0.0.11:[0-9]*' | cut -d: -f2").trim().to_owned();
    lab.end_agent("KILL");
    lab.spawn(
        &["nsenter", &format!("--net={}", netns(&lab, "web")), "nc", "-lu", "127.0.0.11", &port],
        "/run/lab/nc.log",
    );
    lab.sh("sleep 0.3");
    lab.start_agent();
    assert_eq!(short(&lab, "web", "db"), [lab.address("db")]);
}

fn netns(lab: &Lab, task: &str) -> String {
    let short = lab.sh(&format!("grep -lr '\"{task}\"' /run/netmode/endpoints | head -1"));
    let record: serde_json::Value = serde_json::from_str(&lab.read(short.trim())).expect("a record");
    format!("/run/netns/{}", record["netns"]["own"].as_str().expect("a name"))
}

#[test]
fn the_host_itself_can_ask() {
    let lab = Lab::with().config("[dns]\nhost = \"127.0.0.1:5354\"").start();
    shop(&lab);
    lab.task("web", &["--network", "shop"], &["sleep", "600"]);
    lab.task("plain", &[], &["sleep", "600"]);
    let ask = |name: &str| lab.sh(&format!("dig +short -p 5354 @127.0.0.1 {name}")).trim().to_owned();
    assert_eq!(ask("web.netmode.internal"), lab.address("web"));
    assert_eq!(ask("web.shop.netmode.internal"), lab.address("web"));
    assert_eq!(ask("plain.netmode.internal"), lab.address("plain"));
    assert!(lab.sh("dig -p 5354 @127.0.0.1 www.example.test").contains("status: REFUSED"));
    // The drop-in that the package holds names the same.
    let lab = Lab::with().config("[dns]\nhost = \"192.0.2.1:53\"").no_agent().start();
    let refused = lab.try_start_agent(&[]).expect_err("not on the LAN");
    assert!(refused.contains("dns.host") && refused.contains("loopback"), "{refused}");
}

#[test]
fn systemd_resolved_finds_containers_by_the_drop_in() {
    let lab = Lab::with().config("[dns]\nhost = \"127.0.0.1:5354\"").start();
    lab.task("plain", &[], &["sleep", "600"]);
    let drop_in = include_str!("../../agent/package/resolved.conf");
    lab.sh(&format!(
        "mkdir -p /etc/systemd/resolved.conf.d /run/dbus /run/systemd/resolve
         chown systemd-resolve: /run/systemd/resolve
         printf '%s' '{drop_in}' >/etc/systemd/resolved.conf.d/netmode.conf
         dbus-daemon --system --fork"
    ));
    lab.spawn(&["/lib/systemd/systemd-resolved"], "/run/lab/resolved.log");
    lab.sh("for _ in $(seq 100); do dig +time=1 +tries=1 @127.0.0.53 localhost >/dev/null && exit; sleep 0.1; done; exit 1");
    let ask = |words: &str| lab.sh(&format!("dig +short @127.0.0.53 {words}")).trim().to_owned();
    let ip = lab.address("plain");
    assert_eq!(ask("plain.netmode.internal"), ip, "{}", lab.read("/run/lab/resolved.log"));
    let link = lab.sh("resolvectl query plain.netmode.internal");
    assert!(link.contains(&ip), "{link}");
}

fn names_of_enis(backend: &str) {
    let lab = awsvpc::lab_on(backend);
    let ip = awsvpc::serve(&lab, "web");
    awsvpc::serve(&lab, "client");
    let name = format!("ip-{}.netmode.internal", ip.replace('.', "-"));
    assert_eq!(lab.netmode(&["exec", "web", "hostname"]).stdout.trim(), name);
    assert_eq!(lab.netmode(&["exec", "web", "cat", "/etc/hostname"]).stdout.trim(), name);
    let found = lab.netmode(&["exec", "web", "sh", "-c", "getent hosts $(hostname)"]).success().stdout;
    assert!(found.contains(&ip), "{found}");
    let base = format!("{}.2", ip.rsplit_once('.').map_or("", |(net, _)| net));
    let told = lab.netmode(&["exec", "client", "cat", "/etc/resolv.conf"]).stdout;
    assert_eq!(told, format!("nameserver {base}\nsearch netmode.internal\n"));
    for server in [base.as_str(), "169.254.169.253"] {
        assert_eq!(short(&lab, "client", &format!("@{server} {name}")).join(" "), ip, "{server}");
        assert_eq!(short(&lab, "client", &format!("+tcp @{server} {name}")).join(" "), ip, "{server}");
    }
    assert_eq!(short(&lab, "client", &format!("-x {ip}")), [format!("{name}.")]);
    assert_eq!(short(&lab, "client", "web.netmode.internal").join(" "), ip);
    let lo = lab.inside("client").sh("ip -br -4 addr show lo");
    assert!(lo.contains(&format!("{base}/32")) && lo.contains("169.254.169.253/32"), "{lo}");
    assert!(!lab.sh("ip -br addr").contains(&format!("{base}/")), "nothing of it on the host");

    // Nobody on the LAN is told that the address is here.
    lab.at("client").run(&["ping", "-c", "1", "-W", "1", &base]);
    let known = lab.at("client").sh(&format!("ip neigh show {base}"));
    assert!(!known.contains("lladdr"), "{known}");

    // Row 3: by its name as by its address.
    for host in [name.as_str(), &ip, "web"] {
        let out = lab.netmode(&["exec", "client", "curl", "-sS", "--max-time", "5", &format!("http://{host}/")]);
        assert_eq!(out.status, 0, "{host}: {}", out.stderr);
    }
    lab.netmode(&["rm", "-f", "web"]).success();
    assert_eq!(status(&lab, "client", &name), "NXDOMAIN");
}

#[test]
fn row_65_two_services_scale_on_their_own_and_find_each_other() {
    let lab = awsvpc::lab_on("veth");
    let service = |name: &str, count: &str| {
        let definition = ecs::definition("awsvpc", vec![ecs::serving(name, &["tcp/8000"])]);
        lab.write("/run/lab/taskdef.json", &definition.to_string());
        let flags = ["--desired-count", count, "--subnet", "tasks", "--security-group", "open"];
        lab.netmode(&[&["service", "create", name, "-f", "/run/lab/taskdef.json"], &flags[..]].concat()).success();
    };
    service("nginx", "1");
    service("gunicorn", "2");
    awsvpc::serve(&lab, "client");
    let known = |name: &str| short(&lab, "client", &format!("{name}.netmode.internal")).len();
    eventually("both services have names", 10.0, || known("nginx") == 1 && known("gunicorn") == 2);
    let found = lab.netmode(&["exec", "client", "getent", "ahostsv4", "gunicorn"]).success().stdout;
    assert_eq!(found.lines().filter(|l| l.contains("STREAM")).count(), 2, "{found}");
    lab.netmode(&["service", "update", "gunicorn", "--desired-count", "3"]).success();
    eventually("one more", 10.0, || known("gunicorn") == 3 && known("nginx") == 1);
    lab.netmode(&["service", "update", "gunicorn", "--desired-count", "1"]).success();
    eventually("two less", 15.0, || known("gunicorn") == 1 && known("nginx") == 1);
    // Whom a name leads to is a task of that service.
    let seen =
        lab.inside("client").who(tcp(format!("{}:8000", short(&lab, "client", "gunicorn.netmode.internal").join(""))));
    assert_eq!(seen.map(|s| s.tag).as_deref(), Ok("gunicorn"));
}

#[test]
fn row_2_3_a_task_has_a_private_name_and_is_reached_by_it_macvlan() {
    names_of_enis("macvlan");
}

#[test]
fn row_2_3_a_task_has_a_private_name_and_is_reached_by_it_veth() {
    names_of_enis("veth");
}

/// A container that joins a network of one's own later asks for its names from then on.
#[test]
fn who_is_connected_later_asks_for_names_too() {
    let lab = Lab::start();
    lab.netmode(&["network", "create", "app"]).success();
    lab.task("web", &["--network", "app"], &["sleep", "99"]);
    lab.task("worker", &[], &["sleep", "99"]);
    let ask = || lab.netmode(&["exec", "worker", "getent", "hosts", "web"]);
    assert_ne!(ask().status, 0);
    lab.netmode(&["network", "connect", "app", "worker"]).success();
    assert!(ask().success().stdout.contains(&lab.address("web")));
    lab.netmode(&["network", "disconnect", "app", "worker"]).success();
    assert_ne!(ask().status, 0);
}
