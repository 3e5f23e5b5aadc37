//! Request extraction and validation, in the order of the contract: size, body time-out, media
//! type, token and role, JSON, values. Extracted values are never validated again.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    RequestPartsExt,
    body::{Body, Bytes},
    extract::{FromRequestParts, Path, Query, Request},
    http::{Extensions, HeaderMap, header, request},
};
use chrono::{DateTime, Utc};
use garde::Validate;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    SharedState,
    auth::{self, Role, User},
    observe::Began,
    problem::{FieldError, Problem},
};
use crate::domain::{Actor, ActorRole, UserId, references_like};

/// The largest body, in bytes.
pub(super) const BODY_MAX: usize = 16 * 1024;

/// The share of the request time-out that the body may take; the rest is for the response.
const BODY_WITHIN: f64 = 0.4;

/// The caller, headers and validated body of a request.
#[derive(Debug)]
pub(super) struct Sent<T> {
    pub user: User,
    pub headers: HeaderMap,
    pub body: T,
    /// When the request's head arrived; its time-out counts from then.
    pub began: Instant,
    extensions: Extensions,
}

impl<T> Sent<T> {
    /// The caller, for the audit trail.
    pub(super) fn actor(&self) -> Arc<Actor> {
        actor(&self.user, &self.headers, &self.extensions)
    }
}

/// The caller of a request, for the audit trail.
pub(super) fn actor(user: &User, headers: &HeaderMap, extensions: &Extensions) -> Arc<Actor> {
    Arc::new(Actor {
        id: UserId::clone(&user.id),
        role: match user.role {
            Role::Admin => ActorRole::Admin,
            Role::Buyer => ActorRole::Buyer,
        },
        request_id: Began::request_id(headers, extensions),
        trace: Began::trace(extensions),
    })
}

/// Reads a JSON body from a user.
pub(super) async fn from_user<T>(state: &SharedState, request: Request) -> Result<Sent<T>, Problem>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    read(state, request, |_| Ok(())).await
}

/// Reads a JSON body from an admin.
pub(super) async fn from_admin<T>(state: &SharedState, request: Request) -> Result<Sent<T>, Problem>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    read(state, request, require_admin).await
}

/// # Errors
/// [`Problem::Forbidden`] unless the user is an admin.
pub(super) fn require_admin(user: &User) -> Result<(), Problem> {
    match user.role {
        Role::Admin => Ok(()),
        Role::Buyer => Err(Problem::Forbidden),
    }
}

/// Whether the request has a valid token of an admin. Reads of products need no token, so that an
/// invalid one counts as none, and that they never wait for the identity provider.
pub(super) fn is_admin(state: &SharedState, headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION)
        && (state.keys.known_user(headers)).is_some_and(|user| user.role == Role::Admin)
}

async fn read<T>(
    state: &SharedState,
    request: Request,
    authorize: impl Fn(&User) -> Result<(), Problem>,
) -> Result<Sent<T>, Problem>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    let began = Began::of(&request);
    let (parts, body) = request.into_parts();
    let bytes = bytes(state, &parts.headers, body, BODY_MAX).await?;
    if !is_json(&parts.headers) {
        return Err(Problem::UnsupportedMediaType);
    }
    let user = state.keys.user(&parts.headers).await?;
    authorize(&user)?;
    let body = checked(&bytes)?;
    Ok(Sent {
        user,
        headers: parts.headers,
        body,
        began,
        extensions: parts.extensions,
    })
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn bytes(
    state: &SharedState,
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
) -> Result<Bytes, Problem> {
    let within = state.request_timeout.mul_f64(BODY_WITHIN);
    let length = content_length(headers).unwrap_or_default();
    let is_long = length > limit;
    let read = async {
        if is_long {
            // Who expects a `100 Continue` has sent nothing of the body yet.
            if length <= DRAINED_MAX && !headers.contains_key(header::EXPECT) {
                drain(&mut body).await;
            }
            return Err(Problem::PayloadTooLarge { limit });
        }
        match Limited::new(&mut body, limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                drain(&mut body).await;
                Err(Problem::PayloadTooLarge { limit })
            }
            Err(_) => Err(Problem::MalformedJson {
                detail: "it ended early".to_owned(),
            }),
        }
    };
    match timeout(within, read).await {
        Ok(read) => read,
        Err(_) if is_long => Err(Problem::PayloadTooLarge { limit }),
        Err(_) => Err(Problem::RequestTimeout),
    }
}

/// The most of a body over the limit that is read before it is refused, in bytes.
const DRAINED_MAX: usize = 256 * 1024;

/// Reads the rest of a body that is too long and not very long: a client that still sends when the
/// connection closes gets a broken pipe instead of the refusal.
async fn drain(body: &mut Body) {
    let mut left = DRAINED_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    length.parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase());
    essence.is_some_and(|essence| {
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// Parses and validates a body.
pub(super) fn checked<T>(bytes: &[u8]) -> Result<T, Problem>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    let body: T = parse(bytes)?;
    body.validate().map_err(|report| invalid(&report))?;
    Ok(body)
}

/// Syntax errors are `malformed_json`; schema errors name the field.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde accepts an array for a struct; the contract does not.
    let object = bytes.trim_ascii_start().first() == Some(&b'{');
    if object && let Ok(body) = serde_json::from_slice(bytes) {
        return Ok(body);
    }
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return Err(Problem::MalformedJson {
            detail: error.to_string(),
        });
    }
    if !object {
        return Err(Problem::invalid("body", "must be an object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => Err(Problem::invalid("body", "has more than one value")),
        Err(error) if error.inner().is_data() => Err(Problem::InvalidRequest {
            errors: vec![schema_error(&error)],
        }),
        Err(error) => Err(Problem::MalformedJson {
            detail: error.inner().to_string(),
        }),
    }
}

/// Names the field by the name between backticks in serde's message, or by its path.
fn schema_error(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    let message = error.inner().to_string();
    let message = message
        .rsplit_once(" at line")
        .map_or(message.as_str(), |(text, _)| text);
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .and_then(|rest| rest.split('`').next());
    let path = error.path().to_string();
    let field = match named {
        Some(name) => name.to_owned(),
        None if path == "." => "body".to_owned(),
        None => path,
    };
    FieldError::new(field, message)
}

fn invalid(report: &garde::Report) -> Problem {
    Problem::InvalidRequest {
        errors: report
            .iter()
            .map(|(path, error)| FieldError::new(path.to_string(), error.message()))
            .collect(),
    }
}

/// The UUID in a path; `None` for any other text, which no resource has as its id.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathId(Option<Uuid>);

impl PathId {
    /// # Errors
    /// `missing` when the path has no valid UUID.
    pub(super) fn or(self, missing: Problem) -> Result<Uuid, Problem> {
        self.0.ok_or(missing)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut request::Parts,
        _state: &S,
    ) -> Result<Self, Infallible> {
        let text = parts.extract::<Path<String>>().await;
        Ok(Self(
            text.ok().and_then(|Path(text)| Uuid::parse_str(&text).ok()),
        ))
    }
}

/// The query string, each parameter at most once.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + 'static> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, _state: &S) -> Result<Self, Problem> {
        match parts.extract::<Query<T>>().await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::invalid("query", rejection.body_text())),
        }
    }
}

/// Parses one parameter of a query string.
pub(super) fn parameter<T: std::str::FromStr>(
    name: &'static str,
    value: Option<&str>,
    must_be: &str,
) -> Result<Option<T>, Problem> {
    match value {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Problem::invalid(name, format!("must be {must_be}"))),
        },
    }
}

/// A parameter that is the reference of an order: what a person may mean by it.
pub(super) fn references(value: Option<&str>) -> Result<Option<Vec<String>>, Problem> {
    match value {
        Some(text) if text.trim().is_empty() => {
            let must_be = "must be a reference such as FS-0123-4567-89AB";
            Err(Problem::invalid("reference", must_be))
        }
        text => Ok(text.map(references_like)),
    }
}

/// A parameter that is the `sub` of a token.
pub(super) fn user(name: &'static str, value: Option<String>) -> Result<Option<String>, Problem> {
    match value {
        Some(user) if !auth::is_user_id(&user) => {
            let must_be = "must be 1 to 255 bytes without control characters";
            Err(Problem::invalid(name, must_be))
        }
        user => Ok(user),
    }
}

/// A parameter that is a time, within the years that every database can represent: an earlier or later
/// time finds the same rows as the first or last of them.
pub(super) fn time(
    name: &'static str,
    value: Option<&str>,
) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some(text) = value else {
        return Ok(None);
    };
    let Ok(time) = DateTime::parse_from_rfc3339(text) else {
        let must_be = "must be a time as of RFC 3339, such as 2027-05-01T10:00:00Z";
        return Err(Problem::invalid(name, must_be));
    };
    Ok(Some(
        time.to_utc().clamp(DateTime::UNIX_EPOCH, end_of_time()),
    ))
}

/// The last second of the year 9999.
fn end_of_time() -> DateTime<Utc> {
    DateTime::from_timestamp(253_402_300_799, 0).unwrap_or(DateTime::UNIX_EPOCH)
}

/// The maximum and the default rows of a page.
pub(super) const PAGE_MAX: u64 = 100;
const PAGE_DEFAULT: u64 = 50;

/// The parameter `limit`.
pub(super) fn limit(value: Option<&str>) -> Result<u64, Problem> {
    let must_be = format!("a number from 1 to {PAGE_MAX}");
    match parameter("limit", value, &must_be)? {
        None => Ok(PAGE_DEFAULT),
        Some(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::invalid("limit", format!("must be {must_be}"))),
    }
}

/// The parameter `cursor`: the last id of the previous page.
pub(super) fn cursor(value: Option<&str>) -> Result<Option<Uuid>, Problem> {
    parameter("cursor", value, "the next_cursor of a page")
}

/// Splits up to `limit + 1` rows into a page and the cursor of the next page, if there is one.
pub(super) fn page<T>(
    mut rows: Vec<T>,
    limit: u64,
    id: impl Fn(&T) -> Uuid,
) -> (Vec<T>, Option<Uuid>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(id);
    (rows, next)
}

/// Rejects control characters but line breaks in free text; PostgreSQL cannot store NUL.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes the context by reference"
)]
pub(super) fn printable(value: &str, _context: &()) -> garde::Result {
    if value.chars().any(|c| c.is_control() && c != '\n') {
        return Err(garde::Error::new("must not contain control characters"));
    }
    Ok(())
}
