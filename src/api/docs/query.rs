//! The query parameters of each operation, as the OpenAPI document lists them: a request with any
//! other is refused, because a misspelt filter would answer with more than was asked for.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{MatchedPath, Query, Request},
    http::{Method, Uri},
};
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Operation, ParameterIn},
};

use crate::api::problem::{FieldError, Problem};

/// A query with more parameters is refused unread; no call has a tenth of them.
const PARAMETERS_MAX: usize = 100;
/// A refusal names so many unknown parameters.
const NAMED_MAX: usize = 20;

/// The names by path and method; clones share them.
#[derive(Clone, Debug, Default)]
pub(in crate::api) struct QueryNames(Arc<HashMap<String, Names>>);

/// The names of one path's operations.
type Names = HashMap<Method, Vec<String>>;

impl QueryNames {
    pub(in crate::api) fn of(document: &OpenApi) -> Self {
        let paths = document.paths.paths.iter().map(|(path, item)| {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            let names = operations
                .into_iter()
                .filter_map(|(method, operation)| Some((method, names(operation.as_ref()?))));
            (path.clone(), names.collect())
        });
        Self(Arc::new(paths.collect()))
    }

    /// # Errors
    /// [`Problem::InvalidRequest`] that names the parameters which the operation does not have.
    pub(in crate::api) fn check(&self, request: &Request) -> Result<(), Problem> {
        if request.uri().query().is_none_or(str::is_empty) {
            return Ok(());
        }
        let method = match *request.method() {
            Method::HEAD => &Method::GET,
            ref method => method,
        };
        let path = request.extensions().get::<MatchedPath>();
        let names = path.and_then(|path| self.0.get(path.as_str())?.get(method));
        let Some(names) = names else {
            // Not an operation of the document, such as a file of the documentation's page.
            return Ok(());
        };
        check(request.uri(), names)
    }
}

fn check(uri: &Uri, names: &[String]) -> Result<(), Problem> {
    let query = uri.query().unwrap_or_default();
    let count = query.split('&').filter(|pair| !pair.is_empty()).count();
    if count > PARAMETERS_MAX {
        let message = format!("has more than {PARAMETERS_MAX} parameters");
        return Err(Problem::invalid("query", message));
    }
    let sent = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Query(sent) = sent.map_err(|error| Problem::invalid("query", error.body_text()))?;
    let mut unknown = sent.into_iter().filter(|(name, _)| !names.contains(name));
    let mut errors: Vec<_> = (unknown.by_ref().take(NAMED_MAX))
        .map(|(name, _)| FieldError::new(name, "is not a parameter of this call"))
        .collect();
    let more = unknown.count();
    if more > 0 {
        let message = format!("has {more} more parameters that this call does not have");
        errors.push(FieldError::new("query", message));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::InvalidRequest { errors })
    }
}

fn names(operation: &Operation) -> Vec<String> {
    let parameters = operation.parameters.iter().flatten();
    parameters
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => {
                Some(parameter.name.clone())
            }
            RefOr::T(_) | RefOr::Ref(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The errors for this query of a call with the parameter `limit`.
    fn errors(query: &str) -> Vec<FieldError> {
        let uri = format!("/products?{query}").parse().unwrap();
        match check(&uri, &["limit".to_owned()]) {
            Err(Problem::InvalidRequest { errors }) => errors,
            Err(other) => panic!("{other:?}"),
            Ok(()) => Vec::new(),
        }
    }

    #[test]
    fn a_refusal_names_a_bounded_number_of_parameters() {
        assert_eq!(errors("limit=1"), []);
        let many: Vec<_> = (0..99).map(|number| format!("p{number}")).collect();
        let many = errors(&format!("limit=1&{}", many.join("&")));
        assert_eq!(many.len(), 21);
        assert_eq!(many[19].field, "p19");
        assert_eq!(many[20].field, "query");
        assert!(many[20].message.contains("79 more"), "{many:?}");

        let flood = errors(&"a&".repeat(16_000));
        assert_eq!(flood.len(), 1);
        assert_eq!(flood[0].field, "query");
    }

    #[test]
    fn a_refusal_shortens_a_name() {
        let long = errors(&"%C3%BC".repeat(5_000));
        assert_eq!(long[0].field.chars().count(), 101);
        assert!(long[0].field.ends_with('\u{2026}'), "{long:?}");
    }
}
