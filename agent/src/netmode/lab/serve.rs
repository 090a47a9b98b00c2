//! The web server of the labs. What it answers are the two ends of the connection as it sees them, which is what the
//! modes are about.

use crate::failure::Failure;
use crate::output::print;
use netmode_model::Code;
use nix::sys::signal::{SigSet, Signal};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long a client may think.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until it is ended.
pub(crate) fn serve(name: Option<&str>, ip: Option<IpAddr>, port: u16) -> Result<(), Failure> {
    let own = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.unwrap_or(&own);
    let listener = listen(ip, port)
        .map_err(|error| Failure::new(Code::PortTaken, format!("{name} cannot listen on tcp port {port}: {error}")))?;
    // As first process of a container it would not be ended by SIGTERM otherwise.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    if signals.thread_block().is_ok() {
        std::thread::spawn(move || signals.wait().map(|_| std::process::exit(0)));
    }
    print(&format!("{name} listens on tcp port {port}\n"))?;
    loop {
        // A client that has gone is no reason to end.
        if let Ok((stream, _)) = listener.accept() {
            let name = name.to_owned();
            std::thread::spawn(move || answer(stream, &name));
        }
    }
}

/// Both families by one socket, or IPv4 where there is no IPv6.
fn listen(ip: Option<IpAddr>, port: u16) -> std::io::Result<TcpListener> {
    match ip {
        Some(ip) => TcpListener::bind((ip, port)),
        None => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| match error.raw_os_error() {
            Some(nix::libc::EAFNOSUPPORT | nix::libc::EADDRNOTAVAIL) => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            }
            _ => Err(error),
        }),
    }
}

/// One request, one answer: HTTP/1.0 is all that is needed.
fn answer(mut stream: TcpStream, name: &str) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16384 {
        match stream.read(&mut part).ok()? {
            0 => break,
            n => head.extend_from_slice(&part[..n]),
        }
    }
    let (me, you) = (shown(stream.local_addr().ok()?), shown(stream.peer_addr().ok()?));
    let body = format!("hello from {name}: you came from {}, and asked {me}\n", you.ip());
    let reply = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes()).ok()
}

/// An IPv4 address as one, though the socket is of IPv6.
fn shown(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
