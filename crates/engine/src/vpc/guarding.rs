//! Security groups come, change and go; and what of them stands in the kernel.

use super::groups::{DEFAULT, Group, Groups, LONGEST, List, MOST_OF_ENI, VERSION};
use super::wall;
use crate::attach::Engine;
use crate::endpoint::{Endpoint, EndpointLink};
use crate::store::{self, Kind, StoreError};
use ipnetwork::IpNetwork;
use netmode_model::group::{Direction, GroupRequest, GroupView, Peer, PrefixList, Rule, RulesRequest, Traffic};
use netmode_model::nft::{Element, Ruleset, TableName};
use netmode_model::op::OpError;
use netmode_model::vpc::{GroupRef, Resource};
use netmode_model::{ApiError, Code, Id, Inverse, Op};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::PoisonError;

/// Why a group could not be made, changed or removed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// There is none.
    #[error("The security group {0:?} does not exist; \"netmode sg ls\" lists the groups")]
    NotFound(String),
    /// There is none.
    #[error("The prefix list {0:?} does not exist; \"netmode sg lists\" shows them")]
    NoList(String),
    /// A name that cannot be.
    #[error(
        "the name {0:?} cannot be that of a security group: 1 to 255 characters of a-z, A-Z, 0-9, spaces and ._-:/()#,@[]+=&;{{}}!$*, not beginning with sg-"
    )]
    BadName(String),
    /// A text that is too long.
    #[error("a description has at most 255 characters; shorten it")]
    Description,
    /// The name is taken.
    #[error("The security group {0:?} already exists; choose another name")]
    Duplicate(String),
    /// The default group stays.
    #[error("the specified group: \"{0}\" name: \"default\" cannot be deleted by a user")]
    CannotDelete(String),
    /// Somebody carries or names it.
    #[error("resource {id} has a dependent object: {what}; end or change that first")]
    InUse {
        /// The group or list.
        id: String,
        /// Who.
        what: String,
    },
    /// No more rules fit.
    #[error("The maximum number of rules per security group has been reached: {group} has 60 of {direction}")]
    Full {
        /// The group.
        group: String,
        /// Which way.
        direction: Direction,
    },
    /// The rule is there.
    #[error("the specified rule \"peer: {peer}, {traffic}, ALLOW\" already exists in {group}")]
    RuleThere {
        /// The group.
        group: String,
        /// The other end.
        peer: String,
        /// What.
        traffic: Traffic,
    },
    /// The rule is not there.
    #[error("The specified rule does not exist in this security group: {0}; \"netmode sg show\" lists its rules")]
    NoRule(String),
    /// Nobody is named.
    #[error("a rule needs somebody: give --cidr, --group or --prefix-list")]
    NoPeer,
    /// Bits behind the length.
    #[error("CIDR block {given} is malformed: it has bits set behind its length; write {meant}")]
    HostBits {
        /// What was given.
        given: IpNetwork,
        /// What it may mean.
        meant: IpNetwork,
    },
    /// Too many of a task.
    #[error("these groups have {0} rules; those of a task have at most 1000 in all; name fewer groups")]
    TooMany(usize),
    /// The kernel refused.
    #[error("the kernel refused a step, and those before it were taken back: {0}")]
    Kernel(#[from] OpError),
    /// The record could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        let code = match &error {
            GroupError::NotFound(_) | GroupError::NoList(_) | GroupError::NoRule(_) => Code::NotFound,
            GroupError::Duplicate(_) | GroupError::RuleThere { .. } => Code::NameTaken,
            GroupError::CannotDelete(_) => Code::Forbidden,
            GroupError::InUse { .. } => Code::WrongState,
            GroupError::Full { .. } | GroupError::TooMany(_) => Code::Limit,
            GroupError::Kernel(_) => Code::Kernel,
            GroupError::Store(_) => Code::State,
            _ => Code::Invalid,
        };
        // What scripts for AWS look for.
        let prefix = if matches!(error, GroupError::CannotDelete(_)) { "Client.CannotDelete: " } else { "" };
        Self::new(code, format!("{prefix}{error}"))
    }
}

/// Ids for what is made, one after the other.
pub type Fresh<'a> = &'a mut dyn FnMut() -> Id;

fn anywhere() -> [IpNetwork; 2] {
    let all = "constant prefixes";
    [
        IpNetwork::new(Ipv4Addr::UNSPECIFIED.into(), 0).unwrap_or_else(|_| unreachable!("{all}")),
        IpNetwork::new(Ipv6Addr::UNSPECIFIED.into(), 0).unwrap_or_else(|_| unreachable!("{all}")),
    ]
}

/// A new group: nothing in, everything out.
fn fresh_group(name: &str, description: &str, fresh: Fresh<'_>) -> Group {
    let id = Resource::Group.id(fresh());
    let mut rules = Vec::new();
    for cidr in anywhere() {
        rules.push(Rule {
            id: Resource::Rule.id(fresh()),
            direction: Direction::Egress,
            traffic: Traffic::All,
            peer: Peer::Cidr(cidr),
            description: None,
        });
    }
    Group { v: VERSION, id, name: name.into(), description: description.into(), rules }
}

impl Engine {
    /// The groups and lists.
    pub fn groups(&self) -> Groups {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_groups(&self, groups: Groups) {
        *self.groups.write().unwrap_or_else(PoisonError::into_inner) = groups;
    }

    /// Changes groups: `change` says what becomes of them and which records are written or removed; then the kernel is
    /// told. Alone: nobody attaches meanwhile.
    fn regroup<T>(
        &self,
        change: impl FnOnce(&mut Groups) -> Result<(T, Touched), GroupError>,
    ) -> Result<T, GroupError> {
        self.exclusively(|| {
            let before = self.groups();
            let mut after = before.clone();
            let (answer, touched) = change(&mut after)?;
            let undo = self.outside.apply(&self.difference(&before, &after))?;
            if let Err(unrecorded) = touched.write(self, &after) {
                self.outside.undo(undo);
                return Err(unrecorded.into());
            }
            self.set_groups(after);
            Ok(answer)
        })
    }

    /// Steps that make the kernel's walls those of `after`.
    fn difference(&self, before: &Groups, after: &Groups) -> Vec<Op> {
        let mut ops = match before.groups.is_empty() {
            // The first group makes the table.
            true => self.whole(after),
            false => host_difference(before, after, &wall::host_table(self.settings())),
        };
        let standing = self.endpoints();
        for endpoint in standing.iter().filter(|e| e.link.as_ref().is_some_and(EndpointLink::walled_inside)) {
            ops.extend(self.inner_difference(endpoint, &standing, before, after));
        }
        ops
    }

    fn whole(&self, groups: &Groups) -> Vec<Op> {
        let (ruleset, elements) = self.host_walls_of(groups);
        let table = ruleset.table.clone();
        let add = |element| Op::ElementAdd { table: table.clone(), element };
        std::iter::once(Op::TableAdd(ruleset)).chain(elements.into_iter().map(add)).collect()
    }

    /// The same in the namespace of a task.
    fn inner_difference(&self, endpoint: &Endpoint, all: &[Endpoint], before: &Groups, after: &Groups) -> Vec<Op> {
        let (Some(link), Some(table)) = (&endpoint.link, wall::inner_table(endpoint, self.settings())) else {
            return Vec::new();
        };
        let (old, new) = (before.named_by(link.groups()), after.named_by(link.groups()));
        let mut ops = Vec::new();
        let links = || all.iter().filter_map(|e| e.link.as_ref());
        for id in new.0.difference(&old.0) {
            ops.extend(wall::group_sets(id).into_iter().map(|set| Op::SetAdd { table: table.clone(), set }));
            let members: BTreeSet<Element> = links().flat_map(|l| wall::memberships(l, |g| g == id)).collect();
            ops.extend(members.into_iter().map(|element| Op::ElementAdd { table: table.clone(), element }));
        }
        ops.extend(list_steps(&table, before, after, &old.1, &new.1));
        for id in link.groups() {
            let (Some(was), Some(is)) = (before.groups.get(id), after.groups.get(id)) else { continue };
            ops.extend(chain_steps(&table, was, is, false));
        }
        for id in old.0.difference(&new.0) {
            ops.extend(wall::group_sets(id).into_iter().map(|set| Op::SetDel { table: table.clone(), set }));
        }
        for id in old.1.difference(&new.1) {
            ops.extend(wall::list_sets(id).into_iter().map(|set| Op::SetDel { table: table.clone(), set }));
        }
        ops
    }

    /// The default group, which is made with the first thing that needs a group.
    ///
    /// # Errors
    /// It could not be made.
    pub fn default_group(&self, fresh: Fresh<'_>) -> Result<Group, GroupError> {
        if let Some(there) = self.groups().find(DEFAULT) {
            return Ok(there.clone());
        }
        self.regroup(|groups| {
            if let Some(there) = groups.find(DEFAULT) {
                return Ok((there.clone(), Touched::default()));
            }
            let mut group = fresh_group(DEFAULT, "default VPC security group", fresh);
            group.rules.insert(
                0,
                Rule {
                    id: Resource::Rule.id(fresh()),
                    direction: Direction::Ingress,
                    traffic: Traffic::All,
                    peer: Peer::Group(group.id.clone()),
                    description: None,
                },
            );
            groups.groups.insert(group.id.clone(), group.clone());
            Ok((group.clone(), Touched::group(&group.id)))
        })
    }

    /// Makes a group.
    ///
    /// # Errors
    /// Why not.
    pub fn create_group(&self, request: &GroupRequest, fresh: Fresh<'_>) -> Result<Group, GroupError> {
        let name = request.group_name.trim_end().to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
        if name.is_empty() || name.chars().count() > LONGEST || !name.chars().all(plain) || name.starts_with("sg-") {
            return Err(GroupError::BadName(name.chars().take(80).collect()));
        }
        if request.description.chars().count() > LONGEST {
            return Err(GroupError::Description);
        }
        self.default_group(fresh)?;
        self.regroup(|groups| {
            if groups.groups.values().any(|g| g.name == name) {
                return Err(GroupError::Duplicate(name));
            }
            let group = fresh_group(&name, &request.description, fresh);
            groups.groups.insert(group.id.clone(), group.clone());
            Ok((group.clone(), Touched::group(&group.id)))
        })
    }

    /// Removes a group that nobody carries and no other group names.
    ///
    /// # Errors
    /// Why not.
    pub fn remove_group(&self, reference: &str) -> Result<(), GroupError> {
        self.regroup(|groups| {
            let group = found(groups, reference)?.clone();
            if group.name == DEFAULT {
                return Err(GroupError::CannotDelete(group.id));
            }
            let carries = |e: &Endpoint| e.link.as_ref().is_some_and(|l| l.groups().contains(&group.id));
            if let Some(task) = self.find(carries) {
                let what = format!("the interface of task {}", task.owner.name);
                return Err(GroupError::InUse { id: group.id, what });
            }
            if let Some(other) = groups.naming(&group.id).first() {
                let what = format!("a rule of the group {}", other.name);
                return Err(GroupError::InUse { id: group.id, what });
            }
            groups.groups.remove(&group.id);
            Ok(((), Touched { group: Some(group.id), list: None }))
        })
    }

    /// Adds rules to a group, one for each peer; all or none.
    ///
    /// # Errors
    /// Why not.
    pub fn authorize(
        &self,
        reference: &str,
        request: &RulesRequest,
        fresh: Fresh<'_>,
    ) -> Result<Vec<Rule>, GroupError> {
        if request.description.as_ref().is_some_and(|d| d.chars().count() > LONGEST) {
            return Err(GroupError::Description);
        }
        self.regroup(|groups| {
            let peers = peers(groups, request)?;
            if peers.is_empty() {
                return Err(GroupError::NoPeer);
            }
            let id = found(groups, reference)?.id.clone();
            let Some(group) = groups.groups.get_mut(&id) else { return Err(GroupError::NotFound(id)) };
            let mut added = Vec::new();
            for peer in peers {
                let traffic = request.traffic.unwrap_or(Traffic::All);
                let same = |r: &Rule| r.direction == request.direction && r.traffic == traffic && r.peer == peer;
                if group.rules.iter().any(same) {
                    let group = group.name.clone();
                    return Err(GroupError::RuleThere { group, peer: peer.to_string(), traffic });
                }
                let rule = Rule {
                    id: Resource::Rule.id(fresh()),
                    direction: request.direction,
                    traffic,
                    peer,
                    description: request.description.clone(),
                };
                if group.full_for(&rule) {
                    return Err(GroupError::Full { group: group.name.clone(), direction: request.direction });
                }
                group.rules.push(rule.clone());
                added.push(rule);
            }
            Ok((added, Touched::group(&id)))
        })
    }

    /// Takes rules from a group; all or none.
    ///
    /// # Errors
    /// Why not.
    pub fn revoke(&self, reference: &str, request: &RulesRequest) -> Result<Vec<Rule>, GroupError> {
        self.regroup(|groups| {
            let peers = peers(groups, request)?;
            let id = found(groups, reference)?.id.clone();
            let Some(group) = groups.groups.get_mut(&id) else { return Err(GroupError::NotFound(id)) };
            let mut removed = Vec::new();
            let mut take = |fits: &dyn Fn(&Rule) -> bool, text: String| {
                let at = group.rules.iter().position(fits).ok_or(GroupError::NoRule(text))?;
                removed.push(group.rules.remove(at));
                Ok::<(), GroupError>(())
            };
            for rule in &request.rule_ids {
                take(&|r: &Rule| r.id == *rule, rule.chars().take(32).collect())?;
            }
            for peer in &peers {
                let traffic = request.traffic.unwrap_or(Traffic::All);
                let fits = |r: &Rule| r.direction == request.direction && r.traffic == traffic && r.peer == *peer;
                take(&fits, format!("{} {traffic} {peer}", request.direction))?;
            }
            if removed.is_empty() {
                return Err(GroupError::NoPeer);
            }
            Ok((removed, Touched::group(&id)))
        })
    }

    /// Makes a prefix list, or gives one other entries.
    ///
    /// # Errors
    /// Why not.
    pub fn put_list(&self, name: &str, entries: &[IpNetwork], fresh: Fresh<'_>) -> Result<PrefixList, GroupError> {
        let entries = entries.iter().map(|e| whole(*e)).collect::<Result<BTreeSet<_>, _>>()?;
        self.default_group(fresh)?;
        self.regroup(|groups| {
            let there = groups.find_list(name).cloned();
            let list = PrefixList {
                prefix_list_id: there.map_or_else(|| Resource::PrefixList.id(fresh()), |l| l.prefix_list_id),
                prefix_list_name: name.into(),
                entries: disjoint(&entries),
            };
            groups.lists.insert(list.prefix_list_id.clone(), list.clone());
            Ok((list.clone(), Touched { group: None, list: Some(list.prefix_list_id) }))
        })
    }

    /// Removes a prefix list that no rule names.
    ///
    /// # Errors
    /// Why not.
    pub fn remove_list(&self, reference: &str) -> Result<(), GroupError> {
        self.regroup(|groups| {
            let list = groups.find_list(reference).ok_or_else(|| GroupError::NoList(shown(reference)))?.clone();
            let id = list.prefix_list_id;
            let names = |g: &&Group| g.rules.iter().any(|r| r.peer == Peer::PrefixList(id.clone()));
            if let Some(group) = groups.groups.values().find(names) {
                let what = format!("a rule of the group {}", group.name);
                return Err(GroupError::InUse { id, what });
            }
            groups.lists.remove(&id);
            Ok(((), Touched { group: None, list: Some(id) }))
        })
    }

    /// Ids of the groups that a task names; the default one where it names none.
    ///
    /// # Errors
    /// There is no such group, or their rules are too many together.
    pub fn group_ids(&self, references: &[String], fresh: Fresh<'_>) -> Result<Vec<String>, GroupError> {
        if references.is_empty() {
            return Ok(vec![self.default_group(fresh)?.id]);
        }
        let groups = self.groups();
        let mut ids: Vec<String> = Vec::new();
        for reference in references {
            let default = reference == DEFAULT;
            let id = if default { self.default_group(fresh)?.id } else { found(&groups, reference)?.id.clone() };
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let rules: usize = ids.iter().filter_map(|id| groups.groups.get(id)).map(|g| g.rules.len()).sum();
        if rules > MOST_OF_ENI { Err(GroupError::TooMany(rules)) } else { Ok(ids) }
    }

    /// A group as it is shown.
    pub fn group_view(&self, group: &Group) -> GroupView {
        let standing = self.endpoints();
        let carries = |l: &&EndpointLink| l.groups().contains(&group.id);
        let links = standing.iter().filter_map(|e| e.link.as_ref()).filter(carries);
        GroupView {
            group_id: group.id.clone(),
            group_name: group.name.clone(),
            description: group.description.clone(),
            vpc_id: super::vpc_id(&self.settings().instance),
            rules: group.rules.clone(),
            network_interfaces: links.filter_map(|l| l.eni.as_ref()).map(|eni| eni.id.clone()).collect(),
        }
    }

    /// A group's two names.
    pub fn group_ref(&self, id: &str) -> GroupRef {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let name = groups.groups.get(id).map_or(id, |g| g.name.as_str());
        GroupRef { group_id: id.into(), group_name: name.into() }
    }

    /// The host's table of groups with its elements, where there are groups.
    pub fn host_walls(&self) -> Option<(Ruleset, Vec<Element>)> {
        let groups = self.groups();
        (!groups.groups.is_empty()).then(|| self.host_walls_of(&groups))
    }

    fn host_walls_of(&self, groups: &Groups) -> (Ruleset, Vec<Element>) {
        host_walls(groups, &self.networks(), &self.endpoints(), self.settings())
    }

    /// Steps that put up the walls of an endpoint, before its link is there.
    pub(crate) fn walls(&self, endpoint: &Endpoint) -> Vec<Op> {
        let Some(link) = endpoint.link.as_ref().filter(|l| !l.groups().is_empty()) else { return Vec::new() };
        let table = wall::host_table(self.settings());
        let add = |table: &TableName, element| Op::ElementAdd { table: table.clone(), element };
        let mut ops = Vec::new();
        if let Some((ruleset, elements)) = self.inner_walls(endpoint) {
            let inner = ruleset.table.clone();
            ops.push(Op::TableAdd(ruleset));
            ops.extend(elements.into_iter().map(|element| add(&inner, element)));
        }
        ops.extend(wall::host_elements(link).into_iter().map(|element| add(&table, element)));
        ops
    }

    /// The step that has the host guard a subnet's tasks, where there are groups.
    pub(crate) fn subnet_wall(&self, network: &crate::Network) -> Option<Op> {
        let element = wall::subnet_element(network)?;
        let table = wall::host_table(self.settings());
        (!self.groups().groups.is_empty()).then_some(Op::ElementAdd { table, element })
    }

    /// The table of an endpoint's own namespace with its elements, where it has one.
    pub fn inner_walls(&self, endpoint: &Endpoint) -> Option<(Ruleset, Vec<Element>)> {
        let link = endpoint.link.as_ref().filter(|l| l.walled_inside())?;
        let table = wall::inner_table(endpoint, self.settings())?;
        let egress_only = self.lookup(&link.network).and_then(|n| n.subnet).is_some_and(|s| s.egress_only);
        let vpc: Vec<IpNetwork> = match egress_only {
            true => {
                self.networks().iter().filter(|n| n.subnet.is_some()).filter_map(|n| n.v6).map(IpNetwork::V6).collect()
            }
            false => Vec::new(),
        };
        let groups = self.groups();
        let others = self.carrying(&groups.named_by(link.groups()).0);
        Some(wall::task_table(table, link, &groups, &others, &vpc))
    }

    /// Steps that take an endpoint out of the host's table.
    pub(crate) fn unwall(&self, link: &EndpointLink) -> Vec<Op> {
        let table = wall::host_table(self.settings());
        let del = |element| Op::ElementDel { table: table.clone(), element };
        wall::host_elements(link).into_iter().map(del).collect()
    }

    /// Tells others' walls of an endpoint that has come, and its own of those who came meanwhile: behind the reply,
    /// since it grows with the tasks that there are.
    pub fn tell_members(&self, endpoint: &Endpoint) {
        let Some(link) = endpoint.link.as_ref().filter(|l| !l.groups().is_empty()) else { return };
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        if self.endpoint(endpoint.id).is_none() {
            return;
        }
        let (groups, all) = (self.groups(), self.endpoints());
        for (table, named) in self.naming(&groups, &all, endpoint.id) {
            let own = wall::memberships(link, |id| named.contains(id));
            self.quietly(own.into_iter().map(|element| Op::ElementAdd { table: table.clone(), element }));
        }
        if let Some(table) = wall::inner_table(endpoint, self.settings()).filter(|_| link.walled_inside()) {
            let named = groups.named_by(link.groups()).0;
            let links = all.iter().filter(|e| e.id != endpoint.id).filter_map(|e| e.link.as_ref());
            let others: BTreeSet<Element> = links.flat_map(|l| wall::memberships(l, |id| named.contains(id))).collect();
            self.quietly(others.into_iter().map(|element| Op::ElementAdd { table: table.clone(), element }));
        }
    }

    /// Takes an endpoint that has gone out of others' walls.
    pub fn forget_member(&self, endpoint: &Endpoint) {
        let Some(link) = endpoint.link.as_ref().filter(|l| !l.groups().is_empty()) else { return };
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let (groups, all) = (self.groups(), self.endpoints());
        for (table, named) in self.naming(&groups, &all, endpoint.id) {
            let own = wall::memberships(link, |id| named.contains(id));
            self.quietly(own.into_iter().map(|element| Op::ElementDel { table: table.clone(), element }));
        }
    }

    /// Tables of other tasks, with the groups that their rules name.
    fn naming(&self, groups: &Groups, all: &[Endpoint], but: Id) -> Vec<(TableName, BTreeSet<String>)> {
        let others = all.iter().filter(|e| e.id != but);
        let table = |e: &Endpoint| {
            let link = e.link.as_ref().filter(|l| l.walled_inside())?;
            Some((wall::inner_table(e, self.settings())?, groups.named_by(link.groups()).0))
        };
        others.filter_map(table).filter(|(_, named)| !named.is_empty()).collect()
    }

    /// Steps of which each may be done already, or be about what has just gone.
    fn quietly(&self, ops: impl Iterator<Item = Op>) {
        for op in ops {
            let _ = self.outside.undo(vec![Inverse::Op(op)]);
        }
    }
}

/// The host's table of groups, and its elements.
pub fn host_walls(
    groups: &Groups,
    networks: &[crate::Network],
    endpoints: &[Endpoint],
    settings: &crate::Settings,
) -> (Ruleset, Vec<Element>) {
    let links = endpoints.iter().filter_map(|e| e.link.as_ref());
    let mut elements: Vec<Element> = networks.iter().filter_map(wall::subnet_element).collect();
    elements.extend(links.flat_map(wall::host_elements));
    elements.extend(groups.lists.values().flat_map(wall::list_elements));
    (wall::host_ruleset(groups, settings), elements)
}

/// The table of an endpoint's own namespace.
fn host_difference(before: &Groups, after: &Groups, table: &TableName) -> Vec<Op> {
    let mut ops = Vec::new();
    let (was, is): (BTreeSet<_>, BTreeSet<_>) = (before.groups.keys().collect(), after.groups.keys().collect());
    let lists = |groups: &Groups| groups.lists.keys().cloned().collect::<BTreeSet<_>>();
    let (old_lists, new_lists) = (lists(before), lists(after));
    for id in is.difference(&was) {
        ops.extend(wall::group_sets(id).into_iter().map(|set| Op::SetAdd { table: table.clone(), set }));
    }
    ops.extend(list_steps(table, before, after, &old_lists, &new_lists));
    for group in after.groups.values() {
        match before.groups.get(&group.id) {
            Some(was) => ops.extend(chain_steps(table, was, group, true)),
            None => ops.extend(wall::group_chains(group, true).map(|chain| Op::ChainSet {
                table: table.clone(),
                chain,
                before: None,
            })),
        }
    }
    if was != is {
        let pairs = wall::dispatchers(after).into_iter().zip(wall::dispatchers(before));
        ops.extend(pairs.map(|(chain, was)| Op::ChainSet { table: table.clone(), chain, before: Some(was) }));
    }
    for gone in was.difference(&is).filter_map(|id| before.groups.get(*id)) {
        ops.extend(wall::group_chains(gone, true).map(|chain| Op::ChainDel { table: table.clone(), chain }));
        ops.extend(wall::group_sets(&gone.id).into_iter().map(|set| Op::SetDel { table: table.clone(), set }));
    }
    for id in old_lists.difference(&new_lists) {
        ops.extend(wall::list_sets(id).into_iter().map(|set| Op::SetDel { table: table.clone(), set }));
    }
    ops
}

/// Chains of a group whose rules have changed.
fn chain_steps(table: &TableName, was: &Group, is: &Group, on_host: bool) -> Vec<Op> {
    let pairs = wall::group_chains(is, on_host).into_iter().zip(wall::group_chains(was, on_host));
    let changed = pairs.filter(|(chain, before)| chain != before);
    changed.map(|(chain, before)| Op::ChainSet { table: table.clone(), chain, before: Some(before) }).collect()
}

/// Sets of lists that are new at a place, and elements that have changed.
fn list_steps(
    table: &TableName,
    before: &Groups,
    after: &Groups,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
) -> Vec<Op> {
    let mut ops = Vec::new();
    for id in new {
        let elements = |groups: &Groups| {
            groups.lists.get(id).map(wall::list_elements).unwrap_or_default().into_iter().collect::<BTreeSet<_>>()
        };
        let there = old.contains(id);
        if !there {
            ops.extend(wall::list_sets(id).into_iter().map(|set| Op::SetAdd { table: table.clone(), set }));
        }
        let was = if there { elements(before) } else { BTreeSet::new() };
        let is = elements(after);
        ops.extend(was.difference(&is).map(|e| Op::ElementDel { table: table.clone(), element: e.clone() }));
        ops.extend(is.difference(&was).map(|e| Op::ElementAdd { table: table.clone(), element: e.clone() }));
    }
    ops
}

/// The record that a change is about.
#[derive(Debug, Default)]
struct Touched {
    group: Option<String>,
    list: Option<String>,
}

impl Touched {
    fn group(id: &str) -> Self {
        Self { group: Some(id.into()), list: None }
    }

    fn write(&self, engine: &Engine, after: &Groups) -> Result<(), StoreError> {
        if let Some(id) = &self.group {
            match after.groups.get(id) {
                Some(group) => store::put(&*engine.store, Kind::Group, id, group)?,
                None => engine.store.remove(Kind::Group, id)?,
            }
        }
        if let Some(id) = &self.list {
            match after.lists.get(id) {
                Some(list) => {
                    store::put(&*engine.store, Kind::PrefixList, id, &List { v: VERSION, list: list.clone() })?
                }
                None => engine.store.remove(Kind::PrefixList, id)?,
            }
        }
        Ok(())
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn found<'a>(groups: &'a Groups, reference: &str) -> Result<&'a Group, GroupError> {
    groups.find(reference).ok_or_else(|| GroupError::NotFound(shown(reference)))
}

fn whole(given: IpNetwork) -> Result<IpNetwork, GroupError> {
    let meant = crate::ipam::canonical(given);
    if meant.ip() == given.ip() { Ok(given) } else { Err(GroupError::HostBits { given, meant }) }
}

/// Without those that lie within others: an interval set takes no overlaps.
fn disjoint(all: &BTreeSet<IpNetwork>) -> Vec<IpNetwork> {
    let within = |a: &IpNetwork| all.iter().any(|b| a != b && crate::ipam::within(*a, *b));
    all.iter().filter(|a| !within(a)).copied().collect()
}

fn peers(groups: &Groups, request: &RulesRequest) -> Result<Vec<Peer>, GroupError> {
    let mut peers = Vec::new();
    for cidr in &request.cidrs {
        peers.push(Peer::Cidr(whole(*cidr)?));
    }
    for reference in &request.groups {
        peers.push(Peer::Group(found(groups, reference)?.id.clone()));
    }
    for reference in &request.prefix_lists {
        let list = groups.find_list(reference).ok_or_else(|| GroupError::NoList(shown(reference)))?;
        peers.push(Peer::PrefixList(list.prefix_list_id.clone()));
    }
    Ok(peers)
}
