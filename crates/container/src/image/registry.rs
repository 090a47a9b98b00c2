//! Images from registries, fetched by skopeo.
//!
//! skopeo finds the authorities that an administrator trusts in `/etc/docker/certs.d` and `/etc/containers/certs.d`,
//! and mirrors and registries without TLS in `/etc/containers/registries.conf`. It learns who asks from a file of
//! ours that lives as long as the call; it never sees a user's home.

use super::store::{ImageStore, Scratch};
use super::{ImageError, Reference, unpack};
use crate::layout::write_private;
use crate::program;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use netmode_model::image::{PullPhase, PullProgress, Pulled, RegistryAuth};
use serde::Deserialize;
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long the fetching of one image may take in all.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long a registry may take for a small answer.
const ANSWER: Duration = Duration::from_secs(120);

/// Who is told how far it has come; a no ends the work.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(PullProgress) -> bool;

/// What of the agent's environment skopeo (Go's net/http, crypto/x509) may know.
const PASSED_ON: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A manifest or a list of them, as far as it is needed here (OCI image-spec; schema 1 has none of it).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    manifests: Vec<Entry>,
    config: Blob,
    layers: Vec<Blob>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Blob {
    size: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    digest: String,
    platform: Platform,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Platform {
    os: String,
    architecture: String,
}

/// One conversation with a registry: what skopeo may know while it lasts.
struct Caller<'a> {
    store: &'a ImageStore,
    registry: &'a str,
    has_auth: bool,
    home: Scratch,
}

impl ImageStore {
    pub(crate) fn pull(
        &self,
        reference: &Reference,
        auth: Option<&RegistryAuth>,
        watch: Watch<'_>,
    ) -> Result<Pulled, ImageError> {
        let caller = Caller::new(self, reference.registry(), auth)?;
        self.in_turn(&format!("pull {reference}"), || self.pull_alone(reference, &caller, watch))
    }

    fn pull_alone(&self, reference: &Reference, caller: &Caller<'_>, watch: Watch<'_>) -> Result<Pulled, ImageError> {
        let name = reference.to_string();
        let (manifest, digest) = caller.manifest(&name, reference, watch)?;
        // skopeo does not look at this when it only shows a manifest.
        if reference.digest().is_some_and(|wanted| wanted != digest) {
            return Err(ImageError::not(&name, "what the registry sent has another digest"));
        }
        let pulled = |id: String, digest: String, fresh| Pulled { reference: name.clone(), id, digest, fresh };
        if let Some(known) = self.named(reference).filter(|known| known.digest == digest) {
            return Ok(pulled(known.id, digest, false));
        }
        // What was looked at is what is fetched, whatever the tag means by then.
        let pinned = |digest: &str| format!("{}@{digest}", reference.repository());
        let (source, manifest) = match manifest.manifests.is_empty() {
            true => (pinned(&digest), manifest),
            false => {
                let source = pinned(&manifest.of_this_host(&name)?);
                let manifest = caller.manifest(&source, reference, watch)?.0;
                (source, manifest)
            }
        };
        let work = self.scratch(&self.dir)?;
        let total = manifest.config.size + manifest.layers.iter().map(|l| l.size).sum::<u64>();
        let mut told = |done| watch(PullProgress { phase: PullPhase::Downloading, done, total });
        caller.copy(&source, &name, &work.0, total, &mut told)?;
        let mut go_on = || watch(PullProgress { phase: PullPhase::Unpacking, done: total, total });
        go_on();
        let image = self.unpack(&work.0, &name, &mut go_on)?;
        self.name(reference, &image, &digest)?;
        Ok(pulled(image.digest, digest, true))
    }

    pub(crate) fn login(&self, registry: &str, auth: &RegistryAuth) -> Result<(), ImageError> {
        let caller = Caller::new(self, registry, None)?;
        let mut command = caller.skopeo()?;
        command.arg("login").arg("--authfile").arg(caller.authfile());
        command.arg(format!("--username={}", auth.username)).args(["--password-stdin", registry]);
        let fed = program::feed(&mut command, auth.password.expose().as_bytes());
        fed.map_err(ImageError::file("write to", Path::new("skopeo")))?;
        let output = program::run(command, &[], ANSWER)?;
        if output.status.success() {
            return Ok(());
        }
        Err(classify(&output.text(), registry, "the login", true))
    }
}

impl Manifest {
    /// The digest of the entry for this machine.
    fn of_this_host(&self, reference: &str) -> Result<String, ImageError> {
        let host = unpack::host_architecture();
        let fits = |e: &&Entry| e.platform.os == "linux" && e.platform.architecture == host;
        if let Some(entry) = self.manifests.iter().find(fits) {
            return Ok(entry.digest.clone());
        }
        let mut all: Vec<String> = self.manifests.iter().map(|e| e.platform.name()).collect();
        all.retain(|name| name != "unknown/unknown");
        all.dedup();
        let image = all.join(", ").chars().take(200).collect();
        Err(ImageError::WrongArchitecture { reference: reference.into(), image, host: unpack::host_platform() })
    }
}

impl Platform {
    fn name(&self) -> String {
        format!("{}/{}", self.os, self.architecture)
    }
}

impl<'a> Caller<'a> {
    fn new(store: &'a ImageStore, registry: &'a str, auth: Option<&RegistryAuth>) -> Result<Self, ImageError> {
        let home = store.scratch(&store.registry)?;
        let caller = Self { store, registry, has_auth: auth.is_some(), home };
        let auths = auth.map_or_else(|| json!({}), |auth| json!({ registry: entry(auth) }));
        let path = caller.authfile();
        let text = json!({ "auths": auths }).to_string();
        write_private(&path, text.as_bytes()).map_err(|e| ImageError::File {
            doing: "write",
            path,
            source: std::io::Error::other(e.to_string()),
        })?;
        Ok(caller)
    }

    fn authfile(&self) -> std::path::PathBuf {
        self.home.0.join("auth.json")
    }

    fn skopeo(&self) -> Result<Command, ImageError> {
        let mut command = program::command(&program::find(&self.store.skopeo)?);
        command.env("HOME", &self.home.0).env("XDG_RUNTIME_DIR", &self.home.0).env("TMPDIR", &self.home.0);
        command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        Ok(command)
    }

    /// What the registry has under a name, and the digest of that.
    fn manifest(&self, name: &str, reference: &Reference, watch: Watch<'_>) -> Result<(Manifest, String), ImageError> {
        let mut command = self.skopeo()?;
        command.args(["inspect", "--raw", "--authfile"]).arg(self.authfile()).arg(format!("docker://{name}"));
        let mut go_on = || watch(PullProgress { phase: PullPhase::Resolving, done: 0, total: 0 });
        let output = program::run_watched(command, &[], ANSWER, &mut go_on)?;
        if !output.status.success() {
            return Err(self.failed(&output.text(), &reference.to_string()));
        }
        let file = self.home.0.join("manifest");
        fs::write(&file, &output.stdout).map_err(ImageError::file("write", &file))?;
        let mut command = self.skopeo()?;
        command.arg("manifest-digest").arg(&file);
        let digest = program::run(command, &[], ANSWER)?;
        let manifest = serde_json::from_slice(&output.stdout);
        match (manifest, digest.status.success()) {
            (Ok(manifest), true) => Ok((manifest, String::from_utf8_lossy(&digest.stdout).trim().to_owned())),
            _ => Err(ImageError::not(&reference.to_string(), "its manifest is none")),
        }
    }

    /// Fetches an image into `work/layout` as an OCI layout with the tag `image`.
    fn copy(
        &self,
        source: &str,
        name: &str,
        work: &Path,
        total: u64,
        told: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ImageError> {
        let mut command = self.skopeo()?;
        // Which signatures are wanted is the administrator's word (containers-policy.json(5)), if there is one.
        if !Path::new("/etc/containers/policy.json").exists() {
            command.arg("--insecure-policy");
        }
        let layout = work.join("layout");
        command.env("TMPDIR", work).args(["copy", "--quiet", "--src-authfile"]).arg(self.authfile());
        command.arg(format!("docker://{source}")).arg(format!("oci:{}:image", layout.display()));
        let mut go_on = || told(fetched(&layout).min(total));
        let output = program::run_watched(command, &[], LONGEST, &mut go_on)?;
        if output.status.success() { Ok(()) } else { Err(self.failed(&output.text(), name)) }
    }

    fn failed(&self, text: &str, name: &str) -> ImageError {
        unpack::other_platforms(name, text)
            .or_else(|| self.store.full(name, text))
            .unwrap_or_else(|| classify(text, self.registry, name, self.has_auth))
    }
}

/// What docker's config.json has for a registry; skopeo reads the same.
fn entry(auth: &RegistryAuth) -> serde_json::Value {
    let pair = BASE64.encode(format!("{}:{}", auth.username, auth.password.expose()));
    if auth.identity_token.is_empty() {
        return json!({ "auth": pair });
    }
    json!({ "auth": pair, "identitytoken": auth.identity_token.expose() })
}

/// Bytes that are here: finished blobs, and those that skopeo is writing.
fn fetched(layout: &Path) -> u64 {
    let sizes = |dir: &Path| -> u64 {
        let files = fs::read_dir(dir).into_iter().flatten().flatten();
        let unfinished = |name: &OsStr| !["index.json", "oci-layout"].iter().any(|n| name == *n);
        let files = files.filter(|e| unfinished(&e.file_name()));
        files.filter_map(|e| e.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
    };
    sizes(layout) + sizes(&layout.join("blobs/sha256"))
}

/// What skopeo's words mean. What the caller named is taken out of them first: it may hold any word.
fn classify(text: &str, registry: &str, what: &str, has_auth: bool) -> ImageError {
    let line = without_queries(&unpack::last_line(text));
    let words = line.replace(what, "").replace(what.rsplit_once([':', '@']).map_or(what, |(name, _)| name), "");
    let words = words.replace(registry, "").to_lowercase();
    let any = |all: &[&str]| all.iter().any(|w| words.contains(w));
    let registry = registry.to_owned();
    // The reason is what comes last: before it stand names and addresses.
    let why = || line.rsplit_once("\": ").map_or(line.as_str(), |(_, why)| why).to_owned();
    if any(&["x509:", "certificate"]) {
        return ImageError::Certificate { registry, why: why() };
    }
    if any(&[
        "unauthorized",
        "authentication required",
        "invalid username/password",
        "denied",
        "status 403",
        "(forbidden)",
    ]) {
        let what = what.to_owned();
        return if has_auth {
            ImageError::Denied { registry, what }
        } else {
            ImageError::LoginNeeded { registry, what }
        };
    }
    if any(&["manifest unknown", "name unknown", "not found", "status 404"]) {
        return ImageError::NotThere { reference: what.into(), registry };
    }
    ImageError::Registry { registry, why: why() }
}

/// Addresses without what follows the question mark: registries put signatures there that open their stores.
fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, piece) in text.split("://").enumerate() {
        let end = piece.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(piece.len());
        let query = piece[..end].find('?').filter(|_| n > 0);
        if n > 0 {
            out.push_str("://");
        }
        match query {
            Some(at) => out.extend([&piece[..at], &piece[end..]]),
            None => out.push_str(piece),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmode_model::Code;

    /// In skopeo 1.9's words.
    #[test]
    fn what_skopeo_says_is_understood() {
        let name = "r.test:5000/p/app:1";
        let said = |rest: &str, has_auth| {
            let text =
                format!("time=\"x\" level=fatal msg=\"Error parsing image name \\\"docker://{name}\\\": {rest}\"");
            classify(&text, "r.test:5000", name, has_auth)
        };
        let read = "reading manifest 1 in r.test:5000/p/app";
        let get = "pinging container registry r.test:5000: Get \\\"https://r.test:5000/v2/\\\"";
        for (words, has_auth, code, part) in [
            (
                format!("{read}: unauthorized: authentication required"),
                false,
                Code::RegistryDenied,
                "netmode login r.test:5000",
            ),
            (format!("{read}: unauthorized: authentication required"), true, Code::RegistryDenied, "does not accept"),
            (format!("{read}: manifest unknown: manifest unknown"), true, Code::NoSuchImage, name),
            (
                format!("{get}: x509: certificate signed by unknown authority"),
                true,
                Code::RegistryCertificate,
                "unknown authority",
            ),
            (
                format!("{get}: dial tcp [::1]:5001: connect: connection refused"),
                true,
                Code::RegistryFailed,
                ": dial tcp",
            ),
        ] {
            let error = said(&words, has_auth);
            assert_eq!(error.code(), code, "{words}");
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }

    #[test]
    fn a_name_that_holds_a_word_of_errors_is_a_name() {
        let name = "r.test/denied/x509:unauthorized";
        let text = format!(
            "Error parsing image name \"docker://{name}\": reading manifest unauthorized in r.test/denied/x509: manifest unknown"
        );
        assert_eq!(
            classify(&text, "r.test", "r.test/denied/x509:other", true).code(),
            Code::RegistryDenied,
            "a control"
        );
        let text = text.replace("manifest unauthorized in", "manifest in");
        assert_eq!(classify(&text, "r.test", name, true).code(), Code::NoSuchImage);
    }

    #[test]
    fn addresses_lose_their_signatures() {
        let text = "Get \"https://s3.example/blob?X-Sig=abc&y=1\": dial tcp: timeout, see http://h/p?q";
        assert_eq!(without_queries(text), "Get \"https://s3.example/blob\": dial tcp: timeout, see http://h/p");
        assert_eq!(without_queries("why? nothing"), "why? nothing");
    }

    #[test]
    fn the_entry_is_dockers() {
        let auth =
            RegistryAuth { username: "a".into(), password: netmode_model::Secret::new("b:c"), ..Default::default() };
        assert_eq!(entry(&auth), json!({"auth": "YTpiOmM="}));
    }

    #[test]
    fn of_a_list_this_hosts_entry_is_taken() {
        let list = |arch: &str| -> Manifest {
            let text = json!({"manifests": [
                {"digest": "sha256:1", "platform": {"os": "linux", "architecture": "mips"}},
                {"digest": "sha256:2", "platform": {"os": "linux", "architecture": arch}},
                {"digest": "sha256:3", "platform": {"os": "unknown", "architecture": "unknown"}}]});
            serde_json::from_value(text).unwrap()
        };
        assert_eq!(list(unpack::host_architecture()).of_this_host("x").unwrap(), "sha256:2");
        let error = list("vax").of_this_host("x").unwrap_err();
        assert!(error.to_string().contains("linux/mips, linux/vax and"), "{error}");
    }
}
