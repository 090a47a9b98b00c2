//! Flows, as the kernel's connection tracking and its log tell of them.

use std::net::IpAddr;

/// Number of the log group that refusals are told in (nfnetlink_log): the group of our links, cut to what fits.
pub const REFUSED: u16 = 0x6e6d;

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// Address.
    pub ip: IpAddr,
    /// Port; 0 where the protocol has none.
    pub port: u16,
}

/// Who sends what to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// IANA's number of the transport protocol.
    pub protocol: u8,
    /// Who sends.
    pub from: End,
    /// To whom.
    pub to: End,
}

impl Tuple {
    /// The other direction.
    pub fn reversed(self) -> Self {
        Self { protocol: self.protocol, from: self.to, to: self.from }
    }
}

/// What one direction has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// Packets.
    pub packets: u64,
    /// Bytes with IP headers.
    pub bytes: u64,
}

impl Carried {
    /// What came since an earlier look.
    pub fn since(self, before: Self) -> Self {
        Self { packets: self.packets.saturating_sub(before.packets), bytes: self.bytes.saturating_sub(before.bytes) }
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

/// A tracked connection (nfnetlink_conntrack.h). Counters are 0 where it began before the kernel was told to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The kernel's number of it, unique while it lives.
    pub id: u32,
    /// Who began it.
    pub tuple: Tuple,
    /// What he has sent.
    pub sent: Carried,
    /// What was answered.
    pub answered: Carried,
    /// When it began, in seconds since 1970; `None` where the kernel was not told to keep that.
    pub began: Option<u64>,
    /// When the kernel forgot it, in seconds since 1970.
    pub ended: Option<u64>,
    /// `TCP_CONNTRACK_*` (nf_conntrack_tcp.h); `None` for other protocols.
    pub tcp_state: Option<u8>,
}

/// A packet that a security group refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Who sent it to whom.
    pub tuple: Tuple,
    /// Bytes with the IP header.
    pub bytes: u64,
    /// `FIN` 1, `SYN` 2, `RST` 4, `ACK` 16 of TCP (RFC 9293 §3.1).
    pub tcp_flags: u8,
    /// Whether it came in, or was to go out.
    pub inward: bool,
}

/// Flags of TCP that flow logs know.
pub mod tcp {
    /// The sender has no more.
    pub const FIN: u8 = 1;
    /// The connection begins.
    pub const SYN: u8 = 2;
    /// It is broken off.
    pub const RST: u8 = 4;
    /// Something is acknowledged.
    pub const ACK: u8 = 16;
}
