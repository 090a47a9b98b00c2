//! A place of its own for every test: the thread's own network and mount namespace.

use netmode_kernel::{Kernel, KernelConfig, Scope};
use netmode_model::{IfName, Mac, NetnsName, Observed, Op, Place};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A kernel opened in the test's own namespaces.
pub struct Lab {
    pub kernel: Kernel,
    pub dir: PathBuf,
}

/// Counts a test that this machine cannot run; with STRICT=1 it fails.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    assert!(std::env::var_os("STRICT").is_none_or(|v| v != "1"), "{test} must not be skipped: {why}");
    if let Some(file) = std::env::var_os("NETMODE_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
        writeln!(file, "netmode-kernel {test}: {why}").unwrap();
    }
}

/// Enters a lab, or skips the test.
#[macro_export]
macro_rules! lab {
    () => {
        match $crate::lab::Lab::enter() {
            Some(lab) => lab,
            None => return,
        }
    };
}

/// The test needs a program of the machine.
#[macro_export]
macro_rules! need {
    ($program:literal) => {
        if !$crate::lab::has($program) {
            return $crate::lab::skip(concat!($program, " is not installed"));
        }
    };
}

pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The running kernel's version: major, minor.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

impl Lab {
    pub fn enter() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("needs root");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        let test = std::thread::current().name().unwrap_or("test").replace(':', "_");
        let dir = std::env::temp_dir().join(format!("netmode-kernel-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        mount(Some("lab"), &dir, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let lab = Self { kernel: Self::open(&dir), dir };
        lab.apply(&[Op::LinkUp { at: Place::Host, dev: dev("lo") }]);
        Some(lab)
    }

    fn open(dir: &std::path::Path) -> Kernel {
        Kernel::open(KernelConfig { netns_dir: dir.join("netns"), table: "nm".into() }, &Default::default()).unwrap()
    }

    /// Another agent in the same place.
    pub fn another(&self) -> Kernel {
        Self::open(&self.dir)
    }

    pub fn apply(&self, ops: &[Op]) -> Vec<netmode_model::Inverse> {
        self.kernel.apply(ops).unwrap_or_else(|failed| panic!("{failed}"))
    }

    pub fn observe(&self, namespaces: &[NetnsName]) -> Observed {
        self.kernel.observe(Scope { namespaces, table: true }).unwrap()
    }
}

impl Lab {
    /// The inet table.
    pub fn table(&self) -> Option<netmode_model::state::TableState> {
        self.observe(&[]).tables.remove(&netmode_model::nft::TableName::inet("nm"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.dir, nix::mount::MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.dir);
    }
}

pub fn dev(name: &str) -> IfName {
    name.parse().unwrap()
}

pub fn netns(name: &str) -> NetnsName {
    name.parse().unwrap()
}

pub fn at(name: &str) -> Place {
    Place::Netns(netns(name))
}

pub fn mac(last: u8) -> Mac {
    Mac::from_octets([2, 0x42, 0, 0, 0, last])
}

/// What a program prints; panics with its error output if it fails.
pub fn run(program: &str, args: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}\n{input}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A bridge `nm0`, 10.5.0.1/24 and fd05::1/64, up. It needs a link-local address as well: without one the kernel
/// asks for no neighbour on behalf of what it forwards (`ndisc_send_ns`).
pub fn bridge() -> Vec<Op> {
    let at = Place::Host;
    vec![
        Op::BridgeAdd { dev: dev("nm0"), mac: mac(1), mtu: 1500, alias: "test bridge".into(), group: 0 },
        Op::AddrAdd { at: at.clone(), dev: dev("nm0"), addr: "10.5.0.1/24".parse().unwrap() },
        Op::AddrAdd { at: at.clone(), dev: dev("nm0"), addr: "fd05::1/64".parse().unwrap() },
        Op::AddrAdd { at: at.clone(), dev: dev("nm0"), addr: "fe80::1/64".parse().unwrap() },
        Op::LinkUp { at, dev: dev("nm0") },
    ]
}

/// A namespace with `eth0` on the bridge: 10.5.0.N and fd05::N.
pub fn container(name: &str, n: u8) -> Vec<Op> {
    let host = dev(&format!("v{name}"));
    let route = |via: &str| {
        let via = Some(via.parse().unwrap());
        Op::RouteAdd(netmode_model::op::Route::main(at(name), None, via, dev("eth0")))
    };
    let addr = |addr: String| Op::AddrAdd { at: at(name), dev: dev("eth0"), addr: addr.parse().unwrap() };
    vec![
        Op::NetnsAdd { netns: netns(name), variables: vec![] },
        Op::VethAdd {
            dev: host.clone(),
            mac: None,
            bridge: Some(dev("nm0")),
            peer_at: at(name),
            peer: dev("eth0"),
            peer_mac: mac(n),
            mtu: 1450,
            group: 7,
        },
        Op::PortUp { dev: host, hairpin: true, isolated: false, alias: format!("endpoint {name}") },
        Op::Sysctl { at: at(name), key: "net/ipv6/conf/eth0/accept_ra".into(), value: "0".into() },
        Op::LinkUp { at: at(name), dev: dev("lo") },
        Op::LinkUp { at: at(name), dev: dev("eth0") },
        addr(format!("10.5.0.{n}/24")),
        addr(format!("fd05::{n:x}/64")),
        route("10.5.0.1"),
        route("fd05::1"),
    ]
}
