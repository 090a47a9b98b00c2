//! Security groups and prefix lists: what they are, and what they may not be (Amazon VPC user guide, "Security groups";
//! "Amazon VPC quotas").

use netmode_model::group::{Direction, Peer, PrefixList, Rule};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Version of the records that this agent writes.
pub const VERSION: u32 = 1;

/// Name of the group that is always there.
pub const DEFAULT: &str = "default";

/// Most rules of a group in one direction, counted for each family.
pub const MOST_RULES: usize = 60;

/// Most groups of an ENI times most rules of a group.
pub const MOST_OF_ENI: usize = 1000;

/// Longest name and description, in characters.
pub const LONGEST: usize = 255;

/// A security group, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Version of the record.
    pub v: u32,
    /// `sg-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it lets pass.
    pub rules: Vec<Rule>,
}

/// A prefix list, as recorded beside the groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List {
    /// Version of the record.
    pub v: u32,
    /// The list.
    pub list: PrefixList,
}

/// All of an agent.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    /// Groups by id.
    pub groups: BTreeMap<String, Group>,
    /// Prefix lists by id.
    pub lists: BTreeMap<String, PrefixList>,
}

impl Group {
    /// Rules of one direction.
    pub fn of(&self, direction: Direction) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.direction == direction)
    }

    /// Whether one more rule like this would be too many: rules are counted for each family, and one whose peer is a
    /// group or a list counts for both.
    pub fn full_for(&self, rule: &Rule) -> bool {
        let counts = |rule: &Rule, v4: bool| match &rule.peer {
            Peer::Cidr(cidr) => cidr.is_ipv4() == v4,
            Peer::Group(_) | Peer::PrefixList(_) => true,
        };
        let many = |v4: bool| self.of(rule.direction).filter(|r| counts(r, v4)).count() >= MOST_RULES;
        [true, false].into_iter().any(|v4| counts(rule, v4) && many(v4))
    }
}

impl Groups {
    /// A group by name or id.
    pub fn find(&self, reference: &str) -> Option<&Group> {
        self.groups.get(reference).or_else(|| self.groups.values().find(|g| g.name == reference))
    }

    /// A prefix list by name or id.
    pub fn find_list(&self, reference: &str) -> Option<&PrefixList> {
        self.lists.get(reference).or_else(|| self.lists.values().find(|l| l.prefix_list_name == reference))
    }

    /// What the rules of these groups name: groups, and prefix lists.
    pub fn named_by<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut groups, mut lists) = (BTreeSet::new(), BTreeSet::new());
        for rule in ids.into_iter().filter_map(|id| self.groups.get(id)).flat_map(|g| &g.rules) {
            match &rule.peer {
                Peer::Group(id) => _ = groups.insert(id.clone()),
                Peer::PrefixList(id) => _ = lists.insert(id.clone()),
                Peer::Cidr(_) => {}
            }
        }
        (groups, lists)
    }

    /// The groups whose rules name a group, but for itself.
    pub fn naming(&self, id: &str) -> Vec<&Group> {
        let names = |g: &&Group| g.id != id && g.rules.iter().any(|r| r.peer == Peer::Group(id.into()));
        self.groups.values().filter(names).collect()
    }
}
