//! The calls of security groups and prefix lists.

use crate::error::ClientError;
use crate::path::encode;
use crate::routes::Client;
use netmode_model::group::{EffectiveReply, GroupRequest, GroupView, PrefixList, Rule, RulesRequest};

impl Client {
    /// Every security group.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn groups(&self) -> Result<Vec<GroupView>, ClientError> {
        self.get("/v1/security-groups")
    }

    /// A security group by name or id.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn group(&self, name: &str) -> Result<GroupView, ClientError> {
        self.get(format!("/v1/security-groups/{}", encode(name)))
    }

    /// Makes a security group.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn create_group(&self, request: &GroupRequest) -> Result<GroupView, ClientError> {
        self.post("/v1/security-groups", request)
    }

    /// Removes a security group.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove_group(&self, name: &str) -> Result<(), ClientError> {
        self.delete(format!("/v1/security-groups/{}", encode(name)))
    }

    /// Adds rules to a group.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn authorize(&self, group: &str, request: &RulesRequest) -> Result<Vec<Rule>, ClientError> {
        self.post(format!("/v1/security-groups/{}/authorize", encode(group)), request)
    }

    /// Takes rules from a group.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn revoke(&self, group: &str, request: &RulesRequest) -> Result<Vec<Rule>, ClientError> {
        self.post(format!("/v1/security-groups/{}/revoke", encode(group)), request)
    }

    /// What is open to a task.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn open_to(&self, task: &str) -> Result<EffectiveReply, ClientError> {
        self.get(format!("/v1/security-groups/effective/{}", encode(task)))
    }

    /// Every prefix list.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn prefix_lists(&self) -> Result<Vec<PrefixList>, ClientError> {
        self.get("/v1/prefix-lists")
    }

    /// Makes a prefix list, or changes one.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn put_prefix_list(&self, list: &PrefixList) -> Result<PrefixList, ClientError> {
        self.post("/v1/prefix-lists", list)
    }

    /// Removes a prefix list.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove_prefix_list(&self, name: &str) -> Result<(), ClientError> {
        self.delete(format!("/v1/prefix-lists/{}", encode(name)))
    }
}
