//! Did you mean: the known name that is most like one that is not known.

/// The nearest name, if that many slips (letters too many, too few, wrong or swapped) make one of
/// the other.
pub fn nearest<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    slips: usize,
) -> Option<&'a str> {
    let all = known.into_iter();
    let all = all.map(|known| (strsim::damerau_levenshtein(known, name), known));
    let (distance, known) = all.min()?;
    (distance <= slips).then_some(known)
}

/// The name most like what was given, if it is alike at all: by its beginning too, and whatever its
/// case.
pub fn likest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    if given.len() > 100 {
        return None;
    }
    let lower = given.to_lowercase();
    // Very short names are all alike: nothing is a slip of another.
    let reach = match given.chars().count() {
        0..3 => return None,
        n => (n / 4).max(1),
    };
    let score = |c: &str| strsim::jaro_winkler(&lower, &c.to_lowercase());
    known
        .iter()
        .map(|c| (score(c), *c))
        .filter(|(score, c)| {
            *score >= 0.8 || strsim::damerau_levenshtein(&lower, &c.to_lowercase()) <= reach
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}
