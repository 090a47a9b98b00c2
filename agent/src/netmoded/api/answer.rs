//! Answers: values as JSON, errors with code and sentence; bodies read the same way everywhere.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use netmode_model::{ApiError, Code};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
            refused(Code::BadRequest, format!("the request's body {what}: {e}; see /v1/openapi.json"))
        })
    }
}

/// A path that the API does not have.
pub async fn no_such_route() -> Failed {
    Failed(ApiError::new(Code::NotFound, "no such path in this API; see /v1/openapi.json"))
}

/// A path that the API has, with another method.
pub async fn no_such_method() -> Failed {
    Failed(ApiError::new(Code::NotFound, "no such method for this path; see /v1/openapi.json"))
}
