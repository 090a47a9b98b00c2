//! Token buckets at the root of links: `tbf`, net/sched/sch_tbf.c.

use super::RouteSocket;
use crate::wire::{Frame, Refused, attr, text_of, u32_at};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use netmode_model::{IfName, Rate};
use nix::errno::Errno;

/// The kind of queueing discipline that is a token bucket.
pub(super) const KIND: &str = "tbf";

/// linux/rtnetlink.h, linux/pkt_sched.h.
mod tca {
    pub(super) const KIND: u16 = 1;
    pub(super) const OPTIONS: u16 = 2;
    pub(super) const TBF_PARMS: u16 = 1;
    pub(super) const TBF_RATE64: u16 = 4;
    pub(super) const TBF_BURST: u16 = 6;
    pub(super) const LINKLAYER_ETHERNET: u8 = 1;
}

impl RouteSocket {
    /// Changes a bucket in its place, without a packet lost, or puts one in.
    pub(crate) fn set_rate(&mut self, dev: &IfName, rate: Rate, burst: u32) -> Result<(), Refused> {
        let mut message = root(self.index(dev)?);
        message.attributes = vec![TcAttribute::Kind(KIND.into()), TcAttribute::Options(options(rate, burst))];
        self.request(Message::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    pub(crate) fn delete_rate(&mut self, dev: &IfName) -> Result<(), Refused> {
        let message = root(self.index(dev)?);
        self.request(Message::DelQueueDiscipline(message), 0)
    }

    /// Bits per second of the link's bucket, if it has one.
    pub(crate) fn rate(&mut self, dev: &IfName) -> Result<Option<u64>, Refused> {
        let request = root(self.index(dev)?);
        match self.netlink.look(Message::GetQueueDiscipline(request), read) {
            // The kernel's own queue of a link without one (noqueue) is not shown.
            Ok(found) => Ok(found.and_then(|(_, rate)| rate)),
            Err(e) if e.is(Errno::ENOENT) || e.is(Errno::EOPNOTSUPP) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Index of the link, and bits per second, of every link with a bucket.
    pub(crate) fn rates(&mut self) -> Result<Vec<(u32, u64)>, Refused> {
        let rates = self.netlink.dump(Message::GetQueueDiscipline(TcMessage::default()), |frame| {
            let (index, rate) = read(frame);
            Some((index, rate?))
        });
        // A kernel without queueing disciplines (CONFIG_NET_SCHED).
        if matches!(&rates, Err(e) if e.is(Errno::EOPNOTSUPP)) { Ok(Vec::new()) } else { rates }
    }
}

fn root(index: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.parent = TcHandle::ROOT;
    message
}

/// `struct tc_tbf_qopt`: with a link layer the kernel needs no table of rates, and a burst in bytes stands for the
/// bucket's depth in ticks.
fn options(rate: Rate, burst: u32) -> Vec<TcOption> {
    let bytes = rate.bytes();
    let mut spec = [0u8; 12];
    spec[1] = tca::LINKLAYER_ETHERNET;
    spec[8..].copy_from_slice(&u32::try_from(bytes).unwrap_or(u32::MAX).to_ne_bytes());
    let mut parameters = Vec::with_capacity(36);
    parameters.extend(spec);
    parameters.extend([0u8; 12]);
    parameters.extend(rate.limit(burst).to_ne_bytes());
    parameters.extend([0u8; 8]);
    let option = |kind, value| TcOption::Other(DefaultNla::new(kind, value));
    vec![
        option(tca::TBF_PARMS, parameters),
        option(tca::TBF_RATE64, bytes.to_ne_bytes().to_vec()),
        option(tca::TBF_BURST, burst.to_ne_bytes().to_vec()),
    ]
}

/// Index of the link, and the rate if this is a bucket at its root.
fn read(frame: &Frame<'_>) -> (u32, Option<u64>) {
    let attributes = frame.body.get(20..).unwrap_or_default();
    let at_root = u32_at(frame.body, 12) == u32::from(TcHandle::ROOT);
    let is_bucket = at_root && attr(attributes, tca::KIND).is_some_and(|kind| text_of(kind) == KIND);
    let rate = || {
        let options = attr(attributes, tca::OPTIONS)?;
        let wide = attr(options, tca::TBF_RATE64).and_then(|v| v.try_into().ok()).map(u64::from_ne_bytes);
        let bytes = wide.or_else(|| attr(options, tca::TBF_PARMS).map(|v| u64::from(u32_at(v, 8))))?;
        Some(bytes * 8)
    };
    (u32_at(frame.body, 4), if is_bucket { rate() } else { None })
}
