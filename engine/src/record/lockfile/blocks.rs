//! The lock file while a run changes it: a text for each instance. Most stay as they were, and
//! comparing a text costs less than reading it. What is new is made into text when it is written:
//! the texts of 100,000 instances would take as much memory as a third of their plan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::written::{self, Table};
use super::{FORMAT, HEADER, LockFile};
use crate::digest::{Content, Digest};
use repro_protocol::kind::OutputSpec;

/// Whether somebody has looked at every line of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Yes,
    No,
}

/// See the module. Texts are without the end of their last line.
#[derive(Debug, Default)]
pub struct Blocks<'t> {
    by_instance: BTreeMap<Cow<'t, str>, Block<'t>>,
    /// Memory of texts that are only compared.
    scratch: String,
}

#[derive(Debug)]
enum Block<'t> {
    /// As it stands in the file.
    Written(Cow<'t, str>),
    /// Another result, with its pins, if it has any.
    New(Made<'t>, Option<Box<Pins>>),
}

type Pins = BTreeMap<String, String>;

/// The result of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Made<'t> {
    /// The action key.
    pub key: &'t Digest,
    /// The outputs.
    pub outputs: &'t [OutputSpec],
    /// What each of them is.
    pub contents: &'t [Content],
}

impl Made<'_> {
    /// Writes all of a block but its pins.
    fn write(&self, text: &mut String, quoted_id: &str) {
        let names = self.outputs.iter().map(|output| &*output.name);
        let mut outputs: Vec<_> = names.zip(self.contents).collect();
        outputs.sort_unstable_by_key(|(name, _)| *name);
        written::begin(text, quoted_id, self.key);
        let outputs = outputs.iter().map(|(name, c)| (*name, c.to_string()));
        written::table(text, quoted_id, Table::Outputs, outputs);
    }
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
            let block = Block::Written(text.into());
            blocks.by_instance.insert(id.into(), block);
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
            let block = Block::Written(block.into());
            if blocks.by_instance.insert(id, block).is_some() {
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
    pub fn set(&mut self, id: &'t str, made: Made<'t>, new_pins: Option<Pins>) {
        let pins = match (self.by_instance.get(id), new_pins) {
            (_, Some(pins)) => pins,
            (None, None) => Pins::new(),
            (Some(Block::New(_, pins)), None) => pins.as_deref().cloned().unwrap_or_default(),
            (Some(Block::Written(old)), None) => {
                let quoted_id = written::quoted(id);
                self.scratch.clear();
                made.write(&mut self.scratch, &quoted_id);
                let rest = old.strip_prefix(self.scratch.as_str());
                if rest.is_some_and(|rest| rest.is_empty() || begins_pins(rest, &quoted_id)) {
                    return;
                }
                pins_of(old)
            }
        };
        let pins = (!pins.is_empty()).then(|| Box::new(pins));
        self.by_instance.insert(id.into(), Block::New(made, pins));
    }

    /// What executions found out about the outside world, of the instances that have any.
    pub(super) fn pins(&self) -> BTreeMap<String, Pins> {
        let pins = |block: &Block| match block {
            // Most have none, and this costs less than reading them.
            Block::Written(text) if !text.contains(Table::Pins.heading_end()) => Pins::new(),
            Block::Written(text) => pins_of(text),
            Block::New(_, pins) => pins.as_deref().cloned().unwrap_or_default(),
        };
        let blocks = self.by_instance.iter();
        blocks
            .map(|(id, block)| (id, pins(block)))
            .filter(|(_, pins)| !pins.is_empty())
            .map(|(id, pins)| (id.to_string(), pins))
            .collect()
    }

    /// Tells the text of the file, piece by piece, until one is refused.
    pub(super) fn tell<E>(&self, mut piece: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        piece(HEADER)?;
        piece(&format!("version = {FORMAT}\n"))?;
        let mut new = String::new();
        for (id, block) in &self.by_instance {
            let text = match block {
                Block::Written(text) => text,
                Block::New(made, pins) => {
                    new.clear();
                    let quoted_id = written::quoted(id);
                    made.write(&mut new, &quoted_id);
                    let pins = pins.iter().flat_map(|pins| &**pins);
                    written::table(&mut new, &quoted_id, Table::Pins, pins);
                    new.as_str()
                }
            };
            piece("\n")?;
            piece(text)?;
            piece("\n")?;
        }
        Ok(())
    }

    /// Whether this is the text of the file.
    pub(super) fn are_in(&self, mut text: &str) -> bool {
        let told = self.tell(|piece| {
            text = text.strip_prefix(piece).ok_or(())?;
            Ok::<(), ()>(())
        });
        told.is_ok() && text.is_empty()
    }
}

/// Whether the rest of a block is its pins.
fn begins_pins(rest: &str, quoted_id: &str) -> bool {
    let mut heading = String::new();
    written::heading(&mut heading, quoted_id, Table::Pins);
    rest.starts_with(&heading)
}

/// The pins of a block that has been checked.
fn pins_of(block: &str) -> Pins {
    let mut pins = Pins::new();
    written::walk(block, |table, name, value| {
        if table == Table::Pins {
            pins.insert(name.into_owned(), value.into_owned());
        }
        true
    });
    pins
}
