//! Networks of one's own beside other firewalls, and what iptables(8) says before, with, and after netmode.

use super::daemons::start_docker;
use super::zones::start_firewalld;
use super::*;

/// What others wrote, without counters. Of what it deletes firewalld keeps a copy, `.old`.
const THEIRS: &str = "iptables-save 2>/dev/null | grep -v '^[#:]'; ip6tables-save 2>/dev/null | grep -v '^[#:]'; \
                      nft -s list ruleset 2>/dev/null | sed '/^table [a-z0-9]* netmode {/,/^}/d' | grep -v counter; \
                      firewall-cmd --get-zones 2>/dev/null; ls /etc/firewalld/zones 2>/dev/null | grep -v old || :";

/// Firewalls that are there before the agent, and how each begins; the answer is what has to be ended.
const FIREWALLS: [(&str, Begin); 5] = [
    ("docker", |lab| start_docker(lab).into()),
    ("ufw", |lab| scripted(lab, "ufw --force enable")),
    ("firewalld", |lab| {
        lab.sh("mkdir -p /run/dbus; dbus-daemon --system --fork");
        vec![start_firewalld(lab)]
    }),
    ("plain rules", |lab| scripted(lab, DROP)),
    ("frames that pass iptables", |lab| {
        let frames = "for what in iptables ip6tables; do echo 1 >/proc/sys/net/bridge/bridge-nf-call-$what; done";
        scripted(lab, &format!("{DROP}; {frames}"))
    }),
];

type Begin = fn(&Lab) -> Vec<u32>;

fn scripted(lab: &Lab, script: &str) -> Vec<u32> {
    lab.sh(script);
    Vec::new()
}

/// A host with a firewall and no agent yet.
fn beside(begin: Begin) -> (Lab, Vec<u32>) {
    // Docker drops what it does not know only where it was the first to switch forwarding on.
    let lab = Lab::with().ipv6().no_agent().start();
    let daemons = begin(&lab);
    (lab, daemons)
}

fn end(lab: &Lab, daemons: &[u32]) {
    for pid in daemons.iter().rev() {
        lab.sh(&format!("kill {pid}"));
        assert!(lab.reap(*pid, 20_000).is_some(), "it ends");
    }
}

/// Whether the doctor finds ours let through everywhere.
fn let_through(lab: &Lab) -> bool {
    let lines = lab.netmode(&["doctor", "-o", "json", "-f", "object=firewall"]).json();
    lines.as_array().is_some_and(|all| all.iter().all(|line| line["level"] == "ok"))
}

#[test]
fn networks_of_ones_own_work_beside_each_and_go_without_a_trace() {
    for (name, begin) in FIREWALLS {
        let (lab, daemons) = beside(begin);
        lab.start_agent();
        lab.at("far").serve("far", &["tcp/9000"]);
        eventually("the default bridge is let through", 20.0, || let_through(&lab));
        let before = lab.sh(THEIRS);
        lab.netmode(&["network", "create", "four"]).success();
        lab.netmode(&["network", "create", "--ipv6", "six"]).success();
        eventually("and so are they", 20.0, || let_through(&lab));
        lab.serve("a", &["--network", "four", "-p", "8084:80"], &["tcp/80"]);
        lab.serve("b", &["--network", "six", "-p", "8086:80"], &["tcp/80"]);
        lab.serve("mate", &["--network", "six"], &["tcp/80"]);
        let (mate4, mate6) = (format!("{}:80", lab.address("mate")), format!("[{}]:80", lab.address6("mate")));
        let ways = [
            ("client", format!("{HOST}:8084")),
            ("client", format!("{HOST}:8086")),
            ("client", format!("[{HOST6}]:8086")),
            ("a", format!("{FAR}:9000")),
            ("b", format!("{FAR}:9000")),
            ("b", format!("[{FAR6}]:9000")),
            ("b", mate4.clone()),
            ("b", mate6.clone()),
        ];
        assert_eq!(silent(&lab, &ways), [], "beside {name}: {}", lab.sh(EVERYTHING));
        for (target, said) in
            [&mate4, &mate6].iter().zip(all_at_once(&[&mate4, &mate6], |to| lab.at("client").who(tcp(to))))
        {
            assert!(said.is_err(), "beside {name}: the client reaches {target}");
        }
        lab.netmode(&["rm", "-f", "a", "b", "mate"]).success();
        for network in ["four", "six"] {
            eventually("nobody is on it", 3.0, || lab.netmode(&["network", "rm", network]).status == 0);
        }
        let as_before = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            lab.sh(THEIRS) == before
        });
        assert!(as_before, "beside {name}, before: {before}\nafter: {}", lab.sh(THEIRS));
        end(&lab, &daemons);
    }
}

#[test]
fn the_tools_of_iptables_read_find_and_restore_before_with_and_after() {
    for (name, begin) in FIREWALLS {
        let (lab, daemons) = beside(begin);
        let before = read_find_and_restore(&lab, &format!("{name}, before"));
        let theirs = lab.sh(THEIRS);
        lab.start_agent();
        serve(&lab);
        lab.serve("more", &["-p", "8081:80"], &["tcp/80"]);
        eventually("ours are let through", 20.0, || let_through(&lab));
        let with = read_find_and_restore(&lab, &format!("{name}, with"));
        let added: Vec<_> = with.iter().filter(|rule| !before.contains(rule)).collect();
        assert!(added.iter().all(|rule| rule.contains("netmode/default/")), "beside {name}: {added:?}");
        // firewalld is told by its own means; elsewhere two in each family, whatever the number of containers.
        assert_eq!(added.len(), if name == "firewalld" { 0 } else { 4 }, "beside {name}: {added:?}");
        let lost: Vec<_> = before.iter().filter(|rule| !with.contains(rule)).collect();
        assert!(lost.is_empty(), "beside {name}: {lost:?}");
        lab.netmode(&["system", "reset", "--yes"]).success();
        assert_eq!(read_find_and_restore(&lab, &format!("{name}, after")), before, "beside {name}");
        assert_eq!(lab.sh(THEIRS), theirs, "beside {name}");
        end(&lab, &daemons);
    }
}

/// Every rule of both families, each of which `-C` has found, and which `-save | -restore` has kept.
#[track_caller]
fn read_find_and_restore(lab: &Lab, when: &str) -> Vec<String> {
    let mut rules = Vec::new();
    for program in ["iptables", "ip6tables"] {
        let all = || lab.sh(&format!("for t in filter nat mangle raw; do {program} -t $t -S | sed \"s/^/$t /\"; done"));
        let listed = all();
        let lines = || listed.lines().filter_map(|line| line.split_once(" -A "));
        let find: String = lines().map(|(table, rule)| format!("{program} -t {table} -C {rule} 2>&1\n")).collect();
        assert_eq!(lab.sh(&find), "", "{when}: every rule is found");
        lab.sh(&format!("{program}-save >/tmp/saved && {program}-restore </tmp/saved"));
        assert_eq!(all(), listed, "{when}: {program}-save | {program}-restore");
        rules.extend(listed.lines().map(|line| format!("{program} {line}")));
    }
    rules
}
