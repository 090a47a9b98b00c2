//! Tracked connections to published ports.

use crate::wire::{Netlink, Refused, attr, attrs, frames};
use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLMSG_ERROR};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netmode_model::{HostAddr, PortRange, Protocol};
use nix::errno::Errno;
use std::net::IpAddr;

/// `CTA_*`, linux/netfilter/nfnetlink_conntrack.h.
mod cta {
    pub(super) const TUPLE_ORIG: u16 = 1;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
    pub(super) const FILTER: u16 = 25;
    pub(super) const FILTER_ORIG_FLAGS: u16 = 1;
    pub(super) const TUPLE_IP: u16 = 1;
    pub(super) const TUPLE_PROTO: u16 = 2;
    pub(super) const IP_V4_DST: u16 = 2;
    pub(super) const IP_V6_DST: u16 = 4;
    pub(super) const PROTO_NUM: u16 = 1;
    pub(super) const PROTO_DST_PORT: u16 = 3;
    /// `CTA_FILTER_F_CTA_PROTO_NUM | CTA_FILTER_F_CTA_PROTO_DST_PORT`.
    pub(super) const PROTO_AND_DST_PORT: u32 = 1 << 3 | 1 << 5;
}

/// Flows to forget: those whose original destination is one of the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    pub(crate) host: HostAddr,
    pub(crate) ports: PortRange,
}

/// Up to here it is cheaper to have the kernel look for each port than to read every flow.
const FILTERED: usize = 4;

/// Bytes of deletions sent at once.
const CHUNK: usize = 64 * 1024;

/// Forgets the flows of all targets, and returns how many there were. One reading of the connection table
/// whatever the number of targets.
pub(crate) fn flush(netlink: &mut Netlink, targets: &[Target]) -> Result<usize, Refused> {
    let mut doomed = Vec::new();
    if targets.len() <= FILTERED && targets.iter().all(|t| t.ports.count() == 1) {
        for target in targets {
            doomed.extend(matching(netlink, filter(target), targets)?);
        }
    } else {
        doomed = matching(netlink, Vec::new(), targets)?;
    }
    let count = doomed.len();
    delete(netlink, doomed)?;
    Ok(count)
}

fn message(family: u8, message: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::from(family), 0, 0), message)
}

/// What deletes one flow.
struct Flow {
    /// `nfgen_family`, without which the kernel does not take the tuple.
    family: u8,
    /// Its tuple, its id and its zone, as they came. The id spares a flow that began anew meanwhile.
    attributes: Vec<ConntrackAttribute>,
}

fn nested(kind: u16, inner: &[u8]) -> Vec<u8> {
    plain(kind | NLA_F_NESTED, inner)
}

fn plain(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (value.len() + 4) as u16;
    let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// Has the kernel show only flows to one port (Linux 5.8+; older ones show all, and we look ourselves anyway).
fn filter(target: &Target) -> Vec<ConntrackAttribute> {
    let mut proto = plain(cta::PROTO_NUM, &[target.protocol.number()]);
    proto.extend(plain(cta::PROTO_DST_PORT, &target.ports.first().to_be_bytes()));
    let tuple = nested(cta::TUPLE_PROTO, &proto);
    let flags = plain(cta::FILTER_ORIG_FLAGS, &cta::PROTO_AND_DST_PORT.to_ne_bytes());
    let attribute = |kind, value| ConntrackAttribute::Other(DefaultNla::new(kind | NLA_F_NESTED, value));
    vec![attribute(cta::TUPLE_ORIG, tuple), attribute(cta::FILTER, flags)]
}

fn matching(netlink: &mut Netlink, filter: Vec<ConntrackAttribute>, targets: &[Target]) -> Result<Vec<Flow>, Refused> {
    let filtered = !filter.is_empty();
    let found = netlink.dump(message(0, ConntrackMessage::Get(filter)), |frame| {
        let flow = frame.body.get(4..)?;
        let tuple = attr(flow, cta::TUPLE_ORIG)?;
        targets.iter().any(|target| matches(target, tuple)).then(|| {
            let kept = attrs(flow).filter_map(|(kind, value)| match kind {
                cta::TUPLE_ORIG => Some(DefaultNla::new(kind | NLA_F_NESTED, value.to_vec())),
                cta::ID | cta::ZONE => Some(DefaultNla::new(kind, value.to_vec())),
                _ => None,
            });
            Flow { family: frame.body[0], attributes: kept.map(ConntrackAttribute::Other).collect() }
        })
    });
    match found {
        // No connection tracking in this kernel, or not loaded: nothing to forget.
        Err(e) if e.is(Errno::EPROTONOSUPPORT) || (!filtered && e.is(Errno::EINVAL)) => Ok(Vec::new()),
        Err(e) if filtered && (e.is(Errno::EINVAL) || e.is(Errno::EOPNOTSUPP)) => {
            matching(netlink, Vec::new(), targets)
        }
        other => other,
    }
}

fn matches(target: &Target, tuple: &[u8]) -> bool {
    let proto = attr(tuple, cta::TUPLE_PROTO).unwrap_or_default();
    let number = attr(proto, cta::PROTO_NUM).and_then(|n| n.first());
    let port = attr(proto, cta::PROTO_DST_PORT).and_then(|p| p.try_into().ok()).map(u16::from_be_bytes);
    number == Some(&target.protocol.number())
        && port.is_some_and(|port| target.ports.contains(port))
        && destination(tuple).is_some_and(|ip| to_host(target.host, ip))
}

fn destination(tuple: &[u8]) -> Option<IpAddr> {
    let ip = attr(tuple, cta::TUPLE_IP)?;
    let v4 = || Some(IpAddr::from(<[u8; 4]>::try_from(attr(ip, cta::IP_V4_DST)?).ok()?));
    let v6 = || Some(IpAddr::from(<[u8; 16]>::try_from(attr(ip, cta::IP_V6_DST)?).ok()?));
    v4().or_else(v6)
}

fn to_host(host: HostAddr, ip: IpAddr) -> bool {
    match host.specific() {
        Some(address) => address == ip,
        None => {
            if ip.is_ipv4() {
                host.has_v4()
            } else {
                host.has_v6()
            }
        }
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
