//! The feature table, host, none and default mode, and the choice among them: one test a row. Rows 52–64.

use netmode_model::error::Code;
use netmode_tests::lab::address::*;
use netmode_tests::sandbox::repository;
use netmode_tests::{Failure, Lab, eventually, tcp};

/// `netmode run` with these flags and `sleep` as command.
fn run(lab: &Lab, flags: &[&str]) -> netmode_tests::Output {
    lab.netmode(&[&["run", "-d"], flags, &["--rootfs", "/", "sleep", "1000"]].concat())
}

#[test]
fn row_52_host_mode_shares_the_hosts_stack() {
    let lab = Lab::start();
    lab.serve("web", &["--mode", "host"], &["tcp/8080"]);
    let view = lab.inspect("web");
    let pid = view["pid"].as_u64().expect("a pid");
    assert_eq!(lab.sh(&format!("readlink /proc/{pid}/ns/net")), lab.sh("readlink /proc/self/ns/net"));
    assert_eq!(view["networkMode"], "host");
    assert!(view.get("netns").is_none(), "{view}");
    assert_eq!(view["networks"], serde_json::json!([]), "no address of its own");
    assert_eq!(view["containers"][0]["networkInterfaces"], serde_json::json!([]));
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
    assert_eq!(lab.at("client").seen_as(tcp(format!("[{HOST6}]:8080"))).as_deref(), Ok(CLIENT6));
    let names = ["cat", "/proc/sys/kernel/hostname"];
    assert_eq!(lab.netmode(&[&["exec", "web"], &names[..]].concat()).stdout, lab.run(&names).stdout, "the host's name");
    let hosts = lab.netmode(&["exec", "web", "cat", "/etc/hosts"]).success().stdout;
    assert_eq!(hosts, lab.read("/etc/hosts"), "a copy of the host's");
}

#[test]
fn row_53_host_port_equals_container_port() {
    let lab = Lab::start();
    let text = "the host ports and container ports in port mappings must match";
    run(&lab, &["--mode", "host", "-p", "8080:80"]).refused(125, &["host", text]);
    run(&lab, &["--mode", "host", "-p", "8000-8001:9000-9001"]).refused(125, &[text]);
    for (name, mapping, port) in [("same", "8080:8080", 8080), ("short", "8081", 8081)] {
        lab.task(name, &["--mode", "host", "-p", mapping], &["sleep", "1000"]);
        let binding = lab.inspect(name)["containers"][0]["networkBindings"][0].take();
        assert_eq!(
            binding,
            serde_json::json!({"bindIP":"0.0.0.0","containerPort":port,"hostPort":port,"protocol":"tcp"})
        );
    }
}

#[test]
fn row_54_one_copy_a_host_and_port() {
    let lab = Lab::start();
    lab.serve("first", &["--mode", "host", "-p", "8080"], &["tcp/8080"]);
    run(&lab, &["--mode", "host", "-p", "8080"]).refused(125, &["8080", "first", "netmode stop first"]);
    run(&lab, &["-p", "8080:80"]).refused(125, &["8080", "first"]);
    // Disjoint ports live side by side.
    lab.serve("second", &["--mode", "host", "-p", "8081"], &["tcp/8081"]);
    for (port, tag) in [(8080, "first"), (8081, "second")] {
        assert_eq!(lab.at("client").who(tcp(format!("{HOST}:{port}"))).map(|s| s.tag).as_deref(), Ok(tag));
    }
    // Undeclared: the application meets the kernel's word.
    let clash = lab.netmode(&["run", "--mode", "host", "--rootfs", "/", "probe", "serve", "tcp/8080"]);
    assert_eq!(clash.status, 1, "{clash:#?}");
    assert!(clash.stderr.contains("Address already in use") || clash.stderr.contains("os error 98"), "{clash:#?}");
    // A port that a process of the host has is refused at once, with its name.
    let pid = lab.spawn(&["probe", "serve", "tcp/9090"], "/run/lab/stranger.log");
    netmode_tests::eventually("the stranger listens", 3.0, || lab.at("host").who(tcp("127.0.0.1:9090")).is_ok());
    run(&lab, &["--mode", "host", "-p", "9090"]).refused(125, &["9090", "probe", &pid.to_string()]);
}

#[test]
fn row_55_a_free_port_in_a_variable() {
    let lab = Lab::with().config("[ports]\nrange = \"6000-6009\"").start();
    let serve = ["sh", "-c", "exec probe serve tcp/$PORT"];
    lab.task("one", &["--mode", "host", "--port-env", "PORT"], &serve);
    lab.task("two", &["--mode", "host", "--port-env", "PORT"], &serve);
    let ports = ["one", "two"].map(|name| {
        lab.ready(name);
        lab.netmode(&["exec", name, "sh", "-c", "echo $PORT"]).success().stdout.trim().to_owned()
    });
    assert_ne!(ports[0], ports[1]);
    for (name, port) in ["one", "two"].iter().zip(&ports) {
        assert!(port.parse().is_ok_and(|p: u16| (6000..=6009).contains(&p)), "{port}");
        assert!(lab.at("client").who(tcp(format!("{HOST}:{port}"))).is_ok(), "{port}");
        assert_eq!(lab.host_port(name, "tcp").to_string(), *port, "shown as a binding");
    }
}

#[test]
fn row_56_host_mode_has_no_rules() {
    let lab = Lab::start();
    lab.serve("bridged", &["-p", "80:80"], &["tcp/80"]);
    let rules = || lab.sh("nft -s list ruleset 2>/dev/null; ip rule; ip link | sed 's/qlen.*//'");
    let before = rules();
    lab.serve("web", &["--mode", "host", "-p", "8080", "-p", "20000-20999/udp"], &["tcp/8080"]);
    assert_eq!(rules(), before);
    assert!(lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok());
    let flow = lab.sh("conntrack -L -p tcp --orig-port-dst 8080 2>/dev/null");
    assert!(!flow.contains("172.17."), "no translation: {flow}");
}

#[test]
fn row_57_a_host_mode_container_can_use_loopback_services_and_is_said_to() {
    let lab = Lab::start();
    lab.at("host").serve("secret", &["tcp/127.0.0.1:51679"]);
    // CVE-2020-15257: an abstract socket belongs to the network namespace, whatever the file system.
    let listen =
        r"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('\0shim\x1b[2J'); s.listen(); time.sleep(99)";
    lab.spawn(&["python3", "-c", listen], "/run/abstract.log");
    eventually("it listens", 3.0, || lab.sh("cat /proc/net/unix").contains("@shim"));
    let ran = run(&lab, &["--mode", "host", "--name", "curious"]).success();
    assert!(ran.stderr.contains("127.0.0.1:51679"), "names what is within reach: {ran:#?}");
    assert!(ran.stderr.contains(r"@shim\u{1b}[2J"), "and no terminal obeys a name: {ran:#?}");
    let ask = r#"{"who":{"proto":"tcp","to":"127.0.0.1:51679","from":null,"wait_ms":1000}}"#;
    let answer = lab.netmode(&["exec", "curious", "probe", "once", ask]).success();
    assert!(answer.stdout.contains("secret"), "{answer:?}");
    // It may look, not change.
    for change in [&["ip", "link", "set", "lo", "down"][..], &["ip", "link", "del", "nm0"]] {
        let out = lab.netmode(&[&["exec", "curious"], change].concat());
        assert_ne!(out.status, 0, "{out:?}");
    }
    assert!(lab.run(&["ip", "link", "show", "nm0"]).status == 0);
    run(&lab, &["--mode", "host", "--sysctl", "net.ipv4.ip_forward=0"]).refused(125, &["host", "sysctl"]);
}

#[test]
fn row_58_host_mode_warns_at_start() {
    let lab = Lab::start();
    let ran = run(&lab, &["--mode", "host"]).success();
    assert!(ran.stderr.to_lowercase().contains("host"), "{ran:#?}");
    assert_eq!(ran.stdout.trim().len(), 32, "data stays on standard output: {ran:#?}");
    let quiet = run(&lab, &["--mode", "bridge"]).success();
    assert_eq!(quiet.stderr, "", "nothing to say in bridge mode");
}

#[test]
fn row_59_none_mode_has_lo_up_and_nothing_else() {
    let lab = Lab::start();
    lab.task("alone", &["--mode", "none"], &["sleep", "1000"]);
    lab.task("other", &["--mode", "none"], &["sleep", "1000"]);
    let links = lab.netmode(&["exec", "alone", "ip", "-br", "link"]).success().stdout;
    assert_eq!(links.lines().count(), 1, "{links}");
    assert!(links.starts_with("lo") && links.contains("UP"), "{links}");
    for loopback in ["127.0.0.1:80", "[::1]:80"] {
        assert_eq!(lab.inside("alone").who(tcp(loopback)), Err(Failure::Refused), "{loopback} is up");
    }
    for to in [HOST, CLIENT, GATEWAY] {
        assert_eq!(lab.inside("alone").who(tcp(format!("{to}:80"))), Err(Failure::Unreachable), "{to}");
    }
    let curl = lab.netmode(&["exec", "alone", "curl", "-sS", "--max-time", "3", &format!("http://{HOST}/")]);
    assert_ne!(curl.status, 0);
    assert!(lab.inside("alone").who(tcp("[2001:db8:1::9]:80")).is_err());
    // A namespace each: containers without a network do not meet on loopback.
    let own =
        ["alone", "other"].map(|name| lab.netmode(&["exec", name, "readlink", "/proc/self/ns/net"]).success().stdout);
    assert_ne!(own[0], own[1]);
    assert_eq!(lab.inspect("alone")["networkMode"], "none");
}

#[test]
fn row_60_none_mode_takes_no_port_mapping() {
    let lab = Lab::start();
    let text = "port mappings are not supported when networkmode=none";
    run(&lab, &["--mode", "none", "-p", "8080:80"]).refused(125, &[text]);
    run(&lab, &["--mode", "none", "-p", "80"]).refused(125, &[text]);
    lab.task("alone", &["--mode", "none"], &["sleep", "1000"]);
    assert_eq!(lab.netmode(&["exec", "alone", "ip", "route"]).success().stdout, "");
    let six = lab.netmode(&["exec", "alone", "ip", "-6", "route", "show", "default"]).success();
    assert_eq!(six.stdout, "");
    let view = lab.inspect("alone");
    assert_eq!(view["containers"][0]["networkBindings"], serde_json::json!([]));
    assert_eq!(view["networks"], serde_json::json!([]));
}

#[test]
fn row_61_data_leaves_by_volumes_and_logs() {
    let lab = Lab::start();
    lab.sh("mkdir -p /srv/out /srv/in && echo hello >/srv/in/file");
    let flags = ["--mode", "none", "-v", "/srv/out:/out", "-v", "/srv/in:/in:ro", "--tmpfs", "/scratch"];
    let script = "cat /in/file >/out/copy && echo scratch >/scratch/x && echo spoke && ! touch /in/file 2>/dev/null";
    let command = [&["run", "--name", "worker"], &flags[..], &["--rootfs", "/", "sh", "-c", script]].concat();
    let ran = lab.netmode(&command).success();
    assert_eq!(ran.stdout, "spoke\n");
    assert_eq!(lab.sh("cat /srv/out/copy"), "hello\n");
    assert_eq!(lab.netmode(&["logs", "worker"]).success().stdout, "spoke\n");
}

#[test]
fn row_62_default_and_absent_are_bridge() {
    let lab = Lab::start();
    let mut addresses = vec![];
    for (name, flags, requested) in [
        ("asked", &["--mode", "default"][..], "default"),
        ("absent", &[], "default"),
        ("named", &["--network", "bridge"], "bridge"),
        ("short", &["--net=bridge"], "bridge"),
    ] {
        lab.serve(name, &[flags, &["-p", "80"]].concat(), &["tcp/80"]);
        let view = lab.inspect(name);
        assert_eq!(view["networkMode"], "bridge", "{name}");
        assert_eq!(view["requestedMode"], requested, "{name}");
        assert_eq!(view["networks"][0]["name"], "bridge");
        addresses.push(lab.address(name));
        let port = lab.host_port(name, "tcp");
        assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:{port}"))).as_deref(), Ok(CLIENT), "{name}");
    }
    assert_eq!(addresses, ["172.17.0.2", "172.17.0.3", "172.17.0.4", "172.17.0.5"]);
}

#[test]
fn row_63_what_default_means_on_windows_is_documented() {
    let docs = std::fs::read_dir(repository().join("docs")).expect("docs/").flatten().map(|entry| entry.path());
    let mut text = docs.chain([repository().join("README.md")]).filter_map(|path| std::fs::read_to_string(path).ok());
    assert!(text.any(|t| t.contains("Windows")), "that `default` is NAT on Windows and bridge here stands nowhere");
}

#[test]
fn row_64_five_modes_and_no_other() {
    let lab = Lab::start();
    for mode in ["awsvpc", "bridge", "host", "none", "default"] {
        run(&lab, &["--mode", mode, "--name", mode]).success();
        assert_eq!(lab.inspect(mode)["requestedMode"], mode);
    }
    for mode in ["foo", "Bridge", "nat", "host "] {
        let answer = run(&lab, &["--mode", mode]);
        answer.refused(125, &[mode, "awsvpc", "bridge", "host", "none", "default"]);
        let answer = lab.netmode(&["-o", "json", "run", "-d", "--mode", mode, "--rootfs", "/", "true"]);
        answer.refused_with(125, Code::UnknownMode);
    }
}
