//! The measuring client of `make bench`; runs inside a sandbox, prints Markdown on standard output.
//!
//! | file | measures |
//! |---|---|
//! | [`attach`] | attach and detach, many at once |
//! | [`awsvpc`] | tasks with an interface of their own, and packets in every mode |
//! | [`containers`] | the same with containers; memory; the start of an agent that finds them |
//! | [`ports`] | a thousand ports, a range of 15,000, the limit of open files |
//! | [`networks`] | many networks, what they cost a packet |
//! | [`firewalls`] | the same things beside another firewall and alone |
//! | [`flow_logs`] | what a flow log costs |
//! | [`names`] | our resolver beside dnsmasq |
//! | [`metrics`] | a scrape of many endpoints |
//! | [`flows`] | new connections per second through many mappings, beside iptables and linear nft rules |
//! | [`cni`] | the reference CNI plugins, interleaved with ours |
//! | [`peers`] | podman and docker, interleaved with netmode |
//!
//! | file | helps |
//! |---|---|
//! | [`machine`] | a host of its own (a namespace with one neighbour), and an agent in it |
//! | [`figures`] | percentiles and the table |
#![forbid(unsafe_code)]

mod attach;
mod awsvpc;
mod cni;
mod containers;
mod figures;
mod firewalls;
mod flow_logs;
mod flows;
mod machine;
mod metrics;
mod names;
mod networks;
mod peers;
mod ports;

use figures::Report;
use std::process::ExitCode;

/// Whatever went wrong ends the part of the run that it belongs to.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How often things are done.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Endpoints made one after the other, and by many clients.
    endpoints: usize,
    /// Containers that run at once.
    containers: usize,
    /// Rounds of what is interleaved with the peers.
    rounds: usize,
    /// Mappings and rules that a connection has to pass.
    mappings: u16,
    /// Rounds of connection rates, two seconds for each way.
    flows: usize,
}

const FULL: Size = Size { endpoints: 1000, containers: 1000, rounds: 30, mappings: 10_000, flows: 5 };
const QUICK: Size = Size { endpoints: 60, containers: 10, rounds: 3, mappings: 1000, flows: 1 };

const USAGE: &str =
    "usage: bench run [--quick] [--count=N] [PART...]   (parts: attach parallel containers ports networks awsvpc firewalls flows flow-logs names metrics cni peers)
       bench serve ADDRESS                (accepts and closes)
       bench connect ADDRESS SECONDS      (prints connections per second)
       bench ask ADDRESS COUNT            (the same of a name server that knows web)
       bench runtime                      (calls the CNI plugins that it reads of)
       bench echo ADDRESS                 (sends datagrams back)
       bench trips ADDRESS COUNT          (prints the median round trip and the 99th percentile, in microseconds)
       bench drain ADDRESS                (takes whatever comes)
       bench pour ADDRESS SECONDS         (prints MiB per second)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", at] => flows::serve(at),
        ["connect", to, seconds] => flows::connect(to, seconds),
        ["echo", at] => networks::echo(at),
        ["trips", to, count] => networks::trips(to, count),
        ["ask", at, count] => names::ask(at, count),
        ["drain", at] => awsvpc::drain(at),
        ["pour", to, seconds] => awsvpc::pour(to, seconds),
        ["runtime"] => cni::runtime(),
        ["run", ref rest @ ..] => run(rest),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

type Part = fn(&Size, &mut Report) -> Outcome<()>;

const PARTS: [(&str, Part); 13] = [
    ("attach", attach::in_sequence),
    ("parallel", attach::in_parallel),
    ("containers", containers::many),
    ("ports", ports::many),
    ("networks", networks::many),
    ("awsvpc", awsvpc::measured),
    ("firewalls", firewalls::beside),
    ("metrics", metrics::scraped),
    ("flows", flows::rates),
    ("flow-logs", flow_logs::cost),
    ("names", names::beside),
    ("cni", cni::beside),
    ("peers", peers::beside),
];

fn run(words: &[&str]) -> Outcome<()> {
    let mut size = if words.contains(&"--quick") { QUICK } else { FULL };
    if let Some(count) = words.iter().find_map(|w| w.strip_prefix("--count=")) {
        size.endpoints = count.parse()?;
        size.containers = size.endpoints;
    }
    let wanted: Vec<_> = words.iter().filter(|w| !w.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|w| !PARTS.iter().any(|(name, _)| name == **w)) {
        return Err(format!("no part {unknown:?}\n{USAGE}").into());
    }
    let mut report = Report::begin(&size)?;
    let (mut failed, mut loads) = (Vec::new(), Vec::new());
    for (name, part) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|w| **w == name) {
            continue;
        }
        loads.push(format!("{name} {}", figures::load()));
        eprintln!("bench: {name} (load {})", figures::load());
        // A part that fails is told in the report; the others are still worth having.
        if let Err(error) = part(&size, &mut report) {
            eprintln!("bench: {name}: {error}");
            report.note(format!("The part \"{name}\" ended early: {error}"));
            failed.push(name);
        }
        machine::clear()?;
    }
    report.note(format!("Load of the machine (of one minute) when each part began: {}.", loads.join(", ")));
    print!("{report}");
    if failed.is_empty() { Ok(()) } else { Err(format!("ended early: {}", failed.join(", ")).into()) }
}
