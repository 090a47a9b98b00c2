//! Flow logs: what of flows becomes records (Amazon VPC user guide, "Logging IP traffic using VPC Flow Logs").
//!
//! [`Window`] gathers what one ENI carries in a time, from flows that ended, flows that stand, and packets that were
//! refused. [`Template`] writes records with the fields of a [`Format`](netmode_model::flowlog::Format).

mod line;
mod window;

pub use line::{About, Status, Template};
pub use window::{Action, Entry, Window};

use crate::settings::Settings;
use netmode_model::NetnsName;
use netmode_model::flowlog::TrafficType;
use netmode_model::nft::{Action as Verdict, Chain, Match, Rule, Ruleset, TableName};
use serde::{Deserialize, Serialize};

/// Version of the record that this agent writes.
pub const VERSION: u32 = 1;

/// Which ENIs a flow log is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// All.
    Vpc,
    /// Those of a subnet, by its id.
    Subnet(String),
    /// One, by its id.
    Eni(String),
}

impl Scope {
    /// Whether an ENI of a subnet is among them.
    pub fn covers(&self, subnet: &str, eni: &str) -> bool {
        match self {
            Self::Vpc => true,
            Self::Subnet(id) => id == subnet,
            Self::Eni(id) => id == eni,
        }
    }
}

/// The table that has the kernel track connections in a namespace: it does where a rule asks for them. No packet comes to
/// this one, whose chain is at no hook: that there is a rule is enough (`nft_ct_get_init`, net/netfilter/nft_ct.c), and to
/// ask it of each packet would cost a hundredth of a short connection.
pub fn tracking(netns: &NetnsName, settings: &Settings) -> Ruleset {
    let table = TableName::inet(&format!("{}_flows", settings.table)).within(netns.clone());
    let rule = Rule { matches: vec![Match::Established], action: Verdict::Accept };
    let chain = Chain { name: "track".into(), base: None, rules: vec![rule] };
    Ruleset { table, owner: false, flowtable: None, sets: Vec::new(), chains: vec![chain] }
}

/// A flow log, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowLog {
    /// Version of the record.
    pub v: u32,
    /// `fl-…`.
    pub id: String,
    /// Which ENIs.
    pub scope: Scope,
    /// Which traffic.
    pub traffic: TrafficType,
    /// Seconds.
    pub interval: u32,
    /// The fields, as text.
    pub format: String,
    /// Where the records go, as it was asked for.
    pub destination: String,
    /// Bytes after which a file is put aside.
    pub max_size: u64,
    /// How many of those are kept.
    pub keep: u32,
    /// RFC 3339.
    pub created: String,
}
