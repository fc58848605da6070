//! What comes back from flights and from the committer, and what it means for the run.

use super::committer::{CommitResult, Landing};
use super::flight::{self, Landed, Made};
use super::scheduler::{Message, Scheduler, State};
use super::sharing::Desk;
use crate::artifacts;
use crate::exec::Note;
use crate::index::Known;
use crate::plan::InstanceIndex;
use crate::record::event::Event;
use crate::store::StoreError;
use repro_protocol::job;

impl Scheduler<'_> {
    pub(super) fn handle(&mut self, message: Message) {
        match message {
            Message::Note(index, note) => self.note(index, note),
            Message::Landed(index, landed) => self.landed(index, landed),
            Message::Committed(result) => self.committed(result),
            Message::Answered(index, key, answer) => self.answered(index, &key, answer),
            Message::Fetched(outcomes) => self.fetched(outcomes),
            Message::Published(outcomes) => self.published(outcomes),
        }
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

    pub(super) fn landed(&mut self, index: InstanceIndex, landed: Landed) {
        let i = index.0 as usize;
        if let Some(taken) = self.granted.remove(&index) {
            self.resources.give_back(taken);
        }
        match landed {
            Landed::Made(made) => self.made(index, *made),
            Landed::Found => {
                self.states[i] = State::Waiting;
                self.resolve(index);
            }
            Landed::Unstable(moved) => {
                self.states[i] = State::Failed;
                self.summary.unstable += 1;
                let event = Event::Unstable {
                    instance: self.id(index),
                    path: moved.what,
                    before: moved.before,
                    after: moved.after,
                };
                self.say(event);
            }
            Landed::Failed {
                cancelled: true, ..
            } => {
                self.states[i] = State::Skipped;
                self.summary.stopped += 1;
                self.summary.interrupted = true;
            }
            Landed::Failed { message, hint, .. } => self.fail(index, message, hint),
            Landed::StoreBroken { message } => {
                self.store_broken = true;
                self.fail(index, message, None);
                self.stopping = true;
            }
        }
    }

    fn made(&mut self, index: InstanceIndex, made: Made) {
        let instance = self.session.plan.instance(index);
        let shown_at = instance
            .outputs
            .iter()
            .zip(&made.outputs)
            .filter_map(|(o, c)| Some((artifacts::path_of(instance, o).ok()?, *c)))
            .collect();
        let record = &made.pending.record;
        let event = Event::Finished {
            instance: instance.id.to_string(),
            key: record.key.hex(),
            outputs: record.outputs.clone(),
            wall_s: made.usage.wall_s,
            cpu_s: made.usage.cpu_s,
            max_rss_bytes: made.usage.max_rss_bytes,
            figures: made.figures,
            resumed_from: made.resumed_from,
            sandbox: flight::sandbox_text(&made.sandbox),
            recorded: true,
        };
        let known = Known {
            key: record.key,
            outputs: made.outputs.clone(),
            wall_s: made.usage.wall_s as f32,
            elsewhere: false,
            believed_under: None,
        };
        if !made.pins.is_empty() {
            self.pins.insert(index, made.pins);
        }
        self.states[index.0 as usize] = State::Committing;
        if self.desk.as_ref().is_some_and(Desk::publishes) {
            self.to_publish.insert(index, made.pending.record.clone());
        }
        self.committing.insert(index, (event, known));
        let landing = Landing {
            index,
            pending: made.pending,
            shown_at,
            lock: made.lock,
        };
        if let Some(landings) = &self.landings {
            // The committer lives until `landings` is dropped; if it broke down, the run ends.
            let _ = landings.send(landing);
        }
    }

    fn committed(&mut self, result: CommitResult) {
        let index = result.index;
        let Some((event, known)) = self.committing.remove(&index) else {
            return;
        };
        match result.committed {
            Err(e) => {
                self.to_publish.remove(&index);
                self.store_broken |=
                    !matches!(e, StoreError::Changed { .. } | StoreError::Refused { .. });
                self.stopping |= self.store_broken;
                self.fail(
                    index,
                    format!("its result could not be recorded: {e}"),
                    None,
                );
                return;
            }
            Ok(committed) if !committed.others.is_empty() => {
                let instance = Some(self.id(index));
                let text = "this execution gave other bytes than an earlier one with the same inputs: it is not deterministic".to_owned();
                self.say(Event::Warning { instance, text });
            }
            Ok(_) => {}
        }
        if let Some(e) = result.show_error {
            self.store_broken = true;
            let instance = Some(self.id(index));
            self.say(Event::Warning {
                instance,
                text: format!("its outputs cannot be shown: {e}"),
            });
        }
        self.compare_with_remote(index, &known.outputs);
        self.publish(index);
        let id = self.session.plan.instance(index).id.clone();
        self.results[index.0 as usize] = Some(known.outputs.clone().into());
        self.keys[index.0 as usize] = Some(known.key);
        self.session.index.set(&id, known);
        self.states[index.0 as usize] = State::Done;
        self.summary.executed += 1;
        self.say(event);
        self.release_consumers(index);
    }
}
