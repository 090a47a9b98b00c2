//! What is refused and what ends tasks, in the very words that users of ECS search for.

use netmode_tests::ecs::*;
use netmode_tests::{Lab, eventually};
use serde_json::{Value, json};

/// A definition of one container with more of it.
fn one(mode: &str, more: Value) -> Value {
    definition(mode, vec![with(shell("web", "exec sleep 1000"), more)])
}

fn ports(mappings: Value) -> Value {
    json!({"portMappings": mappings})
}

/// The first words of the refusal.
fn told(lab: &Lab, definition: &Value, flags: &[&str]) -> String {
    lab.write("/run/lab/taskdef.json", &definition.to_string());
    let out = lab.netmode(&[&["task", "run", "-f", "/run/lab/taskdef.json"], flags].concat());
    assert_eq!(out.status, 1, "{out:?}");
    out.stderr.trim_start_matches("netmode: ").trim().to_owned()
}

#[test]
fn what_ecs_refuses_when_a_definition_is_registered() {
    let lab = Lab::start();
    let host = json!([{"containerPort": 80, "hostPort": 8080}]);
    let cases = [
        (
            one("awsvpc", ports(host.clone())),
            "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
        ),
        (
            one("host", ports(host)),
            "When networkMode=host, the host ports and container ports in port mappings must match.",
        ),
        (one("none", ports(json!([{"containerPort": 80}]))), "Port mappings are not supported when networkMode=none."),
        (one("awsvpc", json!({"links": ["web"]})), "Links are not supported when networkMode=awsvpc."),
        (one("awsvpc", json!({"hostname": "a"})), "hostname is not supported on container when networkMode=awsvpc."),
        (
            one("awsvpc", json!({"dnsServers": ["192.0.2.2"]})),
            "DNS servers are not supported on container when networkMode=awsvpc.",
        ),
        (
            one("awsvpc", json!({"dnsSearchDomains": ["a.test"]})),
            "DNS search domains are not supported on container when networkMode=awsvpc.",
        ),
        (
            one("awsvpc", json!({"extraHosts": [{"hostname": "a", "ipAddress": "192.0.2.2"}]})),
            "Extra hosts are not supported on container when networkMode=awsvpc.",
        ),
        (
            one("awsvpc", json!({"disableNetworking": true})),
            "Disable Networking is not supported on container when networkMode=awsvpc.",
        ),
        (one("bridge", ports(json!([{"hostPort": 80}]))), "Invalid 'containerPort' setting for container 'web'."),
        (one("bridge", ports(json!([{"containerPort": 0}]))), "Invalid 'containerPort' setting for container 'web'."),
        (
            one("bridge", ports(json!([{"containerPort": 65536}]))),
            "Invalid 'containerPort' setting for container 'web'.",
        ),
        (
            one(
                "bridge",
                ports(json!([{"containerPort": 1, "hostPort": 3000}, {"containerPort": 2, "hostPort": 3000}])),
            ),
            "TCP host port '3000' is mapped multiple times in task.",
        ),
        (
            one("bridge", ports(json!([{"containerPort": 80, "containerPortRange": "80-90"}]))),
            "cannot specify both single port and port range",
        ),
        (
            definition(
                "bridge",
                vec![
                    with(shell("a", "true"), json!({"links": ["b"]})),
                    with(shell("b", "true"), json!({"links": ["a"]})),
                ],
            ),
            "Container links should not have a cycle",
        ),
    ];
    for (definition, text) in cases {
        let told = told(&lab, &definition, &[]);
        assert!(told.starts_with(text), "{told:?} is not {text:?}");
    }
    // More than ECS takes, and meant to: a resolver on both protocols.
    let both = json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "udp"}]);
    run(&lab, &one("awsvpc", ports(both)), &[]);
}

#[test]
fn what_ecs_refuses_when_a_task_is_run() {
    let lab = Lab::start();
    lab.netmode(&["subnet", "create", "tasks", "--cidr", "10.0.2.0/24"]).success();
    let (own, bridge) = (one("awsvpc", json!({})), one("bridge", json!({})));
    let text = "Network Configuration is not valid for the given networkMode of this task definition.";
    assert!(told(&lab, &bridge, &["--subnet", "tasks"]).starts_with(text));
    // But for groups, which bridge tasks have as an extension, and that is said.
    lab.netmode(&["sg", "create", "web"]).success();
    lab.write("/run/lab/taskdef.json", &bridge.to_string());
    let more = lab.netmode(&["task", "run", "-f", "/run/lab/taskdef.json", "--security-group", "web"]).success();
    assert!(more.stderr.contains("extension of netmode"), "{more:?}");
    let text = "Assign public IP is not supported for this launch type";
    assert!(told(&lab, &own, &["--assign-public-ip"]).starts_with(text));
    let many = |n: usize| vec!["tasks"; n].join(",");
    assert!(told(&lab, &own, &["--subnet", &many(17)]).starts_with("subnets can have at most 16 items"));
    let six = ["default"; 6].join(",");
    assert!(told(&lab, &own, &["--security-group", &six]).starts_with("securityGroups can have at most 5 items"));

    let text = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
    assert!(told(&lab, &one("awsvpc", json!({"memory": 64})), &["--strict-ecs"]).starts_with(text));
    let direct = ["run", "-d", "--mode", "awsvpc", "--strict-ecs", "--rootfs", "/", "true"];
    lab.netmode(&direct).refused(125, &[text]);

    let strict = Lab::with().config("[vpc]\nstrict_ecs = true\n").start();
    let text = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
    assert!(told(&strict, &one("awsvpc", json!({"memory": 64})), &[]).starts_with(text));
    let text =
        "Invalid setting for container 'web'. At least one of 'memory' or 'memoryReservation' must be specified.";
    assert_eq!(told(&strict, &bridge, &[]), text);
    run(&strict, &one("bridge", json!({"memoryReservation": 16})), &[]);
    run(&strict, &with(bridge, json!({"memory": "64"})), &[]);
}

#[test]
fn why_a_task_did_not_start_or_ended() {
    let lab = Lab::with().config("[ports]\nrange = \"40000-40002\"\n").start();
    let ended = |definition: &Value| {
        let id = run(&lab, definition, &[]);
        until(&lab, &id, "STOPPED")
    };
    let reason = |task: &Value| task["stoppedReason"].as_str().unwrap_or_default().to_owned();
    // The command, the dynamic ports, a port that somebody holds.
    let none = ended(&one("bridge", json!({"command": ["/no/such/command"]})));
    assert!(reason(&none).starts_with("CannotCreateContainerError: "), "{none}");
    assert_eq!(none["stopCode"], "TaskFailedToStart");
    let many = json!([{"containerPortRange": "100-103"}]);
    let text = "HostConfigError: error retrieving docker port map: 4 contiguous host ports are unavailable";
    assert!(reason(&ended(&one("bridge", ports(many)))).starts_with(text));
    let singles: Vec<Value> = (1..=4).map(|port| json!({"containerPort": port})).collect();
    let text = "HostConfigError: error retrieving docker port map: a host port is unavailable";
    assert!(reason(&ended(&one("bridge", ports(json!(singles))))).starts_with(text));
    lab.at("host").serve("held", &["tcp/8080"]);
    let taken = ended(&one("bridge", ports(json!([{"containerPort": 80, "hostPort": 8080}]))));
    assert!(reason(&taken).starts_with("CannotStartContainerError: port is already allocated: "), "{taken}");
    assert!(reason(&taken).contains("8080"), "{taken}");
    // One that others wait for, and one that eats more than it may.
    let first = with(shell("first", "exit 3"), json!({"essential": false}));
    let waits = json!({"dependsOn": [{"containerName": "first", "condition": "SUCCESS"}]});
    let dependent = ended(&definition("bridge", vec![first, with(shell("web", "exec sleep 1000"), waits)]));
    assert!(reason(&dependent).starts_with("TaskDependencyError: "), "{dependent}");
    let hungry = json!({"command": ["python3", "-c", "bytearray(200000000)"], "memory": 32});
    let starved = ended(&one("bridge", hungry));
    assert_eq!(container(&starved, "web")["exitCode"], 137);
    assert_eq!(container(&starved, "web")["reason"], "OutOfMemoryError: Container killed due to memory usage");
    assert_eq!(starved["stopCode"], "EssentialContainerExited");
    assert_eq!(reason(&starved), "Essential container in task exited");
}

#[test]
fn what_a_service_tells_of_a_host_without_room() {
    let lab = Lab::start();
    let create = |name: &str, definition: &Value, count: &str| {
        lab.write("/run/lab/taskdef.json", &definition.to_string());
        let file = ["-f", "/run/lab/taskdef.json", "--desired-count", count];
        lab.netmode(&[&["service", "create", name], &file[..]].concat()).success();
    };
    let tells = |name: &str, words: &str| {
        let events = || lab.netmode(&["service", "show", name]).success().stdout;
        eventually(&format!("{name} tells: {words}"), 10.0, || events().contains(words));
    };
    let arn = lab.json(&["instance", "show"])["containerInstanceArn"].as_str().unwrap_or_default().to_owned();
    let id = arn.rsplit('/').next().unwrap_or_default();
    let full = "was unable to place a task because no container instance met all of its requirements. \
                The closest matching container-instance";
    lab.netmode(&["instance", "set-profile", "t2.micro"]).success();
    create("own", &one("awsvpc", json!({})), "2");
    tells("own", &format!("service own {full} {id} encountered error \\\"RESOURCE:ENI\\\"."));
    create("web", &one("bridge", ports(json!([{"containerPort": 80, "hostPort": 8080}]))), "2");
    tells("web", &format!("service web {full} {id} is already using a port required by your task."));
    let many: Vec<Value> = (1..=96).map(|n| json!({"containerPort": n, "hostPort": 20000 + n})).collect();
    refused(&lab, &one("bridge", ports(json!(many))), &["RESOURCE:PORTS", "Too many ports registered"]);
    create("short", &one("bridge", json!({"command": ["false"]})), "1");
    tells("short", "service short is unable to consistently start tasks successfully.");
}
