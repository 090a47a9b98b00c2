//! A flowtable and its links.
//!
//! `NFTA_FLOWTABLE_*` and `NFTA_FLOWTABLE_HOOK_*` of linux/netfilter/nf_tables.h; the netlink crate has no types for them.

use super::expression::be;
use super::{dump, of};
use crate::wire::{Netlink, Refused, attr, attrs, text_of};
use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::NfTablesMessage as Message;
use netmode_model::IfName;
use netmode_model::nft::TableName;
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};

const TABLE: u16 = 1;
const NAME: u16 = 2;
const HOOK: u16 = 3;
const FLAGS: u16 = 7;
/// Within the hook.
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const HOOK_LINKS: u16 = 3;
/// `NFTA_DEVICE_NAME`.
const LINK: u16 = 1;
/// `NFT_FLOWTABLE_COUNTER`: what goes by it is counted as the connection's (Linux 5.7).
const COUNTER: u32 = 2;

fn text(kind: u16, value: &str) -> DefaultNla {
    DefaultNla::new(kind, [value.as_bytes(), &[0]].concat())
}

fn nest(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

/// One without links, at the ingress of those that it will have.
pub(super) fn empty(table: &str, name: &str) -> Vec<DefaultNla> {
    /// `NF_NETDEV_INGRESS`.
    const INGRESS: u32 = 0;
    let hook = nest(HOOK, &[be(HOOK_NUMBER, INGRESS), be(HOOK_PRIORITY, 0)]);
    vec![text(TABLE, table), text(NAME, name), hook, be(FLAGS, COUNTER)]
}

/// One more link.
pub(super) fn link(table: &str, name: &str, dev: &IfName) -> Vec<DefaultNla> {
    let hook = nest(HOOK, &[nest(HOOK_LINKS, &[text(LINK, dev.as_str())])]);
    vec![text(TABLE, table), text(NAME, name), hook]
}

/// The flowtables of a table with their links; none on a kernel without them.
pub(super) fn read(netlink: &mut Netlink, table: &TableName) -> Result<BTreeMap<String, BTreeSet<IfName>>, Refused> {
    let request = of(table.family, Message::GetFlowTable(vec![text(TABLE, &table.name)]));
    let found = netlink.dump(request, |frame| {
        let attributes = dump::attributes(frame);
        let ours = attr(attributes, TABLE).is_some_and(|t| text_of(t) == table.name);
        let links = attr(attributes, HOOK).and_then(|hook| attr(hook, HOOK_LINKS)).unwrap_or_default();
        let links = attrs(links).filter_map(|(_, name)| text_of(name).parse().ok()).collect();
        attr(attributes, NAME).filter(|_| ours).map(|name| (text_of(name), links))
    });
    match found {
        Ok(found) => Ok(found.into_iter().collect()),
        Err(e) if e.is(Errno::EOPNOTSUPP) || e.is(Errno::EINVAL) => Ok(BTreeMap::new()),
        Err(e) => Err(e),
    }
}
