//! Problems as RFC 9457 has them: what is wrong and what the sender does about it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::{Error, Kind};

/// A request that is not answered with success.
#[derive(Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    retry_after: Option<u32>,
    more: Option<(&'static str, Value)>,
}

impl Problem {
    /// A problem; `detail` says what to do.
    pub fn new(status: StatusCode, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, slug, title, detail: detail.into(), retry_after: None, more: None }
    }

    /// When to try again, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// One more member.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more = Some((name, value));
        self
    }

    /// Try again later, for this reason.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", "Too much is waiting", detail).retry_after(1)
    }

    /// The body is larger than allowed.
    pub fn too_large(most: u64) -> Self {
        let detail = format!("the body is longer than {most} bytes; send it in parts, or raise http.body_most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large", detail)
    }
}

/// What an error means to a sender: its own fault is 422, ours or the disk's is 503 or 500.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error.kind() {
            Kind::Invalid | Kind::Forbidden | Kind::Exists => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unreadable", "The body cannot be read", detail)
            }
            Kind::Internal => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "A bug of ours", detail),
            _ => Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Storage failed", detail).retry_after(1),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:laked:problem:{}", self.slug),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some((name, value)) = self.more {
            body[name] = value;
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
