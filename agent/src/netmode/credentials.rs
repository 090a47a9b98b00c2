//! What docker, podman and netmode remember of registries: docker's config.json, its credential helpers, and
//! podman's auth.json.
//!
//! Read here, as the calling user, and sent with the one request that needs it: the agent looks into nobody's home.

use crate::caller::Caller;
use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use netmode_container::{Action, HelperError, Reference, credential_helper};
use netmode_model::image::RegistryAuth;
use netmode_model::{Code, Secret};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Failure>;

/// What docker calls its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The user name that says that the secret is a token (docker-credential-helpers).
const TOKEN: &str = "<token>";

/// Where the credentials of a login went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A helper has them.
    ByHelper,
    /// They stand in this file.
    Plainly(PathBuf),
}

/// The files of a user. Not to be shown: what docker has no helper for stands in them.
pub(crate) struct Credentials {
    /// Docker's, where logins are written.
    path: PathBuf,
    docker: Value,
    /// Podman's, in the order in which they are asked.
    podman: Vec<PathBuf>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

impl Credentials {
    /// Those of the caller: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    pub(crate) fn of(caller: &Caller) -> Result<Self> {
        let variable = |name: &str| caller.variables.get(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = variable("HOME").unwrap_or_else(|| "/".into());
        let path = variable("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker")).join("config.json");
        let uid = nix::unistd::Uid::current();
        let configs = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let podman = [
            variable("REGISTRY_AUTH_FILE"),
            variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            Some(format!("/run/containers/{uid}/auth.json").into()),
            Some(configs.join("containers/auth.json")),
        ];
        let docker = read(&path)?;
        Ok(Self { path, docker, podman: podman.into_iter().flatten().collect() })
    }

    /// What is sent to the registry of an image; nothing where nobody logged in.
    pub(crate) fn find(&self, reference: &Reference) -> Result<Option<RegistryAuth>> {
        let found = self.find_in(&self.docker, reference)?;
        if found.is_some() {
            return Ok(found);
        }
        for path in &self.podman {
            if let Some(auth) = self.find_in(&read(path)?, reference)? {
                return Ok(Some(auth));
            }
        }
        Ok(None)
    }

    fn find_in(&self, file: &Value, reference: &Reference) -> Result<Option<RegistryAuth>> {
        let registry = reference.registry();
        if let Some(helper) = helper(file, registry) {
            let key = keys(registry).remove(0);
            let answer = credential_helper(helper, Action::Get, &key).map_err(failed)?;
            return answer.map(|bytes| of_helper(helper, &bytes)).transpose();
        }
        let Some(auths) = file.get("auths").and_then(Value::as_object) else { return Ok(None) };
        // Podman's may be of a part of a registry: the longest is meant.
        let repository = reference.repository();
        let parts = repository.match_indices('/').map(|(at, _)| repository[..at].to_owned());
        let mut wanted: Vec<String> = parts.chain([repository.clone()]).filter(|part| part != registry).collect();
        wanted.reverse();
        wanted.extend(keys(registry));
        let entry = wanted.iter().find_map(|key| auths.get(key));
        // docker: a key that is an address is of its host.
        let of_host = || auths.iter().find(|(key, _)| host(key) == registry).map(|(_, entry)| entry);
        let entry = entry.or_else(of_host);
        Ok(entry.and_then(of_entry))
    }

    /// Keeps what a registry has accepted: a helper where the file names one, else the file itself.
    pub(crate) fn store(mut self, registry: &str, auth: &RegistryAuth) -> Result<Kept> {
        let key = keys(registry).remove(0);
        if let Some(helper) = helper(&self.docker, registry) {
            let secret = json!({"ServerURL": key, "Username": auth.username, "Secret": auth.password.expose()});
            credential_helper(helper, Action::Store, &secret.to_string()).map_err(failed)?;
            // docker leaves an empty entry, which says where somebody is logged in.
            self.auths()?.insert(key, json!({}));
            self.write()?;
            return Ok(Kept::ByHelper);
        }
        let pair = BASE64.encode(format!("{}:{}", auth.username, auth.password.expose()));
        self.auths()?.insert(key, json!({ "auth": pair }));
        self.write()?;
        Ok(Kept::Plainly(self.path))
    }

    /// Forgets a registry; says whether there was anything to forget.
    pub(crate) fn erase(mut self, registry: &str) -> Result<bool> {
        let mut was_there = false;
        if let Some(helper) = helper(&self.docker, registry) {
            let key = keys(registry).remove(0);
            was_there = credential_helper(helper, Action::Get, &key).map_err(failed)?.is_some();
            if was_there {
                credential_helper(helper, Action::Erase, &key).map_err(failed)?;
            }
        }
        let auths = self.auths()?;
        let before = auths.len();
        auths.retain(|key, _| host(key) != registry);
        if auths.len() != before {
            was_there = true;
            self.write()?;
        }
        Ok(was_there)
    }

    fn auths(&mut self) -> Result<&mut Map<String, Value>> {
        let bad = Failure::invalid(format!("{}: \"auths\" is no object; correct the file", self.path.display()));
        let file = self.docker.as_object_mut();
        let auths = file.map(|file| file.entry("auths").or_insert_with(|| json!({})));
        auths.and_then(Value::as_object_mut).ok_or(bad)
    }

    /// As a whole, for its owner's eyes only; a link stays a link.
    fn write(&self) -> Result<()> {
        let failed = |e: io::Error| Failure::new(Code::State, format!("cannot write {}: {e}", self.path.display()));
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let new = dir.join(format!(".config.json.{}", std::process::id()));
        let written = || -> io::Result<()> {
            let mut file = File::options().create_new(true).write(true).mode(0o600).open(&new)?;
            file.write_all(serde_json::to_string_pretty(&self.docker)?.as_bytes())?;
            file.sync_all()?;
            // What sudo writes stays its owner's.
            if let Ok(before) = path.metadata() {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            fs::rename(&new, &path)
        };
        written().map_err(|error| {
            let _ = fs::remove_file(&new);
            failed(error)
        })
    }
}

/// A file of credentials; an empty one where there is none.
fn read(path: &Path) -> Result<Value> {
    let text = match fs::read(path) {
        Ok(text) => text,
        // A home that others may not enter is as good as none (sudo -u).
        Err(e)
            if [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied, io::ErrorKind::NotADirectory]
                .contains(&e.kind()) =>
        {
            return Ok(json!({}));
        }
        Err(e) => return Err(Failure::new(Code::NoSuchPath, format!("cannot read {}: {e}", path.display()))),
    };
    let value: std::result::Result<Value, _> = serde_json::from_slice(&text);
    match value {
        Ok(value) if value.is_object() => Ok(value),
        // No words of the parser's: they might show what stands in the file.
        Ok(_) => Err(Failure::invalid(format!("{} is no JSON object; correct or remove it", path.display()))),
        Err(e) => {
            let (line, column) = (e.line(), e.column());
            let text = format!("{} is no JSON: line {line}, column {column}; correct or remove it", path.display());
            Err(Failure::invalid(text))
        }
    }
}

/// The helper of a registry, if there is one.
fn helper<'a>(file: &'a Value, registry: &str) -> Option<&'a str> {
    let helpers = file.get("credHelpers");
    let own = keys(registry).into_iter().find_map(|key| helpers?.get(key)?.as_str());
    own.or_else(|| file.get("credsStore")?.as_str()).filter(|name| !name.is_empty())
}

/// How a registry is called in the files; the first one is what is written.
fn keys(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" => vec![DOCKER_HUB.into(), "docker.io".into(), "index.docker.io".into()],
        other => vec![other.into(), format!("https://{other}"), format!("https://{other}/v1/")],
    }
}

/// The registry that a key means: docker's `ConvertToHostname`.
fn host(key: &str) -> &str {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    let host = key.split('/').next().unwrap_or(key);
    if ["index.docker.io", "registry-1.docker.io"].contains(&host) { "docker.io" } else { host }
}

/// `{"auth": BASE64("USER:PASSWORD"), "identitytoken": …}`; an empty one says nothing.
fn of_entry(entry: &Value) -> Option<RegistryAuth> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let decoded = BASE64.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let pair = decoded.split_once(':').unwrap_or((text("username"), text("password")));
    let auth = RegistryAuth {
        username: pair.0.into(),
        // docker ends some of them with zero bytes.
        password: Secret::new(pair.1.trim_end_matches('\0')),
        identity_token: Secret::new(text("identitytoken")),
    };
    (auth != RegistryAuth::default()).then_some(auth)
}

fn of_helper(helper: &str, bytes: &[u8]) -> Result<RegistryAuth> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|_| {
        let text = format!("the credential helper docker-credential-{helper} answered something that is no answer");
        Failure::invalid(text + "; log in again")
    })?;
    Ok(match answer.username.as_str() {
        TOKEN => RegistryAuth { identity_token: answer.secret, ..RegistryAuth::default() },
        _ => RegistryAuth { username: answer.username, password: answer.secret, ..RegistryAuth::default() },
    })
}

fn failed(error: HelperError) -> Failure {
    let code = match &error {
        HelperError::Missing(_) => Code::MissingProgram,
        HelperError::Refused { .. } => Code::RegistryDenied,
        HelperError::Program(e) => e.code(),
    };
    Failure::new(code, error.to_string())
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
