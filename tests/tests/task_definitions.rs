//! Tasks of ECS task definitions: what is honoured, what is refused, how they live and end.

use netmode_tests::ecs::*;
use netmode_tests::lab::address::*;
use netmode_tests::{Failure, Lab, eventually, tcp};
use serde_json::{Value, json};

#[test]
fn row_29_containers_of_one_task_talk_over_localhost() {
    let lab = Lab::start();
    open(&lab);
    let app = serving("app", &["tcp/8000"]);
    let asked = "hostname; cat /etc/hosts; sleep 1000";
    let definition = definition("awsvpc", vec![app, shell("web", asked)]);
    let id = run(&lab, &definition, &["--security-group", "open"]);
    let shown = until(&lab, &id, "RUNNING");
    let ip = address(&shown);
    assert_eq!(lab.at("client").who(tcp(format!("{ip}:8000"))).map(|s| s.tag).as_deref(), Ok("app"));
    let web = container(&shown, "web")["runtimeName"].as_str().unwrap_or_default();
    assert_eq!(lab.inside(web).who(tcp("127.0.0.1:8000")).map(|s| s.tag).as_deref(), Ok("app"));
    let name = format!("ip-{}.netmode.internal", ip.replace('.', "-"));
    eventually("web has asked", 3.0, || lab.netmode(&["logs", &id, "-c", "web"]).stdout.contains(&name));
    let log = lab.netmode(&["logs", &id, "-c", "web"]).success().stdout;
    assert!(log.lines().any(|l| l.starts_with(&ip) && l.contains(&name)), "/etc/hosts: {log}");
    // One namespace, one interface, one attachment.
    let inode = |c: &str| {
        let runtime = container(&shown, c)["runtimeName"].as_str().unwrap_or_default().to_owned();
        lab.netmode(&["exec", &runtime, "readlink", "/proc/self/ns/net"]).success().stdout
    };
    assert_eq!(inode("app"), inode("web"));
    for c in ["app", "web"] {
        assert_eq!(container(&shown, c)["networkInterfaces"][0]["privateIpv4Address"], ip.as_str());
        assert_eq!(container(&shown, c)["networkBindings"], json!([]));
    }
    let runtime = container(&shown, "app")["runtimeName"].as_str().unwrap_or_default();
    let digits = runtime.strip_prefix("ecs-shop-7-app-").unwrap_or_default();
    assert!(digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{runtime}");
    // It goes whole, and leaves nothing.
    lab.netmode(&["task", "stop", &id, "--reason", "enough"]).success();
    let ended = task(&lab, &id);
    assert_eq!((&ended["lastStatus"], &ended["stopCode"]), (&"STOPPED".into(), &"UserInitiated".into()));
    assert_eq!(ended["stoppedReason"], "enough");
    assert_eq!(ended["attachments"][0]["status"], "DELETED");
    eventually("its ENI is gone", 3.0, || lab.json(&["eni", "ls"]).as_array().is_some_and(Vec::is_empty));
    lab.netmode(&["task", "rm", &id]).success();
    assert!(lab.netmode(&["ps", "-aq"]).success().stdout.is_empty());
}

#[test]
fn row_30_host_and_container_port_must_be_equal() {
    let lab = Lab::start();
    let ports = |mappings: Value| {
        definition("awsvpc", vec![with(serving("web", &["tcp/80"]), json!({"portMappings": mappings}))])
    };
    let text = "When networkMode=awsvpc, the host ports and container ports in port mappings must match.";
    refused(&lab, &ports(json!([{"containerPort": 80, "hostPort": 8080}])), &[text, "web", "8080"]);
    run(&lab, &ports(json!([{"containerPort": 80, "hostPort": 80}])), &[]);
    run(&lab, &ports(json!([{"containerPort": 80}])), &[]);
    lab.netmode(&["run", "-d", "--mode", "awsvpc", "-p", "8080:80", "--rootfs", "/", "true"]).refused(125, &[text]);
}

#[test]
fn row_32_fargate_is_a_compatibility_only() {
    let lab = Lab::start();
    let mut fargate = definition("bridge", vec![serving("web", &["tcp/80"])]);
    fargate["requiresCompatibilities"] = json!(["FARGATE"]);
    refused(&lab, &fargate, &["Fargate only supports network mode"]);
    fargate["networkMode"] = json!("awsvpc");
    run(&lab, &fargate, &[]);
}

#[test]
fn the_default_vpc_appears_with_the_first_task_unless_ecs_is_followed_strictly() {
    let lab = Lab::start();
    assert_eq!(lab.json(&["subnet", "ls"]), json!([]));
    let plain = definition("awsvpc", vec![serving("web", &["tcp/80"])]);
    let id = run(&lab, &plain, &[]);
    let subnets = lab.json(&["subnet", "ls"]);
    assert_eq!((&subnets[0]["cidrBlock"], &subnets[0]["backend"]), (&"172.31.0.0/20".into(), &"veth".into()));
    assert!(address(&until(&lab, &id, "RUNNING")).starts_with("172.31.0."));
    assert_eq!(lab.json(&["sg", "ls"])[0]["groupName"], "default");
    let strict = Lab::with().config("[vpc]\nstrict_ecs = true\n").start();
    let plain_and_known = definition("awsvpc", vec![with(serving("web", &["tcp/80"]), json!({"memory": 64}))]);
    refused(
        &strict,
        &plain_and_known,
        &["Network Configuration must be provided when networkMode 'awsvpc' is specified."],
    );
    let taken = Lab::with().first("ip route add 172.31.5.0/24 via 192.0.2.254").start();
    run(&taken, &plain, &[]);
    assert_eq!(taken.json(&["subnet", "ls"])[0]["cidrBlock"], "172.30.0.0/20", "the next one that is free");
}

#[test]
fn bridge_tasks_link_publish_and_have_names_of_their_own() {
    let lab = Lab::start();
    let app = serving("app", &["tcp/8000"]);
    let web = with(
        serving("web", &["tcp/80"]),
        json!({
            "links": ["app:api"],
            "portMappings": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "protocol": "udp"}],
        }),
    );
    let id = run(&lab, &definition("bridge", vec![web, app]), &[]);
    let shown = until(&lab, &id, "RUNNING");
    assert_eq!(shown["attachments"], json!([]));
    let bindings = &container(&shown, "web")["networkBindings"];
    assert_eq!(bindings[0], json!({"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 8080, "protocol": "tcp"}));
    assert!(bindings[1]["hostPort"].as_u64().is_some_and(|p| p >= 32_768), "{bindings}");
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))).map(|s| s.tag).as_deref(), Ok("web"));
    let runtime = container(&shown, "web")["runtimeName"].as_str().unwrap_or_default().to_owned();
    let hosts = lab.netmode(&["exec", &runtime, "cat", "/etc/hosts"]).success().stdout;
    assert!(hosts.lines().any(|l| l.split_whitespace().any(|w| w == "api")), "{hosts}");
    // Another one with the same static port is not placed.
    lab.write(
        "/run/lab/taskdef.json",
        &definition(
            "bridge",
            vec![with(serving("web", &["tcp/80"]), json!({"portMappings": [{"containerPort": 80, "hostPort": 8080}]}))],
        )
        .to_string(),
    );
    lab.netmode(&["task", "run", "-f", "/run/lab/taskdef.json"]).refused(1, &["RESOURCE:PORTS"]);
}

#[test]
fn containers_wait_for_what_they_depend_on() {
    let lab = Lab::start();
    let depends = |name: &str, condition: &str| json!({"dependsOn": [{"containerName": name, "condition": condition}]});
    let volume = json!({"mountPoints": [{"sourceVolume": "work", "containerPath": "/mnt"}]});
    let init =
        with(with(shell("init", "sleep 0.3; echo ready > /mnt/state"), volume.clone()), json!({"essential": false}));
    let check = json!({"healthCheck": {"command": ["CMD-SHELL", "test -e /mnt/well"], "interval": 5, "timeout": 2}});
    let app = with(
        with(
            with(shell("app", "cat /mnt/state; touch /mnt/well; sleep 1000"), volume.clone()),
            depends("init", "SUCCESS"),
        ),
        check,
    );
    let web = with(with(shell("web", "echo begun; sleep 1000"), volume), depends("app", "HEALTHY"));
    let mut all = definition("awsvpc", vec![web, app, init]);
    all["volumes"] = json!([{"name": "work"}]);
    let id = run(&lab, &all, &[]);
    eventually("app has begun", 5.0, || container(&task(&lab, &id), "app")["lastStatus"] == "RUNNING");
    assert_eq!(container(&task(&lab, &id), "web")["lastStatus"], "PENDING", "app is not healthy yet");
    assert_eq!(lab.netmode(&["logs", &id, "-c", "app"]).success().stdout.trim(), "ready", "init was before it");
    assert_eq!(container(&task(&lab, &id), "init")["exitCode"], 0);
    eventually("web has begun", 8.0, || container(&task(&lab, &id), "web")["lastStatus"] == "RUNNING");
    assert_eq!(
        (task(&lab, &id)["lastStatus"].clone(), container(&task(&lab, &id), "app")["healthStatus"].clone()),
        ("RUNNING".into(), "HEALTHY".into())
    );
    let volumes = || lab.sh("ls /var/lib/netmode/volumes");
    assert!(volumes().contains(&id), "a scratch volume of the task's own");
    lab.netmode(&["task", "stop", &id]).success();
    assert!(!volumes().contains(&id), "which goes with it");
    // One that cannot come to it any more.
    let init = with(shell("init", "exit 3"), json!({"essential": false}));
    let web = with(shell("web", "sleep 1000"), depends("init", "SUCCESS"));
    let id = run(&lab, &definition("awsvpc", vec![web, init]), &[]);
    let ended = until(&lab, &id, "STOPPED");
    assert_eq!(ended["stopCode"], "TaskFailedToStart");
    assert!(ended["stoppedReason"].as_str().is_some_and(|r| r.starts_with("TaskDependencyError")), "{ended}");
}

#[test]
fn a_task_ends_with_the_first_essential_container() {
    let lab = Lab::start();
    let side = with(shell("side", "exit 0"), json!({"essential": false}));
    let main = shell("main", "until test -e /run/lab/end; do sleep 0.05; done; exit 5");
    let main = with(main, json!({"mountPoints": [{"sourceVolume": "lab", "containerPath": "/run/lab"}]}));
    let other = with(shell("other", "trap 'echo told; exit 0' TERM; sleep 1000 & wait"), json!({"stopTimeout": 5}));
    let mut all = definition("awsvpc", vec![main, side, other]);
    all["volumes"] = json!([{"name": "lab", "host": {"sourcePath": "/run/lab"}}]);
    let id = run(&lab, &all, &[]);
    eventually("side has ended", 5.0, || container(&task(&lab, &id), "side")["lastStatus"] == "STOPPED");
    until(&lab, &id, "RUNNING");
    lab.sh("touch /run/lab/end");
    let ended = until(&lab, &id, "STOPPED");
    assert_eq!(ended["stopCode"], "EssentialContainerExited");
    assert_eq!(ended["stoppedReason"], "Essential container in task exited");
    assert_eq!(container(&ended, "main")["exitCode"], 5);
    assert_eq!(lab.netmode(&["logs", &id, "-c", "other"]).success().stdout.trim(), "told");
}

#[test]
fn a_task_lives_through_a_restart_of_the_agent() {
    let lab = Lab::start();
    open(&lab);
    let id = run(
        &lab,
        &definition("awsvpc", vec![serving("web", &["tcp/80"]), shell("side", "sleep 1000")]),
        &["--security-group", "open"],
    );
    let ip = address(&until(&lab, &id, "RUNNING"));
    lab.restart_agent("KILL");
    assert_eq!(lab.at("client").who(tcp(format!("{ip}:80"))).map(|s| s.tag).as_deref(), Ok("web"));
    let shown = task(&lab, &id);
    assert_eq!((shown["lastStatus"].clone(), address(&shown)), ("RUNNING".into(), ip.clone()));
    let side = container(&shown, "side")["runtimeName"].as_str().unwrap_or_default().to_owned();
    lab.netmode(&["kill", &side]).success();
    assert_eq!(until(&lab, &id, "STOPPED")["stopCode"], "EssentialContainerExited", "and is followed on");
    assert_eq!(lab.at("client").who(tcp(format!("{ip}:80"))).map(|s| s.tag).err(), Some(Failure::Timeout));
}

#[test]
fn secrets_reach_the_container_and_nothing_else() {
    let lab = Lab::start();
    let web = with(
        shell("web", "echo \"$TOKEN-$KEY\" | md5sum; sleep 1000"),
        json!({
            "secrets": [{"name": "TOKEN", "valueFrom": "arn:aws:ssm:x:1:parameter/token"}, {"name": "KEY", "valueFrom": "key"}],
        }),
    );
    let all = definition("none", vec![web]);
    refused(&lab, &all, &["TOKEN", "valueFrom arn:aws:ssm:x:1:parameter/token", "--secret"]);
    lab.write("/run/lab/secrets", "# ours\nkey=k3y\n");
    let id = run(&lab, &all, &["--secret", "TOKEN=t0ps3cret", "--secrets-file", "/run/lab/secrets"]);
    eventually("it has both", 5.0, || lab.netmode(&["logs", &id]).stdout.contains("3bdcba465dbae80fda6663ae36bc558f"));
    let shown = task(&lab, &id);
    let runtime = container(&shown, "web")["runtimeName"].as_str().unwrap_or_default();
    for text in
        [shown.to_string(), lab.inspect(runtime).to_string(), lab.agent_log(), lab.sh("cat /var/lib/netmode/*/*.json")]
    {
        assert!(!text.contains("t0ps3cret") && !text.contains("k3y"), "{text}");
    }
}

#[test]
fn nothing_of_a_definition_is_dropped_silently() {
    let lab = Lab::start();
    let mut all = definition(
        "none",
        vec![with(
            shell("web", "sleep 1000"),
            json!({
                "environmentFiles": [{"value": "arn:aws:s3:::b/f.env", "type": "s3"}],
                "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/g", "awslogs-stream-prefix": "p"}},
            }),
        )],
    );
    refused(&lab, &all, &["containerDefinitions[web].environmentFiles", "S3", "--ignore environmentFiles"]);
    lab.write("/run/lab/taskdef.json", &all.to_string());
    let out = lab.netmode(&["task", "run", "-f", "/run/lab/taskdef.json", "--ignore", "environmentFiles"]).success();
    assert!(
        out.stderr.contains("environmentFiles: ignored") && out.stderr.contains("instead of /g/p/web"),
        "{}",
        out.stderr
    );
    all["bogus"] = json!(1);
    refused(&lab, &all, &["environmentFiles"]);
    let mut all = definition("none", vec![shell("web", "true")]);
    all["bogus"] = json!(1);
    refused(&lab, &all, &["unknown field `bogus`"]);
    all = definition("none", vec![shell("web", "true")]);
    all["volumes"] = json!([{"name": "../../../etc"}]);
    refused(&lab, &all, &["Volume name contains invalid characters"]);
    lab.write("/run/lab/taskdef.json", "{\n  \"family\": \"a\",\n  oops\n}");
    lab.netmode(&["task", "run", "-f", "/run/lab/taskdef.json"]).refused(1, &["line 3 column 3", "JSON"]);
    lab.sh("head -c 10000000 /dev/zero | tr '\\0' ' ' > /run/lab/taskdef.json");
    lab.netmode(&["task", "run", "-f", "/run/lab/taskdef.json"]).refused(1, &["larger than"]);
    lab.netmode(&["task", "run", "-f", "/nowhere.json"]).refused(1, &["cannot read /nowhere.json"]);
    assert_eq!(lab.json(&["task", "ls", "-a"]).as_array().map(Vec::len), Some(1));
}

/// The two containers of the example that people know, without their programs.
fn django() -> Value {
    json!({"family": "ecs-django", "networkMode": "awsvpc", "containerDefinitions": [
        with(serving("nginx", &["tcp/80"]), json!({"portMappings": [{"containerPort": 80}]})),
        serving("gunicorn", &["tcp/8000"]),
    ]})
}

#[test]
fn row_15_interfaces_are_limited_by_the_instance_type() {
    let lab = Lab::start();
    lab.write("/run/lab/taskdef.json", &django().to_string());
    let run = || lab.netmode(&["task", "run", "-f", "/run/lab/taskdef.json"]);
    lab.netmode(&["instance", "set-profile", "t2.micro"]).success();
    // One that goes makes room at once, though the kernel takes its interface away a moment later.
    for _ in 0..5 {
        lab.netmode(&["run", "-d", "--name", "one", "--mode", "awsvpc", "--rootfs", "/", "sleep", "100"]).success();
        lab.netmode(&["rm", "-f", "one"]).success();
    }
    run().success();
    run().refused(1, &["RESOURCE:ENI", "1 of 1"]);
    let direct = lab.netmode(&["run", "-d", "--mode", "awsvpc", "--rootfs", "/", "sleep", "100"]);
    direct.refused(125, &["RESOURCE:ENI"]);
    lab.netmode(&["instance", "set-profile", "t2.small"]).success();
    run().success();
    run().refused(1, &["RESOURCE:ENI", "2 of 2"]);
    lab.netmode(&["instance", "set-profile", "none"]).success();
    run().success();
    // Other modes have no interface of their own.
    lab.netmode(&["instance", "set-profile", "t2.micro"]).success();
    lab.netmode(&["run", "-d", "--rootfs", "/", "sleep", "100"]).success();
    lab.restart_agent("TERM");
    run().refused(1, &["RESOURCE:ENI"]);
}

#[test]
fn row_16_scaling_from_one_to_two_tells_the_event_that_people_search_for() {
    let lab = Lab::start();
    lab.netmode(&["instance", "set-profile", "t2.micro"]).success();
    lab.write("/run/lab/taskdef.json", &django().to_string());
    lab.netmode(&["service", "create", "ecs-django", "-f", "/run/lab/taskdef.json"]).success();
    let running = |n: u64| {
        eventually("they run", 5.0, || lab.json(&["service", "show", "ecs-django"])[0]["runningCount"] == n);
    };
    running(1);
    lab.netmode(&["service", "update", "ecs-django", "--desired-count", "2"]).success();
    let arn = lab.json(&["instance", "show"])["containerInstanceArn"].as_str().unwrap_or_default().to_owned();
    let id = arn.rsplit('/').next().unwrap_or_default();
    let text = format!(
        "service ecs-django was unable to place a task because no container instance met all of its requirements. The closest matching container-instance {id} encountered error \"RESOURCE:ENI\"."
    );
    eventually("the event", 5.0, || lab.netmode(&["events"]).success().stdout.contains(&text));
    lab.netmode(&["instance", "set-profile", "t2.small"]).success();
    lab.netmode(&["service", "update", "ecs-django", "--desired-count", "2"]).success();
    running(2);
    eventually("steady", 5.0, || {
        lab.netmode(&["events"]).stdout.contains("service ecs-django has reached a steady state.")
    });
    // One that ends is replaced.
    let tasks = lab.json(&["task", "ls"]);
    let one = tasks[0]["taskArn"].as_str().unwrap_or_default().to_owned();
    lab.netmode(&["task", "stop", &one]).success();
    running(2);
    lab.restart_agent("KILL");
    running(2);
    lab.netmode(&["service", "update", "ecs-django", "--desired-count", "1"]).success();
    running(1);
    lab.netmode(&["service", "rm", "ecs-django"]).success();
    eventually("all have ended", 15.0, || lab.json(&["task", "ls"]) == json!([]));
}

#[test]
fn row_18_19_20_trunking_as_the_documents_have_it() {
    let lab = Lab::start();
    let small = definition("awsvpc", vec![shell("a", "sleep 1000")]);
    lab.write("/run/lab/taskdef.json", &small.to_string());
    let run = || lab.netmode(&["task", "run", "-f", "/run/lab/taskdef.json"]);
    lab.netmode(&["instance", "set-profile", "c5.large"]).success();
    run().success();
    run().success();
    run().refused(1, &["RESOURCE:ENI", "2 of 2"]);
    let shown = lab.json(&["instance", "show"]);
    assert_eq!(shown["attachments"], 3, "the primary one and two");
    let own = |shown: &Value| shown["privateIpAddresses"].as_array().map_or(0, Vec::len);
    assert_eq!(own(&shown), 1, "{shown}");
    lab.netmode(&["instance", "set-profile", "c5.large", "--trunking"]).success();
    for _ in 2..10 {
        run().success();
    }
    run().refused(1, &["RESOURCE:ENI", "10 of 10"]);
    let shown = lab.json(&["instance", "show"]);
    assert_eq!(
        (&shown["attachments"], &shown["addresses"]),
        (&2.into(), &12.into()),
        "primary and trunk, and ten tasks"
    );
    for (name, word) in [("t3.large", "t3.large"), ("i4i.large", "i4i.large")] {
        lab.netmode(&["instance", "set-profile", name, "--trunking"]).refused(1, &[word, "trunking"]);
    }
    lab.netmode(&["instance", "set-profile", "x9.huge"]).refused(1, &["x9.huge"]);
    assert_eq!(lab.json(&["instance", "show"])["profile"]["instanceType"], "c5.large", "nothing has changed");
}

#[test]
fn an_instance_takes_its_own_addresses_from_its_subnet() {
    let lab = Lab::start();
    lab.netmode(&["subnet", "create", "hosts", "--cidr", "10.0.2.0/28"]).success();
    let free = || lab.json(&["subnet", "show", "hosts"])[0]["availableIpAddressCount"].as_u64();
    let own = || lab.json(&["instance", "show"])["privateIpAddresses"].clone();
    let profile = |more: &[&str]| lab.netmode(&[&["instance", "set-profile", "c5.large"], more].concat());
    assert_eq!(free(), Some(11));
    profile(&["--subnet", "hosts"]).success();
    assert_eq!((free(), own()), (Some(10), json!(["10.0.2.4"])));
    profile(&["--subnet", "hosts", "--trunking"]).success();
    assert_eq!((free(), own()), (Some(9), json!(["10.0.2.4", "10.0.2.5"])));
    let on = ["run", "-d", "--mode", "awsvpc", "--subnet", "hosts", "--rootfs", "/", "--name"];
    lab.netmode(&[&on[..], &["web", "sleep", "1000"]].concat()).success();
    assert_eq!(lab.address("web"), "10.0.2.6");
    let taken = [&on[..], &["second", "--ip", "10.0.2.4", "sleep", "1000"]].concat();
    let taken: Vec<&str> = taken.iter().copied().filter(|a| *a != "--rootfs" && *a != "/").collect();
    let at = taken.iter().position(|a| *a == "sleep").unwrap_or_default();
    let taken = [&taken[..at], &["--rootfs", "/"], &taken[at..]].concat();
    lab.netmode(&taken).refused(125, &["10.0.2.4", "the container instance"]);
    lab.netmode(&["rm", "-f", "web"]).success();
    lab.restart_agent("KILL");
    assert_eq!(own(), json!(["10.0.2.4", "10.0.2.5"]));
    lab.netmode(&["subnet", "rm", "hosts"]).refused(1, &["hosts", "the container instance"]);
    profile(&["--subnet", "nowhere"]).refused(1, &["nowhere"]);
    assert_eq!(own(), json!(["10.0.2.4", "10.0.2.5"]), "nothing has changed");
    // Without a subnet it is in the default one.
    profile(&[]).success();
    assert_eq!((free(), own()), (Some(11), json!(["172.31.0.4"])));
    lab.netmode(&["instance", "set-profile", "none"]).success();
    assert_eq!(own(), json!([]));
    lab.netmode(&["subnet", "rm", "hosts"]).success();
}

#[test]
fn the_ports_that_an_instance_keeps_are_configured() {
    let lab =
        Lab::with().config("[vpc]\nstrict_ecs = true\n[ports]\nreserved = [22, 9000]\nreserved_udp = [53]\n").start();
    let on = |port: u16, protocol: &str| {
        let mappings = json!([{"containerPort": 1, "hostPort": port, "protocol": protocol}]);
        let more = json!({"portMappings": mappings, "memory": 64});
        definition("bridge", vec![with(shell("web", "exec sleep 600"), more)])
    };
    refused(&lab, &on(9000, "tcp"), &["RESOURCE:PORTS", "tcp port 9000", "container instance"]);
    refused(&lab, &on(53, "udp"), &["RESOURCE:PORTS", "udp port 53", "container instance"]);
    run(&lab, &on(2375, "tcp"), &[]);
    run(&lab, &on(9000, "udp"), &[]);
}

#[test]
fn under_a_profile_host_ports_are_counted_as_ecs_does() {
    let lab = Lab::start();
    let on = |ports: std::ops::Range<u16>, script: &str| {
        let ports: Vec<Value> = ports.map(|p| json!({"containerPort": p, "hostPort": p})).collect();
        let patience = json!({"portMappings": ports, "stopTimeout": 6});
        definition("bridge", vec![with(shell("web", script), patience)])
    };
    let (stays, quick) = ("trap '' TERM; while :; do sleep 1; done", "exec sleep 600");
    // Without one no port is kept.
    let id = run(&lab, &on(22..23, quick), &[]);
    until(&lab, &id, "RUNNING");
    lab.netmode(&["task", "stop", &id]).success();
    lab.netmode(&["instance", "set-profile", "t2.micro"]).success();
    refused(&lab, &on(22..23, quick), &["RESOURCE:PORTS", "tcp port 22", "container instance"]);
    // The five reserved ones are among the hundred.
    refused(&lab, &on(20000..20096, quick), &["RESOURCE:PORTS", "96 host ports", "5 of"]);
    let first = run(&lab, &on(20000..20095, stays), &[]);
    until(&lab, &first, "RUNNING");
    refused(&lab, &on(21000..21001, quick), &["RESOURCE:PORTS", "100 of"]);
    lab.netmode(&["task", "stop", &first]).success();
    // One of another task that runs is refused; one of a task that is ending is waited for, and those behind wait.
    let first = run(&lab, &on(8080..8081, stays), &[]);
    until(&lab, &first, "RUNNING");
    refused(&lab, &on(8080..8081, quick), &["RESOURCE:PORTS", "tcp port 8080"]);
    lab.spawn(&["netmode", "task", "stop", &first], "/run/lab/stop.log");
    eventually("it is to end", 2.0, || task(&lab, &first)["desiredStatus"] == "STOPPED");
    let second = run(&lab, &on(8080..8081, quick), &[]);
    let behind = run(&lab, &on(9090..9091, quick), &[]);
    let status = |id: &str| task(&lab, id)["lastStatus"].clone();
    assert_eq!((status(&second), status(&behind)), (json!("PENDING"), json!("PENDING")));
    until(&lab, &second, "RUNNING");
    until(&lab, &behind, "RUNNING");
    assert_eq!(status(&first), "STOPPED");
}

/// nginx in front of gunicorn, both as their packages have them.
fn story(mode: &str, upstream: &str) -> Value {
    let conf = format!(
        "daemon off; pid /tmp/nginx.pid; error_log stderr; events {{}} http {{ access_log off; server {{ listen 80; location / {{ proxy_pass http://{upstream}:8000; }} }} }}"
    );
    let nginx = r#"printf '%s' "$CONF" > /tmp/nginx.conf; exec nginx -c /tmp/nginx.conf"#;
    let app = "printf 'def app(env, start):\\n  start(\"200 OK\", [])\\n  return [b\"hello from gunicorn\"]\\n' > /tmp/hello.py; cd /tmp; exec gunicorn -b 0.0.0.0:8000 hello:app";
    let tmp = json!({"linuxParameters": {"tmpfs": [
        {"containerPath": "/tmp", "size": 16}, {"containerPath": "/var/lib/nginx", "size": 16}, {"containerPath": "/var/log/nginx", "size": 16}]}});
    let nginx = with(
        with(shell("nginx", nginx), tmp.clone()),
        // In bridge mode the first one gets the first address; those that wait for nothing begin at once, in any order.
        json!({
            "portMappings": [{"containerPort": 80}],
            "environment": [{"name": "CONF", "value": conf}],
            "dependsOn": [{"containerName": "gunicorn", "condition": "START"}],
        }),
    );
    let gunicorn = with(shell("gunicorn", app), tmp);
    json!({"family": "ecs-django", "revision": 25, "networkMode": mode, "containerDefinitions": [gunicorn, nginx]})
}

#[test]
fn the_story_of_nginx_and_gunicorn() {
    let lab = Lab::start();
    open(&lab);
    let hello = |place: &str, at: &str| lab.at(place).run(&["curl", "-s", "-m", "5", &format!("http://{at}/")]).stdout;
    // Bridge mode: by an address that has to be known beforehand.
    let id = run(&lab, &story("bridge", "172.17.0.2"), &[]);
    let shown = until(&lab, &id, "RUNNING");
    let port = container(&shown, "nginx")["networkBindings"][0]["hostPort"].to_string();
    eventually("nginx passes on to gunicorn by its address", 10.0, || {
        hello("client", &format!("{HOST}:{port}")) == "hello from gunicorn"
    });
    lab.netmode(&["task", "stop", &id]).success();
    // awsvpc: by localhost, and one task on t2.micro.
    lab.netmode(&["instance", "set-profile", "t2.micro"]).success();
    let id = run(&lab, &story("awsvpc", "127.0.0.1"), &["--security-group", "open"]);
    let ip = address(&until(&lab, &id, "RUNNING"));
    eventually("nginx passes on to gunicorn by localhost", 10.0, || hello("client", &ip) == "hello from gunicorn");
    let second = ["task", "run", "-f", "/run/lab/taskdef.json", "--security-group", "open"];
    lab.netmode(&second).refused(1, &["RESOURCE:ENI"]);
    lab.netmode(&["instance", "set-profile", "t2.small"]).success();
    let id = lab.netmode(&second).success().stdout.trim().to_owned();
    let other = address(&until(&lab, &id, "RUNNING"));
    assert_ne!(ip, other);
    eventually("so does the second, on its own port 80", 10.0, || hello("client", &other) == "hello from gunicorn");
}
