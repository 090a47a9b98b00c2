//! The Debian package and `make install`: the same files; installed, used, removed and purged, nothing is left.

use netmode_tests::machine::Machine;
use netmode_tests::sandbox::{programs, repository};
use netmode_tests::{Lab, eventually, need, tcp};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the lab has the package.
const DEB: &str = "/srv/netmode.deb";

/// Only what the package has put there, not the programs that every sandbox shows.
const PATH: &str = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n";

/// The sandbox's root leaves documentation out.
const DPKG: &str = "dpkg --path-include='/usr/share/man/*' --path-include='/usr/share/doc/*'";

/// Files and links of the host with what is in those of /etc, but for dpkg's own and the backups of addgroup. Others
/// leave something in /run: addgroup and systemctl, which the package calls, and runc, which the test asks.
const FILES: &str = "
    find / -xdev \\( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /tmp -o -path /root \\) -prune \
        -o -print | sort
    find /run /var/lib/netmode -xdev \\( -path /run/lab -o -path /run/adduser -o -path /run/systemd -o -path /run/runc \\) \
        -prune -o -print | sort
    find /etc -xdev -type f ! -name '*-' -exec sha256sum {} + | sort -k2
";

/// The package of the programs under test.
fn package() -> Option<PathBuf> {
    let dist = std::fs::read_dir(repository().join("dist")).ok()?;
    let mut found: Vec<PathBuf> = dist.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == "deb"));
    found.sort();
    found.pop()
}

fn with_package(deb: &Path) -> Lab {
    let mut lab = Lab::with().first("sysctl -qw net.ipv4.ip_forward=1").no_agent().start();
    let inside = lab.sandbox().path(DEB);
    std::fs::copy(deb, &inside).unwrap_or_else(|e| panic!("{}: {e}", inside.display()));
    let same = lab.sh(&format!(
        "dpkg-deb --fsys-tarfile {DEB} | tar -xO ./usr/bin/netmoded | cmp - /opt/netmode/bin/netmoded && echo same || :"
    ));
    assert_eq!(same, "same\n", "{} is of another build; run make deb", deb.display());
    lab
}

/// Starts the package's agent and a container by the package's programs.
fn in_use(lab: &Lab) -> u32 {
    let agent = lab.spawn(&["/usr/bin/netmoded"], "/run/lab/packaged.log");
    eventually("the agent answers", 10.0, || lab.run(&["/usr/bin/netmode", "system", "info"]).status == 0);
    let run = "netmode run -d --name web -p 8080:80 --rootfs / probe serve --tag web tcp/80";
    lab.sh(&format!("{PATH}{run}"));
    eventually("it serves", 10.0, || lab.at("client").who(tcp("192.0.2.1:8080")).is_ok());
    agent
}

#[test]
fn the_package_installs_runs_and_purges_cleanly() {
    let deb = package();
    need!(deb.is_some(), "no package in dist/ (make deb, which needs dpkg-deb)");
    let Some(deb) = deb else { return };
    let lab = with_package(&deb);
    let (files, machine) = (lab.sh(FILES), Machine::settled(&lab));

    lab.sh(&format!("{PATH}{DPKG} -i {DEB}"));
    assert_eq!(lab.sh("dpkg -V netmode"), "");
    lab.sh("getent group netmode");
    for file in [
        "/usr/bin/netmode",
        "/usr/lib/netmode/cni/netmode",
        "/usr/lib/systemd/system/netmode.service",
        "/usr/lib/systemd/network/10-netmode.network",
        "/usr/lib/systemd/network/10-netmode.link",
        "/usr/lib/NetworkManager/conf.d/10-netmode.conf",
        "/usr/share/man/man1/netmode-run.1.gz",
        "/usr/share/man/man8/netmoded.8.gz",
        "/usr/share/bash-completion/completions/netmode",
        "/usr/share/zsh/vendor-completions/_netmode",
        "/usr/share/fish/vendor_completions.d/netmode.fish",
        "/usr/share/doc/netmode/examples/netmode.toml",
        "/usr/share/doc/netmode/operations.md",
        "/usr/share/netmode/labs/01-none/lab.md",
        "/usr/share/netmode/labs/sandbox.sh",
    ] {
        assert!(lab.has_file(file), "{file}");
    }
    lab.sh("bash -n /usr/share/bash-completion/completions/netmode");
    lab.sh("systemd-analyze verify --man=no /usr/lib/systemd/system/netmode.service");

    let agent = in_use(&lab);
    // An upgrade leaves what runs alone.
    lab.sh(&format!("{PATH}{DPKG} -i {DEB}"));
    assert!(lab.at("client").who(tcp("192.0.2.1:8080")).is_ok(), "it goes on through an upgrade");

    lab.sh(&format!("{PATH}dpkg -r netmode"));
    assert_eq!(lab.reap(agent, 5000), Some(0), "the agent has ended");
    for part in ["rules", "links", "addresses", "policy rules", "namespaces", "containers", "processes", "mounts"] {
        eventually(part, 5.0, || Machine::now(&lab).part(part) == machine.part(part));
    }
    assert!(lab.sh("ls /var/lib/netmode/tasks").contains(".json"), "records stay until purge");

    lab.sh(&format!("{PATH}dpkg -P netmode"));
    machine.assert_unchanged(&lab, "the package's life");
    assert_eq!(lab.sh("pgrep -l netmode || :"), "", "nobody of ours is left");
    let left = lab.sh(FILES);
    let (was, is): (BTreeSet<&str>, BTreeSet<&str>) = (files.lines().collect(), left.lines().collect());
    let change: Vec<_> = was.symmetric_difference(&is).collect();
    assert!(change.is_empty(), "the package leaves or takes {change:#?}");
}

/// What a person does on a new machine, who has nothing but apt: install, run, remove. The second time shows what that
/// leaves, since the first brought the packages that netmode needs.
const ON_A_NEW_MACHINE: &str = r#"
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
! command -v runc ip nft iptables python3
cp /opt/netmode/bin/probe /bin/probe
echo 0 >/proc/sys/net/ipv4/ip_forward
echo 0 >/proc/sys/net/ipv6/conf/all/forwarding
install() { apt-get install --yes --quiet --no-install-recommends /srv/netmode.deb >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; exit 1; }; }
picture() {
    find / -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /tmp -o -path '/etc/*-' \) -prune -o -print
    find /run /var/lib/netmode -xdev 2>/dev/null | grep -v -e adduser -e ^/run/runc || :
    cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding
    cut -d' ' -f5- /proc/self/mountinfo
    cut -d: -f1 /proc/net/dev
    cat /proc/[0-9]*/comm | grep -e netmode -e conmon || :
}
install; apt-get --yes purge netmode >/dev/null 2>&1
picture >/tmp/before
install
netmoded >/tmp/agent.log 2>&1 &
for n in $(seq 100); do netmode system info >/dev/null 2>&1 && break; sleep 0.1; done
netmode network create --ipv6 app >/dev/null
netmode run -d --name web -p 8080:80 --rootfs / probe serve --tag web tcp/80 >/dev/null
netmode run -d --name six --network app -p 8086:80 --rootfs / probe serve --tag six tcp/80 >/dev/null
ask() { probe once "{\"who\":{\"proto\":\"tcp\",\"to\":\"$1\",\"from\":null,\"wait_ms\":3000}}"; }
for n in $(seq 50); do netmode logs web | grep -q ready && netmode logs six | grep -q ready && break; sleep 0.1; done
for to in 127.0.0.1:8080 '[::1]:8080' 127.0.0.1:8086 '[::1]:8086' 172.17.0.1:8080; do echo "$to $(ask "$to")"; done
netmode exec web probe once '{"who":{"proto":"tcp","to":"172.17.0.1:8080","from":null,"wait_ms":3000}}'
apt-get --yes purge netmode >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; exit 1; }
for n in $(seq 50); do picture >/tmp/after; cmp -s /tmp/before /tmp/after && break; sleep 0.1; done
diff /tmp/before /tmp/after && echo clean
"#;

#[test]
fn on_a_bare_machine_apt_installs_it_and_it_runs_and_purges_cleanly() {
    let deb = package();
    need!(deb.is_some(), "no package in dist/ (make deb, which needs dpkg-deb)");
    let root = std::env::var_os("NETMODE_BARE_ROOT");
    need!(root.is_some(), "no NETMODE_BARE_ROOT (tests/sandbox/root bare)");
    let (Some(deb), Some(root)) = (deb, root) else { return };
    let out = Command::new(repository().join("tests/sandbox/enter"))
        .args(["--name", "bare", "--bind", &format!("{}:/srv/netmode.deb:ro", deb.display())])
        .args(["--", "sh", "-c", ON_A_NEW_MACHINE])
        .envs([("NETMODE_SANDBOX_ROOT", root), ("NETMODE_BIN", programs().into())])
        .output()
        .expect("tests/sandbox/enter can be started");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(text.matches("\"tag\":\"web\"").count(), 3, "the host, by the bridge, and itself: {text}");
    assert!(text.contains("[::1]:8080 {\"failed\":\"refused\"}"), "no silence where there is no IPv6: {text}");
    assert_eq!(text.matches("\"tag\":\"six\"").count(), 2, "{text}");
    assert!(text.ends_with("clean\n"), "{text}");
}

#[test]
fn programs_are_static() {
    for name in ["netmode", "netmoded", "netmode-cni"] {
        let elf = std::fs::read(programs().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(elf.starts_with(b"\x7fELF"), "{name} is no ELF file");
        let number = |at: usize, bytes: usize| {
            elf[at..at + bytes].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
        };
        // Elf64_Ehdr: e_phoff, e_phentsize, e_phnum; PT_INTERP is 3 (elf(5)).
        let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
        let kinds: Vec<usize> = (0..count).map(|n| number(table + n * size, 4)).collect();
        assert!(kinds.contains(&1) && !kinds.contains(&3), "{name} asks for a dynamic linker: {kinds:?}");
    }
}

#[test]
fn a_package_whose_agent_is_dead_takes_its_containers_along() {
    let deb = package();
    need!(deb.is_some(), "no package in dist/ (make deb, which needs dpkg-deb)");
    let Some(deb) = deb else { return };
    let lab = with_package(&deb);
    let machine = Machine::settled(&lab);
    lab.sh(&format!("{PATH}{DPKG} -i {DEB}"));
    let agent = in_use(&lab);
    lab.sh(&format!("kill -9 {agent}"));
    lab.reap(agent, 5000);
    lab.sh(&format!("{PATH}dpkg -P netmode"));
    machine.assert_unchanged(&lab, "a purge with the agent dead");
    eventually("nobody of ours is left", 5.0, || lab.run(&["pgrep", "netmode"]).status == 1);
}

#[test]
fn lintian_finds_no_error() {
    let deb = package();
    need!(deb.is_some(), "no package in dist/ (make deb, which needs dpkg-deb)");
    let Some(deb) = deb else { return };
    let lab = with_package(&deb);
    let out = lab.run(&["lintian", "--allow-root", "--fail-on", "error", DEB]);
    assert!(out.status == 0 && !out.stdout.lines().any(|l| l.starts_with("E:")), "{out:#?}");
}

/// Files below a directory, as paths from it.
fn files_below(dir: &Path) -> BTreeSet<String> {
    let listed = Command::new("find").arg(dir).args(["!", "-type", "d", "-printf", "/%P\n"]).output().expect("find");
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn make_install_lays_down_what_the_package_has_and_uninstall_takes_it_back() {
    let deb = package();
    need!(deb.is_some(), "no package in dist/ (make deb, which needs dpkg-deb)");
    let Some(deb) = deb else { return };
    let scratch = std::env::temp_dir().join(format!("netmode-install-{}", std::process::id()));
    let root = scratch.join("root");
    std::fs::create_dir_all(&scratch).expect("a directory below the temporary one");
    let make = |target: &str| {
        let out = Command::new("make")
            .current_dir(repository())
            .args([target, "PREFIX=/usr"])
            .arg(format!("DESTDIR={}", root.display()))
            .arg(format!("STAGE={}", scratch.join("stage").display()))
            .arg(format!("NETMODE_BIN={}", programs().display()))
            .output()
            .expect("make");
        assert!(out.status.success(), "{out:?}");
    };
    make("install");
    let installed = files_below(&root);
    let unpacked = scratch.join("deb");
    let status = Command::new("dpkg-deb").arg("-x").args([&deb, &unpacked]).status().expect("dpkg-deb");
    assert!(status.success());
    let of_debian = ["/usr/share/doc/netmode/NEWS.gz", "/usr/share/lintian/overrides/netmode"];
    let packaged: BTreeSet<String> =
        files_below(&unpacked).into_iter().filter(|f| !of_debian.contains(&f.as_str())).collect();
    let own: BTreeSet<String> =
        installed.iter().filter(|f| *f != "/usr/lib/netmode/installed-files").cloned().collect();
    assert_eq!(own, packaged);
    let unit = std::fs::read_to_string(root.join("usr/lib/systemd/system/netmode.service")).expect("the unit");
    assert!(unit.contains("ExecStart=/usr/bin/netmoded"), "{unit}");
    make("uninstall");
    assert_eq!(files_below(&root), BTreeSet::new());
    std::fs::remove_dir_all(&scratch).expect("the scratch directory goes");
}
