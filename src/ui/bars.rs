//! Bars on a terminal: one line for the whole run, one per running action, and above them what
//! happened. Every line is cut to the terminal's width here, because a line that wraps cannot be
//! erased.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::echo::Quiet;
use super::lines;
use super::patient::Patient;
use super::planned::stage_of;
use super::style::{Colour, bytes, duration};
use super::width::{shortened, width_of_talk};
use crate::terminal::{self, safe};
use repro_engine::change::begun;
use repro_engine::record::event::Event;

/// Room at the end of every line.
const ROOM: usize = 4;
/// The interval at which times are drawn again.
const TICK: Duration = Duration::from_millis(250);
/// Characters of the bar itself.
const BAR: usize = 16;

/// See the module.
pub struct Bars {
    all: MultiProgress,
    state: Arc<Mutex<State>>,
    colour: Colour,
    /// The line about the remote, when it began, and what had been moved then.
    transfer: Option<(ProgressBar, Instant, u64)>,
    _quiet: Option<Quiet>,
}

/// What the lines are made of. The ticker reads it too.
struct State {
    whole: ProgressBar,
    running: BTreeMap<String, Running>,
    wanted: u64,
    executed: u64,
    cached: u64,
    over: u64,
    estimate: Estimate,
    is_over: bool,
}

struct Running {
    bar: ProgressBar,
    since: Instant,
    /// What it says about itself.
    text: String,
}

impl Bars {
    /// Draws on standard error. `expected_s`: recorded seconds of the instances; `cores`: how many
    /// run at once.
    pub fn new(colour: Colour, expected_s: BTreeMap<String, f64>, cores: u32) -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(
            Box::new(Patient::stderr()),
            10,
        ));
        let whole = all.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template(&format!("{{bar:{BAR}}} {{msg}}")) {
            whole.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        let state = Arc::new(Mutex::new(State {
            whole,
            running: BTreeMap::new(),
            wanted: 0,
            executed: 0,
            cached: 0,
            over: 0,
            estimate: Estimate::new(expected_s, cores),
            is_over: false,
        }));
        tick(&state);
        let drawn = all.clone();
        terminal::say_warnings_above(Some(Box::new(move |line| {
            drawn.suspend(|| terminal::say(line));
        })));
        Bars {
            all,
            state,
            colour,
            transfer: None,
            _quiet: Quiet::begin(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::RunStarted { instances, .. } => {
                let mut state = self.state();
                state.wanted = *instances;
                state.whole.set_length(*instances);
            }
            Event::Asked { instances, .. } => {
                let mut state = self.state();
                state.wanted += *instances;
                let wanted = state.wanted;
                state.whole.set_length(wanted);
            }
            Event::Started { instance, .. } => self.begin(instance),
            Event::Progress {
                instance,
                done,
                total,
                unit,
                text,
            } => {
                self.say_of(instance, lines::progress_text(*done, *total, unit, text));
                return;
            }
            Event::Said { instance, line } => {
                self.say_of(instance, line.trim().to_owned());
                return;
            }
            Event::Transfer { received, sent, .. } => {
                self.show_transfer(event, received + sent);
                return;
            }
            Event::Cached { instance, .. } => {
                let mut state = self.state();
                state.cached += 1;
                state.estimate.forget(instance);
            }
            Event::Finished {
                instance, wall_s, ..
            } => {
                let mut state = self.state();
                state.executed += 1;
                state.estimate.learn(instance, *wall_s);
                drop(state);
                self.end(instance);
            }
            Event::Failed { instance, .. }
            | Event::Unstable { instance, .. }
            | Event::Skipped { instance, .. } => {
                self.state().over += 1;
                self.end(instance);
            }
            Event::Summary(_) => self.clear(),
            Event::Warning { .. } | Event::Planned { .. } => {}
        }
        // A running line says more than "run ...".
        if !matches!(event, Event::Started { .. }) {
            let text = lines::text(event, self.colour);
            if !text.is_empty() {
                self.all
                    .suspend(|| text.iter().for_each(|line| terminal::say(line)));
            }
        }
        if !matches!(event, Event::Summary(_)) {
            self.state().tell();
        }
    }

    fn begin(&mut self, instance: &str) {
        let bar = self.all.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let running = Running {
            bar,
            since: Instant::now(),
            text: String::new(),
        };
        running.tell(instance);
        let mut state = self.state();
        state.running.insert(instance.to_owned(), running);
    }

    fn say_of(&mut self, instance: &str, text: String) {
        let mut state = self.state();
        if let Some(running) = state.running.get_mut(instance) {
            running.text = text;
            running.tell(instance);
        }
    }

    fn end(&mut self, instance: &str) {
        let mut state = self.state();
        let ended = state.running.remove(instance);
        state.estimate.forget(instance);
        drop(state);
        if let Some(running) = ended {
            running.bar.finish_and_clear();
            self.all.remove(&running.bar);
        }
    }

    fn clear(&mut self) {
        terminal::say_warnings_above(None);
        let mut state = self.state();
        state.is_over = true;
        for running in state.running.values() {
            running.bar.finish_and_clear();
        }
        state.whole.finish_and_clear();
        drop(state);
        if let Some((bar, _, _)) = self.transfer.take() {
            bar.finish_and_clear();
        }
    }

    fn show_transfer(&mut self, event: &Event, moved: u64) {
        let whole = self.state().whole.clone();
        let all = &self.all;
        let (bar, since, before) = self.transfer.get_or_insert_with(|| {
            let bar = all.insert_after(&whole, ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            (bar, Instant::now(), moved)
        });
        let seconds = since.elapsed().as_secs_f64();
        let rate = match seconds > 0.5 {
            true => {
                let rate = moved.saturating_sub(*before) as f64 / seconds;
                format!(", {}/s", bytes(rate as u64))
            }
            false => String::new(),
        };
        let text = format!("{}{rate}", lines::transfer_text(event));
        bar.set_message(begun(&text, room(4)));
    }
}

impl Drop for Bars {
    /// A run that ends with an error has no summary; the drawing must not stay.
    fn drop(&mut self) {
        self.clear();
    }
}

/// Characters for a text that follows so many others.
fn room(before: usize) -> usize {
    width_of_talk().saturating_sub(before + ROOM)
}

/// Draws times again until the run is over.
fn tick(state: &Arc<Mutex<State>>) {
    let state = Arc::downgrade(state);
    let ticking = std::thread::Builder::new().name("ticker".into());
    // Without it, times are drawn when something happens.
    let _ = ticking.spawn(move || {
        loop {
            std::thread::sleep(TICK);
            let Some(state) = state.upgrade() else { return };
            let state = state.lock().unwrap_or_else(|e| e.into_inner());
            if state.is_over {
                return;
            }
            state.tell();
            for (instance, running) in &state.running {
                running.tell(instance);
            }
        }
    });
}

impl Running {
    /// The instance, what it says, and for how long it runs.
    fn tell(&self, instance: &str) {
        let elapsed = duration(self.since.elapsed().as_secs_f64().floor());
        let width = room(4 + elapsed.chars().count() + 2);
        // A name takes no more than half.
        let name = shortened(&safe(instance, Colour::Off), (width / 2).max(12));
        let left = width.saturating_sub(name.chars().count() + 1);
        let said = safe(&self.text, Colour::Off).replace(['\t', '\n'], " ");
        let text = begun(&said, left);
        let line = format!("{name} {text}");
        self.bar
            .set_message(format!("{} {elapsed}", line.trim_end()));
    }
}

impl State {
    fn tell(&self) {
        let done = self.executed + self.cached + self.over;
        self.whole.set_position(done);
        let running = self.running.len() as u64;
        let waiting = self.wanted.saturating_sub(done + running);
        let elapsed = |id: &str| {
            let running = self.running.get(id)?;
            Some(running.since.elapsed().as_secs_f64())
        };
        let ids: Vec<&str> = self.running.keys().map(String::as_str).collect();
        let left = match self.estimate.left_s(&ids, waiting, elapsed) {
            Some(left_s) => format!("about {} left", duration(left_s.ceil())),
            None => String::new(),
        };
        // As many words as there is room for.
        let mut texts = vec![
            format!(
                "{} done, {} cached, {running} running, {waiting} waiting, {left}",
                self.executed, self.cached
            ),
            format!("{done}/{}, {running} running, {left}", self.wanted),
            format!("{done}/{}, {left}", self.wanted),
        ];
        texts.push(format!("{done}/{}", self.wanted));
        let room = room(BAR + 1);
        let fits = |text: &&String| text.chars().count() <= room;
        let text = texts.iter().find(fits).unwrap_or(&texts[3]);
        let text = text.trim_end_matches([' ', ',']).to_owned();
        self.whole.set_message(begun(&text, room));
    }
}

/// How long the rest will take: by what each instance took the last time, or else by what others of
/// its stage took.
struct Estimate {
    expected_s: BTreeMap<String, f64>,
    /// Seconds and number of what was recorded or seen of each stage.
    stages: BTreeMap<String, (f64, u32)>,
    cores: f64,
}

impl Estimate {
    fn new(expected_s: BTreeMap<String, f64>, cores: u32) -> Estimate {
        let mut estimate = Estimate {
            stages: BTreeMap::new(),
            cores: f64::from(cores.max(1)),
            expected_s: BTreeMap::new(),
        };
        for (id, seconds) in &expected_s {
            estimate.note(id, *seconds);
        }
        estimate.expected_s = expected_s;
        estimate
    }

    fn note(&mut self, id: &str, seconds: f64) {
        let (sum, n) = self.stages.entry(stage_of(id).to_owned()).or_default();
        *sum += seconds;
        *n += 1;
    }

    fn learn(&mut self, id: &str, seconds: f64) {
        self.note(id, seconds);
        self.forget(id);
    }

    fn forget(&mut self, id: &str) {
        self.expected_s.remove(id);
    }

    /// Seconds of an instance, by itself, by its stage, by all.
    fn of(&self, id: Option<&str>) -> Option<f64> {
        let own = id.and_then(|id| self.expected_s.get(id).copied());
        let stage = || {
            self.stages
                .get(stage_of(id?))
                .map(|(s, n)| s / f64::from(*n))
        };
        let all = || {
            let (s, n) = self
                .stages
                .values()
                .fold((0.0, 0), |(s, n), (sum, count)| (s + sum, n + count));
            (n > 0).then(|| s / f64::from(n))
        };
        own.or_else(stage).or_else(all)
    }

    /// `waiting` further instances, some of which are known. `None` if nothing is known.
    fn left_s(
        &self,
        running: &[&str],
        waiting: u64,
        elapsed: impl Fn(&str) -> Option<f64>,
    ) -> Option<f64> {
        let mut work = 0.0;
        let mut longest = 0.0f64;
        for id in running {
            let left = (self.of(Some(id))? - elapsed(id).unwrap_or(0.0)).max(0.0);
            work += left;
            longest = longest.max(left);
        }
        let known = self
            .expected_s
            .iter()
            .filter(|(id, _)| !running.contains(&id.as_str()));
        let known: Vec<f64> = known.map(|(_, s)| *s).take(waiting as usize).collect();
        work += known.iter().sum::<f64>();
        let unknown = waiting.saturating_sub(known.len() as u64);
        if unknown > 0 {
            work += self.of(None)? * unknown as f64;
        }
        Some((work / self.cores).max(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_26_what_is_left_counts_down_and_knows_similar_instances() {
        let recorded = BTreeMap::from([
            ("train[seed=0]".to_owned(), 100.0),
            ("prep".to_owned(), 1.0),
        ]);
        let mut estimate = Estimate::new(recorded, 1);
        estimate.forget("prep");
        let left = |estimate: &Estimate, id: &str, elapsed: f64| {
            estimate.left_s(&[id], 0, |_| Some(elapsed)).unwrap()
        };
        estimate.forget("train[seed=0]");
        // Never run, but others of its stage were.
        assert_eq!(left(&estimate, "train[seed=7]", 0.0), 100.0);
        assert_eq!(left(&estimate, "train[seed=7]", 40.0), 60.0);
        assert_eq!(left(&estimate, "train[seed=7]", 140.0), 0.0);
        estimate.learn("train[seed=7]", 200.0);
        assert_eq!(left(&estimate, "train[seed=8]", 0.0), 150.0);
        // Two at once on two cores take as long as one.
        let two = Estimate::new(
            BTreeMap::from([("a[i=1]".to_owned(), 10.0), ("a[i=2]".to_owned(), 10.0)]),
            2,
        );
        assert_eq!(
            two.left_s(&["a[i=1]", "a[i=2]"], 0, |_| Some(0.0)),
            Some(10.0)
        );
        assert_eq!(
            Estimate::new(BTreeMap::new(), 1).left_s(&["x"], 3, |_| None),
            None
        );
    }
}
