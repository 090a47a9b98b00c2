//! What the store remembers: names, files, and what each image says of itself.

use super::archive::Source;
use super::{ImageError, Reference, hex};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName {
    /// In full: `docker.io/library/nginx:latest`.
    pub reference: String,
    /// The image.
    pub id: String,
    /// Digest of what the registry had under that name.
    pub digest: String,
}

/// An image as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Digest of its configuration.
    pub id: String,
    /// Its names, in order.
    pub names: Vec<ImageName>,
    /// Files that it was made of.
    pub files: Vec<PathBuf>,
    /// When it was built, RFC 3339, as it says itself.
    pub created: Option<String>,
    /// Bytes of its files.
    pub size: u64,
    /// `linux/amd64`.
    pub platform: String,
}

/// What is kept beside an image's files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct About {
    pub(super) v: u32,
    pub(super) created: Option<String>,
    pub(super) size: u64,
    pub(super) platform: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Names {
    /// Version of the format.
    v: u32,
    names: Vec<ImageName>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Sources {
    /// Version of the format.
    v: u32,
    sources: Vec<(Source, String)>,
}

/// The two files in which names and sources are kept. Whoever changes them holds the store's lock.
#[derive(Debug)]
pub(super) struct Books {
    dir: PathBuf,
}

impl Books {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The names; a file that cannot be understood is set aside: names can be fetched again.
    pub(super) fn names(&self) -> Vec<ImageName> {
        let path = self.dir.join("names.json");
        match read::<Names>(&path) {
            Ok(Some(names)) if names.v == 1 => names.names,
            Ok(None) => Vec::new(),
            unreadable => {
                let why = unreadable.err().map_or_else(|| "its version is another".into(), |e| e.to_string());
                let aside = path.with_extension("broken");
                tracing::error!(path = %path.display(), aside = %aside.display(), why, "the names of images are lost");
                let _ = fs::rename(&path, aside);
                Vec::new()
            }
        }
    }

    pub(super) fn set_names(&self, names: Vec<ImageName>) -> Result<(), ImageError> {
        write(&self.dir.join("names.json"), &Names { v: 1, names })
    }

    /// Which file led to which image. Only a cache: a torn one costs an unpacking.
    pub(super) fn sources(&self) -> Vec<(Source, String)> {
        let read = read::<Sources>(&self.dir.join("sources.json"));
        read.ok().flatten().filter(|s| s.v == 1).unwrap_or_default().sources
    }

    pub(super) fn set_sources(&self, sources: Vec<(Source, String)>) -> Result<(), ImageError> {
        write(&self.dir.join("sources.json"), &Sources { v: 1, sources })
    }

    /// Every image that is whole, those that were built last first.
    pub(super) fn images(&self) -> Result<Vec<StoredImage>, ImageError> {
        let (names, sources) = (self.names(), self.sources());
        let entries = fs::read_dir(&self.dir).map_err(ImageError::file("list", &self.dir))?;
        let ids = entries.flatten().filter_map(|e| {
            let id = format!("sha256:{}", e.file_name().to_str()?);
            hex(&id).is_some().then_some(id)
        });
        let mut images: Vec<StoredImage> = ids.filter_map(|id| self.image(id, &names, &sources)).collect();
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(images)
    }

    fn image(&self, id: String, names: &[ImageName], sources: &[(Source, String)]) -> Option<StoredImage> {
        let about = self.about(&id)?;
        let mut names: Vec<_> = names.iter().filter(|n| n.id == id).cloned().collect();
        names.sort_by(|a, b| a.reference.cmp(&b.reference));
        let files = sources.iter().filter(|(_, of)| *of == id).map(|(source, _)| source.path.clone()).collect();
        let About { created, size, platform, .. } = about;
        Some(StoredImage { id, names, files, created, size, platform })
    }

    /// What an image says of itself; nothing of one that is not there.
    fn about(&self, id: &str) -> Option<About> {
        let dir = self.dir.join(hex(id)?);
        // One that an older agent unpacked says nothing.
        dir.join("config.json").exists().then(|| read(&dir.join("about.json")).ok().flatten().unwrap_or_default())
    }

    /// The id that a name, or the beginning of an id, stands for.
    pub(super) fn find(&self, text: &str) -> Result<Option<String>, ImageError> {
        let names = self.names();
        let reference = Reference::parse(text);
        if let Ok(reference) = &reference {
            let is_it = |n: &&ImageName| {
                let full = reference.to_string();
                // By digest: also what was fetched by its tag.
                let digest = |d: &str| {
                    d == n.digest
                        && Reference::parse(&n.reference).is_ok_and(|r| r.repository() == reference.repository())
                };
                n.reference == full || reference.digest().is_some_and(digest)
            };
            if let Some(name) = names.iter().find(is_it) {
                return Ok(Some(name.id.clone()));
            }
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_id = (1..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id {
            return reference.map(|_| None);
        }
        let begins = |i: &StoredImage| i.id["sha256:".len()..].starts_with(&digits.to_ascii_lowercase());
        let mut fit = self.images()?.into_iter().filter(begins);
        match (fit.next(), fit.next()) {
            (Some(_), Some(_)) => Err(ImageError::Ambiguous(digits.into())),
            (found, _) => Ok(found.map(|i| i.id)),
        }
    }
}

/// A JSON file; `None` where there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes a JSON file that is there as a whole or not at all, also after a power cut.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), ImageError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(ImageError::file("write", path))
}

/// Bytes of the files below a directory; what has several names counts once.
pub(super) fn size_of(dir: &Path) -> u64 {
    let (mut size, mut seen, mut dirs) = (0, std::collections::HashSet::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if meta.nlink() < 2 || seen.insert((meta.dev(), meta.ino())) {
                size += meta.len();
            }
        }
    }
    size
}
