//! Subnets come and go, and are shown with the ENIs on them.

use super::standin::Found;
use super::subnet::Subnet;
use super::wish::{self, Around, SubnetError};
use crate::endpoint::{Endpoint, EndpointLink};
use crate::engine::{Engine, lock};
use crate::error::AttachError;
use crate::network::Network;
use crate::settings::HostFacts;
use crate::store::StoreError;
use ipnetwork::IpNetwork;
use netmode_model::op::OpError;
use netmode_model::vpc::{EniAttachment, EniView, Resource, SubnetRequest, SubnetView, uuid};
use netmode_model::{ApiError, Code, Id};
use std::net::IpAddr;
use std::time::Instant;

/// Why something of the VPC could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum VpcError {
    /// It cannot be as it was wished for.
    #[error(transparent)]
    Wish(#[from] SubnetError),
    /// There is none.
    #[error("no subnet {0:?}; \"netmode subnet ls\" lists the subnets")]
    NoSubnet(String),
    /// Somebody has an address on it.
    #[error("the subnet {name} is in use by {}; stop what uses it first", users.join(", "))]
    SubnetInUse {
        /// The subnet.
        name: String,
        /// Tasks.
        users: Vec<String>,
    },
    /// The kernel refused a step.
    #[error("the kernel refused a step, and those before it were taken back: {0}")]
    Kernel(#[from] OpError),
    /// The record could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<VpcError> for ApiError {
    fn from(error: VpcError) -> Self {
        let code = match &error {
            VpcError::Wish(wish) => wish.code(),
            VpcError::NoSubnet(_) => Code::NotFound,
            VpcError::SubnetInUse { .. } => Code::WrongState,
            VpcError::Kernel(_) => Code::Kernel,
            VpcError::Store(_) => Code::State,
        };
        Self::new(code, error.to_string())
    }
}

/// What was read of the host for a subnet.
#[derive(Debug)]
pub struct Surveyed {
    /// Prefixes of the host.
    pub facts: HostFacts,
    /// Addresses of the parent.
    pub parent: Vec<IpNetwork>,
    /// What the stand-in is chosen from.
    pub found: Found,
}

/// The id of the one VPC of an agent: it follows from the instance's name.
pub fn vpc_id(instance: &str) -> String {
    // FNV-1a, twice, for 128 bits: any fixed function of the name would do.
    let hash = |basis: u64| instance.bytes().fold(basis, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let wide = (u128::from(hash(0xcbf2_9ce4_8422_2325)) << 64) | u128::from(hash(0x8422_2325_cbf2_9ce4));
    Resource::Vpc.id(Id::from_bytes(wide.to_be_bytes()))
}

impl Engine {
    /// The subnets, by id.
    pub fn subnets(&self) -> Vec<Network> {
        self.networks().into_iter().filter(|n| n.subnet.is_some()).collect()
    }

    /// A subnet by name or id, or by the beginning of its id.
    ///
    /// # Errors
    /// There is none, or several begin so.
    pub fn subnet(&self, reference: &str) -> Result<Network, VpcError> {
        let subnets = self.subnets();
        let titled = |n: &&Network| n.subnet.as_ref().is_some_and(|s| s.title == reference) || n.name == reference;
        let begins = || {
            let mut fits = subnets.iter().filter(|n| n.name.starts_with(reference));
            fits.next().filter(|_| reference.len() >= "subnet-".len() + 4 && fits.next().is_none())
        };
        let found = subnets.iter().find(titled).or_else(begins).cloned();
        found.ok_or_else(|| VpcError::NoSubnet(reference.chars().take(64).collect()))
    }

    /// What a subnet would be, without making it.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn wish_subnet(
        &self,
        request: &SubnetRequest,
        surveyed: &Surveyed,
        id: Id,
        now: String,
    ) -> Result<Network, VpcError> {
        self.wished(request, surveyed, &self.networks(), id, now)
    }

    fn wished(
        &self,
        request: &SubnetRequest,
        surveyed: &Surveyed,
        others: &[Network],
        id: Id,
        now: String,
    ) -> Result<Network, VpcError> {
        let Surveyed { facts, parent, found } = surveyed;
        let around = Around { settings: self.settings(), facts, parent, found, others };
        Ok(wish::subnet(request, &around, id, now)?)
    }

    /// Makes a subnet; `default` is the one that tasks get which name none.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn create_subnet(
        &self,
        request: &SubnetRequest,
        surveyed: &Surveyed,
        default: bool,
        id: Id,
        now: String,
        prepare: impl FnOnce(&Network) -> Result<(), OpError>,
    ) -> Result<Network, VpcError> {
        let wish = |others: &[Network]| {
            let mut network = self.wished(request, surveyed, others, id, now)?;
            network.subnet.iter_mut().for_each(|subnet| subnet.default = default);
            Ok(network)
        };
        self.establish(wish, prepare)
    }

    /// Removes a subnet that nobody uses.
    ///
    /// # Errors
    /// Who uses it; nothing has changed then.
    pub fn remove_subnet(&self, reference: &str) -> Result<Network, VpcError> {
        let network = self.subnet(reference)?;
        let name = network.subnet.as_ref().map(|s| s.title.clone()).unwrap_or_default();
        self.abolish(&network, |users| VpcError::SubnetInUse { name, users })?;
        Ok(network)
    }

    /// Keeps addresses of a subnet for the host itself, as those of an instance's own interfaces: `these` if they are
    /// free. What is kept already on the subnet is given back first.
    ///
    /// # Errors
    /// There is no such subnet, or no address is free.
    pub fn keep_addresses(&self, subnet: &str, count: usize, these: &[IpAddr]) -> Result<Vec<IpAddr>, AttachError> {
        let mut leases = self.leases();
        leases.let_go(subnet);
        leases.keep(subnet, count, these)
    }

    /// Gives back what is kept on a subnet for the host itself.
    pub fn let_addresses_go(&self, subnet: &str) {
        self.leases().let_go(subnet);
    }

    /// A subnet as it is shown.
    pub fn subnet_view(&self, network: &Network, now: Instant) -> Option<SubnetView> {
        let subnet = network.subnet.as_ref()?;
        let (available, usable) = self.leases().free(&network.name, now);
        let narrow = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        let used = usable.saturating_sub(available);
        Some(SubnetView {
            subnet_id: network.name.clone(),
            name: subnet.title.clone(),
            vpc_id: vpc_id(&self.settings().instance),
            cidr_block: network.v4,
            ipv6_cidr_block: network.v6,
            available_ip_address_count: narrow(available),
            usable_ip_address_count: narrow(usable),
            utilization: u32::try_from(used * 100 / usable.max(1)).unwrap_or(100),
            default_for_az: subnet.default,
            availability_zone: subnet.availability_zone.clone(),
            backend: subnet.backend,
            backend_reason: subnet.reason.clone(),
            parent: subnet.parent.clone(),
            host_link: network.has_host_link().then(|| network.bridge.clone()),
            host_path: subnet.host_path().into(),
            gateways: network.gateways().iter().map(IpNetwork::ip).collect(),
            router: !subnet.held.is_empty(),
            nat: subnet.nat,
            egress_only: subnet.egress_only,
            ip_range: network.ip_ranges.first().copied(),
            mtu: network.mtu,
            dns_zone: subnet.zone.clone(),
            created: network.created.clone(),
        })
    }

    /// Every ENI: those that stand, and those whose link the kernel has not taken away yet.
    pub fn enis(&self) -> Vec<EniView> {
        let standing = self.endpoints();
        let leaving: Vec<Endpoint> = lock(&self.leaving).values().cloned().collect();
        let all = standing.iter().map(|e| (e, "ATTACHED")).chain(leaving.iter().map(|e| (e, "DETACHING")));
        let mut views: Vec<EniView> = all.filter_map(|(e, status)| self.eni_view(e, status)).collect();
        views.sort_by(|a, b| a.network_interface_id.cmp(&b.network_interface_id));
        views
    }

    fn eni_view(&self, endpoint: &Endpoint, status: &str) -> Option<EniView> {
        let link = endpoint.link.as_ref()?;
        let eni = link.eni.as_ref()?;
        let network = self.lookup(&link.network);
        let subnet = network.as_ref().and_then(|n| n.subnet.as_ref());
        Some(EniView {
            network_interface_id: eni.id.clone(),
            subnet_id: link.network.clone(),
            vpc_id: vpc_id(&self.settings().instance),
            mac_address: link.hardware_address(),
            private_ip_address: link.addr(true),
            ipv6_addresses: v6(link),
            private_dns_name: eni.name.clone(),
            groups: link.groups().iter().map(|id| self.group_ref(id)).collect(),
            status: "in-use".into(),
            managed_by: format!("task/{}", endpoint.owner.id),
            attachment: EniAttachment {
                attachment_id: uuid(endpoint.id),
                status: status.into(),
                task: endpoint.owner.name.clone(),
                attach_time: endpoint.created.clone(),
            },
            backend: eni.backend,
            backend_reason: subnet.map(|s| s.reason.clone()).unwrap_or_default(),
            parent: eni.parent.clone(),
            vlan_id: eni.vlan,
            host_path: subnet.map(Subnet::host_path).unwrap_or_default().into(),
            best_effort: eni.best_effort,
        })
    }
}

fn v6(link: &EndpointLink) -> Vec<IpAddr> {
    link.addrs.iter().map(IpNetwork::ip).filter(IpAddr::is_ipv6).collect()
}
