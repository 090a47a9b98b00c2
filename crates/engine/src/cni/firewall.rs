//! The plugin `firewall`: containers get through the firewalls of others, and reach each other or not.
//!
//! Other firewalls know our traffic by the group of the link that routes it, so two rules are enough for all of it
//! ([`crate::beside`]). Whether those are iptables' or firewalld's the agent finds out by itself.

use super::ask::{Ask, Planned, link_member};
use super::invalid;
use crate::ruleset;
use netmode_model::cni::{CniError, CniResult};
use netmode_model::state::LinkState;
use netmode_model::{IfName, Op};

pub(super) fn plan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let keys = ask.keys();
    match keys.text("backend")? {
        None | Some("iptables" | "firewalld" | "nftables") => {}
        Some(other) => return Err(invalid(format!("backend {other:?}: it is iptables or firewalld"))),
    }
    let policy = match keys.text("ingressPolicy")? {
        None | Some("open") => Policy::Open,
        Some("same-bridge") => Policy::SameBridge,
        Some("isolated") => Policy::Isolated,
        Some(other) => {
            return Err(invalid(format!("ingressPolicy {other:?}: it is one of open, same-bridge, isolated")));
        }
    };
    let links = of_host(ask, ask.previous("firewall")?)?;
    let mut planned = Planned::default();
    for link in links.iter().filter(|link| link.master.is_none()) {
        planned.shared.push(link_member(ruleset::OPEN, &[&link.name]));
        if link.group != ask.settings.group {
            planned.lasting.push(Op::LinkGroup { dev: link.name.clone(), group: ask.settings.group });
        }
        if policy != Policy::Open {
            planned.shared.push(link_member(ruleset::APART, &[&link.name]));
            planned.shared.push(link_member(ruleset::SAME_BRIDGE, &[&link.name, &link.name]));
        }
    }
    if policy == Policy::Isolated {
        planned.lasting.extend(links.iter().filter_map(|link| isolated(ask, link)));
    }
    Ok(planned)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// Everybody begins connections to everybody.
    Open,
    /// Containers of one bridge to each other.
    SameBridge,
    /// No container to another.
    Isolated,
}

/// The links of the host that the plugins before this one have named. A macvlan has none: its frames do not pass the
/// host's forwarding.
fn of_host(ask: &Ask<'_>, previous: &CniResult) -> Result<Vec<LinkState>, CniError> {
    let names = previous.interfaces.iter().filter(|interface| interface.sandbox.is_empty());
    let names = names.filter_map(|interface| interface.name.parse::<IfName>().ok());
    names.filter_map(|name| ask.link_of_host(&name).transpose()).collect()
}

/// A port that reaches no other one of the kind.
fn isolated(ask: &Ask<'_>, link: &LinkState) -> Option<Op> {
    link.master.as_ref()?;
    let alias = link.alias.clone().unwrap_or_else(|| ask.alias());
    Some(Op::PortUp { dev: link.name.clone(), hairpin: link.hairpin.unwrap_or(false), isolated: true, alias })
}
