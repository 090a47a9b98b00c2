//! A host of its own: a namespace with one neighbour, and an agent in it.

use crate::Outcome;
use netmode_client::Client;
use netmode_model::RequestedMode;
use netmode_model::api::{AttachReply, AttachRequest, NetOptions, NetnsRef};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The host's address towards its neighbour.
pub(crate) const HOST: &str = "192.0.2.1";

/// Runs a program to its end.
pub(crate) fn run(words: &[&str]) -> Outcome<String> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", words[0]))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {}{}", words.join(" "), output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// A program in a namespace.
pub(crate) fn within(netns: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{netns}")).arg(program);
    command
}

/// Many `ip` commands at once.
pub(crate) fn ip(commands: &str) -> Outcome<()> {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no pipe")?.write_all(commands.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err(format!("ip -batch failed: {commands}").into()) }
}

/// Namespaces for somebody else to attach, named `PREFIX-0` and on.
pub(crate) fn namespaces(prefix: &str, count: usize) -> Outcome<Vec<String>> {
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
    ip(&names.iter().map(|name| format!("netns add {name}\n")).collect::<String>())?;
    Ok(names)
}

/// The namespace `NAME` as a host, 192.0.2.1, and its neighbour `NAME-lan`, 192.0.2.9.
pub(crate) fn host(name: &str) -> Outcome<()> {
    let lan = format!("{name}-lan");
    run(&["ip", "netns", "add", name])?;
    run(&["ip", "netns", "add", &lan])?;
    run(&[
        "ip", "-n", name, "link", "add", "uplink", "index", "10", "type", "veth", "peer", "name", "eth0", "index",
        "11", "netns", &lan,
    ])?;
    for words in
        ["link set lo up", "addr add 192.0.2.1/24 dev uplink", "link set uplink up", "route add default via 192.0.2.9"]
    {
        run(&[&["ip", "-n", name], words.split(' ').collect::<Vec<_>>().as_slice()].concat())?;
    }
    for words in
        ["link set lo up", "addr add 192.0.2.9/24 dev eth0", "link set eth0 up", "route add default via 192.0.2.1"]
    {
        run(&[&["ip", "-n", &lan], words.split(' ').collect::<Vec<_>>().as_slice()].concat())?;
    }
    Ok(())
}

/// Gives every namespace back and waits until the kernel has done so, before the next part begins.
pub(crate) fn clear() -> Outcome<()> {
    let names = std::fs::read_dir("/run/netns")?.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let commands: String = names.map(|name| format!("netns del {name}\n")).collect();
    ip(&commands)?;
    // Half a millisecond a link, in batches.
    std::thread::sleep(Duration::from_millis(500 + 2 * commands.lines().count() as u64));
    Ok(())
}

/// What the agent's log says of an attachment.
#[derive(Debug, Clone)]
pub(crate) struct Timed {
    pub(crate) endpoint: String,
    pub(crate) took: Duration,
    /// When the line was read.
    pub(crate) at: Instant,
}

#[derive(Debug, Default)]
struct Log {
    attached: Vec<Timed>,
    detached: Vec<Timed>,
    complaints: Vec<String>,
}

/// An agent in the namespace of its name. Killed when dropped.
pub(crate) struct Agent {
    name: String,
    child: Child,
    pub(crate) client: Client,
    /// From the start of the program until its socket answered.
    pub(crate) ready: Duration,
    log: Arc<Mutex<Log>>,
}

impl Agent {
    /// Starts one, or the next one in its place, and waits until it answers.
    pub(crate) fn start(name: &str) -> Outcome<Self> {
        let run_dir = format!("/run/bench/{name}");
        let socket = PathBuf::from(format!("{run_dir}/netmode.sock"));
        let begun = Instant::now();
        let mut child = within(name, "netmoded")
            .args(["--run-dir", &run_dir, "--state-dir", &format!("/var/lib/netmode/{name}")])
            .env("NETMODE_LOG", "info,netmoded::agent=debug")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = follow(child.stderr.take().ok_or("no pipe")?);
        let client = Client::new(socket);
        while client.version().is_err() {
            if child.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(60) {
                let said = lock(&log).complaints.join("\n");
                return Err(format!("the agent in {name} does not answer: {said}").into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(Self { name: name.into(), child, client, ready: begun.elapsed(), log })
    }

    /// Ends it without a word and starts its successor.
    pub(crate) fn replace(mut self) -> Outcome<Self> {
        self.child.kill()?;
        self.child.wait()?;
        Self::start(&self.name.clone())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in MiB.
    pub(crate) fn memory(&self) -> Outcome<f64> {
        resident(self.pid())
    }

    /// Attaches a namespace in bridge mode; its name is the owner.
    pub(crate) fn attach(&self, netns: &str, ports: &[String]) -> Outcome<AttachReply> {
        let ports = ports.iter().map(|p| p.parse()).collect::<Result<Vec<_>, _>>()?;
        let request = AttachRequest {
            owner: netns.into(),
            netns: NetnsRef::Fd(0),
            interface: None,
            mode: RequestedMode::Bridge,
            network: None,
            net: NetOptions { ports, ..NetOptions::default() },
        };
        let file = File::open(format!("/run/netns/{netns}"))?;
        Ok(self.client.attach_netns(&request, file.as_fd())?)
    }

    pub(crate) fn detach(&self, netns: &str) -> Outcome<()> {
        Ok(self.client.detach(netns, "eth0")?)
    }

    /// The log's lines of attachments so far; the reader may be a moment behind.
    pub(crate) fn attached(&self) -> Vec<Timed> {
        std::thread::sleep(Duration::from_millis(20));
        lock(&self.log).attached.clone()
    }

    pub(crate) fn detached(&self) -> Vec<Timed> {
        std::thread::sleep(Duration::from_millis(20));
        lock(&self.log).detached.clone()
    }

    /// What it warned of, or called an error.
    pub(crate) fn complaints(&self) -> Vec<String> {
        lock(&self.log).complaints.clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn follow(stderr: impl std::io::Read + Send + 'static) -> Arc<Mutex<Log>> {
    let log = Arc::new(Mutex::new(Log::default()));
    let shared = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let at = Instant::now();
            let field = |name: &str| line.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
            let mut log = lock(&shared);
            match (field(" endpoint="), field(" micros=").and_then(|m| m.parse().ok())) {
                (Some(endpoint), Some(micros)) => {
                    let timed = Timed { endpoint: endpoint.into(), took: Duration::from_micros(micros), at };
                    if line.contains(" attached ") { log.attached.push(timed) } else { log.detached.push(timed) }
                }
                _ if line.contains(" WARN ") || line.contains(" ERROR ") || line.starts_with("netmoded:") => {
                    log.complaints.push(line)
                }
                _ => {}
            }
        }
    });
    log
}

/// Resident memory of a process in MiB.
pub(crate) fn resident(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().next().unwrap_or("").parse()?;
    Ok(kib / 1024.0)
}

/// How many processes the sandbox has.
pub(crate) fn processes() -> Outcome<usize> {
    let names = std::fs::read_dir("/proc")?.filter_map(|e| e.ok()?.file_name().into_string().ok());
    Ok(names.filter(|n| n.bytes().all(|b| b.is_ascii_digit())).count())
}

/// Follows the links of a host that go, by name.
pub(crate) struct Links {
    monitor: Child,
    gone: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Links {
    pub(crate) fn follow(host: &str) -> Outcome<Self> {
        let mut monitor = within(host, "ip").args(["-o", "monitor", "link"]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(monitor.stdout.take().ok_or("no pipe")?).lines();
        let gone = Arc::new(Mutex::new(HashMap::new()));
        let shared = gone.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let at = Instant::now();
                // "Deleted 7: nm0123456789a@if2: <…"; a bridge port tells twice, first that it leaves the bridge: the last counts.
                if let Some((_, rest)) = line.split_once("Deleted ").and_then(|(_, l)| l.split_once(": ")) {
                    let name = rest.split(['@', ':']).next().unwrap_or_default().to_owned();
                    lock(&shared).insert(name, at);
                }
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        Ok(Self { monitor, gone })
    }

    /// When the link of an endpoint went.
    pub(crate) fn gone(&self, endpoint: &str) -> Option<Instant> {
        lock(&self.gone).get(&format!("nm{}", &endpoint[..11])).copied()
    }

    /// Waits until so many have gone.
    pub(crate) fn wait_for(&self, count: usize, patience: Duration) {
        let until = Instant::now() + patience;
        while lock(&self.gone).len() < count && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How long after their detachment the links went; those that stay are left out.
    pub(crate) fn after(&self, detached: &[Timed]) -> Vec<Duration> {
        let one = |t: &Timed| Some(self.gone(&t.endpoint)?.saturating_duration_since(t.at));
        detached.iter().filter_map(one).collect()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}
