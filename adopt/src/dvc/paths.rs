//! Where paths of DVC lead: into the project, out of it, or to another machine.

/// A path that was followed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In the project, without `.` and `..`; empty: the project itself.
    Inside(String),
    /// Outside, as it is written from the project.
    Outside(String),
    /// An address such as `s3://bucket/x`.
    Remote(String),
}

impl Place {
    /// The path in the project.
    pub fn inside(&self) -> Option<String> {
        match self {
            Place::Inside(path) => Some(path.clone()),
            _ => None,
        }
    }
}

/// A path as seen from a directory of the project.
pub fn join(dir: &str, path: &str) -> Place {
    if path.contains("://") {
        return Place::Remote(path.to_owned());
    }
    if path.starts_with('/') {
        return Place::Outside(path.to_owned());
    }
    let mut steps: Vec<&str> = Vec::new();
    let mut up = 0;
    for step in dir.split('/').chain(path.split('/')) {
        match step {
            "" | "." => {}
            ".." => {
                if steps.pop().is_none() {
                    up += 1;
                }
            }
            step => steps.push(step),
        }
    }
    let inner = steps.join("/");
    match up {
        0 => Place::Inside(inner),
        _ => Place::Outside(
            format!("{}{inner}", "../".repeat(up))
                .trim_end_matches('/')
                .to_owned(),
        ),
    }
}

/// What is left of `path` below `dir`: empty for `dir` itself.
pub fn below<'p>(path: &'p str, dir: &str) -> Option<&'p str> {
    if dir.is_empty() {
        return Some(path);
    }
    match path.strip_prefix(dir)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_followed() {
        let inside = |p: &str| Place::Inside(p.to_owned());
        let outside = |p: &str| Place::Outside(p.to_owned());
        assert_eq!(join("", "a/./b/"), inside("a/b"));
        assert_eq!(join("sub", "../a"), inside("a"));
        assert_eq!(join("sub/x", "../../../a"), outside("../a"));
        assert_eq!(join("sub", "/data/x"), outside("/data/x"));
        assert_eq!(join("", ".."), outside(".."));
        assert_eq!(join("", "s3://b/x"), Place::Remote("s3://b/x".into()));
        assert_eq!(below("a/b", "a"), Some("b"));
        assert_eq!(below("ab", "a"), None);
    }
}
