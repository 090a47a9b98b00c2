//! Ports: what `-p` says, and what is published in the end.

use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, str::FromStr};

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IANA 6.
    Tcp,
    /// IANA 17.
    Udp,
    /// IANA 132.
    Sctp,
}

impl Protocol {
    /// IANA's number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol of a word, if it is one of the three.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|protocol| protocol.to_string() == word)
    }

    /// The protocol of a number, if it is one of the three.
    pub const fn from_number(n: u8) -> Option<Self> {
        match n {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One or more neighbouring ports, 1–65535, first ≤ last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// A range; `None` for port 0 or a last port before the first.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || last < first { None } else { Some(Self { first, last }) }
    }

    /// A single port; `None` for 0.
    pub const fn single(port: u16) -> Option<Self> {
        Self::new(port, port)
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports, 1–65535.
    pub const fn count(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }

    /// Whether the two share a port.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether the port is one of them.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether these are all that there are.
    pub const fn is_all(self) -> bool {
        self.first == 1 && self.last == u16::MAX
    }

    /// Every port, lowest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for PortRange {
    type Err = BadPort;
    fn from_str(s: &str) -> Result<Self, BadPort> {
        let (first, last) = s.split_once('-').unwrap_or((s, s));
        let (first, last) = (port(first)?, port(last)?);
        Self::new(first, last).ok_or(BadPort::Reversed { first, last })
    }
}

impl Serialize for PortRange {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The host side of a mapping.
///
/// Without an address a port is published on every address of both families; `0.0.0.0` and `::`
/// name every address of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Option<IpAddr>", into = "Option<IpAddr>")]
pub enum HostAddr {
    /// Every address of both families.
    Any,
    /// This address, or every one of its family if it is unspecified.
    Ip(IpAddr),
}

impl HostAddr {
    /// Whether IPv4 packets can match.
    pub fn has_v4(self) -> bool {
        !matches!(self, Self::Ip(IpAddr::V6(_)))
    }

    /// Whether IPv6 packets can match.
    pub fn has_v6(self) -> bool {
        !matches!(self, Self::Ip(IpAddr::V4(_)))
    }

    /// The one address, where one is named.
    pub fn specific(self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) if !ip.is_unspecified() => Some(ip),
            _ => None,
        }
    }

    /// Whether a port taken on one is taken on the other.
    pub fn overlaps(self, other: Self) -> bool {
        let families = (self.has_v4() && other.has_v4()) || (self.has_v6() && other.has_v6());
        match (self.specific(), other.specific()) {
            (Some(a), Some(b)) => a == b,
            _ => families,
        }
    }
}

impl From<Option<IpAddr>> for HostAddr {
    fn from(ip: Option<IpAddr>) -> Self {
        ip.map_or(Self::Any, Self::Ip)
    }
}

impl From<HostAddr> for Option<IpAddr> {
    fn from(h: HostAddr) -> Self {
        match h {
            HostAddr::Any => None,
            HostAddr::Ip(ip) => Some(ip),
        }
    }
}

/// The address as a socket listing shows it: `0.0.0.0` where none is given.
impl fmt::Display for HostAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("0.0.0.0"),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// A port mapping as asked for: `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, Docker's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortSpec {
    /// Where on the host.
    pub host: HostAddr,
    /// The host's ports; `None` leaves the choice to the agent (ECS `hostPort` 0 or absent).
    pub host_ports: Option<PortRange>,
    /// The container's ports.
    pub container: PortRange,
    /// The protocol; tcp where none is given.
    pub protocol: Protocol,
}

/// The text is no port mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPort {
    /// No number from 1 to 65535.
    #[error("{0:?} is not a port: a port is a number from 1 to 65535")]
    NotAPort(String),
    /// Nothing where the container's port belongs.
    #[error("{0:?} names no container port: write [[IP:][HOST]:]CONTAINER[/PROTOCOL]")]
    NoContainerPort(String),
    /// The range runs downwards.
    #[error("the range {first}-{last} is reversed: write {last}-{first}")]
    Reversed {
        /// What was given first.
        first: u16,
        /// What was given last.
        last: u16,
    },
    /// The two ranges differ in length.
    #[error("the ranges {host} and {container} differ in length ({} and {} ports): both must have the same", host.count(), container.count())]
    Unequal {
        /// The host's ports.
        host: PortRange,
        /// The container's ports.
        container: PortRange,
    },
    /// No transport protocol with ports.
    #[error("unknown protocol {0:?}: choose tcp, udp or sctp")]
    Protocol(String),
    /// No IP address.
    #[error("{0:?} is not an IP address: write IPv4 as 192.0.2.1 and IPv6 in brackets as [2001:db8::1]")]
    Address(String),
}

fn port(s: &str) -> Result<u16, BadPort> {
    let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let number = s.parse::<u16>().ok().filter(|n| digits && *n != 0);
    number.ok_or_else(|| BadPort::NotAPort(s.chars().take(64).collect()))
}

/// Splits `IP:REST` off, where the address may stand in brackets.
fn split_address(s: &str) -> Result<(HostAddr, &str), BadPort> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| BadPort::Address(text.chars().take(64).collect()));
    if let Some(rest) = s.strip_prefix('[') {
        let (ip, rest) = rest.split_once("]:").ok_or_else(|| BadPort::Address(s.chars().take(64).collect()))?;
        return Ok((HostAddr::Ip(address(ip)?), rest));
    }
    match s.rsplitn(3, ':').collect::<Vec<_>>()[..] {
        [container, host, ip] => Ok((HostAddr::Ip(address(ip)?), &s[s.len() - host.len() - 1 - container.len()..])),
        _ => Ok((HostAddr::Any, s)),
    }
}

impl FromStr for PortSpec {
    type Err = BadPort;
    fn from_str(s: &str) -> Result<Self, BadPort> {
        let (mapping, protocol) = s.split_once('/').unwrap_or((s, "tcp"));
        let unknown = || BadPort::Protocol(protocol.chars().take(64).collect());
        let protocol = Protocol::from_word(protocol).ok_or_else(unknown)?;
        let (host, ports) = split_address(mapping)?;
        let (host_ports, container) = ports.split_once(':').unwrap_or(("", ports));
        if container.is_empty() {
            return Err(BadPort::NoContainerPort(s.chars().take(64).collect()));
        }
        let container: PortRange = container.parse()?;
        let host_ports = match host_ports {
            "" | "0" => None,
            given => Some(given.parse::<PortRange>()?),
        };
        match host_ports {
            Some(h) if h.count() != container.count() => Err(BadPort::Unequal { host: h, container }),
            _ => Ok(Self { host, host_ports, container, protocol }),
        }
    }
}

impl TryFrom<String> for PortSpec {
    type Error = BadPort;
    fn try_from(s: String) -> Result<Self, BadPort> {
        s.parse()
    }
}

impl From<PortSpec> for String {
    fn from(p: PortSpec) -> String {
        p.to_string()
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let HostAddr::Ip(_) = self.host {
            write!(f, "{}:", self.host)?;
        }
        match self.host_ports {
            Some(ports) => write!(f, "{ports}:")?,
            None if matches!(self.host, HostAddr::Ip(_)) => f.write_str(":")?,
            None => {}
        }
        write!(f, "{}/{}", self.container, self.protocol)
    }
}

/// A mapping with its host ports settled: what is held, translated and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Published {
    /// Where on the host.
    pub host: HostAddr,
    /// The host's ports; as many as the container's.
    pub host_ports: PortRange,
    /// The container's ports.
    pub container: PortRange,
    /// The protocol.
    pub protocol: Protocol,
}

impl Published {
    /// Whether both stand on the same ports of the host.
    pub fn same_place(&self, other: &Self) -> bool {
        (self.protocol, self.host, self.host_ports) == (other.protocol, other.host, other.host_ports)
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} -> {}:{}", self.container, self.protocol, self.host, self.host_ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(s: &str) -> PortSpec {
        s.parse().unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    #[test]
    fn every_form_of_docker_is_read_and_written_back() {
        for (text, shown) in [
            ("80", "80/tcp"),
            ("8080:80", "8080:80/tcp"),
            (":80", "80/tcp"),
            ("0:80", "80/tcp"),
            ("53:53/udp", "53:53/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80", "127.0.0.1::80/tcp"),
            ("[::1]:8080:80/sctp", "[::1]:8080:80/sctp"),
            ("[2001:db8::1]::80", "[2001:db8::1]::80/tcp"),
            ("8000-8099:80-179", "8000-8099:80-179/tcp"),
            ("80-82", "80-82/tcp"),
        ] {
            assert_eq!(spec(text).to_string(), shown);
            assert_eq!(spec(shown), spec(text));
        }
    }

    #[test]
    fn bad_mappings_say_what_is_wrong() {
        use BadPort::*;
        let error = |s: &str| s.parse::<PortSpec>().map(|_| ()).unwrap_err();
        assert!(matches!(error("8080:0"), NotAPort(_)));
        assert!(matches!(error("65536:80"), NotAPort(_)));
        assert!(matches!(error("-1:80"), NotAPort(_)));
        assert!(matches!(error("+1:80"), NotAPort(_)));
        assert!(matches!(error("90-80:90-80"), Reversed { .. }));
        assert!(matches!(error("8000-8002:80-81"), Unequal { .. }));
        assert!(matches!(error("8000-8002:80"), Unequal { .. }));
        assert!(matches!(error("80/icmp"), Protocol(_)));
        assert!(matches!(error("80/"), Protocol(_)));
        assert!(matches!(error("localhost:80:80"), Address(_)));
        assert!(matches!(error("[::1:80:80"), Address(_)));
        assert!(matches!(error("8080:"), NoContainerPort(_)));
    }

    #[test]
    fn a_port_without_address_is_taken_everywhere() {
        let ip = |s: &str| HostAddr::Ip(s.parse().unwrap());
        assert!(HostAddr::Any.overlaps(ip("192.0.2.1")));
        assert!(ip("0.0.0.0").overlaps(ip("192.0.2.1")));
        assert!(!ip("0.0.0.0").overlaps(ip("::")));
        assert!(!ip("192.0.2.1").overlaps(ip("192.0.2.2")));
        assert!(ip("::").overlaps(HostAddr::Any));
    }
}
