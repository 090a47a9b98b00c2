//! Attackers, by the rows of the threat list (docs/security.md): what is sent, and that nothing comes of it. He is root
//! in his own network namespace, with every capability there, and has raw sockets.

use netmode_tests::frames::{FRAMES, python, watched};
use netmode_tests::lab::address::*;
use netmode_tests::{Lab, Options, eventually, tcp, udp};
use serde_json::Value;

/// The neighbour, the gateway and the attacker.
const VICTIM: &str = "172.17.0.2";
const VICTIM6: &str = "fd00:17::2";
const VICTIM_MAC: &str = "02:42:ac:11:00:02";

/// A lab with a victim and an attacker who know each other's and the gateway's addresses.
fn lab(options: Options) -> Lab {
    let lab = options.ipv6().start();
    lab.serve("victim", &["-p", "8080:80"], &["tcp/80", "udp/53"]);
    lab.serve("attacker", &[], &["tcp/80"]);
    assert_eq!((lab.address("victim"), lab.address6("victim")), (VICTIM.into(), VICTIM6.into()));
    friendly(&lab);
    lab
}

/// What neighbours do all day works, in both directions, over IPv4 and IPv6.
#[track_caller]
fn friendly(lab: &Lab) {
    let (four, six) = (lab.address("attacker"), lab.address6("attacker"));
    for target in [tcp(format!("{VICTIM}:80")), udp(format!("{VICTIM}:53")), tcp(format!("[{VICTIM6}]:80"))] {
        assert!(lab.inside("attacker").who(target).is_ok(), "{target:?}");
    }
    for target in [tcp(format!("{four}:80")), tcp(format!("[{six}]:80"))] {
        assert!(lab.inside("victim").who(target).is_ok(), "{target:?}");
        assert!(lab.at("host").who(target).is_ok(), "{target:?}");
    }
    assert!(lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok());
    lab.inside("attacker").sh(&format!("ping -c1 -W2 {GATEWAY} && ping -c1 -W2 {GATEWAY6} && ping -c1 -W2 {FAR}"));
    lab.sh(&format!("ping -c1 -W2 {VICTIM6}"));
    // By their link-local addresses as well, when the kernel has found that they are free.
    let ping = ["ping", "-c1", "-W1", "fe80::42:acff:fe11:2%eth0"];
    eventually("link-local addresses work", 5.0, || lab.inside("attacker").run(&ping).status == 0);
}

/// Packets that the guard has dropped so far, in rules whose text has the word.
fn drops(lab: &Lab, table: &str, word: &str) -> u64 {
    let text = lab.sh(&format!("nft list table {table} 2>/dev/null || :"));
    let packets = |line: &str| line.split("packets ").nth(1)?.split(' ').next()?.parse::<u64>().ok();
    text.lines().filter(|l| l.contains("drop") && l.contains(word)).filter_map(packets).sum()
}

/// Sends while the victim and the host's bridge watch; gives what the two have seen of it, by kind.
fn attack(lab: &Lab, script: &str) -> [Value; 2] {
    let watchers = vec![(lab.inside("victim"), "eth0", "victim"), (lab.at("host"), "nm0", "host")];
    watched(lab, &lab.inside("attacker"), script, watchers).try_into().expect("two")
}

fn nothing() -> [Value; 2] {
    [serde_json::json!({}), serde_json::json!({})]
}

/// A router and DHCP servers, from the container's own addresses and from the gateway's; also where a lazy filter does
/// not look: behind extension headers, and in the first piece of a packet in pieces.
const ROUTER: &str = r#"
me = own_mac(); mine = link_local(me); frames = []
for src, hardware in [(mine, me), ("fe80::1", me), ("fd00:17::3", me)]:
    body = router_advert(src)
    padded = struct.pack("!BBBBI", 58, 0, 1, 4, 0) + body
    piece = struct.pack("!BBHI", 58, 0, 1, 7) + body
    frames += [ether(ALL_NODES, hardware, 0x86dd, ip6(src, "ff02::1", 58, body)),
               ether(ALL_NODES, hardware, 0x86dd, ip6(src, "ff02::1", 0, padded)),
               ether(ALL_NODES, hardware, 0x86dd, ip6(src, "ff02::1", 60, padded)),
               ether(ALL_NODES, hardware, 0x86dd, ip6(src, "ff02::1", 44, piece))]
    redirect = icmp6(src, "fd00:17::2", 137, struct.pack("!I", RESERVED) + six(mine) + six("2001:db8:2::9"))
    frames.append(ether("02:42:ac:11:00:02", me, 0x86dd, ip6(src, "fd00:17::2", 58, redirect)))
    for sport, dport in [(547, 546), (1547, 546), (547, 1546)]:
        frames.append(ether("02:42:ac:11:00:02", me, 0x86dd, udp6(src, sport, "fd00:17::2", dport)))
for src in ["172.17.0.3", "172.17.0.1"]:
    for dst, hardware in [("255.255.255.255", ALL_STATIONS), ("172.17.0.2", "02:42:ac:11:00:02")]:
        for sport, dport in [(67, 68), (1067, 68), (67, 1068)]:
            frames.append(ether(hardware, me, 0x0800, udp4(src, sport, dst, dport, b"\2\1\6\0" + b"\0" * 240 + MARK)))
    redirect = struct.pack("!BBH", 5, 1, 0) + four("172.17.0.3") + udp4("172.17.0.2", 9, "203.0.113.9", 9)
    redirect = redirect[:2] + struct.pack("!H", checksum(redirect)) + redirect[4:]
    frames.append(ether("02:42:ac:11:00:02", me, 0x0800, ip4(src, "172.17.0.2", 1, redirect)))
"#;

const ROUTES: &str = "ip -6 route; ip route; ip -6 addr show scope global";

#[test]
fn s1_a_container_is_no_router_and_no_dhcp_server() {
    let lab = lab(Lab::with());
    // A victim that believes routers.
    lab.inside("victim").sh("echo 2 >/proc/sys/net/ipv6/conf/eth0/accept_ra");
    let routes = || (lab.at("host").sh(ROUTES), lab.inside("victim").sh(ROUTES));
    let before = routes();
    // While another one is attached: from its first moment.
    let seen = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| attack(&lab, &format!("{ROUTER}\nsend(frames, 6)")));
        std::thread::sleep(std::time::Duration::from_secs(2));
        lab.task("late", &[], &["sh", "-c", &format!("sleep 2; {ROUTES}")]);
        attacker.join().expect("an attacker")
    });
    assert_eq!(seen, nothing(), "neither the neighbour nor the host sees any of it");
    assert_eq!(routes(), before);
    lab.netmode(&["wait", "late"]).success();
    let late = lab.netmode(&["logs", "late"]).success().stdout;
    assert!(late.contains("default") && !late.contains("bad") && !late.contains("fe80::42:acff:fe11:3"), "{late}");
    for word in ["nd-router-advert", "nd-redirect", "sport 67", "dport 68", "sport 547", "dport 546", "type redirect"] {
        assert!(drops(&lab, "bridge netmode", word) > 0, "{word} is counted");
    }
    friendly(&lab);
}

#[test]
fn s1_without_the_guard_all_of_it_arrives() {
    let lab = lab(Lab::with().config("[firewall]\nsource_guard = false"));
    assert_eq!(lab.sh("nft list tables 2>/dev/null | grep -c bridge || :").trim(), "0");
    lab.inside("victim").sh("echo 2 >/proc/sys/net/ipv6/conf/eth0/accept_ra");
    let [victim, host] = attack(&lab, &format!("{ROUTER}\nsend(frames, 1)"));
    assert!(victim["86dd 134"].as_u64() > Some(0) && host["0800"].as_u64() > Some(0), "{victim} {host}");
    eventually("the victim believes it", 3.0, || lab.inside("victim").sh(ROUTES).contains("bad"));
}

/// Claims to be the victim and the gateway: by ARP, by neighbour discovery, by the frame's and the packet's source; and
/// frames that no filter of IP sees: other protocols, VLAN tags, LLC, groups that a bridge keeps for itself.
const LIAR: &str = r#"
me, victim, gateway = own_mac(), "02:42:ac:11:00:02", open_gateway
frames = []
for claimed, asked, to in [("172.17.0.1", "172.17.0.2", victim), ("172.17.0.2", "172.17.0.1", gateway)]:
    for dst in [to, ALL_STATIONS]:
        frames += [ether(dst, me, 0x0806, arp(2, me, claimed, to, asked)),
                   ether(dst, me, 0x0806, arp(1, me, claimed, "00:00:00:00:00:00", asked)),
                   ether(dst, me, 0x0806, arp(1, me, claimed, "00:00:00:00:00:00", claimed)),
                   ether(dst, me, 0x0806, arp(2, "02:00:00:00:00:77", "172.17.0.3", to, asked)),
                   ether(dst, me, 0x0806, arp(2, me, "0.0.0.0", to, asked))]
for claimed, asked, to in [("fd00:17::1", "fd00:17::2", victim), ("fd00:17::2", "fd00:17::1", gateway),
                           ("fe80::1", "fd00:17::2", victim)]:
    other = "02:00:00:00:00:77"
    frames += [ether(to, me, 0x86dd, neighbour(136, "fd00:17::3", asked, claimed, option(2, me))),
               ether(to, me, 0x86dd, neighbour(136, claimed, asked, claimed, option(2, me))),
               ether(ALL_NODES, me, 0x86dd, neighbour(136, "fd00:17::3", "ff02::1", claimed, option(2, me))),
               ether(to, me, 0x86dd, neighbour(135, claimed, asked, asked, option(1, me))),
               ether(to, me, 0x86dd, neighbour(135, "fd00:17::3", asked, asked, option(1, other))),
               ether(to, me, 0x86dd, neighbour(136, "fd00:17::3", asked, "fd00:17::3", option(2, other))),
               ether(to, me, 0x86dd, neighbour(136, "fd00:17::3", asked, "fd00:17::3", option(14, me) + option(2, other))),
               ether(ALL_NODES, me, 0x86dd, neighbour(135, "::", "ff02::1:ff00:2", claimed))]
    hidden = icmp6("fd00:17::3", asked, 136, struct.pack("!I", 0x60000000 | RESERVED) + six(claimed) + option(2, me))
    for header in [0, 60]:
        behind = struct.pack("!BBBBI", 58, 0, 1, 4, 0) + hidden
        frames.append(ether(to, me, 0x86dd, ip6("fd00:17::3", asked, header, behind)))
for src, dst, to in [("172.17.0.2", "172.17.0.1", gateway), ("172.17.0.1", "172.17.0.2", victim),
                     ("192.0.2.9", "172.17.0.2", victim), ("127.0.0.1", "172.17.0.1", gateway)]:
    frames.append(ether(to, me, 0x0800, udp4(src, 5555, dst, 5555)))
for src, dst, to in [("fd00:17::2", "fd00:17::1", gateway), ("fd00:17::1", "fd00:17::2", victim),
                     ("fd00:17::99", "fd00:17::2", victim), ("::", "fd00:17::2", victim),
                     ("fe80::42:acff:fe11:2", "fe80::1", gateway), ("2001:db8:1::9", "fd00:17::2", victim)]:
    frames.append(ether(to, me, 0x86dd, udp6(src, 5555, dst, 5555)))
good = udp4("172.17.0.3", 5555, "172.17.0.2", 5555)
for src in [victim, gateway, "02:00:00:00:00:77"]:
    frames.append(ether(ALL_STATIONS, src, 0x0800, good))
for tag in [b"\x81\x00\x00\x00", b"\x81\x00\x00\x07", b"\x88\xa8\x00\x05"]:
    for dst in [victim, gateway, ALL_STATIONS]:
        frames.append(mac(dst) + mac(me) + tag + b"\x08\x00" + good + MARK)
for kind in [0x88B5, 0x88CC, 0x8847, 0x0100, 0x0842, 0x8863]:
    for dst in [victim, gateway, ALL_STATIONS]:
        frames.append(ether(dst, me, kind, b"\xaa\xaa\3\0\0\0\x08\0" + good))
for group in range(16):
    for src in [me, victim]:
        spoofed = udp4("172.17.0.2", 5555, "172.17.0.1", 5555)
        frames.append(ether(f"01:80:c2:00:00:{group:02x}", src, 0x0800, spoofed))
"#;

/// Neighbours as victim and host know them, and where the bridge thinks that hardware addresses are.
fn beliefs(lab: &Lab) -> String {
    let known = "ip neigh show to 172.17.0.0/16; ip -6 neigh show to fd00:17::/64";
    let victim = lab.inside("victim").sh(known);
    let host = lab.sh(&format!("{{ {known}; bridge fdb show br nm0 state reachable; bridge fdb show br nm0; }}"));
    let lines = victim.lines().chain(host.lines()).filter(|l| !l.contains("permanent") && !l.contains("33:33:"));
    // How sure the kernel is changes with time; who it is must not.
    let word = |l: &str| l.split(" ref ").next().unwrap_or(l).replace(" router", "");
    let states = [" REACHABLE", " STALE", " DELAY", " PROBE"];
    let mut who: Vec<String> =
        lines.map(|l| states.iter().fold(word(l), |line, s| line.replace(s, "")).trim().to_owned()).collect();
    who.sort();
    who.dedup();
    who.join("\n")
}

/// Has the host write what comes for its UDP port 5555 into `/tmp/heard`.
fn listen(lab: &Lab) {
    let script = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 5555)); open('/tmp/listens', 'w').close()
while True: print(s.recvfrom(99), flush=True)";
    lab.spawn(&["python3", "-c", script], "/tmp/heard");
    eventually("the host listens", 5.0, || lab.has_file("/tmp/listens"));
}

fn liar(lab: &Lab) -> String {
    let gateway = lab.sh("ip -br link show nm0").split_whitespace().nth(2).expect("a hardware address").to_owned();
    format!("open_gateway = '{gateway}'\n{LIAR}")
}

#[test]
fn s10_a_container_speaks_in_its_own_name_alone() {
    let lab = lab(Lab::with());
    listen(&lab);
    let before = beliefs(&lab);
    assert!(before.contains(VICTIM_MAC) && before.contains("fd00:17::2"), "{before}");
    let seen = attack(&lab, &format!("{}\nsend(frames, 2)", liar(&lab)));
    assert_eq!(seen, nothing(), "neither the neighbour nor the host sees one frame");
    assert_eq!(beliefs(&lab), before);
    assert_eq!(lab.read("/tmp/heard"), "", "nor does the host hear what is sent to a bridge's own groups");
    for word in
        ["ether saddr", "ip saddr", "ip6 saddr", "nd-neighbor-advert", "nd-neighbor-solicit", "208,48", "64,128"]
    {
        assert!(drops(&lab, "bridge netmode", word) > 0, "{word} is counted");
    }
    assert!(drops(&lab, "inet netmode", "iifgroup") > 0, "what comes by a port, not by the bridge");
    friendly(&lab);
    // A port that is nobody's may still say nothing: a stranger's bridge is left alone.
    lab.sh("ip link add br9 type bridge; ip link set br9 up; ip link add p9 type veth peer name q9; ip link set p9 master br9 up; ip link set q9 up");
    let before = drops(&lab, "bridge netmode", "");
    lab.at("host")
        .run(&[
            "python3",
            "-c",
            &format!("{FRAMES}\nsend([ether(ALL_STATIONS, '02:00:00:00:00:77', 0x88B5, b'x' * 50)], 0, 'q9')"),
        ])
        .success();
    assert_eq!(drops(&lab, "bridge netmode", ""), before);
}

#[test]
fn s10_without_the_guard_the_lies_arrive() {
    let lab = lab(Lab::with().config("[firewall]\nsource_guard = false"));
    let before = beliefs(&lab);
    let [victim, host] = attack(&lab, &format!("{}\nsend(frames, 1)", liar(&lab)));
    for kind in ["0806", "0800", "88b5", "86dd", "86dd 135", "86dd 136"] {
        assert!(victim[kind].as_u64() > Some(0), "{kind} at the victim: {victim}");
    }
    assert!(host["0806"].as_u64() > Some(0), "{host}");
    assert_ne!(beliefs(&lab), before);
}

/// Frames to a bridge's own groups pass by its hooks: without the two walls that stand there they reach the host, and
/// the bridge learns from them.
#[test]
fn s10_without_the_shield_a_bridges_own_groups_are_a_way_in() {
    let lab = lab(Lab::with().config("[firewall]\nowner = false"));
    listen(&lab);
    let (attacker, liar) = (lab.inside("attacker"), liar(&lab));
    // It would mend its table.
    lab.signal_agent("STOP");
    lab.sh("nft flush chain inet netmode loopback_shield; ip link set nm0 type bridge no_linklocal_learn 0");
    python(&attacker, &format!("{liar}\nsend([f for f in frames if f.startswith(mac('01:80:c2:00:00:0e'))], 1)"));
    assert!(lab.read("/tmp/heard").contains(VICTIM), "spoofed, past the source guard");
    let place = lab.sh("bridge fdb show br nm0");
    let port =
        |mac: &str| place.lines().find(|l| l.starts_with(mac)).and_then(|l| l.split(' ').nth(2)).map(String::from);
    assert_eq!(port(VICTIM_MAC), port("02:42:ac:11:00:03"), "the victim's frames go to the attacker: {place}");
    lab.signal_agent("CONT");
}

#[test]
fn s10_the_guard_comes_and_goes_with_its_container() {
    let lab = lab(Lab::with());
    let elements = || lab.sh("nft list table bridge netmode | grep -c '\"nm' || :").trim().to_owned();
    let (rules, two) = (lab.sh("nft -s -t list table bridge netmode"), elements());
    lab.task("third", &[], &["sleep", "100"]);
    assert_ne!(elements(), two);
    lab.netmode(&["rm", "-f", "third"]).success();
    assert_eq!((elements(), lab.sh("nft -s -t list table bridge netmode")), (two, rules));
    // An agent that begins anew guards those that it finds; a stranger who takes the table away gets it back.
    lab.restart_agent("KILL");
    assert_eq!(attack(&lab, &format!("{}\nsend(frames)", liar(&lab))), nothing());
    let lab = self::lab(Lab::with().config("[firewall]\nowner = false"));
    lab.sh("nft delete table bridge netmode");
    eventually("the table is there again", 3.0, || lab.sh("nft list tables 2>/dev/null").contains("bridge netmode"));
    assert_eq!(attack(&lab, &format!("{}\nsend(frames)", liar(&lab))), nothing());
}

/// Sends from every small port to one port of the client, so that the translation has to give out every small port of
/// the host; and thousands from other ports.
fn shadow_script(to: &str, from: &str, count: u32) -> String {
    format!(
        "family = socket.AF_INET6 if ':' in '{to}' else socket.AF_INET
for port in {from}:
    s = socket.socket(family, socket.SOCK_DGRAM); s.bind(('', port)); s.sendto(b'x', ('{to}', 4000)); s.close()
for n in range({count}):
    s = socket.socket(family, socket.SOCK_DGRAM); s.sendto(b'x', ('{to}', 4000)); s.close()"
    )
}

/// The host's ports that the attacker's flows to the client have.
fn shadowing(lab: &Lab) -> Vec<u16> {
    let flows = lab.sh("conntrack -L -p udp 2>/dev/null; conntrack -L -f ipv6 -p udp 2>/dev/null");
    let attackers = flows.lines().filter(|l| l.contains("dport=4000") && l.contains("sport=4000"));
    attackers.filter_map(|l| l.rsplit("dport=").next()?.split(' ').next()?.parse().ok()).collect()
}

fn shadow_lab(options: Options) -> Lab {
    // A service of the host, a published one below the range of outward connections, and many within it.
    let lab = options.ipv6().first("sysctl -qw net.netfilter.nf_conntrack_udp_timeout=60 || :").start();
    lab.at("host").serve("host", &["udp/123", "udp/1194"]);
    let range = ["-p", "53:53/udp", "-p", "40000-47999:40000-47999/udp", "-p", "50000:50000/udp"];
    lab.serve("victim", &range, &["udp/53", "udp/40000-40000", "udp/50000"]);
    lab.serve("attacker", &[], &["tcp/80"]);
    lab
}

#[test]
fn s13_no_connection_of_a_container_shadows_a_port_of_the_host() {
    let lab = shadow_lab(Lab::with());
    for (client, host) in [(CLIENT, HOST.to_owned()), (CLIENT6, format!("[{HOST6}]"))] {
        python(&lab.inside("attacker"), &shadow_script(client, "range(1, 512)", 400));
        let ports = shadowing(&lab);
        assert!(ports.len() > 400, "the attack is tracked: {} flows", ports.len());
        let taken: Vec<_> =
            ports.iter().filter(|p| **p < 32768 || (40000..48000).contains(*p) || **p == 50000).collect();
        assert!(taken.is_empty(), "{client}: {taken:?}");
        // The client's own questions from that port reach whom they are for.
        let from = format!("{}:4000", if client == CLIENT { "0.0.0.0" } else { "[::]" });
        for (port, tag) in [(53, "victim"), (40000, "victim"), (123, "host"), (1194, "host")] {
            let seen = lab.at("client").who_from(udp(format!("{host}:{port}")), Some(&from));
            assert_eq!(seen.map(|s| s.tag).as_deref(), Ok(tag), "{host}:{port}");
        }
        lab.sh("conntrack -F 2>/dev/null");
    }
    assert!(drops(&lab, "inet netmode", "@held") > 0, "some would have got a published port");
}

/// With plain `masquerade fully-random`, as it is everywhere else, the same attack shadows the ports.
#[test]
fn s13_without_the_range_and_the_check_ports_are_shadowed() {
    let lab = shadow_lab(Lab::with().config("[firewall]\nowner = false"));
    let attacker = lab.inside("attacker");
    // It would mend its table.
    lab.signal_agent("STOP");
    lab.sh("nft flush chain inet netmode port_shadow
            nft flush chain inet netmode outward
            nft add rule inet netmode outward masquerade fully-random");
    python(&attacker, &shadow_script(CLIENT, "range(1, 512)", 400));
    let ports = shadowing(&lab);
    assert!(ports.iter().filter(|p| **p < 512).count() > 400, "small ports are given for small ports");
    assert!(ports.contains(&53) || ports.contains(&123), "{} flows", ports.len());
    assert!(ports.iter().any(|p| (40000..48000).contains(p)));
    lab.signal_agent("CONT");
}

#[test]
fn s9_a_host_mode_task_does_not_reach_the_agent() {
    let lab = Lab::start();
    lab.at("host").serve("secret", &["tcp/127.0.0.1:6000"]);
    lab.task("before", &["-p", "8080:80"], &["sleep", "100"]);
    let script = "
import ctypes, errno, os, socket
names = sorted({l.split()[7] for l in open('/proc/net/unix') if len(l.split()) > 7 and l.split()[7].startswith('@')})
print('abstract', names)
for name in names + ['/run/netmode/netmode.sock', '/run/netmode/keep.sock']:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        s.connect(name.replace('@', chr(0), 1)); print('REACHED', name)
    except OSError as e: print('refused', name, errno.errorcode[e.errno])
for what, make in [('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
                   ('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)),
                   ('netlink', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).sendto(
                       bytes.fromhex('200000001100050001000000000000000000000001000000ffffffffffffffff'), (0, 0)))]:
    try:
        made = make(); print('MADE', what) if what != 'netlink' else None
    except OSError as e: print('refused', what, errno.errorcode[e.errno])
";
    let out = lab.netmode(&["run", "--rm", "--mode", "host", "--rootfs", "/", "python3", "-c", script]).success();
    assert!(!out.stdout.contains("REACHED") && !out.stdout.contains("MADE"), "{out:#?}");
    assert!(out.stdout.contains("refused raw EPERM") && out.stdout.contains("refused packet EPERM"), "{out:#?}");
    assert!(out.stdout.contains("abstract []"), "the agent and its helpers have no abstract sockets: {out:#?}");
    assert!(out.stderr.contains("shares the host's network"), "{out:#?}");
    assert!(out.stderr.contains("6000"), "and what the host's loopback has: {out:#?}");
    assert!(lab.sh("ip -br link show nm0").contains("UP"));
}

#[test]
fn s14_no_namespace_leaks_into_a_child() {
    let lab = Lab::start();
    let script = "
cat >/tmp/spaces <<'EOF'
# Descriptors of network namespaces that anybody but the agent has.
for p in /proc/[0-9]*; do
    [ \"$(cat $p/comm 2>/dev/null)\" = netmoded ] && continue
    for f in $p/fd/*; do case $(readlink $f) in net:*) echo \"$(cat $p/comm) $f\";; esac; done
done 2>/dev/null; :
EOF
";
    lab.sh(script);
    let count = || lab.sh("lsns -t net -n 2>/dev/null | wc -l; ls /run/netns | grep -c ^nm- || :");
    let before = count();
    lab.sh("for n in 1 2 3 4 5; do netmode run -d --name s$n --rootfs / sleep 100 >/dev/null; done");
    let inside = lab.sh(
        "seq 200 | xargs -P 8 -I{} netmode run --rm --rootfs / sh -c 'readlink /proc/self/fd/* /proc/1/fd/*' 2>/dev/null | sort | uniq -c",
    );
    assert!(!inside.contains("net:"), "{inside}");
    let pipes: usize = inside.lines().filter(|l| l.contains("pipe:")).count();
    assert!(pipes > 100, "they ran: {inside}");
    assert_eq!(lab.sh("sh /tmp/spaces"), "", "conmon, runc, containers and the keeper have none");
    lab.netmode(&["rm", "-f", "s1", "s2", "s3", "s4", "s5"]).success();
    eventually("as many namespaces as before", 5.0, || count() == before);
}

#[test]
fn s15_a_task_has_no_way_to_the_kernels_filters() {
    let lab = Lab::start();
    let script = "
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def tried(what, result):
    print(what, 'MADE' if result >= 0 else errno.errorcode[ctypes.get_errno()])
tried('userns', libc.unshare(0x10000000))
tried('userns+netns', libc.unshare(0x50000000))
tried('netns', libc.unshare(0x40000000))
tried('clone', libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0))
tried('netfilter', libc.socket(16, 3, 12))
tried('packet', libc.socket(17, 3, 3))
tried('raw', libc.socket(2, 3, 1))
print(open('/proc/self/status').read())
";
    let out = lab.netmode(&["run", "--rm", "--rootfs", "/", "python3", "-c", script]).success();
    for what in ["userns", "userns+netns", "netns", "clone", "netfilter", "packet", "raw"] {
        assert!(out.stdout.contains(&format!("{what} EPERM")), "{what}: {out:#?}");
    }
    assert!(out.stdout.contains("Seccomp:\t2"), "{out:#?}");
    // Echo needs none of it. Debian's ping has a file capability, without which the kernel does not start it; a copy
    // has none.
    let echo = format!(
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); s.settimeout(2)
s.sendto(bytes([8, 0, 0xf7, 0xff, 0, 0, 0, 0]), ('{GATEWAY}', 0)); print('echo', s.recv(99)[0])"
    );
    let out = lab.netmode(&["run", "--rm", "--rootfs", "/", "python3", "-c", &echo]).success();
    assert_eq!(out.stdout, "echo 0\n");
    let copy = format!("cp /usr/bin/ping /tmp/ping && /tmp/ping -c1 -W2 {GATEWAY}");
    lab.netmode(&["run", "--rm", "--rootfs", "/", "sh", "-c", &copy]).success();
}

#[test]
fn s16_names_and_labels_are_text_and_nothing_else() {
    let lab = Lab::start();
    let picture = || {
        lab.sh("nft -s -t list ruleset 2>/dev/null; ls /run/netmode/endpoints /run/netns /etc 2>/dev/null
                ip -br link show master nm0 | wc -l")
    };
    let before = picture();
    let nasty = [
        "\"; flush ruleset; \"",
        "x\nnft flush ruleset",
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "<script>alert(1)</script>",
        "../../../etc/passwd",
        "$(touch /tmp/owned)",
        "`touch /tmp/owned`",
        "-rf",
        "a\u{202e}b",
        "%s%n{}",
    ];
    for name in nasty {
        let lines = lab.agent_log().lines().count();
        for flag in ["--name", "--hostname"] {
            let option = format!("{flag}={name}");
            let out = lab.netmode(&["run", "-d", &option, "--rootfs", "/", "true"]);
            assert_ne!(out.status, 0, "{flag} {name:?}: {out:#?}");
            assert!(!out.stderr.contains('\u{1b}') && out.stderr.trim_end().lines().count() <= 3, "{name:?}: {out:#?}");
        }
        // What may be any text stays text: a label, a variable.
        let (label, env) = (format!("--label=a={name}"), format!("--env=A={name}"));
        let out = lab.netmode(&["run", "-d", "--name", "quiet", &label, &env, "--rootfs", "/", "sleep", "100"]);
        if out.status == 0 {
            assert_eq!(lab.inspect("quiet")["name"], "quiet");
            lab.netmode(&["ps", "-a"]).success();
            lab.netmode(&["rm", "-f", "quiet"]).success();
            lab.until_bridge_ports(0);
        }
        let log = lab.agent_log();
        let new = log.lines().skip(lines).collect::<Vec<_>>();
        assert!(!log.contains('\u{7}') && !new.iter().any(|l| l.starts_with("nft flush")), "{new:#?}");
        assert_eq!(picture(), before, "after {name:?}");
    }
    assert!(!lab.has_file("/tmp/owned"));
}

/// The same on a network of one's own that was joined later: what is own on one network is not on another.
#[test]
fn s10_on_every_network_that_a_container_joins() {
    let lab = lab(Lab::with());
    lab.netmode(&["network", "create", "--subnet", "10.9.0.0/24", "own"]).success();
    lab.netmode(&["network", "connect", "own", "victim"]).success();
    lab.netmode(&["network", "connect", "own", "attacker"]).success();
    let [victim, attacker] = ["victim", "attacker"]
        .map(|t| lab.inside(t).sh("ip -4 -br addr show eth1").split_whitespace().nth(2).map(String::from));
    let (victim, attacker) = (victim.expect("joined"), attacker.expect("joined"));
    let bare = |a: &str| a.split('/').next().unwrap_or(a).to_owned();
    let (victim, attacker) = (bare(&victim), bare(&attacker));
    assert!(lab.inside("attacker").who(tcp(format!("{victim}:80"))).is_ok());
    let before = drops(&lab, "bridge netmode", "ip saddr");
    let lies = format!(
        "me = own_mac('eth1')
for src in ['{victim}', '10.9.0.1', '172.17.0.3']:
    send([ether(ALL_STATIONS, me, 0x0800, udp4(src, 5, '{victim}', 5)), ether(ALL_STATIONS, me, 0x0806, arp(2, me, src, me, '{victim}'))], 0, 'eth1')
send([ether(ALL_STATIONS, own_mac(), 0x0800, udp4('{attacker}', 5, '{victim}', 5))], 0, 'eth1')"
    );
    python(&lab.inside("attacker"), &lies);
    assert_eq!(drops(&lab, "bridge netmode", "ip saddr"), before + 3);
    assert!(lab.inside("attacker").who(tcp(format!("{victim}:80"))).is_ok());
    lab.netmode(&["network", "disconnect", "own", "attacker"]).success();
    assert!(!lab.sh("nft list table bridge netmode").contains(&attacker), "its elements are gone");
    friendly(&lab);
}
