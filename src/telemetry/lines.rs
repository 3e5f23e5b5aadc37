//! Log lines: an event is one line, and those of a request name it by its id and its `traceparent`.

use std::fmt::{self, Write};

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
};

use super::request::{self, Ids};

/// Lines for people: the ids are the last two fields.
#[derive(Debug)]
pub(super) struct Text(pub(super) Format<Full>);

/// JSON objects: the ids are members beside `fields`.
#[derive(Debug)]
pub(super) struct Object(pub(super) Format<Json>);

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let format = |writer: Writer<'_>| self.0.format_event(context, writer, event);
        write_named(writer, format, named_text)
    }
}

impl<S> FormatEvent<S, JsonFields> for Object
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let format = |writer: Writer<'_>| self.0.format_event(context, writer, event);
        write_named(writer, format, named_object)
    }
}

/// Writes a line, and with `name` the ids of the request that it belongs to, if there is one.
fn write_named(
    mut writer: Writer<'_>,
    format: impl Fn(Writer<'_>) -> fmt::Result,
    name: fn(&mut String, &Ids) -> fmt::Result,
) -> fmt::Result {
    let mut line = String::new();
    format(Writer::new(&mut line))?;
    request::with_ids(|ids| name(&mut line, ids)).unwrap_or(Ok(()))?;
    let text = line.trim_end();
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
        // Else what a panic or another server says could pass for a line of its own.
        let text = text.replace('\n', "\\n").replace('\r', "\\r");
        return writeln!(writer, "{text}");
    }
    writer.write_str(&line)
}

/// Adds the ids to a line. A caller chooses its request id, so that it is quoted.
fn named_text(line: &mut String, ids: &Ids) -> fmt::Result {
    line.truncate(line.trim_end().len());
    let request = ids.request();
    writeln!(
        line,
        " request_id={request:?} traceparent=\"{}\"",
        ids.trace
    )
}

fn named_object(line: &mut String, ids: &Ids) -> fmt::Result {
    let Some(members) = line.trim_end().strip_suffix('}') else {
        return Ok(());
    };
    line.truncate(members.len());
    let request = serde_json::Value::from(ids.request());
    writeln!(
        line,
        ",\"request_id\":{request},\"traceparent\":\"{}\"}}",
        ids.trace
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TraceContext;

    fn ids(request: &str) -> Ids {
        let trace = TraceContext {
            trace_id: 1,
            span_id: 2,
            is_sampled: false,
        };
        Ids::of_caller(request, trace).unwrap()
    }

    /// The request id is what the caller sent.
    #[test]
    fn a_request_id_cannot_forge_a_line() {
        let hostile = ids(r#"a"}\,"level":"x"#);
        let mut object = "{\"level\":\"INFO\"}\n".to_owned();
        named_object(&mut object, &hostile).unwrap();
        let read: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert_eq!(read["level"], "INFO");
        assert_eq!(read["request_id"], hostile.request());
        assert_eq!(
            read["traceparent"],
            "00-00000000000000000000000000000001-0000000000000002-00"
        );
        let mut text = "INFO done\n".to_owned();
        named_text(&mut text, &ids(r#"a"b"#)).unwrap();
        assert!(
            text.starts_with(r#"INFO done request_id="a\"b" traceparent="00-"#),
            "{text}"
        );
        assert!(text.ends_with("-00\"\n"), "{text}");
    }
    /// What a panic or another server says may have any form.
    #[test]
    fn a_text_of_several_lines_is_logged_as_one() {
        let mut text = String::new();
        let event = |mut writer: Writer<'_>| writer.write_str("WARN one\n INFO two\r three\n\n");
        write_named(Writer::new(&mut text), event, named_text).unwrap();
        assert_eq!(text, "WARN one\\n INFO two\\r three\n");
    }
}
