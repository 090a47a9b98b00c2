//! What others take for the same, interleaved with netmode: podman and docker from Debian packages.

use crate::containers::{ROOT, root};
use crate::figures::{Figures, Report, short};
use crate::machine::{Agent, host, resident, run, within};
use crate::{Outcome, Size};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn beside(size: &Size, report: &mut Report) -> Outcome<()> {
    root()?;
    runs(size.rounds.div_ceil(2), report)
}

fn timed(act: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let begun = Instant::now();
    act()?;
    Ok(begun.elapsed())
}

fn quietly(command: &mut Command) -> Outcome<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// Programs in the background end with the part.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM: dockerd takes what it started along.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn start(netns: &str, program: &str, words: &str) -> Outcome<Self> {
        let log = std::fs::File::create(format!("/run/bench/{program}.log"))?;
        let mut command = within(netns, program);
        command.args(words.split(' ')).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn()?))
    }
}

const PODMAN: &str = "podman --root /run/bench/podman/root --runroot /run/bench/podman/run --storage-driver overlay";
const DOCKER: &str = "docker -H unix:///run/bench/docker.sock";
const NETMODE: &str = "netmode --socket /run/bench/ra/netmode.sock";

/// One program with the flags that it has for the same four things.
struct Runner {
    name: &'static str,
    netns: &'static str,
    /// The words before the flags.
    run: String,
    /// The words after them.
    what: String,
    times: [Vec<Duration>; 4],
}

const KINDS: [(&str, &str); 4] = [
    ("none", "--network none"),
    ("host", "--network host"),
    ("bridge", "--network bridge"),
    ("bridge, a port", "--network bridge -p 8080:80"),
];

/// `run --rm … true` from its start to its end.
fn runs(rounds: usize, report: &mut Report) -> Outcome<()> {
    host("ra")?;
    host("rp")?;
    host("rd")?;
    let agent = Agent::start("ra")?;
    let runner = |name, netns, run: String, what: String| Runner { name, netns, run, what, times: Default::default() };
    let rootfs = format!("--rootfs {ROOT} /bin/true");
    let mut runners = vec![runner("netmode (runc)", "ra", format!("{NETMODE} run --rm"), rootfs.clone())];
    podman()?;
    runners.push(runner("podman (runc, netavark)", "rp", format!("{PODMAN} run --rm"), rootfs));
    // Named, so that they live to the end; dockerd is dropped before containerd.
    let mut daemons = Vec::new();
    match docker(&mut daemons) {
        Ok(()) => runners.push(runner("docker (runc)", "rd", format!("{DOCKER} run --rm"), "bench /bin/true".into())),
        Err(why) => report.note(format!("docker could not be started in the sandbox: {why}")),
    }
    for _ in 0..=rounds {
        for (kind, (_, flags)) in KINDS.iter().enumerate() {
            for runner in &mut runners {
                let words = format!("{} {flags} {}", runner.run, runner.what);
                let mut words = words.split(' ');
                let mut command = within(runner.netns, words.next().unwrap_or_default());
                command.args(words).env("CONTAINERS_CONF", "/run/bench/containers.conf");
                runner.times[kind].push(timed(|| quietly(&mut command))?);
            }
        }
    }
    let row = |runner: &Runner| {
        let cell = |times: &Vec<Duration>| short(Figures::millis(times[1..].iter().copied()).median());
        [runner.name.to_owned()].into_iter().chain(runner.times.iter().map(cell)).collect()
    };
    let head: Vec<&str> = [""].into_iter().chain(KINDS.iter().map(|(name, _)| *name)).collect();
    report.table("run --rm … true (ms, p50)", &head, runners.iter().map(row).collect());
    let mut memory = vec![vec!["netmoded".into(), short(agent.memory()?)]];
    let names = ["containerd", "dockerd"];
    for (name, daemon) in names.iter().zip(&daemons) {
        memory.push(vec![(*name).into(), short(resident(daemon.0.id())?)]);
    }
    report.table("Memory after that (MiB RSS)", &["", "MiB"], memory);
    while daemons.pop().is_some() {}
    Ok(())
}

fn podman() -> Outcome<()> {
    let text = "[network]\nnetwork_backend=\"netavark\"\n[engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"none\"\nruntime=\"runc\"\n";
    Ok(std::fs::write("/run/bench/containers.conf", text)?)
}

fn docker(daemons: &mut Vec<Daemon>) -> Outcome<()> {
    daemons.push(Daemon::start(
        "rd",
        "containerd",
        "--root /run/bench/ctd/root --state /run/bench/ctd/state --address /run/bench/ctd.sock",
    )?);
    daemons.push(Daemon::start(
        "rd",
        "dockerd",
        "--containerd /run/bench/ctd.sock --data-root /run/bench/docker/data --exec-root /run/bench/docker/exec \
         -H unix:///run/bench/docker.sock --pidfile /run/bench/docker.pid --exec-opt native.cgroupdriver=cgroupfs",
    )?);
    let until = Instant::now() + Duration::from_secs(30);
    let client: Vec<&str> = DOCKER.split(' ').collect();
    while run(&[&client[..], &["version"]].concat()).is_err() {
        if Instant::now() > until {
            return Err("it does not answer within 30 s".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    run(&["tar", "-C", ROOT, "-cf", "/run/bench/root.tar", "."])?;
    run(&[&client[..], &["import", "/run/bench/root.tar", "bench"]].concat())?;
    Ok(())
}
