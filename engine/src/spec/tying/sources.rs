//! Files as inputs, as written: `{file: path}`, `{dir: path}`, `{files: "data/*.csv"}`, in the
//! project or outside of it.
//!
//! Decides what a path stands for, and where a command finds it: files of the project at their own
//! path, all others below `in/NEED`, so that no path of one machine is part of a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::consumer::Consumer;
use super::existing::Existing;
use super::globs::Glob;
use super::outside;
use super::preparing::templates;
use super::tie::Tying;
use crate::files::{Files, Ignore, Location};
use crate::spec::text::node::{Data, Key, Node};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::text::substitute::scalar_text;
use repro_protocol::relpath::RelPath;

/// What a path is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    File,
    Dir,
    Files,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Form::File => "file",
            Form::Dir => "dir",
            Form::Files => "files",
        }
    }
}

/// Files as written.
pub struct Written {
    form: Form,
    paths: Vec<Node>,
    ignore: Arc<Ignore>,
    manifest: Option<Node>,
}

impl Written {
    /// All texts of it that may be filled in for every instance.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.paths.iter().chain(&self.manifest)
    }
}

/// A file or directory, and where a command finds it.
#[derive(Clone, Debug)]
pub struct FoundFile {
    /// The file.
    pub files: Arc<Files>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// Its path in the project.
    Own(RelPath),
    /// Below the need and its group.
    Below(String),
}

impl FoundFile {
    /// Where a command finds it.
    pub fn placed_at(&self, need: &str, group: &str) -> RelPath {
        match &self.place {
            Place::Own(path) => path.clone(),
            Place::Below(inner) => {
                let parts = [need, group, inner].into_iter().filter(|p| !p.is_empty());
                let text = parts.fold(String::from("in"), |text, part| format!("{text}/{part}"));
                RelPath::new(&text).unwrap_or_else(|_| super::tie::fallback(need))
            }
        }
    }
}

/// Whether a map stands for files, and not for groups. A group may be called `files`: then no
/// pattern stands there.
pub fn is_files(entries: &[(Key, Node)]) -> bool {
    let has_pattern = |node: &Node| match &node.data {
        Data::String(text) => text.contains(['*', '?', '[', '/']),
        Data::Template(template) => template.to_string().contains(['*', '?', '/']),
        Data::Seq(_) => true,
        _ => false,
    };
    let mut forms = 0;
    let all = entries.iter().all(|(key, node)| match &*key.name {
        "file" | "dir" => {
            forms += 1;
            true
        }
        "files" => {
            forms += 1;
            has_pattern(node)
        }
        "ignore" | "manifest" => true,
        _ => false,
    });
    all && forms > 0
}

/// Reads a map that [`is_files`].
pub fn read(
    entries: &[(Key, Node)],
    consumer: &Consumer,
    tying: &Tying,
    problems: &mut Vec<Problem>,
) -> Option<Written> {
    let before = problems.len();
    let mut main: Option<(Form, &Key, &Node)> = None;
    let (mut ignore, mut manifest) = (None, None);
    for (key, node) in entries {
        let form = match &*key.name {
            "file" => Form::File,
            "dir" => Form::Dir,
            "files" => Form::Files,
            "ignore" => {
                ignore = Some((key, node));
                continue;
            }
            _ => {
                manifest = Some((key, node));
                continue;
            }
        };
        match main {
            None => main = Some((form, key, node)),
            Some((first, at, _)) => problems.push(
                Problem::new(
                    key.span,
                    format!(
                        "an input is a `{}` or a `{}`, not both",
                        first.word(),
                        form.word()
                    ),
                )
                .also(at.span, "the other one")
                .help("give each a name of its own"),
            ),
        }
    }
    let (form, _, node) = main?;
    let paths: Vec<Node> = match (&node.data, form) {
        (Data::Seq(items), Form::Files) => items.to_vec(),
        _ => vec![node.clone()],
    };
    for (option, given, fits) in [
        ("ignore", ignore, form != Form::File),
        ("manifest", manifest, form == Form::Dir),
    ] {
        if let Some((key, _)) = given.filter(|_| !fits) {
            problems.push(Problem::new(
                key.span,
                format!(
                    "`{option}` applies to a directory, and this is `{}`",
                    form.word()
                ),
            ));
        }
    }
    for node in paths.iter().chain(manifest.map(|(_, node)| node)) {
        if scalar_text(&node.data).is_none() && !matches!(node.data, Data::Template(_)) {
            problems.push(Problem::new(
                node.span,
                format!("expected a path, found {}", node.describe()),
            ));
        }
        templates(node, &mut |template, span| {
            for reference in template.references() {
                let at = (tying.narrow)(span, &format!("${{{reference}}}"));
                problems.extend(consumer.axis(reference, at).err());
            }
        });
    }
    let ignore = match ignore {
        None => usual(),
        Some((_, node)) => read_ignore(node, problems)?,
    };
    (problems.len() == before).then(|| Written {
        form,
        paths,
        ignore,
        manifest: manifest.map(|(_, node)| node.clone()),
    })
}

fn usual() -> Arc<Ignore> {
    static USUAL: std::sync::OnceLock<Arc<Ignore>> = std::sync::OnceLock::new();
    let made = || Arc::new(Ignore::usual_and(&[]).unwrap_or_default());
    USUAL.get_or_init(made).clone()
}

fn read_ignore(node: &Node, problems: &mut Vec<Problem>) -> Option<Arc<Ignore>> {
    let patterns: Vec<String> = match &node.data {
        Data::String(word) if &**word == "none" => return Some(Arc::new(Ignore::nothing())),
        Data::Seq(items) if items.iter().all(|i| i.as_str().is_some()) => {
            let texts = items.iter().filter_map(Node::as_str);
            texts.map(str::to_owned).collect()
        }
        _ => {
            problems.push(
                Problem::new(
                    node.span,
                    format!("expected a list of patterns, found {}", node.describe()),
                )
                .help("write patterns as in .gitignore, `ignore: [\"*.tmp\", /build]`, or `ignore: none`"),
            );
            return None;
        }
    };
    match (Ignore::usual_and(&patterns), &node.data) {
        (Ok(ignore), _) => Some(Arc::new(ignore)),
        (Err((at, why)), Data::Seq(items)) => {
            let span = items.get(at).map_or(node.span, |n| n.span);
            problems.push(Problem::new(span, format!("this is not a pattern: {why}")));
            None
        }
        _ => None,
    }
}

impl Written {
    /// Stands for the same in every row.
    pub fn is_constant(&self) -> bool {
        let is_template = |node: &Node| matches!(node.data, Data::Template(_));
        !self.paths.iter().chain(&self.manifest).any(is_template)
    }

    /// Several files, however many there are.
    pub fn is_many(&self) -> bool {
        self.form == Form::Files
    }

    /// The files of a row.
    pub fn find(
        &self,
        row: &[u32],
        consumer: &Consumer,
        tying: &mut Tying,
    ) -> Result<Vec<FoundFile>, Problem> {
        let values = tying.values;
        let text = |node: &Node| match &node.data {
            Data::Template(template) => consumer.text(template, row, values, node.span),
            data => Ok(scalar_text(data).unwrap_or_default()),
        };
        if self.form == Form::Files {
            let mut all: Vec<FoundFile> = Vec::new();
            for node in &self.paths {
                all.extend(self.matches(&text(node)?, node.span, tying)?);
            }
            all.sort_by(|a, b| a.files.at.cmp(&b.files.at));
            all.dedup_by(|a, b| a.files.at == b.files.at);
            return Ok(all);
        }
        let mut found = Vec::new();
        for node in &self.paths {
            let mut one = self.one(&text(node)?, node.span, tying)?;
            if let Some(list) = &self.manifest {
                let path = tying.absolute(&text(list)?, list.span)?;
                if !path.is_file() {
                    return Err(Problem::new(
                        list.span,
                        format!("there is no file `{}`", path.display()),
                    )
                    .help("write it in the directory: `find . -type f | xargs b3sum > LIST`"));
                }
                let files = Files {
                    manifest: Some(Box::new(Location::of(&path, tying.root))),
                    ..(*one.files).clone()
                };
                one.files = Arc::new(files);
            }
            found.push(one);
        }
        Ok(found)
    }

    /// A path; it must exist and be what it is said to be.
    fn one(&self, text: &str, span: Span, tying: &mut Tying) -> Result<FoundFile, Problem> {
        let at = tying.locate(text, span)?;
        let shown = text.escape_debug();
        match (tying.is_dir(&at), self.form) {
            (Some(true), Form::Dir) | (Some(false), Form::File) => {}
            (Some(true), _) => {
                return Err(Problem::new(span, format!("`{shown}` is a directory"))
                    .help(format!("write `{{dir: {shown}}}`")));
            }
            (Some(false), _) => {
                return Err(
                    Problem::new(span, format!("`{shown}` is a file, not a directory"))
                        .help(format!("write `{{file: {shown}}}`")),
                );
            }
            (None, form) => {
                let what = if form == Form::Dir {
                    "directory"
                } else {
                    "file"
                };
                let place = match at {
                    Location::Project(_) => " in the project",
                    Location::Outside(_) => "",
                };
                let problem = Problem::new(span, format!("there is no {what} `{shown}`{place}"));
                let meant = Existing::likest(&at.path(tying.root), form == Form::Dir);
                return Err(match meant {
                    Some(name) => problem.help(format!(
                        "did you mean `{}`?",
                        Path::new(text).with_file_name(name).display()
                    )),
                    None => problem.help(
                        "paths are relative to the project; what another stage makes is `stage.output`",
                    ),
                });
            }
        }
        let place = match &at {
            Location::Project(path) => Place::Own(path.clone()),
            // A directory is called as the need is: what it is called here is an accident of this
            // machine.
            Location::Outside(_) if self.form == Form::Dir => Place::Below(String::new()),
            Location::Outside(path) => Place::Below(name_of(path, span)?),
        };
        Ok(self.found(at, place))
    }

    fn matches(
        &self,
        text: &str,
        span: Span,
        tying: &mut Tying,
    ) -> Result<Vec<FoundFile>, Problem> {
        let glob = Glob::new(text).map_err(|e| Problem::new(span, e))?;
        // `.` stands for the project itself, which is no input, and a fine place to look in.
        let base = tying.absolute(glob.base(), span)?;
        let files = glob
            .files(&base, tying.root, &self.ignore)
            .map_err(|e| Problem::new(span, e))?;
        if files.is_empty() {
            return Err(
                Problem::new(span, format!("no file matches `{}`", text.escape_debug())).help(
                    "patterns are relative to the project: `data/*.csv`, `data/**/*.csv` at any depth; what another stage makes is `stage.output`",
                ),
            );
        }
        let mut found = Vec::with_capacity(files.len());
        for inner in files {
            let path = base.join(inner.as_str());
            let (at, place) = match path.strip_prefix(tying.root).ok().and_then(Path::to_str) {
                Some(own) => {
                    let own = RelPath::new(own).map_err(|e| Problem::new(span, e.to_string()))?;
                    (Location::Project(own.clone()), Place::Own(own))
                }
                None => (
                    Location::Outside(path.into()),
                    Place::Below(inner.to_string()),
                ),
            };
            found.push(self.found(at, place));
        }
        Ok(found)
    }

    fn found(&self, at: Location, place: Place) -> FoundFile {
        let ignore = self.ignore.clone();
        FoundFile {
            files: Arc::new(Files {
                at,
                ignore,
                manifest: None,
            }),
            place,
        }
    }
}

fn name_of(path: &Path, span: Span) -> Result<String, Problem> {
    let name = path.file_name().and_then(|n| n.to_str());
    name.map(str::to_owned)
        .ok_or_else(|| Problem::new(span, "the file's name is not UTF-8; rename it"))
}

impl Tying<'_> {
    /// The whole path of a text.
    fn absolute(&self, text: &str, span: Span) -> Result<PathBuf, Problem> {
        outside::absolute(text, self.root, self.home.as_deref(), span)
    }

    /// Where a path leads: into the project, or out of it.
    fn locate(&self, text: &str, span: Span) -> Result<Location, Problem> {
        if !text.starts_with(['/', '~'])
            && let Ok(path) = RelPath::new(text)
        {
            return Ok(Location::Project(path));
        }
        let path = self.absolute(text, span)?;
        if self.root.starts_with(&path) {
            return Err(Problem::new(
                span,
                format!("`{}` holds the project itself", text.escape_debug()),
            )
            .help("name what is needed: results must not depend on `.repro` and `artifacts`"));
        }
        match path.strip_prefix(self.root) {
            Ok(inner) => inner
                .to_str()
                .and_then(|inner| RelPath::new(inner).ok())
                .map(Location::Project)
                .ok_or_else(|| Problem::new(span, "the path is not UTF-8")),
            Err(_) => Ok(Location::Outside(path.into())),
        }
    }

    /// Whether it is a directory; `None` when there is nothing.
    fn is_dir(&mut self, at: &Location) -> Option<bool> {
        self.existing.is_dir(&at.path(self.root))
    }
}
