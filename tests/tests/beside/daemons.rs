//! Docker and ufw.

use super::*;

/// Starts a real dockerd beside; it takes a second.
pub(super) fn start_docker(lab: &Lab) -> [u32; 2] {
    let containerd = "containerd --root /run/d/ctd/root --state /run/d/ctd/state --address /run/d/ctd.sock";
    let dockerd = "dockerd --containerd /run/d/ctd.sock --data-root /run/d/data --exec-root /run/d/exec \
         -H unix:///run/docker.sock --pidfile /run/d/docker.pid --exec-opt native.cgroupdriver=cgroupfs \
         --ipv6 --fixed-cidr-v6 fd00:d::/64 --experimental --ip6tables";
    lab.sh("mkdir -p /run/d");
    let pids = [containerd, dockerd]
        .map(|line| lab.spawn(&line.split_whitespace().collect::<Vec<_>>(), "/run/lab/docker.log"));
    eventually("dockerd answers", 30.0, || lab.run(&["docker", "version"]).status == 0);
    pids
}

fn stop_docker(lab: &Lab, [containerd, dockerd]: [u32; 2]) {
    for pid in [dockerd, containerd] {
        lab.sh(&format!("kill {pid}"));
        assert!(lab.reap(pid, 20_000).is_some(), "docker ends");
    }
}

#[test]
fn a_real_docker() {
    let lab = Lab::with().ipv6().no_agent().start();
    let docker = start_docker(&lab);
    lab.start_agent();
    serve(&lab);
    assert_eq!(chain(&lab, "iptables", "DOCKER-USER"), ["from", "to", "-j RETURN"]);
    assert_eq!(lab.sh(OURS6).trim(), "2");
    assert!(lab.sh("iptables -S FORWARD").contains("-P FORWARD DROP"), "as Docker does");
    assert_works(&lab, "beside docker");
    assert_tools(&lab, "beside docker", "DOCKER-USER", "FORWARD");
    let (level, message) = doctor(&lab, "firewall ip filter FORWARD");
    assert!(level == "ok" && message.contains("DOCKER-USER"), "{level} {message}");

    // The user's own rules keep their order and effect.
    let user = |port: u16| format!("-d {FAR}/32 -p tcp -m tcp --dport {port} -j DROP");
    lab.sh(&format!("iptables -I DOCKER-USER {}; iptables -I DOCKER-USER {}", user(9001), user(9002)));
    let expected = [user(9002), user(9001), "from".into(), "to".into(), "-j RETURN".into()];
    eventually("in order", 3.0, || chain(&lab, "iptables", "DOCKER-USER") == expected);
    for port in [9001, 9002] {
        assert!(lab.inside("web").who(tcp(format!("{FAR}:{port}"))).is_err(), "what the user blocks is blocked");
    }
    lab.sh(&format!("iptables -A DOCKER-USER {}", user(9000)));
    let expected = [user(9002), user(9001), "-j RETURN".into(), user(9000)];
    let theirs = || {
        let mut rules = chain(&lab, "iptables", "DOCKER-USER");
        rules.retain(|r| r != "from" && r != "to");
        rules
    };
    assert_eq!(theirs(), expected, "nothing of his is moved");

    lab.sh("iptables -F DOCKER-USER");
    eventually("back", 3.0, || chain(&lab, "iptables", "DOCKER-USER") == ["from", "to"]);
    stop_docker(&lab, docker);
    let docker = start_docker(&lab);
    until(&lab, "after docker's restart", OURS, "2");
    until(&lab, "after docker's restart", OURS6, "2");
    eventually("settled", 5.0, || silent(&lab, &promised()).is_empty());
    assert_works(&lab, "after docker's restart");
    assert_tools(&lab, "after docker's restart", "DOCKER-USER", "FORWARD");
    stop_docker(&lab, docker);
    lab.restart_agent("TERM");
    assert_works(&lab, "docker's rules stay, and so do ours");
}

/// Where packets are forwarded already Docker leaves IPv4's policy as it is, and sets IPv6's.
#[test]
fn a_docker_that_comes_later() {
    let lab = lab("true");
    let docker = start_docker(&lab);
    until(&lab, "where it drops", OURS6, "2");
    let policy = lab.sh("iptables -S FORWARD | grep -e -P").trim() == "-P FORWARD DROP";
    until(&lab, "and only there", OURS, if policy { "2" } else { "0" });
    assert_eq!(silent(&lab, &promised()), []);
    stop_docker(&lab, docker);
}

/// Docker from version 28 on has another order, and no RETURN in the user's chain.
#[test]
fn the_rules_of_a_newer_docker() {
    let rules = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-BRIDGE - [0:0]\n:DOCKER-CT - [0:0]\n:DOCKER-FORWARD - [0:0]
:DOCKER-INTERNAL - [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-FORWARD\n-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER\n-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT\n-A DOCKER-FORWARD -j DOCKER-INTERNAL\n-A DOCKER-FORWARD -j DOCKER-BRIDGE\n-A DOCKER-FORWARD -i docker0 -j ACCEPT\nCOMMIT";
    let lab = lab(&format!(
        "printf '%s\\n' '{rules}' >/srv/docker; iptables-restore </srv/docker; ip6tables-restore </srv/docker"
    ));
    assert_works(&lab, "beside docker 28");
    assert_tools(&lab, "beside docker 28", "DOCKER-USER", "DOCKER-USER");
    assert_eq!(chain(&lab, "ip6tables", "DOCKER-USER"), ["from", "to"]);
    lab.sh("iptables-restore </srv/docker");
    eventually("back after a restore", 3.0, || chain(&lab, "iptables", "DOCKER-USER") == ["from", "to"]);
}

#[test]
fn a_real_ufw() {
    let lab = lab("ufw --force enable");
    let (user, user6) = ("ufw-user-forward", "ufw6-user-forward");
    assert_works(&lab, "beside ufw");
    assert_tools(&lab, "beside ufw", user, user6);
    let (level, message) = doctor(&lab, "firewall ip filter FORWARD");
    assert!(level == "ok" && message.contains(user), "{level} {message}");
    assert!(lab.at("client").who(tcp(format!("{HOST}:22"))).is_err());

    // Rules for routed traffic come first, whenever they are made.
    lab.sh("ufw route deny proto tcp to any port 9001");
    eventually("behind the user's rule", 3.0, || {
        let rules = chain(&lab, "iptables", user);
        rules.len() == 3 && rules[0].contains("9001") && rules[1..] == ["from", "to"]
    });
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9001"))).is_err(), "what the user blocks is blocked");
    for when in ["ufw reload", "ufw disable; ufw --force enable"] {
        lab.sh(when);
        eventually(when, 5.0, || [OURS, OURS6].map(|o| lab.sh(o).trim() == "2") == [true, true]);
        eventually(when, 5.0, || chain(&lab, "iptables", user)[1..] == ["from", "to"]);
        assert_works(&lab, when);
    }
    assert_eq!(lab.sh("ufw status | grep -c netmode || :").trim(), "0", "ufw shows what is its own");
    lab.sh("ufw disable");
    until(&lab, "gone with ufw", OURS, "0");
    lab.sh("ufw --force reset >/dev/null; ufw status");
}

/// Docker's chain is asked before ufw's; the rules of both are the user's.
#[test]
fn ufw_and_docker_at_once() {
    let docker = "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -I FORWARD -j DOCKER-USER";
    let lab = lab(&format!("ufw --force enable; {docker}; ufw route deny proto tcp to any port 9001"));
    assert_works(&lab, "beside both");
    assert_eq!(chain(&lab, "iptables", "DOCKER-USER"), ["-j RETURN"]);
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9001"))).is_err());
    lab.sh(&format!("iptables -I DOCKER-USER -d {FAR} -p tcp --dport 9002 -j DROP"));
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9002"))).is_err());
    // ufw goes: Docker's place is what is left.
    lab.sh("ufw disable; iptables -P FORWARD DROP");
    eventually("moved", 3.0, || chain(&lab, "iptables", "DOCKER-USER")[1..] == ["from", "to", "-j RETURN"]);
    until(&lab, "two and no more", OURS, "2");
}
