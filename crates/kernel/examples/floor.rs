//! What the executor costs, in a namespace of its own: `cargo run -p netmode-kernel --release --example floor [N]`.
//!
//! The figures to compare with are those of raw netlink in `docs/benchmarks.md`.
#![allow(clippy::unwrap_used)]

use netmode_kernel::hold::{Inherited, hold_range};
use netmode_kernel::{Kernel, KernelConfig, Scope};
use netmode_model::nft::*;
use netmode_model::op::Route;
use netmode_model::{Final, HostAddr, IfName, Mac, NetnsName, Op, Place, PortRange, Protocol};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn dev(name: &str) -> IfName {
    name.parse().unwrap()
}

fn netns(n: u32) -> NetnsName {
    format!("nm-{n}").parse().unwrap()
}

fn ruleset() -> Ruleset {
    let set = Set {
        name: "ports".into(),
        key: vec![Type::InetProto, Type::InetService],
        data: vec![Type::Ipv4Addr, Type::InetService],
        interval: false,
    };
    let fields = vec![Field::L4Proto, Field::Dport];
    let action = Action::DnatBy { fields, map: "ports".into(), form: DnatForm::AddrPort(Family::V4) };
    let rule = Rule { matches: vec![Match::Family(Family::V4), Match::DaddrLocal], action };
    let base = Base { kind: ChainKind::Nat, hook: Hook::Prerouting, priority: -100 };
    let chain = Chain { name: "pre".into(), base: Some(base), rules: vec![rule] };
    Ruleset { table: TableName::inet("nm"), owner: true, flowtable: None, sets: vec![set], chains: vec![chain] }
}

fn element(port: u16) -> Op {
    let key = vec![Span::One(Datum::Proto(Protocol::Tcp)), Span::One(Datum::Port(port))];
    let data = vec![Datum::V4([10, 5, 0, 2].into()), Datum::Port(80)];
    Op::ElementAdd { table: TableName::inet("nm"), element: Element { set: "ports".into(), key, data } }
}

/// One endpoint with one port, as bridge mode makes it.
fn endpoint(n: u32) -> Vec<Op> {
    let at = Place::Netns(netns(n));
    let host = dev(&format!("v{n}"));
    let ip = std::net::Ipv4Addr::from(0x0a05_0000 + n + 2);
    let eth0 = dev("eth0");
    vec![
        Op::NetnsAdd { netns: netns(n), variables: vec![] },
        Op::VethAdd {
            dev: host.clone(),
            mac: None,
            bridge: Some(dev("nm0")),
            peer_at: at.clone(),
            peer: eth0.clone(),
            peer_mac: Mac::from_ipv4(ip),
            mtu: 1500,
            group: 7,
        },
        Op::PortUp { dev: host, hairpin: true, isolated: false, alias: format!("netmode endpoint {n}") },
        // Without it every link that comes up sends to every other: a 1,000th attach would cost 1,000 packets.
        Op::Sysctl { at: at.clone(), key: "net/ipv6/conf/eth0/disable_ipv6".into(), value: "1".into() },
        Op::LinkUp { at: at.clone(), dev: eth0.clone() },
        Op::AddrAdd { at: at.clone(), dev: eth0.clone(), addr: format!("{ip}/16").parse().unwrap() },
        Op::RouteAdd(Route::main(at, None, Some("10.5.0.1".parse().unwrap()), eth0)),
        element(n as u16 + 1),
    ]
}

/// What follows the point of no return: flows of before are forgotten, and neighbours told.
fn after(n: u32) -> [Final; 2] {
    let ports = PortRange::single(n as u16 + 1).unwrap();
    let ip = std::net::Ipv4Addr::from(0x0a05_0000 + n + 2);
    [
        Final::FlushConntrack { protocol: Protocol::Tcp, host: HostAddr::Any, ports, kept: vec![] },
        Final::Announce { at: Place::Netns(netns(n)), dev: dev("eth0"), ip: ip.into(), mac: Mac::from_ipv4(ip) },
    ]
}

fn timed<T>(times: &mut Vec<Duration>, job: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = job();
    times.push(begun.elapsed());
    result
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
    println!("{what:<48} p50 {:>7} µs  p99 {:>7} µs", at(0.5), at(0.99));
}

fn once<T>(what: &str, job: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = job();
    println!("{what:<48} {:>11.3} ms", begun.elapsed().as_secs_f64() * 1e3);
    result
}

fn lab() -> Kernel {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
    let dir = std::env::temp_dir();
    mount(Some("lab"), &dir, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let kernel = once("open", || {
        Kernel::open(KernelConfig { netns_dir: dir.join("netns"), table: "nm".into() }, &Inherited::default()).unwrap()
    });
    kernel
        .apply(&[
            Op::LinkUp { at: Place::Host, dev: dev("lo") },
            Op::BridgeAdd {
                dev: dev("nm0"),
                mac: Mac::from_octets([2, 0x42, 0, 0, 0, 1]),
                mtu: 1500,
                alias: "floor".into(),
                group: 0,
            },
            Op::AddrAdd { at: Place::Host, dev: dev("nm0"), addr: "10.5.0.1/16".parse().unwrap() },
            Op::LinkUp { at: Place::Host, dev: dev("nm0") },
        ])
        .unwrap();
    once("whole table", || kernel.apply(&[Op::TableAdd(ruleset())]).unwrap());
    kernel
}

fn endpoints(kernel: &Kernel, count: u32) {
    let (mut attach, mut flush, mut announce) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..count {
        let ops = endpoint(n);
        timed(&mut attach, || kernel.apply(&ops).unwrap());
        let [forget, tell] = after(n);
        assert_eq!(timed(&mut flush, || kernel.finish(&[forget])), []);
        assert_eq!(timed(&mut announce, || kernel.finish(&[tell])), []);
    }
    let tenth = (count as usize / 10).max(1);
    report("attach: all", attach.clone());
    report("attach: first tenth", attach[..tenth].to_vec());
    report("attach: last tenth", attach[attach.len() - tenth..].to_vec());
    report("flows forgotten", flush);
    report("announced", announce);
    let names: Vec<NetnsName> = (0..count).map(netns).collect();
    let seen = once(&format!("observe {count} endpoints"), || {
        kernel.observe(Scope { namespaces: &names, table: true }).unwrap()
    });
    assert_eq!(seen.links.iter().filter(|l| l.group == 7).count(), count as usize);
    let mut detach = Vec::new();
    let last = Instant::now();
    for n in 0..count {
        let gone = element(n as u16 + 1).inverse();
        timed(&mut detach, || {
            assert_eq!(kernel.undo(vec![gone]), []);
            assert_eq!(kernel.finish(&[Final::NetnsDrop { netns: netns(n) }]), []);
        });
    }
    report("detach", detach);
    while kernel.observe(Scope::default()).unwrap().links.iter().any(|l| l.group == 7) {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{:<48} {:>11.3} ms", "first detach to last link gone", last.elapsed().as_secs_f64() * 1e3);
}

fn parallel(kernel: &Kernel, count: u32) {
    let next = AtomicU32::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                while let Some(n) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < count) {
                    kernel.apply(&endpoint(n)).unwrap();
                }
            });
        }
    });
    println!(
        "{:<48} {:>11.0} /s",
        format!("{count} attaches by 32 clients"),
        f64::from(count) / begun.elapsed().as_secs_f64()
    );
    let begun = Instant::now();
    for n in 0..count {
        assert_eq!(kernel.undo(vec![element(n as u16 + 1).inverse()]), []);
        assert_eq!(kernel.finish(&[Final::NetnsDrop { netns: netns(n) }]), []);
    }
    while kernel.observe(Scope::default()).unwrap().links.iter().any(|l| l.group == 7) {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{:<48} {:>11.3} ms", "all gone again after", begun.elapsed().as_secs_f64() * 1e3);
}

fn ports(kernel: &Kernel) {
    for count in [1_000u16, 15_000] {
        let ops: Vec<Op> = (1..=count).map(|n| element(20_000 + n)).collect();
        let done = once(&format!("{count} elements added"), || kernel.apply(&ops).unwrap());
        once(&format!("{count} elements removed"), || assert_eq!(kernel.undo(done), []));
    }
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for n in 0..300 {
        let op = [element(50_000 + n)];
        let done = timed(&mut add, || kernel.apply(&op).unwrap());
        timed(&mut remove, || kernel.undo(done));
    }
    report("1 element added", add);
    report("1 element removed", remove);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    for (count, protocol) in [(1_000, Protocol::Tcp), (1_000, Protocol::Udp), (15_000, Protocol::Tcp)] {
        let range = PortRange::new(20_001, 20_000 + count).unwrap();
        let held = once(&format!("{count} {protocol} ports held"), || {
            hold_range(&Inherited::default(), protocol, HostAddr::Any, range).unwrap()
        });
        once(&format!("{count} {protocol} ports let go"), || drop(held));
    }
}

fn main() {
    let count = std::env::args().nth(1).map_or(1_000, |n| n.parse().unwrap());
    let kernel = lab();
    endpoints(&kernel, count);
    parallel(&kernel, count);
    ports(&kernel);
}
