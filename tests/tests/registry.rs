//! Images of registries: pull, login, run, and what is seen of it.

use netmode_model::error::Code;
use netmode_tests::lab::address::*;
use netmode_tests::registry::{ARCHITECTURE, OPEN, PASSWORD, PRIVATE, SLOW, USER};
use netmode_tests::{Lab, Registry, tcp};
use serde_json::json;

#[test]
fn an_image_is_pulled_by_tag_and_by_digest() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.busybox("app/web:1", "first\n");
    let (digest, _) = registry.manifest("app/web:1");
    let name = format!("{OPEN}/app/web:1");

    let out = lab.netmode(&["pull", &name]).success();
    assert_eq!(out.stdout, format!("{name}\n"));
    assert!(
        out.stderr.contains(&digest) && !out.stderr.contains(['\r', '\u{1b}']),
        "no bar without a terminal: {out:?}"
    );
    let shown = registry.images();
    assert_eq!(shown.len(), 1);
    assert!(shown[0].starts_with(&format!("{OPEN}/app/web 1 ")), "{shown:?}");
    let view = lab.json(&["images"])[0].clone();
    assert_eq!(
        (&view["repoTags"], &view["repoDigests"]),
        (&json!([name]), &json!([format!("{OPEN}/app/web@{digest}")]))
    );
    assert_eq!(
        (view["created"].as_str(), view["platform"].as_str()),
        (Some("2026-01-02T03:04:05Z"), Some(&*format!("linux/{ARCHITECTURE}")))
    );
    assert!(view["size"].as_u64() > Some(500_000), "{view}");
    assert_eq!(registry.own(&name), "first");
    let id = view["id"].as_str().expect("an id").trim_start_matches("sha256:").to_owned();
    assert_eq!(registry.own(&id[..12]), "first", "by the beginning of its id");

    // By digest: the same image, nothing fetched twice; its name has no tag.
    let by_digest = format!("{OPEN}/app/web@{digest}");
    assert_eq!(lab.netmode(&["pull", "-q", &by_digest]).success().stdout, format!("{by_digest}\n"));
    assert_eq!(registry.stored(), std::slice::from_ref(&id));
    assert_eq!(registry.own(&by_digest), "first");
    assert!(lab.netmode(&["pull", &name]).success().stderr.contains("was up to date"));

    // The tag moves on; what is pinned stays, and so does what runs.
    lab.netmode(&["run", "-d", "--name", "old", &name, "/bin/busybox", "sleep", "1000"]).success();
    registry.busybox("app/web:1", "second\n");
    assert_eq!(registry.own(&name), "first", "--pull missing: it is here");
    let newer = ["run", "--rm", "--pull", "always", &name, "/bin/sh", "-c", "read x </own; echo $x"];
    assert_eq!(lab.netmode(&newer).success().stdout, "second\n");
    assert_eq!(registry.own(&by_digest), "first");
    lab.netmode(&["stop", "-t", "0", "old"]).success();
    lab.netmode(&["start", "old"]).success();
    assert_eq!(lab.netmode(&["exec", "old", "/bin/sh", "-c", "read x </own; echo $x"]).success().stdout, "first\n");
    assert_eq!(lab.inspect("old")["containers"][0]["imageId"], format!("sha256:{id}"));
    assert_eq!(registry.stored().len(), 2);
}

#[test]
fn run_fetches_what_is_missing() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.image("app/web:1", "('bin/probe', 'copy', '/usr/local/bin/probe'), ('tmp', 'dir', '')");
    let name = format!("{OPEN}/app/web:1");
    registry.refused(&["run", "-d", "--pull", "never", &name], 125, Code::NoSuchImage, &[&name, "netmode pull"]);
    assert_eq!(lab.json(&["ps", "-a"]), json!([]));
    let run = ["run", "-d", "--name", "web", "-p", "8080:80", &name, "/bin/probe", "serve", "--tag", "web", "tcp/80"];
    lab.netmode(&run).success();
    lab.ready("web");
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))).map(|s| s.tag).as_deref(), Ok("web"));
    registry.refused(
        &["run", "--pull", "sometimes", &name],
        125,
        Code::Invalid,
        &["sometimes", "always, missing or never"],
    );
}

#[test]
fn names_are_dockers() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.busybox("library/busy:latest", "hub\n");
    // What docker.io has is fetched from elsewhere: a mirror, as an administrator says.
    lab.write(
        "/etc/containers/registries.conf",
        &format!("[[registry]]\nprefix = \"docker.io\"\nlocation = \"{OPEN}\"\n"),
    );
    assert_eq!(lab.netmode(&["pull", "busy"]).success().stdout, "docker.io/library/busy:latest\n");
    assert!(registry.images()[0].starts_with("docker.io/library/busy latest "), "{:?}", registry.images());
    for name in ["busy", "busy:latest", "library/busy", "docker.io/busy", "docker://docker.io/library/busy:latest"] {
        assert_eq!(registry.own(name), "hub", "{name}");
    }
    for bad in ["BUSY", "busy:", "a//b", "../busy", "busy@sha256:12"] {
        registry.refused(&["pull", bad], 1, Code::Invalid, &[bad, "NAME"]);
    }
}

#[test]
fn a_private_repository_wants_a_login() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.busybox("app/own:1", "private\n");
    let name = format!("{PRIVATE}/app/own:1");
    let login = ["login", "-u", USER, "--password-stdin", PRIVATE];
    registry.refused(&["pull", &name], 1, Code::RegistryDenied, &["401", &format!("netmode login {PRIVATE}")]);
    registry.refused(&["run", &name], 125, Code::RegistryDenied, &["401"]);

    let wrong = lab.netmode_with(&login, "wrong", &[]);
    wrong.refused(1, &[PRIVATE, "does not accept", "401"]);
    lab.netmode_with(&[&["-o", "json"], &login[..]].concat(), "wrong", &[]).refused_with(1, Code::RegistryDenied);
    assert!(!lab.has_file("/root/.docker/config.json"), "what is wrong is not remembered");

    registry.login(PRIVATE);
    assert_eq!(lab.sh("stat -c %a /root/.docker /root/.docker/config.json"), "700\n600\n");
    // docker's own format: others read it, too.
    let inspect = format!("skopeo inspect --authfile /root/.docker/config.json docker://{name}");
    assert!(lab.sh(&inspect).contains("Digest"));
    assert_eq!(lab.netmode(&["pull", &name]).success().stdout, format!("{name}\n"));
    assert_eq!(registry.own(&name), "private");

    // Credentials that were good once.
    lab.sh("sed -i 's/\"auth\": \".*\"/\"auth\": \"YWxpY2U6b2xk\"/' /root/.docker/config.json");
    registry.refused(&["pull", &name], 1, Code::RegistryDenied, &["does not accept", "401", "netmode login"]);

    assert_eq!(
        lab.netmode(&["logout", PRIVATE]).success().stdout,
        format!("Removing login credentials for {PRIVATE}\n")
    );
    assert_eq!(lab.netmode(&["logout", PRIVATE]).success().stdout, format!("Not logged in to {PRIVATE}\n"));
    registry.refused(&["pull", &name], 1, Code::RegistryDenied, &["401", "netmode login"]);
    // Nobody to ask, nothing to read.
    registry.refused(&["login", PRIVATE], 1, Code::Invalid, &["--username"]);
    registry.refused(&["login", "-u", "x", "--password-stdin", "no registry"], 1, Code::Invalid, &["HOST[:PORT]"]);
}

/// A helper as docker's: keeps one answer for each server below `/srv/keys`, and notes what it was asked.
const HELPER: &str = r#"#!/bin/sh
echo "$1" >>/srv/asked
mkdir -p /srv/keys
file() { echo "/srv/keys/$(echo "$1" | tr ':/' __)"; }
case $1 in
    get) read -r server; cat "$(file "$server")" 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; } ;;
    store) text=$(cat); server=$(echo "$text" | jq -r .ServerURL); echo "$text" >"$(file "$server")" ;;
    erase) read -r server; rm "$(file "$server")" ;;
esac
"#;

#[test]
fn credentials_come_from_where_docker_and_podman_keep_them() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.busybox("app/own:1", "private\n");
    let name = format!("{PRIVATE}/app/own:1");
    let pull = |env: &[(&str, &str)]| lab.netmode_with(&["pull", "-q", &name], "", env).status;
    assert_eq!(pull(&[]), 1);
    // $DOCKER_CONFIG.
    let pair = lab.sh(&format!("printf %s '{USER}:{PASSWORD}' | base64 -w0"));
    let auths = format!(r#"{{"auths": {{"{PRIVATE}": {{"auth": "{pair}"}}}}}}"#);
    lab.sh("mkdir -p /srv/docker /srv/podman /root/.docker");
    lab.write("/srv/docker/config.json", &auths);
    assert_eq!(pull(&[("DOCKER_CONFIG", "/srv/docker")]), 0);
    // Podman's.
    lab.write("/srv/podman/auth.json", &auths);
    assert_eq!(pull(&[("REGISTRY_AUTH_FILE", "/srv/podman/auth.json")]), 0);
    // A helper for all, and one for a registry.
    lab.write("/usr/local/bin/docker-credential-test", HELPER);
    lab.sh("chmod 755 /usr/local/bin/docker-credential-test");
    for config in [r#"{"credsStore": "test"}"#.to_owned(), format!(r#"{{"credHelpers": {{"{PRIVATE}": "test"}}}}"#)] {
        lab.write("/root/.docker/config.json", &config);
        lab.sh("rm -rf /srv/keys /srv/asked");
        assert_eq!(pull(&[]), 1, "the helper knows nothing yet");
        registry.login(PRIVATE);
        let written = lab.read("/root/.docker/config.json");
        assert!(!written.contains(&pair) && written.contains("test"), "{written}");
        assert_eq!(pull(&[]), 0);
        lab.netmode(&["logout", PRIVATE]).success();
        assert_eq!(pull(&[]), 1);
        assert_eq!(lab.read("/srv/asked"), "get\nstore\nget\nget\nerase\nget\n", "{config}");
    }
    lab.write("/root/.docker/config.json", r#"{"credsStore": "absent"}"#);
    registry.refused(&["pull", &name], 1, Code::MissingProgram, &["docker-credential-absent"]);
    lab.write("/root/.docker/config.json", "{\"auths\": {\n broken");
    registry.refused(&["pull", &name], 1, Code::Invalid, &["/root/.docker/config.json", "line 2"]);
}

#[test]
fn a_password_is_seen_nowhere() {
    let lab = Lab::with().config("").start();
    let registry = Registry::start(&lab);
    registry.busybox("app/own:1", "private\n");
    // What anybody on the machine could read while it goes on: arguments, and files of the agent.
    let watch = "while :; do cat /proc/[0-9]*/cmdline; echo
        find /run/netmode/registry -type f -printf 'file %m %U %f\\n' -o -type d -printf 'dir %m %U\\n'; done >/srv/seen 2>/dev/null";
    let watcher = lab.spawn(&["sh", "-c", watch], "/run/lab/watch.log");
    registry.login(SLOW);
    let name = format!("{SLOW}/app/own:1");
    lab.netmode(&["run", "-d", "--name", "own", &name, "/bin/busybox", "sleep", "1000"]).success();
    lab.sh(&format!("kill {watcher}"));
    let seen = lab.sh("tr '\\0' ' ' </srv/seen");
    assert!(
        seen.contains("skopeo copy") && seen.contains("skopeo login") && seen.contains("file 600 0 auth.json"),
        "it was looked at"
    );
    for line in seen.lines().filter(|l| l.starts_with("file ") || l.starts_with("dir ")) {
        // skopeo writes its file beside and renames it.
        let known = ["dir 700 0", "file 644 0 manifest"].contains(&line);
        assert!(known || line.starts_with("file 600 0 "), "{line}");
    }
    let pair = lab.sh(&format!("printf %s '{USER}:{PASSWORD}' | base64 -w0"));
    let secrets = [PASSWORD, &pair];
    let shown = [
        seen,
        lab.agent_log(),
        lab.inspect("own").to_string(),
        lab.json(&["images"]).to_string(),
        lab.netmode(&["doctor"]).stdout,
        lab.sh("cat /run/lab/*.log"),
    ];
    for secret in secrets {
        assert!(!shown.iter().any(|text| text.contains(secret)), "{secret}");
        let files =
            lab.run(&["grep", "-rlF", "--", secret, "/var/lib/netmode", "/run/netmode", "/etc/netmode", "/tmp"]);
        assert_eq!(files.stdout, "", "{secret}");
    }
    assert_eq!(lab.sh("ls -A /run/netmode/registry"), "", "nothing is left of the conversation");
}

#[test]
fn a_terminal_sees_how_far_it_is() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.busybox("app/web:1", "web\n");
    registry.login(SLOW);
    let pull = format!("TERM=xterm netmode pull {SLOW}/app/web:1");
    let out = lab.run(&["script", "-qec", &format!("stty cols 160; {pull}"), "/dev/null"]).success();
    let bars =
        out.stdout.split('\r').filter(|l| l.contains("fetching") && l.contains("MiB") || l.contains("KiB")).count();
    assert!(bars >= 3, "a bar that moves: {out:?}");
    lab.netmode(&["rmi", &format!("{SLOW}/app/web:1")]).success();
    // Errors to a file: no bar.
    let out = lab.run(&["script", "-qec", &format!("{pull} 2>/tmp/errors"), "/dev/null"]).success();
    assert!(!out.stdout.contains("fetching") && !lab.read("/tmp/errors").contains(['\r', '\u{1b}']), "{out:?}");
}

#[test]
fn the_api_pulls_and_lists() {
    let lab = Lab::with().config("[[api.access]]\nuid = 1000\nallow = \"read\"").first("groupadd netmode").start();
    let registry = Registry::start(&lab);
    registry.busybox("app/own:1", "private\n");
    let name = format!("{PRIVATE}/app/own:1");
    let body = |auth: &str| format!(r#"{{"reference": "{name}"{auth}}}"#);
    let (status, error) = lab.api("POST", "/v1/images/pull", Some(&body("")));
    assert_eq!((status, &error["code"]), (401, &json!("registry-denied")), "{error}");
    let auth = format!(r#", "auth": {{"username": "{USER}", "password": "{PASSWORD}"}}"#);
    let (status, pulled) = lab.api("POST", "/v1/images/pull", Some(&body(&auth)));
    assert_eq!((status, &pulled["reference"], &pulled["fresh"]), (200, &json!(name), &json!(true)), "{pulled}");
    assert_eq!(lab.api("GET", "/v1/images", None).1[0]["id"], pulled["id"]);
    let (status, error) = lab.api("POST", "/v1/images/pull", Some(r#"{"reference": "x", "bogus": 1}"#));
    assert_eq!((status, &error["code"]), (400, &json!("bad-request")));
    let bad = format!(r#", "auth": {{"username": "a:b", "password": "{PASSWORD}"}}"#);
    let (status, error) = lab.api("POST", "/v1/images/pull", Some(&body(&bad)));
    assert_eq!((status, &error["code"]), (400, &json!("invalid")));
    assert!(!error.to_string().contains(PASSWORD));
    // Who may only read sees images and changes none.
    let group = lab.sh("getent group netmode | cut -d: -f3").trim().to_owned();
    let user = |args: &[&str]| {
        lab.run(
            &[
                &[
                    "setpriv",
                    "--reuid",
                    "1000",
                    "--regid",
                    &group,
                    "--clear-groups",
                    "env",
                    "HOME=/nonexistent",
                    "netmode",
                ],
                args,
            ]
            .concat(),
        )
    };
    assert!(user(&["images"]).success().stdout.contains(PRIVATE));
    for words in [&["pull", "busy"][..], &["rmi", &name], &["image", "prune", "-a"]] {
        user(words).refused(1, &["user 1000 may not"]);
    }
    let (status, removed) = lab.api("DELETE", &format!("/v1/images?reference={name}"), None);
    assert_eq!((status, &removed["deleted"]), (200, &json!([pulled["id"]])));
}
