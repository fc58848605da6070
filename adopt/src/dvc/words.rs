//! Texts of DVC with `${...}` in them, as `dvc/parsing/interpolate.py` reads them.

/// A text in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// As written.
    pub written: String,
    /// Its parts; texts already without the `\` before `${`.
    pub parts: Vec<Word>,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// As it is.
    Text(String),
    /// `${a.b[0]}`: the way to a value, a step for each key or position.
    Ref(Vec<String>),
}

/// Splits a text; the part that is no reference, where there is one.
pub fn read(text: &str) -> Result<Words, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let inner = &rest[at + 2..];
        // A reference ends in its line; what does not end is a text like any other.
        let end = inner.find('}').filter(|end| !inner[..*end].contains('\n'));
        let is_escaped = rest[..at].ends_with('\\');
        match end {
            Some(end) if !is_escaped => {
                literal.push_str(&rest[..at]);
                let steps =
                    steps(&inner[..end]).ok_or_else(|| format!("${{{}}}", &inner[..end]))?;
                if !literal.is_empty() {
                    parts.push(Word::Text(std::mem::take(&mut literal)));
                }
                parts.push(Word::Ref(steps));
                rest = &inner[end + 1..];
            }
            _ => {
                let before = &rest[..at];
                literal.push_str(before.strip_suffix('\\').unwrap_or(before));
                literal.push_str("${");
                rest = inner;
            }
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() || parts.is_empty() {
        parts.push(Word::Text(literal));
    }
    Ok(Words {
        written: text.to_owned(),
        parts,
    })
}

/// `a.b[0]` as steps; `None`: this is no way to a value.
fn steps(text: &str) -> Option<Vec<String>> {
    let flat = text.replace('[', ".").replace(']', "");
    let steps: Vec<String> = flat.split('.').map(|s| s.trim().to_owned()).collect();
    let balanced = text.matches('[').count() == text.matches(']').count();
    (balanced && steps.iter().all(|s| !s.is_empty())).then_some(steps)
}

impl Words {
    /// The one reference that is all of it.
    pub fn whole(&self) -> Option<&[String]> {
        match self.parts.as_slice() {
            [Word::Ref(steps)] => Some(steps),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match read(text) {
            Err(bad) => format!("bad {bad}"),
            Ok(words) => {
                let parts = words.parts.iter().map(|p| match p {
                    Word::Text(t) => format!("{t:?}"),
                    Word::Ref(steps) => format!("<{}>", steps.join(" ")),
                });
                parts.collect::<Vec<_>>().join("")
            }
        }
    }

    #[test]
    fn texts_are_split_as_dvc_splits_them() {
        assert_eq!(shown("a ${b.c[0].d} e"), "\"a \"<b c 0 d>\" e\"");
        assert_eq!(shown("\\${x} ${y}"), "\"${x} \"<y>");
        assert_eq!(shown("${ item }"), "<item>");
        assert_eq!(shown("$x $(y) ${"), "\"$x $(y) ${\"");
        assert_eq!(shown("${a..b}"), "bad ${a..b}");
        assert_eq!(shown(""), "\"\"");
    }
}
