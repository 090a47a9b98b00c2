//! Images: whose they are, what is fetched, what may be removed.

use crate::agent::{Agent, blocking};
use netmode_container::{Image, Reference, RemovedImage, StoredImage};
use netmode_model::api::RunRequest;
use netmode_model::image::{ImageView, ImagesRemoved, PullPolicy, PullProgress, PullRequest, Pulled};
use netmode_model::{ApiError, Code};
use std::sync::Arc;

/// The image of a request; none for a root directory.
///
/// # Errors
/// There is no such image.
pub fn of(agent: &Agent, request: &RunRequest) -> Result<Option<Image>, ApiError> {
    let image = request.container.image.as_ref().map(|reference| agent.containers.image(reference));
    image.transpose().map_err(ApiError::from)
}

/// Whether an image that was found a moment ago has been removed meanwhile.
///
/// # Errors
/// It has.
pub fn still_here(agent: &Agent, image: Option<&Image>) -> Result<(), ApiError> {
    match image {
        Some(image) if agent.containers.stored_image(&image.digest).is_none() => {
            Err(ApiError::new(Code::NoSuchImage, "the image was removed a moment ago; fetch it again"))
        }
        _ => Ok(()),
    }
}

/// Fetches an image, or finds it where the policy says so.
///
/// # Errors
/// The registry, the image or the disk; nothing half is left.
pub fn pull(
    agent: &Agent,
    request: &PullRequest,
    watch: &mut dyn FnMut(PullProgress) -> bool,
) -> Result<Pulled, ApiError> {
    let reference = Reference::parse(&request.reference).map_err(|e| ApiError::new(e.code(), e.to_string()))?;
    let full = reference.to_string();
    if request.policy != PullPolicy::Always {
        match agent.containers.find_image(&full) {
            Ok(image) => {
                let digest = image.names.iter().find(|n| n.reference == full).map(|n| n.digest.clone());
                let digest = digest.or(reference.digest().map(Into::into)).unwrap_or_default();
                return Ok(Pulled { reference: full, id: image.id, digest, fresh: false });
            }
            Err(error) if request.policy == PullPolicy::Never || error.code() != Code::NoSuchImage => {
                return Err(error.into());
            }
            Err(_) => {}
        }
    }
    let pulled = agent.containers.pull(&reference, request.auth.as_ref(), watch)?;
    tracing::info!(image = %pulled.reference, id = pulled.id, fresh = pulled.fresh, "pulled");
    Ok(pulled)
}

/// Names and states of the tasks that use an image, also of those that are stopped: their files lie on it.
fn users(agent: &Agent, id: &str) -> Vec<(String, String)> {
    let records = agent.tasks.all().into_iter().map(|t| t.now());
    let users = records.filter(|r| r.image_id.as_deref() == Some(id));
    users.map(|r| (r.name.to_string(), r.state.to_string())).collect()
}

/// Every image, as a listing shows it.
///
/// # Errors
/// The store cannot be read.
pub fn list(agent: &Agent) -> Result<Vec<ImageView>, ApiError> {
    Ok(agent.containers.images()?.into_iter().map(|image| view(agent, image)).collect())
}

fn view(agent: &Agent, image: StoredImage) -> ImageView {
    let used_by = users(agent, &image.id).into_iter().map(|(name, _)| name).collect();
    let parsed = || image.names.iter().filter_map(|n| Some((Reference::parse(&n.reference).ok()?, n)));
    let mut repo_digests: Vec<_> = parsed().map(|(r, n)| format!("{}@{}", r.repository(), n.digest)).collect();
    repo_digests.dedup();
    ImageView {
        repo_tags: parsed().filter(|(r, _)| r.tag().is_some()).map(|(r, _)| r.to_string()).collect(),
        repo_digests,
        files: image.files.iter().map(|f| f.to_string_lossy().into_owned()).collect(),
        id: image.id,
        created: image.created,
        size: image.size,
        platform: image.platform,
        used_by,
    }
}

/// Takes a name from an image; the image itself goes with its last name, or when it is named by its id.
///
/// # Errors
/// There is no such image, or a task uses it.
pub async fn remove(agent: &Arc<Agent>, text: String) -> Result<ImagesRemoved, ApiError> {
    changing(agent, move |agent, removed| {
        let image = agent.containers.find_image(&text)?;
        let named = Reference::parse(&text).map(|r| r.to_string()).unwrap_or_default();
        if image.names.len() > 1 && image.names.iter().any(|n| n.reference == named) {
            agent.containers.untag_image(&named)?;
            removed.untagged.push(named);
            return Ok(Vec::new());
        }
        if let Some((name, state)) = users(agent, &image.id).first() {
            let text = format!(
                "cannot remove image {text}: task {name} uses it ({state}); remove that task with \"netmode rm {name}\" first"
            );
            return Err(ApiError::new(Code::ImageInUse, text));
        }
        Ok(vec![take(agent, image, removed)?])
    })
    .await
}

/// Removes the images that no task uses: those without a name, or all.
///
/// # Errors
/// One that cannot be removed; those before it are gone.
pub async fn prune(agent: &Arc<Agent>, all: bool) -> Result<ImagesRemoved, ApiError> {
    changing(agent, move |agent, removed| {
        let unused = |i: &StoredImage| (all || i.names.is_empty()) && users(agent, &i.id).is_empty();
        let images = agent.containers.images()?.into_iter().filter(unused);
        images.map(|image| take(agent, image, removed)).collect()
    })
    .await
}

fn take(agent: &Agent, image: StoredImage, removed: &mut ImagesRemoved) -> Result<RemovedImage, ApiError> {
    let files = agent.containers.remove_image(&image.id)?;
    tracing::info!(id = image.id, "image removed");
    removed.untagged.extend(image.names.into_iter().map(|n| n.reference));
    removed.deleted.push(image.id);
    removed.bytes += image.size;
    Ok(files)
}

/// Does something during which no task begins to use an image. What takes time, deleting files, comes after it.
async fn changing(
    agent: &Arc<Agent>,
    change: impl FnOnce(&Agent, &mut ImagesRemoved) -> Result<Vec<RemovedImage>, ApiError> + Send + 'static,
) -> Result<ImagesRemoved, ApiError> {
    let alone = agent.images.write().await;
    let shared = agent.clone();
    let changed = blocking(move || {
        let mut removed = ImagesRemoved::default();
        let files = change(&shared, &mut removed)?;
        Ok::<_, ApiError>((removed, files))
    });
    let (removed, files) = changed.await??;
    drop(alone);
    blocking(move || drop(files)).await?;
    Ok(removed)
}
