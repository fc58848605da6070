//! Which name a misspelled one most likely means.

/// The candidate that a misspelled name most likely means, if one is similar enough.
pub fn nearest<'a>(name: &str, candidates: &'a [String]) -> Option<&'a str> {
    let near = |c: &String| strsim::damerau_levenshtein(&name.to_lowercase(), &c.to_lowercase());
    let (distance, best) = candidates
        .iter()
        .map(|c| (near(c), c))
        .min_by_key(|(d, _)| *d)?;
    (distance <= (name.chars().count().max(best.chars().count()) / 3).max(1)).then_some(best)
}
