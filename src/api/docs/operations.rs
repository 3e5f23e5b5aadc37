//! Completes the operations of the OpenAPI document: the problems that each one can answer with.
//!
//! A handler declares the codes of its own as the extension `x-codes`. The codes that follow from
//! what an operation is (it needs a token, it has a body) are added here, and all of them become
//! responses under the status that they are sent with.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use utoipa::openapi::{
    Content, ContentBuilder, Header, OpenApi, Ref, RefOr, Response,
    example::ExampleBuilder,
    path::Operation,
    schema::{ObjectBuilder, Type},
};

use crate::{
    api::problem::{title, type_of},
    domain::Code,
};

/// The extension that lists an operation's own codes.
pub(in crate::api) const CODES: &str = "x-codes";
const PROBLEM: &str = "application/problem+json";

/// What every operation can answer: the limit per address, a bug, a part that is silent, and a
/// query parameter that the operation does not have.
const ALWAYS: &[Code] = &[
    Code::InvalidRequest,
    Code::RateLimited,
    Code::Internal,
    Code::Unavailable,
];
const WITH_BODY: &[Code] = &[
    Code::PayloadTooLarge,
    Code::RequestTimeout,
    Code::UnsupportedMediaType,
    Code::MalformedJson,
];

/// Adds the problem responses to every operation of the document.
pub(super) fn complete(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            complete_operation(operation);
        }
    }
}

fn complete_operation(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            add_header(response, "X-Request-Id", Type::String, REQUEST_ID);
        }
    }
    let mut by_status: BTreeMap<u16, BTreeSet<Code>> = BTreeMap::new();
    for code in codes(operation) {
        by_status.entry(code.status()).or_default().insert(code);
    }
    for (status, codes) in by_status {
        let responses = &mut operation.responses.responses;
        let problem = problem_response(&codes);
        match responses.get_mut(&status.to_string()) {
            // A health check's own answer with the same status.
            Some(RefOr::T(own)) => own.content.extend(problem.content),
            Some(RefOr::Ref(_)) | None => {
                responses.insert(status.to_string(), problem.into());
            }
        }
    }
}

/// The operation's own codes and those that follow from its parts.
fn codes(operation: &mut Operation) -> Vec<Code> {
    let extensions = operation.extensions.as_mut();
    let own = extensions.and_then(|extensions| extensions.remove(CODES));
    let own = own.and_then(|own| serde_json::from_value::<Vec<Code>>(own).ok());
    let mut codes = own.unwrap_or_default();
    codes.extend(ALWAYS);
    if operation.security.is_some() {
        codes.push(Code::Unauthenticated);
    }
    if operation.request_body.is_some() {
        codes.extend(WITH_BODY);
    }
    codes
}

fn problem_response(codes: &BTreeSet<Code>) -> Response {
    let names: Vec<&str> = codes.iter().map(|code| code.name()).collect();
    let mut response = Response::new(names.join(", "));
    response
        .content
        .insert(PROBLEM.to_owned(), RefOr::T(problem_content(codes)));
    add_header(&mut response, "X-Request-Id", Type::String, REQUEST_ID);
    if codes.iter().any(|code| code.has_retry_after()) {
        let after = "Seconds to wait before another try";
        add_header(&mut response, "Retry-After", Type::Integer, after);
    }
    if codes.contains(&Code::Unauthenticated) {
        let scheme = "The scheme to send a token with: `Bearer`";
        add_header(&mut response, "WWW-Authenticate", Type::String, scheme);
    }
    if codes.contains(&Code::RateLimited) {
        for (name, description) in [
            ("RateLimit-Limit", "Requests that are allowed a minute"),
            ("RateLimit-Remaining", "Requests that are left: 0"),
            (
                "RateLimit-Reset",
                "Seconds until the full limit is available again",
            ),
        ] {
            add_header(&mut response, name, Type::Integer, description);
        }
    }
    response
}

/// The schema, with an example for each code.
fn problem_content(codes: &BTreeSet<Code>) -> Content {
    let examples = codes.iter().map(|&code| {
        let title = title(code);
        let example = json!({
            "type": type_of(code),
            "title": title,
            "status": code.status(),
            "detail": format!("{title}."),
            "code": code,
        });
        let example = ExampleBuilder::new().value(Some(example)).build();
        (code.name(), RefOr::T(example))
    });
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build()
}

const REQUEST_ID: &str = "The caller's `X-Request-Id`, or a new one";

fn add_header(response: &mut Response, name: &str, kind: Type, description: &str) {
    let mut header = Header::new(ObjectBuilder::new().schema_type(kind));
    header.description = Some(description.to_owned());
    response.headers.insert(name.to_owned(), header.into());
}
