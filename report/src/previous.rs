//! What the last report said, so that this one can tell what changed since. It lies in the
//! project's own directory and is part of no result.

use std::collections::BTreeMap;
use std::path::Path;

use repro_engine::whole;
use serde::{Deserialize, Serialize};

/// The verdicts of a report, and the keys they came from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// By claim.
    pub verdicts: BTreeMap<String, String>,
    /// By instance.
    pub keys: BTreeMap<String, String>,
}

/// What reports have said: the last one, and the last one that said anything else.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    now: Said,
    before: Said,
}

impl Memory {
    /// Of a file; nothing where there is none or it cannot be read.
    pub fn read(path: &Path) -> Memory {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Takes note of what a report says, and returns what the one before it said.
    pub fn turn(&mut self, said: Said) -> &Said {
        if self.now.verdicts.is_empty() {
            self.now = said;
        } else if said.verdicts != self.now.verdicts {
            self.before = std::mem::replace(&mut self.now, said);
        } else {
            // The same verdicts, maybe of other keys: the later ones explain the next change.
            self.now = said;
        }
        &self.before
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        whole::write_beside(path, &serde_json::to_vec(self)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(verdict: &str, key: &str) -> Said {
        Said {
            verdicts: BTreeMap::from([("c".to_owned(), verdict.to_owned())]),
            keys: BTreeMap::from([("i".to_owned(), key.to_owned())]),
        }
    }

    /// A report that is written twice tells the same both times.
    #[test]
    fn what_flipped_stays_told_until_something_else_flips() {
        let mut memory = Memory::default();
        assert_eq!(memory.turn(said("holds", "1")), &Said::default());
        assert_eq!(memory.turn(said("refuted", "2")), &said("holds", "1"));
        assert_eq!(memory.turn(said("refuted", "2")), &said("holds", "1"));
        assert_eq!(memory.turn(said("holds", "1")), &said("refuted", "2"));
    }
}
