//! Metrics in the text format of OpenMetrics.
//!
//! What the agent does is counted as it happens ([`operations`], [`repairs`], the resolvers' own counters). Everything
//! else is read when somebody asks: nothing runs in between, and an agent at rest stays at rest.

mod encode;
mod listen;
mod operations;
mod repairs;
mod scrape;
mod walls;

pub use listen::serve;
pub use operations::{Ended, Operation};

use crate::agent::Agent;
use crate::http::Server;
use netmode_model::Mode;
use netmode_model::api::NetworkRef;
use operations::Operations;
use repairs::Repairs;
use scrape::Scrape;
use std::sync::Mutex;

/// `Content-Type` of the answer (OpenMetrics 1.0, "Protocol Negotiation").
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is counted, and who is told on the loopback.
#[derive(Debug, Default)]
pub struct Metrics {
    /// What the agent did.
    pub operations: Operations,
    /// What it put back.
    pub repairs: Repairs,
    /// Who answers on the loopback; silent when dropped.
    server: Mutex<Option<Server>>,
}

/// The metrics of now, as text. Waits for the kernel.
pub fn text(agent: &Agent) -> String {
    encode::text(Scrape::of(agent))
}

/// The mode that a task is in by what its container is attached to.
pub fn mode_of(agent: &Agent, network: &NetworkRef) -> Mode {
    match network {
        NetworkRef::Mode(mode) => mode.effective(),
        NetworkRef::Named(_) => Mode::Bridge,
        NetworkRef::Netns(_) => Mode::None,
        NetworkRef::Container(name) => agent.tasks.find(name).map_or(Mode::Bridge, |task| task.now().mode()),
    }
}
