//! Metrics with members, such as `accuracy[3]`: one value for each class, bin or layer. Decides in
//! which order metrics are told; who has members is known from names alone.

use std::cmp::Ordering;

/// The metric and the member: `accuracy[3]` is `accuracy` of `3`.
pub fn parts(name: &str) -> Option<(&str, &str)> {
    let (metric, member) = name.strip_suffix(']')?.split_once('[')?;
    (!metric.is_empty()).then_some((metric, member))
}

/// Metrics without members come first, by `rank` and then by name; a reader who wants one of many
/// classes finds it by its number.
pub fn order(a: &str, b: &str, rank: impl Fn() -> Ordering) -> Ordering {
    match (parts(a), parts(b)) {
        (None, None) => rank().then_with(|| a.cmp(b)),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some((a, member)), Some((b, other))) => a.cmp(b).then_with(|| by_number(member, other)),
    }
}

/// Numbers by their value, in front of words.
fn by_number(a: &str, b: &str) -> Ordering {
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| !n.is_nan());
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_follow_by_number() {
        let mut names = ["a[10]", "loss", "a[2]", "ece", "a[cat]", "[odd]", "a[1]"];
        names.sort_by(|a, b| order(a, b, || Ordering::Equal));
        assert_eq!(
            names,
            ["[odd]", "ece", "loss", "a[1]", "a[2]", "a[10]", "a[cat]"]
        );
    }
}
