//! What goes from one agent to the next: the sockets that hold published ports, and the one that owns the table.

use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, eventually, tcp, udp};

/// The sockets bound to a port, by inode: whose they are shows whether they are the same ones.
fn sockets(lab: &Lab, holder: &str) -> String {
    lab.sh(&format!("for fd in /proc/$(pgrep -x {holder})/fd/*; do readlink $fd; done | grep socket: | sort"))
}

#[test]
fn no_port_is_free_between_two_agents() {
    let lab = Lab::dual_stack();
    lab.serve("web", &["-p", "8080:80", "-p", "8080:80/udp", "-p", "9000-9099:9000-9099"], &["tcp/80", "udp/80"]);
    for signal in ["KILL", "TERM"] {
        let before = sockets(&lab, "netmoded");
        lab.end_agent(signal);
        let host = lab.at("host");
        for ask in [tcp("0.0.0.0:8080"), tcp("[::]:8080"), tcp("[::1]:8080"), tcp("127.0.0.1:9050")] {
            assert_eq!(host.bind(ask, true), Err(Failure::Taken), "{signal}: {ask:?}");
        }
        assert_eq!(host.bind(udp("0.0.0.0:8080"), true), Err(Failure::Taken), "{signal}");
        lab.start_agent();
        let after = sockets(&lab, "netmoded");
        let same = after.lines().filter(|line| before.contains(line)).count();
        assert!(
            same >= 104,
            "{signal}: the same sockets, not others in their place: {same} of {}",
            after.lines().count()
        );
        assert!(!lab.agent_log().contains("was lost while no agent held it"), "{}", lab.agent_log());
        assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8080"), true), Err(Failure::Taken), "{signal}");
        assert!(lab.at("host").who(tcp("[::1]:8080")).is_ok(), "{signal}: ::1 is carried again");
    }
    // What the queue keeps goes with the endpoint, at once.
    lab.netmode(&["rm", "-f", "web"]).success();
    for ask in [tcp("0.0.0.0:8080"), tcp("[::1]:8080"), udp("0.0.0.0:8080"), tcp("0.0.0.0:9050")] {
        assert_eq!(lab.at("host").bind(ask, false), Ok(()), "{ask:?}");
    }
}

#[test]
fn the_table_stays_owned_between_two_agents() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    lab.end_agent("KILL");
    let flushed = lab.run(&["nft", "flush", "ruleset"]);
    let reached = lab.at("client").seen_as(tcp(format!("{HOST}:8080")));
    assert_eq!(reached.as_deref(), Ok(CLIENT), "a stranger's flush passed it by: {flushed:?}");
    lab.start_agent();
    // The successor may write it.
    lab.serve("next", &["-p", "8081:80"], &["tcp/80"]);
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8081"))).as_deref(), Ok(CLIENT));
}

#[test]
fn who_keeps_is_shown_started_anew_and_ended_with_the_last_endpoint() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let keeper = || lab.sh("pgrep -x netmode-keep || :").trim().to_owned();
    let first = keeper();
    assert!(!first.is_empty());
    let doctor = lab.netmode(&["doctor"]).stdout;
    assert!(doctor.contains(&format!("by process {first}")), "{doctor}");
    lab.sh(&format!("kill -9 {first}"));
    eventually("another one is there", 5.0, || !keeper().is_empty() && keeper() != first);
    lab.restart_agent("KILL");
    assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8080"), true), Err(Failure::Taken));
    assert_eq!(keeper().lines().count(), 1, "one for all agents: {}", keeper());
    lab.netmode(&["rm", "-f", "web"]).success();
    lab.end_agent("TERM");
    eventually("nothing is left to be kept", 3.0, || keeper().is_empty());
}

#[test]
fn a_lost_run_directory_does_not_lock_the_table_up() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    lab.end_agent("KILL");
    lab.sh("rm -rf /run/netmode/keep-*.json");
    lab.start_agent();
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
    assert_eq!(lab.sh("pgrep -cx netmode-keep").trim(), "1");
}

#[test]
fn without_who_keeps_ports_are_bound_again() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    // Stopped, it cannot start another one when that is killed.
    lab.signal_agent("STOP");
    lab.sh("kill -9 $(pgrep -x netmode-keep)");
    lab.end_agent("KILL");
    eventually("nobody holds it", 2.0, || lab.at("host").bind(tcp("0.0.0.0:8080"), false).is_ok());
    lab.start_agent();
    assert_eq!(lab.at("host").bind(tcp("0.0.0.0:8080"), true), Err(Failure::Taken));
    assert_eq!(lab.at("client").seen_as(tcp(format!("{HOST}:8080"))).as_deref(), Ok(CLIENT));
}

/// A service manager with a descriptor store, as far as the agent sees one (sd_notify(3), sd_listen_fds(3)).
const MANAGER: &str = r#"
import array, os, signal, socket, subprocess, sys, time
os.makedirs('/run/systemd/system', exist_ok=True); os.makedirs('/run/netmode', exist_ok=True)
api = socket.socket(socket.AF_UNIX); api.bind('/run/netmode/netmode.sock'); api.listen()
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); notify.bind('/tmp/notify'); notify.settimeout(10)
store = []
def start():
    fds = [('netmode.socket', api.fileno())] + store
    def child():
        # From 3 on, in order, inheritable.
        kept = [os.dup(fd) for _, fd in fds]
        high = [os.dup2(fd, 100 + n) for n, fd in enumerate(kept)]
        for n, fd in enumerate(high): os.dup2(fd, 3 + n, inheritable=True)
        os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()), NOTIFY_SOCKET='/tmp/notify',
                          LISTEN_FDNAMES=':'.join(name for name, _ in fds))
        os.closerange(3 + len(fds), 100)
        os.execvp('netmoded', ['netmoded'])
    pid = os.fork()
    if pid == 0: child()
    while True:
        words, control, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
        for _, _, data in control:
            got = array.array('i'); got.frombytes(data[:len(data) - len(data) % 4])
            name = next(w[7:] for w in words.decode().splitlines() if w.startswith('FDNAME='))
            assert 'FDSTORE=1' in words.decode(), words
            store.extend((name, fd) for fd in got)
        if b'READY=1' in words: return pid
def sh(command): return subprocess.run(command, shell=True, capture_output=True, text=True).stdout.strip()
first = start()
print('stored', [name for name, _ in store])
sh('netmode run -d --name web -p 8080:80 --rootfs / sleep 1000')
os.kill(first, signal.SIGKILL); os.waitpid(first, 0)
try: socket.create_server(('0.0.0.0', 8080)); print('free')
except OSError: print('held')
second = start()
print('state', sh("netmode inspect web -o json | jq -r '.[0].state'"), 'keepers', sh('pgrep -cx netmode-keep'), 'stored', len(store))
print(sh("netmode doctor | grep 'held ports'"))
sh('netmode rm -f web')
socket.create_server(('0.0.0.0', 8080)); print('free')
os.kill(second, signal.SIGTERM); os.waitpid(second, 0)
"#;

#[test]
fn under_a_service_manager_its_store_keeps_them() {
    let lab = Lab::with().no_agent().start();
    lab.write("/srv/manager.py", MANAGER);
    let out = lab.run(&["python3", "/srv/manager.py"]).success().stdout;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.first(), Some(&"stored ['netmode-keep-in', 'netmode-keep-out']"), "{out}");
    assert_eq!(lines.get(1), Some(&"held"), "{out}");
    assert_eq!(lines.get(2), Some(&"state RUNNING keepers 0 stored 2"), "{out}");
    assert!(lines.get(3).is_some_and(|l| l.contains("service manager")), "{out}");
    assert_eq!(lines.get(4), Some(&"free"), "{out}");
}
