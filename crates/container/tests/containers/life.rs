//! The life of a container.

use crate::lab::{Lab, cgroups_of, lab, mounts_below, processes_with, soon, strings};
use netmode_container::{Config, ContainerError, Containers, Exit, Extent, State};
use netmode_model::Code;
use netmode_model::api::ExecRequest;
use std::time::{Duration, Instant};

#[tokio::test]
async fn exit_statuses_and_output_are_kept() {
    let lab = lab!("exit_statuses_and_output_are_kept");
    assert_eq!(lab.run(&lab.spec(&["true"])).await.0, 0);
    assert_eq!(lab.run(&lab.spec(&["false"])).await.0, 1);
    let (code, out, err) = lab.run(&lab.spec(&["sh", "-c", "echo out; echo err >&2; exit 42"])).await;
    assert_eq!((code, out.as_str(), err.as_str()), (42, "out\n", "err\n"));
}

#[tokio::test]
async fn states_follow_each_other() {
    let lab = lab!("states_follow_each_other");
    let spec = lab.spec(&["sleep", "60"]);
    let prepared = lab.containers.prepare(&lab.new_container(&spec)).unwrap();
    let id = prepared.id;
    assert_eq!(prepared.command, strings(&["sleep", "60"]));
    assert_eq!(lab.containers.state(id).unwrap(), State::Prepared);
    let pid = lab.containers.create(&prepared).unwrap();
    assert_eq!(lab.containers.state(id).unwrap(), State::Created(pid));
    lab.containers.start(id).unwrap();
    assert_eq!(lab.containers.state(id).unwrap(), State::Running(pid));
    assert_eq!(lab.containers.pid(id), Some(pid));
    assert_eq!(lab.end(id).await, Exit { code: 137, lost: false });
    assert_eq!(lab.containers.pid(id), None);
    assert_eq!(lab.containers.kill(id, 15).unwrap_err().code(), Code::WrongState);
    lab.containers.remove(id).unwrap();
    assert_eq!(lab.containers.state(id).unwrap_err().code(), Code::NotFound);
    lab.containers.remove(id).unwrap();
}

#[tokio::test]
async fn a_signal_ends_it_with_128_and_its_number() {
    let lab = lab!("a_signal_ends_it_with_128_and_its_number");
    let id = lab.start(&lab.spec(&["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"]));
    let mut logs = lab.containers.logs(id, Extent { follow: true, ..Extent::default() }).unwrap();
    assert_eq!(soon(logs.next()).await.unwrap().unwrap().bytes, b"ready\n");
    lab.containers.kill(id, netmode_container::signal("TERM").unwrap()).unwrap();
    assert_eq!(soon(lab.containers.wait(id)).await.unwrap().code, 7);
    let id = lab.start(&lab.spec(&["sleep", "60"]));
    assert_eq!(lab.end(id).await.code, 137);
    // The first process of a namespace ignores what it has no handler for, so a realtime signal needs one.
    let id = lab.start(&lab.spec(&["sh", "-c", "trap 'exit 9' 37; echo ready; while :; do sleep 0.1; done"]));
    let mut logs = lab.containers.logs(id, Extent { follow: true, ..Extent::default() }).unwrap();
    soon(logs.next()).await.unwrap();
    lab.containers.kill(id, netmode_container::signal("RTMIN+3").unwrap()).unwrap();
    assert_eq!(soon(lab.containers.wait(id)).await.unwrap().code, 9);
}

#[tokio::test]
async fn a_container_outlives_the_agent() {
    let lab = lab!("a_container_outlives_the_agent");
    let containers = lab.successor();
    let spec = lab.spec(&["sh", "-c", "sleep 1; echo late; exit 5"]);
    let prepared = containers.prepare(&lab.new_container(&spec)).unwrap();
    containers.create(&prepared).unwrap();
    containers.start(prepared.id).unwrap();
    drop(containers);
    let next = lab.successor();
    assert_eq!(next.list().unwrap(), [prepared.id]);
    assert!(matches!(next.state(prepared.id).unwrap(), State::Running(_)));
    assert_eq!(soon(next.wait(prepared.id)).await.unwrap(), Exit { code: 5, lost: false });
    assert_eq!(lab.output(prepared.id, None).await.0, "late\n");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let lab = lab!("nothing_is_left_behind");
    let mut spec = lab.spec(&["sh", "-c", "sleep 600 & sleep 600"]);
    (spec.rootfs, spec.memory, spec.pids_limit) = (Some("/".into()), Some(64 << 20), Some(50));
    spec.command[0] = "/bin/sh".into();
    let id = lab.start(&spec);
    assert!(!mounts_below(&lab.dir).is_empty());
    assert!(!processes_with(&id.to_string()).is_empty());
    assert!(!cgroups_of(id).is_empty());
    lab.containers.remove(id).unwrap();
    assert_eq!(mounts_below(&lab.dir), Vec::<String>::new());
    assert_eq!(processes_with(&id.to_string()), Vec::<String>::new());
    assert_eq!(cgroups_of(id), Vec::<std::path::PathBuf>::new());
    assert_eq!(lab.containers.list().unwrap(), []);
    assert_eq!(std::fs::read_dir(lab.dir.join("run/exits")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_killed_monitor_does_not_hide_the_end() {
    let lab = lab!("a_killed_monitor_does_not_hide_the_end");
    let id = lab.start(&lab.spec(&["sleep", "60"]));
    let file = lab.dir.join("run/c").join(id.to_string()).join("conmon.pid");
    let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), lab.containers.wait(id)).await.is_err());
    assert!(matches!(lab.containers.state(id).unwrap(), State::Running(_)));
    assert!(lab.end(id).await.lost);
    lab.containers.remove(id).unwrap();
}

#[tokio::test]
async fn many_wait_for_the_same_end() {
    let lab = lab!("many_wait_for_the_same_end");
    let id = lab.start(&lab.spec(&["sleep", "0.3"]));
    let waits: Vec<_> = (0..20)
        .map(|_| {
            let containers = lab.containers.clone();
            tokio::spawn(async move { soon(containers.wait(id)).await.unwrap().code })
        })
        .collect();
    for wait in waits {
        assert_eq!(wait.await.unwrap(), 0);
    }
}

#[tokio::test]
async fn commands_run_in_a_running_container() {
    let lab = lab!("commands_run_in_a_running_container");
    let id = lab.start(&lab.spec(&["sleep", "60"]));
    let run = async |command: &[&str], edit: &dyn Fn(&mut ExecRequest)| {
        let mut request = ExecRequest { command: strings(command), ..Default::default() };
        edit(&mut request);
        let (_input, mut output, end) = soon(lab.containers.exec(id, &request)).await?.split();
        let mut all = Vec::new();
        while let Some(chunk) = soon(output.next()).await.unwrap() {
            all.extend(chunk.bytes);
        }
        Ok::<_, netmode_container::ContainerError>((soon(end).await?, String::from_utf8(all).unwrap()))
    };
    assert_eq!(run(&["sh", "-c", "echo hi; exit 3"], &|_| {}).await.unwrap(), (3, "hi\n".into()));
    assert_eq!(run(&["sh", "-c", "kill -9 $$"], &|_| {}).await.unwrap().0, 137);
    let (_, who) = run(&["sh", "-c", "id -u; echo $A $HOME; pwd; grep CapBnd /proc/self/status"], &|r| {
        r.user = Some("web".into());
        r.env = strings(&["A=b"]);
        r.workdir = Some("/tmp".into());
    })
    .await
    .unwrap();
    assert_eq!(who, "33\nb /tmp\n/tmp\nCapBnd:\t00000000a80405fb\n");
    assert_eq!(run(&["nope"], &|_| {}).await.unwrap_err().code(), Code::CommandNotFound);
    assert_eq!(run(&["/plain"], &|_| {}).await.unwrap_err().code(), Code::CommandNotExecutable);
    assert_eq!(run(&["true"], &|r| r.user = Some("nobody".into())).await.unwrap_err().code(), Code::Invalid);
    lab.end(id).await;
    assert_eq!(run(&["true"], &|_| {}).await.unwrap_err().code(), Code::WrongState);
}

#[tokio::test]
async fn a_container_that_ended_can_run_again() {
    let lab = lab!("a_container_that_ended_can_run_again");
    let spec = lab.spec(&["sh", "-c", "echo run; sleep 0.2"]);
    let new = lab.new_container(&spec);
    for _ in 0..2 {
        let prepared = lab.containers.prepare(&new).unwrap();
        lab.containers.create(&prepared).unwrap();
        lab.containers.start(new.id).unwrap();
        assert_eq!(lab.containers.prepare(&new).unwrap_err().code(), Code::WrongState);
        assert_eq!(soon(lab.containers.wait(new.id)).await.unwrap().code, 0);
    }
    assert_eq!(lab.output(new.id, None).await.0, "run\nrun\n");
}

#[tokio::test]
async fn a_broken_runtime_does_not_stop_a_removal() {
    let lab = lab!("a_broken_runtime_does_not_stop_a_removal");
    let id = lab.start(&lab.spec(&["sleep", "600"]));
    let broken = Config { runtime: "/nonexistent/runc".into(), ..Lab::config(&lab.dir) };
    let error = Containers::new(broken).unwrap().remove(id).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/runc"), "{error}");
    assert_eq!(processes_with(&id.to_string()), Vec::<String>::new());
    assert_eq!(cgroups_of(id), Vec::<std::path::PathBuf>::new());
    lab.containers.remove(id).unwrap();
    assert_eq!(lab.containers.list().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once() {
    let lab = lab!("many_at_once");
    let spec = lab.spec(&["sh", "-c", "echo $0; exit 3"]);
    let news: Vec<_> = (0..16).map(|_| lab.new_container(&spec)).collect();
    std::thread::scope(|scope| {
        for new in &news {
            scope.spawn(|| {
                let prepared = lab.containers.prepare(new).unwrap();
                lab.containers.create(&prepared).unwrap();
                lab.containers.start(new.id).unwrap();
            });
        }
    });
    for new in &news {
        assert_eq!(soon(lab.containers.wait(new.id)).await.unwrap(), Exit { code: 3, lost: false });
        lab.containers.remove(new.id).unwrap();
    }
}

#[tokio::test]
async fn the_monitor_holds_nothing_of_the_agents() {
    let lab = lab!("the_monitor_holds_nothing_of_the_agents");
    let _held = std::fs::File::create(lab.dir.join("held")).unwrap();
    let id = lab.start(&lab.spec(&["sleep", "60"]));
    let file = lab.dir.join("run/c").join(id.to_string()).join("conmon.pid");
    let monitor = std::fs::read_to_string(file).unwrap().trim().to_owned();
    for pid in [monitor, lab.containers.pid(id).unwrap().to_string()] {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let targets: Vec<_> = fds.filter_map(|f| std::fs::read_link(f.path()).ok()).collect();
        assert!(!targets.iter().any(|t| t.ends_with("held")), "{targets:?}");
    }
}

/// What is awaited can be awaited on any thread.
#[test]
fn futures_can_move_between_threads() {
    fn movable<T: Send>(_: impl Fn(&'static Containers, netmode_model::Id) -> T) {}
    movable(|c, id| async move { c.wait(id).await });
    movable(|c, id| async move { c.attach(id).await });
    movable(|c, id| async move { c.exec(id, &ExecRequest::default()).await?.split().2.await });
    movable(|c, id| async move { c.logs(id, Extent { follow: true, ..Extent::default() })?.next().await });
    movable(|c, id| async move { c.attach(id).await?.output.next().await.map_err(|_| ContainerError::NotFound(id)) });
    movable(
        |c, id| async move { c.attach(id).await?.input.write(b"").await.map_err(|_| ContainerError::NotFound(id)) },
    );
}

/// Prints what a container costs; the figures go into the benchmark table.
#[tokio::test]
async fn a_container_is_there_soon() {
    let lab = lab!("a_container_is_there_soon");
    let mut all = Vec::new();
    for _ in 0..15 {
        let begin = Instant::now();
        let prepared = lab.containers.prepare(&lab.new_container(&lab.spec(&["true"]))).unwrap();
        let ready = begin.elapsed();
        lab.containers.create(&prepared).unwrap();
        let created = begin.elapsed();
        lab.containers.start(prepared.id).unwrap();
        let started = begin.elapsed();
        soon(lab.containers.wait(prepared.id)).await.unwrap();
        let ended = begin.elapsed();
        lab.containers.remove(prepared.id).unwrap();
        all.push([ready, created - ready, started - created, ended - started, ended, begin.elapsed() - ended]);
    }
    let median = |i: usize| {
        let mut column: Vec<Duration> = all.iter().map(|row| row[i]).collect();
        column.sort_unstable();
        column[column.len() / 2].as_secs_f64() * 1e3
    };
    println!(
        "p50 ms: prepare {:.1}, create {:.1}, start {:.1}, end {:.1}; together {:.1}; remove {:.1}",
        median(0),
        median(1),
        median(2),
        median(3),
        median(4),
        median(5)
    );
    assert!(median(4) < 2_000.0);
}
