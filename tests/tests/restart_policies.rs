//! `--restart`: what ends is started again, after a crash, a restart of the agent and a reboot.

use netmode_tests::lab::address::*;
use netmode_tests::{Lab, eventually, patience, tcp};
use std::time::Duration;

/// A task that notes each of its starts in `/srv/starts/NAME` and then runs the script.
fn counted(lab: &Lab, name: &str, policy: &str, script: &str) {
    lab.sh("mkdir -p /srv/starts");
    let script = format!("date +%s%3N >>/starts/{name}; {script}");
    lab.task(name, &["--restart", policy, "-v", "/srv/starts:/starts"], &["sh", "-c", &script]);
}

/// When it was started, in milliseconds.
fn starts(lab: &Lab, name: &str) -> Vec<i64> {
    let noted = lab.read(&format!("/srv/starts/{name}"));
    noted.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{line:?} is no time"))).collect()
}

fn state(lab: &Lab, name: &str) -> String {
    lab.inspect(name)["state"].as_str().unwrap_or_default().into()
}

#[test]
fn what_ends_at_once_is_started_again_ever_more_rarely() {
    let lab = Lab::start();
    counted(&lab, "loop", "always", "exit 0");
    eventually("the sixth start", 12.0, || starts(&lab, "loop").len() >= 6);
    let at = starts(&lab, "loop");
    for (n, pair) in at.windows(2).take(5).enumerate() {
        let (gap, pause) = (pair[1] - pair[0], 100 << n);
        assert!(
            gap >= pause && gap < pause + (400.0 * patience()) as i64,
            "pause {n} is {gap} ms, not {pause}: {at:?}"
        );
    }
    // Between two starts it is STOPPED, and shown.
    eventually("it waits for its start", 3.0, || lab.netmode(&["ps"]).stdout.contains("STOPPED (0), restarts"));
    let view = lab.inspect("loop");
    assert_eq!(view["restartPolicy"], "always", "{view}");
    assert!(view["restartCount"].as_u64() >= Some(5), "{view}");
    assert!(lab.sh("ls /run/netns | grep -c ^nm- || :").trim() == "0", "it holds nothing while it waits");
    // Stopped while it waits, it stays stopped.
    lab.netmode(&["stop", "loop"]).success();
    let count = starts(&lab, "loop").len();
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(starts(&lab, "loop").len(), count);
    assert!(!lab.netmode(&["ps"]).stdout.contains("loop"));
    // Started by hand it begins anew; removed, it is gone for good.
    lab.netmode(&["start", "loop"]).success();
    eventually("two more starts", 3.0, || starts(&lab, "loop").len() >= count + 2);
    assert!(lab.inspect("loop")["restartCount"].as_u64() < Some(5));
    lab.netmode(&["rm", "-f", "loop"]).success();
    let count = starts(&lab, "loop").len();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(starts(&lab, "loop").len(), count);
    assert_eq!(lab.json(&["ps", "-a"]), serde_json::json!([]));
}

#[test]
fn on_failure_counts_and_minds_the_status() {
    let lab = Lab::start();
    counted(&lab, "fails", "on-failure:2", "exit 3");
    counted(&lab, "works", "on-failure", "exit 0");
    counted(&lab, "never", "no", "exit 3");
    eventually("three starts in all", 5.0, || starts(&lab, "fails").len() == 3);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(["fails", "works", "never"].map(|name| starts(&lab, name).len()), [3, 1, 1]);
    let view = lab.inspect("fails");
    assert_eq!(
        (&view["state"], &view["restartCount"], &view["restarting"]),
        (&"STOPPED".into(), &2.into(), &false.into())
    );
    assert_eq!(view["containers"][0]["exitCode"], 3);
    lab.restart_agent("TERM");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(["fails", "works", "never"].map(|name| starts(&lab, name).len()), [3, 1, 1], "its times are used up");
    lab.netmode(&["run", "--rm", "--restart", "always", "--rootfs", "/", "true"]).refused(125, &["--rm", "--restart"]);
}

#[test]
fn what_somebody_stopped_stays_stopped() {
    let lab = Lab::start();
    for policy in ["always", "unless-stopped", "on-failure"] {
        counted(&lab, policy, policy, "exec sleep 1000");
    }
    for name in ["always", "unless-stopped", "on-failure"] {
        // The container's own death is none by hand.
        let pid = lab.inspect(name)["pid"].clone();
        lab.sh(&format!("kill -9 {pid}"));
        eventually("it runs again", 5.0, || starts(&lab, name).len() == 2 && state(&lab, name) == "RUNNING");
    }
    lab.netmode(&["stop", "-t", "0", "always", "unless-stopped"]).success();
    lab.netmode(&["kill", "on-failure"]).success();
    std::thread::sleep(Duration::from_millis(1000));
    for name in ["always", "unless-stopped", "on-failure"] {
        assert_eq!((state(&lab, name).as_str(), starts(&lab, name).len()), ("STOPPED", 2), "{name}");
    }
    // docker: "always" means also that it starts with the agent.
    lab.restart_agent("TERM");
    eventually("it starts with the agent", 5.0, || state(&lab, "always") == "RUNNING");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!([state(&lab, "unless-stopped"), state(&lab, "on-failure")], ["STOPPED", "STOPPED"]);
    lab.netmode(&["start", "unless-stopped"]).success();
    let pid = lab.inspect("unless-stopped")["pid"].clone();
    lab.sh(&format!("kill -9 {pid}"));
    eventually("its policy holds again", 5.0, || starts(&lab, "unless-stopped").len() == 4);
}

#[test]
fn an_end_while_no_agent_was_there_is_made_good() {
    let lab = Lab::start();
    counted(&lab, "web", "always", "exec sleep 1000");
    counted(&lab, "loop", "on-failure:1", "sleep 0.5; exit 4");
    let pid = lab.inspect("web")["pid"].clone();
    lab.end_agent("KILL");
    lab.sh(&format!("kill -9 {pid}; sleep 1"));
    lab.start_agent();
    eventually("both were started again", 5.0, || starts(&lab, "web").len() == 2 && starts(&lab, "loop").len() == 2);
    eventually("for the last time", 5.0, || state(&lab, "loop") == "STOPPED");
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!([starts(&lab, "web").len(), starts(&lab, "loop").len()], [2, 2]);
}

#[test]
fn a_reboot_starts_what_is_to_run() {
    let lab = Lab::start();
    lab.serve("web", &["--restart", "always", "-p", "8080:80", "--ip", "172.17.0.7"], &["tcp/80"]);
    lab.task("beside", &["--restart", "unless-stopped", "--network", "container:web"], &["sleep", "1000"]);
    lab.task("failing", &["--restart", "on-failure:5"], &["sleep", "1000"]);
    lab.task("off", &["--restart", "unless-stopped"], &["sleep", "1000"]);
    lab.task("plain", &[], &["sleep", "1000"]);
    lab.netmode(&["stop", "-t", "0", "off"]).success();
    lab.reboot();
    for name in ["web", "beside", "failing"] {
        eventually(&format!("{name} runs"), 10.0, || state(&lab, name) == "RUNNING");
    }
    assert_eq!(["off", "plain"].map(|name| state(&lab, name)), ["STOPPED", "STOPPED"]);
    eventually("it serves as before", 5.0, || lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok());
    assert_eq!(lab.address("web"), "172.17.0.7");
    let same = lab.netmode(&["exec", "beside", "ip", "-br", "addr", "show", "eth0"]).success();
    assert!(same.stdout.contains("172.17.0.7"), "{same:?}");
}

#[test]
fn a_start_that_fails_is_tried_again() {
    let lab = Lab::start();
    lab.serve("web", &["--restart", "always", "-p", "8080:80"], &["tcp/80"]);
    let pid = lab.inspect("web")["pid"].clone();
    lab.end_agent("KILL");
    // Its process and its port are gone when the agent comes back, and so is who kept the port.
    lab.sh(&format!("kill -9 {pid} $(pgrep -x netmode-keep)"));
    eventually("nobody holds it", 2.0, || lab.at("host").bind(tcp("0.0.0.0:8080"), false).is_ok());
    let stranger = lab.at("host").occupy(tcp("0.0.0.0:8080"));
    lab.start_agent();
    eventually("the reason is told", 5.0, || {
        lab.inspect("web")["stoppedReason"].as_str().is_some_and(|r| r.contains("8080"))
    });
    drop(stranger);
    eventually("it runs when it can", 15.0, || lab.at("client").who(tcp(format!("{HOST}:8080"))).is_ok());
}

#[test]
fn what_was_being_stopped_is_killed_when_its_time_is_up() {
    let lab = Lab::start();
    // The first process of a namespace ignores SIGTERM unless it asked for it.
    for name in ["soon", "later"] {
        lab.task(name, &["-p", if name == "soon" { "8080:80" } else { "8081:80" }], &["sleep", "1000"]);
    }
    let begun = std::time::Instant::now();
    lab.spawn(&["netmode", "stop", "-t", "2", "soon"], "/run/lab/stop.log");
    lab.spawn(&["netmode", "stop", "-t", "12", "later"], "/run/lab/stop.log");
    eventually("both are being stopped", 3.0, || ["soon", "later"].iter().all(|name| state(&lab, name) == "STOPPING"));
    lab.end_agent("KILL");
    std::thread::sleep(Duration::from_secs(2));
    lab.start_agent();
    eventually("one is over its time", 2.0, || state(&lab, "soon") == "STOPPED");
    assert_eq!(state(&lab, "later"), "STOPPING", "the other still has its time: {:?}", begun.elapsed());
    eventually("its time is up", 4.0, || state(&lab, "later") == "STOPPED");
    assert!(begun.elapsed() > Duration::from_millis(11_500), "not before its time: {:?}", begun.elapsed());
    for name in ["soon", "later"] {
        assert_eq!(lab.inspect(name)["containers"][0]["exitCode"], 137, "{name}");
    }
    assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8080"), false), Ok(()));
}

#[test]
fn a_task_outlives_whatever_moment_its_agent_dies_in() {
    let lab = Lab::start();
    // Short-lived containers that come back at once: most of the time one is being made.
    let names = ["a", "b", "c", "d"];
    for name in names {
        counted(&lab, name, if name == "d" { "on-failure" } else { "always" }, "exit 1");
    }
    for after_ms in [3, 9, 17, 26, 38, 55, 80, 120, 170] {
        // The agent that starts begins with the shortest pause again.
        std::thread::sleep(Duration::from_millis(after_ms));
        lab.restart_agent("KILL");
    }
    let known = lab.json(&["ps", "-a"]);
    assert_eq!(known.as_array().map(Vec::len), Some(names.len()), "none is lost: {known}");
    let before = names.map(|name| starts(&lab, name).len());
    for (name, before) in names.iter().zip(before) {
        eventually(&format!("{name} goes on"), 10.0, || starts(&lab, name).len() > before);
    }
    lab.netmode(&[&["rm", "-f"][..], &names].concat()).success();
    eventually("nothing is left", 5.0, || lab.sh("ls /run/netns | grep -c ^nm- || :").trim() == "0");
    assert_eq!(lab.sh("pgrep -c conmon || :").trim(), "0");
}
