//! Sockets that listen in a namespace while the agent stands elsewhere.

use crate::kernel::Kernel;
use crate::wire::Refused;
use netmode_model::op::OpError;
use netmode_model::{NetnsName, Place};
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// How many ports are tried for one that is free for UDP and TCP alike.
const TRIES: usize = 16;

impl Kernel {
    /// Opens a UDP and a listening TCP socket on one port of an address in a namespace: on the port that is wanted, or on
    /// another one where that is taken.
    ///
    /// # Errors
    /// ENOENT without such a namespace, EADDRNOTAVAIL without such an address, EMFILE without a descriptor to spare.
    pub fn listen(&self, netns: &NetnsName, ip: IpAddr, port: u16) -> Result<(UdpSocket, TcpListener), OpError> {
        let at = Place::Netns(netns.clone());
        let opened = self.pool.run(move |worker| {
            worker.stand(&at)?;
            open(ip, port).map_err(|e| Refused::from(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))
        });
        opened.and_then(|opened| opened).map_err(|refused| refused.of(&format!("bind {ip}:{port}")))
    }
}

fn open(ip: IpAddr, port: u16) -> io::Result<(UdpSocket, TcpListener)> {
    let both = |port| -> io::Result<_> {
        let udp = UdpSocket::bind(SocketAddr::new(ip, port))?;
        let tcp = TcpListener::bind(udp.local_addr()?)?;
        Ok((udp, tcp))
    };
    let mut last = both(port);
    for _ in 0..TRIES {
        match last {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => last = both(0),
            other => return other,
        }
    }
    last
}
