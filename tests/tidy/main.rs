//! Project rules that no compiler checks: layers, doors, file length, how tests wait, the glossary.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends by panicking, also in the helpers that it calls"
)]

mod doors;
mod files;
mod glossary;
mod layers;
mod sources;
