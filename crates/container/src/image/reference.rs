//! Names of images, read as docker reads them.

use super::ImageError;
use oci_spec::distribution;
use std::fmt;

/// The name of an image in a registry, in full: `nginx` is `docker.io/library/nginx:latest`
/// (distribution, `reference/normalize.go`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference(distribution::Reference);

impl Reference {
    /// Reads `[docker://][REGISTRY/]NAME[:TAG][@DIGEST]`. As for docker, a digest makes the tag mean nothing.
    ///
    /// # Errors
    /// [`ImageError::BadReference`].
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let bad = |why: String| ImageError::BadReference { text: text.chars().take(120).collect(), why };
        let name = text.strip_prefix("docker://").unwrap_or(text);
        let parsed: distribution::Reference = name.parse().map_err(|e: distribution::ParseError| bad(e.to_string()))?;
        // What could as well be an id is no name (docker).
        if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("64 hex digits are an id, and no image of this host has it".into()));
        }
        // Manifests are known by this one alone (image-spec: every implementation has it).
        if parsed.digest().is_some_and(|digest| !digest.starts_with("sha256:")) {
            return Err(bad("only sha256 digests are taken".into()));
        }
        let (registry, repository) = (parsed.registry().to_owned(), parsed.repository().to_owned());
        Ok(Self(match (parsed.tag(), parsed.digest()) {
            (Some(_), Some(digest)) => distribution::Reference::with_digest(registry, repository, digest.into()),
            _ => parsed,
        }))
    }

    /// `docker.io`, `registry.example:5000`.
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// Registry and path: `docker.io/library/nginx`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.0.registry(), self.0.repository())
    }

    /// The tag; none for an image that is named by its digest.
    pub fn tag(&self) -> Option<&str> {
        self.0.tag()
    }

    /// The digest that it is named by.
    pub fn digest(&self) -> Option<&str> {
        self.0.digest()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The registry that a person means: `https://index.docker.io/v1/` and no word at all are `docker.io`.
///
/// # Errors
/// [`ImageError::BadReference`] for what is no `HOST[:PORT]`.
pub fn registry(text: &str) -> Result<String, ImageError> {
    let host = text.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.strip_suffix("/v1/").or_else(|| host.strip_suffix("/v2/")).unwrap_or(host).trim_end_matches('/');
    if ["", "docker.io", "index.docker.io", "registry-1.docker.io"].contains(&host) {
        return Ok("docker.io".into());
    }
    let named = Reference::parse(&format!("{host}/x")).ok().filter(|r| r.registry() == host);
    named.map(|_| host.to_owned()).ok_or_else(|| ImageError::BadReference {
        text: text.chars().take(120).collect(),
        why: "a registry is HOST[:PORT], with a dot or a port in it".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (short, long) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("docker://nginx", "docker.io/library/nginx:latest"),
            ("me/app", "docker.io/me/app:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:x", "localhost:5000/app:x"),
            ("quay.io/a/b/c", "quay.io/a/b/c:latest"),
            (&format!("nginx@{digest}"), &format!("docker.io/library/nginx@{digest}")),
            (&format!("nginx:1@{digest}"), &format!("docker.io/library/nginx@{digest}")),
        ] {
            assert_eq!(Reference::parse(short).unwrap().to_string(), long, "{short}");
        }
        let one = Reference::parse("quay.io/a/b:c").unwrap();
        assert_eq!((one.registry(), one.repository().as_str(), one.tag()), ("quay.io", "quay.io/a/b", Some("c")));
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        for bad in [
            "",
            ":",
            "NGINX",
            "nginx:",
            "a//b",
            "../x",
            "/x",
            "x y",
            "nginx@sha256:12",
            &format!("nginx@sha512:{}", "a".repeat(128)),
            "-x",
            &"a".repeat(64),
        ] {
            assert!(matches!(Reference::parse(bad), Err(ImageError::BadReference { .. })), "{bad}");
        }
    }

    #[test]
    fn registries_are_hosts() {
        for hub in ["", "docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            assert_eq!(registry(hub).unwrap(), "docker.io", "{hub}");
        }
        assert_eq!(registry("https://r.example:5000/").unwrap(), "r.example:5000");
        assert_eq!(registry("localhost:5000").unwrap(), "localhost:5000");
        for bad in ["nothost", "a b", "r.example/path", "--authfile", "r.example:x"] {
            assert!(registry(bad).is_err(), "{bad}");
        }
    }
}
