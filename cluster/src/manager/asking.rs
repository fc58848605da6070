//! Asking: what the batch system says of jobs, and which of them are no more. An answer that fails,
//! or is none, is no news.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use repro_engine::executor::OrderId;

use super::{At, Manager, Over};
use crate::config::FILE;
use crate::inquiry::{News, Question};
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
        if now < self.ask_at || self.is_asking {
            return;
        }
        let living = self.sent.iter().enumerate().filter(|(_, s)| s.lives());
        let waves: Vec<(usize, String, String)> = living
            .map(|(at, s)| {
                let job = s.wave.job.clone().unwrap_or_default();
                (at, s.wave.job_name.clone(), job)
            })
            .collect();
        if !waves.is_empty() {
            self.is_asking = self.inquiry.send(Question::All(waves)).is_ok();
        }
    }

    /// What was asked is answered, or not.
    pub(super) fn heard_news(&mut self, news: News) {
        let (asked, answer) = match news {
            News::All(asked, answer) => (asked, answer),
            News::Vanished(ends) => {
                for ((wave, number), end) in ends {
                    let element = &mut self.sent[wave].elements[number as usize];
                    // It may have been named again meanwhile.
                    if element.missed > 0 {
                        element.closing.get_or_insert((Instant::now(), end));
                    }
                }
                return;
            }
        };
        self.is_asking = false;
        let told = match answer {
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
        let mut waiting = Vec::new();
        // What was submitted since then was not asked after.
        let asked_after = self.sent.iter_mut().enumerate();
        for (wave, sent) in asked_after.filter(|(wave, _)| asked.contains(wave)) {
            let age = jiff::Timestamp::now().as_second() - sent.wave.at;
            for (number, element) in (0u32..)
                .zip(&mut sent.elements)
                .filter(|(_, e)| !e.is_closed)
            {
                match seen.get(&(wave, number)) {
                    Some((state, word, why, node)) => {
                        element.missed = 0;
                        if !node.is_empty() {
                            node.clone_into(&mut element.host);
                        }
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
                                    waiting.push((*id, word.to_lowercase(), why.clone()));
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
        for (id, word, why) in waiting {
            if self.place.system.is_unfit(&why) {
                let name = &self.place.name;
                let text = format!(
                    "no machine of `{name}` takes its job as it is ({why}): look at `resources` of \
                     its stage, and at [{name}] in {FILE}; `repro cancel` ends it"
                );
                self.say(id, text);
            }
            self.show(id, format!("{word} ({why})"));
        }
        if !vanished.is_empty() {
            let of = |(wave, number): (usize, u32)| {
                let job = self.sent[wave].wave.job.clone();
                ((wave, number), job.unwrap_or_default())
            };
            changed = true;
            let vanished = vanished.into_iter().map(of).collect();
            let _ = self.inquiry.send(Question::Vanished(vanished));
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
        let host = element.host.clone();
        let has_begun = element.has_begun;
        let items: Vec<u32> = element.items.iter().map(|(index, _)| *index).collect();
        let log = match self.place.system.element() {
            "" => sent.wave.log.clone(),
            element => sent.wave.log.replace(element, &number.to_string()),
        };
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
        // Of what did all it had to do, the log tells nothing.
        let said = match open.is_empty() {
            true => String::new(),
            false => tail(&log),
        };
        let end = self.place.system.end_by_log(end, &said);
        let failed_at_once = end == End::Failed && !has_begun && !open.is_empty();
        self.judge_node(&host, has_begun, failed_at_once || end == End::Node);
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
                (None, End::Failed) => format!("{}{said}", end.words()),
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
