//! Security groups and prefix lists, as they are asked for, recorded and shown (Amazon VPC user guide, "Security group
//! rules"; EC2 API reference, AuthorizeSecurityGroupIngress).

use crate::port::PortRange;
use crate::vpc::GroupRef;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Whether a rule is about what comes to a task or what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Direction {
    /// To the task.
    #[default]
    Ingress,
    /// From the task.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// What a rule lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Traffic {
    /// Everything (`-1`).
    All,
    /// TCP to these ports.
    Tcp(PortRange),
    /// UDP to these ports.
    Udp(PortRange),
    /// ICMP of a type and code; all of them where none is said.
    Icmp(Option<u8>, Option<u8>),
    /// ICMPv6, likewise.
    Icmp6(Option<u8>, Option<u8>),
    /// Another protocol, by its number (IANA "Protocol Numbers").
    Other(u8),
}

/// The text says no traffic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no traffic: write tcp:PORT[-PORT], udp:PORT[-PORT], icmp[:TYPE[/CODE]], icmpv6[:TYPE[/CODE]], all, or a protocol's number"
)]
pub struct BadTraffic(String);

impl Traffic {
    /// The traffic of the flags `--protocol` and `--port`, as the AWS CLI has them: ports for tcp and udp, a type for
    /// icmp; `-1` and none are all.
    ///
    /// # Errors
    /// What does not fit.
    pub fn of_flags(protocol: &str, port: Option<&str>) -> Result<Self, BadTraffic> {
        let bad = || BadTraffic(format!("{protocol} {}", port.unwrap_or_default()).trim().chars().take(64).collect());
        let port = port.filter(|p| *p != "-1" && *p != "all");
        let ports = || match port {
            None | Some("0-65535") => PortRange::new(1, u16::MAX),
            Some(text) => text.parse().ok(),
        };
        let message = || -> Option<(Option<u8>, Option<u8>)> {
            let Some(text) = port else { return Some((None, None)) };
            let (kind, code) = text.split_once('/').map_or((text, None), |(k, c)| (k, Some(c)));
            let code = code.filter(|c| *c != "-1").map(str::parse).transpose().ok()?;
            Some((Some(kind.parse().ok()?), code))
        };
        let made = match protocol {
            "tcp" | "6" => ports().map(Self::Tcp),
            "udp" | "17" => ports().map(Self::Udp),
            "icmp" | "1" => message().map(|(kind, code)| Self::Icmp(kind, code)),
            "icmpv6" | "58" => message().map(|(kind, code)| Self::Icmp6(kind, code)),
            "all" | "-1" => port.is_none().then_some(Self::All),
            number => number.parse().ok().filter(|_| port.is_none()).map(Self::Other),
        };
        made.ok_or_else(bad)
    }
}

impl FromStr for Traffic {
    type Err = BadTraffic;
    fn from_str(s: &str) -> Result<Self, BadTraffic> {
        let (protocol, port) = s.split_once(':').map_or((s, None), |(protocol, port)| (protocol, Some(port)));
        Self::of_flags(protocol, port)
    }
}

impl TryFrom<String> for Traffic {
    type Error = BadTraffic;
    fn try_from(s: String) -> Result<Self, BadTraffic> {
        s.parse()
    }
}

impl From<Traffic> for String {
    fn from(t: Traffic) -> String {
        t.to_string()
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = |f: &mut fmt::Formatter<'_>, word: &str, kind: &Option<u8>, code: &Option<u8>| {
            f.write_str(word)?;
            kind.iter().try_for_each(|kind| write!(f, ":{kind}"))?;
            code.iter().try_for_each(|code| write!(f, "/{code}"))
        };
        match self {
            Self::All => f.write_str("all"),
            Self::Tcp(ports) if ports.is_all() => f.write_str("tcp"),
            Self::Udp(ports) if ports.is_all() => f.write_str("udp"),
            Self::Tcp(ports) => write!(f, "tcp:{ports}"),
            Self::Udp(ports) => write!(f, "udp:{ports}"),
            Self::Icmp(kind, code) => message(f, "icmp", kind, code),
            Self::Icmp6(kind, code) => message(f, "icmpv6", kind, code),
            Self::Other(number) => write!(f, "{number}"),
        }
    }
}

/// The other end of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Peer {
    /// Addresses.
    Cidr(IpNetwork),
    /// The ENIs of a security group, by id.
    Group(String),
    /// A prefix list, by id.
    PrefixList(String),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr(cidr) => cidr.fmt(f),
            Self::Group(id) | Self::PrefixList(id) => f.write_str(id),
        }
    }
}

/// A rule of a security group: what it lets pass. There is nothing else: what no rule lets pass is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rule {
    /// `sgr-…`.
    pub id: String,
    /// Which way.
    pub direction: Direction,
    /// What.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub traffic: Traffic,
    /// From or to whom.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub peer: Peer,
    /// At most 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A security group to make.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupRequest {
    /// Its name, at most 255 characters, not beginning with `sg-`.
    pub group_name: String,
    /// At most 255 characters.
    pub description: String,
}

/// Rules to add or to take away: one for each peer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RulesRequest {
    /// Which way.
    pub direction: Direction,
    /// What, as [`Traffic`] is written; of rules that go, those with this.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub traffic: Option<Traffic>,
    /// Addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub cidrs: Vec<IpNetwork>,
    /// Security groups, by name or id.
    pub groups: Vec<String>,
    /// Prefix lists, by name or id.
    pub prefix_lists: Vec<String>,
    /// At most 255 characters.
    pub description: Option<String>,
    /// Of rules that go: these, by id.
    pub rule_ids: Vec<String>,
    /// Of rules that go: connections that they let pass are cut as well.
    pub cut: bool,
}

/// A security group as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupView {
    /// `sg-…`.
    pub group_id: String,
    /// Its name.
    pub group_name: String,
    /// What it is for.
    pub description: String,
    /// `vpc-…`.
    pub vpc_id: String,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// ENIs that carry it.
    pub network_interfaces: Vec<String>,
}

/// A prefix list to make or to change, and as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrefixList {
    /// `pl-…`; made by the agent.
    pub prefix_list_id: String,
    /// Its name.
    pub prefix_list_name: String,
    /// Its prefixes.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub entries: Vec<IpNetwork>,
}

/// What is open to a task, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Effective {
    /// Which way.
    pub direction: Direction,
    /// What.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub traffic: Traffic,
    /// The other end as it was written.
    pub peer: String,
    /// The addresses that it stands for now.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpNetwork>,
    /// The group that the rule is of.
    pub group: GroupRef,
    /// The rule.
    pub rule_id: String,
}

/// What is open to a task in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EffectiveReply {
    /// The task.
    pub task: String,
    /// How its mode is guarded, in words.
    pub guarded_by: String,
    /// Rules.
    pub rules: Vec<Effective>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_read_as_it_is_written() {
        for text in ["all", "tcp", "tcp:80", "udp:1000-2000", "icmp", "icmp:8", "icmp:3/4", "icmpv6:128", "47"] {
            assert_eq!(text.parse::<Traffic>().unwrap().to_string(), text);
        }
        for bad in ["tcp:x", "tcp:80-70", "all:80", "gre", "300", "icmp:300", "47:1"] {
            assert!(bad.parse::<Traffic>().is_err(), "{bad}");
        }
        assert_eq!(Traffic::of_flags("-1", Some("-1")), Ok(Traffic::All));
    }
}
