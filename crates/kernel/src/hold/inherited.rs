//! Sockets that an agent before this one held, by what they are bound to.

use crate::keep::Bundle;
use netmode_model::{HostAddr, Protocol};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a predecessor left. Whoever takes a socket owns it; what nobody takes is closed with this.
#[derive(Debug, Default)]
pub struct Inherited(Mutex<Sockets>);

#[derive(Debug, Default)]
struct Sockets {
    holding: HashMap<(Protocol, HostAddr, u16), OwnedFd>,
    /// On `[::1]`, for traffic that the kernel cannot translate.
    answering: HashMap<(Protocol, u16), OwnedFd>,
    /// The one that owns the nf_tables table.
    table: Option<OwnedFd>,
    /// Copies in the queue, never dropped but by [`Inherited::clear`]: they outlive a start that fails.
    copies: ManuallyDrop<Option<Bundle>>,
}

impl Inherited {
    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing yet, but copies of what will be added.
    pub(crate) fn with(copies: Option<Bundle>) -> Self {
        Self(Mutex::new(Sockets { copies: ManuallyDrop::new(copies), ..Sockets::default() }))
    }

    /// Adds a socket under what it is; anything else is closed.
    pub(crate) fn add(&self, fd: OwnedFd) {
        match identify(&fd) {
            Some(Identity::Table) => self.sockets().table = Some(fd),
            Some(Identity::Port(protocol, HostAddr::Ip(ip), port)) if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) => {
                self.sockets().answering.insert((protocol, port), fd);
            }
            Some(Identity::Port(protocol, host, port)) => {
                self.sockets().holding.insert((protocol, host, port), fd);
            }
            None => {}
        }
    }

    /// The socket that holds a port.
    pub fn take(&self, protocol: Protocol, host: HostAddr, port: u16) -> Option<OwnedFd> {
        let mut sockets = self.sockets();
        let mut of = |host| sockets.holding.remove(&(protocol, host, port));
        // Without IPv6 in the kernel an IPv4 socket stands for both.
        match host {
            HostAddr::Any => of(host).or_else(|| of(HostAddr::Ip(Ipv4Addr::UNSPECIFIED.into()))),
            HostAddr::Ip(_) => of(host),
        }
    }

    /// The socket on `[::1]` that answers.
    pub fn take_answering(&self, protocol: Protocol, port: u16) -> Option<OwnedFd> {
        self.sockets().answering.remove(&(protocol, port))
    }

    /// The socket that owns the table.
    pub fn take_table(&self) -> Option<OwnedFd> {
        self.sockets().table.take()
    }

    /// Closes what nobody took, in the queue as well.
    pub fn clear(&self) {
        let mut rest = std::mem::take(&mut *self.sockets());
        drop(rest.copies.take());
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        let sockets = self.sockets();
        sockets.holding.is_empty() && sockets.answering.is_empty() && sockets.table.is_none()
    }
}

/// What a socket is for.
enum Identity {
    Port(Protocol, HostAddr, u16),
    Table,
}

fn identify(fd: &OwnedFd) -> Option<Identity> {
    let address: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
    let (ip, port) = match address.family()? {
        AddressFamily::Netlink => return Some(Identity::Table),
        AddressFamily::Inet => {
            let address = address.as_sockaddr_in()?;
            (IpAddr::V4(address.ip()), address.port())
        }
        AddressFamily::Inet6 => {
            let address = address.as_sockaddr_in6()?;
            (IpAddr::V6(address.ip()), address.port())
        }
        _ => return None,
    };
    let dual = ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !getsockopt(fd, sockopt::Ipv6V6Only).ok()?;
    let host = if dual { HostAddr::Any } else { HostAddr::Ip(ip) };
    Some(Identity::Port(protocol(fd).ok()?, host, port))
}

fn protocol(fd: &OwnedFd) -> Result<Protocol, Errno> {
    let mut number: libc::c_int = 0;
    let mut length = size_of_val(&number) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `number`, which lives until the call returns.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PROTOCOL, (&raw mut number).cast(), &raw mut length)
    };
    Errno::result(result)?;
    let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter();
    known.into_iter().find(|p| i32::from(p.number()) == number).ok_or(Errno::EPROTONOSUPPORT)
}
