//! CNI: whatever is killed when, nothing is left.

use netmode_tests::Lab;
use netmode_tests::cni::{Call, DIR, install};
use netmode_tests::machine::Machine;
use serde_json::{Value, json};

fn bridge() -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "chaos", "type": "bridge", "bridge": "br9", "isGateway": true, "ipMasq": true,
        "ipam": {"type": "host-local", "subnet": "10.1.2.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    })
}

/// Starts ADD, kills it after a random while, and calls DEL at once. Prints how many were killed in time, and whatever
/// DEL did not do.
const KILLER: &str = r#"
import json, os, random, signal, subprocess, sys, time
directory, rounds = sys.argv[1], int(sys.argv[2])
config = json.load(open("/run/lab/config"))
random.seed(7)
killed = 0
for n in range(rounds):
    env = dict(os.environ, CNI_CONTAINERID=f"k{n}", CNI_NETNS="/run/netns/c1", CNI_IFNAME="eth0", CNI_PATH=directory, CNI_ARGS="")
    def call(verb):
        return subprocess.Popen([directory + "/bridge"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(env, CNI_COMMAND=verb))
    add = call("ADD")
    add.stdin.write(json.dumps(config).encode()); add.stdin.close()
    time.sleep(random.uniform(0, 0.006))
    add.kill()
    killed += add.wait() == -signal.SIGKILL
    remove = call("DEL")
    out, _ = remove.communicate(json.dumps(config).encode())
    if remove.returncode != 0 or out:
        print(f"DEL {n}: {remove.returncode} {out}")
print(f"killed {killed}")
"#;

#[test]
fn d12_an_add_that_is_killed_leaves_nothing_for_the_first_del_to_miss() {
    let lab = Lab::start();
    install(&lab);
    lab.sh("ip netns add c1");
    Call::of("bridge", &bridge()).add(&lab);
    Call::of("bridge", &bridge()).del(&lab);
    let before = Machine::settled(&lab);
    lab.write("/run/lab/config", &bridge().to_string());
    lab.write("/run/lab/killer.py", KILLER);
    let said = lab.sh(&format!("python3 /run/lab/killer.py {DIR} 300"));
    let killed: u32 =
        said.trim().strip_prefix("killed ").and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    assert!(killed > 50, "{said}: too few were killed in the middle to show anything");
    before.assert_unchanged(&lab, "300 killed ADDs");
    let left = lab.sh("ls /var/lib/cni/networks/chaos | grep ^10 || true");
    assert_eq!(left, "", "every address is free again");
}

#[test]
fn d12_the_agent_is_killed_in_the_middle_and_the_runtime_calls_again() {
    let lab = Lab::start();
    install(&lab);
    lab.sh("ip netns add c1");
    let call = Call::of("bridge", &bridge());
    call.add(&lab);
    call.del(&lab);
    let before = Machine::settled(&lab);
    lab.write("/run/lab/config", &bridge().to_string());
    for n in 0..20 {
        let script = format!(
            "CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_NETNS=/run/netns/c1 CNI_IFNAME=eth0 CNI_PATH={DIR} {DIR}/bridge </run/lab/config >/run/lab/out 2>&1 & sleep 0.00{n:02}; kill -9 {}; wait",
            lab.agent_pid()
        );
        lab.sh(&script);
        lab.end_agent("KILL");
        lab.start_agent();
        if n % 2 == 0 {
            // The runtime tries again, or gives up.
            let again = call.run(&lab, "ADD");
            assert!(again.status == 0 || again.stdout.contains("already"), "{again:?}");
        }
        call.del(&lab);
        before.assert_unchanged(&lab, &format!("an agent that was killed, round {n}"));
        assert_eq!(lab.sh("ls /var/lib/cni/networks/chaos | grep ^10 || true"), "", "round {n}");
    }
}
