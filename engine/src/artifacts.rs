//! Where outputs appear for people: `artifacts/<stage>/<matrix values>/<file>`.
//!
//! Decides names only, relative to the project; placing is the store's work.

use crate::filename::file_name;
use crate::plan::{Instance, axes_text};
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::{BadPath, RelPath};

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
    let mut path = dir_of(instance);
    path.push('/');
    path.push_str(output.path.as_str());
    RelPath::new(&path)
}
