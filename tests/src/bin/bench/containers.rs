//! Containers: attach with a namespace of its own, detach, memory, and the start of an agent that finds them.

use crate::attach::{complaints, growth, growth_title, median};
use crate::figures::{Figures, Report, Target};
use crate::machine::{Agent, Links, host, processes, run};
use crate::{Outcome, Size};
use netmode_model::RequestedMode;
use netmode_model::api::{ContainerSpec, NetOptions, NetworkRef, RunRequest};
use std::time::{Duration, Instant};

/// A root directory with busybox in it.
pub(crate) const ROOT: &str = "/srv/bench/root";

/// Starts of an agent that finds them all.
const STARTS: usize = 5;

/// Between two containers.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn many(size: &Size, report: &mut Report) -> Outcome<()> {
    root()?;
    host("con")?;
    let mut agent = Agent::start("con")?;
    let before = processes()?;
    let mut ids = Vec::new();
    let mut each = Vec::new();
    for n in 0..size.containers {
        let begun = Instant::now();
        ids.push(agent.client.create(&request(20_000 + n)?, true)?.id.to_string());
        each.push(begun.elapsed());
        // The attach is what is measured, not what the runtime before it still has to do.
        std::thread::sleep(PAUSE);
    }
    let took: Vec<Duration> = agent.attached().iter().map(|t| t.took).collect();
    let all = Figures::millis(took.iter().copied());
    let what = "attach in bridge mode, namespace included, 1 port, inside the agent";
    report.aim(format!("{what}, p50"), all.median(), "ms", Target::AtMost(2.0));
    report.aim("… p99", all.p99(), "ms", Target::AtMost(10.0));
    report.aim(growth_title(ids.len()), growth(&took), "×", Target::AtMost(1.5));
    report.tell(
        "the whole of making and starting a container (runc, conmon), p50",
        Figures::millis(each).median(),
        "ms",
    );
    let more = (processes()? - before) as f64 / ids.len() as f64;
    report.aim("processes for each container (conmon and its own)", more, "", Target::AtMost(2.0));
    report.tell(format!("agent memory, {} containers run", ids.len()), agent.memory()?, "MiB RSS");

    let mut starts = Vec::new();
    for _ in 0..STARTS {
        agent = agent.replace()?;
        starts.push(agent.ready);
    }
    let ready = Figures::millis(starts).median();
    report.aim(
        format!("agent killed; its successor ready, {} containers to adopt, p50", ids.len()),
        ready,
        "ms",
        Target::AtMost(300.0),
    );
    report.aim(
        format!("agent memory, {} containers adopted", ids.len()),
        agent.memory()?,
        "MiB RSS",
        Target::AtMost(40.0),
    );
    let standing = agent.client.tasks(false)?.len();
    report.aim("containers lost by that", (ids.len() - standing) as f64, "", Target::AtMost(0.0));

    remove(&agent, &ids, report)?;
    complaints(&agent, report);
    Ok(())
}

/// A fifth of them one after the other, the others by a few clients.
fn remove(agent: &Agent, ids: &[String], report: &mut Report) -> Outcome<()> {
    let links = Links::follow("con")?;
    let (first, rest) = ids.split_at(ids.len().div_ceil(5));
    for id in first {
        agent.client.remove(id, true)?;
    }
    let detached = agent.detached();
    links.wait_for(detached.len(), Duration::from_secs(5));
    let after = links.after(&detached);
    report.aim("detach, namespace included, inside the agent, p50", median(&detached), "ms", Target::AtMost(1.0));
    report.aim(
        "… until the link is gone, p99",
        Figures::millis(after.iter().copied()).p99(),
        "ms",
        Target::AtMost(100.0),
    );
    report.aim("… links that stayed", (detached.len() - after.len()) as f64, "", Target::AtMost(0.0));
    std::thread::scope(|scope| {
        for share in rest.chunks(rest.len().div_ceil(4).max(1)) {
            scope.spawn(move || share.iter().for_each(|id| drop(agent.client.remove(id, true))));
        }
    });
    Ok(())
}

/// Makes [`ROOT`], once.
pub(crate) fn root() -> Outcome<()> {
    if std::fs::exists(ROOT)? {
        return Ok(());
    }
    for dir in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        std::fs::create_dir_all(format!("{ROOT}/{dir}"))?;
    }
    run(&["cp", "/bin/busybox", &format!("{ROOT}/bin/busybox")])?;
    for name in ["sleep", "true"] {
        std::os::unix::fs::symlink("busybox", format!("{ROOT}/bin/{name}"))?;
    }
    Ok(())
}

fn request(port: usize) -> Outcome<RunRequest> {
    Ok(RunRequest {
        network: NetworkRef::Mode(RequestedMode::Bridge),
        net: NetOptions { ports: vec![format!("{port}:80").parse()?], ..NetOptions::default() },
        container: ContainerSpec {
            rootfs: Some(ROOT.into()),
            command: ["/bin/sleep", "1000000"].map(String::from).to_vec(),
            ..ContainerSpec::default()
        },
        ..RunRequest::default()
    })
}
