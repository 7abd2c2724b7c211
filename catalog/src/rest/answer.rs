//! Errors as the protocol shapes them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::{Error, Kind};

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
            Kind::NotFound => (StatusCode::NOT_FOUND, "NoSuchTableException"),
            Kind::Exists => (StatusCode::CONFLICT, "AlreadyExistsException"),
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
        let body = json!({ "error": {
            "message": self.message, "type": self.exception, "code": self.status.as_u16(),
        }});
        (self.status, Json(body)).into_response()
    }
}

impl Failure {
    /// 422: well-formed, and contradicts itself.
    pub fn unprocessable(message: String) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, exception: "UnprocessableEntityException", message }
    }
}
