//! What references are tied with: stages, values, links, and the files of the project.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::existing::Existing;
use super::refs::Links;
use super::stages::Table;
use super::values::Values;
use crate::spec::text::problem::Span;
use repro_protocol::relpath::RelPath;

/// What is needed to tie references.
pub struct Tying<'a> {
    /// All stages.
    pub table: &'a Table,
    /// All axis values.
    pub values: &'a Values,
    /// All references.
    pub links: &'a mut Links,
    /// The project.
    pub root: &'a Path,
    /// What `~` stands for.
    pub home: Option<PathBuf>,
    /// Which paths exist.
    pub existing: &'a mut Existing,
    /// Puts a caret on a part of a scalar.
    pub narrow: &'a dyn Fn(Span, &str) -> Span,
    /// The names of all claims.
    pub claims: Vec<Arc<str>>,
}

pub fn fallback(need: &str) -> RelPath {
    // Names are letters, digits, `_` and `-`: this always is a path.
    RelPath::new(&format!("in/{need}")).unwrap_or_else(|e| unreachable!("{e}"))
}
