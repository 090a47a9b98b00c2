//! Security groups and prefix lists come, change and go. What of it stands in the kernel: [`super::guarding`].

use super::group_error::GroupError;
use super::groups::{DEFAULT, Group, Groups, LONGEST, List, MOST_OF_ENI, VERSION};
use crate::endpoint::{Endpoint, EndpointLink};
use crate::engine::Engine;
use crate::store::{self, Kind, StoreError};
use ipnetwork::IpNetwork;
use netmode_model::Id;
use netmode_model::group::{Direction, GroupRequest, GroupView, Peer, PrefixList, Rule, RulesRequest, Traffic};
use netmode_model::vpc::{GroupRef, Resource};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError};

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
    pub fn groups(&self) -> Arc<Groups> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_groups(&self, groups: Groups) {
        *self.groups.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(groups);
    }

    /// Changes groups: `change` says what becomes of them and which records are written or removed; then the kernel is
    /// told. Alone: nobody attaches meanwhile.
    fn regroup<T>(
        &self,
        change: impl FnOnce(&mut Groups) -> Result<(T, Touched), GroupError>,
    ) -> Result<T, GroupError> {
        self.exclusively(|| {
            let before = self.groups();
            let mut after = Groups::clone(&before);
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
