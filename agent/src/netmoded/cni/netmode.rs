//! The plugin `netmode`: bridge mode and none, on the agent's own networks.

use super::Called;
use super::ipam::checked;
use crate::foreign::{self, Key};
use netmode_engine::cni::told;
use netmode_model::ApiError;
use netmode_model::api::NetnsRef;
use netmode_model::cni::{self, CniError, CniResult, Verb};
use serde_json::Value;
use std::os::fd::OwnedFd;

pub(super) fn answer(
    called: &Called<'_>,
    given: Option<CniResult>,
    handed: Option<OwnedFd>,
) -> Result<Option<Value>, CniError> {
    let Called { agent, uid, call, config, only_ask, .. } = *called;
    let refused = |error: ApiError| told(&error);
    let key = || key(called);
    match call.verb {
        Verb::Add => {
            let request = cni::request(call, config, given.as_ref())?;
            if only_ask {
                return must_be_new(called).map(|()| None);
            }
            let reply = foreign::attach(agent, key()?, request, handed, false).map_err(refused)?;
            let mut result = CniResult::from(&reply);
            for interface in &mut result.interfaces {
                interface.sandbox = call.netns.clone().unwrap_or_default();
            }
            result.dns = config.get("dns").and_then(Value::as_object).cloned().unwrap_or_default();
            result.document(config.version).map(Some)
        }
        Verb::Del => {
            foreign::detach(agent, &key()?);
            Ok(None)
        }
        Verb::Check => {
            checked(config)?;
            foreign::check(agent, &key()?, &NetnsRef::Fd(0), handed).map(|()| None).map_err(refused)
        }
        Verb::Gc => {
            let Some(valid) = cni::valid(config)? else { return Ok(None) };
            let keys = valid.iter().map(|(container, link)| {
                let link =
                    link.parse().map_err(|e| CniError::new(cni::CniCode::InvalidConfig, format!("ifname: {e}")))?;
                Key::new(uid, cni::owner(&config.name, container), Some(link)).map_err(refused)
            });
            let keep = keys.collect::<Result<Vec<_>, _>>()?;
            foreign::collect(agent, uid, &cni::owners(&config.name), &keep);
            Ok(None)
        }
        Verb::Status | Verb::Version => Ok(None),
    }
}

/// Whether nothing is attached yet.
pub(super) fn must_be_new(called: &Called<'_>) -> Result<(), CniError> {
    foreign::must_be_new(called.agent, &key(called)?).map_err(|error| told(&error))
}

fn key(called: &Called<'_>) -> Result<Key, CniError> {
    let owner = cni::owner(&called.config.name, &called.call.container);
    Key::new(called.uid, owner, Some(called.call.link()?)).map_err(|error| told(&error))
}
