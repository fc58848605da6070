//! Any text as the name of a file.

use crate::digest::Digest;

/// The longest name [`file_name`] makes of a text, in bytes, but for its mark: file systems take
/// 255.
const NAME_BYTES: usize = 200;

/// Any text as one file name: `/` and control characters become `_`, a leading dot too, and what is
/// too long is cut. A text that had to be changed gets a mark of its own, since `a/b` and `a_b`
/// must not share a place.
pub fn file_name(text: &str) -> String {
    let is_plain = |c: char| c != '/' && !c.is_control();
    if text.len() <= NAME_BYTES && !text.starts_with('.') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut name: String = text
        .chars()
        .map(|c| if c == '/' || c.is_control() { '_' } else { c })
        .collect();
    if name.starts_with('.') {
        name.replace_range(..1, "_");
    }
    let end = (0..=NAME_BYTES.min(name.len()))
        .rev()
        .find(|i| name.is_char_boundary(*i));
    name.truncate(end.unwrap_or(0));
    if name != text {
        name.push('~');
        name.push_str(&Digest::of(text.as_bytes()).short());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_texts_have_different_names() {
        assert_eq!(file_name("lr=0.1,seed=1"), "lr=0.1,seed=1");
        let (long, longer) = ("ü".repeat(150), "ü".repeat(300));
        let odd = ["a/b", "a_b", "a\nb", ".a", "_a", "..", "_.", &long, &longer];
        let names: std::collections::BTreeSet<String> = odd.map(file_name).into();
        assert_eq!(names.len(), odd.len(), "{names:?}");
        assert!(
            names
                .iter()
                .all(|n| !n.starts_with('.') && !n.contains(['/', '\n']) && n.len() < 255),
            "{names:?}"
        );
    }
}
