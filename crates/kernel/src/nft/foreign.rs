//! What others have on the forward hook.

use super::guest::COMMENT;
use super::{of_family, proto, xt};
use crate::wire::{Frame, Netlink, Refused, attr, attrs, text_of, u32_be};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    ChainMessage, NfTablesMessage as Message, RuleAttribute, RuleMessage, TableMessage,
};
use netmode_model::foreign::{BaseChain, ChainAt, Foreign, Outcome, SeenRule, TableFamily};
use nix::errno::Errno;
use std::collections::BTreeSet;

/// Tables that have a chain on the forward hook: the changes of their rules matter.
pub(crate) type Watched = BTreeSet<(TableFamily, String)>;

/// Chains are followed so far: beyond, a firewall is taken as one that lets pass what its base chains do.
const MOST_CHAINS: usize = 256;

/// A message's family (`nfgen_family`) and attributes.
pub(crate) fn parts<'a>(frame: &Frame<'a>) -> Option<(TableFamily, &'a [u8])> {
    let family = match frame.body.first()? {
        1 => TableFamily::Inet,
        2 => TableFamily::Ip,
        10 => TableFamily::Ip6,
        _ => return None,
    };
    Some((family, frame.body.get(4..)?))
}

/// Whether a chain's attributes say that it is on the forward hook: `NFTA_CHAIN_HOOK { NFTA_HOOK_HOOKNUM }`.
pub(crate) fn on_forward(attributes: &[u8]) -> bool {
    /// `NF_INET_FORWARD`.
    const FORWARD: u32 = 2;
    attr(attributes, 4).and_then(|hook| attr(hook, 1)).is_some_and(|number| u32_be(number) == FORWARD)
}

/// Reads base chains of the forward hook, but for those of our `own` tables, with all chains that they lead to and
/// those that are meant for rules of others. One dump of tables and chains, and one for each chain's rules.
pub(crate) fn read(netlink: &mut Netlink, own: [&str; 2]) -> Result<Foreign, Refused> {
    let owned = owned_tables(netlink)?;
    let mut bases = Vec::new();
    let mut others = Vec::new();
    let any = of_family(NetfilterProtoFamily::Unspec, Message::GetChain(ChainMessage { attributes: Vec::new() }));
    let chains = netlink.dump(any, |frame| {
        let (family, attributes) = parts(frame)?;
        let text = |kind| attr(attributes, kind).map(text_of);
        let at = ChainAt { family, table: text(1)?, chain: text(3)? };
        // NFTA_CHAIN_POLICY: NF_DROP is 0. NFTA_CHAIN_TYPE.
        let drops = attr(attributes, 5).is_some_and(|policy| u32_be(policy) == 0);
        let base = on_forward(attributes) && text(7).as_deref() == Some("filter");
        Some((at, base, drops))
    })?;
    for (at, base, drops) in chains.into_iter().filter(|(at, ..)| !is_own(at, own)) {
        if base {
            let owned = owned.contains(&(at.family, at.table.clone()));
            bases.push(BaseChain { at, drops, owned });
        } else if at.is_meant() {
            others.push(at);
        }
    }
    let mut foreign = Foreign { bases, ..Foreign::default() };
    let mut ahead: Vec<ChainAt> = foreign.bases.iter().map(|base| base.at.clone()).chain(others).collect();
    while let Some(at) = ahead.pop() {
        if foreign.chains.contains_key(&at) || foreign.chains.len() >= MOST_CHAINS {
            continue;
        }
        let rules = rules(netlink, &at)?;
        ahead.extend(rules.iter().filter_map(|rule| match &rule.outcome {
            Outcome::Jump(chain) | Outcome::Goto(chain) if rule.always => Some(at.sibling(chain)),
            _ => None,
        }));
        foreign.chains.insert(at, rules);
    }
    Ok(foreign)
}

fn is_own(at: &ChainAt, own: [&str; 2]) -> bool {
    at.family == TableFamily::Inet && own.contains(&at.table.as_str())
}

/// Tables that a socket owns.
fn owned_tables(netlink: &mut Netlink) -> Result<Watched, Refused> {
    let any = of_family(NetfilterProtoFamily::Unspec, Message::GetTable(TableMessage { attributes: Vec::new() }));
    let owned = netlink.dump(any, |frame| {
        let (family, attributes) = parts(frame)?;
        // NFTA_TABLE_OWNER, NFTA_TABLE_NAME.
        let owner = attr(attributes, 7).map_or(0, u32_be);
        (owner != 0).then_some(())?;
        Some((family, text_of(attr(attributes, 1)?)))
    })?;
    Ok(owned.into_iter().collect())
}

fn rules(netlink: &mut Netlink, at: &ChainAt) -> Result<Vec<SeenRule>, Refused> {
    let attributes = vec![RuleAttribute::Table(at.table.clone()), RuleAttribute::Chain(at.chain.clone())];
    let request = of_family(proto(at.family), Message::GetRule(RuleMessage { attributes }));
    match netlink.dump(request, |frame| parts(frame).and_then(|(_, attributes)| rule(attributes))) {
        // It went since the chains were read.
        Err(e) if e.is(Errno::ENOENT) => Ok(Vec::new()),
        other => other,
    }
}

/// `NFTA_RULE_*`: table 1, chain 2, handle 3, expressions 4, user data 7.
fn rule(attributes: &[u8]) -> Option<SeenRule> {
    let handle = u64::from_be_bytes(attr(attributes, 3)?.try_into().ok()?);
    let mut seen = SeenRule {
        handle,
        always: true,
        outcome: Outcome::On,
        comment: attr(attributes, 7).and_then(comment),
        group: None,
        link: None,
    };
    let mut compares_group = false;
    for (_, expression) in attrs(attr(attributes, 4).unwrap_or_default()) {
        // NFTA_EXPR_NAME, NFTA_EXPR_DATA.
        let (Some(name), data) = (attr(expression, 1).map(text_of), attr(expression, 2).unwrap_or_default()) else {
            continue;
        };
        expression_of(&name, data, &mut seen, &mut compares_group);
    }
    Some(seen)
}

fn expression_of(name: &str, data: &[u8], seen: &mut SeenRule, compares_group: &mut bool) {
    match name {
        "immediate" => seen.outcome = outcome(data).unwrap_or(seen.outcome.clone()),
        "reject" => seen.outcome = Outcome::Drop,
        "match" => match xt::read(data) {
            xt::Said::Comment(text) => seen.comment = Some(text),
            xt::Said::Group(group) => (seen.always, seen.group) = (false, Some(group)),
            xt::Said::Other => seen.always = false,
        },
        // NFTA_TARGET_NAME.
        "target" => match attr(data, 1).map(text_of).as_deref() {
            Some("REJECT" | "DROP") => seen.outcome = Outcome::Drop,
            Some("LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS" | "TRACE" | "CLASSIFY") => {}
            _ => seen.always = false,
        },
        "counter" | "log" => {}
        // NFTA_META_KEY: NFT_META_IIFGROUP and NFT_META_OIFGROUP. Loading alone is no condition.
        "meta" => *compares_group = matches!(attr(data, 2).map(u32_be), Some(21 | 22)),
        "ct" | "payload" | "bitwise" | "fib" => *compares_group = false,
        "cmp" => {
            // NFTA_CMP_DATA { NFTA_DATA_VALUE }.
            let value = attr(data, 3).and_then(|d| attr(d, 1)).unwrap_or_default();
            if *compares_group && let Ok(bytes) = value.try_into() {
                seen.group = Some(u32::from_ne_bytes(bytes));
            } else if value.len() == 16 {
                seen.link = text_of(value).parse().ok();
            }
            (seen.always, *compares_group) = (false, false);
        }
        _ => seen.always = false,
    }
}

/// `NFTA_IMMEDIATE_DATA { NFTA_DATA_VERDICT { NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN } }`; none where a value is loaded.
fn outcome(data: &[u8]) -> Option<Outcome> {
    /// `NF_DROP`, `NF_ACCEPT`, `NFT_JUMP`, `NFT_GOTO`, `NFT_RETURN`.
    const CODES: [i32; 5] = [0, 1, -3, -4, -5];
    let verdict = attr(data, 2).and_then(|d| attr(d, 2))?;
    let chain = || attr(verdict, 2).map(text_of).unwrap_or_default();
    let code = attr(verdict, 1).map(u32_be)? as i32;
    Some(match CODES.iter().position(|c| *c == code)? {
        0 => Outcome::Drop,
        1 => Outcome::Accept,
        2 => Outcome::Jump(chain()),
        3 => Outcome::Goto(chain()),
        _ => Outcome::Return,
    })
}

/// The comment among a rule's user data: types, each with a length and a value.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            return Some(text_of(value));
        }
        data = &rest[usize::from(*length)..];
    }
    None
}

/// Tables of a reading.
pub(crate) fn tables(foreign: &Foreign) -> Watched {
    let of_bases = foreign.bases.iter().map(|base| (base.at.family, base.at.table.clone()));
    let of_chains = foreign.chains.keys().map(|at| (at.family, at.table.clone()));
    of_bases.chain(of_chains).collect()
}
