//! CNI: a plugin's call, handed on by the executable, is served here.

mod allowlist;
mod ipam;
mod netmode;
mod reference;

use crate::agent::Agent;
use crate::api::Peer;
use crate::events::{self, By};
use crate::foreign::Turn;
use netmode_engine::cni::{Key, Plugin};
use netmode_model::cni::{self, Call, CniCode, CniError, CniReply, CniRequest, CniResult, Config, Verb};
use serde_json::Value;
use std::os::fd::OwnedFd;
use std::time::Instant;

pub use ipam::Ipam;
pub use reference::detach;

/// Name of our own plugin.
const OWN: &str = "netmode";

/// Serves a caller's request; the namespace is the descriptor that came with it.
pub fn serve(agent: &Agent, caller: &Peer, request: CniRequest, handed: Option<OwnedFd>) -> CniReply {
    let begun = Instant::now();
    let (plugin, verb) = (request.plugin.clone(), request.call.verb.as_str());
    let by = By::caller(caller.uid, format!("CNI {verb} of the plugin {plugin}"));
    let answer = events::within(by, || answer(agent, caller, request, handed));
    let micros = begun.elapsed().as_micros() as u64;
    tracing::debug!(plugin, verb, micros, refused = answer.is_err(), "served");
    answer.into()
}

fn answer(
    agent: &Agent,
    caller: &Peer,
    request: CniRequest,
    handed: Option<OwnedFd>,
) -> Result<Option<Value>, CniError> {
    at_home(agent, request.host)?;
    let CniRequest { plugin, call, config, ipam, only_ask, .. } = request;
    let config = Config::of(config)?;
    let uid = caller.uid;
    let called = Called { agent, uid, plugin: &plugin, call: &call, config: &config, only_ask };
    call.check()?;
    // Our own plugin keeps to what a user may attach; the others work on any link, and host-local on any directory.
    let other = if let cni::Ipam::Ours(ipam) = &ipam { Some(ipam) } else { None };
    if let (true, Some(other)) = (uid != 0, other.or((plugin != OWN).then_some(&plugin))) {
        let text = format!("the plugin {other} is for root, not for user {uid}: it works on whatever this host has");
        return Err(CniError::new(CniCode::Refused, text));
    }
    // One call for a link of a container after the other, from its address to its answer.
    let _turn = called.turn();
    if call.verb != Verb::Add {
        return called.serve(&ipam, handed);
    }
    let again = handed.as_ref().and_then(|fd| fd.try_clone().ok());
    let answer = called.serve(&ipam, handed)?;
    if !caller.is_gone() || only_ask {
        return Ok(answer);
    }
    // Its runtime ended it, and may have called DEL already: what nobody knows of would stay for ever.
    let undo = Called { call: &Call { verb: Verb::Del, ..call.clone() }, ..called };
    undo.serve(&ipam, again)?;
    Err(CniError::new(CniCode::TryAgain, "the caller has gone: everything was taken back"))
}

/// A call of one plugin.
struct Called<'a> {
    agent: &'a Agent,
    uid: u32,
    plugin: &'a str,
    call: &'a Call,
    config: &'a Config,
    only_ask: bool,
}

impl Called<'_> {
    fn turn(&self) -> Option<Turn<'_>> {
        let link = self.call.link().ok()?;
        let owner = cni::owner(&self.config.name, &self.call.container);
        // Not the attachment's own turn, which is within.
        Some(self.agent.busy.turn(&format!("call/{owner}"), &link))
    }

    /// What the plugin makes is found by.
    fn key(&self) -> Key {
        Key {
            network: self.config.name.clone(),
            container: self.call.container.clone(),
            interface: self.call.ifname.clone(),
            plugin: self.plugin.to_owned(),
        }
    }

    fn serve(&self, ipam: &cni::Ipam, handed: Option<OwnedFd>) -> Result<Option<Value>, CniError> {
        match ipam {
            cni::Ipam::None => self.alone(None, handed),
            cni::Ipam::Given(given) => {
                // Of DEL there is no result to be read.
                let given = (self.call.verb == Verb::Add).then(|| CniResult::read("the IPAM plugin's result", given));
                self.alone(given.transpose()?, handed)
            }
            cni::Ipam::Ours(name) => self.with_addresses(name, handed),
        }
    }

    /// Serves the plugin itself; `given` is what an IPAM plugin gave to it.
    fn alone(&self, given: Option<CniResult>, handed: Option<OwnedFd>) -> Result<Option<Value>, CniError> {
        if self.plugin == OWN {
            return netmode::answer(self, given, handed);
        }
        if let Some(answer) = ipam::answer(self.agent, self.plugin, self.call, self.config, None) {
            return answer?.map(|result| result.document(self.config.version)).transpose();
        }
        match self.plugin.parse::<Plugin>() {
            Ok(kind) => reference::answer(self, kind, given, handed),
            Err(()) => {
                let text = format!(
                    "there is no plugin {:?} in this release of netmode; \"netmode cni status\" lists those that there are",
                    self.plugin
                );
                Err(CniError::new(CniCode::NotInThisRelease, text))
            }
        }
    }

    /// Serves the plugin, and the IPAM plugin of ours that its configuration names. At ADD that comes first, and what it
    /// gave is taken back if the rest fails; otherwise both are served whatever fails, and the first failure is told.
    fn with_addresses(&self, name: &str, handed: Option<OwnedFd>) -> Result<Option<Value>, CniError> {
        let of = |call: &Call| {
            ipam::answer(self.agent, name, call, self.config, Some(&self.key())).unwrap_or_else(|| {
                Err(CniError::new(CniCode::InvalidConfig, format!("ipam type {name:?} gives no addresses")))
            })
        };
        if self.call.verb != Verb::Add {
            let (own, theirs) = (self.alone(None, handed), of(self.call).map(|_| None));
            // That there is nothing of ours must not hide that an address was not taken back.
            let unknown = matches!(&own, Err(error) if error.code == CniCode::UnknownContainer);
            return if unknown && self.call.verb == Verb::Del { theirs.and(own) } else { own.and(theirs) };
        }
        // No address for what is attached already, or is no namespace.
        if self.plugin == OWN {
            netmode::must_be_new(self)?;
        }
        let handed = Some(OwnedFd::from(reference::netns(self.call, handed)?));
        let given = of(self.call)?;
        self.alone(given, handed).inspect_err(|_| {
            // Why it failed is what is told.
            let _ = of(&Call { verb: Verb::Del, ..self.call.clone() });
        })
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
