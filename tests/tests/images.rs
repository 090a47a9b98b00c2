//! Images: an OCI layout and a `docker save` tar, their configuration, and those that cannot be used.

use netmode_model::error::Code;
use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, Options, tcp};

/// Makes `/srv/layout` (OCI) and `/srv/image.tar` (docker-archive) of busybox and the probe, and `/srv/foreign` of an
/// architecture that this machine has not.
const MAKE: &str = "
set -eu
cd /srv
umoci init --layout layout
umoci new --image layout:web
# On a plain tmpfs: umoci takes equal inode numbers for hard links, and an overlay has them.
root=/tmp/root
mkdir -p $root/bin $root/tmp $root/etc
cp /bin/busybox /usr/local/bin/probe $root/bin/
for applet in sh cat ls id env hostname; do ln -s busybox $root/bin/$applet; done
echo 'app:x:1234:1235::/home:/bin/sh' >$root/etc/passwd
echo 'app:x:1235:' >$root/etc/group
chmod 1777 $root/tmp
umoci insert --image layout:web $root /
umoci config --image layout:web --config.env COLOR=red --config.workingdir /tmp --config.exposedports 80/tcp \\
    --config.exposedports 53/udp --config.entrypoint /bin/probe --config.cmd serve --config.cmd tcp/80 --config.cmd udp/53
umoci tag --image layout:web user
umoci config --image layout:user --config.user app --clear=config.entrypoint --clear=config.cmd
umoci tag --image layout:web foreign
umoci config --image layout:foreign --architecture s390x
skopeo copy --quiet oci:layout:web docker-archive:/srv/image.tar:web:latest
skopeo copy --quiet oci:layout:foreign oci:foreign:latest
head -c 2000 image.tar >torn.tar
";

fn lab() -> Options {
    Lab::with().first(MAKE)
}

#[test]
fn a_layout_and_a_tar_run_as_their_configuration_says() {
    let lab = lab().start();
    for (name, image) in
        [("oci", "oci:/srv/layout:web"), ("tar", "docker-archive:/srv/image.tar"), ("path", "/srv/image.tar")]
    {
        lab.netmode(&["run", "-d", "--name", name, "-P", image]).success();
        lab.ready(name);
        let port = lab.host_port(name, "tcp");
        assert!(lab.at("client").who(tcp(format!("{HOST}:{port}"))).is_ok(), "{image}: -P publishes what it exposes");
        assert_ne!(lab.host_port(name, "udp"), 0);
        let view = lab.inspect(name);
        assert_eq!(view["containers"][0]["image"], image);
    }
    // What an image says can be said otherwise; the root is its own.
    let sh = ["run", "--rm", "--entrypoint", "/bin/sh", "oci:/srv/layout:web", "-c"];
    let run = |script: &str| lab.netmode(&[&sh[..], &[script]].concat()).success().stdout;
    assert_eq!(run("echo $COLOR; pwd; id -u"), "red\n/tmp\n0\n");
    assert_eq!(run("ls /"), "bin\ndev\netc\nproc\nsys\ntmp\n", "nothing of the host's");
    let user =
        lab.netmode(&["run", "--rm", "oci:/srv/layout:user", "sh", "-c", "id -u; id -g; touch /tmp/x && echo wrote"]);
    assert_eq!(user.success().stdout, "1234\n1235\nwrote\n");
    let env = lab.netmode(&[
        "run",
        "--rm",
        "-e",
        "COLOR=blue",
        "-u",
        "0",
        "-w",
        "/bin",
        "oci:/srv/layout:user",
        "sh",
        "-c",
        "echo $COLOR; pwd; id -u",
    ]);
    assert_eq!(env.success().stdout, "blue\n/bin\n0\n");
}

#[test]
fn an_image_is_unpacked_once_and_shared_unchanged() {
    let lab = lab().start();
    let run =
        |script: &str| lab.netmode(&["run", "--rm", "--entrypoint", "/bin/sh", "oci:/srv/layout:web", "-c", script]);
    run("echo mine >/bin/mine; rm /bin/ls; echo x >/etc/passwd").success();
    let size = || lab.sh("du -s --apparent-size /var/lib/netmode/images | cut -f1");
    let first = size();
    let out = run("ls /bin/mine 2>/dev/null; cat /etc/passwd").success();
    assert!(out.stdout.starts_with("app:"), "what one container did is not there in the next: {out:?}");
    assert_eq!(size(), first, "one copy");
}

#[test]
fn images_that_cannot_be_used() {
    let lab = lab().first("mkdir /srv/empty").start();
    let before = Machine::settled(&lab);
    let cases: [(&str, &[&str]); 5] = [
        ("oci:/srv/foreign:latest", &["s390x"]),
        ("/srv/none.tar", &["/srv/none.tar"]),
        ("docker-archive:/srv/torn.tar", &["/srv/torn.tar"]),
        ("oci:/srv/empty", &["/srv/empty"]),
        ("oci:/srv/layout:nothing", &["nothing"]),
    ];
    let mut faults = vec![];
    for (image, words) in cases {
        let command = ["run", "-d", "-p", "8080:80", image];
        faults.extend(lab.netmode(&command).is_refusal(125, words).err());
        let json = lab.netmode(&[&["-o", "json"], &command[..]].concat());
        if [Code::BadImage, Code::NoSuchPath].iter().all(|code| json.is_refusal_with(125, *code).is_err()) {
            faults.push(format!("neither bad-image nor no-such-path: {json:?}"));
        }
        faults.extend(before.is_unchanged(&lab).err().map(|change| format!("{image}: {change}")));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let nothing = lab.netmode(&["run", "oci:/srv/layout:user"]);
    nothing.refused(125, &["command"]);
}
