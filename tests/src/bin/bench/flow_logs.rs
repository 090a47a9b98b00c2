//! What a flow log costs: new connections a second to a task that has one, beside one that has none.

use crate::attach::complaints;
use crate::awsvpc::{GROUP, vpc};
use crate::containers::{ROOT, root};
use crate::figures::{Figures, Report, Target, short};
use crate::flows::{Server, itself};
use crate::machine::Agent;
use crate::{Outcome, Size};
use netmode_model::RequestedMode;
use netmode_model::api::{ContainerSpec, NetOptions, NetworkRef, RunRequest};
use netmode_model::flowlog::FlowLogRequest;
use std::process::Stdio;
use std::time::Duration;

/// How long one measurement takes.
const SECONDS: &str = "2";

/// A task that is connected to.
struct Way {
    host: &'static str,
    to: String,
    rates: Vec<f64>,
}

/// A task with an ENI: its namespace and its address.
fn task(agent: &Agent) -> Outcome<(String, String)> {
    let request = RunRequest {
        network: NetworkRef::Mode(RequestedMode::Awsvpc),
        net: NetOptions { subnets: vec!["tasks".into()], security_groups: vec![GROUP.into()], ..NetOptions::default() },
        container: ContainerSpec {
            rootfs: Some(ROOT.into()),
            command: ["busybox", "sleep", "3600"].map(String::from).into(),
            ..ContainerSpec::default()
        },
        ..RunRequest::default()
    };
    let id = agent.client.create(&request, true)?.id.to_string();
    let view = agent.client.task(&id)?;
    let netns = view.netns.unwrap_or_default().trim_start_matches("/run/netns/").to_owned();
    Ok((netns, view.networks[0].ipv4_addresses[0].ip().to_string()))
}

pub(crate) fn cost(size: &Size, report: &mut Report) -> Outcome<()> {
    root()?;
    for (backend, hosts) in [("veth", ["gva", "gvb"]), ("macvlan", ["gma", "gmb"])] {
        let mut ways = Vec::new();
        let (mut agents, mut tasks) = (Vec::new(), Vec::new());
        for (host, logged) in hosts.into_iter().zip([false, true]) {
            let agent = vpc(host, backend)?;
            if logged {
                let to = "file:/run/bench-flow.log".to_owned();
                let request = FlowLogRequest { log_destination: to, ..FlowLogRequest::default() };
                agent.client.create_flow_log(&request)?;
            }
            let (netns, address) = task(&agent)?;
            tasks.push(netns);
            ways.push(Way { host, to: format!("{address}:80"), rates: Vec::new() });
            agents.push(agent);
        }
        // Client and server on one processor leave the other to the agent; on two they leave it none.
        for (server, what) in [("0", "a processor to spare"), ("1", "none to spare")] {
            let servers = tasks.iter().map(|netns| itself(netns, server).args(["serve", "0.0.0.0:80"]).spawn());
            let servers: Vec<Server> = servers.map(|child| Ok(Server(child?))).collect::<Outcome<_>>()?;
            std::thread::sleep(Duration::from_millis(300));
            rounds(&mut ways, size.flows)?;
            drop(servers);
            let median = |way: &Way| way.rates.iter().copied().collect::<Figures>().median();
            let (without, with) = (median(&ways[0]), median(&ways[1]));
            eprintln!("    {backend}, {what}: {} without, {} with a flow log", short(without), short(with));
            let title = format!("flow log, {backend}, {what}: new connections a second as a part of those without one");
            report.aim(title, with / without, "×", Target::AtLeast(0.97));
            report.tell("… with it", with, "/s");
            ways.iter_mut().for_each(|way| way.rates.clear());
        }
        agents.iter().for_each(|agent| complaints(agent, report));
    }
    Ok(())
}

fn rounds(ways: &mut [Way], count: usize) -> Outcome<()> {
    for _ in 0..count * 2 {
        for way in &mut *ways {
            let lan = format!("{}-lan", way.host);
            let client = itself(&lan, "0").args(["connect", &way.to, SECONDS]).stderr(Stdio::piped()).output()?;
            let rate = String::from_utf8_lossy(&client.stdout).trim().parse::<f64>();
            way.rates.push(rate.map_err(|_| String::from_utf8_lossy(&client.stderr).into_owned())?);
        }
    }
    Ok(())
}
