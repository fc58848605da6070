//! Paths that may lead out of the project: absolute ones, `~`, and `..`.

use std::path::{Component, Path, PathBuf};

use crate::spec::text::problem::{Problem, Span};

/// The home directory, as the environment has it.
pub fn home(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    env("HOME").map(PathBuf::from).filter(|h| h.is_absolute())
}

/// The absolute path of a text: `~` is the home directory, what is relative is relative to the
/// project. `.` and `..` are taken away by their text, as a shell does.
pub fn absolute(
    text: &str,
    root: &Path,
    home: Option<&Path>,
    span: Span,
) -> Result<PathBuf, Problem> {
    if text.is_empty() || text.contains('\0') {
        return Err(Problem::new(span, "the path is empty, or holds a NUL byte"));
    }
    let joined = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = home.ok_or_else(|| {
                Problem::new(span, "`~` is not known: HOME is not set").help("write the whole path")
            })?;
            home.join(rest.trim_start_matches('/'))
        }
        Some(_) => {
            return Err(Problem::new(
                span,
                format!(
                    "`{}` is the home directory of somebody else",
                    text.escape_debug()
                ),
            )
            .help("write the whole path"));
        }
        None => root.join(text),
    };
    let mut path = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let at = |text: &str| {
            absolute(
                text,
                Path::new("/p/study"),
                Some(Path::new("/home/me")),
                Span::start_of(0),
            )
            .ok()
            .map(|p| p.display().to_string())
        };
        for (text, path) in [
            ("~", Some("/home/me")),
            ("~/x/../y", Some("/home/me/y")),
            ("../shared/x", Some("/p/shared/x")),
            ("./a//b/.", Some("/p/study/a/b")),
            ("/data", Some("/data")),
            ("/../..", Some("/")),
            ("~other/x", None),
            ("", None),
        ] {
            assert_eq!(at(text).as_deref(), path, "{text}");
        }
    }
}
