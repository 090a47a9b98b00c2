//! netmode beside other firewalls, which drop forwarded traffic: real ones from Debian's packages, and what they write.

use netmode_tests::lab::{CONFIG, address::*};
use netmode_tests::wire::Failure;
use netmode_tests::{Lab, Options, all_at_once, eventually, need, tcp};

/// The rules of iptables, as far as they are ours.
const OURS: &str = "iptables-save 2>/dev/null | grep -c 'netmode/default/' || :";
const OURS6: &str = "ip6tables-save 2>/dev/null | grep -c 'netmode/default/' || :";

/// Nothing that is not known is forwarded.
const DROP: &str = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP";

/// What iptables(8) would need to say for either rule.
const FROM: &str = "-m devgroup --src-group 0x6e6d -m comment --comment netmode/default/from -j ACCEPT";
const TO: &str = "-m devgroup --dst-group 0x6e6d -m conntrack --ctstate RELATED,ESTABLISHED,DNAT \
                  -m comment --comment netmode/default/to -j ACCEPT";

fn lab(first: &str) -> Lab {
    populate(Lab::with().ipv6().first(first))
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

/// Asks by several ways at once; gives those that did not answer.
fn silent<'a>(lab: &Lab, ways: &[Way<'a>]) -> Vec<(Way<'a>, Failure)> {
    let ask = |(from, to): &Way<'a>| match *from {
        "web" => lab.inside("web").who(tcp(to)),
        place => lab.at(place).who(tcp(to)),
    };
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
    assert_eq!(silent(lab, &promised()), [], "{when}: {}", lab.sh("iptables -S; ip6tables -S; nft -s list ruleset"));
    let shut = shut(lab);
    let closed = silent(lab, &shut);
    assert_eq!(closed.len(), shut.len(), "{when}: only these were closed: {closed:?} of {shut:?}");
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
    let listed = lab.sh(&format!("{program} -S {chain} | grep '^-A'"));
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
fn a_policy_that_drops_and_rules_of_the_user() {
    let own = format!("iptables -A FORWARD -d {FAR} -p tcp --dport 9001 -j DROP");
    let lab = lab(&format!("{DROP}; {own}; iptables -A FORWARD -j REJECT"));
    assert_works(&lab, "at the start");
    assert_tools(&lab, "at the start", "FORWARD", "FORWARD");
    assert_eq!(doctor(&lab, "firewall ip filter FORWARD").0, "ok");
    assert_eq!(doctor(&lab, "firewall ip6 filter FORWARD").0, "ok");
    let user = "-d 203.0.113.9/32 -p tcp -m tcp --dport 9001 -j DROP";
    let end = "-j REJECT --reject-with icmp-port-unreachable";
    assert_eq!(chain(&lab, "iptables", "FORWARD"), [user, "from", "to", end]);
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9001"))).is_err(), "what the user blocks is blocked");

    // Whatever the number of containers.
    for n in 0..4 {
        lab.task(&format!("c{n}"), &["-p", "80"], &["sleep", "1000"]);
    }
    assert_eq!((lab.sh(OURS).trim(), lab.sh(OURS6).trim()), ("2", "2"));

    // The user's next rule is before ours as well, wherever he puts it.
    lab.sh(&format!("iptables -D FORWARD -j REJECT; iptables -A FORWARD -d {FAR} -p tcp --dport 9002 -j DROP"));
    let next = "-d 203.0.113.9/32 -p tcp -m tcp --dport 9002 -j DROP";
    eventually("ours move behind it", 3.0, || chain(&lab, "iptables", "FORWARD") == [user, next, "from", "to"]);
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9002"))).is_err());
    assert_works(&lab, "with more rules of the user");

    lab.sh("iptables -F FORWARD; ip6tables -F");
    until(&lab, "back after a flush", OURS, "2");
    until(&lab, "back after a flush", OURS6, "2");
    assert_works(&lab, "after a flush");
    // A stranger's own rule of that kind is his.
    lab.sh(&format!("iptables -P FORWARD ACCEPT; iptables -A FORWARD {}", FROM.replace("default", "other")));
    until(&lab, "gone when nothing drops any more", OURS, "0");
    assert_eq!(lab.sh("iptables -S FORWARD | grep -c netmode/other").trim(), "1");
}

#[test]
fn a_restart_moves_nothing_and_a_switch_takes_all_away() {
    let native = "nft add table inet site; \
                  nft add chain inet site forward '{ type filter hook forward priority 10; policy drop; }'";
    let lab = lab(&format!("{DROP}; {native}"));
    let handles = || lab.sh("nft -a list ruleset 2>/dev/null | grep 'group' | sort");
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
    until(&lab, "switched off", "nft list ruleset 2>/dev/null | grep -c group || :", "0");
    let (level, message) = doctor(&lab, "firewall inet site forward");
    assert!(level == "warn" && message.contains("beside"), "{level} {message}");
    assert_eq!(silent(&lab, &promised()).len(), 4, "nobody lets it through");
    lab.write(CONFIG, &config);
    lab.signal_agent("HUP");
    until(&lab, "switched on", "nft list ruleset 2>/dev/null | grep -c group || :", "6");
    assert_works(&lab, "switched on again");
}

#[test]
fn a_table_of_nft() {
    let site = "table inet site {
        set blocked { type ipv4_addr; elements = { 198.51.100.1 } }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state invalid drop
            ip daddr @blocked drop
            tcp dport 9001 drop
        }
        chain input { type filter hook input priority filter; policy accept; }
    }";
    let options = Lab::with()
        .ipv6()
        .first(&format!("cat >/etc/nftables.conf <<'EOF'\nflush ruleset\n{site}\nEOF\nnft -f /etc/nftables.conf"));
    let lab = populate(options.config("[firewall]\nowner = false"));
    assert_works(&lab, "at the start");
    let rules = || lab.sh("nft -s list chain inet site forward");
    let listed = rules();
    for rule in [
        "iifgroup 28269 counter accept comment \"netmode/default/from\"",
        "oifgroup 28269 ct status expected,seen-reply,snat,dnat counter accept comment \"netmode/default/to\"",
    ] {
        assert!(listed.contains(rule), "{listed}");
    }
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9001"))).is_err(), "what the user blocks is blocked");
    // What nft lists, nft reads.
    lab.sh("(echo 'delete table inet site'; nft -s list table inet site) >/tmp/site; nft -f /tmp/site");
    assert_eq!(rules(), listed);
    // The service is restarted: everything of everybody is flushed.
    lab.sh("nft -f /etc/nftables.conf");
    eventually("back after a reload", 3.0, || rules() == listed);
    eventually("the table as well", 3.0, || silent(&lab, &promised()).is_empty());
    assert_works(&lab, "after a reload");
    assert_eq!(doctor(&lab, "firewall inet site forward").0, "ok");
    lab.sh("nft add rule inet site forward tcp dport 9002 drop");
    eventually("behind the user's next rule", 3.0, || {
        rules()
            .lines()
            .rev()
            .filter(|l| l.contains("drop") || l.contains("group"))
            .nth(2)
            .is_some_and(|l| l.contains("9002"))
    });
}

/// An end that is a rule, not a policy; and a chain that is led to from elsewhere as well.
#[test]
fn a_chain_that_rejects_at_its_end() {
    let site = "nft -f - <<'EOF'
        table ip site {
            chain last { log prefix \"last \" ; reject with icmp type admin-prohibited; }
            chain forward { type filter hook forward priority 5; policy accept; ct state established accept; goto last; }
        }
        table ip6 site {
            chain forward { type filter hook forward priority 5; policy accept; ct state established accept; counter drop; }
        }
EOF";
    let lab = lab(site);
    assert_works(&lab, "rejected at the end");
    let words = |table: &str| {
        let text = lab.sh(&format!("nft -s list chain {table} forward"));
        let word =
            |l: &str| ["established", "iifgroup", "oifgroup", "goto", "drop"].into_iter().find(|w| l.contains(w));
        text.lines().filter_map(word).collect::<Vec<_>>()
    };
    assert_eq!(words("ip site"), ["established", "iifgroup", "oifgroup", "goto"]);
    assert_eq!(words("ip6 site"), ["established", "iifgroup", "oifgroup", "drop"]);
    assert_eq!(lab.sh("nft list chain ip site last | grep -c group || :").trim(), "0");
}

/// Starts a real dockerd beside; it takes a second.
fn start_docker(lab: &Lab) -> [u32; 2] {
    let containerd = "containerd --root /run/d/ctd/root --state /run/d/ctd/state --address /run/d/ctd.sock";
    let dockerd = "dockerd --containerd /run/d/ctd.sock --data-root /run/d/data --exec-root /run/d/exec \
         -H unix:///run/docker.sock --pidfile /run/d/docker.pid --exec-opt native.cgroupdriver=cgroupfs \
         --ipv6 --fixed-cidr-v6 fd00:d::/64 --experimental --ip6tables";
    lab.sh("mkdir -p /run/d");
    let pids = [containerd, dockerd]
        .map(|line| lab.spawn(&line.split_whitespace().collect::<Vec<_>>(), "/run/lab/docker.log"));
    eventually("dockerd answers", 30.0, || lab.run(&["docker", "version"]).status == 0);
    pids
}

fn stop_docker(lab: &Lab, [containerd, dockerd]: [u32; 2]) {
    for pid in [dockerd, containerd] {
        lab.sh(&format!("kill {pid}"));
        assert!(lab.reap(pid, 20_000).is_some(), "docker ends");
    }
}

#[test]
fn a_real_docker() {
    let lab = Lab::with().ipv6().no_agent().start();
    let docker = start_docker(&lab);
    lab.start_agent();
    serve(&lab);
    assert_eq!(chain(&lab, "iptables", "DOCKER-USER"), ["from", "to", "-j RETURN"]);
    assert_eq!(lab.sh(OURS6).trim(), "2");
    assert!(lab.sh("iptables -S FORWARD").contains("-P FORWARD DROP"), "as Docker does");
    assert_works(&lab, "beside docker");
    assert_tools(&lab, "beside docker", "DOCKER-USER", "FORWARD");
    let (level, message) = doctor(&lab, "firewall ip filter FORWARD");
    assert!(level == "ok" && message.contains("DOCKER-USER"), "{level} {message}");

    // The user's own rules keep their order and effect.
    let user = |port: u16| format!("-d {FAR}/32 -p tcp -m tcp --dport {port} -j DROP");
    lab.sh(&format!("iptables -I DOCKER-USER {}; iptables -I DOCKER-USER {}", user(9001), user(9002)));
    let expected = [user(9002), user(9001), "from".into(), "to".into(), "-j RETURN".into()];
    eventually("in order", 3.0, || chain(&lab, "iptables", "DOCKER-USER") == expected);
    for port in [9001, 9002] {
        assert!(lab.inside("web").who(tcp(format!("{FAR}:{port}"))).is_err(), "what the user blocks is blocked");
    }
    lab.sh(&format!("iptables -A DOCKER-USER {}", user(9000)));
    let expected = [user(9002), user(9001), "-j RETURN".into(), user(9000)];
    let theirs = || {
        let mut rules = chain(&lab, "iptables", "DOCKER-USER");
        rules.retain(|r| r != "from" && r != "to");
        rules
    };
    assert_eq!(theirs(), expected, "nothing of his is moved");

    lab.sh("iptables -F DOCKER-USER");
    eventually("back", 3.0, || chain(&lab, "iptables", "DOCKER-USER") == ["from", "to"]);
    stop_docker(&lab, docker);
    let docker = start_docker(&lab);
    until(&lab, "after docker's restart", OURS, "2");
    until(&lab, "after docker's restart", OURS6, "2");
    eventually("settled", 5.0, || silent(&lab, &promised()).is_empty());
    assert_works(&lab, "after docker's restart");
    assert_tools(&lab, "after docker's restart", "DOCKER-USER", "FORWARD");
    stop_docker(&lab, docker);
    lab.restart_agent("TERM");
    assert_works(&lab, "docker's rules stay, and so do ours");
}

/// Where packets are forwarded already Docker leaves IPv4's policy as it is, and sets IPv6's.
#[test]
fn a_docker_that_comes_later() {
    let lab = lab("true");
    let docker = start_docker(&lab);
    until(&lab, "where it drops", OURS6, "2");
    let policy = lab.sh("iptables -S FORWARD | grep -e -P").trim() == "-P FORWARD DROP";
    until(&lab, "and only there", OURS, if policy { "2" } else { "0" });
    assert_eq!(silent(&lab, &promised()), []);
    stop_docker(&lab, docker);
}

/// Docker from version 28 on has another order, and no RETURN in the user's chain.
#[test]
fn the_rules_of_a_newer_docker() {
    let rules = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-BRIDGE - [0:0]\n:DOCKER-CT - [0:0]\n:DOCKER-FORWARD - [0:0]
:DOCKER-INTERNAL - [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-FORWARD\n-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER\n-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT\n-A DOCKER-FORWARD -j DOCKER-INTERNAL\n-A DOCKER-FORWARD -j DOCKER-BRIDGE\n-A DOCKER-FORWARD -i docker0 -j ACCEPT\nCOMMIT";
    let lab = lab(&format!(
        "printf '%s\\n' '{rules}' >/srv/docker; iptables-restore </srv/docker; ip6tables-restore </srv/docker"
    ));
    assert_works(&lab, "beside docker 28");
    assert_tools(&lab, "beside docker 28", "DOCKER-USER", "DOCKER-USER");
    assert_eq!(chain(&lab, "ip6tables", "DOCKER-USER"), ["from", "to"]);
    lab.sh("iptables-restore </srv/docker");
    eventually("back after a restore", 3.0, || chain(&lab, "iptables", "DOCKER-USER") == ["from", "to"]);
}

#[test]
fn a_real_ufw() {
    let lab = lab("ufw --force enable");
    let (user, user6) = ("ufw-user-forward", "ufw6-user-forward");
    assert_works(&lab, "beside ufw");
    assert_tools(&lab, "beside ufw", user, user6);
    let (level, message) = doctor(&lab, "firewall ip filter FORWARD");
    assert!(level == "ok" && message.contains(user), "{level} {message}");
    assert!(lab.at("client").who(tcp(format!("{HOST}:22"))).is_err());

    // Rules for routed traffic come first, whenever they are made.
    lab.sh("ufw route deny proto tcp to any port 9001");
    eventually("behind the user's rule", 3.0, || {
        let rules = chain(&lab, "iptables", user);
        rules.len() == 3 && rules[0].contains("9001") && rules[1..] == ["from", "to"]
    });
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9001"))).is_err(), "what the user blocks is blocked");
    for when in ["ufw reload", "ufw disable; ufw --force enable"] {
        lab.sh(when);
        eventually(when, 5.0, || [OURS, OURS6].map(|o| lab.sh(o).trim() == "2") == [true, true]);
        eventually(when, 5.0, || chain(&lab, "iptables", user)[1..] == ["from", "to"]);
        assert_works(&lab, when);
    }
    assert_eq!(lab.sh("ufw status | grep -c netmode || :").trim(), "0", "ufw shows what is its own");
    lab.sh("ufw disable");
    until(&lab, "gone with ufw", OURS, "0");
    lab.sh("ufw --force reset >/dev/null; ufw status");
}

/// Docker's chain is asked before ufw's; the rules of both are the user's.
#[test]
fn ufw_and_docker_at_once() {
    let docker = "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -I FORWARD -j DOCKER-USER";
    let lab = lab(&format!("ufw --force enable; {docker}; ufw route deny proto tcp to any port 9001"));
    assert_works(&lab, "beside both");
    assert_eq!(chain(&lab, "iptables", "DOCKER-USER"), ["-j RETURN"]);
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9001"))).is_err());
    lab.sh(&format!("iptables -I DOCKER-USER -d {FAR} -p tcp --dport 9002 -j DROP"));
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9002"))).is_err());
    // ufw goes: Docker's place is what is left.
    lab.sh("ufw disable; iptables -P FORWARD DROP");
    eventually("moved", 3.0, || chain(&lab, "iptables", "DOCKER-USER")[1..] == ["from", "to", "-j RETURN"]);
    until(&lab, "two and no more", OURS, "2");
}

fn start_firewalld(lab: &Lab) -> u32 {
    let pid = lab.spawn(&["firewalld", "--nofork"], "/run/lab/firewalld.log");
    eventually("firewalld answers", 20.0, || lab.run(&["firewall-cmd", "--state"]).status == 0);
    pid
}

#[test]
fn a_real_firewalld() {
    let lab = lab("mkdir -p /run/dbus; dbus-daemon --system --fork");
    let firewalld = start_firewalld(&lab);
    let in_zone = || lab.run(&["firewall-cmd", "--get-zone-of-interface=nm0"]).stdout.trim() == "netmode";
    eventually("the bridge is in its zone", 15.0, in_zone);
    eventually("and it counts", 5.0, || silent(&lab, &promised()).is_empty());
    assert_works(&lab, "beside firewalld");
    assert_eq!(doctor(&lab, "firewall inet firewalld filter_FORWARD").0, "ok");
    let firewall = || lab.sh("nft list table inet firewalld | grep -c 'netmode/default' || :");
    assert_eq!(firewall().trim(), "0", "no rule of ours in its table");

    lab.sh("firewall-cmd --reload");
    eventually("after a reload", 15.0, in_zone);
    assert_works(&lab, "after a reload");
    lab.sh(&format!("kill {firewalld}"));
    assert!(lab.reap(firewalld, 10_000).is_some());
    let firewalld = start_firewalld(&lab);
    eventually("after a restart", 15.0, in_zone);
    assert_works(&lab, "after a restart");

    let config = lab.read(CONFIG);
    lab.write(CONFIG, &format!("[firewall]\nbeside = false\n{config}"));
    lab.signal_agent("HUP");
    eventually("switched off", 15.0, || !lab.sh("firewall-cmd --permanent --get-zones").contains("netmode"));
    eventually("and out of it", 5.0, || !in_zone());
    assert!(!lab.sh("firewall-cmd --permanent --get-policies").contains("netmode"));
    lab.write(CONFIG, &config);
    lab.signal_agent("HUP");
    eventually("and on", 15.0, in_zone);
    lab.sh(&format!("kill {firewalld}"));
}

/// What was changed only while firewalld runs would be lost by a reload: that is left to its owner.
#[test]
fn a_firewalld_that_would_forget_something_is_not_reloaded() {
    let lab = Lab::with().no_agent().first("mkdir -p /run/dbus; dbus-daemon --system --fork").start();
    let firewalld = start_firewalld(&lab);
    lab.sh("firewall-cmd --add-port=1234/tcp");
    lab.start_agent();
    let object = "firewall inet firewalld filter_FORWARD";
    eventually("it was asked", 10.0, || lab.agent_log().contains("would lose"));
    assert_eq!(doctor(&lab, object).0, "fail");
    let ports = || lab.run(&["firewall-cmd", "--zone=public", "--list-ports"]).success().stdout;
    assert_eq!(ports().trim(), "1234/tcp", "not forgotten");
    lab.sh("firewall-cmd --runtime-to-permanent; firewall-cmd --reload");
    eventually("then it is let through", 20.0, || doctor(&lab, object).0 == "ok");
    assert_eq!(ports().trim(), "1234/tcp");
    lab.sh(&format!("kill {firewalld}"));
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

/// Prints the expressions of a chain's rules as the kernel has them, counters apart.
const RAW: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12); s.bind((0, 0))
def attr(kind, data): return struct.pack("HH", len(data) + 4, kind) + data + b"\0" * (-len(data) % 4)
def attrs(data):
    while len(data) >= 4:
        n, kind = struct.unpack_from("HH", data)
        yield kind & 0x3fff, data[4:n]
        data = data[(n + 3) & ~3:]
body = struct.pack("BBH", int(sys.argv[1]), 0, 0) + attr(1, b"filter\0") + attr(2, sys.argv[2].encode() + b"\0")
s.send(struct.pack("IHHII", 16 + len(body), 10 << 8 | 7, 0x301, 1, 0) + body)
done = False
while not done:
    data = s.recv(1 << 16)
    while data:
        n, kind = struct.unpack_from("IH", data)
        if kind == 3: done = True
        if kind >> 8 == 10:
            rule = dict(attrs(data[20:n]))
            print(b" ".join(e for _, e in attrs(rule[4]) if not e[4:].startswith(b"counter")).hex())
        data = data[(n + 3) & ~3:]
"#;

#[test]
fn byte_for_byte_what_iptables_writes() {
    let lab = lab(DROP);
    lab.write("/srv/raw.py", RAW);
    for (program, family) in [("iptables", "2"), ("ip6tables", "10")] {
        lab.sh(&format!("{program} -N TWIN; {program} -A TWIN {FROM}; {program} -A TWIN {TO}"));
        let raw = |chain: &str| lab.run(&["python3", "/srv/raw.py", family, chain]).success().stdout;
        let (ours, twin) = (raw("FORWARD"), raw("TWIN"));
        assert_eq!(twin.lines().count(), 2, "{twin}");
        assert!(twin.lines().all(|line| line.len() > 600), "{twin}");
        assert_eq!(ours, twin, "{program}");
    }
}
