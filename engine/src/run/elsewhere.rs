//! Results whose bytes are elsewhere: how they serve, what happens when their bytes come, and when
//! they cannot be had. What is under way is known by [`Away`](super::sharing::Away); here it is
//! turned into states and events.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::looks::Taken;
use super::scheduler::Scheduler;
use super::sharing::{Inputs, Waiter, keep_envelopes, way_back};
use super::state::{Miss, State};
use crate::digest::{Content, Digest};
use crate::index::Known;
use crate::lookup::{Answer, Believed};
use crate::plan::InstanceIndex;
use crate::record::event::{Event, Reason};
use crate::remote::reading::Unread;
use crate::session::{Hit, outputs_of};
use crate::store::{Pending, Staged};

impl Scheduler<'_> {
    /// Sends the next wave, and tells how the remote does.
    pub(super) fn send_questions(&mut self) {
        let board = &self.board;
        self.away.send_questions(
            |index, key| matches!(board.state(index), State::Asking { miss } if miss.key == *key),
        );
        self.tell_news();
    }

    pub(super) fn tell_news(&mut self) {
        for event in self.away.news() {
            self.say(event);
        }
    }

    pub(super) fn answered(&mut self, index: InstanceIndex, key: &Digest, answer: Answer) {
        // It may have become another action meanwhile.
        let miss = match self.board.state(index) {
            State::Asking { miss } if miss.key == *key => miss.clone(),
            _ => return,
        };
        let instance = self.session.plan.instance(index);
        let offered = self.away.offered(&instance.id, answer);
        let hit = offered.and_then(|believed| {
            let hit = Hit {
                key: *key,
                outputs: outputs_of(instance, &believed.record)?,
                wall_s: believed.record.wall_s().unwrap_or(0.0) as f32,
                ambiguous: false,
                believed_under: Some(self.session.believer.stamp()),
            };
            Some((hit, believed))
        });
        match hit {
            Some((hit, believed)) => self.hit_elsewhere(index, hit, Some(believed)),
            None => self.missed(index, miss),
        }
    }

    /// No result serves: its inputs have to be here, then it is executed.
    pub(super) fn missed(&mut self, index: InstanceIndex, miss: Arc<Miss>) {
        let instance = self.session.plan.instance(index);
        let inputs = self
            .away
            .inputs(instance, &miss.contents, &self.session.store);
        match inputs {
            Inputs::Here | Inputs::Gather(_) if self.options.dry_run => {
                let foreseen = match miss.reason {
                    Reason::Forced => None,
                    _ => self.session.foreseen(instance, &miss.key),
                };
                self.plan_to_execute(index, miss.reason.clone(), foreseen);
            }
            Inputs::Here => self.make_ready(index, miss),
            Inputs::Gather(open) => {
                for content in &open {
                    self.away.fetch(*content, Waiter::Consumer(index));
                }
                self.board.enter(index, State::Gathering { miss, open });
            }
            Inputs::Lost(producers) => {
                self.board.wait(index);
                for producer in producers {
                    self.make_again(producer, &self.options.why_no_remote);
                }
            }
        }
    }

    /// What lies in a directory is part of a key, and the directory is on the remote only: it is
    /// fetched first, or made again.
    pub(super) fn awaits_directories(&mut self, index: InstanceIndex) -> bool {
        if !self.away.has_results() {
            return false;
        }
        let opened = self.session.opened(index, |i| self.board.outputs(i));
        let absent = self.away.absent(opened, &self.session.store);
        let Some((first, _)) = absent.first() else {
            return false;
        };
        match self.away.fetches() {
            true if self.options.dry_run => {
                let upstream = Reason::Upstream(self.id(*first));
                self.plan_to_execute(index, upstream, None);
            }
            true => {
                let open: BTreeSet<Content> = absent.into_iter().map(|(_, c)| c).collect();
                for content in &open {
                    self.away.fetch(*content, Waiter::Opener(index));
                }
                self.board.enter(index, State::Opening { open });
            }
            false => {
                for (producer, _) in absent {
                    self.make_again(producer, &self.options.why_no_remote);
                }
            }
        }
        true
    }

    /// A result serves whose bytes are on the remote. `believed` where this run was told of it.
    pub(super) fn hit_elsewhere(
        &mut self,
        index: InstanceIndex,
        hit: Hit,
        believed: Option<Box<Believed>>,
    ) {
        let to_show = self
            .away
            .to_be_shown(index, &hit.outputs, &self.session.store);
        let is_absent = to_show.as_ref().is_some_and(|absent| !absent.is_empty());
        if is_absent && !self.away.fetches() {
            self.away.give_up(index, None);
            self.board.wait(index);
            return;
        }
        let id = self.session.plan.instance(index).id.clone();
        let known = self.session.index.get(&id);
        let changed = known.is_none_or(|known| known.key != hit.key);
        let known = Known {
            key: hit.key,
            outputs: hit.outputs.clone(),
            wall_s: hit.wall_s,
            elsewhere: true,
            believed_under: hit.believed_under.map(Box::new),
        };
        self.session.index.set(&id, known);
        if let (Some(believed), false) = (&believed, self.options.dry_run) {
            self.remember(believed);
        }
        self.summary.cached += 1;
        self.summary.elsewhere += 1;
        self.summary.saved_s += f64::from(hit.wall_s);
        let remote = self.told_by(believed.as_deref());
        self.away.serves(index, believed);
        self.done(index, hit.key, hit.outputs);
        match to_show.filter(|_| !self.options.dry_run) {
            Some(absent) => {
                if self.away.show(index, absent) {
                    self.show_fetched(index);
                }
            }
            None => self.say(Event::Cached {
                instance: id.to_string(),
                key: hit.key.hex(),
                saved_s: f64::from(hit.wall_s),
                restored: false,
                changed,
                remote,
            }),
        }
        self.looked(index, Taken::Before);
    }

    /// The name of the remote, for a result that this run was told of.
    fn told_by(&self, believed: Option<&Believed>) -> Option<String> {
        believed
            .and(self.away.link())
            .map(|link| link.name().to_owned())
    }

    /// Other commands, and later runs, know of the result too. Losing it costs a question.
    fn remember(&self, believed: &Believed) {
        let elsewhere = &self.session.elsewhere;
        let _ = elsewhere.remember(&believed.record, &believed.envelopes);
        if let Some(link) = self.away.link() {
            let _ = elsewhere.note_way(&way_back(link));
        }
    }

    /// Publishes a result that was here already, unless the remote is known to have it: what was
    /// executed may stand on it.
    pub(super) fn publish_cached(&mut self, index: InstanceIndex, hit: &Hit) {
        if self.away.lacks(&hit.key, &hit.outputs)
            && let Some(record) = self
                .session
                .record_of(self.session.plan.instance(index), hit)
        {
            self.away.publish(record);
        }
    }

    /// What was made again must be what was published.
    pub(super) fn compare_with_remote(&mut self, index: InstanceIndex, outputs: &[Content]) {
        if !self.away.is_as_expected(index, outputs) {
            let text = "executed again, it gave other bytes than the result that was published: it is not deterministic, \
                        or one of the two machines is wrong (`repro verify` shows the difference)";
            self.warn(Some(index), text.to_owned());
        }
    }

    /// Bytes came, or did not.
    pub(super) fn fetched(&mut self, outcomes: Vec<(Content, Result<(), Unread>)>) {
        for (content, outcome) in outcomes {
            for waiter in self.away.came(content, &outcome) {
                match (waiter, &outcome) {
                    (Waiter::Consumer(index) | Waiter::Opener(index), Ok(())) => {
                        self.has_come(index, &content);
                    }
                    (Waiter::Consumer(index) | Waiter::Opener(index), Err(why)) => {
                        self.has_not_come(index, &content, &why.to_string());
                    }
                    (Waiter::Shown(index), Ok(())) => self.show_fetched(index),
                    (Waiter::Shown(index), Err(why)) => self.make_again(index, &why.to_string()),
                }
            }
        }
    }

    fn has_come(&mut self, index: InstanceIndex, content: &Content) {
        if let Some(open) = self.board.open(index) {
            open.remove(content);
        }
        match self.board.state(index) {
            State::Gathering { miss, open } if open.is_empty() => {
                self.make_ready(index, miss.clone());
            }
            State::Opening { open } if open.is_empty() => self.board.wait(index),
            _ => {}
        }
    }

    fn has_not_come(&mut self, index: InstanceIndex, content: &Content, why: &str) {
        let producers: BTreeSet<InstanceIndex> = match self.board.state(index) {
            State::Gathering { miss, .. } => {
                let instance = self.session.plan.instance(index);
                let store = &self.session.store;
                let absent = self.away.absent_inputs(instance, &miss.contents, store);
                let of_it = absent.into_iter().filter(|(_, c)| c == content);
                of_it.map(|(producer, _)| producer).collect()
            }
            State::Opening { .. } => {
                let opened = self.session.opened(index, |i| self.board.outputs(i));
                let of_it = opened.filter(|(_, c)| c == content);
                of_it.map(|(producer, _)| producer).collect()
            }
            _ => return,
        };
        // Where nobody makes it, it is here by now: somebody else made it meanwhile.
        self.board.wait(index);
        for producer in producers {
            self.make_again(producer, why);
        }
    }

    /// A result served, and its bytes cannot be had: it is executed after all, and what waits for
    /// it waits again.
    fn make_again(&mut self, index: InstanceIndex, why: &str) {
        let outputs = match self.board.state(index) {
            State::Done { outputs, .. } if !self.away.is_given_up(index) => outputs.clone(),
            _ => return,
        };
        if !self.options.dry_run {
            let text =
                format!("its bytes are needed and cannot be fetched ({why}); it is executed again");
            self.warn(Some(index), text);
        }
        self.away.give_up(index, Some(outputs));
        self.summary.cached -= 1;
        self.summary.elsewhere = self.summary.elsewhere.saturating_sub(1);
        let id = &self.session.plan.instance(index).id;
        let wall_s = self.session.index.get(id).map_or(0.0, |k| k.wall_s);
        self.summary.saved_s -= f64::from(wall_s);
        self.board.wait(index);
    }

    /// All bytes of a result that is shown are here.
    fn show_fetched(&mut self, index: InstanceIndex) {
        let (Some(believed), Some(outputs)) =
            (self.away.take(index), self.board.outputs(index).cloned())
        else {
            return;
        };
        let remote = self.told_by(believed.as_deref());
        if let Some(believed) = believed.or_else(|| self.remembered(index)) {
            self.take_in(vec![(index, believed)]);
        }
        let instance = self.session.plan.instance(index);
        let id = instance.id.clone();
        if let Err(e) = self.session.show(instance, &outputs) {
            self.store_broken = true;
            self.warn(Some(index), format!("its outputs cannot be shown: {e:#}"));
        }
        let (key, saved_s) = match self.session.index.get(&id) {
            Some(known) => (known.key.hex(), f64::from(known.wall_s)),
            None => (String::new(), 0.0),
        };
        self.say(Event::Cached {
            instance: id.to_string(),
            key,
            saved_s,
            restored: true,
            changed: true,
            remote,
        });
        self.looked(index, Taken::Before);
    }

    /// A result that was believed in an earlier run.
    fn remembered(&self, index: InstanceIndex) -> Option<Box<Believed>> {
        let State::Done { key, outputs } = self.board.state(index) else {
            return None;
        };
        let remembered = self.session.elsewhere.get(key)?;
        let instance = self.session.plan.instance(index);
        let is_it = outputs_of(instance, &remembered.record).is_some_and(|o| o[..] == outputs[..]);
        is_it.then(|| {
            Box::new(Believed {
                record: remembered.record,
                signers: Vec::new(),
                envelopes: remembered.envelopes,
            })
        })
    }

    /// Records believed results whose bytes are here: from now on they are results of this store
    /// like any other.
    fn take_in(&mut self, results: Vec<(InstanceIndex, Box<Believed>)>) {
        let pending = results.iter().map(|(_, believed)| Pending {
            record: believed.record.clone(),
            staged: Staged::default(),
        });
        let committed = self.session.store.commit(pending.collect());
        for ((index, believed), committed) in results.into_iter().zip(committed) {
            if let Err(e) = committed {
                self.warn(
                    Some(index),
                    format!("what the remote has of it cannot be kept: {e}"),
                );
                continue;
            }
            keep_envelopes(&self.session.store, &believed);
            self.session.elsewhere.forget(&believed.record.key);
            let id = self.session.plan.instance(index).id.clone();
            if let Some(known) = self.session.index.get(&id).cloned() {
                let known = Known {
                    elsewhere: false,
                    ..known
                };
                self.session.index.set(&id, known);
            }
        }
    }

    /// Takes in what came whole, and writes the remote's part of the summary.
    pub(super) fn sum_up_remote(&mut self) {
        let whole = self
            .away
            .take_whole(|index| self.board.outputs(index).cloned());
        let whole: Vec<(InstanceIndex, Box<Believed>)> = whole
            .into_iter()
            .filter_map(|(index, believed)| {
                Some((index, believed.or_else(|| self.remembered(index))?))
            })
            .collect();
        if !whole.is_empty() && !self.options.dry_run {
            self.take_in(whole);
        }
        if let Some(link) = self.away.link() {
            link.tell_doubts();
        }
        self.tell_news();
        self.summary.remote = self.away.sum_up();
    }
}
