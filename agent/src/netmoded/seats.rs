//! What the agent serves in namespaces of containers: sockets opened there, and what leads to them.

use crate::agent::Agent;
use crate::http::Server;
use crate::metadata::{self, Asker};
use netmode_dns::{Resolver, Sockets, View};
use netmode_engine::seat::{METADATA, Ports, Seat};
use netmode_model::op::OpError;
use netmode_model::{ApiError, Code, NetnsName, Op};
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What is served where.
#[derive(Debug, Default)]
pub struct Seats(Mutex<HashMap<NetnsName, Open>>);

/// What is served in a namespace; silent when dropped.
#[derive(Debug, Default)]
struct Open {
    ports: Ports,
    resolver: Option<Resolver>,
    metadata: Option<Server>,
}

/// What is to be served in a namespace.
pub struct Wanted {
    /// What the clients of its resolver see.
    pub view: View,
    /// Who asks for metadata there.
    pub asker: Option<(Arc<Agent>, Asker)>,
}

impl Seats {
    fn open(&self) -> MutexGuard<'_, HashMap<NetnsName, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clients of a namespace's resolver, if there is one, see this from now on.
    pub fn show(&self, netns: &NetnsName, view: View) {
        if let Some(resolver) = self.open().get(netns).and_then(|open| open.resolver.as_ref()) {
            resolver.show(view);
        }
    }

    /// A namespace is no more.
    pub fn forget(&self, netns: &NetnsName) {
        drop(self.open().remove(netns));
    }
}

/// Serves in a namespace what its seat says. Done again, it tells what has changed. Must be called within the runtime of
/// tokio.
///
/// # Errors
/// The kernel refused an address, a socket or the table.
pub fn take(agent: &Agent, seat: &Seat, wanted: Wanted) -> Result<(), ApiError> {
    let mut open = agent.seats.open().remove(&seat.netns).unwrap_or_default();
    let begun = Instant::now();
    let done = fill(agent, seat, wanted, &mut open);
    tracing::debug!(netns = %seat.netns, micros = begun.elapsed().as_micros() as u64, "served");
    // What was served before still is.
    agent.seats.open().insert(seat.netns.clone(), open);
    done
}

fn fill(agent: &Agent, seat: &Seat, wanted: Wanted, open: &mut Open) -> Result<(), ApiError> {
    let failed =
        |e: String| ApiError::new(Code::Kernel, format!("nothing answers in the namespace {}: {e}", seat.netns));
    let refused = |e: OpError| failed(e.to_string());
    let before = open.ports;
    for op in seat.addresses() {
        add_once(agent, op).map_err(refused)?;
    }
    match (&open.resolver, &seat.resolver) {
        (Some(there), _) => there.show(wanted.view),
        (None, Some(new)) => {
            let (udp, tcp) = agent.kernel.listen_for_both(&seat.netns, new.at.into(), seat.port).map_err(refused)?;
            open.ports.resolver = port_of(&tcp);
            let resolver = agent.names.resolver(Sockets { udp, tcp }, wanted.view);
            open.resolver = Some(resolver.map_err(|e| failed(e.to_string()))?);
        }
        (None, None) => {}
    }
    if let (None, Some((shared, asker))) = (&open.metadata, wanted.asker) {
        let tcp = agent.kernel.listen(&seat.netns, METADATA.into(), seat.port + 1).map_err(refused)?;
        open.ports.metadata = port_of(&tcp);
        open.metadata = Some(metadata::serve(shared, asker, tcp).map_err(|e| failed(e.to_string()))?);
    }
    if open.ports != before {
        // What stands already from an agent before this one is replaced by the same.
        let table = seat.table(open.ports, agent.engine.settings());
        agent.kernel.replace_tables(&[table], &[]).map_err(refused)?;
    }
    Ok(())
}

fn port_of(listener: &TcpListener) -> Option<u16> {
    listener.local_addr().ok().map(|at| at.port())
}

/// An address that is there is not added again.
fn add_once(agent: &Agent, op: Op) -> Result<(), OpError> {
    match agent.kernel.apply(&[op]) {
        Err(failed) if failed.error.errno == nix::errno::Errno::EEXIST as i32 => Ok(()),
        other => other.map(drop).map_err(|failed| failed.error),
    }
}
