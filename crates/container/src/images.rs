//! What can be done with images.

use crate::containers::Containers;
use crate::error::ContainerError;
use crate::image::{Image, Reference, RemovedImage, StoredImage};
use netmode_model::image::{PullProgress, Pulled, RegistryAuth};

impl Containers {
    /// The image of a reference: the name or id of one that is here, or a `docker save` tar or an OCI layout by
    /// absolute path, with or without `docker-archive:`, `oci-archive:` or `oci:` before it and `:TAG` behind it.
    /// A file is unpacked once per content.
    ///
    /// # Errors
    /// [`ContainerError::Image`].
    pub fn image(&self, reference: &str) -> Result<Image, ContainerError> {
        Ok(self.image_store().load(reference)?)
    }

    /// The image of an id, if it is here.
    pub fn stored_image(&self, id: &str) -> Option<Image> {
        self.image_store().stored(id)
    }

    /// Fetches an image from its registry, unless what the registry has under that name is here. `watch` is told how
    /// far it has come, every tenth of a second; a no from it ends the work. What comes half stays nowhere.
    ///
    /// # Errors
    /// [`ContainerError::Image`].
    pub fn pull(
        &self,
        reference: &Reference,
        auth: Option<&RegistryAuth>,
        watch: &mut dyn FnMut(PullProgress) -> bool,
    ) -> Result<Pulled, ContainerError> {
        Ok(self.image_store().pull(reference, auth, watch)?)
    }

    /// Asks a registry whether it accepts a user and a password. Nothing is kept.
    ///
    /// # Errors
    /// [`ContainerError::Image`].
    pub fn login(&self, registry: &str, auth: &RegistryAuth) -> Result<(), ContainerError> {
        Ok(self.image_store().login(registry, auth)?)
    }

    /// Every image of this host, those that were built last first.
    ///
    /// # Errors
    /// A directory that cannot be listed.
    pub fn images(&self) -> Result<Vec<StoredImage>, ContainerError> {
        Ok(self.image_store().list()?)
    }

    /// The image that a name, an id or the beginning of an id stands for.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find_image(&self, text: &str) -> Result<StoredImage, ContainerError> {
        Ok(self.image_store().find(text)?)
    }

    /// Takes a name (in full) from its image.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub fn untag_image(&self, reference: &str) -> Result<(), ContainerError> {
        Ok(self.image_store().untag(reference)?)
    }

    /// Removes an image with all its names; its files go when what this returns is dropped. That no container lies on
    /// it is for the caller to know.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub fn remove_image(&self, id: &str) -> Result<RemovedImage, ContainerError> {
        Ok(self.image_store().remove(id)?)
    }
}
