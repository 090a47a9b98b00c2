//! Images: from a registry, a `docker save` tar or an OCI layout to a directory that overlays lie on.
//!
//! skopeo turns whatever was given into an OCI layout, umoci unpacks its layers. The result is kept under the digest
//! of the image's configuration (what Docker calls the image id) and appears by one rename, so that a half-made one
//! is never seen. Which name or file led to which digest is remembered ([`books`]), so a second run starts neither
//! program.

mod archive;
mod books;
mod error;
mod reference;
mod registry;
mod store;
mod unpack;

pub use books::{ImageName, StoredImage};
pub use error::ImageError;
pub use reference::{Reference, registry as registry_name};
pub(crate) use store::ImageStore;
pub use store::RemovedImage;

use archive::Given;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

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

/// Whether a text names a file (`/FILE`, `docker-archive:`, `oci-archive:`, `oci:`) and not an image of a registry.
pub fn is_file(text: &str) -> bool {
    Given::is_meant(text)
}

/// The digits of `sha256:…`, which are safe as a file name.
fn hex(digest: &str) -> Option<&str> {
    let digits = digest.strip_prefix("sha256:")?;
    (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_digest_names_a_directory() {
        assert_eq!(hex(&format!("sha256:{}", "a".repeat(64))), Some("a".repeat(64).as_str()));
        for bad in ["", "sha256:", "sha256:../../x", &"a".repeat(64)] {
            assert_eq!(hex(bad), None, "{bad}");
        }
    }
}
