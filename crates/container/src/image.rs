//! Images: from a `docker save` tar or an OCI layout to a directory that overlays lie on.
//!
//! skopeo turns whatever was given into an OCI layout, umoci unpacks its layers. The result is kept under the digest
//! of the image's configuration (what Docker calls the image id) and appears by one rename, so that a half-made one
//! is never seen. Which file led to which digest is remembered, so a second run starts neither program.

use crate::program::{self, ProgramError};
use netmode_model::Code;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long skopeo or umoci may work on one image.
const LIMIT: Duration = Duration::from_secs(600);

/// An image could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Nothing there.
    #[error(
        "the image {0:?} is neither a file nor an OCI layout on this host; make one with \"docker save -o FILE IMAGE\" and give its absolute path"
    )]
    NoSuchImage(String),
    /// There is something, but no image.
    #[error("{reference:?} is not an image that can be used: {why}; give a \"docker save\" tar or an OCI layout")]
    NotAnImage {
        /// As given.
        reference: String,
        /// The reason.
        why: String,
    },
    /// Made for other machines.
    #[error("the image {reference:?} is for {image} and this host is {host}; get the image for {host}")]
    WrongArchitecture {
        /// As given.
        reference: String,
        /// The image's operating system and architecture.
        image: String,
        /// This host's.
        host: String,
    },
    /// A program is missing or hangs.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The store could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl ImageError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Program(e) => e.code(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => Code::Limit,
            Self::File { .. } => Code::State,
            _ => Code::BadImage,
        }
    }
}

/// What an image says about the container made of it (OCI image-spec, `config`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `USER[:GROUP]`.
    pub user: Option<String>,
    /// `PORT/PROTOCOL` as keys.
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// `KEY=VALUE`.
    pub env: Option<Vec<String>>,
    /// Comes before the command.
    pub entrypoint: Option<Vec<String>>,
    /// The command, unless another is given.
    pub cmd: Option<Vec<String>>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Signal that asks it to end.
    pub stop_signal: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
}

/// An image ready to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of its configuration, `sha256:` and 64 hex digits.
    pub digest: String,
    /// What it says about the container.
    pub config: ImageConfig,
    /// Its files; never written to.
    pub rootfs: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Configuration {
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<ImageConfig>,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
}

/// What the store remembers of a file, to know it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Source {
    path: PathBuf,
    reference: String,
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Sources {
    /// Version of the format.
    v: u32,
    sources: Vec<(Source, String)>,
}

/// The images of this machine.
#[derive(Debug)]
pub(crate) struct ImageStore {
    dir: PathBuf,
    skopeo: String,
    umoci: String,
    sources: Mutex<()>,
    /// One lock per source: callers that want the same image wait for the first one.
    loading: Mutex<HashMap<Source, Arc<Mutex<()>>>>,
}

fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::File { doing, path, source }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ImageStore {
    pub(crate) fn new(dir: PathBuf, skopeo: String, umoci: String) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        // What an agent left half-made when it died.
        for entry in fs::read_dir(&dir)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("tmp-") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { dir, skopeo, umoci, sources: Mutex::default(), loading: Mutex::default() })
    }

    /// The image of a reference, unpacked now if it was not before.
    pub(crate) fn load(&self, reference: &str) -> Result<Image, ImageError> {
        let given = Given::parse(reference)?;
        if let Some(image) = self.known(&given.source) {
            return Ok(image);
        }
        let turn = Arc::clone(lock(&self.loading).entry(given.source.clone()).or_default());
        let made = {
            let _mine = lock(&turn);
            match self.known(&given.source) {
                Some(image) => Ok(image),
                None => self.unpack(reference, &given),
            }
        };
        lock(&self.loading).remove(&given.source);
        made
    }

    /// What was unpacked before of the same unchanged file.
    fn known(&self, source: &Source) -> Option<Image> {
        let digest = self.read_sources().sources.into_iter().find(|(s, _)| s == source)?.1;
        self.stored(&digest)
    }

    fn stored(&self, digest: &str) -> Option<Image> {
        let dir = self.dir.join(hex(digest)?);
        let config = serde_json::from_slice(&fs::read(dir.join("config.json")).ok()?).ok()?;
        Some(Image { digest: digest.into(), config, rootfs: dir.join("rootfs") })
    }

    fn read_sources(&self) -> Sources {
        // Only a cache: a torn file costs an unpacking.
        let text = fs::read(self.dir.join("sources.json")).unwrap_or_default();
        serde_json::from_slice(&text).ok().filter(|s: &Sources| s.v == 1).unwrap_or_default()
    }

    fn remember(&self, source: &Source, digest: &str) -> io::Result<()> {
        let _mine = lock(&self.sources);
        let mut all = self.read_sources();
        all.v = 1;
        all.sources.retain(|(s, _)| (&s.path, &s.reference) != (&source.path, &source.reference));
        all.sources.push((source.clone(), digest.into()));
        let temporary = self.dir.join("sources.json.new");
        fs::write(&temporary, serde_json::to_vec(&all)?)?;
        fs::rename(temporary, self.dir.join("sources.json"))
    }

    fn unpack(&self, reference: &str, given: &Given) -> Result<Image, ImageError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tmp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let work = self.dir.join(name);
        fs::create_dir(&work).map_err(file("create", &work))?;
        let made = self.unpack_in(&work, reference, given);
        let _ = fs::remove_dir_all(&work);
        let image = made?;
        self.remember(&given.source, &image.digest).map_err(file("write", &self.dir.join("sources.json")))?;
        Ok(image)
    }

    fn unpack_in(&self, work: &Path, reference: &str, given: &Given) -> Result<Image, ImageError> {
        self.copy(work, reference, given)?;
        let layout = work.join("layout");
        let (digest, configuration) = read_configuration(&layout).map_err(|why| not(reference, why))?;
        check_platform(reference, &configuration)?;
        if let Some(image) = self.stored(&digest) {
            return Ok(image);
        }
        let name = hex(&digest).ok_or_else(|| not(reference, "its digest is malformed"))?;
        let new = work.join("new");
        fs::create_dir(&new).map_err(file("create", &new))?;
        let mut command = program::command(&program::find(&self.umoci)?);
        let mut image = layout.clone().into_os_string();
        image.push(":image");
        command.args(["raw", "unpack", "--image"]).arg(image).arg(new.join("rootfs"));
        let output = program::run(command, &[], LIMIT)?;
        if !output.status.success() {
            return Err(not(reference, last_line(&output.text())));
        }
        let config = configuration.config.unwrap_or_default();
        let text = serde_json::to_vec(&config).map_err(|e| not(reference, e.to_string()))?;
        fs::write(new.join("config.json"), text).map_err(file("write", &new))?;
        let target = self.dir.join(name);
        match fs::rename(&new, &target) {
            // Another process was faster with the same content.
            Err(e) if !target.join("config.json").exists() => return Err(file("create", &target)(e)),
            _ => {}
        }
        self.stored(&digest).ok_or_else(|| not(reference, "it cannot be read back"))
    }

    /// Copies the image into `work/layout` as an OCI layout with the tag `image`.
    fn copy(&self, work: &Path, reference: &str, given: &Given) -> Result<(), ImageError> {
        // A link of a fixed name, so that no character of the user's path means anything to skopeo.
        let link = work.join("source");
        symlink(&given.source.path, &link).map_err(file("create", &link))?;
        let mut source = given.kind.transport().to_owned() + &link.to_string_lossy();
        if !given.source.reference.is_empty() {
            source = source + ":" + &given.source.reference;
        }
        let mut command = program::command(&program::find(&self.skopeo)?);
        // Large blobs go where the image goes, not into a small /var/tmp. The layers are compressed on the way:
        // skopeo 1.9 can leave it out, but calls them gzip all the same, and umoci believes it.
        command.env("TMPDIR", work).args(["--insecure-policy", "copy", "--quiet"]).arg(source);
        command.arg(format!("oci:{}:image", work.join("layout").display()));
        let output = program::run(command, &[], LIMIT)?;
        if output.status.success() { Ok(()) } else { Err(skopeo_error(reference, &output.text())) }
    }
}

fn not(reference: &str, why: impl Into<String>) -> ImageError {
    ImageError::NotAnImage { reference: reference.into(), why: why.into() }
}

fn skopeo_error(reference: &str, text: &str) -> ImageError {
    // A list without an entry for this machine: "no image found in manifest list for architecture ..."
    if text.contains("no image found in") {
        let host = host_platform();
        let image = "other architectures only".into();
        return ImageError::WrongArchitecture { reference: reference.into(), image, host };
    }
    not(reference, last_line(text))
}

/// The message of a log line such as `time="..." level=fatal msg="..."`, without the time.
fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no reason given");
    let message = line.split_once(" msg=").map_or(line, |(_, m)| m);
    let message = message.strip_prefix('"').and_then(|m| m.strip_suffix('"')).unwrap_or(message);
    // umoci marks its errors with a cross.
    message.trim_start_matches(|c: char| c.is_whitespace() || c == '⨯').replace("\\\"", "\"")
}

/// The digits of `sha256:…`, which are safe as a file name.
fn hex(digest: &str) -> Option<&str> {
    let digits = digest.strip_prefix("sha256:")?;
    (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digits)
}

fn read_configuration(layout: &Path) -> Result<(String, Configuration), String> {
    fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, String> {
        let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|e| e.to_string())
    }
    let blob = |digest: &str| hex(digest).map(|h| layout.join("blobs/sha256").join(h)).ok_or("its digest is malformed");
    let index: Index = read(&layout.join("index.json"))?;
    let manifest = index.manifests.first().ok_or("it holds no manifest")?;
    let manifest: Manifest = read(&blob(&manifest.digest)?)?;
    let configuration = read(&blob(&manifest.config.digest)?)?;
    Ok((manifest.config.digest, configuration))
}

/// The name that images have for this machine's architecture (Go's GOARCH).
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn host_platform() -> String {
    format!("linux/{}", host_architecture())
}

fn check_platform(reference: &str, configuration: &Configuration) -> Result<(), ImageError> {
    let os = if configuration.os.is_empty() { "linux" } else { &configuration.os };
    let image = format!("{os}/{}", configuration.architecture);
    let host = host_platform();
    // A 64-bit x86 machine runs 32-bit programs.
    let runs = image == host || (image == "linux/386" && host == "linux/amd64");
    if runs { Ok(()) } else { Err(ImageError::WrongArchitecture { reference: reference.into(), image, host }) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    DockerArchive,
    OciArchive,
    OciLayout,
}

impl Kind {
    /// What skopeo calls it (containers-transports(5)).
    fn transport(self) -> &'static str {
        match self {
            Self::DockerArchive => "docker-archive:",
            Self::OciArchive => "oci-archive:",
            Self::OciLayout => "oci:",
        }
    }
}

/// A reference taken apart, and the file found.
#[derive(Debug)]
struct Given {
    kind: Kind,
    source: Source,
}

impl Given {
    fn parse(text: &str) -> Result<Self, ImageError> {
        let missing = || ImageError::NoSuchImage(text.into());
        let transports = [Kind::DockerArchive, Kind::OciArchive, Kind::OciLayout];
        let named = transports.into_iter().find_map(|k| Some((k, text.strip_prefix(k.transport())?)));
        let (kind, rest) = named.map_or((None, text), |(k, r)| (Some(k), r));
        // The whole text first: a colon may be part of the path.
        let mut ends: Vec<usize> = vec![rest.len()];
        ends.extend(rest.match_indices(':').map(|(at, _)| at));
        let exists = |end: &&usize| rest.starts_with('/') && Path::new(&rest[..**end]).exists();
        let end = *ends.iter().find(exists).ok_or_else(missing)?;
        let path = PathBuf::from(&rest[..end]);
        let reference = rest[end..].trim_start_matches(':');
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
        if !reference.bytes().all(plain) {
            return Err(missing());
        }
        let kind = kind.map_or_else(|| guess(text, &path), Ok)?;
        let identity = if path.is_dir() { path.join("index.json") } else { path.clone() };
        let meta = fs::metadata(&identity).map_err(|_| not(text, "it has no index.json"))?;
        let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let (device, inode, size) = (meta.dev(), meta.ino(), meta.size());
        Ok(Self { kind, source: Source { path, reference: reference.into(), device, inode, size, modified_ns } })
    }
}

fn guess(text: &str, path: &Path) -> Result<Kind, ImageError> {
    if path.is_dir() {
        let is_layout = path.join("oci-layout").exists();
        return if is_layout { Ok(Kind::OciLayout) } else { Err(not(text, "the directory is not an OCI layout")) };
    }
    match tar_kind(path) {
        Ok(Some(kind)) => Ok(kind),
        Ok(None) => Err(not(text, "the file is not a tar archive of an image")),
        Err(e) => Err(file("read", path)(e)),
    }
}

/// Looks at the names in a tar (POSIX ustar: blocks of 512 bytes, size in octal at 124).
fn tar_kind(path: &Path) -> io::Result<Option<Kind>> {
    let mut tar = fs::File::open(path)?;
    let mut block = [0u8; 512];
    let mut kind = None;
    let mut first = true;
    while tar.read_exact(&mut block).is_ok() && block[0] != 0 {
        if first && block.starts_with(&[0x1f, 0x8b]) {
            // Compressed: skopeo unpacks it.
            return Ok(Some(Kind::DockerArchive));
        }
        first = false;
        let name = block[..100].split(|b| *b == 0).next().unwrap_or_default();
        match name.strip_prefix(b"./").unwrap_or(name) {
            b"manifest.json" => return Ok(Some(Kind::DockerArchive)),
            b"oci-layout" => kind = Some(Kind::OciArchive),
            _ => {}
        }
        let digits = String::from_utf8_lossy(&block[124..136]);
        let Ok(size) = i64::from_str_radix(digits.trim_matches(|c: char| !c.is_digit(8)), 8) else { break };
        tar.seek(SeekFrom::Current((size + 511) / 512 * 512))?;
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_reduced_to_its_message() {
        let line = r#"time="2022-01-01T00:00:00Z" level=fatal msg="open \"x\": no such file""#;
        assert_eq!(last_line(line), "open \"x\": no such file");
        assert_eq!(last_line("plain\n\n"), "plain");
        assert_eq!(last_line("   ⨯ create rootfs: broken"), "create rootfs: broken");
    }

    #[test]
    fn only_a_digest_names_a_directory() {
        assert_eq!(hex(&format!("sha256:{}", "a".repeat(64))), Some("a".repeat(64).as_str()));
        for bad in ["", "sha256:", "sha256:../../x", &"a".repeat(64)] {
            assert_eq!(hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn foreign_architectures_are_refused() {
        let made = |architecture: &str, os: &str| {
            let c = Configuration { architecture: architecture.into(), os: os.into(), config: None };
            check_platform("x.tar", &c)
        };
        assert!(made(host_architecture(), "linux").is_ok());
        assert!(made(host_architecture(), "").is_ok());
        assert_eq!(made("mips", "linux").unwrap_err().code(), Code::BadImage);
        assert!(made("amd64", "windows").unwrap_err().to_string().contains("windows/amd64"));
    }

    #[test]
    fn references_need_a_file() {
        for bad in ["nginx", "nginx:latest", "/nonexistent.tar", "docker-archive:x", "", ":"] {
            assert!(matches!(Given::parse(bad), Err(ImageError::NoSuchImage(_))), "{bad}");
        }
        assert!(matches!(Given::parse("/proc/self/status"), Err(ImageError::NotAnImage { .. })));
        assert!(matches!(Given::parse("/proc/self"), Err(ImageError::NotAnImage { .. })));
    }
}
