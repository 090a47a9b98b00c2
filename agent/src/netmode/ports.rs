//! Published ports as people read them: IPv4 and IPv6 merged, neighbours put together.

use netmode_model::api::NetworkBinding;
use netmode_model::{PortRange, Protocol};
use std::net::IpAddr;

/// Container ports reachable by host ports of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    container: PortRange,
    protocol: Protocol,
    host: String,
    host_ports: PortRange,
}

impl Line {
    fn of(binding: &NetworkBinding) -> Option<Self> {
        let range = |one: Option<u16>, many: &Option<String>| match (one, many) {
            (Some(port), _) => PortRange::single(port),
            (None, Some(text)) => text.parse().ok(),
            (None, None) => None,
        };
        let host = match binding.bind_ip.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => binding.bind_ip.clone(),
        };
        let container = range(binding.container_port, &binding.container_port_range)?;
        let host_ports = range(binding.host_port, &binding.host_port_range)?;
        (container.count() == host_ports.count()).then_some(Self {
            container,
            protocol: binding.protocol,
            host,
            host_ports,
        })
    }

    /// The two as one, where the other's ports follow on this one's.
    fn joined(&self, next: &Self) -> Option<Self> {
        let follows = |a: PortRange, b: PortRange| a.last().checked_add(1) == Some(b.first());
        let same = self.protocol == next.protocol && self.host == next.host;
        let fits = same && follows(self.container, next.container) && follows(self.host_ports, next.host_ports);
        let merge = |a: PortRange, b: PortRange| PortRange::new(a.first(), b.last());
        let (container, host_ports) =
            (merge(self.container, next.container)?, merge(self.host_ports, next.host_ports)?);
        fits.then(|| Self { container, host_ports, ..self.clone() })
    }

    /// `3000/tcp -> 0.0.0.0:8080`.
    pub(crate) fn arrow(&self) -> String {
        format!("{}/{} -> {}:{}", self.container, self.protocol, self.host, self.host_ports)
    }

    /// `0.0.0.0:8080->3000/tcp`, docker's form in a listing of tasks.
    pub(crate) fn cell(&self) -> String {
        format!("{}:{}->{}/{}", self.host, self.host_ports, self.container, self.protocol)
    }

    /// `0.0.0.0:8080` for one port of the container.
    pub(crate) fn host_of(&self, port: u16, protocol: Protocol) -> Option<String> {
        let ours = self.protocol == protocol && self.container.contains(port);
        ours.then(|| format!("{}:{}", self.host, self.host_ports.first() + (port - self.container.first())))
    }
}

/// The bindings in order of the container's ports.
pub(crate) fn lines<'a>(bindings: impl IntoIterator<Item = &'a NetworkBinding>) -> Vec<Line> {
    let mut all: Vec<Line> = bindings.into_iter().filter_map(Line::of).collect();
    // "::" says nothing new where the same ports are published on every IPv4 address.
    let twins = all.iter().filter(|l| l.host == "0.0.0.0").map(|l| Line { host: "[::]".into(), ..l.clone() });
    let twins: Vec<Line> = twins.collect();
    all.retain(|line| !twins.contains(line));
    all.sort_by(|a, b| {
        (a.protocol, &a.host, a.container, a.host_ports).cmp(&(b.protocol, &b.host, b.container, b.host_ports))
    });
    let mut out: Vec<Line> = Vec::with_capacity(all.len());
    for line in all {
        match out.last().and_then(|last| last.joined(&line)) {
            Some(joined) => {
                out.pop();
                out.push(joined);
            }
            None => out.push(line),
        }
    }
    out.dedup();
    out.sort_by_key(|line| (line.container, line.protocol));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(ip: &str, host: u16, container: u16, protocol: Protocol) -> NetworkBinding {
        NetworkBinding {
            bind_ip: ip.into(),
            container_port: Some(container),
            host_port: Some(host),
            container_port_range: None,
            host_port_range: None,
            protocol,
        }
    }

    #[test]
    fn families_merge_and_neighbours_collapse() {
        let range = NetworkBinding {
            container_port_range: Some("90-99".into()),
            host_port_range: Some("9000-9009".into()),
            container_port: None,
            host_port: None,
            ..binding("127.0.0.1", 1, 1, Protocol::Tcp)
        };
        let all = [
            binding("0.0.0.0", 8080, 3000, Protocol::Tcp),
            binding("::", 8080, 3000, Protocol::Tcp),
            binding("0.0.0.0", 8081, 3001, Protocol::Tcp),
            binding("::", 8081, 3001, Protocol::Tcp),
            binding("0.0.0.0", 53, 53, Protocol::Udp),
            binding("2001:db8::1", 443, 443, Protocol::Tcp),
            binding("0.0.0.0", 8090, 3002, Protocol::Tcp),
            range,
        ];
        let lines = lines(&all);
        assert_eq!(
            lines.iter().map(Line::arrow).collect::<Vec<_>>(),
            [
                "53/udp -> 0.0.0.0:53",
                "90-99/tcp -> 127.0.0.1:9000-9009",
                "443/tcp -> [2001:db8::1]:443",
                "3000-3001/tcp -> 0.0.0.0:8080-8081",
                "3002/tcp -> 0.0.0.0:8090",
            ]
        );
        assert_eq!(lines[1].host_of(95, Protocol::Tcp).as_deref(), Some("127.0.0.1:9005"));
        assert_eq!(lines[1].host_of(95, Protocol::Udp), None);
        assert_eq!(lines[3].cell(), "0.0.0.0:8080-8081->3000-3001/tcp");
    }

    #[test]
    fn a_port_on_ipv6_alone_is_shown() {
        let all = [binding("::", 80, 80, Protocol::Tcp), binding("0.0.0.0", 81, 80, Protocol::Tcp)];
        assert_eq!(
            lines(&all).iter().map(Line::arrow).collect::<Vec<_>>(),
            ["80/tcp -> 0.0.0.0:81", "80/tcp -> [::]:80"]
        );
    }
}
