//! The kinds of requests in their exact proportions, in an order that the seed decides.

use rand::{RngExt, rngs::StdRng};

use crate::{record::Kind, scenario::Mix};

#[derive(Debug)]
pub(crate) struct Deck(Vec<Kind>);

impl Deck {
    pub(crate) fn new(mix: &Mix, size: u32, random: &mut StdRng) -> Self {
        let shares = [
            (Kind::Buy, mix.buy),
            (Kind::Look, mix.look),
            (Kind::Browse, mix.browse),
            (Kind::Detail, mix.detail),
            (Kind::Create, mix.create),
            (Kind::Live, mix.live),
        ];
        let size = u64::from(size);
        let mut cards = Vec::new();
        let mut percent = 0;
        for (kind, share) in shares {
            percent += u64::from(share);
            let until = usize::try_from(size * percent / 100).unwrap_or(usize::MAX);
            cards.resize(until, kind);
        }
        shuffle(&mut cards, random);
        Self(cards)
    }

    /// Begins again after the last one.
    pub(crate) fn card(&self, number: u32) -> Kind {
        let number = usize::try_from(number).unwrap_or_default();
        let card = self.0.get(number % self.0.len().max(1));
        card.copied().unwrap_or(Kind::Buy)
    }
}

/// Fisher and Yates.
pub(super) fn shuffle<T>(cards: &mut [T], random: &mut StdRng) {
    for last in (1..cards.len()).rev() {
        cards.swap(last, random.random_range(0..=last));
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
        let deal = |seed| Deck::new(&mix, 1_000, &mut StdRng::seed_from_u64(seed)).0;
        let count = |kind| deal(1).into_iter().filter(|card| *card == kind).count();
        assert_eq!(
            [Kind::Buy, Kind::Browse, Kind::Detail, Kind::Create].map(count),
            [120, 600, 250, 30]
        );
        assert_eq!(deal(1), deal(1));
        assert_ne!(deal(1), deal(2));
    }
}
