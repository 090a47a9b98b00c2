//! Attackers on networks of one's own, by the rows of the threat list (docs/security.md).

use netmode_tests::awsvpc::serve;
use netmode_tests::frames::{python, watched};
use netmode_tests::lab::address::FAR;
use netmode_tests::{Failure, Lab, eventually, tcp};

/// `icc=off` is a wall of its own (isolated ports, and a rule for what takes the way over the gateway): it stands where
/// the source guard is switched off.
#[test]
fn s10_neighbours_apart_stay_apart_without_the_guard() {
    let lab = Lab::with().config("[firewall]\nsource_guard = false").start();
    lab.netmode(&["network", "create", "--subnet", "10.9.0.0/24", "--subnet", "fd09::/64", "-o", "icc=false", "apart"])
        .success();
    lab.netmode(&["network", "create", "--subnet", "10.8.0.0/24", "--subnet", "fd08::/64", "together"]).success();
    for network in ["apart", "together"] {
        for task in ["victim", "attacker"] {
            lab.serve(&format!("{task}-{network}"), &["--network", network], &["tcp/80"]);
        }
    }
    let send = |network: &str, four: &str, six: &str| {
        let script = format!(
            "me, you = own_mac(), '02:42:0a:0{four}:00:02'
send([ether(dst, me, kind, body) for dst in (you, ALL_STATIONS) for kind, body in (
    (0x0800, udp4('10.{four}.0.3', 5, '10.{four}.0.2', 5)), (0x0806, arp(1, me, '10.{four}.0.3', me, '10.{four}.0.2') + MARK),
    (0x86DD, udp6('{six}::3', 5, '{six}::2', 5)), (0x88B5, MARK * 8))], 0.5)",
        );
        let victim = format!("victim-{network}");
        let watchers = vec![(lab.inside(&victim), "eth0", "victim")];
        watched(&lab, &lab.inside(&format!("attacker-{network}")), &script, watchers).remove(0)
    };
    let heard = send("together", "8", "fd08");
    for kind in ["0800", "0806", "86dd", "88b5"] {
        assert!(heard[kind].as_u64() > Some(0), "what is sent arrives where neighbours may talk: {kind} in {heard}");
    }
    assert_eq!(send("apart", "9", "fd09"), serde_json::json!({}), "no frame reaches a neighbour");

    // Nor by way of the gateway.
    let attacker = lab.inside("attacker-apart");
    attacker.sh("ip route add 10.9.0.2/32 via 10.9.0.1; ip -6 route add fd09::2/128 via fd09::1");
    for target in ["10.9.0.2:80", "[fd09::2]:80"] {
        assert!(attacker.who(tcp(target)).is_err(), "{target} by the gateway");
    }
    assert!(lab.at("host").who(tcp("10.9.0.2:80")).is_ok(), "the host reaches both");
    assert!(lab.at("host").who(tcp("[fd09::2]:80")).is_ok());
}

/// Somebody who is on two networks and root there makes himself a router, and has an accomplice on one of them.
#[test]
fn s17_a_container_on_two_networks_is_no_way_between_them() {
    let lab = Lab::start();
    for (name, four, six) in [("one", "10.1.0.0/24", "fd01::/64"), ("two", "10.2.0.0/24", "fd02::/64")] {
        lab.netmode(&["network", "create", "--subnet", four, "--subnet", six, name]).success();
    }
    lab.serve("target", &["--network", "two"], &["tcp/80"]);
    lab.serve("both", &["--network", "one", "--network", "two"], &["tcp/80"]);
    lab.serve("accomplice", &["--network", "one"], &["tcp/80"]);
    let on =
        |task: &str, network: &str| ["ipv4Addresses", "ipv6Addresses"].map(|key| lab.address_on(task, network, key));
    let ([target4, target6], [router4, router6]) = (on("target", "two"), on("both", "one"));
    assert!(lab.inside("both").who(tcp(format!("{target4}:80"))).is_ok());
    lab.inside("both").sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    lab.inside("accomplice")
        .sh(&format!("ip route add 10.2.0.0/24 via {router4}; ip -6 route add fd02::/64 via {router6}"));
    for target in [format!("{target4}:80"), format!("[{target6}]:80")] {
        let answer = lab.inside("accomplice").who(tcp(&target));
        assert!(answer.is_err(), "{target}: {answer:?}");
    }
    // The way back as well, or the silence would be the target's.
    let [accomplice4, accomplice6] = on("accomplice", "one");
    let back = on("both", "two");
    lab.inside("target")
        .sh(&format!("ip route add 10.1.0.0/24 via {}; ip -6 route add fd01::/64 via {}", back[0], back[1]));
    for target in [format!("{target4}:80"), format!("[{target6}]:80")] {
        assert!(lab.inside("accomplice").who(tcp(&target)).is_err(), "{target} with a way back");
    }
    for target in [format!("{accomplice4}:80"), format!("[{accomplice6}]:80")] {
        assert!(lab.inside("target").who(tcp(&target)).is_err(), "{target} from the other side");
    }
}

/// A router beyond the uplink advertises itself.
fn advertise(lab: &Lab) {
    let script = "me = own_mac('switch0')
source = link_local(me)
send([ether('33:33:00:00:00:01', me, 0x86DD, ip6(source, 'ff02::1', 58, router_advert(source, dev='switch0')))], 0, 'switch0')";
    python(&lab.at("lan"), script);
}

#[test]
fn an_uplink_that_lives_on_router_advertisements_goes_on() {
    let first = "sysctl -qw net.ipv6.conf.all.forwarding=0; ip -6 route del default; \
                 sysctl -qw net.ipv6.conf.uplink0.accept_ra=1 net.ipv6.conf.default.accept_ra=1";
    let lab = Lab::with().first(first).start();
    let accept = |link: &str| lab.sh(&format!("cat /proc/sys/net/ipv6/conf/{link}/accept_ra")).trim().to_owned();
    let routes = || lab.sh("ip -6 route show default proto ra");
    advertise(&lab);
    eventually("the host has a way out by it", 3.0, || routes().contains("dev uplink0"));
    assert_eq!(accept("uplink0"), "1", "no network has IPv6: nothing is touched");

    lab.netmode(&["network", "create", "--ipv6", "six"]).success();
    assert_eq!(lab.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim(), "1");
    assert_eq!(accept("uplink0"), "2");
    assert!(routes().contains("dev uplink0"), "the way out stays: {}", routes());
    lab.sh("ip -6 route flush proto ra");
    advertise(&lab);
    eventually("and is learned anew", 3.0, || routes().contains("dev uplink0"));

    // A device that is plugged in later lives on them, too.
    lab.sh("ip link add late0 link uplink0 type macvlan mode bridge; ip link set late0 up");
    eventually("a later uplink listens", 3.0, || accept("late0") == "2");
    advertise(&lab);
    eventually("and has a way out", 3.0, || routes().contains("dev late0"));

    lab.netmode(&["system", "reset", "--yes"]).success();
    eventually("as before", 3.0, || lab.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim() == "0");
    assert_eq!((accept("uplink0"), accept("late0")), ("1".into(), "1".into()));
    assert_eq!(accept("default"), "1");
}

/// A macvlan of the host's own is on the LAN under a hardware address that everybody there can send to.
#[test]
fn a_stranger_has_nothing_forwarded_by_the_link_of_a_subnet() {
    for flags in [&["--cidr", "192.0.2.0/24", "--ip-range", "192.0.2.64/26"][..], &["--cidr", "10.0.2.0/24"]] {
        let lab = Lab::start();
        lab.netmode(&[&["subnet", "create", "tasks", "--backend", "macvlan"], flags].concat()).success();
        lab.netmode(&["sg", "create", "open"]).success();
        lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0"]).success();
        serve(&lab, "one");
        lab.at("far").serve("far", &["tcp/80"]);
        let shim = lab.json(&["subnet", "show", "tasks"])[0]["hostLink"].as_str().expect("a link").to_owned();
        let far = || tcp(format!("{FAR}:80"));
        let stranger = |link: &str| {
            let mac = lab.sh(&format!("cat /sys/class/net/{link}/address"));
            let way = format!(
                "dev=$(ip -br link | sed -n '/^lo /d; s/[@ ].*//p' | head -1); \
                 ip neigh replace 192.0.2.77 lladdr {} dev $dev; ip route replace {FAR}/32 via 192.0.2.77 dev $dev",
                mac.trim()
            );
            lab.at("client").run(&["sh", "-c", &way]).success();
            lab.at("client").who(far()).map(|seen| seen.tag)
        };
        for agent in ["the first agent", "the next one"] {
            assert_eq!(lab.inside("one").who(far()).map(|s| s.tag).as_deref(), Ok("far"), "{agent}: a task goes out");
            for link in [&shim, "uplink0"] {
                assert_eq!(stranger(link), Err(Failure::Timeout), "{agent}: by {link}");
            }
            lab.restart_agent("KILL");
            // What it finds while it looks at the links comes a moment later.
            let quiet = || lab.sh("nft list set inet netmode closed4");
            let mut seen = quiet();
            eventually("nothing changes any more", 3.0, || {
                std::thread::sleep(std::time::Duration::from_millis(300));
                let now = quiet();
                let same = now == seen;
                seen = now;
                same
            });
            assert!(!seen.contains(&shim), "{seen}");
        }
    }
}
