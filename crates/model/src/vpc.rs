//! The awsvpc objects as they are asked for and shown: subnets, ENIs, and what stands in for an ENI.

use crate::id::Id;
use crate::link::{IfName, Mac};
use crate::name::Name;
use crate::op::{IpvlanMode, MacvlanMode, Upper};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::{fmt, str::FromStr};

/// What an AWS-shaped id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A task's interface.
    Eni,
    /// A subnet.
    Subnet,
    /// A security group.
    Group,
    /// A rule of a security group.
    Rule,
    /// A prefix list.
    PrefixList,
    /// A container instance's own network.
    Vpc,
}

impl Resource {
    /// What its ids begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Eni => "eni",
            Self::Subnet => "subnet",
            Self::Group => "sg",
            Self::Rule => "sgr",
            Self::PrefixList => "pl",
            Self::Vpc => "vpc",
        }
    }

    /// The id of a thing: AWS' prefix and 17 hex digits of ours.
    pub fn id(self, id: Id) -> String {
        format!("{}-{}", self.prefix(), &id.hex(9)[..17])
    }
}

/// What stands in for an ENI, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Backend {
    /// What the kernel and the parent can do.
    #[default]
    Auto,
    /// A veth pair on a bridge of the subnet's own, routed.
    Veth,
    /// A hardware address of its own on the parent.
    Macvlan(MacvlanMode),
    /// The parent's hardware address.
    Ipvlan(IpvlanMode),
    /// A branch of a trunk: an 802.1Q id of its own on the parent.
    Vlan,
}

/// No stand-in has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no backend: write auto, veth, macvlan[:bridge|private|vepa], ipvlan[:l2|l3|l3s] or vlan")]
pub struct UnknownBackend(String);

impl FromStr for Backend {
    type Err = UnknownBackend;
    fn from_str(s: &str) -> Result<Self, UnknownBackend> {
        Ok(match s {
            "auto" => Self::Auto,
            "veth" => Self::Veth,
            "vlan" => Self::Vlan,
            "macvlan" | "macvlan:bridge" => Self::Macvlan(MacvlanMode::Bridge),
            "macvlan:private" => Self::Macvlan(MacvlanMode::Private),
            "macvlan:vepa" => Self::Macvlan(MacvlanMode::Vepa),
            "ipvlan" | "ipvlan:l2" => Self::Ipvlan(IpvlanMode::L2),
            "ipvlan:l3" => Self::Ipvlan(IpvlanMode::L3),
            "ipvlan:l3s" => Self::Ipvlan(IpvlanMode::L3s),
            other => return Err(UnknownBackend(other.chars().take(64).collect())),
        })
    }
}

impl TryFrom<String> for Backend {
    type Error = UnknownBackend;
    fn try_from(s: String) -> Result<Self, UnknownBackend> {
        s.parse()
    }
}

impl From<Backend> for String {
    fn from(b: Backend) -> String {
        b.to_string()
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Veth => "veth",
            Self::Vlan => "vlan",
            Self::Macvlan(MacvlanMode::Private) => "macvlan:private",
            Self::Macvlan(MacvlanMode::Vepa) => "macvlan:vepa",
            Self::Macvlan(_) => "macvlan:bridge",
            Self::Ipvlan(IpvlanMode::L2) => "ipvlan:l2",
            Self::Ipvlan(IpvlanMode::L3) => "ipvlan:l3",
            Self::Ipvlan(IpvlanMode::L3s) => "ipvlan:l3s",
        })
    }
}

/// The 802.1Q ids that there are (IEEE 802.1Q §9.6: 0 and 4095 are reserved).
pub const VLAN_IDS: RangeInclusive<u16> = 1..=4094;

/// A subnet to make: the flags of `subnet create`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubnetRequest {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Option<Name>,
    /// IPv4 prefix, /16 to /28.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub cidr: Option<IpNetwork>,
    /// IPv6 prefix, /64.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ipv6_cidr: Option<IpNetwork>,
    /// The link that interfaces are on; the default route's where none is given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub parent: Option<IfName>,
    /// What stands in for an ENI.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub backend: Backend,
    /// Routers that somebody else runs, at most one of each family.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub gateways: Vec<IpAddr>,
    /// Where addresses are taken from, a part of the IPv4 prefix.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip_range: Option<IpNetwork>,
    /// Addresses and prefixes that are not given out.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub exclude: Vec<IpNetwork>,
    /// Whether what leaves the VPC gets the host's address; decided by what routes to the subnet where nothing is said.
    pub nat: Option<bool>,
    /// IPv6: out yes, in no.
    pub egress_only: bool,
    /// 802.1Q ids for the backend `vlan`, `FIRST[-LAST]`.
    pub vlans: Option<String>,
    /// Zone of the names.
    pub dns_zone: Option<String>,
    /// Availability zone, as tasks see it.
    pub availability_zone: Option<String>,
    /// What would be made is answered, and nothing is made.
    pub dry_run: bool,
}

/// A subnet as `subnet show` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubnetView {
    /// `subnet-…`.
    pub subnet_id: String,
    /// Its name.
    pub name: String,
    /// `vpc-…`.
    pub vpc_id: String,
    /// IPv4 prefix; none for a subnet of IPv6 alone.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub cidr_block: Option<Ipv4Network>,
    /// IPv6 prefix.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ipv6_cidr_block: Option<Ipv6Network>,
    /// IPv4 addresses that could be given out now.
    pub available_ip_address_count: u64,
    /// IPv4 addresses that could be given out in all.
    pub usable_ip_address_count: u64,
    /// Part of them that is in use, in per cent.
    pub utilization: u32,
    /// Whether it is the one that tasks get which name none.
    pub default_for_az: bool,
    /// Zone as tasks see it.
    pub availability_zone: String,
    /// What stands in for an ENI.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub backend: Backend,
    /// Why that.
    pub backend_reason: String,
    /// The link that interfaces are on.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub parent: Option<IfName>,
    /// The host's own link on the subnet.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub host_link: Option<IfName>,
    /// How the host reaches its tasks.
    pub host_path: String,
    /// Next hops of the tasks.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub gateways: Vec<IpAddr>,
    /// Whether this host is the router.
    pub router: bool,
    /// Whether what leaves the VPC gets the host's address.
    pub nat: bool,
    /// IPv6: out yes, in no.
    pub egress_only: bool,
    /// Where addresses are taken from.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip_range: Option<IpNetwork>,
    /// Bytes.
    pub mtu: u32,
    /// Zone of the names.
    pub dns_zone: String,
    /// RFC 3339.
    pub created: String,
}

/// An ENI as `eni show` has it, with the names of `aws ec2 describe-network-interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EniView {
    /// `eni-…`.
    pub network_interface_id: String,
    /// `subnet-…`.
    pub subnet_id: String,
    /// `vpc-…`.
    pub vpc_id: String,
    /// Hardware address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub mac_address: Mac,
    /// The IPv4 address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub private_ip_address: Option<IpAddr>,
    /// IPv6 addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub ipv6_addresses: Vec<IpAddr>,
    /// `ip-a-b-c-d.ZONE`.
    pub private_dns_name: String,
    /// Its security groups.
    pub groups: Vec<GroupRef>,
    /// `in-use`: an ENI is there as long as its task is.
    pub status: String,
    /// `task/ID`: who alone can release it, by ending.
    pub managed_by: String,
    /// What it is attached to.
    pub attachment: EniAttachment,
    /// What stands in for it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub backend: Backend,
    /// Why that.
    pub backend_reason: String,
    /// The link that it is on.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub parent: Option<IfName>,
    /// 802.1Q id of a branch.
    pub vlan_id: Option<u16>,
    /// How the host reaches it.
    pub host_path: String,
    /// Its task can go round the security groups, and was let.
    pub best_effort: bool,
}

/// A security group by both of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupRef {
    /// `sg-…`.
    pub group_id: String,
    /// Its name.
    pub group_name: String,
}

/// An ENI's attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EniAttachment {
    /// Its id, in the shape of a UUID.
    pub attachment_id: String,
    /// `ATTACHED`, or `DETACHING` while the kernel takes the link away.
    pub status: String,
    /// Name of the task.
    pub task: String,
    /// RFC 3339.
    pub attach_time: String,
}

/// An id in the shape of a UUID (RFC 9562 §4), as ECS has for attachments.
pub fn uuid(id: Id) -> String {
    let hex = id.to_string();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `ip-10-0-2-61.ZONE`, or `i-HEX.ZONE` without an IPv4 address, as a VPC names its hosts.
pub fn private_dns_name(ip: IpAddr, zone: &str) -> String {
    match ip {
        IpAddr::V4(v4) => format!("ip-{}.{zone}", v4.to_string().replace('.', "-")),
        IpAddr::V6(v6) => format!("i-{:032x}.{zone}", u128::from(v6)),
    }
}

impl Backend {
    /// The kind of link, for one that is made on a parent.
    pub fn upper(self, vlan: Option<u16>) -> Option<Upper> {
        match self {
            Self::Auto | Self::Veth => None,
            Self::Macvlan(mode) => Some(Upper::Macvlan(mode)),
            Self::Ipvlan(mode) => Some(Upper::Ipvlan(mode)),
            Self::Vlan => vlan.map(Upper::Vlan),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_shapes_of_aws() {
        let id = Id::from_bytes([0xab; 16]);
        assert_eq!(Resource::Eni.id(id), "eni-abababababababab a".replace(' ', ""));
        assert_eq!(Resource::Subnet.id(id).len(), "subnet-".len() + 17);
        assert_eq!(uuid(id), "abababab-abab-abab-abab-abababababab");
    }

    #[test]
    fn backends_are_read_as_they_are_written() {
        for text in ["auto", "veth", "vlan", "macvlan:private", "macvlan:vepa", "macvlan:bridge", "ipvlan:l3s"] {
            assert_eq!(text.parse::<Backend>().unwrap().to_string(), text);
        }
        assert!("macvlan:passthru".parse::<Backend>().is_err());
    }

    #[test]
    fn names_are_those_of_a_vpc() {
        assert_eq!(private_dns_name("10.0.2.61".parse().unwrap(), "netmode.internal"), "ip-10-0-2-61.netmode.internal");
    }
}
