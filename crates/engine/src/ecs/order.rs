//! The order of containers: who waits for whom.

use netmode_model::ecs::{Condition, ContainerDefinition, Dependency};
use std::collections::BTreeSet;

/// What a container waits for: what it says itself, and that those are started which it links to or whose volumes it
/// has.
pub fn dependencies(container: &ContainerDefinition) -> Vec<Dependency> {
    let started = |name: &str| Dependency { container_name: name.into(), condition: Condition::Start };
    let links = container.links.iter().map(|l| started(l.split(':').next().unwrap_or(l)));
    let volumes = container.volumes_from.iter().map(|v| started(&v.source_container));
    container.depends_on.iter().cloned().chain(links).chain(volumes).collect()
}

/// The containers so that each comes after those that it waits for.
///
/// # Errors
/// The names of a circle.
pub fn sorted(containers: &[ContainerDefinition]) -> Result<Vec<&ContainerDefinition>, Vec<String>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut order = Vec::new();
    while order.len() < containers.len() {
        let ready = |c: &&ContainerDefinition| {
            let waits = dependencies(c);
            let met = |d: &Dependency| {
                let known = containers.iter().any(|c| c.name == d.container_name);
                !known || done.contains(d.container_name.as_str())
            };
            !done.contains(c.name.as_str()) && waits.iter().all(met)
        };
        match containers.iter().find(ready) {
            Some(next) => {
                done.insert(&next.name);
                order.push(next);
            }
            None => {
                let rest = containers.iter().filter(|c| !done.contains(c.name.as_str()));
                return Err(rest.map(|c| c.name.clone()).collect());
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, after: &[&str], links: &[&str]) -> ContainerDefinition {
        let depends = |n: &&str| Dependency { container_name: (*n).into(), condition: Condition::Success };
        ContainerDefinition {
            name: name.into(),
            depends_on: after.iter().map(depends).collect(),
            links: links.iter().map(|l| (*l).into()).collect(),
            ..ContainerDefinition::default()
        }
    }

    #[test]
    fn whoever_is_waited_for_comes_first() {
        let all =
            [container("web", &["init"], &["app:app"]), container("app", &["init"], &[]), container("init", &[], &[])];
        let order: Vec<_> = sorted(&all).unwrap().iter().map(|c| c.name.as_str()).collect();
        assert_eq!(order, ["init", "app", "web"]);
        let circle = [container("a", &["b"], &[]), container("b", &[], &["a"]), container("c", &[], &[])];
        assert_eq!(sorted(&circle).unwrap_err(), ["a", "b"]);
    }
}
