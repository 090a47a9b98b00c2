//! Policy routing rules.

use super::{NEW, RouteSocket};
use crate::wire::Refused;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netmode_model::nft::Family;
use netmode_model::op::PolicyRule;

impl RouteSocket {
    pub(crate) fn add_rule(&mut self, rule: &PolicyRule) -> Result<(), Refused> {
        self.request(Message::NewRule(message(rule)), NEW)
    }

    pub(crate) fn delete_rule(&mut self, rule: &PolicyRule) -> Result<(), Refused> {
        self.request(Message::DelRule(message(rule)), 0)
    }
}

fn message(rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.family == Family::V6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(rule.pref));
    message.attributes.extend(rule.iif.as_ref().map(|iif| RuleAttribute::Iifname(iif.as_str().into())));
    if let Some(mark) = rule.mark {
        message.attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mark)]);
    }
    // The header has one byte for it.
    message.header.table = u8::try_from(rule.table).unwrap_or_default();
    message.attributes.push(RuleAttribute::Table(rule.table));
    message
}

/// The rule, if it is of a shape that we make.
pub(super) fn read(message: &RuleMessage) -> Option<PolicyRule> {
    let family = match message.header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let mut rule = PolicyRule { pref: 0, family, iif: None, mark: None, table: message.header.table.into() };
    let mut mask = None;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(n) => rule.pref = *n,
            RuleAttribute::Iifname(name) => rule.iif = Some(name.parse().ok()?),
            RuleAttribute::FwMark(n) => rule.mark = Some(*n),
            RuleAttribute::FwMask(n) => mask = Some(*n),
            RuleAttribute::Table(n) => rule.table = *n,
            RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            _ => return None,
        }
    }
    let header = &message.header;
    let plain = header.tos == 0 && header.src_len == 0 && header.dst_len == 0 && header.flags.is_empty();
    (plain && rule.mark == mask && header.action == RuleAction::ToTable).then_some(rule)
}
