//! How a file of metrics fits the plan and repro.lock, and how that is told.

use std::collections::{BTreeMap, BTreeSet};

use super::owes_metrics;
use crate::plan::{InstanceIndex, Plan};
use crate::record::lockfile::LockFile;
use crate::survey::Survey;
use repro_protocol::table::{Gathered, Row, Whose};

/// What does not fit, by names of instances.
#[derive(Debug, Default)]
pub struct Fit {
    has_keys: bool,
    has_lock: bool,
    /// Not in the plan.
    strange: BTreeSet<String>,
    /// The file has another key than repro.lock.
    others: BTreeSet<String>,
    /// repro.lock does not have them.
    unlocked: BTreeSet<String>,
    /// The plan gives another key than repro.lock.
    changed: BTreeSet<String>,
    /// The file does not have them.
    missing: BTreeSet<String>,
}

impl Fit {
    pub(super) fn of(gathered: &[Gathered], lock: &LockFile) -> Fit {
        let key_of = |one: &Gathered| one.whose.as_ref().is_some_and(|w| w.key.is_some());
        Fit {
            has_keys: gathered.iter().all(key_of),
            has_lock: !lock.blocks.is_empty(),
            ..Fit::default()
        }
    }

    pub(super) fn strange(&mut self, name: String) {
        self.strange.insert(name);
    }

    /// Whether a row is of another result than the one that repro.lock names.
    pub(super) fn is_of_another(&mut self, whose: &Whose, lock: &LockFile) -> bool {
        let block = lock.blocks.get(&whose.instance);
        let (Some(key), Some(block)) = (&whose.key, block) else {
            return false;
        };
        let is_other = *key != block.key.hex();
        if is_other {
            self.others.insert(whose.instance.clone());
        }
        is_other
    }

    pub(super) fn compare(
        &mut self,
        plan: &Plan,
        tables: &BTreeMap<(InstanceIndex, usize), Vec<Row>>,
        lock: &LockFile,
        survey: &Survey,
    ) {
        let has_values: BTreeSet<InstanceIndex> = tables.keys().map(|(index, _)| *index).collect();
        for (at, instance) in plan.instances.iter().enumerate() {
            let index = InstanceIndex(at as u32);
            let id = instance.id.to_string();
            if !has_values.contains(&index) {
                if owes_metrics(instance) && !self.others.contains(&id) {
                    self.missing.insert(id);
                }
                continue;
            }
            if !lock.blocks.contains_key(&id) {
                self.unlocked.insert(id);
            }
        }
        // Keys after the first that differs are not known, and what changed may stand in front of
        // everything that has values.
        let mut behind = BTreeSet::new();
        for (at, instance) in plan.instances.iter().enumerate() {
            let index = InstanceIndex(at as u32);
            let Some(block) = lock.blocks.get(&*instance.id) else {
                continue;
            };
            let is_changed = survey.key(index).is_some_and(|key| key != block.key);
            if is_changed || instance.producers().any(|p| behind.contains(&p)) {
                behind.insert(index);
                if has_values.contains(&index) {
                    self.changed.insert(instance.id.to_string());
                }
            }
        }
    }

    /// Most of a file is of instances that the plan does not have, and nothing proves that the few
    /// others are not called alike by chance, as `summary` is.
    pub(super) fn is_of_another_pipeline(&self, known: usize) -> bool {
        !(self.has_keys && self.has_lock) && self.strange.len() > known
    }

    /// Why nothing of a file can be used.
    pub(super) fn nothing(&self) -> String {
        match (self.others.is_empty(), self.strange.is_empty()) {
            (false, _) => format!(
                "it is of other results than those that repro.lock names ({})",
                some(&self.others)
            ),
            (true, false) => format!(
                "it is of another pipeline: this one does not have {} in it ({})",
                counted(self.strange.len()),
                some(&self.strange)
            ),
            (true, true) => "it has no rows".to_owned(),
        }
    }

    /// All of it, in sentences.
    pub(super) fn told(&self, file: &str, is_whole: bool) -> Vec<String> {
        let which = match is_whole {
            true => "all values of each metric",
            false => "the last value of each metric",
        };
        let mut told = vec![format!(
            "Results that are not here are read from {file}, which has {which}."
        )];
        told.push(match (self.has_lock, self.has_keys) {
            (true, true) => "Its keys are those in repro.lock.".to_owned(),
            (true, false) => {
                "It names no keys: that its values are those of repro.lock is taken on trust."
                    .to_owned()
            }
            (false, _) => {
                "There is no repro.lock to compare it with: its values are taken on trust."
                    .to_owned()
            }
        });
        let mut tell = |names: &BTreeSet<String>, text: &str| {
            if !names.is_empty() {
                let names = format!("{} ({})", counted(names.len()), some(names));
                told.push(text.replace("{N}", &names));
            }
        };
        tell(
            &self.strange,
            "It has rows of {N} that the pipeline does not have; they are left out.",
        );
        tell(
            &self.others,
            "It has other keys than repro.lock for {N}; these rows are left out.",
        );
        if self.has_lock {
            tell(&self.unlocked, "repro.lock does not have {N} of it.");
        }
        tell(
            &self.changed,
            "The keys of {N} are no longer those in repro.lock: the pipeline, an input, a tool or this \
             program has changed since, and the values are from before.",
        );
        tell(
            &self.missing,
            "It has no values of {N}: they measured nothing, or it was written without them.",
        );
        told
    }
}

fn counted(instances: usize) -> String {
    match instances {
        1 => "1 instance".to_owned(),
        n => format!("{n} instances"),
    }
}

/// The first name, and how many there are beside.
fn some(names: &BTreeSet<String>) -> String {
    let first = names.first().map_or("", String::as_str);
    match names.len() {
        0 | 1 => format!("`{first}`"),
        n => format!("`{first}` and {} more", n - 1),
    }
}
