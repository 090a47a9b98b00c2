//! Names and surroundings inside a container: /etc/hosts, resolv.conf, hostname, links; sysctls, capabilities, seccomp.

use netmode_tests::lab::address::*;
use netmode_tests::{Lab, tcp};

/// The standard output of a command in a task.
fn exec(lab: &Lab, task: &str, script: &str) -> String {
    lab.netmode(&["exec", task, "sh", "-c", script]).success().stdout
}

/// `/etc/hosts` as pairs of address and names, in order.
fn hosts(lab: &Lab, task: &str) -> Vec<(String, Vec<String>)> {
    let split = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.collect()))
    };
    exec(lab, task, "cat /etc/hosts").lines().filter_map(split).collect()
}

#[test]
fn the_hosts_file_in_its_order() {
    let lab = Lab::start();
    let id = lab.task("plain", &[], &["sleep", "1000"]);
    let short = &id[..12];
    assert_eq!(exec(&lab, "plain", "hostname; cat /etc/hostname"), format!("{short}\n{short}\n"));
    let lines = hosts(&lab, "plain");
    assert_eq!(lines.first().map(|l| (l.0.as_str(), l.1[0].as_str())), Some(("127.0.0.1", "localhost")), "{lines:?}");
    assert_eq!(
        lines.last(),
        Some(&("172.17.0.2".into(), vec![short.into()])),
        "own address and name come last: {lines:?}"
    );

    let flags = ["--hostname", "named.example.org", "--add-host", "db:10.1.2.3", "--add-host", "six:2001:db8::7"];
    lab.task(
        "named",
        &[&flags[..], &["--add-host", "gw:host-gateway", "--link", "plain:p"]].concat(),
        &["sleep", "1000"],
    );
    let lines = hosts(&lab, "named");
    let at = |address: &str, name: &str| {
        let found = lines.iter().position(|l| l.0 == address && l.1.iter().any(|n| n == name));
        found.unwrap_or_else(|| panic!("{address} {name} in {lines:?}"))
    };
    let order = [
        at("127.0.0.1", "localhost"),
        at("10.1.2.3", "db"),
        at("2001:db8::7", "six"),
        at(GATEWAY, "gw"),
        at("172.17.0.2", "p"),
        at("172.17.0.3", "named.example.org"),
    ];
    assert!(order.is_sorted(), "localhost, extra hosts, links, own: {lines:?}");
    assert_eq!(exec(&lab, "named", "hostname"), "named.example.org\n");
    assert_eq!(exec(&lab, "named", "getent ahostsv4 db | head -1 | cut -d' ' -f1"), "10.1.2.3\n");
    // The container's own copy: it may be edited, and the host's stays.
    exec(&lab, "plain", "echo 1.1.1.1 mine >>/etc/hosts");
    assert!(!lab.read("/etc/hosts").contains("mine"));
}

#[test]
fn the_hosts_file_knows_ipv6_where_the_network_has_it() {
    let lab = Lab::dual_stack();
    let id = lab.task("six", &[], &["sleep", "1000"]);
    lab.task("linked", &["--link", "six"], &["sleep", "1000"]);
    let has = |task: &str, address: &str, name: &str| {
        hosts(&lab, task).iter().any(|l| l.0 == address && l.1.iter().any(|n| n == name))
    };
    assert!(
        has("six", "::1", "ip6-localhost")
            && has("six", "172.17.0.2", &id[..12])
            && has("six", "fd00:17::2", &id[..12])
    );
    assert!(has("linked", "172.17.0.2", "six") && has("linked", "fd00:17::2", "six"), "{:?}", hosts(&lab, "linked"));
    assert_eq!(exec(&lab, "six", "ip -6 route show default | cut -d' ' -f3"), "fd00:17::1\n");
    assert_eq!(exec(&lab, "six", "cat /proc/sys/net/ipv6/conf/eth0/accept_ra"), "0\n");
}

#[test]
fn links_name_their_target_one_way() {
    let lab = Lab::start();
    lab.serve("gunicorn", &["--hostname", "app-host"], &["tcp/8000"]);
    lab.serve("nginx", &["--link", "gunicorn:app", "--link", "gunicorn"], &["tcp/80"]);
    let line =
        hosts(&lab, "nginx").into_iter().find(|l| l.1.contains(&"app".to_owned())).expect("a line for the alias");
    assert_eq!(line, ("172.17.0.2".into(), ["app", "app-host", "gunicorn"].map(String::from).to_vec()));
    let lines = hosts(&lab, "nginx");
    assert!(
        lines.iter().any(|l| l.1.first().is_some_and(|n| n == "gunicorn")),
        "the alias is the name if none is given"
    );
    let ask = "probe once '{\"who\":{\"proto\":\"tcp\",\"to\":\"'$(getent ahostsv4 app | head -1 | cut -d\" \" -f1)':8000\",\
               \"from\":null,\"wait_ms\":1000}}'";
    assert!(exec(&lab, "nginx", ask).contains("gunicorn"));
    assert!(!exec(&lab, "gunicorn", "cat /etc/hosts").contains("nginx"), "one-directional");
    let env = exec(&lab, "nginx", "env");
    assert!(!env.contains("APP_PORT"), "docker's old variables are not made: {env}");
}

#[test]
fn name_servers_of_the_host_but_for_those_on_its_loopback() {
    let resolv = "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver 2001:db8:1::53\nsearch example.org\n\
                  options ndots:2\n";
    let lab = Lab::with().first(&format!("printf '{resolv}' >/etc/resolv.conf")).start();
    lab.task("plain", &[], &["sleep", "1000"]);
    let text = exec(&lab, "plain", "cat /etc/resolv.conf");
    assert!(text.contains("nameserver 192.0.2.53\n"), "{text}");
    assert!(!text.contains("127.0.0.53"), "nobody answers there: {text}");
    assert!(!text.contains("2001:db8:1::53"), "the container has no IPv6: {text}");
    assert!(text.contains("search example.org") && text.contains("ndots:2"), "{text}");
    lab.task("host", &["--mode", "host"], &["sleep", "1000"]);
    assert_eq!(exec(&lab, "host", "cat /etc/resolv.conf"), lab.read("/etc/resolv.conf"), "host mode: the host's");

    let flags =
        ["--dns", "10.0.0.53", "--dns", "2001:db8::53", "--dns-search", "a.example", "--dns-search", "b.example"];
    lab.task("own", &[&flags[..], &["--dns-option", "timeout:1"]].concat(), &["sleep", "1000"]);
    let text = exec(&lab, "own", "cat /etc/resolv.conf");
    for line in ["nameserver 10.0.0.53\n", "search a.example b.example\n", "timeout:1"] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert!(!text.contains("192.0.2.53") && !text.contains("ndots"), "what is given replaces the host's: {text}");
}

#[test]
fn public_name_servers_where_the_host_has_none_of_use() {
    let lab = Lab::with().first("echo nameserver 127.0.0.53 >/etc/resolv.conf").start();
    lab.task("plain", &[], &["sleep", "1000"]);
    let text = exec(&lab, "plain", "cat /etc/resolv.conf");
    assert!(text.contains("nameserver 8.8.8.8\n") && text.contains("nameserver 8.8.4.4\n"), "{text}");
    // systemd-resolved's own file says whom it asks.
    let lab = Lab::with()
        .first("echo nameserver 127.0.0.53 >/etc/resolv.conf; mkdir -p /run/systemd/resolve")
        .first("echo nameserver 192.0.2.99 >/run/systemd/resolve/resolv.conf")
        .start();
    lab.task("plain", &[], &["sleep", "1000"]);
    let text = exec(&lab, "plain", "cat /etc/resolv.conf");
    assert!(text.contains("nameserver 192.0.2.99\n") && !text.contains("8.8.8.8"), "{text}");
}

#[test]
fn a_new_namespace_lets_anybody_ping_and_bind_port_80() {
    let lab = Lab::start();
    for mode in ["bridge", "none"] {
        lab.serve(mode, &["--mode", mode, "-u", "1234:1234"], &["tcp/80"]);
        let read = |key: &str| exec(&lab, mode, &format!("cat /proc/sys/net/ipv4/{key}")).replace('\t', " ");
        assert_eq!(read("ip_unprivileged_port_start"), "0\n", "{mode}");
        assert_eq!(read("ping_group_range"), "0 2147483647\n", "{mode}");
        // Debian's ping has the file capability NET_RAW, which is not in the container's bounding set, and the kernel
        // refuses to execute such a file at all. A copy has none and uses the ping socket that everybody may have.
        exec(&lab, mode, "cp /usr/bin/ping /tmp/ping && /tmp/ping -c1 -W1 127.0.0.1");
    }
    assert_eq!(lab.inside("bridge").who(tcp("127.0.0.1:80")).map(|s| s.tag).as_deref(), Ok("bridge"));
    exec(&lab, "bridge", "/tmp/ping -c1 -W1 172.17.0.1");
    // The host's own stay as they were: a plain user gets no port 80 in host mode.
    assert_eq!(lab.read("/proc/sys/net/ipv4/ip_unprivileged_port_start").trim(), "1024");
    let host = lab.netmode(&["run", "--mode", "host", "-u", "1234", "--rootfs", "/", "probe", "serve", "tcp/80"]);
    assert_eq!(host.status, 1, "{host:#?}");
    assert!(host.stderr.to_lowercase().contains("permission denied"), "{host:#?}");
}

#[test]
fn sysctls_of_the_network_can_be_set() {
    let lab = Lab::start();
    let flags = ["--sysctl", "net.ipv4.ip_unprivileged_port_start=500", "--sysctl", "net.core.somaxconn=77"];
    lab.task("tuned", &flags, &["sleep", "1000"]);
    let text = exec(&lab, "tuned", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/core/somaxconn");
    assert_eq!(text, "500\n77\n", "what is asked for wins over the default");
    assert_ne!(lab.read("/proc/sys/net/core/somaxconn").trim(), "77");
    let out = lab.netmode(&["run", "--rm", "--rootfs", "/", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
    assert_ne!(out.status, 0, "/proc/sys is read-only inside: {out:#?}");
}

/// Docker's default set without NET_RAW, as bits of `linux/capability.h`: chown 0, dac_override 1, fowner 3, fsetid 4,
/// kill 5, setgid 6, setuid 7, setpcap 8, net_bind_service 10, sys_chroot 18, mknod 27, audit_write 29, setfcap 31.
const DEFAULT_CAPS: u64 =
    1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18 | 1 << 27 | 1 << 29 | 1 << 31;
const NET_RAW: u64 = 1 << 13;
const NET_ADMIN: u64 = 1 << 12;

#[test]
fn capabilities_are_exactly_these() {
    let lab = Lab::start();
    let caps = |flags: &[&str]| {
        let read = ["--rootfs", "/", "sh", "-c", "grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/self/status"];
        let out = lab.netmode(&[&["run", "--rm"], flags, &read].concat()).success().stdout;
        let value = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap_or(""), 16).expect("hex");
        out.lines().map(value).collect::<Vec<_>>()
    };
    for mode in ["bridge", "host", "none"] {
        assert_eq!(caps(&["--mode", mode]), [DEFAULT_CAPS, DEFAULT_CAPS, DEFAULT_CAPS, 0], "{mode}");
    }
    assert_eq!(caps(&["--cap-add", "NET_RAW", "--cap-add", "NET_ADMIN"])[1], DEFAULT_CAPS | NET_RAW | NET_ADMIN);
    assert_eq!(caps(&["--cap-drop", "MKNOD", "--cap-drop", "CAP_CHOWN"])[1], DEFAULT_CAPS & !(1 << 27) & !1);
    assert_eq!(caps(&["--cap-drop", "ALL"]), [0, 0, 0, 0]);
    assert_eq!(caps(&["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"])[1], 1 << 10);
    assert!(caps(&["--privileged"])[1] & NET_ADMIN != 0);
    assert_eq!(caps(&["-u", "1234"])[..3], [0, 0, DEFAULT_CAPS], "a plain user has none");
}

#[test]
fn seccomp_and_new_privileges() {
    let lab = Lab::start();
    let run = |flags: &[&str], script: &str| {
        lab.netmode(&[&["run", "--rm"], flags, &["--rootfs", "/", "sh", "-c", script]].concat())
    };
    let status = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t'";
    assert_eq!(run(&[], status).success().stdout, "NoNewPrivs:0\nSeccomp:2\n");
    assert_eq!(run(&["--security-opt", "no-new-privileges"], status).success().stdout, "NoNewPrivs:1\nSeccomp:2\n");
    assert_eq!(run(&["--security-opt", "seccomp=unconfined"], status).success().stdout, "NoNewPrivs:0\nSeccomp:0\n");
    assert_eq!(run(&["--privileged"], status).success().stdout, "NoNewPrivs:0\nSeccomp:0\n");
    // What Docker's profile keeps from a container without CAP_SYS_ADMIN.
    for forbidden in ["unshare -U true", "unshare -n true", "mount -t tmpfs t /mnt", "keyctl show", "dmesg -C"] {
        let out = run(&[], &format!("{forbidden} 2>&1"));
        assert_ne!(out.status, 0, "{forbidden}: {out:#?}");
    }
    let raw = "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'";
    assert_ne!(run(&[], raw).status, 0, "no raw sockets without NET_RAW");
    assert_eq!(run(&["--cap-add", "NET_RAW"], raw).status, 0);
    // What is masked and what is read-only, as in Docker.
    let out =
        run(&[], "cat /proc/kcore 2>/dev/null | head -c1 | wc -c; ls /sys/firmware 2>/dev/null | wc -l").success();
    assert_eq!(out.stdout, "0\n0\n");
    let out = run(&[], "echo x >/sys/kernel/uevent_helper || echo x >/proc/sysrq-trigger");
    assert_ne!(out.status, 0, "{out:#?}");
}
