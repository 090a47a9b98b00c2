//! Whether what is recorded stands: the part of the doctor that looks at networks and tasks, with an agent or without.

use crate::checks::finding;
use netmode_engine::converge::{self, Present};
use netmode_engine::{Endpoint, Network, Settings, bridge, ruleset};
use netmode_model::api::{Finding, Level};
use netmode_model::nft::Ruleset;
use netmode_model::{Observed, Op, Place};

/// Part of a pool, in percent, from which on it is told that it runs low.
const LOW: u128 = 90;

/// What was asked for.
pub struct Standing<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The networks.
    pub networks: &'a [Network],
    /// The endpoints.
    pub endpoints: &'a [Endpoint],
}

impl Standing<'_> {
    /// A line for each table, network, pool and task. `variable` reads a kernel variable of the host.
    pub fn examine(&self, seen: &Observed, variable: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
        let present = Present::new(seen);
        let wrong = |op: &Op| match op {
            Op::Sysctl { at: Place::Host, key, value } => variable(key).is_some_and(|is| is != *value),
            Op::Sysctl { .. } => false,
            _ => !present.holds(op),
        };
        let line = |(object, ops): (String, Vec<Op>)| {
            let missing: Vec<&Op> = ops.iter().filter(|op| wrong(op)).collect();
            let Some(first) = missing.first() else { return finding(Level::Ok, &object, "as recorded", None) };
            // A table is many lines.
            let first = first.to_string();
            let first = first.lines().next().unwrap_or_default();
            let text = format!("{} steps are missing, the first: {first}", missing.len());
            finding(Level::Fail, &object, text, Some("systemctl restart netmode"))
        };
        self.wanted(seen, &present).into_iter().map(line).chain(self.pools()).collect()
    }

    /// Each thing, and the steps that it stands on.
    fn wanted(&self, seen: &Observed, present: &Present<'_>) -> Vec<(String, Vec<Op>)> {
        let settings = self.settings;
        let table = |r: Ruleset| (format!("table {}", r.table), vec![Op::TableAdd(r)]);
        let network = |n: &Network| (format!("network {}", n.name), bridge::network_up(n, settings));
        let task = |e: &Endpoint| (format!("task {}", e.owner.name), converge::expected(e, settings, seen));
        let guard = ("guard".to_owned(), bridge::host_up(settings, |dev| present.has_link(dev)));
        let tables = ruleset::rulesets(settings).into_iter().map(table);
        let networks = self.networks.iter().map(network);
        tables.chain([guard]).chain(networks).chain(self.endpoints.iter().map(task)).collect()
    }

    fn pools(&self) -> impl Iterator<Item = Finding> {
        self.networks.iter().flat_map(|network| network.pools().into_iter().map(move |pool| (network, pool))).map(
            |(network, pool)| {
                let addresses = self.endpoints.iter().filter_map(|e| e.link.as_ref()).flat_map(|link| &link.addrs);
                let used = addresses.filter(|address| pool.prefix().contains(address.ip())).count() as u128;
                let usable = pool.usable();
                let text = format!("{used} of {usable} addresses in use");
                let (create, name) = match &network.subnet {
                    Some(subnet) => ("netmode subnet create NAME --cidr PREFIX", &subnet.title),
                    None => ("netmode network create NAME", &network.name),
                };
                let object = format!("pool {} of {name}", pool.prefix());
                match used * 100 / usable.max(1) {
                    0..LOW => finding(Level::Ok, &object, text, None),
                    LOW..100 => finding(Level::Warn, &object, text, Some(create)),
                    _ => finding(Level::Fail, &object, text, Some(create)),
                }
            },
        )
    }
}
