//! The kinds of requests in exact proportions, shuffled with a seed.

use rand::{rngs::StdRng, seq::SliceRandom};

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
        kinds.shuffle(random);
        Self(kinds)
    }

    /// The kind of a request; starts over after the last one.
    pub(crate) fn kind(&self, number: u32) -> RequestKind {
        let number = usize::try_from(number).unwrap_or_default();
        let kind = self.0.get(number % self.0.len().max(1));
        kind.copied().unwrap_or(RequestKind::Buy)
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
        let kinds = |seed| RequestMix::new(&mix, 1_000, &mut StdRng::seed_from_u64(seed)).0;
        let count = |kind| kinds(1).into_iter().filter(|each| *each == kind).count();
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
        assert_eq!(kinds(1), kinds(1));
        assert_ne!(kinds(1), kinds(2));
    }
}
