//! The task metadata endpoint, and the machine's own, which tasks do not reach. Row 9 of the feature table.

use netmode_tests::ecs::*;
use netmode_tests::{Lab, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a container is answered, with the status.
fn ask(lab: &Lab, container: &str, url: &str) -> (u16, Value) {
    let script = format!("curl -sS --max-time 5 -w '\\n%{{http_code}}' {url}");
    let said = exec(lab, container, &script);
    let (body, code) = said.rsplit_once('\n').unwrap_or(("", &said));
    (code.parse().unwrap_or(0), serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.into())))
}

/// A document that must be there.
fn get(lab: &Lab, container: &str, path: &str) -> Value {
    let (code, value) = ask(lab, container, path);
    assert_eq!(code, 200, "{path}: {value}");
    value
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object")).keys().map(String::as_str).collect()
}

fn set(words: &str) -> BTreeSet<&str> {
    words.split_whitespace().collect()
}

const V4: &str = "$ECS_CONTAINER_METADATA_URI_V4";

/// Keys of a container that runs, but for ports.
const CONTAINER: &str = "DockerId Name DockerName Image ImageID Labels DesiredStatus KnownStatus Limits CreatedAt StartedAt \
                         Type LogDriver ContainerARN Networks";

fn awsvpc(lab: &Lab) -> (String, Value) {
    lab.netmode(&["subnet", "create", "tasks", "--cidr", "10.0.2.0/24", "--availability-zone", "rack-1a"]).success();
    open(lab);
    let web = with(
        serving("web", &["tcp/80"]),
        json!({
            "cpu": 10, "memory": 128, "portMappings": [{"containerPort": 80}], "dockerLabels": {"team": "shop"},
        }),
    );
    let definition = definition("awsvpc", vec![web, shell("side", "sleep 1000")]);
    let id = run(lab, &definition, &["--subnet", "tasks", "--security-group", "open"]);
    let shown = until(lab, &id, "RUNNING");
    (id, shown)
}

#[test]
fn the_documents_of_an_awsvpc_task_key_by_key() {
    let lab = Lab::start();
    let (id, shown) = awsvpc(&lab);
    let web = runtime(&shown, "web");
    let ip = address(&shown);
    let own = get(&lab, &web, V4);
    assert_eq!(keys(&own), &set(CONTAINER) | &set("Ports"));
    assert_eq!((&own["Name"], &own["DockerName"], &own["Type"]), (&json!("web"), &json!(web), &json!("NORMAL")));
    assert_eq!((&own["DesiredStatus"], &own["KnownStatus"]), (&json!("RUNNING"), &json!("RUNNING")));
    assert_eq!(own["Limits"], json!({"CPU": 10, "Memory": 128}));
    assert_eq!(own["Ports"], json!([{"ContainerPort": 80, "Protocol": "tcp", "HostPort": 80}]), "equal with an ENI");
    let arn = format!("arn:aws:ecs:local:000000000000:task/default/{id}");
    let labels = json!({
        "com.amazonaws.ecs.cluster": "default", "com.amazonaws.ecs.container-name": "web",
        "com.amazonaws.ecs.task-arn": arn, "com.amazonaws.ecs.task-definition-family": "shop",
        "com.amazonaws.ecs.task-definition-version": "7", "team": "shop",
    });
    assert_eq!(own["Labels"], labels);
    let mac = shown["attachments"][0]["details"].as_array().and_then(|d| d.iter().find(|d| d["name"] == "macAddress"));
    assert_eq!(
        own["Networks"],
        json!([{
            "NetworkMode": "awsvpc", "IPv4Addresses": [ip], "AttachmentIndex": 0, "MACAddress": mac.map(|m| m["value"].clone()),
            "IPv4SubnetCIDRBlock": "10.0.2.0/24", "DomainNameServers": ["10.0.2.2"],
            "DomainNameSearchList": ["netmode.internal"],
            "PrivateDNSName": format!("ip-{}.netmode.internal", ip.replace('.', "-")),
            "SubnetGatewayIpv4Address": "10.0.2.1/24",
        }])
    );

    let task = get(&lab, &web, &format!("{V4}/task"));
    assert_eq!(
        keys(&task),
        set("Cluster TaskARN Family Revision DesiredStatus KnownStatus PullStartedAt PullStoppedAt \
                                 AvailabilityZone LaunchType VPCID FaultInjectionEnabled Containers")
    );
    assert_eq!((&task["TaskARN"], &task["Family"], &task["Revision"]), (&json!(arn), &json!("shop"), &json!("7")));
    assert_eq!((&task["AvailabilityZone"], &task["LaunchType"]), (&json!("rack-1a"), &json!("EC2")));
    let containers = task["Containers"].as_array().expect("a list");
    let names: Vec<_> =
        containers.iter().map(|c| (c["Name"].as_str().unwrap_or(""), c["Type"].as_str().unwrap_or(""))).collect();
    assert_eq!(names, [("~internal~ecs~pause", "CNI_PAUSE"), ("web", "NORMAL"), ("side", "NORMAL")]);
    assert_eq!(containers[0]["KnownStatus"], "RESOURCES_PROVISIONED");
    assert_eq!(containers[1], own);
    assert_eq!(containers[2]["Limits"]["CPU"], 2, "the least that is shown");
    let tagged = get(&lab, &web, &format!("{V4}/taskWithTags"));
    assert_eq!(keys(&tagged), &keys(&task) | &set("TaskTags ContainerInstanceTags"));

    // Versions 3 and 2 have less, by id and by where one asks.
    let third = get(&lab, &web, "$ECS_CONTAINER_METADATA_URI");
    assert_eq!(keys(&third), &(&set(CONTAINER) | &set("Ports")) - &set("LogDriver ContainerARN"));
    assert_eq!(keys(&third["Networks"][0]), set("NetworkMode IPv4Addresses"));
    let second = get(&lab, &web, "http://169.254.170.2/v2/metadata");
    assert_eq!(second["TaskARN"], json!(arn));
    assert!(!keys(&second).contains("LaunchType"));
    let runtime_id = own["DockerId"].as_str().expect("an id");
    assert_eq!(get(&lab, &web, &format!("http://169.254.170.2/v2/metadata/{runtime_id}"))["Name"], "web");
    assert_eq!(get(&lab, &web, "http://169.254.170.2/v2/stats")[runtime_id]["id"], json!(runtime_id));
    let agent = exec(&lab, &web, "echo $ECS_AGENT_URI $AWS_EXECUTION_ENV");
    assert!(agent.starts_with("http://169.254.170.2/api/") && agent.ends_with("AWS_ECS_EC2"), "{agent}");

    // The web server of the task has port 80 all the same, and the agent's restart changes nothing.
    assert_eq!(lab.inside(&web).sh("ss -Hltn sport = :80 | wc -l").trim(), "1");
    for signal in ["TERM", "KILL"] {
        lab.restart_agent(signal);
        assert_eq!(get(&lab, &web, V4), own, "after {signal}");
    }
}

#[test]
fn row_9_what_a_task_uses_is_told_and_is_what_the_kernel_counts() {
    let lab = Lab::start();
    let (id, shown) = awsvpc(&lab);
    let web = runtime(&shown, "web");
    for _ in 0..5 {
        lab.sh(&format!("curl -s --max-time 2 http://{}/ || true", address(&shown)));
    }
    let stats = get(&lab, &web, &format!("{V4}/task/stats"));
    let of = |name: &str| {
        let own = stats
            .as_object()
            .and_then(|all| all.values().find(|c| c["name"] == json!(format!("/{}", runtime(&shown, name)))));
        own.cloned().unwrap_or_else(|| panic!("{name} is not in {stats}"))
    };
    assert_eq!(stats.as_object().map(|all| all.len()), Some(2));
    let own = of("web");
    assert_eq!(
        keys(&own),
        set("read preread name id num_procs pids_stats storage_stats blkio_stats cpu_stats precpu_stats \
                                memory_stats networks network_rate_stats")
    );
    assert!(own["cpu_stats"]["cpu_usage"]["total_usage"].as_u64() > Some(0), "{own}");
    assert!(
        own["memory_stats"]["usage"].as_u64() > Some(0) && own["pids_stats"]["current"].as_u64() > Some(0),
        "{own}"
    );
    assert_eq!(own["memory_stats"]["limit"], 128 << 20);
    assert_eq!(keys(&own["network_rate_stats"]), set("rx_bytes_per_sec tx_bytes_per_sec"));
    let dev = exec(&lab, &web, "grep eth0: /proc/net/dev");
    let n: Vec<u64> = dev.split_whitespace().skip(1).map(|n| n.parse().expect("a number")).collect();
    let eth0 = &own["networks"]["eth0"];
    for (key, index) in [("rx_bytes", 0), ("rx_packets", 1), ("rx_dropped", 3), ("tx_bytes", 8), ("tx_packets", 9)] {
        assert_eq!(eth0[key], n[index], "{key}: {eth0} {dev}");
    }
    assert_eq!(of("side")["networks"], own["networks"], "they share one interface");
    assert_eq!(get(&lab, &web, &format!("{V4}/stats"))["id"], own["id"]);
    lab.netmode(&["task", "stop", &id]).success();
}

#[test]
fn bridge_and_host_tasks_ask_by_their_id() {
    let lab = Lab::start();
    let web = with(serving("web", &["tcp/3000"]), json!({"portMappings": [{"containerPort": 3000}]}));
    let id = run(&lab, &definition("bridge", vec![web]), &[]);
    let shown = until(&lab, &id, "RUNNING");
    let name = runtime(&shown, "web");
    let own = get(&lab, &name, V4);
    assert_eq!(keys(&own), &set(CONTAINER) | &set("Ports"));
    assert_eq!(own["Networks"], json!([{"NetworkMode": "bridge", "IPv4Addresses": [lab.address(&name)]}]));
    let port = lab.host_port(&name, "tcp");
    let ports = own["Ports"].as_array().expect("a list");
    assert_eq!(ports[0], json!({"ContainerPort": 3000, "Protocol": "tcp", "HostPort": port, "HostIp": "0.0.0.0"}));
    let third = get(&lab, &name, "$ECS_CONTAINER_METADATA_URI");
    assert_eq!(keys(&third["Ports"][0]), set("ContainerPort Protocol HostPort"), "HostIp is of version 4");
    let task = get(&lab, &name, &format!("{V4}/task"));
    assert!(!keys(&task).contains("VPCID"));
    let names: Vec<_> = task["Containers"].as_array().into_iter().flatten().map(|c| c["Name"].as_str()).collect();
    assert_eq!(names, [Some("web")], "no namespace is shared");
    assert!(keys(&get(&lab, &name, &format!("{V4}/stats"))).contains("network_rate_stats"));

    let id = run(&lab, &definition("host", vec![serving("app", &["tcp/3001"])]), &[]);
    let shown = until(&lab, &id, "RUNNING");
    let own = get(&lab, &runtime(&shown, "app"), V4);
    assert_eq!(own["Networks"], json!([{"NetworkMode": "host", "IPv4Addresses": [""]}]));
    let (code, said) = ask(&lab, &runtime(&shown, "app"), "http://127.0.0.1:51679/v2/metadata");
    assert_eq!(code, 404, "{said}");
    let listening = lab.sh("ss -Hltn sport = :51679");
    assert!(listening.contains("127.0.0.1:51679") && listening.lines().count() == 1, "{listening}");
    assert_ne!(lab.at("client").run(&["curl", "-sS", "--max-time", "2", "http://192.0.2.1:51679/"]).status, 0);

    // A container that is of no task of ECS is told nothing, and has nothing in its namespace.
    lab.task("plain", &[], &["sleep", "600"]);
    assert!(exec(&lab, "plain", "env | grep -c ECS_ || true") == "0");
    assert!(!lab.inside("plain").sh("ip -br addr show lo").contains("169.254"));
}

#[test]
fn s11_a_stranger_is_told_nothing() {
    let lab = Lab::start();
    let (_, shown) = awsvpc(&lab);
    let web = runtime(&shown, "web");
    let other = run(
        &lab,
        &definition("awsvpc", vec![shell("spy", "sleep 1000")]),
        &["--subnet", "tasks", "--security-group", "open"],
    );
    let spy = runtime(&until(&lab, &other, "RUNNING"), "spy");
    let stolen = exec(&lab, &web, &format!("echo {V4}")).rsplit('/').next().unwrap_or_default().to_owned();
    for path in ["", "/task", "/taskWithTags", "/stats", "/task/stats"] {
        let (code, said) = ask(&lab, &spy, &format!("http://169.254.170.2/v4/{stolen}{path}"));
        assert_eq!(
            (code, &said),
            (403, &json!("this id is another task's; ask at $ECS_CONTAINER_METADATA_URI_V4")),
            "{path}"
        );
    }
    let (task, digits) = stolen.split_once('-').expect("an id");
    for id in
        ["nonsense", "0123456789abcdef0123456789abcdef-0123456789", &format!("{task}-0000000000"), digits, "%2e%2e"]
    {
        let (code, said) = ask(&lab, &spy, &format!("http://169.254.170.2/v4/{id}"));
        assert_eq!(code, 404, "{id}: {said}");
    }
    // Paths that would lead elsewhere, other methods, and requests that no program makes of its own accord.
    for (arguments, wanted) in [
        ("--path-as-is http://169.254.170.2/v4/../../etc/passwd", 404),
        ("--path-as-is http://169.254.170.2/v2/../v1/tasks", 404),
        ("http://169.254.170.2/", 404),
        ("http://169.254.170.2/v1/tasks", 404),
        (&format!("-X DELETE {V4}"), 405),
        (&format!("-H 'Host: evil.test' {V4}"), 403),
        (&format!("-H 'Host: 169.254.170.2.evil.test' {V4}"), 403),
        (&format!("-H 'Origin: http://evil.test' {V4}"), 403),
        (&format!("-H 'Host: 169.254.170.2:80' {V4}"), 200),
        ("http://169.254.170.2/v2/credentials/6d2f", 404),
    ] {
        let (code, said) = ask(&lab, &spy, arguments);
        assert_eq!(code, wanted, "{arguments}: {said}");
    }
    let (_, said) = ask(&lab, &spy, "http://169.254.170.2/v2/credentials/6d2f");
    assert!(said.as_str().is_some_and(|s| s.contains("no credentials")), "{said}");
    // A megabyte of headers.
    let long = "head -c 1000000 /dev/zero | tr '\\0' a >/tmp/long; curl -sS --max-time 5 -o /dev/null -w '%{http_code}' \
                -H @/tmp/long http://169.254.170.2/v2/metadata -H \"X: $(head -c 100000 /tmp/long)\" || true";
    let said = exec(&lab, &spy, long);
    assert!(said.starts_with("431") || said.starts_with("000"), "{said}");
    let more = "import socket; s = socket.create_connection(('169.254.170.2', 80), 5); s.settimeout(8)
try:
    s.sendall(b'GET / HTTP/1.1\\r\\nX: ' + b'a' * 1000000); print(s.recv(100)[:12])
except OSError as e: print('closed')";
    let said = lab.netmode(&["exec", &spy, "python3", "-c", more]).stdout;
    assert!(said.contains("431") || said.contains("closed"), "{said}");
    assert_eq!(ask(&lab, &spy, V4).0, 200, "and it goes on");
    // Whoever sends to the task's own link does not reach what is for the task alone, whatever its groups let in.
    let ports = lab.inside(&web).sh("ss -Hltn | grep -o '169.254.170.2%lo:[0-9]*' | cut -d: -f2").trim().to_owned();
    assert!(!ports.is_empty());
    let ip = address(&shown);
    lab.sh(&format!("ip route add 169.254.170.2/32 via {ip} dev $(ip -o route get {ip} | grep -o 'dev [^ ]*' | cut -d' ' -f2) onlink"));
    let out = lab.run(&["curl", "-sS", "--max-time", "2", &format!("http://169.254.170.2:{ports}/v2/metadata")]);
    assert_ne!(out.status, 0, "{}", out.stdout);
    lab.sh("ip route del 169.254.170.2/32");
    // No other container on the host, and nobody on the LAN, reaches it.
    lab.task("plain", &[], &["sleep", "600"]);
    assert_ne!(
        lab.netmode(&["exec", "plain", "curl", "-s", "--max-time", "1", "http://169.254.170.2/v2/metadata"]).status,
        0
    );
    assert!(!lab.sh("ip -br addr; ip route").contains("169.254"), "nothing of it is on the host");
}

#[test]
fn forty_requests_a_second_and_sixty_at_once() {
    let lab = Lab::start();
    let (_, shown) = awsvpc(&lab);
    let web = runtime(&shown, "web");
    let script = "import urllib.request, urllib.error, os, time
ok = no = 0; begun = time.time()
for n in range(200):
    try: urllib.request.urlopen(os.environ['ECS_CONTAINER_METADATA_URI_V4']).read(); ok += 1
    except urllib.error.HTTPError as e: assert e.code == 429, e; no += 1
print(ok, no, time.time() - begun)";
    let said = lab.netmode(&["exec", &web, "python3", "-c", script]).success().stdout;
    let n: Vec<f64> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let allowed = 60.0 + 40.0 * n[2];
    assert!(n[0] >= 60.0 && n[0] <= allowed + 1.0 && n[0] >= (allowed - 6.0).min(200.0), "{said}");
    // Another task's share is its own.
    let side = ask(&lab, &web, V4).0;
    eventually("it is answered again", 2.0, || side == 200 || ask(&lab, &web, V4).0 == 200);
}

#[test]
fn the_machines_own_metadata_is_out_of_reach() {
    let lab = Lab::start();
    // The machine has some.
    lab.sh("ip addr add 169.254.169.254/32 dev lo; ip addr add fd00:ec2::254/128 dev lo");
    lab.spawn(
        &[
            "python3",
            "-c",
            "import http.server, socket
class S(http.server.HTTPServer): address_family = socket.AF_INET6
S(('::', 80), http.server.SimpleHTTPRequestHandler).serve_forever()",
        ],
        "/run/lab/imds.log",
    );
    eventually("it answers", 5.0, || {
        lab.run(&["curl", "-s", "-o", "/dev/null", "http://169.254.169.254/"]).status == 0
    });
    let (_, shown) = awsvpc(&lab);
    let web = runtime(&shown, "web");
    let script = "import socket
for family, ip in [(socket.AF_INET, '169.254.169.254'), (socket.AF_INET6, 'fd00:ec2::254')]:
    try: socket.socket(family).connect((ip, 80)); print('reached')
    except OSError as e: print(e.errno)";
    let said = lab.netmode(&["exec", &web, "python3", "-c", script]).success().stdout;
    assert_eq!(said, "22\n22\n", "EINVAL of a blackhole");
    for host in ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[::ffff:169.254.169.254]"] {
        let out = lab.netmode(&["exec", &web, "curl", "-s", "--max-time", "3", &format!("http://{host}/")]);
        assert_eq!(out.status, 7, "{host}");
    }
    // It can be switched.
    lab.write("/etc/netmode/netmode.toml", "[vpc]\nblock_imds = false\n");
    lab.restart_agent("TERM");
    let id = run(
        &lab,
        &definition("awsvpc", vec![shell("sdk", "sleep 1000")]),
        &["--subnet", "tasks", "--security-group", "open"],
    );
    let sdk = runtime(&until(&lab, &id, "RUNNING"), "sdk");
    assert!(!lab.inside(&sdk).sh("ip route; ip -6 route").contains("blackhole"));
    assert_eq!(
        lab.netmode(&["exec", &sdk, "curl", "-s", "-o", "/dev/null", "--max-time", "3", "http://169.254.169.254/"])
            .status,
        0
    );
}
