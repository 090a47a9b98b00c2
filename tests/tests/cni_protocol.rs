//! CNI: how a plugin is called and how it answers. Tests have the rows of the project's checklist in their names.

use netmode_tests::sandbox::programs;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

const CONFIG: &str = r#"{"cniVersion":"1.1.0","name":"n1","type":"bridge"}"#;

/// What ADD needs. No agent is asked: these tests are about what comes before.
const ADD: [(&str, &str); 6] = [
    ("NETMODE_SOCKET", "/nowhere/netmode.sock"),
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/run/netns/nowhere"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/nowhere"),
];

fn program() -> PathBuf {
    programs().join("netmode-cni")
}

fn call_of(program: &Path, variables: &[(&str, &str)], stdin: &[u8]) -> Output {
    let mut child = Command::new(program)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    // It may answer without having read all.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    child.wait_with_output().expect("it ends")
}

fn call(variables: &[(&str, &str)], stdin: &str) -> Output {
    call_of(&program(), variables, stdin.as_bytes())
}

/// `ADD` with some of its variables changed; an empty value is one that is set and empty.
fn with(changed: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let kept = ADD.into_iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    kept.chain(changed.iter().copied()).collect()
}

/// The one document of a refusal.
#[track_caller]
fn refusal(out: &Output) -> Value {
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let document: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
    assert!(
        document["code"].is_u64() && document["msg"].is_string() && document["cniVersion"].is_string(),
        "{document}"
    );
    document
}

/// The code of a refusal, if it is one.
#[track_caller]
fn code(out: &Output) -> Option<u64> {
    if out.status.success() { None } else { refusal(out)["code"].as_u64() }
}

#[track_caller]
fn assert_refused(out: &Output, code: u32, words: &[&str]) {
    let document = refusal(out);
    assert_eq!(document["code"], code, "{document}");
    for word in words {
        assert!(document["msg"].as_str().is_some_and(|m| m.contains(word)), "{word:?} in {document}");
    }
}

#[test]
fn a2_a3_an_error_is_one_document_of_the_callers_version() {
    for version in VERSIONS {
        let config = format!(r#"{{"cniVersion":"{version}","name":"a b"}}"#);
        let out = call(&ADD, &config);
        assert_eq!(refusal(&out)["cniVersion"], version);
        assert!(out.stdout.ends_with(b"\n") && out.stdout.iter().filter(|b| **b == b'\n').count() == 1, "{out:?}");
        assert!(out.stderr.is_empty(), "{out:?}");
    }
}

#[test]
fn a4_a5_without_a_command_it_says_who_it_is() {
    let dir = std::env::temp_dir().join(format!("netmode-cni-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    for (name, version) in
        [("bridge", "v1.9.1"), ("firewall", "v1.9.1"), ("netmode", concat!("v", env!("CARGO_PKG_VERSION")))]
    {
        let plugin = dir.join(name);
        std::os::unix::fs::symlink(program(), &plugin).expect("a link");
        for variables in [&[][..], &[("CNI_COMMAND", "")]] {
            let out = call_of(&plugin, variables, b"");
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines[0], format!("CNI {name} plugin {version}"), "{text}");
            assert_eq!(lines[1], format!("CNI protocol versions supported: {}", VERSIONS.join(", ")));
            assert!(out.status.success() && out.stdout.is_empty(), "{out:?}");
        }
    }
    // With nothing to read from at all.
    let out = Command::new(dir.join("bridge")).env_clear().stdin(Stdio::null()).output().expect("it starts");
    assert!(out.status.success());
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[test]
fn a6_an_unknown_verb_is_named_and_verbs_have_their_case() {
    for verb in ["FOO", "add", "Add", "ADD "] {
        assert_refused(&call(&with(&[("CNI_COMMAND", verb)]), CONFIG), 4, &[verb]);
    }
}

#[test]
fn a7_a8_a9_every_variable_that_is_missing_is_named() {
    let out = call(&[("CNI_COMMAND", "ADD")], CONFIG);
    assert_refused(&out, 4, &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "missing"]);
    for (verb, needed) in [
        ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"][..]),
        ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]),
        ("GC", &["CNI_PATH"]),
        ("STATUS", &[]),
    ] {
        for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
            let out = call(&with(&[("CNI_COMMAND", verb), (name, "")]), CONFIG);
            let code = code(&out);
            assert_eq!(code == Some(4), needed.contains(&name), "{verb} without {name}: {out:?}");
        }
    }
}

#[test]
fn a10_a11_ids_and_links_that_cannot_be() {
    let long: &'static str = "x".repeat(300).leak();
    for id in ["-bad", "a b", "a/b", ".x", "../x", "a\u{e9}", long] {
        assert_refused(&call(&with(&[("CNI_CONTAINERID", id)]), CONFIG), 4, &["CNI_CONTAINERID"]);
    }
    for link in ["abcdefghijklmnop", "a/b", "a:b", "a b", ".", ".."] {
        assert_refused(&call(&with(&[("CNI_IFNAME", link)]), CONFIG), 4, &["CNI_IFNAME"]);
    }
}

#[test]
fn a12_a13_a14_configurations_that_cannot_be() {
    let cases: [(&str, u32); 12] = [
        (r#"{"cniVersion":"1.1.0","type":"bridge"}"#, 7),
        (r#"{"cniVersion":"1.1.0","name":"a b/c"}"#, 7),
        (r#"{"cniVersion":"1.1.0","name":"../x"}"#, 7),
        ("", 6),
        ("  \n", 6),
        ("{", 6),
        ("[]", 6),
        ("\"x\"", 6),
        (r#"{"name":7}"#, 6),
        (r#"{"cniVersion":"9.9.9","name":"n"}"#, 1),
        (r#"{"cniVersion":"abc","name":"n"}"#, 1),
        (r#"{"cniVersion":"0.5.0","name":"n"}"#, 1),
    ];
    for (config, code) in cases {
        let document = refusal(&call(&ADD, config));
        assert_eq!(document["code"], code, "{config}: {document}");
        if code == 1 {
            assert!(document["details"].as_str().is_some_and(|d| VERSIONS.iter().all(|v| d.contains(v))), "{document}");
        }
    }
}

#[test]
fn a15_no_version_is_the_first_one() {
    for config in [r#"{"name":"a b"}"#, r#"{"cniVersion":"","name":"a b"}"#] {
        assert_eq!(refusal(&call(&ADD, config))["cniVersion"], "0.1.0", "{config}");
    }
}

#[test]
fn a16_what_nobody_knows_is_no_reason() {
    let config = r#"{"cniVersion":"1.1.0","name":"n1","zzz":1,"capabilities":{"x":true},"args":{},"cni.dev/a":1}"#;
    assert_refused(&call(&ADD, config), 8, &["/run/netns/nowhere"]);
}

#[test]
fn a22_a_large_configuration_that_comes_in_pieces_is_read_whole() {
    let config = json!({"cniVersion": "1.1.0", "name": "a b", "zzz": "x".repeat(200_000)}).to_string();
    let mut child = Command::new(program())
        .env_clear()
        .envs(ADD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    for part in config.as_bytes().chunks(50_000) {
        stdin.write_all(part).expect("it reads");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(stdin);
    assert_refused(&child.wait_with_output().expect("it ends"), 7, &["a b"]);
}

#[test]
fn b1_b2_version_is_answered_with_the_callers_own() {
    let libcni = [("CNI_COMMAND", "VERSION"), ("CNI_NETNS", "dummy"), ("CNI_IFNAME", "dummy"), ("CNI_PATH", "dummy")];
    let answered = |stdin: &str| -> Value {
        let out = call(&libcni, stdin);
        assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
        serde_json::from_slice(&out.stdout).expect("JSON")
    };
    for stdin in ["", "{", r#"{"cniVersion":"9.9.9"}"#] {
        assert_eq!(answered(stdin), json!({"cniVersion": "1.1.0", "supportedVersions": VERSIONS}), "{stdin}");
    }
    // What is at hand when it starts is read; nobody is waited for.
    let file = std::env::temp_dir().join(format!("netmode-cni-version-{}", std::process::id()));
    for version in VERSIONS {
        std::fs::write(&file, format!(r#"{{"cniVersion":"{version}"}}"#)).expect("written");
        let out = Command::new(program())
            .env_clear()
            .envs(libcni)
            .stdin(std::fs::File::open(&file).expect("opened"))
            .output()
            .expect("it starts");
        let answer: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        assert_eq!(answer, json!({"cniVersion": version, "supportedVersions": VERSIONS}));
    }
    std::fs::remove_file(&file).expect("removed");
}

#[test]
fn b3_a22_version_waits_for_nobody() {
    let begun = Instant::now();
    let mut child = Command::new(program())
        .env_clear()
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    // Its end of the pipe stays open.
    let stdin = child.stdin.take();
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success() && begun.elapsed() < Duration::from_secs(2), "{out:?} after {:?}", begun.elapsed());
    drop(stdin);
}

#[test]
fn e1_f1_f8_verbs_that_a_version_does_not_have() {
    for (verb, since) in [("CHECK", 4), ("STATUS", 6), ("GC", 6)] {
        for (n, version) in VERSIONS.into_iter().enumerate() {
            let config = format!(r#"{{"cniVersion":"{version}","name":"n1","type":"bridge"}}"#);
            let code = code(&call(&with(&[("CNI_COMMAND", verb)]), &config));
            assert_eq!(code == Some(1), n < since, "{verb} of {version}: {code:?}");
        }
    }
}
