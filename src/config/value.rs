//! Value parsers: durations with units and bounds, items of lists.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;

/// An item of a comma-separated list, without the white space around it.
pub(super) fn trimmed<T: FromStr>(text: &str) -> Result<T, T::Err> {
    text.trim().parse()
}

/// clap's own parser says of a text only that it has an invalid digit.
pub(super) fn number(bounds: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        Ok(_) | Err(_) => {
            let (least, most) = (bounds.start(), bounds.end());
            Err(format!("give a whole number from {least} to {most}"))
        }
    }
}

/// No name: a listener that moves with the answer of a name server would be found by surprise.
pub(super) fn listener(text: &str) -> Result<SocketAddr, String> {
    let bad = |_| "give an IP address and a port, such as 127.0.0.1:8080".to_owned();
    text.parse().map_err(bad)
}

fn millis(text: &str, least: u64, most: u64) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(Duration::from_millis(value)),
        Ok(_) | Err(_) => Err(format!("give milliseconds from {least} to {most}")),
    }
}

/// Under 100 ms rslock's clock drift and a slow node leave no time to write.
pub(super) fn lock_ttl(text: &str) -> Result<Duration, String> {
    millis(text, 100, 60_000)
}

pub(super) fn patience(text: &str) -> Result<Duration, String> {
    millis(text, 1, 60_000)
}

pub(super) fn request_timeout(text: &str) -> Result<Duration, String> {
    millis(text, 100, 600_000)
}

pub(super) fn shutdown_delay(text: &str) -> Result<Duration, String> {
    millis(text, 0, 600_000)
}

/// A share of the requests.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err("give a share from 0 to 1, such as 0.01".to_owned()),
    }
}

/// A network such as `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse().or_else(|_| address());
    network.map_err(|_| "give addresses and networks such as 10.0.0.0/8".to_owned())
}

pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let bad = || "give a number and s, m, h or d, such as 1h".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number = text.strip_suffix(unit).ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    match number.checked_mul(seconds) {
        Some(total) if (1..=10 * 365 * 86_400).contains(&total) => Ok(Duration::from_secs(total)),
        Some(_) | None => Err("give between 1s and 3650d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_with_or_without_a_prefix() {
        let holds = |network: &str, address: &str| {
            let address: IpAddr = address.parse().unwrap();
            super::network(network).unwrap().contains(&address)
        };
        assert!(holds(" 10.0.0.0/8", "10.1.2.3"));
        assert!(holds("192.0.2.7", "192.0.2.7"));
        assert!(!holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("fd00::/8", "fd12::1"));
        for bad in ["", "10.0.0.0/33", "proxy.example", "10.0.0.*"] {
            assert!(super::network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_has_its_bounds_in_the_error() {
        let number = super::number(2..=1_000);
        assert_eq!(number("2"), Ok(2));
        for bad in ["1", "1001", "-1", "many", "1.5", ""] {
            let expected = "give a whole number from 2 to 1000".to_owned();
            assert_eq!(number(bad), Err(expected), "{bad}");
        }
    }

    #[test]
    fn a_share_is_a_number_from_0_to_1() {
        for (text, share) in [("0", 0.0), ("0.01", 0.01), ("1e-6", 1e-6), ("1", 1.0)] {
            assert_eq!(super::share(text), Ok(share));
        }
        for bad in ["", "-0.1", "1.1", "NaN", "inf", "1%", "on"] {
            assert!(super::share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ttl_is_a_number_and_a_unit() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("2h"), Ok(Duration::from_hours(2)));
        for bad in [
            "",
            "h",
            "1",
            "1w",
            "-1h",
            "99999999999999999999d",
            "0s",
            "1hh",
        ] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
