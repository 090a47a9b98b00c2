//! What the containers of one task have in common besides their network: processes, IPC, limits, files of /etc.

use netmode_tests::ecs::{self, definition, exec, runtime, until, with};
use netmode_tests::{Lab, eventually};
use serde_json::{Value, json};

fn run(lab: &Lab, mode: &str, more: Value, containers: Vec<Value>) -> (String, Value) {
    let id = ecs::run(lab, &with(definition(mode, containers), more), &[]);
    let shown = until(lab, &id, "RUNNING");
    (id, shown)
}

fn keepers(lab: &Lab) -> usize {
    lab.sh("ps -eo args").lines().filter(|l| l.starts_with("/keeper")).count()
}

#[test]
fn containers_of_a_task_see_each_others_processes_where_its_definition_says_so() {
    for mode in ["awsvpc", "bridge"] {
        let lab = Lab::start();
        let members = || {
            let web = ecs::shell("web", "exec sleep 1111");
            // What it leaves behind has nobody but the task's first process to bury it.
            let side =
                with(ecs::shell("side", "(sleep 2222 & exec sleep 0.2); exec sleep 3333"), json!({"essential": false}));
            vec![web, side]
        };
        let (id, task) = run(&lab, mode, json!({"pidMode": "task"}), members());
        let (web, side) = (runtime(&task, "web"), runtime(&task, "side"));
        eventually("side is there whole", 3.0, || exec(&lab, &web, "ps -eo args").contains("\nsleep 3333"));
        let seen = exec(&lab, &web, "ps -eo args");
        for process in ["sleep 1111", "sleep 2222", "sleep 3333"] {
            assert!(seen.lines().any(|l| l == process), "{mode}: {process} in {seen}");
        }
        // The agent goes and comes: nothing of it ends.
        lab.restart_agent("TERM");
        assert!(exec(&lab, &web, "ps -eo args").contains("sleep 3333"));
        // A container takes what it started along, as if its processes were its own.
        lab.netmode(&["exec", &web, "pkill", "-f", "sleep 3333"]).success();
        let left = || exec(&lab, &web, "ps -eo args");
        eventually("side is gone whole", 5.0, || !left().contains("sleep 2222"));
        assert!(left().contains("sleep 1111"));
        assert_eq!(exec(&lab, &web, "ps -eo stat= | grep -c Z || true"), "0");
        assert_eq!(keepers(&lab), 1);
        lab.netmode(&["task", "stop", &id]).success();
        assert_eq!(keepers(&lab), 0, "{side}");
        lab.netmode(&["task", "rm", &id]).success();
        let left = lab.sh("find /sys/fs/cgroup -path '*netmode/*' -type d; ls -A /run/netmode/c");
        assert_eq!(left, "");
        // Without it each has its own, and nobody keeps anything.
        let (_, task) = run(&lab, mode, json!({}), members());
        assert!(!exec(&lab, &runtime(&task, "web"), "ps -eo args").contains("sleep 3333"));
        assert_eq!(keepers(&lab), 0);
    }
}

#[test]
fn containers_of_a_task_share_memory_where_its_definition_says_so() {
    let lab = Lab::start();
    let members = || vec![ecs::shell("a", "exec sleep 1000"), ecs::shell("b", "exec sleep 1000")];
    let namespace = |task: &Value, name: &str| exec(&lab, &runtime(task, name), "readlink /proc/self/ns/ipc");
    let of_host = lab.sh("readlink /proc/self/ns/ipc").trim().to_owned();

    let (_, task) = run(&lab, "awsvpc", json!({"ipcMode": "task"}), members());
    assert_eq!(namespace(&task, "a"), namespace(&task, "b"));
    assert_ne!(namespace(&task, "a"), of_host);
    exec(&lab, &runtime(&task, "a"), "echo hello >/dev/shm/x");
    assert_eq!(exec(&lab, &runtime(&task, "b"), "cat /dev/shm/x; stat -c %a /dev/shm"), "hello\n1777");
    assert!(!lab.sh("ls /dev/shm").contains('x'));
    // Processes are still their own.
    assert_eq!(exec(&lab, &runtime(&task, "a"), "readlink /proc/1/exe"), "/usr/bin/sleep");

    for word in [json!("none"), Value::Null] {
        let (_, task) = run(&lab, "awsvpc", json!({"ipcMode": word}), members());
        assert_ne!(namespace(&task, "a"), namespace(&task, "b"));
    }
    let (_, task) = run(&lab, "bridge", json!({"ipcMode": "host", "pidMode": "host"}), members());
    assert_eq!(namespace(&task, "a"), of_host);
    let seen = exec(&lab, &runtime(&task, "a"), "ps -eo comm=");
    assert!(seen.lines().any(|l| l == "netmoded"), "{seen}");
    assert_eq!(keepers(&lab), 1);
}

#[test]
fn the_host_keeps_its_ipc_settings_and_bad_words_are_refused() {
    let lab = Lab::start();
    let tuned = json!({"systemControls": [{"namespace": "kernel.msgmax", "value": "9000"}]});
    let plain = definition("awsvpc", vec![with(ecs::shell("a", "exec sleep 1000"), tuned)]);
    let refused = |more: Value, words: &[&str]| ecs::refused(&lab, &with(plain.clone(), more), words);
    refused(json!({"ipcMode": "host"}), &["kernel.msgmax", "host's own IPC"]);
    refused(json!({"pidMode": "mine"}), &["Invalid 'pidMode' setting", "host or task"]);
    refused(json!({"ipcMode": "mine"}), &["Invalid 'ipcMode' setting", "host, task or none"]);
    refused(json!({"pidMode": "host", "requiresCompatibilities": ["FARGATE"]}), &["Fargate", "pidMode"]);
    refused(json!({"ipcMode": "task", "requiresCompatibilities": ["FARGATE"]}), &["Fargate", "ipcMode"]);
}

#[test]
fn kernel_variables_and_limits_come_to_the_process() {
    let lab = Lab::start();
    let tuned = json!({
        "systemControls": [{"namespace": "kernel.msgmax", "value": "9000"}, {"namespace": "net.core.somaxconn", "value": "77"}],
        "ulimits": [{"name": "nofile", "softLimit": 100, "hardLimit": 200}, {"name": "core", "softLimit": 0, "hardLimit": 0}],
        "linuxParameters": {"initProcessEnabled": true, "tmpfs": [{"containerPath": "/fast", "size": 8, "mountOptions": ["noexec"]}]},
        "readonlyRootFilesystem": true, "user": "65534", "workingDirectory": "/etc",
    });
    for ipc in [Value::Null, json!("task")] {
        let members = vec![with(ecs::shell("a", "exec sleep 1000"), tuned.clone())];
        let (_, task) = run(&lab, "awsvpc", json!({"ipcMode": ipc}), members);
        let seen = "cat /proc/sys/kernel/msgmax /proc/sys/net/core/somaxconn; cat /proc/1/comm; pwd; id -u";
        assert_eq!(exec(&lab, &runtime(&task, "a"), seen), "9000\n77\ninit\n/etc\n65534");
        let limits = "sed -n 's/^Max open files *//p' /proc/1/limits | tr -s ' '";
        assert_eq!(exec(&lab, &runtime(&task, "a"), limits), "100 200 files");
        let mounts = exec(&lab, &runtime(&task, "a"), "grep -E ' (/|/fast) ' /proc/mounts");
        assert!(mounts.contains("overlay / overlay ro") && mounts.contains("size=8192k"), "{mounts}");
    }
}

#[test]
fn a_tasks_limits_are_of_all_its_containers_together() {
    let lab = Lab::start();
    let own = json!({"memory": 64, "memoryReservation": 32, "cpu": 256});
    let members = vec![with(ecs::shell("a", "exec sleep 1000"), own), ecs::shell("b", "exec sleep 1000")];
    let (id, task) = run(&lab, "awsvpc", json!({"cpu": "512", "memory": "128"}), members);
    let of = |container: &str, file: &str, up: &str| {
        let (controller, _) = file.split_once('.').expect("a controller");
        let runtime = runtime(&task, container);
        let pid = lab.inspect(&runtime)["pid"].as_i64().expect("a pid");
        let group = lab.sh(&format!("sed -n 's/^[0-9]*:{controller}://p' /proc/{pid}/cgroup"));
        lab.sh(&format!("cat /sys/fs/cgroup/{controller}/{}{up}/{file}", group.trim()))
    };
    let number =
        |container: &str, file: &str, up: &str| of(container, file, up).trim().parse::<i64>().expect("a number");
    assert_eq!(number("a", "memory.limit_in_bytes", "/.."), 128 << 20);
    assert_eq!(number("a", "memory.limit_in_bytes", ""), 64 << 20);
    assert_eq!(number("a", "memory.soft_limit_in_bytes", ""), 32 << 20);
    assert!(number("b", "memory.limit_in_bytes", "") > 1 << 40);
    assert_eq!((number("a", "cpu.shares", ""), number("b", "cpu.shares", "")), (256, 2));
    let quota = number("b", "cpu.cfs_quota_us", "/..") * 1000 / number("b", "cpu.cfs_period_us", "/..");
    assert_eq!(quota, 500, "half a CPU");
    // What one of them has no limit for ends at the task's.
    let hungry = lab.netmode(&["exec", &runtime(&task, "b"), "python3", "-c", "bytearray(200000000)"]);
    assert_ne!(hungry.status, 0, "{hungry:?}");
    lab.netmode(&["task", "stop", &id]).success();
}

#[test]
fn containers_of_an_eni_have_the_same_files_of_etc() {
    let lab = Lab::start();
    let members = vec![ecs::shell("a", "exec sleep 1000"), ecs::shell("b", "exec sleep 1000")];
    let (id, task) = run(&lab, "awsvpc", json!({}), members);
    exec(&lab, &runtime(&task, "a"), "echo 192.0.2.9 elsewhere >>/etc/hosts; echo '# a' >>/etc/resolv.conf");
    let b = runtime(&task, "b");
    assert_eq!(exec(&lab, &b, "getent hosts elsewhere | cut -d' ' -f1; tail -1 /etc/resolv.conf"), "192.0.2.9\n# a");
    assert_eq!(exec(&lab, &b, "hostname"), exec(&lab, &b, "cat /etc/hostname"));
    lab.netmode(&["task", "stop", &id]).success();
    assert_eq!(lab.sh("ls -A /run/netmode/c | wc -l").trim(), "2", "their own, until task rm");
}
