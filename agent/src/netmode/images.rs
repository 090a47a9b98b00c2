//! Commands on images.

use crate::args::ImageCommand;
use crate::caller::Caller;
use crate::credentials::Credentials;
use crate::failure::{Failure, say};
use crate::listing::{ListArgs, Listing, Shown};
use crate::output::{Output, print, print_lines};
use crate::tasks::age;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use netmode_client::Client;
use netmode_container::{Reference, is_file};
use netmode_model::Code;
use netmode_model::api::{Created, RunRequest};
use netmode_model::image::{ImageView, ImagesRemoved, PullPhase, PullPolicy, PullProgress, PullRequest, Pulled};
use serde::Serialize;
use std::io::{self, IsTerminal};
use std::time::Duration;

type Result<T> = std::result::Result<T, Failure>;

/// `netmode image …`.
pub(crate) fn image(client: &Client, command: &ImageCommand, output: Output) -> Result<()> {
    match command {
        ImageCommand::Ls(args) => list(client, args, output),
        ImageCommand::Pull { image } => pull(client, image, output),
        ImageCommand::Rm { force, images } => remove(client, images, *force, output),
        ImageCommand::Prune { all, .. } => prune(client, *all, output),
    }
}

/// Makes a task; its image is fetched before, as the policy says.
pub(crate) fn create(
    client: &Client,
    request: &RunRequest,
    policy: PullPolicy,
    start: bool,
    quiet: bool,
) -> Result<Created> {
    let image = request.container.image.as_deref().filter(|image| !is_file(image));
    if let (Some(image), PullPolicy::Always) = (image, policy) {
        fetch(client, image, PullPolicy::Always, quiet)?;
    }
    match (client.create(request, start), image) {
        (Err(error), Some(image)) if policy == PullPolicy::Missing && error.code() == Code::NoSuchImage => {
            // To a person only: a refusal stays one line.
            if !quiet && io::stderr().is_terminal() {
                say(&format!("netmode: this host has no image {image}: it is fetched"));
            }
            fetch(client, image, PullPolicy::Always, quiet)?;
            Ok(client.create(request, start)?)
        }
        (created, _) => Ok(created?),
    }
}

/// `netmode pull`.
pub(crate) fn pull(client: &Client, image: &str, output: Output) -> Result<()> {
    let pulled = fetch(client, image, PullPolicy::Always, output.quiet || output.structured())?;
    if output.structured() {
        return output.data(&pulled);
    }
    if !output.quiet {
        let what = if pulled.fresh { "is here now" } else { "was up to date" };
        say(&format!("netmode: {} {what}: {}", pulled.reference, pulled.digest));
    }
    print(&format!("{}\n", pulled.reference))
}

/// Fetches an image that is not here, as the calling user; one in a file is here.
pub(crate) fn ensure(client: &Client, image: &str) -> Result<()> {
    if is_file(image) { Ok(()) } else { fetch(client, image, PullPolicy::Missing, true).map(drop) }
}

/// Fetches an image as the calling user.
fn fetch(client: &Client, image: &str, policy: PullPolicy, quiet: bool) -> Result<Pulled> {
    let reference = Reference::parse(image).map_err(|e| Failure::new(e.code(), e.to_string()))?;
    let auth = Credentials::of(&Caller::this())?.find(&reference)?;
    let request = PullRequest { reference: reference.to_string(), policy, auth };
    let mut bar = Bar::new(&reference, quiet);
    let pulled = client.pull(&request, |progress| bar.show(progress));
    bar.clear();
    Ok(pulled?)
}

/// How far it is, on a terminal.
struct Bar {
    bar: ProgressBar,
    phase: Option<PullPhase>,
}

impl Bar {
    fn new(reference: &Reference, quiet: bool) -> Self {
        let seen = !quiet && io::stderr().is_terminal() && io::stdout().is_terminal();
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_prefix(reference.to_string());
        Self { bar, phase: None }
    }

    fn show(&mut self, progress: PullProgress) {
        if self.phase.replace(progress.phase) != Some(progress.phase) {
            let (what, style) = match progress.phase {
                PullPhase::Downloading if progress.total > 0 => {
                    ("fetching", "{prefix}: {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")
                }
                PullPhase::Downloading => ("fetching", "{prefix}: {msg} {spinner} {elapsed}"),
                PullPhase::Resolving => ("asking the registry", "{prefix}: {msg} {spinner} {elapsed}"),
                PullPhase::Unpacking => ("unpacking", "{prefix}: {msg} {spinner} {elapsed}"),
            };
            self.bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_message(what);
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        if progress.total > 0 {
            self.bar.set_length(progress.total);
        }
        self.bar.set_position(progress.done);
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// A name of an image: a row of the table.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    repository: String,
    tag: String,
    #[serde(flatten)]
    image: ImageView,
}

/// `netmode images`.
pub(crate) fn list(client: &Client, args: &ListArgs, output: Output) -> Result<()> {
    let now = Timestamp::now();
    let created =
        move |r: &Row| r.image.created.as_deref().map_or_else(none, |created| format!("{} ago", age(created, now)));
    let listing = Listing::new(|r: &Row| short(&r.image.id).into())
        .column("Repository", Shown::Always, |r| r.repository.clone())
        .column("Tag", Shown::Always, |r| r.tag.clone())
        .column("ID", Shown::Always, |r| short(&r.image.id).into())
        .column("CreatedSince", Shown::Always, created)
        .headed("CREATED")
        .column("Size", Shown::Always, |r| size(r.image.size))
        .column("Platform", Shown::Wide, |r| r.image.platform.clone())
        .column("UsedBy", Shown::Wide, |r| r.image.used_by.join(", "))
        .headed("USED BY")
        .column("Source", Shown::Wide, source)
        .headed("DIGEST OR FILE")
        .column("Digest", Shown::Asked, digest)
        .checked_key(&["dangling"], a_truth, |r, value| (r.tag == none()) == (value == "true"))
        .key(&["reference", "name"], |r, value| format!("{}:{}", r.repository, r.tag).contains(value))
        .key(&["id"], |r, value| r.image.id.trim_start_matches("sha256:").starts_with(value));
    listing.check(args, output)?;
    let mut images = client.images()?;
    let names = images.iter().flat_map(rows).collect();
    if !output.structured() {
        return listing.print(names, args, output);
    }
    // A table has a line for each name; data tell each image once.
    let fit = listing.filter(names, args)?;
    images.retain(|image| fit.iter().any(|row| row.image.id == image.id));
    output.data(&images)
}

fn a_truth(value: &str) -> std::result::Result<(), String> {
    value.parse::<bool>().map(drop).map_err(|_| "write true or false".into())
}

fn none() -> String {
    "<none>".into()
}

fn source(row: &Row) -> String {
    let from = row.image.repo_digests.iter().filter_map(|name| split(name, '@')).map(|(_, digest)| digest);
    from.chain(row.image.files.iter().cloned()).collect::<Vec<_>>().join("\n")
}

/// The digest that the row's name had at its registry.
fn digest(row: &Row) -> String {
    let known = row.image.repo_digests.iter().filter_map(|name| split(name, '@'));
    known.filter(|(repository, _)| *repository == row.repository).map(|(_, digest)| digest).next().unwrap_or_else(none)
}

/// A row for each name; an image without a name has one, too.
fn rows(image: &ImageView) -> Vec<Row> {
    let mut names: Vec<(String, String)> = image.repo_tags.iter().filter_map(|name| split(name, ':')).collect();
    // Fetched by digest alone.
    let untagged = image.repo_digests.iter().filter_map(|name| split(name, '@')).map(|(repository, _)| repository);
    let known: Vec<String> = names.iter().map(|(repository, _)| repository.clone()).collect();
    names.extend(untagged.filter(|repository| !known.contains(repository)).map(|repository| (repository, none())));
    if names.is_empty() {
        names.push((none(), none()));
    }
    names.into_iter().map(|(repository, tag)| Row { repository, tag, image: image.clone() }).collect()
}

fn split(name: &str, at: char) -> Option<(String, String)> {
    name.rsplit_once(at).map(|(name, rest)| (name.into(), rest.into()))
}

/// The first twelve digits of an id.
fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

/// Bytes as docker writes them: powers of 1000, three digits.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    let digits = if unit == "B" || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

/// `netmode rmi`: all are tried; each failure is told; the last one is returned.
pub(crate) fn remove(client: &Client, images: &[String], force: bool, output: Output) -> Result<()> {
    let mut failed: Option<Failure> = None;
    for image in images {
        let removed = match image.as_str() {
            "" => Err(Failure::invalid("the name of an image cannot be empty")),
            image => client.remove_image(image).map_err(Failure::from),
        };
        match removed {
            Ok(removed) => tell(&removed, output)?,
            Err(failure) if force && failure.code == Code::NoSuchImage => {}
            Err(failure) => {
                if let Some(before) = failed.replace(failure) {
                    before.print(output.json());
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn prune(client: &Client, all: bool, output: Output) -> Result<()> {
    let removed = client.prune_images(all)?;
    tell(&removed, output)?;
    if !output.structured() && !output.quiet {
        print(&format!("Total reclaimed space: {}\n", HumanBytes(removed.bytes)))?;
    }
    Ok(())
}

/// In docker's words.
fn tell(removed: &ImagesRemoved, output: Output) -> Result<()> {
    if output.structured() {
        return output.data(removed);
    }
    let untagged = removed.untagged.iter().map(|name| format!("Untagged: {name}"));
    print_lines(untagged.chain(removed.deleted.iter().map(|id| format!("Deleted: {id}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_docker_does() {
        for (bytes, text) in
            [(0, "0B"), (999, "999B"), (1500, "1.50kB"), (45_600_000, "45.6MB"), (187_000_000, "187MB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn every_name_has_a_line() {
        let image = ImageView {
            id: format!("sha256:{}", "ab".repeat(32)),
            repo_tags: vec!["docker.io/library/nginx:1".into(), "r.test:5000/web:latest".into()],
            repo_digests: vec!["docker.io/library/nginx@sha256:1".into(), "quay.io/x@sha256:2".into()],
            files: vec![],
            created: Some("2026-01-01T00:00:00Z".into()),
            size: 1500,
            platform: "linux/amd64".into(),
            used_by: vec![],
        };
        let names = |image: &ImageView| -> Vec<String> {
            rows(image).into_iter().map(|row| format!("{} {}", row.repository, row.tag)).collect()
        };
        assert_eq!(names(&image), ["docker.io/library/nginx 1", "r.test:5000/web latest", "quay.io/x <none>"]);
        let bare = ImageView { repo_tags: vec![], repo_digests: vec![], created: None, ..image };
        assert_eq!(names(&bare), ["<none> <none>"]);
    }
}
