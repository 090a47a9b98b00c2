//! What changes of a task that runs.

use crate::admit;
use crate::agent::Agent;
use crate::events::told;
use crate::registry::Task;
use crate::task::{Joined, TaskRecord};
use netmode_engine::modes;
use netmode_model::api::{NetOptions, UpdateRequest};
use netmode_model::{ApiError, Id, NetRate};

/// Changes what a request names; a task that has ended starts with it.
///
/// # Errors
/// Why not; nothing has changed then.
pub fn update(agent: &Agent, task: &Task, request: UpdateRequest) -> Result<(), ApiError> {
    let Some(rate) = request.net_rate else { return Ok(()) };
    let record = task.now();
    let net = NetOptions { net_rate: rate, ..NetOptions::default() };
    match record.netns {
        Joined::Own => modes::admit(record.mode(), &net)?,
        Joined::Task(_) | Joined::Path(_) | Joined::Endpoint(_) => {
            admit::own_network_only(&record.request.network, &net)?
        }
    }
    let changed = set_rates(agent, &record, rate)?;
    let written = agent.update(task, |r| r.request.net.net_rate = rate);
    match written {
        Ok(record) => told::rates_changed(agent, &record),
        Err(error) => {
            turn_back(agent, &changed);
            return Err(error);
        }
    }
    Ok(())
}

/// What each interface had before.
type Before = Vec<(Id, NetRate)>;

fn set_rates(agent: &Agent, record: &TaskRecord, rate: NetRate) -> Result<Before, ApiError> {
    let mut changed = Vec::new();
    for endpoint in record.endpoints(&agent.engine) {
        let Some(link) = &endpoint.link else { continue };
        if let Err(error) = agent.engine.set_rate(endpoint.id, rate) {
            turn_back(agent, &changed);
            return Err(error.into());
        }
        changed.push((endpoint.id, link.rate));
    }
    Ok(changed)
}

fn turn_back(agent: &Agent, changed: &Before) {
    for (endpoint, rate) in changed {
        if let Err(error) = agent.engine.set_rate(*endpoint, *rate) {
            tracing::warn!(%endpoint, %error, "its rate could not be taken back");
        }
    }
}
