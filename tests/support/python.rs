//! A Python with packages that tests use: `target/python`, where `.ci/run` (or a person) has
//! installed those of `tests/python/requirements.txt`, else the first `python3` in `PATH`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An interpreter that has all these packages, by the names they are imported under; or why there
/// is none.
pub fn with(packages: &[&str]) -> Result<PathBuf, String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    // Debian's PyTorch belongs to Debian's Python, whichever is the first in PATH.
    let candidates = [own, PathBuf::from("python3"), "/usr/bin/python3".into()];
    let imports = ["sys"].iter().chain(packages);
    let imports = imports.copied().collect::<Vec<_>>().join(", ");
    let has_all = |python: &PathBuf| {
        let mut asked = Command::new(python);
        asked.args(["-c", &format!("import {imports}")]);
        let asked = asked.stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    candidates
        .into_iter()
        .find(has_all)
        .ok_or_else(|| match packages {
            [] => "python3 is not installed".to_owned(),
            _ => format!(
                "python3 has not all of {} (python3 -m venv target/python; target/python/bin/pip install -r tests/python/requirements.txt)",
                packages.join(", ")
            ),
        })
}
