//! The end of a run: what was not reached, verdicts, lock file, index, summary.

use std::collections::HashMap;
use std::time::Instant;

use super::scheduler::{RunReport, Scheduler};
use super::state::{Phase, State};
use crate::digest::{Content, Digest};
use crate::plan::{Claim, InstanceIndex};
use crate::record::event::Event;
use crate::record::lockfile::{Block, LockFile};
use crate::session::Session;
use crate::verdicts::verdicts;
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

impl Scheduler<'_> {
    /// Skips, verdicts, lock file, index, summary.
    pub(super) fn finish(mut self, started: Instant, whole: bool) -> anyhow::Result<RunReport> {
        for i in 0..self.session.plan.instances.len() as u32 {
            let index = InstanceIndex(i);
            let is_open = matches!(
                self.board.phase(index),
                Phase::Waiting | Phase::Opening | Phase::Asking | Phase::Gathering | Phase::Ready
            );
            if is_open && !self.options.dry_run {
                let cause = self
                    .board
                    .awaited(index, |p| matches!(p, Phase::Failed | Phase::Skipped));
                self.board.enter(index, State::Skipped);
                self.summary.skipped += 1;
                if let Some(cause) = cause {
                    let event = Event::Skipped {
                        instance: self.id(index),
                        because_of: self.id(cause),
                    };
                    self.say(event);
                }
            }
        }
        let claims: Vec<&Claim> = self.session.plan.claims.iter().collect();
        let (board, store) = (&self.board, &self.session.store);
        let is_dry = self.options.dry_run;
        // Of a verdict that is on a remote only, or not made yet, nothing more is known in a dry
        // run.
        let decided = verdicts(store, &claims, |look| match board.state(look) {
            State::Done { outputs, .. } => {
                let output = outputs.first().copied();
                output.filter(|o| !is_dry || store.has(o).unwrap_or(false))
            }
            _ => None,
        })?;
        self.summary.claims.extend(decided.into_iter().flatten());
        if !self.options.dry_run {
            self.write_lock(whole)?;
            let index_path = self.session.index_path();
            self.session.index.save(&index_path)?;
            self.session.stats.save()?;
        }
        self.summary.not_asked_for = self.not_asked_for();
        self.summary.dry_run = self.options.dry_run;
        self.summary.wall_s = started.elapsed().as_secs_f64();
        self.sum_up_remote();
        let summary = self.summary.clone();
        self.say(Event::Summary(summary.clone()));
        Ok(RunReport {
            summary,
            store_broken: self.store_broken,
        })
    }

    /// Blocks of instances this run had nothing to do with stay, unless the plan no longer has
    /// them.
    fn write_lock(&mut self, whole: bool) -> anyhow::Result<()> {
        let mut stamp = blake3::Hasher::new();
        for (index, state) in self.board.states() {
            if let State::Done { key, outputs } = state {
                stamp
                    .update(self.session.plan.instance(index).id.as_bytes())
                    .update(&key.0);
                for content in outputs.iter() {
                    stamp.update(&content.digest.0);
                }
            }
        }
        let path = self.session.project.lock_file();
        // Of the results and of the file: an edited file is written again.
        let stamp_with_file = |session: &Session| {
            let mut stamp = stamp.clone();
            if let Ok(on_disk) = RelPath::new("repro.lock")
                .map_err(anyhow::Error::new)
                .and_then(|p| Ok(session.stats.digest_path(&p)?))
            {
                stamp.update(&on_disk.digest.0);
            }
            Digest(*stamp.finalize().as_bytes())
        };
        if self.session.index.lock_written_from == Some(stamp_with_file(self.session))
            && self.pins.is_empty()
        {
            return Ok(());
        }
        let instances: HashMap<&str, usize> = self
            .session
            .plan
            .instances
            .iter()
            .enumerate()
            .map(|(i, instance)| (&*instance.id, i))
            .collect();
        let (plan, board) = (&self.session.plan, &self.board);
        let mut pins = std::mem::take(&mut self.pins);
        // Other runs of this project may have written since this one began: their blocks stay.
        let seen = self.lock.take();
        LockFile::update(&path, &self.session.project.state(), seen, |lock| {
            if whole {
                lock.blocks
                    .retain(|id, _| instances.contains_key(id.as_str()));
            }
            for (index, state) in board.states() {
                let State::Done { key, outputs } = state else {
                    continue;
                };
                let instance = plan.instance(index);
                let named = || instance.outputs.iter().zip(outputs.iter());
                let id = &*instance.id;
                // Most blocks stay as they are, and making one costs more than looking at it.
                let is_same = |block: &Block| {
                    let is_there = |(o, c): (&OutputSpec, &Content)| {
                        block.outputs.get(&*o.name) == Some(&c.to_string())
                    };
                    block.key == *key
                        && block.outputs.len() == outputs.len()
                        && named().all(is_there)
                };
                if !lock.blocks.get(id).is_some_and(is_same) {
                    let pins = lock.blocks.remove(id).map(|block| block.pins);
                    let block = Block {
                        key: *key,
                        outputs: named()
                            .map(|(o, c)| (o.name.to_string(), c.to_string()))
                            .collect(),
                        pins: pins.unwrap_or_default(),
                    };
                    lock.blocks.insert(id.to_owned(), block);
                }
                if let Some(pins) = pins.remove(&index)
                    && let Some(block) = lock.blocks.get_mut(id)
                {
                    block.pins = pins;
                }
            }
        })?;
        let stamp = stamp_with_file(self.session);
        self.session.index.set_lock_written_from(stamp);
        Ok(())
    }
}
