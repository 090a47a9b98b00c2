//! Attach and detach of namespaces that somebody else made: one after the other, and by many clients at once.

use crate::figures::{Figures, Report, Target};
use crate::machine::{Agent, Links, Timed, host, namespaces, run};
use crate::{Outcome, Size};
use netmode_model::api::AttachReply;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clients at once.
const CLIENTS: usize = 32;

/// How many of the first and of the last are compared.
const NEIGHBOURHOOD: usize = 50;

/// Starts of an idle agent.
const STARTS: usize = 20;

pub(crate) fn in_sequence(size: &Size, report: &mut Report) -> Outcome<()> {
    host("seq")?;
    let mut agent = Agent::start("seq")?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        agent = agent.replace()?;
        starts.push(agent.ready);
    }
    report.aim(
        "agent ready, idle (from exec to the first answer), p50",
        Figures::millis(starts).median(),
        "ms",
        Target::AtMost(50.0),
    );
    report.aim("agent memory, idle", agent.memory()?, "MiB RSS", Target::AtMost(12.0));

    let versions = (0..STARTS).map(|_| {
        let begun = Instant::now();
        run(&["netmode", "--socket", "/run/bench/seq/netmode.sock", "version"]).map(|_| begun.elapsed())
    });
    let versions = Figures::millis(versions.collect::<Outcome<Vec<_>>>()?).median();
    report.aim("netmode version, from exec to its end, p50", versions, "ms", Target::AtMost(5.0));

    let names = namespaces("seq", size.endpoints)?;
    let mut whole = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let begun = Instant::now();
        agent.attach(name, &[format!("{}:80", 20_000 + n)])?;
        whole.push(begun.elapsed());
    }
    let took: Vec<Duration> = agent.attached().iter().map(|t| t.took).collect();
    let all = Figures::millis(took.iter().copied());
    report.tell("attach into a namespace that is there, 1 port, inside the agent, p50", all.median(), "ms");
    report.tell("… p99", all.p99(), "ms");
    report.tell("… as its client sees it, p50", Figures::millis(whole).median(), "ms");
    report.aim(growth_title(size.endpoints), growth(&took), "×", Target::AtMost(1.5));
    report.aim(format!("agent memory, {} endpoints", size.endpoints), agent.memory()?, "MiB RSS", Target::AtMost(40.0));

    let links = Links::follow("seq")?;
    let (one_by_one, rest) = names.split_at(names.len().min(200));
    for name in one_by_one {
        agent.detach(name)?;
    }
    let detached = agent.detached();
    links.wait_for(detached.len(), Duration::from_secs(5));
    report.tell("detach from somebody else's namespace, inside the agent, p50", median(&detached), "ms");
    report.tell("… until the link is gone, p99", Figures::millis(links.after(&detached)).p99(), "ms");
    let begun = Instant::now();
    at_once(rest, |name| agent.detach(name))?;
    if !rest.is_empty() {
        report.tell("detaches by 32 clients", rest.len() as f64 / begun.elapsed().as_secs_f64(), "/s");
    }
    complaints(&agent, report);
    Ok(())
}

pub(crate) fn in_parallel(size: &Size, report: &mut Report) -> Outcome<()> {
    host("par")?;
    let agent = Agent::start("par")?;
    let names = namespaces("par", size.endpoints)?;
    let begun = Instant::now();
    let replies = at_once(&names, |name| agent.attach(name, &["80".into()]));
    let elapsed = begun.elapsed();
    let replies = replies?;
    let distinct = |of: fn(&AttachReply) -> String| replies.iter().map(of).collect::<BTreeSet<_>>().len();
    let address = distinct(|r| format!("{:?}", r.networks[0].ipv4_addresses));
    let mac = distinct(|r| r.networks[0].mac_address.to_string());
    let port = distinct(|r| format!("{:?}", r.network_bindings[0].host_port));
    let twice = 3 * replies.len() - address - mac - port;
    let rate = replies.len() as f64 / elapsed.as_secs_f64();
    let what = format!("{} attaches by {CLIENTS} clients at once", names.len());
    report.aim(format!("{what}: rate"), rate, "/s", Target::AtLeast(400.0));
    report.aim(format!("{what}: failed"), (names.len() - replies.len()) as f64, "", Target::AtMost(0.0));
    report.aim(format!("{what}: address, MAC or port given twice"), twice as f64, "", Target::AtMost(0.0));
    complaints(&agent, report);
    Ok(())
}

/// Does it for all by [`CLIENTS`] threads. Fails if any does, with the first reason and the number.
pub(crate) fn at_once<T: Send>(names: &[String], act: impl Fn(&str) -> Outcome<T> + Sync) -> Outcome<Vec<T>> {
    let next = AtomicUsize::new(0);
    let client = || {
        let mine = std::iter::from_fn(|| names.get(next.fetch_add(1, Ordering::Relaxed)));
        mine.map(|name| act(name)).collect::<Vec<_>>()
    };
    let answers: Vec<Outcome<T>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|c| c.join().unwrap_or_default()).collect()
    });
    let (done, failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    match failed.into_iter().find_map(Result::err) {
        Some(first) => {
            Err(format!("{} of {} failed, the first: {first}", names.len() - done.len(), names.len()).into())
        }
        None => Ok(done.into_iter().flatten().collect()),
    }
}

/// The median of the last ones as a multiple of the first ones'.
pub(crate) fn growth(took: &[Duration]) -> f64 {
    let few = NEIGHBOURHOOD.min(took.len().div_ceil(2));
    let median = |of: &[Duration]| Figures::millis(of.iter().copied()).median();
    median(&took[took.len() - few..]) / median(&took[..few])
}

pub(crate) fn growth_title(count: usize) -> String {
    format!("… the {count}th attach as a multiple of the first (medians of {NEIGHBOURHOOD} each)")
}

pub(crate) fn median(timed: &[Timed]) -> f64 {
    Figures::millis(timed.iter().map(|t| t.took)).median()
}

/// What the agent warned of does not belong into a good run.
pub(crate) fn complaints(agent: &Agent, report: &mut Report) {
    if let [first, ..] = &agent.complaints()[..] {
        report.note(format!("The agent complained {} times, first: `{first}`", agent.complaints().len()));
    }
}
