//! Many ports, many callers, and a machine at its limits: refused whole, or done whole.

use netmode_tests::lab::{AGENT_LOG, address::*};
use netmode_tests::machine::{Machine, agent_sockets};
use netmode_tests::{Lab, all_at_once, eventually, need, skip, tcp, udp};
use std::collections::BTreeSet;

#[test]
fn a_large_range_is_whole() {
    let lab = Lab::start();
    lab.serve(
        "range",
        &["-p", "20000-24999:20000-24999", "-p", "30000-30999:40000-40999/udp"],
        &["tcp/24999", "udp/40999"],
    );
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:24999"))).map(|s| s.port), Ok(24999));
    assert_eq!(lab.at("client").who(udp(format!("{HOST}:30999"))).map(|s| s.port), Ok(40999));
    assert!(agent_sockets(&lab) >= 6000, "every port of it is held");
    lab.netmode(&["rm", "-f", "range"]).success();
    assert_eq!(lab.at("host").bind(tcp("0.0.0.0:22222"), false), Ok(()));
}

#[test]
fn too_few_descriptors_change_nothing() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let (before, sockets) = (Machine::settled(&lab), agent_sockets(&lab));
    lab.sh(&format!("prlimit --pid {} --nofile=1024:1024", lab.agent_pid()));
    let out = lab.netmode(&["run", "-d", "-p", "20000-23999:20000-23999", "--rootfs", "/", "sleep", "1000"]);
    out.refused(125, &["1024", "nofile"]);
    before.assert_unchanged(&lab, "EMFILE");
    eventually("nothing is held", 2.0, || agent_sockets(&lab) <= sockets);
    assert_eq!(lab.at("host").bind(tcp("0.0.0.0:20000"), false), Ok(()));
    // And the agent is well.
    lab.serve("small", &["-p", "8081:80"], &["tcp/80"]);
    assert!(lab.at("client").who(tcp(format!("{HOST}:8081"))).is_ok());
}

/// As a shell starts it.
#[test]
fn an_agent_takes_the_descriptors_that_it_may_have_and_containers_begin_with_few() {
    let lab = Lab::with().no_agent().start();
    lab.spawn(&["prlimit", "--nofile=1024:20000", "netmoded"], AGENT_LOG);
    eventually("the agent answers", 10.0, || lab.netmode(&["ps"]).status == 0);
    lab.serve("range", &["-p", "20000-21999:20000-21999"], &["tcp/21999"]);
    assert!(lab.at("client").who(tcp(format!("{HOST}:21999"))).is_ok());
    let limits = |words: &[&str]| {
        let run = [&["run", "--rm", "--rootfs", "/"], words, &["sh", "-c", "ulimit -Sn; ulimit -Hn"]].concat();
        lab.netmode(&run).success().stdout
    };
    assert_eq!(limits(&[]), "1024\n20000\n");
    assert_eq!(limits(&["--ulimit", "nofile=2000:3000"]), "2000\n3000\n");
}

#[test]
fn a_full_bridge_is_told() {
    let lab = Lab::start();
    // One is left of the 1023 that BR_MAX_PORTS allows.
    lab.sh("for n in $(seq 511); do echo link add a$n master nm0 type veth peer name b$n; \
            echo link set b$n master nm0; done | ip -batch -");
    lab.serve("last", &["-p", "8080:80"], &["tcp/80"]);
    let before = Machine::settled(&lab);
    lab.netmode(&["run", "-d", "-p", "8081:80", "--rootfs", "/", "sleep", "9"])
        .refused(125, &["network bridge is full", "1023", "network create"]);
    before.assert_unchanged(&lab, "a full bridge");
    lab.netmode(&["rm", "-f", "last"]).success();
    eventually("its place is free", 2.0, || {
        lab.netmode(&["run", "-d", "-p", "8081:80", "--rootfs", "/", "sleep", "9"]).status == 0
    });
}

#[test]
fn a_full_disk_changes_nothing() {
    for full in ["/run/netmode", "/var/lib/netmode"] {
        // `/var/lib/netmode` is a tmpfs of the sandbox already; one with a size takes its place.
        let lab = Lab::with().first(&format!("mkdir -p {full} && mount -t tmpfs -o size=4m tmpfs {full}")).start();
        lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
        let mounted = lab.sh(&format!("df -k --output=avail {full} | tail -1"));
        let before = Machine::settled(&lab);
        lab.sh(&format!("head -c $(( {} * 1024 )) /dev/zero >{full}/filler 2>/dev/null || :", mounted.trim()));
        let before = {
            let _ = before;
            Machine::settled(&lab)
        };
        let out = lab.netmode(&["run", "-d", "-p", "8081:80", "--rootfs", "/", "sleep", "1000"]);
        out.refused(125, &["space"]);
        before.assert_unchanged(&lab, &format!("ENOSPC on {full}"));
        assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
        lab.sh(&format!("rm {full}/filler"));
        lab.serve("again", &["-p", "8081:80"], &["tcp/80"]);
        assert!(lab.at("client").who(tcp(format!("{HOST}:8081"))).is_ok(), "with space it works again");
    }
}

#[test]
fn many_callers_get_different_things() {
    let lab = Lab::start();
    let numbers: Vec<usize> = (0..24).collect();
    let outcomes = all_at_once(&numbers, |n| {
        let name = format!("c{n}");
        lab.netmode(&["run", "-d", "--name", &name, "-p", "80", "--rootfs", "/", "sleep", "1000"]).status
    });
    assert!(outcomes.iter().all(|status| *status == 0), "{outcomes:?}");
    let tasks = lab.json(&["ps"]);
    let tasks = tasks.as_array().expect("a list");
    let distinct = |pointer: &str| {
        tasks.iter().filter_map(|t| t.pointer(pointer)).map(ToString::to_string).collect::<BTreeSet<_>>().len()
    };
    for pointer in [
        "/networks/0/ipv4Addresses/0",
        "/networks/0/macAddress",
        "/containers/0/networkBindings/0/hostPort",
        "/netns",
        "/id",
    ] {
        assert_eq!(distinct(pointer), 24, "{pointer}");
    }
    // One port for many: one gets it.
    let outcomes = all_at_once(&numbers[..12], |_| {
        lab.netmode(&["run", "-d", "-p", "9000:80", "--rootfs", "/", "sleep", "1000"]).status
    });
    assert_eq!(outcomes.iter().filter(|s| **s == 0).count(), 1, "{outcomes:?}");
    let names: Vec<String> = (0..24).map(|n| format!("c{n}")).collect();
    let gone = all_at_once(&names, |name| lab.netmode(&["rm", "-f", name]).status);
    assert!(gone.iter().all(|status| *status == 0), "{gone:?}");
    lab.until_bridge_ports(1);
}

#[test]
fn sctp_ports_are_reserved() {
    let lab = Lab::start();
    let out =
        lab.netmode(&["run", "-d", "--name", "s", "-p", "9000:9000/sctp", "--rootfs", "/", "sleep", "1000"]).success();
    lab.netmode(&["run", "-d", "-p", "9000:9/sctp", "--rootfs", "/", "true"]).refused(125, &["sctp", "9000", "task s"]);
    lab.netmode(&["run", "-d", "-p", "9000:80", "--rootfs", "/", "sleep", "1000"]).success();
    let port = lab.json(&["port", "ls"]).as_array().and_then(|l| l.iter().find(|p| p["protocol"] == "sctp").cloned());
    let held = port.expect("it is listed")["held"].clone();
    assert_eq!(
        held,
        skip::kernel_has_protocol("SCTP"),
        "where the kernel has no SCTP it is reserved by record: {out:#?}"
    );
    assert!(held == true || out.stderr.contains("sctp"), "and that is said: {out:#?}");
}

#[test]
fn sctp_is_published() {
    need!(kernel: skip::kernel_has_protocol("SCTP"), "SCTP");
    let lab = Lab::start();
    lab.serve("s", &["-p", "9000:9000/sctp"], &["sctp/9000"]);
    let seen = lab.at("client").seen_as(netmode_tests::sctp(format!("{HOST}:9000")));
    assert_eq!(seen.as_deref(), Ok(CLIENT));
}
