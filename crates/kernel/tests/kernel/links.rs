//! Namespaces, links, addresses, routes, rules, variables.

use crate::lab::*;
use netmode_kernel::Kernel;
use netmode_model::nft::Family;
use netmode_model::op::{MAIN_TABLE, PolicyRule, Prohibit};
use netmode_model::{Final, Inverse, Op, Place};

fn everything() -> Vec<Op> {
    let mut ops = bridge();
    ops.extend(container("c1", 2));
    ops.extend([
        Op::LinkMtu { at: at("c1"), dev: dev("eth0"), mtu: 1400 },
        Op::LinkDown { at: at("c1"), dev: dev("lo") },
        Op::RateSet { at: at("c1"), dev: dev("eth0"), rate: "10mbit".parse().unwrap(), burst: 5000 },
        Op::RateSet { at: at("c1"), dev: dev("eth0"), rate: "40gbit".parse().unwrap(), burst: 20_000_000 },
        Op::AddrAdd { at: Place::Host, dev: dev("nm0"), addr: "10.9.0.1/32".parse().unwrap() },
        Op::AddrDel { at: Place::Host, dev: dev("nm0"), addr: "10.9.0.1/32".parse().unwrap() },
        Op::RouteAdd(netmode_model::op::Route::main(
            Place::Host,
            Some("10.6.0.0/16".parse().unwrap()),
            None,
            dev("nm0"),
        )),
        Op::Sysctl { at: Place::Host, key: "net/ipv4/ip_forward".into(), value: "1".into() },
        Op::Sysctl { at: Place::Host, key: "net/ipv4/ip_local_port_range".into(), value: "40000 41000".into() },
    ]);
    ops.extend(rules().map(Op::RuleAdd));
    ops.extend(prohibits().map(Op::ProhibitAdd));
    ops
}

fn rules() -> impl Iterator<Item = PolicyRule> {
    let rule =
        |pref, family, iif: Option<&str>, mark, table| PolicyRule { pref, family, iif: iif.map(dev), mark, table };
    [
        rule(90, Family::V4, Some("lo"), None, MAIN_TABLE),
        rule(91, Family::V4, None, Some(0x2000_0000), MAIN_TABLE),
        rule(92, Family::V4, None, None, 0x6e6d),
        rule(92, Family::V6, None, None, 0x6e6d),
    ]
    .into_iter()
}

fn prohibits() -> impl Iterator<Item = Prohibit> {
    ["10.5.0.0/24", "fd05::/64"].into_iter().map(|to| Prohibit { table: 0x6e6d, to: to.parse().unwrap() })
}

#[test]
fn every_operation_shows_and_leaves_nothing_when_taken_back() {
    let lab = lab!();
    let before = lab.observe(&[]);
    let port_range = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let ports = port_range();
    let inverses = lab.apply(&everything());
    let now = lab.observe(&[netns("c1")]);

    let link = |at: Place, name: &str| now.links.iter().find(|l| l.at == at && l.name.as_str() == name).unwrap();
    let bridge = link(Place::Host, "nm0");
    assert_eq!((bridge.kind.as_deref(), bridge.alias.as_deref()), (Some("bridge"), Some("test bridge")));
    assert_eq!((bridge.mac, bridge.up), (Some(mac(1)), true));
    let port = link(Place::Host, "vc1");
    assert_eq!((port.hairpin, port.isolated, port.group, port.mtu), (Some(true), Some(false), 7, 1450));
    assert_eq!((&port.master, port.alias.as_deref()), (&Some(dev("nm0")), Some("endpoint c1")));
    let eth0 = link(at("c1"), "eth0");
    assert_eq!((eth0.mac, eth0.mtu, eth0.up), (Some(mac(2)), 1400, true));
    assert_eq!((eth0.rate, port.rate), (Some(40_000_000_000), None));
    assert!(now.addrs.iter().all(|a| a.dev.as_str() != "vc1"), "no address of the port's own: {:?}", now.addrs);
    for expected in everything() {
        match expected {
            Op::RouteAdd(route) => assert!(now.routes.contains(&route), "{route:?} in {:?}", now.routes),
            Op::RuleAdd(rule) => assert!(now.rules.contains(&rule), "{rule:?} in {:?}", now.rules),
            _ => {}
        }
    }
    assert!(now.netns.contains(&netns("c1")));
    assert_eq!(port_range().split_whitespace().collect::<Vec<_>>(), ["40000", "41000"]);

    assert_eq!(lab.kernel.undo(inverses), []);
    assert_eq!(lab.observe(&[]), before);
    assert_eq!(port_range(), ports);
}

#[test]
fn a_failure_in_the_middle_takes_back_what_was_done() {
    let lab = lab!();
    lab.apply(&bridge());
    let before = lab.observe(&[]);
    let mut ops = container("c1", 2);
    ops.push(Op::LinkUp { at: at("c1"), dev: dev("nosuch") });
    ops.push(Op::LinkDel { at: Place::Host, dev: dev("nm0") });
    let failed = lab.kernel.apply(&ops).unwrap_err();
    assert_eq!(failed.error.errno, nix::errno::Errno::ENODEV as i32);
    assert_eq!(failed.error.step, "ip -n c1 link set dev nosuch up");
    assert_eq!(failed.undo, []);
    assert_eq!(lab.observe(&[]), before);
}

#[test]
fn a_taken_name_is_named_with_the_kernels_words() {
    let lab = lab!();
    lab.apply(&bridge());
    let failed = lab.kernel.apply(&bridge()).unwrap_err();
    assert_eq!(failed.error.errno, nix::errno::Errno::EEXIST as i32, "{failed}");
    let vlan = PolicyRule { pref: 1, family: Family::V4, iif: None, mark: None, table: MAIN_TABLE };
    lab.apply(&[Op::RuleAdd(vlan.clone())]);
    assert!(lab.kernel.apply(&[Op::RuleAdd(vlan)]).is_err());
}

#[test]
fn a_variable_that_another_changed_is_his() {
    let lab = lab!();
    let key = "net/ipv4/ip_forward";
    // A new namespace has what the machine's first one has.
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    let done = lab.apply(&[Op::Sysctl { at: Place::Host, key: key.into(), value: "1".into() }]);
    assert!(matches!(&done[..], [Inverse::Restore { previous, .. }] if previous == "0"), "{done:?}");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    let again = lab.apply(&[Op::Sysctl { at: Place::Host, key: key.into(), value: "1".into() }]);
    assert_eq!(again, [Inverse::Nothing]);
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    assert_eq!(lab.kernel.undo(done), []);
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "0\n");
    let bad = Op::Sysctl { at: Place::Host, key: "net/ipv4/nosuch".into(), value: "1".into() };
    assert_eq!(lab.kernel.apply(&[bad]).unwrap_err().error.errno, nix::errno::Errno::ENOENT as i32);
}

#[test]
fn the_host_stays_the_host_for_every_thread() {
    let lab = lab!();
    lab.apply(&bridge());
    std::thread::scope(|scope| {
        for n in 2..34u8 {
            let kernel: &Kernel = &lab.kernel;
            scope.spawn(move || kernel.apply(&container(&format!("c{n}"), n)).unwrap());
        }
    });
    let now = lab.observe(&[]);
    assert_eq!(now.netns.len(), 32);
    assert_eq!(now.links.iter().filter(|l| l.group == 7).count(), 32);
    assert!(now.links.iter().all(|l| l.name.as_str() != "eth0"));
}

#[test]
fn a_successor_adopts_a_pin_and_dropping_it_removes_the_links() {
    let lab = lab!();
    lab.apply(&bridge());
    lab.apply(&container("c1", 2));
    let successor = lab.another();
    let drop = [Final::NetnsDrop { netns: netns("c1") }];
    assert_eq!(successor.adopt(&netns("nosuch")).unwrap_err().errno, nix::errno::Errno::ENOENT as i32);
    std::fs::write(lab.dir.join("netns/plain"), "").unwrap();
    assert_eq!(successor.adopt(&netns("plain")).unwrap_err().errno, nix::errno::Errno::EINVAL as i32);
    successor.adopt(&netns("c1")).unwrap();
    let seen = successor.observe(netmode_kernel::Scope { namespaces: &[netns("c1")], table: false }).unwrap();
    assert!(seen.links.iter().any(|l| l.at == at("c1") && l.name.as_str() == "eth0"));
    assert_eq!(seen.netns.len(), 1, "a plain file is no pin");
    assert_eq!(lab.kernel.finish(&drop), []);
    assert_eq!(successor.finish(&drop), [], "what is gone counts as done");
    let begun = std::time::Instant::now();
    while lab.observe(&[]).links.iter().any(|l| l.group == 7) {
        assert!(begun.elapsed().as_secs() < 5, "the link stays");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
