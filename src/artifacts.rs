//! Where outputs appear for people: `artifacts/<stage>/<matrix values>/<file>`.
//!
//! Decides names only, relative to the project; placing is the store's work.

use crate::catalog::OutputSpec;
use crate::digest::Digest;
use crate::plan::{Instance, axes_text};
use crate::relpath::{BadPath, RelPath};

/// The directory of an instance, from the project's root.
pub fn dir_of(instance: &Instance) -> String {
    let mut dir = "artifacts/".to_owned();
    match instance.stage.split_once(':') {
        // Claims share no name with a stage.
        Some((section, name)) => {
            dir.push_str(section);
            dir.push_str("s/");
            dir.push_str(&file_name(name));
        }
        None => dir.push_str(&file_name(&instance.stage)),
    }
    if !instance.axes.is_empty() {
        dir.push('/');
        dir.push_str(&file_name(&axes_text(&instance.axes)));
    }
    dir
}

/// Where an output of an instance appears, from the project's root.
///
/// # Errors
/// Never for the instances of a plan, whose names are checked.
pub fn path_of(instance: &Instance, output: &OutputSpec) -> Result<RelPath, BadPath> {
    RelPath::new(&format!("{}/{}", dir_of(instance), output.path))
}

/// Any text as one file name: `/` and control characters become `_`, a leading dot too. A text that had to be changed gets a mark
/// of its own, since `a/b` and `a_b` must not share a place.
pub fn file_name(text: &str) -> String {
    let mut name: String = text.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    if name.starts_with('.') {
        name.replace_range(..1, "_");
    }
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
        let odd = ["a/b", "a_b", "a\nb", ".a", "_a", "..", "_."];
        let names: std::collections::BTreeSet<String> = odd.map(file_name).into();
        assert_eq!(names.len(), odd.len(), "{names:?}");
        assert!(names.iter().all(|n| !n.starts_with('.') && !n.contains(['/', '\n'])), "{names:?}");
    }
}
