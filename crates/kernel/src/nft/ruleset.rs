//! A whole table.

use super::element::type_number;
use super::{expression, flowtable, padded};
use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook as HookAttribute, HookNumber, InetHookNumber, NfTablesMessage as Message,
    RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetFlags, SetMessage, TableAttribute, TableFlags,
    TableMessage,
};
use netmode_model::nft::{Base, Chain, ChainKind, Hook, Rule, Ruleset, Set, TableFamily, TableName, Type};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// A table message; `owned` asks for the socket's ownership of a table that outlives the socket.
pub(super) fn table(name: &str, owned: bool) -> TableMessage {
    let mut attributes = vec![TableAttribute::Name(name.into())];
    if owned {
        // Never one without the other: an owned table that does not persist dies with its socket.
        attributes.push(TableAttribute::Flags(TableFlags::Owner | TableFlags::Persisent));
    }
    TableMessage { attributes }
}

/// The messages that write a table, with their flags.
pub(super) fn messages(ruleset: &Ruleset, owned: bool) -> Vec<(Message, u16)> {
    let (name, family) = (&ruleset.table.name, ruleset.table.family);
    let mut out = vec![(Message::NewTable(table(name, owned)), NEW)];
    let flowtable = ruleset.flowtable.iter().map(|f| (Message::NewFlowTable(flowtable::empty(name, f)), NEW));
    out.extend(flowtable);
    let sets = ruleset.sets.iter().zip(1..).map(|(s, id)| (Message::NewSet(set(name, s, id)), NEW));
    out.extend(sets);
    // All chains before any rule: then rules may jump to any of them.
    out.extend(ruleset.chains.iter().map(|c| (Message::NewChain(chain(name, c)), NEW)));
    for chain in &ruleset.chains {
        let rules = chain.rules.iter().map(|r| Message::NewRule(rule(family, name, &chain.name, r)));
        out.extend(rules.map(|rule| (rule, NLM_F_CREATE | NLM_F_APPEND)));
    }
    out
}

fn length(types: &[Type]) -> u32 {
    match types {
        [one] => one.size() as u32,
        several => several.iter().map(|t| padded(t.size()) as u32).sum(),
    }
}

/// The messages that give a chain its rules, with their flags.
pub(super) fn chain_messages(table: &TableName, chain: &Chain) -> Vec<(Message, u16)> {
    let flush = Message::DeleteRule(RuleMessage { attributes: of_chain(&table.name, &chain.name) });
    let rules = chain.rules.iter().map(|r| Message::NewRule(rule(table.family, &table.name, &chain.name, r)));
    let mut out = vec![(Message::NewChain(self::chain(&table.name, chain)), NLM_F_CREATE), (flush, 0)];
    out.extend(rules.map(|rule| (rule, NLM_F_CREATE | NLM_F_APPEND)));
    out
}

/// The messages that take a chain away with its rules.
pub(super) fn chain_removal(table: &TableName, chain: &Chain) -> [Message; 2] {
    let named = vec![ChainAttribute::Table(table.name.clone()), ChainAttribute::Name(chain.name.clone())];
    let flush = Message::DeleteRule(RuleMessage { attributes: of_chain(&table.name, &chain.name) });
    [flush, Message::DeleteChain(ChainMessage { attributes: named })]
}

fn of_chain(table: &str, chain: &str) -> Vec<RuleAttribute> {
    vec![RuleAttribute::Table(table.into()), RuleAttribute::Chain(chain.into())]
}

/// A set by its name.
pub(super) fn set_named(table: &str, name: &str) -> SetMessage {
    SetMessage { attributes: vec![SetAttribute::Table(table.into()), SetAttribute::Name(name.into())] }
}

pub(super) fn set(table: &str, set: &Set, id: u32) -> SetMessage {
    let mut flags = SetFlags::empty();
    flags.set(SetFlags::Interval, set.interval);
    flags.set(SetFlags::Map, !set.data.is_empty());
    flags.set(SetFlags::Concat, set.key.len() > 1);
    let mut attributes = vec![
        SetAttribute::Table(table.into()),
        SetAttribute::Name(set.name.clone()),
        SetAttribute::Flags(flags),
        SetAttribute::KeyType(type_number(&set.key)),
        SetAttribute::KeyLen(length(&set.key)),
        SetAttribute::Id(id),
    ];
    if !set.data.is_empty() {
        attributes.push(SetAttribute::DataType(type_number(&set.data)));
        attributes.push(SetAttribute::DataLen(length(&set.data)));
    }
    if let [Type::IfName] = set.key[..] {
        attributes.push(SetAttribute::UserData(host_order()));
    }
    if set.key.len() > 1 {
        let fields = set.key.iter().map(|t| field(t.size() as u32)).collect();
        attributes.push(SetAttribute::Description(vec![SetDescription::Concat(fields)]));
    }
    SetMessage { attributes }
}

/// Tells nft(8) that keys are in host order, as it does for names itself; otherwise it lists them as empty.
/// A type-length-value of libnftnl: `NFTNL_UDATA_SET_KEYBYTEORDER`, 4 bytes, `BYTEORDER_HOST_ENDIAN`.
fn host_order() -> Vec<u8> {
    let mut data = vec![0, 4];
    data.extend(1u32.to_ne_bytes());
    data
}

/// `NFTA_LIST_ELEM { NFTA_SET_FIELD_LEN }`.
fn field(len: u32) -> DefaultNla {
    let mut inner = [8u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat();
    inner.extend(len.to_be_bytes());
    DefaultNla::new(1 | NLA_F_NESTED, inner)
}

fn chain(table: &str, chain: &Chain) -> ChainMessage {
    let mut attributes = vec![ChainAttribute::Table(table.into()), ChainAttribute::Name(chain.name.clone())];
    if let Some(Base { kind, hook, priority }) = chain.base {
        let number = match hook {
            Hook::Prerouting => InetHookNumber::PreRouting,
            Hook::Input => InetHookNumber::LocalIn,
            Hook::Forward => InetHookNumber::Forward,
            Hook::Output => InetHookNumber::LocalOut,
            Hook::Postrouting => InetHookNumber::PostRouting,
        };
        let kind = match kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        attributes.push(ChainAttribute::Hook(vec![
            HookAttribute::Number(HookNumber::Inet(number)),
            HookAttribute::Priority(priority as u32),
        ]));
        // NF_ACCEPT.
        attributes.push(ChainAttribute::Policy(1));
        attributes.push(ChainAttribute::Type(kind.into()));
    }
    ChainMessage { attributes }
}

fn rule(family: TableFamily, table: &str, chain: &str, rule: &Rule) -> RuleMessage {
    let expressions = expression::rule(family, rule).into_iter().map(Into::into).collect();
    let mut attributes = of_chain(table, chain);
    attributes.push(RuleAttribute::Expressions(expressions));
    RuleMessage { attributes }
}
