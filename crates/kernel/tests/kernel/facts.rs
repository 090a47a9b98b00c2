//! Single facts, descriptors of namespaces, features.

use crate::lab::*;
use netmode_kernel::{NetnsError, NetnsFd, Scope, own_inode};
use netmode_model::{Final, Op, Place};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

#[test]
fn facts_of_the_host() {
    let lab = lab!();
    assert_eq!(lab.kernel.egress_mtu(), Ok(None));
    lab.apply(&bridge());
    let to = |to: Option<&str>, via: &str| {
        netmode_model::op::Route::main(
            Place::Host,
            to.map(|to| to.parse().unwrap()),
            Some(via.parse().unwrap()),
            dev("nm0"),
        )
    };
    lab.apply(&[
        Op::LinkMtu { at: Place::Host, dev: dev("nm0"), mtu: 1400 },
        Op::RouteAdd(to(None, "10.5.0.9")),
        Op::RouteAdd(to(Some("10.77.0.0/16"), "10.5.0.9")),
    ]);
    assert_eq!(lab.kernel.egress_mtu(), Ok(Some(1400)));
    let around = lab.kernel.surroundings(vec!["10.5.0.0/24".parse().unwrap(), "fd05::/64".parse().unwrap()]).unwrap();
    assert_eq!(around.egress_mtu, Some(1400));
    let nm0: Vec<_> = around.prefixes.iter().filter(|(_, link)| link == "nm0").map(|(p, _)| p.to_string()).collect();
    assert_eq!(nm0, ["10.77.0.0/16"], "neither what is known nor default routes: {around:?}");
    let around = lab.kernel.surroundings(Vec::new()).unwrap().prefixes;
    assert!(around.contains(&("10.5.0.1/24".parse().unwrap(), "nm0".into())), "{around:?}");
    assert!(lab.kernel.host_addresses().unwrap().contains(&"10.5.0.1/24".parse().unwrap()));
    let link = lab.kernel.link(&Place::Host, &dev("nm0")).unwrap().unwrap();
    assert_eq!((link.mtu, link.up), (1400, true));
    assert_eq!(lab.kernel.link(&Place::Host, &dev("nosuch")), Ok(None));
    assert_eq!(lab.kernel.link(&at("nosuch"), &dev("lo")).unwrap_err().errno, nix::errno::Errno::ENOENT as i32);
    lab.apply(&container("c1", 2));
    let port = lab.kernel.link(&Place::Host, &dev("vc1")).unwrap().unwrap();
    assert_eq!(port.master, Some(dev("nm0")));

    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 50000").unwrap();
    std::fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", "40001,41000-41010").unwrap();
    assert_eq!(lab.kernel.local_port_range().unwrap().to_string(), "40000-50000");
    let reserved: Vec<String> = lab.kernel.reserved_ports().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(reserved, ["40001", "41000-41010"]);
}

#[test]
fn links_are_deleted_in_bulk_and_nobody_elses_with_them() {
    let lab = lab!();
    lab.apply(&bridge());
    let indexes: Vec<u32> = (2..12u8)
        .map(|n| {
            lab.apply(&container(&format!("c{n}"), n));
            lab.kernel.link(&Place::Host, &dev(&format!("vc{n}"))).unwrap().unwrap().index
        })
        .collect();
    // Group 7 has others already, at every time.
    let of_group = |group| {
        let links = lab.observe(&[]).links.into_iter().filter(move |l| l.group == group);
        links.map(|l| l.index).collect::<Vec<_>>()
    };
    assert_eq!(of_group(7), indexes);
    for pair in indexes[..4].chunks(2) {
        assert_eq!(lab.kernel.delete_links(pair, 7), Ok(()));
    }
    assert_eq!(of_group(7), indexes[4..]);
    assert_eq!(lab.kernel.delete_links(&[&indexes[5..], &[9999]].concat(), 4242), Ok(()));
    assert_eq!(of_group(7), [indexes[4]]);
}

#[test]
fn only_somebody_elses_network_namespace_will_do() {
    let lab = lab!();
    let open = |path: &str| NetnsFd::open(Path::new(path)).map(drop).unwrap_err();
    assert!(matches!(open("/nosuch"), NetnsError::Open { .. }));
    assert!(matches!(open("/etc/passwd"), NetnsError::NotANamespace(_)));
    assert!(matches!(open("/"), NetnsError::NotANamespace(_)));
    assert!(matches!(open("/proc/thread-self/ns/mnt"), NetnsError::WrongKind(_)));
    assert!(matches!(open("/proc/thread-self/ns/net"), NetnsError::AgentsOwn(_)));
    let inits = NetnsFd::open(Path::new("/proc/1/ns/net"));
    assert!(matches!(inits, Err(NetnsError::Inits(_) | NetnsError::Open { .. })), "{inits:?}");
    assert!(matches!(
        NetnsFd::from_fd(OwnedFd::from(File::open("/etc/passwd").unwrap())),
        Err(NetnsError::NotANamespace(_))
    ));

    lab.apply(&[Op::NetnsAdd { netns: netns("theirs"), variables: vec![] }]);
    let pin = lab.dir.join("netns/theirs");
    let fd = NetnsFd::open(&pin).unwrap();
    assert_ne!(fd.inode().unwrap(), own_inode().unwrap());
    let agent = lab.another();
    agent.register(&netns("guest"), fd);
    agent.apply(&[Op::LinkUp { at: at("guest"), dev: dev("lo") }]).unwrap();
    let seen = agent.observe(Scope { namespaces: &[netns("guest")], table: false }).unwrap();
    assert!(seen.links.iter().any(|l| l.at == at("guest") && l.up));
    assert_eq!(agent.finish(&[Final::NetnsDrop { netns: netns("guest") }]), []);
    assert!(NetnsFd::open(&pin).is_ok(), "the pin is its owner's");
    assert!(agent.apply(&[Op::LinkUp { at: at("guest"), dev: dev("lo") }]).is_err());
}

#[test]
fn ip_netns_shows_and_enters_the_pins() {
    let lab = lab!();
    need!("ip");
    // ip(8) knows one directory: the lab's is put there.
    std::fs::create_dir_all("/run/netns").unwrap();
    let none = None::<&str>;
    nix::mount::mount(Some("lab"), "/run/netns", Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
    let kernel = netmode_kernel::Kernel::open(netmode_kernel::KernelConfig::default(), &Default::default()).unwrap();
    kernel.apply(&[Op::NetnsAdd { netns: netns("nm-test"), variables: vec![] }]).unwrap();
    assert_eq!(run("ip", &["netns"], "").trim(), "nm-test");
    assert!(run("ip", &["-n", "nm-test", "link"], "").contains("lo:"));
    assert_eq!(kernel.finish(&[Final::NetnsDrop { netns: netns("nm-test") }]), []);
    assert_eq!(run("ip", &["netns"], ""), "");
    drop(lab);
    nix::mount::umount2("/run/netns", nix::mount::MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn features_are_tried_without_a_trace() {
    let lab = lab!();
    let before = lab.observe(&[]);
    let features = lab.kernel.features().unwrap();
    println!("{features:#?}");
    let there = |name: &str| features.iter().find(|f| f.name == name).unwrap().missing.is_none();
    assert!(there("macvlan") && there("ipv6"));
    assert_eq!(lab.observe(&[]), before);
}
