//! Networks as a listing shows them.

use crate::id::Id;
use crate::link::IfName;
use ipnetwork::{Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

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
    /// Why this prefix and not the first of the configured list.
    #[serde(default)]
    pub pool_reason: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub created: String,
}
