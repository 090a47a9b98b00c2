//! Frames as an attacker builds them, and who sees them.

use crate::vantage::At;
use crate::{Lab, eventually};
use serde_json::Value;

/// Functions in Python that build, send and watch for frames.
pub const FRAMES: &str = include_str!("frames.py");

/// Runs a script that knows [`FRAMES`]; gives what it prints.
///
/// # Panics
/// If it fails.
pub fn python(at: &At<'_>, script: &str) -> String {
    at.run(&["python3", "-c", &format!("{FRAMES}\n{script}")]).success().stdout
}

/// Has a script send while others watch their links, each a place, a device and a name of its own; gives what each has
/// seen of the marked frames, by kind.
///
/// # Panics
/// If the script or a watcher fails.
pub fn watched(lab: &Lab, sender: &At<'_>, script: &str, watchers: Vec<(At<'_>, &str, &str)>) -> Vec<Value> {
    lab.sh("rm -f /tmp/*.begun /tmp/*.end");
    let names: Vec<&str> = watchers.iter().map(|(_, _, name)| *name).collect();
    let watch = |(at, dev, name): (At<'_>, &str, &str)| {
        let seen = python(&at, &format!("watch('{dev}', '{name}')"));
        serde_json::from_str::<Value>(&seen).expect("JSON")
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = watchers.into_iter().map(|watcher| scope.spawn(|| watch(watcher))).collect();
        eventually("all watch", 10.0, || names.iter().all(|n| lab.has_file(&format!("/tmp/{n}.begun"))));
        let out = sender.run(&["python3", "-c", &format!("{FRAMES}\n{script}")]);
        names.iter().for_each(|name| drop(lab.sh(&format!("touch /tmp/{name}.end"))));
        out.success();
        threads.into_iter().map(|t| t.join().expect("a watcher")).collect()
    })
}
