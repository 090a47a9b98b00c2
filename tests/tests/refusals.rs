//! Bad input to `netmode run`: one clear sentence, a stable code, the right exit status, and nothing changed.
//! (The rest of the surface: `refusals_elsewhere.rs`.)

use netmode_model::error::Code;
use netmode_tests::lab::address::*;
use netmode_tests::machine::{Machine, agent_sockets};
use netmode_tests::{Failure, Lab, eventually, tcp, udp};

/// A refused `netmode run -d FLAGS --rootfs / sleep 1000`.
struct Case {
    flags: &'static [&'static str],
    code: Code,
    /// What the sentence must name.
    words: &'static [&'static str],
}

const fn case(flags: &'static [&'static str], code: Code, words: &'static [&'static str]) -> Case {
    Case { flags, code, words }
}

/// Runs every case, as a person and as a program would, and holds the machine before against the machine after.
#[track_caller]
fn refuse_all(lab: &Lab, cases: &[Case]) {
    let (mut before, sockets) = (Machine::settled(lab), agent_sockets(lab));
    let mut faults = vec![];
    for Case { flags, code, words } in cases {
        let command = [&["run", "-d"], *flags, &["--rootfs", "/", "sleep", "1000"]].concat();
        faults.extend(lab.netmode(&command).is_refusal(125, words).err());
        faults.extend(lab.netmode(&[&["-o", "json"], &command[..]].concat()).is_refusal_with(125, *code).err());
        if let Err(change) = before.is_unchanged(lab) {
            faults.push(format!("{command:?}: {change}"));
            before = Machine::settled(lab);
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    eventually("the agent let go of what it held for a moment", 2.0, || agent_sockets(lab) <= sockets);
}

#[test]
fn ports_that_are_wrong_in_themselves() {
    use Code::InvalidPort;
    let lab = Lab::start();
    refuse_all(
        &lab,
        &[
            case(&["-p", "8080:0"], InvalidPort, &["\"0\"", "port", "1 to 65535"]),
            case(&["-p", "0"], InvalidPort, &["\"0\"", "1 to 65535"]),
            case(&["-p", "80:65536"], InvalidPort, &["65536", "1 to 65535"]),
            case(&["-p", "65536:80"], InvalidPort, &["65536", "1 to 65535"]),
            case(&["--publish=-1:80"], InvalidPort, &["1 to 65535"]),
            case(&["-p", "8080:"], InvalidPort, &["8080:", "container"]),
            case(&["-p", ""], InvalidPort, &["container"]),
            case(&["-p", "eighty"], InvalidPort, &["eighty"]),
            case(&["-p", "8009-8000:9000-9009"], InvalidPort, &["8009-8000", "reversed", "8000-8009"]),
            case(&["-p", "8000-8009:9009-9000"], InvalidPort, &["9009-9000", "reversed"]),
            case(&["-p", "8000-8009:9000-9008"], InvalidPort, &["8000-8009", "9000-9008", "10", "9", "same"]),
            case(&["-p", "8000-8009:9000"], InvalidPort, &["8000-8009", "same"]),
            case(&["-p", "80:80/icmp"], InvalidPort, &["icmp", "tcp", "udp", "sctp"]),
            case(&["-p", "80:80/TCP/udp"], InvalidPort, &["protocol"]),
            case(&["-p", "1.2.3:80:80"], InvalidPort, &["1.2.3", "address"]),
            case(&["-p", "80:80; nft flush ruleset"], InvalidPort, &["port"]),
            case(&["--expose", "0"], InvalidPort, &["\"0\""]),
            case(&["--expose", "80/icmp"], InvalidPort, &["icmp"]),
        ],
    );
}

#[test]
fn ports_that_cannot_be_had() {
    let lab = Lab::start();
    lab.serve("web-1", &["-p", "8080:80", "-p", "7000-7009:7000-7009", "-p", "192.0.2.5:9000:80"], &["tcp/80"]);
    let pid = lab.spawn(&["probe", "serve", "tcp/9090", "udp/127.0.0.1:9091"], "/run/lab/stranger.log");
    eventually("the stranger listens", 3.0, || lab.at("host").who(udp("127.0.0.1:9091")).is_ok());
    use Code::{NoSuchHostAddress, PortTaken};
    refuse_all(
        &lab,
        &[
            case(&["-p", "8080:80"], PortTaken, &["tcp", "0.0.0.0:8080", "task web-1", "netmode stop web-1"]),
            case(&["-p", "192.0.2.1:8080:80"], PortTaken, &["192.0.2.1:8080", "task web-1"]),
            case(&["-p", "127.0.0.1:8080:80"], PortTaken, &["127.0.0.1:8080", "task web-1"]),
            case(&["-p", "[::1]:8080:80"], Code::UnsupportedInMode, &["[::1]:8080", "no IPv6"]),
            case(&["-p", "7009-7010:80-81"], PortTaken, &["7009", "task web-1"]),
            case(&["-p", "9000:80"], PortTaken, &["9000", "task web-1"]),
            case(&["--mode", "host", "-p", "8080"], PortTaken, &["8080", "task web-1"]),
            case(&["-p", "9090:80"], PortTaken, &["0.0.0.0:9090", "probe"]),
            case(&["-p", "9091:80/udp"], PortTaken, &["udp", "9091", "probe"]),
            case(&["-p", "9001:80", "-p", "9002:80", "-p", "9090:81"], PortTaken, &["9090", "probe"]),
            case(&["-p", "192.0.2.77:8081:80"], NoSuchHostAddress, &["192.0.2.77", "address"]),
            case(&["-p", "8081:80", "-p", "8081:81"], Code::InvalidPort, &["8081", "multiple times"]),
            case(&["-p", "8081:80", "-p", "192.0.2.1:8081:81"], Code::InvalidPort, &["8081", "multiple times"]),
            case(&["-p", "8100-8110:80-90", "-p", "8105:80"], Code::InvalidPort, &["8105", "multiple times"]),
        ],
    );
    let named = lab.netmode(&["run", "-d", "-p", "9090:80", "--rootfs", "/", "true"]);
    assert!(named.stderr.contains(&pid.to_string()), "the stranger's pid {pid} in {named:#?}");
    for port in [8081, 9001, 9002, 7010] {
        assert_eq!(lab.at("host").bind(tcp(format!("0.0.0.0:{port}")), false), Ok(()), "{port} is not held");
    }
    assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8080"), true), Err(Failure::Taken), "what was held is held");
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))).map(|s| s.tag).as_deref(), Ok("web-1"));
}

#[test]
fn modes_and_options_that_do_not_go_together() {
    let lab = Lab::start();
    lab.serve("web", &[], &["tcp/80"]);
    const MATCH: &str = "the host ports and container ports in port mappings must match";
    use Code::{Conflict, UnknownMode, UnsupportedInMode};
    refuse_all(
        &lab,
        &[
            case(&["--mode", "none", "-p", "80"], UnsupportedInMode, &["networkmode=none", "port mappings"]),
            case(&["--mode", "host", "-p", "8080:80"], UnsupportedInMode, &[MATCH]),
            case(&["--mode", "host", "--ip", "172.17.0.9"], UnsupportedInMode, &["host", "--ip"]),
            case(&["--mode", "host", "--mac-address", "02:42:00:00:00:01"], UnsupportedInMode, &["host", "mac"]),
            case(&["--mode", "host", "--link", "web"], UnsupportedInMode, &["host", "link"]),
            case(&["--mode", "none", "--ip", "172.17.0.9"], UnsupportedInMode, &["none", "--ip"]),
            case(&["--mode", "none", "--link", "web"], UnsupportedInMode, &["none", "link"]),
            case(&["--mode", "bridge", "--port-env", "PORT"], UnsupportedInMode, &["port-env", "host"]),
            case(&["--mode", "hots"], UnknownMode, &["hots", "awsvpc, bridge, host, none, default"]),
            case(&["--mode", "<script>"], UnknownMode, &["<script>", "awsvpc"]),
            case(&["--mode", "container:web", "-p", "80:80"], Conflict, &["container:", "web", "-p"]),
            case(&["--mode", "container:web", "--ip", "172.17.0.9"], Conflict, &["container:", "--ip"]),
            case(&["--mode", "container:nobody"], Code::NotFound, &["nobody"]),
            case(&["--ip6", "fd00:17::9"], UnsupportedInMode, &["fd00:17::9", "ipv6"]),
        ],
    );
}

#[test]
fn names_that_cannot_be() {
    let lab = Lab::start();
    lab.serve("web", &[], &["tcp/80"]);
    lab.netmode(&["run", "--name", "ended", "--rootfs", "/", "true"]).success();
    const LONG: &str = concat!(
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    );
    const ALLOWED: &str = "letters, digits";
    use Code::{Conflict, Invalid, NameTaken};
    refuse_all(
        &lab,
        &[
            case(&["--name", "web"], NameTaken, &["web", "RUNNING", "netmode rm web"]),
            case(&["--name", "ended"], NameTaken, &["ended", "STOPPED", "netmode rm ended"]),
            case(&["--name", LONG], Invalid, &["aaaa", "200", "128"]),
            case(&["--name", ""], Invalid, &["name", "empty"]),
            case(&["--name", "a b"], Invalid, &["a b", ALLOWED]),
            case(&["--name", "x; nft flush ruleset"], Invalid, &[ALLOWED]),
            case(&["--name", "\"; flush ruleset; #"], Invalid, &[ALLOWED]),
            case(&["--name", "$(reboot)"], Invalid, &["$(reboot)", ALLOWED]),
            case(&["--name", "`id`"], Invalid, &[ALLOWED]),
            case(&["--name", "<script>alert(1)</script>"], Invalid, &[ALLOWED]),
            case(&["--name", "../../etc/passwd"], Invalid, &[ALLOWED]),
            case(&["--name", "two\nlines"], Invalid, &[ALLOWED]),
            case(&["--name", "\u{1b}[31mred"], Invalid, &[ALLOWED]),
            case(&["--name=-dash"], Invalid, &[ALLOWED]),
            case(&["--name", "naïve"], Invalid, &[ALLOWED]),
            case(&["--hostname", "bad host"], Invalid, &["bad host"]),
            case(&["--hostname", "two\nlines"], Invalid, &["host"]),
            case(&["--add-host", "nocolon"], Invalid, &["nocolon", "NAME:"]),
            case(&["--add-host", "name:not-an-ip"], Invalid, &["not-an-ip"]),
            case(&["--add-host", "a\nb:1.2.3.4"], Invalid, &["host"]),
            case(&["--dns-search", "bad domain\nnameserver 6.6.6.6"], Invalid, &["domain"]),
            case(&["--dns-option", "ndots:1\nnameserver 6.6.6.6"], Invalid, &["option"]),
            case(&["--sysctl", "kernel.hostname=x"], Invalid, &["kernel.hostname", "net."]),
            case(&["--sysctl", "net/../kernel/hostname=x"], Invalid, &["net."]),
            case(&["--cap-add", "FLY"], Invalid, &["FLY"]),
            case(&["--ulimit", "nofile=2:1"], Invalid, &["nofile"]),
            case(&["--restart", "sometimes"], Invalid, &["restart", "sometimes"]),
            case(&["--rm", "--restart", "always"], Conflict, &["--rm", "--restart always"]),
            case(&["-u", "nobody-here"], Invalid, &["nobody-here"]),
        ],
    );
}

#[test]
fn addresses_that_cannot_be_had() {
    let lab = Lab::with().config("[bridge]\npools = [\"10.99.0.0/28\"]").start();
    lab.serve("web", &[], &["tcp/80"]);
    assert_eq!(lab.address("web"), "10.99.0.2");
    use Code::{AddressOutside, AddressTaken, Invalid, MacTaken};
    refuse_all(
        &lab,
        &[
            case(&["--ip", "192.168.7.7"], AddressOutside, &["192.168.7.7", "10.99.0.0/28"]),
            case(&["--ip", "10.99.0.16"], AddressOutside, &["10.99.0.16", "10.99.0.0/28"]),
            case(&["--ip", "10.99.0.2"], AddressTaken, &["10.99.0.2", "web"]),
            case(&["--ip", "10.99.0.0"], AddressTaken, &["10.99.0.0", "network"]),
            case(&["--ip", "10.99.0.1"], AddressTaken, &["10.99.0.1", "gateway"]),
            case(&["--ip", "10.99.0.15"], AddressTaken, &["10.99.0.15", "broadcast"]),
            case(&["--ip", "300.1.1.1"], Invalid, &["300.1.1.1"]),
            case(&["--ip", "fd00::1"], Invalid, &["fd00::1"]),
            case(&["--mac-address", "02:42"], Invalid, &["02:42"]),
            case(&["--mac-address", "zz:42:00:00:00:01"], Invalid, &["zz:42:00:00:00:01"]),
            case(&["--mac-address", "01:00:5e:00:00:01"], Invalid, &["01:00:5e:00:00:01", "multicast"]),
            case(&["--mac-address", "ff:ff:ff:ff:ff:ff"], Invalid, &["ff:ff:ff:ff:ff:ff"]),
            case(&["--mac-address", "00:00:00:00:00:00"], Invalid, &["00:00:00:00:00:00"]),
            case(&["--mac-address", "02:42:0a:63:00:02"], MacTaken, &["02:42:0a:63:00:02", "web"]),
            case(&["--dns", "not-an-ip"], Invalid, &["not-an-ip"]),
        ],
    );
}

#[test]
fn an_exhausted_pool() {
    let lab = Lab::with().config("[bridge]\npools = [\"10.99.0.0/29\"]").start();
    for n in 2..=6 {
        lab.task(&format!("t{n}"), &[], &["sleep", "1000"]);
        assert_eq!(lab.address(&format!("t{n}")), format!("10.99.0.{n}"));
    }
    refuse_all(
        &lab,
        &[case(&["-p", "8080:80"], Code::PoolExhausted, &["10.99.0.0/29", "5", "netmode network create"])],
    );
    lab.netmode(&["rm", "-f", "t4"]).success();
    eventually("the freed address is given again", 2.0, || {
        lab.netmode(&["run", "-d", "--name", "again", "--rootfs", "/", "sleep", "1000"]).status == 0
    });
    assert_eq!(lab.address("again"), "10.99.0.4");
}

#[test]
fn links_to_what_cannot_be_linked_to() {
    let lab = Lab::start();
    lab.serve("web", &[], &["tcp/80"]);
    lab.netmode(&["run", "--name", "ended", "--rootfs", "/", "true"]).success();
    lab.task("hosty", &["--mode", "host"], &["sleep", "1000"]);
    use Code::BadLink;
    refuse_all(
        &lab,
        &[
            case(&["--link", "nobody"], BadLink, &["nobody"]),
            case(&["--link", "nobody:alias"], BadLink, &["nobody"]),
            case(&["--link", "ended"], BadLink, &["ended", "running"]),
            case(&["--name", "selfish", "--link", "selfish"], BadLink, &["selfish", "itself"]),
            case(&["--link", "hosty"], BadLink, &["hosty", "host"]),
            case(&["--link", "web:a:b"], BadLink, &["web:a:b"]),
            case(&["--link", "web:"], BadLink, &["alias", "web"]),
            case(&["--link", "web:bad alias"], BadLink, &["bad alias"]),
            case(&["--link", "web:x\n6.6.6.6 bank"], BadLink, &["alias"]),
        ],
    );
}

#[test]
fn namespaces_that_are_none() {
    let lab = Lab::with().first("echo x >/srv/file; ln -s /proc/1/ns/net /srv/mine; mkdir /srv/dir").start();
    lab.serve("web", &[], &["tcp/80"]);
    use Code::BadNetns;
    refuse_all(
        &lab,
        &[
            case(&["--network", "ns:/srv/file"], BadNetns, &["/srv/file", "namespace"]),
            case(&["--network", "ns:/srv/dir"], BadNetns, &["/srv/dir", "namespace"]),
            case(&["--network", "ns:/srv/nothing"], BadNetns, &["/srv/nothing"]),
            case(&["--network", "ns:/proc/self/ns/net"], BadNetns, &["/proc/self/ns/net"]),
            case(&["--network", "ns:/srv/mine"], BadNetns, &["/srv/mine", "own"]),
            case(&["--network", "ns:/proc/1/ns/mnt"], BadNetns, &["/proc/1/ns/mnt", "network"]),
            case(&["--network", "ns:/run/netns/../../srv/file"], BadNetns, &["namespace"]),
        ],
    );
}

#[test]
fn what_is_not_there() {
    let lab = Lab::with().first("echo x >/srv/file; echo 'BAD LINE' >/srv/bad.env").start();
    let (before, sockets) = (Machine::settled(&lab), agent_sockets(&lab));
    let cases: [(&[&str], Code, &[&str]); 9] = [
        (&["--rootfs", "/srv/none", "true"], Code::NoSuchPath, &["/srv/none"]),
        (&["--rootfs", "/srv/file", "true"], Code::NoSuchPath, &["/srv/file", "directory"]),
        (&["-v", "/srv/none:/data", "--rootfs", "/", "true"], Code::NoSuchPath, &["/srv/none"]),
        (&["-v", "relative:/data", "--rootfs", "/", "true"], Code::Invalid, &["relative"]),
        (&["-v", "/srv:data", "--rootfs", "/", "true"], Code::Invalid, &["data"]),
        (&["--env-file", "/srv/none.env", "--rootfs", "/", "true"], Code::NoSuchPath, &["/srv/none.env"]),
        (&["--env-file", "/srv/bad.env", "--rootfs", "/", "true"], Code::Invalid, &["/srv/bad.env", "line 1"]),
        (&["-w", "relative", "--rootfs", "/", "true"], Code::Invalid, &["relative"]),
        (&["--security-opt", "seccomp=/srv/none", "--rootfs", "/", "true"], Code::NoSuchPath, &["/srv/none"]),
    ];
    let mut faults = vec![];
    for (words, code, sentence) in cases {
        for how in [&["run"][..], &["run", "-d", "-p", "8080:80"]] {
            let command = [how, words].concat();
            faults.extend(lab.netmode(&command).is_refusal(125, sentence).err());
            faults.extend(lab.netmode(&[&["-o", "json"], &command[..]].concat()).is_refusal_with(125, code).err());
            faults.extend(before.is_unchanged(&lab).err().map(|change| format!("{command:?}: {change}")));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    eventually("nothing is held", 2.0, || agent_sockets(&lab) <= sockets);
}

#[test]
fn commands_that_cannot_be_run() {
    let lab = Lab::with().first("printf 'not a program' >/srv/data; chmod 644 /srv/data").start();
    lab.serve("web", &[], &["tcp/80"]);
    let (before, sockets) = (Machine::settled(&lab), agent_sockets(&lab));
    let cases: [(&str, i32, Code, &str); 4] = [
        ("no-such-command", 127, Code::CommandNotFound, "no-such-command"),
        ("/no/such/command", 127, Code::CommandNotFound, "/no/such/command"),
        ("/srv/data", 126, Code::CommandNotExecutable, "/srv/data"),
        ("/srv", 126, Code::CommandNotExecutable, "/srv"),
    ];
    for (command, status, code, word) in cases {
        for how in [&["run"][..], &["run", "-d", "-p", "8080:80"], &["run", "--rm"]] {
            let command = [how, &["--rootfs", "/", command]].concat();
            lab.netmode(&command).refused(status, &[word]);
            lab.netmode(&[&["-o", "json"], &command[..]].concat()).refused_with(status, code);
            before.assert_unchanged(&lab, &command.join(" "));
        }
        lab.netmode(&["exec", "web", command]).refused(status, &[word]);
    }
    eventually("nothing is held", 2.0, || agent_sockets(&lab) <= sockets);
}
