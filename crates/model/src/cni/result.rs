//! What ADD answers, in the shape of every version (CNI specification, section "Success"; the shapes of before 0.3.0 are
//! those of `pkg/types/020` of the reference library).

use super::keys::invalid;
use super::{CniCode, CniError, Keys, Version};
use crate::api::AttachReply;
use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// A result without the shape of a version.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CniResult {
    /// Links, those of the host as well.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<Ip>,
    /// Routes in the container.
    pub routes: Vec<CniRoute>,
    /// `nameservers`, `domain`, `search`, `options`.
    pub dns: Map<String, Value>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, as it is written.
    pub mac: String,
    /// Bytes; told from version 1.1.0 on.
    pub mtu: Option<u32>,
    /// `CNI_NETNS` as it was given; empty for a link of the host.
    pub sandbox: String,
    /// `socketPath` and `pciID`, from version 1.1.0 on.
    pub device: Map<String, Value>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Which of the links has it.
    pub interface: Option<usize>,
    /// Address with prefix length.
    pub address: IpNetwork,
    /// Next hop for what is outside.
    pub gateway: Option<IpAddr>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniRoute {
    /// Destination, as it was given.
    pub dst: IpNetwork,
    /// Next hop; that of the address where none is given.
    pub gw: Option<IpAddr>,
    /// `mtu`, `advmss`, `priority`, `table` and `scope`, from version 1.1.0 on.
    pub options: Map<String, Value>,
}

/// Keys of a route that 1.1.0 has added.
const ROUTE_KEYS: [&str; 5] = ["mtu", "advmss", "priority", "table", "scope"];

/// Keys of a link that 1.1.0 has added, besides its MTU.
const DEVICE_KEYS: [&str; 2] = ["socketPath", "pciID"];

impl From<&AttachReply> for CniResult {
    fn from(reply: &AttachReply) -> Self {
        let mut result = Self::default();
        for (n, network) in reply.networks.iter().enumerate() {
            result.interfaces.push(Interface {
                name: network.interface.to_string(),
                mac: network.mac_address.to_string(),
                mtu: Some(network.mtu),
                ..Interface::default()
            });
            for address in network.ipv4_addresses.iter().chain(&network.ipv6_addresses) {
                let gateway = if address.is_ipv4() { network.gateway } else { network.ipv6_gateway };
                result.ips.push(Ip { interface: Some(n), address: *address, gateway });
                let everywhere = if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                let route = everywhere.parse().ok().zip(gateway);
                result.routes.extend(route.map(|(dst, gw)| CniRoute { dst, gw: Some(gw), options: Map::new() }));
            }
        }
        result
    }
}

impl CniResult {
    /// Reads a result of any version.
    ///
    /// # Errors
    /// [`CniCode::Decode`] where it is none.
    pub fn read(name: &str, value: &Value) -> Result<Self, CniError> {
        let read = || -> Result<Self, CniError> {
            let keys = Keys::in_value(name, value)?;
            let mut result = Self {
                dns: keys.get("dns").and_then(Value::as_object).cloned().unwrap_or_default(),
                ..Self::default()
            };
            for interface in keys.list("interfaces")? {
                result.interfaces.push(Interface::read(interface)?);
            }
            for ip in keys.list("ips")? {
                result.ips.push(Ip::read(ip)?);
            }
            for route in keys.list("routes")? {
                result.routes.push(CniRoute::read(route)?);
            }
            for family in ["ip4", "ip6"] {
                result.read_first(&keys.object(family)?)?;
            }
            Ok(result)
        };
        read().map_err(|e| CniError::new(CniCode::Decode, format!("{name}: {e}")))
    }

    /// A family's part of before 0.3.0.
    fn read_first(&mut self, part: &Keys<'_>) -> Result<(), CniError> {
        let Some(address) = part.parsed("ip", "an address with its prefix length")? else { return Ok(()) };
        self.ips.push(Ip { interface: None, address, gateway: part.parsed("gateway", "an address")? });
        for route in part.list("routes")? {
            self.routes.push(CniRoute::read(route)?);
        }
        Ok(())
    }

    /// The result for a caller that speaks a version.
    ///
    /// # Errors
    /// That version has no place for all of it.
    pub fn document(&self, version: Version) -> Result<Value, CniError> {
        if version < Version::V030 { self.first(version) } else { Ok(self.later(version)) }
    }

    /// 0.1.0 and 0.2.0: one address of each family.
    fn first(&self, version: Version) -> Result<Value, CniError> {
        let mut result = json!({ "cniVersion": version.as_str(), "dns": self.dns });
        for (key, v4) in [("ip4", true), ("ip6", false)] {
            let all: Vec<&Ip> = self.ips.iter().filter(|ip| ip.address.is_ipv4() == v4).collect();
            let [ip] = all[..] else {
                if all.is_empty() {
                    continue;
                }
                let text = format!("version {} has place for one address of each family alone", version.as_str());
                return Err(CniError::new(CniCode::InvalidConfig, text));
            };
            result[key] = json!({ "ip": ip.address.to_string() });
            if let Some(gateway) = ip.gateway {
                result[key]["gateway"] = json!(gateway);
            }
            let routes = self.routes.iter().filter(|route| route.dst.is_ipv4() == v4);
            let routes: Vec<Value> = routes.map(|route| route.document(version)).collect();
            if !routes.is_empty() {
                result[key]["routes"] = json!(routes);
            }
        }
        Ok(result)
    }

    /// 0.3.0 and later.
    fn later(&self, version: Version) -> Value {
        let mut result = json!({ "cniVersion": version.as_str() });
        let interfaces: Vec<Value> = self.interfaces.iter().map(|interface| interface.document(version)).collect();
        let ips: Vec<Value> = self.ips.iter().map(|ip| ip.document(version)).collect();
        let routes: Vec<Value> = self.routes.iter().map(|route| route.document(version)).collect();
        for (key, list) in [("interfaces", interfaces), ("ips", ips), ("routes", routes)] {
            if !list.is_empty() {
                result[key] = list.into();
            }
        }
        if !self.dns.is_empty() || version < Version::V100 {
            result["dns"] = json!(self.dns);
        }
        result
    }

    /// The link in the container, by its name.
    pub fn inside(&self, ifname: &str) -> Option<(usize, &Interface)> {
        self.interfaces.iter().enumerate().find(|(_, i)| i.name == ifname && !i.sandbox.is_empty())
    }

    /// Addresses of the link in the container; of a result that names no links, all.
    pub fn addresses(&self, ifname: &str) -> Vec<&Ip> {
        let index = self.inside(ifname).map(|(index, _)| index);
        self.ips.iter().filter(|ip| ip.interface.is_none() || ip.interface == index).collect()
    }
}

impl Interface {
    fn read(value: &Value) -> Result<Self, CniError> {
        let keys = Keys::in_value("interfaces", value)?;
        let text = |key| Ok::<_, CniError>(keys.text(key)?.unwrap_or_default().to_owned());
        let mtu = keys.integer("mtu", 0, u64::from(u32::MAX))?.and_then(|mtu| u32::try_from(mtu).ok());
        let device = kept(&keys, &DEVICE_KEYS);
        Ok(Self { name: text("name")?, mac: text("mac")?, mtu, sandbox: text("sandbox")?, device })
    }

    fn document(&self, version: Version) -> Value {
        let mut document = json!({ "name": self.name });
        if !self.mac.is_empty() {
            document["mac"] = json!(self.mac);
        }
        if version >= Version::V110 {
            self.mtu.iter().for_each(|mtu| document["mtu"] = json!(mtu));
            self.device.iter().for_each(|(key, value)| document[key] = value.clone());
        }
        if !self.sandbox.is_empty() {
            document["sandbox"] = json!(self.sandbox);
        }
        document
    }
}

impl Ip {
    fn read(value: &Value) -> Result<Self, CniError> {
        let keys = Keys::in_value("ips", value)?;
        let address = keys.parsed("address", "an address with its prefix length")?;
        let address = address.ok_or_else(|| invalid("ips", value, "its address is missing"))?;
        let interface = keys.get("interface").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        Ok(Self { interface, address, gateway: keys.parsed("gateway", "an address")? })
    }

    fn document(&self, version: Version) -> Value {
        let mut document = json!({ "address": self.address.to_string() });
        if let Some(interface) = self.interface {
            document["interface"] = json!(interface);
        }
        if version < Version::V100 {
            document["version"] = json!(if self.address.is_ipv4() { "4" } else { "6" });
        }
        if let Some(gateway) = self.gateway {
            document["gateway"] = json!(gateway);
        }
        document
    }
}

impl CniRoute {
    /// Reads a route, of a result or of a configuration.
    ///
    /// # Errors
    /// No destination, or values that cannot be.
    pub fn read(value: &Value) -> Result<Self, CniError> {
        let keys = Keys::in_value("routes", value)?;
        let dst = keys.parsed("dst", "a prefix")?;
        let dst = dst.ok_or_else(|| invalid("routes", value, "its dst is missing"))?;
        let options = kept(&keys, &ROUTE_KEYS);
        let options: Map<String, Value> = options.into_iter().filter(|(_, value)| value.is_u64()).collect();
        Ok(Self { dst, gw: keys.parsed("gw", "an address")?, options })
    }

    fn document(&self, version: Version) -> Value {
        let mut document = json!({ "dst": self.dst.to_string() });
        if let Some(gw) = self.gw {
            document["gw"] = json!(gw);
        }
        if version >= Version::V110 {
            self.options.iter().for_each(|(key, value)| document[key] = value.clone());
        }
        document
    }

    /// One of the options.
    pub fn option(&self, key: &str) -> Option<u32> {
        self.options.get(key).and_then(Value::as_u64).and_then(|value| u32::try_from(value).ok())
    }
}

/// Those of the keys that are there, as they are written here.
fn kept(keys: &Keys<'_>, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|key| Some(((*key).to_owned(), keys.get(key)?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> CniResult {
        let reply: AttachReply = serde_json::from_value(json!({
            "id": "0123456789abcdef0123456789abcdef",
            "networks": [{
                "name": "bridge", "interface": "eth0", "macAddress": "02:42:ac:11:00:02",
                "ipv4Addresses": ["172.17.0.2/16"], "ipv6Addresses": ["fd00::2/64"],
                "gateway": "172.17.0.1", "subnet": "172.17.0.0/16", "mtu": 1500
            }],
            "networkBindings": []
        }))
        .unwrap();
        let mut result = CniResult::from(&reply);
        result.interfaces[0].sandbox = "/run/netns/c1".into();
        result
    }

    fn of(version: Version) -> Value {
        result().document(version).unwrap()
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
        let mut two = result();
        two.ips.push(two.ips[0].clone());
        assert_eq!(two.document(Version::V010).unwrap_err().code, CniCode::InvalidConfig);
    }

    #[test]
    fn every_version_has_its_own_keys() {
        for version in Version::ALL.into_iter().filter(|v| *v >= Version::V030) {
            let result = of(version);
            assert_eq!(result["ips"][0]["interface"], 0);
            assert_eq!(result["ips"][1].get("version").is_some(), version < Version::V100);
            assert_eq!(result["interfaces"][0].get("mtu").is_some(), version == Version::V110);
            assert_eq!(result["interfaces"][0]["sandbox"], "/run/netns/c1");
            assert_eq!(result.get("dns").is_some(), version < Version::V100);
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        for version in Version::ALL {
            let read = CniResult::read("prevResult", &of(version)).unwrap();
            assert_eq!(read.document(version).unwrap(), of(version), "{version:?}");
        }
        let newest = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "mtu": 1400, "sandbox": "/x", "socketPath": "/s", "pciID": "0000:04:00.5"}],
            "routes": [{"dst": "10.0.0.0/8", "gw": "10.1.0.1", "mtu": 1400, "advmss": 1360, "priority": 7, "table": 100, "scope": 253}],
            "dns": {"nameservers": ["10.0.0.53"]}
        });
        assert_eq!(CniResult::read("prevResult", &newest).unwrap().document(Version::V110).unwrap(), newest);
        for bad in [
            json!(7),
            json!({"ips": 7}),
            json!({"ips": [{}]}),
            json!({"ips": [{"address": "x"}]}),
            json!({"routes": [{}]}),
        ] {
            assert_eq!(CniResult::read("prevResult", &bad).unwrap_err().code, CniCode::Decode, "{bad}");
        }
    }

    #[test]
    fn nothing_attached_has_an_empty_result() {
        assert_eq!(CniResult::default().document(Version::V110).unwrap(), json!({"cniVersion": "1.1.0"}));
    }
}
