//! Answers: values as JSON, errors with code and sentence; bodies read the same way everywhere.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use netmode_model::api::NetworkRef;
use netmode_model::{ApiError, Code, Mac, Name, PortSpec, RequestedMode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A value as JSON with status 200.
pub struct Json<T>(pub T);

/// An error with its code's status.
pub struct Failed(pub ApiError);

/// What a handler answers.
pub type Answer<T> = Result<T, Failed>;

impl From<ApiError> for Failed {
    fn from(e: ApiError) -> Self {
        Self(e)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A body of JSON; an empty body is `{}`.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failed;
    async fn from_request(request: Request, state: &S) -> Result<Self, Failed> {
        let refused = |code, text: String| Failed(ApiError::new(code, text));
        let bytes = Bytes::from_request(request, state).await.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => refused(
                Code::TooLarge,
                format!("the request's body is larger than {} bytes; send less", super::MAX_BODY),
            ),
            _ => refused(Code::BadRequest, "the request's body could not be read; send it again".into()),
        })?;
        let text = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        let value = serde_json::from_slice(text);
        value.map(Self).map_err(|e| {
            let what = if e.is_data() { "cannot be used" } else { "is not well-formed JSON" };
            refused(code_of(text), format!("the request's body {what}: {e}; see /v1/openapi.json"))
        })
    }
}

/// The code that the command line gives for the same mistake.
fn code_of(text: &[u8]) -> Code {
    let body: Value = serde_json::from_slice(text).unwrap_or_default();
    let word = |key: &str| body.get(key).and_then(Value::as_str);
    let ports = body.pointer("/net/ports").and_then(Value::as_array);
    if word("network").is_some_and(|w| w.parse::<NetworkRef>().is_err())
        || word("mode").is_some_and(|w| w.parse::<RequestedMode>().is_err())
    {
        return Code::UnknownMode;
    }
    if ports.into_iter().flatten().filter_map(Value::as_str).any(|p| p.parse::<PortSpec>().is_err()) {
        return Code::InvalidPort;
    }
    let addresses = ["/net/macAddress", "/net/ip", "/net/ip6"].iter().filter_map(|p| body.pointer(p)?.as_str());
    let unusable = |a: &str| a.parse::<Mac>().is_err() && a.parse::<std::net::IpAddr>().is_err();
    if word("name").is_some_and(|w| w.parse::<Name>().is_err()) || addresses.into_iter().any(unusable) {
        return Code::Invalid;
    }
    Code::BadRequest
}

/// A name in a body, which serde cannot check where it has a default.
///
/// # Errors
/// It is none.
pub fn named(what: &str, name: &str) -> Result<String, ApiError> {
    match name.parse::<Name>() {
        Ok(name) => Ok(name.to_string()),
        Err(error) => Err(ApiError::new(Code::Invalid, format!("the {what} needs another name: {error}"))),
    }
}

/// A path that the API does not have.
pub async fn no_such_route() -> Failed {
    Failed(ApiError::new(Code::NotFound, "no such path in this API; see /v1/openapi.json"))
}

/// A path that the API has, with another method.
pub async fn no_such_method() -> Failed {
    Failed(ApiError::new(Code::MethodNotAllowed, "no such method for this path; see /v1/openapi.json"))
}
