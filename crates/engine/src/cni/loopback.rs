//! The plugin `loopback`: `lo`, whatever `CNI_IFNAME` says.

use super::ask::{Ask, Planned};
use super::refused;
use netmode_model::cni::{CniError, CniResult, Interface, Ip};
use netmode_model::{IfName, Op};

pub(super) fn plan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let lo: IfName = "lo".parse().map_err(|_| refused("no name for a link"))?;
    let ops = vec![Op::LinkUp { at: ask.at.clone(), dev: lo.clone() }];
    if ask.previous.is_some() {
        return Ok(Planned { ops, ..Planned::default() });
    }
    let addresses = ["127.0.0.1/8", "::1/128"].into_iter().filter(|a| ask.settings.kernel_ipv6 || !a.contains(':'));
    let ips =
        addresses.filter_map(|address| Some(Ip { interface: Some(0), address: address.parse().ok()?, gateway: None }));
    let sandbox = ask.call.netns.clone().unwrap_or_default();
    let mac = "00:00:00:00:00:00".to_owned();
    let interface = Interface { name: lo.to_string(), mac, sandbox, ..Interface::default() };
    let result = CniResult { interfaces: vec![interface], ips: ips.collect(), ..CniResult::default() };
    Ok(Planned { ops, result: Some(result), ..Planned::default() })
}
