//! Keys that a compose file may have and that are not served: each is told, none is passed over in silence.

use super::node::Node;
use crate::failure::Failure;

/// Keys without which a service behaves the same here: they are told and left out.
static WITHOUT_EFFECT: [(&str, &str); 4] = [
    ("expose", "services of a network reach every port of each other"),
    ("attach", "up without -d prints what every service writes"),
    ("annotations", "nobody here reads them"),
    ("attachable", "every task may join a network"),
];

/// What to do about keys that change what a service does.
static INSTEAD: [(&str, &str); 15] = [
    ("build", "build the image before and name it under \"image\""),
    ("deploy", "start more copies under names of their own, or use \"netmode service\""),
    ("scale", "start more copies under names of their own, or use \"netmode service\""),
    ("healthcheck", "take it out, or use a task definition (\"netmode task run\")"),
    ("network_mode", "take it out, or use \"netmode run --mode\" for this service"),
    ("links", "take it out: services of a network know each other by name"),
    ("external_links", "join the other's network, declared with \"external: true\""),
    ("secrets", "mount the file under \"volumes\""),
    ("configs", "mount the file under \"volumes\""),
    ("volumes", "mount directories by their paths in the services"),
    ("include", "write its services into this file"),
    ("extends", "write its keys into this service, or use a YAML anchor"),
    ("profiles", "take it out and name the services to start: netmode compose up SERVICE"),
    ("logging", "take it out: \"netmode compose logs\" has what is written"),
    ("pull_policy", "take it out and fetch the image before: netmode pull IMAGE"),
];

/// Tells of a key that is not served: a warning where nothing depends on it, else a refusal. `x-…` is anybody's own.
///
/// # Errors
/// A key that would change what the service does.
pub(crate) fn other(place: &str, key: &str, node: &Node<'_>, notes: &mut Vec<String>) -> Result<(), Failure> {
    if key.starts_with("x-") {
        return Ok(());
    }
    if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == key) {
        notes.push(format!("{place}: {key} has no effect: {why}"));
        return Ok(());
    }
    let instead = INSTEAD.iter().find(|(known, _)| *known == key).map_or("take it out", |(_, instead)| instead);
    Err(node.unsupported("this key", instead))
}
