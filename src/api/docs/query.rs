//! The query parameters of each operation, as the OpenAPI document lists them: a request with any
//! other is refused, because a misspelt filter would answer with more than was asked for.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{MatchedPath, Query, Request},
    http::Method,
};
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Operation, ParameterIn},
};

use crate::api::problem::{FieldError, Problem};

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
    /// [`Problem::InvalidRequest`] that names every parameter which the operation does not have.
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
        let sent = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
        let Query(sent) = sent.map_err(|error| Problem::invalid("query", error.body_text()))?;
        let unknown = sent.into_iter().filter(|(name, _)| !names.contains(name));
        let errors: Vec<_> = unknown
            .map(|(name, _)| FieldError::new(name, "is not a parameter of this call"))
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::InvalidRequest { errors })
        }
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
