//! Sockets that listen in a namespace while the agent stands elsewhere.

use crate::kernel::Kernel;
use crate::wire::Refused;
use netmode_model::op::OpError;
use netmode_model::{NetnsName, Place};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

/// How many ports are tried for one that is free for UDP and TCP alike.
const TRIES: usize = 16;

impl Kernel {
    /// Opens a UDP and a listening TCP socket on one port of an address in a namespace: on the port that is wanted, or on
    /// another one where that is taken. They hear what the namespace itself sends, and nobody outside.
    ///
    /// # Errors
    /// ENOENT without such a namespace, EADDRNOTAVAIL without such an address, EMFILE without a descriptor to spare.
    pub fn listen_for_both(
        &self,
        netns: &NetnsName,
        ip: IpAddr,
        port: u16,
    ) -> Result<(UdpSocket, TcpListener), OpError> {
        self.open_in(netns, ip, port, |at| {
            let udp = UdpSocket::bind(at)?;
            let tcp = TcpListener::bind(udp.local_addr()?)?;
            for_the_machine_alone(&udp)?;
            for_the_machine_alone(&tcp)?;
            Ok((udp, tcp))
        })
    }

    /// The same of TCP alone.
    ///
    /// # Errors
    /// As [`Kernel::listen_for_both`].
    pub fn listen(&self, netns: &NetnsName, ip: IpAddr, port: u16) -> Result<TcpListener, OpError> {
        self.open_in(netns, ip, port, |at| {
            let tcp = TcpListener::bind(at)?;
            for_the_machine_alone(&tcp)?;
            Ok(tcp)
        })
    }

    fn open_in<T: Send + 'static>(
        &self,
        netns: &NetnsName,
        ip: IpAddr,
        port: u16,
        open: impl Fn(SocketAddr) -> io::Result<T> + Send + 'static,
    ) -> Result<T, OpError> {
        let at = Place::Netns(netns.clone());
        let opened = self.pool.run(move |worker| {
            worker.stand(&at)?;
            first_free(ip, port, open).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)).into())
        });
        opened.and_then(|opened: Result<T, Refused>| opened).map_err(|refused| refused.of(&format!("bind {ip}:{port}")))
    }
}

/// Hears only what comes by `lo`: an address is a machine's, not a link's, and a neighbour could send to it by any.
fn for_the_machine_alone(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::BindToDevice, &OsString::from("lo"))?)
}

fn first_free<T>(ip: IpAddr, port: u16, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut last = open(SocketAddr::new(ip, port));
    for _ in 0..TRIES {
        match last {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => last = open(SocketAddr::new(ip, 0)),
            other => return other,
        }
    }
    last
}
