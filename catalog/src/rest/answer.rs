//! Errors as the protocol shapes them.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::{Error, Kind};

/// Bytes of the framework's own message, at most.
const MESSAGE: usize = 4096;

/// An error on its way to a client.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    exception: &'static str,
    message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (status, exception) = match error.kind() {
            Kind::Invalid if error.concerns("view") => (StatusCode::BAD_REQUEST, "IllegalArgumentException"),
            Kind::Invalid => (StatusCode::BAD_REQUEST, "BadRequestException"),
            Kind::NotFound if error.concerns("namespace") => (StatusCode::NOT_FOUND, "NoSuchNamespaceException"),
            Kind::NotFound if error.concerns("location") => (StatusCode::NOT_FOUND, "NotFoundException"),
            Kind::NotFound if error.concerns("view") => (StatusCode::NOT_FOUND, "NoSuchViewException"),
            Kind::NotFound if error.concerns("plan-id") => (StatusCode::NOT_FOUND, "NoSuchPlanIdException"),
            Kind::NotFound if error.concerns("plan-task") => (StatusCode::NOT_FOUND, "NoSuchPlanTaskException"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "NoSuchTableException"),
            Kind::Exists => (StatusCode::CONFLICT, "AlreadyExistsException"),
            // It is the change that conflicts, with what the table promises; who asks may make others.
            Kind::Forbidden if error.concerns("contract") => (StatusCode::CONFLICT, "CommitFailedException"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "ForbiddenException"),
            Kind::Conflict if error.message().contains("not empty") => {
                (StatusCode::CONFLICT, "NamespaceNotEmptyException")
            }
            Kind::Conflict => (StatusCode::CONFLICT, "CommitFailedException"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
            Kind::Unknown => (StatusCode::INTERNAL_SERVER_ERROR, "CommitStateUnknownException"),
            Kind::Corrupt | Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        };
        Self { status, exception, message: error.to_string() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(exception = self.exception, message = %self.message, "a catalog request failed");
        }
        let (status, body) = self.body();
        (status, Json(body)).into_response()
    }
}

impl Failure {
    /// Its status and its body.
    pub fn body(&self) -> (StatusCode, serde_json::Value) {
        let error = json!({ "message": self.message, "type": self.exception, "code": self.status.as_u16() });
        (self.status, json!({ "error": error }))
    }

    /// 422: well-formed, and contradicts itself.
    pub fn unprocessable(message: String) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, exception: "UnprocessableEntityException", message }
    }

    /// 413.
    pub fn too_large() -> Self {
        let message = "the body is too long, or ended early".to_string();
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, exception: "BadRequestException", message }
    }

    /// 404: not a route of ours.
    pub fn no_endpoint() -> Self {
        let message = "there is no such endpoint; GET /v1/config lists those there are".to_string();
        Self { status: StatusCode::NOT_FOUND, exception: "NoSuchEndpointException", message }
    }
}

/// The name of an error that no handler of ours has shaped.
fn exception_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        404 => "NotFoundException",
        405 => "UnsupportedOperationException",
        401 => "NotAuthorizedException",
        403 => "ForbiddenException",
        503 => "ServiceUnavailableException",
        429 => "SlowDownException",
        400..500 => "BadRequestException",
        _ => "InternalServerError",
    }
}

/// Gives every error the protocol's form: those of the framework too, as a path that is not UTF-8, a body that is too
/// long, a method that a route does not have.
pub async fn shape(response: Response) -> Response {
    let status = response.status();
    let shaped = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if shaped || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let said = axum::body::to_bytes(body, MESSAGE).await.unwrap_or_default();
    let message = match std::str::from_utf8(&said) {
        Ok(text) if !text.is_empty() => text.to_string(),
        _ => status.canonical_reason().unwrap_or("the request failed").to_string(),
    };
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut answer = Failure { status, exception: exception_of(status), message }.into_response();
    answer.headers_mut().extend(parts.headers);
    answer
}
