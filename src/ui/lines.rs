//! Plain lines on standard error: for logs, CI and pipes. One line per thing that happened, none
//! for what was cached. GitHub's logs fold them, but for failures and the summary.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::style::{Colour, bytes, duration, energy_sum, placement};
use repro_engine::change::{begun, in_words};
use repro_engine::record::event::{Event, Reason, Summary};

/// How often one action may report progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Characters of a reason inside a line about something else.
const REASON_SHOWN: usize = 160;

/// See the module.
pub struct Lines {
    colour: Colour,
    last_progress: HashMap<String, Instant>,
    transfer: Option<(Instant, u64)>,
    groups: Groups,
}

/// What can be folded in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Groups {
    /// Nothing.
    None,
    /// What happens; a group is open or not.
    GitHub { open: bool },
}

impl Groups {
    /// A line before those of an event.
    fn before(&mut self, event: &Event) -> Option<&'static str> {
        let Groups::GitHub { open } = self else {
            return None;
        };
        // Failures and the end are for everybody, everything else for who looks for it.
        let is_folded = !matches!(
            event,
            Event::Failed { .. }
                | Event::Unstable { .. }
                | Event::Warning { .. }
                | Event::Planned { .. }
                | Event::Summary(_)
        );
        if is_folded == *open {
            return None;
        }
        *open = is_folded;
        Some(if is_folded {
            "::group::repro run"
        } else {
            "::endgroup::"
        })
    }
}

impl Lines {
    /// Writes to standard error.
    pub fn new(colour: Colour) -> Lines {
        let is_github = std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true");
        Lines {
            colour,
            last_progress: HashMap::new(),
            transfer: None,
            groups: match is_github {
                true => Groups::GitHub { open: false },
                false => Groups::None,
            },
        }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        if let Event::Progress { instance, .. } = event {
            let now = Instant::now();
            match self.last_progress.get(instance) {
                Some(last) if now - *last < PROGRESS_EVERY => return,
                _ => self.last_progress.insert(instance.clone(), now),
            };
        }
        if let Event::Transfer { received, sent, .. } = event {
            let now = Instant::now();
            let (since, before) = *self.transfer.get_or_insert((now, received + sent));
            if now - since >= PROGRESS_EVERY {
                let moved = (received + sent).saturating_sub(before) as f64;
                let rate = bytes((moved / (now - since).as_secs_f64()) as u64);
                crate::say!("     {}, {rate}/s", transfer_text(event));
                self.transfer = Some((now, received + sent));
            }
            return;
        }
        let lines = text(event, self.colour);
        let before = (!lines.is_empty()).then(|| self.groups.before(event));
        if let Some(line) = before.flatten() {
            crate::terminal::say(line);
        }
        lines.iter().for_each(|line| crate::terminal::say(line));
    }
}

/// The lines for an event.
pub fn text(event: &Event, colour: Colour) -> Vec<String> {
    match event {
        Event::RunStarted { .. }
        | Event::Said { .. }
        | Event::Transfer { .. }
        | Event::Cached {
            restored: false, ..
        } => Vec::new(),
        // What was asked for in an earlier run is nothing that happens.
        Event::Asked { cached: true, .. } => Vec::new(),
        Event::Asked {
            claim,
            n,
            next,
            instances,
            ..
        } => vec![format!(
            "{} claim {claim} {}",
            colour.bold("ask "),
            colour.dim(&format!(
                "is not decided by {n}, looks again at {next} ({instances} more to do)"
            ))
        )],
        Event::Started {
            instance,
            reason,
            placed,
            ..
        } => {
            let placed = placed.as_ref().map(placement);
            let placed = placed.map_or_else(String::new, |placed| format!("; {placed}"));
            let why = reason_text(reason) + &placed;
            let word = colour.bold("run ");
            vec![format!("{word} {instance} {}", colour.dim(&why))]
        }
        Event::Planned { instance, reason } => vec![format!(
            "{} {instance} {}",
            colour.bold("would run"),
            colour.dim(&reason_text(reason))
        )],
        Event::Progress {
            instance,
            done,
            total,
            unit,
            text,
        } => vec![format!(
            "     {instance} {}",
            progress_text(*done, *total, unit, text)
        )],
        Event::Finished {
            instance,
            wall_s,
            resumed_from,
            ..
        } => {
            let resumed = resumed_from
                .as_ref()
                .map_or_else(String::new, |label| format!(", resumed from {label}"));
            vec![format!(
                "{} {instance} {}",
                colour.green("done"),
                colour.dim(&format!("in {}{resumed}", duration(*wall_s)))
            )]
        }
        Event::Cached {
            instance,
            remote: Some(remote),
            ..
        } => vec![format!(
            "{} {instance} {}",
            colour.green("got "),
            colour.dim(&format!("from `{remote}`"))
        )],
        Event::Cached { instance, .. } => vec![format!(
            "{} {instance} {}",
            colour.green("back"),
            colour.dim("outputs restored from the store")
        )],
        Event::Failed {
            instance,
            message,
            hint,
            ..
        } => {
            let mut lines = vec![format!("{} {instance}: {message}", colour.red("FAIL"))];
            lines.extend(hint.iter().map(|h| format!("     help: {h}")));
            lines
        }
        Event::Unstable { instance, path, .. } => vec![format!(
            "{} {instance}: `{path}` changed while the stage ran; its result is not kept, and the next run executes it again",
            colour.red("UNSTABLE")
        )],
        Event::Skipped {
            instance,
            because_of,
        } => vec![format!(
            "{} {instance} {}",
            colour.yellow("skip"),
            colour.dim(&format!("needs {because_of}"))
        )],
        Event::Warning {
            instance: Some(instance),
            text,
        } => vec![format!("{} {instance}: {text}", colour.yellow("warning:"))],
        Event::Warning {
            instance: None,
            text,
        } => vec![format!("{} {text}", colour.yellow("warning:"))],
        Event::Summary(summary) => vec![summary_text(summary, colour)],
    }
}

/// What was transferred, and what is still under way.
pub fn transfer_text(event: &Event) -> String {
    let Event::Transfer {
        received,
        sent,
        fetching,
        publishing,
    } = event
    else {
        return String::new();
    };
    let mut parts = Vec::new();
    for (moved, open, word, noun) in [
        (received, fetching, "received", "to fetch"),
        (sent, publishing, "sent", "to publish"),
    ] {
        if *moved > 0 {
            parts.push(format!("{} {word}", bytes(*moved)));
        }
        if *open > 0 {
            parts.push(format!("{open} {noun}"));
        }
    }
    format!("remote: {}", parts.join(", "))
}

/// Why, in a few words: the first change and how many more.
pub fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::NeverRun => "(first time)".into(),
        Reason::Forced => "(forced)".into(),
        Reason::ResultLost(what) | Reason::Disbelieved(what) | Reason::Unasked(what) => {
            format!("({what})")
        }
        Reason::Upstream(instance) => format!("(after {instance})"),
        Reason::Changed(changes) => match changes.split_first() {
            None => "(no recorded result)".into(),
            Some((first, rest)) => {
                let first = in_words(first);
                let first = begun(first.lines().next().unwrap_or_default(), REASON_SHOWN);
                if rest.is_empty() {
                    format!("({first})")
                } else {
                    format!("({first}, and {} more)", rest.len())
                }
            }
        },
    }
}

/// What the worker says, and how much of it is done.
pub fn progress_text(done: u64, total: Option<u64>, unit: &str, text: &str) -> String {
    let amount = |n: u64| {
        if unit == "bytes" {
            bytes(n)
        } else {
            n.to_string()
        }
    };
    let of = match total {
        Some(total) if total > 0 => format!("{}/{}", amount(done), amount(total)),
        _ if done > 0 => amount(done),
        _ => return text.to_owned(),
    };
    let unit = if unit == "bytes" || unit.is_empty() {
        String::new()
    } else {
        format!(" {unit}")
    };
    if text.is_empty() {
        format!("{of}{unit}")
    } else {
        format!("{text} ({of}{unit})")
    }
}

/// The last line.
pub fn summary_text(summary: &Summary, colour: Colour) -> String {
    let verb = if summary.dry_run {
        "to execute"
    } else {
        "executed"
    };
    let elsewhere = match (summary.dry_run, summary.elsewhere) {
        (false, _) | (_, 0) => String::new(),
        (true, n) => format!(" ({n} of them on the remote only, fetched where needed)"),
    };
    let mut parts = vec![
        format!("{} {verb}", summary.executed),
        format!("{} cached{elsewhere}", summary.cached),
    ];
    for (count, word) in [
        (summary.failed, "failed"),
        (summary.unstable, "unstable"),
        (summary.stopped, "stopped"),
        (summary.skipped, "skipped"),
    ] {
        if count > 0 {
            parts.push(colour.red(&format!("{count} {word}")));
        }
    }
    let mut text = format!("{} in {}", parts.join(", "), duration(summary.wall_s));
    if summary.saved_s >= 0.1 {
        text.push_str(&format!(", saved {}", duration(summary.saved_s)));
    }
    if let Some(remote) = &summary.remote {
        let mut parts = vec![format!("{} from there", remote.hits)];
        for (count, word) in [
            (remote.bytes_received, "received"),
            (remote.bytes_sent, "sent"),
        ] {
            if count > 0 {
                parts.push(format!("{} {word}", bytes(count)));
            }
        }
        if remote.published > 0 {
            parts.push(format!("{} published", remote.published));
        }
        parts.push(format!("{} requests", remote.requests));
        if remote.warnings > 0 {
            parts.push(colour.yellow(&format!("{} warnings", remote.warnings)));
        }
        text.push_str(&format!("; remote `{}`: {}", remote.name, parts.join(", ")));
    }
    // Whoever states an intensity wants to hear of it; for others the line would be too long.
    if let Some(sum) = summary.energy.filter(|sum| sum.co2e_g.is_some()) {
        text.push_str(&format!(", {}", energy_sum(&sum)));
    }
    if summary.not_asked_for > 0 {
        let more = summary.not_asked_for;
        text.push_str(&match summary.dry_run {
            true => format!("; up to {more} more if claims stay undecided"),
            false => format!("; {more} not asked for by claims"),
        });
    }
    if summary.interrupted {
        text.push_str(&colour.yellow(" (interrupted: run again to continue)"));
    }
    text
}
