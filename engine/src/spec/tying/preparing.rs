//! What the work of a stage is prepared with, and two questions about its fields.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::catalog::{Cache, Catalog, Kind};
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::text::template::Template;
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

/// Describes programs named by `uses: ./program`, each once.
pub struct Kinds<'a> {
    catalog: &'a Catalog,
    root: &'a Path,
    external: &'a dyn Fn(&Path) -> anyhow::Result<Arc<Kind>>,
    known: HashMap<String, Result<Arc<Kind>, String>>,
}

impl<'a> Kinds<'a> {
    /// Nothing described yet.
    pub fn new(
        catalog: &'a Catalog,
        root: &'a Path,
        external: &'a dyn Fn(&Path) -> anyhow::Result<Arc<Kind>>,
    ) -> Kinds<'a> {
        Kinds {
            catalog,
            root,
            external,
            known: HashMap::new(),
        }
    }

    /// The project.
    pub fn root(&self) -> &'a Path {
        self.root
    }

    /// Caches that have a name.
    pub fn caches(&self) -> &'a [Cache] {
        &self.catalog.caches
    }

    /// The kind of that name.
    pub fn find(&mut self, uses: &str, span: Span) -> Result<Arc<Kind>, Problem> {
        if !uses.starts_with("./") {
            if let Some(kind) = self.catalog.get(uses) {
                return Ok(kind.clone());
            }
            let problem = Problem::new(span, format!("there is no kind `{}`", uses.escape_debug()))
                .suggest(uses, self.catalog.kinds.iter().map(|k| k.name.as_str()));
            return Err(problem.help(
                "`repro kinds` lists all; a program of the project is written `./path/to/program`",
            ));
        }
        let (root, external) = (self.root, self.external);
        let known = self.known.entry(uses.to_owned()).or_insert_with(|| {
            let path = RelPath::new(uses).map_err(|e| e.to_string())?;
            external(&path.under(root)).map_err(|e| format!("{e:#}"))
        });
        known.clone().map_err(|e| {
            Problem::new(
                span,
                format!("`{}` cannot be used as a kind: {e}", uses.escape_debug()),
            )
        })
    }
}

/// Surroundings of [`prepare`].
pub struct Preparing<'a, 'k> {
    /// Kinds.
    pub kinds: &'a mut Kinds<'k>,
    /// The environment of `repro`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Puts a caret on a part of a scalar.
    pub narrow: &'a dyn Fn(Span, &str) -> Span,
}

/// Calls `f` for every template in a tree.
pub fn templates(node: &Node, f: &mut dyn FnMut(&Template, Span)) {
    match &node.data {
        Data::Template(template) => f(template, node.span),
        Data::Seq(items) => items.iter().for_each(|n| templates(n, f)),
        Data::Map(entries) => entries.iter().for_each(|(_, n)| templates(n, f)),
        _ => {}
    }
}

/// Two outputs of which one has the path of the other or lies inside it.
pub fn overlap(outputs: &[OutputSpec]) -> Option<(Arc<str>, Arc<str>)> {
    outputs.iter().enumerate().find_map(|(i, a)| {
        outputs[i + 1..]
            .iter()
            .find(|b| a.path.is_within(&b.path) || b.path.is_within(&a.path) || a.name == b.name)
            .map(|b| (a.name.clone(), b.name.clone()))
    })
}
