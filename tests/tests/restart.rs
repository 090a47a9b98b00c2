//! What the agent's end, death, restart and rivals do to containers: nothing.

use netmode_tests::lab::address::*;
use netmode_tests::lab::{AGENT_LOG, CONFIG};
use netmode_tests::wire::Tally;
use netmode_tests::{Failure, Lab, eventually, tcp, udp};

/// Asks for a while from the client, over both protocols, while something is done to the agent.
fn while_probed(lab: &Lab, work: impl FnOnce()) -> [Tally; 2] {
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| lab.at("client").hammer(tcp(format!("{HOST}:8080")), 2500));
        let datagrams = scope.spawn(|| lab.at("client").hammer(udp(format!("{HOST}:8080")), 2500));
        std::thread::sleep(std::time::Duration::from_millis(200));
        work();
        [stream, datagrams].map(|thread| thread.join().expect("a tally"))
    })
}

#[test]
fn a_restart_loses_no_packet() {
    for signal in ["TERM", "KILL"] {
        let lab = Lab::start();
        lab.serve("web", &["-p", "8080:80", "-p", "8080:80/udp"], &["tcp/80", "udp/80"]);
        let before = (lab.inspect("web"), lab.sh("nft -s list table inet netmode 2>/dev/null; ip -br link; ip rule"));
        let open = lab.at("client").open(tcp(format!("{HOST}:8080")));
        let tallies = while_probed(&lab, || lab.restart_agent(signal));
        for tally in tallies {
            assert_eq!(tally.failed, 0, "{signal}: {tally:?}");
            assert!(tally.answered > 50, "{signal}: {tally:?}");
        }
        assert_eq!(open.say("still the same connection"), Ok(()), "{signal}");
        let after = (lab.inspect("web"), lab.sh("nft -s list table inet netmode 2>/dev/null; ip -br link; ip rule"));
        assert_eq!(after, before, "{signal}: adopted as it was");
        // Held again, and everything works as before.
        assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8080"), true), Err(Failure::Taken), "{signal}");
        assert_eq!(lab.at("host").bind(udp("0.0.0.0:8080"), true), Err(Failure::Taken), "{signal}");
        lab.serve("next", &["-p", "8081:80"], &["tcp/80"]);
        assert_eq!(lab.address("next"), "172.17.0.3", "{signal}: the adopted address is not given twice");
        assert_eq!(lab.netmode(&["exec", "web", "echo", "hi"]).success().stdout, "hi\n");
        lab.netmode(&["stop", "-t", "0", "web"]).success();
        assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))), Err(Failure::Refused), "{signal}");
    }
}

#[test]
fn containers_and_ports_outlive_the_agent() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    for signal in ["TERM", "KILL"] {
        let status = lab.end_agent(signal);
        assert_eq!(status, if signal == "TERM" { 0 } else { 137 });
        assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT), "after {signal}");
        let direct = lab.at("client").who(tcp("172.17.0.2:80"));
        assert!(
            matches!(direct, Err(Failure::Timeout | Failure::Unreachable)),
            "still closed after {signal}: {direct:?}"
        );
        // Nobody owns the table now: this is the stranger's moment. Containers close, not open.
        if signal == "KILL" {
            lab.sh("nft flush ruleset");
            let direct = lab.at("client").who(tcp("172.17.0.2:80"));
            assert!(matches!(direct, Err(Failure::Timeout | Failure::Unreachable)), "{direct:?}");
        }
        lab.start_agent();
        assert_eq!(
            lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(),
            Ok(CLIENT),
            "again after {signal}"
        );
    }
}

#[test]
fn an_end_while_nobody_watched_is_found() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    lab.task("brief", &["-p", "8081:80"], &["sh", "-c", "echo said; sleep 0.7; exit 6"]);
    lab.task("brief-too", &["--rm"], &["sh", "-c", "sleep 0.7"]);
    lab.end_agent("KILL");
    std::thread::sleep(std::time::Duration::from_millis(1000));
    lab.start_agent();
    eventually("the end is noticed", 3.0, || lab.inspect("brief")["state"] == "STOPPED");
    let view = lab.inspect("brief");
    assert_eq!(view["containers"][0]["exitCode"], 6, "{view}");
    assert_eq!(lab.netmode(&["logs", "brief"]).success().stdout, "said\n");
    assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8081"), false), Ok(()), "its port is free");
    eventually("--rm holds", 3.0, || !lab.netmode(&["ps", "-a"]).stdout.contains("brief-too"));
    lab.until_bridge_ports(1);
    lab.serve("next", &[], &["tcp/80"]);
    assert_eq!(lab.address("next"), "172.17.0.3", "its address as well");
    assert_eq!(lab.inspect("web")["state"], "RUNNING");
}

/// Holds what the kernel has against what the agent says it has; what is on its way out gets three seconds.
#[track_caller]
fn assert_consistent(lab: &Lab, when: &str) {
    let look = || {
        let tasks = lab.json(&["ps", "-a"]);
        // A task that was made whole and not yet started is PENDING: it is known, and can be started or removed.
        let tasks = tasks.as_array().expect("a list").iter();
        let mut pins: Vec<_> = tasks.filter_map(|t| Some(t["netns"].as_str()?.replace("/run/netns/", ""))).collect();
        pins.sort();
        let there = lab.sh("ls /run/netns | grep ^nm-; echo links $(ip -br link show master nm0 | wc -l)
             echo elements $(nft list map inet netmode port_any4 2>/dev/null | grep -o 'tcp \\.' | wc -l)
             echo records $(ls /run/netmode/endpoints | wc -l), monitors $(pgrep -cx conmon)");
        let (count, ports) = (pins.len(), lab.json(&["port", "ls"]).as_array().map_or(0, Vec::len));
        let counts = format!("links {count}\nelements {ports}\nrecords {count}, monitors {count}\n");
        (there, pins.into_iter().map(|pin| pin + "\n").collect::<String>() + &counts)
    };
    let mut seen = look();
    for _ in 0..60 {
        if seen.0 == seen.1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        seen = look();
    }
    assert_eq!(
        seen.0,
        seen.1,
        "{when}: what is there, and what the agent knows: {}",
        lab.sh("netmode ps -a; ip -br link; ps axf")
    );
}

/// Sends a line every 20 ms, 150 times, to whoever connects, and waits for nothing.
const SPEAKER: &str = "
import socket, time
server = socket.create_server(('0.0.0.0', 80))
print('ready', flush=True)
while True:
    peer, _ = server.accept()
    for n in range(150):
        peer.send(b'%d\\n' % n)
        time.sleep(0.02)
    peer.close()
";

/// Counts the lines, and says nothing.
const LISTENER: &str = "
import socket
peer = socket.create_connection(('192.0.2.1', 8080), 5)
peer.settimeout(5)
text = b''
while part := peer.recv(4096):
    text += part
print(text.count(b'\\n'))
";

/// What a container sends next, with its flow forgotten, would be taken for a connection of its own and get another
/// source.
#[test]
fn a_connection_on_which_the_container_alone_speaks_goes_on() {
    let lab = Lab::start();
    lab.task("web", &["-p", "8080:80"], &["python3", "-c", SPEAKER]);
    lab.ready("web");
    let lines = std::thread::scope(|scope| {
        let heard = scope.spawn(|| lab.at("client").run(&["python3", "-c", LISTENER]));
        for signal in ["KILL", "TERM", "KILL"] {
            std::thread::sleep(std::time::Duration::from_millis(500));
            lab.restart_agent(signal);
        }
        heard.join().expect("the listener").success().stdout
    });
    assert_eq!(lines, "150\n");
}

#[test]
fn what_was_half_made_is_removed() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    // Killed after ever more milliseconds: somewhere in the middle of making a container.
    for (round, after_ms) in [2, 5, 10, 15, 20, 30, 45, 60].into_iter().enumerate() {
        let port = format!("{}:80", 9000 + round);
        let name = format!("t{round}");
        let half = lab.spawn(
            &["netmode", "run", "-d", "--name", &name, "-p", &port, "--rootfs", "/", "sleep", "1000"],
            "/run/lab/half.log",
        );
        std::thread::sleep(std::time::Duration::from_millis(after_ms));
        lab.restart_agent("KILL");
        lab.reap(half, 5000);
        assert_consistent(&lab, &format!("killed after {after_ms} ms"));
    }
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
    for round in 0..8 {
        lab.netmode(&["rm", "-f", &format!("t{round}")]);
    }
    assert_consistent(&lab, "all removed");
    assert_eq!(lab.json(&["ps", "-a"]).as_array().map(Vec::len), Some(1));
    lab.serve("next", &["-p", "9000-9007:9000-9007"], &["tcp/9000"]);
    assert_eq!(lab.address("next"), "172.17.0.3", "addresses are free again");
}

#[test]
fn a_reboot_leaves_records_and_frees_the_rest() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80", "--ip", "172.17.0.7"], &["tcp/80"]);
    lab.netmode(&["run", "--name", "ended", "--rootfs", "/", "sh", "-c", "exit 5"]).exits(5);
    let id = lab.inspect("web")["id"].clone();
    lab.reboot();
    let view = lab.inspect("web");
    assert_eq!((view["state"].as_str(), &view["id"]), (Some("STOPPED"), &id), "{view}");
    assert!(view["stoppedReason"].as_str().is_some_and(|r| !r.is_empty()), "{view}");
    assert_eq!(lab.inspect("ended")["containers"][0]["exitCode"], 5);
    assert_eq!(lab.json(&["port", "ls"]), serde_json::json!([]));
    assert_consistent(&lab, "after the reboot");
    lab.serve("new", &["-p", "8080:80", "--ip", "172.17.0.7"], &["tcp/80"]);
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))).map(|s| s.tag).as_deref(), Ok("new"));
    let network = lab.json(&["network", "inspect", "bridge"]);
    assert_eq!(network[0]["IPAM"]["Config"][0]["Subnet"], "172.17.0.0/16", "the network is the same");
}

#[test]
fn a_second_agent_is_refused_and_a_stale_socket_replaced() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let second = lab.run(&["timeout", "5", "netmoded"]);
    second.refused(1, &["/run/netmode", "another"]);
    // Other files, but the same host: it would write the same rules.
    let other = ["timeout", "5", "netmoded", "--run-dir", "/tmp/r", "--state-dir", "/tmp/s", "--socket", "/tmp/r/sock"];
    let second = lab.run(&other);
    assert_ne!(second.status, 0, "one agent a network namespace: {second:#?}");
    assert_ne!(second.status, 124, "it is refused, not left running: {second:#?}");
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
    lab.netmode(&["ps"]).success();
    lab.end_agent("KILL");
    assert!(lab.has_file("/run/netmode/netmode.sock"), "a killed agent leaves its socket");
    lab.start_agent();
    assert_eq!(lab.netmode(&["ps", "-q"]).success().stdout.lines().count(), 1);
}

#[test]
fn two_agents_on_one_machine_do_not_meet() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let files = ["--run-dir", "/tmp/r", "--state-dir", "/var/lib/netmode/second", "--socket", "/tmp/r/sock"];
    let command = [&["nsenter", "--net=/run/netns/client", "netmoded", "--config", "/dev/null"], &files[..]].concat();
    let pid = lab.spawn(&command, "/run/lab/second.log");
    let there = |words: &[&str]| lab.netmode_with(words, "", &[("NETMODE_SOCKET", "/tmp/r/sock")]);
    eventually("the other agent answers", 5.0, || there(&["ps"]).status == 0);
    let run =
        ["run", "-d", "--name", "web", "-p", "8080:80", "--rootfs", "/", "probe", "serve", "--tag", "theirs", "tcp/80"];
    there(&run).success();
    eventually("it serves", 5.0, || there(&["logs", "web"]).stdout.contains("ready"));
    assert_eq!(lab.at("client").who(tcp("127.0.0.1:8080")).map(|s| s.tag).as_deref(), Ok("theirs"));
    assert_eq!(lab.at("host").who(tcp("127.0.0.1:8080")).map(|s| s.tag).as_deref(), Ok("web"));
    // Restart each, remove in one: the other's containers are not touched.
    lab.restart_agent("KILL");
    lab.netmode(&["rm", "-f", "web"]).success();
    assert_eq!(lab.at("client").who(tcp("127.0.0.1:8080")).map(|s| s.tag).as_deref(), Ok("theirs"));
    there(&["rm", "-f", "web"]).success();
    lab.sh(&format!("kill {pid}"));
    assert_eq!(lab.reap(pid, 5000), Some(0));
}

#[test]
fn a_reload_with_a_bad_configuration_keeps_the_old_one() {
    let policy = "[[api.access]]\nuid = 1000\nallow = \"read\"\n";
    let lab = Lab::with().config(policy).first("groupadd netmode").start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let group = lab.sh("getent group netmode | cut -d: -f3").trim().to_owned();
    let reads =
        || lab.run(&["setpriv", "--reuid", "1000", "--regid", &group, "--clear-groups", "netmode", "ps"]).status == 0;
    assert!(reads());
    lab.write(CONFIG, "[[api.access]]\nuid = 1000\nallow = \"everything\"\n");
    lab.signal_agent("HUP");
    eventually("the log tells file, line and key", 3.0, || {
        let log = lab.read(AGENT_LOG);
        log.contains(CONFIG) && log.contains("allow") && log.contains("everything")
    });
    assert!(reads(), "the old configuration stays");
    lab.write(CONFIG, "[[api.access]]\nuid = 1000\nallow = \"nothing\"\n");
    lab.signal_agent("HUP");
    eventually("a good one counts", 3.0, || !reads());
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT), "nothing was disturbed");
}

#[test]
fn it_starts_when_its_socket_is_asked() {
    let lab = Lab::with().no_agent().first("mkdir -p /run/netmode").start();
    lab.spawn(&["systemd-socket-activate", "-l", "/run/netmode/netmode.sock", "netmoded"], "/run/lab/activate.log");
    eventually("the socket is there", 3.0, || lab.has_file("/run/netmode/netmode.sock"));
    assert_eq!(lab.sh("pgrep -c netmoded || :").trim(), "0", "not before somebody asks");
    lab.netmode(&["ps"]).success();
    assert_eq!(lab.sh("pgrep -c '^netmoded$' || :").trim(), "1");
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    assert!(lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok());
}

#[test]
fn it_tells_systemd_when_it_is_ready() {
    let lab = Lab::with().no_agent().start();
    let listener = "
import os, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('/tmp/notify'); s.settimeout(5)
p = subprocess.Popen(['netmoded'], env={**os.environ, 'NOTIFY_SOCKET': '/tmp/notify'})
words = b''
while b'READY=1' not in words: words += s.recv(4096) + b'\\n'
ok = subprocess.run(['netmode', 'ps'], capture_output=True).returncode
p.terminate(); p.wait(); print(words.decode(), 'ps', ok, 'end', p.returncode)
";
    lab.write("/srv/notify.py", listener);
    let out = lab.run(&["python3", "/srv/notify.py"]).success();
    assert!(out.stdout.contains("READY=1") && out.stdout.contains("ps 0 end 0"), "{out:#?}");
}

#[test]
fn the_units_are_sound() {
    let lab = Lab::with().no_agent().start();
    let units = netmode_tests::sandbox::repository().join("agent/systemd");
    let mut names = vec![];
    for entry in std::fs::read_dir(&units).expect("agent/systemd").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        lab.write(&format!("/etc/systemd/system/{name}"), &std::fs::read_to_string(entry.path()).expect("a unit"));
        names.push(format!("/etc/systemd/system/{name}"));
    }
    assert!(names.len() >= 2, "{names:?}");
    lab.sh("cp /opt/netmode/bin/netmoded /usr/local/bin/ && groupadd netmode");
    let words: Vec<&str> =
        ["systemd-analyze", "verify", "--man=no"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let out = lab.run(&words);
    assert_eq!((out.status, out.stderr.as_str()), (0, ""), "{out:#?}");
    let all: String = names.iter().map(|n| lab.read(n)).collect();
    for line in [
        "Type=notify",
        "KillMode=process",
        "Delegate=yes",
        "RuntimeDirectoryPreserve=yes",
        "LimitNOFILE=1024:1048576",
        "FileDescriptorStoreMax=8",
    ] {
        assert!(all.contains(line), "{line}");
    }
    // Whatever makes a mount namespace hides the pins of /run/netns from `ip netns`.
    for option in ["PrivateTmp", "ProtectSystem", "ProtectHome", "PrivateDevices", "ReadWritePaths", "PrivateMounts"] {
        assert!(!all.lines().any(|l| l.starts_with(option)), "{option}");
    }
}
