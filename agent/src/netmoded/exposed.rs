//! `-P`: every exposed port on a host port that the agent chooses.

use netmode_model::api::RunRequest;
use netmode_model::{ApiError, Code, PortSpec};

/// Adds a dynamic mapping for every port that `--expose` or the image names and that `-p` does not publish.
///
/// # Errors
/// An `--expose` that is no `PORT[-PORT][/PROTOCOL]`.
pub fn publish(request: &mut RunRequest, of_image: impl IntoIterator<Item = String>) -> Result<(), ApiError> {
    let named = request.net.expose.iter().map(|text| expose(text)).collect::<Result<Vec<_>, _>>()?;
    if !request.net.publish_all {
        return Ok(());
    }
    // What an image says in its own words is not the caller's mistake.
    let of_image: Vec<PortSpec> = of_image.into_iter().filter_map(|text| expose(&text).ok()).collect();
    for spec in named.into_iter().chain(of_image) {
        let published = |p: &PortSpec| p.protocol == spec.protocol && p.container.overlaps(spec.container);
        if !request.net.ports.iter().any(published) {
            request.net.ports.push(spec);
        }
    }
    Ok(())
}

fn expose(text: &str) -> Result<PortSpec, ApiError> {
    let bad = |why: String| ApiError::new(Code::InvalidPort, format!("--expose {text:?}: {why}"));
    match text.parse::<PortSpec>() {
        Ok(_) if text.contains(':') => Err(bad("names no host port: write PORT[-PORT][/PROTOCOL]".into())),
        Ok(spec) => Ok(spec),
        Err(error) => Err(bad(error.to_string())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use netmode_model::api::NetOptions;

    fn published(all: bool, ports: &[&str], exposed: &[&str], image: &[&str]) -> Result<Vec<String>, ApiError> {
        let net = NetOptions {
            publish_all: all,
            ports: ports.iter().map(|p| p.parse().unwrap()).collect(),
            expose: exposed.iter().map(|&e| e.into()).collect(),
            ..NetOptions::default()
        };
        let mut request = RunRequest { net, ..RunRequest::default() };
        publish(&mut request, image.iter().map(|&i| i.into()))?;
        Ok(request.net.ports.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_published_already_is_left_alone() {
        assert_eq!(
            published(true, &["8080:80"], &["80", "53/udp"], &["80/tcp", "443/tcp"]).unwrap(),
            ["8080:80/tcp", "53/udp", "443/tcp"]
        );
        assert!(published(false, &[], &["80"], &["443/tcp"]).unwrap().is_empty());
    }

    #[test]
    fn a_bad_expose_is_refused_with_or_without_publishing() {
        for bad in ["0", "8080:80", "80/icmp", "x"] {
            assert_eq!(published(false, &[], &[bad], &[]).unwrap_err().code, Code::InvalidPort, "{bad}");
        }
    }
}
