//! firewalld.

use super::*;

pub(super) fn start_firewalld(lab: &Lab) -> u32 {
    let pid = lab.spawn(&["firewalld", "--nofork"], "/run/lab/firewalld.log");
    eventually("firewalld answers", 20.0, || lab.run(&["firewall-cmd", "--state"]).status == 0);
    pid
}

#[test]
fn a_real_firewalld() {
    let lab = lab("mkdir -p /run/dbus; dbus-daemon --system --fork");
    let firewalld = start_firewalld(&lab);
    let in_zone = || lab.run(&["firewall-cmd", "--get-zone-of-interface=nm0"]).stdout.trim() == "netmode";
    eventually("the bridge is in its zone", 15.0, in_zone);
    eventually("and it counts", 5.0, || silent(&lab, &promised()).is_empty());
    assert_works(&lab, "beside firewalld");
    assert_eq!(doctor(&lab, "firewall inet firewalld filter_FORWARD").0, "ok");
    let firewall = || lab.sh("nft list table inet firewalld | grep -c 'netmode/default' || :");
    assert_eq!(firewall().trim(), "0", "no rule of ours in its table");

    lab.sh("firewall-cmd --reload");
    eventually("after a reload", 15.0, in_zone);
    assert_works(&lab, "after a reload");
    lab.sh(&format!("kill {firewalld}"));
    assert!(lab.reap(firewalld, 10_000).is_some());
    let firewalld = start_firewalld(&lab);
    eventually("after a restart", 15.0, in_zone);
    assert_works(&lab, "after a restart");

    let config = lab.read(CONFIG);
    lab.write(CONFIG, &format!("[firewall]\nbeside = false\n{config}"));
    lab.signal_agent("HUP");
    eventually("switched off", 15.0, || !lab.sh("firewall-cmd --permanent --get-zones").contains("netmode"));
    eventually("and out of it", 5.0, || !in_zone());
    assert!(!lab.sh("firewall-cmd --permanent --get-policies").contains("netmode"));
    lab.write(CONFIG, &config);
    lab.signal_agent("HUP");
    eventually("and on", 15.0, in_zone);
    lab.sh(&format!("kill {firewalld}"));
}

/// What was changed only while firewalld runs would be lost by a reload: that is left to its owner.
#[test]
fn a_firewalld_that_would_forget_something_is_not_reloaded() {
    let lab = Lab::with().no_agent().first("mkdir -p /run/dbus; dbus-daemon --system --fork").start();
    let firewalld = start_firewalld(&lab);
    lab.sh("firewall-cmd --add-port=1234/tcp");
    lab.start_agent();
    let object = "firewall inet firewalld filter_FORWARD";
    eventually("it was asked", 10.0, || lab.agent_log().contains("would lose"));
    assert_eq!(doctor(&lab, object).0, "fail");
    let ports = || lab.run(&["firewall-cmd", "--zone=public", "--list-ports"]).success().stdout;
    assert_eq!(ports().trim(), "1234/tcp", "not forgotten");
    lab.sh("firewall-cmd --runtime-to-permanent; firewall-cmd --reload");
    eventually("then it is let through", 20.0, || doctor(&lab, object).0 == "ok");
    assert_eq!(ports().trim(), "1234/tcp");
    lab.sh(&format!("kill {firewalld}"));
}
