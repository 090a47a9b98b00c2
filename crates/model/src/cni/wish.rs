//! The plugin `netmode`: what a call wishes for, as a request to the agent.

use super::{Call, CniCode, CniError, Config, field};
use crate::api::{AttachRequest, AttachmentKey, CheckRequest, CollectRequest, NetOptions, NetnsRef};
use crate::link::Mac;
use crate::mode::RequestedMode;
use crate::port::{HostAddr, PortRange, PortSpec, Protocol};
use serde_json::{Map, Value};
use std::net::IpAddr;

/// Keys that belong to a mode, or to a part of the plugin, that this release does not have.
const NOT_YET: [&str; 3] = ["subnet", "securityGroups", "parent"];

/// Who an attachment belongs to: with the link inside the key by which it is found again (CNI: network, container, link).
pub fn owner(network: &str, container: &str) -> String {
    prefix(network) + container
}

/// How the owners of a network's attachments begin.
fn prefix(network: &str) -> String {
    format!("cni/{network}/")
}

/// What CHECK asks the agent for; the namespace is handed over as the first descriptor.
///
/// # Errors
/// The runtime has to say what ADD answered (specification, "CHECK"), and the link's name must be one.
pub fn check(call: &Call, config: &Config) -> Result<CheckRequest, CniError> {
    if config.get("prevResult").is_none() {
        let text = "prevResult is missing: CHECK needs the result of ADD";
        return Err(CniError::new(CniCode::InvalidConfig, text));
    }
    Ok(CheckRequest { attachment: attachment(&config.name, &call.container, &call.ifname)?, netns: NetnsRef::Fd(0) })
}

/// What GC asks the agent for; nothing where the runtime does not say what is valid (absent is not the same as empty).
///
/// # Errors
/// A list that cannot be.
pub fn collect(config: &Config) -> Result<Option<CollectRequest>, CniError> {
    let listed = ["cni.dev/valid-attachments", "cni.dev/attachments"].into_iter().find_map(|key| config.get(key));
    let Some(value) = listed else { return Ok(None) };
    let bad = || invalid("cni.dev/valid-attachments", value, "a list of containerID and ifname is expected");
    let keep = value.as_array().ok_or_else(bad)?.iter().map(|valid| {
        let word = |key: &str| field(valid.as_object()?, key)?.as_str();
        let (container, ifname) = word("containerID").zip(word("ifname")).ok_or_else(bad)?;
        attachment(&config.name, container, ifname)
    });
    let keep = keep.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(CollectRequest { prefix: prefix(&config.name), keep }))
}

fn attachment(network: &str, container: &str, ifname: &str) -> Result<AttachmentKey, CniError> {
    let interface = ifname.parse().map_err(|e| CniError::new(CniCode::Environment, format!("CNI_IFNAME: {e}")))?;
    Ok(AttachmentKey { owner: owner(network, container), interface: Some(interface) })
}

/// What ADD asks the agent for; the namespace is handed over as the first descriptor.
///
/// # Errors
/// A key that is not supported ([`CniCode::UnsupportedField`], with key and value), or a value that cannot be.
pub fn request(call: &Call, config: &Config) -> Result<AttachRequest, CniError> {
    let mode = mode(config)?;
    for key in NOT_YET {
        if let Some(value) = config.get(key) {
            return Err(unsupported(key, value));
        }
    }
    if let Some(ipam) = config.get("ipam").filter(|ipam| ipam.as_object().is_none_or(|o| !o.is_empty())) {
        return Err(unsupported("ipam", ipam).with_details("addresses are the agent's: leave the key out"));
    }
    let arguments = Arguments::read(&call.args)?;
    let runtime = object(config.get("runtimeConfig"));
    let args = config.get("args").and_then(Value::as_object).and_then(|args| field(args, "cni"));
    let args = object(args);
    let mut net = NetOptions { ports: ports(&runtime)?, ..NetOptions::default() };
    // The nearest counts: capabilities, then `args`, then the environment (CNI conventions).
    for ip in addresses(&runtime)?.or(addresses(&args)?).or(arguments.ips).unwrap_or_default() {
        match ip {
            IpAddr::V4(ip) => net.ip = Some(ip),
            IpAddr::V6(ip) => net.ip6 = Some(ip),
        }
    }
    net.mac_address = mac(&runtime)?.or(mac(&args)?).or(arguments.mac);
    let AttachmentKey { owner, interface } = attachment(&config.name, &call.container, &call.ifname)?;
    Ok(AttachRequest { owner, netns: NetnsRef::Fd(0), interface, mode, network: text(config, "network")?, net })
}

fn unsupported(key: &str, value: &Value) -> CniError {
    CniError::new(CniCode::UnsupportedField, format!("{key} {value} is not supported by this release of netmode"))
}

fn invalid(what: &str, value: &Value, why: &str) -> CniError {
    CniError::new(CniCode::InvalidConfig, format!("{what} {value}: {why}"))
}

fn text(config: &Config, key: &str) -> Result<Option<String>, CniError> {
    match config.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(other) => Err(invalid(key, other, "a text is expected")),
    }
}

/// The mode; bridge where none is given. Of those with a namespace to attach.
fn mode(config: &Config) -> Result<RequestedMode, CniError> {
    let given = text(config, "mode")?.unwrap_or_else(|| "bridge".into());
    let value = Value::String(given.clone());
    match given.parse::<RequestedMode>() {
        Ok(mode @ (RequestedMode::Bridge | RequestedMode::Default | RequestedMode::None)) => Ok(mode),
        Ok(_) => Err(unsupported("mode", &value)),
        Err(_) => Err(invalid("mode", &value, "it is one of bridge, none, host, awsvpc")),
    }
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Capability `portMappings`.
fn ports(runtime: &Map<String, Value>) -> Result<Vec<PortSpec>, CniError> {
    let Some(value) = field(runtime, "portMappings") else { return Ok(Vec::new()) };
    let mappings = value.as_array().ok_or_else(|| invalid("portMappings", value, "a list is expected"))?;
    mappings.iter().map(port).collect()
}

fn port(mapping: &Value) -> Result<PortSpec, CniError> {
    let bad = |why: &str| invalid("portMappings", mapping, why);
    let object = mapping.as_object().ok_or_else(|| bad("an object is expected"))?;
    let number = |key: &str| {
        let port = field(object, key).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
        port.and_then(PortRange::single).ok_or_else(|| bad(&format!("{key} must be from 1 to 65535")))
    };
    let word = |key: &str| field(object, key).and_then(Value::as_str).unwrap_or_default();
    let protocol = Protocol::from_word(&word("protocol").to_ascii_lowercase());
    let protocol = protocol.ok_or_else(|| bad("protocol must be tcp, udp or sctp"))?;
    let host = match word("hostIP") {
        "" => HostAddr::Any,
        ip => HostAddr::Ip(ip.parse().map_err(|_| bad("hostIP is no address"))?),
    };
    Ok(PortSpec { host, host_ports: Some(number("hostPort")?), container: number("containerPort")?, protocol })
}

/// Key `ips`: addresses, with or without a prefix length.
fn addresses(object: &Map<String, Value>) -> Result<Option<Vec<IpAddr>>, CniError> {
    let Some(value) = field(object, "ips") else { return Ok(None) };
    let bad = || invalid("ips", value, "a list of addresses is expected");
    let all = value.as_array().ok_or_else(bad)?;
    let each = all.iter().map(|ip| ip.as_str().and_then(address).ok_or_else(bad));
    each.collect::<Result<Vec<_>, _>>().map(Some)
}

fn address(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

fn mac(object: &Map<String, Value>) -> Result<Option<Mac>, CniError> {
    let Some(value) = field(object, "mac") else { return Ok(None) };
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| invalid("mac", value, "six bytes in hex are expected, such as 02:42:ac:11:00:02"))
}

/// `CNI_ARGS`.
#[derive(Debug, Default)]
struct Arguments {
    ips: Option<Vec<IpAddr>>,
    mac: Option<Mac>,
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
        for (key, value) in pairs {
            let cannot = || bad(format!("{key}={value:?} cannot be"));
            match key {
                "IP" if value.is_empty() => {}
                "IP" => {
                    read.ips =
                        Some(value.split(',').map(|ip| address(ip).ok_or_else(cannot)).collect::<Result<_, _>>()?)
                }
                "MAC" if value.is_empty() => {}
                "MAC" => read.mac = Some(value.parse().map_err(|_| cannot())?),
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
    use crate::cni::Verb;
    use serde_json::json;

    fn call(args: &str) -> Call {
        Call {
            verb: Verb::Add,
            container: "c1".into(),
            netns: Some("/run/netns/c1".into()),
            ifname: "eth0".into(),
            args: args.into(),
            path: vec![],
        }
    }

    fn wish(args: &str, keys: Value) -> Result<AttachRequest, CniError> {
        let mut config = json!({"cniVersion": "1.0.0", "name": "n1", "type": "netmode"});
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        request(&call(args), &Config::read(config.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn both_spellings_of_port_mappings_are_the_same() {
        let go = json!({"runtimeConfig": {"portMappings": [{"HostPort": 8081, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]}});
        let camel =
            json!({"runtimeConfig": {"portMappings": [{"hostPort": 8081, "containerPort": 80, "protocol": "TCP"}]}});
        let wished = wish("", go).unwrap();
        assert_eq!(wished, wish("", camel).unwrap());
        assert_eq!(wished.net.ports[0].to_string(), "8081:80/tcp");
        assert_eq!(wished.owner, "cni/n1/c1");
        for bad in [
            json!([{"hostPort": 0, "containerPort": 80, "protocol": "tcp"}]),
            json!([{"hostPort": 1, "containerPort": 80}]),
            json!([{"hostPort": 1, "containerPort": 65536, "protocol": "tcp"}]),
            json!([{"hostPort": 1, "containerPort": 80, "protocol": "tcp", "hostIP": "x"}]),
            json!([7]),
            json!({}),
        ] {
            let error = wish("", json!({"runtimeConfig": {"portMappings": bad}})).unwrap_err();
            assert_eq!(error.code, CniCode::InvalidConfig, "{error}");
        }
    }

    #[test]
    fn the_nearest_source_of_addresses_counts() {
        let environment = "K8S_POD_NAME=x;IP=10.0.0.1;MAC=02:00:00:00:00:01";
        let args = json!({"args": {"cni": {"ips": ["10.0.0.2/24"], "mac": "02:00:00:00:00:02"}}});
        let runtime = json!({"ips": ["10.0.0.3/24", "fd00::3"], "mac": "02:00:00:00:00:03"});
        let ip =
            |wished: &AttachRequest| (wished.net.ip.unwrap().to_string(), wished.net.mac_address.unwrap().to_string());
        assert_eq!(ip(&wish(environment, json!({})).unwrap()), ("10.0.0.1".into(), "02:00:00:00:00:01".into()));
        assert_eq!(ip(&wish(environment, args.clone()).unwrap()), ("10.0.0.2".into(), "02:00:00:00:00:02".into()));
        let mut all = args;
        all["runtimeConfig"] = runtime;
        let wished = wish(environment, all).unwrap();
        assert_eq!(ip(&wished), ("10.0.0.3".into(), "02:00:00:00:00:03".into()));
        assert_eq!(wished.net.ip6.unwrap().to_string(), "fd00::3");
    }

    #[test]
    fn what_is_not_supported_is_named_with_its_value() {
        for (keys, word) in [
            (json!({"mode": "awsvpc"}), "mode \"awsvpc\""),
            (json!({"mode": "host"}), "mode \"host\""),
            (json!({"securityGroups": ["sg-1"]}), "securityGroups [\"sg-1\"]"),
            (json!({"ipam": {"type": "host-local"}}), "ipam {\"type\":\"host-local\"}"),
        ] {
            let error = wish("", keys).unwrap_err();
            assert!(error.code == CniCode::UnsupportedField && error.message.contains(word), "{error}");
        }
        assert_eq!(wish("", json!({"mode": "bogus"})).unwrap_err().code, CniCode::InvalidConfig);
        assert_eq!(wish("", json!({"mode": 7})).unwrap_err().code, CniCode::InvalidConfig);
    }

    #[test]
    fn arguments_of_nobody_are_refused_unless_they_may_be_ignored() {
        assert_eq!(wish("FOO=bar", json!({})).unwrap_err().code, CniCode::Environment);
        assert!(wish("FOO=bar;IgnoreUnknown=1", json!({})).is_ok());
        for bad in ["FOO", "IP=x", "MAC=7"] {
            assert_eq!(wish(bad, json!({})).unwrap_err().code, CniCode::Environment, "{bad}");
        }
    }
}
