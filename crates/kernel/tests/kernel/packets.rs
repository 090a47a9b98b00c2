//! Translation as packets meet it: from another namespace, both families, every form.

use crate::lab::*;
use crate::table::{TCP, add, element, everything, v4, v6};
use netmode_model::nft::*;
use netmode_model::{Op, Place};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Does something in a namespace of the lab, on a thread of its own.
pub fn inside<T: Send>(lab: &Lab, name: &str, job: impl FnOnce() -> T + Send) -> T {
    let ns = File::open(lab.dir.join("netns").join(name)).unwrap();
    std::thread::scope(|scope| {
        let run = move || {
            setns(ns, CloneFlags::CLONE_NEWNET).unwrap();
            job()
        };
        scope.spawn(run).join().unwrap()
    })
}

/// Answers each caller with the port that was called and the address that is seen.
pub fn serve(lab: &Lab, name: &str, ports: &[u16]) {
    for (family, port) in ports.iter().flat_map(|port| [("0.0.0.0", port), ("::", port)]) {
        let listener = inside(lab, name, || {
            let fd = nix::sys::socket::socket(
                if family == "::" {
                    nix::sys::socket::AddressFamily::Inet6
                } else {
                    nix::sys::socket::AddressFamily::Inet
                },
                nix::sys::socket::SockType::Stream,
                nix::sys::socket::SockFlag::SOCK_CLOEXEC,
                None,
            )
            .unwrap();
            if family == "::" {
                nix::sys::socket::setsockopt(&fd, nix::sys::socket::sockopt::Ipv6V6Only, &true).unwrap();
            }
            let address: SocketAddr = SocketAddr::new(family.parse().unwrap(), *port);
            let address = nix::sys::socket::SockaddrStorage::from(address);
            nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &address).unwrap();
            nix::sys::socket::listen(&fd, nix::sys::socket::Backlog::new(16).unwrap()).unwrap();
            TcpListener::from(fd)
        });
        std::thread::spawn(move || {
            for caller in listener.incoming() {
                let mut caller = caller.unwrap();
                let seen = format!("{} {}", caller.local_addr().unwrap().port(), caller.peer_addr().unwrap().ip());
                let _ = caller.write_all(seen.as_bytes());
            }
        });
    }
}

/// What a server answers to a call from a namespace.
pub fn call(lab: &Lab, from: &str, to: &str) -> std::io::Result<String> {
    inside(lab, from, || {
        let mut stream = TcpStream::connect_timeout(&to.parse().unwrap(), Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
}

/// The host with `nm0`, a server `c1` (10.5.0.2, fd05::2) and a neighbour `lan` on a bridge of its own
/// (192.0.2.9, 2001:db8::9), forwarding on.
pub fn network(lab: &Lab) {
    let mut ops = bridge();
    ops.extend(container("c1", 2));
    let lan = dev("lan0");
    let addr = |at: Place, dev: &netmode_model::IfName, addr: &str| Op::AddrAdd {
        at,
        dev: dev.clone(),
        addr: addr.parse().unwrap(),
    };
    let eth0 = dev("eth0");
    let route = |via: &str| {
        let via = Some(via.parse().unwrap());
        Op::RouteAdd(netmode_model::op::Route::main(at("lan"), None, via, dev("eth0")))
    };
    ops.extend([
        Op::BridgeAdd { dev: lan.clone(), mac: mac(0x81), mtu: 1500, alias: "lan".into(), group: 0 },
        addr(Place::Host, &lan, "192.0.2.1/24"),
        addr(Place::Host, &lan, "2001:db8::1/64"),
        addr(Place::Host, &lan, "fe80::1/64"),
        Op::LinkUp { at: Place::Host, dev: lan.clone() },
        Op::NetnsAdd { netns: netns("lan"), variables: vec![] },
        Op::VethAdd {
            dev: dev("vlan9"),
            mac: None,
            bridge: Some(lan),
            peer_at: at("lan"),
            peer: dev("eth0"),
            peer_mac: mac(0x89),
            mtu: 1500,
            group: 0,
        },
        Op::PortUp { dev: dev("vlan9"), hairpin: false, isolated: false, alias: "lan".into() },
        Op::LinkUp { at: at("lan"), dev: eth0.clone() },
        addr(at("lan"), &eth0, "192.0.2.9/24"),
        addr(at("lan"), &eth0, "2001:db8::9/64"),
        route("192.0.2.1"),
        route("2001:db8::1"),
        Op::Sysctl { at: Place::Host, key: "net/ipv4/ip_forward".into(), value: "1".into() },
        Op::Sysctl { at: Place::Host, key: "net/ipv6/conf/all/forwarding".into(), value: "1".into() },
    ]);
    lab.apply(&ops);
}

fn one(port: u16) -> Span {
    Span::One(Datum::Port(port))
}

fn range(first: u16, last: u16) -> Span {
    Span::Range(Datum::Port(first), Datum::Port(last))
}

#[test]
fn single_ports_and_equal_ranges_reach_the_container_with_the_callers_address() {
    let lab = lab!();
    network(&lab);
    serve(&lab, "c1", &[80, 8050]);
    let here = Span::One(v6("2001:db8::1"));
    lab.apply(&[
        Op::TableAdd(everything(false)),
        add(element("any4", vec![Span::One(TCP), one(8080)], vec![v4("10.5.0.2"), Datum::Port(80)])),
        add(element("any6", vec![Span::One(TCP), one(8080)], vec![v6("fd05::2"), Datum::Port(80)])),
        add(element(
            "port4",
            vec![Span::One(TCP), Span::One(v4("192.0.2.1")), one(81)],
            vec![v4("10.5.0.2"), Datum::Port(80)],
        )),
        add(element("port6", vec![Span::One(TCP), here.clone(), one(81)], vec![v6("fd05::2"), Datum::Port(80)])),
        add(element("range4", vec![Span::One(TCP), range(8000, 8079)], vec![v4("10.5.0.2")])),
        add(element("range6", vec![Span::One(TCP), here, range(8000, 8079)], vec![v6("fd05::2")])),
    ]);
    for (port, reached) in [(8080, 80), (81, 80), (8050, 8050)] {
        assert_eq!(call(&lab, "lan", &format!("192.0.2.1:{port}")).unwrap(), format!("{reached} 192.0.2.9"));
        assert_eq!(call(&lab, "lan", &format!("[2001:db8::1]:{port}")).unwrap(), format!("{reached} 2001:db8::9"));
    }
    // Not the port's address, and routed traffic is nobody's business.
    assert!(call(&lab, "c1", "10.5.0.1:81").is_err());
}

/// Maps with `min` and `max` for shifted ranges, of both families.
fn shifting() -> Ruleset {
    let set = |name: &str, address| Set {
        name: name.into(),
        key: vec![Type::InetProto, Type::InetService],
        data: vec![address, Type::InetService, Type::InetService],
        interval: true,
    };
    let rule = |family, map: &str| Rule {
        matches: vec![Match::Family(family), Match::DaddrLocal],
        action: Action::DnatBy {
            fields: vec![Field::L4Proto, Field::Dport],
            map: map.into(),
            form: DnatForm::Shift(family),
        },
    };
    let base = netmode_model::nft::Base {
        kind: netmode_model::nft::ChainKind::Nat,
        hook: netmode_model::nft::Hook::Prerouting,
        priority: -100,
    };
    Ruleset {
        table: TableName::inet("nm"),
        owner: false,
        flowtable: None,
        sets: vec![set("shift4", Type::Ipv4Addr), set("shift6", Type::Ipv6Addr)],
        chains: vec![Chain {
            name: "pre".into(),
            base: Some(base),
            rules: vec![rule(Family::V4, "shift4"), rule(Family::V6, "shift6")],
        }],
    }
}

#[test]
fn shifted_ranges_reach_the_port_that_is_meant() {
    let lab = lab!();
    network(&lab);
    // Host 8000-8099 to 9000-9099 (c ≥ h: min = c−h, max = last), host 7000-7009 to 80-89
    // (c < h: min = c, max = c+h−1).
    let cases = [(8000u16, 100u16, 9000u16, 1000u16, 9099u16), (7000, 10, 80, 80, 7079)];
    serve(&lab, "c1", &[80, 89, 9000, 9057, 9099]);
    let mut ops = vec![Op::TableAdd(shifting())];
    for (host, count, _, min, max) in cases {
        let key = || vec![Span::One(TCP), range(host, host + count - 1)];
        let to = |ip| vec![ip, Datum::Port(min), Datum::Port(max)];
        ops.push(add(element("shift4", key(), to(v4("10.5.0.2")))));
        ops.push(add(element("shift6", key(), to(v6("fd05::2")))));
    }
    lab.apply(&ops);
    assert_eq!(lab.table().unwrap().elements.len(), 4);
    for (port, reached) in [(8000, 9000), (8057, 9057), (8099, 9099), (7000, 80), (7009, 89)] {
        assert_eq!(call(&lab, "lan", &format!("192.0.2.1:{port}")).unwrap(), format!("{reached} 192.0.2.9"));
        assert_eq!(call(&lab, "lan", &format!("[2001:db8::1]:{port}")).unwrap(), format!("{reached} 2001:db8::9"));
    }
}
