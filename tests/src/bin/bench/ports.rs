//! Many ports in one request.

use crate::attach::complaints;
use crate::figures::{Figures, Report, Target};
use crate::machine::{Agent, host, namespaces, processes, within};
use crate::{Outcome, Size};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often each request is made.
const TIMES: usize = 9;

const RANGE: &str = "20000-34999:20000-34999";

pub(crate) fn many(_: &Size, report: &mut Report) -> Outcome<()> {
    host("ports")?;
    let agent = Agent::start("ports")?;
    let one = namespaces("ports", 1)?.remove(0);
    let before = processes()?;
    // Neighbouring ports would be asked for as a range: none is next to another.
    let thousand: Vec<String> = (0..1000).map(|n| format!("{}:{}", 20_000 + 2 * n, 1 + n)).collect();

    let single = repeat(&agent, &one, &["20000:80".into()])?;
    let took = repeat(&agent, &one, &thousand)?;
    report.aim(
        "attach with 1,000 distinct ports in one request, inside the agent, p50",
        took.median(),
        "ms",
        Target::AtMost(30.0),
    );
    let took = repeat(&agent, &one, &[RANGE.into()])?;
    let sockets = took.median() - single.median();
    report.aim(
        "a range of 15,000 ports, with its sockets (attach, less one with a single port), p50",
        sockets,
        "ms",
        Target::AtMost(200.0),
    );
    report.aim(
        "… its map element alone (the transaction, under strace)",
        element(&agent, &one)?,
        "ms",
        Target::AtMost(1.0),
    );
    agent.attach(&one, &[RANGE.into()])?;
    report.aim("processes for 15,000 published ports", (processes()? - before) as f64, "", Target::AtMost(0.0));
    agent.detach(&one)?;
    beyond(&agent, &one, report)?;
    complaints(&agent, report);
    Ok(())
}

fn repeat(agent: &Agent, netns: &str, ports: &[String]) -> Outcome<Figures> {
    let seen = agent.attached().len();
    for _ in 0..TIMES {
        agent.attach(netns, ports)?;
        agent.detach(netns)?;
        settle();
    }
    Ok(Figures::millis(agent.attached()[seen..].iter().map(|t| t.took)))
}

/// The kernel takes links and closed sockets away behind the answer.
fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}

/// Milliseconds of the one system call that carries the element of the range.
fn element(agent: &Agent, netns: &str) -> Outcome<f64> {
    const OUTPUT: &str = "/run/bench/strace";
    let pid = agent.pid().to_string();
    // In the agent's namespace, or it cannot tell what its netlink sockets speak.
    let mut strace = within("ports", "strace")
        .args(["-f", "-T", "-yy", "-e", "trace=sendto", "-o", OUTPUT, "-p", &pid])
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::sleep(Duration::from_millis(500));
    agent.attach(netns, &[RANGE.into()])?;
    std::thread::sleep(Duration::from_millis(100));
    // SIGTERM lets it detach from the agent; SIGKILL would, too, but lose what it has not written.
    Command::new("kill").arg(strace.id().to_string()).status()?;
    strace.wait()?;
    agent.detach(netns)?;
    settle();
    let text = std::fs::read_to_string(OUTPUT)?;
    let calls = calls(&text);
    let micros = calls.iter().filter(|(call, _)| call.contains("NEWSETELEM")).map(|(_, seconds)| seconds * 1e3);
    micros.reduce(f64::max).ok_or_else(|| format!("no element among {} calls", calls.len()).into())
}

/// Calls with their duration in seconds; the two halves of an interrupted line are put together.
fn calls(text: &str) -> Vec<(String, f64)> {
    let mut open = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (pid, call) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(begin) = call.strip_suffix("<unfinished ...>") {
            open.insert(pid.to_owned(), begin.to_owned());
            continue;
        }
        let seconds = call.rsplit_once('<').and_then(|(_, t)| t.trim_end_matches('>').parse().ok());
        let begun = if call.contains("resumed>") { open.remove(pid).unwrap_or_default() } else { String::new() };
        calls.extend(seconds.map(|s| (begun + call, s)));
    }
    calls
}

/// More ports than files may be open: refused, the limit named, nothing left.
fn beyond(agent: &Agent, netns: &str, report: &mut Report) -> Outcome<()> {
    let files = || std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).map(Iterator::count);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", agent.pid()))?;
    let limit: u64 = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .ok_or("no limit of open files")?;
    if limit > 60_000 {
        report.note(format!("The limit of open files is {limit}: more than there are ports, nothing to be refused."));
        return Ok(());
    }
    let before = files()?;
    let begun = Instant::now();
    let refused = agent.attach(netns, &[format!("1025-{0}:1025-{0}", 1024 + limit)]);
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let text = refused.err().ok_or("more ports than files may be open, and it was not refused")?.to_string();
    // The connection that asked is closed behind the answer.
    let begun = Instant::now();
    while files()? > before && begun.elapsed().as_secs() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let left = files()?.saturating_sub(before) as f64;
    let named = f64::from(u8::from(text.contains(&limit.to_string())));
    report.aim(
        format!("{limit} ports with {limit} open files: refused, limit named (1 = yes)"),
        named,
        "",
        Target::AtLeast(1.0),
    );
    report.tell("… refused after", took, "ms");
    report.aim("… files left open", left, "", Target::AtMost(0.0));
    report.note(format!("The refusal beyond the limit of open files: \"{text}\""));
    Ok(())
}
