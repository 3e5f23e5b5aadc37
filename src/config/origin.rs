//! The origins of `CORS_ORIGINS`.

use axum::http::Uri;

/// An entry of `CORS_ORIGINS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `*`: the pages of every origin.
    Any,
    /// `https://shop.example`.
    Exact(String),
    /// `https://*.shop.example`: every host below the domain, not the domain itself.
    Below { before: String, after: String },
}

impl Origin {
    /// `None` where the text is no origin: it has a path or a user, no host, or a `*` that does not
    /// stand for the first labels of the host.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (scheme, host) = text.split_once("://")?;
        let before = format!("{scheme}://");
        if let Some(domain) = host.strip_prefix("*.") {
            let after = format!(".{domain}");
            return is_exact(&format!("{before}{domain}")).then_some(Self::Below { before, after });
        }
        is_exact(text).then(|| Self::Exact(text.to_owned()))
    }

    /// Whether a page of this origin, as the browser names it, may call.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => origin == exact,
            Self::Below { before, after } => {
                let labels = origin
                    .strip_prefix(before.as_str())
                    .and_then(|host| host.strip_suffix(after.as_str()));
                labels.is_some_and(is_labels)
            }
        }
    }
}

/// Whether browsers name an origin like this: lower case, without path, user and default port.
fn is_exact(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let parts = (uri.scheme_str(), uri.host());
    let (Some(scheme @ ("http" | "https")), Some(host)) = parts else {
        return false;
    };
    let default = if scheme == "http" { 80 } else { 443 };
    let named = match uri.port_u16() {
        Some(port) if port == default => return false,
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    text == named && !text.contains('*') && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_labels(text: &str) -> bool {
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(is_label)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("*", "https://any.example", true)]
    #[case("https://shop.example", "https://shop.example", true)]
    #[case("https://shop.example", "http://shop.example", false)]
    #[case("https://shop.example:8443", "https://shop.example:8443", true)]
    #[case("http://[::1]:3000", "http://[::1]:3000", true)]
    #[case("https://*.shop.example", "https://de.shop.example", true)]
    #[case("https://*.shop.example", "https://a.b.shop.example", true)]
    #[case("https://*.shop.example", "https://shop.example", false)]
    #[case("https://*.shop.example", "https://evilshop.example", false)]
    #[case("https://*.shop.example", "http://de.shop.example", false)]
    #[case("https://*.shop.example", "https://evil.example/.shop.example", false)]
    #[case("https://*.shop.example", "https://.shop.example", false)]
    fn an_origin_allows_what_it_names(
        #[case] entry: &str,
        #[case] origin: &str,
        #[case] allowed: bool,
    ) {
        let entry = Origin::parse(entry).unwrap();
        assert_eq!(entry.allows(origin), allowed);
    }

    #[rstest]
    #[case("")]
    #[case("shop.example")]
    #[case("ftp://shop.example")]
    #[case("https://")]
    #[case("https://shop.example/")]
    #[case("https://shop.example/path")]
    #[case("https://user@shop.example")]
    #[case("https://Shop.example")]
    #[case("https://shop.example:443")]
    #[case("https://shop.*.example")]
    #[case("https://*")]
    #[case("https://*.")]
    #[case("https://*shop.example")]
    #[case("https://*.*.example")]
    fn what_no_browser_sends_is_no_origin(#[case] entry: &str) {
        assert_eq!(Origin::parse(entry), None);
    }
}
