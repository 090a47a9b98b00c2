//! Errors as a caller of the API sees them: a stable code and one sentence.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// A stable, machine-readable reason. It never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// The text of the code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Status of the HTTP answer (RFC 9110 §15).
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// The request is not well-formed JSON, or has an unknown or missing field.
    BadRequest = "bad-request", 400;
    /// A value of the request is not allowed.
    Invalid = "invalid", 400;
    /// A port mapping is wrong in itself.
    InvalidPort = "invalid-port", 400;
    /// The network mode does not exist.
    UnknownMode = "unknown-mode", 400;
    /// Options exclude each other.
    Conflict = "conflicting-options", 400;
    /// The mode cannot do what was asked for.
    UnsupportedInMode = "unsupported-in-mode", 400;
    /// The host port is published or held already.
    PortTaken = "port-taken", 409;
    /// No run of free ports as long as asked for.
    PortsExhausted = "ports-exhausted", 409;
    /// The host has no such address.
    NoSuchHostAddress = "no-such-host-address", 400;
    /// The address belongs to somebody, or is the network's own.
    AddressTaken = "address-taken", 409;
    /// The address is outside of the network.
    AddressOutside = "address-outside", 400;
    /// Every address of the pool is given out.
    PoolExhausted = "pool-exhausted", 409;
    /// The hardware address is in use on the network.
    MacTaken = "mac-taken", 409;
    /// The name is in use.
    NameTaken = "name-taken", 409;
    /// A parent link that is not there, or on which nothing can be made.
    BadParent = "bad-parent", 400;
    /// A capability that leads round security groups.
    SgBypass = "security-group-bypass", 400;
    /// No slot is left for an ENI under the host's instance profile.
    ResourceEni = "resource-eni", 409;
    /// A field of a task definition without which the application would behave differently.
    Unsupported = "unsupported-field", 400;
    /// An ENI or its task that only its task's end releases.
    Managed = "managed", 409;
    /// No such task, network or object.
    NotFound = "not-found", 404;
    /// The path of the API exists, and not with this method.
    MethodNotAllowed = "method-not-allowed", 405;
    /// A link to something that cannot be linked to.
    BadLink = "bad-link", 400;
    /// The task is not in the state that the request needs.
    WrongState = "wrong-state", 409;
    /// The namespace cannot be used.
    BadNetns = "bad-netns", 400;
    /// The caller may not do this.
    Forbidden = "forbidden", 403;
    /// The request's body is too large.
    TooLarge = "too-large", 413;
    /// The image cannot be used.
    BadImage = "bad-image", 400;
    /// This host, or the registry, has no such image.
    NoSuchImage = "no-such-image", 404;
    /// A task uses the image.
    ImageInUse = "image-in-use", 409;
    /// The registry does not accept the user or the password, or wants one.
    RegistryDenied = "registry-denied", 401;
    /// The certificate of the registry does not verify.
    RegistryCertificate = "registry-certificate", 502;
    /// The registry does not answer, or answers with an error.
    RegistryFailed = "registry-failed", 502;
    /// The root directory, volume source or file is not there.
    NoSuchPath = "no-such-path", 400;
    /// The command cannot be executed.
    CommandNotExecutable = "command-not-executable", 400;
    /// The command does not exist.
    CommandNotFound = "command-not-found", 400;
    /// A program that netmode drives is missing.
    MissingProgram = "missing-program", 500;
    /// A limit of this machine was reached.
    Limit = "limit", 507;
    /// The kernel refused a step; everything before it was taken back.
    Kernel = "kernel", 500;
    /// The OCI runtime or monitor failed.
    Runtime = "runtime", 500;
    /// The agent could not read or write its records.
    State = "state", 500;
    /// The agent does not answer.
    AgentUnreachable = "agent-unreachable", 503;
    /// The agent ends, or is not ready yet.
    Unavailable = "unavailable", 503;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    /// A code of a newer agent reads as [`Code::Kernel`]: clients tolerate what they do not know.
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Ok(Self::ALL.iter().copied().find(|c| c.as_str() == text).unwrap_or(Self::Kernel))
    }
}

/// An error with its code: the body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// For programs.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: Code,
    /// For people: names the object, its owner and the next step.
    pub message: String,
}

impl ApiError {
    /// An error of a code and a sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
