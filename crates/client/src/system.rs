//! Calls that are about the agent itself.

use crate::call::{Pending, Request};
use crate::error::ClientError;
use crate::routes::{Client, LONG};
use netmode_model::api::Planned;
use netmode_model::system::{LogFilterRequest, ResetReply, ResetRequest, SystemInfo};

impl Client {
    /// The agent's own state.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn system(&self) -> Result<SystemInfo, ClientError> {
        self.get("/v1/system")
    }

    /// Changes what the agent logs, until it ends.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn set_log_filter(&self, request: &LogFilterRequest) -> Result<(), ClientError> {
        self.act(&Request::new("PUT", "/v1/system/log-filter").json(request)?, self.quick)
    }

    /// What [`Client::reset`] would do, as commands.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn reset_plan(&self, request: ResetRequest) -> Result<Planned, ClientError> {
        self.get(format!("/v1/system/reset?keepRecords={}", request.keep_records))
    }

    /// Ends every task and takes away all that is the agent's; then the agent ends.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn reset(&self, request: ResetRequest) -> Result<ResetReply, ClientError> {
        let request = Request::new("POST", "/v1/system/reset").json(&request)?;
        Pending::send(&self.way(Some(LONG)), &request)?.answer()
    }
}
