//! The lock file while a run changes it: a text for each instance. Most stay as they were, and
//! comparing a text costs less than reading it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::written::{self, Table};
use super::{FORMAT, HEADER, LockFile};
use crate::digest::{Content, Digest};

/// Whether somebody has looked at every line of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Yes,
    No,
}

/// See the module. Texts are without the end of their last line.
#[derive(Debug, Default)]
pub struct Blocks<'t> {
    by_instance: BTreeMap<Cow<'t, str>, Cow<'t, str>>,
    /// Memory of texts that are only compared.
    scratch: String,
}

impl<'t> Blocks<'t> {
    /// # Errors
    /// A conflict or damage; the error names the line.
    pub(super) fn of(path: &Path, text: &'t str, checked: Checked) -> anyhow::Result<Blocks<'t>> {
        if let Some(blocks) = Blocks::of_written(text, checked) {
            return Ok(blocks);
        }
        let mut blocks = Blocks::default();
        for (id, block) in LockFile::parse(path, text)?.blocks {
            let text = block.text(&written::quoted(&id));
            blocks.by_instance.insert(id.into(), text.into());
        }
        Ok(blocks)
    }

    /// `None` if any of it is not as it is written here.
    fn of_written(text: &'t str, checked: Checked) -> Option<Blocks<'t>> {
        let mut blocks = Blocks::default();
        for block in written::blocks(text)? {
            if checked == Checked::No {
                written::walk(block, |_, _, _| true)?;
            }
            let id = written::instance(block)?;
            if blocks.by_instance.insert(id, block.into()).is_some() {
                return None;
            }
        }
        Some(blocks)
    }

    /// Forgets the instances that are not wanted.
    pub fn retain(&mut self, mut is_wanted: impl FnMut(&str) -> bool) {
        self.by_instance.retain(|id, _| is_wanted(id));
    }

    /// Says which result an instance has. Pins stay what they were, unless there are new ones.
    pub fn set<'n>(
        &mut self,
        id: &str,
        key: &Digest,
        outputs: impl Iterator<Item = (&'n str, &'n Content)>,
        new_pins: Option<BTreeMap<String, String>>,
    ) {
        let quoted_id = written::quoted(id);
        let mut outputs: Vec<_> = outputs.collect();
        outputs.sort_unstable_by_key(|(name, _)| *name);
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        written::begin(&mut text, &quoted_id, key);
        let outputs = outputs.iter().map(|(name, c)| (*name, c.to_string()));
        written::table(&mut text, &quoted_id, Table::Outputs, outputs);
        let old = self.by_instance.get(id);
        let is_kept = new_pins.is_none()
            && old.is_some_and(|old| {
                let rest = old.strip_prefix(text.as_str());
                rest.is_some_and(|rest| rest.is_empty() || begins_pins(rest, &quoted_id))
            });
        if is_kept {
            self.scratch = text;
            return;
        }
        let pins = new_pins.unwrap_or_else(|| old.map(|old| pins_of(old)).unwrap_or_default());
        written::table(&mut text, &quoted_id, Table::Pins, &pins);
        self.by_instance
            .insert(id.to_owned().into(), text.clone().into());
        self.scratch = text;
    }

    /// What executions found out about the outside world, of the instances that have any.
    pub(super) fn pins(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let blocks = self.by_instance.iter();
        let may_have = blocks.filter(|(_, block)| block.contains(Table::Pins.heading_end()));
        may_have
            .map(|(id, block)| (id.to_string(), pins_of(block)))
            .filter(|(_, pins)| !pins.is_empty())
            .collect()
    }

    /// The text of the file.
    pub(super) fn text(&self) -> String {
        let bytes: usize = self.by_instance.values().map(|block| block.len() + 2).sum();
        let mut text = String::with_capacity(bytes + HEADER.len() + 16);
        text.push_str(HEADER);
        text.push_str(&format!("version = {FORMAT}\n"));
        for block in self.by_instance.values() {
            text.push('\n');
            text.push_str(block);
            text.push('\n');
        }
        text
    }
}

/// Whether the rest of a block is its pins.
fn begins_pins(rest: &str, quoted_id: &str) -> bool {
    let mut heading = String::new();
    written::heading(&mut heading, quoted_id, Table::Pins);
    rest.starts_with(&heading)
}

/// The pins of a block that has been checked.
fn pins_of(block: &str) -> BTreeMap<String, String> {
    let mut pins = BTreeMap::new();
    written::walk(block, |table, name, value| {
        if table == Table::Pins {
            pins.insert(name.into_owned(), value.into_owned());
        }
        true
    });
    pins
}
