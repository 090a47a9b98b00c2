//! Beside other firewalls: which of their chains would drop what is ours, and where two rules belong that let it
//! through.
//!
//! The rules come after the user's own, so that whatever he blocks stays blocked, and before what drops the rest.

use crate::settings::Settings;
use crate::wish::is_link_name;
use netmode_model::IfName;
use netmode_model::foreign::{
    AcceptRule, BaseChain, ChainAt, Foreign, Neighbour, Outcome, Pass, RuleChange, SeenRule, TableFamily,
};
use std::collections::BTreeSet;

/// firewalld's table. It is asked in its own words: it would not survive a stranger's rules in its chains.
pub const FIREWALLD: &str = "firewalld";

/// What there is beside us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beside {
    /// What is to be done, deletions first.
    pub changes: Vec<RuleChange>,
    /// Base chains that would drop what is ours, each with what becomes of it.
    pub shut: Vec<Shut>,
    /// Families with a filter table that cannot be seen.
    pub legacy: Vec<TableFamily>,
}

/// A base chain that would drop what is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shut {
    /// Which.
    pub base: ChainAt,
    /// The way through.
    pub way: Way,
}

/// The way through a chain that drops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Two rules in a chain.
    Rules {
        /// Which.
        at: ChainAt,
        /// Whether they stand where they should.
        stand: bool,
        /// What puts them there.
        rules: Box<[AcceptRule; 2]>,
    },
    /// firewalld is asked.
    Firewalld {
        /// Bridges that it does not know.
        unknown: Vec<IfName>,
        /// Names that it knows and that only a network of ours could have had.
        stale: Vec<IfName>,
    },
    /// None: somebody owns the table.
    Owned,
}

/// The comment by which a rule is known to be ours.
pub fn comment(settings: &Settings, pass: Pass) -> String {
    let word = match pass {
        Pass::From => "from",
        Pass::To => "to",
    };
    format!("netmode/{}/{word}", settings.instance)
}

/// Compares what others have with what we need there. `wanted` is false where the configuration switches it off, and
/// when everything of ours goes: then whatever stands is taken away.
pub fn compare(foreign: &Foreign, bridges: &[IfName], settings: &Settings, wanted: bool) -> Beside {
    let shut: Vec<Shut> = foreign.bases.iter().filter_map(|base| look(foreign, base, bridges, settings)).collect();
    let mut changes = Vec::new();
    for (at, rules) in &foreign.chains {
        let kept =
            wanted && shut.iter().any(|s| matches!(&s.way, Way::Rules { at: there, stand: true, .. } if there == at));
        let ours = rules.iter().filter(|rule| !kept && is_ours(rule, settings).is_some());
        changes.extend(ours.map(|rule| RuleChange::Del { at: at.clone(), handle: rule.handle }));
    }
    if wanted {
        let missing = shut.iter().filter_map(|s| match &s.way {
            Way::Rules { stand: false, rules, .. } => Some(rules.as_ref().clone()),
            _ => None,
        });
        changes.extend(missing.flatten().map(RuleChange::Add));
    }
    Beside { changes, shut, legacy: foreign.legacy.clone() }
}

fn is_ours(rule: &SeenRule, settings: &Settings) -> Option<Pass> {
    let comment_is = |pass: &Pass| rule.comment.as_ref() == Some(&comment(settings, *pass));
    [Pass::From, Pass::To].into_iter().find(comment_is)
}

fn look(foreign: &Foreign, base: &BaseChain, bridges: &[IfName], settings: &Settings) -> Option<Shut> {
    let mut walk = Walk { foreign, settings, meant: None, seen: Vec::new() };
    let own = match walk.through(&base.at) {
        End::Accepts => return None,
        End::Drops(before) => before,
        End::On if base.drops => None,
        End::On => return None,
    };
    let shut = |way| Some(Shut { base: base.at.clone(), way });
    if base.owned {
        return shut(Way::Owned);
    }
    if base.at.table == FIREWALLD {
        let rules = foreign.chains.iter().filter(|(at, _)| at.table == FIREWALLD).flat_map(|(_, rules)| rules);
        let known: BTreeSet<&IfName> = rules.filter_map(|rule| rule.link.as_ref()).collect();
        let unknown = bridges.iter().filter(|bridge| !known.contains(bridge)).cloned().collect();
        let stale = known.into_iter().filter(|name| is_link_name(name) && !bridges.contains(name)).cloned().collect();
        return shut(Way::Firewalld { unknown, stale });
    }
    let (at, before) = walk.meant.unwrap_or((base.at.clone(), own));
    // The second finds the first one in front of it.
    let behind = |pass| before.map(|b| Neighbour { number: b.number + usize::from(pass == Pass::To), ..b });
    let rules = [Pass::From, Pass::To].map(|pass| AcceptRule {
        at: at.clone(),
        pass,
        group: settings.group,
        comment: comment(settings, pass),
        before: behind(pass),
    });
    let stand = stand(foreign.chains.get(&at).map_or(&[], Vec::as_slice), before, settings);
    shut(Way::Rules { at, stand, rules: Box::new(rules) })
}

/// Whether both rules are there, whole, and right before the rule that ends the chain.
fn stand(rules: &[SeenRule], before: Option<Neighbour>, settings: &Settings) -> bool {
    let end = before.and_then(|b| rules.iter().position(|r| r.handle == b.handle)).unwrap_or(rules.len());
    let whole = |rule: &SeenRule| rule.outcome == Outcome::Accept && rule.group == Some(settings.group);
    let mut passes: Vec<Pass> =
        rules[..end].iter().rev().map_while(|r| is_ours(r, settings).filter(|_| whole(r))).collect();
    passes.sort_unstable();
    let all = rules.iter().filter(|r| is_ours(r, settings).is_some()).count();
    passes == [Pass::From, Pass::To] && all == passes.len()
}

/// What becomes of a packet that no rule with a condition fits.
enum End {
    Accepts,
    /// Before the rule that drops it, or that leads to where it is dropped.
    Drops(Option<Neighbour>),
    On,
}

struct Walk<'a> {
    foreign: &'a Foreign,
    settings: &'a Settings,
    /// The last chain on the way that is meant for us, and the place in it.
    meant: Option<(ChainAt, Option<Neighbour>)>,
    seen: Vec<ChainAt>,
}

impl Walk<'_> {
    fn through(&mut self, at: &ChainAt) -> End {
        let rules = self.foreign.chains.get(at).map_or(&[][..], Vec::as_slice);
        if self.seen.contains(at) {
            return End::On;
        }
        self.seen.push(at.clone());
        // Positions as they will be when ours are not there.
        let strangers = rules.iter().filter(|r| is_ours(r, self.settings).is_none()).zip(1..);
        for (rule, number) in strangers.filter(|(rule, _)| rule.always) {
            let here = Some(Neighbour { handle: rule.handle, number });
            let end = match &rule.outcome {
                Outcome::On => End::On,
                Outcome::Accept => End::Accepts,
                Outcome::Drop => End::Drops(here),
                Outcome::Return => return self.end(at, here, End::On),
                Outcome::Goto(chain) => match self.through(&at.sibling(chain)) {
                    // Not here: others may come there by another way.
                    End::Drops(_) => End::Drops(here),
                    End::On => return self.end(at, here, End::On),
                    End::Accepts => End::Accepts,
                },
                Outcome::Jump(chain) => match self.through(&at.sibling(chain)) {
                    End::Drops(_) => End::Drops(here),
                    end => end,
                },
            };
            if !matches!(end, End::On) {
                return self.end(at, here, end);
            }
        }
        self.end(at, None, End::On)
    }

    /// A chain was gone through up to a rule, or to its end.
    fn end(&mut self, at: &ChainAt, before: Option<Neighbour>, end: End) -> End {
        if at.is_meant() {
            self.meant = Some((at.clone(), before));
        }
        end
    }
}

#[cfg(test)]
mod tests;
