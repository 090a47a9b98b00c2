//! A call, served: by the agent, and by an IPAM plugin where the configuration names one.

use crate::agent::Agent;
use crate::ipam::Delegate;
use crate::program::Program;
use crate::{Failure, about};
use netmode_model::cni::{Call, CniCode, CniError, Config, Ipam, Verb};
use serde_json::Value;

/// Plugins that make a link, and have its addresses given by another plugin.
const WITH_ADDRESSES: [&str; 7] = [about::OWN, "bridge", "macvlan", "ipvlan", "vlan", "ptp", "host-device"];

/// Serves a call; what it answers is printed, if anything.
///
/// # Errors
/// See [`Failure`].
pub fn serve(plugin: &str, call: &Call, config: &Config, text: &[u8]) -> Result<Option<Value>, Failure> {
    let agent = Agent::of(call, config)?;
    let with_addresses = WITH_ADDRESSES.contains(&plugin);
    let delegate = if with_addresses { Delegate::of(call, config, text) } else { Ok(Delegate::Nobody) };
    match call.verb {
        Verb::Add => add(plugin, &agent, delegate?),
        Verb::Del | Verb::Check | Verb::Gc => both(plugin, (call, &agent), text, delegate),
        Verb::Status => {
            let delegate = delegate.map_err(|error| CniError { code: CniCode::NotAvailable, ..error });
            both(plugin, (call, &agent), text, delegate)
        }
        Verb::Version => Ok(None),
    }
}

/// What the agent does not know a plugin before ours may have made: then that one takes it away, or looks at it.
fn unless_unknown(
    answer: Result<Option<Value>, Failure>,
    plugin: &str,
    (call, agent): (&Call, &Agent<'_>),
    text: &[u8],
) -> Result<Option<Value>, Failure> {
    match &answer {
        Err(Failure::Ours(error)) if error.code == CniCode::UnknownContainer => {}
        _ => return answer,
    }
    let useful = call.verb == Verb::Check || agent.has_namespace();
    let before = Program::before_us(plugin, call, text).filter(|_| useful);
    let before = before.map(|program| program.serve().map(|_| None));
    match (call.verb, before) {
        // They find faults where there are none (portmap 1.1, of a family that a container does not have).
        (Verb::Check, Some(Err(_))) => Ok(agent.may(plugin).map(|()| None)?),
        // They know DEL with a namespace alone; without one, what there is goes with it.
        (_, Some(done)) => done,
        (Verb::Del, None) => Ok(None),
        (_, None) => answer,
    }
}

/// Whatever fails, the rest is done; the first failure is told in the end.
fn both(
    plugin: &str,
    (call, agent): (&Call, &Agent<'_>),
    text: &[u8],
    delegate: Result<Delegate<'_>, CniError>,
) -> Result<Option<Value>, Failure> {
    let (ipam, program, missing) = match delegate {
        Ok(Delegate::Nobody) => (Ipam::None, None, Ok(())),
        Ok(Delegate::Ours(name)) => (Ipam::Ours(name), None, Ok(())),
        Ok(Delegate::Theirs(program)) => (Ipam::None, Some(program), Ok(())),
        Err(error) => (Ipam::None, None, Err(error.into())),
    };
    let own = unless_unknown(agent.serve(plugin, ipam).map_err(Failure::from), plugin, (call, agent), text);
    let theirs = program.map_or(missing, |program| program.serve().map(drop));
    own.and(theirs).map(|()| None)
}

fn add(plugin: &str, agent: &Agent<'_>, delegate: Delegate<'_>) -> Result<Option<Value>, Failure> {
    let program = match delegate {
        Delegate::Nobody => return Ok(agent.serve(plugin, Ipam::None)?),
        Delegate::Ours(name) => return Ok(agent.serve(plugin, Ipam::Ours(name))?),
        Delegate::Theirs(program) => program,
    };
    // Taking back after a refusal would take from the attachment that is in the way.
    agent.may(plugin)?;
    let given = program.serve().and_then(|given| {
        let given = given.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        Ok(agent.serve(plugin, Ipam::Given(given))?)
    });
    given.inspect_err(|_| program.take_back())
}
