//! CNI: real runtimes with our plugins: containerd by `ctr` and by CRI, podman, buildah.

use netmode_tests::cni::{List, PLUGINS};
use netmode_tests::lab::address::*;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, eventually, tcp};
use serde_json::{Value, json};

/// Where the runtimes look for plugins.
const PLUGIN_DIR: &str = "/opt/cni/bin";

const CONFLIST: &str = r#"{
    "cniVersion": "1.0.0", "name": "brnet",
    "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd88::/64"}]],
                  "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "bandwidth", "capabilities": {"bandwidth": true}},
        {"type": "firewall"},
        {"type": "tuning"}
    ]
}"#;

const CONTAINERD: &str = r#"
version = 2
root = "/run/c/root"
state = "/run/c/state"
[grpc]
address = "/run/c/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/probe:local"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
"#;

const CTR: &str = "ctr -a /run/c/c.sock";

/// A lab with our plugins where runtimes look, and an image.
fn lab() -> Lab {
    let lab = Lab::with().ipv6().start();
    lab.sh(&format!("mkdir -p {PLUGIN_DIR} /etc/cni/net.d /run/c"));
    lab.netmode(&["cni", "enable", "--dir", PLUGIN_DIR]).success();
    lab.write("/etc/cni/net.d/10-br.conflist", CONFLIST);
    lab.write("/run/c/image.py", include_str!("../src/image.py"));
    lab.sh("python3 /run/c/image.py /run/c/image.tar localhost/probe:local $(command -v probe)");
    lab.at("far").serve("far", &["tcp/9000"]);
    lab
}

/// A daemon that ends with the test.
struct Daemon<'a>(&'a Lab, u32);

impl Daemon<'_> {
    fn end(&self, signal: &str) {
        self.0.sh(&format!("kill -{signal} {}", self.1));
        assert!(self.0.reap(self.1, 20_000).is_some(), "it ends");
    }
}

fn containerd(lab: &Lab) -> Daemon<'_> {
    lab.write("/run/c/config.toml", CONTAINERD);
    let pid = lab.spawn(&["containerd", "-c", "/run/c/config.toml"], "/run/c/log");
    eventually("containerd answers", 20.0, || {
        lab.sh(&format!("{CTR} version >/dev/null 2>&1 && echo yes || true")).contains("yes")
    });
    Daemon(lab, pid)
}

/// What the network of a pod or container has to do; `port` is published.
fn assert_works(lab: &Lab, port: u16, inside: &str) {
    eventually("the published port answers another machine", 10.0, || {
        lab.at("client").seen_as(tcp(format!("{HOST}:{port}"))).as_deref() == Ok(CLIENT)
    });
    let ask = format!("{{\"who\":{{\"proto\":\"tcp\",\"to\":\"{FAR}:9000\",\"from\":null,\"wait_ms\":3000}}}}");
    assert!(lab.sh(&format!("{inside} probe once '{ask}'")).contains(HOST), "it reaches outside");
}

fn until_nothing(lab: &Lab) {
    eventually("no attachment is left", 5.0, || lab.sh("ls /run/netmode/attachments").is_empty());
    let addresses = "find /var/lib/cni/networks -type f -name '[0-9f]*[.:]*' 2>/dev/null || true";
    assert_eq!(lab.sh(addresses), "", "no address is left");
}

#[test]
fn ctr_runs_containers_with_our_plugins() {
    let lab = lab();
    let daemon = containerd(&lab);
    lab.sh(&format!(
        "{CTR} image import --local /run/c/image.tar >/dev/null 2>&1 || {CTR} image import /run/c/image.tar >/dev/null"
    ));
    let run = |name: &str| {
        let line = format!(
            "{CTR} run --rm --cni --snapshotter native localhost/probe:local {name} /bin/probe serve --tag {name} tcp/80"
        );
        let ctr = lab.spawn(&line.split(' ').collect::<Vec<_>>(), &format!("/run/lab/{name}.log"));
        eventually("it serves", 10.0, || lab.read(&format!("/run/lab/{name}.log")).contains("ready"));
        ctr
    };
    // ctr calls DEL without a namespace.
    let remove = |name: &str, ctr: u32| {
        lab.sh(&format!("{CTR} task kill -s KILL {name}"));
        assert!(lab.reap(ctr, 10_000).is_some(), "ctr ends");
    };
    let first = run("first");
    remove("first", first);
    until_nothing(&lab);
    let before = Machine::settled(&lab);
    let web = run("web");
    let pid = lab.sh(&format!("{CTR} task ls | awk '$1 == \"web\" {{ print $2 }}'")).trim().to_owned();
    let inside = format!("nsenter -t {pid} -n");
    assert!(lab.sh(&format!("{inside} ip -br addr show eth0")).contains("10.88.0.3/16"));
    let ask = format!("{{\"who\":{{\"proto\":\"tcp\",\"to\":\"{FAR}:9000\",\"from\":null,\"wait_ms\":3000}}}}");
    assert!(lab.sh(&format!("{inside} probe once '{ask}'")).contains(HOST), "it reaches outside");
    lab.at("host").who(tcp("10.88.0.3:80")).expect("the host reaches it");
    remove("web", web);
    until_nothing(&lab);
    before.assert_unchanged(&lab, "ctr");
    daemon.end("TERM");
}

/// Asks the CRI client.
fn cri(lab: &Lab, commands: &[&str]) -> Vec<Value> {
    lab.write("/run/c/cri.py", include_str!("../src/cri.py"));
    let said = lab.sh(&format!("printf '{}\\n' | python3 /run/c/cri.py /run/c/c.sock", commands.join("\\n")));
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn f4_containerds_cri_runs_pods_with_our_plugins() {
    let lab = lab();
    let daemon = containerd(&lab);
    lab.sh(&format!("{CTR} -n k8s.io image import /run/c/image.tar >/dev/null"));
    eventually("the network is ready", 10.0, || cri(&lab, &["status"])[0]["ok"]["NetworkReady"] == true);
    let first = cri(&lab, &["run first localhost/probe:local 8081"]);
    let id = |answer: &Value| answer["ok"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    cri(&lab, &[&format!("stop {}", id(&first[0])), &format!("remove {}", id(&first[0]))]);
    until_nothing(&lab);
    let before = Machine::settled(&lab);
    let pod = cri(&lab, &["run web localhost/probe:local 8081"]).remove(0);
    assert_eq!(pod["ok"]["ips"], json!(["10.88.0.3", "fd88::3"]), "{pod}");
    let inside = "ip netns exec $(ls -t /run/netns | grep ^cni- | head -1)";
    assert_works(&lab, 8081, inside);
    eventually("IPv6 as well", 5.0, || {
        lab.at("client").seen_as(tcp(format!("[{HOST6}]:8081"))).as_deref() == Ok(CLIENT6)
    });
    // The agent comes and goes; so does containerd.
    lab.restart_agent("KILL");
    daemon.end("KILL");
    assert_works(&lab, 8081, inside);
    let daemon = containerd(&lab);
    let web = id(&pod);
    for answer in cri(&lab, &[&format!("stop {web}"), &format!("stop {web}"), &format!("remove {web}")]) {
        assert!(answer.get("error").is_none(), "{answer}");
    }
    until_nothing(&lab);
    before.assert_unchanged(&lab, "CRI");
    // A pod that is asked for while no agent is there fails with words, and can be had when it is.
    lab.end_agent("TERM");
    let refused = cri(&lab, &["run late localhost/probe:local 8081"]).remove(0);
    assert!(refused["error"].as_str().is_some_and(|words| words.contains("systemctl start netmode")), "{refused}");
    lab.start_agent();
    // containerd keeps the name of the one that failed for cleaning it up; kubelet counts its attempts.
    let late = cri(&lab, &["run later localhost/probe:local 8081"]).remove(0);
    assert!(late.get("error").is_none(), "{late}");
    assert_works(&lab, 8081, inside);
    cri(&lab, &[&format!("stop {}", id(&late)), &format!("remove {}", id(&late))]);
    until_nothing(&lab);
    daemon.end("TERM");
}

const CONTAINERS_CONF: &str = r#"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[containers]
log_driver = "k8s-file"
"#;

fn containers_conf(lab: &Lab) {
    lab.sh("mkdir -p /etc/containers; rm -f /etc/cni/net.d/10-br.conflist");
    lab.write("/etc/containers/containers.conf", CONTAINERS_CONF);
    lab.write("/etc/containers/policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    lab.write(
        "/etc/containers/storage.conf",
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"/run/c/graph\"\nrunroot = \"/run/c/run\"\n",
    );
}

#[test]
fn podman_runs_containers_with_our_plugins() {
    let lab = lab();
    containers_conf(&lab);
    let podman = |words: &str| lab.sh(&format!("podman {words} 2>&1"));
    podman("load -q -i /run/c/image.tar");
    podman("network create --subnet 10.90.0.0/24 second");
    let run = |flags: &str, name: &str| {
        podman(&format!("run -d --name {name} {flags} localhost/probe:local /bin/probe serve --tag {name} tcp/80"))
    };
    run("-p 8081:80 --network podman --network second", "first");
    podman("rm -f -t 0 first");
    until_nothing(&lab);
    let before = Machine::settled(&lab);
    run("-p 8081:80 --network second --ip 10.90.0.77 --mac-address 02:00:00:00:00:77", "web");
    let shown: Value = serde_json::from_str(&podman("inspect web")).expect("JSON");
    let network = &shown[0]["NetworkSettings"]["Networks"]["second"];
    assert_eq!(
        (&network["IPAddress"], &network["MacAddress"]),
        (&json!("10.90.0.77"), &json!("02:00:00:00:00:77")),
        "{network}"
    );
    let pid = shown[0]["State"]["Pid"].to_string();
    assert_works(&lab, 8081, &format!("nsenter -t {pid} -n"));
    podman("network connect podman web");
    assert!(lab.sh(&format!("nsenter -t {pid} -n ip -br addr")).contains("eth1"));
    podman("network disconnect podman web");
    eventually("the second link is gone", 3.0, || {
        !lab.sh(&format!("nsenter -t {pid} -n ip -br addr")).contains("eth1")
    });
    assert_works(&lab, 8081, &format!("nsenter -t {pid} -n"));
    podman("rm -f -t 0 web");
    until_nothing(&lab);
    before.assert_unchanged(&lab, "podman");
}

#[test]
fn buildah_builds_with_our_plugins() {
    let lab = lab();
    containers_conf(&lab);
    lab.sh("podman load -q -i /run/c/image.tar 2>&1; podman network create --subnet 10.90.0.0/24 second 2>&1");
    let container = lab.sh("buildah from --pull-never localhost/probe:local").trim().to_owned();
    let run = || {
        let options =
            format!("--isolation oci --network second --cni-config-dir /etc/cni/net.d --cni-plugin-path {PLUGIN_DIR}");
        let ask = format!("{{\"who\":{{\"proto\":\"tcp\",\"to\":\"{FAR}:9000\",\"from\":null,\"wait_ms\":3000}}}}");
        let said = lab.sh(&format!("buildah run {options} {container} /bin/probe once '{ask}' 2>&1"));
        assert!(said.contains(HOST), "{said}");
    };
    run();
    until_nothing(&lab);
    let before = Machine::settled(&lab);
    run();
    until_nothing(&lab);
    before.assert_unchanged(&lab, "buildah");
}

#[test]
fn the_plugins_are_switched_on_and_off_and_nobodys_are_overwritten() {
    let lab = Lab::with().no_agent().start();
    lab.sh("mkdir -p /run/p; cp /usr/lib/cni/bridge /run/p/bridge; echo other > /run/p/static; chmod +x /run/p/static");
    let picture = || lab.sh("cd /run/p; for f in $(ls -A); do echo $f $(readlink $f) $(md5sum < $f); done");
    let before = picture();
    let cni = |verb: &str| lab.netmode(&["cni", verb, "--dir", "/run/p"]);
    let whose = || {
        let entries = lab.netmode(&["-o", "json", "cni", "status", "--dir", "/run/p"]).success().json();
        let count = |whose: &str| entries.as_array().expect("a list").iter().filter(|e| e["provider"] == whose).count();
        (count("netmode"), count("other"), count("none"))
    };
    assert_eq!(whose(), (0, 2, 11));
    for _ in 0..2 {
        cni("enable").success();
        assert_eq!(whose(), (PLUGINS.len() - 1, 0, 0));
        assert_eq!(lab.sh("cat /run/p/static.before-netmode"), "other\n");
    }
    assert!(lab.sh("CNI_COMMAND= /run/p/bridge 2>&1 </dev/null").starts_with("CNI bridge plugin v1."));
    for _ in 0..2 {
        cni("disable").success();
        assert_eq!(picture(), before);
    }
    // A package was upgraded meanwhile.
    cni("enable").success();
    lab.sh("echo newer > /run/p/new; mv /run/p/new /run/p/static");
    assert_eq!(whose(), (12, 1, 0));
    cni("disable").success();
    assert_eq!(lab.sh("cat /run/p/static; ls /run/p"), "newer\nbridge\nstatic\n");
    lab.netmode(&["cni", "enable", "--dir", "/run/nowhere"]).refused(1, &["/run/nowhere", "directory"]);
}

/// What the reference plugins leave in iptables, in order.
fn iptables(lab: &Lab) -> String {
    lab.sh("iptables-save | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'; ls /var/lib/cni/networks/brnet | grep ^10 || true")
}

#[test]
fn what_the_reference_plugins_made_is_checked_and_removed_by_ours() {
    let lab = Lab::start();
    lab.sh("mkdir -p /run/p; cp -L /usr/lib/cni/* /run/p; ip netns add c1");
    let list = List::of(&json!({
        "cniVersion": "1.0.0", "name": "brnet",
        "plugins": [
            {"type": "bridge", "bridge": "cni7", "isGateway": true, "ipMasq": true,
             "ipam": {"type": "host-local", "subnet": "10.77.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true},
             "runtimeConfig": {"portMappings": [{"hostPort": 8081, "containerPort": 80, "protocol": "tcp"}]}},
            {"type": "firewall", "backend": "iptables"},
            {"type": "tuning"}
        ]
    }));
    let list = list.each(|call| call.dir("/run/p"));
    list.del(&lab, &list.add(&lab));
    let before = (iptables(&lab), Machine::settled(&lab));
    let result = list.add(&lab);
    lab.netmode(&["cni", "enable", "--dir", "/run/p"]).success();
    list.check(&lab, &result);
    list.del(&lab, &result);
    assert_eq!(iptables(&lab), before.0);
    before.1.assert_unchanged(&lab, "a container of the reference plugins");
    // A container of ours is not theirs to look at.
    let ours = list.add(&lab);
    list.check(&lab, &ours);
    list.del(&lab, &ours);
    list.del(&lab, &ours);
    assert_eq!(iptables(&lab), before.0);
}
