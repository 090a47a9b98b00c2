//! What cannot be around networks: one clear sentence, a stable code, and nothing has changed.

use netmode_model::Code;
use netmode_tests::Lab;
use netmode_tests::machine::Machine;

/// The words of a command, its code, and what its sentence names.
type Case = (&'static [&'static str], Code, &'static [&'static str]);

#[track_caller]
fn assert_refused(lab: &Lab, status: i32, cases: &[Case]) {
    let before = Machine::settled(lab);
    let wrong = |(words, code, parts): &Case| {
        let told = lab.netmode(words).is_refusal(status, parts);
        let coded = lab.netmode(&[&["-o", "json"], *words].concat()).is_refusal_with(status, *code);
        told.and(coded).err().map(|why| format!("{words:?}: {why}"))
    };
    let wrong: Vec<String> = cases.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    before.assert_unchanged(lab, "refusals");
}

#[test]
fn prefixes_gateways_and_ranges() {
    let routes = "ip route add 10.66.0.0/16 via 192.0.2.254; ip -6 route add fd66::/48 via 2001:db8:1::fe; \
                  ip route add 10.67.0.0/16 via 192.0.2.254 table 77; ip -6 route add fd67::/48 via 2001:db8:1::fe table 77";
    let lab = Lab::with().first(routes).start();
    lab.netmode(&["network", "create", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64", "used"]).success();
    let create =
        |words: &[&'static str]| -> &'static [&'static str] { [&["network", "create"], words, &["x"]].concat().leak() };
    assert_refused(
        &lab,
        1,
        &[
            (create(&["--subnet", "10.66.1.0/24"]), Code::AddressTaken, &["10.66.0.0/16", "uplink0"]),
            (create(&["--subnet", "10.0.0.0/8"]), Code::AddressTaken, &["10.0.0.0/8"]),
            (create(&["--subnet", "192.0.2.0/28"]), Code::AddressTaken, &["192.0.2.0/24", "uplink0"]),
            (create(&["--subnet", "fd66:0:0:1::/64"]), Code::AddressTaken, &["fd66::/48", "uplink0"]),
            (create(&["--subnet", "2001:db8:1::/64"]), Code::AddressTaken, &["2001:db8:1::/64", "uplink0"]),
            (create(&["--subnet", "10.67.1.0/24"]), Code::AddressTaken, &["10.67.0.0/16", "uplink0", "table 77"]),
            (create(&["--subnet", "fd67:0:0:1::/64"]), Code::AddressTaken, &["fd67::/48", "uplink0", "table 77"]),
            (create(&["--subnet", "10.5.0.128/25"]), Code::AddressTaken, &["10.5.0.0/24", "network used"]),
            (create(&["--subnet", "fd05::/64"]), Code::AddressTaken, &["fd05::/64", "network used"]),
            (create(&["--subnet", "172.17.8.0/24"]), Code::AddressTaken, &["172.17.0.0/16", "network bridge"]),
            (create(&["--gateway", "10.1.2.3"]), Code::AddressOutside, &["10.1.2.3"]),
            (
                create(&["--subnet", "10.9.0.0/24", "--gateway", "10.8.0.1"]),
                Code::AddressOutside,
                &["10.8.0.1", "10.9.0.0/24"],
            ),
            (create(&["--subnet", "10.9.0.0/24", "--gateway", "10.9.0.0"]), Code::AddressOutside, &["network address"]),
            (
                create(&["--subnet", "10.9.0.0/24", "--gateway", "10.9.0.255"]),
                Code::AddressOutside,
                &["broadcast address"],
            ),
            (create(&["--subnet", "fd09::/64", "--gateway", "fd09::"]), Code::AddressOutside, &["network address"]),
            (
                create(&["--subnet", "fd09::/64", "--gateway", "fd08::1"]),
                Code::AddressOutside,
                &["fd08::1", "fd09::/64"],
            ),
            (create(&["--ip-range", "10.1.0.0/24"]), Code::AddressOutside, &["10.1.0.0/24"]),
            (create(&["--subnet", "10.9.0.0/24", "--ip-range", "10.8.0.0/25"]), Code::AddressOutside, &["10.8.0.0/25"]),
            (create(&["--subnet", "10.9.0.0/24", "--ip-range", "10.9.0.0/16"]), Code::AddressOutside, &["10.9.0.0/16"]),
            (create(&["--subnet", "fd09::/64", "--ip-range", "fd08::/80"]), Code::AddressOutside, &["fd08::/80"]),
            (create(&["--subnet", "10.9.0.0/31"]), Code::Invalid, &["10.9.0.0/31"]),
            (create(&["--subnet", "10.9.0.1/32"]), Code::Invalid, &["10.9.0.1/32"]),
            (create(&["--subnet", "fd01::/65"]), Code::Invalid, &["fd01::/65", "/64"]),
            (create(&["--subnet", "fd01::1/128"]), Code::Invalid, &["fd01::1/128", "/64"]),
            (create(&["--subnet", "10.9.0.0"]), Code::Invalid, &["10.9.0.0"]),
            (create(&["--subnet", "10.9.0.0/33"]), Code::Invalid, &["10.9.0.0/33"]),
            (create(&["--subnet", "224.0.0.0/24"]), Code::Invalid, &["224.0.0.0/24"]),
            (create(&["--subnet", "127.1.0.0/24"]), Code::Invalid, &["127.1.0.0/24"]),
            (create(&["--subnet", "ff05::/64"]), Code::Invalid, &["ff05::/64"]),
            (create(&["--subnet", "fe80::/64"]), Code::Invalid, &["fe80::/64"]),
            (create(&["--subnet", "10.9.0.0/24", "--subnet", "10.8.0.0/24"]), Code::Invalid, &["one"]),
        ],
    );
}

#[test]
fn names_options_and_networks_in_use() {
    let lab = Lab::start();
    lab.netmode(&["network", "create", "used"]).success();
    lab.serve("web", &["--network", "used"], &["tcp/80"]);
    let create =
        |words: &[&'static str]| -> &'static [&'static str] { [&["network", "create"], words].concat().leak() };
    let long = "x".repeat(300).leak();
    assert_refused(
        &lab,
        1,
        &[
            (create(&["-o", "mtu=67", "x"]), Code::Invalid, &["67", "68"]),
            (create(&["--ipv6", "-o", "mtu=1279", "x"]), Code::Invalid, &["1279", "1280"]),
            (create(&["-o", "mtu=1500x", "x"]), Code::Invalid, &["mtu"]),
            (create(&["-o", "mtu=70000", "x"]), Code::Invalid, &["70000"]),
            (create(&["-o", "icc=maybe", "x"]), Code::Invalid, &["icc"]),
            (create(&["-o", "colour=red", "x"]), Code::Invalid, &["colour"]),
            (create(&["-d", "overlay", "x"]), Code::Invalid, &["overlay"]),
            (create(&["used"]), Code::NameTaken, &["used", "network rm"]),
            (create(&["bridge"]), Code::Invalid, &["bridge"]),
            (create(&["host"]), Code::Invalid, &["host"]),
            (create(&["none"]), Code::Invalid, &["none"]),
            (create(&["a;flush ruleset"]), Code::Invalid, &["a;flush ruleset"]),
            (create(&["<b>x</b>"]), Code::Invalid, &["<b>x</b>"]),
            (create(&["$(id)"]), Code::Invalid, &["$(id)"]),
            (create(&["../x"]), Code::Invalid, &["../x"]),
            (create(&[long]), Code::Invalid, &["300", "128"]),
            (create(&[""]), Code::Invalid, &["name"]),
            (&["network", "rm", "used"], Code::WrongState, &["used", "web"]),
            (&["network", "rm", "bridge"], Code::Forbidden, &["bridge"]),
            (&["network", "rm", "nosuch"], Code::NotFound, &["nosuch", "network ls"]),
            (&["network", "inspect", "nosuch"], Code::NotFound, &["nosuch"]),
        ],
    );
    lab.netmode(&["network", "create", "idle"]).success();
    assert_eq!(lab.netmode(&["network", "prune", "-f"]).success().stdout, "idle\n", "what is used stays");
}

#[test]
fn joining_and_leaving() {
    let lab = Lab::start();
    lab.netmode(&["network", "create", "--subnet", "10.9.0.0/24", "--subnet", "fd09::/64", "app"]).success();
    lab.netmode(&["network", "create", "four"]).success();
    lab.serve("web", &["--network", "app"], &["tcp/80"]);
    lab.serve("free", &[], &["tcp/80"]);
    lab.serve("host", &["--mode", "host"], &[]);
    lab.serve("alone", &["--mode", "none"], &[]);
    let join = |words: &[&'static str]| -> &'static [&'static str] { [&["network", "connect"], words].concat().leak() };
    assert_refused(
        &lab,
        1,
        &[
            (join(&["app", "web"]), Code::WrongState, &["web", "already"]),
            (join(&["nosuch", "web"]), Code::NotFound, &["nosuch"]),
            (join(&["app", "nosuch"]), Code::NotFound, &["nosuch"]),
            (join(&["app", "host"]), Code::UnsupportedInMode, &["host"]),
            (join(&["app", "alone"]), Code::UnsupportedInMode, &["none"]),
            (join(&["--ip", "10.9.0.2", "app", "free"]), Code::AddressTaken, &["10.9.0.2", "web"]),
            (join(&["--ip", "10.9.0.1", "app", "free"]), Code::AddressTaken, &["10.9.0.1"]),
            (join(&["--ip", "10.9.0.0", "app", "free"]), Code::AddressTaken, &["10.9.0.0"]),
            (join(&["--ip", "10.9.0.255", "app", "free"]), Code::AddressTaken, &["10.9.0.255"]),
            (join(&["--ip", "10.8.0.5", "app", "free"]), Code::AddressOutside, &["10.8.0.5", "10.9.0.0/24"]),
            (join(&["--ip6", "fd09::2", "app", "free"]), Code::AddressTaken, &["fd09::2", "web"]),
            (join(&["--ip6", "fd09::1", "app", "free"]), Code::AddressTaken, &["fd09::1"]),
            (join(&["--ip6", "fd08::5", "app", "free"]), Code::AddressOutside, &["fd08::5", "fd09::/64"]),
            (join(&["--ip6", "fd09::5", "four", "free"]), Code::UnsupportedInMode, &["fd09::5", "four"]),
            (join(&["--mac-address", "01:00:5e:00:00:01", "app", "free"]), Code::Invalid, &["01:00:5e:00:00:01"]),
            (&["network", "disconnect", "bridge", "web"], Code::WrongState, &["web", "not on"]),
            (&["network", "disconnect", "nosuch", "web"], Code::NotFound, &["nosuch"]),
            (&["network", "disconnect", "app", "nosuch"], Code::NotFound, &["nosuch"]),
        ],
    );
    let run = |words: &[&'static str]| -> &'static [&'static str] {
        [&["run"], words, &["--rootfs", "/", "true"]].concat().leak()
    };
    assert_refused(
        &lab,
        125,
        &[
            (run(&["--network", "nosuch"]), Code::UnknownMode, &["nosuch", "network ls"]),
            (run(&["--network", "app", "--network", "app"]), Code::Conflict, &["app", "twice"]),
            (run(&["--network", "host", "--network", "app"]), Code::Conflict, &["host"]),
            (
                run(&["--network", "four", "-p", "[2001:db8:1::1]:8080:80"]),
                Code::UnsupportedInMode,
                &["four", "no IPv6"],
            ),
            (run(&["--network", "four", "-p", "[::1]:8080:80"]), Code::UnsupportedInMode, &["four", "no IPv6"]),
            (run(&["--network", "four", "--ip6", "fd09::7"]), Code::UnsupportedInMode, &["four", "no IPv6"]),
        ],
    );
}
