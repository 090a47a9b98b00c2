//! Reset, log level, doctor, configuration and bundle, on a machine.

use netmode_tests::lab::AGENT_LOG;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, eventually, tcp};

/// Things that look like ours and are not.
const DECOYS: &str = "
    ip link add nmdecoy type bridge
    ip link set nmdecoy alias netmode/other/network/0123456789ab
    ip rule add pref 95 from 198.51.100.0/24 lookup main
    nft add table inet other
    nft 'add chain inet other c { type filter hook forward priority 5; }'
    ip netns add nm-decoy
    mkdir -p /var/lib/netmode /run/netmode
    echo mine >/var/lib/netmode/mine.txt
    echo mine >/run/netmode/mine.txt
";

/// What an agent leaves for the next one: files that are there while nothing else is.
const LEFT: &str = "find /run/netmode /var/lib/netmode -xdev -type f | grep -v /lock- || :";

fn furnished(lab: &Lab) {
    lab.serve("web", &["-p", "8080:80", "-p", "9000-9009:9000-9009"], &["tcp/80"]);
    lab.task("quiet", &["--mode", "none"], &["sleep", "1000"]);
    lab.task("broad", &["--mode", "host"], &["sleep", "1000"]);
    lab.netmode(&["run", "--name", "ended", "--rootfs", "/", "true"]).success();
    lab.netmode(&["network", "create", "--ipv6", "app"]).success();
    lab.netmode(&["network", "create", "--internal", "inner"]).success();
    let flags = ["--network", "app", "--network", "inner", "--net-rate", "in=10mbit,out=10mbit", "-p", "8085:80"];
    lab.task("fast", &flags, &["sleep", "1000"]);
    lab.sh("cd /srv && umoci init --layout l && umoci new --image l:web && mkdir -p /tmp/r/bin && \
            cp /bin/busybox /tmp/r/bin && umoci insert --image l:web /tmp/r / && rm -r /tmp/r");
    lab.netmode(&["run", "-d", "--name", "image", "oci:/srv/l:web", "/bin/busybox", "sleep", "1000"]).success();
    lab.sh("ip netns add guest");
    lab.netmode(&["attach", "--netns", "/run/netns/guest", "--owner", "guest", "-p", "8090:80"]).success();
}

#[test]
fn a_reset_takes_away_all_and_only_what_is_ours() {
    let lab =
        Lab::with().ipv6().first("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").no_agent().start();
    lab.sh(DECOYS);
    lab.sh("ip netns add guest");
    let before = Machine::settled(&lab);
    lab.sh("ip netns del guest");
    lab.start_agent();
    furnished(&lab);
    let full = Machine::settled(&lab);
    assert_ne!(full, before);

    let plan = lab.netmode(&["system", "reset", "--plan"]).success().stdout;
    for line in
        ["netmode stop web", "netmode rm ended", "ip link del dev nm0", "nft delete table inet netmode", "ip rule del"]
    {
        assert!(plan.contains(line), "{line} in {plan}");
    }
    assert!(!plan.contains("decoy") && !plan.contains("other"), "{plan}");
    let refused = lab.netmode(&["system", "reset"]);
    assert!(refused.status == 1 && refused.stderr.contains("--yes"), "{refused:?}");
    full.assert_unchanged(&lab, "a reset that nobody agreed to");

    let pid = lab.agent_pid();
    lab.netmode(&["system", "reset", "--yes"]).success();
    assert_eq!(lab.reap(pid, 5000), Some(0), "the agent ends: {}", lab.agent_log());
    eventually("nobody keeps anything for a next agent", 3.0, || lab.sh("pgrep -l netmode || :").is_empty());
    eventually("the machine is as before the agent", 5.0, || {
        let now = Machine::now(&lab);
        ["rules", "links", "addresses", "policy rules", "namespaces", "containers", "processes", "mounts", "sysctls"]
            .iter()
            .all(|part| now.part(part) == before.part(part))
    });
    assert_eq!(lab.sh(LEFT), "/run/netmode/mine.txt\n/var/lib/netmode/mine.txt\n");
    assert_eq!(lab.sh("ip netns exec guest ip -br link | grep -c eth0 || :").trim(), "0", "the guest's link is gone");

    lab.start_agent();
    assert_eq!(lab.netmode(&["ps", "-aq"]).stdout, "");
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    assert!(lab.at("client").who(tcp("192.0.2.1:8080")).is_ok());
}

#[test]
fn a_reset_that_keeps_records_lets_the_tasks_start_again() {
    let lab = Lab::start();
    let mounts = Machine::settled(&lab).part("mounts").to_owned();
    furnished(&lab);
    let pid = lab.agent_pid();
    lab.netmode(&["system", "reset", "--yes", "--keep-records"]).success();
    assert_eq!(lab.reap(pid, 5000), Some(0));
    assert_eq!(
        lab.sh("ip link show nm0 2>&1; nft list tables; pgrep -c conmon || :").trim(),
        "Device \"nm0\" does not exist.\n0"
    );
    let guest = |text: &str| {
        text.lines().filter(|l| !l.ends_with("/netns/guest")).map(|l| format!("{l}\n")).collect::<String>()
    };
    assert_eq!(guest(Machine::now(&lab).part("mounts")), mounts);
    lab.start_agent();
    let names = lab.netmode(&["ps", "-a", "--format", "{{.Name}} {{.State}}"]).stdout;
    assert_eq!(names.lines().count(), 6, "{names}");
    assert!(names.lines().all(|l| l.ends_with(" STOPPED")), "{names}");
    lab.netmode(&["start", "web", "fast", "image"]).success();
    let joined = lab.inspect("fast")["networks"].as_array().map(Vec::len);
    assert_eq!(joined, Some(2), "on its networks");
    lab.ready("web");
    eventually("it serves again", 5.0, || lab.at("client").who(tcp("192.0.2.1:8080")).is_ok());
}

#[test]
fn a_reset_asks_on_a_terminal() {
    let lab = Lab::start();
    lab.task("web", &[], &["sleep", "1000"]);
    let answer = |word: &str| {
        lab.at("host").run_with(&["script", "-qec", "netmode system reset", "/dev/null"], &format!("{word}\n"), &[])
    };
    for word in ["n", "", "yes please"] {
        let out = answer(word);
        assert_eq!(out.status, 1, "{word:?}: {out:?}");
        assert!(out.stdout.contains("Continue? [y/N]") && out.stdout.contains("nothing was changed"), "{out:?}");
        assert_eq!(lab.inspect("web")["state"], "RUNNING");
    }
    let pid = lab.agent_pid();
    answer("y").success();
    assert_eq!(lab.reap(pid, 5000), Some(0));
    assert_eq!(lab.sh("ip link show nm0 2>&1 || :").trim(), "Device \"nm0\" does not exist.");
}

#[test]
fn what_comes_while_a_reset_runs_is_refused() {
    let lab = Lab::start();
    // Deaf to SIGTERM: the reset takes ten seconds.
    lab.task("deaf", &[], &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
    let reset = lab.spawn(&["netmode", "system", "reset", "--yes"], "/run/lab/reset.log");
    eventually("it is being stopped", 5.0, || lab.inspect("deaf")["state"] == "STOPPING");
    lab.netmode(&["run", "-d", "--rootfs", "/", "true"]).refused(125, &["is being reset", "try again"]);
    lab.netmode(&["system", "reset", "--yes", "-q"]).refused(1, &["is being reset"]);
    assert_eq!(lab.reap(reset, 20_000), Some(0), "{}", lab.read("/run/lab/reset.log"));
}

#[test]
fn the_log_level_changes_while_the_agent_runs() {
    let lab = Lab::start();
    let attached = || lab.read(AGENT_LOG).matches("attached").count();
    let level = || lab.json(&["system", "info"])["logFilter"].clone();
    lab.netmode(&["run", "--rm", "--rootfs", "/", "true"]).success();
    assert_eq!((attached(), level()), (0, "info".into()));
    lab.netmode(&["system", "log-level", "info,netmoded::agent=debug"]).success();
    lab.netmode(&["run", "--rm", "--rootfs", "/", "true"]).success();
    assert_eq!((attached(), level()), (1, "info,netmoded::agent=debug".into()));
    lab.netmode(&["system", "log-level", "inof"]).refused(1, &["inof", "one of off, error, warn, info, debug, trace"]);
    assert_eq!(level(), "info,netmoded::agent=debug");
    lab.netmode(&["system", "log-level", "error"]).success();
    lab.netmode(&["run", "--rm", "--rootfs", "/", "true"]).success();
    assert_eq!(attached(), 1);
    assert!(lab.netmode(&["system", "info"]).success().stdout.contains("log level        error"));
}

#[test]
fn the_doctor_works_with_the_agent_dead() {
    let lab = Lab::start();
    lab.task("web", &["-p", "8080:80"], &["sleep", "1000"]);
    let alive = lab.netmode(&["doctor", "-o", "json"]).json();
    let objects = |json: &serde_json::Value| -> Vec<String> {
        json.as_array()
            .into_iter()
            .flatten()
            .map(|f| format!("{} {}", f["level"].as_str().unwrap_or(""), f["object"].as_str().unwrap_or("")))
            .collect()
    };
    for object in [
        "ok program runc",
        "ok seccomp profile",
        "ok configuration",
        "ok disk /var/lib/netmode",
        "ok records /run/netmode/endpoints",
        "ok table inet netmode",
        "ok table bridge netmode",
        "ok network bridge",
        "ok task web",
        "ok pool 172.17.0.0/16 of bridge",
        "ok other firewalls",
    ] {
        assert!(objects(&alive).contains(&object.to_owned()), "{object} in {alive:#}");
    }
    lab.end_agent("KILL");
    lab.write("/etc/netmode/netmode.toml", "[bridge]\nbogus = 1\n");
    lab.write("/var/lib/netmode/tasks/x.json", "{\"v\":");
    let before = Machine::settled(&lab);
    let dead = lab.netmode(&["doctor", "-o", "json"]).exits(2).json();
    for object in [
        "fail agent",
        "ok kernel",
        "ok kernel ipv6",
        "ok program runc",
        "fail configuration",
        "fail records /var/lib/netmode/tasks",
        "ok disk /run/netmode",
        "ok sysctl net.ipv4.ip_forward",
        "ok table inet netmode",
        "ok guard",
        "ok network bridge",
        "ok task web",
        "ok pool 172.17.0.0/16 of bridge",
        "ok other firewalls",
    ] {
        assert!(objects(&dead).contains(&object.to_owned()), "{object} in {dead:#}");
    }
    let text = dead.to_string();
    assert!(
        text.contains("/etc/netmode/netmode.toml:2: bridge.bogus") && text.contains("systemctl start netmode"),
        "{text}"
    );
    before.assert_unchanged(&lab, "a look of the doctor");
    lab.sh("iptables -P FORWARD DROP; ip link del nm0");
    let damaged = lab.netmode(&["doctor", "-o", "json"]).exits(2).json();
    for object in ["fail network bridge", "fail task web", "fail firewall ip filter FORWARD"] {
        assert!(objects(&damaged).contains(&object.to_owned()), "{object} in {damaged:#}");
    }
}

#[test]
fn the_doctor_tells_of_pools_forwarding_and_kernel_variables() {
    let lab = Lab::with().first("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0").start();
    lab.netmode(&["network", "create", "--ipv6", "--subnet", "10.9.0.0/29", "small"]).success();
    let line = |object: &str| -> String {
        let lines = lab.netmode(&["doctor", "--format", "{{.Level}} {{.Object}}: {{.Message}} ({{.Fix}})"]).stdout;
        let found = lines.lines().find(|l| l.split_once(' ').is_some_and(|(_, rest)| rest.starts_with(object)));
        found.unwrap_or_else(|| panic!("{object}: {lines}")).to_owned()
    };
    for (object, key) in [("forwarding:", "net.ipv4.ip_forward"), ("forwarding IPv6:", "net.ipv6.conf.all.forwarding")]
    {
        let text = line(object);
        assert!(text.starts_with("ok") && text.contains(key) && text.contains("switched on by netmode"), "{text}");
        assert!(text.contains("uplink0"), "names what is closed to strangers: {text}");
    }
    lab.sh("sysctl -qw net.ipv6.conf.all.forwarding=0");
    let off = line("forwarding IPv6:");
    assert!(off.starts_with("fail") && off.contains("sysctl -w net.ipv6.conf.all.forwarding=1"), "{off}");
    assert!(line("pool 10.9.0.0/29 of small").starts_with("ok"));
    for n in 0..5 {
        lab.task(&format!("t{n}"), &["--network", "small"], &["sleep", "1000"]);
    }
    let full = line("pool 10.9.0.0/29 of small");
    assert!(full.starts_with("fail") && full.contains("5 of 5 addresses"), "{full}");
    assert!(line("pool fd").starts_with("ok"), "its IPv6 prefix is far from full");
    lab.sh("sysctl -qw net.ipv4.conf.nm0.route_localnet=0");
    let changed = line("network bridge:");
    assert!(changed.starts_with("fail") && changed.contains("route_localnet"), "{changed}");
}

#[test]
fn a_bundle_has_no_secret() {
    let secret = "hunter2-xyzzy";
    let lab = Lab::with().config(&format!("# {secret}\n[api]\ngroup = \"netmode\"")).start();
    lab.netmode(&[
        "run",
        "-d",
        "--name",
        "web",
        "-e",
        &format!("DB={secret}"),
        "--label",
        &format!("note={secret}"),
        "-p",
        "8080:80",
        "--rootfs",
        "/",
        "sh",
        "-c",
        &format!("sleep 1000 # {secret}"),
    ])
    .success();
    lab.sh(&format!("printf 'begins\\nlogin with token {secret}\\nends\\n' >/tmp/agent.log"));
    let unpack = |file: &str| {
        lab.sh(&format!("rm -rf /tmp/b; mkdir /tmp/b; tar -C /tmp/b -xf {file}; [ $(stat -c %a {file}) = 600 ]"));
        lab.sh("cd /tmp/b/netmode-debug; find . -type f | sort")
    };
    lab.netmode(&["debug", "bundle", "/tmp/alive.tar", "--log", "/tmp/agent.log"]).success();
    let files = unpack("/tmp/alive.tar");
    for file in [
        "./version.json",
        "./doctor.json",
        "./config/netmode.toml.json",
        "./config/check.txt",
        "./agent/tasks.json",
        "./records/networks/bridge.json",
        "./kernel/links.txt",
        "./kernel/rules.txt",
        "./kernel/table.txt",
        "./log.txt",
    ] {
        assert!(files.lines().any(|f| f == file), "{file} in {files}");
    }
    let read = |file: &str| lab.read(&format!("/tmp/b/netmode-debug/{file}"));
    assert!(read("kernel/table.txt").contains("chain forward_filter"), "{}", read("kernel/table.txt"));
    assert!(read("kernel/links.txt").contains("nm0") && read("kernel/rules.txt").contains("lookup 28269"));
    assert!(read("agent/tasks.json").contains("\"name\": \"web\""));
    assert!(read("log.txt").starts_with("begins\nlogin with (left out)\nends"), "{}", read("log.txt"));
    assert!(lab.sh("ls /tmp/b/netmode-debug/records/tasks").contains(".json"));
    assert_eq!(lab.sh(&format!("grep -rl {secret} /tmp/b || :")), "", "a secret in the bundle");

    lab.end_agent("KILL");
    lab.netmode(&["debug", "bundle", "/tmp/dead.tar"]).success();
    let files = unpack("/tmp/dead.tar");
    assert!(files.contains("./records/tasks/") && files.contains("./kernel/table.txt"), "{files}");
    assert!(read("doctor.json").contains("systemctl start netmode"));
    assert_eq!(lab.sh(&format!("grep -rl {secret} /tmp/b || :")), "", "a secret in the bundle of a dead agent");
}

#[test]
fn who_may_only_read_sees_and_bundles_but_does_not_reset() {
    let secret = "hunter2-xyzzy";
    let lab = Lab::with()
        .config("[[api.access]]\nuid = 1000\nallow = \"read\"")
        .first("groupadd netmode; mkdir -m 777 /tmp/user")
        .start();
    lab.netmode(&["run", "-d", "-e", &format!("DB={secret}"), "--rootfs", "/", "sleep", "1000"]).success();
    let group = lab.sh("getent group netmode | cut -d: -f3").trim().to_owned();
    let user = |words: &[&str]| {
        let become_user = ["setpriv", "--reuid", "1000", "--regid", &group, "--clear-groups", "netmode"];
        lab.run(&[&become_user, words].concat())
    };
    assert!(user(&["system", "info"]).success().stdout.contains("log level"));
    assert!(user(&["system", "reset", "--plan"]).success().stdout.contains("ip link del dev nm0"));
    for words in [&["system", "reset", "--yes", "-q"][..], &["system", "log-level", "trace"]] {
        user(words).refused(1, &["user 1000 may not", "[[api.access]]"]);
    }
    assert_eq!(lab.json(&["system", "info"])["logFilter"], "info");
    assert_eq!(lab.netmode(&["ps", "-q"]).stdout.lines().count(), 1, "the task goes on");
    user(&["debug", "bundle", "/tmp/user/x.tar"]).success();
    lab.sh("tar -C /tmp/user -xf /tmp/user/x.tar && test -s /tmp/user/netmode-debug/agent/tasks.json");
    assert_eq!(lab.sh(&format!("grep -rl {secret} /tmp/user || :")), "");
}
