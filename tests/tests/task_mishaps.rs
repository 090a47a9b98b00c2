//! Tasks of task definitions whose containers come too late, or hang.

use netmode_tests::ecs::*;
use netmode_tests::{Lab, eventually};
use serde_json::json;

/// An image of busybox, and an umoci that takes its time to unpack it.
const SLOW_IMAGE: &str = "
set -eu
cd /srv
umoci init --layout layout
umoci new --image layout:web
mkdir -p /tmp/root/bin
cp /bin/busybox /tmp/root/bin/sleep
umoci insert --image layout:web /tmp/root /
printf '#!/bin/sh\\ncase $* in *unpack*) touch /run/lab/unpacking; sleep 1.5;; esac\\nexec umoci \"$@\"\\n' >slow-umoci
chmod 755 slow-umoci
";

#[test]
fn a_task_that_is_stopped_while_its_image_is_unpacked_leaves_no_container() {
    let lab = Lab::with().first(SLOW_IMAGE).config("[container]\numoci = \"/srv/slow-umoci\"\n").start();
    let web = json!({"name": "web", "image": "oci:/srv/layout:web", "command": ["sleep", "1000"], "stopTimeout": 1});
    let id = run(&lab, &definition("awsvpc", vec![web]), &[]);
    eventually("its image is unpacked", 5.0, || lab.has_file("/run/lab/unpacking"));
    lab.netmode(&["task", "stop", &id]).success();
    assert_eq!(task(&lab, &id)["lastStatus"], "STOPPED");
    let all = lab.json(&["ps", "-a"]);
    let waiting = all.as_array().into_iter().flatten().find(|t| t["state"] != "STOPPED");
    assert!(waiting.is_none(), "{waiting:?}");
    eventually("its ENI is gone", 3.0, || lab.json(&["eni", "ls"]).as_array().is_some_and(Vec::is_empty));
    assert_eq!(lab.sh("pgrep -x conmon | wc -l").trim(), "0", "nothing holds its namespace");
    assert_eq!(lab.sh("ls /run/netns | grep -c ^nm- || true").trim(), "0");
}

#[test]
fn a_container_of_a_task_that_has_ended_is_not_started_again() {
    let lab = Lab::start();
    let id = run(&lab, &definition("bridge", vec![shell("web", "exec sleep 1000")]), &[]);
    let web = runtime(&until(&lab, &id, "RUNNING"), "web");
    lab.netmode(&["task", "stop", &id]).success();
    lab.netmode(&["start", &web]).refused(1, &["the task of container", "has ended"]);
}

#[test]
fn a_health_check_that_hangs_is_ended() {
    let lab = Lab::start();
    let check = |command: serde_json::Value| {
        let check = json!({"command": command, "interval": 5, "timeout": 2, "retries": 10});
        with(shell("web", "exec sleep 4000"), json!({"healthCheck": check}))
    };
    // The second one's shell waits for what it has started.
    let plain = run(&lab, &definition("bridge", vec![check(json!(["CMD", "sleep", "1000"]))]), &[]);
    let shell = run(&lab, &definition("bridge", vec![check(json!(["CMD-SHELL", "sleep 2000; true"]))]), &[]);
    let running = |argument: &str| lab.sh(&format!("pgrep -fx 'sleep {argument}' | wc -l")).trim().to_owned();
    for task in [&plain, &shell] {
        until(&lab, task, "RUNNING");
    }
    let monitors = lab.sh("pgrep -x conmon | wc -l");
    for round in 0..3 {
        // Each in its own time: they begin when their tasks do.
        for argument in ["1000", "2000"] {
            eventually("it is checked", 8.0, || running(argument) == "1");
            eventually(&format!("it is ended in round {round}"), 4.0, || running(argument) == "0");
        }
        eventually("and whoever watched them", 8.0, || lab.sh("pgrep -x conmon | wc -l") == monitors);
    }
    assert_eq!(container(&task(&lab, &plain), "web")["healthStatus"], "UNKNOWN", "it may still fail");
}

#[test]
fn a_torn_record_of_a_service_is_named() {
    let lab = Lab::start();
    lab.write("/run/lab/taskdef.json", &definition("none", vec![shell("web", "exec sleep 1000")]).to_string());
    lab.netmode(&["service", "create", "shop", "-f", "/run/lab/taskdef.json"]).success();
    lab.end_agent("TERM");
    lab.sh("truncate -s 20 /var/lib/netmode/services/shop.json /var/lib/netmode/instance/instance.json");
    lab.start_agent();
    for name in ["the record shop cannot be read", "the record instance cannot be read"] {
        assert!(lab.agent_log().contains(name), "{name}: {}", lab.agent_log());
    }
}

#[test]
fn of_two_who_make_a_service_of_one_name_one_does() {
    let lab = Lab::start();
    lab.write("/run/lab/taskdef.json", &definition("none", vec![shell("web", "exec sleep 1000")]).to_string());
    let all = lab.sh(
        "for n in 1 2 3 4 5 6; do (netmode service create shop -f /run/lab/taskdef.json >/run/lab/made.$n 2>&1; echo $?) & done; wait",
    );
    assert_eq!(all.lines().filter(|status| *status == "0").count(), 1, "{all}: {}", lab.sh("cat /run/lab/made.*"));
    let tasks = || lab.json(&["task", "ls"]).as_array().map_or(0, Vec::len);
    eventually("its task", 3.0, || tasks() == 1);
    lab.netmode(&["service", "rm", "shop"]).success();
    assert!(!lab.has_file("/var/lib/netmode/services/shop.json"));
    eventually("nobody keeps a task running", 5.0, || tasks() == 0);
    lab.restart_agent("TERM");
    assert_eq!(lab.json(&["service", "ls"]), json!([]));
}
