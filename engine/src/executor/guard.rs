//! The guard (I9): proof that what an execution used is what its key says.
//!
//! A key holds the digests that inputs had when the key was made. Between that and the end of an
//! execution anybody may change a file, and change it back. So each input is looked at twice,
//! before it is placed and when all is over: both times its bytes must be those of the key, and in
//! between nothing may have moved: inode, size and both times of every file and directory are the
//! same, which no change leaves as they were. Copies that a command got are proof by themselves. A
//! file too young for its times to tell is waited for, 20 ms at most, or 2 s where another machine
//! stamps files. Where times prove nothing (tmpfs, through a map) the bytes are read again.
//!
//! Watched like this are files of the project, programs that are kinds, and declared tools; inputs
//! from the store are checked there, by their seals.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::Moved;
use crate::digest::{Content, Digest};
use crate::environment::{self, Captured};
use crate::exec::{self, Stamp};
use crate::files::Files;
use crate::plan::{Environment, Tool};
use crate::session::stamps;
use crate::store::{Look, StatCache, Store, StoreError};

/// What an execution depends on, and what it must be.
#[derive(Default)]
pub struct Watched {
    /// Files and directories that no stage makes, with the content they have in the key.
    pub inputs: Vec<(Arc<Files>, Content)>,
    /// A program that is the kind, with the digest in the key.
    pub program: Option<(PathBuf, Digest)>,
    /// Tools whose versions are in the key.
    pub tools: Vec<Tool>,
    /// Environments of packages, as the key has them.
    pub environments: Vec<WatchedEnvironment>,
}

/// An environment of packages.
pub struct WatchedEnvironment {
    /// Which.
    pub environment: Environment,
    /// Its packages, as in the key.
    pub captured: Captured,
    /// How its directories looked when they were.
    pub stamps: Vec<Option<Stamp>>,
    /// The project.
    pub root: PathBuf,
}

/// The first look, to be compared with the second.
pub struct Guard {
    watched: Watched,
    looks: Vec<Look>,
    program: Option<Stamp>,
}

impl Guard {
    /// Looks before anything is placed.
    ///
    /// # Errors
    /// What is not as in the key.
    pub fn begin(watched: Watched, stats: &StatCache) -> Result<Guard, Moved> {
        let mut looks = Vec::with_capacity(watched.inputs.len());
        for (files, content) in &watched.inputs {
            looks.push(look(stats, files, content)?);
        }
        let mut program = None;
        if let Some((path, digest)) = &watched.program {
            let stamp = Stamp::of(path);
            let found = Digest::of_file(path).ok().map(|(digest, _)| digest);
            if found != Some(*digest) || stamp.is_none() {
                return Err(Moved {
                    what: path.display().to_string(),
                    before: digest.to_string(),
                    after: found.map_or_else(|| "gone".to_owned(), |d| d.to_string()),
                });
            }
            program = stamp;
        }
        let guard = Guard {
            watched,
            looks,
            program,
        };
        guard.check_tools()?;
        guard.check_environments()?;
        Ok(guard)
    }

    /// Looks when all is over. Of what was `copied` the execution saw the bytes of the key,
    /// whatever passed over the original.
    ///
    /// # Errors
    /// What is not as in the key, or was something else in between.
    pub fn end(&self, stats: &StatCache, copied: &BTreeSet<PathBuf>) -> Result<(), Moved> {
        for ((files, content), first) in self.watched.inputs.iter().zip(&self.looks) {
            let second = look(stats, files, content)?;
            if !second.is_same(first) && !copied.contains(&files.at.path(stats.root())) {
                return Err(passing(files.at.to_string(), content.to_string()));
            }
        }
        if let Some((path, digest)) = &self.watched.program
            && Stamp::of(path) != self.program
        {
            let found = Digest::of_file(path).ok().map(|(digest, _)| digest);
            let what = path.display().to_string();
            return Err(match found {
                Some(found) if found == *digest => passing(what, digest.to_string()),
                found => Moved {
                    what,
                    before: digest.to_string(),
                    after: found.map_or_else(|| "gone".to_owned(), |d| d.to_string()),
                },
            });
        }
        self.check_tools()?;
        self.check_environments()
    }

    /// Installing a package changes the directory of all of them; then the packages are looked at
    /// again.
    fn check_environments(&self) -> Result<(), Moved> {
        for watched in &self.watched.environments {
            if stamps(&watched.captured) == watched.stamps {
                continue;
            }
            let now = environment::capture(&watched.environment, &watched.root);
            if !now.is_ok_and(|now| now.in_key == watched.captured.in_key) {
                return Err(Moved {
                    what: watched.environment.to_string(),
                    before: "the packages of the key".into(),
                    after: "others".into(),
                });
            }
        }
        Ok(())
    }

    fn check_tools(&self) -> Result<(), Moved> {
        for tool in &self.watched.tools {
            if !exec::is_tool_as_asked(tool) {
                return Err(Moved {
                    what: format!("the tool {}", tool.program),
                    before: "the program whose version was asked for".into(),
                    after: "another file".into(),
                });
            }
        }
        Ok(())
    }
}

fn passing(what: String, content: String) -> Moved {
    Moved {
        what,
        after: format!("{content} again, written to in between"),
        before: content,
    }
}

fn look(stats: &StatCache, files: &Files, content: &Content) -> Result<Look, Moved> {
    let look = stats.look(files);
    match look {
        Ok(look) if look.content == *content => Ok(look),
        other => Err(Moved {
            what: files.at.to_string(),
            before: content.to_string(),
            after: match other {
                Ok(look) => look.content.to_string(),
                Err(StoreError::Cancelled) => "not looked at to the end".into(),
                Err(_) => "gone".into(),
            },
        }),
    }
}

/// Inputs from the store, after an execution that used them.
///
/// # Errors
/// One that is damaged or gone: what was read from it cannot be known.
pub fn check_objects<'a>(
    store: &Store,
    views: impl Iterator<Item = (&'a Arc<str>, &'a Content)>,
) -> Result<(), Moved> {
    for (need, content) in views {
        if !store.is_still(content) {
            return Err(Moved {
                what: format!("the input `{need}` in the store"),
                before: content.to_string(),
                after: "damaged or gone".into(),
            });
        }
    }
    Ok(())
}
