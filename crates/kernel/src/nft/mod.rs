//! nf_tables by netlink: one transaction for a run of operations, no forked program.

mod counted;
mod dump;
mod element;
mod expression;
mod flowtable;
mod foreign;
mod guest;
mod owner;
mod ruleset;
mod xt;

pub use counted::Counted;
pub(crate) use dump::table as read_table;
pub(crate) use foreign::{Watched, on_forward, parts, read as read_foreign, tables};
pub(crate) use owner::{Aborted, Owner};

use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netmode_model::foreign::TableFamily as ForeignFamily;
use netmode_model::nft::TableFamily;

/// nftables' numbers of data types (`enum datatypes`, nft's datatype.h); six bits each in a concatenation.
mod datatype {
    pub(super) const IPV4_ADDR: u32 = 7;
    pub(super) const IPV6_ADDR: u32 = 8;
    pub(super) const ETHER_ADDR: u32 = 9;
    pub(super) const INET_PROTO: u32 = 12;
    pub(super) const INET_SERVICE: u32 = 13;
    pub(super) const IFNAME: u32 = 41;
    pub(super) const BITS: u32 = 6;
}

/// A message about a table of ours.
fn of(family: TableFamily, message: NfTablesMessage) -> NetfilterMessage {
    let family = match family {
        TableFamily::Inet => NetfilterProtoFamily::Inet,
        TableFamily::Bridge => NetfilterProtoFamily::Bridge,
    };
    of_family(family, message)
}

fn of_family(family: NetfilterProtoFamily, message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
}

/// The family of a table of others, in the header of a message.
fn proto(family: ForeignFamily) -> NetfilterProtoFamily {
    match family {
        ForeignFamily::Ip => NetfilterProtoFamily::IPv4,
        ForeignFamily::Ip6 => NetfilterProtoFamily::IPv6,
        ForeignFamily::Inet => NetfilterProtoFamily::Inet,
    }
}

/// Length of a field within a concatenation: registers have four bytes.
fn padded(size: usize) -> usize {
    (size + 3) & !3
}
