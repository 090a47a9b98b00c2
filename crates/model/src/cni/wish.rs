//! The plugin `netmode`: what a call wishes for, as a request to the agent.

use super::keys::{invalid, unsupported};
use super::{Call, CniError, CniResult, Config, Runtime};
use crate::api::{AttachRequest, NetOptions, NetnsRef};
use crate::mode::RequestedMode;
use serde_json::Value;
use std::net::IpAddr;

/// Keys that belong to a mode, or to a part of the plugin, that this release does not have.
const NOT_YET: [&str; 3] = ["subnet", "securityGroups", "parent"];

/// Who an attachment belongs to: with the link inside the key by which it is found again (CNI: network, container, link).
pub fn owner(network: &str, container: &str) -> String {
    owners(network) + container
}

/// How the owners of a network's attachments begin.
pub fn owners(network: &str) -> String {
    format!("cni/{network}/")
}

/// What ADD asks the agent for; the namespace is the first descriptor that was handed over.
///
/// # Errors
/// A key that is not supported (error 2, with key and value), or a value that cannot be.
pub fn request(call: &Call, config: &Config, ipam: Option<&CniResult>) -> Result<AttachRequest, CniError> {
    let mode = mode(config)?;
    for key in NOT_YET {
        if let Some(value) = config.get(key) {
            return Err(unsupported(key, value, "it is not in this release of netmode"));
        }
    }
    let runtime = Runtime::read(call, config)?;
    let mut net = NetOptions { ports: runtime.ports(config)?, mac_address: runtime.mac, ..NetOptions::default() };
    let wanted = runtime.ips.into_iter().flatten().map(|ip| ip.address);
    // Those of a delegated IPAM plugin have taken the wishes into account.
    let given: Option<Vec<IpAddr>> = ipam.map(|given| given.ips.iter().map(|ip| ip.address.ip()).collect());
    for ip in given.unwrap_or_else(|| wanted.collect()) {
        match ip {
            IpAddr::V4(ip) => net.ip = Some(ip),
            IpAddr::V6(ip) => net.ip6 = Some(ip),
        }
    }
    let owner = owner(&config.name, &call.container);
    let interface = Some(call.link()?);
    let network = config.keys().text("network")?.map(str::to_owned);
    Ok(AttachRequest { owner, netns: NetnsRef::Fd(0), interface, mode, network, net })
}

/// The mode; bridge where none is given. Of those with a namespace to attach.
fn mode(config: &Config) -> Result<RequestedMode, CniError> {
    let given = config.keys().text("mode")?.unwrap_or("bridge");
    let value = Value::from(given);
    match given.parse::<RequestedMode>() {
        Ok(mode @ (RequestedMode::Bridge | RequestedMode::Default | RequestedMode::None)) => Ok(mode),
        Ok(_) => Err(unsupported(
            "mode",
            &value,
            "a CNI plugin attaches in mode bridge or none; for the others there is netmode run",
        )),
        Err(_) => Err(invalid("mode", &value, "it is one of bridge, none, host, awsvpc")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::{CniCode, Verb};
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
        request(&call(args), &Config::read(config.to_string().as_bytes()).unwrap(), None)
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
