//! CNI's reference plugins: what a call of each is made of, with the reference's keys, defaults and results.
//!
//! A plugin is a function from a call ([`Ask`]) to a plan ([`Planned`]). Everything else is the same for all: the plan is
//! carried out and recorded ([`Attachments`]), DEL takes back what the record says, CHECK compares it with what is there.
//! DEL therefore needs neither a namespace nor an earlier result, and no configuration but the names.

mod address;
mod ask;
mod attachment;
mod attachments;
mod bandwidth;
mod bridge;
mod check;
mod firewall;
mod host_device;
mod host_local;
mod lan;
mod loopback;
mod portmap;
mod ptp;
mod ranges;
mod static_ipam;
mod tuning;
mod upper;

pub use ask::{Ask, Planned};
pub use attachment::{Attachment, Key, VERSION};
pub use attachments::{Attachments, Subject};
pub use check::{expected, expected_of_others};
pub use host_local::HostLocal;
pub use lan::Lan;
pub use static_ipam::addresses as static_addresses;

use netmode_model::ApiError;
use netmode_model::cni::{CniCode, CniError};
use netmode_model::op::OpError;
use netmode_model::{Code, IfName, cni};
use std::str::FromStr;

/// A plugin that makes or changes something in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    /// A veth pair to a bridge.
    Bridge,
    /// A veth pair to the host.
    Ptp,
    /// A link with an own hardware address on one of the host's.
    Macvlan,
    /// A link with own addresses on one of the host's.
    Ipvlan,
    /// Tagged frames of one of the host's links.
    Vlan,
    /// A link of the host itself.
    HostDevice,
    /// `lo`.
    Loopback,
    /// Published ports.
    Portmap,
    /// Way through other firewalls, and who reaches whom.
    Firewall,
    /// Kernel variables and properties of a link.
    Tuning,
    /// Rates.
    Bandwidth,
}

/// Every plugin with the name that it is called by.
const NAMES: [(&str, Plugin); 11] = [
    ("bridge", Plugin::Bridge),
    ("ptp", Plugin::Ptp),
    ("macvlan", Plugin::Macvlan),
    ("ipvlan", Plugin::Ipvlan),
    ("vlan", Plugin::Vlan),
    ("host-device", Plugin::HostDevice),
    ("loopback", Plugin::Loopback),
    ("portmap", Plugin::Portmap),
    ("firewall", Plugin::Firewall),
    ("tuning", Plugin::Tuning),
    ("bandwidth", Plugin::Bandwidth),
];

impl FromStr for Plugin {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, plugin)| plugin).ok_or(())
    }
}

impl Plugin {
    /// What ADD comes to.
    ///
    /// # Errors
    /// Why not.
    pub fn plan(self, ask: &Ask<'_>) -> Result<Planned, CniError> {
        match self {
            Self::Bridge => bridge::plan(ask),
            Self::Ptp => ptp::plan(ask),
            Self::Macvlan => upper::macvlan(ask),
            Self::Ipvlan => upper::ipvlan(ask),
            Self::Vlan => upper::vlan(ask),
            Self::HostDevice => host_device::plan(ask),
            Self::Loopback => loopback::plan(ask),
            Self::Portmap => portmap::plan(ask),
            Self::Firewall => firewall::plan(ask),
            Self::Tuning => tuning::plan(ask),
            Self::Bandwidth => bandwidth::plan(ask),
        }
    }

    /// Whether its plan depends on what is in the namespace.
    pub fn looks_inside(self) -> bool {
        !matches!(self, Self::Portmap | Self::Firewall | Self::Tuning | Self::Loopback)
    }

    /// The link of the host that its plan depends on, where the configuration alone names it.
    pub fn host_link(self, config: &cni::Config) -> Option<IfName> {
        match self {
            Self::Bridge => bridge::name(&config.keys()).ok(),
            _ => None,
        }
    }

    /// Whether it changes what a plugin before it has made: it may be called again for the same link.
    pub fn is_chained(self) -> bool {
        matches!(self, Self::Portmap | Self::Firewall | Self::Tuning | Self::Bandwidth | Self::Loopback)
    }

    /// What STATUS tells beside the agent's answer: the link that ADD would need is there.
    ///
    /// # Errors
    /// It is not.
    pub fn status(self, config: &cni::Config, host: &dyn crate::outside::Host) -> Result<(), CniError> {
        match self {
            Self::Macvlan | Self::Ipvlan | Self::Vlan => upper::status(config, host),
            Self::HostDevice => host_device::status(config, host),
            _ => Ok(()),
        }
    }
}

/// The kernel's refusal as CNI tells it.
fn kernel(error: &OpError) -> CniError {
    refused(format!("the kernel refused a step, and those before it were taken back: {error}"))
}

/// What cannot be done as things stand.
fn refused(message: impl Into<String>) -> CniError {
    CniError::new(CniCode::Refused, message)
}

/// What the configuration cannot mean.
fn invalid(message: impl Into<String>) -> CniError {
    CniError::new(CniCode::InvalidConfig, message)
}

/// A refusal of the agent as CNI tells it.
pub fn told(error: &ApiError) -> CniError {
    let code = match error.code {
        Code::AgentUnreachable | Code::Unavailable => CniCode::TryAgain,
        Code::BadNetns => CniCode::InvalidNetns,
        Code::Invalid | Code::InvalidPort | Code::AddressOutside | Code::NotFound | Code::UnsupportedInMode => {
            CniCode::InvalidConfig
        }
        _ => CniCode::Refused,
    };
    CniError::new(code, error.message.clone()).with_details(format!("netmode code {}", error.code))
}
