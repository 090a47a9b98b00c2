//! CNI: the executable and the agent behind it, called with whatever there is. (Many more inputs, without processes, are in
//! `crates/engine/tests/cni`.)

use netmode_tests::Lab;
use netmode_tests::cni::{DIR, install};

/// Calls with damaged environments and inputs; prints what is not one JSON document at most, in time, with a CNI error
/// where it fails.
const SCRIPT: &str = r#"
import json, os, random, subprocess, sys, time
directory, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
plugins = sorted(os.listdir(directory))
whole = {
    "cniVersion": "1.0.0", "name": "fuzz", "bridge": "br9", "isGateway": True, "ipMasq": True, "mtu": 1400, "mode": "bridge",
    "ipam": {"type": "host-local", "subnet": "10.1.2.0/24", "routes": [{"dst": "0.0.0.0/0"}]}, "vlanId": 7,
    "runtimeConfig": {"portMappings": [{"hostPort": 8081, "containerPort": 80, "protocol": "tcp"}]},
    "sysctl": {"net.core.somaxconn": "500"}, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
    "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "br9"}, {"name": "eth0", "sandbox": "/run/netns/c1"}],
                   "ips": [{"address": "10.1.2.3/24", "interface": 1}]},
}
odd = [None, True, 7, -1, 1.5, "", "x", "10.1.2.3/33", "../x", "a b", "\u0000", [], {}, [[{}]], "ff:ff:ff:ff:ff:ff", 2**40, "é" * 40]
text = ["", "c1", "c2", "-bad", "a/b", "..", "x" * 300, "IP=x", "IgnoreUnknown=1", "FOO", "eth0", "lo", "\n", "é"]


def damaged(value):
    if isinstance(value, dict):
        return {k: damaged(v) for k, v in value.items() if random.random() > 0.04}
    if isinstance(value, list):
        return [damaged(v) for v in value]
    return random.choice(odd) if random.random() < 0.06 else value


for n in range(rounds):
    pick = lambda usual: random.choice(text) if random.random() < 0.15 else usual
    env = {
        "CNI_COMMAND": random.choice(["ADD", "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "add", "", "FOO"]),
        "CNI_CONTAINERID": pick("c1"), "CNI_IFNAME": pick("eth0"), "CNI_ARGS": pick(""), "CNI_PATH": pick(directory),
        "CNI_NETNS": random.choice(["/run/netns/c1", "/run/netns/c1", "/run/netns/gone", "/etc/hostname", "", "/proc/self/ns/net"]),
    }
    env = {k: v for k, v in env.items() if "\0" not in v and random.random() > 0.03}
    config = json.dumps(damaged(whole)).encode()
    if random.random() < 0.1:
        config = random.choice([b"", b"{", config[: random.randrange(len(config))], os.urandom(64), b"[" * 5000])
    plugin = random.choice(plugins)
    begun = time.time()
    done = subprocess.run([f"{directory}/{plugin}"], input=config, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    took = time.time() - begun
    wrong = []
    if took > 1:
        wrong.append(f"{took:.1f} s")
    if done.returncode not in (0, 1):
        wrong.append(f"status {done.returncode}")
    if done.stdout:
        try:
            document = json.loads(done.stdout)
            if done.returncode and not (isinstance(document["code"], int) and document["msg"]):
                wrong.append("no error")
        except (ValueError, KeyError, TypeError):
            wrong.append("not one document")
    elif done.returncode:
        wrong.append("silent")
    if wrong:
        print(plugin, wrong, env, config[:300], done.stdout[:300], done.stderr[:300])
print("done")
"#;

#[test]
fn whatever_is_called_is_answered_by_one_document_in_time() {
    let lab = Lab::start();
    install(&lab);
    lab.sh("ip netns add c1; touch /run/lab/stamp");
    lab.write("/run/lab/fuzz.py", SCRIPT);
    // Two at once, for the same containers.
    let said = lab.sh(&format!("python3 /run/lab/fuzz.py {DIR} 1500 1 & python3 /run/lab/fuzz.py {DIR} 1500 2; wait"));
    assert_eq!(said, "done\ndone\n");
    let places = "-path /proc -o -path /sys -o -path /dev -o -path /run/netmode -o -path /var/lib/netmode -o -path /var/lib/cni -o -path /run/lab";
    let files = lab.sh(&format!("find / \\( {places} \\) -prune -o -type f -newer /run/lab/stamp -print"));
    assert_eq!(files, "", "no file was written elsewhere");
    assert!(!lab.agent_log().contains("panicked"), "{}", lab.agent_log());
}
