//! Port mappings of a task definition.

use super::{Invalid, invalid};
use netmode_model::Mode;
use netmode_model::ecs::{ContainerDefinition, PortMapping};
use std::collections::BTreeMap;

/// Most port ranges of a container (ECS API reference, PortMapping).
const MOST_RANGES: usize = 100;

pub(super) fn port(c: &ContainerDefinition, mapping: &PortMapping, mode: Mode) -> Result<(), Invalid> {
    if !matches!(mapping.protocol.as_deref(), None | Some("tcp" | "udp")) {
        let shown: String = mapping.protocol.clone().unwrap_or_default().chars().take(16).collect();
        return invalid(format!("Invalid 'protocol' setting {shown:?} for container '{}'. It is tcp or udp", c.name));
    }
    if let Some(range) = &mapping.container_port_range {
        return port_range(c, mapping, range, mode);
    }
    let Some(container) = mapping.container_port.filter(|p| (1..=65_535).contains(p)) else {
        return invalid(format!("Invalid 'containerPort' setting for container '{}'. It is from 1 to 65535", c.name));
    };
    if mapping.host_port.is_some_and(|p| !(0..=65_535).contains(&p)) {
        return invalid(format!("Invalid 'hostPort' setting for container '{}'. It is from 0 to 65535", c.name));
    }
    let word = match mode {
        Mode::Awsvpc => "awsvpc",
        Mode::Host => "host",
        _ => return Ok(()),
    };
    match mapping.host_port {
        Some(host) if host != container => invalid(format!(
            "When networkMode={word}, the host ports and container ports in port mappings must match. Container '{}' has {host} and {container}: leave hostPort out",
            c.name
        )),
        _ => Ok(()),
    }
}

fn port_range(c: &ContainerDefinition, mapping: &PortMapping, range: &str, mode: Mode) -> Result<(), Invalid> {
    if mapping.container_port.is_some() {
        return invalid(format!("cannot specify both single port and port range: container '{}'", c.name));
    }
    if mapping.host_port.is_some() {
        return invalid(format!("hostPort cannot be given with containerPortRange: container '{}'", c.name));
    }
    if !matches!(mode, Mode::Bridge | Mode::Awsvpc) {
        return invalid(format!(
            "containerPortRange is for the modes bridge and awsvpc: container '{}' has one",
            c.name
        ));
    }
    match ends(range) {
        Some((first, last)) if first > 0 && first < last => Ok(()),
        _ => invalid(format!(
            "Invalid 'containerPortRange' setting for container '{}'. Write FIRST-LAST from 1 to 65535, FIRST below LAST",
            c.name
        )),
    }
}

/// The ends of a range of ports.
fn ends(range: &str) -> Option<(i64, i64)> {
    let (first, last) = range.split_once('-')?;
    Some((first.parse::<u16>().ok()?.into(), last.parse::<u16>().ok()?.into()))
}

fn protocol(mapping: &PortMapping) -> &str {
    mapping.protocol.as_deref().unwrap_or("tcp")
}

/// Ranges of ports of which none meets another, by protocol and first port.
#[derive(Debug, Default)]
struct Spans<'a>(BTreeMap<(&'a str, i64), i64>);

impl<'a> Spans<'a> {
    /// The first port that a range has in common with one that is here.
    fn meets(&self, protocol: &'a str, (first, last): (i64, i64)) -> Option<i64> {
        let below = self.0.range(..=(protocol, last)).next_back();
        let ((_, begin), _) = below.filter(|((p, _), end)| *p == protocol && **end >= first)?;
        Some(first.max(*begin))
    }

    /// Takes a range in, unless it meets another.
    fn take(&mut self, protocol: &'a str, span: (i64, i64)) -> Result<(), i64> {
        match self.meets(protocol, span) {
            Some(port) => Err(port),
            None => {
                self.0.insert((protocol, span.0), span.1);
                Ok(())
            }
        }
    }
}

/// A port that stands in a range stands nowhere else in its container (ECS API reference, PortMapping).
pub(super) fn ranges_of_container(c: &ContainerDefinition) -> Result<(), Invalid> {
    let ranges = || c.port_mappings.iter().filter_map(|p| Some((protocol(p), ends(p.container_port_range.as_ref()?)?)));
    if ranges().count() > MOST_RANGES {
        return invalid(format!("container '{}' has more than 100 port ranges. Join some of them", c.name));
    }
    let mut spans = Spans::default();
    let singles = c.port_mappings.iter().filter_map(|p| Some((protocol(p), p.container_port?)));
    let met = ranges().find_map(|(protocol, span)| spans.take(protocol, span).err());
    match met.or_else(|| singles.into_iter().find_map(|(protocol, port)| spans.meets(protocol, (port, port)))) {
        Some(port) => invalid(format!(
            "port ranges of a container cannot overlap: container '{}' has port {port} twice. Take one of the two out",
            c.name
        )),
        None => Ok(()),
    }
}

/// The same host port and protocol stands once in a task; with an ENI, or on the host, a container's port is the host's.
pub(super) fn ports_of_task(containers: &[ContainerDefinition], mode: Mode) -> Result<(), Invalid> {
    let shared = matches!(mode, Mode::Awsvpc | Mode::Host);
    let mut taken = Spans::default();
    for mapping in containers.iter().flat_map(|c| &c.port_mappings) {
        let own = mapping.container_port_range.as_deref().and_then(ends);
        let own = own.or(mapping.container_port.map(|p| (p, p))).filter(|_| shared);
        let Some(span) = own.or(mapping.host_port.filter(|p| *p != 0).map(|p| (p, p))) else { continue };
        if let Err(port) = taken.take(protocol(mapping), span) {
            let word = protocol(mapping).to_ascii_uppercase();
            return invalid(format!("{word} host port '{port}' is mapped multiple times in task."));
        }
    }
    Ok(())
}
