//! Why something could not be attached: the operands, and one sentence for people.

use crate::endpoint::{Endpoint, OwnerKind};
use crate::ipam::IpamError;
use crate::outside::HoldFailure;
use crate::store::StoreError;
use ipnetwork::IpNetwork;
use netmode_model::op::OpError;
use netmode_model::{ApiError, Code, Mac, Mode, PortSpec, Published};
use std::net::IpAddr;

/// Why an endpoint could not be attached. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The mode cannot do what was asked for.
    #[error("{what} cannot be used in {mode} mode: {why}")]
    Refused {
        /// The mode in effect.
        mode: Mode,
        /// The option.
        what: String,
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// Host mode translates nothing (the text is ECS's).
    #[error(
        "When networkMode=host, the host ports and container ports in port mappings must match: {spec} asks for {}; publish {} or use bridge mode",
        spec.container, spec.container
    )]
    HostPortsDiffer {
        /// The mapping.
        spec: PortSpec,
    },
    /// The same host port twice in one request.
    #[error("{}: the host port is mapped multiple times in this task; remove one of the mappings", cannot(published))]
    MappedTwice {
        /// The second mapping.
        published: Published,
    },
    /// A task or an attachment has the port.
    #[error("{}: already published by {}", cannot(published), holder(*owner, name))]
    PortPublished {
        /// The mapping, narrowed to the port in question.
        published: Published,
        /// What has it.
        owner: OwnerKind,
        /// Its name.
        name: String,
    },
    /// Somebody else has the port, or the kernel refuses it.
    #[error("{}: {failure}{}", cannot(published), next_step(failure))]
    NotHeld {
        /// The mapping, narrowed to the port in question.
        published: Published,
        /// Why.
        #[source]
        failure: HoldFailure,
    },
    /// No run of free ports is left.
    #[error("{}; widen \"range\" in the section [ports] or end tasks that publish ports", exhausted(*count))]
    PortsExhausted {
        /// How many in a row.
        count: u32,
    },
    /// An IPv6 host address on a network without IPv6.
    #[error("cannot publish {spec}: the network {network} has no IPv6; publish on an IPv4 address")]
    NoIpv6 {
        /// The mapping.
        spec: PortSpec,
        /// The network.
        network: String,
    },
    /// An internal network publishes nothing.
    #[error(
        "cannot publish {spec}: the network {network} is internal and reached by nobody else; leave out -p or use another network"
    )]
    Internal {
        /// The mapping.
        spec: PortSpec,
        /// The network.
        network: String,
    },
    /// The pool has no such address to give.
    #[error("{}", address(source, owner))]
    Address {
        /// Why.
        #[source]
        source: IpamError,
        /// `NAME` of who has it.
        owner: Option<String>,
    },
    /// The hardware address is in use.
    #[error("the MAC address {mac} is in use by {owner}; choose another one or leave it out")]
    MacTaken {
        /// The address.
        mac: Mac,
        /// Who.
        owner: String,
    },
    /// Each VLAN of a subnet has an ENI.
    #[error(
        "each of the VLANs {first} to {last} of the subnet {subnet} has an ENI; stop a task, or make a subnet with more of \
         them (netmode subnet create --vlans FIRST-LAST)"
    )]
    VlansExhausted {
        /// The subnet's prefix.
        subnet: IpNetwork,
        /// The least.
        first: u16,
        /// The greatest.
        last: u16,
    },
    /// The network has no addresses of the family.
    #[error(
        "the address {ip} cannot be given: the network {network} has no {} prefix; leave it out, or choose another network",
        family(*ip)
    )]
    NoPrefix {
        /// The address.
        ip: IpAddr,
        /// The network.
        network: String,
    },
    /// There is no such network (yet).
    #[error(
        "the address {ip} is in use on the LAN by the machine with the hardware address {mac}; choose another one or leave it out"
    )]
    OnLan {
        /// The address.
        ip: IpAddr,
        /// Who has it.
        mac: Mac,
    },
    /// Machines that nobody here knows have every address that was tried.
    #[error(
        "{tried} addresses in a row are in use on the LAN by machines of others; give tasks a part of it that is free, with --ip-range"
    )]
    LanFull {
        /// How many were tried.
        tried: usize,
    },
    /// The instance profile allows no more.
    #[error(
        "RESOURCE:ENI: {used} of {limit} interfaces of this host's instance profile are in use; end a task, or change it with \"netmode instance set-profile\""
    )]
    NoSlot {
        /// ENIs of tasks.
        used: usize,
        /// How many may be.
        limit: usize,
    },
    /// No such network.
    #[error("no network {0}: see \"netmode network ls\"")]
    NoSuchNetwork(String),
    /// The bridge has no port number left (`BR_MAX_PORTS`, net/bridge/br_private.h; number 0 is not used).
    #[error(
        "the network {network} is full: a Linux bridge carries at most 1023 links; use another network (\"netmode network create\") or end tasks"
    )]
    NetworkFull {
        /// The network.
        network: String,
    },
    /// The kernel refused a step.
    #[error("the kernel refused a step, and those before it were taken back: {0}")]
    Kernel(#[from] OpError),
    /// The record could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record could not be written, and not every step before it could be taken back.
    #[error("{unrecorded}; left behind, see \"netmode doctor\": {}", listed(left))]
    LeftBehind {
        /// Why it was to be taken back.
        #[source]
        unrecorded: StoreError,
        /// What could not be.
        left: Vec<OpError>,
    },
}

fn listed(all: &[OpError]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn cannot(p: &Published) -> String {
    format!("cannot publish {} {}:{}", p.protocol, p.host, p.host_ports)
}

/// Who has a port, and how it is given back.
fn holder(owner: OwnerKind, name: &str) -> String {
    match owner {
        OwnerKind::Task => format!("task {name}; choose another host port or stop it with \"netmode stop {name}\""),
        OwnerKind::Netns => {
            format!(
                "attachment {name}; choose another host port or take it away with \"netmode detach --owner {name}\""
            )
        }
    }
}

fn exhausted(count: u32) -> String {
    match count {
        1 => "a host port is unavailable: every port of the dynamic range is in use".into(),
        n => format!("{n} contiguous host ports are unavailable in the dynamic range"),
    }
}

fn next_step(failure: &HoldFailure) -> &'static str {
    match failure {
        HoldFailure::Taken { .. } => "; choose another host port or end that process",
        HoldFailure::NoSuchAddress => "; see \"ip addr\" for the addresses it has, or leave the address out",
        HoldFailure::Limit { .. } => "; raise LimitNOFILE of the agent or publish fewer ports",
        HoldFailure::Other { .. } => "",
    }
}

fn address(error: &IpamError, owner: &Option<String>) -> String {
    match (error, owner) {
        (IpamError::Exhausted { .. }, _) => {
            format!("{error}; end tasks, or add a subnet (netmode subnet create) or a network (netmode network create)")
        }
        (IpamError::Taken { ip, .. }, Some(owner)) => {
            format!("the address {ip} is in use by {owner}; choose another one or leave it out")
        }
        _ => format!("the address {error}; choose one that the network can give, or leave it out"),
    }
}

/// `EXFULL`, errno(3): what a bridge without a free port number answers.
const EXFULL: i32 = 54;

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

impl AttachError {
    /// What a refusal of an attachment's steps means for who asked.
    pub(crate) fn refused(error: OpError, endpoint: &Endpoint) -> Self {
        match &endpoint.link {
            Some(link) if error.errno == EXFULL => Self::NetworkFull { network: link.network.clone() },
            _ => Self::Kernel(error),
        }
    }

    /// A record that could not be written; `left`: what could not be taken back for it.
    pub(crate) fn unrecorded(unrecorded: StoreError, left: Vec<OpError>) -> Self {
        if left.is_empty() { Self::Store(unrecorded) } else { Self::LeftBehind { unrecorded, left } }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { .. }
            | Self::HostPortsDiffer { .. }
            | Self::NoIpv6 { .. }
            | Self::NoPrefix { .. }
            | Self::Internal { .. } => Code::UnsupportedInMode,
            Self::MappedTwice { .. } => Code::InvalidPort,
            Self::PortPublished { .. } => Code::PortTaken,
            Self::NotHeld { failure, .. } => match failure {
                HoldFailure::Taken { .. } => Code::PortTaken,
                HoldFailure::NoSuchAddress => Code::NoSuchHostAddress,
                HoldFailure::Limit { .. } => Code::Limit,
                HoldFailure::Other { .. } => Code::Kernel,
            },
            Self::PortsExhausted { .. } => Code::PortsExhausted,
            Self::Address { source, .. } => match source {
                IpamError::Exhausted { .. } => Code::PoolExhausted,
                IpamError::Outside { .. } => Code::AddressOutside,
                IpamError::Reserved { .. } | IpamError::Excluded { .. } | IpamError::Taken { .. } => Code::AddressTaken,
            },
            Self::MacTaken { .. } => Code::MacTaken,
            Self::NetworkFull { .. } => Code::Limit,
            Self::NoSlot { .. } => Code::ResourceEni,
            Self::OnLan { .. } => Code::AddressTaken,
            Self::LanFull { .. } | Self::VlansExhausted { .. } => Code::PoolExhausted,
            Self::NoSuchNetwork(_) => Code::NotFound,
            Self::Kernel(_) => Code::Kernel,
            Self::Store(_) | Self::LeftBehind { .. } => Code::State,
        }
    }
}

impl From<AttachError> for ApiError {
    fn from(e: AttachError) -> Self {
        Self::new(e.code(), e.to_string())
    }
}
