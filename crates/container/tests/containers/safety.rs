//! What a container may not do, and what it may.

use crate::lab::{lab, soon};
use netmode_container::Netns;
use std::fs;

#[tokio::test]
async fn capabilities_are_exactly_dockers_without_net_raw() {
    let lab = lab!("capabilities_are_exactly_dockers_without_net_raw");
    let caps = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|^Seccomp:' /proc/self/status";
    let (_, text) = lab.sh(caps).await;
    let (none, own) = ("0000000000000000", "00000000a80405fb");
    let expected = format!(
        "CapInh:\t{none}\nCapPrm:\t{own}\nCapEff:\t{own}\nCapBnd:\t{own}\nCapAmb:\t{none}\nNoNewPrivs:\t0\nSeccomp:\t2\n"
    );
    assert_eq!(text, expected);
    let mut spec = lab.spec(&["sh", "-c", caps]);
    spec.user = Some("web".into());
    spec.security_opt = vec!["no-new-privileges".into()];
    let (_, text, _) = lab.run(&spec).await;
    assert!(text.contains(&format!("CapEff:\t{none}")) && text.contains("NoNewPrivs:\t1"), "{text}");
}

#[tokio::test]
async fn namespaces_and_mounts_are_refused() {
    let lab = lab!("namespaces_and_mounts_are_refused");
    for (line, needs) in [("unshare -U true", "not permitted"), ("mount -t tmpfs x /tmp", "permission denied")] {
        let (code, text) = lab.sh(line).await;
        assert_ne!(code, 0, "{line}");
        assert!(text.contains(needs) || text.contains("not permitted"), "{line}: {text}");
    }
    let mut open = lab.spec(&["unshare", "-U", "true"]);
    open.security_opt = vec!["seccomp=unconfined".into()];
    assert_eq!(lab.run(&open).await.0, 0);
}

#[tokio::test]
async fn anyone_may_ping_and_listen_low_in_a_new_namespace() {
    let lab = lab!("anyone_may_ping_and_listen_low_in_a_new_namespace");
    let show = "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(lab.sh(show).await.1, "0\t2147483647\n0\n");
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let spec = lab.spec(&["true"]);
    let mut new = lab.new_container(&spec);
    new.netns = Netns::Host;
    let prepared = lab.containers.prepare(&new).unwrap();
    let pid = lab.containers.create(&prepared).unwrap();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(fs::read_link(format!("/proc/{pid}/ns/net")).unwrap(), own);
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap(), before);
}

#[tokio::test]
async fn files_of_etc_are_its_own_and_can_change() {
    let lab = lab!("files_of_etc_are_its_own_and_can_change");
    let mut spec =
        lab.spec(&["sh", "-c", "cat /etc/hosts /etc/resolv.conf /etc/hostname; hostname; read x; cat /etc/hosts"]);
    spec.stdin = true;
    let new = lab.new_container(&spec);
    let short = new.id.short();
    let prepared = lab.containers.prepare(&new).unwrap();
    lab.containers.create(&prepared).unwrap();
    let mut session = soon(lab.containers.attach(prepared.id)).await.unwrap();
    lab.containers.start(prepared.id).unwrap();
    lab.containers.set_hosts(prepared.id, "192.0.2.9 other\n").unwrap();
    session.input.write(b"\n").await.unwrap();
    let (code, text, _) = lab.finish(prepared.id).await;
    assert_eq!(code, 0);
    assert!(text.contains(&format!("nameserver 192.0.2.1\n{short}\n{short}\n")), "{text}");
    assert!(text.ends_with("192.0.2.9 other\n"), "{text}");
}

#[tokio::test]
async fn volumes_tmpfs_and_a_read_only_root() {
    let lab = lab!("volumes_tmpfs_and_a_read_only_root");
    let data = lab.dir.join("data");
    fs::create_dir(&data).unwrap();
    let line = "echo v > /data/file; touch /ro/x; touch /root/x; touch /scratch/x && grep ' /scratch ' /proc/mounts";
    let mut spec = lab.spec(&["sh", "-c", line]);
    spec.read_only = true;
    spec.volumes = vec![format!("{}:/data", data.display()), format!("{}:/ro:ro", data.display())];
    spec.tmpfs = vec!["/scratch:size=1m".into()];
    let (code, out, err) = lab.run(&spec).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "v\n");
    assert_eq!(err.matches("Read-only file system").count(), 2, "{err}");
    assert!(out.contains("nosuid,nodev,noexec") && out.contains("size=1024k"), "{out}");
    assert!(!data.join("x").exists());
    // Without --read-only a directory is used as it is.
    assert_eq!(lab.sh("touch /root/kept").await.0, 0);
    assert!(lab.dir.join("root/root/kept").exists());
}

#[tokio::test]
async fn limits_are_set() {
    let lab = lab!("limits_are_set");
    let mut spec =
        lab.spec(&["sh", "-c", "ulimit -n; ulimit -c; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max"]);
    spec.ulimits = vec!["nofile=100:200".into(), "core=0".into()];
    (spec.memory, spec.pids_limit, spec.cpus) = (Some(32 << 20), Some(20), Some(0.5));
    let (_, out, _) = lab.run(&spec).await;
    assert_eq!(out, "100\n0\n20\n");
}

#[tokio::test]
async fn a_small_init_reaps() {
    let lab = lab!("a_small_init_reaps");
    let mut spec = lab.spec(&["sh", "-c", "cat /proc/1/comm; exit 3"]);
    spec.init = true;
    if !["tini-static", "catatonit", "tini"].iter().any(|p| std::path::Path::new("/usr/bin").join(p).exists()) {
        let error = lab.containers.prepare(&lab.new_container(&spec)).unwrap_err();
        assert!(error.to_string().contains("package \"tini\""), "{error}");
        return;
    }
    let (code, out, _) = lab.run(&spec).await;
    assert_eq!((code, out.as_str()), (3, "init\n"));
}

#[tokio::test]
async fn privileged_has_everything_that_we_have() {
    let lab = lab!("privileged_has_everything_that_we_have");
    let mut spec =
        lab.spec(&["sh", "-c", "grep -E 'CapBnd|^Seccomp:' /proc/self/status; ls /dev; unshare -m true && echo may"]);
    spec.privileged = true;
    let (code, out, err) = lab.run(&spec).await;
    assert_eq!(code, 0, "{err}");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ours = status.lines().find(|l| l.starts_with("CapBnd")).unwrap();
    assert!(out.contains(ours) && out.contains("Seccomp:\t0") && out.ends_with("may\n"), "{out}");
}

#[tokio::test]
async fn the_hosts_root_is_seen_and_not_changed() {
    let lab = lab!("the_hosts_root_is_seen_and_not_changed");
    let mark = format!("nmc-mark-{}", std::process::id());
    let seen = lab.dir.join("seen");
    fs::write(&seen, "by the container\n").unwrap();
    let line = format!(
        "cat {}; echo x > /{mark} && echo x > /etc/{mark} && echo x > /usr/{mark} && cat /etc/{mark}; ls /run; \
         ls {}/run {}/state; cat /etc/resolv.conf; ps | wc -l",
        seen.display(),
        lab.dir.display(),
        lab.dir.display(),
    );
    let mut spec = lab.spec(&["/bin/sh", "-c", &line]);
    spec.rootfs = Some("/".into());
    let (_, out, err) = lab.run(&spec).await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["by the container", "x"], "{out}{err}");
    assert!(out.contains("nameserver 192.0.2.1"), "{out}");
    assert!(!out.contains("exits") && !out.contains("images") && !out.contains("netmode"), "{out}");
    for dir in ["/", "/etc", "/usr"] {
        assert!(!std::path::Path::new(dir).join(&mark).exists(), "{dir}");
    }
}
