//! Asking: what the batch system says of jobs, which of them are no more, and what is done again. An
//! answer that fails, or is none, is no news.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use repro_engine::exec::Note;
use repro_engine::executor::{Failed, Heard, OrderId, Outcome};
use repro_protocol::job;

use super::{At, Manager, Over};
use crate::parts::Stopped;
use crate::system::{End, State};

/// A submission that was begun so long ago, and is not to be seen, was not made.
const UNSEEN: Duration = Duration::from_secs(15);
/// No news for so long is told.
const SILENT: Duration = Duration::from_secs(600);
/// Bytes of what a job itself said that are told.
const TAIL: usize = 1500;

impl Manager {
    pub(super) fn ask(&mut self, now: Instant) {
        if now < self.ask_at {
            return;
        }
        let living = self
            .sent
            .iter()
            .filter(|s| s.elements.iter().any(|e| !e.is_closed));
        let (names, jobs): (Vec<String>, Vec<String>) = living
            .map(|s| {
                (
                    s.wave.job_name.clone(),
                    s.wave.job.clone().unwrap_or_default(),
                )
            })
            .unzip();
        if names.is_empty() {
            return;
        }
        let told = match self.place.system.ask(&names, &jobs) {
            Ok(told) => told,
            Err(why) => {
                // No news. Nothing is concluded from it.
                self.ask_every = (self.ask_every * 3 / 2).min(self.place.settings.poll.longest.0);
                self.ask_at = Instant::now() + self.ask_every;
                if self.heard_at.elapsed() > SILENT
                    && !std::mem::replace(&mut self.told_silence, true)
                    && let Some(id) = self.orders.keys().next()
                {
                    self.say(*id, format!("`{}` has not answered for ten minutes ({why}); jobs may go on all the same", self.place.name));
                }
                return;
            }
        };
        self.heard_at = Instant::now();
        self.told_silence = false;
        let mut changed = false;
        let mut seen: HashMap<(usize, u32), (State, String, String, String)> = HashMap::new();
        for told in told {
            let wave = self.sent.iter().position(|s| {
                told.name.as_ref().is_some_and(|n| *n == s.wave.job_name)
                    || (told.name.is_none() && told.job.is_some() && told.job == s.wave.job)
            });
            let Some(wave) = wave else { continue };
            if self.sent[wave].wave.job.is_none()
                && let Some(job) = &told.job
            {
                // An orphan is found by its name.
                self.sent[wave].wave.job = Some(job.clone());
                self.sent[wave].is_dirty = true;
            }
            seen.insert(
                (wave, told.index.unwrap_or(0)),
                (told.state, told.word, told.why, told.node),
            );
        }
        let mut vanished = Vec::new();
        let mut never = Vec::new();
        for (wave, sent) in self.sent.iter_mut().enumerate() {
            let age = jiff::Timestamp::now().as_second() - sent.wave.at;
            for (number, element) in (0u32..)
                .zip(&mut sent.elements)
                .filter(|(_, e)| !e.is_closed)
            {
                match seen.get(&(wave, number)) {
                    Some((state, word, why, node)) => {
                        element.missed = 0;
                        let is_new = element.word != format!("{word} {why}");
                        if is_new {
                            element.word = format!("{word} {why}");
                            changed = true;
                        }
                        match state {
                            State::Waiting if is_new => {
                                element.closing = None;
                                let first = element
                                    .items
                                    .iter()
                                    .filter_map(|(i, _)| self.by_index.get(i))
                                    .min();
                                if let Some(id) = first {
                                    let text = format!("{} ({why})", word.to_lowercase());
                                    let progress = job::Event::Progress {
                                        done: 0,
                                        total: None,
                                        unit: String::new(),
                                        text,
                                    };
                                    (self.tell)(*id, Heard::Note(Note::Event(progress)));
                                }
                            }
                            State::Waiting | State::Running => {
                                element.closing = None;
                                if !node.is_empty() {
                                    node.clone_into(&mut element.node);
                                }
                            }
                            State::Ended(end) => {
                                element.closing.get_or_insert((Instant::now(), *end));
                            }
                        }
                    }
                    None if sent.wave.job.is_none() => {
                        if age > UNSEEN.as_secs() as i64 {
                            never.push((wave, number));
                        }
                    }
                    None => {
                        element.missed += 1;
                        if element.missed >= 2 && element.closing.is_none() {
                            vanished.push((wave, number));
                        }
                    }
                }
            }
        }
        for (wave, number) in vanished {
            let job = self.sent[wave].wave.job.clone().unwrap_or_default();
            if let Some(end) = self.place.system.ask_vanished(&job, number) {
                let element = &mut self.sent[wave].elements[number as usize];
                element.closing.get_or_insert((Instant::now(), end));
                changed = true;
            }
        }
        for (wave, number) in never {
            self.close_element(wave, number, End::Done);
        }
        let poll = &self.place.settings.poll;
        self.ask_every = match changed {
            true => poll.first.0,
            false => (self.ask_every * 3 / 2).min(poll.longest.0),
        };
        // What was not named is asked after soon.
        let is_missed = self
            .sent
            .iter()
            .any(|s| s.elements.iter().any(|e| !e.is_closed && e.missed == 1));
        let is_unsure = self
            .sent
            .iter()
            .any(|s| s.wave.job.is_none() && s.elements.iter().any(|e| !e.is_closed));
        let soon = poll.first.0.min(Duration::from_secs(5));
        self.ask_at = Instant::now()
            + if is_missed || is_unsure {
                soon
            } else {
                self.ask_every
            };
    }

    /// Elements that are no more, and whose last reports must have come.
    pub(super) fn close(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (wave, sent) in self.sent.iter().enumerate() {
            for (number, element) in (0u32..).zip(&sent.elements) {
                let Some((since, end)) = element.closing.filter(|_| !element.is_closed) else {
                    continue;
                };
                let has_looked = self.looked.is_some_and(|looked| looked > since);
                let is_late = now.duration_since(since) >= self.late;
                if has_looked && (element.over.is_some() || is_late) {
                    due.push((wave, number, end));
                }
            }
        }
        for (wave, number, end) in due {
            self.close_element(wave, number, end);
        }
    }

    pub(super) fn close_element(&mut self, wave: usize, number: u32, end: End) {
        let sent = &mut self.sent[wave];
        let element = &mut sent.elements[number as usize];
        if std::mem::replace(&mut element.is_closed, true) {
            return;
        }
        sent.wave.over.push(number);
        sent.is_dirty = true;
        // What said that it is done was no victim, even if nobody knows of it any more.
        let end = match (end, &element.over) {
            (End::Vanished, Some(_)) => End::Done,
            (end, _) => end,
        };
        let Over {
            cut,
            trouble,
            stopped,
        } = element.over.take().unwrap_or_default();
        let has_reported = !element.answered.is_empty() || !cut.is_empty();
        let node = element.node.clone();
        let items: Vec<u32> = element.items.iter().map(|(index, _)| *index).collect();
        let log = sent
            .wave
            .log
            .replace(self.place.system.element(), &number.to_string());
        let was_submitted = sent.wave.job.is_some();
        for index in &items {
            if self.covered.get(index) == Some(&(wave, number)) {
                self.covered.remove(index);
            }
        }
        let open: Vec<(u32, OrderId)> = items
            .iter()
            .filter_map(|index| Some((*index, *self.by_index.get(index)?)))
            .filter(|(_, id)| {
                self.orders
                    .get(id)
                    .is_some_and(|o| o.at == At::Element(wave, number))
            })
            .collect();
        if open.is_empty() {
            return;
        }
        let heads = self.heads().unwrap_or_default();
        for (index, id) in open {
            let id_of = &self.place.outlook.at(index).id;
            let saved = cut
                .iter()
                .find(|(id, _)| id == id_of)
                .map(|(_, saved)| *saved);
            let end = match (end, stopped) {
                (End::Done, _) if !was_submitted => End::Done,
                // It said what it had no time for, and goes on from its state.
                (End::Done, Some(Stopped::Clock)) if saved == Some(false) || !has_reported => {
                    End::Time
                }
                (End::Done, None) if !has_reported => End::Failed,
                (end, _) => end,
            };
            let why = match (&trouble, end) {
                (Some(trouble), End::Failed) => trouble.clone(),
                (None, End::Failed) => format!("{}{}", end.words(), tail(&log)),
                _ => end.words().to_owned(),
            };
            let why = if node.is_empty() {
                why
            } else {
                format!("{why} (on {node})")
            };
            let key = self.orders.get(&id).map(|open| open.order.key.digest);
            match key.is_some_and(|key| heads.contains(&key)) {
                true => self.look_up(id, Some((end, why))),
                false => self.again(id, end, &why),
            }
        }
    }

    /// Its job is no more, and there is no result: it is executed again, where that makes sense.
    pub(super) fn again(&mut self, id: OrderId, end: End, why: &str) {
        let retry = self.place.settings.retry;
        let Some(open) = self.orders.get_mut(&id) else {
            return;
        };
        open.at = At::Pending;
        open.asked = None;
        open.made = None;
        let counts = self.counts.entry(open.index).or_default();
        let count = counts.of.entry(end).or_insert(0);
        *count += 1;
        let count = *count;
        let more = |done: &mut u32| {
            *done += 1;
            *done <= retry.times
        };
        let (goes_on, hint) = match end {
            End::Done => (true, ""),
            End::Preempted => (
                count <= 100,
                "it is preempted again and again: another partition or qos may suit it better",
            ),
            End::Node => (
                count <= 10,
                "its nodes fail again and again: see whether it is it that makes them fail",
            ),
            End::Vanished => (
                count <= 5,
                "the batch system forgets its jobs: is its controller restarted without its state?",
            ),
            End::Failed => (
                count <= 2,
                "see what its job said; `program` and `scratch` of the executor may not suit the nodes",
            ),
            End::Cancelled => (
                count <= 1,
                "somebody cancels its jobs; ask them, and run again",
            ),
            End::Time => {
                counts.overtime += 1;
                let is_allowed = more(&mut counts.more_time);
                // Once more with the same: it may have begun late in its job.
                (
                    is_allowed || counts.overtime <= 1,
                    "raise `defaults.time` of the executor, or let it keep states to go on from",
                )
            }
            End::Memory => (
                more(&mut counts.more_memory),
                "raise `resources.memory` of the stage, or allow more with `retry` of the executor",
            ),
        };
        if !goes_on {
            let failed = Failed {
                message: why.to_owned(),
                hint: Some(hint.to_owned()),
            };
            return self.answer(id, Outcome::Failed(failed));
        }
        if end != End::Done {
            self.say(id, format!("it is submitted again: {why}"));
        }
        let now = Instant::now();
        self.last_begun = now;
        self.first_pending.get_or_insert(now);
    }
}

/// The end of what a job itself said.
fn tail(log: &str) -> String {
    let Ok(text) = fs::read(log) else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL)..])
        .trim()
        .to_owned();
    match text.is_empty() {
        true => String::new(),
        false => format!("; its job said: {text}"),
    }
}
