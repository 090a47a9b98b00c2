//! The calls of the VPC: subnets and ENIs.

use crate::error::ClientError;
use crate::path::encode;
use crate::routes::Client;
use netmode_model::vpc::{EniView, SubnetRequest, SubnetView};

impl Client {
    /// Every subnet.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn subnets(&self) -> Result<Vec<SubnetView>, ClientError> {
        self.get("/v1/subnets")
    }

    /// A subnet by name or id.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn subnet(&self, name: &str) -> Result<SubnetView, ClientError> {
        self.get(format!("/v1/subnets/{}", encode(name)))
    }

    /// Makes a subnet, or tells what it would be.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn create_subnet(&self, request: &SubnetRequest) -> Result<SubnetView, ClientError> {
        self.post("/v1/subnets", request)
    }

    /// Removes a subnet that nobody uses.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove_subnet(&self, name: &str) -> Result<(), ClientError> {
        self.delete(format!("/v1/subnets/{}", encode(name)))
    }

    /// Every ENI.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn enis(&self) -> Result<Vec<EniView>, ClientError> {
        self.get("/v1/enis")
    }

    /// An ENI by id, address or task.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn eni(&self, name: &str) -> Result<EniView, ClientError> {
        self.get(format!("/v1/enis/{}", encode(name)))
    }

    /// Asks for an ENI's removal, which is always refused: its task's end releases it.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove_eni(&self, name: &str) -> Result<(), ClientError> {
        self.delete(format!("/v1/enis/{}", encode(name)))
    }
}
