//! A network that somebody wishes for becomes one that can be made.

use crate::ipam;
use crate::network::Network;
use crate::settings::{HostFacts, Settings};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use netmode_model::{ApiError, Code, DEFAULT_NETWORK, Id, IfName, NetworkRequest, RequestedMode};
use std::net::{IpAddr, Ipv6Addr};

/// Length of the prefixes that are chosen for user-defined networks: 253 containers each, thousands of networks.
const CHOSEN: u8 = 24;

/// Least MTU of IPv4 (RFC 791) and of IPv6 (RFC 8200 §5), in bytes.
const LEAST_MTU: (u32, u32) = (68, 1280);

/// The greatest that the kernel gives a bridge (`ETH_MAX_MTU`), in bytes.
const GREATEST_MTU: u32 = 65_535;

/// Why a network cannot be made. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// It has no name, or one that cannot be.
    #[error("the network needs a name other than {0:?}, which is a network mode; choose another one")]
    BadName(String),
    /// The name is taken.
    #[error("the name {0} is taken by a network; choose another one or remove it with \"netmode network rm {0}\"")]
    NameTaken(String),
    /// Two of one kind.
    #[error("{what} is given twice for one family; give one for IPv4 and one for IPv6 at most")]
    Twice {
        /// The flag.
        what: &'static str,
    },
    /// The prefix has bits behind its length.
    #[error("the subnet {given} has bits set behind its length; write {meant}")]
    HostBits {
        /// What was given.
        given: IpNetwork,
        /// What it may mean.
        meant: IpNetwork,
    },
    /// Too few addresses, or an IPv6 prefix longer than /64.
    #[error("the subnet {prefix} is too small: IPv4 needs /30 or larger, IPv6 /64 or larger; choose a larger one")]
    TooSmall {
        /// The prefix.
        prefix: IpNetwork,
    },
    /// Addresses of its kind are no host's (RFC 6890).
    #[error("the subnet {prefix} has {kind} addresses, which no container can have; choose another one with --subnet")]
    NotForHosts {
        /// The prefix.
        prefix: IpNetwork,
        /// What they are.
        kind: &'static str,
    },
    /// Somebody has it.
    #[error("the subnet {prefix} overlaps {other} of {owner}; choose another one with --subnet")]
    Overlap {
        /// The prefix.
        prefix: IpNetwork,
        /// The other one.
        other: IpNetwork,
        /// A network of ours, a link of the host, a route of a table.
        owner: String,
    },
    /// No pool has a free part.
    #[error(
        "no free subnet is left in the pools {pools}; give one with --subnet, or more pools in the section [bridge]"
    )]
    Exhausted {
        /// The pools.
        pools: String,
    },
    /// The gateway has the address of the network, or that of all of its hosts.
    #[error("the gateway {ip} is the {kind} address of {prefix}; give another one")]
    NoHost {
        /// What was given.
        ip: IpAddr,
        /// `network` or `broadcast`.
        kind: &'static str,
        /// The prefix.
        prefix: IpNetwork,
    },
    /// Not within a prefix of the network.
    #[error("{what} {value} is not within {prefixes}; give one that is")]
    Outside {
        /// `the gateway`, `the range`.
        what: &'static str,
        /// What was given.
        value: String,
        /// The prefixes.
        prefixes: String,
    },
    /// An option that does not exist, or a value that cannot be.
    #[error("-o {key}={value}: {why}")]
    Option {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Why, and what would do.
        why: String,
    },
    /// The kernel was started without IPv6.
    #[error("this kernel has no IPv6; leave out --ipv6, or boot without ipv6.disable")]
    NoIpv6,
}

impl WishError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NameTaken(_) => Code::NameTaken,
            Self::Overlap { .. } => Code::AddressTaken,
            Self::Exhausted { .. } => Code::PoolExhausted,
            Self::Outside { .. } | Self::NoHost { .. } => Code::AddressOutside,
            _ => Code::Invalid,
        }
    }
}

impl From<WishError> for ApiError {
    fn from(error: WishError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// Of the family, at most one.
fn one<T: Copy>(all: &[T], of_family: impl Fn(&T) -> bool, what: &'static str) -> Result<Option<T>, WishError> {
    match all.iter().copied().filter(|t| of_family(t)).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(WishError::Twice { what }),
    }
}

/// The network of a request.
///
/// # Errors
/// See [`WishError`].
pub fn network(
    request: &NetworkRequest,
    settings: &Settings,
    facts: &HostFacts,
    others: &[Network],
    id: Id,
    created: String,
) -> Result<Network, WishError> {
    let name = request.name.as_ref().map(ToString::to_string).unwrap_or_default();
    if name.is_empty() || name == DEFAULT_NETWORK || name.parse::<RequestedMode>().is_ok() {
        return Err(WishError::BadName(name));
    }
    if others.iter().any(|n| n.name == name) {
        return Err(WishError::NameTaken(name));
    }
    let taken = Taken { facts, others };
    let v4 = match one(&request.subnets, IpNetwork::is_ipv4, "--subnet")? {
        Some(IpNetwork::V4(given)) => taken.checked4(given)?,
        _ => taken.choose4(&settings.bridge.pools)?,
    };
    let v6 = match one(&request.subnets, IpNetwork::is_ipv6, "--subnet")? {
        Some(IpNetwork::V6(given)) => Some(taken.checked6(given)?),
        _ => request.ipv6.then(|| unique_local(id)),
    };
    if v6.is_some() && !settings.kernel_ipv6 {
        return Err(WishError::NoIpv6);
    }
    let mut network = Network::plain(id, &name, link_name(id), Some(v4), facts.egress_mtu, created);
    network.v6 = v6;
    network.internal = request.internal;
    network.labels = request.labels.clone();
    network.chosen_gateways = gateways(request, &network)?;
    network.ip_ranges = ranges(request, &network)?;
    network.mac = network.derived_mac();
    options(request, &mut network)?;
    Ok(network)
}

/// The name of a link of the host: `nm` and 11 hex digits of the id, 13 of the 15 bytes that it may have.
pub(crate) fn link_name(id: Id) -> IfName {
    let name = format!("nm{}", &id.hex(6)[..11]);
    name.parse().unwrap_or_else(|_| unreachable!("hex digits make a link name"))
}

/// Whether a link has a name that [`link_name`] could have made.
pub(crate) fn is_link_name(name: &IfName) -> bool {
    let digits = name.as_str().strip_prefix("nm").unwrap_or_default();
    digits.len() == 11 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// RFC 4193 §3.2: fd00::/8 and 40 random bits, which here are the id's; subnet 0.
fn unique_local(id: Id) -> Ipv6Network {
    let digits = id.hex(5);
    let global = u128::from_str_radix(&digits, 16).unwrap_or_default();
    let address = Ipv6Addr::from((0xfd << 120) | (global << 80));
    Ipv6Network::new(address, 64).unwrap_or_else(|_| unreachable!("64 is a length"))
}

struct Taken<'a> {
    facts: &'a HostFacts,
    others: &'a [Network],
}

impl Taken<'_> {
    fn free(&self, prefix: IpNetwork) -> Result<(), WishError> {
        let ours = self.others.iter().find_map(|n| {
            let other = n.prefixes().into_iter().find(|p| ipam::overlap(*p, prefix))?;
            Some((other, format!("network {}", n.name)))
        });
        let bridges = |dev: &str| self.others.iter().any(|n| n.bridge.as_str() == dev);
        let hosts = || {
            let (other, dev) = self.facts.overlapping(prefix, None).filter(|(_, dev)| !bridges(dev))?;
            Some((ipam::canonical(*other), if dev.contains(' ') { dev.clone() } else { format!("link {dev}") }))
        };
        match ours.or_else(hosts) {
            Some((other, owner)) => Err(WishError::Overlap { prefix, other, owner }),
            None => Ok(()),
        }
    }

    fn checked(&self, given: IpNetwork, longest: u8) -> Result<IpNetwork, WishError> {
        let prefix = ipam::canonical(given);
        if prefix.ip() != given.ip() {
            return Err(WishError::HostBits { given, meant: prefix });
        }
        if prefix.prefix() > longest {
            return Err(WishError::TooSmall { prefix });
        }
        if let Some(kind) = kind_of(prefix.ip()) {
            return Err(WishError::NotForHosts { prefix, kind });
        }
        self.free(prefix).map(|()| prefix)
    }

    fn checked4(&self, given: Ipv4Network) -> Result<Ipv4Network, WishError> {
        self.checked(IpNetwork::V4(given), 30).map(|_| given)
    }

    fn checked6(&self, given: Ipv6Network) -> Result<Ipv6Network, WishError> {
        self.checked(IpNetwork::V6(given), 64).map(|_| given)
    }

    /// The first free part of the pools.
    fn choose4(&self, pools: &[Ipv4Network]) -> Result<Ipv4Network, WishError> {
        for pool in pools {
            let length = pool.prefix().max(CHOSEN);
            let parts = 1u64 << (length - pool.prefix());
            for part in 0..parts {
                let network = u64::from(u32::from(pool.network())) + (part << (32 - length));
                let Ok(prefix) = Ipv4Network::new((network as u32).into(), length) else { continue };
                match self.free(IpNetwork::V4(prefix)) {
                    Ok(()) => return Ok(prefix),
                    // Nothing of this pool is left.
                    Err(WishError::Overlap { other: IpNetwork::V4(other), .. })
                        if other.prefix() <= pool.prefix() && other.contains(pool.network()) =>
                    {
                        break;
                    }
                    Err(_) => {}
                }
            }
        }
        let pools: Vec<String> = pools.iter().map(ToString::to_string).collect();
        Err(WishError::Exhausted { pools: pools.join(", ") })
    }
}

/// Why addresses like this one are no host's; `None` where they can be.
fn kind_of(ip: IpAddr) -> Option<&'static str> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let kinds = [
        (ip.is_multicast(), "multicast"),
        (ip.is_loopback(), "loopback"),
        (ip.is_unspecified(), "unspecified"),
        (link_local, "link-local"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
}

fn listed(network: &Network) -> String {
    network.prefixes().iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn gateways(request: &NetworkRequest, network: &Network) -> Result<Vec<IpAddr>, WishError> {
    one(&request.gateways, IpAddr::is_ipv4, "--gateway")?;
    one(&request.gateways, IpAddr::is_ipv6, "--gateway")?;
    for ip in &request.gateways {
        let Some(prefix) = network.prefixes().into_iter().find(|p| p.contains(*ip)) else {
            let what = "the gateway";
            return Err(WishError::Outside { what, value: ip.to_string(), prefixes: listed(network) });
        };
        let no_host = |kind| Err(WishError::NoHost { ip: *ip, kind, prefix });
        match *ip {
            ip if ip == prefix.network() => return no_host("network"),
            ip if ip.is_ipv4() && ip == prefix.broadcast() => return no_host("broadcast"),
            _ => {}
        }
    }
    Ok(request.gateways.clone())
}

fn ranges(request: &NetworkRequest, network: &Network) -> Result<Vec<IpNetwork>, WishError> {
    one(&request.ip_ranges, IpNetwork::is_ipv4, "--ip-range")?;
    one(&request.ip_ranges, IpNetwork::is_ipv6, "--ip-range")?;
    for range in &request.ip_ranges {
        let within = |p: &IpNetwork| p.contains(range.network()) && range.prefix() >= p.prefix();
        if !network.prefixes().iter().any(within) {
            let what = "the range";
            return Err(WishError::Outside { what, value: range.to_string(), prefixes: listed(network) });
        }
    }
    Ok(request.ip_ranges.iter().copied().map(ipam::canonical).collect())
}

fn options(request: &NetworkRequest, network: &mut Network) -> Result<(), WishError> {
    for (key, value) in &request.options {
        let bad = |why: String| WishError::Option { key: key.clone(), value: value.clone(), why };
        let truth = || match value.as_str() {
            "true" | "1" | "on" => Ok(true),
            "false" | "0" | "off" => Ok(false),
            _ => Err(bad("write true or false".into())),
        };
        match key.as_str() {
            "mtu" | "com.docker.network.driver.mtu" => {
                let least = if network.v6.is_some() { LEAST_MTU.1 } else { LEAST_MTU.0 };
                let mtu = value.parse::<u32>().ok().filter(|mtu| (least..=GREATEST_MTU).contains(mtu));
                network.mtu = mtu.ok_or_else(|| {
                    bad(format!("the MTU must be from {least} to {GREATEST_MTU} bytes, and at least 1280 with IPv6"))
                })?;
                network.mtu_chosen = true;
            }
            "icc" | "com.docker.network.bridge.enable_icc" => network.icc = truth()?,
            "masquerade" | "com.docker.network.bridge.enable_ip_masquerade" => network.masquerade = truth()?,
            _ => return Err(bad("no such option; there are mtu, icc and masquerade".into())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(edit: impl Fn(&mut NetworkRequest)) -> Result<Network, WishError> {
        let mut request = NetworkRequest { name: "app".parse().ok(), ..NetworkRequest::default() };
        edit(&mut request);
        let other = |p: &str, dev: &str| (p.parse().unwrap(), dev.to_owned());
        let facts = HostFacts {
            prefixes: vec![
                other("172.19.0.0/16", "eth1"),
                other("172.17.0.0/16", "nm0"),
                other("10.8.0.0/24", "a route by tun0 in table 77"),
            ],
            egress_mtu: 1450,
        };
        let id = |n| Id::from_bytes([n; 16]);
        let default =
            Network::plain(id(9), "bridge", "nm0".parse().unwrap(), "172.17.0.0/16".parse().ok(), 1500, String::new());
        let used =
            Network::plain(id(8), "used", "nm8".parse().unwrap(), "172.18.0.0/24".parse().ok(), 1500, String::new());
        network(&request, &Settings::default(), &facts, &[default, used], id(0xab), String::new())
    }

    fn subnet(prefix: &'static str) -> impl Fn(&mut NetworkRequest) {
        move |r| r.subnets = vec![prefix.parse().unwrap()]
    }

    #[test]
    fn the_first_free_part_of_the_pools_and_a_unique_local_prefix() {
        let net = wish(|r| r.ipv6 = true).unwrap();
        assert_eq!(net.v4.unwrap().to_string(), "172.18.1.0/24");
        assert_eq!(net.v6.unwrap().to_string(), "fdab:abab:abab::/64");
        assert_eq!((net.bridge.as_str(), net.mtu), ("nmabababababa", 1450));
        assert_eq!(
            net.gateways().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["172.18.1.1/24", "fdab:abab:abab::1/64"]
        );
    }

    #[test]
    fn what_is_chosen_is_kept() {
        let net = wish(|r| {
            r.subnets = vec!["10.9.0.0/16".parse().unwrap(), "fd01:2::/64".parse().unwrap()];
            r.gateways = vec!["10.9.255.254".parse().unwrap()];
            r.ip_ranges = vec!["10.9.4.0/24".parse().unwrap()];
            r.options =
                [("icc".into(), "false".into()), ("com.docker.network.driver.mtu".into(), "9000".into())].into();
        })
        .unwrap();
        assert_eq!(net.gateway4().unwrap().to_string(), "10.9.255.254/16");
        assert_eq!((net.icc, net.mtu, net.mtu_chosen), (false, 9000, true));
        assert_eq!(net.pools()[0].clone().take_lowest(net.id).unwrap().to_string(), "10.9.4.0");
        assert_eq!(net.pools()[1].clone().take_lowest(net.id).unwrap().to_string(), "fd01:2::2");
    }

    #[test]
    fn each_refusal_names_what_is_in_the_way() {
        let says = |edit: &dyn Fn(&mut NetworkRequest), code: Code, words: &[&str]| {
            let error = wish(edit).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            for word in words {
                assert!(error.to_string().contains(word), "{error}: {word}");
            }
        };
        says(&subnet("172.19.4.0/24"), Code::AddressTaken, &["172.19.0.0/16", "eth1"]);
        says(&subnet("172.18.0.0/16"), Code::AddressTaken, &["172.18.0.0/24", "network used"]);
        says(&subnet("10.8.0.128/25"), Code::AddressTaken, &["a route by tun0 in table 77"]);
        says(&subnet("10.9.0.0/31"), Code::Invalid, &["10.9.0.0/31", "/30"]);
        says(&subnet("10.9.0.0/32"), Code::Invalid, &["10.9.0.0/32"]);
        says(&subnet("fd01::/65"), Code::Invalid, &["/64"]);
        says(&subnet("10.9.0.1/24"), Code::Invalid, &["10.9.0.0/24"]);
        says(&|r| r.gateways = vec!["10.9.0.1".parse().unwrap()], Code::AddressOutside, &["10.9.0.1", "172.18.1.0/24"]);
        says(&|r| r.gateways = vec!["172.18.1.255".parse().unwrap()], Code::AddressOutside, &["172.18.1.255"]);
        says(&|r| r.ip_ranges = vec!["172.18.0.0/16".parse().unwrap()], Code::AddressOutside, &["172.18.0.0/16"]);
        says(&|r| r.options = [("mtu".into(), "67".into())].into(), Code::Invalid, &["68"]);
        says(&|r| (r.ipv6, r.options) = (true, [("mtu".into(), "1279".into())].into()), Code::Invalid, &["1280"]);
        says(&|r| r.options = [("colour".into(), "red".into())].into(), Code::Invalid, &["colour", "icc"]);
        says(&|r| r.name = "used".parse().ok(), Code::NameTaken, &["used", "network rm"]);
        says(&|r| r.name = "host".parse().ok(), Code::Invalid, &["host"]);
        says(&|r| r.name = None, Code::Invalid, &["name"]);
    }
}
