//! What of keys a command that only looks does not know.

use std::collections::BTreeMap;

use crate::plan::Environment;

/// What of keys is not known, and why.
#[derive(Debug, Default)]
pub struct Unknown {
    /// By program.
    pub(super) tools: BTreeMap<String, String>,
    pub(super) environments: BTreeMap<Environment, String>,
    /// What a run would end at, since asking does not help.
    pub trouble: Option<String>,
}
