//! What the runtime wishes for beside the configuration: capabilities (`runtimeConfig`), `args`, and `CNI_ARGS`.
//!
//! The nearest counts: capabilities, then `args`, then the environment, then the configuration's own keys (CNI
//! conventions).

use super::keys::invalid;
use super::{Call, CniCode, CniError, Config, Keys};
use crate::link::Mac;
use crate::port::{HostAddr, PortRange, PortSpec, Protocol};
use serde_json::Value;
use std::net::IpAddr;

/// A wanted address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedIp {
    /// The address.
    pub address: IpAddr,
    /// Its prefix length, where one was given.
    pub length: Option<u8>,
}

/// What the runtime wishes for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Runtime {
    /// Addresses.
    pub ips: Option<Vec<WantedIp>>,
    /// Hardware address.
    pub mac: Option<Mac>,
    /// `GATEWAY` of the environment.
    pub gateways: Vec<IpAddr>,
    /// Whether the addresses are the environment's, which only adds to what is configured.
    pub from_environment: bool,
}

impl Runtime {
    /// Reads them.
    ///
    /// # Errors
    /// [`CniCode::Environment`] for `CNI_ARGS`, [`CniCode::InvalidConfig`] for the others.
    pub fn read(call: &Call, config: &Config) -> Result<Self, CniError> {
        let arguments = Arguments::read(&call.args)?;
        let keys = config.keys();
        let runtime = keys.object("runtimeConfig")?;
        let args = keys.object("args")?.object("cni")?;
        let ips = addresses(&runtime)?.or(addresses(&args)?);
        Ok(Self {
            from_environment: ips.is_none() && arguments.ips.is_some(),
            ips: ips.or(arguments.ips),
            mac: mac(&runtime)?.or(mac(&args)?).or(arguments.mac),
            gateways: arguments.gateways,
        })
    }

    /// Capability `portMappings`; neighbouring ports that lead to neighbouring ones are one range.
    ///
    /// # Errors
    /// [`CniCode::InvalidConfig`].
    pub fn ports(&self, config: &Config) -> Result<Vec<PortSpec>, CniError> {
        let runtime = config.keys().object("runtimeConfig")?;
        let mappings = runtime.list("portMappings")?;
        Ok(joined(mappings.iter().map(port).collect::<Result<_, _>>()?))
    }
}

/// Joins what follows each other: podman sends every port of a range by itself.
fn joined(mut specs: Vec<PortSpec>) -> Vec<PortSpec> {
    let first = |spec: &PortSpec| spec.host_ports.map_or(0, PortRange::first);
    specs.sort_by_key(|spec| (spec.protocol, spec.host, first(spec)));
    let mut all: Vec<PortSpec> = Vec::with_capacity(specs.len());
    for spec in specs {
        let follows = |a: PortRange, b: PortRange| {
            (a.last().checked_add(1) == Some(b.first())).then(|| PortRange::new(a.first(), b.last())).flatten()
        };
        if let Some(last) = all.last_mut()
            && (last.protocol, last.host) == (spec.protocol, spec.host)
            && let Some(host) = last.host_ports.zip(spec.host_ports).and_then(|(a, b)| follows(a, b))
            && let Some(container) = follows(last.container, spec.container)
        {
            (last.host_ports, last.container) = (Some(host), container);
        } else {
            all.push(spec);
        }
    }
    all
}

fn port(mapping: &Value) -> Result<PortSpec, CniError> {
    let bad = |why: &str| invalid("portMappings", mapping, why);
    let keys = Keys::in_value("portMappings", mapping)?;
    let number = |key: &str| {
        let port = keys.get(key).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
        port.and_then(PortRange::single).ok_or_else(|| bad(&format!("{key} must be from 1 to 65535")))
    };
    let protocol = Protocol::from_word(&keys.text("protocol")?.unwrap_or_default().to_ascii_lowercase());
    let protocol = protocol.ok_or_else(|| bad("protocol must be tcp, udp or sctp"))?;
    let host = match keys.text("hostIP")? {
        None => HostAddr::Any,
        Some(ip) => match ip.parse().map_err(|_| bad("hostIP is no address"))? {
            // Every address, of both families, as the reference has it.
            ip if IpAddr::is_unspecified(&ip) => HostAddr::Any,
            ip => HostAddr::Ip(ip),
        },
    };
    Ok(PortSpec { host, host_ports: Some(number("hostPort")?), container: number("containerPort")?, protocol })
}

/// Key `ips`: addresses, with or without a prefix length.
fn addresses(keys: &Keys<'_>) -> Result<Option<Vec<WantedIp>>, CniError> {
    if keys.get("ips").is_none() {
        return Ok(None);
    }
    let bad = |ip: &Value| invalid("ips", ip, "an address is expected");
    let each = keys.list("ips")?.iter().map(|ip| ip.as_str().and_then(wanted).ok_or_else(|| bad(ip)));
    each.collect::<Result<Vec<_>, _>>().map(Some)
}

fn wanted(text: &str) -> Option<WantedIp> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| length <= longest).then_some(WantedIp { address, length })
}

fn mac(keys: &Keys<'_>) -> Result<Option<Mac>, CniError> {
    keys.parsed("mac", "a hardware address of six bytes, such as 02:42:ac:11:00:02,")
}

/// `CNI_ARGS`.
#[derive(Debug, Default)]
struct Arguments {
    ips: Option<Vec<WantedIp>>,
    mac: Option<Mac>,
    gateways: Vec<IpAddr>,
}

impl Arguments {
    /// `KEY=VALUE;…`; an unknown key is refused unless `IgnoreUnknown` says otherwise, wherever that stands.
    fn read(text: &str) -> Result<Self, CniError> {
        let bad = |why: String| CniError::new(CniCode::Environment, format!("CNI_ARGS: {why}"));
        let pairs = text.split(';').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').ok_or_else(|| bad(format!("{pair:?} is not KEY=VALUE"))));
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        let ignore =
            pairs.iter().any(|(key, value)| *key == "IgnoreUnknown" && matches!(*value, "1" | "true" | "TRUE"));
        let mut read = Self::default();
        for (key, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            let cannot = || bad(format!("{key}={value:?} cannot be"));
            match key {
                "IP" => {
                    let all = value.split(',').map(|ip| wanted(ip).ok_or_else(cannot));
                    read.ips = Some(all.collect::<Result<_, _>>()?);
                }
                "MAC" => read.mac = Some(value.parse().map_err(|_| cannot())?),
                "GATEWAY" => {
                    let all = value.split(',').map(|ip| ip.parse().map_err(|_| cannot()));
                    read.gateways = all.collect::<Result<_, _>>()?;
                }
                "IgnoreUnknown" => {}
                _ if ignore || key.starts_with("K8S_POD_") => {}
                _ => return Err(bad(format!("unknown key {key:?}; IgnoreUnknown=1 lets it pass"))),
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_are_one_range() {
        let spec = |host: u16, container: u16, protocol| PortSpec {
            host: HostAddr::Any,
            host_ports: PortRange::single(host),
            container: PortRange::single(container).unwrap(),
            protocol,
        };
        let tcp = |host, container| spec(host, container, Protocol::Tcp);
        let all =
            joined(vec![tcp(8002, 82), tcp(8000, 80), tcp(8001, 81), tcp(8003, 90), spec(8004, 91, Protocol::Udp)]);
        let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["8000-8002:80-82/tcp", "8003:90/tcp", "8004:91/udp"]);
    }
}
