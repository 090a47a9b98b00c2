//! A call as a plugin sees it, and what it makes of it.

use super::{Lan, invalid, kernel, refused};
use crate::outside::Host;
use crate::settings::Settings;
use ipnetwork::IpNetwork;
use netmode_model::cni::{Call, CniError, CniResult, Config, Interface, Keys, Runtime};
use netmode_model::nft::{Datum, Element, Span, TableName};
use netmode_model::state::LinkState;
use netmode_model::{Final, Id, IfName, Mac, Observed, Op, Place, Published};
use std::net::IpAddr;

/// MTU of a link that nobody asked anything of, in bytes (`ETH_DATA_LEN`, linux/if_ether.h).
pub(super) const ETHERNET: u32 = 1500;

/// A call of ADD.
pub struct Ask<'a> {
    /// The call.
    pub call: &'a Call,
    /// Its configuration.
    pub config: &'a Config,
    /// The id of what is made, random.
    pub id: Id,
    /// The namespace.
    pub at: &'a Place,
    /// What is in it.
    pub inside: &'a Observed,
    /// What the plugins before this one answered.
    pub previous: Option<&'a CniResult>,
    /// What the IPAM plugin answered.
    pub ipam: Option<&'a CniResult>,
    /// The agent's settings.
    pub settings: &'a Settings,
    /// Ports that other networks of the same container have published: it is asked to publish them for each.
    pub published: &'a [Published],
    /// The host.
    pub host: &'a dyn Host,
}

/// What ADD comes to.
#[derive(Debug, Default)]
pub struct Planned {
    /// A bridge that is made if it is not there, and stays.
    pub lan: Option<Lan>,
    /// Elements that other attachments may need as well: the last one takes them away.
    pub shared: Vec<Element>,
    /// Settings that stay when the attachment goes: others may rely on them.
    pub lasting: Vec<Op>,
    /// The steps of its own.
    pub ops: Vec<Op>,
    /// Links of the host that are born here: they are deleted behind DEL's answer.
    pub behind: Vec<IfName>,
    /// What follows and cannot be taken back.
    pub then: Vec<Final>,
    /// Published ports, kept by record.
    pub ports: Vec<Published>,
    /// The result, if it is another one than that of the plugins before.
    pub result: Option<CniResult>,
}

impl<'a> Ask<'a> {
    /// Keys of the configuration.
    pub(super) fn keys(&self) -> Keys<'a> {
        self.config.keys()
    }

    /// What the runtime wishes for.
    pub(super) fn runtime(&self) -> Result<Runtime, CniError> {
        Runtime::read(self.call, self.config)
    }

    /// The result of the plugins before, which a plugin that only changes something needs.
    pub(super) fn previous(&self, plugin: &str) -> Result<&'a CniResult, CniError> {
        self.previous.ok_or_else(|| {
            invalid(format!("prevResult is missing: {plugin} is called behind another plugin, in a list"))
        })
    }

    /// The name of the link inside, which nothing there may have yet.
    ///
    /// # Errors
    /// There is one already.
    pub fn new_link(&self) -> Result<IfName, CniError> {
        let name = self.call.link()?;
        match self.link_inside(&name) {
            None => Ok(name),
            Some(_) => Err(refused(format!(
                "the container's namespace has a link {name} already; choose another CNI_IFNAME, or call DEL first"
            ))),
        }
    }

    /// A link inside.
    pub(super) fn link_inside(&self, name: &IfName) -> Option<&LinkState> {
        self.inside.links.iter().find(|link| link.at == *self.at && link.name == *name)
    }

    /// A link of the host.
    pub(super) fn link_of_host(&self, name: &IfName) -> Result<Option<LinkState>, CniError> {
        self.host.link(name).map_err(|e| kernel(&e))
    }

    /// `mtu`, in bytes; zero is none.
    pub(super) fn mtu(&self) -> Result<Option<u32>, CniError> {
        let mtu = self.keys().integer("mtu", 0, 65_535)?.filter(|mtu| *mtu > 0);
        Ok(mtu.and_then(|mtu| u32::try_from(mtu).ok()))
    }

    /// Addresses and routes: of the IPAM plugin, which must have given one if it was asked.
    pub(super) fn addressed(&self) -> Result<Option<&'a CniResult>, CniError> {
        match self.ipam {
            Some(ipam) if ipam.ips.is_empty() => {
                Err(refused("the IPAM plugin gave no address; look at the key \"ipam\" and its ranges"))
            }
            ipam => Ok(ipam),
        }
    }

    /// The hardware address of a link that is born: the wanted one, or one that follows from its first IPv4 address, so
    /// that neighbours' caches stay right when that is given again.
    pub(super) fn mac(&self, wanted: Option<Mac>, ips: &[netmode_model::cni::Ip]) -> Mac {
        let derived = ips.iter().find_map(|ip| match ip.address.ip() {
            IpAddr::V4(ip) => Some(Mac::from_ipv4(ip)),
            IpAddr::V6(_) => None,
        });
        wanted.or(derived).unwrap_or_else(|| self.own_mac())
    }

    /// The hardware address of the host's end of a pair.
    pub(super) fn host_mac(&self) -> Mac {
        let [_, a, b, c, d, e] = self.own_mac().octets();
        Mac::from_octets([0x0e, a, b, c, d, e])
    }

    /// A hardware address of nobody else.
    pub(super) fn own_mac(&self) -> Mac {
        let hex = self.id.hex(5);
        let byte = |n: usize| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap_or_default();
        // Locally administered, of one station (IEEE 802 §8.2).
        Mac::from_octets([0x0a, byte(0), byte(1), byte(2), byte(3), byte(4)])
    }

    /// The name of the link on the host: as the reference has it, `veth` and eight digits.
    pub(super) fn host_link(&self) -> Result<IfName, CniError> {
        format!("veth{}", self.id.hex(4)).parse().map_err(|_| refused("no name for a link"))
    }

    /// What says whose a link of the host is.
    pub(super) fn alias(&self) -> String {
        format!("netmode/{}/cni/{}", self.settings.instance, self.id.short())
    }

    /// The link inside, as the result shows it.
    pub(super) fn interface(&self, name: &IfName, mac: Mac, mtu: Option<u32>) -> Interface {
        let sandbox = self.call.netns.clone().unwrap_or_default();
        Interface { name: name.to_string(), mac: mac.to_string(), mtu, sandbox, ..Interface::default() }
    }

    /// The step that adds an element to our table.
    pub(super) fn element(&self, element: Element) -> Op {
        Op::ElementAdd { table: TableName::inet(&self.settings.table), element }
    }

    /// `dns` of the configuration, else the IPAM plugin's.
    pub(super) fn dns(&self) -> serde_json::Map<String, serde_json::Value> {
        let configured = self.config.get("dns").and_then(serde_json::Value::as_object).filter(|dns| !dns.is_empty());
        configured.or(self.ipam.map(|ipam| &ipam.dns)).cloned().unwrap_or_default()
    }
}

/// A link of the host, as the result shows it.
pub(super) fn of_host(name: &IfName, mac: Option<Mac>) -> Interface {
    let mac = mac.map(|mac| mac.to_string()).unwrap_or_default();
    Interface { name: name.to_string(), mac, ..Interface::default() }
}

/// An element of a set of addresses.
pub(super) fn member(set: &str, ip: IpAddr) -> Element {
    Element { set: set.into(), key: vec![Span::One(Datum::ip(ip))], data: vec![] }
}

/// An element of a set of link names.
pub(super) fn link_member(set: &str, names: &[&IfName]) -> Element {
    let key = names.iter().map(|name| Span::One(Datum::Name((*name).clone()))).collect();
    Element { set: set.into(), key, data: vec![] }
}

/// An element that says: between a prefix and itself.
pub(super) fn within(set: &str, prefix: IpNetwork) -> Element {
    let whole = || Span::Range(Datum::ip(prefix.network()), Datum::ip(prefix.broadcast()));
    Element { set: set.into(), key: vec![whole(), whole()], data: vec![] }
}
