//! Units of sizes, as people write them: `GB` is a power of 1000, `GiB` one of 1024.

/// How many bytes a unit stands for, by what is written before its `b`, in lower case.
pub fn factor(prefix: &str) -> Option<f64> {
    let (letter, base) = match prefix.strip_suffix('i') {
        Some(letter) if !letter.is_empty() => (letter, 1024f64),
        _ => (prefix, 1000.0),
    };
    let power = ["", "k", "m", "g", "t"].iter().position(|l| *l == letter)?;
    Some(base.powi(power as i32))
}

#[cfg(test)]
mod tests {
    use super::factor;

    #[test]
    fn units() {
        assert_eq!(factor(""), Some(1.0));
        assert_eq!(factor("k"), Some(1e3));
        assert_eq!(factor("t"), Some(1e12));
        assert_eq!(factor("mi"), Some(1048576.0));
        assert_eq!(factor("ti"), Some(1099511627776.0));
        for none in ["i", "ii", "x", "kk", "p"] {
            assert_eq!(factor(none), None, "{none}");
        }
    }
}
