//! Which files each part is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::params::Params;
use crate::data::own::folder;
use crate::failure::Failure;
use repro_protocol::job::JobInput;

/// A file or directory of a part.
pub(super) struct SourceFile {
    /// Group under `needs`, or empty.
    pub(super) group: String,
    /// For messages.
    pub(super) called: String,
    pub(super) path: PathBuf,
}

/// What each part is made of, parts in the order of their names.
pub(super) fn sources(
    params: &Params,
    inputs: &BTreeMap<String, Vec<JobInput>>,
) -> Result<Vec<(String, Vec<SourceFile>)>, Failure> {
    let source = |item: &JobInput| SourceFile {
        group: item.group.clone(),
        called: match item.from.is_empty() {
            true => item.path.display().to_string(),
            false => item.from.clone(),
        },
        path: item.path.clone(),
    };
    if params.parts.is_empty() {
        let part = |(name, items): (&String, &Vec<JobInput>)| {
            (name.clone(), items.iter().map(source).collect())
        };
        return Ok(inputs.iter().map(part).collect());
    }
    let [whole] = inputs.get("data").map_or(&[][..], Vec::as_slice) else {
        return Err(Failure::new(
            "`parts` are parts of one directory, the need `data`",
        ));
    };
    let whole = source(whole);
    let part = |(name, pattern): (&String, &String)| {
        let files = below(&whole, pattern)?;
        Ok((name.clone(), files))
    };
    params.parts.iter().map(part).collect()
}

/// The files a pattern stands for, sorted.
fn below(whole: &SourceFile, pattern: &str) -> Result<Vec<SourceFile>, Failure> {
    let found = |path: PathBuf, below: &str| SourceFile {
        group: String::new(),
        called: format!("{}/{below}", whole.called),
        path,
    };
    if !pattern.contains('*') {
        let path = whole.path.join(pattern);
        if !path.exists() {
            return Err(Failure::new(format!("{} has no `{pattern}`", whole.called)));
        }
        return Ok(vec![found(path, pattern)]);
    }
    let (dir, last) = match pattern.rsplit_once('/') {
        Some((dir, last)) => (whole.path.join(dir), last),
        None => (whole.path.clone(), pattern),
    };
    let prefix = &pattern[..pattern.len() - last.len()];
    let files: Vec<SourceFile> = folder::entries(&dir, &whole.called)?
        .into_iter()
        .filter(|(name, ..)| fits(last, name))
        .map(|(name, path, _)| found(path, &format!("{prefix}{name}")))
        .collect();
    match files.is_empty() {
        true => Err(Failure::new(format!(
            "{} has nothing that fits `{pattern}`",
            whole.called
        ))),
        false => Ok(files),
    }
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let pieces: Vec<&str> = pattern.split('*').collect();
    let [first, middle @ .., last] = &pieces[..] else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    for piece in middle {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
#[test]
fn a_star_stands_for_any_text() {
    assert!(fits("train-*.parquet", "train-00000-of-00001.parquet") && !fits("a*b*c", "acb"));
}
