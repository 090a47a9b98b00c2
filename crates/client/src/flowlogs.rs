//! The calls of flow logs.

use crate::error::ClientError;
use crate::path::encode;
use crate::routes::Client;
use netmode_model::flowlog::{FlowLogRequest, FlowLogView};

impl Client {
    /// Every flow log.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn flow_logs(&self) -> Result<Vec<FlowLogView>, ClientError> {
        self.get("/v1/flow-logs")
    }

    /// A flow log by its id.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn flow_log(&self, id: &str) -> Result<FlowLogView, ClientError> {
        self.get(format!("/v1/flow-logs/{}", encode(id)))
    }

    /// Makes a flow log.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn create_flow_log(&self, request: &FlowLogRequest) -> Result<FlowLogView, ClientError> {
        self.post("/v1/flow-logs", request)
    }

    /// Removes a flow log.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove_flow_log(&self, id: &str) -> Result<(), ClientError> {
        self.delete(format!("/v1/flow-logs/{}", encode(id)))
    }
}
