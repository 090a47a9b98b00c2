//! Network for a namespace that someone else made: `netmode attach` and `detach`; `container:` and `ns:` on `run`.

use netmode_model::error::Code;
use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Failure, Lab, eventually, tcp};

#[test]
fn attach_gives_a_foreign_namespace_a_network_and_detach_takes_it() {
    let lab = Lab::with().first("ip netns add theirs").start();
    let before = Machine::settled(&lab);
    let netns = ["--netns", "/run/netns/theirs"];
    lab.netmode(&[&["attach"], &netns[..], &["--mode", "bridge", "-p", "8080:80"]].concat()).success();
    let address = lab.sh("ip -n theirs -br addr show eth0");
    assert!(address.contains("172.17.0.2/16"), "{address}");
    lab.spawn(
        &["nsenter", "--net=/run/netns/theirs", "probe", "serve", "--tag", "theirs", "tcp/80"],
        "/run/lab/theirs.log",
    );
    eventually("it serves", 3.0, || lab.read("/run/lab/theirs.log").contains("ready"));
    let seen = lab.at("client").who(tcp(format!("{HOST}:8080"))).expect("published");
    assert_eq!((seen.tag.as_str(), seen.peer.to_string().as_str()), ("theirs", CLIENT));
    assert!(lab.netmode(&["port", "ls"]).success().stdout.contains("8080"));
    lab.netmode(&["run", "-d", "-p", "8080:80", "--rootfs", "/", "true"]).refused(125, &["8080"]);

    lab.restart_agent("KILL");
    // That no packet is lost meanwhile is for restart.rs to show.
    let adopted = lab.at("client").who_patiently(tcp(format!("{HOST}:8080")));
    assert_eq!(adopted.map(|s| s.tag).as_deref(), Ok("theirs"), "adopted");

    lab.netmode(&["detach", "--owner", "theirs"]).success();
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))), Err(Failure::Refused));
    assert!(lab.has_file("/run/netns/theirs"), "the namespace is not ours to remove");
    eventually("its link is gone", 2.0, || !lab.sh("ip -n theirs -br link").contains("eth0"));
    before.assert_unchanged(&lab, "attach and detach");
    lab.netmode(&["detach", "--owner", "theirs"]).success();
}

/// Detaching answers before the kernel has taken the link away, with its way out.
#[test]
fn who_is_attached_right_after_another_finds_the_namespace_free() {
    let lab = Lab::with().first("ip netns add theirs").start();
    for n in 0..5 {
        let (owner, interface) = (format!("o{n}"), format!("e{n}"));
        let link = ["--netns", "/run/netns/theirs", "--owner", &owner, "--interface", &interface];
        lab.netmode(&[&["attach"], &link[..]].concat()).success();
        assert!(lab.sh("ip -n theirs route").contains(&format!("default via {GATEWAY} dev {interface}")));
        lab.netmode(&["detach", "--owner", &owner, "--interface", &interface]).success();
    }
}

#[test]
fn attach_refuses_what_is_no_foreign_namespace() {
    let lab = Lab::with().first("ip netns add theirs; echo x >/srv/file").start();
    let before = Machine::settled(&lab);
    for (path, word) in [
        ("/srv/file", "/srv/file"),
        ("/proc/1/ns/net", "own"),
        ("/srv/none", "/srv/none"),
        ("/proc/1/ns/mnt", "network"),
    ] {
        let command = ["attach", "--owner", "me", "--netns", path, "--mode", "bridge"];
        lab.netmode(&command).refused(1, &[word]);
        lab.netmode(&[&["-o", "json"], &command[..]].concat()).refused_with(1, Code::BadNetns);
    }
    before.assert_unchanged(&lab, "refused attachments");
}

#[test]
fn a_container_in_anothers_namespace() {
    let lab = Lab::with().first("ip netns add theirs; ip -n theirs link set lo up").start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    lab.serve("side", &["--network", "container:web"], &["tcp/81"]);
    let inode = |task: &str| lab.netmode(&["exec", task, "readlink", "/proc/self/ns/net"]).success().stdout;
    assert_eq!(inode("web"), inode("side"), "one namespace");
    assert_eq!(lab.at("host").who(tcp("172.17.0.2:81")).map(|s| s.tag).as_deref(), Ok("side"));
    assert_eq!(lab.inside("web").who(tcp("127.0.0.1:81")).map(|s| s.tag).as_deref(), Ok("side"));
    lab.netmode(&["rm", "-f", "side"]).success();
    assert!(lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok(), "the network is web's and stays");

    lab.serve("guest", &["--network", "ns:/run/netns/theirs"], &["tcp/80"]);
    assert_eq!(inode("guest"), lab.sh("nsenter --net=/run/netns/theirs readlink /proc/self/ns/net"));
    lab.netmode(&["rm", "-f", "guest"]).success();
    assert!(lab.has_file("/run/netns/theirs"));
}
