//! Parser of the Prometheus text format of `/metrics`.

/// Samples of one service, or of several together.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(Sample::parse).collect())
    }

    /// Adds the samples of another service.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The sum of all samples of this name that carry these labels; `None` when there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self
            .0
            .iter()
            .filter(|sample| sample.is(name, labels))
            .peekable();
        found.peek()?;
        Some(found.map(|sample| sample.value).sum())
    }

    /// Whether these samples exist and sum up to this whole number.
    pub fn shows(&self, name: &str, labels: &[(&str, &str)], wanted: u32) -> bool {
        let value = self.value(name, labels);
        value.is_some_and(|value| (value - f64::from(wanted)).abs() < 0.01)
    }

    pub fn names(&self) -> Vec<&str> {
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
