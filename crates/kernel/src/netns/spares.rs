//! Namespaces in stock.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Kernel variables with their values.
pub(super) type Settings = Vec<(String, String)>;

/// Namespaces without a name, made in advance: 0.7 ms that no request waits for. They die with the agent.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Stock>);

#[derive(Debug, Default)]
struct Stock {
    ready: Vec<OwnedFd>,
    /// What is set in them: what the last request wanted, if there was one.
    variables: Option<Settings>,
}

impl Spares {
    fn lock(&self) -> MutexGuard<'_, Stock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One with these variables. Others are let go: those of the next request will be like this one's.
    pub(super) fn take(&self, variables: &Settings) -> Option<OwnedFd> {
        let mut stock = self.lock();
        if stock.variables.as_ref() != Some(variables) {
            *stock = Stock { ready: Vec::new(), variables: Some(variables.clone()) };
        }
        stock.ready.pop()
    }

    /// What one more has to have, if there are fewer than so many.
    pub(super) fn wanted(&self, count: usize) -> Option<Settings> {
        let stock = self.lock();
        stock.variables.clone().filter(|_| stock.ready.len() < count)
    }

    pub(super) fn add(&self, spare: OwnedFd, variables: &Settings) {
        let mut stock = self.lock();
        if stock.variables.as_ref() == Some(variables) {
            stock.ready.push(spare);
        }
    }
}
