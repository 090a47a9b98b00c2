//! Flows that end, flows that are there, and packets that were refused, as the kernel tells of them.

use crate::conntrack::{cta, destination, message, source};
use crate::kernel::Kernel;
use crate::wire::{Frame, Netlink, Refused, attr, frames, text_of};
use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::nflog::{ConfigCmd, ConfigMode, ConfigNla, Timeout, ULogMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netmode_model::Place;
use netmode_model::flow::{Carried, End, Flow, REFUSED, Refusal, Tuple, tcp};
use netmode_model::op::OpError;
use nix::errno::Errno;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `NFNLGRP_CONNTRACK_DESTROY`: one message for a flow, with all that it has carried.
const DESTROY_GROUP: u32 = 3;

/// A second's worth of short connections must fit while nobody reads: 500 bytes each.
const BUFFER: usize = 8 << 20;

/// How much of a refused packet is read: the IP header with options, and the first of what follows.
const SNAP: u32 = 128;

/// Refusals are told so many at a time, or after so many hundredths of a second.
const BATCH: (u32, u32) = (64, 5);

/// Datagrams that are read at once; others wait for the thread as well.
const AT_ONCE: usize = 64;

/// What was told since the last look. `lost`: more came than was read in time.
#[derive(Debug, Default)]
pub struct Told<T> {
    /// What was told.
    pub all: Vec<T>,
    /// Something was lost.
    pub lost: bool,
    /// There was no more.
    pub drained: bool,
}

/// Hears of something in a namespace.
pub struct Watch<T> {
    socket: Netlink,
    read: fn(&Frame<'_>) -> Option<T>,
}

impl<T> Watch<T> {
    /// Waits until something was told. Only meanwhile the kernel wakes somebody for what it tells: a wake-up for each
    /// connection would cost as much as the connection.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    pub async fn ready(&self) -> io::Result<()> {
        // SAFETY: the descriptor is that of the socket that `self` owns; `self` is borrowed until the registration is
        // dropped, at the end of this function or with its future.
        let registered = unsafe { AsyncFd::register_with_interest(self.socket.as_raw_fd(), Interest::READABLE) };
        let registered = registered.map_err(|e| io::Error::other(e.to_string()))?;
        registered.readable().await.map(drop)
    }

    /// What was told, as far as it is there: not for ever where more comes than is read.
    ///
    /// # Errors
    /// The socket cannot be read any more.
    pub fn take(&mut self) -> io::Result<Told<T>> {
        let mut told = Told { all: Vec::new(), lost: false, drained: false };
        for _ in 0..AT_ONCE {
            match self.socket.receive(libc::MSG_DONTWAIT) {
                Ok(Some(bytes)) => told.all.extend(frames(bytes).filter_map(|frame| (self.read)(&frame))),
                Ok(None) => {
                    told.drained = true;
                    break;
                }
                Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => told.lost = true,
                Err(e) => return Err(e),
            }
        }
        Ok(told)
    }
}

impl Kernel {
    /// Has the connection tracking of a place count, and keep the time at which flows begin. It does so for those that
    /// begin from now on.
    ///
    /// # Errors
    /// ENOENT without such a namespace, or without connection tracking in it.
    pub fn account(&self, at: &Place) -> Result<(), OpError> {
        let at = at.clone();
        let done = self.pool.run(move |worker| {
            let variables = worker.variables(&at)?;
            let keys = ["net/netfilter/nf_conntrack_acct", "net/netfilter/nf_conntrack_timestamp"];
            keys.into_iter().try_for_each(|key| variables.exchange(key, "1").map(drop))
        });
        done.and_then(|done| done).map_err(|refused| refused.of(&"sysctl net.netfilter.nf_conntrack_acct=1"))
    }

    /// Hears of flows of a place that end.
    ///
    /// # Errors
    /// ENOENT without such a namespace, EMFILE without a descriptor to spare.
    pub fn watch_flows(&self, at: &Place) -> Result<Watch<Flow>, OpError> {
        self.watch(at, "conntrack -E -e DESTROY", read_flow, |socket| Ok(socket.join(&[DESTROY_GROUP])?))
    }

    /// Hears of packets that security groups refuse at a place.
    ///
    /// # Errors
    /// EBUSY if somebody else has the log group, EOPNOTSUPP on a kernel without it.
    pub fn watch_refusals(&self, at: &Place) -> Result<Watch<Refusal>, OpError> {
        self.watch(at, "tcpdump -i nflog:28269", read_refusal, |socket| {
            let nlas = vec![
                ConfigNla::Cmd(ConfigCmd::Bind),
                ConfigNla::Mode(ConfigMode::new_packet(SNAP)),
                ConfigNla::QThresh(BATCH.0),
                ConfigNla::Timeout(Timeout::new(BATCH.1)),
            ];
            let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, REFUSED);
            socket.request(NetfilterMessage::new(header, ULogMessage::Config(nlas)), 0)
        })
    }

    fn watch<T: 'static>(
        &self,
        at: &Place,
        command: &str,
        read: fn(&Frame<'_>) -> Option<T>,
        begin: fn(&mut Netlink) -> Result<(), Refused>,
    ) -> Result<Watch<T>, OpError> {
        let at = at.clone();
        let opened = self.pool.run(move |worker| {
            let mut socket = worker.netfilter(&at)?;
            socket.set_buffers(BUFFER)?;
            begin(&mut socket)?;
            Ok::<_, Refused>(socket)
        });
        let socket = opened.and_then(|opened| opened).map_err(|refused| refused.of(&command))?;
        Ok(Watch { socket, read })
    }

    /// Every flow of a place. Costs a walk over the whole connection table (11 ms) unless it has none.
    ///
    /// # Errors
    /// ENOENT without such a namespace; whatever the kernel says to the dump.
    pub fn flows(&self, at: &Place) -> Result<Vec<Flow>, OpError> {
        let at = at.clone();
        let read = self.pool.run(move |worker| {
            let mut socket = worker.netfilter(&at)?;
            match crate::conntrack::count(&mut socket)? {
                0 => Ok(Vec::new()),
                _ => socket.dump(message(0, ConntrackMessage::Get(Vec::new())), |frame| {
                    // As an event of a flow that has ended it would be of another type.
                    flow_of(frame)
                }),
            }
        });
        read.and_then(|read| read).map_err(|refused| refused.of(&"conntrack -L"))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn tuple_of(tuple: &[u8]) -> Option<Tuple> {
    const SRC_PORT: u16 = 2;
    let proto = attr(tuple, cta::TUPLE_PROTO)?;
    let port = |kind| attr(proto, kind).map_or(0, |p| number(p) as u16);
    Some(Tuple {
        protocol: *attr(proto, cta::PROTO_NUM)?.first()?,
        from: End { ip: source(tuple)?, port: port(SRC_PORT) },
        to: End { ip: destination(tuple)?, port: port(cta::PROTO_DST_PORT) },
    })
}

fn carried(counters: Option<&[u8]>) -> Carried {
    const PACKETS: u16 = 1;
    const BYTES: u16 = 2;
    let of = |kind| counters.and_then(|c| attr(c, kind)).map_or(0, number);
    Carried { packets: of(PACKETS), bytes: of(BYTES) }
}

/// `IPCTNL_MSG_CT_DELETE`, of subsystem `NFNL_SUBSYS_CTNETLINK` 1.
fn read_flow(frame: &Frame<'_>) -> Option<Flow> {
    const DELETE: u16 = 1 << 8 | 2;
    (frame.kind == DELETE).then(|| flow_of(frame)).flatten()
}

fn flow_of(frame: &Frame<'_>) -> Option<Flow> {
    let flow = frame.body.get(4..)?;
    let tcp_state = attr(flow, cta::PROTOINFO).and_then(|info| attr(info, 1)).and_then(|tcp| attr(tcp, 1));
    let time = attr(flow, cta::TIMESTAMP);
    let second = |kind| time.and_then(|time| attr(time, kind)).map(|nanos| number(nanos) / 1_000_000_000);
    Some(Flow {
        id: attr(flow, cta::ID).map_or(0, |id| number(id) as u32),
        tuple: tuple_of(attr(flow, cta::TUPLE_ORIG)?)?,
        sent: carried(attr(flow, cta::COUNTERS_ORIG)),
        answered: carried(attr(flow, cta::COUNTERS_REPLY)),
        began: second(1),
        ended: second(2),
        tcp_state: tcp_state.and_then(|state| state.first().copied()),
    })
}

/// `NFULNL_MSG_PACKET`, of subsystem `NFNL_SUBSYS_ULOG` 4.
fn read_refusal(frame: &Frame<'_>) -> Option<Refusal> {
    const PACKET: u16 = 4 << 8;
    /// `NFULA_PAYLOAD`, `NFULA_PREFIX`, linux/netfilter/nfnetlink_log.h.
    const PAYLOAD: u16 = 9;
    const PREFIX: u16 = 10;
    if frame.kind != PACKET {
        return None;
    }
    let attributes = frame.body.get(4..)?;
    let inward = attr(attributes, PREFIX).map(text_of)?.trim() == "in";
    packet(attr(attributes, PAYLOAD)?, inward)
}

/// An IP packet: RFC 791 §3.1, RFC 8200 §3.
fn packet(ip: &[u8], inward: bool) -> Option<Refusal> {
    let (protocol, from, to, bytes, rest) = match ip.first()? >> 4 {
        4 => {
            let header = usize::from(ip[0] & 0xf) * 4;
            let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
            (*ip.get(9)?, address(12)?, address(16)?, number(ip.get(2..4)?), ip.get(header..).unwrap_or_default())
        }
        6 => {
            let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?));
            let (protocol, at) = upper(ip)?;
            (protocol, address(8)?, address(24)?, number(ip.get(4..6)?) + 40, ip.get(at..).unwrap_or_default())
        }
        _ => return None,
    };
    let has_ports = matches!(protocol, 6 | 17 | 132 | 136);
    let port = |at: usize| rest.get(at..at + 2).filter(|_| has_ports).map_or(0, |p| number(p) as u16);
    let tuple = Tuple { protocol, from: End { ip: from, port: port(0) }, to: End { ip: to, port: port(2) } };
    let tcp_flags =
        rest.get(13).filter(|_| protocol == 6).map_or(0, |f| f & (tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK));
    Some(Refusal { tuple, bytes, tcp_flags, inward })
}

/// What follows IPv6's extension headers, and where (RFC 8200 §4).
fn upper(ip: &[u8]) -> Option<(u8, usize)> {
    let (mut next, mut at) = (*ip.get(6)?, 40);
    for _ in 0..8 {
        let length = match next {
            0 | 43 | 60 => (usize::from(*ip.get(at + 1)?) + 1) * 8,
            44 => 8,
            _ => return Some((next, at)),
        };
        next = *ip.get(at)?;
        at += length;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_packet_is_read_as_far_as_it_goes() {
        let mut syn = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 9, 10, 0, 2, 4];
        syn.extend([0xc3, 0x50, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 2]);
        let read = packet(&syn, true).unwrap();
        assert_eq!((read.tuple.from.port, read.tuple.to.port, read.bytes, read.tcp_flags), (50000, 80, 60, tcp::SYN));
        assert_eq!(packet(&syn[..22], true).unwrap().tuple.to.port, 0, "cut");
        assert_eq!(packet(&syn[..15], true), None);
        let mut six = vec![0x60, 0, 0, 0, 0, 16, 0, 64];
        six.extend([0; 32]);
        six.extend([17, 0, 0, 0, 0, 0, 0, 0, 0, 53, 0, 54]);
        let read = packet(&six, false).unwrap();
        assert_eq!((read.tuple.protocol, read.tuple.to.port, read.bytes), (17, 54, 56), "behind a hop-by-hop header");
    }
}
