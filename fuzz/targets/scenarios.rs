//! Scenario files of `contention`: each is read, or refused with its file and line.

#![no_main]
#![expect(dead_code, reason = "the runner uses the rest of the module")]

use libfuzzer_sys::fuzz_target;

/// The file of the runner, which is a program and so has no library to use.
#[path = "../../contention/src"]
mod runner {
    pub(crate) mod scenario;
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Err(refusal) = runner::scenario::file::parse("my.toml", text)
    {
        assert!(refusal.to_string().starts_with("my.toml:"), "{refusal}");
    }
});
