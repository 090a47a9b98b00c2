use super::*;
use crate::compose::request;
use netmode_model::Name;
use netmode_model::api::{NetworkRef, RunRequest, TaskState};
use request::{Step, label};

fn caller() -> Caller {
    let variables = [("TAG", "1.27"), ("HOME", "/home/me"), ("TOKEN", "x")];
    Caller { directory: "/srv/shop".into(), variables: variables.map(|(k, v)| (k.into(), v.into())).into() }
}

fn read(text: &str) -> Result<Project> {
    Project::read("compose.yaml", text, Names { given: None, directory: "Shop" }, &caller())
}

/// A file with one service, whose keys are these lines.
fn service(lines: &str) -> Result<Project> {
    read(&format!("services:\n  web:\n    image: nginx\n{}", indented(lines, 4)))
}

fn indented(lines: &str, by: usize) -> String {
    lines.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

fn requested(project: &Project, service: &str) -> RunRequest {
    let service = project.services.iter().find(|s| s.name == service).unwrap();
    request::task(project, service).unwrap()
}

#[test]
fn a_service_becomes_a_task() {
    let project = read(
        r#"
version: "3"
x-env: &env {A: "1", B: two words}
services:
  web:
    image: "nginx:${TAG}"
    command: nginx -g 'daemon off;'
    entrypoint: ["/entry", "x"]
    environment: {<<: *env, C: 3, TOKEN: null, GONE: null}
    ports: ["8080:80", 443, "127.0.0.1:5353:53/udp"]
    volumes: ["./conf:/etc/nginx:ro", "~/data:/data", "/srv:/srv"]
    depends_on: {app: {condition: service_started}}
    networks: {default: , back: {aliases: [www, web], ipv4_address: null}}
    hostname: www.example
    restart: on-failure:3
    working_dir: /srv
    user: 1000
    labels: ["a=b", "c"]
  app:
    image: ./app.tar
    container_name: the-app
    environment: [TOKEN, "D=$$x"]
    networks: [back]
    restart: no
    x-anything: {at: all}
networks:
  back: {internal: true, ipam: {config: [{subnet: 10.9.0.0/16, gateway: 10.9.0.1}]}}
"#,
    )
    .unwrap();
    assert_eq!(project.name, "shop");
    assert_eq!(project.notes, ["compose.yaml: version is obsolete and ignored; take it out"]);
    let names: Vec<_> = project.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["app", "web"], "what is needed comes first");

    let web = requested(&project, "web");
    assert_eq!(web.name.as_ref().map(Name::as_str), Some("shop-web-1"));
    assert_eq!(web.network, NetworkRef::Named("shop_default".into()));
    assert_eq!(web.networks, ["shop_back"]);
    assert_eq!(web.net.network_aliases, ["web", "www"]);
    assert_eq!(web.net.hostname.as_deref(), Some("www.example"));
    assert_eq!(web.net.ports.iter().map(ToString::to_string).collect::<Vec<_>>().len(), 3);
    let spec = &web.container;
    assert_eq!(spec.image.as_deref(), Some("nginx:1.27"));
    assert_eq!(spec.command, ["nginx", "-g", "daemon off;"]);
    assert_eq!(spec.entrypoint.as_deref(), Some(&["/entry".to_owned(), "x".to_owned()][..]));
    assert_eq!(spec.env, ["A=1", "B=two words", "C=3", "TOKEN=x"]);
    assert_eq!(spec.volumes, ["/srv/shop/conf:/etc/nginx:ro", "/home/me/data:/data", "/srv:/srv"]);
    assert_eq!(spec.restart.map(|p| p.to_string()).as_deref(), Some("on-failure:3"));
    assert_eq!((spec.workdir.as_deref(), spec.user.as_deref()), (Some("/srv"), Some("1000")));
    assert_eq!((spec.labels["a"].as_str(), spec.labels["c"].as_str()), ("b", ""));
    assert_eq!((spec.labels[label::PROJECT].as_str(), spec.labels[label::SERVICE].as_str()), ("shop", "web"));
    assert_eq!(spec.labels[label::DEPENDS_ON], "app:service_started:false");

    let app = requested(&project, "app");
    assert_eq!(app.name.as_ref().map(Name::as_str), Some("the-app"));
    assert_eq!(app.network, NetworkRef::Named("shop_back".into()));
    assert_eq!(app.container.image.as_deref(), Some("/srv/shop/app.tar"));
    assert_eq!(app.container.env, ["D=$x", "TOKEN=x"]);

    let back = project.networks.iter().find(|n| n.key == "back").unwrap();
    let made = request::network("shop", back).unwrap();
    assert_eq!(made.name.as_ref().map(Name::as_str), Some("shop_back"));
    assert!(made.internal && made.subnets.len() == 1 && made.gateways.len() == 1);
    assert_eq!(made.labels[label::PROJECT], "shop");
}

#[test]
fn a_project_has_the_networks_that_its_services_use() {
    let keys = |text: &str| -> Vec<(String, bool)> {
        read(text).unwrap().networks.into_iter().map(|n| (n.name, n.external)).collect()
    };
    assert_eq!(keys("services: {a: {image: x}}"), [("shop_default".into(), false)]);
    assert_eq!(
        keys("{services: {a: {image: x, networks: [n, o]}}, networks: {n: , o: {external: true}, unused: }}"),
        [("shop_n".into(), false), ("o".into(), true)]
    );
    assert_eq!(
        keys("{services: {a: {image: x}}, networks: {default: {name: lan, external: true}}}"),
        [("lan".into(), true)]
    );
}

#[test]
fn ports_are_published_where_they_can_be() {
    let text = "{services: {a: {image: x, networks: [back, front]}, b: {image: x, networks: {back: {ipv4_address: 10.9.0.9}, \
                front: }}}, networks: {back: {internal: true}, front: }}";
    let project = read(text).unwrap();
    let (a, b) = (requested(&project, "a"), requested(&project, "b"));
    assert_eq!((a.network, a.networks), (NetworkRef::Named("shop_front".into()), vec!["shop_back".into()]));
    assert_eq!((b.network, b.networks), (NetworkRef::Named("shop_back".into()), vec!["shop_front".into()]));
    assert_eq!(b.net.ip.map(|ip| ip.to_string()).as_deref(), Some("10.9.0.9"));
}

#[test]
fn further_keys_are_those_of_run() {
    let project = service(
        "cap_add: [NET_RAW]\ncap_drop: [ALL]\nread_only: true\ninit: 'true'\ntmpfs: /run\nsysctls: {net.core.somaxconn: 9}\n\
         dns_search: a.example\nextra_hosts: {db: 192.0.2.1, gw: host-gateway}",
    );
    let request = requested(&project.unwrap(), "web");
    let (spec, net) = (&request.container, &request.net);
    assert_eq!((&spec.cap_add[..], &spec.cap_drop[..]), (&["NET_RAW".to_owned()][..], &["ALL".to_owned()][..]));
    assert!(spec.read_only && spec.init);
    assert_eq!((spec.tmpfs[0].as_str(), net.sysctls["net.core.somaxconn"].as_str()), ("/run", "9"));
    assert_eq!(net.dns_search, ["a.example"]);
    assert_eq!(net.add_hosts, ["db:192.0.2.1", "gw:host-gateway"]);
}

#[test]
fn names_of_projects_come_from_flag_file_and_directory() {
    let named = |given, text: &str| {
        let names = Names { given, directory: "My Shop" };
        Project::read("f", text, names, &caller()).map(|p| p.name).map_err(|e| e.message)
    };
    assert_eq!(named(Some("other"), "{name: inside, services: {a: {image: x}}}").unwrap(), "other");
    assert_eq!(named(None, "{name: 'inside${TAG:+-x}', services: {a: {image: x}}}").unwrap(), "inside-x");
    assert_eq!(named(None, "services: {a: {image: x}}").unwrap(), "myshop");
    assert!(named(Some("Big"), "services: {a: {image: x}}").unwrap_err().contains("\"Big\""));
}

#[test]
fn what_is_wanted_is_what_is_started() {
    let text = "services: {web: {image: x, depends_on: [app]}, app: {image: x}, job: {image: x, networks: [n]}}\n\
                networks: {n: }";
    let mut project = read(text).unwrap();
    project.narrow(&["web".into()]).unwrap();
    assert_eq!(project.services.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["app", "web"]);
    assert_eq!(project.networks.iter().map(|n| n.key.as_str()).collect::<Vec<_>>(), ["default"]);
    let error = project.narrow(&["gone".into()]).unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert!(error.message.contains("web, app, job") || error.message.contains("app, web, job"), "{error}");
}

/// Every refusal names service and key, and what to do.
#[test]
fn bad_files_are_refused_by_name() {
    for (text, words) in [
        ("- a", &["compose.yaml", "services:"][..]),
        ("a: [", &["compose.yaml", "no YAML"]),
        ("services: {a: {image: x}}\nservices: {}", &["no YAML", "duplicate"]),
        ("networks: {}", &["no services"]),
        ("services: {}", &["no services"]),
        ("services: {'a b': {image: x}}", &["\"a b\"", "name of a service"]),
        ("services: {a: {command: x}}", &["service a", "no image"]),
        ("services: {a: {x-netmode-rootfs: /}}", &["service a", "command"]),
        ("services: {a: x}", &["service a", "KEY: VALUE"]),
        (
            "services: {a: {image: x}}\nvolumes: \nsecrets: {s: {file: x}}",
            &["compose.yaml: secrets", "not supported", "mount"],
        ),
        ("services: {a: {image: x, depends_on: [b]}}", &["service a: depends_on", "\"b\""]),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}", &["a → b → a", "depends_on"]),
        ("services: {a: {image: x, networks: [n]}}", &["service a: networks", "\"n\"", "networks:"]),
        ("services: {a: {image: x}}\nnetworks: {n: {driver: overlay}}", &["network n: driver", "overlay", "bridge"]),
        ("services: {a: {image: x}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0}]}}}", &["subnet", "10.0.0.0"]),
        ("services: {a: {image: x}}\nnetworks: {n: {external: true, internal: true}}", &["network n", "external"]),
        ("services: {a: {image: '${X:?needs a tag}'}}", &["variable X", "needs a tag"]),
        ("services: {a: {image: 'x$'}}", &["\"x$\"", "$$"]),
    ] {
        let message = read(text).unwrap_err().message;
        assert!(words.iter().all(|word| message.contains(word)), "{text}\n{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn bad_keys_of_a_service_are_refused_by_name() {
    for (lines, words, code) in [
        ("build: .", &["service web: build", "image"][..], Code::Unsupported),
        ("healthcheck: {test: x}", &["service web: healthcheck", "take it out"], Code::Unsupported),
        ("imaeg: x", &["service web: imaeg", "not supported"], Code::Unsupported),
        ("ports: [{target: 80}]", &["service web: ports", "long form", "8080:80"], Code::Unsupported),
        ("ports: ['80:x']", &["service web: ports", "80:x"], Code::InvalidPort),
        ("ports: 80", &["service web: ports", "list"], Code::Invalid),
        (
            "volumes: ['data:/data']",
            &["service web: volumes", "named volume \"data\"", "./data:/data"],
            Code::Unsupported,
        ),
        ("volumes: ['/data']", &["without a source", "./DIRECTORY:/data"], Code::Unsupported),
        ("volumes: ['./a:/b:ro,z']", &["service web: volumes", "\"ro,z\"", "write ro"], Code::Unsupported),
        ("volumes: ['./a:b']", &["service web: volumes", "absolute"], Code::Invalid),
        ("depends_on: {web: {condition: service_healthy}}", &["service_healthy", "service_started"], Code::Unsupported),
        ("depends_on: {web: {required: false}}", &["depends_on", "required"], Code::Unsupported),
        ("depends_on: [web]", &["web → web"], Code::Invalid),
        ("restart: sometimes", &["service web: restart", "sometimes", "unless-stopped"], Code::Invalid),
        ("working_dir: srv", &["service web: working_dir", "absolute"], Code::Invalid),
        ("container_name: 'a b'", &["service web: container_name", "a b"], Code::Invalid),
        ("command: \"a 'b\"", &["service web: command", "quote"], Code::Invalid),
        ("environment: ['a b=1']", &["service web: environment", "a b"], Code::Invalid),
        ("env_file: gone.env", &["service web: env_file", "gone.env"], Code::Invalid),
        ("networks: {default: {priority: 1}}", &["service web: networks", "priority", "aliases"], Code::Unsupported),
        ("x-netmode-rootfs: /", &["service web", "exclude each other"], Code::Invalid),
        ("extra_hosts: [db]", &["service web: extra_hosts", "\"db\"", "NAME:ADDRESS"], Code::Invalid),
        ("read_only: perhaps", &["service web: read_only", "true or false"], Code::Invalid),
        ("hostname: ''", &["service web: hostname", "empty"], Code::Invalid),
    ] {
        let failure = service(lines).unwrap_err();
        assert!(words.iter().all(|word| failure.message.contains(word)), "{lines}\n{failure}");
        assert_eq!(failure.code, code, "{lines}\n{failure}");
    }
}

#[test]
fn keys_without_effect_are_told_and_unset_variables_too() {
    let project = service("expose: [80]\nx-mine: 1\ncommand: echo $GONE\nhostname:").unwrap();
    assert_eq!(project.notes.len(), 2, "{:?}", project.notes);
    assert!(project.notes[0].contains("GONE"));
    assert!(project.notes[1].starts_with("service web: expose has no effect"));
}

#[test]
fn an_env_file_is_read_and_overridden() {
    let directory = std::env::temp_dir().join(format!("netmode-compose-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("a.env"), "A=1\nB=\"$TAG\" # tag\nC=3\n").unwrap();
    let caller = Caller { directory: directory.clone(), ..caller() };
    let text = "services: {a: {image: x, env_file: [a.env, {path: gone, required: false}], environment: {C: 4}}}";
    let project = Project::read("f", text, Names { given: None, directory: "d" }, &caller).unwrap();
    assert_eq!(project.services[0].container.env, ["A=1", "B=1.27", "C=4"]);
    std::fs::write(directory.join("a.env"), "A 1=2\n").unwrap();
    let failure = Project::read("f", text, Names { given: None, directory: "d" }, &caller).unwrap_err();
    assert!(failure.message.contains("a.env, line 1"), "{failure}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_change_of_the_service_changes_its_hash_alone() {
    let hash = |lines: &str| requested(&service(lines).unwrap(), "web").container.labels[label::HASH].clone();
    assert_eq!(hash("ports: [80]"), hash("# a comment\nports: ['80']\nx-note: 1"));
    let all = ["", "ports: [80]", "command: x", "environment: [A=1]", "entrypoint: []", "labels: {a: b}", "user: me"];
    let hashes: BTreeSet<String> = all.iter().map(|lines| hash(lines)).collect();
    assert_eq!(hashes.len(), all.len());
}

#[test]
fn what_up_does_follows_from_what_is_there() {
    use TaskState::{Pending, Running, Stopped, Stopping};
    for (there, same, force, step) in [
        (None, false, false, Step::Create),
        (Some((Running, false)), true, false, Step::Keep),
        (Some((Running, false)), true, true, Step::Replace),
        (Some((Running, false)), false, false, Step::Replace),
        (Some((Stopped, false)), true, false, Step::Start),
        (Some((Stopped, true)), true, false, Step::Keep),
        (Some((Pending, false)), true, false, Step::Start),
        (Some((Stopping, false)), true, false, Step::Replace),
        (Some((Stopped, false)), false, false, Step::Replace),
    ] {
        assert_eq!(request::step(there, same, force), step, "{there:?} {same} {force}");
    }
}
