//! A server that answers `who` with what it sees, an HTTP request with the same as a page, and echoes all else.

use netmode_tests::wire::{Proto, Seen};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// IANA's number; std and socket2 have no name for it on every target.
const SCTP: i32 = 132;

/// A socket of the protocol.
pub(crate) fn socket(proto: Proto, family: &SocketAddr) -> std::io::Result<Socket> {
    let (kind, protocol) = match proto {
        Proto::Tcp => (Type::STREAM, Protocol::TCP),
        Proto::Udp => (Type::DGRAM, Protocol::UDP),
        Proto::Sctp => (Type::STREAM, Protocol::from(SCTP)),
    };
    Socket::new(Domain::for_address(*family), kind, Some(protocol))
}

/// The name of the machine or container.
pub(crate) fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|s| s.trim().to_owned()).unwrap_or_default()
}

/// Starts the servers of `tcp/80`, `udp/127.0.0.1:53` or `tcp/8000-8009`; returns when all are bound.
pub(crate) fn start(spec: &str, tag: &str) -> Result<(), String> {
    let (proto, addresses) = parse(spec).ok_or_else(|| format!("{spec:?} is no tcp/[ADDR:]PORT[-LAST]"))?;
    for at in addresses {
        let listener = listen(proto, at).map_err(|e| format!("{proto} {at}: {e}"))?;
        let tag = tag.to_owned();
        match proto {
            Proto::Udp => spawn_small(move || serve_udp(&UdpSocket::from(listener), &tag)),
            // A stream is a stream: std's types carry SCTP's as well.
            Proto::Tcp | Proto::Sctp => spawn_small(move || serve_streams(&TcpListener::from(listener), &tag)),
        }
    }
    Ok(())
}

/// Hundreds of these may run: ranges of ports have a thread each.
fn spawn_small(work: impl FnOnce() + Send + 'static) {
    if let Err(e) = thread::Builder::new().stack_size(64 << 10).spawn(work) {
        eprintln!("probe: thread: {e}");
    }
}

fn parse(spec: &str) -> Option<(Proto, Vec<SocketAddr>)> {
    let (proto, rest) = spec.split_once('/')?;
    let proto = match proto {
        "tcp" => Proto::Tcp,
        "udp" => Proto::Udp,
        "sctp" => Proto::Sctp,
        _ => return None,
    };
    let (ip, ports) = match rest.rsplit_once(':') {
        Some((ip, ports)) => (ip.trim_matches(['[', ']']).parse().ok()?, ports),
        None => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), rest),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let ports = first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?;
    Some((proto, ports.map(|port| SocketAddr::new(ip, port)).collect()))
}

fn listen(proto: Proto, at: SocketAddr) -> std::io::Result<Socket> {
    let try_at = |at: SocketAddr| {
        let socket = socket(proto, &at)?;
        if proto != Proto::Udp {
            socket.set_reuse_address(true)?;
        }
        if at.is_ipv6() {
            socket.set_only_v6(!at.ip().is_unspecified())?;
        }
        socket.bind(&SockAddr::from(at))?;
        if proto != Proto::Udp {
            socket.listen(128)?;
        }
        Ok::<_, std::io::Error>(socket)
    };
    match try_at(at) {
        // A kernel without IPv6.
        Err(e) if at.ip() == Ipv6Addr::UNSPECIFIED && e.raw_os_error() == Some(97) => {
            try_at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port()))
        }
        other => other,
    }
}

/// What a server on a dual-stack socket saw, with IPv4 as IPv4.
fn seen(peer: SocketAddr, local: SocketAddr, tag: &str) -> String {
    let seen = Seen { peer: peer.ip().to_canonical(), peer_port: peer.port(), port: local.port(), tag: tag.into() };
    serde_json::to_string(&seen).unwrap_or_default()
}

fn serve_udp(socket: &UdpSocket, tag: &str) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((n, peer)) = socket.recv_from(&mut buffer) else { continue };
        let local = socket.local_addr().unwrap_or(peer);
        let reply =
            if buffer[..n].starts_with(b"who") { seen(peer, local, tag).into_bytes() } else { buffer[..n].into() };
        // Nobody is told: UDP.
        let _ = socket.send_to(&reply, peer);
    }
}

fn serve_streams(listener: &TcpListener, tag: &str) {
    loop {
        let Ok((stream, peer)) = listener.accept() else { continue };
        let tag = tag.to_owned();
        spawn_small(move || {
            let _ = talk(stream, peer, &tag);
        });
    }
}

fn talk(mut stream: TcpStream, peer: SocketAddr, tag: &str) -> std::io::Result<()> {
    let mine = seen(peer, stream.local_addr()?, tag);
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        if line.starts_with("GET ") {
            // The head is read to its end, else closing would reset the connection.
            while lines.read_line(&mut line)? > 2 {}
            let length = mine.len() + 1;
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{mine}\n")?;
            return Ok(());
        }
        let reply = if line == "who\n" { format!("{mine}\n") } else { line.clone() };
        stream.write_all(reply.as_bytes())?;
        line.clear();
    }
    Ok(())
}
