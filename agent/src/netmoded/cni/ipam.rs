//! The IPAM plugins: `host-local` and `static`, for our own plugins and for everybody's.

use crate::agent::Agent;
use netmode_engine::cni::{HostLocal, Key, static_addresses};
use netmode_model::cni::{self, Call, CniCode, CniError, CniResult, Config, Verb};

/// What was given out.
pub type Ipam = HostLocal;

/// Serves an IPAM plugin's call; nothing if the plugin is none.
///
/// `of` is the attachment of ours that it is asked for; none if somebody else asks.
pub fn answer(
    agent: &Agent,
    plugin: &str,
    call: &Call,
    config: &Config,
    of: Option<&Key>,
) -> Option<Result<Option<CniResult>, CniError>> {
    match plugin {
        "host-local" => Some(host_local(agent, call, config, of)),
        "static" => Some(static_(call, config)),
        _ => None,
    }
}

fn host_local(agent: &Agent, call: &Call, config: &Config, of: Option<&Key>) -> Result<Option<CniResult>, CniError> {
    match call.verb {
        Verb::Add => agent.ipam.add(call, config, is_stale(agent, of)).map(Some),
        Verb::Del => agent.ipam.del(call, config).map(|()| None),
        Verb::Check => checked(config).and_then(|()| agent.ipam.check(call, config)).map(|()| None),
        Verb::Status => agent.ipam.status(config).map(|()| None),
        Verb::Gc => match cni::valid(config)? {
            Some(valid) => agent.ipam.collect(config, &valid).map(|()| None),
            None => Ok(None),
        },
        Verb::Version => Ok(None),
    }
}

/// Whether an address that a container still has is what a plugin of ours has left that never finished: then the runtime
/// calls ADD again, and means it.
fn is_stale(agent: &Agent, of: Option<&Key>) -> bool {
    of.is_some_and(|key| agent.engine.attachment(key).is_none_or(|made| !made.ready))
}

fn static_(call: &Call, config: &Config) -> Result<Option<CniResult>, CniError> {
    match call.verb {
        Verb::Add => static_addresses(call, config).map(Some),
        Verb::Check => {
            checked(config)?;
            let (wanted, previous) = (static_addresses(call, config)?, config.previous()?.unwrap_or_default());
            let missing = wanted.ips.iter().find(|ip| !previous.ips.iter().any(|p| p.address == ip.address));
            match missing {
                None => Ok(None),
                Some(ip) => {
                    let text = format!("prevResult does not have the configured address {}", ip.address);
                    Err(CniError::new(CniCode::Refused, text))
                }
            }
        }
        _ => Ok(None),
    }
}

/// CHECK needs the result of ADD (specification, "CHECK").
pub(super) fn checked(config: &Config) -> Result<(), CniError> {
    if config.get("prevResult").is_some() {
        return Ok(());
    }
    Err(CniError::new(CniCode::InvalidConfig, "prevResult is missing: CHECK needs the result of ADD"))
}
