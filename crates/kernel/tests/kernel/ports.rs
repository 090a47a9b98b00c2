//! Held ports.

use netmode_kernel::hold::{Held, HoldError, Inherited, hold, hold_range, who_holds};
use netmode_model::{HostAddr, PortRange, Protocol};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::*;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

fn host(ip: &str) -> HostAddr {
    HostAddr::Ip(ip.parse().unwrap())
}

/// A stranger who asks for reuse.
fn stranger(kind: SockType, address: &str) -> nix::Result<OwnedFd> {
    let address: SocketAddr = address.parse().unwrap();
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

#[test]
fn every_form_keeps_a_stranger_out_who_asks_for_reuse() {
    let _lab = lab!();
    let cases: [(HostAddr, &[&str], &[&str]); 5] = [
        (HostAddr::Any, &["0.0.0.0:80", "127.0.0.1:80", "[::]:80", "[::1]:80"], &[]),
        (host("0.0.0.0"), &["0.0.0.0:80", "127.0.0.1:80"], &["[::1]:80"]),
        (host("::"), &["[::]:80", "[::1]:80"], &["127.0.0.1:80"]),
        (host("127.0.0.1"), &["0.0.0.0:80", "127.0.0.1:80"], &["[::1]:80", "127.0.0.2:80"]),
        (host("::1"), &["[::]:80", "[::1]:80"], &["127.0.0.1:80"]),
    ];
    for (protocol, kind) in [(Protocol::Tcp, SockType::Stream), (Protocol::Udp, SockType::Datagram)] {
        for (address, taken, free) in cases {
            let held = hold(protocol, address, 80).unwrap();
            assert!(matches!(held, Held::Socket(_)));
            for other in taken {
                assert_eq!(stranger(kind, other).err(), Some(nix::Error::EADDRINUSE), "{protocol} {address} {other}");
            }
            for other in free {
                assert!(stranger(kind, other).is_ok(), "{protocol} {address} {other}");
            }
            drop(held);
            assert!(stranger(kind, taken[0]).is_ok());
        }
    }
}

#[test]
fn a_holder_of_one_family_makes_the_dual_stack_form_fail() {
    let _lab = lab!();
    let listener = TcpListener::bind("0.0.0.0:80").unwrap();
    let taken = HoldError::Taken { protocol: Protocol::Tcp, host: HostAddr::Any, port: 80 };
    assert_eq!(hold(Protocol::Tcp, HostAddr::Any, 80).unwrap_err(), taken);
    let holder = who_holds(Protocol::Tcp, 80).unwrap();
    assert_eq!(holder.pid, std::process::id());
    assert!(!holder.command.is_empty());
    drop(listener);
    assert_eq!(who_holds(Protocol::Tcp, 80), None);
    let _udp = UdpSocket::bind("[::1]:53").unwrap();
    assert!(hold(Protocol::Udp, HostAddr::Any, 53).is_err());
    assert_eq!(who_holds(Protocol::Udp, 53).unwrap().pid, std::process::id());
}

#[test]
fn a_caller_of_a_held_port_is_answered_and_a_datagram_dropped() {
    let _lab = lab!();
    let _tcp = hold(Protocol::Tcp, HostAddr::Any, 80).unwrap();
    for to in ["127.0.0.1:80", "[::1]:80"] {
        let error = TcpStream::connect_timeout(&to.parse().unwrap(), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}");
    }
    let Ok(Held::Socket(udp)) = hold(Protocol::Udp, HostAddr::Any, 53) else { panic!("not held") };
    let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        caller.send_to(b"x", "127.0.0.1:53").unwrap();
    }
    let mut buffer = [0; 8];
    assert_eq!(recv(udp.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT), Err(nix::Error::EAGAIN));
}

#[test]
fn an_address_that_the_host_lacks_is_named() {
    let _lab = lab!();
    for ip in ["192.0.2.1", "2001:db8::1"] {
        let error = hold(Protocol::Tcp, host(ip), 80).unwrap_err();
        assert_eq!(error, HoldError::NoSuchAddress { host: host(ip) });
    }
}

#[test]
fn sctp_is_held_or_recorded() {
    let _lab = lab!();
    match hold(Protocol::Sctp, HostAddr::Any, 80).unwrap() {
        Held::Socket(_) => assert!(hold(Protocol::Sctp, HostAddr::Any, 80).is_err()),
        Held::Recorded => assert!(hold(Protocol::Sctp, HostAddr::Any, 80).is_ok()),
    }
}

#[test]
fn a_range_is_held_whole_or_not_at_all() {
    let _lab = lab!();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(20_000), hard).unwrap();
    for (count, protocol) in [(1_000, Protocol::Tcp), (1_000, Protocol::Udp), (15_000, Protocol::Tcp)] {
        let begun = std::time::Instant::now();
        let held =
            hold_range(&Inherited::default(), protocol, HostAddr::Any, PortRange::new(20_001, 20_000 + count).unwrap())
                .unwrap();
        println!("{count} {protocol} ports held in {:?}", begun.elapsed());
        assert_eq!(held.len(), usize::from(count));
    }
    let _one = hold(Protocol::Tcp, HostAddr::Any, 20_500).unwrap();
    let range = PortRange::new(20_001, 21_000).unwrap();
    assert!(matches!(
        hold_range(&Inherited::default(), Protocol::Tcp, HostAddr::Any, range),
        Err(HoldError::Taken { port: 20_500, .. })
    ));
    assert!(stranger(SockType::Stream, "127.0.0.1:20001").is_ok());
    // Other ports than before: a program that another test is starting has those until its exec.
    let all = hold_range(&Inherited::default(), Protocol::Tcp, HostAddr::Any, PortRange::new(36_000, 65_535).unwrap());
    assert_eq!(all.unwrap_err(), HoldError::Limit { limit: hard.min(20_000) });
    assert!(TcpListener::bind((IpAddr::from([127, 0, 0, 1]), 36_000)).is_ok(), "descriptors are left for others");
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
}
