//! `netmode system`, `config check` and `man`, before a scripted agent or none.

use crate::fake::*;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("netmode-system-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("netmode.d")).unwrap();
        Self(dir)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn alone(words: &[&str]) -> Done {
    Done::of(netmode(&nobody(), words).stdin(Stdio::null()).output().unwrap())
}

#[test]
fn a_configuration_is_checked_without_the_agent() {
    let dir = Scratch::new("config");
    let file = dir.write("netmode.toml", "[bridge]\nmtu = 1400\n");
    let check = |file: &str| alone(&["config", "check", "--config", file]);
    check(&file).prints(&format!("{file} can be used\n"));
    dir.write("netmode.toml", "[bridge]\nname = \"br7\"\nbogus = 1\n");
    check(&file).fails(1, &format!("{file}:3: bridge.bogus: unknown field `bogus`"));
    dir.write("netmode.toml", "");
    let drop_in = dir.write("netmode.d/20-x.toml", "\n[bridge]\nmtu = \"big\"\n");
    check(&file).fails(1, &format!("{drop_in}:3: bridge.mtu: "));
    dir.write("netmode.d/20-x.toml", "[firewall]\nmark = 3\n");
    check(&file).fails(1, "firewall.mark: must have exactly one bit set");
    check("/nonexistent/netmode.toml").fails(1, "does not exist");
    let json = alone(&["config", "check", "--config", "/nonexistent/x", "-o", "json"]);
    assert!(json.status == 1 && json.err.contains("\"no-such-path\""), "{json:?}");
}

#[test]
fn the_example_configuration_holds_the_defaults() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("package/netmode.toml");
    let text = std::fs::read_to_string(example).unwrap();
    let is_key = |line: &str| line.starts_with("#[") || line.strip_prefix('#').is_some_and(|l| !l.starts_with(' '));
    let plain: String =
        text.lines().map(|l| if is_key(l) { l[1..].to_owned() + "\n" } else { String::from("\n") }).collect();
    assert!(plain.contains("[firewall]") && plain.contains("rule_pref = 90"), "{plain}");
    let dir = Scratch::new("example");
    let file = dir.write("netmode.toml", &plain);
    alone(&["config", "check", "--config", &file]).prints(&format!("{file} can be used\n"));
    let read: netmode_agent::config::Config = toml::from_str(&plain).unwrap();
    let default = netmode_agent::config::Config::default();
    assert_eq!((read.firewall, read.container), (default.firewall, default.container));
    assert_eq!(read.api.group, default.api.group);
}

#[test]
fn a_reset_shows_its_plan_and_wants_a_yes() {
    let agent = Fake::new(|asked, stream| match asked.line.starts_with("GET") {
        true => reply(stream, 200, r#"{"commands":["netmode stop web","ip link del dev nm0"]}"#),
        false => reply(stream, 200, r#"{"failures":[]}"#),
    });
    let plan = "netmode stop web\nip link del dev nm0\n";
    agent.run(&["system", "reset", "--plan"]).prints(plan);
    let done = agent.run(&["system", "reset"]);
    assert_eq!((done.status, done.out.as_str()), (1, plan));
    assert!(done.err.contains("nothing was changed") && done.err.contains("--yes"), "{done:?}");
    assert!(agent.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", agent.lines());
    agent.run(&["system", "reset", "--yes", "--keep-records"]).prints(plan);
    agent.run(&["system", "reset", "-y", "-q"]).prints("");
    let asked = agent.asked();
    assert_eq!(asked[2].line, "GET /v1/system/reset?keepRecords=true");
    assert_eq!((&asked[3].line[..], &asked[3].body), ("POST /v1/system/reset", &json!({"keepRecords": true})));
    let agent = Fake::new(|asked, stream| match asked.line.starts_with("GET") {
        true => reply(stream, 200, r#"{"commands":[]}"#),
        false => reply(stream, 200, r#"{"failures":["/var/lib/netmode/images is busy"]}"#),
    });
    let done = agent.run(&["system", "reset", "--yes"]);
    assert_eq!(done.status, 1);
    assert!(done.err.contains("still there: /var/lib/netmode/images is busy") && done.err.contains("1 things"));
}

#[test]
fn without_the_agent_its_start_is_named() {
    for words in [&["system", "reset", "--yes"][..], &["system", "info"], &["system", "log-level", "debug"]] {
        alone(words).fails(1, "start it with \"systemctl start netmode\"");
    }
}

#[test]
fn a_bundle_is_never_written_over_a_file() {
    let dir = Scratch::new("bundle");
    let file = dir.write("x.tar", "mine");
    alone(&["debug", "bundle", &file]).fails(1, "File exists; name another file");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    alone(&["debug", "bundle", "-", "--log", "/nonexistent/log"]).fails(1, "cannot read the log");
}

#[test]
fn every_command_has_a_man_page() {
    let dir = Scratch::new("man");
    let at = dir.0.display().to_string();
    alone(&["man", &at]).prints("");
    for page in ["netmode.1", "netmode-run.1", "netmode-system-reset.1", "netmode-port.1", "netmode-config-check.1"] {
        let text = std::fs::read_to_string(dir.0.join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(!dir.0.join("netmode-man.1").exists(), "a hidden command has none");
}
