//! Tracked connections to published ports.

use crate::wire::{Netlink, Refused, attr, attrs, frames, u32_be};
use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLMSG_ERROR};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netmode_model::{HostAddr, PortRange, Protocol};
use nix::errno::Errno;
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CTA_*`, linux/netfilter/nfnetlink_conntrack.h.
pub(crate) mod cta {
    pub(crate) const TUPLE_ORIG: u16 = 1;
    pub(crate) const TUPLE_REPLY: u16 = 2;
    pub(crate) const PROTOINFO: u16 = 4;
    pub(crate) const COUNTERS_ORIG: u16 = 9;
    pub(crate) const COUNTERS_REPLY: u16 = 10;
    pub(crate) const TIMESTAMP: u16 = 20;
    pub(crate) const ID: u16 = 12;
    pub(crate) const ZONE: u16 = 18;
    pub(crate) const TUPLE_IP: u16 = 1;
    pub(crate) const TUPLE_PROTO: u16 = 2;
    pub(crate) const IP_V4_SRC: u16 = 1;
    pub(crate) const IP_V4_DST: u16 = 2;
    pub(crate) const IP_V6_SRC: u16 = 3;
    pub(crate) const IP_V6_DST: u16 = 4;
    pub(crate) const PROTO_NUM: u16 = 1;
    pub(crate) const PROTO_DST_PORT: u16 = 3;
}

/// Flows to forget: those whose original destination is one of the ports on the host itself. What others send
/// through the host to the same port elsewhere is not ours to forget. And those whose answers come to one of the ports:
/// a container's connection that got it as its own before it was published would swallow what is for it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    pub(crate) host: HostAddr,
    pub(crate) ports: PortRange,
    /// Flows that are translated to one of these are right already.
    pub(crate) kept: Vec<IpAddr>,
}

/// The host's addresses, or why they cannot be read.
type Host = Result<HashSet<IpAddr>, Refused>;

/// Bytes of deletions sent at once.
const CHUNK: usize = 64 * 1024;

/// Forgets flows for several callers at once.
///
/// Reading the connection table costs 11 ms even if it is empty: the kernel visits every bucket (262,144 of
/// them). Its own filter (`CTA_FILTER`) saves the copying, but visits them once for each family and port. So
/// one reading serves everybody who has come until it begins.
pub(crate) struct Flusher {
    waiting: Mutex<Vec<Target>>,
    netlink: Mutex<Netlink>,
}

impl Flusher {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { waiting: Mutex::default(), netlink: Mutex::new(Netlink::open(NETLINK_NETFILTER)?) })
    }

    /// Forgets the flows of all targets; `host` reads the host's addresses.
    pub(crate) fn flush(&self, targets: &[Target], host: impl FnOnce() -> Host) -> Result<(), Refused> {
        locked(&self.waiting).extend(targets.iter().cloned());
        let mut netlink = locked(&self.netlink);
        let taken = std::mem::take(&mut *locked(&self.waiting));
        if taken.is_empty() {
            // Somebody else's reading began after ours were there, and has ended.
            return Ok(());
        }
        flush(&mut netlink, &taken, host).inspect_err(|_| {
            // The error is told to this caller; the others try for themselves.
            locked(&self.waiting).extend(taken.iter().filter(|target| !targets.contains(target)).cloned());
        })
    }
}

/// Forgets every flow that has one of these addresses as an end, in the namespace of the socket.
pub(crate) fn forget(netlink: &mut Netlink, ends: &[IpAddr]) -> Result<(), Refused> {
    if count(netlink)? == 0 {
        return Ok(());
    }
    let has = |tuple: &[u8]| [source(tuple), destination(tuple)].iter().flatten().any(|ip| ends.contains(ip));
    let doomed = netlink.dump(message(0, ConntrackMessage::Get(Vec::new())), |frame| {
        let flow = frame.body.get(4..)?;
        let tuples = [cta::TUPLE_ORIG, cta::TUPLE_REPLY].map(|kind| attr(flow, kind).unwrap_or_default());
        tuples.into_iter().any(has).then(|| Flow::of(frame.body[0], flow))
    })?;
    delete(netlink, doomed)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn flush(netlink: &mut Netlink, targets: &[Target], host: impl FnOnce() -> Host) -> Result<(), Refused> {
    if count(netlink)? == 0 {
        return Ok(());
    }
    let doomed = matching(netlink, targets, &host()?)?;
    delete(netlink, doomed)
}

/// How many flows the namespace has; 0 without connection tracking.
pub(crate) fn count(netlink: &mut Netlink) -> Result<u32, Refused> {
    statistics(netlink).map(|(entries, _)| entries)
}

/// How many flows the namespace has, and how many it may have; zeros without connection tracking.
pub(crate) fn statistics(netlink: &mut Netlink) -> Result<(u32, u32), Refused> {
    const GET_STATS: u8 = 5;
    const ENTRIES: u16 = 1;
    const MOST: u16 = 2;
    let request = ConntrackMessage::Other { message_type: GET_STATS, attributes: Vec::new() };
    let read = netlink.get(message(0, request), |answer| {
        let number = |kind| answer.body.get(4..).and_then(|body| attr(body, kind)).map_or(0, u32_be);
        (number(ENTRIES), number(MOST))
    });
    match read {
        // The module is not there (nfnetlink knows no such subsystem).
        Err(e) if e.is(Errno::EINVAL) || e.is(Errno::EOPNOTSUPP) => Ok((0, 0)),
        other => other,
    }
}

/// Who began each flow of the namespace, and who answers, behind every translation; as far as that is among `ends`.
pub(crate) fn parties(netlink: &mut Netlink, ends: &HashSet<IpAddr>) -> Result<Vec<[Option<IpAddr>; 2]>, Refused> {
    netlink.dump(message(0, ConntrackMessage::Get(Vec::new())), |frame| {
        let flow = frame.body.get(4..)?;
        let party = |kind| attr(flow, kind).and_then(source).filter(|ip| ends.contains(ip));
        let pair = [party(cta::TUPLE_ORIG), party(cta::TUPLE_REPLY)];
        pair.iter().any(Option::is_some).then_some(pair)
    })
}

pub(crate) fn message(family: u8, message: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::from(family), 0, 0), message)
}

/// What deletes one flow.
struct Flow {
    /// `nfgen_family`, without which the kernel does not take the tuple.
    family: u8,
    /// Its tuple, its id and its zone, as they came. The id spares a flow that began anew meanwhile.
    attributes: Vec<ConntrackAttribute>,
}

fn matching(netlink: &mut Netlink, targets: &[Target], host: &HashSet<IpAddr>) -> Result<Vec<Flow>, Refused> {
    netlink.dump(message(0, ConntrackMessage::Get(Vec::new())), |frame| {
        let flow = frame.body.get(4..)?;
        let (asked, answered) = (attr(flow, cta::TUPLE_ORIG)?, attr(flow, cta::TUPLE_REPLY).unwrap_or_default());
        let right = |target: &Target| source(answered).is_some_and(|ip| target.kept.contains(&ip));
        let meant = |target: &Target| matches(target, asked, host) && !right(target) || matches(target, answered, host);
        targets.iter().any(meant).then(|| Flow::of(frame.body[0], flow))
    })
}

impl Flow {
    /// What deletes a flow, from the attributes that it came with.
    fn of(family: u8, flow: &[u8]) -> Self {
        let kept = attrs(flow).filter_map(|(kind, value)| match kind {
            cta::TUPLE_ORIG => Some(DefaultNla::new(kind | NLA_F_NESTED, value.to_vec())),
            cta::ID | cta::ZONE => Some(DefaultNla::new(kind, value.to_vec())),
            _ => None,
        });
        Self { family, attributes: kept.map(ConntrackAttribute::Other).collect() }
    }
}

fn matches(target: &Target, tuple: &[u8], host: &HashSet<IpAddr>) -> bool {
    let proto = attr(tuple, cta::TUPLE_PROTO).unwrap_or_default();
    let number = attr(proto, cta::PROTO_NUM).and_then(|n| n.first());
    let port = attr(proto, cta::PROTO_DST_PORT).and_then(|p| p.try_into().ok()).map(u16::from_be_bytes);
    number == Some(&target.protocol.number())
        && port.is_some_and(|port| target.ports.contains(port))
        && destination(tuple).is_some_and(|ip| to_host(target.host, ip, host))
}

pub(crate) fn destination(tuple: &[u8]) -> Option<IpAddr> {
    address(tuple, cta::IP_V4_DST, cta::IP_V6_DST)
}

pub(crate) fn source(tuple: &[u8]) -> Option<IpAddr> {
    address(tuple, cta::IP_V4_SRC, cta::IP_V6_SRC)
}

fn address(tuple: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    let ip = attr(tuple, cta::TUPLE_IP)?;
    let four = || Some(IpAddr::from(<[u8; 4]>::try_from(attr(ip, v4)?).ok()?));
    let six = || Some(IpAddr::from(<[u8; 16]>::try_from(attr(ip, v6)?).ok()?));
    four().or_else(six)
}

fn to_host(named: HostAddr, ip: IpAddr, host: &HashSet<IpAddr>) -> bool {
    let family = if ip.is_ipv4() { named.has_v4() } else { named.has_v6() };
    match named.specific() {
        Some(address) => address == ip,
        None => family && (ip.is_loopback() || host.contains(&ip)),
    }
}

/// As with nf_tables, what the kernel has to say is queued when `sendto()` returns.
fn delete(netlink: &mut Netlink, flows: Vec<Flow>) -> Result<(), Refused> {
    let mut bytes = Vec::new();
    let mut rest = flows.into_iter().peekable();
    while let Some(flow) = rest.next() {
        netlink.push(&mut bytes, message(flow.family, ConntrackMessage::Delete(flow.attributes)), 0);
        if bytes.len() < CHUNK && rest.peek().is_some() {
            continue;
        }
        netlink.send(&bytes)?;
        bytes.clear();
        while let Some(answer) = netlink.receive(libc::MSG_DONTWAIT)? {
            let failed = frames(answer).filter(|f| f.kind == NLMSG_ERROR).find_map(|f| f.outcome().err());
            // ENOENT: it ended by itself.
            if let Some(refused) = failed.filter(|e| !e.is(Errno::ENOENT)) {
                return Err(refused);
            }
        }
    }
    Ok(())
}
