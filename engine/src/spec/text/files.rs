//! Reads the pipeline file and what it includes.
//!
//! Decides which file is read, once each, and what is too large or no text. Knows nothing of what
//! the files say but `include`.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::decode;
use super::diagnostic::{Report, Source};
use super::document::{self, MAX_BYTES};
use super::node::{Data, Node};
use super::problem::{Problem, Span};

/// A file that was read.
pub struct Document {
    /// Its number in [`Report::sources`].
    pub source: u32,
    /// Its tree: a map.
    pub root: Node,
    /// The directory it lies in: what it names is relative to that.
    pub dir: PathBuf,
}

/// Reads a file and everything it includes, depth first; the file itself comes first.
pub fn read_all(file: &Path, root: &Path, report: &mut Report) -> (Vec<Document>, Vec<PathBuf>) {
    let mut reader = Reader {
        root,
        report,
        documents: Vec::new(),
        files: Vec::new(),
        seen: HashSet::new(),
        active: Vec::new(),
    };
    reader.read(file, None);
    (reader.documents, reader.files)
}

struct Reader<'a> {
    root: &'a Path,
    report: &'a mut Report,
    documents: Vec<Document>,
    files: Vec<PathBuf>,
    seen: HashSet<PathBuf>,
    active: Vec<(PathBuf, String)>,
}

impl Reader<'_> {
    fn read(&mut self, file: &Path, included_at: Option<Span>) {
        let name = file
            .strip_prefix(self.root)
            .unwrap_or(file)
            .display()
            .to_string();
        let identity = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        if let Some(at) = self.active.iter().position(|(path, _)| *path == identity) {
            let mut names: Vec<&str> = self.active[at..]
                .iter()
                .map(|(_, name)| name.as_str())
                .collect();
            names.push(&name);
            let message = format!(
                "files include each other in a circle: {}",
                names.join(" → ")
            );
            self.report.push(
                Problem::new(included_at.unwrap_or(Span::start_of(0)), message)
                    .help("move what they share into a file of its own"),
            );
            return;
        }
        if !self.seen.insert(identity.clone()) {
            return;
        }
        if self.active.len() >= 64 {
            self.report.push(Problem::new(
                included_at.unwrap_or(Span::start_of(0)),
                "files are included more than 64 deep",
            ));
            return;
        }
        let text = match read_text(file) {
            Ok(text) => text,
            Err(problem) => {
                let at = included_at.unwrap_or_else(|| {
                    Span::start_of(self.report.source(Source::new(
                        &name,
                        String::new(),
                        String::new(),
                    )))
                });
                self.report
                    .push(Problem::new(at, format!("{name}: {problem}")));
                return;
            }
        };
        self.files
            .push(file.strip_prefix(self.root).unwrap_or(file).to_owned());
        let source = self.report.source(Source::new(&name, text, String::new()));
        let (node, problems) = document::parse(source, &self.report.sources[source as usize].text);
        let whole = problems.is_empty();
        self.report.extend(problems);
        let Some(node) = node else {
            if whole {
                self.report.push(empty(source));
            }
            return;
        };
        match node.data {
            Data::Map(_) => {}
            Data::Null => return self.report.push(empty(source)),
            _ => {
                return self.report.push(
                    Problem::new(
                        node.span,
                        format!("a pipeline file is a map, found {}", node.describe()),
                    )
                    .help("begin with `version: 1` and `stages:`"),
                );
            }
        }
        self.report.sources[source as usize].root = Some(node.clone());
        let include = node.get("include").cloned();
        let dir = file.parent().unwrap_or(Path::new("")).to_owned();
        self.documents.push(Document {
            source,
            root: node,
            dir,
        });
        self.active.push((identity, name));
        if let Some(include) = include {
            let (paths, problems) = decode::decode::<Option<Vec<decode::Field<String>>>>(&include);
            self.report.extend(problems);
            for path in paths.flatten().unwrap_or_default() {
                if let Some(text) = path.value {
                    let base = file.parent().unwrap_or(Path::new(""));
                    self.read(&base.join(text), Some(path.span));
                }
            }
        }
        self.active.pop();
    }
}

fn empty(source: u32) -> Problem {
    Problem::new(Span::start_of(source), "the file is empty")
        .help("begin with `version: 1` and `stages:`; `repro init` writes an example")
}

/// The text of a file, without a byte order mark; or why it cannot be read.
pub fn read_text(file: &Path) -> Result<String, String> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => e.to_string(),
    };
    let handle = std::fs::File::open(file).map_err(failed)?;
    let meta = handle.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Err("this is a directory, not a pipeline file".to_owned());
    }
    let mut bytes = Vec::with_capacity(meta.len().min(MAX_BYTES) as usize);
    // A pipe has no length to trust: never read more than the limit.
    handle
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!(
            "the file is larger than {} MiB, the limit for a pipeline",
            MAX_BYTES >> 20
        ));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        format!(
            "the file is not UTF-8 text (byte {})",
            e.utf8_error().valid_up_to()
        )
    })?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}
