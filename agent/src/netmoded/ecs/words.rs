//! Why a container did not come, in the words that people search for (ECS developer guide, "Stopped tasks error
//! messages").

use netmode_model::{ApiError, Code};

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// To make the container, and its network where it has one of its own.
    Create,
    /// To start it.
    Start,
}

/// The reason of a container that ran out of memory.
pub const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

/// The same error with ECS' prefix.
pub fn failed(doing: Doing, error: &ApiError) -> ApiError {
    let prefix = match (error.code, doing) {
        (Code::PortTaken, _) => "CannotStartContainerError: port is already allocated",
        (Code::PortsExhausted, _) => "HostConfigError: error retrieving docker port map",
        (Code::BadImage | Code::NoSuchImage, _) => "CannotPullContainerError",
        (Code::RegistryDenied | Code::RegistryCertificate | Code::RegistryFailed, _) => "CannotPullContainerError",
        (Code::Kernel | Code::PoolExhausted, Doing::Create) => {
            "ContainerNetworkingError: container resource provisioning: failed to setup network namespace"
        }
        (_, Doing::Create) => "CannotCreateContainerError",
        (_, Doing::Start) => "CannotStartContainerError",
    };
    ApiError::new(error.code, format!("{prefix}: {}", error.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_the_prefix_that_people_search_for() {
        let told = |code, doing| failed(doing, &ApiError::new(code, "why")).message;
        assert_eq!(told(Code::PortTaken, Doing::Create), "CannotStartContainerError: port is already allocated: why");
        assert_eq!(told(Code::PortsExhausted, Doing::Create), "HostConfigError: error retrieving docker port map: why");
        assert_eq!(told(Code::NoSuchImage, Doing::Create), "CannotPullContainerError: why");
        assert_eq!(
            told(Code::Kernel, Doing::Create),
            "ContainerNetworkingError: container resource provisioning: failed to setup network namespace: why"
        );
        assert_eq!(told(Code::Runtime, Doing::Create), "CannotCreateContainerError: why");
        assert_eq!(told(Code::Kernel, Doing::Start), "CannotStartContainerError: why");
    }
}
