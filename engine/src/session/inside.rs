//! What lies behind a changed input: which of its files differ, and which of their lines. Asked
//! where something is explained, never where something is decided.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::opened::Session;
use crate::change::{files, hunks};
use crate::digest::{Content, Digest, Shape};
use crate::files::Files;
use crate::plan::{Instance, Source};
use crate::record::event::{Change, Fate, FileChange};
use crate::record::inputs;
use crate::store::{Listing, StatCache};

/// What lies at the places of an instance's inputs now: each is listed once, if somebody asks.
struct Here<'s> {
    stats: &'s StatCache,
    files: Vec<&'s Arc<Files>>,
    listed: OnceCell<Vec<(PathBuf, Option<Listing>)>>,
}

impl Here<'_> {
    fn places(&self) -> &[(PathBuf, Option<Listing>)] {
        self.listed.get_or_init(|| {
            let place = |files: &&Arc<Files>| {
                let listing = self.stats.list_input(files).ok().flatten();
                (files.at.path(self.stats.root()), listing)
            };
            self.files.iter().map(place).collect()
        })
    }

    fn list(&self, digest: &Digest) -> Option<Listing> {
        let mut listings = self
            .places()
            .iter()
            .filter_map(|(_, listing)| listing.as_ref());
        listings
            .find(|listing| listing.content().digest == *digest)
            .cloned()
    }

    fn text(&self, digest: &Digest) -> Option<String> {
        self.places()
            .iter()
            .find_map(|(path, listing)| match listing {
                None => inputs::text(path, digest),
                Some(listing) => {
                    let found = listing.files().find(|(_, of, ..)| of == digest);
                    inputs::text(&found?.0.under(path), digest)
                }
            })
    }
}

impl Session {
    /// Remembers what the inputs of an instance hold that no stage makes, since it is about to be
    /// executed with them.
    pub fn remember_inputs(&self, instance: &Instance, contents: &[Vec<Content>]) {
        for (need, contents) in instance.needs.iter().zip(contents) {
            for (item, content) in need.items.iter().zip(contents) {
                if let Source::Files(files) = &item.source {
                    self.inputs.remember(files, content, &self.stats);
                }
            }
        }
    }

    /// Remembers the texts of the pipeline, and returns their digests by path from the project's
    /// root. Those that lie outside of it, or are long, are left out.
    pub fn remember_pipeline(&self) -> BTreeMap<String, Digest> {
        let root = &self.project.root;
        let digest = |file: &PathBuf| {
            let path = root.join(file);
            let inner = path.strip_prefix(root).ok()?.to_str()?.to_owned();
            Some((inner, self.inputs.remember_text(&path)?))
        };
        self.plan.files.iter().filter_map(digest).collect()
    }

    /// Adds to changed inputs of an instance which files of them differ, as far as both contents
    /// are known: from the store, from what was remembered, or because they lie there now.
    pub fn look_inside(&self, instance: Option<&Instance>, changes: &mut [Change]) {
        let needs = instance.into_iter().flat_map(|i| &i.needs);
        let files = needs
            .flat_map(|need| &need.items)
            .filter_map(|item| match &item.source {
                Source::Files(files) => Some(files),
                Source::Output { .. } => None,
            });
        let here = Here {
            stats: &self.stats,
            files: files.collect(),
            listed: OnceCell::new(),
        };
        for change in changes {
            let content =
                |side: &Option<serde_json::Value>| Content::named(side.as_ref()?.as_str()?);
            if change.field.starts_with("inputs.")
                && let (Some(old), Some(new)) = (content(&change.old), content(&change.new))
            {
                let pair = (old.digest, new.digest);
                change.files = self.told.or_tell(pair, || self.between(&old, &new, &here));
            }
        }
    }

    fn between(&self, old: &Content, new: &Content, here: &Here) -> Vec<FileChange> {
        let text = |digest: &Digest| self.text(digest, here);
        match (old.shape, new.shape) {
            (Shape::Tree, Shape::Tree) => {
                let list = |content: &Content| self.list(&content.digest, here);
                let both = list(old).zip(list(new));
                both.map_or_else(Vec::new, |(old, new)| files(&old, &new, text))
            }
            (Shape::Tree, _) | (_, Shape::Tree) => Vec::new(),
            _ => {
                let both = text(&old.digest).zip(text(&new.digest));
                let change = |hunks| FileChange {
                    path: None,
                    fate: Fate::Changed { hunks },
                };
                let hunks = both.map(|(old, new)| hunks(&old, &new));
                hunks
                    .filter(|h| !h.is_empty())
                    .map(change)
                    .into_iter()
                    .collect()
            }
        }
    }

    fn list(&self, digest: &Digest, here: &Here) -> Option<Listing> {
        let in_store = self.store.read_tree(digest).ok();
        in_store
            .or_else(|| self.inputs.listing(digest))
            .or_else(|| here.list(digest))
    }

    fn text(&self, digest: &Digest, here: &Here) -> Option<String> {
        let in_store = || {
            self.store.open_object(digest).ok()?;
            inputs::text(&self.store.object_path(digest), digest)
        };
        self.inputs
            .text(digest)
            .or_else(in_store)
            .or_else(|| here.text(digest))
    }
}
