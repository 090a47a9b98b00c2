//! CNI: a plugin's call, handed on by the executable, is served here.

mod ipam;
mod netmode;
mod reference;

use crate::agent::Agent;
use netmode_engine::cni::Plugin;
use netmode_model::cni::{CniCode, CniError, CniReply, CniRequest, CniResult, Config};
use serde_json::Value;
use std::os::fd::OwnedFd;

pub use ipam::Ipam;

/// Name of our own plugin.
const OWN: &str = "netmode";

/// Serves a call for a user; the namespace is the descriptor that came with it.
pub fn serve(agent: &Agent, uid: u32, request: CniRequest, handed: Option<OwnedFd>) -> CniReply {
    answer(agent, uid, request, handed).into()
}

fn answer(agent: &Agent, uid: u32, request: CniRequest, handed: Option<OwnedFd>) -> Result<Option<Value>, CniError> {
    at_home(agent, request.host)?;
    let CniRequest { plugin, call, config, ipam, only_ask, .. } = request;
    let config = Config::of(config)?;
    let ipam = ipam.map(|ipam| CniResult::read("the IPAM plugin's result", &ipam)).transpose()?;
    if plugin == OWN {
        return netmode::answer(agent, &netmode::Caller { uid, call: &call, config: &config, only_ask }, ipam, handed);
    }
    if uid != 0 {
        let text = format!("the plugin {plugin} is for root, not for user {uid}: it works on any link of this host");
        return Err(CniError::new(CniCode::Refused, text));
    }
    if let Some(answer) = ipam::answer(agent, &plugin, &call, &config, handed.as_ref()) {
        return answer;
    }
    match plugin.parse::<Plugin>() {
        Ok(kind) => {
            reference::answer(agent, &reference::Subject::new(kind, &plugin, &call, &config, only_ask), ipam, handed)
        }
        Err(()) => {
            let text = format!("there is no plugin {plugin:?} in this release of netmode");
            Err(CniError::new(CniCode::NotInThisRelease, text))
        }
    }
}

/// Whether the runtime calls plugins where the agent is: elsewhere the host's links would be others.
fn at_home(agent: &Agent, host: u64) -> Result<(), CniError> {
    if host == agent.netns {
        return Ok(());
    }
    let text = format!(
        "the plugin was called in the network namespace net:[{host}], the agent's host is net:[{}]; run an agent where the runtime is, or the runtime where the agent is",
        agent.netns
    );
    Err(CniError::new(CniCode::TryAgain, text))
}
