//! Reset on a crowded machine: all of ours goes, however the agent fares, and what others have is textually as before.

use netmode_model::error::Code;
use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, eventually, tcp};
use std::collections::BTreeSet;

/// What others have, some of it as near to ours as it can be: our preference, the number beside our routing tables, our
/// table's name in another family.
const THEIRS: &str = "
    set -e
    sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
    ip link add theirs0 type bridge
    ip addr add 198.51.100.1/24 dev theirs0
    ip link set theirs0 up
    ip netns add theirs
    ip link add t0 master theirs0 up type veth peer name eth0 netns theirs
    ip -n theirs addr add 198.51.100.2/24 dev eth0
    ip -n theirs link set eth0 up
    ip -n theirs route add default via 198.51.100.1
    tc qdisc add dev uplink0 root tbf rate 1gbit burst 100kb latency 50ms
    ip route add 203.0.113.64/26 via 192.0.2.254 metric 7
    ip route add blackhole 198.18.0.0/15
    ip route add prohibit 198.19.0.0/24 table 28268
    ip -6 route add 2001:db8:77::/64 via 2001:db8:1::fe
    ip rule add pref 90 from 198.51.100.0/24 lookup main
    ip rule add pref 91 fwmark 0x1/0x1 lookup 28268
    ip -6 rule add pref 90 from 2001:db8:77::/64 lookup main
    nft -f - <<END
table ip netmode { chain c { ip saddr 198.51.100.9 counter packets 5 bytes 7 drop comment \"theirs\"; }; }
table bridge theirs { chain c { type filter hook forward priority 0; ether type 0x88cc drop; }; }
table inet theirs {
    set some { type ipv4_addr; flags interval; elements = { 198.51.100.64/26, 203.0.113.7 }; }
    map ports { type inet_service : verdict; elements = { 22 : accept, 23 : drop }; }
    chain forward {
        type filter hook forward priority 10; policy drop;
        ip daddr @some drop
        tcp dport vmap @ports
        ct state established,related accept
    }
}
END
    for program in iptables ip6tables; do
        $program -P FORWARD DROP
        $program -N THEIRS
        $program -A THEIRS -p tcp --dport 25 -j REJECT
        $program -A FORWARD -i theirs0 -j THEIRS
        $program -A FORWARD -o theirs0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    done
    iptables -t nat -A POSTROUTING -s 198.51.100.0/24 ! -o theirs0 -j MASQUERADE
    mkdir -p /mnt/theirs /srv/data /tmp/r/bin
    mount -t tmpfs theirs /mnt/theirs
    echo precious >/srv/data/precious
    cp /bin/busybox /tmp/r/bin
    cd /srv
    umoci init --layout l
    umoci new --image l:web
    umoci insert --image l:web /tmp/r /
";

/// What a reset has to bring back: parts, and the shell commands that show them.
const PICTURE: &[(&str, &str)] = &[
    // With handles: a rule of others that was written anew is not the one of before.
    ("rules", "nft -a -s list ruleset"),
    ("iptables", "for p in iptables ip6tables; do $p-save | sed -e '/^#/d' -e 's/ \\[[0-9:]*\\]//'; done"),
    ("links", "ip -j link | jq -c '.[] | [.ifindex,.ifname,.master,.address,.mtu,.operstate,.group,.ifalias]'"),
    ("addresses", "ip -br addr"),
    ("queues", "tc qdisc"),
    ("routes", "ip route show table all; ip -6 route show table all | sed 's/ expires [0-9]*sec//'"),
    ("policy rules", "ip rule; ip -6 rule"),
    ("pins", "ls /run/netns"),
    ("mounts", "cut -d' ' -f4-6 /proc/self/mountinfo | sort"),
    ("cgroups", "find /sys/fs/cgroup -mindepth 2 -type d ! -path '*/netmode'"),
    ("processes", "ps -eo comm= | grep -v -x -e sh -e ps -e grep -e sort -e sed | sort"),
    ("sysctls", "cd /proc/sys/net && grep -rs . ipv4 ipv6 | grep -v -e nf_conntrack_count -e _key | sort"),
    ("files", "find /etc /srv -xdev -type f -exec sha256sum {} +"),
    ("our files", "find /run/netmode /var/lib/netmode /run/runc -type f ! -name 'lock-*' 2>/dev/null | sort"),
];

type Picture = BTreeSet<String>;

fn picture(lab: &Lab) -> Picture {
    let part = |(name, command): &(&str, &str)| format!("( {command} ) | sed 's/^/{name}: /'\n");
    let text = lab.sh(&PICTURE.iter().map(part).collect::<String>());
    text.lines().map(str::to_owned).collect()
}

/// Asserts that the machine becomes what it was; the kernel takes some of it away behind the reply.
#[track_caller]
fn as_before(lab: &Lab, before: &Picture, after: &str) {
    let mut now = picture(lab);
    for _ in 0..60 {
        if now == *before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        now = picture(lab);
    }
    assert_same(before, &now, after);
}

#[track_caller]
fn assert_same(before: &Picture, now: &Picture, after: &str) {
    let (gone, new): (Vec<_>, Vec<_>) = (before.difference(now).collect(), now.difference(before).collect());
    assert!(gone.is_empty() && new.is_empty(), "after {after}: gone {gone:#?} new {new:#?}");
}

/// A machine with others on it, and their picture.
fn others() -> (Lab, Picture) {
    let lab = Lab::with().no_agent().start();
    lab.sh(THEIRS);
    // Consoles of the harness are part of the picture.
    lab.at("client");
    eventually("the client's console", 3.0, || lab.at("client").run(&["true"]).status == 0);
    lab.spawn(&["sleep", "4000"], "/run/lab/theirs.log");
    Machine::settled(&lab);
    let before = picture(&lab);
    (lab, before)
}

/// The same with an agent.
fn crowded() -> (Lab, Picture) {
    let (lab, before) = others();
    lab.start_agent();
    (lab, before)
}

/// A task that ends when it is told to: without an init the kernel spares a first process SIGTERM.
fn idle(lab: &Lab, name: &str, flags: &[&str]) {
    lab.task(name, &[&["--init"], flags].concat(), &["sleep", "1000"]);
}

/// The same with a server.
fn serve(lab: &Lab, name: &str, flags: &[&str]) {
    lab.serve(name, &[&["--init"], flags].concat(), &["tcp/80"]);
}

/// Everything at once.
fn furnished(lab: &Lab) {
    lab.netmode(&["network", "create", "--subnet", "10.9.0.0/24", "-o", "mtu=1400", "app"]).success();
    lab.netmode(&["network", "create", "--ipv6", "six"]).success();
    serve(lab, "web", &["-p", "8080:80", "-p", "9000-9009:9000-9009"]);
    idle(lab, "mate", &[]);
    let both = ["--network", "app", "--network", "six", "--net-rate", "in=20mbit,out=10mbit", "-p", "8085:80"];
    serve(lab, "fast", &both);
    serve(lab, "on6", &["--network", "six", "-p", "8086:80"]);
    idle(lab, "host", &["--mode", "host", "-p", "7000"]);
    idle(lab, "none", &["--mode", "none"]);
    idle(lab, "always", &["--restart", "always"]);
    let volume = ["run", "-d", "--init", "--name", "image", "-v", "/srv/data:/data", "oci:/srv/l:web", "/bin/busybox"];
    lab.netmode(&[&volume[..], &["sleep", "1000"]].concat()).success();
    for to in [format!("{HOST}:8080"), format!("{HOST}:8085"), format!("[{HOST6}]:8086")] {
        eventually("published", 5.0, || lab.at("client").who(tcp(&to)).is_ok());
    }
}

/// Resets, and waits for the agent's end.
#[track_caller]
fn reset(lab: &Lab, flags: &[&str]) {
    let pid = lab.agent_pid();
    lab.netmode(&[&["system", "reset", "--yes", "-q"], flags].concat()).success();
    assert_eq!(lab.reap(pid, 5000), Some(0), "the agent ends: {}", lab.agent_log());
}

#[test]
fn on_a_crowded_machine_all_of_ours_goes_and_all_of_others_stays() {
    let (lab, before) = crowded();
    furnished(&lab);
    let full: BTreeSet<String> =
        picture(&lab).difference(&before).filter_map(|l| l.split(':').next()).map(str::to_owned).collect();
    for part in PICTURE.iter().map(|(name, _)| *name).filter(|part| *part != "files") {
        assert!(full.contains(part), "nothing of ours among the {part}: the test would not see that it stays");
    }
    reset(&lab, &[]);
    as_before(&lab, &before, "a reset");
    let others = lab.run(&["ip", "netns", "exec", "theirs", "ping", "-c1", "-W2", "198.51.100.1"]);
    assert_eq!(others.status, 0, "{others:?}");

    // The next agent starts as on a new machine, and can be reset as well.
    lab.start_agent();
    assert_eq!(lab.netmode(&["ps", "-aq"]).success().stdout, "");
    assert_eq!(lab.netmode(&["images", "-q"]).success().stdout, "");
    assert_eq!(lab.netmode(&["network", "ls", "--format", "{{.Name}}", "--filter", "name=app"]).stdout, "");
    reset(&lab, &[]);
    as_before(&lab, &before, "a reset with nothing to do");
}

/// Empty directories and a socket without a listener do no harm, and are ours all the same.
#[test]
fn a_reset_leaves_no_socket_and_no_empty_cgroup() {
    let lab = Lab::start();
    idle(&lab, "mate", &[]);
    reset(&lab, &[]);
    assert_eq!(lab.sh("find /sys/fs/cgroup -type d -name '*netmode*'; find /run/netmode -type s"), "");
}

/// What of the networks and images outlives an agent.
fn kept(lab: &Lab) -> String {
    let mut text = lab.netmode(&["images", "-o", "json"]).success().stdout;
    for network in ["bridge", "app", "six"] {
        text += &lab.sh(&format!("cat /var/lib/netmode/networks/{network}.json"));
    }
    text
}

#[test]
fn with_its_records_kept_everything_comes_back_as_it_was() {
    let (lab, before) = crowded();
    furnished(&lab);
    let records = kept(&lab);
    let rates = |lab: &Lab| lab.inside("fast").sh("tc qdisc").matches(" tbf ").count();
    let rated = rates(&lab);
    assert_eq!(rated, 2, "both of its interfaces");
    reset(&lab, &["--keep-records"]);
    let kernel =
        |picture: Picture| -> Picture { picture.into_iter().filter(|l| !l.starts_with("our files")).collect() };
    let before_it = kernel(before.clone());
    eventually("nothing of ours in the kernel", 5.0, || kernel(picture(&lab)) == before_it);

    lab.start_agent();
    assert_eq!(kept(&lab), records, "networks and images");
    let state = |name: &str| lab.inspect(name)["state"].as_str().unwrap_or("").to_owned();
    eventually("always is always", 5.0, || state("always") == "RUNNING");
    for name in ["web", "mate", "fast", "on6", "host", "none", "image"] {
        assert_eq!(state(name), "STOPPED", "{name}");
    }
    lab.netmode(&["start", "web", "fast", "on6", "host", "none", "image"]).success();
    for to in [format!("{HOST}:8080"), format!("{HOST}:8085"), format!("[{HOST6}]:8086")] {
        eventually("published again", 10.0, || lab.at("client").who(tcp(&to)).is_ok());
    }
    assert_eq!(rates(&lab), rated, "as fast as before, and no faster");
    assert!(lab.address("fast").starts_with("10.9.0."), "{}", lab.address("fast"));
    assert!(lab.inside("fast").sh("ip link show eth0").contains(" mtu 1400 "), "with the MTU of its network");
    assert_eq!(lab.netmode(&["exec", "image", "/bin/busybox", "cat", "/data/precious"]).success().stdout, "precious\n");
    reset(&lab, &[]);
    as_before(&lab, &before, "a reset after all");
}

#[test]
fn with_the_agent_dead_nothing_is_reset_until_the_next_one_does_it() {
    // Whoever outlives the agent may be dead as well.
    for others in ["", "kill -9 $(pgrep -x conmon) $(pgrep -x netmode-keep)"] {
        let (lab, before) = crowded();
        furnished(&lab);
        lab.end_agent("KILL");
        lab.sh(others);
        let full = Machine::settled(&lab);
        for flags in [&["--yes"][..], &["--plan"], &["--yes", "--keep-records"], &[]] {
            let words = [&["system", "reset"], flags].concat();
            lab.netmode(&words).refused(1, &["systemctl start netmode"]);
            lab.netmode(&[&words[..], &["-o", "json"]].concat()).refused_with(1, Code::AgentUnreachable);
        }
        full.assert_unchanged(&lab, "a reset that nobody heard");
        lab.start_agent();
        reset(&lab, &[]);
        as_before(&lab, &before, &format!("a reset by the next agent, {others:?}"));
    }
}

#[test]
fn a_reset_that_dies_half_way_is_finished_by_the_next() {
    let (lab, before) = crowded();
    furnished(&lab);
    // Deaf to SIGTERM: it holds the reset up while the others are gone already.
    lab.task("deaf", &[], &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
    let half = lab.spawn(&["netmode", "system", "reset", "--yes", "-q"], "/run/lab/half.log");
    eventually("all but one are gone", 8.0, || lab.netmode(&["ps", "-a", "--format", "{{.Name}}"]).stdout == "deaf\n");
    lab.end_agent("KILL");
    assert_eq!(lab.reap(half, 5000), Some(1), "who asked for it is told: {}", lab.read("/run/lab/half.log"));
    lab.start_agent();
    reset(&lab, &[]);
    as_before(&lab, &before, "the second of two resets");
}

#[test]
fn without_yes_and_without_a_terminal_nobody_has_agreed() {
    let (lab, _) = crowded();
    furnished(&lab);
    let full = Machine::settled(&lab);
    // What comes by a pipe is nobody's answer.
    for stdin in ["", "y\n", "yes\n"] {
        for flags in [&[][..], &["--keep-records"]] {
            let words = [&["system", "reset", "-q"], flags].concat();
            lab.netmode_with(&words, stdin, &[]).refused(1, &["nothing was changed", "ends every task", "--yes"]);
            let json = [&words[..], &["-o", "json"]].concat();
            lab.netmode_with(&json, stdin, &[]).refused_with(1, Code::Forbidden);
        }
    }
    for elsewhere in ["</dev/null", "<&-"] {
        let out = lab.run(&["sh", "-c", &format!("exec netmode system reset -q {elsewhere}")]);
        out.refused(1, &["nothing was changed", "--yes"]);
    }
    // Asked for the plan and for the deed at once, it does neither.
    assert_eq!(lab.netmode(&["system", "reset", "--plan", "--yes"]).status, 2);
    full.assert_unchanged(&lab, "resets that nobody agreed to");
    assert!(lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok());
}

#[test]
fn what_cannot_be_removed_is_said_and_the_reset_repeated() {
    let (lab, before) = crowded();
    serve(&lab, "web", &["-p", "8080:80"]);
    lab.sh("mkdir -p /var/lib/netmode/tasks/inner; mount -t tmpfs theirs /var/lib/netmode/tasks/inner");
    lab.sh("echo mine >/var/lib/netmode/tasks/inner/mine");
    let pid = lab.agent_pid();
    let out = lab.netmode(&["system", "reset", "--yes", "-q"]).exits(1);
    assert!(out.stderr.contains("still there: ") && out.stderr.contains("/var/lib/netmode/tasks/inner"), "{out:?}");
    assert_eq!(lab.reap(pid, 5000), Some(0), "the agent ends all the same");
    assert_eq!(lab.read("/var/lib/netmode/tasks/inner/mine"), "mine\n");
    lab.sh("umount /var/lib/netmode/tasks/inner");
    lab.start_agent();
    reset(&lab, &[]);
    as_before(&lab, &before, "a reset that was repeated");
}

#[test]
fn strangers_on_our_bridge_and_in_our_group_stay() {
    let (lab, before) = crowded();
    furnished(&lab);
    let group = lab.sh("ip -j link show master nm0 | jq -r '.[0].group'").trim().to_owned();
    assert_ne!(group, "default", "our ports have a group of their own");
    // A virtual machine's port on our bridge, and somebody who uses the same number.
    lab.sh("ip tuntap add tap0 mode tap; ip link set tap0 master nm0 up; ip link add nm99 type bridge");
    lab.sh(&format!("ip link set nm99 group {group}; ip link set tap0 alias netmode"));
    lab.sh("ip route add 198.18.5.0/24 dev nm99 table 28269; ip link set nm99 up; ip route add 198.18.6.0/24 dev nm99");
    reset(&lab, &[]);
    let left = lab.sh("ip -j link | jq -c '.[] | select(.ifname == (\"tap0\",\"nm99\")) | [.ifname,.master,.group]'");
    assert_eq!(left, format!("[\"tap0\",null,\"default\"]\n[\"nm99\",null,\"{group}\"]\n"));
    assert!(lab.sh("ip route").contains("198.18.6.0/24 dev nm99"));
    lab.sh("ip link del tap0; ip link del nm99");
    as_before(&lab, &before, "a reset among strangers");
}

/// The kernel sets these along with forwarding, for every interface (`inet_forward_change`, `addrconf_forward_change`).
#[test]
fn what_the_kernel_changes_along_with_forwarding_is_put_back() {
    let chosen = "cd /proc/sys/net; echo 0 >ipv4/conf/all/accept_redirects; echo 0 >ipv4/conf/default/accept_redirects
        echo 1 >ipv4/conf/uplink0/forwarding; echo 1 >ipv6/conf/uplink0/forwarding; echo 1 >ipv4/conf/default/forwarding";
    let lab = Lab::with().first(THEIRS).first(chosen).no_agent().start();
    let look = "cd /proc/sys/net && grep -s . ipv4/ip_forward ipv[46]/conf/*/*forwarding ipv[46]/conf/*/accept_redirects \
                ipv6/conf/*/accept_ra | sort";
    let before = lab.sh(look);
    lab.start_agent();
    lab.netmode(&["network", "create", "--ipv6", "six"]).success();
    assert_eq!(lab.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"), "1\n1\n");
    reset(&lab, &[]);
    let after = lab.sh(look);
    let (was, is): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), after.lines().collect());
    assert_eq!(is.difference(&was).collect::<Vec<_>>(), Vec::<&&str>::new(), "not as before");
}

#[test]
fn an_uplink_that_somebody_set_meanwhile_is_left_alone() {
    let lab = Lab::with().first("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0").start();
    lab.netmode(&["network", "create", "--ipv6", "six"]).success();
    assert_eq!(lab.sh("sysctl -n net.ipv6.conf.uplink0.accept_ra"), "2\n");
    // Values of others count, also those that came after ours.
    lab.sh("sysctl -qw net.ipv6.conf.uplink0.accept_ra=0");
    reset(&lab, &[]);
    let look = "net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv6.conf.uplink0.accept_ra";
    assert_eq!(lab.sh(&format!("sysctl -n {look}")), "0\n0\n0\n");
}

/// An agent in the namespace `theirs`, with its own directories, and what is asked of it.
const SECOND: [&str; 2] = ["--socket", "/run/second.sock"];

fn second_agent(lab: &Lab) -> u32 {
    lab.write(
        "/etc/netmode/second.toml",
        "instance = \"second\"\n[bridge]\nname = \"nmsecond\"\npools = [\"10.20.0.0/16\"]\n",
    );
    let enter = ["nsenter", "--net=/run/netns/theirs", "netmoded", "--config", "/etc/netmode/second.toml"];
    let dirs = ["--run-dir", "/run/second", "--state-dir", "/var/lib/second"];
    let pid = lab.spawn(&[&enter[..], &SECOND, &dirs].concat(), "/run/lab/second.log");
    eventually("the second agent answers", 10.0, || lab.netmode(&[&SECOND[..], &["ps"]].concat()).status == 0);
    let run = ["run", "-d", "--init", "--name", "web", "-p", "8080:80", "--rootfs", "/"];
    lab.netmode(&[&SECOND[..], &run, &["probe", "serve", "--tag", "second", "tcp/80"]].concat()).success();
    pid
}

#[test]
fn a_reset_leaves_another_agent_and_what_is_its() {
    let (lab, before) = others();
    let second = second_agent(&lab);
    let answers = |to: &str| lab.at("host").who_patiently(tcp(to)).is_ok_and(|seen| seen.tag == "second");
    eventually("it serves", 5.0, || answers("198.51.100.2:8080"));
    // Its namespace is not the host's: there is its picture, too.
    let script = "nft -a -s list ruleset; ip addr | sed 's: tentative::'; ip rule; ip route";
    let inside = || -> Picture {
        let out = lab.run(&["nsenter", "--net=/run/netns/theirs", "sh", "-c", script]).success();
        out.stdout.lines().map(str::to_owned).collect()
    };
    let (with, within) = (picture(&lab), inside());
    lab.start_agent();
    furnished(&lab);
    reset(&lab, &[]);
    as_before(&lab, &with, "a reset of the first agent");
    assert_same(&within, &inside(), "a reset of the first agent, for the second");
    assert!(answers("198.51.100.2:8080"), "{}", lab.read("/run/lab/second.log"));
    lab.netmode(&[&SECOND[..], &["system", "reset", "--yes", "-q"]].concat()).success();
    assert_eq!(lab.reap(second, 5000), Some(0), "{}", lab.read("/run/lab/second.log"));
    lab.sh("rm -rf /run/second* /var/lib/second /etc/netmode/second.toml");
    as_before(&lab, &before, "a reset of both");
}
