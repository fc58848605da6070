//! The bytes of results that are elsewhere: who waits for them, what happens when they come, and when they cannot be had. Which
//! results serve is decided in [`super`].

use std::collections::BTreeSet;

use super::super::scheduler::{Miss, Scheduler, State};
use super::{Desk, Waiter, keep_envelopes};
use crate::digest::Content;
use crate::index::Known;
use crate::plan::{InstanceIndex, Source};
use crate::record::event::{Event, Reason};
use crate::remote::lookup::Believed;
use crate::remote::reading::Unread;
use crate::session::outputs_of;
use crate::store::{Pending, Staged};

impl Scheduler<'_> {
    /// Inputs whose bytes may be on the remote only, with their producers.
    pub(super) fn absent_inputs(
        &self,
        index: InstanceIndex,
        miss: &Miss,
    ) -> BTreeSet<(InstanceIndex, Content)> {
        let mut absent = BTreeSet::new();
        if self.away.results.is_empty() {
            return absent;
        }
        let instance = self.session.plan.instance(index);
        for (need, contents) in instance.needs.iter().zip(&miss.contents) {
            for (item, content) in need.items.iter().zip(contents) {
                // A directory of which a part is taken is here: else the part would not be known.
                if let Source::Output { instance, .. } = &item.source
                    && item.inside.is_none()
                    && self.away.results.contains_key(instance)
                    && !self.is_here(content)
                {
                    absent.insert((*instance, *content));
                }
            }
        }
        absent
    }

    /// What lies in a directory is part of a key, and the directory is on the remote only: it is fetched first, or made again.
    pub(in crate::run) fn awaits_directories(&mut self, index: InstanceIndex) -> bool {
        if self.away.results.is_empty() {
            return false;
        }
        let opened = self.session.opened(index, &self.results);
        let absent: BTreeSet<(InstanceIndex, Content)> = opened
            .filter(|(producer, _)| self.away.results.contains_key(producer))
            .filter(|(_, content)| !self.is_here(content))
            .collect();
        let Some((first, _)) = absent.first().copied() else {
            return false;
        };
        let i = index.0 as usize;
        match self.desk.as_ref().is_some_and(Desk::fetches) {
            true if self.options.dry_run => {
                self.states[i] = State::Ready;
                self.summary.executed += 1;
                let (instance, producer) = (self.id(index), self.id(first));
                self.say(Event::Planned {
                    instance,
                    reason: Reason::Upstream(producer),
                });
            }
            true => {
                self.states[i] = State::Gathering;
                for (_, content) in &absent {
                    self.request(*content, Waiter::Opener(index));
                }
                let open = absent.into_iter().map(|(_, content)| content).collect();
                self.away.opening.insert(index, open);
            }
            false => {
                let why = self.options.why_no_remote.clone();
                for (producer, _) in absent {
                    self.make_again(producer, &why);
                }
            }
        }
        true
    }

    pub(super) fn is_here(&self, content: &Content) -> bool {
        self.away.here.contains(content) || self.session.store.has(content).unwrap_or(false)
    }

    pub(super) fn request(&mut self, content: Content, waiter: Waiter) {
        if let Some(waiters) = self.away.in_flight.get_mut(&content) {
            waiters.push(waiter);
            return;
        }
        self.away.in_flight.insert(content, vec![waiter]);
        if let Some(desk) = &self.desk {
            desk.fetch(content, !matches!(waiter, Waiter::Shown(_)));
        }
    }

    /// All bytes of a result that is shown are here.
    pub(super) fn show_fetched(&mut self, index: InstanceIndex) {
        self.away.showing.remove(&index);
        let (Some(believed), Some(outputs)) = (
            self.away.results.remove(&index),
            self.results[index.0 as usize].clone(),
        ) else {
            return;
        };
        let remote = believed.as_ref().and(self.desk.as_ref());
        let remote = remote.map(|d| d.link.name().to_owned());
        if let Some(believed) = believed.or_else(|| self.remembered(index)) {
            self.take_in(index, vec![(index, believed)]);
        }
        let instance = self.session.plan.instance(index);
        let id = instance.id.clone();
        if let Err(e) = self.session.show(instance, &outputs) {
            self.store_broken = true;
            self.say(Event::Warning {
                instance: Some(id.to_string()),
                text: format!("its outputs cannot be shown: {e:#}"),
            });
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
    }

    /// A result that was believed in an earlier run.
    pub(super) fn remembered(&self, index: InstanceIndex) -> Option<Box<Believed>> {
        let remembered = self.session.elsewhere.get(&self.keys[index.0 as usize]?)?;
        let outputs = self.results[index.0 as usize].as_ref()?;
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

    /// Records believed results whose bytes are here: from now on they are results of this store like any other.
    pub(super) fn take_in(
        &mut self,
        about: InstanceIndex,
        results: Vec<(InstanceIndex, Box<Believed>)>,
    ) {
        let pending = results.iter().map(|(_, believed)| Pending {
            record: believed.record.clone(),
            staged: Staged::default(),
        });
        let committed = self.session.store.commit(pending.collect());
        for ((index, believed), committed) in results.into_iter().zip(committed) {
            if let Err(e) = committed {
                let instance = Some(self.id(about));
                let text = format!("what the remote has of it cannot be kept: {e}");
                self.say(Event::Warning { instance, text });
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

    /// Bytes came, or did not.
    pub(in crate::run) fn fetched(&mut self, outcomes: Vec<(Content, Result<(), Unread>)>) {
        for (content, outcome) in outcomes {
            let waiters = self.away.in_flight.remove(&content).unwrap_or_default();
            match outcome {
                Ok(()) => {
                    self.away.here.insert(content);
                    waiters
                        .into_iter()
                        .for_each(|waiter| self.has_come(content, waiter));
                }
                Err(unread) => {
                    for waiter in waiters {
                        self.has_not_come(content, waiter, &unread);
                    }
                }
            }
        }
    }

    fn has_come(&mut self, content: Content, waiter: Waiter) {
        match waiter {
            Waiter::Consumer(index) => {
                let Some((_, open)) = self.away.gathering.get_mut(&index) else {
                    return;
                };
                open.remove(&content);
                if open.is_empty()
                    && let Some((miss, _)) = self.away.gathering.remove(&index)
                {
                    self.make_ready(index, miss);
                }
            }
            Waiter::Opener(index) => {
                let Some(open) = self.away.opening.get_mut(&index) else {
                    return;
                };
                open.remove(&content);
                if open.is_empty() {
                    self.away.opening.remove(&index);
                    self.states[index.0 as usize] = State::Waiting;
                    self.away.again.push(index);
                }
            }
            Waiter::Shown(index) => {
                let Some(open) = self.away.showing.get_mut(&index) else {
                    return;
                };
                open.remove(&content);
                if open.is_empty() {
                    self.show_fetched(index);
                }
            }
        }
    }

    fn has_not_come(&mut self, content: Content, waiter: Waiter, unread: &Unread) {
        let why = unread.to_string();
        match waiter {
            Waiter::Consumer(index) => {
                if let Some((miss, _)) = self.away.gathering.remove(&index) {
                    self.states[index.0 as usize] = State::Waiting;
                    let absent = self.absent_inputs(index, &miss);
                    let of_it = absent.into_iter().filter(|(_, c)| *c == content);
                    let producers: Vec<InstanceIndex> = of_it.map(|(p, _)| p).collect();
                    if producers.is_empty() && self.waiting_for[index.0 as usize] == 0 {
                        // Somebody else made it meanwhile.
                        self.away.again.push(index);
                    }
                    for producer in producers {
                        self.make_again(producer, &why);
                    }
                }
            }
            Waiter::Opener(index) => {
                if self.away.opening.remove(&index).is_some() {
                    self.states[index.0 as usize] = State::Waiting;
                    let opened = self.session.opened(index, &self.results);
                    let of_it = opened.filter(|(_, c)| *c == content);
                    let producers: BTreeSet<InstanceIndex> = of_it.map(|(p, _)| p).collect();
                    for producer in producers {
                        self.make_again(producer, &why);
                    }
                    // Where somebody else is making it again, it waits for them; else it looks again.
                    self.away.again.push(index);
                }
            }
            Waiter::Shown(index) => {
                if self.away.showing.remove(&index).is_some() {
                    self.make_again(index, &why);
                }
            }
        }
    }

    /// A result served, and its bytes cannot be had: it is executed after all, and what waits for it waits again.
    pub(super) fn make_again(&mut self, index: InstanceIndex, why: &str) {
        let i = index.0 as usize;
        if self.states[i] != State::Done || !self.away.given_up.insert(index) {
            return;
        }
        let instance = Some(self.id(index));
        if !self.options.dry_run {
            let text =
                format!("its bytes are needed and cannot be had ({why}); it is executed again");
            self.say(Event::Warning { instance, text });
        }
        let believed = self.away.results.remove(&index).flatten();
        self.away.hits -= u64::from(believed.is_some());
        self.away.showing.remove(&index);
        if let Some(outputs) = self.results[i].take() {
            self.away.expected.insert(index, outputs);
        }
        self.summary.cached -= 1;
        self.summary.elsewhere = self.summary.elsewhere.saturating_sub(1);
        let id = &self.session.plan.instance(index).id;
        let wall_s = self.session.index.get(id).map_or(0.0, |k| k.wall_s);
        self.summary.saved_s -= f64::from(wall_s);
        self.states[i] = State::Waiting;
        for consumer in self.waiting(index) {
            let c = consumer.0 as usize;
            self.waiting_for[c] += 1;
            match self.states[c] {
                State::Asking => drop(self.away.asked.remove(&consumer)),
                State::Gathering => {
                    self.away.gathering.remove(&consumer);
                    self.away.opening.remove(&consumer);
                }
                State::Ready => drop(self.misses.remove(&consumer)),
                _ => continue,
            }
            self.away.questions.retain(|(asked, _)| *asked != consumer);
            self.states[c] = State::Waiting;
        }
        self.away.again.push(index);
    }
}
