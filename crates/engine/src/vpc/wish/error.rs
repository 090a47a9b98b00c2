//! Why a subnet cannot be made.

use super::StandInError;
use ipnetwork::IpNetwork;
use netmode_model::vpc::Backend;
use netmode_model::{ApiError, Code, IfName};

/// Why a subnet cannot be made. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// It has none.
    #[error("the subnet needs a name")]
    NoName,
    /// The name is taken.
    #[error("the name {0} is taken by a subnet; choose another one or remove it with \"netmode subnet rm {0}\"")]
    NameTaken(String),
    /// IPv6 alone.
    #[error(
        "the subnet needs an IPv4 prefix: give --cidr; IPv4 cannot be switched off in a VPC unless ipv6_only is set in the section [vpc] of netmode.toml"
    )]
    NoCidr,
    /// The wrong family.
    #[error("{flag} {given} is of the other family; give IPv4 with --cidr and IPv6 with --ipv6-cidr")]
    Family {
        /// The flag.
        flag: &'static str,
        /// What was given.
        given: IpNetwork,
    },
    /// Bits behind the length.
    #[error("the subnet {given} has bits set behind its length; write {meant}")]
    HostBits {
        /// What was given.
        given: IpNetwork,
        /// What it may mean.
        meant: IpNetwork,
    },
    /// Too small or too large.
    #[error("the subnet {0} cannot be: a VPC has IPv4 subnets from /16 to /28 and IPv6 subnets of /64")]
    Length(IpNetwork),
    /// Somebody has it.
    #[error("the subnet {prefix} overlaps {other} of {owner}; choose another prefix")]
    Overlap {
        /// The prefix.
        prefix: IpNetwork,
        /// The other one.
        other: IpNetwork,
        /// A subnet, a network, a link of the host, a route.
        owner: String,
    },
    /// The LAN's own prefix.
    #[error(
        "{prefix} is in use on {parent}, by machines that nobody here knows; say with --ip-range which part of it is for tasks"
    )]
    NeedsRange {
        /// The prefix.
        prefix: IpNetwork,
        /// The link.
        parent: IfName,
    },
    /// Not within a prefix of the subnet.
    #[error("{flag} {value} is not within {prefix}; give one that is")]
    Outside {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// The prefix.
        prefix: String,
    },
    /// Two of one family.
    #[error("--gateway is given twice for one family; give one for IPv4 and one for IPv6 at most")]
    Twice,
    /// No such ids.
    #[error("--vlan {0:?} cannot be: write FIRST[-LAST] from 1 to 4094 (IEEE 802.1Q), and only with --backend vlan")]
    Vlans(String),
    /// Somebody has the ids.
    #[error("the VLAN ids {ids} on {parent} are taken by the subnet {owner}; choose others with --vlan")]
    VlanTaken {
        /// The ids.
        ids: String,
        /// The trunk.
        parent: IfName,
        /// The subnet.
        owner: String,
    },
    /// A link carries macvlans or ipvlans, and the latter in one mode.
    #[error(
        "backend {backend}: {parent} carries the {other} links of the subnet {owner}, and a link carries one kind; choose {other}, veth, or another --parent"
    )]
    Mixed {
        /// What was asked for, or chosen.
        backend: Backend,
        /// The link.
        parent: IfName,
        /// What is on it.
        other: Backend,
        /// The subnet.
        owner: String,
    },
    /// The LAN's own prefix, and nothing that tasks could be on the LAN by.
    #[error("{prefix} is that of {parent}, and tasks cannot be on that link: {reason}; choose another prefix")]
    NotOnLan {
        /// The prefix.
        prefix: IpNetwork,
        /// The link.
        parent: IfName,
        /// Why not.
        reason: String,
    },
    /// No parent of this name.
    #[error("there is no link {0} on this host; \"ip link\" lists the links")]
    NoLink(IfName),
    /// The stand-in cannot be.
    #[error(transparent)]
    StandIn(#[from] StandInError),
    /// A zone that is no name.
    #[error("--dns-zone {0:?} is no domain: letters, digits, \"-\" and \".\"")]
    Zone(String),
    /// The kernel was started without IPv6.
    #[error("this kernel has no IPv6; leave out --ipv6-cidr, or boot without ipv6.disable")]
    NoIpv6,
}

impl SubnetError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NameTaken(_) => Code::NameTaken,
            Self::Overlap { .. } | Self::VlanTaken { .. } => Code::AddressTaken,
            Self::Outside { .. } => Code::AddressOutside,
            Self::StandIn(_) | Self::NoLink(_) | Self::NotOnLan { .. } | Self::Mixed { .. } => Code::BadParent,
            _ => Code::Invalid,
        }
    }
}

impl From<SubnetError> for ApiError {
    fn from(error: SubnetError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
