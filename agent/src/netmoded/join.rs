//! Where the engine meets the kernel: the engine's traits, carried out by Linux.

use netmode_engine::{Apply, Hold, HoldFailure, Kept, Observe};
use netmode_kernel::hold::{self, Held, HoldError};
use netmode_kernel::{Kernel, Scope};
use netmode_model::op::OpError;
use netmode_model::{Final, HostAddr, Inverse, NetnsName, Observed, Op, PortRange, Protocol};
use std::sync::Arc;

/// The kernel, as the engine sees it.
#[derive(Clone)]
pub struct Linux(pub Arc<Kernel>);

impl Apply for Linux {
    fn apply(&self, ops: &[Op]) -> Result<Vec<Inverse>, OpError> {
        self.0.apply(ops).map_err(|failed| {
            for left in &failed.undo {
                tracing::warn!(%left, "could not be taken back");
            }
            failed.error
        })
    }

    fn undo(&self, inverses: Vec<Inverse>) -> Vec<OpError> {
        self.0.undo(inverses)
    }

    fn finish(&self, steps: &[Final]) -> Vec<OpError> {
        self.0.finish(steps)
    }
}

impl Observe for Linux {
    fn observe(&self, namespaces: &[NetnsName]) -> Result<Observed, OpError> {
        self.0.observe(Scope { namespaces, table: true })
    }
}

impl Hold for Linux {
    fn hold(&self, protocol: Protocol, host: HostAddr, ports: PortRange, answering: bool) -> Result<Kept, HoldFailure> {
        let (held, answering) = match answering {
            true => hold::hold_range_answering(protocol, host, ports),
            false => hold::hold_range(protocol, host, ports).map(|held| (held, Vec::new())),
        }
        .map_err(|e| failure(protocol, e))?;
        let by_socket = held.iter().all(|h| !matches!(h, Held::Recorded));
        Ok(Kept { by_socket, sockets: Box::new(held), answering })
    }
}

fn failure(protocol: Protocol, error: HoldError) -> HoldFailure {
    match error {
        HoldError::Taken { port, .. } => {
            let holder = hold::who_holds(protocol, port).map(|h| format!("process {} ({})", h.pid, h.command));
            HoldFailure::Taken { port, holder }
        }
        HoldError::NoSuchAddress { .. } => HoldFailure::NoSuchAddress,
        HoldError::Limit { limit } => HoldFailure::Limit { limit },
        HoldError::Other { errno, .. } => HoldFailure::Other { errno: errno as i32 },
    }
}
