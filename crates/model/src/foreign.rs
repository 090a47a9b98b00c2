//! Firewalls of others: the chains that a forwarded packet meets, and the two rules that let ours through.
//!
//! An accepting verdict ends one base chain alone; whatever base chain of another table drops the packet has the
//! last word. So each of them that would drop ours gets the two rules, and nothing else of theirs is touched.

use crate::link::IfName;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Chains that firewalls of iptables leave to the rules of others: Docker's, and ufw's for `ufw route`.
pub const MEANT: [&str; 3] = ["DOCKER-USER", "ufw-user-forward", "ufw6-user-forward"];

/// Family of a table that sees forwarded IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableFamily {
    /// IPv4: what `iptables` writes, or a table of nft.
    Ip,
    /// IPv6: what `ip6tables` writes, or a table of nft.
    Ip6,
    /// Both.
    Inet,
}

impl Display for TableFamily {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
        })
    }
}

/// A chain, by its table and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainAt {
    /// The table's family.
    pub family: TableFamily,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
}

impl ChainAt {
    /// Another chain of the same table.
    pub fn sibling(&self, chain: &str) -> Self {
        Self { chain: chain.into(), ..self.clone() }
    }

    /// Whether it is the chain of the forward hook that `iptables` or `ip6tables` manages, or one of [`MEANT`] beside
    /// it: names are all that tells them from chains of nft. They may hold only what iptables itself writes, or
    /// `iptables-save` fails.
    pub fn by_iptables(&self) -> bool {
        let table = matches!(self.table.as_str(), "filter" | "mangle" | "raw" | "security");
        let chain = self.chain == "FORWARD" || self.is_meant();
        self.family != TableFamily::Inet && table && chain
    }

    /// Whether the chain is one of [`MEANT`].
    pub fn is_meant(&self) -> bool {
        self.family != TableFamily::Inet && self.table == "filter" && MEANT.contains(&self.chain.as_str())
    }
}

/// As nft(8) names it: family, table, chain.
impl Display for ChainAt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.chain)
    }
}

/// A base chain of the forward hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// Which.
    pub at: ChainAt,
    /// Whether its policy is to drop.
    pub drops: bool,
    /// Whether a process owns the table (`NFT_TABLE_F_OWNER`), so that nobody else can write it.
    pub owned: bool,
}

/// What a rule does with the packets that it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// They go on to the next rule.
    On,
    /// They have passed this base chain.
    Accept,
    /// They are gone (`drop`, `reject`).
    Drop,
    /// Back to where the chain was called.
    Return,
    /// Through another chain and back.
    Jump(String),
    /// To another chain, and not back.
    Goto(String),
}

/// A rule, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRule {
    /// The kernel's number of it, unique within the table.
    pub handle: u64,
    /// Whether it fits every packet.
    pub always: bool,
    /// What it does.
    pub outcome: Outcome,
    /// Its comment: iptables' match or nft's.
    pub comment: Option<String>,
    /// The link group that it compares with, if it does.
    pub group: Option<u32>,
    /// The link's name that it compares with, if it does.
    pub link: Option<IfName>,
}

/// What others have on the forward hook.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Foreign {
    /// Base chains, in no order.
    pub bases: Vec<BaseChain>,
    /// The rules of these, of all chains that they lead to, and of those meant for rules of others.
    pub chains: BTreeMap<ChainAt, Vec<SeenRule>>,
    /// Families that have a filter table of the old kind (`iptables-legacy`), which nf_tables does not show.
    pub legacy: Vec<TableFamily>,
}

/// Which of the two rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// What comes from our links.
    From,
    /// What goes to our links and belongs to a connection of theirs, or to a published port.
    To,
}

/// One of the two rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptRule {
    /// In which chain.
    pub at: ChainAt,
    /// Which of the two.
    pub pass: Pass,
    /// `IFLA_GROUP` of our links.
    pub group: u32,
    /// What it is known by.
    pub comment: String,
    /// The rule that it comes before; the end of the chain if none.
    pub before: Option<Neighbour>,
}

/// A rule's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The kernel's number of the rule, for nft(8).
    pub handle: u64,
    /// Its position in the chain from 1 on, for iptables(8).
    pub number: usize,
}

/// A change of somebody else's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleChange {
    /// One of our two rules comes.
    Add(AcceptRule),
    /// One of them goes.
    Del {
        /// From which chain.
        at: ChainAt,
        /// The kernel's number of it.
        handle: u64,
    },
}

/// The command that does the same.
impl Display for RuleChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(rule) if rule.at.by_iptables() => rule.as_iptables(f),
            Self::Add(rule) => rule.as_nft(f),
            Self::Del { at, handle } => write!(f, "nft delete rule {at} handle {handle}"),
        }
    }
}

impl AcceptRule {
    fn as_iptables(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.at.family == TableFamily::Ip6 { "ip6tables" } else { "iptables" })?;
        if self.at.table != "filter" {
            write!(f, " -t {}", self.at.table)?;
        }
        match self.before {
            None => write!(f, " -A {}", self.at.chain)?,
            Some(before) => write!(f, " -I {} {}", self.at.chain, before.number)?,
        }
        match self.pass {
            Pass::From => write!(f, " -m devgroup --src-group {:#x}", self.group)?,
            Pass::To => {
                write!(f, " -m devgroup --dst-group {:#x} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT", self.group)?
            }
        }
        write!(f, " -m comment --comment \"{}\" -j ACCEPT", self.comment)
    }

    fn as_nft(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.before {
            None => write!(f, "nft add rule {}", self.at)?,
            Some(before) => write!(f, "nft insert rule {} position {}", self.at, before.handle)?,
        }
        match self.pass {
            Pass::From => write!(f, " iifgroup {}", self.group)?,
            Pass::To => write!(f, " oifgroup {} ct status expected,seen-reply,snat,dnat", self.group)?,
        }
        write!(f, " counter accept comment '\"{}\"'", self.comment)
    }
}
