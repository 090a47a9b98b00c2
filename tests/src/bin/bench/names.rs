//! Names: our resolver beside dnsmasq, asked by the same clients in the same namespace.

use crate::attach::complaints;
use crate::containers::{ROOT, root};
use crate::figures::{Figures, Report, Target};
use crate::flows::{Server, itself};
use crate::machine::{Agent, host, run, within};
use crate::{Outcome, Size};
use netmode_model::NetworkRequest;
use netmode_model::api::{ContainerSpec, NetOptions, NetworkRef, RunRequest};
use std::fmt::Write;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Names that there are, besides the one that is asked for.
const NAMES: usize = 1000;

/// How long a server is asked for all that it can do, in seconds.
const SECONDS: &str = "2";

/// Questions that are timed one by one.
const QUESTIONS: &str = "5000";

/// Where dnsmasq listens: beside ours, on another port of the same namespace.
const PEER: &str = "127.0.0.1:5300";

/// Our resolver.
const OURS: &str = "127.0.0.11:53";

/// `bench ask ADDRESS COUNT`: the median and the 99th percentile of the answers' times, in microseconds.
pub(crate) fn ask(at: &str, count: &str) -> Outcome<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.connect(at)?;
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01";
    let mut took = Vec::new();
    let mut answer = [0; 512];
    for _ in 0..count.parse::<usize>()? {
        let begun = Instant::now();
        socket.send(question)?;
        let length = socket.recv(&mut answer)?;
        took.push(begun.elapsed());
        if length < 12 || answer[3] & 15 != 0 || answer[7] != 1 {
            return Err(format!("{at} does not know the name").into());
        }
    }
    let micros: Figures = took.iter().map(|t| t.as_secs_f64() * 1e6).collect();
    println!("{} {}", micros.median(), micros.p99());
    Ok(())
}

fn container(name: &str, alias: Vec<String>) -> Outcome<RunRequest> {
    Ok(RunRequest {
        name: Some(name.parse()?),
        network: "shop".parse::<NetworkRef>()?,
        net: NetOptions { network_aliases: alias, ..NetOptions::default() },
        container: ContainerSpec {
            rootfs: Some(ROOT.into()),
            command: ["busybox", "sleep", "3600"].map(String::from).into(),
            ..ContainerSpec::default()
        },
        ..RunRequest::default()
    })
}

/// Processor time of a process, in seconds.
fn processor(pid: u32) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / 100.0)
}

/// Questions answered in a second, and in a second of the server's processor.
fn rate(netns: &str, at: &str, pid: u32) -> Outcome<(f64, f64)> {
    let (address, port) = at.rsplit_once(':').unwrap_or_default();
    let before = processor(pid)?;
    let words = ["-s", address, "-p", port, "-d", "/run/bench-names", "-l", SECONDS, "-c", "4", "-q", "64"];
    let output = within(netns, "dnsperf").args(words).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = |key: &str| {
        text.lines().find_map(|l| l.trim().strip_prefix(key)?.split_whitespace().next()?.parse::<f64>().ok())
    };
    let completed = figure("Queries completed:").ok_or_else(|| format!("dnsperf at {at}: {text}"))?;
    let lost = figure("Queries lost:").unwrap_or_default();
    if lost > 0.0 {
        return Err(format!("{at} lost {lost} of {completed} questions").into());
    }
    Ok((figure("Queries per second:").unwrap_or_default(), completed / (processor(pid)? - before).max(0.01)))
}

fn trips(netns: &str, at: &str) -> Outcome<(f64, f64)> {
    let output = itself(netns, "0").args(["ask", at, QUESTIONS]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = text.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    match figures[..] {
        [median, p99] => Ok((median, p99)),
        _ => Err(format!("{at}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

pub(crate) fn beside(size: &Size, report: &mut Report) -> Outcome<()> {
    root()?;
    host("dns")?;
    let agent = Agent::start("dns")?;
    agent.client.create_network(&NetworkRequest { name: Some("shop".parse()?), ..NetworkRequest::default() })?;
    let aliases = (0..NAMES).map(|n| format!("name-{n}")).collect();
    let web = agent.client.create(&container("web", aliases)?, true)?.id.to_string();
    let view = agent.client.task(&web)?;
    let netns = view.netns.unwrap_or_default().trim_start_matches("/run/netns/").to_owned();
    let address = view.networks[0].ipv4_addresses[0].ip();
    let mut hosts = format!("{address} web\n");
    (0..NAMES).for_each(|n| _ = writeln!(hosts, "10.99.{}.{} name-{n}", n / 250, n % 250 + 1));
    std::fs::write("/run/bench-hosts", hosts)?;
    let questions: String = (0..NAMES).map(|n| format!("name-{n} A\n")).collect();
    std::fs::write("/run/bench-names", questions)?;
    let peer = within(&netns, "dnsmasq")
        .args(["-k", "--user=root", "--no-resolv", "--no-hosts", "--addn-hosts=/run/bench-hosts", "--port=5300"])
        .args(["--bind-interfaces", "--listen-address=127.0.0.1", "--pid-file=", "--cache-size=0"])
        .spawn()?;
    let peer = Server(peer);
    std::thread::sleep(Duration::from_millis(500));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..size.flows.max(2) {
        for (at, pid, all) in [(OURS, agent.pid(), &mut ours), (PEER, peer.0.id(), &mut theirs)] {
            let (rate, of_core) = rate(&netns, at, pid)?;
            let (median, p99) = trips(&netns, at)?;
            all.push([rate, of_core, median, p99]);
        }
    }
    let median = |all: &[[f64; 4]], n: usize| all.iter().map(|one| one[n]).collect::<Figures>().median();
    report.aim("names: answers a second, of one core", median(&ours, 1), "/s", Target::AtLeast(10_000.0));
    report.tell("… dnsmasq in the same run", median(&theirs, 1), "/s");
    report.tell("names: answers a second, all that 4 clients get", median(&ours, 0), "/s");
    report.tell("… dnsmasq in the same run", median(&theirs, 0), "/s");
    report.tell("names: an answer, p50", median(&ours, 2), "us");
    report.tell("… dnsmasq in the same run", median(&theirs, 2), "us");
    report.aim("names: an answer, p99", median(&ours, 3) / 1000.0, "ms", Target::AtMost(1.0));
    report.tell("… dnsmasq in the same run", median(&theirs, 3) / 1000.0, "ms");
    drop(peer);
    run(&["rm", "/run/bench-hosts", "/run/bench-names"])?;
    agent.client.remove(&web, true)?;
    complaints(&agent, report);
    Ok(())
}
