//! Tasks with an interface of their own: how long one takes, what a change of a group costs that many carry, and how
//! fast packets are in every mode, beside host mode in the same run.

use crate::attach::{complaints, growth};
use crate::figures::{Figures, Report, Target, short};
use crate::flows::{Server, itself};
use crate::machine::{Agent, HOST, host, namespaces};
use crate::{Outcome, Size};
use netmode_model::api::{AttachRequest, NetOptions, NetnsRef};
use netmode_model::group::{Direction, GroupRequest, RulesRequest, Traffic};
use netmode_model::vpc::SubnetRequest;
use netmode_model::{PortRange, RequestedMode};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Tasks that carry the group, and that are on one parent.
const TASKS: usize = 200;

/// Changes of the group that are timed.
const CHANGES: u16 = 20;

/// Name of the group.
pub(crate) const GROUP: &str = "web";

/// `bench drain ADDRESS`: takes whatever comes.
pub(crate) fn drain(at: &str) -> Outcome<()> {
    let listener = TcpListener::bind(at)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let (mut stream, _) = listener.accept()?;
        while stream.read(&mut buffer)? > 0 {}
    }
}

/// `bench pour ADDRESS SECONDS`: prints MiB per second.
pub(crate) fn pour(to: &str, seconds: &str) -> Outcome<()> {
    let time = Duration::from_secs_f64(seconds.parse()?);
    let mut stream = TcpStream::connect(to)?;
    let buffer = vec![0; 1 << 17];
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < time {
        sent += stream.write(&buffer)?;
    }
    println!("{}", sent as f64 / begun.elapsed().as_secs_f64() / f64::from(1 << 20));
    Ok(())
}

/// An agent with a subnet on this stand-in, and a group that lets everything in.
pub(crate) fn vpc(name: &str, backend: &str) -> Outcome<Agent> {
    host(name)?;
    let agent = Agent::start(name)?;
    let cidr = if backend == "macvlan" { "192.0.2.0/24" } else { "10.9.0.0/20" };
    let request = SubnetRequest {
        name: Some("tasks".parse()?),
        cidr: Some(cidr.parse()?),
        ip_range: if backend == "macvlan" { Some("192.0.2.16/28".parse()?) } else { None },
        backend: backend.parse()?,
        ..SubnetRequest::default()
    };
    let many = SubnetRequest { cidr: Some("10.9.0.0/20".parse()?), ip_range: None, ..request.clone() };
    // As many as are wanted do not fit on the neighbour's prefix.
    let request = if name.ends_with("-many") { many } else { request };
    agent.client.create_subnet(&request)?;
    agent.client.create_group(&GroupRequest { group_name: GROUP.into(), ..GroupRequest::default() })?;
    let everybody = RulesRequest { cidrs: vec!["0.0.0.0/0".parse()?], ..RulesRequest::default() };
    agent.client.authorize(GROUP, &everybody)?;
    Ok(agent)
}

/// Attaches a namespace to the subnet; gives its address.
fn attach(agent: &Agent, netns: &str) -> Outcome<String> {
    let net =
        NetOptions { subnets: vec!["tasks".into()], security_groups: vec![GROUP.into()], ..NetOptions::default() };
    let request = AttachRequest {
        owner: netns.into(),
        netns: NetnsRef::Fd(0),
        interface: None,
        mode: RequestedMode::Awsvpc,
        network: None,
        net,
    };
    let file = File::open(format!("/run/netns/{netns}"))?;
    let reply = agent.client.attach_netns(&request, file.as_fd())?;
    Ok(reply.networks[0].ipv4_addresses[0].ip().to_string())
}

pub(crate) fn measured(size: &Size, report: &mut Report) -> Outcome<()> {
    let tasks = TASKS.min(size.endpoints);
    for backend in ["macvlan", "veth"] {
        let name = format!("v{}-many", &backend[..1]);
        let agent = vpc(&name, backend)?;
        for netns in namespaces(&name, tasks)? {
            attach(&agent, &netns)?;
        }
        let took: Vec<Duration> = agent.attached().iter().map(|t| t.took).collect();
        let all = Figures::millis(took.iter().copied());
        let what = format!("awsvpc attach, {backend}, one security group, inside the agent, p50");
        report.aim(what, all.median(), "ms", Target::AtMost(5.0));
        report.tell("… p99", all.p99(), "ms");
        let what = format!("… the {tasks}th on one parent as a multiple of the first (medians of 50 each)");
        report.aim(what, growth(&took), "×", Target::AtMost(1.5));
        let what = format!("changing a group that {tasks} tasks carry, as its client sees it, p50");
        let cidr = RulesRequest { cidrs: vec!["198.51.100.0/24".parse()?], ..RulesRequest::default() };
        report.aim(what, changes(&agent, &cidr)?, "ms", Target::AtMost(20.0));
        let group = RulesRequest { groups: vec![GROUP.into()], ..RulesRequest::default() };
        let what =
            format!("… by a rule that names the group itself, so that each task hears of {tasks} addresses, p50");
        report.tell(what, changes(&agent, &group)?, "ms");
        complaints(&agent, report);
    }
    packets(size, report)
}

/// The median of adding and taking rules, in milliseconds.
fn changes(agent: &Agent, peer: &RulesRequest) -> Outcome<f64> {
    let mut took = Vec::new();
    for port in 1..=CHANGES {
        let rule = RulesRequest {
            direction: Direction::Ingress,
            traffic: PortRange::single(port).map(Traffic::Tcp),
            ..peer.clone()
        };
        let begun = Instant::now();
        agent.client.authorize(GROUP, &rule)?;
        took.push(begun.elapsed());
        let begun = Instant::now();
        agent.client.revoke(GROUP, &rule)?;
        took.push(begun.elapsed());
    }
    Ok(Figures::millis(took).median())
}

/// A way from the neighbour to a server.
struct Way {
    mode: &'static str,
    from: String,
    to: String,
    micros: Vec<f64>,
    slowest: Vec<f64>,
    rates: Vec<f64>,
}

fn packets(size: &Size, report: &mut Report) -> Outcome<()> {
    let way = |mode, host: &str, to: String| Way {
        mode,
        from: format!("{host}-lan"),
        to,
        micros: vec![],
        slowest: vec![],
        rates: vec![],
    };
    host("ph")?;
    let host_agent = Agent::start("ph")?;
    let container = namespaces("ph", 1)?.remove(0);
    let ports = ["9000:9000/udp".into(), "9001:9001/tcp".into()];
    let inside = host_agent.attach(&container, &ports)?.networks[0].ipv4_addresses[0].ip().to_string();
    let mut agents = Vec::new();
    let mut ways =
        vec![way("host", "ph", "192.0.2.1:9100".into()), way("bridge, published", "ph", format!("{HOST}:9000"))];
    let mut servers = Vec::new();
    for (netns, base) in [("ph", 9100), (container.as_str(), 9000)] {
        servers.push(Server(itself(netns, "1").args(["echo", &format!("0.0.0.0:{base}")]).spawn()?));
        servers.push(Server(itself(netns, "1").args(["drain", &format!("0.0.0.0:{}", base + 1)]).spawn()?));
    }
    for backend in ["macvlan", "veth"] {
        let name = format!("p{}", &backend[..1]);
        let agent = vpc(&name, backend)?;
        let netns = namespaces(&name, 1)?.remove(0);
        let to = attach(&agent, &netns)?;
        for (program, port) in [("echo", 9000), ("drain", 9001)] {
            servers.push(Server(itself(&netns, "1").args([program, &format!("0.0.0.0:{port}")]).spawn()?));
        }
        let mode = if backend == "macvlan" { "awsvpc, macvlan" } else { "awsvpc, veth" };
        ways.push(way(mode, &name, format!("{to}:9000")));
        agents.push(agent);
    }
    // From a neighbour on the same bridge: no translation.
    let sibling = {
        std::process::Command::new("ip").args(["netns", "add", "ph-sibling-lan"]).status()?;
        host_agent.attach("ph-sibling-lan", &[])?;
        way("bridge, direct", "ph-sibling", format!("{inside}:9000"))
    };
    ways.push(sibling);
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..size.flows {
        for way in &mut ways {
            let told = |words: &[&str]| -> Outcome<Vec<f64>> {
                let client = itself(&way.from, "0").args(words).output()?;
                let text = String::from_utf8_lossy(&client.stdout).into_owned();
                let numbers: Vec<f64> = text.split_whitespace().filter_map(|w| w.parse().ok()).collect();
                if numbers.is_empty() {
                    return Err(format!("{}: {}", way.mode, String::from_utf8_lossy(&client.stderr)).into());
                }
                Ok(numbers)
            };
            let trips = told(&["trips", &way.to, "4000"])?;
            way.micros.push(trips[0]);
            way.slowest.push(trips.get(1).copied().unwrap_or(f64::NAN));
            let (address, port) = way.to.rsplit_once(':').unwrap_or_default();
            let stream = format!("{address}:{}", port.parse::<u16>()? + 1);
            way.rates.push(told(&["pour", &stream, "1"])?[0]);
        }
    }
    let median = |all: &[f64]| all.iter().copied().collect::<Figures>().median();
    let first = &ways[0];
    let base = [median(&first.micros), median(&first.slowest), median(&first.rates)];
    let row = |way: &Way| {
        let own = [median(&way.micros), median(&way.slowest), median(&way.rates)];
        let pair = |n: usize, unit: &str| format!("{} {unit} ({} x)", short(own[n]), short(own[n] / base[n]));
        let bar = "#".repeat((20.0 * own[2] / base[2]).round().clamp(1.0, 40.0) as usize);
        vec![way.mode.to_owned(), pair(0, "us"), pair(1, "us"), pair(2, "MiB/s"), format!("`{bar}`")]
    };
    let head = ["mode", "round trip, p50", "round trip, p99", "one TCP stream", "the stream as a picture"];
    report.table(
        "Every mode from a neighbour, and as a multiple of host mode in the same run",
        &head,
        ways.iter().map(row).collect(),
    );
    drop(servers);
    drop(agents);
    Ok(())
}
