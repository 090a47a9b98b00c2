//! Routes of images and registries.

use crate::call::{Pending, Request};
use crate::error::{ClientError, ProtocolError};
use crate::path::encode;
use crate::routes::{Client, LONG};
use crate::session::Frame;
use netmode_model::api::Control;
use netmode_model::image::{
    ImagePruneRequest, ImageView, ImagesRemoved, LoginRequest, PullProgress, PullRequest, Pulled,
};

impl Client {
    /// The images of this host.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn images(&self) -> Result<Vec<ImageView>, ClientError> {
        self.get("/v1/images")
    }

    /// Fetches an image from its registry, without a limit of time; `told` hears how far it is. A caller who ends
    /// meanwhile ends the work.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn pull(&self, request: &PullRequest, mut told: impl FnMut(PullProgress)) -> Result<Pulled, ClientError> {
        let session = self.stream(Request::new("POST", "/v1/images/pull").json(request)?)?;
        let (mut reader, _writer) = session.split().map_err(ProtocolError::Io)?;
        loop {
            match reader.next()? {
                Some(Frame::Control(Control::Progress(progress))) => told(progress),
                Some(Frame::Control(Control::Pulled(pulled))) => return Ok(pulled),
                Some(Frame::Control(Control::Error(error))) => return Err(error.into()),
                Some(_) => {}
                None => return Err(ProtocolError::Closed.into()),
            }
        }
    }

    /// Removes a name of an image, and the image with its last name.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove_image(&self, reference: &str) -> Result<ImagesRemoved, ClientError> {
        let request = Request::new("DELETE", format!("/v1/images?reference={}", encode(reference)));
        Pending::send(&self.way(Some(LONG)), &request)?.answer()
    }

    /// Removes images that no task uses.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn prune_images(&self, all: bool) -> Result<ImagesRemoved, ClientError> {
        let request = Request::new("POST", "/v1/images/prune").json(&ImagePruneRequest { all })?;
        Pending::send(&self.way(Some(LONG)), &request)?.answer()
    }

    /// Asks a registry whether it accepts a user and a password.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn login(&self, request: &LoginRequest) -> Result<(), ClientError> {
        self.act(&Request::new("POST", "/v1/registries/login").json(request)?, LONG)
    }
}
