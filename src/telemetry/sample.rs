//! A random share of the requests.

/// From 0, none, to 1, all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample(f64);

impl Sample {
    pub fn new(share: f64) -> Self {
        Self(share)
    }

    pub fn is_none(self) -> bool {
        self.0 <= 0.0
    }

    /// Whether the request with this random number is in the sample. Those of a smaller share are
    /// in each larger one too, so that a traced request is in the access log where that has the
    /// same share.
    pub fn includes(self, random: u64) -> bool {
        let high = u32::try_from(random >> 32).unwrap_or(u32::MAX);
        f64::from(high) < self.0 * (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_share() {
        let count = |share: f64| {
            let sample = Sample::new(share);
            let numbers = (0..1_000).map(|number| (2 * number + 1) * (u64::MAX / 2_000));
            numbers.filter(|number| sample.includes(*number)).count()
        };
        assert_eq!([0.0, 0.01, 0.5, 1.0].map(count), [0, 10, 500, 1_000]);
        assert!(Sample::new(1.0).includes(u64::MAX));
        assert!(!Sample::new(0.0).includes(0));
    }
}
