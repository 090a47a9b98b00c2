//! What was put back of what others have changed, and what they had done.

use netmode_model::nft::TableName;
use netmode_model::{Op, Place};

/// Most commands that are told of one repair.
const TOLD: usize = 8;

/// What kind of thing was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table of nf_tables.
    Table,
    /// What leads to all networks: rules of policy routing.
    PolicyRule,
    /// A network.
    Network,
    /// An endpoint.
    Endpoint,
}

/// Something of ours that was put back.
#[derive(Debug, Clone)]
pub struct Mended {
    /// What it is.
    pub kind: Kind,
    /// What, in words.
    pub object: String,
    /// What somebody had done to it.
    pub cause: String,
    /// What was done for it; a table is written whole.
    pub steps: Vec<Op>,
}

impl Mended {
    /// Steps that were carried out, where there were any.
    pub fn by(kind: Kind, object: &str, steps: Vec<Op>) -> Option<Self> {
        let cause = steps.iter().map(done).max_by_key(|(weight, _)| *weight)?.1;
        Some(Self { kind, object: object.to_owned(), cause, steps })
    }

    /// A table that was written anew.
    pub fn table(table: &TableName, was_there: bool) -> Self {
        let what = if was_there { "changed" } else { "deleted" };
        Self {
            kind: Kind::Table,
            object: format!("table {table}"),
            cause: format!("somebody {what} table {table}"),
            steps: Vec::new(),
        }
    }

    /// How many steps it took.
    pub fn count(&self) -> usize {
        self.steps.len().max(1)
    }

    /// The steps as commands, one a line; the first ones if there are many.
    pub fn commands(&self) -> Option<String> {
        let lines: Vec<String> = self.steps.iter().take(TOLD).map(ToString::to_string).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// What must have happened before a step was needed. What weighs most is told: a link that is made anew gets its
/// addresses anew.
fn done(step: &Op) -> (u8, String) {
    let on = |at: &Place| match at {
        Place::Host => String::new(),
        Place::Netns(netns) => format!(" in {netns}"),
    };
    match step {
        Op::LinkDel { dev, .. } => {
            (6, format!("somebody took the link {dev} out of its bridge, or changed its other end"))
        }
        Op::BridgeAdd { dev, .. } | Op::VethAdd { dev, .. } | Op::UpperAdd { dev, .. } => {
            (5, format!("somebody deleted the link {dev}"))
        }
        Op::LinkMac { dev, .. } => (4, format!("somebody changed the link {dev}")),
        Op::RuleAdd(_) => (4, "somebody deleted a policy routing rule".into()),
        Op::ProhibitAdd(_) => (4, "somebody deleted a route that refuses".into()),
        Op::AddrAdd { at, dev, .. } => (3, format!("somebody took an address from the link {dev}{}", on(at))),
        Op::PortUp { dev, .. } => (3, format!("somebody took the link {dev} out of its bridge")),
        Op::LinkUp { at, dev } => (2, format!("somebody took the link {dev}{} down", on(at))),
        Op::RouteAdd(route) => (1, format!("somebody deleted a route over {}{}", route.dev, on(&route.at))),
        _ => (0, "somebody changed what is ours".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_of_what_happened_is_told() {
        let dev = || "nm0".parse().unwrap();
        let up = Op::LinkUp { at: Place::Host, dev: dev() };
        let mac = Op::LinkMac { at: Place::Host, dev: dev(), mac: "02:00:00:00:00:01".parse().unwrap() };
        let mended = Mended::by(Kind::Network, "network default", vec![up.clone(), mac]).unwrap();
        assert_eq!(mended.cause, "somebody changed the link nm0");
        assert_eq!(mended.commands().unwrap().lines().count(), 2);
        assert_eq!(Mended::by(Kind::Network, "x", vec![up]).unwrap().cause, "somebody took the link nm0 down");
        assert!(Mended::by(Kind::Network, "x", Vec::new()).is_none());
    }
}
