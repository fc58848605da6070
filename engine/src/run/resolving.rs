//! All producers have results: is there one for this instance too, and if not, what is to be done?

use std::sync::Arc;

use super::OnFailure;
use super::looks::Taken;
use super::ready::Wish;
use super::scheduler::Scheduler;
use super::state::{Miss, Phase, State};
use crate::digest::{Content, Digest};
use crate::index::Known;
use crate::lineage::{self, Lineage};
use crate::plan::{InstanceIndex, Work};
use crate::record::event::{Event, Reason};
use crate::session::{Found, Hit};
use crate::store::StoreError;

impl Scheduler<'_> {
    /// Looks at whatever waits for nothing, until nothing does.
    pub(super) fn settle(&mut self) {
        while let Some(index) = self.board.next_free() {
            self.resolve(index);
        }
    }

    /// What the inputs of an instance have in common.
    pub(super) fn lineage(&self, index: InstanceIndex) -> Lineage {
        let plan = &self.session.plan;
        lineage::of(plan, plan.instance(index), |i| self.board.key(i))
    }

    pub(super) fn resolve(&mut self, index: InstanceIndex) {
        if let Some(hit) = self.given(index) {
            return self.hit_elsewhere(index, hit, None);
        }
        if self.awaits_directories(index) {
            return;
        }
        let instance = self.session.plan.instance(index);
        if let Some(why) = self.session.why_unknown(instance).map(str::to_owned) {
            return self.plan_unknown(index, why);
        }
        let awaits = self.board.awaited(index, |p| p != Phase::Done);
        let is_behind = self.options.dry_run && awaits.is_some();
        match self.find(index) {
            Ok((Found::Hit(hit), _)) => self.hit(index, hit),
            // Behind what would be executed a dry run knows of results only.
            Ok((Found::Miss(miss), _)) if is_behind => {
                let key = miss.key.digest;
                let instance = self.session.plan.instance(index);
                if let Some(outputs) = self.session.foreseen(instance, &key) {
                    self.board.enter(index, State::Foreseen { key, outputs });
                }
            }
            Ok((Found::Elsewhere(_), _)) if is_behind && self.away.is_given_up(index) => {}
            Err(_) if is_behind => {}
            Ok((Found::Elsewhere(hit), _)) if !self.away.is_given_up(index) => {
                self.hit_elsewhere(index, hit, None);
            }
            Ok((Found::Elsewhere(hit), contents)) => {
                let reason = Reason::ResultLost(match self.away.fetches() {
                    true => "its bytes no longer exist anywhere".into(),
                    false => format!(
                        "its bytes are on the remote only, and {}",
                        self.options.why_no_remote
                    ),
                });
                let miss = Miss {
                    key: hit.key,
                    reason,
                    contents,
                };
                self.missed(index, Arc::new(miss));
            }
            Ok((Found::Miss(miss), contents)) => {
                let miss = Arc::new(Miss {
                    key: miss.key.digest,
                    reason: miss.reason,
                    contents,
                });
                if self.away.asks(index) && !self.forced[index.0 as usize] {
                    self.away.ask(index, miss.key);
                    self.board.enter(index, State::Asking { miss });
                } else {
                    self.missed(index, miss);
                }
            }
            Err(e) if matches!(e.downcast_ref(), Some(StoreError::Cancelled)) => {
                self.board.enter(index, State::Skipped);
                self.summary.skipped += 1;
                self.summary.interrupted = true;
            }
            Err(e) => self.fail(index, format!("{e:#}"), None),
        }
    }

    /// The result that whoever gave this run vouches for.
    fn given(&self, index: InstanceIndex) -> Option<Hit> {
        let given = self
            .options
            .given
            .get(&self.session.plan.instance(index).id)?;
        (!self.away.is_given_up(index)).then(|| Hit {
            key: given.key,
            outputs: given.outputs.clone(),
            wall_s: 0.0,
            ambiguous: false,
            believed_under: None,
        })
    }

    fn find(&self, index: InstanceIndex) -> anyhow::Result<(Found, Vec<Vec<Content>>)> {
        let instance = self.session.plan.instance(index);
        let contents = self
            .session
            .input_contents(instance, |i| self.board.outputs(i))?;
        let key = self.session.key(instance, &contents, &self.lineage(index));
        let found = match self.forced[index.0 as usize] {
            true => Found::Miss(crate::session::Miss {
                key,
                reason: Reason::Forced,
            }),
            false => self.session.find(instance, key)?,
        };
        Ok((found, contents))
    }

    fn hit(&mut self, index: InstanceIndex, hit: Hit) {
        let instance = self.session.plan.instance(index);
        let id = instance.id.clone();
        let mut restored = false;
        if !self.options.dry_run && !self.session.shown(instance, &hit.outputs) {
            match self.session.show(instance, &hit.outputs) {
                Ok(()) => restored = true,
                // The object went bad between the look and the use: it has been moved aside, so the
                // next look is a miss.
                Err(e)
                    if self.session.look_up(instance, &hit.key).hit.is_none()
                        && self.looked_again.insert(index) =>
                {
                    self.warn(Some(index), format!("{e:#}"));
                    self.forced[index.0 as usize] = false;
                    self.board.wait(index);
                    return;
                }
                Err(e) => {
                    // Whoever reads artifacts/ next would read old bytes: the run must not look
                    // done.
                    self.store_broken = true;
                    self.warn(Some(index), format!("its outputs cannot be shown: {e:#}"));
                }
            }
        }
        if hit.ambiguous {
            let text = "more than one result is recorded for the same inputs: it is not deterministic; one of them is used (see `repro why`)";
            self.warn(Some(index), text.to_owned());
        }
        let changed = self.session.index.set(
            &id,
            Known {
                key: hit.key,
                outputs: hit.outputs.clone(),
                wall_s: hit.wall_s,
                elsewhere: false,
                believed_under: hit.believed_under.map(Box::new),
            },
        );
        self.compare_with_remote(index, &hit.outputs);
        self.publish_cached(index, &hit);
        self.summary.cached += 1;
        self.summary.saved_s += f64::from(hit.wall_s);
        self.done(index, hit.key, hit.outputs);
        self.say(Event::Cached {
            instance: id.to_string(),
            key: hit.key.hex(),
            saved_s: f64::from(hit.wall_s),
            restored,
            changed,
            remote: None,
        });
        self.looked(index, Taken::Before);
    }

    /// It has a result.
    pub(super) fn done(&mut self, index: InstanceIndex, key: Digest, outputs: Arc<[Content]>) {
        self.executor.learn(index, &key, &outputs);
        self.board.enter(index, State::Done { key, outputs });
    }

    /// It has all it needs, and can be executed.
    pub(super) fn make_ready(&mut self, index: InstanceIndex, miss: Arc<Miss>) {
        let plan = &self.session.plan;
        if self.urgency.is_empty() {
            self.urgency = self.board.graph().urgency(|i| {
                let known = self.session.index.get(&plan.instance(i).id);
                known.map_or(1.0, |k| k.wall_s.max(0.001))
            });
        }
        let (policy, by_time) = self.place(index, &miss);
        let instance = self.session.plan.instance(index);
        self.session.remember_inputs(instance, &miss.contents);
        // A kind that was given no number of `cpus` shares the free cores with whatever else is
        // ready.
        let shares = matches!(instance.work, Work::Kind { .. });
        let wish = Wish::of(&policy, shares).or_cpu(by_time);
        let urgency = (self.urgency[index.0 as usize] * 1000.0) as u64;
        self.board.make_ready(index, miss, &wish, policy, urgency);
    }

    /// Its key is not known, so nobody can say whether it has a result. A run knows all keys.
    fn plan_unknown(&mut self, index: InstanceIndex, why: String) {
        match self.options.dry_run {
            true => self.plan_to_execute(index, Reason::Unasked(why), None),
            false => self.fail(index, why, None),
        }
    }

    /// In a dry run: it would be executed, and would give what is foreseen.
    pub(super) fn plan_to_execute(
        &mut self,
        index: InstanceIndex,
        reason: Reason,
        foreseen: Option<Arc<[Content]>>,
    ) {
        self.board.enter(index, State::Planned { foreseen });
        self.summary.executed += 1;
        let event = Event::Planned {
            instance: self.id(index),
            reason,
        };
        self.say(event);
    }

    /// In a dry run nothing behind a miss can be known.
    pub(super) fn skip_rest_of_dry_run(&mut self) {
        for i in 0..self.session.plan.instances.len() as u32 {
            let index = InstanceIndex(i);
            if let Phase::Waiting | Phase::Foreseen = self.board.phase(index) {
                let upstream = self.board.awaited(index, |p| p != Phase::Done);
                let upstream = upstream.map_or_else(String::new, |u| self.id(u));
                let foreseen = self.board.outputs(index).cloned();
                self.plan_to_execute(index, Reason::Upstream(upstream), foreseen);
            }
        }
    }

    pub(super) fn fail(&mut self, index: InstanceIndex, message: String, hint: Option<String>) {
        let key = self.board.key(index);
        self.board.enter(index, State::Failed);
        self.summary.failed += 1;
        let event = Event::Failed {
            instance: self.id(index),
            key: key.map(|k| k.hex()),
            message,
            hint,
        };
        self.say(event);
        if self.options.on_failure == OnFailure::Stop {
            self.stopping = true;
        }
    }
}
