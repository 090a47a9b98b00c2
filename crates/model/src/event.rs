//! What happened: to which object, why, and by whom.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A word or sentence that mostly stands in the program already.
pub type Text = Cow<'static, str>;

/// What kind of object an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EventKind {
    /// A task: of `netmode run`, or of a task definition.
    Task,
    /// An interface of a container, or the host's network where a task shares that.
    Attachment,
    /// A published port.
    Port,
    /// An address that can be given out again.
    Address,
    /// A security group or prefix list.
    Group,
    /// A network.
    Network,
    /// A subnet.
    Subnet,
    /// A service.
    Service,
    /// Something of ours that was changed and has been put back.
    Repair,
    /// The stream of events itself: some of them were lost.
    Stream,
    /// One that this release does not know.
    #[serde(other)]
    Other,
}

/// Every kind that there is a word for.
pub const EVENT_KINDS: [EventKind; 10] = [
    EventKind::Task,
    EventKind::Attachment,
    EventKind::Port,
    EventKind::Address,
    EventKind::Group,
    EventKind::Network,
    EventKind::Subnet,
    EventKind::Service,
    EventKind::Repair,
    EventKind::Stream,
];

impl EventKind {
    /// The word, as JSON and filters have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Attachment => "attachment",
            Self::Port => "port",
            Self::Address => "address",
            Self::Group => "group",
            Self::Network => "network",
            Self::Subnet => "subnet",
            Self::Service => "service",
            Self::Repair => "repair",
            Self::Stream => "stream",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Grows by one with each event of an agent; those of a later agent are higher than all before.
    pub sequence: u64,
    /// RFC 3339.
    pub time: String,
    /// What it is about.
    pub kind: EventKind,
    /// What became of it: `created`, `started`, `stopping`, `stopped`, `removed`, `attached`, `detached`, `published`,
    /// `unpublished`, `released`, `connected`, `disconnected`, `changed`, `lost`, `repaired`, or a status of ECS.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub action: Text,
    /// The object's id.
    pub id: String,
    /// The name that people know: the object's, or its owner's.
    pub name: String,
    /// In a sentence.
    pub message: String,
    /// Why: the command that asked for it, or what happened before.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub cause: Text,
    /// Who: `uid` and the number of the API's caller, `agent`, or `kernel`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub actor: Text,
    /// Further facts, by name: `exitCode`, `address`, `port`, `network`, `mode`, `group`, ….
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_they_are_filtered_by() {
        for kind in EVENT_KINDS {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        let newer: EventKind = serde_json::from_str("\"volume\"").unwrap();
        assert_eq!(newer, EventKind::Other, "a newer agent may know more");
    }
}
