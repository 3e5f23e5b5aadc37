//! Overrides of a scenario's size from the command line.

use super::{Arrival, Scenario};

/// Sizes that replace those of every scenario.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    pub(crate) users: Option<u32>,
    pub(crate) stock: Option<u32>,
    pub(crate) quantity: Option<u32>,
    pub(crate) seconds: Option<u32>,
    pub(crate) connections: Option<u32>,
}

impl Size {
    /// Resizes a scenario. Where users arrive at a rate, fewer users shorten it.
    pub(crate) fn of(self, mut scenario: Scenario) -> Scenario {
        let before = (scenario.users, total_seconds(&scenario));
        scenario.users = self.users.unwrap_or(scenario.users);
        scenario.stock = self.stock.unwrap_or(scenario.stock);
        scenario.quantity = self.quantity.unwrap_or(scenario.quantity);
        for phase in &mut scenario.phase {
            if let (Some(seconds), 1..) = (self.seconds, phase.seconds) {
                phase.seconds = share(phase.seconds, seconds, before.1);
            } else if phase.arrival == Arrival::Rate && self.users.is_some() {
                phase.seconds = share(phase.seconds, scenario.users, before.0);
            }
            if phase.connections.is_some() || phase.arrival == Arrival::BackToBack {
                phase.connections = self.connections.or(phase.connections);
            }
        }
        scenario
    }
}

fn total_seconds(scenario: &Scenario) -> u32 {
    scenario.phase.iter().map(|phase| phase.seconds).sum()
}

/// `of` × `part` / `whole`, at least 1.
fn share(of: u32, part: u32, whole: u32) -> u32 {
    let scaled = u64::from(of) * u64::from(part) / u64::from(whole.max(1));
    u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
}
