//! What is known of files that no stage makes: from the disk, from `.dvc` files, from `dvc.lock`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use repro_engine::spec::yaml::{Node, Report, Span};

use super::paths::below;
use super::scope::load;

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    File,
    Dir,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// `None`: nobody says.
    pub what: Option<What>,
    /// It lies there.
    pub here: bool,
    /// A `.dvc` file says that DVC keeps it.
    pub tracked: bool,
}

/// The files of a project.
pub struct Found<'a> {
    root: &'a Path,
    lock: Option<Node>,
    /// What the `.dvc` files of a directory track, by path.
    tracked: HashMap<PathBuf, Vec<(String, What)>>,
}

impl<'a> Found<'a> {
    /// Reads `dvc.lock`, where it can be read: it only helps.
    pub fn new(root: &'a Path) -> Found<'a> {
        Found {
            root,
            lock: load(root, "dvc.lock", Span::start_of(0), &mut Report::default()),
            tracked: HashMap::new(),
        }
    }

    /// What is known of a path, as seen from the project; `own` is how the stage `name` of DVC
    /// writes it.
    pub fn look(&mut self, path: &str, name: &str, own: &str) -> Known {
        let full = self.root.join(path);
        let on_disk = match full.metadata() {
            Ok(meta) if meta.is_dir() => Some(What::Dir),
            Ok(_) => Some(What::File),
            Err(_) => None,
        };
        let tracked = self.tracked(path);
        Known {
            what: on_disk
                .or(tracked.flatten())
                .or_else(|| self.locked(name, own)),
            here: on_disk.is_some(),
            tracked: tracked.is_some(),
        }
    }

    /// Whether a `.dvc` file tracks it; and what it says it is, if it is the whole of what is
    /// tracked.
    fn tracked(&mut self, path: &str) -> Option<Option<What>> {
        let mut dir = Path::new(path).parent();
        while let Some(at) = dir {
            let root = self.root;
            let known = self
                .tracked
                .entry(at.to_owned())
                .or_insert_with(|| dvc_files(root, at));
            for (tracked, what) in known {
                match below(path, tracked) {
                    Some("") => return Some(Some(*what)),
                    Some(_) => return Some(None),
                    None => {}
                }
            }
            dir = at.parent();
        }
        None
    }

    fn locked(&self, name: &str, own: &str) -> Option<What> {
        let stage = self.lock.as_ref()?.get("stages")?.get(name)?;
        let repro_engine::spec::yaml::Data::Seq(deps) = &stage.get("deps")?.data else {
            return None;
        };
        let dep = deps
            .iter()
            .find(|d| d.get("path").and_then(Node::as_str) == Some(own))?;
        hashed(dep)
    }

    /// Files below a directory of the project that are below none of the given paths.
    pub fn others(&self, dir: &str, except: &[&str]) -> bool {
        let mut left = vec![dir.to_owned()];
        let mut seen = 0;
        while let Some(path) = left.pop() {
            for entry in std::fs::read_dir(self.root.join(&path))
                .into_iter()
                .flatten()
                .flatten()
            {
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                    continue;
                };
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}/{name}")
                };
                seen += 1;
                if except.iter().any(|e| below(&inner, e).is_some())
                    || name == ".gitignore"
                    || seen > 100_000
                {
                    continue;
                }
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => left.push(inner),
                    _ => return true,
                }
            }
        }
        false
    }
}

fn dvc_files(root: &Path, dir: &Path) -> Vec<(String, What)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(root.join(dir))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let Some(name) = name
            .to_str()
            .filter(|n| n.ends_with(".dvc") && *n != ".dvc")
        else {
            continue;
        };
        let Some(path) = dir.join(name).to_str().map(str::to_owned) else {
            continue;
        };
        let Some(node) = load(root, &path, Span::start_of(0), &mut Report::default()) else {
            continue;
        };
        let Some(outs) = node.get("outs") else {
            continue;
        };
        let repro_engine::spec::yaml::Data::Seq(outs) = &outs.data else {
            continue;
        };
        for out in outs.iter() {
            let Some(path) = out.get("path").and_then(Node::as_str) else {
                continue;
            };
            let place = super::paths::join(dir.to_str().unwrap_or(""), path);
            if let Some(path) = place.inside() {
                all.push((path, hashed(out).unwrap_or(What::File)));
            }
        }
    }
    all
}

/// What an entry with a hash is: hashes of directories end with `.dir`.
fn hashed(entry: &Node) -> Option<What> {
    let is_dir = |n: &Node| n.as_str().is_some_and(|s| s.ends_with(".dir"));
    if entry.get("nfiles").is_some()
        || entry.get("files").is_some()
        || entry.entries().iter().any(|(_, n)| is_dir(n))
    {
        return Some(What::Dir);
    }
    entry.get("md5").or(entry.get("etag")).map(|_| What::File)
}
