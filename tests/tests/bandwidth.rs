//! `--net-rate`: how fast a container's interfaces are.

use netmode_model::Code;
use netmode_tests::lab::address::*;
use netmode_tests::{Lab, eventually};

/// Sends bytes to whoever comes to 7001, takes them on 7002 and says "ok" at the end.
const SERVER: &str = r#"
import socket, threading
def serve(port, work):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", port)); s.listen()
    while True:
        c, _ = s.accept(); work(c); c.close()
def send(c):
    c.sendall(bytes(int(c.recv(16))))
def take(c):
    left = int(c.recv(16))
    c.sendall(b"go")
    while left > 0: left -= len(c.recv(1 << 16))
    c.sendall(b"ok")
for port, work in (7001, send), (7002, take):
    threading.Thread(target=serve, args=(port, work)).start()
print("ready", flush=True)
"#;

/// Prints bits per second of BYTES by PORT of HOST.
const CLIENT: &str = r#"
import socket, sys, time
host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
c = socket.create_connection((host, port), 10)
begun = time.monotonic()
c.sendall(b"%-16d" % size)
if port == 7002:
    assert c.recv(2) == b"go"
    c.sendall(bytes(size))
    assert c.recv(2) == b"ok"
else:
    left = size
    while left > 0:
        got = len(c.recv(1 << 16)); assert got; left -= got
print(int(size * 8 / (time.monotonic() - begun)))
"#;

const FROM: u16 = 7001;
const TO: u16 = 7002;

/// Megabits per second that come from the container, or go to it.
fn speed(lab: &Lab, address: &str, port: u16, bytes: u32) -> f64 {
    let (port, bytes) = (port.to_string(), bytes.to_string());
    let said = lab.at("client").run(&["python3", "-c", CLIENT, address, &port, &bytes]).success().stdout;
    said.trim().parse::<f64>().expect("a number") / 1e6
}

fn served(flags: &[&str]) -> Lab {
    let lab = Lab::start();
    let flags = [&["-p", "7001:7001", "-p", "7002:7002"], flags].concat();
    lab.task("web", &flags, &["python3", "-c", SERVER]);
    lab.ready("web");
    lab
}

/// A bucket lets a burst pass at once, so a short transfer is a little faster than the rate.
#[track_caller]
fn about(seen: f64, rate: f64) {
    assert!(seen > rate * 0.4 && seen < rate * 1.3, "{seen} Mbit/s for a rate of {rate}");
}

#[test]
fn both_directions_are_limited_each_by_its_own_rate() {
    let lab = served(&["--net-rate", "in=16mbit,out=8mbit"]);
    about(speed(&lab, HOST, TO, 4_000_000), 16.0);
    about(speed(&lab, HOST, FROM, 2_000_000), 8.0);
    assert_eq!(lab.inspect("web")["networks"][0]["netRate"], serde_json::json!({"in": "16mbit", "out": "8mbit"}));
}

#[test]
fn it_changes_while_the_container_runs_and_stays_with_the_task() {
    let lab = served(&[]);
    let free = speed(&lab, HOST, FROM, 8_000_000);
    let web = lab.inspect("web");
    let (dev, mac) = (lab.sh("ls /sys/class/net | grep '^nm.\\{11\\}$'"), web["networks"][0]["macAddress"].clone());
    let rates = |place: &str| lab.sh(&format!("{place} | grep -o 'tbf.* rate [^ ]*' | grep -o '[^ ]*$' || :"));
    let host = format!("tc qdisc show dev {}", dev.trim());
    let inside = format!("tc -n {} qdisc show dev eth0", web["netns"].as_str().unwrap().rsplit('/').next().unwrap());

    lab.netmode(&["update", "--net-rate", "out=8mbit", "web"]).success();
    about(speed(&lab, HOST, FROM, 2_000_000), 8.0);
    assert_eq!((rates(&host), rates(&inside)), (String::new(), "8Mbit\n".into()));
    assert!(speed(&lab, HOST, TO, 8_000_000) > 16.0, "towards it nothing is limited");
    lab.netmode(&["update", "--net-rate", "in=2gbit,out=16mbit", "web"]).success();
    assert_eq!((rates(&host), rates(&inside)), ("2Gbit\n".into(), "16Mbit\n".into()));
    about(speed(&lab, HOST, FROM, 4_000_000), 16.0);

    // What somebody takes away is put back, by the next agent too.
    lab.sh(&format!("tc qdisc del dev {} root; {}", dev.trim(), inside.replace("show", "del") + " root"));
    lab.restart_agent("KILL");
    eventually("put back", 3.0, || (rates(&host), rates(&inside)) == ("2Gbit\n".into(), "16Mbit\n".into()));

    // Stopped and started, it has what it had; on one more network, too.
    lab.netmode(&["stop", "-t", "0", "web"]).success();
    lab.netmode(&["update", "--net-rate", "out=24mbit", "web"]).success();
    lab.netmode(&["network", "create", "more"]).success();
    lab.netmode(&["start", "web"]).success();
    lab.ready("web");
    lab.netmode(&["network", "connect", "more", "web"]).success();
    let web = lab.inspect("web");
    assert_eq!(web["networks"][1]["netRate"]["out"], "24mbit", "{web}");
    assert_ne!(web["networks"][0]["macAddress"], serde_json::Value::Null, "{mac}");
    about(speed(&lab, HOST, FROM, 6_000_000), 24.0);
    lab.netmode(&["update", "--net-rate", "none", "web"]).success();
    let again = speed(&lab, HOST, FROM, 8_000_000);
    assert!(again > 48.0_f64.min(free / 4.0), "free again: {again} Mbit/s, and {free} before");
    assert_eq!(lab.inspect("web")["networks"][0]["netRate"], serde_json::Value::Null);
}

#[test]
fn an_attached_namespace_and_a_plan_have_it_too() {
    let lab = Lab::start();
    lab.sh("ip netns add guest");
    lab.netmode(&["attach", "--netns", "/run/netns/guest", "--net-rate", "in=3mbit,out=2mbit"]).success();
    assert!(lab.sh("tc -n guest qdisc show dev eth0").contains("rate 2Mbit"));
    lab.netmode(&["detach", "--owner", "guest"]).success();
    lab.sh("ip netns del guest");
    let plan = lab.netmode(&["run", "--plan", "--net-rate", "in=3mbit", "--rootfs", "/", "true"]).success().stdout;
    let line = plan.lines().find(|l| l.starts_with("tc ")).unwrap_or_else(|| panic!("no tc in {plan}"));
    lab.sh("ip link add dev trial type bridge");
    let dev = line.split_whitespace().nth(4).expect("a link");
    lab.sh(&line.replace(dev, "trial"));
    let made = lab.sh("tc qdisc show dev trial");
    assert!(made.contains("rate 3Mbit burst 303"), "{line}: {made}");
}

#[test]
fn what_is_no_rate_or_has_no_interface_is_refused() {
    let lab = Lab::start();
    for bad in ["", "10mbit", "up=1mbit", "in=1mbit,in=2mbit", "in=0", "in=7kbit", "out=2tbit", "in=1mbit;reboot"] {
        let said = lab.netmode(&["run", "-o", "json", "-d", "--net-rate", bad, "--rootfs", "/", "true"]);
        said.refused_with(125, Code::Invalid);
        assert!(said.stderr.contains("--net-rate"), "{bad}: {}", said.stderr);
    }
    for mode in ["host", "none"] {
        let said = lab.netmode(&["run", "-d", "--mode", mode, "--net-rate", "in=1mbit", "--rootfs", "/", "true"]);
        said.refused(125, &["--net-rate", mode, "bridge"]);
    }
    lab.task("web", &["--mode", "host"], &["sleep", "100"]);
    lab.task("joins", &["--network", "container:web"], &["sleep", "100"]);
    lab.netmode(&["update", "--net-rate", "in=1mbit", "web"]).refused(1, &["--net-rate", "host mode"]);
    lab.netmode(&["update", "--net-rate", "in=1mbit", "joins"]).refused(1, &["--net-rate", "another task"]);
    lab.netmode(&["update", "web"]).refused(1, &["--net-rate"]);
    lab.netmode(&["update", "-o", "json", "--net-rate", "in=1mbit", "nobody"]).refused_with(1, Code::NotFound);
}
