//! The machine under test and the network around it.
//!
//! ```text
//!   client  192.0.2.9, 2001:db8:1::9                       far  203.0.113.9, 2001:db8:2::9
//!      │  its default route is the host: the attacker's view     │
//!   ┌──┴───────────── lan: a switch and a router ────────────────┴──┐
//!   │  192.0.2.254, 2001:db8:1::fe    knows no way to containers    │
//!   └──┬────────────────────────────────────────────────────────────┘
//!      │ uplink0  192.0.2.1 and .5, 2001:db8:1::1 and ::5
//!   host  netmoded, nm0 (172.17.0.1), containers
//! ```

use crate::cli::Output;
use crate::sandbox::Sandbox;
use crate::vantage::At;
use crate::wire::{Answer, Ask, Ran};
use crate::{eventually, patience};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The host's addresses, the client's, and the far server's.
pub mod address {
    /// The host, IPv4.
    pub const HOST: &str = "192.0.2.1";
    /// The host's second address.
    pub const HOST_TOO: &str = "192.0.2.5";
    /// The host, IPv6.
    pub const HOST6: &str = "2001:db8:1::1";
    /// The host's second address, IPv6.
    pub const HOST6_TOO: &str = "2001:db8:1::5";
    /// The client.
    pub const CLIENT: &str = "192.0.2.9";
    /// The client, IPv6.
    pub const CLIENT6: &str = "2001:db8:1::9";
    /// A server beyond the router.
    pub const FAR: &str = "203.0.113.9";
    /// A server beyond the router, IPv6.
    pub const FAR6: &str = "2001:db8:2::9";
    /// Gateway of the default bridge.
    pub const GATEWAY: &str = "172.17.0.1";
    /// Its IPv6 gateway where [`super::Options::ipv6`] is on.
    pub const GATEWAY6: &str = "fd00:17::1";
}

/// Where the agent's configuration lies.
pub const CONFIG: &str = "/etc/netmode/netmode.toml";
/// Where the lab keeps the agent's log.
pub const AGENT_LOG: &str = "/run/lab/netmoded.log";

/// How a lab differs from the plain one.
#[derive(Debug, Clone)]
pub struct Options {
    config: String,
    uplink_mtu: u32,
    rp_filter: u8,
    commands: Vec<String>,
    agent: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { config: String::new(), uplink_mtu: 1500, rp_filter: 0, commands: vec![], agent: true }
    }
}

impl Options {
    /// Adds to the agent's configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Gives the default bridge `fd00:17::/64`.
    pub fn ipv6(self) -> Self {
        self.config("[bridge]\nipv6 = \"fd00:17::/64\"")
    }

    /// MTU of the host's uplink; 1500.
    pub fn uplink_mtu(mut self, bytes: u32) -> Self {
        self.uplink_mtu = bytes;
        self
    }

    /// Reverse path filter of the host; 0.
    pub fn rp_filter(mut self, value: u8) -> Self {
        self.rp_filter = value;
        self
    }

    /// A shell command on the host before the agent starts: a route, a sysctl, a file.
    pub fn first(mut self, command: &str) -> Self {
        self.commands.push(command.into());
        self
    }

    /// Leaves the agent to the test ([`Lab::start_agent`]).
    pub fn no_agent(mut self) -> Self {
        self.agent = false;
        self
    }

    /// Builds the lab.
    pub fn start(self) -> Lab {
        let sandbox = Sandbox::start();
        let lab = Lab { sandbox, consoles: Mutex::default(), agent: Mutex::default() };
        let (mtu, filter) = (self.uplink_mtu, self.rp_filter);
        lab.sh(&format!("UPLINK_MTU={mtu} RP_FILTER={filter}\n{}", include_str!("network.sh")));
        for command in &self.commands {
            lab.sh(command);
        }
        if !self.config.is_empty() {
            lab.write(CONFIG, &self.config);
        }
        if self.agent {
            lab.start_agent();
        }
        lab
    }
}

/// One private machine with its surroundings. Everything ends with this value.
pub struct Lab {
    sandbox: Sandbox,
    consoles: Mutex<BTreeSet<String>>,
    /// Its pid, as the sandbox counts.
    agent: Mutex<Option<u32>>,
}

impl Lab {
    /// A plain lab with a running agent.
    pub fn start() -> Self {
        Options::default().start()
    }

    /// A lab with options.
    pub fn with() -> Options {
        Options::default()
    }

    /// A lab whose default bridge has IPv6 as well.
    pub fn dual_stack() -> Self {
        Options::default().ipv6().start()
    }

    /// The sandbox beneath.
    pub fn sandbox(&mut self) -> &mut Sandbox {
        &mut self.sandbox
    }

    /// The text of a file of the host; empty if it is not there.
    pub fn read(&self, path: &str) -> String {
        self.sandbox.read(path)
    }

    /// Whether the host has such a file.
    pub fn has_file(&self, path: &str) -> bool {
        self.sandbox.path(path).exists()
    }

    /// Writes a file of the host.
    pub fn write(&self, path: &str, text: &str) {
        self.sandbox.write(path, text);
    }

    /// A vantage point: `host`, `lan`, `client` or `far`.
    pub fn at(&self, place: &str) -> At<'_> {
        let mut open = self.consoles.lock().unwrap_or_else(PoisonError::into_inner);
        if place != "host" && open.insert(place.into()) {
            self.sandbox.open_console(place);
        }
        At::console(&self.sandbox, place)
    }

    /// The vantage point of a task: its network namespace. Nothing of the lab stays in it between two questions.
    pub fn inside(&self, task: &str) -> At<'_> {
        let view = self.inspect(task);
        let netns = view["netns"].as_str().unwrap_or_else(|| panic!("{task} has no netns: {view}"));
        At::entering(&self.sandbox, netns)
    }

    /// Runs a program on the host to its end, at most 60 s.
    pub fn run(&self, argv: &[&str]) -> Output {
        self.at("host").run(argv)
    }

    /// Runs a shell script on the host that must succeed, and gives its standard output.
    pub fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-c", script]).success().stdout
    }

    /// Runs `netmode`.
    pub fn netmode<S: AsRef<str>>(&self, args: &[S]) -> Output {
        self.netmode_with(args, "", &[])
    }

    /// Runs `netmode` with something on its standard input and in its environment.
    pub fn netmode_with<S: AsRef<str>>(&self, args: &[S], stdin: &str, env: &[(&str, &str)]) -> Output {
        let mut argv = vec!["netmode"];
        argv.extend(args.iter().map(AsRef::as_ref));
        self.at("host").run_with(&argv, stdin, env)
    }

    /// `netmode ARGS -o json`, parsed.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        self.netmode(&all).success().json()
    }

    /// The object of a task as `netmode inspect` shows it.
    pub fn inspect(&self, task: &str) -> Value {
        self.json(&["inspect", task])[0].take()
    }

    /// The IPv4 address of a task on its first network.
    pub fn address(&self, task: &str) -> String {
        without_prefix(&self.inspect(task)["networks"][0]["ipv4Addresses"][0])
    }

    /// The IPv6 address of a task on its first network.
    pub fn address6(&self, task: &str) -> String {
        without_prefix(&self.inspect(task)["networks"][0]["ipv6Addresses"][0])
    }

    /// The address of a task on one of its networks; `key` is `ipv4Addresses` or `ipv6Addresses`.
    pub fn address_on(&self, task: &str, network: &str, key: &str) -> String {
        let view = self.inspect(task);
        let mut all = view["networks"].as_array().into_iter().flatten();
        let found = all.find(|n| n["name"] == network).unwrap_or_else(|| panic!("{task} is not on {network}: {view}"));
        without_prefix(&found[key][0])
    }

    /// The host port of a task's only mapping of `proto` (or of the first one).
    pub fn host_port(&self, task: &str, proto: &str) -> u16 {
        let view = self.inspect(task);
        let bindings = view["containers"][0]["networkBindings"].as_array().cloned().unwrap_or_default();
        let port = bindings.iter().find(|b| b["protocol"] == proto).and_then(|b| b["hostPort"].as_u64());
        port.and_then(|p| u16::try_from(p).ok()).unwrap_or_else(|| panic!("{task} has no {proto} port: {view}"))
    }

    /// A detached task on the host's own file system: `netmode run -d --name NAME FLAGS --rootfs / COMMAND`.
    pub fn task(&self, name: &str, flags: &[&str], command: &[&str]) -> String {
        let words = [&["run", "-d", "--name", name], flags, &["--rootfs", "/"], command].concat();
        self.netmode(&words).success().stdout.trim().to_owned()
    }

    /// A task in which a server listens (`tcp/80`, `udp/53`, `tcp/8000-8009`), ready when this returns. Gives its id.
    pub fn serve(&self, name: &str, flags: &[&str], ports: &[&str]) -> String {
        let command = [&["probe", "serve", "--tag", name], ports].concat();
        let id = self.task(name, flags, &command);
        self.ready(name);
        id
    }

    /// Waits until the server of a task listens.
    pub fn ready(&self, name: &str) {
        eventually(&format!("the server in {name} is ready"), 10.0, || {
            self.netmode(&["logs", name]).stdout.contains("ready")
        });
    }

    /// Starts the agent and waits until it answers.
    pub fn start_agent(&self) {
        self.try_start_agent(&[]).unwrap_or_else(|e| panic!("netmoded did not start: {e}\n{}", self.read(AGENT_LOG)));
    }

    /// Starts the agent with options; its end before it answers is an error with what it wrote.
    pub fn try_start_agent(&self, options: &[&str]) -> Result<(), String> {
        let before = self.read(AGENT_LOG).len();
        let argv = [&["netmoded"], options].concat().into_iter().map(String::from).collect();
        let env = [("RUST_LOG", "info")].map(|(k, v)| (k.into(), v.into())).to_vec();
        let Answer::Pid(pid) = self.sandbox.ask("host", &Ask::Spawn { argv, env, log: AGENT_LOG.into() }) else {
            return Err("netmoded cannot be started".into());
        };
        let mut ended = None;
        eventually("netmoded answers, or ends", 10.0, || {
            ended = self.reap(pid, 0);
            ended.is_some() || self.netmode(&["ps"]).status == 0
        });
        match ended {
            Some(status) => Err(format!("status {status}: {}", &self.read(AGENT_LOG)[before..])),
            None => {
                *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
                Ok(())
            }
        }
    }

    /// The agent's pid, as the sandbox counts.
    pub fn agent_pid(&self) -> u32 {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner).expect("the agent was started")
    }

    /// Sends the agent a signal.
    pub fn signal_agent(&self, signal: &str) {
        self.sh(&format!("kill -{signal} {}", self.agent_pid()));
    }

    /// Ends the agent by a signal (`TERM`, `KILL`) and gives its exit status.
    pub fn end_agent(&self, signal: &str) -> i32 {
        self.signal_agent(signal);
        let pid = self.agent_pid();
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.reap(pid, 10_000).unwrap_or_else(|| panic!("netmoded did not end within 10 s of SIG{signal}"))
    }

    /// Ends the agent and starts it again.
    pub fn restart_agent(&self, signal: &str) {
        self.end_agent(signal);
        self.start_agent();
    }

    /// Takes what a reboot takes (processes, namespaces, links, tables, rules, tmpfs) and starts the agent, as the
    /// machine would. `/var/lib/netmode` stays.
    pub fn reboot(&self) {
        let tasks = self.json(&["ps"]);
        let pids = tasks.as_array().into_iter().flatten().map(|t| t["pid"].to_string());
        let pids: Vec<String> = pids.filter(|pid| pid != "0").collect();
        self.end_agent("KILL");
        self.sh(&format!(
            "kill -9 $(pgrep -x conmon) $(pgrep -x netmode-keep) {}; sleep 0.1
             for pin in /run/netns/nm-*; do ip netns del ${{pin##*/}}; done
             for bridge in $(ip -br link show type bridge | grep -o '^nm[^ ]*'); do ip link del $bridge; done
             nft flush ruleset
             for pref in 90 91 92; do ip rule del pref $pref; done
             grep -o '/run/netmode/c/[^ ]*' /proc/self/mountinfo | sort -r | xargs -r umount -l
             rm -rf /run/netmode",
            pids.join(" ")
        ));
        self.start_agent();
    }

    /// What the agent has logged.
    pub fn agent_log(&self) -> String {
        self.read(AGENT_LOG)
    }

    /// Starts a program on the host in the background; its output goes to the file.
    pub fn spawn(&self, argv: &[&str], log: &str) -> u32 {
        // What a shell runs in the background ignores these, tests and all that they start included.
        let argv = [&["env", "--default-signal=INT,QUIT"], argv].concat().into_iter().map(String::from).collect();
        match self.sandbox.ask("host", &Ask::Spawn { argv, env: vec![], log: log.into() }) {
            Answer::Pid(pid) => pid,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the end of what was spawned, on an idle machine so long; `None` if it goes on.
    pub fn reap(&self, pid: u32, wait_ms: u64) -> Option<i32> {
        let wait_ms = (wait_ms as f64 * patience() / 4.0) as u64;
        match self.sandbox.ask("host", &Ask::Reap { pid, wait_ms }) {
            Answer::Ran(Ran { timed_out: false, status, .. }) => Some(status),
            _ => None,
        }
    }

    /// A request to the agent's API as anybody could make it with curl: status and body.
    pub fn api(&self, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
        let url = format!("http://netmode{path}");
        let mut argv = vec!["curl", "-sS", "--max-time", "20", "--unix-socket", "/run/netmode/netmode.sock"];
        argv.extend(["-X", method, "-w", "\n%{http_code}", &url]);
        if body.is_some() {
            argv.extend(["-H", "Content-Type: application/json", "--data-binary", "@-"]);
        }
        let out = self.at("host").run_with(&argv, body.unwrap_or(""), &[]);
        let (text, code) = out.stdout.rsplit_once('\n').unwrap_or(("", &out.stdout));
        let json = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into()));
        (code.parse().unwrap_or(0), json)
    }

    /// Waits until the bridge has so many ports: an address is free again when its link is gone, which the kernel does
    /// some milliseconds after `rm` returns.
    pub fn until_bridge_ports(&self, count: usize) {
        let script = "ip -br link show master nm0 | wc -l";
        eventually(&format!("{count} ports on nm0"), 3.0, || self.sh(script).trim() == count.to_string());
    }
}

fn without_prefix(address: &Value) -> String {
    let text = address.as_str().unwrap_or_else(|| panic!("{address} is no address"));
    text.split('/').next().unwrap_or(text).into()
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of netmoded:\n{}---", self.agent_log());
        }
    }
}
