//! What is in a table.

use super::element::{self, Shape};
use super::{flowtable, of, ruleset};
use crate::wire::{Frame, Netlink, Refused, attr, text_of};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    ChainMessage, NfTablesMessage as Message, RuleAttribute, RuleMessage, SetAttribute, SetElementList,
    SetElementMessage, SetMessage,
};
use netmode_model::nft::TableName;
use netmode_model::state::TableState;
use nix::errno::Errno;
use std::collections::BTreeMap;

/// Length of `struct nfgenmsg`, which stands before the attributes.
const GENERIC: usize = 4;

pub(super) fn attributes<'a>(frame: &Frame<'a>) -> &'a [u8] {
    frame.body.get(GENERIC..).unwrap_or_default()
}

/// The table's owner: `None` if there is no table, `Some(0)` if nobody owns it, else the socket's address.
pub(super) fn owner(netlink: &mut Netlink, table: &TableName) -> Result<Option<u32>, Refused> {
    /// `NFTA_TABLE_OWNER`.
    const OWNER: u16 = 7;
    let found = netlink.get(of(table.family, Message::GetTable(ruleset::table(&table.name, false))), |answer| {
        attr(attributes(answer), OWNER).map_or(0, crate::wire::u32_be)
    });
    match found {
        Err(e) if e.is(Errno::ENOENT) => Ok(None),
        other => other.map(Some),
    }
}

/// Everything in a table, or `None` if there is no such table.
pub(crate) fn table(netlink: &mut Netlink, table: &TableName) -> Result<Option<TableState>, Refused> {
    let Some(owner) = owner(netlink, table)? else { return Ok(None) };
    let mut state = TableState { owned: owner != 0, chains: chains(netlink, table)?, ..TableState::default() };
    state.flowtables = flowtable::read(netlink, table)?;
    for shape in shapes(netlink, table)? {
        let request = SetElementMessage {
            attributes: vec![SetElementList::Table(table.name.clone()), SetElementList::Set(shape.name.clone())],
        };
        let request = of(table.family, Message::GetSetElement(request));
        let raw = netlink.dump(request, |f| Some(element::raw(attributes(f))))?;
        state.elements.extend(shape.elements(raw.into_iter().flatten().collect()));
        state.sets.insert(shape.name);
    }
    Ok(Some(state))
}

fn shapes(netlink: &mut Netlink, table: &TableName) -> Result<Vec<Shape>, Refused> {
    let request = SetMessage { attributes: vec![SetAttribute::Table(table.name.clone())] };
    netlink.dump(of(table.family, Message::GetSet(request)), |frame| Shape::read(attributes(frame), &table.name))
}

/// Names of the table's sets with their interval flag.
pub(super) fn intervals(netlink: &mut Netlink, table: &TableName) -> Result<BTreeMap<String, bool>, Refused> {
    Ok(shapes(netlink, table)?.into_iter().map(|shape| (shape.name, shape.interval)).collect())
}

/// Names of the chains with the number of their rules.
fn chains(netlink: &mut Netlink, table: &TableName) -> Result<BTreeMap<String, usize>, Refused> {
    const TABLE: u16 = 1; // NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
    const CHAIN_NAME: u16 = 3;
    const RULE_CHAIN: u16 = 2;
    let names = |request: NetfilterMessage, netlink: &mut Netlink, name: u16| {
        netlink.dump(request, |frame| {
            let of_table = attr(attributes(frame), TABLE).is_some_and(|t| text_of(t) == table.name);
            attr(attributes(frame), name).filter(|_| of_table).map(text_of)
        })
    };
    let all = of(table.family, Message::GetChain(ChainMessage { attributes: Vec::new() }));
    let chains = names(all, netlink, CHAIN_NAME)?;
    let mut count: BTreeMap<String, usize> = chains.into_iter().map(|name| (name, 0)).collect();
    let rules = RuleMessage { attributes: vec![RuleAttribute::Table(table.name.clone())] };
    for chain in names(of(table.family, Message::GetRule(rules)), netlink, RULE_CHAIN)? {
        *count.entry(chain).or_default() += 1;
    }
    Ok(count)
}
