//! Metrics of many endpoints: how long one scrape takes, and what it costs those who attach meanwhile.

use crate::attach::{at_once, complaints};
use crate::figures::{Figures, Report, Target};
use crate::machine::{Agent, HOST, Links, host, namespaces, run};
use crate::{Outcome, Size};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Scrapes that are timed.
const SCRAPES: usize = 200;

/// Attaches that are timed with a scrape always going on, and without.
const ATTACHES: usize = 50;

pub(crate) fn scraped(size: &Size, report: &mut Report) -> Outcome<()> {
    host("met")?;
    let agent = Agent::start("met")?;
    let at_rest = agent.memory()?;
    let names = namespaces("met", size.endpoints)?;
    at_once(&names, |name| agent.attach(name, &["80".into()]))?;
    let text = agent.client.metrics()?;
    let listed = text.lines().filter(|l| l.starts_with("netmode_task_receive_bytes_total{")).count();
    if listed != names.len() {
        return Err(format!("{listed} of {} endpoints are told", names.len()).into());
    }
    let before = agent.memory()?;
    let scrapes = scrapes_of(&agent)?;
    let what = format!("metrics of {} endpoints scraped, as the client sees it", names.len());
    report.aim(format!("{what}, p50"), scrapes.median(), "ms", Target::AtMost(20.0));
    report.aim("… p99", scrapes.p99(), "ms", Target::AtMost(20.0));
    // With a single connection the kernel's whole table of them is walked.
    run(&["nsenter", "--net=/run/netns/met-lan", "ping", "-qc1", HOST])?;
    report.aim("… with connections to count, p50", scrapes_of(&agent)?.median(), "ms", Target::AtMost(20.0));
    report.tell("… length", text.len() as f64 / 1024.0, "KiB");
    report.tell("… memory that the scrapes left", agent.memory()? - before, "MiB RSS");
    report.tell("… agent memory, idle, before any of it", at_rest, "MiB RSS");
    // A bridge has room for few more.
    let (first, second) = names[..names.len().min(2 * ATTACHES)].split_at(names.len().min(2 * ATTACHES) / 2);
    let links = Links::follow("met")?;
    first.iter().chain(second).try_for_each(|name| agent.detach(name))?;
    links.wait_for(first.len() + second.len(), Duration::from_secs(5));
    let alone = attaches(&agent, first)?;
    let ended = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let another = || (!ended.load(Ordering::Relaxed)).then(|| agent.client.metrics().map(drop));
            std::iter::from_fn(another).take_while(Result::is_ok).count()
        });
        let beside = attaches(&agent, second);
        ended.store(true, Ordering::Relaxed);
        let scrapes = scraper.join().unwrap_or_default();
        if scrapes == 0 { Err("nothing was scraped beside the attaches".into()) } else { beside }
    })?;
    report.tell("… an attach while scrapes follow each other, as a multiple of alone, p50", beside / alone, "×");
    complaints(&agent, report);
    Ok(())
}

fn scrapes_of(agent: &Agent) -> Outcome<Figures> {
    let scrapes = (0..SCRAPES).map(|_| timed(|| agent.client.metrics().map(drop).map_err(Into::into)));
    Ok(Figures::millis(scrapes.collect::<Outcome<Vec<_>>>()?))
}

fn timed(act: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let begun = Instant::now();
    act()?;
    Ok(begun.elapsed())
}

/// The median of some attaches, one after the other, as their client sees it; in milliseconds.
fn attaches(agent: &Agent, names: &[String]) -> Outcome<f64> {
    let all = names.iter().map(|name| timed(|| agent.attach(name, &["80".into()]).map(drop)));
    Ok(Figures::millis(all.collect::<Outcome<Vec<_>>>()?).median())
}
