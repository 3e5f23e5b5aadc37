//! The classes that colour a code: its kind's hue, paler for each further code of the kind.

use super::super::codes::CodeClass;

const PALEST: usize = 3;

/// One for each code, in their order.
pub(super) fn classes(codes: &[(String, u64)]) -> Vec<String> {
    let mut before: Option<CodeClass> = None;
    let mut shade = 0;
    let class = |(code, _): &(String, u64)| {
        let kind = CodeClass::of(code);
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

pub(super) fn hue(kind: CodeClass) -> &'static str {
    match kind {
        CodeClass::Won => "won",
        CodeClass::Waiting => "waiting",
        CodeClass::Served => "served",
        CodeClass::Refused => "refused",
        CodeClass::Pressed => "pressed",
        CodeClass::Failed => "failed",
    }
}
