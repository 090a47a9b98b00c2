//! The one socket that may write our table.

use super::{dump, element, flowtable, of, ruleset};
use crate::wire::{Frame, Netlink, Refused, frames};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLMSG_ERROR};
use netlink_packet_netfilter::nftables::NfTablesMessage as Message;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netmode_model::Op;
use netmode_model::nft::{Action, Chain, Element, Ruleset, TableName};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A transaction is one datagram: 15,000 elements are 3 MB.
const BUFFER: usize = 32 << 20;

/// `NFNL_SUBSYS_NFTABLES`: the subsystem that a batch is for.
const SUBSYSTEM: u16 = 10;

/// The owner socket, in the host's namespace.
pub(crate) struct Owner {
    netlink: Netlink,
    port: u32,
    /// Whether the kernel knows owned tables that persist (6.9+); assumed until it says no.
    persists: bool,
    /// Whether the kernel can tell of refused packets (NFLOG); assumed until it says no.
    tells: bool,
    /// Interval flags of the sets of our tables: an element of a range set is encoded differently.
    intervals: BTreeMap<TableName, BTreeMap<String, bool>>,
}

/// Which of the operations failed, and why. Nothing of the transaction was done.
pub(crate) struct Aborted {
    /// Position in the list of operations; `None` if the transaction as such was refused.
    pub(crate) at: Option<usize>,
    pub(crate) why: Refused,
}

/// A transaction in the making: bytes, and the operation that each message belongs to.
pub(super) struct Batch {
    bytes: Vec<u8>,
    origin: Vec<(u32, usize)>,
}

impl Owner {
    /// Goes on with the socket of an agent before this one, or opens one.
    pub(crate) fn open(inherited: Option<OwnedFd>) -> io::Result<Self> {
        let netlink = match inherited {
            Some(socket) => Netlink::of(socket)?,
            None => Netlink::open(NETLINK_NETFILTER)?,
        };
        netlink.set_buffers(BUFFER)?;
        let port = netlink.port()?;
        Ok(Self { netlink, port, persists: true, tells: true, intervals: BTreeMap::new() })
    }

    /// The socket.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }

    /// The socket's address, by which the monitor knows what we did ourselves.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Whether the kernel knows owned tables that persist, as far as it was asked.
    pub(crate) fn persists(&self) -> bool {
        self.persists
    }

    /// Whether the kernel can tell of refused packets, as far as it was asked.
    pub(crate) fn tells(&self) -> bool {
        self.tells
    }

    /// Carries out operations on tables and elements, all or none.
    pub(crate) fn transact(&mut self, ops: &[&Op]) -> Result<(), Aborted> {
        let refused = |why| Aborted { at: None, why };
        self.learn(ops).map_err(refused)?;
        let persists = self.persists;
        match self.attempt(ops) {
            // A kernel without PERSIST refuses the flags of NEWTABLE; then the table is nobody's.
            Err(_) if persists && !self.persists => self.attempt(ops),
            // ENOENT is also what one without NFLOG says to a rule that tells.
            Err(aborted) if self.tells && aborted.why.is(Errno::ENOENT) && ops.iter().any(|op| tells(op)) => {
                self.tells = false;
                let done = self.attempt(ops);
                self.tells = done.is_err();
                done
            }
            other => other,
        }
    }

    fn attempt(&mut self, ops: &[&Op]) -> Result<(), Aborted> {
        let mut batch = self.begin();
        for (at, op) in ops.iter().enumerate() {
            self.encode(&mut batch, at, op);
        }
        let result = self.commit(batch);
        if let Err(Aborted { at: Some(at), why }) = &result
            && matches!(ops[*at], Op::TableAdd(ruleset) if ruleset.owner)
            && (why.is(Errno::EOPNOTSUPP) || why.is(Errno::EINVAL))
        {
            self.persists = false;
        }
        result
    }

    /// Puts tables with their elements in the place of what is there, and takes others away, in one transaction: no
    /// packet sees a gap.
    pub(crate) fn replace(&mut self, tables: &[(Ruleset, Vec<Element>)], gone: &[TableName]) -> Result<(), Aborted> {
        let mut ops = Vec::new();
        for table in tables.iter().map(|(ruleset, _)| &ruleset.table).chain(gone) {
            let there = dump::owner(&mut self.netlink, table).map_err(|why| Aborted { at: None, why })?;
            ops.extend(there.map(|_| Op::TableDel { table: table.clone() }));
        }
        for (ruleset, elements) in tables {
            ops.push(Op::TableAdd(ruleset.clone()));
            let add = |e: &Element| Op::ElementAdd { table: ruleset.table.clone(), element: e.clone() };
            ops.extend(elements.iter().map(add));
        }
        if ops.is_empty() { Ok(()) } else { self.transact(&ops.iter().collect::<Vec<_>>()) }
    }

    /// Owns a table that a dead agent left, without touching what is in it.
    pub(crate) fn own(&mut self, table: &TableName) -> Result<bool, Refused> {
        match dump::owner(&mut self.netlink, table)? {
            None => return Err(Refused::new(Errno::ENOENT, format!("there is no table {table}"))),
            Some(owner) if owner == self.port => return Ok(true),
            Some(_) => {}
        }
        let mut batch = self.begin();
        let message = Message::NewTable(ruleset::table(&table.name, true));
        self.message(&mut batch, 0, of(table.family, message), NLM_F_CREATE);
        match self.commit(batch) {
            Ok(()) => Ok(dump::owner(&mut self.netlink, table)? == Some(self.port)),
            // A table that was made without PERSIST, or a kernel without it.
            Err(Aborted { why, .. }) if why.is(Errno::EOPNOTSUPP) || why.is(Errno::EINVAL) => Ok(false),
            Err(Aborted { why, .. }) => Err(why),
        }
    }

    pub(super) fn begin(&mut self) -> Batch {
        let mut bytes = Vec::with_capacity(4096);
        self.netlink.push(&mut bytes, control(ControlMessage::BatchBegin), 0);
        Batch { bytes, origin: Vec::new() }
    }

    pub(super) fn message(&mut self, batch: &mut Batch, at: usize, message: NetfilterMessage, flags: u16) {
        let seq = self.netlink.push(&mut batch.bytes, message, flags);
        batch.origin.push((seq, at));
    }

    fn encode(&mut self, batch: &mut Batch, at: usize, op: &Op) {
        match op {
            Op::TableAdd(ruleset) => {
                let ruleset = Ruleset { chains: self.as_known(&ruleset.chains), ..ruleset.clone() };
                for (message, flags) in ruleset::messages(&ruleset, ruleset.owner && self.persists) {
                    self.message(batch, at, of(ruleset.table.family, message), flags);
                }
            }
            Op::TableDel { table } => {
                let message = Message::DeleteTable(ruleset::table(&table.name, false));
                self.message(batch, at, of(table.family, message), 0);
            }
            Op::SetAdd { table, set } => {
                let message = Message::NewSet(ruleset::set(&table.name, set, 1 + at as u32));
                self.message(batch, at, of(table.family, message), NLM_F_CREATE | NLM_F_EXCL);
            }
            Op::SetDel { table, set } => {
                let message = Message::DeleteSet(ruleset::set_named(&table.name, &set.name));
                self.message(batch, at, of(table.family, message), 0);
            }
            Op::FlowtableLink { table, flowtable, dev } => {
                let message = Message::NewFlowTable(flowtable::link(&table.name, flowtable, dev));
                self.message(batch, at, of(table.family, message), NLM_F_CREATE);
            }
            Op::ChainSet { table, chain, .. } => {
                for chain in self.as_known(std::slice::from_ref(chain)) {
                    for (message, flags) in ruleset::chain_messages(table, &chain) {
                        self.message(batch, at, of(table.family, message), flags);
                    }
                }
            }
            Op::ChainDel { table, chain } => {
                for message in ruleset::chain_removal(table, chain) {
                    self.message(batch, at, of(table.family, message), 0);
                }
            }
            Op::ElementAdd { table, element } => {
                let interval = self.interval(table, element).unwrap_or_default();
                let message = element::message(&table.name, element, interval, true);
                self.message(batch, at, of(table.family, Message::NewSetElement(message)), NLM_F_CREATE | NLM_F_EXCL);
            }
            Op::ElementDel { table, element } => {
                let interval = self.interval(table, element).unwrap_or_default();
                let message = element::message(&table.name, element, interval, false);
                self.message(batch, at, of(table.family, Message::DeleteSetElement(message)), 0);
            }
            // The executor sends only these here.
            _ => {}
        }
    }

    /// Chains as this kernel knows them: without NFLOG what would be told is only dropped.
    fn as_known(&self, chains: &[Chain]) -> Vec<Chain> {
        let mut chains = chains.to_vec();
        if !self.tells {
            let rules = chains.iter_mut().flat_map(|chain| &mut chain.rules);
            rules.filter(|rule| matches!(rule.action, Action::Refuse(_))).for_each(|rule| rule.action = Action::Drop);
        }
        chains
    }

    /// Sends the batch. The kernel works it off inside `sendto()`, so whatever it has to say is queued when
    /// that returns: no acknowledgements are needed.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Result<(), Aborted> {
        let whole = |why| Aborted { at: None, why };
        self.netlink.push(&mut batch.bytes, control(ControlMessage::BatchEnd), 0);
        self.netlink.send(&batch.bytes).map_err(|e| whole(e.into()))?;
        let mut first = None;
        while let Some(bytes) = self.netlink.receive(libc::MSG_DONTWAIT).map_err(|e| whole(e.into()))? {
            let refused = |frame: Frame<'_>| Some((frame.seq, frame.outcome().err()?));
            first = first.or_else(|| frames(bytes).filter(|f| f.kind == NLMSG_ERROR).find_map(refused));
        }
        match first {
            None => Ok(()),
            Some((failed, why)) => {
                let at = batch.origin.iter().find(|(seq, _)| *seq == failed).map(|(_, at)| *at);
                Err(Aborted { at, why })
            }
        }
    }

    /// Makes sure that the interval flags of all sets that the operations name are known.
    fn learn(&mut self, ops: &[&Op]) -> Result<(), Refused> {
        for op in ops {
            match op {
                Op::TableAdd(ruleset) => {
                    let sets = ruleset.sets.iter().map(|s| (s.name.clone(), s.interval)).collect();
                    self.intervals.insert(ruleset.table.clone(), sets);
                }
                Op::SetAdd { table, set } => {
                    if !self.intervals.contains_key(table) {
                        let sets = dump::intervals(&mut self.netlink, table)?;
                        self.intervals.insert(table.clone(), sets);
                    }
                    self.intervals.entry(table.clone()).or_default().insert(set.name.clone(), set.interval);
                }
                Op::ElementAdd { table, element } | Op::ElementDel { table, element }
                    if self.interval(table, element).is_none() =>
                {
                    let sets = dump::intervals(&mut self.netlink, table)?;
                    self.intervals.insert(table.clone(), sets);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn interval(&self, table: &TableName, element: &Element) -> Option<bool> {
        self.intervals.get(table)?.get(&element.set).copied()
    }
}

/// Whether an operation makes a rule that tells of what it drops.
fn tells(op: &Op) -> bool {
    let refuses = |chain: &Chain| chain.rules.iter().any(|rule| matches!(rule.action, Action::Refuse(_)));
    match op {
        Op::TableAdd(ruleset) => ruleset.chains.iter().any(refuses),
        Op::ChainSet { chain, .. } => refuses(chain),
        _ => false,
    }
}

fn control(message: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM), message)
}
