//! What stands in for an ENI, and why: decided from what the kernel was seen to do and what the parent is.

use netmode_model::op::{IpvlanMode, MacvlanMode};
use netmode_model::vpc::Backend;
use netmode_model::{IfName, Mac};
use std::net::IpAddr;

/// What was found out before a stand-in is chosen.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Kinds of links that this kernel cannot make, each with its reason (`macvlan`, `ipvlan`, `vlan`).
    pub missing: Vec<(String, String)>,
    /// The parent, where there is one.
    pub parent: Option<Parent>,
}

/// What matters of a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its name.
    pub name: IfName,
    /// IFF_UP.
    pub up: bool,
    /// Name of the link that it is a port of.
    pub master: Option<IfName>,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// It is a station of a wireless network: the access point takes frames from one hardware address alone
    /// (IEEE 802.11, three-address format).
    pub wireless: bool,
    /// A machine that answers the parent and not another hardware address on it: a switch on the way takes frames from
    /// one address alone.
    pub filtered: Option<IpAddr>,
}

/// Why a stand-in cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StandInError {
    /// The kernel cannot make the link.
    #[error(
        "backend {backend}: this kernel cannot make a {kind} link ({why}); load its module, or choose veth, which works everywhere"
    )]
    NoKernel {
        /// What was asked for.
        backend: Backend,
        /// The kind of link.
        kind: String,
        /// What the kernel says.
        why: String,
    },
    /// It needs a parent.
    #[error("backend {0}: there is no parent link: this host has no default route; name a link with --parent")]
    NoParent(Backend),
    /// The parent is a port.
    #[error("the parent {parent} is a port of {master}, which takes every frame from it; give --parent {master}")]
    Port {
        /// The parent.
        parent: IfName,
        /// The bridge or bond.
        master: IfName,
    },
    /// The parent is down.
    #[error("the parent {0} is down; bring it up with \"ip link set dev {0} up\"")]
    Down(IfName),
    /// The parent takes frames from its own hardware address alone.
    #[error(
        "backend {backend}: {parent} is a wireless link, and an access point takes frames from its own hardware address alone; choose ipvlan"
    )]
    Wireless {
        /// What was asked for.
        backend: Backend,
        /// The parent.
        parent: IfName,
    },
    /// A switch on the way takes frames from one hardware address alone.
    #[error(
        "backend {backend}: {ip} answers {parent} and no other hardware address on it, so a switch on the way takes one address alone; choose ipvlan, or let the switch take several"
    )]
    Filtered {
        /// What was asked for.
        backend: Backend,
        /// The parent.
        parent: IfName,
        /// Who was asked.
        ip: IpAddr,
    },
}

impl Parent {
    /// Why tasks cannot have hardware addresses of their own on it.
    fn one_address(&self) -> Option<String> {
        let by = |ip: IpAddr| format!("{ip} answers {} and no other hardware address on it", self.name);
        let wireless = || self.wireless.then(|| format!("{} is wireless", self.name));
        wireless().or_else(|| self.filtered.map(by))
    }
}

fn kind(backend: Backend) -> Option<&'static str> {
    match backend {
        Backend::Auto | Backend::Veth => None,
        Backend::Macvlan(_) => Some("macvlan"),
        Backend::Ipvlan(_) => Some("ipvlan"),
        Backend::Vlan => Some("vlan"),
    }
}

impl Found {
    fn lacks(&self, backend: Backend) -> Option<(String, String)> {
        let kind = kind(backend)?;
        self.missing.iter().find(|(k, _)| k == kind).cloned()
    }
}

/// The stand-in for a wish, and the reason in words.
///
/// # Errors
/// What was wished for cannot be; `auto` always can.
pub fn choose(wanted: Backend, on_lan: bool, found: &Found) -> Result<(Backend, String), StandInError> {
    match wanted {
        Backend::Auto => Ok(auto(on_lan, found)),
        Backend::Veth => Ok((Backend::Veth, "asked for".into())),
        backend => {
            if let Some((kind, why)) = found.lacks(backend) {
                return Err(StandInError::NoKernel { backend, kind, why });
            }
            let parent = found.parent.as_ref().ok_or(StandInError::NoParent(backend))?;
            usable(parent)?;
            match backend {
                Backend::Macvlan(_) if parent.wireless => {
                    Err(StandInError::Wireless { backend, parent: parent.name.clone() })
                }
                Backend::Macvlan(_) => match parent.filtered {
                    Some(ip) => Err(StandInError::Filtered { backend, parent: parent.name.clone(), ip }),
                    None => Ok((backend, "asked for".into())),
                },
                _ => Ok((backend, "asked for".into())),
            }
        }
    }
}

fn usable(parent: &Parent) -> Result<(), StandInError> {
    match &parent.master {
        Some(master) => Err(StandInError::Port { parent: parent.name.clone(), master: master.clone() }),
        None if !parent.up => Err(StandInError::Down(parent.name.clone())),
        None => Ok(()),
    }
}

/// Where a LAN's own prefix is wanted, tasks have to be on the LAN; elsewhere the stand-in that works everywhere does.
fn auto(on_lan: bool, found: &Found) -> (Backend, String) {
    let veth = |why: String| (Backend::Veth, why);
    let Some(parent) = &found.parent else { return veth("no parent: this host has no default route".into()) };
    if !on_lan {
        return veth(format!("the prefix is not that of {}: routed by this host", parent.name));
    }
    if let Err(why) = usable(parent) {
        return veth(why.to_string());
    }
    let (macvlan, ipvlan) = (Backend::Macvlan(MacvlanMode::Bridge), Backend::Ipvlan(IpvlanMode::L2));
    match (parent.one_address(), found.lacks(macvlan), found.lacks(ipvlan)) {
        (None, None, _) => (macvlan, format!("{} is a wire, and this kernel makes macvlans", parent.name)),
        (Some(one), _, None) => (ipvlan, format!("{one}: one hardware address for all")),
        (Some(one), _, Some((_, why))) => veth(format!("{one}, and there is no ipvlan ({why})")),
        (None, Some(_), None) => (ipvlan, "this kernel makes ipvlans and no macvlans".into()),
        (None, Some((_, why)), Some(_)) => veth(format!("this kernel makes neither macvlan nor ipvlan ({why})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(edit: impl Fn(&mut Parent), missing: &[&str]) -> Found {
        let name = "eth0".parse().unwrap();
        let mut parent = Parent { name, up: true, master: None, mac: None, mtu: 9001, wireless: false, filtered: None };
        edit(&mut parent);
        let missing = missing.iter().map(|kind| ((*kind).to_owned(), "Unknown device type".to_owned())).collect();
        Found { missing, parent: Some(parent) }
    }

    #[test]
    fn auto_takes_what_works_and_says_why() {
        let auto = |on_lan, found: &Found| choose(Backend::Auto, on_lan, found).unwrap();
        let chosen = |found: &Found| auto(true, found).0.to_string();
        assert_eq!(chosen(&found(|_| {}, &[])), "macvlan:bridge");
        assert_eq!(chosen(&found(|p| p.wireless = true, &[])), "ipvlan:l2");
        assert_eq!(chosen(&found(|p| p.wireless = true, &["ipvlan"])), "veth");
        let filter = |p: &mut Parent| p.filtered = "192.0.2.1".parse().ok();
        assert_eq!(chosen(&found(filter, &[])), "ipvlan:l2");
        assert_eq!(chosen(&found(filter, &["ipvlan"])), "veth");
        assert_eq!(chosen(&found(|_| {}, &["macvlan"])), "ipvlan:l2");
        assert_eq!(chosen(&found(|_| {}, &["macvlan", "ipvlan"])), "veth");
        assert_eq!(chosen(&found(|p| p.master = "br0".parse().ok(), &[])), "veth");
        let (backend, why) = auto(false, &found(|_| {}, &[]));
        assert_eq!((backend, why.as_str()), (Backend::Veth, "the prefix is not that of eth0: routed by this host"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_next_step() {
        let refused =
            |wanted: &str, found: &Found| choose(wanted.parse().unwrap(), true, found).unwrap_err().to_string();
        let text = refused("ipvlan", &found(|_| {}, &["ipvlan"]));
        assert!(text.contains("cannot make a ipvlan link (Unknown device type)") && text.contains("choose veth"));
        assert!(refused("macvlan", &found(|p| p.wireless = true, &[])).ends_with("choose ipvlan"));
        let text = refused("macvlan", &found(|p| p.filtered = "192.0.2.1".parse().ok(), &[]));
        assert!(text.contains("192.0.2.1 answers eth0") && text.contains("choose ipvlan"), "{text}");
        assert!(refused("macvlan", &found(|p| p.up = false, &[])).contains("ip link set dev eth0 up"));
        assert!(refused("vlan", &found(|p| p.master = "br0".parse().ok(), &[])).ends_with("give --parent br0"));
        assert!(refused("macvlan", &Found::default()).contains("--parent"));
    }
}
