use super::*;

/// A home of its own, gone with the value.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netmode-home-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, file: &str, content: &Value) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.to_string()).unwrap();
    }

    fn credentials(&self) -> Credentials {
        let variables = [("HOME".to_string(), self.0.to_string_lossy().into_owned())].into();
        Credentials::of(&Caller { directory: "/".into(), variables }).unwrap()
    }

    fn found(&self, image: &str) -> Option<(String, String)> {
        let auth = self.credentials().find(&Reference::parse(image).unwrap()).unwrap()?;
        Some((auth.username, auth.password.expose().into()))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pair(user: &str, password: &str) -> Option<(String, String)> {
    Some((user.into(), password.into()))
}

#[test]
fn dockers_file_is_read_as_docker_does() {
    let home = Home::new("docker");
    let auth = |text: &str| json!({ "auth": BASE64.encode(text) });
    home.put(
        ".docker/config.json",
        &json!({"auths": {
            "https://index.docker.io/v1/": auth("hub:one:two"),
            "r.test:5000": auth("alice:secret\0\0"),
            "https://old.test/v1/": auth("old:pw"),
            "empty.test": {},
        }, "HttpHeaders": {"x": "y"}}),
    );
    assert_eq!(home.found("nginx"), pair("hub", "one:two"));
    assert_eq!(home.found("r.test:5000/app"), pair("alice", "secret"));
    assert_eq!(home.found("old.test/app"), pair("old", "pw"));
    for none in ["empty.test/app", "r.test/app", "other.test/app"] {
        assert_eq!(home.found(none), None, "{none}");
    }
}

#[test]
fn podmans_file_is_asked_next_and_may_be_of_a_part() {
    let home = Home::new("podman");
    let auth = |text: &str| json!({ "auth": BASE64.encode(text) });
    home.put(".docker/config.json", &json!({"auths": {"r.test": auth("docker:pw")}}));
    home.put(
        ".config/containers/auth.json",
        &json!({"auths": {"q.test": auth("all:pw"), "q.test/team": auth("team:pw"), "r.test": auth("podman:pw")}}),
    );
    assert_eq!(home.found("r.test/app"), pair("docker", "pw"));
    assert_eq!(home.found("q.test/team/app"), pair("team", "pw"));
    assert_eq!(home.found("q.test/other/app"), pair("all", "pw"));
}

#[test]
fn what_is_written_keeps_the_rest_and_is_the_owners_alone() {
    let home = Home::new("write");
    home.put(".docker/config.json", &json!({"HttpHeaders": {"x": "y"}, "auths": {"a.test": {"auth": "YTpi"}}}));
    let auth = RegistryAuth { username: "alice".into(), password: Secret::new("s"), ..RegistryAuth::default() };
    let path = home.0.join(".docker/config.json");
    assert_eq!(home.credentials().store("r.test", &auth).unwrap(), Kept::Plainly(path.clone()));
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(written["HttpHeaders"], json!({"x": "y"}));
    assert_eq!(home.found("r.test/x"), pair("alice", "s"));
    assert_eq!(home.found("a.test/x"), pair("a", "b"));
    assert!(home.credentials().erase("r.test").unwrap());
    assert!(!home.credentials().erase("r.test").unwrap());
    assert_eq!(home.found("r.test/x"), None);
    assert_eq!(home.found("a.test/x"), pair("a", "b"));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_broken_file_is_named_and_not_shown() {
    let home = Home::new("broken");
    fs::create_dir_all(home.0.join(".docker")).unwrap();
    fs::write(home.0.join(".docker/config.json"), "{\"auths\": {\"r.test\": {\"auth\": hunter2").unwrap();
    let variables = [("HOME".to_string(), home.0.to_string_lossy().into_owned())].into();
    let error = Credentials::of(&Caller { directory: "/".into(), variables }).err().unwrap();
    assert!(error.message.contains(".docker/config.json is no JSON: line 1"), "{error}");
    assert!(!error.message.contains("hunter2"));
}

#[test]
fn helpers_are_named_for_one_registry_or_for_all() {
    let file = json!({"credHelpers": {"r.test": "pass", "docker.io": "hub"}, "credsStore": "store"});
    assert_eq!(helper(&file, "r.test"), Some("pass"));
    assert_eq!(helper(&file, "docker.io"), Some("hub"));
    assert_eq!(helper(&file, "q.test"), Some("store"));
    assert_eq!(helper(&json!({"credsStore": ""}), "q.test"), None);
    let token = of_helper("x", br#"{"ServerURL":"q.test","Username":"<token>","Secret":"t"}"#).unwrap();
    assert_eq!((token.username.as_str(), token.identity_token.expose()), ("", "t"));
}

#[test]
fn nothing_of_a_password_is_in_debug() {
    let auth = RegistryAuth { username: "a".into(), password: Secret::new("hunter2"), ..RegistryAuth::default() };
    assert!(!format!("{auth:?}").contains("hunter2"));
}
