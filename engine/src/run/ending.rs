//! The end of a run: what was not reached, verdicts, lock file, index, summary.

use std::collections::HashSet;
use std::time::Instant;

use super::scheduler::{RunReport, Scheduler};
use super::state::{Phase, State};
use crate::digest::Digest;
use crate::plan::{Claim, InstanceIndex};
use crate::record::event::Event;
use crate::record::lockfile::{Change, Made};
use crate::session::Session;
use crate::verdicts::{Document, verdicts};
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
        let decided = verdicts(&claims, |look| match board.state(look) {
            State::Done { outputs, .. } => {
                let output = outputs.first().copied();
                let output = output.filter(|o| !is_dry || store.has(o).unwrap_or(false));
                output.map(|output| Document::Stored(store, output))
            }
            _ => None,
        })?;
        self.summary.claims.extend(decided.into_iter().flatten());
        if !self.options.dry_run {
            self.write_lock(whole)?;
            let index_path = self.session.index_path();
            self.session.index.save(&index_path)?;
            self.session.stats.save()?;
            self.placing.save();
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
        let (plan, board) = (&self.session.plan, &self.board);
        let mut pins = std::mem::take(&mut self.pins);
        {
            // Other runs of this project may have written since this one began: their blocks stay.
            let change = Change::begin(&path, &self.session.project.state(), self.lock.take())?;
            let mut blocks = change.blocks()?;
            if whole {
                let known: HashSet<&str> = plan.instances.iter().map(|i| &*i.id).collect();
                blocks.retain(|id| known.contains(id));
            }
            for (index, state) in board.states() {
                let State::Done { key, outputs } = state else {
                    continue;
                };
                let instance = plan.instance(index);
                let made = Made {
                    key,
                    outputs: &instance.outputs,
                    contents: outputs,
                };
                blocks.set(&instance.id, made, pins.remove(&index));
            }
            change.write(&blocks)?;
        }
        let stamp = stamp_with_file(self.session);
        self.session.index.set_lock_written_from(stamp);
        Ok(())
    }
}
