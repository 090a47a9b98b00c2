//! What one plugin has made for one container, as recorded.

use crate::bridge;
use ipnetwork::IpNetwork;
use netmode_model::api::NetworkBinding;
use netmode_model::nft::{Datum, Element, TableName};
use netmode_model::{Final, Id, IfName, Inverse, NetnsName, Op, Place, Published};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Version of the record that this agent writes; it reads this one and the one before.
pub const VERSION: u32 = 1;

/// By what it is found again (CNI: network, container, link), and the plugin of the list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Name of the network.
    pub network: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// The plugin.
    pub plugin: String,
}

impl Key {
    /// As people are told whose it is.
    pub fn owner(&self) -> String {
        netmode_model::cni::owner(&self.network, &self.container)
    }
}

/// A record: all that is needed to take it away, and to tell whether it is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Version of the record.
    pub v: u32,
    /// Its id.
    pub id: Id,
    /// What it is found by.
    pub key: Key,
    /// Whether it stands; before that it is about to be made.
    pub ready: bool,
    /// Whether it was taken away, and its links are still to be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Inode number of its namespace.
    pub netns: u64,
    /// What was done.
    pub steps: Vec<Op>,
    /// What takes it back, newest last.
    pub undo: Vec<Inverse>,
    /// Links of the host that are deleted behind DEL's answer.
    pub behind: Vec<IfName>,
    /// Elements that it needs and others may.
    pub shared: Vec<Element>,
    /// Published ports.
    pub ports: Vec<Published>,
    /// The bridge that it is a port of.
    pub bridge: Option<IfName>,
    /// Addresses that the bridge should have.
    pub gateways: Vec<IpNetwork>,
    /// RFC 3339.
    pub created: String,
}

impl Attachment {
    /// The name that its namespace is registered by while it is worked in.
    pub fn netns_name(id: Id) -> Option<NetnsName> {
        format!("cni-{}", id.short()).parse().ok()
    }

    /// Its published ports as ECS shows bindings.
    pub fn bindings(&self) -> Vec<NetworkBinding> {
        self.ports.iter().flat_map(|port| NetworkBinding::of(port, true)).collect()
    }

    /// The elements that it needs, of all tables; `table` is the name of ours.
    pub fn elements(&self, table: &str) -> Vec<(TableName, Element)> {
        let own = self.steps.iter().filter_map(|op| match op {
            Op::ElementAdd { table, element } => Some((table.clone(), element.clone())),
            _ => None,
        });
        let shared = self.shared.iter().map(|element| (TableName::inet(table), element.clone()));
        own.chain(shared).collect()
    }

    /// What forgets the flows to its ports that lead elsewhere than they should.
    pub fn flushes(&self) -> Vec<Final> {
        let data = self.steps.iter().filter_map(|op| match op {
            Op::ElementAdd { element, .. } => Some(&element.data),
            _ => None,
        });
        let address = |datum: &Datum| match datum {
            Datum::V4(ip) => Some(IpAddr::V4(*ip)),
            Datum::V6(ip) => Some(IpAddr::V6(*ip)),
            _ => None,
        };
        let kept: Vec<IpAddr> = data.flatten().filter_map(address).collect();
        bridge::flush(&self.ports, &kept)
    }
}

/// The links that the steps give birth to: what is done to them goes with them.
pub(super) fn born(steps: &[Op]) -> Vec<(Place, IfName)> {
    let of = |op: &Op| match op {
        Op::VethAdd { dev, peer_at, peer, .. } => vec![(Place::Host, dev.clone()), (peer_at.clone(), peer.clone())],
        Op::UpperAdd { at, dev, .. } => vec![(at.clone(), dev.clone())],
        _ => Vec::new(),
    };
    steps.iter().flat_map(of).collect()
}

/// Whether a step has to be taken back by itself, and is not when its link goes.
pub(super) fn stays(inverse: &Inverse, born: &[(Place, IfName)]) -> bool {
    let with = |at: &Place, dev: &IfName| born.iter().any(|(place, name)| place == at && name == dev);
    match inverse {
        Inverse::Nothing => false,
        Inverse::Restore { at, key, .. } => !born.iter().any(|(place, dev)| place == at && is_of(key, dev)),
        Inverse::NetnsDrop { .. } => true,
        // A link in the container is deleted here and now; the host's end of a pair behind DEL's answer.
        Inverse::Op(Op::LinkDel { at: Place::Netns(_), .. }) => true,
        Inverse::Op(op) => op.link().is_none_or(|(at, dev)| !with(at, dev)),
    }
}

/// Whether a kernel variable is a link's own.
fn is_of(key: &str, dev: &IfName) -> bool {
    key.split('/').any(|part| part == dev.as_str())
}

/// Whether something is done in a namespace that has to be handed over for it.
pub(super) fn is_inside(inverse: &Inverse) -> bool {
    match inverse {
        Inverse::Restore { at, .. } => *at != Place::Host,
        Inverse::Op(op) => op.link().is_some_and(|(at, _)| *at != Place::Host),
        _ => false,
    }
}
