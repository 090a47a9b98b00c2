//! The networks of a file.

use super::keys;
use super::node::{Node, set};
use crate::failure::Failure;
use netmode_model::{Code, NetworkRequest};
use std::collections::BTreeMap;
use std::str::FromStr;

type Result<T> = std::result::Result<T, Failure>;

/// The network of services that name none.
pub(crate) const DEFAULT: &str = "default";

/// A network that services name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Network {
    /// Its name in the file.
    pub(crate) key: String,
    /// Its name in the agent's eyes.
    pub(crate) name: String,
    /// Made and removed by others.
    pub(crate) external: bool,
    /// How it is made, but for name and labels of compose.
    pub(crate) request: NetworkRequest,
}

type Read = fn(&mut Network, &Node<'_>) -> Result<()>;

/// The keys of a network.
static KEYS: [(&str, Read); 8] = [
    ("name", |network, node| set(&mut network.name, node.filled()?)),
    ("external", |network, node| set(&mut network.external, node.truth()?)),
    ("internal", |network, node| set(&mut network.request.internal, node.truth()?)),
    ("enable_ipv6", |network, node| set(&mut network.request.ipv6, node.truth()?)),
    ("driver", driver),
    ("driver_opts", |network, node| set(&mut network.request.options, filled(node.pairs()?))),
    ("labels", |network, node| set(&mut network.request.labels, filled(node.pairs()?))),
    ("ipam", ipam),
];

impl Network {
    /// The network of this name in the file, with nothing said about it.
    pub(crate) fn plain(project: &str, key: &str) -> Self {
        let name = format!("{project}_{key}");
        Self { key: key.into(), name, external: false, request: NetworkRequest::default() }
    }

    /// Reads what the file says of a network.
    ///
    /// # Errors
    /// The first key that is not served or has a bad value.
    pub(crate) fn read(project: &str, key: &str, node: &Node<'_>, notes: &mut Vec<String>) -> Result<Self> {
        let mut network = Self::plain(project, key);
        if node.is_null() {
            return Ok(network);
        }
        let given = node.given()?;
        let is_given = |key: &str| given.iter().any(|(known, _)| known == key);
        for (key, entry) in &given {
            match KEYS.iter().find(|(known, _)| known == key) {
                Some((_, read)) => read(&mut network, entry)?,
                None => keys::other(&format!("network {}", network.key), key, entry, notes)?,
            }
        }
        if network.external {
            if network.request != NetworkRequest::default() {
                return Err(node.bad("an external network is made by others; take out all but \"name\""));
            }
            if !is_given("name") {
                network.name = key.into();
            }
        }
        Ok(network)
    }
}

fn driver(_: &mut Network, node: &Node<'_>) -> Result<()> {
    match node.text()?.as_str() {
        "bridge" | DEFAULT => Ok(()),
        other => Err(node.unsupported(format!("{other:?}"), "every network is a bridge: write bridge, or take it out")),
    }
}

/// `ipam: {config: [{subnet: …}]}`.
fn ipam(network: &mut Network, node: &Node<'_>) -> Result<()> {
    for (key, entry) in node.given()? {
        match key.as_str() {
            "driver" if entry.text()? == DEFAULT => {}
            "config" => entry.items()?.iter().try_for_each(|pool| pool_of(network, pool))?,
            _ => return Err(entry.unsupported("this key", "write config with subnet, gateway and ip_range")),
        }
    }
    Ok(())
}

fn pool_of(network: &mut Network, pool: &Node<'_>) -> Result<()> {
    let request = &mut network.request;
    for (key, entry) in pool.given()? {
        match key.as_str() {
            "subnet" => request.subnets.push(parsed(&entry, "a prefix such as 10.9.0.0/16")?),
            "gateway" => request.gateways.push(parsed(&entry, "an address such as 10.9.0.1")?),
            "ip_range" => request.ip_ranges.push(parsed(&entry, "a prefix such as 10.9.4.0/22")?),
            _ => return Err(entry.unsupported("this key", "write subnet, gateway and ip_range")),
        }
    }
    Ok(())
}

fn parsed<T: FromStr>(node: &Node<'_>, shape: &str) -> Result<T> {
    let text = node.text()?;
    let whole = !shape.contains('/') || text.contains('/');
    text.parse().ok().filter(|_| whole).ok_or_else(|| node.bad(format!("{text:?} is not {shape}")))
}

/// Pairs whose missing values are empty.
pub(crate) fn filled(pairs: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()
}

/// The network of a name in the file.
///
/// # Errors
/// A name that the file does not declare.
pub(crate) fn find<'a>(networks: &'a [Network], key: &str, service: &str) -> Result<&'a Network> {
    networks.iter().find(|network| network.key == key).ok_or_else(|| {
        let text = format!("service {service}: networks: there is no network {key:?}; declare it below \"networks:\"");
        Failure::new(Code::Invalid, text)
    })
}
