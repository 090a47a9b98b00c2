//! The IPAM plugin `static`: addresses as they are written.

use super::invalid;
use crate::bridge::with_prefix;
use ipnetwork::IpNetwork;
use netmode_model::cni::{Call, CniError, CniResult, CniRoute, Config, Ip, Keys, Runtime, WantedIp};

/// What ADD answers: the configured addresses and those of the environment, or those that the runtime wishes instead.
///
/// # Errors
/// None, or some that cannot be.
pub fn addresses(call: &Call, config: &Config) -> Result<CniResult, CniError> {
    let ipam = config.keys().object("ipam")?;
    let mut ips = ipam.list("addresses")?.iter().map(configured).collect::<Result<Vec<_>, _>>()?;
    let runtime = Runtime::read(call, config)?;
    if let Some(wanted) = &runtime.ips {
        let gateway = |ip: &IpNetwork| runtime.gateways.iter().copied().find(|gateway| ip.contains(*gateway));
        let wanted = wanted.iter().map(|ip| {
            let address = with_length(*ip)?;
            Ok(Ip { interface: None, address, gateway: gateway(&address) })
        });
        let wanted = wanted.collect::<Result<Vec<_>, CniError>>()?;
        if runtime.from_environment { ips.extend(wanted) } else { ips = wanted }
    }
    if ips.is_empty() {
        return Err(invalid("no addresses: static needs \"addresses\", or \"ips\" of the runtime"));
    }
    let routes = ipam.list("routes")?.iter().map(CniRoute::read).collect::<Result<_, _>>()?;
    let dns = ipam.get("dns").and_then(serde_json::Value::as_object).cloned().unwrap_or_default();
    Ok(CniResult { ips, routes, dns, ..CniResult::default() })
}

fn configured(value: &serde_json::Value) -> Result<Ip, CniError> {
    let keys = Keys::in_value("addresses", value)?;
    let text = keys.text("address")?.ok_or_else(|| invalid(format!("addresses {value}: its address is missing")))?;
    // `IpNetwork` takes an address alone for a network of one.
    let address = text.contains('/').then(|| text.parse().ok()).flatten();
    let address =
        address.ok_or_else(|| invalid(format!("address {text:?}: a prefix length is needed, such as /24")))?;
    Ok(Ip { interface: None, address, gateway: keys.parsed("gateway", "an address")? })
}

fn with_length(ip: WantedIp) -> Result<IpNetwork, CniError> {
    let bad = || invalid(format!("address {}: a prefix length is needed, such as /24", ip.address));
    let length = ip.length.ok_or_else(bad)?;
    let prefix = IpNetwork::new(ip.address, length).map_err(|_| bad())?;
    Ok(with_prefix(ip.address, prefix))
}
