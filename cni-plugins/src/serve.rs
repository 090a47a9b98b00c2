//! A call, served: by the agent, and by an IPAM plugin where the configuration names one.

use crate::agent::Agent;
use crate::ipam::Ipam;
use crate::{Failure, about};
use netmode_model::cni::{Call, CniCode, CniError, Config, Verb};
use serde_json::Value;

/// Plugins that make a link, and have its addresses given by another plugin.
const WITH_ADDRESSES: [&str; 7] = [about::OWN, "bridge", "macvlan", "ipvlan", "vlan", "ptp", "host-device"];

/// Serves a call; what it answers is printed, if anything.
///
/// # Errors
/// See [`Failure`].
pub fn serve(plugin: &str, call: &Call, config: &Config, text: &[u8]) -> Result<Option<Value>, Failure> {
    let agent = Agent::of(call, config)?;
    let ipam = if WITH_ADDRESSES.contains(&plugin) { Ipam::of(call, config, text) } else { Ok(None) };
    match call.verb {
        Verb::Add => add(plugin, &agent, call, config, ipam?),
        Verb::Status => ready(plugin, &agent, ipam.map_err(unavailable)?).map(|()| None),
        // Whatever fails, the rest is done; the first failure is told in the end.
        Verb::Del | Verb::Gc | Verb::Check => {
            let own = agent.serve(plugin, None).map(drop).map_err(Failure::from);
            let theirs = match ipam {
                Ok(Some(ipam)) => ipam.serve(&agent).map(drop),
                Ok(None) => Ok(()),
                Err(error) => Err(error.into()),
            };
            own.and(theirs).map(|()| None)
        }
        Verb::Version => Ok(None),
    }
}

fn add(
    plugin: &str,
    agent: &Agent<'_>,
    call: &Call,
    config: &Config,
    ipam: Option<Ipam<'_>>,
) -> Result<Option<Value>, Failure> {
    let Some(ipam) = ipam else { return Ok(agent.serve(plugin, None)?) };
    let undo = Call { verb: Verb::Del, ..call.clone() };
    let undo = Agent::of(&undo, config)?;
    if ipam.is_foreign() {
        // Taking back after a refusal would take from the attachment that is in the way.
        agent.may(plugin)?;
    }
    let given = match ipam.serve(agent) {
        Ok(given) => given.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        Err(failure) => {
            // Ours gives all or nothing.
            if ipam.is_foreign() {
                ipam.take_back(&undo);
            }
            return Err(failure);
        }
    };
    let made = agent.serve(plugin, Some(given));
    if made.is_err() {
        ipam.take_back(&undo);
    }
    Ok(made?)
}

/// STATUS: whether ADD could be.
fn ready(plugin: &str, agent: &Agent<'_>, ipam: Option<Ipam<'_>>) -> Result<(), Failure> {
    agent.serve(plugin, None)?;
    ipam.map_or(Ok(()), |ipam| ipam.serve(agent).map(drop))
}

fn unavailable(error: CniError) -> CniError {
    CniError { code: CniCode::NotAvailable, ..error }
}
