//! The text of `/metrics`, read as Prometheus would.

#[derive(Debug)]
pub(crate) struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(Sample::parse)
                .collect(),
        )
    }

    /// The sum of all samples of this name that carry these labels; `None` when there is none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self
            .0
            .iter()
            .filter(|sample| sample.is(name, labels))
            .peekable();
        found.peek()?;
        Some(found.map(|sample| sample.value).sum())
    }

    /// Whether these samples are there and sum up to this whole number.
    pub(crate) fn shows(&self, name: &str, labels: &[(&str, &str)], wanted: u32) -> bool {
        let value = self.value(name, labels);
        value.is_some_and(|value| (value - f64::from(wanted)).abs() < 0.01)
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|sample| sample.name.as_str()).collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = format!(",{}", labels.trim_end_matches('}'));
        Some(Self {
            name: name.to_owned(),
            labels,
            value: value.parse().ok()?,
        })
    }

    fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let carries =
            |(label, value): &(&str, &str)| self.labels.contains(&format!(",{label}=\"{value}\""));
        self.name == name && labels.iter().all(carries)
    }
}
