use super::*;
use netmode_model::ecs::read;
use serde_json::{Value, json};

fn told(mode: &str, container: Value) -> String {
    told_of(mode, json!([container]))
}

fn told_of(mode: &str, containers: Value) -> String {
    let mut containers = containers;
    for (n, container) in containers.as_array_mut().unwrap().iter_mut().enumerate() {
        let object = container.as_object_mut().unwrap();
        object.entry("name").or_insert_with(|| json!(["web", "app"][n]));
        object.entry("image").or_insert_with(|| json!("x"));
    }
    let value = json!({"family": "f", "networkMode": mode, "containerDefinitions": containers});
    match validate(&read(value, &[]).unwrap().definition) {
        Ok(_) => String::new(),
        Err(e) => e.to_string(),
    }
}

fn ports(all: Value) -> Value {
    json!({"portMappings": all})
}

#[test]
fn what_a_mode_does_not_have_is_refused_in_the_words_of_ecs() {
    for (mode, container, text) in [
        (
            "awsvpc",
            ports(json!([{"containerPort": 80, "hostPort": 8080}])),
            "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
        ),
        (
            "host",
            ports(json!([{"containerPort": 80, "hostPort": 8080}])),
            "When networkMode=host, the host ports and container ports in port mappings must match.",
        ),
        ("none", ports(json!([{"containerPort": 80}])), "Port mappings are not supported when networkMode=none."),
        ("awsvpc", json!({"links": ["web"]}), "Links are not supported when networkMode=awsvpc."),
        ("awsvpc", json!({"hostname": "a"}), "hostname is not supported on container when networkMode=awsvpc."),
        (
            "awsvpc",
            json!({"dnsServers": ["10.0.0.2"]}),
            "DNS servers are not supported on container when networkMode=awsvpc.",
        ),
        (
            "awsvpc",
            json!({"extraHosts": [{"hostname": "a", "ipAddress": "10.0.0.9"}]}),
            "Extra hosts are not supported on container when networkMode=awsvpc.",
        ),
        (
            "awsvpc",
            json!({"disableNetworking": true}),
            "Disable Networking is not supported on container when networkMode=awsvpc.",
        ),
    ] {
        let told = told(mode, container);
        assert!(told.starts_with(text), "{told}");
    }
    for (mode, mapping) in [
        ("awsvpc", json!({"containerPort": 80})),
        ("awsvpc", json!({"containerPort": 80, "hostPort": 80})),
        ("host", json!({"containerPort": 80})),
    ] {
        assert_eq!(told(mode, ports(json!([mapping]))), "");
    }
}

#[test]
fn ports_are_checked_across_the_task() {
    assert!(
        told("bridge", ports(json!([{"hostPort": 80}])))
            .starts_with("Invalid 'containerPort' setting for container 'web'.")
    );
    assert!(told("bridge", ports(json!([{"containerPort": 65536}]))).starts_with("Invalid 'containerPort' setting"));
    let both = ports(json!([{"containerPort": 80, "containerPortRange": "80-90"}]));
    assert!(told("bridge", both).starts_with("cannot specify both single port and port range"));
    let twice = json!([
        ports(json!([{"containerPort": 1, "hostPort": 3000}])),
        ports(json!([{"containerPort": 2, "hostPort": 3000}]))
    ]);
    assert_eq!(told_of("bridge", twice), "TCP host port '3000' is mapped multiple times in task.");
    let both_80 = json!([ports(json!([{"containerPort": 80}])), ports(json!([{"containerPort": 80}]))]);
    assert_eq!(told_of("awsvpc", both_80.clone()), "TCP host port '80' is mapped multiple times in task.");
    assert_eq!(told_of("bridge", both_80), "", "dynamic ports");
    let ranged = |a: Value, b: Value| json!([ports(json!([a])), ports(json!([b]))]);
    let (range, within) = (json!({"containerPortRange": "80-90"}), json!({"containerPort": 85}));
    assert_eq!(
        told_of("awsvpc", ranged(range.clone(), within.clone())),
        "TCP host port '85' is mapped multiple times in task."
    );
    assert_eq!(told_of("bridge", ranged(range.clone(), within.clone())), "");
    for (one, other) in [(&range, &within), (&within, &range), (&range, &json!({"containerPortRange": "70-80"}))] {
        let told = told("bridge", ports(json!([one, other])));
        assert!(told.starts_with("port ranges of a container cannot overlap: container 'web' has port 8"), "{told}");
    }
    let dns = ports(json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "udp"}]));
    assert_eq!(told("bridge", dns), "", "more than ECS takes");
}

#[test]
fn circles_and_strangers_are_named() {
    let circle = json!([{"links": ["app"]}, {"links": ["web"]}]);
    assert_eq!(told_of("bridge", circle), "Container links should not have a cycle: web, app");
    let circle = json!([
        {"dependsOn": [{"containerName": "app", "condition": "START"}]},
        {"dependsOn": [{"containerName": "web", "condition": "START"}]},
    ]);
    assert_eq!(told_of("bridge", circle), "Container dependencies should not have a cycle: web, app");
    assert!(told("bridge", json!({"links": ["db"]})).starts_with("Link target not available: db"));
    assert!(told("bridge", json!({"links": ["a:b:c"]})).starts_with("Invalid link format"));
    assert!(
        told("bridge", json!({"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}))
            .starts_with("Unknown volume 'v'")
    );
    assert!(told("bridge", json!({"essential": false})).starts_with("At least one container"));
}
