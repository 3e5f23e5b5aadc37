//! The queries of the dashboards' files.

use std::{fs, path::Path};

use serde_json::Value;

/// A query of a dashboard.
#[derive(Debug)]
pub struct Query {
    /// The title of its panel, or the name of its annotation.
    pub title: String,
    /// With the variables replaced by what Grafana shows first, for a scrape every second.
    pub text: String,
    pub is_annotation: bool,
}

/// Every query of a dashboard's file, including those of panels inside rows.
pub fn queries(file: &Path) -> anyhow::Result<Vec<Query>> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let mut found = Vec::new();
    panels(&dashboard, &mut found)?;
    let annotations = dashboard
        .pointer("/annotations/list")
        .and_then(Value::as_array);
    for annotation in annotations.into_iter().flatten() {
        found.push(Query {
            title: text(annotation, "/name").to_owned(),
            text: filled_in(text(annotation, "/target/expr"))?,
            is_annotation: true,
        });
    }
    Ok(found)
}

fn panels(parent: &Value, found: &mut Vec<Query>) -> anyhow::Result<()> {
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned();
    for panel in &list(parent, "panels").unwrap_or_default() {
        panels(panel, found)?;
        for target in &list(panel, "targets").unwrap_or_default() {
            found.push(Query {
                title: text(panel, "/title").to_owned(),
                text: filled_in(text(target, "/expr"))?,
                is_annotation: false,
            });
        }
    }
    Ok(())
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    let text = value.pointer(at).and_then(Value::as_str);
    text.unwrap_or_default()
}

/// Replaces the variables as Grafana does.
fn filled_in(query: &str) -> anyhow::Result<String> {
    let mut query = query.to_owned();
    for (variable, value) in [
        ("__rate_interval", "10s"),
        ("__interval", "10s"),
        ("__range", "5m"),
        ("product", ".*"),
        ("instance", ".*"),
        ("job", ".*"),
    ] {
        query = query.replace(&format!("${{{variable}}}"), value);
        query = query.replace(&format!("${{{variable}:regex}}"), value);
        query = query.replace(&format!("${variable}"), value);
    }
    // `$1` is of label_replace.
    let unknown = query.replace("$1", "").contains('$');
    anyhow::ensure!(!unknown, "an unknown variable in {query}");
    Ok(query)
}
