//! Networks come and go.

use crate::bridge;
use crate::engine::Engine;
use crate::ipam::PoolUse;
use crate::network::Network;
use crate::settings::HostFacts;
use crate::store::{self, StoreError};
use crate::wish::{self, WishError};
use netmode_model::op::OpError;
use netmode_model::{ApiError, Code, Id, Inverse, NetworkRequest};
use std::sync::PoisonError;
use std::time::Instant;

/// Why a network was not made or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// It cannot be as it was asked for.
    #[error(transparent)]
    Wish(#[from] WishError),
    /// There is none of that name.
    #[error("no network {0:?}; \"netmode network ls\" lists the networks")]
    NotFound(String),
    /// Every agent has it.
    #[error("the network {0} is built in and cannot be removed; remove networks that \"netmode network create\" made")]
    BuiltIn(String),
    /// Somebody has an address on it.
    #[error("the network {name} is in use by {}; stop or disconnect what uses it first", users.join(", "))]
    InUse {
        /// The network.
        name: String,
        /// Tasks and attachments.
        users: Vec<String>,
    },
    /// The kernel refused a step.
    #[error("the kernel refused a step, and those before it were taken back: {0}")]
    Kernel(#[from] OpError),
    /// The record could not be written or removed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<NetworkError> for ApiError {
    fn from(error: NetworkError) -> Self {
        let code = match &error {
            NetworkError::Wish(wish) => wish.code(),
            NetworkError::NotFound(_) => Code::NotFound,
            NetworkError::BuiltIn(_) => Code::Forbidden,
            NetworkError::InUse { .. } => Code::WrongState,
            NetworkError::Kernel(_) => Code::Kernel,
            NetworkError::Store(_) => Code::State,
        };
        Self::new(code, error.to_string())
    }
}

impl Engine {
    /// How the addresses of every network are used.
    pub fn pools(&self, now: Instant) -> Vec<PoolUse> {
        self.leases().pools(now)
    }

    /// A network by name, id, or the beginning of an id.
    pub fn network(&self, reference: &str) -> Option<Network> {
        let networks = self.bridges();
        let named = networks.iter().find(|n| n.name == reference);
        let by_id = || {
            let mut fits = networks.iter().filter(|n| n.id.to_string().starts_with(reference));
            fits.next().filter(|_| reference.len() >= 4 && fits.next().is_none())
        };
        named.or_else(by_id).cloned()
    }

    /// A network or subnet by its exact name.
    pub fn lookup(&self, name: &str) -> Option<Network> {
        self.leases().network(name).cloned()
    }

    /// The networks that are no subnets, by name.
    pub fn bridges(&self) -> Vec<Network> {
        self.networks().into_iter().filter(|n| n.subnet.is_none()).collect()
    }

    /// Makes a network. Its record is written first: what is found half-made at the next start is made whole. `prepare`
    /// is asked before that, when it is certain that the network can be.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn create_network(
        &self,
        request: &NetworkRequest,
        facts: &HostFacts,
        id: Id,
        now: String,
        prepare: impl FnOnce(&Network) -> Result<(), OpError>,
    ) -> Result<Network, NetworkError> {
        let wish = |others: &[Network]| Ok(wish::network(request, self.settings(), facts, others, id, now)?);
        self.establish(wish, prepare)
    }

    /// Makes what a wish becomes, beside what there is. The rest as [`Engine::create_network`].
    pub(crate) fn establish<E: From<OpError> + From<StoreError>>(
        &self,
        wish: impl FnOnce(&[Network]) -> Result<Network, E>,
        prepare: impl FnOnce(&Network) -> Result<(), OpError>,
    ) -> Result<Network, E> {
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let network = {
            let mut leases = self.leases();
            let network = wish(&leases.networks())?;
            leases.add_network(network.clone());
            network
        };
        let made = prepare(&network).map_err(E::from).and_then(|()| self.make(&network));
        if made.is_err() {
            let _ = self.store.remove(network.record(), &network.name);
            let _ = self.leases().remove_network(&network.name);
        }
        made.map(|()| network)
    }

    fn make<E: From<OpError> + From<StoreError>>(&self, network: &Network) -> Result<(), E> {
        store::put(&*self.store, network.record(), &network.name, network)?;
        let mut ops = bridge::network_up(network, self.settings());
        ops.extend(self.subnet_wall(network));
        self.outside.apply(&ops)?;
        Ok(())
    }

    /// Removes a network that nobody uses.
    ///
    /// # Errors
    /// Who uses it, or that it is built in; nothing has changed then.
    pub fn remove_network(&self, reference: &str) -> Result<Network, NetworkError> {
        let network = self.network(reference).ok_or_else(|| {
            let shown: String = reference.chars().take(64).collect();
            NetworkError::NotFound(shown)
        })?;
        if network.built_in() {
            return Err(NetworkError::BuiltIn(network.name));
        }
        let name = network.name.clone();
        self.abolish(&network, |users| NetworkError::InUse { name, users })?;
        Ok(network)
    }

    /// Takes a network away that nobody uses.
    pub(crate) fn abolish<E: From<OpError> + From<StoreError>>(
        &self,
        network: &Network,
        in_use: impl FnOnce(Vec<String>) -> E,
    ) -> Result<(), E> {
        // For writing: one of the same name may be about to be made.
        let _changing = self.changing.write().unwrap_or_else(PoisonError::into_inner);
        self.leases().remove_network(&network.name).map_err(in_use)?;
        if let Err(stays) = self.store.remove(network.record(), &network.name) {
            self.leases().add_network(network.clone());
            return Err(stays.into());
        }
        Ok(self.unmake(network)?)
    }

    /// Takes away what a network is made of.
    ///
    /// # Errors
    /// The first step that the kernel refused; the others were taken all the same.
    pub fn unmake(&self, network: &Network) -> Result<(), OpError> {
        let mut steps: Vec<Inverse> =
            bridge::network_down(network, self.settings()).into_iter().rev().map(Inverse::Op).collect();
        // Taken back last: nothing of the subnet passes while its link is there.
        steps.splice(0..0, self.subnet_wall(network).map(|op| op.inverse()));
        self.outside.undo(steps).into_iter().next().map_or(Ok(()), Err)
    }

    /// Networks that nobody uses and that are not built in.
    pub fn unused_networks(&self) -> Vec<Network> {
        let leases = self.leases();
        let unused = |n: &Network| !n.built_in() && n.subnet.is_none() && leases.users(&n.name).is_empty();
        leases.networks().into_iter().filter(unused).collect()
    }
}
