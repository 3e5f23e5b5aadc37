//! The kinds of requests in their exact proportions, in an order that the seed decides.

use rand::{RngExt, rngs::StdRng};

use crate::{record::RequestKind, scenario::Mix};

#[derive(Debug)]
pub(crate) struct RequestMix(Vec<RequestKind>);

impl RequestMix {
    pub(crate) fn new(mix: &Mix, size: u32, random: &mut StdRng) -> Self {
        let shares = [
            (RequestKind::Buy, mix.buy),
            (RequestKind::Look, mix.look),
            (RequestKind::Browse, mix.browse),
            (RequestKind::Detail, mix.detail),
            (RequestKind::Create, mix.create),
            (RequestKind::Live, mix.live),
        ];
        let size = u64::from(size);
        let mut kinds = Vec::new();
        let mut percent = 0;
        for (kind, share) in shares {
            percent += u64::from(share);
            let until = usize::try_from(size * percent / 100).unwrap_or(usize::MAX);
            kinds.resize(until, kind);
        }
        shuffle(&mut kinds, random);
        Self(kinds)
    }

    /// Begins again after the last one.
    pub(crate) fn kind(&self, number: u32) -> RequestKind {
        let number = usize::try_from(number).unwrap_or_default();
        let kind = self.0.get(number % self.0.len().max(1));
        kind.copied().unwrap_or(RequestKind::Buy)
    }
}

/// Fisher and Yates.
pub(super) fn shuffle<T>(kinds: &mut [T], random: &mut StdRng) {
    for last in (1..kinds.len()).rev() {
        kinds.swap(last, random.random_range(0..=last));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_proportions_are_exact_and_the_seed_decides_the_order() {
        let mix = Mix {
            buy: 12,
            look: 0,
            browse: 60,
            detail: 25,
            create: 3,
            live: 0,
        };
        let deal = |seed| RequestMix::new(&mix, 1_000, &mut StdRng::seed_from_u64(seed)).0;
        let count = |kind| deal(1).into_iter().filter(|dealt| *dealt == kind).count();
        assert_eq!(
            [
                RequestKind::Buy,
                RequestKind::Browse,
                RequestKind::Detail,
                RequestKind::Create
            ]
            .map(count),
            [120, 600, 250, 30]
        );
        assert_eq!(deal(1), deal(1));
        assert_ne!(deal(1), deal(2));
    }
}
