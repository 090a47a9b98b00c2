//! What the agent serves in namespaces of containers: sockets opened there, and what leads to them.

use crate::agent::Agent;
use crate::http::Server;
use crate::metadata::{self, Asker};
use netmode_dns::{Resolver, Sockets, View};
use netmode_engine::seat::{METADATA, Ports, Seat};
use netmode_model::op::OpError;
use netmode_model::{ApiError, Code, NetnsName};
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// `File exists`, errno(3).
const EEXIST: i32 = nix::errno::Errno::EEXIST as i32;

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

    /// Whether something is served in a namespace.
    pub fn serve(&self, netns: &NetnsName) -> bool {
        self.open().contains_key(netns)
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
    let failed = |e: String| {
        let text = format!(
            "the container would be told no names and no metadata: nothing can listen in its namespace {}: {e}; \"netmode \
             doctor\" looks at the host",
            seat.netns
        );
        ApiError::new(Code::Kernel, text)
    };
    let refused = |e: OpError| failed(e.to_string());
    // Nothing but what its clients see has changed.
    if let Some(there) = open.resolver.as_ref().filter(|_| open.metadata.is_some() || wanted.asker.is_none()) {
        there.show(wanted.view);
        return Ok(());
    }
    // Addresses, and what leads to the ports, before somebody listens.
    let mut stands = make_room(agent, seat).map_err(refused)?;
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
    stands &= open.ports == seat.ports();
    if !stands {
        let table = seat.table(open.ports, agent.engine.settings());
        agent.kernel.replace_tables(&[table], &[]).map_err(refused)?;
    }
    Ok(())
}

/// Carries out the seat's operations. Where some of it is there already, of an agent before this one or from before the
/// task joined another network, the addresses are made whole, and false says that the table is to be replaced.
fn make_room(agent: &Agent, seat: &Seat) -> Result<bool, OpError> {
    match agent.kernel.apply(&seat.ops(agent.engine.settings())) {
        Ok(_) => Ok(true),
        Err(failed) if failed.error.errno == EEXIST => {
            seat.addresses().into_iter().try_for_each(|op| match agent.kernel.apply(&[op]) {
                Err(failed) if failed.error.errno != EEXIST => Err(failed.error),
                _ => Ok(()),
            })?;
            Ok(false)
        }
        Err(failed) => Err(failed.error),
    }
}

fn port_of(listener: &TcpListener) -> Option<u16> {
    listener.local_addr().ok().map(|at| at.port())
}
