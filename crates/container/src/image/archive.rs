//! Images in files: `docker save` tars, OCI archives and OCI layouts.

use super::ImageError;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the store remembers of a file, to know it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) reference: String,
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
}

const KINDS: [Kind; 3] = [Kind::DockerArchive, Kind::OciArchive, Kind::OciLayout];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    DockerArchive,
    OciArchive,
    OciLayout,
}

impl Kind {
    /// What skopeo calls it (containers-transports(5)).
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Self::DockerArchive => "docker-archive:",
            Self::OciArchive => "oci-archive:",
            Self::OciLayout => "oci:",
        }
    }
}

/// A reference taken apart, and the file found.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) kind: Kind,
    pub(crate) source: Source,
}

impl Given {
    /// Whether a text means a file and not a name in a registry.
    pub(crate) fn is_meant(text: &str) -> bool {
        text.starts_with('/') || KINDS.iter().any(|k| text.starts_with(k.transport()))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, ImageError> {
        let missing = || ImageError::NoSuchFile(text.into());
        let named = KINDS.into_iter().find_map(|k| Some((k, text.strip_prefix(k.transport())?)));
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
        let meta = fs::metadata(&identity).map_err(|_| ImageError::not(text, "it has no index.json"))?;
        let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let (device, inode, size) = (meta.dev(), meta.ino(), meta.size());
        Ok(Self { kind, source: Source { path, reference: reference.into(), device, inode, size, modified_ns } })
    }
}

fn guess(text: &str, path: &Path) -> Result<Kind, ImageError> {
    if path.is_dir() {
        let is_layout = path.join("oci-layout").exists();
        return if is_layout {
            Ok(Kind::OciLayout)
        } else {
            Err(ImageError::not(text, "the directory is not an OCI layout"))
        };
    }
    match tar_kind(path) {
        Ok(Some(kind)) => Ok(kind),
        Ok(None) => Err(ImageError::not(text, "the file is not a tar archive of an image")),
        Err(e) => Err(ImageError::file("read", path)(e)),
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
    fn a_file_is_meant_or_a_name() {
        for file in ["/x.tar", "docker-archive:x", "oci:/x", "oci-archive:/x:tag"] {
            assert!(Given::is_meant(file), "{file}");
        }
        for name in ["nginx", "nginx:latest", "oci/x", "docker://x", ""] {
            assert!(!Given::is_meant(name), "{name}");
        }
    }

    #[test]
    fn a_file_must_be_there_and_be_an_image() {
        for bad in ["/nonexistent.tar", "docker-archive:x", "oci:"] {
            assert!(matches!(Given::parse(bad), Err(ImageError::NoSuchFile(_))), "{bad}");
        }
        assert!(matches!(Given::parse("/proc/self/status"), Err(ImageError::NotAnImage { .. })));
        assert!(matches!(Given::parse("/proc/self"), Err(ImageError::NotAnImage { .. })));
    }
}
