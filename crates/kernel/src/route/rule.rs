//! Policy routing rules.

use super::{NEW, RouteSocket};
use crate::wire::Refused;
use ipnetwork::IpNetwork;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netmode_model::op::{PolicyRule, RuleVerdict};

/// `RT_TABLE_MAIN`, linux/rtnetlink.h.
pub(super) const MAIN: u8 = 254;

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
    message.header.family = if rule.to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.dst_len = rule.to.prefix();
    message.attributes.push(RuleAttribute::Priority(rule.pref));
    message.attributes.push(RuleAttribute::Destination(rule.to.network()));
    message.attributes.extend(rule.iif.as_ref().map(|iif| RuleAttribute::Iifname(iif.as_str().into())));
    if let Some(mark) = rule.mark {
        message.attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mark)]);
    }
    match rule.verdict {
        RuleVerdict::Main => {
            message.header.action = RuleAction::ToTable;
            message.header.table = MAIN;
        }
        RuleVerdict::Prohibit => message.header.action = RuleAction::Prohibit,
    }
    message
}

/// The rule, if it is of a shape that we make.
pub(super) fn read(message: &RuleMessage) -> Option<PolicyRule> {
    let (mut pref, mut to, mut iif, mut mark, mut mask, mut table) = (0, None, None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(n) => pref = *n,
            RuleAttribute::Destination(ip) => to = IpNetwork::new(*ip, message.header.dst_len).ok(),
            RuleAttribute::Iifname(name) => iif = Some(name.parse().ok()?),
            RuleAttribute::FwMark(n) => mark = Some(*n),
            RuleAttribute::FwMask(n) => mask = Some(*n),
            RuleAttribute::Table(n) => table = Some(*n),
            RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            _ => return None,
        }
    }
    let verdict = match message.header.action {
        RuleAction::ToTable if table == Some(u32::from(MAIN)) => RuleVerdict::Main,
        RuleAction::Prohibit => RuleVerdict::Prohibit,
        _ => return None,
    };
    let plain =
        mark == mask && message.header.tos == 0 && message.header.src_len == 0 && message.header.flags.is_empty();
    plain.then_some(PolicyRule { pref, iif, mark, to: to?, verdict })
}
