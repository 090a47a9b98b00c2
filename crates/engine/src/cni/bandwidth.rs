//! The plugin `bandwidth`: how fast a container's link is, each way.
//!
//! What the container gets goes out by the link on the host, what it sends by the one inside: there it meets the
//! sender's own queue, where the reference's detour over an ifb device only drops.

use super::ask::{Ask, ETHERNET, Planned};
use super::{invalid, refused};
use netmode_model::cni::{CniError, CniResult, Keys};
use netmode_model::{IfName, Op, Place, Rate};

pub(super) fn plan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let previous = ask.previous("bandwidth")?;
    let keys = ask.keys();
    // What is configured counts before what the runtime wishes, all of it or nothing (the reference's rule).
    let configured = both(&keys)?;
    let wanted = if configured.is_empty() {
        both(&ask.keys().object("runtimeConfig")?.object("bandwidth")?)?
    } else {
        configured
    };
    let dev = ask.call.link()?;
    let mtu = ask.link_inside(&dev).map_or(ETHERNET, |link| link.mtu);
    let mut ops = Vec::new();
    for (direction, rate, burst) in wanted {
        let (at, dev) = match direction {
            Direction::Ingress => (Place::Host, port(ask, previous)?),
            Direction::Egress => (ask.at.clone(), dev.clone()),
        };
        // Less than a frame would never let one out.
        ops.push(Op::RateSet { at, dev, rate, burst: burst.max(rate.burst(mtu)) });
    }
    Ok(Planned { ops, ..Planned::default() })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// To the container.
    Ingress,
    /// From it.
    Egress,
}

/// Rates with their bursts, in bits per second and bits; each with the other, or neither.
fn both(keys: &Keys<'_>) -> Result<Vec<(Direction, Rate, u32)>, CniError> {
    let mut all = Vec::new();
    let names = [(Direction::Ingress, "ingressRate", "ingressBurst"), (Direction::Egress, "egressRate", "egressBurst")];
    for (direction, rate_key, burst_key) in names {
        let number = |key| Ok::<_, CniError>(keys.integer(key, 0, u64::MAX)?.unwrap_or(0));
        let (rate, burst) = (number(rate_key)?, number(burst_key)?);
        if rate == 0 && burst == 0 {
            continue;
        }
        if rate == 0 || burst == 0 {
            return Err(invalid(format!("{rate_key} {rate} and {burst_key} {burst}: both are needed, or neither")));
        }
        let parsed = Rate::from_bits(rate);
        let parsed = parsed.map_err(|_| invalid(format!("{rate_key} {rate}: from 8000 to 10^12 bits per second")))?;
        let bytes = u32::try_from(burst / 8);
        let bytes = bytes.map_err(|_| invalid(format!("{burst_key} {burst}: less than 2^35 bits")))?;
        all.push((direction, parsed, bytes));
    }
    Ok(all)
}

/// The link on the host whose other end is the container's.
fn port(ask: &Ask<'_>, previous: &CniResult) -> Result<IfName, CniError> {
    for interface in previous.interfaces.iter().filter(|interface| interface.sandbox.is_empty()) {
        let Ok(name) = interface.name.parse::<IfName>() else { continue };
        if ask.link_of_host(&name)?.is_some_and(|link| link.kind.as_deref() == Some("veth")) {
            return Ok(name);
        }
    }
    Err(refused("bandwidth needs a veth pair before it, by bridge or ptp: this container has no link on the host"))
}
