//! The calls of ECS tasks, services and the container instance.

use crate::call::{Pending, Request};
use crate::error::ClientError;
use crate::path::encode;
use crate::routes::{Client, LONG};
use netmode_model::ecs::{
    EcsTaskView, InstanceView, ProfileRequest, RunTaskReply, RunTaskRequest, ServiceRequest, ServiceView,
    StopTaskRequest,
};

impl Client {
    /// Runs tasks of a task definition.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn run_tasks(&self, request: &RunTaskRequest) -> Result<RunTaskReply, ClientError> {
        let request = Request::new("POST", "/v1/ecs/tasks").json(request)?;
        Pending::send(&self.way(Some(LONG)), &request)?.answer()
    }

    /// Every task of a task definition.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn ecs_tasks(&self) -> Result<Vec<EcsTaskView>, ClientError> {
        self.get("/v1/ecs/tasks")
    }

    /// A task by id.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn ecs_task(&self, task: &str) -> Result<EcsTaskView, ClientError> {
        self.get(format!("/v1/ecs/tasks/{}", encode(task)))
    }

    /// Ends a task, and returns when it has ended.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn stop_ecs_task(&self, task: &str, request: &StopTaskRequest) -> Result<EcsTaskView, ClientError> {
        let request = Request::new("POST", format!("/v1/ecs/tasks/{}/stop", encode(task))).json(request)?;
        Pending::send(&self.way(Some(LONG)), &request)?.answer()
    }

    /// Forgets a task that has ended.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove_ecs_task(&self, task: &str) -> Result<(), ClientError> {
        self.delete(format!("/v1/ecs/tasks/{}", encode(task)))
    }

    /// Every service.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn services(&self) -> Result<Vec<ServiceView>, ClientError> {
        self.get("/v1/ecs/services")
    }

    /// A service by name.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn service(&self, name: &str) -> Result<ServiceView, ClientError> {
        self.get(format!("/v1/ecs/services/{}", encode(name)))
    }

    /// Makes a service.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn create_service(&self, request: &ServiceRequest) -> Result<ServiceView, ClientError> {
        self.post("/v1/ecs/services", request)
    }

    /// Gives a service another number of tasks.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn update_service(&self, name: &str, request: &ServiceRequest) -> Result<ServiceView, ClientError> {
        self.post(format!("/v1/ecs/services/{}", encode(name)), request)
    }

    /// Ends a service with its tasks.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove_service(&self, name: &str) -> Result<(), ClientError> {
        self.delete(format!("/v1/ecs/services/{}", encode(name)))
    }

    /// This host as a container instance.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn instance(&self) -> Result<InstanceView, ClientError> {
        self.get("/v1/instance")
    }

    /// Gives this host the limits of an instance type.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn set_profile(&self, request: &ProfileRequest) -> Result<InstanceView, ClientError> {
        let request = Request::new("PUT", "/v1/instance").json(request)?;
        Pending::send(&self.way(Some(self.quick)), &request)?.answer()
    }
}
