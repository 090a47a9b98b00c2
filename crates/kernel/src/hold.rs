//! Ports kept from everybody else by sockets.
//!
//! A published port is translated before it reaches a socket of the host, so a socket that is bound to it does
//! not disturb; it keeps strangers out (EADDRINUSE) and answers where no rule applies: TCP with RST, because
//! it is bound but does not listen. UDP would collect what comes and never be read, so a filter drops it.

mod holder;
mod inherited;
mod socket;

pub use holder::{Holder, who_holds};
pub use inherited::Inherited;

use netmode_model::{HostAddr, PortRange, Protocol};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Descriptors that a request for ports leaves for everything else: connections, namespaces, log files.
const HEADROOM: u64 = 256;

/// A port that is held as long as this lives.
#[derive(Debug)]
pub enum Held {
    /// By a socket.
    Socket(OwnedFd),
    /// By the agent's record alone: the kernel has no sockets of the protocol (SCTP without its module).
    Recorded,
}

impl Held {
    /// The socket, if one holds the port.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Socket(fd) => Some(fd.as_fd()),
            Self::Recorded => None,
        }
    }
}

/// Sockets that answer on `[::1]`, by port.
pub type Answering = Vec<(u16, OwnedFd)>;

/// The port cannot be held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// Somebody has it; [`who_holds`] may tell who.
    #[error("{protocol} {host}:{port} is in use")]
    Taken {
        /// The transport protocol.
        protocol: Protocol,
        /// The host's address, if one was named.
        host: HostAddr,
        /// The port.
        port: u16,
    },
    /// The host lacks the address, or its whole family.
    #[error("this host has no address {host}")]
    NoSuchAddress {
        /// The address.
        host: HostAddr,
    },
    /// No descriptor to spare.
    #[error(
        "holding the ports needs more than the {limit} open files allowed (RLIMIT_NOFILE; {HEADROOM} are kept for other use)"
    )]
    Limit {
        /// The limit in effect.
        limit: u64,
    },
    /// Anything else.
    #[error("cannot hold {protocol} {host}:{port}: {}", errno.desc())]
    Other {
        /// The transport protocol.
        protocol: Protocol,
        /// The host's address, if one was named.
        host: HostAddr,
        /// The port.
        port: u16,
        /// The kernel's reason.
        errno: Errno,
    },
}

/// Holds a port of the namespace that the calling thread is in.
///
/// Without a host address one dual-stack socket holds it for both families; `0.0.0.0` and `::` hold one
/// family; an address holds itself. Without IPv6 in the kernel the first is an IPv4 socket.
///
/// # Errors
/// See [`HoldError`].
pub fn hold(protocol: Protocol, host: HostAddr, port: u16) -> Result<Held, HoldError> {
    hold_below(&Inherited::default(), limit(), protocol, host, port)
}

/// Holds all ports of a range, or none; with the sockets of an agent before this one where it left them.
///
/// # Errors
/// Of the first port that cannot be held.
pub fn hold_range(
    inherited: &Inherited,
    protocol: Protocol,
    host: HostAddr,
    ports: PortRange,
) -> Result<Vec<Held>, HoldError> {
    let limit = limit();
    ports.iter().map(|port| hold_below(inherited, limit, protocol, host, port)).collect()
}

/// Makes room for as many descriptors as a wide range needs, in advance. The table of descriptors of a process
/// with several threads grows by doubling, and each time waits for a grace period: 10 ms, in the middle of a
/// request. What is made room for costs 8 bytes each, in the kernel.
pub(crate) fn make_room() {
    /// Ports of the widest range that is promised to be quick.
    const ROOM: u64 = 16_384;
    let highest = (limit().saturating_sub(1)).min(ROOM) as i32;
    if let Ok(null) = std::fs::File::open("/dev/null")
        && let Ok(high) = nix::fcntl::fcntl(&null, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(highest))
    {
        // SAFETY: the descriptor was just made by fcntl, and nobody else knows it.
        drop(unsafe { OwnedFd::from_raw_fd(high) });
    }
}

/// Holds all ports of a range, with a socket for each that answers on `[::1]`, or none.
///
/// The host's `::1` cannot be translated (IPv6 has no route_localnet), so whoever publishes to a container with
/// IPv6 carries that traffic itself. SCTP has no such socket.
///
/// # Errors
/// Of the first port that cannot be held.
pub fn hold_range_answering(
    inherited: &Inherited,
    protocol: Protocol,
    host: HostAddr,
    ports: PortRange,
) -> Result<(Vec<Held>, Answering), HoldError> {
    let limit = limit();
    let alone = host.specific().is_some();
    let mut held = Vec::new();
    let mut answering = Vec::new();
    for port in ports.iter() {
        let error = |errno| refused(errno, limit, protocol, host, port);
        let holder = if alone { None } else { Some(hold_below(inherited, limit, protocol, host, port)?) };
        if protocol != Protocol::Sctp {
            let bound = || socket::answering(holder.as_ref().and_then(Held::fd), protocol, port);
            let fd = inherited.take_answering(protocol, port).map_or_else(bound, Ok).map_err(error)?;
            answering.push((port, spare(fd, limit)?));
        }
        held.extend(holder);
    }
    Ok((held, answering))
}

/// The kernel gives the lowest free number, so the number tells how many are in use.
fn spare(fd: OwnedFd, limit: u64) -> Result<OwnedFd, HoldError> {
    if fd.as_raw_fd() as u64 + HEADROOM >= limit { Err(HoldError::Limit { limit }) } else { Ok(fd) }
}

fn refused(errno: Errno, limit: u64, protocol: Protocol, host: HostAddr, port: u16) -> HoldError {
    match errno {
        Errno::EADDRINUSE => HoldError::Taken { protocol, host, port },
        Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT => HoldError::NoSuchAddress { host },
        Errno::EMFILE | Errno::ENFILE => HoldError::Limit { limit },
        errno => HoldError::Other { protocol, host, port, errno },
    }
}

fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

fn hold_below(
    inherited: &Inherited,
    limit: u64,
    protocol: Protocol,
    host: HostAddr,
    port: u16,
) -> Result<Held, HoldError> {
    if let Some(fd) = inherited.take(protocol, host, port) {
        return Ok(Held::Socket(fd));
    }
    match socket::bound(protocol, host, port) {
        Ok(fd) => spare(fd, limit).map(Held::Socket),
        Err(Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT) if protocol == Protocol::Sctp => Ok(Held::Recorded),
        Err(errno) => Err(refused(errno, limit, protocol, host, port)),
    }
}
