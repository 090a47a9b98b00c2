//! The images of this host: who uses them, what is removed, what stays.

use netmode_model::error::Code;
use netmode_tests::registry::{OPEN, SLOW};
use netmode_tests::{Lab, Registry, eventually};
use serde_json::json;

#[test]
fn an_image_in_use_stays() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    for name in ["one", "two", "three"] {
        registry.busybox(&format!("app/{name}:1"), &format!("{name}\n"));
        lab.netmode(&["pull", "-q", &format!("{OPEN}/app/{name}:1")]).success();
    }
    registry.push("oci:/srv/images/app-one-1:image", "app/one:also");
    let at = |name: &str| format!("{OPEN}/app/{name}");
    lab.netmode(&["pull", "-q", &at("one:also")]).success();
    let id = |name: &str| {
        let all = lab.json(&["images"]);
        let of = |i: &&serde_json::Value| i["repoTags"].as_array().is_some_and(|t| t.contains(&json!(at(name))));
        let found = all.as_array().into_iter().flatten().find(of).cloned();
        found.and_then(|i| i["id"].as_str().map(str::to_owned)).unwrap_or_default()
    };
    lab.netmode(&["run", "-d", "--name", "web", &at("one:1"), "/bin/busybox", "sleep", "1000"]).success();
    lab.netmode(&["run", "--name", "ended", &at("two:1"), "/bin/sh", "-c", "echo mine >/mine"]).success();
    assert_eq!(lab.json(&["images"]).as_array().map(Vec::len), Some(3), "two names of one image");

    // A name goes while there is another; the last one does not.
    let first = lab.netmode(&["rmi", &at("one:also")]).success();
    assert_eq!(first.stdout, format!("Untagged: {}\n", at("one:also")));
    registry.refused(
        &["rmi", &at("one:1")],
        1,
        Code::ImageInUse,
        &[&at("one:1"), "task web", "RUNNING", "netmode rm web"],
    );
    registry.refused(&["rmi", &id("two:1")[7..19]], 1, Code::ImageInUse, &["task ended", "STOPPED"]);
    registry.refused(&["rmi", "nothing"], 1, Code::NoSuchImage, &["nothing"]);
    lab.netmode(&["rmi", "-f", "nothing"]).success();

    // Without a name, not used: that is what a prune takes. With -a whatever is not used.
    let two = id("two:1");
    registry.busybox("app/two:1", "two again\n");
    lab.netmode(&["pull", "-q", &at("two:1")]).success();
    assert!(registry.images().iter().any(|line| line.starts_with("<none> <none> ")), "{:?}", registry.images());
    let out = lab.netmode(&["image", "prune"]).success();
    assert_eq!(out.stdout, "Total reclaimed space: 0 B\n", "its nameless image is in use");
    let out = lab.netmode(&["image", "prune", "-a"]).success();
    let gone: Vec<_> = out.stdout.lines().filter(|l| l.starts_with("Untagged")).collect();
    assert_eq!(gone.len(), 2, "{out:?}");
    assert_eq!(registry.stored().len(), 2);
    lab.netmode(&["start", "ended"]).success();
    assert_eq!(lab.netmode(&["exec", "web", "/bin/sh", "-c", "read x </own; echo $x"]).success().stdout, "one\n");

    lab.netmode(&["rm", "-f", "web", "ended"]).success();
    let out = lab.netmode(&["image", "prune"]).success();
    assert!(out.stdout.contains(&format!("Deleted: {two}")), "{out:?}");
    let out = lab.netmode(&["rmi", &at("one:1")]).success();
    assert!(out.stdout.contains("Untagged") && out.stdout.contains("Deleted: sha256:"), "{out:?}");
    assert_eq!((registry.stored(), registry.images()), (vec![], vec![]));
}

#[test]
fn images_outlive_the_agent_and_the_machine() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.busybox("app/web:1", "web\n");
    let name = format!("{OPEN}/app/web:1");
    lab.netmode(&[
        "run",
        "-d",
        "--name",
        "web",
        "--restart",
        "always",
        &name,
        "/bin/sh",
        "-c",
        "read x </own; echo $x >/mine; exec busybox sleep 1000",
    ])
    .success();
    let before = lab.json(&["images"]);
    lab.restart_agent("KILL");
    assert_eq!(lab.json(&["images"]), before);
    assert_eq!(before[0]["usedBy"], json!(["web"]));
    lab.netmode(&["rmi", &name]).refused(1, &["task web"]);
    lab.reboot();
    eventually("it runs again", 10.0, || lab.inspect("web")["state"] == "RUNNING");
    assert_eq!(lab.netmode(&["exec", "web", "/bin/sh", "-c", "read x </mine; echo $x"]).success().stdout, "web\n");
    assert_eq!(lab.json(&["images"]), before);
    // The names are lost, the images are not: they are seen, and can be fetched by name again.
    lab.write("/var/lib/netmode/images/names.json", "{\"v\":1,\"names\":[{");
    assert!(registry.images()[0].starts_with("<none> <none> "));
    assert!(lab.agent_log().contains("names.broken") && lab.has_file("/var/lib/netmode/images/names.broken"));
    lab.netmode(&["pull", "-q", &name]).success();
    assert_eq!(lab.json(&["images"]), before);
}

#[test]
fn two_who_want_the_same_fetch_it_once() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.busybox("app/web:1", "web\n");
    registry.login(SLOW);
    let name = format!("{SLOW}/app/web:1");
    let alone = lab.netmode(&["pull", "-q", &name]).success();
    assert_eq!(alone.stdout, format!("{name}\n"));
    lab.netmode(&["rmi", &name]).success();
    let all = netmode_tests::all_at_once(&[1, 2, 3], |_| lab.netmode(&["-o", "json", "pull", &name]).success().json());
    assert_eq!(all.iter().filter(|p| p["fresh"] == true).count(), 1, "{all:?}");
}
