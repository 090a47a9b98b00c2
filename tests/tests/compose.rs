//! Compose files: networks, tasks, order, change, end. The feature table, row 69.

use netmode_model::error::Code;
use netmode_tests::lab::address::*;
use netmode_tests::{Lab, Output, eventually, tcp};
use serde_json::Value;

/// Where the project lies: its name is `shop`.
const FILE: &str = "/srv/shop/compose.yaml";

const SHOP: &str = r#"
services:
  web:
    x-netmode-rootfs: /
    command: probe serve --tag web tcp/80
    ports: ["${WEB_PORT:-8080}:80"]
    depends_on: [app]
  app:
    x-netmode-rootfs: /
    command: ["probe", "serve", "--tag", "app", "tcp/8000"]
    environment: {GREETING: "hello $$you"}
    networks: {default: , back: {aliases: [backend]}}
networks:
  back: {internal: true, ipam: {config: [{subnet: 10.77.0.0/24}]}}
"#;

fn lab(file: &str) -> Lab {
    let lab = Lab::start();
    lab.write(FILE, file);
    lab
}

fn compose(lab: &Lab, words: &[&str]) -> Output {
    lab.netmode(&[&["compose", "--file", FILE], words].concat())
}

fn ps(lab: &Lab) -> Vec<Value> {
    compose(lab, &["ps", "-a", "-o", "json"]).success().json().as_array().cloned().unwrap_or_default()
}

fn id(lab: &Lab, task: &str) -> String {
    lab.inspect(task)["id"].as_str().unwrap_or_default().to_owned()
}

fn networks(lab: &Lab) -> Vec<String> {
    let all = lab.json(&["network", "ls"]);
    all.as_array().into_iter().flatten().filter_map(|n| n["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn up_makes_networks_and_tasks_and_down_removes_them() {
    let lab = lab(SHOP);
    let up = compose(&lab, &["up", "-d"]).success();
    assert_eq!(up.stdout, "", "{up:#?}");
    for line in ["network shop_default made", "network shop_back made", "app: shop-app-1 started", "web: shop-web-1"] {
        assert!(up.stderr.contains(line), "{line} in {up:#?}");
    }
    assert!(up.stderr.find("shop-app-1") < up.stderr.find("shop-web-1"), "what is needed comes first: {up:#?}");

    let web = lab.inspect("shop-web-1");
    assert_eq!(web["networks"][0]["name"], "shop_default");
    assert_eq!(web["labels"]["com.docker.compose.project"], "shop");
    assert_eq!(web["labels"]["com.docker.compose.service"], "web");
    assert!(lab.address_on("shop-app-1", "shop_back", "ipv4Addresses").starts_with("10.77.0."));
    assert_eq!(lab.json(&["network", "inspect", "shop_back"])[0]["Internal"], true);
    let greeting = lab.netmode(&["exec", "shop-app-1", "sh", "-c", "echo $GREETING"]).success();
    assert_eq!(greeting.stdout.trim(), "hello $you");

    lab.ready("shop-web-1");
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))).map(|s| s.tag).as_deref(), Ok("web"));
    let to_app = format!("{}:8000", lab.address_on("shop-app-1", "shop_default", "ipv4Addresses"));
    lab.ready("shop-app-1");
    assert_eq!(lab.inside("shop-web-1").who(tcp(to_app)).map(|s| s.tag).as_deref(), Ok("app"));

    let listed = compose(&lab, &["ps"]).success().stdout;
    assert!(listed.contains("shop-web-1") && listed.contains("8080->80/tcp"), "{listed}");
    assert_eq!(ps(&lab).len(), 2);
    assert_eq!(compose(&lab, &["ps", "-q", "app"]).success().stdout.lines().count(), 1);

    lab.task("stranger", &[], &["sleep", "1000"]);
    let down = compose(&lab, &["down", "-t", "1"]).success();
    assert!(down.stderr.find("shop-web-1 removed") < down.stderr.find("shop-app-1 removed"), "{down:#?}");
    assert_eq!(networks(&lab), ["bridge"]);
    let left = lab.json(&["ps", "-a"]);
    assert_eq!(left.as_array().map(Vec::len), Some(1), "the stranger stays: {left}");
    compose(&lab, &["down"]).success();
}

#[test]
fn up_again_leaves_what_is_unchanged_and_replaces_what_is_not() {
    let lab = lab(SHOP);
    compose(&lab, &["up", "-d"]).success();
    let ids = ["shop-web-1", "shop-app-1"].map(|task| id(&lab, task));
    let again = compose(&lab, &["up", "-d"]).success();
    assert!(again.stderr.contains("shop-web-1 runs already"), "{again:#?}");
    assert_eq!(["shop-web-1", "shop-app-1"].map(|task| id(&lab, task)), ids);

    lab.write(FILE, &SHOP.replace("--tag web", "--tag web-2"));
    compose(&lab, &["up", "-d"]).success();
    assert_ne!(id(&lab, "shop-web-1"), ids[0]);
    assert_eq!(id(&lab, "shop-app-1"), ids[1]);
    lab.ready("shop-web-1");
    assert_eq!(lab.at("client").who(tcp(format!("{HOST}:8080"))).map(|s| s.tag).as_deref(), Ok("web-2"));

    // By a variable of the shell, and by one of .env, which the shell's overrides.
    lab.write("/srv/shop/.env", "WEB_PORT=8082\n");
    compose(&lab, &["up", "-d"]).success();
    assert_eq!(lab.host_port("shop-web-1", "tcp"), 8082);
    lab.netmode_with(&["compose", "-f", FILE, "up", "-d"], "", &[("WEB_PORT", "8083")]).success();
    assert_eq!(lab.host_port("shop-web-1", "tcp"), 8083);

    // One that was stopped is started, not made anew.
    lab.netmode(&["stop", "-t", "0", "shop-app-1"]).success();
    compose(&lab, &["up", "-d", "app"]).success();
    assert_eq!(id(&lab, "shop-app-1"), ids[1]);
    compose(&lab, &["up", "-d", "--force-recreate", "app"]).success();
    assert_ne!(id(&lab, "shop-app-1"), ids[1]);

    // A service that has gone from the file is told, and removed when that is wanted.
    let alone = SHOP.replace("  web:", "  x-web:").replace("depends_on: [app]", "");
    let alone = alone.replace("  x-web:", "  other:").replace("8080", "8090").replace("WEB_PORT", "OTHER_PORT");
    lab.write(FILE, &alone);
    let warned = compose(&lab, &["up", "-d"]).success();
    assert!(warned.stderr.contains("--remove-orphans") && warned.stderr.contains("shop-web-1"), "{warned:#?}");
    compose(&lab, &["up", "-d", "--remove-orphans"]).success();
    let names: Vec<_> = ps(&lab).iter().map(|t| t["name"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(names, ["shop-app-1", "shop-other-1"]);
}

#[test]
fn projects_live_side_by_side() {
    let lab = lab(SHOP);
    compose(&lab, &["up", "-d"]).success();
    let other = |words: &[&str]| {
        let words = [&["compose", "-f", FILE, "-p", "other"], words].concat();
        lab.netmode_with(&words, "", &[("WEB_PORT", "8081")])
    };
    // The subnet of a network belongs to one of them.
    other(&["up", "-d"]).refused(1, &["10.77.0.0/24", "shop_back"]);
    lab.write(FILE, &SHOP.replace("10.77.0.0/24", "10.78.0.0/24"));
    other(&["up", "-d"]).success();
    assert_eq!(ps(&lab).len(), 2);
    let all = lab.json(&["ps"]);
    assert_eq!(all.as_array().map(Vec::len), Some(4));
    // Neither flag nor file: by the name alone.
    lab.netmode(&["compose", "-p", "other", "down", "-t", "0"]).success();
    assert_eq!(ps(&lab).len(), 2);
    // A network that was made from another text is not mended by the way.
    compose(&lab, &["up", "-d"]).refused(1, &["shop_back", "down"]);
}

#[test]
fn the_file_is_found_and_named_as_docker_does() {
    let lab = Lab::start();
    let up = |directory: &str| lab.run(&["sh", "-c", &format!("cd {directory} && netmode compose up -d -q")]);
    lab.sh("mkdir -p /srv/empty");
    up("/srv/empty").refused(1, &["compose.yaml", "/srv/empty", "--file"]);
    lab.write(
        "/srv/Old.Shop/docker-compose.yml",
        "version: '3'\nservices: {a: {x-netmode-rootfs: /, command: sleep 9}}",
    );
    let told = up("/srv/Old.Shop").success();
    assert!(told.stderr.contains("version is obsolete"), "{told:#?}");
    assert!(networks(&lab).contains(&"oldshop_default".to_owned()));
    lab.write("/srv/Old.Shop/compose.yaml", "name: new\nservices: {b: {x-netmode-rootfs: /, command: sleep 9}}");
    up("/srv/Old.Shop").success();
    assert_eq!(lab.inspect("new-b-1")["state"], "RUNNING");
    let names = [("COMPOSE_PROJECT_NAME", "third")];
    lab.netmode_with(&["compose", "up", "-d", "-f", "/srv/Old.Shop/compose.yaml"], "", &names).success();
    assert_eq!(lab.inspect("third-b-1")["state"], "RUNNING");
}

#[test]
fn a_failed_up_says_which_service_and_what_stands() {
    let lab = lab(SHOP);
    lab.serve("owner", &["-p", "8080:80"], &["tcp/80"]);
    compose(&lab, &["up", "-d", "-q"]).refused(1, &["service web", "8080", "owner", "service app;", "-p shop down"]);
    compose(&lab, &["up", "-d", "-o", "json"]).refused_with(1, Code::PortTaken);
    assert_eq!(lab.inspect("shop-app-1")["state"], "RUNNING");
    lab.netmode(&["rm", "-f", "owner"]).success();
    compose(&lab, &["up", "-d"]).success();
    compose(&lab, &["up", "-d", "gone"]).refused(1, &["\"gone\"", "web", "app"]);
    compose(&lab, &["logs", "gone"]).refused(1, &["\"gone\"", "shop"]);
}

#[test]
fn a_file_that_cannot_be_served_changes_nothing() {
    let lab = lab(SHOP);
    for (find, replace, words) in [
        ("depends_on: [app]", "build: .", &["service web", "build", "image"][..]),
        ("depends_on: [app]", "depends_on: {app: {condition: service_healthy}}", &["service_healthy", "service web"]),
        ("environment:", "enviroment:", &["service app", "enviroment", "not supported"]),
        ("{internal: true", "{driver: overlay", &["network back", "overlay"]),
        ("networks: {default: , back: {aliases: [backend]}}", "depends_on: [web]", &["web → app → web"]),
        ("8080", "eighty", &["service web", "eighty:80"]),
    ] {
        assert!(SHOP.contains(find), "{find}");
        lab.write(FILE, &SHOP.replacen(find, replace, 1));
        compose(&lab, &["up", "-d"]).refused(1, words);
    }
    lab.write(FILE, &SHOP.replace("{internal: true, ipam: {config: [{subnet: 10.77.0.0/24}]}}", "{external: true}"));
    compose(&lab, &["up", "-d", "-q"]).refused(1, &["network back", "external", "netmode network create back"]);
    lab.netmode(&["network", "create", "shop_default"]).success();
    lab.write(FILE, SHOP);
    compose(&lab, &["up", "-d", "-q"]).refused(1, &["shop_default", "netmode network rm", "external: true"]);
    compose(&lab, &["up", "-d", "-o", "json"]).refused_with(1, Code::NameTaken);
    assert_eq!(lab.json(&["ps", "-a"]), serde_json::json!([]));
    lab.netmode(&["compose", "sideways"]).refused(2, &["sideways"]);
}

#[test]
fn an_external_network_is_joined_and_left() {
    let file = "services: {a: {x-netmode-rootfs: /, command: sleep 99, networks: [lan]}}\n\
                networks: {lan: {external: true, name: office}}";
    let lab = lab(file);
    lab.netmode(&["network", "create", "--subnet", "10.66.0.0/24", "office"]).success();
    compose(&lab, &["up", "-d"]).success();
    assert!(lab.address_on("shop-a-1", "office", "ipv4Addresses").starts_with("10.66.0."));
    compose(&lab, &["down", "-t", "0"]).success();
    assert_eq!(networks(&lab), ["bridge", "office"]);
}

/// An image whose configuration says what runs, as `layout:app` beside the file.
const LAYOUT: &str = "
set -eu
mkdir -p /srv/shop /tmp/root/bin /tmp/root/etc && cd /srv/shop
cp /bin/busybox /usr/local/bin/probe /tmp/root/bin/ && ln -s busybox /tmp/root/bin/env
echo 'app:x:1234:1235::/:/bin/sh' >/tmp/root/etc/passwd
umoci init --layout layout && umoci new --image layout:app && umoci insert --image layout:app /tmp/root /
umoci config --image layout:app --config.env COLOR=red --config.entrypoint /bin/probe --config.cmd serve --config.cmd tcp/80
";

#[test]
fn an_image_runs_as_its_configuration_and_the_file_say() {
    let lab = Lab::with().first(LAYOUT).start();
    let file = "services:\n  web: {image: 'oci:layout:app', ports: [80]}\n  \
                shown:\n    image: oci:layout:app\n    entrypoint: [/bin/env]\n    user: app\n    working_dir: /tmp\n    \
                env_file: shown.env\n    environment: [SIZE=large]\n    restart: no\n";
    lab.write(FILE, file);
    lab.write("/srv/shop/shown.env", "SIZE=small\nSHAPE='a $circle' # round\n");
    compose(&lab, &["up", "-d"]).success();
    lab.ready("shop-web-1");
    let port = lab.host_port("shop-web-1", "tcp");
    assert!(lab.at("client").who(tcp(format!("{HOST}:{port}"))).is_ok());
    eventually("it has ended", 5.0, || lab.inspect("shop-shown-1")["state"] == "STOPPED");
    let shown = compose(&lab, &["logs", "--no-log-prefix", "shown"]).success().stdout;
    for line in ["COLOR=red", "SIZE=large", "SHAPE=a $circle"] {
        assert!(shown.lines().any(|l| l == line), "{line} in {shown}");
    }
    assert_eq!(compose(&lab, &["ps", "-q"]).success().stdout.lines().count(), 1, "what has ended is shown by -a");
    assert_eq!(ps(&lab).len(), 2);
}

#[test]
fn logs_have_the_name_of_their_service() {
    let file = "services:\n  web: {x-netmode-rootfs: /, command: \"sh -c 'echo one; echo two >&2; sleep 99'\"}\n  \
                worker: {x-netmode-rootfs: /, command: \"sh -c 'echo three; echo four; sleep 99'\"}";
    let lab = lab(file);
    compose(&lab, &["up", "-d"]).success();
    eventually("both have written", 5.0, || {
        let out = compose(&lab, &["logs"]).success();
        out.stdout.contains("four") && out.stderr.contains("two")
    });
    let all = compose(&lab, &["logs"]).success();
    assert_eq!(all.stdout, "web-1     | one\nworker-1  | three\nworker-1  | four\n");
    assert_eq!(all.stderr, "web-1     | two\n");
    assert_eq!(compose(&lab, &["logs", "--no-log-prefix", "-n", "1", "worker"]).success().stdout, "four\n");
    let pid = lab.spawn(&["netmode", "compose", "--file", FILE, "logs", "-f", "web"], "/run/followed.log");
    eventually("it follows", 5.0, || lab.read("/run/followed.log").contains("web-1  | one"));
    assert_eq!(lab.reap(pid, 300), None, "goes on");
    compose(&lab, &["down", "-t", "0"]).success();
    assert_eq!(lab.reap(pid, 5000), Some(0), "until the task ends");
}

#[test]
fn up_in_the_foreground_prints_and_stops_at_ctrl_c() {
    let lab = lab("services: {web: {x-netmode-rootfs: /, command: \"sh -c 'echo here; exec sleep 99'\"}}");
    let pid = lab.spawn(&["netmode", "compose", "-f", FILE, "up"], "/run/up.log");
    eventually("it prints", 10.0, || lab.read("/run/up.log").contains("web-1  | here"));
    lab.sh(&format!("kill -INT {pid}"));
    // The first process of a namespace gets no signal that it does not handle: it would be killed after 10 s.
    eventually("it is about to stop", 5.0, || lab.read("/run/up.log").contains("stopping shop"));
    assert_eq!(lab.reap(pid, 500), None, "{}", lab.read("/run/up.log"));
    lab.sh(&format!("kill -INT {pid}"));
    assert_eq!(lab.reap(pid, 5000), Some(130), "{}", lab.read("/run/up.log"));
    assert_eq!(lab.inspect("shop-web-1")["state"], "STOPPED");
    assert!(networks(&lab).contains(&"shop_default".to_owned()), "down removes it");

    // Where every service ends by itself, so does up.
    lab.write(FILE, "services: {web: {x-netmode-rootfs: /, command: echo done}}");
    let ended = compose(&lab, &["up"]).success();
    assert_eq!(ended.stdout, "web-1  | done\n", "{ended:#?}");
}

const NGINX: &str = "
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server { listen 80; location / { proxy_pass http://gunicorn:8000; } }
}
";

const APP: &str = "
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [('by name: ' + environ['HTTP_HOST'] + environ['PATH_INFO'] + '\\n').encode()]
";

#[test]
fn row_69_services_reach_each_other_by_name_on_a_network_that_makes_itself() {
    let lab = lab(r#"
services:
  nginx:
    x-netmode-rootfs: /
    command: ["nginx", "-c", "/site/nginx.conf", "-g", "daemon off;"]
    volumes: ["./site:/site:ro"]
    ports: ["80:80"]
    depends_on: [gunicorn]
  gunicorn:
    x-netmode-rootfs: /
    command: gunicorn --chdir /app --bind 0.0.0.0:8000 app:app
    volumes: ["./app:/app:ro"]
    networks: {default: {aliases: [upstream]}}
"#);
    lab.write("/srv/shop/site/nginx.conf", NGINX);
    lab.write("/srv/shop/app/app.py", APP);
    compose(&lab, &["up", "-d"]).success();
    assert!(networks(&lab).contains(&"shop_default".to_owned()), "made by itself");
    let url = format!("http://{HOST}/hello");
    let ask = || lab.at("client").run(&["curl", "-sS", "--max-time", "3", &url]);
    eventually("nginx reaches gunicorn by its name", 15.0, || ask().stdout.contains("by name"));
    assert_eq!(ask().success().stdout, "by name: gunicorn:8000/hello\n");
    let address = lab.address_on("shop-gunicorn-1", "shop_default", "ipv4Addresses");
    for name in ["gunicorn", "upstream", "shop-gunicorn-1"] {
        let named = lab.netmode(&["exec", "shop-nginx-1", "getent", "hosts", name]).success();
        assert!(named.stdout.starts_with(&address), "{name}: {named:#?}");
    }
    // The published port leads to nginx alone.
    assert!(lab.at("client").who(tcp(format!("{HOST}:8000"))).is_err());
    compose(&lab, &["down", "-t", "1"]).success();
    assert_eq!(networks(&lab), ["bridge"]);
}
