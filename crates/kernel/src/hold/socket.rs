//! The socket that holds a port.

use netmode_model::{HostAddr, Protocol};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A bound socket: TCP not listening, UDP deaf.
pub(super) fn bound(protocol: Protocol, host: HostAddr, port: u16) -> Result<OwnedFd, Errno> {
    match host {
        HostAddr::Ip(ip) => open(protocol, ip, true, port),
        HostAddr::Any => match open(protocol, IpAddr::V6(Ipv6Addr::UNSPECIFIED), false, port) {
            // No IPv6 in this kernel.
            Err(Errno::EAFNOSUPPORT) => open(protocol, IpAddr::V4(Ipv4Addr::UNSPECIFIED), true, port),
            other => other,
        },
    }
}

fn open(protocol: Protocol, ip: IpAddr, one_family: bool, port: u16) -> Result<OwnedFd, Errno> {
    let family = if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => (SockType::Stream, SockProtocol::Sctp),
    };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, number)?;
    if ip.is_ipv6() {
        // Said in both cases: net.ipv6.bindv6only may have changed what is usual.
        setsockopt(&fd, sockopt::Ipv6V6Only, &one_family)?;
    }
    if protocol == Protocol::Udp {
        // Before the port is ours, so that nothing is ever queued.
        drop_everything(&fd)?;
    }
    let address = SockaddrStorage::from(SocketAddr::new(ip, port));
    if protocol != Protocol::Tcp {
        bind(fd.as_raw_fd(), &address)?;
        return Ok(fd);
    }
    bind_first(&fd, &address)?;
    Ok(fd)
}

/// Binds the first socket of a TCP port.
///
/// With SO_REUSEADDR connections in TIME_WAIT are no hindrance; cleared after it, so that a stranger who sets it as well
/// cannot bind beside us. It is not set from the outset: where no connection is left over, the port would keep it
/// whatever its socket clears, and whoever sets SO_REUSEPORT as well could bind and listen (Linux 6.1,
/// `inet_csk_get_port`: `tb->fastreuse`).
fn bind_first(fd: &OwnedFd, address: &SockaddrStorage) -> Result<(), Errno> {
    match bind(fd.as_raw_fd(), address) {
        Err(Errno::EADDRINUSE) => {
            setsockopt(fd, sockopt::ReuseAddr, &true)?;
            bind(fd.as_raw_fd(), address)?;
            setsockopt(fd, sockopt::ReuseAddr, &false)
        }
        other => other,
    }
}

/// A socket on `[::1]` that answers, beside one that holds the port on every address, or alone.
///
/// Beside another, both need an option while the second is bound. For TCP SO_REUSEADDR: nobody can listen beside them in between,
/// listening checks for others again. For UDP, where binding is all, SO_REUSEPORT: that lets in nobody but sockets of
/// the same user.
pub(super) fn answering(beside: Option<BorrowedFd<'_>>, protocol: Protocol, port: u16) -> Result<OwnedFd, Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => return Err(Errno::EPROTONOSUPPORT),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet6, kind, flags, number)?;
    setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    let share = |on: bool| {
        beside.iter().copied().chain([fd.as_fd()]).try_for_each(|fd| match protocol {
            Protocol::Udp => setsockopt(&fd, sockopt::ReusePort, &on),
            _ => setsockopt(&fd, sockopt::ReuseAddr, &on),
        })
    };
    let address = SockaddrStorage::from(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port));
    let listens = || if protocol == Protocol::Tcp { listen(&fd, Backlog::MAXCONN) } else { Ok(()) };
    if beside.is_none() && protocol == Protocol::Tcp {
        bind_first(&fd, &address).and_then(|()| listens())?;
        return Ok(fd);
    }
    share(true)?;
    let bound = bind(fd.as_raw_fd(), &address).and_then(|()| listens());
    share(false)?;
    bound.map(|()| fd)
}

/// Attaches a filter that keeps no byte of any packet.
fn drop_everything(fd: &OwnedFd) -> Result<(), Errno> {
    // BPF_RET | BPF_K with k = 0, linux/filter.h.
    let mut code = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let program = libc::sock_fprog { len: 1, filter: code.as_mut_ptr() };
    // SAFETY: `program` and the one instruction it points to live until the call returns; the kernel copies
    // them. The length given is that of the structure.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}
