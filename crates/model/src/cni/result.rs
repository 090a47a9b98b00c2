//! What ADD answers, in the shape of every version (CNI specification, section "Success"; the shapes of before 0.3.0 are
//! those of `pkg/types/020` of the reference library).

use super::{CniCode, CniError, Version};
use crate::api::{AttachReply, NetworkView};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The result of an attachment: `sandbox` is `CNI_NETNS` as it was given, `dns` the key of the configuration.
///
/// # Errors
/// The version of the caller has no place for all of it.
pub fn result(reply: &AttachReply, sandbox: &str, dns: Option<&Value>, version: Version) -> Result<Value, CniError> {
    if version < Version::V030 { first(reply, dns, version) } else { Ok(later(reply, sandbox, dns, version)) }
}

fn gateway(network: &NetworkView, v4: bool) -> Option<IpAddr> {
    if v4 { network.gateway } else { network.ipv6_gateway }
}

fn everywhere(v4: bool) -> &'static str {
    if v4 { "0.0.0.0/0" } else { "::/0" }
}

/// 0.1.0 and 0.2.0: one address of each family.
fn first(reply: &AttachReply, dns: Option<&Value>, version: Version) -> Result<Value, CniError> {
    let mut result = json!({ "cniVersion": version.as_str(), "dns": dns.cloned().unwrap_or_else(|| json!({})) });
    for (key, v4) in [("ip4", true), ("ip6", false)] {
        let of = reply.networks.iter().flat_map(|n| if v4 { &n.ipv4_addresses } else { &n.ipv6_addresses });
        let all: Vec<_> = of.collect();
        let [address] = all[..] else {
            if all.is_empty() {
                continue;
            }
            let text = format!("version {} has place for one address of each family alone", version.as_str());
            return Err(CniError::new(CniCode::InvalidConfig, text));
        };
        result[key] = json!({ "ip": address.to_string() });
        if let Some(gateway) = reply.networks.iter().find_map(|n| gateway(n, v4)) {
            result[key]["gateway"] = json!(gateway);
            result[key]["routes"] = json!([{ "dst": everywhere(v4), "gw": gateway }]);
        }
    }
    Ok(result)
}

/// 0.3.0 and later.
fn later(reply: &AttachReply, sandbox: &str, dns: Option<&Value>, version: Version) -> Value {
    let (mut interfaces, mut ips, mut routes) = (Vec::new(), Vec::new(), Vec::new());
    for (n, network) in reply.networks.iter().enumerate() {
        let mut interface = json!({ "name": network.interface, "mac": network.mac_address, "sandbox": sandbox });
        if version >= Version::V110 {
            interface["mtu"] = json!(network.mtu);
        }
        interfaces.push(interface);
        for address in network.ipv4_addresses.iter().chain(&network.ipv6_addresses) {
            let mut ip = json!({ "interface": n, "address": address.to_string() });
            if version < Version::V100 {
                ip["version"] = json!(if address.is_ipv4() { "4" } else { "6" });
            }
            if let Some(gateway) = gateway(network, address.is_ipv4()) {
                ip["gateway"] = json!(gateway);
                routes.push(json!({ "dst": everywhere(address.is_ipv4()), "gw": gateway }));
            }
            ips.push(ip);
        }
    }
    let mut result = json!({ "cniVersion": version.as_str(), "interfaces": interfaces, "ips": ips });
    if !routes.is_empty() {
        result["routes"] = json!(routes);
    }
    match dns {
        Some(dns) => result["dns"] = dns.clone(),
        None if version < Version::V100 => result["dns"] = json!({}),
        None => {}
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> AttachReply {
        serde_json::from_value(json!({
            "id": "0123456789abcdef0123456789abcdef",
            "networks": [{
                "name": "bridge", "interface": "eth0", "macAddress": "02:42:ac:11:00:02",
                "ipv4Addresses": ["172.17.0.2/16"], "ipv6Addresses": ["fd00::2/64"],
                "gateway": "172.17.0.1", "subnet": "172.17.0.0/16", "mtu": 1500
            }],
            "networkBindings": []
        }))
        .unwrap()
    }

    fn of(version: Version) -> Value {
        result(&reply(), "/run/netns/c1", None, version).unwrap()
    }

    #[test]
    fn the_first_shape_has_an_address_for_each_family() {
        let route = json!([{"dst": "0.0.0.0/0", "gw": "172.17.0.1"}]);
        let expected = json!({
            "cniVersion": "0.2.0", "dns": {},
            "ip4": {"ip": "172.17.0.2/16", "gateway": "172.17.0.1", "routes": route},
            "ip6": {"ip": "fd00::2/64"}
        });
        assert_eq!(of(Version::V020), expected);
    }

    #[test]
    fn every_version_has_its_own_keys() {
        for version in Version::ALL.into_iter().filter(|v| *v >= Version::V030) {
            let result = of(version);
            assert_eq!(result["cniVersion"], version.as_str());
            assert_eq!(result["interfaces"][0]["sandbox"], "/run/netns/c1");
            assert_eq!(result["ips"][0]["interface"], 0, "printed, not left out");
            assert_eq!(result["ips"][0].get("version").is_some(), version < Version::V100, "{result}");
            assert_eq!(result.get("dns").is_some(), version < Version::V100, "{result}");
            assert_eq!(result["interfaces"][0].get("mtu").is_some(), version >= Version::V110, "{result}");
        }
        let dns = json!({"nameservers": ["10.0.0.53"]});
        assert_eq!(result(&reply(), "x", Some(&dns), Version::V110).unwrap()["dns"], dns);
    }

    #[test]
    fn nothing_attached_has_an_empty_result() {
        let nothing = AttachReply { networks: vec![], ..reply() };
        let result = result(&nothing, "x", None, Version::V110).unwrap();
        assert_eq!(result, json!({"cniVersion": "1.1.0", "interfaces": [], "ips": []}));
    }
}
