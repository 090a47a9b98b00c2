//! A compose file, read as a whole: pure but for the files that it names.

use super::network::{self, DEFAULT, Network};
use super::node::Node;
use super::order;
use super::service::Service;
use super::substitute::Variables;
use super::{keys, source};
use crate::caller::Caller;
use crate::failure::Failure;
use netmode_model::Code;
use serde_yaml_ng::Value;
use std::collections::BTreeSet;

type Result<T> = std::result::Result<T, Failure>;

/// A project: what the file asks for.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) name: String,
    /// Names of all services of the file, also of those that are not wanted now.
    pub(crate) known: Vec<String>,
    /// In the order of their start.
    pub(crate) services: Vec<Service>,
    /// Those that services use.
    pub(crate) networks: Vec<Network>,
    /// What the caller should know, one line each.
    pub(crate) notes: Vec<String>,
}

/// Names for a project, best first: of a flag or variable, and of the directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) given: Option<&'a str>,
    pub(crate) directory: &'a str,
}

impl Project {
    /// Reads the text of a file. `file` is its name in refusals, `caller` has the project's directory and variables.
    ///
    /// # Errors
    /// What is no YAML, no compose file, or cannot be served; the sentence names service and key.
    pub(crate) fn read(file: &str, text: &str, names: Names<'_>, caller: &Caller) -> Result<Self> {
        let mut notes = Vec::new();
        let value = substituted(file, text, caller, &mut notes)?;
        let top = Top::read(file, &value, &mut notes)?;
        let name = match (names.given, &top.name) {
            (Some(given), _) => source::checked_name(given)?,
            (None, Some(name)) => source::checked_name(&name.text()?)?,
            (None, None) => source::name_of_directory(names.directory)?,
        };
        let services = services(&top, file, caller, &mut notes)?;
        let networks = networks(&top, &name, &services, &mut notes)?;
        let known = services.iter().map(|service| service.name.clone()).collect();
        Ok(Self { name, known, services, networks, notes })
    }

    /// Every service with what it depends on.
    pub(crate) fn needs(&self) -> Vec<(String, Vec<String>)> {
        self.services.iter().map(|service| (service.name.clone(), service.depends_on.clone())).collect()
    }

    /// Only these services and what they depend on; all where none is named.
    ///
    /// # Errors
    /// A service that the file does not have.
    pub(crate) fn narrow(&mut self, wanted: &[String]) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        if let Some(unknown) = wanted.iter().find(|name| !self.known.contains(name)) {
            let text = format!("there is no service {unknown:?}; the services are {}", self.known.join(", "));
            return Err(Failure::new(Code::NotFound, text));
        }
        let all = order::with_needs(&self.needs(), wanted);
        self.services.retain(|service| all.contains(&service.name));
        let used: BTreeSet<&str> = used(&self.services);
        self.networks.retain(|network| used.contains(network.key.as_str()));
        Ok(())
    }
}

/// The keys at the top.
#[derive(Default)]
struct Top<'a> {
    name: Option<Node<'a>>,
    services: Option<Node<'a>>,
    networks: Option<Node<'a>>,
}

impl<'a> Top<'a> {
    fn read(file: &str, value: &'a Value, notes: &mut Vec<String>) -> Result<Self> {
        let mut top = Self::default();
        let root = Node::new("", value);
        if !root.is_map() {
            return Err(Failure::invalid(format!("{file} is no compose file; begin it with \"services:\"")));
        }
        for (key, node) in root.given()? {
            match key.as_str() {
                "name" => top.name = Some(node),
                "services" => top.services = Some(node),
                "networks" => top.networks = Some(node),
                "version" => notes.push(format!("{file}: version is obsolete and ignored; take it out")),
                _ => keys::other(file, &key, &node.at(format!("{file}: {key}")), notes)?,
            }
        }
        Ok(top)
    }
}

/// The file as YAML, anchors merged and variables substituted.
fn substituted(file: &str, text: &str, caller: &Caller, notes: &mut Vec<String>) -> Result<Value> {
    let bad = |why: String| Failure::invalid(format!("{file}: {why}"));
    let mut value: Value = serde_yaml_ng::from_str(text).map_err(|error| bad(format!("it is no YAML: {error}")))?;
    value.apply_merge().map_err(|error| bad(format!("\"<<\" cannot be merged: {error}")))?;
    let mut variables = Variables::new(&caller.variables);
    variables.in_value(&mut value).map_err(|error| bad(error.to_string()))?;
    notes.extend(variables.unset().map(|name| format!("the variable {name} is not set; an empty text is taken")));
    Ok(value)
}

fn services(top: &Top<'_>, file: &str, caller: &Caller, notes: &mut Vec<String>) -> Result<Vec<Service>> {
    let none = || Failure::invalid(format!("{file} has no services; add them below \"services:\""));
    let mut services = Vec::new();
    for (name, node) in top.services.as_ref().ok_or_else(none)?.entries()? {
        // What the name of a task and of a host can hold.
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(fits) {
            let text = format!("{file}: {name:?} is no name of a service; use letters, digits, \"-\", \"_\" and \".\"");
            return Err(Failure::invalid(text));
        }
        let place = format!("service {name}");
        services.push(Service::read(&name, &node.at(place), caller, notes)?);
    }
    if services.is_empty() {
        return Err(none());
    }
    in_order(services)
}

/// The services, each behind those that it depends on.
fn in_order(mut services: Vec<Service>) -> Result<Vec<Service>> {
    let needs: Vec<_> = services.iter().map(|s| (s.name.clone(), s.depends_on.clone())).collect();
    for (name, needed) in &needs {
        if let Some(unknown) = needed.iter().find(|need| needs.iter().all(|(known, _)| known != *need)) {
            let text =
                format!("service {name}: depends_on: there is no service {unknown:?}; add it, or take the line out");
            return Err(Failure::invalid(text));
        }
    }
    let order = order::order(&needs).map_err(|cycle| Failure::invalid(cycle.to_string()))?;
    services.sort_by_key(|service| order.iter().position(|name| *name == service.name));
    Ok(services)
}

fn used(services: &[Service]) -> BTreeSet<&str> {
    services.iter().flat_map(|service| &service.networks).map(|joined| joined.key.as_str()).collect()
}

/// The networks that the services use, the default one among them where some service names none.
fn networks(top: &Top<'_>, project: &str, services: &[Service], notes: &mut Vec<String>) -> Result<Vec<Network>> {
    let mut networks = Vec::new();
    for (key, node) in top.networks.as_ref().map(Node::entries).transpose()?.unwrap_or_default() {
        let node = node.at(format!("network {key}"));
        networks.push(Network::read(project, &key, &node, notes)?);
    }
    if networks.iter().all(|network| network.key != DEFAULT) {
        networks.push(Network::plain(project, DEFAULT));
    }
    for service in services {
        service
            .networks
            .iter()
            .try_for_each(|joined| network::find(&networks, &joined.key, &service.name).map(drop))?;
    }
    let used = used(services);
    networks.retain(|network| used.contains(network.key.as_str()));
    Ok(networks)
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
