//! netmode beside other firewalls, which drop forwarded traffic: real ones from Debian's packages, and what they write.

mod daemons;
mod networks;
mod rules;
mod zones;

use netmode_tests::lab::{CONFIG, address::*};
use netmode_tests::wire::Failure;
use netmode_tests::{At, Lab, Options, all_at_once, eventually, need, tcp};

/// The rules of iptables, as far as they are ours.
const OURS: &str = "iptables-save 2>/dev/null | grep -c 'netmode/default/' || :";
const OURS6: &str = "ip6tables-save 2>/dev/null | grep -c 'netmode/default/' || :";

/// What a packet may have met on its way.
const EVERYTHING: &str = "iptables -S; ip6tables -S; nft -s list ruleset; ip rule; ip -6 rule; ip route show table all; \
                          ip neigh; conntrack -L 2>/dev/null || :";

/// Nothing that is not known is forwarded.
const DROP: &str = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP";

/// What iptables(8) would need to say for either rule.
const FROM: &str = "-m devgroup --src-group 0x6e6d -m comment --comment netmode/default/from -j ACCEPT";
const TO: &str = "-m devgroup --dst-group 0x6e6d -m conntrack --ctstate RELATED,ESTABLISHED,DNAT \
                  -m comment --comment netmode/default/to -j ACCEPT";

fn lab(first: &str) -> Lab {
    populate(Lab::with().ipv6().first("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").first(first))
}

/// With a published server, and servers beyond the router.
fn populate(options: Options) -> Lab {
    let lab = options.start();
    serve(&lab);
    lab
}

fn serve(lab: &Lab) {
    lab.at("far").serve("far", &["tcp/9000-9002"]);
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
}

type Way<'a> = (&'a str, String);

fn from<'l>(lab: &'l Lab, place: &str) -> At<'l> {
    if matches!(place, "client" | "host") { lab.at(place) } else { lab.inside(place) }
}

/// Asks by several ways at once; gives those that did not answer.
fn silent<'a>(lab: &Lab, ways: &[Way<'a>]) -> Vec<(Way<'a>, Failure)> {
    let ask = |(place, to): &Way<'a>| from(lab, place).who_patiently(tcp(to));
    ways.iter().cloned().zip(all_at_once(ways, ask)).filter_map(|(way, said)| Some((way, said.err()?))).collect()
}

/// What netmode promises: published ports, and the way out.
fn promised() -> Vec<Way<'static>> {
    vec![
        ("client", format!("{HOST}:8080")),
        ("client", format!("[{HOST6}]:8080")),
        ("web", format!("{FAR}:9000")),
        ("web", format!("[{FAR6}]:9000")),
    ]
}

/// What nobody promised: containers themselves, and the host as a router for others.
fn shut(lab: &Lab) -> Vec<Way<'static>> {
    vec![
        ("client", format!("{}:80", lab.address("web"))),
        ("client", format!("[{}]:80", lab.address6("web"))),
        ("client", format!("{FAR}:9000")),
        ("client", format!("[{FAR6}]:9000")),
    ]
}

#[track_caller]
fn assert_works(lab: &Lab, when: &str) {
    let silent = silent(lab, &promised());
    assert_eq!(silent, [], "{when}: {}", lab.sh(EVERYTHING));
    let answers = |(place, to): &Way<'_>| from(lab, place).who(tcp(to)).ok();
    let open: Vec<_> = all_at_once(&shut(lab), answers).into_iter().flatten().collect();
    assert!(open.is_empty(), "{when}: these answered: {open:?} of {:?}", shut(lab));
}

/// The tools of iptables read, find and restore what is there.
#[track_caller]
fn assert_tools(lab: &Lab, when: &str, chain: &str, chain6: &str) {
    for (program, chain) in [("iptables", chain), ("ip6tables", chain6)] {
        let before = lab.sh(&format!("{program} -S"));
        let restored = lab.sh(&format!("{program}-save >/tmp/saved; {program}-restore </tmp/saved; {program} -S"));
        assert_eq!(restored, before, "{when}: {program}-save | {program}-restore");
        assert_eq!(before.matches("netmode/default/").count(), 2, "{when}: {before}");
        for rule in [FROM, TO] {
            lab.sh(&format!("{program} -C {chain} {rule}"));
        }
    }
}

fn doctor(lab: &Lab, object: &str) -> (String, String) {
    let lines = lab.netmode(&["doctor", "-o", "json"]).json();
    let line = lines.as_array().expect("a list").iter().find(|l| l["object"] == object).cloned();
    let line = line.unwrap_or_else(|| panic!("no line {object:?} in {lines:#}"));
    (line["level"].as_str().unwrap_or_default().to_owned(), line["message"].as_str().unwrap_or_default().to_owned())
}

#[track_caller]
fn until(lab: &Lab, what: &str, script: &str, text: &str) {
    let mut last = String::new();
    eventually(&format!("{what}: {text:?}"), 3.0, || {
        last = lab.sh(script);
        last.trim() == text
    });
}

/// Rules of a chain as `iptables -S` shows them, ours in short.
fn chain(lab: &Lab, program: &str, chain: &str) -> Vec<String> {
    let listed = lab.sh(&format!("{program} -S {chain} | grep '^-A' || :"));
    let short = |line: &str| match line.split("netmode/default/").nth(1).and_then(|rest| rest.split('"').next()) {
        Some(pass) => pass.to_owned(),
        None => line.trim_start_matches(&format!("-A {chain} ")).trim_end().to_owned(),
    };
    listed.lines().map(short).collect()
}

/// Without anybody beside, nothing is written anywhere; and the host is a router, which is what the others stop.
#[test]
fn alone_it_writes_nothing_elsewhere() {
    let lab = lab("true");
    let open = [("client", format!("{FAR}:9000")), ("client", format!("[{FAR6}]:9000"))];
    assert_eq!(silent(&lab, &[promised(), open.to_vec()].concat()), []);
    assert_eq!(lab.sh("nft list tables | grep -v netmode || :"), "");
    assert_eq!(doctor(&lab, "other firewalls"), ("ok".into(), "none drops forwarded traffic".into()));
}

#[test]
fn a_restart_moves_nothing_and_a_switch_takes_all_away() {
    let native = "nft add table inet site; \
                  nft add chain inet site forward '{ type filter hook forward priority 10; policy drop; }'";
    let lab = lab(&format!("{DROP}; {native}"));
    let handles = || lab.sh("nft -a list ruleset 2>/dev/null | grep 'group' | grep -v -e from_port -e @bridges | sort");
    let before = handles();
    assert_eq!(before.lines().count(), 6, "{before}");
    for signal in ["TERM", "KILL"] {
        lab.end_agent(signal);
        assert_eq!(silent(&lab, &promised()[..2]), [], "without an agent");
        lab.start_agent();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let numbers = |text: &str| -> Vec<String> {
            text.lines().filter_map(|l| Some(l.split("# handle ").nth(1)?.to_owned())).collect()
        };
        assert_eq!(numbers(&handles()), numbers(&before), "{signal}: not written anew");
    }
    let config = lab.read(CONFIG);
    lab.write(CONFIG, &format!("[firewall]\nbeside = false\n{config}"));
    lab.signal_agent("HUP");
    let elsewhere = "nft list ruleset 2>/dev/null | grep group | grep -c -v -e from_port -e @bridges || :";
    until(&lab, "switched off", elsewhere, "0");
    let (level, message) = doctor(&lab, "firewall inet site forward");
    assert!(level == "warn" && message.contains("beside"), "{level} {message}");
    assert_eq!(silent(&lab, &promised()).len(), 4, "nobody lets it through");
    lab.write(CONFIG, &config);
    lab.signal_agent("HUP");
    until(&lab, "switched on", elsewhere, "6");
    assert_works(&lab, "switched on again");
}

/// What uninstalling does: all of ours is taken away, and nothing else.
#[test]
fn a_reset_leaves_the_rules_of_others_as_they_were() {
    let native = "nft add table inet site; \
                  nft add chain inet site forward '{ type filter hook forward priority 10; policy drop; }'; \
                  nft add rule inet site forward ip daddr 198.51.100.7 drop";
    let lab = Lab::with().ipv6().first(DROP).first(native).first("iptables -A FORWARD -d 198.51.100.7 -j DROP");
    let lab =
        lab.first("iptables-save | grep -v '^[#:]' >/srv/before; nft -s list table inet site >>/srv/before").start();
    serve(&lab);
    assert_works(&lab, "before the reset");
    lab.netmode(&["system", "reset", "--yes"]).success();
    lab.sh("iptables-save | grep -v '^[#:]' >/srv/after; nft -s list table inet site >>/srv/after");
    assert_eq!(lab.read("/srv/after"), lab.read("/srv/before"));
    assert_eq!((lab.sh(OURS).trim(), lab.sh(OURS6).trim()), ("0", "0"));
    assert_eq!(lab.sh("nft list tables | grep netmode || :"), "");
}

/// What kube-proxy and the kubelet write (KUBE-FORWARD, KUBE-FIREWALL).
#[test]
fn the_rules_of_kubernetes() {
    let rules = "*filter\n:FORWARD DROP [0:0]\n:KUBE-FORWARD - [0:0]\n:KUBE-FIREWALL - [0:0]\n-A INPUT -j KUBE-FIREWALL\n-A OUTPUT -j KUBE-FIREWALL\n\
-A FORWARD -j KUBE-FORWARD\n-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n\
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT";
    let local =
        "-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP";
    let lab = lab(&format!(
        "printf '%b\\n' '{rules}' >/srv/kube; iptables-restore </srv/kube; ip6tables-restore </srv/kube; iptables {local}"
    ));
    assert_works(&lab, "beside kubernetes");
    assert_tools(&lab, "beside kubernetes", "FORWARD", "FORWARD");
    assert!(lab.at("host").who(tcp("127.0.0.1:8080")).is_ok());
    assert_eq!(chain(&lab, "iptables", "FORWARD")[0], "-j KUBE-FORWARD", "behind what was there");
}

/// Frames between two containers meet iptables as well then.
#[test]
fn a_bridge_whose_frames_pass_iptables() {
    let lab = lab("true");
    need!(kernel: lab.has_file("/proc/sys/net/bridge/bridge-nf-call-iptables"), "br_netfilter");
    lab.serve("db", &["-p", "8081:81"], &["tcp/81"]);
    let (db, db6) = (lab.address("db"), lab.address6("db"));
    let neighbours = [("web", format!("{db}:81")), ("web", format!("[{db6}]:81")), ("web", format!("{HOST}:8081"))];
    assert_eq!(silent(&lab, &neighbours), [], "before");
    lab.sh("for what in iptables ip6tables; do echo 1 >/proc/sys/net/bridge/bridge-nf-call-$what; done");
    lab.sh(DROP);
    until(&lab, "the rules are in", OURS6, "2");
    assert_eq!(silent(&lab, &neighbours), [], "with frames that pass iptables");
    assert_works(&lab, "with frames that pass iptables");
}

#[test]
fn the_old_kind_is_told_and_left_alone() {
    let lab = Lab::with().no_agent().start();
    need!(kernel: lab.run(&["iptables-legacy", "-P", "FORWARD", "DROP"]).status == 0, "iptables of the old kind");
    let before = lab.sh("iptables-legacy -S FORWARD");
    lab.start_agent();
    let (level, message) = doctor(&lab, "firewall iptables-legacy filter");
    assert!(level == "warn" && message.contains("old kind"), "{level} {message}");
    assert_eq!(lab.sh("iptables-legacy -S FORWARD"), before);
}

/// A firewall that owns its table as long as it lives, as firewalld does from version 2 on.
const OWNER: &str = r#"
import nftables, time
text = """table inet theirs {
    flags owner
    chain forward { type filter hook forward priority 0; policy drop; }
}"""
nft = nftables.Nftables()
assert nft.cmd(text)[0] == 0
time.sleep(1000)
"#;

#[test]
fn a_table_that_somebody_owns_is_told_and_left_alone() {
    let lab = Lab::with().no_agent().start();
    lab.write("/srv/own.py", OWNER);
    lab.spawn(&["python3", "/srv/own.py"], "/run/lab/own.log");
    eventually("it owns its table", 3.0, || lab.sh("nft list tables").contains("theirs"));
    lab.start_agent();
    let (level, message) = doctor(&lab, "firewall inet theirs forward");
    assert!(level == "warn" && message.contains("owns"), "{level} {message}");
    assert_eq!(lab.sh("nft list table inet theirs | grep -c group || :").trim(), "0");
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
}
