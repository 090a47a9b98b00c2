//! Many short connections.

use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Threads that connect.
const THREADS: u64 = 8;

/// The first port that a connection comes from, and how many there are: each has one of its own, that two are not taken for
/// one.
const PORTS: (u16, u64) = (10_000, 50_000);

/// Opens and closes so many connections to an address, at most so many a second (0: as many as can be), and prints how many
/// came about and the seconds that it took.
pub fn connect(to: &str, count: &str, rate: &str) -> Result<(), String> {
    let bad = |what: &str| format!("{what} is no usable argument");
    let to: SocketAddr = to.parse().map_err(|_| bad(to))?;
    let count: u64 = count.parse().map_err(|_| bad(count))?;
    let rate: u64 = rate.parse().map_err(|_| bad(rate))?;
    let (next, made, begun) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let due = (n * 1_000_000).checked_div(rate).map(|micros| begun + Duration::from_micros(micros));
                    std::thread::sleep(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now())));
                    if one(to, PORTS.0 + (n % PORTS.1) as u16).is_ok() {
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    println!("{} {}", made.into_inner(), begun.elapsed().as_secs_f64());
    Ok(())
}

fn one(to: SocketAddr, from: u16) -> io::Result<()> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(any, from).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(5))
}
