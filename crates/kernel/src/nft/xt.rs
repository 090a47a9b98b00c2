//! Matches of iptables within nf_tables (`CONFIG_NFT_COMPAT`): the expression `match` with a name, a revision and the
//! match's own struct, as `iptables-nft` writes it. Whatever else stands in a table of iptables makes
//! `iptables-save` fail (`iifgroup`), or be saved as a rule that accepts everything (a set).

use super::expression::{be, other};
use crate::wire::{attr, text_of, u32_at, u32_be};
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::Expressions;

/// `XT_ALIGN`: structs of matches are padded to the alignment of their greatest member.
const ALIGN: usize = 8;

/// `NFTA_MATCH_NAME`, `NFTA_MATCH_REV`, `NFTA_MATCH_INFO`.
mod kind {
    pub(super) const NAME: u16 = 1;
    pub(super) const REV: u16 = 2;
    pub(super) const INFO: u16 = 3;
}

/// `XT_DEVGROUP_MATCH_SRC`, `XT_DEVGROUP_MATCH_DST` (linux/netfilter/xt_devgroup.h).
mod devgroup {
    pub(super) const SRC: u32 = 1;
    pub(super) const DST: u32 = 4;
}

fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), &[0]].concat())
}

fn of(name: &str, revision: u32, mut info: Vec<u8>) -> Expressions {
    info.resize(info.len().next_multiple_of(ALIGN), 0);
    other("match", vec![text(kind::NAME, name), be(kind::REV, revision), DefaultNla::new(kind::INFO, info)])
}

/// `-m devgroup --src-group GROUP`, or `--dst-group`: `struct xt_devgroup_info { u32 flags, src_group, src_mask,
/// dst_group, dst_mask; }`.
pub(super) fn devgroup(group: u32, source: bool) -> Expressions {
    let words = if source { [devgroup::SRC, group, u32::MAX, 0, 0] } else { [devgroup::DST, 0, 0, group, u32::MAX] };
    of("devgroup", 0, words.into_iter().flat_map(u32::to_ne_bytes).collect())
}

/// `-m conntrack --ctstate RELATED,ESTABLISHED,DNAT`: `struct xt_conntrack_mtinfo3`, where eight addresses
/// (128 bytes), two times of expiry, the protocol and four ports come first.
pub(super) fn replies_and_published() -> Expressions {
    /// `match_flags`, then `invert_flags` and `state_mask`, each a u16.
    const MATCH_FLAGS: usize = 146;
    /// Up to and with the ends of four ranges of ports.
    const LENGTH: usize = 164;
    /// `XT_CONNTRACK_STATE`.
    const STATE: u16 = 1;
    /// `XT_CONNTRACK_STATE_BIT` of `IP_CT_ESTABLISHED` and `IP_CT_RELATED`, and `XT_CONNTRACK_STATE_DNAT`
    /// (linux/netfilter/xt_conntrack.h).
    const MASK: u16 = 1 << 1 | 1 << 2 | 1 << 7;
    let mut info = vec![0; LENGTH];
    info[MATCH_FLAGS..MATCH_FLAGS + 2].copy_from_slice(&STATE.to_ne_bytes());
    info[MATCH_FLAGS + 4..MATCH_FLAGS + 6].copy_from_slice(&MASK.to_ne_bytes());
    of("conntrack", 3, info)
}

/// `-m comment --comment TEXT`: `struct xt_comment_info { char comment[256]; }`.
pub(super) fn comment(text: &str) -> Expressions {
    const LENGTH: usize = 256;
    let mut info = text.as_bytes()[..text.len().min(LENGTH - 1)].to_vec();
    info.resize(LENGTH, 0);
    of("comment", 0, info)
}

/// What a `match` expression says.
pub(super) enum Said {
    /// A comment: it holds for every packet.
    Comment(String),
    /// A link group.
    Group(u32),
    /// Some condition.
    Other,
}

/// Reads the data of a `match` expression.
pub(super) fn read(data: &[u8]) -> Said {
    let info = attr(data, kind::INFO).unwrap_or_default();
    let revision = attr(data, kind::REV).map_or(0, u32_be);
    match (attr(data, kind::NAME).map(text_of).as_deref(), revision) {
        (Some("comment"), 0) => Said::Comment(text_of(info)),
        (Some("devgroup"), 0) => match u32_at(info, 0) {
            devgroup::SRC if u32_at(info, 8) == u32::MAX => Said::Group(u32_at(info, 4)),
            devgroup::DST if u32_at(info, 16) == u32::MAX => Said::Group(u32_at(info, 12)),
            _ => Said::Other,
        },
        _ => Said::Other,
    }
}
