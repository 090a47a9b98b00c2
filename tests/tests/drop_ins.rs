//! Who manages a machine's links leaves ours alone, once the package's files are there; without them, or with a link
//! that is not ours, it does not.

use netmode_tests::sandbox::repository;
use netmode_tests::{Lab, eventually};

/// The file of the package, where the package puts it, and what asks for it.
fn drop_in(lab: &Lab, file: &str, place: &str) {
    let text = std::fs::read_to_string(repository().join("agent/package").join(file))
        .unwrap_or_else(|e| panic!("{file}: {e}"));
    lab.write(place, &text);
}

/// A machine with a container, and a bridge that is somebody else's. Gives the container's link on the host.
fn furnished() -> (Lab, String) {
    let lab = Lab::start();
    lab.task("web", &[], &["sleep", "1000"]);
    lab.sh("ip link add other type bridge; ip addr add 198.51.100.1/24 dev other; ip link set other up");
    let link = lab.sh("ip -br link show master nm0 | cut -d@ -f1").trim().to_owned();
    (lab, link)
}

/// A file of networkd's that takes every link it can; what asks other machines or the machine's id is off.
const GREEDY: &str = "[Match]\nName=nm* other\n[Network]\nAddress=203.0.113.77/32\nLinkLocalAddressing=no\n\
     IPv6AcceptRA=no\nConfigureWithoutCarrier=yes\n";

#[test]
fn systemd_networkd_gives_our_links_nothing() {
    for with in [false, true] {
        let (lab, link) = furnished();
        lab.write("/etc/systemd/network/50-all.network", GREEDY);
        if with {
            drop_in(&lab, "netmode.network", "/usr/lib/systemd/network/10-netmode.network");
        }
        lab.spawn(&["/lib/systemd/systemd-networkd"], "/run/lab/networkd.log");
        let has = |dev: &str| lab.sh(&format!("ip -br addr show {dev} || :")).contains("203.0.113.77");
        eventually("networkd configures what is not ours", 10.0, || has("other"));
        if with {
            // It went over all links before it was done with that one, and does so again when one changes.
            lab.sh("ip link set other down; ip link set other up; sleep 0.5");
            assert!(!has("nm0") && !has(&link), "{}", lab.sh("ip addr"));
        } else {
            // The container's link it takes off the bridge, and the agent makes it anew.
            eventually("without the file it takes ours, too", 5.0, || has("nm0"));
        }
    }
}

#[test]
fn udev_leaves_our_hardware_addresses_and_names() {
    let (lab, link) = furnished();
    let asked = |dev: &str| lab.sh(&format!("udevadm test-builtin net_setup_link /sys/class/net/{dev} 2>&1 || :"));
    assert!(asked("nm0").contains("ID_NET_LINK_FILE=/usr/lib/systemd/network/99-default.link"), "{}", asked("nm0"));
    drop_in(&lab, "netmode.link", "/usr/lib/systemd/network/10-netmode.link");
    for dev in ["nm0", &link] {
        let text = asked(dev);
        let name = format!("ID_NET_NAME={dev}\n");
        for part in ["ID_NET_LINK_FILE=/usr/lib/systemd/network/10-netmode.link", &name] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("persistent MAC"), "{text}");
    }
    assert!(asked("other").contains("99-default.link"), "only ours are meant: {}", asked("other"));
}

#[test]
fn networkmanager_does_not_manage_our_links() {
    for with in [false, true] {
        let (lab, link) = furnished();
        if with {
            drop_in(&lab, "networkmanager.conf", "/usr/lib/NetworkManager/conf.d/10-netmode.conf");
        }
        lab.sh("mkdir -p /run/dbus && dbus-daemon --system --fork");
        lab.spawn(&["NetworkManager", "--no-daemon"], "/run/lab/networkmanager.log");
        let state = |dev: &str| {
            let all = lab.run(&["nmcli", "-t", "-f", "DEVICE,STATE", "device"]).stdout;
            all.lines().find_map(|l| l.strip_prefix(&format!("{dev}:"))).unwrap_or_default().to_owned()
        };
        eventually("it has taken up what is not ours", 15.0, || state("other").starts_with("connected"));
        let ours = || [state("nm0"), state(&link)];
        if with {
            assert_eq!(ours(), ["unmanaged", "unmanaged"]);
        } else {
            eventually("the test shows something", 5.0, || ours().iter().all(|s| s.starts_with("connected")));
        }
    }
}
