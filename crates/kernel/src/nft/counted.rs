//! What rules have counted.

use super::of;
use crate::kernel::Kernel;
use crate::netns::Worker;
use crate::wire::{Netlink, Refused, attr, attrs, text_of};
use netlink_packet_netfilter::nftables::{NfTablesMessage as Message, RuleAttribute, RuleMessage};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netmode_model::Place;
use netmode_model::nft::TableName;
use netmode_model::op::OpError;
use nix::errno::Errno;

/// A rule that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The chain that it stands in.
    pub chain: String,
    /// The set that it looks into, the last one if it asks several.
    pub set: Option<String>,
    /// Whether it asks nothing: every packet that comes to it is counted.
    pub always: bool,
    /// Packets since the rule was made.
    pub packets: u64,
}

impl Kernel {
    /// The rules of a table on the host that count; none where there is no such table. Read by the caller's own thread,
    /// so no transaction waits for it.
    ///
    /// # Errors
    /// What the kernel says to the dump.
    pub fn counted(&self, table: &TableName) -> Result<Vec<Counted>, OpError> {
        let opened = Netlink::open(NETLINK_NETFILTER).map_err(Refused::from);
        opened
            .and_then(|mut netlink| read(&mut netlink, table))
            .map_err(|refused| refused.of(&format!("nft list table {table}")))
    }

    /// The same of tables in namespaces; those that are no more are left out.
    pub fn counted_of(&self, tables: &[TableName]) -> Vec<(TableName, Vec<Counted>)> {
        self.pool.visit(tables, |worker: &mut Worker, table: &TableName| {
            let at: &Place = &table.at;
            let mut netlink = worker.netfilter(at).ok()?;
            Some((table.clone(), read(&mut netlink, table).ok()?))
        })
    }
}

fn read(netlink: &mut Netlink, table: &TableName) -> Result<Vec<Counted>, Refused> {
    let attributes = vec![RuleAttribute::Table(table.name.clone())];
    let request = of(table.family, Message::GetRule(RuleMessage { attributes }));
    match netlink.dump(request, |frame| rule(frame.body.get(4..)?)) {
        Err(e) if e.is(Errno::ENOENT) => Ok(Vec::new()),
        other => other,
    }
}

/// `NFTA_RULE_CHAIN` (2) and `NFTA_RULE_EXPRESSIONS` (4), each of `NFTA_EXPR_NAME` (1) and `NFTA_EXPR_DATA` (2).
fn rule(attributes: &[u8]) -> Option<Counted> {
    let (mut set, mut packets, mut always) = (None, None, true);
    for (_, expression) in attrs(attr(attributes, 4)?) {
        let (Some(name), data) = (attr(expression, 1), attr(expression, 2).unwrap_or_default()) else { continue };
        match text_of(name).as_str() {
            // NFTA_LOOKUP_SET.
            "lookup" => (set, always) = (attr(data, 1).map(text_of), false),
            // NFTA_COUNTER_PACKETS.
            "counter" => packets = attr(data, 2).and_then(|n| n.try_into().ok()).map(u64::from_be_bytes),
            "immediate" | "log" => {}
            _ => always = false,
        }
    }
    Some(Counted { chain: text_of(attr(attributes, 2)?), set, always, packets: packets? })
}
