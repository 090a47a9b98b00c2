//! What registries, certificates, layers, disks and impatient callers do wrong.

use netmode_model::error::Code;
use netmode_tests::registry::{ARCHITECTURE, OPEN, PASSWORD, PRIVATE, SLOW, USER};
use netmode_tests::{Lab, Registry, eventually};
use serde_json::json;
use std::time::Duration;

#[test]
fn what_registries_refuse_is_one_sentence() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.busybox("app/web:1", "web\n");
    registry.image_for("app/foreign:1", "s390x", "('own', 'file', 'x')");
    registry.image_for("app/other:1", "mips64le", "('own', 'file', 'y')");
    registry.list("app/all:1", &[("s390x", "app/foreign:1"), (ARCHITECTURE, "app/web:1")]);
    registry.list("app/strange:1", &[("s390x", "app/foreign:1"), ("mips64le", "app/other:1")]);
    let at = |name: &str| format!("{OPEN}/{name}");
    let none = format!("app/web@sha256:{}", "0".repeat(64));
    for (name, code, words) in [
        ("app/web:2", Code::NoSuchImage, ["app/web:2", OPEN]),
        ("app/none:1", Code::NoSuchImage, ["app/none:1", OPEN]),
        (&none, Code::NoSuchImage, ["@sha256:000", OPEN]),
        ("app/foreign:1", Code::BadImage, ["s390x", ARCHITECTURE]),
        ("app/strange:1", Code::BadImage, ["linux/s390x, linux/mips64le", ARCHITECTURE]),
    ] {
        registry.refused(&["pull", &at(name)], 1, code, &words);
    }
    // A list has what this machine needs.
    lab.netmode(&["pull", &at("app/all:1")]).success();
    assert_eq!(registry.own(&at("app/all:1")), "web");
    let (digest, _) = registry.manifest("app/all:1");
    assert_eq!(lab.json(&["images"])[0]["repoDigests"], json!([format!("{OPEN}/app/all@{digest}")]));

    // Nobody there; somebody without TLS; somebody whose certificate nobody vouches for, or that is another's.
    registry.refused(&["pull", "registry.test:9/app/web"], 1, Code::RegistryFailed, &["registry.test:9", "refused"]);
    lab.spawn(&["nsenter", "--net=/run/netns/far", "python3", "-m", "http.server", "8088"], "/run/lab/http.log");
    eventually("it answers", 5.0, || lab.run(&["curl", "-s", "http://registry.test:8088/"]).status == 0);
    registry.refused(
        &["pull", "registry.test:8088/app/web"],
        1,
        Code::RegistryFailed,
        &["registry.test:8088", "TLS handshake"],
    );
    lab.sh("echo '203.0.113.9 other.test' >>/etc/hosts; cp -r /etc/docker/certs.d/registry.test:5002 /etc/docker/certs.d/other.test:5002");
    let other = ["pull", "other.test:5002/app/web:1"];
    registry.refused(&other, 1, Code::RegistryCertificate, &["certificate", "registry.test, not other.test"]);
    lab.sh("rm -r /etc/docker/certs.d");
    registry.refused(
        &["pull", &at("app/web:1")],
        1,
        Code::RegistryCertificate,
        &["certificate", "unknown authority", "/etc/docker/certs.d"],
    );
    let login = ["login", "-u", USER, "--password-stdin", PRIVATE];
    lab.netmode_with(&login, PASSWORD, &[]).refused(1, &["certificate", "unknown authority"]);
    assert_eq!(registry.stored().len(), 1, "nothing half is left");
}

#[test]
fn a_disk_that_fills_leaves_nothing_half() {
    let mount = "mkdir -p /var/lib/netmode/images && mount -t tmpfs -o size=8m,mode=700 small /var/lib/netmode/images";
    let lab = Lab::with().first(mount).start();
    let registry = Registry::start(&lab);
    registry.busybox("app/small:1", "small\n");
    // The first one is small until it is unpacked; the other does not even come here.
    registry.image("app/zeros:1", "('zeros', 'file', bytes(20_000_000))");
    registry.image("app/noise:1", "('noise', 'file', os.urandom(20_000_000))");
    let used = || lab.sh("df --output=used /var/lib/netmode/images | tail -1").trim().parse::<u64>().expect("a number");
    let before = used();
    for name in ["app/zeros:1", "app/noise:1"] {
        let name = format!("{OPEN}/{name}");
        registry.refused(
            &["pull", &name],
            1,
            Code::Limit,
            &[&name, "no space", "/var/lib/netmode/images", "image prune"],
        );
        registry.refused(&["run", &name, "true"], 125, Code::Limit, &["no space"]);
        assert_eq!(registry.stored(), Vec::<String>::new());
        assert!(used() <= before + 8, "{} and {before} kB", used());
    }
    assert_eq!(registry.images(), Vec::<String>::new());
    // Afterwards all is well.
    let small = format!("{OPEN}/app/small:1");
    lab.netmode(&["pull", &small]).success();
    assert_eq!(registry.own(&small), "small");
}

#[test]
fn a_layer_stays_in_its_root() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    lab.sh("mkdir -p /srv/outside/dir && echo victim >/srv/outside/victim && echo victim >/srv/outside/dir/victim");
    let up = "../".repeat(12);
    let shell = "('bin/busybox', 'copy', '/bin/busybox'), ('bin/sh', 'link', 'busybox')";
    let layers = [
        ("dots", format!("('{up}srv/outside/new', 'file', 'x')")),
        ("inner-dots", format!("('a', 'dir', ''), ('a/{up}srv/outside/new', 'file', 'x')")),
        ("absolute", "('/srv/outside/new', 'file', 'x')".into()),
        ("link", "('l', 'link', '/srv/outside'), ('l/new', 'file', 'x'), ('l/victim', 'file', 'x')".into()),
        ("relative", format!("('l', 'link', '{up}srv/outside'), ('l/new', 'file', 'x'), ('l/victim', 'file', 'x')")),
        ("chain", "('a', 'link', 'b'), ('b', 'link', '/srv'), ('a/outside/new', 'file', 'x')".into()),
        ("hard", "('h', 'hard', '/srv/outside/victim'), ('h', 'file', 'x')".into()),
        ("hard-dots", format!("('h', 'hard', '{up}srv/outside/victim'), ('h', 'file', 'x')")),
        ("hard-link", "('l', 'link', '/srv/outside'), ('h', 'hard', 'l/victim'), ('h', 'file', 'x')".into()),
        ("over-link", "('f', 'link', '/srv/outside/victim'), ('f', 'file', 'x')".into()),
        ("dot", "('.', 'link', '/srv/outside'), ('new', 'file', 'x'), ('victim', 'file', 'x')".into()),
        ("slash", "('/', 'link', '/srv/outside'), ('new', 'file', 'x'), ('victim', 'file', 'x')".into()),
        ("whiteout", "('l', 'link', '/srv/outside'), ('l/.wh.victim', 'file', ''), ('l/.wh.dir', 'file', '')".into()),
        ("opaque", "('l', 'link', '/srv/outside'), ('l/.wh..wh..opq', 'file', '')".into()),
        ("whiteout-dots", format!("('{up}srv/outside/.wh.victim', 'file', '')")),
        (
            "whiteout-up",
            "('a', 'dir', ''), ('a/.wh...', 'file', ''), ('.wh...', 'file', ''), ('.wh..', 'file', '')".into(),
        ),
        // What a container's start writes to.
        (
            "etc",
            "('etc', 'link', '/srv/outside'), ('dev', 'link', '/srv/outside'), ('proc', 'link', '/srv/outside')".into(),
        ),
        (
            "etc-files",
            "('etc/hosts', 'link', '/srv/outside/victim'), ('etc/resolv.conf', 'link', '/srv/outside/new')".into(),
        ),
    ];
    // Everything that is no image, no record, and not of the test itself or of skopeo's cache.
    registry.busybox("app/web:1", "web\n");
    lab.netmode(&["pull", "-q", &format!("{OPEN}/app/web:1")]).success();
    lab.netmode(&["rmi", &format!("{OPEN}/app/web:1")]).success();
    lab.sh("touch /tmp/mark; sleep 0.05");
    let changed = || {
        lab.sh("find / -xdev \\( -path /proc -o -path /run -o -path /dev -o -path /sys -o -path /srv/registry \
                -o -path /srv/images -o -path /var/lib/netmode -o -path /var/lib/containers -o -path /tmp \\) -prune -o -newercm /tmp/mark -print | sort | grep -v '^/srv$' || :")
    };
    let outside = || lab.sh("cd /srv/outside && find . | sort && cat victim dir/victim");
    let (before, seen) = (outside(), changed());
    let mut unpacked = vec![];
    for (name, entries) in layers {
        let image = format!("evil/{name}:1");
        registry.image(&image, &format!("{shell}, {entries}"));
        let image = format!("{OPEN}/{image}");
        let pulled = lab.netmode(&["pull", "-q", &image]);
        if pulled.status == 0 {
            unpacked.push(name);
            // Whether it runs is its own affair.
            lab.netmode(&["run", "--rm", &image, "/bin/sh", "-c", "echo x >/new; echo x >/victim"]);
            lab.netmode(&["rmi", &image]).success();
        } else {
            lab.netmode(&["pull", &image]).refused(1, &["cannot be unpacked"]);
        }
        assert_eq!(outside(), before, "{name}");
    }
    assert_eq!(changed(), seen);
    assert_eq!(registry.stored(), Vec::<String>::new(), "nothing is left of them");
    assert!(unpacked.len() > 6, "most are harmless once they are contained: {unpacked:?}");
}

#[test]
fn who_goes_away_ends_the_work() {
    let lab = Lab::start();
    let registry = Registry::start(&lab);
    registry.image("app/large:1", "('noise', 'file', os.urandom(20_000_000))");
    registry.login(SLOW);
    let name = format!("{SLOW}/app/large:1");
    for how in ["INT", "KILL"] {
        let pid = lab.spawn(&["netmode", "pull", &name], "/run/lab/pull.log");
        eventually("it fetches", 10.0, || lab.sh("pgrep -cf '[s]kopeo copy' || :").trim() != "0");
        std::thread::sleep(Duration::from_millis(300));
        lab.sh(&format!("kill -{how} {pid}"));
        eventually("skopeo is ended", 5.0, || lab.sh("pgrep -c '^skopeo$' || :").trim() == "0");
        eventually("nothing is left", 5.0, || {
            registry.stored().is_empty() && lab.sh("ls -A /run/netmode/registry").is_empty()
        });
    }
    // The agent dies in the middle: the next one clears up.
    lab.spawn(&["netmode", "pull", &name], "/run/lab/pull.log");
    eventually("it fetches", 10.0, || lab.sh("pgrep -cf '[s]kopeo copy' || :").trim() != "0");
    lab.restart_agent("KILL");
    eventually("it is cleared up", 5.0, || lab.sh("ls -A /run/netmode/registry 2>/dev/null || :").is_empty());
    assert_eq!((registry.stored(), lab.sh("ls -A /run/netmode/registry 2>/dev/null || :")), (vec![], String::new()));
}
