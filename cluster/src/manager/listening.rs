//! Listening: what elements report, what the desk answers, and what that means for orders.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use repro_engine::digest::Digest;
use repro_engine::energy::Energy;
use repro_engine::exec::{Note, Usage};
use repro_engine::executor::{Heard, Made, Order, OrderId, Outcome};
use repro_engine::lookup::Believed;
use repro_engine::session::log_in;
use repro_engine::store::{ActionLock, Fact, Observation, Record};
use repro_engine::whole;

use super::{ASK_AGAIN, At, Manager, Over, Sent};
use crate::desk::{Reply, Task};
use crate::parts::{Line, Source};
use crate::system::End;

/// So many actions are shown as running at once: each costs two open files.
const LIVE_MAX: usize = 128;
/// Lines that are kept of what nobody has asked for yet.
const LINES_MAX: usize = 100;

/// An action that is executed now.
pub(super) struct Live {
    log: Option<fs::File>,
    lock: ActionLock,
}

impl Live {
    pub(super) fn into_lock(self) -> ActionLock {
        self.lock
    }
}

impl Manager {
    pub(super) fn look(&mut self, now: Instant) {
        if now < self.look_at || !self.sent.iter().any(Sent::lives) {
            return;
        }
        self.look_at = now + self.place.settings.poll.reports.0;
        match self.reader.read(&*self.backend) {
            Ok(lines) => {
                self.looked = Some(now);
                for (source, line) in lines {
                    self.heard(&source, line);
                }
            }
            Err(why) => log::debug!("{why}"),
        }
    }

    fn heard(&mut self, source: &Source, line: Line) {
        let Some(wave) = self.sent.iter().position(|s| s.wave.name == source.wave) else {
            return;
        };
        let number = source.index;
        let Some(element) = self.sent[wave].elements.get_mut(number as usize) else {
            return;
        };
        let index_of = |id: &Arc<str>| self.place.outlook.by_id.get(id).copied();
        match line {
            Line::Begun { node } => {
                element.node = node;
                element.has_begun = true;
                // A second beginning takes back what the first one said of its end.
                element.over = None;
            }
            Line::Started { id } => {
                let Some(index) = index_of(&id) else { return };
                let text = format!("on {}", element.node);
                self.started.insert(index, (text, Vec::new()));
                if let Some(order) = self.by_index.get(&index).copied() {
                    self.mark_running(order);
                }
            }
            Line::Note { id, note } => {
                let Some(index) = index_of(&id) else { return };
                if let Note::Line(text) = &note {
                    self.log_line(index, text);
                }
                if let Some(order) = self.by_index.get(&index) {
                    (self.tell)(*order, Heard::Note(note));
                }
            }
            Line::Ended {
                id,
                key,
                outcome,
                log,
            } => {
                let Some(index) = index_of(&id) else { return };
                if !element.answered.insert(index) {
                    return;
                }
                if let Some(log) = log {
                    self.keep_log(&key, &log);
                }
                self.ended(index, key, *outcome);
            }
            Line::Found { id, key } => {
                let Some(index) = index_of(&id) else { return };
                if element.answered.insert(index) {
                    self.ended(index, key, Outcome::Found);
                }
            }
            Line::Over {
                cut,
                trouble,
                stopped,
            } => {
                element.over = Some(Over {
                    cut,
                    trouble,
                    stopped,
                });
                let is_done = element
                    .items
                    .iter()
                    .all(|(index, _)| element.answered.contains(index));
                if is_done {
                    self.close_element(wave, number, End::Done);
                } else {
                    // Whether it begins anew is the batch system's to say, and soon.
                    let soon = self.place.settings.poll.first.0.min(Duration::from_secs(2));
                    self.ask_at = self.ask_at.min(Instant::now() + soon);
                }
            }
        }
    }

    /// What an element told of the end of an action.
    pub(super) fn ended(&mut self, index: u32, key: Digest, outcome: Outcome) {
        self.started.remove(&index);
        let order = self.by_index.get(&index).copied();
        let open = order.and_then(|id| self.orders.get_mut(&id));
        let Some(open) = open.filter(|open| open.order.key.digest == key) else {
            self.early.insert(index, (key, outcome));
            return;
        };
        let id = open.order.id;
        match outcome {
            Outcome::Made(made) => {
                open.made = Some(made);
                self.look_up(id, None);
            }
            Outcome::Found => self.look_up(id, None),
            Outcome::StoreBroken { message } => {
                open.at = At::Pending;
                let why = format!("the disk of its node could not be used: {message}");
                self.again(id, End::Failed, &why);
            }
            Outcome::Lost { why } => self.again(id, End::Failed, &why),
            Outcome::Cancelled => {}
            Outcome::Failed(failed) if failed.lacked_memory => {
                self.again(id, End::Memory, &failed.message);
            }
            other @ (Outcome::Failed(_) | Outcome::Unstable(_)) => self.answer(id, other),
        }
    }

    pub(super) fn replied(&mut self, reply: Reply) {
        match reply {
            Reply::Believed(id, believed) => {
                let Some(open) = self.orders.get_mut(&id) else {
                    return;
                };
                let made = open.made.take();
                match made_of(&open.order, *believed, made) {
                    Ok(made) => self.answer(id, Outcome::Made(Box::new(made))),
                    Err(why) => self.answer(id, Outcome::failed(why)),
                }
            }
            Reply::None(id) => {
                let late = self.late.max(Duration::from_secs(1));
                let Some(open) = self.orders.get_mut(&id) else {
                    return;
                };
                match open.end.take() {
                    Some((end, why)) => self.again(id, end, &why),
                    None if open.asked.is_some_and(|asked| asked.elapsed() > late) => {
                        open.asked = None;
                        self.again(
                            id,
                            End::Failed,
                            "its result was reported, and is not on the remote",
                        );
                    }
                    // It was reported, and can be seen soon.
                    None => {}
                }
            }
            // It is asked again soon.
            Reply::NoAnswer => {}
        }
    }

    /// Asks again for results that were reported and could not be seen.
    pub(super) fn ask_desk_again(&mut self, now: Instant) {
        let waiting = self.orders.iter_mut();
        for (id, open) in waiting.filter(|(_, open)| open.at == At::Desk && open.asks_again <= now)
        {
            open.asks_again = now + ASK_AGAIN;
            let _ = self.desk.send(Task::LookUp(*id, open.order.key.digest));
        }
    }

    /// Keeps the end of a log, in the place of the lines that were heard until then. Whoever follows
    /// those has them still.
    fn keep_log(&mut self, key: &Digest, text: &str) {
        let path = log_in(&self.place.state, key);
        if let Some(dir) = path.parent() {
            let _ = fs::create_dir_all(dir);
            // A log that cannot be kept is no reason to fail a stage.
            let _ = whole::write_beside(&path, text.as_bytes());
        }
    }

    /// Of an action that a node has begun. As long as its lock is held it counts as running, for
    /// `repro status`, for `repro logs -f`, and for other runs that share the store.
    ///
    /// A node may begin what nobody has asked for yet: then it is marked when somebody does.
    pub(super) fn mark_running(&mut self, id: OrderId) {
        let Some(open) = self.orders.get(&id) else {
            return;
        };
        let Some((text, lines)) = self.started.remove(&open.index) else {
            return;
        };
        self.show(id, text);
        let key = open.order.key.digest;
        if self.live.len() >= LIVE_MAX {
            return;
        }
        let Ok(Ok(lock)) = self.place.store.try_lock_action(&key) else {
            return;
        };
        let path = log_in(&self.place.state, &key);
        if let Some(dir) = path.parent() {
            let _ = fs::create_dir_all(dir);
        }
        let mut log = fs::File::create(path).ok();
        if let Some(log) = &mut log {
            for line in lines {
                let _ = writeln!(log, "{line}");
            }
        }
        self.live.insert(id, Live { log, lock });
    }

    /// A line of what an action says now, where `repro logs` looks for it.
    fn log_line(&mut self, index: u32, text: &str) {
        if let Some((_, lines)) = self.started.get_mut(&index)
            && lines.len() < LINES_MAX
        {
            lines.push(text.to_owned());
        }
        let id = self.by_index.get(&index);
        let live = id.and_then(|id| self.live.get_mut(id));
        if let Some(log) = live.and_then(|live| live.log.as_mut()) {
            let _ = writeln!(log, "{text}");
        }
    }
}

/// What was made, by what is signed; and by what its element told, where nothing depends on that.
fn made_of(order: &Order, believed: Believed, told: Option<Box<Made>>) -> Result<Made, String> {
    let signed = believed.record;
    let mut outputs = Vec::with_capacity(order.outputs.len());
    for spec in order.outputs.iter() {
        let content = signed.outputs.get(&*spec.name);
        outputs
            .push(*content.ok_or_else(|| {
                format!("its result on the remote has no output `{}`", spec.name)
            })?);
    }
    let said = &signed.observation;
    // It is this user's result: what the campaign's key signed was executed for them.
    let mut observation = Observation::default();
    for fact in [
        Fact::Run,
        Fact::At,
        Fact::Host,
        Fact::Version,
        Fact::Instance,
        Fact::Sandbox,
        Fact::Threads,
        Fact::WallS,
        Fact::CpuS,
        Fact::MaxRssBytes,
        Fact::Energy,
        Fact::ResumedFrom,
        Fact::Device,
        Fact::Placed,
    ] {
        if let Some(value) = said.get(fact) {
            observation = observation.with(fact, value.clone());
        }
    }
    observation = observation.with(Fact::Run, &*order.run);
    let told = told.filter(|made| made.outputs == outputs);
    let figures = told
        .as_ref()
        .map(|made| made.figures.clone())
        .unwrap_or_default();
    if !figures.is_empty() {
        observation = observation.with(Fact::Figures, serde_json::json!(figures));
    }
    let number = |fact| said.number(fact).unwrap_or(0.0);
    Ok(Made {
        usage: Usage {
            wall_s: number(Fact::WallS),
            cpu_s: number(Fact::CpuS),
            max_rss_bytes: number(Fact::MaxRssBytes) as u64,
            energy: Energy::of(said),
        },
        figures,
        pins: told
            .as_ref()
            .map(|made| made.pins.clone())
            .unwrap_or_default(),
        resumed_from: told.as_ref().and_then(|made| made.resumed_from.clone()),
        sandbox: said.text(Fact::Sandbox).unwrap_or_default().to_owned(),
        record: Record {
            key: order.key.digest,
            preimage: order.key.preimage.clone(),
            outputs: signed.outputs,
            observation,
        },
        outputs,
    })
}
