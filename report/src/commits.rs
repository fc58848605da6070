//! When a claim was committed, as it stands now: git's word, where the pipeline lies in a
//! repository.

use std::collections::BTreeMap;
use std::path::Path;

use repro_engine::git;

/// Commits of a file that are looked at.
const COMMITS: &str = "--max-count=200";

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The beginning of its name.
    pub name: String,
    /// When, RFC 3339.
    pub at: String,
}

/// For each of these claims the commit since which its text is as it is now; none for one that is
/// not committed like that. `file` is relative to `root`.
pub fn of_claims(root: &Path, file: &Path, names: &[String]) -> BTreeMap<String, Commit> {
    let mut found = BTreeMap::new();
    let Some(file) = file.to_str() else {
        return found;
    };
    let Ok(now) = std::fs::read_to_string(root.join(file)) else {
        return found;
    };
    let mut open: BTreeMap<&str, String> = names
        .iter()
        .filter_map(|name| Some((&**name, block(&now, name)?)))
        .collect();
    let log = git::ask(root, &["log", "--format=%H %cI", COMMITS, "--", file]);
    for line in log.unwrap_or_default().lines() {
        if open.is_empty() {
            break;
        }
        let Some((commit, at)) = line.split_once(' ') else {
            continue;
        };
        let then = git::ask(root, &["cat-file", "blob", &format!("{commit}:./{file}")]);
        let then = then.unwrap_or_default();
        open.retain(|name, text| {
            let same = block(&then, name).as_ref() == Some(text);
            if same {
                let commit = Commit {
                    name: commit.chars().take(9).collect(),
                    at: at.to_owned(),
                };
                found.insert((*name).to_owned(), commit);
            }
            same
        });
    }
    found
}

/// The lines of a claim in a pipeline, without comments and indentation; what stands before
/// `claims:` is no claim.
fn block(text: &str, name: &str) -> Option<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|l| !l.starts_with("claims:"));
    let head = lines.find(|line| {
        let key = line.trim_start().split(':').next().unwrap_or("");
        indent(line) > 0 && key.trim_matches(['"', '\'']) == name && line.contains(':')
    })?;
    let deep = indent(head);
    let below = lines.take_while(|l| l.trim().is_empty() || indent(l) > deep);
    let mut block = String::new();
    for line in [head].into_iter().chain(below) {
        let line = line.split(" #").next().unwrap_or("").trim();
        if !line.is_empty() && !line.starts_with('#') {
            block.push_str(line);
            block.push('\n');
        }
    }
    Some(block)
}

/// How far apart two moments are, in words.
pub fn between(from: jiff::Timestamp, to: jiff::Timestamp) -> String {
    let seconds = (to.as_second() - from.as_second()).unsigned_abs();
    let (count, unit) = match seconds {
        s if s >= 2 * 86_400 => (s / 86_400, "days"),
        s if s >= 2 * 3600 => (s / 3600, "hours"),
        s if s >= 120 => (s / 60, "minutes"),
        s => (s, "seconds"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "stages:\n  helps: {run: x}\nclaims:\n  other: {a: 1}\n  helps:\n    source: \"S\"   # as read\n\n    expect: {mean: {above: 0}}\n  last: {}\n";

    #[test]
    fn the_text_of_a_claim_ends_where_the_next_begins() {
        let block = block(TEXT, "helps").unwrap();
        assert_eq!(block, "helps:\nsource: \"S\"\nexpect: {mean: {above: 0}}\n");
        assert_eq!(super::block(TEXT, "missing"), None);
    }
}
