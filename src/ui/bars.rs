//! Bars on a terminal: one line for the whole run, one per running action, and above them what
//! happened. Every line is cut to the terminal's width here, because a line that wraps cannot be
//! erased.
//!
//! However many things happen, the terminal is written to a few times a second: lines are collected
//! and written together, and the place of an action that ended is kept for the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::course::Course;
use super::echo::Quiet;
use super::estimate::Estimate;
use super::lines;
use super::patient::Patient;
use super::style::{Colour, bytes, duration};
use super::width::{shortened, width_of_talk};
use crate::terminal::{self, safe};
use repro_engine::change::begun;
use repro_engine::record::event::Event;

/// Room at the end of every line.
const ROOM: usize = 4;
/// The interval at which times are drawn again.
const TICK: Duration = Duration::from_millis(250);
/// What happens within so long is written together.
const TOGETHER: Duration = Duration::from_millis(100);
/// Characters of what an action says of itself, beside the course of its number.
const TEXT: usize = 22;
/// Characters of the bar itself.
const BAR: usize = 16;

/// See the module.
pub struct Bars {
    all: MultiProgress,
    state: Arc<Mutex<State>>,
    above: Arc<Mutex<Above>>,
    colour: Colour,
    /// The line about the remote, when it began, and what had been moved then.
    transfer: Option<(ProgressBar, Instant, u64)>,
    _quiet: Option<Quiet>,
}

/// What is written above the bars.
struct Above {
    lines: Vec<String>,
    written: Instant,
    say: fn(&str),
}

impl Above {
    /// Writes what has been collected, at once or if the last time is long enough ago.
    fn write(&mut self, all: &MultiProgress, now: bool) {
        if self.lines.is_empty() || !now && self.written.elapsed() < TOGETHER {
            return;
        }
        let text = std::mem::take(&mut self.lines).join("\n");
        all.suspend(|| (self.say)(&text));
        self.written = Instant::now();
    }
}

/// What the lines are made of. The ticker reads it too.
struct State {
    whole: ProgressBar,
    running: BTreeMap<String, Running>,
    /// Places of actions that ended, for the next ones.
    free: Vec<ProgressBar>,
    told: Instant,
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
    course: Course,
}

impl Bars {
    /// Draws on standard error. `expected_s`: recorded seconds of the instances; `cores`: how many
    /// run at once.
    pub fn new(colour: Colour, expected_s: BTreeMap<String, f64>, cores: u32) -> Bars {
        let term = Box::new(Patient::stderr());
        let mut bars = Bars::on(term, terminal::say, colour, expected_s, cores);
        let drawn = bars.all.clone();
        terminal::say_warnings_above(Some(Box::new(move |line| {
            drawn.suspend(|| terminal::say(line));
        })));
        bars._quiet = Quiet::begin();
        bars
    }

    fn on(
        term: Box<dyn TermLike>,
        say: fn(&str),
        colour: Colour,
        expected_s: BTreeMap<String, f64>,
        cores: u32,
    ) -> Bars {
        let target = ProgressDrawTarget::term_like_with_hz(term, 10);
        let all = MultiProgress::with_draw_target(target);
        let whole = all.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template(&format!("{{bar:{BAR}}} {{msg}}")) {
            whole.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        let state = Arc::new(Mutex::new(State {
            whole,
            running: BTreeMap::new(),
            free: Vec::new(),
            told: Instant::now(),
            wanted: 0,
            executed: 0,
            cached: 0,
            over: 0,
            estimate: Estimate::new(expected_s, cores),
            is_over: false,
        }));
        let above = Arc::new(Mutex::new(Above {
            lines: Vec::new(),
            written: Instant::now(),
            say,
        }));
        tick(&state, &above, &all);
        Bars {
            all,
            state,
            above,
            colour,
            transfer: None,
            _quiet: None,
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
            let is_over = matches!(event, Event::Summary(_));
            let mut above = self.above.lock().unwrap_or_else(|e| e.into_inner());
            above.lines.extend(lines::text(event, self.colour));
            above.write(&self.all, is_over);
        }
        let mut state = self.state();
        if !state.is_over && state.told.elapsed() >= TOGETHER {
            state.tell();
        }
    }

    fn begin(&mut self, instance: &str) {
        let free = self.state().free.pop();
        let bar = free.unwrap_or_else(|| {
            let bar = self.all.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let running = Running {
            bar,
            since: Instant::now(),
            text: String::new(),
            course: Course::default(),
        };
        running.tell(instance);
        let mut state = self.state();
        state.running.insert(instance.to_owned(), running);
    }

    fn say_of(&mut self, instance: &str, text: String) {
        let mut state = self.state();
        if let Some(running) = state.running.get_mut(instance) {
            running.course.take(&text);
            running.text = text;
            running.tell(instance);
        }
    }

    fn end(&mut self, instance: &str) {
        let mut state = self.state();
        let ended = state.running.remove(instance);
        state.estimate.forget(instance);
        // The ticker takes it away if nothing else begins soon.
        state.free.extend(ended.map(|running| running.bar));
    }

    fn clear(&mut self) {
        terminal::say_warnings_above(None);
        let mut above = self.above.lock().unwrap_or_else(|e| e.into_inner());
        above.write(&self.all, true);
        drop(above);
        let mut state = self.state();
        state.is_over = true;
        let running = state.running.values().map(|running| &running.bar);
        running
            .chain(&state.free)
            .for_each(ProgressBar::finish_and_clear);
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

/// Draws times again until the run is over, and writes what nothing came after.
fn tick(state: &Arc<Mutex<State>>, above: &Arc<Mutex<Above>>, all: &MultiProgress) {
    let state = Arc::downgrade(state);
    let (above, all) = (above.clone(), all.clone());
    let ticking = std::thread::Builder::new().name("ticker".into());
    // Without it, times are drawn when something happens.
    let _ = ticking.spawn(move || {
        loop {
            std::thread::sleep(TICK);
            let Some(state) = state.upgrade() else { return };
            let mut lines = above.lock().unwrap_or_else(|e| e.into_inner());
            lines.write(&all, false);
            drop(lines);
            let mut state = state.lock().unwrap_or_else(|e| e.into_inner());
            if state.is_over {
                return;
            }
            for bar in std::mem::take(&mut state.free) {
                bar.finish_and_clear();
                all.remove(&bar);
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
        let course = self.course.line();
        let drawn = course.chars().count() + 1;
        // The end of a long text is worth less than the picture, where there is room for both.
        let text = match course.is_empty() || left < drawn + TEXT {
            true => begun(&said, left),
            false => format!("{} {course}", begun(&said, left - drawn)),
        };
        let line = format!("{name} {text}");
        self.bar
            .set_message(format!("{} {elapsed}", line.trim_end()));
    }
}

impl State {
    fn tell(&mut self) {
        self.told = Instant::now();
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
            Some(left_s) if running + waiting > 0 => {
                format!("about {} left", duration(left_s.ceil()))
            }
            _ => String::new(),
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use repro_engine::record::event::Reason;

    /// A terminal that counts how often something is shown.
    #[derive(Debug, Clone, Default)]
    struct Counting {
        shown: Arc<AtomicUsize>,
        text: Arc<Mutex<String>>,
    }

    impl TermLike for Counting {
        fn width(&self) -> u16 {
            60
        }
        fn height(&self) -> u16 {
            20
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.text.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            self.shown.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// Ten thousand things that happen are drawn as often as a few, and each is said once.
    #[test]
    fn ten_thousand_instances_do_not_flicker() {
        let term = Counting::default();
        let say = |text: &str| SAID.lock().unwrap().push(text.to_owned());
        let mut bars = Bars::on(Box::new(term.clone()), say, Colour::Off, BTreeMap::new(), 2);
        let n = 10_000;
        for i in 0..n {
            let instance = format!("train[seed={i}]");
            bars.show(&Event::Started {
                instance: instance.clone(),
                key: String::new(),
                reason: Reason::NeverRun,
                placed: None,
            });
            bars.show(&Event::Progress {
                instance: instance.clone(),
                done: 1,
                total: Some(2),
                unit: "steps".into(),
                text: "loss 0.5".into(),
            });
            bars.show(&Event::Finished {
                instance,
                key: String::new(),
                outputs: BTreeMap::new(),
                wall_s: 0.1,
                cpu_s: 0.1,
                max_rss_bytes: 0,
                energy: None,
                figures: BTreeMap::new(),
                resumed_from: None,
                sandbox: String::new(),
                recorded: true,
            });
        }
        drop(bars);
        let said = SAID.lock().unwrap().join("\n");
        assert_eq!(said.lines().count(), n);
        assert!(said.lines().last().unwrap().contains("seed=9999"));
        let shown = term.shown.load(Ordering::Relaxed);
        assert!(shown < n / 2, "{shown}");
    }
}
