//! Links, hardware addresses, namespaces.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::{fmt, str::FromStr};

/// A link's name: 1–15 bytes, no `/`, `:`, white space or control characters, not `.` or `..`
/// (kernel `dev_valid_name`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

/// The text cannot name a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a link name: 1 to 15 characters without \"/\", \":\" or spaces")]
pub struct BadIfName(pub String);

impl IfName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = BadIfName;
    fn from_str(s: &str) -> Result<Self, BadIfName> {
        let fits = (1..=15).contains(&s.len()) && s != "." && s != "..";
        let plain = s.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        if fits && plain { Ok(Self(s.into())) } else { Err(BadIfName(s.chars().take(64).collect())) }
    }
}

impl TryFrom<String> for IfName {
    type Error = BadIfName;
    fn try_from(s: String) -> Result<Self, BadIfName> {
        s.parse()
    }
}

impl From<IfName> for String {
    fn from(n: IfName) -> String {
        n.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A 48-bit hardware address of a single station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

/// The text is no usable hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMac {
    /// Not six pairs of hex digits.
    #[error("{0:?} is not a MAC address: six pairs of hex digits such as 02:42:ac:11:00:02")]
    Malformed(String),
    /// The group bit is set (IEEE 802: bit 0 of the first octet).
    #[error("the MAC address {0} is a multicast address; the second digit must be even")]
    Multicast(String),
    /// All zero: the kernel refuses it (`is_valid_ether_addr`).
    #[error("the MAC address {0} is all zero")]
    Zero(String),
}

impl Mac {
    /// Makes an address of its octets without checking them.
    pub const fn from_octets(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// `02:42` and the four bytes of the address: Docker's rule up to version 27. An address that is
    /// given again keeps its hardware address, so neighbours' caches stay right.
    pub fn from_ipv4(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The one that follows from an address: that of [`Mac::from_ipv4`], or `02:46` and four bytes in which those of a
    /// prefix differ as long as their last four bytes do.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::from_ipv4(ip),
            IpAddr::V6(ip) => {
                let folded =
                    ip.octets().chunks_exact(4).fold([0; 4], |sum, part| [0, 1, 2, 3].map(|n| sum[n] ^ part[n]));
                let [a, b, c, d] = folded;
                Self([0x02, 0x46, a, b, c, d])
            }
        }
    }

    /// The six octets.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = BadMac;
    fn from_str(s: &str) -> Result<Self, BadMac> {
        let bad = || BadMac::Malformed(s.chars().take(64).collect());
        let mut octets = [0; 6];
        let mut parts = s.split([':', '-']);
        for octet in &mut octets {
            let part =
                parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit())).ok_or_else(bad)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        match (parts.next(), octets) {
            (Some(_), _) => Err(bad()),
            (None, [0, 0, 0, 0, 0, 0]) => Err(BadMac::Zero(s.into())),
            (None, [first, ..]) if first & 1 == 1 => Err(BadMac::Multicast(s.into())),
            (None, octets) => Ok(Self(octets)),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = BadMac;
    fn try_from(s: String) -> Result<Self, BadMac> {
        s.parse()
    }
}

impl From<Mac> for String {
    fn from(m: Mac) -> String {
        m.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A namespace by its pin: the file name below `/run/netns`, as `ip netns` shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetnsName(String);

/// The text cannot name a pinned namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name a network namespace: 1 to 64 letters, digits, \"_\", \".\" or \"-\"")]
pub struct BadNetnsName(pub String);

impl NetnsName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetnsName {
    type Err = BadNetnsName;
    fn from_str(s: &str) -> Result<Self, BadNetnsName> {
        let plain = s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        let fits = (1..=64).contains(&s.len()) && s != "." && s != "..";
        if fits && plain { Ok(Self(s.into())) } else { Err(BadNetnsName(s.chars().take(64).collect())) }
    }
}

impl TryFrom<String> for NetnsName {
    type Error = BadNetnsName;
    fn try_from(s: String) -> Result<Self, BadNetnsName> {
        s.parse()
    }
}

impl From<NetnsName> for String {
    fn from(n: NetnsName) -> String {
        n.0
    }
}

impl fmt::Display for NetnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an operation takes place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The namespace the agent was started in.
    Host,
    /// A namespace pinned below `/run/netns`.
    Netns(NetnsName),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_follows_the_address() {
        assert_eq!(Mac::from_ipv4(Ipv4Addr::new(172, 17, 0, 3)).to_string(), "02:42:ac:11:00:03");
        let of = |ip: &str| Mac::of(ip.parse().unwrap()).to_string();
        assert_eq!(
            [of("172.17.0.3"), of("fd00:2::4"), of("fd00:2::5")],
            ["02:42:ac:11:00:03", "02:46:fd:00:00:06", "02:46:fd:00:00:07"]
        );
    }

    #[test]
    fn bad_hardware_addresses_are_told_apart() {
        assert!(matches!("02:42".parse::<Mac>(), Err(BadMac::Malformed(_))));
        assert!(matches!("02:42:ac:11:00:03:04".parse::<Mac>(), Err(BadMac::Malformed(_))));
        assert!(matches!("01:00:5e:00:00:01".parse::<Mac>(), Err(BadMac::Multicast(_))));
        assert!(matches!("00:00:00:00:00:00".parse::<Mac>(), Err(BadMac::Zero(_))));
        assert!("02-42-AC-11-00-03".parse::<Mac>().is_ok());
    }

    #[test]
    fn link_names_are_the_kernels() {
        for bad in ["", "a/b", "a b", "x:1", "abcdefghijklmnop", ".", ".."] {
            assert!(bad.parse::<IfName>().is_err(), "{bad}");
        }
        assert!("nm0".parse::<IfName>().is_ok());
    }
}
