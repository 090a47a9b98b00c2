//! From an OCI layout to files: what its configuration says, and what the programs say when it fails.

use super::{ImageConfig, ImageError, hex};
use serde::Deserialize;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long skopeo or umoci may work on one image.
pub(super) const LIMIT: Duration = Duration::from_secs(600);

/// The configuration of an image (OCI image-spec, `config.md`).
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    pub(super) created: Option<String>,
    #[serde(default)]
    pub(super) config: Option<ImageConfig>,
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

/// The id and the configuration of the first image of a layout.
pub(super) fn configuration(layout: &Path) -> Result<(String, Configuration), String> {
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

/// A list without an entry for this machine: "no image found in manifest list for architecture ..."
pub(super) fn other_platforms(reference: &str, text: &str) -> Option<ImageError> {
    text.contains("no image found in").then(|| ImageError::WrongArchitecture {
        reference: reference.into(),
        image: "other architectures only".into(),
        host: host_platform(),
    })
}

/// The message of a log line such as `time="..." level=fatal msg="..."`, without the time.
pub(super) fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no reason given");
    let message = line.split_once(" msg=").map_or(line, |(_, m)| m);
    let message = message.strip_prefix('"').and_then(|m| m.strip_suffix('"')).unwrap_or(message);
    // umoci marks its errors with a cross.
    message.trim_start_matches(|c: char| c.is_whitespace() || c == '⨯').replace("\\\"", "\"")
}

/// The name that images have for this machine's architecture (Go's GOARCH).
pub(super) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

pub(super) fn host_platform() -> String {
    format!("linux/{}", host_architecture())
}

/// The platform of an image, if this machine can run it.
pub(super) fn check_platform(reference: &str, configuration: &Configuration) -> Result<String, ImageError> {
    platform_runs(reference, &configuration.os, &configuration.architecture)
}

/// `OS/ARCHITECTURE`, if this machine can run it.
pub(super) fn platform_runs(reference: &str, os: &str, architecture: &str) -> Result<String, ImageError> {
    let os = if os.is_empty() { "linux" } else { os };
    let image = format!("{os}/{architecture}");
    let host = host_platform();
    // A 64-bit x86 machine runs 32-bit programs.
    let runs = image == host || (image == "linux/386" && host == "linux/amd64");
    if runs { Ok(image) } else { Err(ImageError::WrongArchitecture { reference: reference.into(), image, host }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmode_model::Code;

    #[test]
    fn a_log_line_is_reduced_to_its_message() {
        let line = r#"time="2022-01-01T00:00:00Z" level=fatal msg="open \"x\": no such file""#;
        assert_eq!(last_line(line), "open \"x\": no such file");
        assert_eq!(last_line("plain\n\n"), "plain");
        assert_eq!(last_line("   ⨯ create rootfs: broken"), "create rootfs: broken");
    }

    #[test]
    fn foreign_architectures_are_refused() {
        let made = |architecture: &str, os: &str| platform_runs("x.tar", os, architecture);
        assert!(made(host_architecture(), "linux").is_ok());
        assert!(made(host_architecture(), "").is_ok());
        assert_eq!(made("mips", "linux").unwrap_err().code(), Code::BadImage);
        assert!(made("amd64", "windows").unwrap_err().to_string().contains("windows/amd64"));
    }
}
