//! Many networks: how long each takes, and what they cost a packet.
//!
//! Round trips are datagrams between the neighbour of a host and a container, by a published port and by the way out,
//! measured on a host with the default network alone and on one with many, in turns.

use crate::attach::{complaints, growth};
use crate::figures::{Figures, Report, Target};
use crate::flows::{Server, itself};
use crate::machine::{Agent, HOST, host, namespaces};
use crate::{Outcome, Size};
use netmode_model::NetworkRequest;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Networks at once, the default one included.
const NETWORKS: usize = 200;

/// Round trips of one measurement; the median of them counts.
const TRIPS: &str = "4000";

/// Measurements of each way for every round of connection rates.
const TURNS: usize = 6;

/// The neighbour's address.
const LAN: &str = "192.0.2.9";

/// `bench echo ADDRESS`
pub(crate) fn echo(at: &str) -> Outcome<()> {
    let socket = UdpSocket::bind(at)?;
    let mut datagram = [0; 64];
    loop {
        let (length, from) = socket.recv_from(&mut datagram)?;
        socket.send_to(&datagram[..length], from)?;
    }
}

/// `bench trips ADDRESS COUNT`
pub(crate) fn trips(to: &str, count: &str) -> Outcome<()> {
    let to: SocketAddr = to.parse()?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let trip = || -> Outcome<f64> {
        let begun = Instant::now();
        socket.send(b"there and back")?;
        socket.recv(&mut [0; 64])?;
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    };
    let all = (0..count.parse::<usize>()?).map(|_| trip()).collect::<Outcome<Vec<_>>>()?;
    let all: Figures = all.into_iter().collect();
    println!("{} {}", all.median(), all.p99());
    Ok(())
}

/// A way between a container and the neighbour of a host.
struct Way {
    from: String,
    to: String,
    micros: Vec<f64>,
}

pub(crate) fn many(size: &Size, report: &mut Report) -> Outcome<()> {
    let (mut agents, mut servers, mut ways) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["na", "nb"] {
        host(name)?;
        agents.push(Agent::start(name)?);
        let container = namespaces(name, 1)?.remove(0);
        agents[agents.len() - 1].attach(&container, &["9000:9000/udp".into()])?;
        let lan = format!("{name}-lan");
        for (netns, cpu) in [(&container, "1"), (&lan, "0")] {
            servers.push(Server(itself(netns, cpu).args(["echo", "0.0.0.0:9000"]).spawn()?));
        }
        ways.push(Way { from: lan, to: format!("{HOST}:9000"), micros: vec![] });
        ways.push(Way { from: container, to: format!("{LAN}:9000"), micros: vec![] });
    }
    create(&agents[1], report)?;
    for _ in 0..size.flows * TURNS {
        for way in &mut ways {
            let cpu = if way.from.ends_with("-lan") { "0" } else { "1" };
            let client = itself(&way.from, cpu).args(["trips", &way.to, TRIPS]).output()?;
            let told = String::from_utf8_lossy(&client.stdout).into_owned();
            let micros = told.split_whitespace().next().unwrap_or_default().parse::<f64>();
            way.micros.push(micros.map_err(|_| format!("{}: {}", way.to, String::from_utf8_lossy(&client.stderr)))?);
        }
    }
    let [published, out, published_many, out_many] = &ways[..] else { return Err("two ways for each host".into()) };
    let median = |way: &Way| way.micros.iter().copied().collect::<Figures>().median();
    for (what, one, all) in [("a published port", published, published_many), ("the way out", out, out_many)] {
        report.tell(format!("round trip by {what}, 1 network"), median(one), "µs");
        let ratio = median(all) / median(one);
        report.aim(format!("… {NETWORKS} networks, as a multiple of that"), ratio, "×", Target::AtMost(1.03));
    }
    agents.iter().for_each(|agent| complaints(agent, report));
    drop(servers);
    Ok(())
}

fn create(agent: &Agent, report: &mut Report) -> Outcome<()> {
    let mut took = Vec::new();
    for n in 1..NETWORKS {
        let name = Some(format!("net{n}").parse()?);
        let begun = Instant::now();
        agent.client.create_network(&NetworkRequest { name, ..NetworkRequest::default() })?;
        took.push(begun.elapsed());
    }
    let all = Figures::millis(took.iter().copied());
    report.aim("network create, as its client sees it, p50", all.median(), "ms", Target::AtMost(5.0));
    report.tell("… p99", all.p99(), "ms");
    report.tell(format!("… the {NETWORKS}th network as a multiple of the first"), growth(&took), "×");
    Ok(())
}
