//! CSS classes of codes: the hue of the code's class, paler for each further code of that class.

use super::super::codes::CodeClass;

const PALEST: usize = 3;

/// The CSS classes of each code; `codes` are ordered by class.
pub(super) fn classes(codes: &[(String, u64)]) -> Vec<String> {
    let mut before: Option<CodeClass> = None;
    let mut shade = 0;
    let class = |(code, _): &(String, u64)| {
        let class = CodeClass::of(code);
        shade = if before == Some(class) {
            PALEST.min(shade + 1)
        } else {
            0
        };
        before = Some(class);
        format!("{} shade{shade}", class.name())
    };
    codes.iter().map(class).collect()
}
