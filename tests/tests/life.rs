//! The life of a container as a person drives it: run, ps, logs, exec, stop, kill, wait, rm.

use netmode_tests::{Lab, eventually};
use std::time::{Duration, Instant};

/// A shell script as the only process of a task in the foreground.
fn run_sh(lab: &Lab, flags: &[&str], script: &str) -> netmode_tests::Output {
    lab.netmode(&[&["run"], flags, &["--rootfs", "/", "sh", "-c", script]].concat())
}

#[test]
fn a_foreground_run_is_as_if_it_ran_here() {
    let lab = Lab::start();
    let out = run_sh(&lab, &["--name", "job"], "echo to stdout; echo to stderr >&2; exit 7").exits(7);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("to stdout\n", "to stderr\n"));
    let view = lab.inspect("job");
    assert_eq!(view["state"], "STOPPED");
    assert_eq!(view["containers"][0]["exitCode"], 7);
    assert_eq!(view["pid"], 0);
    assert!(view.get("netns").is_none(), "its namespace is given back: {view}");
    lab.task("victim", &[], &["sleep", "1000"]);
    lab.netmode(&["kill", "-s", "KILL", "victim"]).success();
    eventually("killed: 128 + 9", 3.0, || lab.inspect("victim")["containers"][0]["exitCode"] == 137);
    assert_eq!(lab.netmode(&["run", "--rootfs", "/", "true"]).success().stdout, "");

    // All of a megabyte arrives, in order, on either stream.
    let big =
        "i=0; while [ $i -lt 20000 ]; do echo line $i of a long output that fills the pipes and more; i=$((i+1)); done";
    let out = run_sh(&lab, &["--rm"], big).success();
    assert_eq!(out.stdout.lines().count(), 20000);
    let in_order = out.stdout.lines().enumerate().all(|(n, line)| line.starts_with(&format!("line {n} ")));
    assert!(in_order, "lines are missing or mixed");
}

#[test]
fn standard_input_reaches_the_container_with_i_alone() {
    let lab = Lab::start();
    let text = "one\ntwo\n".repeat(5000);
    let out = lab.netmode_with(&["run", "--rm", "-i", "--rootfs", "/", "cat"], &text, &[]).success();
    assert!(out.stdout == text, "{} of {} bytes came back", out.stdout.len(), text.len());
    let out = lab.netmode_with(&["run", "--rm", "--rootfs", "/", "cat"], &text, &[]).success();
    assert_eq!(out.stdout, "", "without -i there is nothing to read");
    lab.task("box", &[], &["sleep", "1000"]);
    let out = lab.netmode_with(&["exec", "-i", "box", "wc", "-l"], &text, &[]).success();
    assert_eq!(out.stdout.trim(), "10000");
}

#[test]
fn a_terminal_is_a_terminal() {
    let lab = Lab::start();
    let on_tty = |command: &str, input: &str| {
        let quoted = format!("printf '{input}' | script -qec \"stty rows 33 cols 99; {command}\" /dev/null");
        lab.run(&["sh", "-c", &quoted])
    };
    let out = on_tty("netmode run --rm -t --rootfs / sh -c 'tty; stty size; exit 5'", "");
    assert_eq!(out.status, 5, "{out:#?}");
    assert!(out.stdout.contains("/dev/pts/") || out.stdout.contains("/dev/console"), "{out:#?}");
    assert!(out.stdout.contains("33 99"), "the size of the window: {out:#?}");
    lab.task("box", &[], &["sleep", "1000"]);
    let out = on_tty("netmode exec -it box sh -c 'read x; echo got $x; exit 6'", "hello\\n");
    assert_eq!(out.status, 6, "{out:#?}");
    assert!(out.stdout.contains("hello"), "{out:#?}");
    let out = on_tty("netmode run --rm -it --rootfs / sh", "echo a$((40+2))b\\nexit 3\\n");
    assert_eq!(out.status, 3, "{out:#?}");
    assert!(out.stdout.contains("a42b"), "{out:#?}");
    // -t where there is no terminal is said so, not hung upon.
    let out = lab.netmode(&["run", "--rm", "-t", "--rootfs", "/", "tty"]);
    assert!(out.status == 0 || !out.stderr.is_empty(), "{out:#?}");
}

#[test]
fn signals_are_passed_on() {
    let lab = Lab::start();
    let script = "trap 'echo got TERM; exit 9' TERM; trap 'echo got USR1' USR1; trap 'echo got INT; exit 8' INT; echo up; \
                  while :; do sleep 0.05; done";
    for (signal, status) in [("TERM", 9), ("INT", 8)] {
        let (name, log) = (format!("fg-{signal}"), format!("/run/lab/{signal}.log"));
        let pid = lab.spawn(&["netmode", "run", "--name", &name, "--rootfs", "/", "sh", "-c", script], &log);
        eventually("it is up", 5.0, || lab.read(&log).contains("up"));
        lab.sh(&format!("kill -{signal} {pid}"));
        assert_eq!(lab.reap(pid, 5000), Some(status), "{}", lab.read(&log));
        assert!(lab.read(&log).contains(&format!("got {signal}")), "{}", lab.read(&log));
    }
    lab.task("bg", &[], &["sh", "-c", script]);
    eventually("it is up", 5.0, || lab.netmode(&["logs", "bg"]).stdout.contains("up"));
    for (n, spelling) in ["USR1", "SIGUSR1", "10"].iter().enumerate() {
        lab.netmode(&["kill", "-s", spelling, "bg"]).success();
        eventually("it came", 3.0, || lab.netmode(&["logs", "bg"]).stdout.matches("got USR1").count() == n + 1);
    }
    lab.netmode(&["kill", "bg"]).success();
    assert_eq!(lab.netmode(&["wait", "bg"]).success().stdout.trim(), "137", "SIGKILL where none is named");
}

#[test]
fn run_d_prints_the_id_and_returns() {
    let lab = Lab::start();
    let id = lab.task("web", &["--label", "tier=front"], &["sleep", "1000"]);
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id:?}");
    let view = lab.inspect(&id[..6]);
    assert_eq!(
        (view["id"].as_str(), view["name"].as_str()),
        (Some(id.as_str()), Some("web")),
        "the beginning of an id"
    );
    assert_eq!(view["labels"]["tier"], "front");
    assert_eq!(view["state"], "RUNNING");
    assert!(view["pid"].as_u64().is_some_and(|pid| lab.sh(&format!("cat /proc/{pid}/comm")) == "sleep\n"));
    assert_eq!(view["containers"][0]["command"], serde_json::json!(["sleep", "1000"]));

    assert_eq!(lab.netmode(&["ps", "-q"]).success().stdout.trim(), &id[..12]);
    let table = lab.netmode(&["ps"]).success().stdout;
    for word in [&id[..12], "web", "bridge", "RUNNING"] {
        assert!(table.contains(word), "{word} in {table}");
    }
    assert_eq!(lab.json(&["ps"])[0]["name"], "web");
    let yaml = lab.netmode(&["ps", "-o", "yaml"]).success().stdout;
    assert!(yaml.contains("name: web"), "{yaml}");
    lab.netmode(&["run", "--name", "done", "--rootfs", "/", "true"]).success();
    assert!(!lab.netmode(&["ps"]).stdout.contains("done"), "ended tasks are shown by -a only");
    assert!(lab.netmode(&["ps", "-a"]).stdout.contains("done"));
    let unnamed = lab.netmode(&["run", "-d", "--rootfs", "/", "sleep", "1000"]).success().stdout;
    let name = lab.inspect(unnamed.trim())["name"].as_str().map(str::to_owned).expect("a name is made");
    assert_eq!(lab.inspect(&name)["id"], unnamed.trim());
}

#[test]
fn logs_are_kept() {
    let lab = Lab::start();
    lab.task(
        "talker",
        &[],
        &["sh", "-c", "echo out; echo err >&2; for i in 1 2 3 4 5; do echo tick $i; sleep 0.2; done; echo end"],
    );
    let follow = lab.netmode(&["logs", "-f", "talker"]).success();
    assert!(follow.stdout.starts_with("out\n") && follow.stdout.ends_with("end\n"), "{follow:#?}");
    assert_eq!(follow.stderr, "err\n", "each stream where it belongs");
    eventually("it ended", 3.0, || lab.inspect("talker")["state"] == "STOPPED");
    assert_eq!(lab.netmode(&["logs", "talker"]).success().stdout, follow.stdout, "and they are there afterwards");
    let late = lab.netmode(&["logs", "--since", "500ms", "talker"]).success().stdout;
    assert!(late.len() < follow.stdout.len() && follow.stdout.ends_with(&late), "{late:?}");
    assert_eq!(lab.netmode(&["logs", "--since", "1h", "talker"]).success().stdout, follow.stdout);
    assert_eq!(lab.netmode(&["logs", "--since", "2100-01-01T00:00:00Z", "talker"]).success().stdout, "");
    lab.netmode(&["logs", "--since", "yesterday", "talker"]).refused(1, &["--since", "yesterday", "10m"]);
    lab.restart_agent("TERM");
    assert_eq!(lab.netmode(&["logs", "talker"]).success().stdout, follow.stdout, "after a restart as well");
    lab.netmode(&["rm", "talker"]).success();
    assert_eq!(lab.netmode(&["logs", "talker"]).status, 1);
    assert_eq!(lab.sh("ls /var/lib/netmode/containers /run/netmode/c").matches("talker").count(), 0);
}

#[test]
fn exec_runs_beside() {
    let lab = Lab::start();
    lab.task("box", &["-e", "COLOR=red", "-w", "/tmp", "--hostname", "boxy"], &["sleep", "1000"]);
    let exec = |flags: &[&str], script: &str| lab.netmode(&[&["exec"], flags, &["box", "sh", "-c", script]].concat());
    assert_eq!(exec(&[], "exit 42").status, 42);
    let out = exec(&[], "echo out; echo err >&2").success();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(exec(&[], "echo $COLOR; pwd; hostname").success().stdout, "red\n/tmp\nboxy\n", "the container's own");
    let out = exec(&["-e", "SIZE=big", "-w", "/", "-u", "65534:65534"], "echo $SIZE; pwd; id -u; id -g").success();
    assert_eq!(out.stdout, "big\n/\n65534\n65534\n");
    assert_eq!(exec(&[], "kill -9 $$").status, 137);
    let inode = "readlink /proc/self/ns/net";
    assert_ne!(exec(&[], inode).stdout, lab.sh(inode));
    let left = lab.sh("ls /run/netmode/c/*/ | sort | uniq -c | sort -rn | head -3");
    assert!(!left.contains("exec"), "nothing of an exec stays: {left}");
}

#[test]
fn stop_asks_first_and_then_kills() {
    let lab = Lab::start();
    let polite = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let stubborn = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    for (name, script) in [("polite", polite), ("stubborn", stubborn)] {
        lab.task(name, &["-p", "80"], &["sh", "-c", script]);
        eventually("it is up", 5.0, || lab.netmode(&["logs", name]).stdout.contains("up"));
    }
    let start = Instant::now();
    lab.netmode(&["stop", "polite"]).success();
    assert!(start.elapsed() < Duration::from_secs(9), "it was asked, and not killed after ten: {:?}", start.elapsed());
    assert!(lab.netmode(&["logs", "polite"]).stdout.contains("bye"));
    let start = Instant::now();
    lab.netmode(&["stop", "-t", "1", "stubborn"]).success();
    let took = start.elapsed();
    assert!((900..9000).contains(&took.as_millis()), "after one second, not ten: {took:?}");
    for (name, code) in [("polite", 3), ("stubborn", 137)] {
        let view = lab.inspect(name);
        assert_eq!(view["containers"][0]["exitCode"], code, "{name}");
        assert!(view["stoppedAt"].is_string() && view["stoppedReason"].is_string(), "{view}");
        assert_eq!(lab.netmode(&["wait", name]).success().stdout.trim(), code.to_string());
    }
    assert_eq!(lab.json(&["port", "ls"]), serde_json::json!([]));
    lab.netmode(&["stop", "polite"]).success();
    assert_eq!(lab.sh("ip netns list | grep -c nm- || :").trim(), "0", "their namespaces are gone");
    eventually("their links are gone", 1.0, || {
        !lab.sh("ip -br link").contains("nm0") || !lab.sh("bridge link").contains("nm")
    });
}

#[test]
fn wait_waits() {
    let lab = Lab::start();
    lab.task("brief", &["-v", "/srv:/srv"], &["sh", "-c", "until [ -e /srv/end ]; do sleep 0.05; done; exit 4"]);
    let ended = || lab.read("/run/lab/wait").trim().to_owned();
    lab.spawn(&["netmode", "wait", "brief"], "/run/lab/wait");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((ended().as_str(), lab.inspect("brief")["state"].as_str()), ("", Some("RUNNING")), "it waits");
    lab.write("/srv/end", "");
    eventually("it has waited", 3.0, || ended() == "4");
    assert_eq!(lab.inspect("brief")["state"], "STOPPED");
}

#[test]
fn rm_removes_everything() {
    let lab = Lab::start();
    let files = || {
        lab.sh("cd / && find run/netmode var/lib/netmode -xdev ! -name 'lock*' ! -name netmode.sock ! -path '*networks*' | sort")
    };
    let before = files();
    let cgroups = || lab.sh("find /sys/fs/cgroup -type d -path '*netmode/*' | wc -l");
    let groups_before = cgroups();
    lab.task("one", &["-p", "8080:80"], &["sleep", "1000"]);
    lab.netmode(&["run", "--name", "two", "--rootfs", "/", "true"]).success();
    run_sh(&lab, &["--name", "three", "--rm"], "exit 1").exits(1);
    assert!(!lab.netmode(&["ps", "-a"]).stdout.contains("three"), "--rm");
    lab.netmode(&["run", "-d", "--name", "four", "--rm", "--rootfs", "/", "sleep", "0.2"]).success();
    eventually("--rm with -d", 5.0, || !lab.netmode(&["ps", "-a"]).stdout.contains("four"));
    lab.netmode(&["rm", "-f", "one", "two"]).success();
    assert_eq!(lab.json(&["ps", "-a"]), serde_json::json!([]));
    eventually("no link stays", 2.0, || {
        !lab.sh("ip -br link").lines().any(|l| l.starts_with("nm") && !l.starts_with("nm0 "))
    });
    assert_eq!(files(), before);
    assert_eq!(cgroups(), groups_before);
    assert_eq!(lab.sh("grep -c netmode/c /proc/self/mountinfo || :").trim(), "0");
    assert_eq!(lab.sh("pgrep -c 'conmon|sleep' || :").trim(), "0");
}

#[test]
fn limits_and_files_of_a_container() {
    let lab = Lab::start();
    lab.sh("mkdir /srv/data; echo A=1 >/srv/env; echo '# comment' >>/srv/env; echo B=two words >>/srv/env");
    let out =
        run_sh(&lab, &["--rm", "--env-file", "/srv/env", "-e", "C=3", "-e", "FROM_HERE"], "echo $A-$B-$C-$FROM_HERE");
    assert_eq!(out.success().stdout, "1-two words-3-\n");
    let out =
        lab.netmode_with(&["run", "--rm", "-e", "KEY", "--rootfs", "/", "sh", "-c", "echo $KEY"], "", &[("KEY", "v")]);
    assert_eq!(out.success().stdout, "v\n");
    run_sh(&lab, &["--rm", "--read-only"], "! touch /file 2>/dev/null").success();
    run_sh(&lab, &["--rm"], "touch /etc/changed && test -e /etc/changed").success();
    assert_eq!(lab.read("/etc/changed"), "", "the host's file system is untouched");
    assert!(!lab.has_file("/etc/changed"));
    let out = run_sh(&lab, &["--rm", "--ulimit", "nofile=123:456", "-u", "1234:1235"], "ulimit -n; id -u; id -g");
    assert_eq!(out.success().stdout, "123\n1234\n1235\n");
    let out = run_sh(&lab, &["--rm", "--init"], "ps -o comm= -p 1").success();
    assert_ne!(out.stdout.trim(), "sh", "an init of its own: {out:?}");
    let hungry = run_sh(&lab, &["--memory", "20m", "--name", "hungry"], "exec python3 -c 'bytearray(200000000)'");
    assert_eq!(hungry.status, 137, "{hungry:#?}");
    let forks = run_sh(&lab, &["--rm", "--pids-limit", "5"], "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait");
    assert!(forks.status != 0 || forks.stderr.to_lowercase().contains("fork"), "{forks:#?}");
}
