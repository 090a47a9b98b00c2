//! What cannot be, in awsvpc mode: one sentence, a code, and nothing changed.

use netmode_model::Code;
use netmode_tests::Lab;
use netmode_tests::lab::address::*;

#[test]
fn subnets_that_cannot_be() {
    let lab = Lab::with()
        .first("ip link add name down0 type veth peer name down1")
        .first("ip link add name br7 type bridge")
        .first("ip link add name port0 type veth peer name port1")
        .first("ip link set port0 master br7 up")
        .start();
    lab.netmode(&["subnet", "create", "there", "--cidr", "10.7.0.0/20"]).success();
    let before = lab.json(&["subnet", "ls"]);
    let create = |flags: &[&str]| lab.netmode(&[&["-o", "json", "subnet", "create", "a"], flags].concat());
    for (flags, code, words) in [
        (&["--cidr", "10.7.8.0/24"][..], Code::AddressTaken, &["10.7.0.0/20", "subnet there"][..]),
        (&["--cidr", "172.17.0.0/24"], Code::AddressTaken, &["172.17.0.0/16", "network bridge"]),
        (&["--cidr", "192.0.2.0/24", "--backend", "veth"], Code::AddressTaken, &["uplink0"]),
        (&["--cidr", "192.0.2.0/24"], Code::Invalid, &["uplink0", "--ip-range"]),
        (&["--cidr", "10.0.2.0/29"], Code::Invalid, &["/16 to /28"]),
        (&["--cidr", "10.0.0.0/15"], Code::Invalid, &["/16 to /28"]),
        (&["--cidr", "10.0.2.9/24"], Code::Invalid, &["write 10.0.2.0/24"]),
        (&["--cidr", "10.0.2.0"], Code::Invalid, &["--cidr"]),
        (&["--cidr", "fd00:2::/64"], Code::Invalid, &["other family"]),
        (&["--cidr", "10.0.2.0/24", "--ipv6-cidr", "fd00:2::/48"], Code::Invalid, &["/64"]),
        (&["--ipv6-cidr", "fd00:2::/64"], Code::Invalid, &["IPv4 cannot be switched off"]),
        (&["--cidr", "10.0.2.0/24", "--parent", "nosuch0"], Code::BadParent, &["no link nosuch0"]),
        (
            &["--cidr", "10.0.2.0/24", "--parent", "down0", "--backend", "macvlan"],
            Code::BadParent,
            &["ip link set dev down0 up"],
        ),
        (
            &["--cidr", "10.0.2.0/24", "--parent", "port0", "--backend", "macvlan"],
            Code::BadParent,
            &["a port of br7", "--parent br7"],
        ),
        (&["--cidr", "10.0.2.0/24", "--gateway", "10.0.3.1"], Code::AddressOutside, &["10.0.3.1", "10.0.2.0/24"]),
        (&["--cidr", "10.0.2.0/24", "--ip-range", "10.0.3.0/25"], Code::AddressOutside, &["10.0.3.0/25"]),
        (&["--cidr", "10.0.2.0/24", "--backend", "macvlan:passthru"], Code::Invalid, &["macvlan:passthru"]),
        (&["--cidr", "10.0.2.0/24", "--vlan", "0"], Code::Invalid, &["1 to 4094"]),
        (&["--cidr", "10.0.2.0/24", "--dns-zone", "a..b"], Code::Invalid, &["a..b"]),
    ] {
        let out = create(flags);
        out.refused_with(1, code);
        assert!(words.iter().all(|w| out.stderr.contains(w)), "{flags:?}: {}", out.stderr);
    }
    lab.netmode(&["subnet", "create", "there", "--cidr", "10.9.0.0/24"]).refused(1, &["taken by a subnet"]);
    lab.netmode(&["subnet", "rm", "nosuch"]).refused(1, &["no subnet \"nosuch\"", "netmode subnet ls"]);
    lab.netmode(&["network", "create", "n", "--subnet", "10.7.1.0/24"]).refused(1, &["overlaps"]);
    assert_eq!(lab.json(&["subnet", "ls"]), before);
    // What would be made is shown, and not made.
    let flags = ["--cidr", "10.0.2.0/24", "--dry-run"];
    assert_eq!(lab.netmode(&[&["subnet", "create", "b"], &flags[..]].concat()).success().json()["backend"], "veth");
    assert_eq!(lab.json(&["subnet", "ls"]), before);
}

#[test]
fn kinds_of_links_that_this_kernel_lacks_are_refused_by_name() {
    let lab = Lab::start();
    for kind in ["ipvlan", "vlan"] {
        let has = lab.run(&[
            "sh",
            "-c",
            &format!(
                "ip link add link uplink0 name x type {kind} {} && ip link del x",
                if kind == "vlan" { "id 5" } else { "" }
            ),
        ]);
        let out = lab.netmode(&["subnet", "create", kind, "--cidr", "10.0.2.0/24", "--backend", kind]);
        if has.status != 0 {
            out.refused(1, &[kind, "this kernel cannot make", "veth"]);
        }
    }
}

#[test]
fn tasks_that_cannot_be() {
    let lab = Lab::start();
    lab.netmode(&[
        "subnet",
        "create",
        "lan",
        "--cidr",
        "192.0.2.0/24",
        "--ip-range",
        "192.0.2.64/26",
        "--backend",
        "macvlan",
    ])
    .success();
    let run = |flags: &[&str]| {
        lab.netmode(
            &[&["run", "-d", "--mode", "awsvpc", "--subnet", "lan"], flags, &["--rootfs", "/", "sleep", "100"]]
                .concat(),
        )
    };
    run(&["--name", "one", "--ip", "192.0.2.70"]).success();
    run(&["--ip", "192.0.2.70"]).refused(125, &["192.0.2.70", "in use by one"]);
    let shim = lab.sh("ip -4 -o addr show type macvlan");
    let shim = shim.split_whitespace().nth(3).and_then(|a| a.split('/').next()).unwrap_or(HOST).to_owned();
    for own in [HOST_TOO, &shim] {
        run(&["--ip", own]).refused(125, &[own]);
    }
    run(&["--ip", "192.0.2.200"]).success();
    run(&["--ip", "192.0.2.2"]).refused(125, &["reserved address"]);
    run(&["--mac-address", "02:42:c0:00:02:46"]).refused(125, &["02:42:c0:00:02:46", "one"]);
    run(&["--security-group", "nosuch"]).refused(125, &["nosuch", "does not exist"]);
    run(&["--security-group", "a,b,c,d,e,f"]).refused(125, &["at most 5"]);
    run(&["--link", "one"]).refused(125, &["Links are not supported when networkMode=awsvpc."]);
    run(&["--hostname", "x"]).refused(125, &["hostname is not supported on container when networkMode=awsvpc."]);
    run(&["-P"]).refused(125, &["-P"]);
    for cap in ["NET_ADMIN", "net_raw", "CAP_SYS_ADMIN", "ALL"] {
        run(&["--cap-add", cap]).refused(125, &["security groups", "--sg-best-effort"]);
    }
    run(&["--privileged"]).refused(125, &["--privileged", "--sg-best-effort"]);
    run(&["--name", "let", "--cap-add", "NET_ADMIN", "--sg-best-effort"]).success();
    assert_eq!(lab.json(&["eni", "show", "let"])[0]["bestEffort"], true, "and it is said");
    lab.netmode(&["run", "-d", "--mode", "awsvpc", "--subnet", "nosuch", "--rootfs", "/", "true"])
        .refused(125, &["no subnet"]);
    lab.netmode(&["run", "-d", "--subnet", "lan", "--rootfs", "/", "true"])
        .refused(125, &["Network Configuration is not valid for the given networkMode of this task definition."]);
    lab.netmode(&["eni", "show", "nosuch"]).refused(1, &["no ENI"]);
}

#[test]
fn security_groups_that_cannot_be() {
    let lab = Lab::start();
    lab.netmode(&["sg", "create", "web  "]).success();
    let id = lab.json(&["sg", "show", "web"])[0]["groupId"].as_str().unwrap_or_default().to_owned();
    assert!(id.starts_with("sg-") && id.len() == 20, "{id}");
    let rules = lab.json(&["sg", "show", "web"])[0]["rules"].clone();
    assert!(rules.as_array().is_some_and(|r| r.len() == 2 && r.iter().all(|r| r["direction"] == "egress")), "{rules}");
    lab.netmode(&["sg", "create", "web"]).refused(1, &["already exists"]);
    lab.netmode(&["sg", "create", "sg-x"]).refused(1, &["not beginning with sg-"]);
    lab.netmode(&["sg", "create", &"x".repeat(256)]).refused(1, &["1 to 255 characters"]);
    lab.netmode(&["sg", "rm", "default"]).refused(1, &["Client.CannotDelete"]);
    let authorize = |flags: &[&str]| lab.netmode(&[&["sg", "authorize", "web"], flags].concat());
    authorize(&["--protocol", "tcp", "--port", "80"]).refused(1, &["--cidr, --group or --prefix-list"]);
    authorize(&["--protocol", "tcp", "--port", "80-70", "--cidr", "0.0.0.0/0"]).refused(1, &["80-70", "FIRST-LAST"]);
    authorize(&["--protocol", "gre", "--cidr", "0.0.0.0/0"]).refused(1, &["gre"]);
    let obeyed = "--protocol tcp --port 80";
    authorize(&["--port", "80", "--cidr", "0.0.0.0/0"]).refused(1, &["--port needs --protocol tcp or udp", obeyed]);
    authorize(&["--protocol", "tcp:80", "--cidr", "0.0.0.0/0"]).refused(1, &["\"tcp:80\" is no protocol", obeyed]);
    authorize(&["--protocol", "47", "--port", "80", "--cidr", "0.0.0.0/0"]).refused(1, &["47 has no ports"]);
    authorize(&["--cidr", "10.0.0.7/24"]).refused(1, &["write 10.0.0.0/24"]);
    authorize(&["--group", "nosuch"]).refused(1, &["nosuch", "does not exist"]);
    authorize(&["--prefix-list", "nosuch"]).refused(1, &["nosuch"]);
    authorize(&["--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0"]).success();
    authorize(&["--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0"]).refused(1, &["already exists"]);
    lab.netmode(&["sg", "revoke", "web", "--protocol", "udp", "--cidr", "0.0.0.0/0"]).refused(1, &["does not exist"]);
    // 60 of one direction and family.
    for n in 1..60 {
        authorize(&["--protocol", "tcp", "--port", "80", "--cidr", &format!("10.0.{n}.0/24")]).success();
    }
    authorize(&["--protocol", "tcp", "--port", "80", "--cidr", "10.1.0.0/24"]).refused(1, &["has 60 of ingress"]);
    authorize(&["--protocol", "tcp", "--port", "80", "--cidr", "fd00::/64"]).success();
    authorize(&["--egress", "--protocol", "tcp", "--port", "80", "--cidr", "10.1.0.0/24"]).success();
    // Named by another one.
    lab.netmode(&["sg", "create", "db"]).success();
    lab.netmode(&["sg", "authorize", "db", "--group", "web"]).success();
    lab.netmode(&["sg", "rm", "web"]).refused(1, &["dependent object", "a rule of the group db"]);
    lab.netmode(&["sg", "rm", "db"]).success();
    lab.netmode(&["sg", "rm", "web"]).success();
    assert_eq!(lab.sh("nft list table inet netmode_walls | grep -c 'chain in_'").trim(), "1", "the default one's");
}
