//! Images made on the spot: a `docker save` tar and an OCI layout.

use crate::lab::{Lab, lab, make_root, soon, strings};
use netmode_model::Code;
use netmode_model::api::ContainerSpec;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sha256(path: &Path) -> String {
    tool("sha256sum", &[path.to_str().unwrap()]).split(' ').next().unwrap().to_owned()
}

fn tar(file: &Path, dir: &Path) {
    tool("tar", &["-C", dir.to_str().unwrap(), "-cf", file.to_str().unwrap(), "."]);
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// A `docker save` tar of two layers; the second one takes `/plain` and all of `/old` away.
fn docker_save(lab: &Lab, name: &str, architecture: &str) -> PathBuf {
    let work = lab.dir.join(name);
    let (one, two, out) = (work.join("one"), work.join("two"), work.join("out"));
    make_root(&one);
    fs::create_dir_all(one.join("old")).unwrap();
    fs::write(one.join("old/thing"), "").unwrap();
    fs::create_dir_all(two.join("old")).unwrap();
    fs::write(two.join("old/.wh..wh..opq"), "").unwrap();
    fs::write(two.join("old/new"), "").unwrap();
    fs::write(two.join(".wh.plain"), "").unwrap();
    fs::create_dir_all(&out).unwrap();
    let layers: Vec<String> = [&one, &two]
        .iter()
        .map(|dir| {
            let file = work.join("layer.tar");
            tar(&file, dir);
            let digest = sha256(&file);
            fs::rename(&file, out.join(format!("{digest}.tar"))).unwrap();
            digest
        })
        .collect();
    let ids: Vec<String> = layers.iter().map(|d| format!("sha256:{d}")).collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids},
        "config": {"Env": ["PATH=/bin", "FROM=image"], "Entrypoint": ["sh", "-c"], "Cmd": ["echo default"],
                   "WorkingDir": "/work", "User": "web", "ExposedPorts": {"80/tcp": {}}},
    });
    let path = work.join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    let config_name = format!("{}.json", sha256(&path));
    fs::rename(&path, out.join(&config_name)).unwrap();
    let files: Vec<String> = layers.iter().map(|d| format!("{d}.tar")).collect();
    let manifest: Value = json!([{"Config": config_name, "RepoTags": ["test:latest"], "Layers": files}]);
    fs::write(out.join("manifest.json"), manifest.to_string()).unwrap();
    let saved = lab.dir.join(format!("{name}.tar"));
    tar(&saved, &out);
    saved
}

fn spec(image: impl ToString, command: &[&str]) -> ContainerSpec {
    ContainerSpec { image: Some(image.to_string()), command: strings(command), ..Default::default() }
}

#[tokio::test]
async fn a_saved_image_runs_as_it_says() {
    let lab = lab!("a_saved_image_runs_as_it_says");
    let saved = docker_save(&lab, "image", architecture());
    let name = saved.display().to_string();
    assert_eq!(lab.run(&spec(&name, &[])).await.1, "default\n");
    let line = "id -u; pwd; echo $FROM; ls /old; ls /plain";
    let (_, out, err) = lab.run(&spec(&name, &[line])).await;
    assert_eq!(out, "33\n/work\nimage\nnew\n");
    assert!(err.contains("/plain"), "{err}");
    let image = lab.containers.image(&name).unwrap();
    assert_eq!(image.config.exposed_ports.unwrap().keys().collect::<Vec<_>>(), ["80/tcp"]);
    // What one container writes, no other one sees.
    let mut root = spec(&name, &["touch /mark; ls /mark"]);
    root.user = Some("0".into());
    assert_eq!(lab.run(&root).await.1, "/mark\n");
    root.command = strings(&["ls /mark"]);
    assert_ne!(lab.run(&root).await.0, 0);
    assert!(!image.rootfs.join("mark").exists());
    // But the same one finds it again when it is started again.
    root.command = strings(&["ls /mark; touch /mark"]);
    let new = lab.new_container(&root);
    for _ in 0..2 {
        let prepared = lab.containers.prepare(&new).unwrap();
        lab.containers.create(&prepared).unwrap();
        lab.containers.start(new.id).unwrap();
        soon(lab.containers.wait(new.id)).await.unwrap();
        let (_, err) = lab.output(new.id, None).await;
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    assert_eq!(lab.output(new.id, None).await.0, "/mark\n");
}

#[tokio::test]
async fn the_same_content_is_unpacked_once() {
    let lab = lab!("the_same_content_is_unpacked_once");
    let saved = docker_save(&lab, "image", architecture()).display().to_string();
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let (containers, saved) = (lab.containers.clone(), saved.clone());
            std::thread::spawn(move || containers.image(&saved).unwrap())
        })
        .collect();
    let images: Vec<_> = calls.into_iter().map(|c| c.join().unwrap()).collect();
    assert!(images.iter().all(|i| *i == images[0]));
    let kept = fs::read_dir(lab.dir.join("state/images")).unwrap().flatten();
    let names: Vec<String> = kept.map(|e| e.file_name().into_string().unwrap()).collect();
    assert_eq!(names.iter().filter(|n| *n != "sources.json").count(), 1, "{names:?}");
    // Known without the programs, by a new agent too.
    let config = netmode_container::Config { skopeo: "/nonexistent/skopeo".into(), ..Lab::config(&lab.dir) };
    let next = netmode_container::Containers::new(config).unwrap();
    assert_eq!(next.image(&saved).unwrap(), images[0]);
    let copy = lab.dir.join("copy.tar");
    fs::copy(&saved, &copy).unwrap();
    let error = next.image(copy.to_str().unwrap()).unwrap_err();
    assert!(error.to_string().contains("package \"skopeo\""), "{error}");
}

#[tokio::test]
async fn an_oci_layout_runs() {
    let lab = lab!("an_oci_layout_runs");
    let saved = docker_save(&lab, "image", architecture());
    let layout = lab.dir.join("layout");
    let from = format!("docker-archive:{}", saved.display());
    tool("skopeo", &["--insecure-policy", "copy", "-q", &from, &format!("oci:{}:v1", layout.display())]);
    for name in [format!("{}", layout.display()), format!("oci:{}:v1", layout.display())] {
        assert_eq!(lab.run(&spec(&name, &["echo $FROM"])).await.1, "image\n", "{name}");
    }
    let archive = lab.dir.join("layout.tar");
    tar(&archive, &layout);
    assert_eq!(lab.run(&spec(archive.display(), &["echo $FROM"])).await.1, "image\n");
}

#[tokio::test]
async fn other_machines_images_and_other_files_are_refused() {
    let lab = lab!("other_machines_images_and_other_files_are_refused");
    let refuse_as = |code: Code, name: &str| {
        let spec = spec(name, &["true"]);
        let error = lab.containers.prepare(&lab.new_container(&spec)).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(lab.containers.list().unwrap(), []);
        error.to_string()
    };
    let refuse = |name: &str| refuse_as(Code::BadImage, name);
    let foreign = docker_save(&lab, "foreign", "s390x");
    let text = refuse(foreign.to_str().unwrap());
    assert!(text.contains("linux/s390x") && text.contains(architecture()), "{text}");
    assert!(refuse_as(Code::NoSuchImage, "nginx").contains("netmode pull nginx"));
    assert!(refuse_as(Code::NoSuchPath, "/nonexistent.tar").contains("docker save"));
    let text = lab.dir.join("text.tar");
    fs::write(&text, "no image").unwrap();
    assert!(refuse(text.to_str().unwrap()).contains("not a tar archive"));
    let broken = lab.dir.join("broken.tar");
    fs::write(&broken, &fs::read(&foreign).unwrap()[..300_000]).unwrap();
    refuse(broken.to_str().unwrap());
    refuse(&lab.root());
    let left = fs::read_dir(lab.dir.join("state/images")).unwrap().flatten();
    assert!(left.into_iter().all(|e| !e.file_name().to_string_lossy().starts_with("tmp-")));
}
