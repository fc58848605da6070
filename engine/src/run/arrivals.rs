//! What comes back from the executor, and what it means for the run.

use std::sync::Arc;

use super::looks::Taken;
use super::message::Message;
use super::scheduler::Scheduler;
use super::showing::ToShow;
use super::state::{State, Unrecorded};
use crate::artifacts;
use crate::exec::Note;
use crate::executor::{Failed, Heard, Made, OrderId, Outcome, Recording};
use crate::index::Known;
use crate::plan::InstanceIndex;
use crate::record::event::Event;
use crate::store::StoreError;
use repro_protocol::job;

/// Whatever an executor promises: a place that loses everything must not be tried for ever.
const LOST_AT_MOST: u32 = 5;

impl Scheduler<'_> {
    pub(super) fn handle(&mut self, message: Message) {
        match message {
            Message::Heard(order, Heard::Recorded(recording)) => {
                if let Some(index) = self.board.committing(order) {
                    self.recorded(index, recording);
                }
            }
            Message::Heard(order, heard) => {
                match (self.board.running(order), heard) {
                    (Some(index), Heard::Note(note)) => self.note(index, note),
                    (Some(index), Heard::Outcome(outcome)) => self.ended(index, order, *outcome),
                    // It is about the past: what came of it is nobody's any more.
                    (None, Heard::Outcome(_)) => self.executor.discard(order),
                    (None, Heard::Note(_)) | (_, Heard::Recorded(_)) => {}
                }
            }
            Message::Shown(index, error) => self.shown(index, error),
            Message::Answered(index, key, answer) => self.answered(index, &key, answer),
            Message::Fetched(outcomes) => self.fetched(outcomes),
            Message::Published(outcomes) => {
                for warning in self.away.published(outcomes) {
                    self.say(warning);
                }
            }
        }
        self.settle();
    }

    fn note(&mut self, index: InstanceIndex, note: Note) {
        let instance = self.id(index);
        let event = match note {
            Note::Event(job::Event::Progress {
                done,
                total,
                unit,
                text,
            }) => Event::Progress {
                instance,
                done,
                total,
                unit,
                text,
            },
            Note::Event(job::Event::Warning { text }) => Event::Warning {
                instance: Some(instance),
                text,
            },
            Note::Line(line) => Event::Said { instance, line },
            Note::Event(job::Event::State { .. }) => return,
        };
        self.say(event);
    }

    /// An order of this run ended.
    pub(super) fn ended(&mut self, index: InstanceIndex, order: OrderId, outcome: Outcome) {
        self.placing.ended(order);
        match outcome {
            Outcome::Made(made) => self.made(index, order, *made),
            Outcome::Found => self.board.wait(index),
            Outcome::Lost { why } => self.lost(index, order, why),
            Outcome::Unstable(moved) => {
                self.board.enter(index, State::Failed);
                self.summary.unstable += 1;
                let event = Event::Unstable {
                    instance: self.id(index),
                    path: moved.what,
                    before: moved.before,
                    after: moved.after,
                };
                self.say(event);
            }
            Outcome::Cancelled => {
                self.board.enter(index, State::Skipped);
                self.summary.stopped += 1;
                self.summary.interrupted = true;
            }
            Outcome::Failed(Failed { message, hint, .. }) => self.fail(index, message, hint),
            Outcome::StoreBroken { message } => {
                self.store_broken = true;
                self.fail(index, message, None);
                self.stopping = true;
            }
        }
    }

    fn lost(&mut self, index: InstanceIndex, order: OrderId, why: String) {
        // It may be alive where it cannot be seen, and no one waits for it any more.
        self.executor.stop(order);
        let times = self.lost.entry(index).or_insert(0);
        *times += 1;
        if *times < LOST_AT_MOST {
            self.warn(Some(index), format!("it is executed again: {why}"));
            self.board.wait(index);
        } else {
            let message = format!("its execution was lost {LOST_AT_MOST} times: {why}");
            self.fail(index, message, None);
        }
    }

    fn made(&mut self, index: InstanceIndex, order: OrderId, mut made: Made) {
        self.placed(index, &mut made);
        let instance = self.session.plan.instance(index);
        let record = made.record;
        let event = Event::Finished {
            instance: instance.id.to_string(),
            key: record.key.hex(),
            outputs: record.outputs.clone(),
            wall_s: made.usage.wall_s,
            cpu_s: made.usage.cpu_s,
            max_rss_bytes: made.usage.max_rss_bytes,
            energy: made.usage.energy,
            figures: made.figures,
            resumed_from: made.resumed_from,
            sandbox: made.sandbox,
            recorded: true,
        };
        let known = Known {
            key: record.key,
            outputs: made.outputs.as_slice().into(),
            wall_s: made.usage.wall_s as f32,
            elsewhere: false,
            believed_under: None,
        };
        if !made.pins.is_empty() {
            self.pins.insert(index, made.pins);
        }
        let publishes = self.away.publishes();
        let result = Arc::new(Unrecorded {
            event,
            known,
            to_publish: publishes.then(|| record.clone()),
        });
        self.board.enter(index, State::Committing { order, result });
        self.executor.record(order, record);
    }

    fn recorded(&mut self, index: InstanceIndex, recording: Recording) {
        let (message, is_broken) = match recording {
            Recording::Recorded { has_others } => {
                if has_others {
                    let text = "this execution gave other bytes than an earlier one with the same inputs: it is not deterministic";
                    self.warn(Some(index), text.to_owned());
                }
                return self.show_recorded(index);
            }
            Recording::Refused { message } => (message, false),
            Recording::StoreBroken { message } => (message, true),
        };
        self.store_broken |= is_broken;
        self.stopping |= self.store_broken;
        let message = format!("its result could not be recorded: {message}");
        self.fail(index, message, None);
    }

    fn show_recorded(&mut self, index: InstanceIndex) {
        let State::Committing { result, .. } = self.board.state(index) else {
            return;
        };
        let instance = self.session.plan.instance(index);
        let outputs = instance.outputs.iter().zip(&*result.known.outputs);
        let at = outputs
            .filter_map(|(o, c)| Some((artifacts::path_of(instance, o).ok()?, *c)))
            .collect();
        if let Some(to_show) = &self.to_show {
            // Its thread lives until `to_show` is dropped; if it broke down, the run ends.
            let _ = to_show.send(ToShow { index, at });
        }
    }

    fn shown(&mut self, index: InstanceIndex, error: Option<StoreError>) {
        let State::Committing { result, .. } = self.board.state(index) else {
            return;
        };
        let Unrecorded {
            event,
            known,
            to_publish,
        } = Unrecorded::clone(result);
        if let Some(e) = error {
            self.store_broken = true;
            self.warn(Some(index), format!("its outputs cannot be shown: {e}"));
        }
        self.compare_with_remote(index, &known.outputs);
        if let Some(record) = to_publish {
            self.away.publish(record);
        }
        let id = self.session.plan.instance(index).id.clone();
        self.done(index, known.key, known.outputs.clone());
        self.session.index.set(&id, known);
        self.summary.executed += 1;
        if let Event::Finished {
            energy: Some(energy),
            ..
        } = &event
        {
            let sum = self.summary.energy.get_or_insert_default();
            sum.add(energy);
        }
        self.say(event);
        self.looked(index, Taken::Now);
    }
}
