//! Bad input: one sentence, one code, and nothing is left.

use crate::lab::{Lab, lab, mounts_below, strings};
use netmode_container::{Config, Containers};
use netmode_model::Code;
use netmode_model::api::ContainerSpec;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

fn refused(lab: &Lab, edit: impl FnOnce(&mut ContainerSpec)) -> (Code, String) {
    let mut spec = lab.spec(&["true"]);
    edit(&mut spec);
    let error = lab.containers.prepare(&lab.new_container(&spec)).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    assert_eq!(lab.containers.list().unwrap(), [], "{text}");
    assert_eq!(mounts_below(&lab.dir), Vec::<String>::new(), "{text}");
    (error.code(), text)
}

#[tokio::test]
async fn bad_requests_name_the_object_and_change_nothing() {
    let lab = lab!("bad_requests_name_the_object_and_change_nothing");
    type Edit = fn(&mut ContainerSpec);
    let cases: [(Edit, Code, &str); 14] = [
        (|s| s.rootfs = Some("/nonexistent".into()), Code::NoSuchPath, "/nonexistent"),
        (|s| s.rootfs = Some("/etc/passwd".into()), Code::NoSuchPath, "not a directory"),
        (|s| s.volumes = strings(&["/nonexistent:/x"]), Code::NoSuchPath, "volume source"),
        (|s| s.command = strings(&["nope"]), Code::CommandNotFound, "nope"),
        (|s| s.command = strings(&["/plain"]), Code::CommandNotExecutable, "/plain"),
        (|s| s.command = strings(&["/etc"]), Code::CommandNotExecutable, "/etc"),
        (|s| s.user = Some("nobody".into()), Code::Invalid, "nobody"),
        (|s| s.user = Some("root:nogroup".into()), Code::Invalid, "nogroup"),
        (|s| s.cap_add = strings(&["FLY"]), Code::Invalid, "FLY"),
        (|s| s.ulimits = strings(&["wings=2"]), Code::Invalid, "wings"),
        (|s| s.security_opt = strings(&["apparmor=x"]), Code::Invalid, "apparmor"),
        (|s| s.security_opt = strings(&["seccomp=/nonexistent"]), Code::NoSuchPath, "seccomp profile"),
        (|s| s.workdir = Some("tmp".into()), Code::Invalid, "working directory"),
        (|s| (s.rootfs, s.user) = (Some("/".into()), Some("no-such-user".into())), Code::Invalid, "no-such-user"),
    ];
    for (edit, code, word) in cases {
        let (got, text) = refused(&lab, edit);
        assert_eq!(got, code, "{text}");
        assert!(text.contains(word), "{text}");
    }
}

#[tokio::test]
async fn what_a_volume_hides_is_found_by_the_runtime() {
    let lab = lab!("what_a_volume_hides_is_found_by_the_runtime");
    let data = lab.dir.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "x").unwrap();
    for (command, code) in [
        ("/data/nope", Code::CommandNotFound),
        ("nope", Code::CommandNotFound),
        ("/data/file", Code::CommandNotExecutable),
        ("/data", Code::CommandNotExecutable),
    ] {
        let mut spec = lab.spec(&[command]);
        spec.volumes = vec![format!("{}:/data", data.display())];
        let prepared = lab.containers.prepare(&lab.new_container(&spec)).unwrap();
        let error = lab.containers.create(&prepared).unwrap_err();
        assert_eq!(error.code(), code, "{command}: {error}");
        lab.containers.remove(prepared.id).unwrap();
    }
}

#[tokio::test]
async fn missing_programs_name_their_package() {
    let lab = lab!("missing_programs_name_their_package");
    let spec = lab.spec(&["true"]);
    let with = |edit: fn(&mut Config)| {
        let mut config = Lab::config(&lab.dir);
        edit(&mut config);
        let error = Containers::new(config).unwrap().prepare(&lab.new_container(&spec)).unwrap_err();
        assert_eq!(error.code(), Code::MissingProgram, "{error}");
        error.to_string()
    };
    assert!(with(|c| c.runtime = "/nonexistent/runc".into()).contains("install the package \"runc\""));
    assert!(with(|c| c.conmon = "/nonexistent/conmon".into()).contains("install the package \"conmon\""));
    let profile = with(|c| c.seccomp_profile = "/nonexistent.json".into());
    assert!(profile.contains("golang-github-containers-common"), "{profile}");
}

#[tokio::test]
async fn a_runtime_that_hangs_is_killed() {
    let lab = lab!("a_runtime_that_hangs_is_killed");
    let fake = lab.dir.join("hangs");
    fs::write(&fake, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let config =
        Config { runtime: fake.display().to_string(), timeout: Duration::from_millis(400), ..Lab::config(&lab.dir) };
    let containers = Containers::new(config).unwrap();
    let spec = lab.spec(&["true"]);
    let prepared = containers.prepare(&lab.new_container(&spec)).unwrap();
    let begin = Instant::now();
    let error = containers.create(&prepared).unwrap_err();
    assert_eq!(error.code(), Code::Runtime, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5));
    containers.remove(prepared.id).unwrap();
    assert_eq!(crate::lab::processes_with(&prepared.id.to_string()), Vec::<String>::new());
}
