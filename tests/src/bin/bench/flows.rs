//! New TCP connections per second through one of many mappings, always the last one.
//!
//! Client, host and server are namespaces; the client makes one connection after the other on one CPU, and the
//! server takes them on another. The peers' rules are what the CNI portmap plugin writes, one rule a mapping,
//! without any other rule; netmode's are its whole table with shield, guard and masquerade.

use crate::attach::complaints;
use crate::figures::{Figures, Report, Target, short};
use crate::machine::{Agent, HOST, host, namespaces, run, within};
use crate::{Outcome, Size};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The first published port.
const FIRST: u16 = 10_000;

/// How long one measurement takes.
const SECONDS: &str = "2";

/// The container of a host that netmode does not run.
const SERVER: &str = "172.18.0.2";

/// `bench serve ADDRESS`
pub(crate) fn serve(at: &str) -> Outcome<()> {
    let at: SocketAddr = at.parse()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(at))?;
    socket.listen(4096)?;
    loop {
        drop(socket.accept()?);
    }
}

/// `bench connect ADDRESS SECONDS`
pub(crate) fn connect(to: &str, seconds: &str) -> Outcome<()> {
    let to = SockAddr::from(to.parse::<SocketAddr>()?);
    let time = Duration::from_secs_f64(seconds.parse()?);
    let begun = Instant::now();
    let mut made = 0_u32;
    while begun.elapsed() < time {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Closed by RST: no TIME_WAIT that would use up the ports.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect(&to)?;
        made += 1;
    }
    println!("{}", f64::from(made) / begun.elapsed().as_secs_f64());
    Ok(())
}

/// One way from the client to the server.
struct Way {
    label: &'static str,
    mappings: Option<u16>,
    /// The host's namespace; its neighbour is the client.
    host: &'static str,
    to: String,
    rates: Vec<f64>,
}

/// Servers end with the measurement.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const NETMODE: &str = "netmode (nft map)";
const IPTABLES: &str = "iptables, one rule each";
const NFT: &str = "nft, one rule each";

pub(crate) fn rates(size: &Size, report: &mut Report) -> Outcome<()> {
    let many = size.mappings;
    let last = |mappings: u16| format!("{HOST}:{}", FIRST + mappings - 1);
    let mut ways =
        vec![Way { label: "routed, no NAT", mappings: None, host: "fr", to: format!("{SERVER}:80"), rates: vec![] }];
    let hosts = [("fa", "fb", NETMODE), ("fc", "fd", IPTABLES), ("fe", "ff", NFT)];
    for (one, all, label) in hosts {
        ways.push(Way { label, mappings: Some(1), host: one, to: last(1), rates: vec![] });
        ways.push(Way { label, mappings: Some(many), host: all, to: last(many), rates: vec![] });
    }
    let mut servers = Vec::new();
    let mut agents = Vec::new();
    for way in &ways {
        host(way.host)?;
        let server = namespaces(way.host, 1)?.remove(0);
        match (way.label, way.mappings) {
            (NETMODE, Some(n)) => agents.push(by_netmode(way.host, &server, n)?),
            (label, n) => by_hand(way.host, &server, label, n.unwrap_or(0))?,
        }
        servers.push(Server(itself(&server, "1").args(["serve", "0.0.0.0:80"]).spawn()?));
        set(way.host, "netfilter/nf_conntrack_tcp_timeout_close", "1")
            .or_else(|e| if way.mappings.is_none() { Ok(()) } else { Err(e) })?;
        set(&format!("{}-lan", way.host), "ipv4/ip_local_port_range", "1024 65535")?;
    }
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..size.flows {
        for way in &mut ways {
            let client = itself(&format!("{}-lan", way.host), "0")
                .args(["connect", &way.to, SECONDS])
                .stderr(Stdio::piped())
                .output()?;
            let rate = String::from_utf8_lossy(&client.stdout).trim().parse::<f64>();
            let failed = |_| format!("{}: {}", way.label, String::from_utf8_lossy(&client.stderr));
            way.rates.push(rate.map_err(failed)?);
        }
    }
    for way in &ways {
        let rates: Vec<String> = way.rates.iter().map(|r| short(*r)).collect();
        eprintln!("    {}, {}: {}", way.label, way.mappings.unwrap_or(0), rates.join(" "));
    }
    tell(&ways, many, report);
    agents.iter().for_each(|agent| complaints(agent, report));
    Ok(())
}

fn tell(ways: &[Way], many: u16, report: &mut Report) {
    let rate = |label: &str, mappings: Option<u16>| {
        let way = ways.iter().find(|w| w.label == label && w.mappings == mappings);
        way.map_or(f64::NAN, |w| w.rates.iter().copied().collect::<Figures>().median())
    };
    let ratio = rate(NETMODE, Some(many)) / rate(NETMODE, Some(1));
    report.aim(
        format!("new connections per second through one of {many} mappings, as a multiple of 1 mapping"),
        ratio,
        "×",
        Target::AtLeast(0.9),
    );
    let mut rows: Vec<Vec<String>> = Vec::new();
    for label in [NETMODE, IPTABLES, NFT] {
        let (one, all) = (rate(label, Some(1)), rate(label, Some(many)));
        rows.push(vec![label.into(), short(one), short(all), format!("{:.2}", all / one)]);
    }
    rows.push(vec!["routed, no NAT".into(), short(rate("routed, no NAT", None)), String::new(), String::new()]);
    let head = ["", "1 mapping", &format!("{many} mappings, the last"), "ratio"];
    report.table("New TCP connections per second (medians of interleaved runs)", &head, rows);
}

/// This program in a namespace, on one CPU.
pub(crate) fn itself(netns: &str, cpu: &str) -> Command {
    let mut command = within(netns, "taskset");
    command.args(["-c", cpu]).arg(std::env::current_exe().unwrap_or_else(|_| "bench".into()));
    command.stdin(Stdio::null());
    command
}

fn set(netns: &str, key: &str, value: &str) -> Outcome<()> {
    let script = "echo \"$2\" >/proc/sys/net/$1";
    let done = within(netns, "sh").args(["-c", script, "sh", key, value]).status()?;
    if done.success() { Ok(()) } else { Err(format!("{key} cannot be set in {netns}").into()) }
}

fn by_netmode(name: &str, server: &str, mappings: u16) -> Outcome<Agent> {
    let agent = Agent::start(name)?;
    let ports: Vec<String> = (FIRST..FIRST + mappings).map(|port| format!("{port}:80")).collect();
    agent.attach(server, &ports)?;
    Ok(agent)
}

/// A bridge as everybody makes it, and rules as the portmap plugin writes them.
fn by_hand(name: &str, server: &str, label: &str, mappings: u16) -> Outcome<()> {
    for words in [
        format!("-n {name} link add br0 type bridge"),
        format!("-n {name} addr add 172.18.0.1/24 dev br0"),
        format!("-n {name} link set br0 up"),
        format!("-n {name} link add port0 index 20 type veth peer name eth0 index 21 netns {server}"),
        format!("-n {name} link set port0 master br0 up"),
        format!("-n {server} addr add {SERVER}/24 dev eth0"),
        format!("-n {server} link set eth0 up"),
        format!("-n {server} route add default via 172.18.0.1"),
    ] {
        run(&["ip"].into_iter().chain(words.split(' ')).collect::<Vec<_>>())?;
    }
    set(name, "ipv4/ip_forward", "1")?;
    let ports = FIRST..FIRST + mappings;
    match label {
        IPTABLES => {
            let rule =
                |p: u16| format!("-A HOSTPORTS -p tcp -m tcp --dport {p} -j DNAT --to-destination {SERVER}:80\n");
            let rules: String = ports.map(rule).collect();
            let head = "*nat\n:HOSTPORTS - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j HOSTPORTS\n";
            feed(name, "iptables-restore", &[], &format!("{head}{rules}COMMIT\n"))
        }
        NFT => {
            let rules: String = ports.map(|p| format!("tcp dport {p} dnat ip to {SERVER}:80\n")).collect();
            let hook = "type nat hook prerouting priority -100; fib daddr type local jump hostports";
            let text = format!("table inet t {{\nchain hostports {{\n{rules}}}\nchain pre {{ {hook}\n}}\n}}\n");
            feed(name, "nft", &["-f", "-"], &text)
        }
        _ => Ok(()),
    }
}

pub(crate) fn feed(netns: &str, program: &str, args: &[&str], text: &str) -> Outcome<()> {
    let mut child = within(netns, program).args(args).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no pipe")?.write_all(text.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err(format!("{program} refused its rules").into()) }
}
