//! Which service comes first.

use std::collections::{BTreeMap, BTreeSet};

/// Services that wait for each other; the first one stands at the end again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the services wait for each other: {}; take one depends_on out", .0.join(" → "))]
pub(crate) struct Cycle(Vec<String>);

/// The names in an order in which each comes behind those that it needs; otherwise as they are given.
/// What is needed and not among the names is left out.
///
/// # Errors
/// Services that wait for each other.
pub(crate) fn order(services: &[(String, Vec<String>)]) -> Result<Vec<String>, Cycle> {
    let needs: BTreeMap<&str, &[String]> = services.iter().map(|(name, needs)| (name.as_str(), &needs[..])).collect();
    let mut walk = Walk { needs, path: Vec::new(), done: BTreeSet::new(), order: Vec::new() };
    services.iter().try_for_each(|(name, _)| walk.visit(name))?;
    Ok(walk.order)
}

/// The names that are wanted, and all that they need.
pub(crate) fn with_needs(services: &[(String, Vec<String>)], wanted: &[String]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut left: Vec<&String> = wanted.iter().collect();
    while let Some(name) = left.pop() {
        if all.insert(name.clone()) {
            left.extend(services.iter().filter(|(n, _)| n == name).flat_map(|(_, needs)| needs));
        }
    }
    all
}

struct Walk<'a> {
    needs: BTreeMap<&'a str, &'a [String]>,
    /// From the service that was asked for to the one that is looked at.
    path: Vec<&'a str>,
    done: BTreeSet<&'a str>,
    order: Vec<String>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, name: &'a str) -> Result<(), Cycle> {
        if let Some(begin) = self.path.iter().position(|n| *n == name) {
            let cycle = self.path[begin..].iter().chain([&name]);
            return Err(Cycle(cycle.map(|n| (*n).to_owned()).collect()));
        }
        let Some(needs) = self.needs.get(name).copied() else { return Ok(()) };
        if !self.done.insert(name) {
            return Ok(());
        }
        self.path.push(name);
        // Not done while it is on the path: the check of the path comes first.
        needs.iter().try_for_each(|need| self.visit(need))?;
        self.path.pop();
        self.order.push(name.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(all: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        all.iter().map(|(name, needs)| ((*name).into(), needs.iter().map(|n| (*n).into()).collect())).collect()
    }

    fn ordered(all: &[(&str, &[&str])]) -> Result<String, String> {
        order(&services(all)).map(|names| names.join(" ")).map_err(|e| e.to_string())
    }

    #[test]
    fn needs_come_first_and_the_rest_stays_as_written() {
        assert_eq!(ordered(&[("c", &[]), ("a", &[]), ("b", &[])]).unwrap(), "c a b");
        assert_eq!(
            ordered(&[("web", &["app"]), ("app", &["db", "cache"]), ("cache", &[]), ("db", &[])]).unwrap(),
            "db cache app web"
        );
        assert_eq!(ordered(&[("a", &["c"]), ("b", &["c"]), ("c", &[])]).unwrap(), "c a b");
        assert_eq!(ordered(&[("a", &["gone"])]).unwrap(), "a");
    }

    #[test]
    fn a_cycle_is_told_as_a_way_round() {
        let told = ordered(&[("x", &["a"]), ("a", &["b"]), ("b", &["c"]), ("c", &["a"])]).unwrap_err();
        assert!(told.contains("a → b → c → a"), "{told}");
        assert!(ordered(&[("a", &["a"])]).unwrap_err().contains("a → a"));
    }

    #[test]
    fn what_is_wanted_brings_what_it_needs() {
        let all = services(&[("web", &["app"]), ("app", &["db"]), ("db", &[]), ("job", &["db"])]);
        let names = |wanted: &str| with_needs(&all, &[wanted.to_owned()]).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(names("web"), "app db web");
        assert_eq!(names("job"), "db job");
    }
}
