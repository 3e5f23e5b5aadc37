//! Turns the text format of Prometheus, as the recorder writes it, into OpenMetrics 1.0.
//!
//! The formats differ in little: a counter's family has no `_total`, units and the end are stated,
//! bounds of buckets are floats, and samples may have exemplars.
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>

use std::{collections::HashMap, io};

use crate::metrics::http::{Exemplar, LATENCY};

pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The units that names of families end with.
const UNITS: [&str; 3] = ["seconds", "bytes", "ratio"];

/// Exemplars by the labels of their histogram, as the recorder writes them, and the bucket's bound.
pub type Exemplars = HashMap<(String, String), Exemplar>;

/// Writes the text format as OpenMetrics while the recorder renders it. Each family begins with its
/// HELP line, if it has one, and its TYPE line; each write is of whole lines.
#[derive(Debug)]
pub struct Writer<'a> {
    out: Vec<u8>,
    /// Name and help of the family that begins.
    help: String,
    exemplars: &'a Exemplars,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: Vec<u8>, exemplars: &'a Exemplars) -> Self {
        Self {
            out,
            help: String::new(),
            exemplars,
        }
    }

    /// The whole text.
    pub fn end(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"# EOF\n");
        self.out
    }

    fn line(&mut self, line: &str) {
        if let Some(described) = line.strip_prefix("# HELP ") {
            described.clone_into(&mut self.help);
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let help = std::mem::take(&mut self.help);
            self.family(typed, &help);
        } else {
            self.sample(line);
        }
    }

    /// Writes what describes a family: `typed` is its name and type, `help` its name and help.
    fn family(&mut self, typed: &str, help: &str) {
        let (name, kind) = typed.split_once(' ').unwrap_or((typed, "unknown"));
        let (family, kind) = match (name.strip_suffix("_total"), kind) {
            (Some(family), "counter") => (family, kind),
            // Its samples would have no valid name.
            (None, "counter") => (name, "unknown"),
            _ => (name, kind),
        };
        self.push(&["# TYPE ", family, " ", kind, "\n"]);
        let unit = family.rsplit('_').next().unwrap_or_default();
        if UNITS.contains(&unit) {
            self.push(&["# UNIT ", family, " ", unit, "\n"]);
        }
        if let Some((_, help)) = help.split_once(' ') {
            // The text format escapes all else, and quotes in labels only.
            let help = help.replace('"', "\\\"");
            self.push(&["# HELP ", family, " ", &help, "\n"]);
        }
    }

    fn sample(&mut self, text: &str) {
        let (series, value) = text.rsplit_once(' ').unwrap_or((text, "NaN"));
        let value = match value {
            "inf" => "+Inf",
            "-inf" => "-Inf",
            value => value,
        };
        // The bound is the last label, and its value has no quote.
        let bucket = series
            .strip_suffix("\"}")
            .and_then(|series| series.rsplit_once('"'))
            .filter(|(before, _)| before.ends_with("{le=") || before.ends_with(",le="));
        let Some((before, bound)) = bucket else {
            self.push(&[series, " ", value, "\n"]);
            return;
        };
        // Bounds are floats: `1` is `1.0`.
        let is_float = bound == "+Inf" || bound.contains(['.', 'e']);
        let fraction = if is_float { "" } else { ".0" };
        self.push(&[before, "\"", bound, fraction, "\"} ", value]);
        self.exemplar(before, bound);
        self.push(&["\n"]);
    }

    /// Writes the exemplar of a bucket, if it has one; `before` is its series up to the bound.
    fn exemplar(&mut self, before: &str, bound: &str) {
        let labels = before
            .strip_prefix(LATENCY)
            .and_then(|rest| rest.strip_prefix("_bucket{"))
            .and_then(|labels| labels.strip_suffix("le="))
            .map(|labels| labels.trim_end_matches(','));
        let exemplar =
            labels.and_then(|labels| self.exemplars.get(&(labels.to_owned(), bound.to_owned())));
        if let Some(exemplar) = exemplar {
            let Exemplar {
                request,
                seconds,
                at,
            } = exemplar;
            let at = at.as_secs_f64();
            let text = format!(" # {{request_id=\"{request}\"}} {seconds} {at:.3}");
            self.push(&[&text]);
        }
    }

    /// Not with `write!`, whose machinery costs more than the rest of a line.
    fn push(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
    }
}

impl io::Write for Writer<'_> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(lines).map_err(io::Error::other)?;
        for line in text.lines().filter(|line| !line.is_empty()) {
            self.line(line);
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use super::*;

    fn from_text(text: &str, exemplars: &Exemplars) -> String {
        let mut writer = Writer::new(Vec::new(), exemplars);
        writer.write_all(text.as_bytes()).unwrap();
        String::from_utf8(writer.end()).unwrap()
    }

    #[test]
    fn families_units_and_bounds_are_written_as_open_metrics() {
        let text = "\
# HELP a_seconds_total Says \"no\".
# TYPE a_seconds_total counter
a_seconds_total{x=\"1\"} 3

# TYPE b gauge
b{x=\"le=\\\"1\\\"\"} inf
b{role=\"1\"} 2

# HELP c_bytes Sizes.
# TYPE c_bytes histogram
c_bytes_bucket{le=\"1\"} 1
c_bytes_bucket{x=\"y\",le=\"2.5\"} 1
c_bytes_bucket{le=\"+Inf\"} 2
c_bytes_sum 7.5
c_bytes_count 2

# TYPE odd counter
odd 1

";
        let expected = "\
# TYPE a_seconds counter
# UNIT a_seconds seconds
# HELP a_seconds Says \\\"no\\\".
a_seconds_total{x=\"1\"} 3
# TYPE b gauge
b{x=\"le=\\\"1\\\"\"} +Inf
b{role=\"1\"} 2
# TYPE c_bytes histogram
# UNIT c_bytes bytes
# HELP c_bytes Sizes.
c_bytes_bucket{le=\"1.0\"} 1
c_bytes_bucket{x=\"y\",le=\"2.5\"} 1
c_bytes_bucket{le=\"+Inf\"} 2
c_bytes_sum 7.5
c_bytes_count 2
# TYPE odd unknown
odd 1
# EOF
";
        assert_eq!(from_text(text, &Exemplars::default()), expected);
    }

    #[test]
    fn an_exemplar_follows_the_count_of_its_bucket() {
        let labels = "method=\"GET\",route=\"/x\"";
        let exemplar = Exemplar {
            request: "abc".to_owned(),
            seconds: 0.7,
            at: Duration::from_millis(1_500),
        };
        let exemplars = Exemplars::from([((labels.to_owned(), "1".to_owned()), exemplar)]);
        let bucket = |le: &str| format!("{LATENCY}_bucket{{{labels},le=\"{le}\"}} 1");
        let out = from_text(
            &format!("{}\n{}\n", bucket("1"), bucket("+Inf")),
            &exemplars,
        );
        let first = format!("{} # {{request_id=\"abc\"}} 0.7 1.500", bucket("1.0"));
        assert_eq!(out, format!("{first}\n{}\n# EOF\n", bucket("+Inf")));
    }
}
