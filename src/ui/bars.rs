//! Bars on a terminal: one line for the whole, one per running action, and above them what happened.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines;
use super::patient::Patient;
use super::style::{Colour, bytes, duration};
use crate::record::event::Event;
use crate::terminal::{self, safe};

/// See the module.
pub struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    running: BTreeMap<String, (ProgressBar, Instant)>,
    wanted: u64,
    executed: u64,
    cached: u64,
    over: u64,
    colour: Colour,
    expected_s: BTreeMap<String, f64>,
    cores: f64,
    /// The line about the remote, when it began, and what had been moved then.
    transfer: Option<(ProgressBar, Instant, u64)>,
}

impl Bars {
    /// Draws on standard error. `expected_s`: recorded seconds of the instances; `cores`: how many run at once.
    pub fn new(colour: Colour, expected_s: BTreeMap<String, f64>, cores: u32) -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(
            Box::new(Patient::stderr()),
            10,
        ));
        let whole = all.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            whole.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        let cores = f64::from(cores.max(1));
        Bars {
            all,
            whole,
            running: BTreeMap::new(),
            wanted: 0,
            executed: 0,
            cached: 0,
            over: 0,
            colour,
            expected_s,
            cores,
            transfer: None,
        }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::RunStarted { instances, .. } => {
                self.wanted = *instances;
                self.whole.set_length(*instances);
            }
            Event::Started { instance, .. } => self.begin(instance),
            Event::Progress {
                instance,
                done,
                total,
                unit,
                text,
            } => {
                if let Some((bar, _)) = self.running.get(instance) {
                    let text = lines::progress_text(*done, *total, unit, text);
                    bar.set_message(safe(&text, self.colour).into_owned());
                }
                return;
            }
            Event::Transfer { received, sent, .. } => {
                self.show_transfer(event, received + sent);
                return;
            }
            Event::Cached { instance, .. } => {
                self.cached += 1;
                self.expected_s.remove(instance);
            }
            Event::Finished { instance, .. } => {
                self.executed += 1;
                self.end(instance);
            }
            Event::Failed { instance, .. }
            | Event::Unstable { instance, .. }
            | Event::Skipped { instance, .. } => {
                self.over += 1;
                self.end(instance);
            }
            Event::Summary(_) => {
                for (bar, _) in self.running.values() {
                    bar.finish_and_clear();
                }
                if let Some((bar, _, _)) = self.transfer.take() {
                    bar.finish_and_clear();
                }
                self.whole.finish_and_clear();
            }
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
            self.update_whole();
        }
    }

    fn begin(&mut self, instance: &str) {
        let bar = self.all.add(ProgressBar::new(0));
        if let Ok(style) =
            ProgressStyle::with_template("  {spinner} {prefix} {wide_msg} {elapsed:>4}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(safe(instance, Colour::Off).into_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.running
            .insert(instance.to_owned(), (bar, Instant::now()));
    }

    fn end(&mut self, instance: &str) {
        if let Some((bar, _)) = self.running.remove(instance) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        self.expected_s.remove(instance);
    }

    fn show_transfer(&mut self, event: &Event, moved: u64) {
        let all = &self.all;
        let (bar, since, before) = self.transfer.get_or_insert_with(|| {
            let bar = all.insert_after(&self.whole, ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {wide_msg}") {
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
        bar.set_message(format!("{}{rate}", lines::transfer_text(event)));
    }

    fn update_whole(&mut self) {
        let done = self.executed + self.cached + self.over;
        self.whole.set_position(done);
        let running = self.running.len() as u64;
        let waiting = self.wanted.saturating_sub(done + running);
        let mut text = format!(
            "{} done, {} cached, {running} running, {waiting} waiting",
            self.executed, self.cached
        );
        if let Some(left_s) = self.estimate_s(waiting + running) {
            text.push_str(&format!(", about {} left", duration(left_s)));
        }
        self.whole.set_message(text);
    }

    /// From recorded durations; an instance never run counts as the mean of the others. `None` where nothing is recorded.
    fn estimate_s(&self, left: u64) -> Option<f64> {
        let remaining = |id: &String, s: &f64| {
            self.running.get(id).map_or(*s, |(_, since)| {
                (s - since.elapsed().as_secs_f64()).max(0.0)
            })
        };
        let known: f64 = self.expected_s.iter().map(|(id, s)| remaining(id, s)).sum();
        let count = self.expected_s.len() as u64;
        let unknown = left.saturating_sub(count) as f64;
        (count > 0).then(|| (known + unknown * known / count as f64) / self.cores)
    }
}
