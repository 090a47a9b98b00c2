//! Networks as they are asked for and listed.

use crate::id::Id;
use crate::link::{IfName, Mac};
use crate::name::Name;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Name of the network that there is from the start: the modes `bridge` and `default` use it.
pub const DEFAULT_NETWORK: &str = "bridge";

/// A network to make: the flags of `network create`, in docker's spelling.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkRequest {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Option<Name>,
    /// Prefixes, at most one of each family; a free one is chosen where none is given.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub subnets: Vec<IpNetwork>,
    /// The bridge's own addresses, at most one for each prefix; its first address where none is given.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub gateways: Vec<IpAddr>,
    /// Where addresses are taken from, at most one part of each prefix.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub ip_ranges: Vec<IpNetwork>,
    /// IPv6 as well; a unique local prefix (RFC 4193) is made where none is given.
    pub ipv6: bool,
    /// No way out, no published ports.
    pub internal: bool,
    /// `mtu`, `icc`, `masquerade`; docker's long names are understood.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// What is answered to a network that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkCreated {
    /// The id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: Id,
    /// The name.
    pub name: String,
}

/// A task that gets an interface on one more network, or loses one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectRequest {
    /// The task: name, id or the beginning of an id.
    pub task: String,
    /// A wanted IPv4 address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip: Option<Ipv4Addr>,
    /// A wanted IPv6 address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip6: Option<Ipv6Addr>,
    /// A wanted hardware address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub mac_address: Option<Mac>,
}

/// A row of `network ls`: what `GET /v1/networks` answers.
///
/// The fields are a part of the agent's record of a network, which may be answered as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkSummary {
    /// The id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: Id,
    /// Its name; `bridge` is the default one.
    pub name: String,
    /// The bridge's link.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bridge: IfName,
    /// Bytes.
    pub mtu: u32,
    /// IPv4 prefix.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub v4: Option<Ipv4Network>,
    /// IPv6 prefix, where the network has one.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub v6: Option<Ipv6Network>,
    /// No way out, no published ports.
    #[serde(default)]
    pub internal: bool,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Why this prefix and not the first of the configured list.
    #[serde(default)]
    pub pool_reason: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub created: String,
}
