//! The classes that colour a code: its kind's hue, paler for each further code of the kind.

use super::super::codes::Kind;

const PALEST: usize = 3;

/// One for each code, in their order.
pub(super) fn classes(codes: &[(String, u64)]) -> Vec<String> {
    let mut before: Option<Kind> = None;
    let mut shade = 0;
    let class = |(code, _): &(String, u64)| {
        let kind = Kind::of(code);
        shade = if before == Some(kind) {
            PALEST.min(shade + 1)
        } else {
            0
        };
        before = Some(kind);
        format!("{} shade{shade}", hue(kind))
    };
    codes.iter().map(class).collect()
}

pub(super) fn hue(kind: Kind) -> &'static str {
    match kind {
        Kind::Won => "won",
        Kind::Waiting => "waiting",
        Kind::Served => "served",
        Kind::Refused => "refused",
        Kind::Pressed => "pressed",
        Kind::Failed => "failed",
    }
}
