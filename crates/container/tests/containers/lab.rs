//! A pair of directories, a small root file system, and what is made of them.

use netmode_container::{Config, Containers, Exit, Extent, Netns, NewContainer, Prepared};
use netmode_model::Id;
use netmode_model::api::{ContainerSpec, Stream};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Why container tests cannot run here; counted in the file `$NETMODE_SKIPS`, a failure with `STRICT=1`.
pub fn skipped(test: &str) -> bool {
    let is_there = |p: &&str| !["/usr/sbin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(p).exists());
    let missing = ["runc", "conmon", "skopeo", "umoci", "busybox"].iter().find(|p| is_there(p));
    let root = fs::read_to_string("/proc/self/status").unwrap().lines().any(|l| l.starts_with("Uid:\t0"));
    let why = match missing {
        _ if !root => "needs root".to_owned(),
        Some(program) => format!("needs {program}"),
        None => return false,
    };
    assert!(std::env::var_os("STRICT").is_none_or(|v| v != "1"), "{test}: {why}");
    if let Some(path) = std::env::var_os("NETMODE_SKIPS") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
    true
}

macro_rules! lab {
    ($name:expr) => {{
        if $crate::lab::skipped($name) {
            return;
        }
        $crate::lab::Lab::new()
    }};
}
pub(crate) use lab;

pub struct Lab {
    pub dir: PathBuf,
    pub containers: Containers,
    netns: Child,
}

/// Programs of the small root file system.
const APPLETS: [&str; 22] = [
    "sh", "true", "false", "echo", "cat", "sleep", "id", "ls", "grep", "stty", "kill", "touch", "mount", "unshare",
    "env", "hostname", "head", "dd", "ps", "pwd", "ping", "wc",
];

impl Lab {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("nmc-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        make_root(&dir.join("root"));
        let netns = Command::new("unshare").args(["-n", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let lab = Self { containers: Containers::new(Self::config(&dir)).unwrap(), dir, netns };
        // unshare(1) needs a moment; until then this is the machine's own namespace.
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        while fs::read_link(lab.netns_path()).is_ok_and(|ns| ns == own) {
            std::thread::sleep(Duration::from_millis(2));
        }
        lab
    }

    pub fn config(dir: &Path) -> Config {
        Config { run_dir: dir.join("run"), state_dir: dir.join("state"), ..Config::default() }
    }

    /// Another agent on the same directories.
    pub fn successor(&self) -> Containers {
        Containers::new(Self::config(&self.dir)).unwrap()
    }

    fn netns_path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.netns.id()).into()
    }

    /// A namespace that is nobody's but this lab's.
    pub fn netns(&self) -> Netns {
        Netns::Path(self.netns_path())
    }

    pub fn root(&self) -> String {
        self.dir.join("root").display().to_string()
    }

    /// A container of the small root file system.
    pub fn spec(&self, command: &[&str]) -> ContainerSpec {
        ContainerSpec { rootfs: Some(self.root()), command: strings(command), ..Default::default() }
    }

    pub fn new_container<'a>(&self, spec: &'a ContainerSpec) -> NewContainer<'a> {
        let mut bytes = [0; 16];
        fs::File::open("/dev/urandom").and_then(|mut f| std::io::Read::read_exact(&mut f, &mut bytes)).unwrap();
        NewContainer {
            pod: None,
            id: Id::from_bytes(bytes),
            name: "test",
            spec,
            image: None,
            netns: self.netns(),
            hostname: None,
            etc_hosts: Some("127.0.0.1 localhost\n".into()),
            resolv_conf: Some("nameserver 192.0.2.1\n".into()),
            sysctls: BTreeMap::new(),
            extra_env: Vec::new(),
        }
    }

    /// Prepared and created.
    pub fn create(&self, spec: &ContainerSpec) -> Prepared {
        let prepared = self.containers.prepare(&self.new_container(spec)).unwrap();
        self.containers.create(&prepared).unwrap();
        prepared
    }

    /// Running.
    pub fn start(&self, spec: &ContainerSpec) -> Id {
        let id = self.create(spec).id;
        self.containers.start(id).unwrap();
        id
    }

    /// Runs to the end: exit status, standard output, standard error.
    pub async fn run(&self, spec: &ContainerSpec) -> (i32, String, String) {
        let id = self.start(spec);
        self.finish(id).await
    }

    pub async fn finish(&self, id: Id) -> (i32, String, String) {
        let exit = soon(self.containers.wait(id)).await.unwrap();
        let (out, err) = self.output(id, None).await;
        self.containers.remove(id).unwrap();
        assert!(!exit.lost);
        (exit.code, out, err)
    }

    /// What the log holds.
    pub async fn output(&self, id: Id, tail: Option<usize>) -> (String, String) {
        let mut logs = self.containers.logs(id, Extent { tail, ..Extent::default() }).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(chunk) = logs.next().await.unwrap() {
            if chunk.stream == Stream::Stdout { &mut out } else { &mut err }.extend(chunk.bytes);
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    /// Runs a line of shell: exit status and output of both streams.
    pub async fn sh(&self, line: &str) -> (i32, String) {
        let (code, out, err) = self.run(&self.spec(&["sh", "-c", line])).await;
        (code, out + &err)
    }

    pub async fn end(&self, id: Id) -> Exit {
        self.containers.kill(id, 9).unwrap();
        soon(self.containers.wait(id)).await.unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for id in self.containers.list().unwrap_or_default() {
            if let Err(error) = self.containers.remove(id) {
                eprintln!("{error}");
            }
        }
        let _ = self.netns.kill();
        let _ = self.netns.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

/// Nothing here may take longer.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("still waiting after 30 s")
}

/// Mount points at and below a directory.
pub fn mounts_below(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|l| l.split(' ').nth(4));
    points.filter(|p| Path::new(p).starts_with(dir)).map(str::to_owned).collect()
}

/// Processes that have the text in their command line.
pub fn processes_with(text: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|e| fs::read(e.path().join("cmdline")).ok());
    lines.map(|l| String::from_utf8_lossy(&l).replace('\0', " ")).filter(|l| l.contains(text)).collect()
}

/// Control groups of a container.
pub fn cgroups_of(id: Id) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut dirs = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if entry.file_name().to_string_lossy().contains(&id.to_string()) {
                    all.push(entry.path());
                } else {
                    dirs.push(entry.path());
                }
            }
        }
    }
    all
}

/// A root file system of one static program.
pub fn make_root(root: &Path) {
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists()).unwrap();
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/tmp:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nweb:x:34:\nadm:x:4:web\n").unwrap();
    fs::write(root.join("plain"), "no program").unwrap();
}
