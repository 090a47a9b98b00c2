//! Nothing of a lab is left on the machine, however it ends. (The name makes it the last suite.)

use netmode_tests::{Lab, eventually, tcp};
use std::collections::BTreeSet;
use std::path::Path;

/// Processes of this machine whose process namespace is the one of `pid`.
fn processes_beside(namespace: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let inside = processes.filter(|p| std::fs::read_link(p.join("ns/pid")).is_ok_and(|ns| ns == namespace));
    inside.map(|p| std::fs::read_to_string(p.join("comm")).unwrap_or_default()).collect()
}

/// The machine's mounts below `/run/netns`, its links, and its cgroups that name netmode.
fn machine() -> (BTreeSet<String>, BTreeSet<String>, Vec<String>) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts =
        mounts.lines().filter_map(|l| l.split(' ').nth(4)).filter(|m| m.contains("netns") || m.contains("netmode"));
    let links = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let links = links.lines().skip(2).filter_map(|l| Some(l.split(':').next()?.trim().to_owned()));
    (mounts.map(str::to_owned).collect(), links.collect(), vec![])
}

/// Cgroups of the machine that bear the name of a sandbox's keeper.
fn cgroups_of(keeper: &str) -> Vec<String> {
    fn walk(dir: &Path, name: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if entry.file_name().to_string_lossy() == name {
                    found.push(entry.path().display().to_string());
                }
                walk(&entry.path(), name, found);
            }
        }
    }
    let mut found = vec![];
    walk(Path::new("/sys/fs/cgroup"), keeper, &mut found);
    found
}

/// The cgroup of the sandbox, as the machine names it.
fn keeper(pid: u32) -> String {
    let lines = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let name = lines.split(['/', '\n']).find(|part| part.starts_with("netmode-sandbox."));
    name.unwrap_or_else(|| panic!("no cgroup of a sandbox in {lines}")).to_owned()
}

#[test]
fn nothing_is_left_however_a_lab_ends() {
    let before = machine();
    for pull_the_plug in [false, true] {
        let mut lab = Lab::start();
        lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
        lab.task("idle", &["--mode", "none"], &["sleep", "1000"]);
        assert!(lab.at("client").who(tcp("192.0.2.1:8080")).is_ok());
        let pid = lab.sandbox().pid();
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid")).expect("its process namespace");
        let keeper = keeper(pid);
        assert!(processes_beside(&namespace).len() > 5);
        assert!(!cgroups_of(&keeper).is_empty());
        if pull_the_plug {
            lab.sandbox().pull_the_plug();
        }
        drop(lab);
        eventually("its processes are gone", 3.0, || processes_beside(&namespace).is_empty());
        eventually("its cgroups are gone", 3.0, || cgroups_of(&keeper).is_empty());
        assert_eq!(machine(), before, "mounts and links of the machine");
    }
}
