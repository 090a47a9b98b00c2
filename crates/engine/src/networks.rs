//! Networks come and go.

use crate::attach::Engine;
use crate::bridge;
use crate::network::Network;
use crate::settings::HostFacts;
use crate::store::{self, Kind, StoreError};
use crate::wish::{self, WishError};
use netmode_model::op::OpError;
use netmode_model::{ApiError, Code, Id, Inverse, NetworkRequest};
use std::sync::PoisonError;

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
    /// A network by name, id, or the beginning of an id.
    pub fn network(&self, reference: &str) -> Option<Network> {
        let networks = self.networks();
        let named = networks.iter().find(|n| n.name == reference);
        let by_id = || {
            let mut fits = networks.iter().filter(|n| n.id.to_string().starts_with(reference));
            fits.next().filter(|_| reference.len() >= 4 && fits.next().is_none())
        };
        named.or_else(by_id).cloned()
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
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let network = {
            let mut leases = self.leases();
            let network = wish::network(request, self.settings(), facts, &leases.networks(), id, now)?;
            leases.add_network(network.clone());
            network
        };
        let made = prepare(&network).map_err(NetworkError::from).and_then(|()| self.make(&network));
        if made.is_err() {
            let _ = self.store.remove(Kind::Network, &network.name);
            let _ = self.leases().remove_network(&network.name);
        }
        made.map(|()| network)
    }

    fn make(&self, network: &Network) -> Result<(), NetworkError> {
        store::put(&*self.store, Kind::Network, &network.name, network)?;
        self.outside.apply(&bridge::network_up(network, self.settings()))?;
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
        // For writing: one of the same name may be about to be made.
        let _changing = self.changing.write().unwrap_or_else(PoisonError::into_inner);
        let name = network.name.clone();
        self.leases().remove_network(&name).map_err(|users| NetworkError::InUse { name, users })?;
        if let Err(stays) = self.store.remove(Kind::Network, &network.name) {
            self.leases().add_network(network);
            return Err(stays.into());
        }
        self.unmake(&network)?;
        Ok(network)
    }

    /// Takes away what a network is made of.
    ///
    /// # Errors
    /// The first step that the kernel refused; the others were taken all the same.
    pub fn unmake(&self, network: &Network) -> Result<(), OpError> {
        let steps = bridge::network_down(network, self.settings()).into_iter().rev().map(Inverse::Op).collect();
        self.outside.undo(steps).into_iter().next().map_or(Ok(()), Err)
    }

    /// Networks that nobody uses and that are not built in.
    pub fn unused_networks(&self) -> Vec<Network> {
        let leases = self.leases();
        let unused = |n: &Network| !n.built_in() && leases.users(&n.name).is_empty();
        leases.networks().into_iter().filter(unused).collect()
    }
}
