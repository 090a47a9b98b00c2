//! The reference CNI plugins from Debian beside ours: the same calls, interleaved, in the same run.

use crate::attach::at_once;
use crate::figures::{Figures, Report, Target, short};
use crate::machine::{Agent, host, namespaces, within};
use crate::{Outcome, Size};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Directory of the reference plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// Directory of ours.
const OURS: &str = "/run/bench/cni-plugins";

/// ADDs at once; the plugins are slow enough for that to be sure.
const AT_ONCE: usize = 64;

/// Ports of the greatest list of mappings.
const PORTS: u16 = 1000;

/// Whose plugins are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Reference,
}

impl Side {
    fn dir(self) -> &'static str {
        if self == Self::Ours { OURS } else { PLUGINS }
    }

    /// The host that it works on.
    fn host(self) -> &'static str {
        if self == Self::Ours { "na" } else { "nc" }
    }
}

pub(crate) fn beside(size: &Size, report: &mut Report) -> Outcome<()> {
    host("na")?;
    host("nc")?;
    install()?;
    let agent = Agent::start("na")?;
    alone(size, report)?;
    many_ports(report)?;
    growth(size, report)?;
    drop(agent);
    Ok(())
}

fn install() -> Outcome<()> {
    std::fs::create_dir_all(OURS)?;
    let program = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join("netmode-cni")).find(|program| program.is_file())
    });
    let program = program.ok_or("no netmode-cni")?;
    for name in ["bridge", "host-local", "portmap"] {
        let _ = std::os::unix::fs::symlink(&program, format!("{OURS}/{name}"));
    }
    Ok(())
}

/// One container at a time.
fn alone(size: &Size, report: &mut Report) -> Outcome<()> {
    let mut sides = [On::start(Side::Ours)?, On::start(Side::Reference)?];
    let [mut add, mut del, mut version] = [(); 3].map(|()| [Vec::new(), Vec::new()]);
    let names = [namespaces("ours", size.rounds + 1)?, namespaces("theirs", size.rounds + 1)?];
    let ask = json!({"type": "bridge", "cniVersion": "1.0.0"});
    let [ours, theirs] = &names;
    for pair in ours.iter().zip(theirs) {
        for ((n, on), netns) in sides.iter_mut().enumerate().zip([pair.0, pair.1]) {
            let mappings = mappings(20_000, 1, "tcp");
            add[n].push(list(on, "ADD", netns, &mappings)?);
            del[n].push(list(on, "DEL", netns, &mappings)?);
            version[n].push(plugin(on, "VERSION", netns, &ask)?.1);
        }
    }
    // The first round made bridges and chains.
    let figures = |times: &[Vec<Duration>; 2], n: usize| Figures::millis(times[n][1..].iter().copied());
    let row = |name: &str, n| {
        vec![name.to_owned(), figures(&add, n).pair(), figures(&del, n).pair(), figures(&version, n).pair()]
    };
    let rows = vec![row("netmode", 0), row("reference (iptables)", 1)];
    let title =
        "CNI bridge + host-local + portmap, masquerade, one port: from start to exit of all programs (ms, p50 / p99)";
    report.table(title, &["", "ADD", "DEL", "VERSION of one"], rows);
    let times = |times| figures(times, 1).median() / figures(times, 0).median();
    report.aim("CNI ADD: the reference's time, as a multiple of ours", times(&add), "x", Target::AtLeast(12.0));
    report.aim("CNI DEL: the reference's time, as a multiple of ours", times(&del), "x", Target::AtLeast(25.0));
    report.aim("CNI VERSION, from start to exit", figures(&version, 0).median(), "ms", Target::AtMost(1.0));
    for (side, whose) in [(Side::Ours, "netmode"), (Side::Reference, "reference")] {
        report.tell(format!("CNI: {AT_ONCE} ADDs with 32 at once, {whose}"), crowd(side)?, "/s");
    }
    Ok(())
}

/// ADDs per second by many runtimes.
fn crowd(side: Side) -> Outcome<f64> {
    let names = namespaces(&format!("crowd-{}", side.host()), AT_ONCE)?;
    let ports: HashMap<&str, u16> = names.iter().map(String::as_str).zip(21_000..).collect();
    let runtimes: Mutex<Vec<On>> = Mutex::new((0..AT_ONCE).map(|_| On::start(side)).collect::<Outcome<_>>()?);
    let each = |verb: &str| {
        at_once(&names, |name| {
            let mut on = runtimes.lock().map_err(|_| "a thread panicked")?.pop().ok_or("no runtime")?;
            list(&mut on, verb, name, &mappings(ports[name], 1, "tcp"))?;
            runtimes.lock().map_err(|_| "a thread panicked")?.push(on);
            Ok(())
        })
    };
    let begun = Instant::now();
    each("ADD")?;
    let rate = AT_ONCE as f64 / begun.elapsed().as_secs_f64();
    each("DEL")?;
    Ok(rate)
}

/// A thousand ports of one container.
fn many_ports(report: &mut Report) -> Outcome<()> {
    let mut times = Vec::new();
    for side in [Side::Ours, Side::Reference] {
        let mut on = On::start(side)?;
        let netns = namespaces(&format!("ports-{}", side.host()), 1)?.remove(0);
        let (result, _) = plugin(&mut on, "ADD", &netns, &bridge())?;
        let mut portmap = portmap(&mappings(30_000, PORTS, "udp"));
        portmap["prevResult"] = serde_json::from_str(&result)?;
        times.push(Figures::millis([plugin(&mut on, "ADD", &netns, &portmap)?.1]).median());
        plugin(&mut on, "DEL", &netns, &portmap)?;
        plugin(&mut on, "DEL", &netns, &bridge())?;
    }
    let rows = vec![vec![short(times[0]), short(times[1])]];
    report.table(format!("CNI portmap: publish {PORTS} UDP ports (ms)"), &["netmode", "reference (iptables)"], rows);
    let what = format!("CNI: {PORTS} UDP ports: the reference's time, as a multiple of ours");
    report.aim(what, times[1] / times[0], "x", Target::AtLeast(200.0));
    Ok(())
}

/// The last container beside the first.
fn growth(size: &Size, report: &mut Report) -> Outcome<()> {
    let mut on = On::start(Side::Ours)?;
    let names = namespaces("grow", size.containers)?;
    let mut times = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let port = 20_000 + u16::try_from(n)?;
        times.push(list(&mut on, "ADD", name, &mappings(port, 1, "tcp"))?);
    }
    let share = (times.len() / 10).max(1);
    let median = |times: &[Duration]| Figures::millis(times.iter().copied()).median();
    let (first, last) = (median(&times[1..=share]), median(&times[times.len() - share..]));
    let what = format!("CNI: the last ADD of {} containers, as a multiple of the first", times.len());
    report.aim(
        "CNI ADD of bridge and portmap, from start to exit, with nothing else going on",
        first,
        "ms",
        Target::AtMost(5.0),
    );
    report.aim(what, last / first, "x", Target::AtMost(1.5));
    report.tell(format!("CNI: ADD beside {} containers", times.len()), last, "ms");
    Ok(())
}

fn mappings(first: u16, count: u16, protocol: &str) -> Value {
    let one = |n: u16| json!({"hostPort": first + n, "containerPort": 80 + n, "protocol": protocol});
    (0..count).map(one).collect()
}

fn bridge() -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni0",
        "isGateway": true, "ipMasq": true, "hairpinMode": true,
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}],
        },
    })
}

fn portmap(mappings: &Value) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "bench", "type": "portmap", "capabilities": {"portMappings": true},
        "runtimeConfig": {"portMappings": mappings},
    })
}

/// Carries a list of two plugins out, as a container runtime does. How long both took.
fn list(on: &mut On, verb: &str, netns: &str, mappings: &Value) -> Outcome<Duration> {
    let (bridge, mut portmap) = (bridge(), portmap(mappings));
    if verb == "ADD" {
        let (result, first) = plugin(on, verb, netns, &bridge)?;
        portmap["prevResult"] = serde_json::from_str(&result)?;
        return Ok(first + plugin(on, verb, netns, &portmap)?.1);
    }
    let first = plugin(on, verb, netns, &portmap)?.1;
    Ok(first + plugin(on, verb, netns, &bridge)?.1)
}

/// A runtime: stands on a host, and calls plugins as it is told, one line for each. Its own start is not measured.
pub(crate) struct Runtime {
    child: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What a runtime is told.
#[derive(Serialize, Deserialize)]
struct Told {
    program: String,
    env: Vec<(String, String)>,
    stdin: String,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
struct Done {
    success: bool,
    stdout: String,
    micros: u64,
}

impl Runtime {
    fn start(side: Side) -> Outcome<Self> {
        let mut command = within(side.host(), "bench");
        let mut child = command.arg("runtime").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        Ok(Self { child, answers })
    }

    fn call(&mut self, told: &Told) -> Outcome<Done> {
        let stdin = self.child.stdin.as_mut().ok_or("no pipe")?;
        writeln!(stdin, "{}", serde_json::to_string(told)?)?;
        Ok(serde_json::from_str(&self.answers.next().ok_or("the runtime has ended")??)?)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves as one until its input ends.
pub(crate) fn runtime() -> Outcome<()> {
    for line in std::io::stdin().lines() {
        let told: Told = serde_json::from_str(&line?)?;
        let begun = Instant::now();
        let mut child = Command::new(&told.program)
            .env_clear()
            .envs(told.env)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // VERSION may be answered without a look at it.
        let _ = child.stdin.take().ok_or("no pipe")?.write_all(told.stdin.as_bytes());
        let output = child.wait_with_output()?;
        let micros = u64::try_from(begun.elapsed().as_micros())?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{}", serde_json::to_string(&Done { success: output.status.success(), stdout, micros })?);
    }
    Ok(())
}

/// One call: its result, and how long it took from start to exit.
fn plugin(on: &mut On, verb: &str, netns: &str, config: &Value) -> Outcome<(String, Duration)> {
    let name = config["type"].as_str().unwrap_or_default();
    let mut config = config.clone();
    // Two hosts on one file system.
    if config.get("ipam").is_some() {
        config["ipam"]["dataDir"] = json!(format!("/run/bench/cni-{}", on.side.host()));
    }
    let env = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", netns),
        ("CNI_NETNS", &format!("/run/netns/{netns}")),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", on.side.dir()),
        ("NETMODE_SOCKET", "/run/bench/na/netmode.sock"),
    ];
    let env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let program = format!("{}/{name}", on.side.dir());
    let done = on.runtime.call(&Told { program, env, stdin: config.to_string() })?;
    if done.success {
        return Ok((done.stdout, Duration::from_micros(done.micros)));
    }
    Err(format!("{name} {verb}: {}", done.stdout).into())
}

/// A side with a runtime of its own.
struct On {
    side: Side,
    runtime: Runtime,
}

impl On {
    fn start(side: Side) -> Outcome<Self> {
        Ok(Self { side, runtime: Runtime::start(side)? })
    }
}
