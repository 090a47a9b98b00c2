//! Beside another firewall, whose many rules drop what they do not know: what that costs us, as multiples of what the same
//! takes on a host of its own. Both hosts take turns.

use crate::attach::{at_once, complaints};
use crate::figures::{Figures, Report, Target};
use crate::flows::feed;
use crate::machine::{Agent, host, namespaces};
use crate::{Outcome, Size};
use netmode_model::NetworkRequest;
use std::time::{Duration, Instant};

/// Rules of the other firewall.
const RULES: usize = 1000;

/// Starts of an agent, and networks of each kind.
const TURNS: usize = 20;

/// Ports of one request.
const PORTS: u16 = 1000;

/// A host, its agent, and the namespaces that are there to be attached.
struct Side {
    agent: Option<Agent>,
    names: Vec<String>,
}

impl Side {
    fn new(name: &str, count: usize) -> Outcome<Self> {
        host(name)?;
        if name == "fw1" {
            feed(name, "iptables-restore", &[], &rules(|n| format!("10.{}.{}.0/24", n / 250, n % 250)))?;
            feed(name, "ip6tables-restore", &[], &rules(|n| format!("2001:db8:{n:x}::/64")))?;
        }
        Ok(Self { agent: Some(Agent::start(name)?), names: namespaces(name, count)? })
    }

    fn agent(&self) -> Outcome<&Agent> {
        Ok(self.agent.as_ref().ok_or("the agent is being replaced")?)
    }
}

fn rules(source: impl Fn(usize) -> String) -> String {
    let rules: String = (0..RULES).map(|n| format!("-A FORWARD -s {} -j DROP\n", source(n))).collect();
    format!("*filter\n:FORWARD DROP [0:0]\n{rules}COMMIT\n")
}

pub(crate) fn beside(size: &Size, report: &mut Report) -> Outcome<()> {
    let count = size.endpoints.min(200);
    let mut sides = ["fw0", "fw1"].map(|name| Side::new(name, 2 * count)).into_iter().collect::<Outcome<Vec<_>>>()?;

    let ready = in_turns(&mut sides, TURNS, |side, _| {
        let agent = side.agent.take().ok_or("no agent")?.replace()?;
        let ready = agent.ready;
        side.agent = Some(agent);
        Ok(ready)
    })?;
    tell(report, "agent ready, idle", &ready);
    let attach = in_turns(&mut sides, count, |side, n| {
        timed(|| side.agent()?.attach(&side.names[n], &[format!("{}:80", 20_000 + n)]))
    })?;
    tell(report, "attach with 1 port", &attach);
    for ipv6 in [false, true] {
        let create = in_turns(&mut sides, TURNS, |side, n| {
            let name = Some(format!("net{}{n}", if ipv6 { "six" } else { "" }).parse()?);
            let request = NetworkRequest { name, ipv6, ..NetworkRequest::default() };
            timed(|| Ok(side.agent()?.client.create_network(&request)?))
        })?;
        tell(report, if ipv6 { "network create --ipv6" } else { "network create" }, &create);
        let both = create.iter().map(|of| Figures::millis(of.iter().copied()).median());
        report.aim("… of both the slower, p50", both.fold(0.0, f64::max), "ms", Target::AtMost(5.0));
    }
    let ports: Vec<String> = (0..PORTS).map(|n| format!("{}:{}", 30_000 + 2 * n, 1 + n)).collect();
    let many = in_turns(&mut sides, 5, |side, _| {
        let name = &side.names[count - 1];
        side.agent()?.detach(name)?;
        let took = timed(|| side.agent()?.attach(name, &ports))?;
        side.agent()?.detach(name)?;
        side.agent()?.attach(name, &[])?;
        Ok(took)
    })?;
    tell(report, &format!("attach with {PORTS} distinct ports"), &many);
    let parallel = in_turns(&mut sides, 1, |side, _| {
        let agent = side.agent()?;
        timed(|| at_once(&side.names[count..], |name| agent.attach(name, &["80".into()])))
    })?;
    tell(report, &format!("{count} attaches by 32 clients at once"), &parallel);
    for side in &sides {
        complaints(side.agent()?, report);
    }
    Ok(())
}

fn timed<T>(act: impl FnOnce() -> Outcome<T>) -> Outcome<Duration> {
    let begun = Instant::now();
    act()?;
    Ok(begun.elapsed())
}

fn in_turns(
    sides: &mut [Side],
    turns: usize,
    mut act: impl FnMut(&mut Side, usize) -> Outcome<Duration>,
) -> Outcome<Vec<Vec<Duration>>> {
    let mut took = vec![Vec::new(); sides.len()];
    for n in 0..turns {
        for (side, took) in sides.iter_mut().zip(&mut took) {
            took.push(act(side, n)?);
        }
    }
    Ok(took)
}

fn tell(report: &mut Report, what: &str, took: &[Vec<Duration>]) {
    let medians: Vec<f64> = took.iter().map(|of| Figures::millis(of.iter().copied()).median()).collect();
    if let [alone, beside] = medians[..] {
        report.tell(format!("{what} beside a firewall of {RULES} rules, as a multiple of alone"), beside / alone, "×");
    }
}
