//! Our two rules in tables of others.

use super::expression::{cmp, meta, other, register, verdict};
use super::owner::{Aborted, Owner};
use super::{expression, of_family, proto, xt};
use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    Expressions, MetaKey, NfTablesMessage as Message, RuleAttribute, RuleMessage, Verdict, VerdictAttribute,
};
use netmode_model::foreign::{AcceptRule, ChainAt, Pass, RuleChange};

/// `NFTNL_UDATA_RULE_COMMENT`, by which nft(8) keeps a rule's comment.
pub(super) const COMMENT: u8 = 0;

impl Owner {
    /// Carries out changes of chains that others made, all or none. Not by the socket that owns our table: what a
    /// stranger's table has from it would go with it.
    pub(crate) fn settle(&mut self, changes: &[RuleChange]) -> Result<(), Aborted> {
        let mut batch = self.begin();
        for (at, change) in changes.iter().enumerate() {
            let (family, message, flags) = match change {
                RuleChange::Add(rule) => {
                    let end = if rule.before.is_none() { NLM_F_APPEND } else { 0 };
                    (rule.at.family, Message::NewRule(add(rule)), NLM_F_CREATE | end)
                }
                RuleChange::Del { at, handle } => {
                    let mut attributes = of_chain(at);
                    attributes.push(RuleAttribute::Handle(*handle));
                    (at.family, Message::DeleteRule(RuleMessage { attributes }), 0)
                }
            };
            self.message(&mut batch, at, of_family(proto(family), message), flags);
        }
        self.commit(batch)
    }
}

fn of_chain(at: &ChainAt) -> Vec<RuleAttribute> {
    vec![RuleAttribute::Table(at.table.clone()), RuleAttribute::Chain(at.chain.clone())]
}

fn add(rule: &AcceptRule) -> RuleMessage {
    let by_iptables = rule.at.by_iptables();
    let expressions = if by_iptables { as_iptables(rule) } else { as_nft(rule) };
    let mut attributes = of_chain(&rule.at);
    attributes.push(RuleAttribute::Expressions(expressions.into_iter().map(Into::into).collect()));
    if by_iptables {
        // NFTA_RULE_COMPAT_PROTO and _FLAGS: of any protocol.
        attributes.push(RuleAttribute::Compat(vec![expression::be(1, 0), expression::be(2, 0)]));
    } else {
        // A type, a length and the text with its end.
        let text = [rule.comment.as_bytes(), &[0]].concat();
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let data = [&[COMMENT, length], &text[..usize::from(length)]].concat();
        attributes.push(RuleAttribute::UserData(data));
    }
    attributes.extend(rule.before.map(|before| RuleAttribute::Position(before.handle)));
    RuleMessage { attributes }
}

fn as_iptables(rule: &AcceptRule) -> Vec<Expressions> {
    let mut out = vec![xt::devgroup(rule.group, rule.pass == Pass::From)];
    out.extend((rule.pass == Pass::To).then(xt::replies_and_published));
    out.push(xt::comment(&rule.comment));
    out.extend(count_and_accept());
    out
}

fn as_nft(rule: &AcceptRule) -> Vec<Expressions> {
    let key = if rule.pass == Pass::From { MetaKey::Iifgroup } else { MetaKey::Oifgroup };
    let mut out = vec![meta(key, register(0)), cmp(false, &rule.group.to_ne_bytes())];
    if rule.pass == Pass::To {
        out.extend(expression::ct_status(replies_and_published()));
    }
    out.extend(count_and_accept());
    out
}

/// Status bits of a connection that say what `RELATED,ESTABLISHED,DNAT` does, since one rule cannot ask for its state
/// or its translation: a helper expected it, it was answered, it was translated (an error message comes back for the
/// first packet of one that is masqueraded). Linux net/netfilter/nf_conntrack_core.c, `resolve_normal_ct`.
fn replies_and_published() -> u32 {
    const EXPECTED: u32 = 1 << 0;
    const SEEN_REPLY: u32 = 1 << 1;
    const SRC_NAT: u32 = 1 << 4;
    const DST_NAT: u32 = 1 << 5;
    EXPECTED | SEEN_REPLY | SRC_NAT | DST_NAT
}

fn count_and_accept() -> [Expressions; 2] {
    /// `NF_ACCEPT`.
    const ACCEPT: Verdict = Verdict::Other(1);
    let zero = |kind| DefaultNla::new(kind, vec![0; 8]);
    [other("counter", vec![zero(1), zero(2)]), verdict(vec![VerdictAttribute::Code(ACCEPT)])]
}
