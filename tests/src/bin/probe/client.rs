//! Asking servers, and binding as a stranger would.

use crate::server::socket;
use netmode_tests::wire::{Failure, Proto, Seen, Tally};
use socket2::{SockAddr, Socket};
use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// EPERM of a local `prohibit` route and EACCES of a routed one are "no route" to the one who asks.
const EACCES: i32 = 13;

/// How the kernel's word reads to a test.
pub(crate) fn failure(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        // WouldBlock: SO_RCVTIMEO ran out.
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Failure::Timeout,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => Failure::Unreachable,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => Failure::Cut,
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable => Failure::Taken,
        _ if error.raw_os_error() == Some(EACCES) => Failure::Unreachable,
        _ => Failure::Other(error.to_string()),
    }
}

/// Asks `who`.
pub(crate) fn who(proto: Proto, to: SocketAddr, from: Option<SocketAddr>, wait: Duration) -> Result<Seen, Failure> {
    let socket = socket(proto, &to).map_err(|e| failure(&e))?;
    if let Some(from) = from {
        socket.set_reuse_address(true).and_then(|()| socket.bind(&SockAddr::from(from))).map_err(|e| failure(&e))?;
    }
    let answer = match proto {
        Proto::Udp => who_udp(socket, to, wait),
        Proto::Tcp | Proto::Sctp => who_stream(&socket, to, wait),
    };
    let line = answer.map_err(|e| failure(&e))?;
    serde_json::from_str(&line).map_err(|e| Failure::Other(format!("{e} in {line:?}")))
}

fn who_stream(socket: &Socket, to: SocketAddr, wait: Duration) -> Result<String, Error> {
    socket.connect_timeout(&SockAddr::from(to), wait)?;
    let mut stream = TcpStream::from(socket.try_clone()?);
    stream.set_read_timeout(Some(wait))?;
    stream.write_all(b"who\n")?;
    read_line(stream)
}

/// Asks every 100 ms: the first datagram may be lost to address resolution.
fn who_udp(socket: Socket, to: SocketAddr, wait: Duration) -> Result<String, Error> {
    let until = Instant::now() + wait;
    let socket = UdpSocket::from(socket);
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut buffer = [0; 2048];
    loop {
        socket.send(b"who")?;
        match socket.recv(&mut buffer) {
            Ok(n) => return Ok(String::from_utf8_lossy(&buffer[..n]).into_owned()),
            Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < until => {}
            Err(e) => return Err(e),
        }
    }
}

fn read_line(stream: TcpStream) -> Result<String, Error> {
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}

/// Opens a connection and makes sure that the server is there.
pub(crate) fn open(to: SocketAddr) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).map_err(|e| failure(&e))?;
    say(&mut stream, "hello")?;
    Ok(stream)
}

/// Sends a line and reads its echo.
pub(crate) fn say(stream: &mut TcpStream, text: &str) -> Result<(), Failure> {
    let line = format!("{text}\n");
    let echo = stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .and_then(|()| stream.write_all(line.as_bytes()))
        .and_then(|()| read_line(stream.try_clone()?))
        .map_err(|e| failure(&e))?;
    if echo == line { Ok(()) } else { Err(Failure::Other(format!("sent {line:?}, got {echo:?}"))) }
}

/// What is lost is lost for good: the server's kernel does not ask again for a datagram. A stalled machine is not a loss.
const ANSWER: Duration = Duration::from_secs(3);

/// Asks again and again.
pub(crate) fn hammer(proto: Proto, to: SocketAddr, span: Duration, pause: Duration) -> Tally {
    let start = Instant::now();
    let (mut tally, mut last) = (Tally::default(), start);
    while start.elapsed() < span {
        match who(proto, to, None, ANSWER) {
            Ok(_) => {
                tally.longest_gap_ms = tally.longest_gap_ms.max(last.elapsed().as_millis() as u64);
                tally.answered += 1;
                last = Instant::now();
            }
            Err(_) => tally.failed += 1,
        }
        std::thread::sleep(pause);
    }
    tally.longest_gap_ms = tally.longest_gap_ms.max(last.elapsed().as_millis() as u64);
    tally
}

/// Binds; TCP listens as well.
pub(crate) fn bind(proto: Proto, at: SocketAddr, tricks: bool) -> Result<Socket, Failure> {
    let attempt = || {
        let socket = socket(proto, &at)?;
        if tricks {
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
        }
        if at.is_ipv6() {
            socket.set_only_v6(tricks)?;
        }
        socket.bind(&SockAddr::from(at))?;
        if proto != Proto::Udp {
            socket.listen(1)?;
        }
        Ok(socket)
    };
    attempt().map_err(|e| failure(&e))
}
