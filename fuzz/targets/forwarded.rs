//! `X-Forwarded-For`: no client chooses the address that its requests count for, only trusted proxies.

#![no_main]

use std::net::IpAddr;

use flash_sale::api::{clients::Clients, fuzzing::client};
use libfuzzer_sys::fuzz_target;

const PROXY: &str = "10.0.0.1";
const CLIENT: &str = "192.0.2.1";

fuzz_target!(|data: &[u8]| {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let clients = Clients::new(vec!["10.0.0.0/8".parse().expect("a network")], None);
    let values: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();

    // A header of a client itself never counts.
    if let Some(counted) = client(&clients, address(CLIENT), &values) {
        assert_eq!(counted, address(CLIENT));
    }
    // Whatever a client sends, the address that the proxy appends is the one that counts.
    let appended: Vec<&[u8]> = values.into_iter().chain([CLIENT.as_bytes()]).collect();
    if let Some(counted) = client(&clients, address(PROXY), &appended) {
        assert_eq!(counted, address(CLIENT));
    }
});
