//! The explanation of one instance, for people.

use serde_json::Value;

use crate::cli::output;
use crate::ui::lines::reason_text;
use crate::ui::style::{Colour, duration};
use repro_engine::change::{in_words, plain};
use repro_engine::explain::Explanation;
use repro_engine::record::event::{Change, Reason};
use repro_engine::store::Fact;
use repro_engine::survey::Standing;
use repro_protocol::relpath::RelPath;

/// The beginning of the line about the last execution.
pub const LAST_EXECUTED: &str = "last executed here:";

/// Ignored entries of a directory that are named in the report.
const IGNORED_NAMED: usize = 5;

fn change_lines(text: &mut String, changes: &[Change]) {
    for change in changes {
        text.push_str(&format!("    {}\n", in_words(change)));
    }
}

/// The report for people, without the name of the instance.
pub fn story(report: &Explanation, colour: Colour) -> String {
    let state = match report.state {
        Standing::Cached => colour.green("cached"),
        Standing::Failed => colour.red("failed; will be executed again"),
        Standing::Running => colour.yellow("running now"),
        Standing::Stale | Standing::Missing => colour.yellow("will be executed"),
        Standing::Unknown => colour.yellow("not known"),
        Standing::Held => colour.yellow("held: a run executes it only if a claim asks for it"),
    };
    let mut text = format!("  {state}");
    match &report.reason {
        None if report.problem.is_some() => {}
        None => text.push('\n'),
        Some(Reason::Changed(changes)) if changes.is_empty() => {
            text.push_str(": no result is recorded for its key any more\n");
        }
        Some(Reason::Changed(changes)) => {
            text.push_str(" because:\n");
            change_lines(&mut text, changes);
        }
        Some(Reason::NeverRun) => text.push_str(": no earlier result of this instance is known\n"),
        Some(Reason::ResultLost(what) | Reason::Disbelieved(what) | Reason::Unasked(what)) => {
            text.push_str(&format!(": {what}\n"));
        }
        Some(Reason::Forced) => text.push_str(": forced\n"),
        Some(Reason::Upstream(producer))
            if report.state == Standing::Stale && report.own_changes.is_empty() =>
        {
            text.push_str(&format!(" if the output of {producer} changes, which is executed first; the instance itself did not change\n"));
        }
        Some(Reason::Upstream(producer)) => {
            text.push_str(&format!(" after {producer}\n"));
            change_lines(&mut text, &report.own_changes);
        }
    }
    if let Some(problem) = &report.problem {
        text.push_str(&format!(": {problem}\n"));
    }
    if !report.after.is_empty() {
        text.push_str(&format!(
            "  waits for {}, and takes nothing from it\n",
            report.after.join(", ")
        ));
    }
    for link in &report.upstream {
        let why = link.because.as_ref().map(reason_text).unwrap_or_default();
        let at = link
            .executed
            .as_deref()
            .map(|at| format!(", executed {}", output::when(at)))
            .unwrap_or_default();
        text.push_str(&format!(
            "  {} comes from {}{at} {why}\n",
            link.field, link.producer
        ));
    }
    if let Some(nearest) = &report.nearest {
        text.push_str(&format!(
            "  closest recorded result: {}, which differs in:\n",
            nearest.instance
        ));
        change_lines(&mut text, &nearest.changes);
    }
    let mut line =
        |label: &str, what: &str| text.push_str(&format!("  {} {what}\n", colour.dim(label)));
    if let Some(resumable) = &report.resumable {
        line("resume:", &resumable.to_string());
    }
    if let Some(sandbox) = &report.sandbox {
        line(
            "sandbox:",
            &format!("{sandbox}; undeclared reads were not detected"),
        );
    }
    for (dir, entries) in &report.ignored {
        let named: Vec<&str> = entries
            .iter()
            .take(IGNORED_NAMED)
            .map(RelPath::as_str)
            .collect();
        let more = match entries.len().saturating_sub(IGNORED_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        line("ignored:", &format!("in {dir}: {}{more}", named.join(", ")));
    }
    if !report.results.is_empty() {
        line(
            "results:",
            &format!(
                "{} different ones under this key: the stage is not deterministic",
                report.results.len()
            ),
        );
        for result in &report.results {
            let from = |fact: Fact| result.observation.text(fact).unwrap_or("?").to_owned();
            let outputs: Vec<String> = result
                .outputs
                .iter()
                .map(|(n, c)| format!("{n} {}", plain(&Value::String(c.clone()))))
                .collect();
            line(
                "        ",
                &format!(
                    "{} ({}, {})",
                    outputs.join(", "),
                    output::when(&from(Fact::At)),
                    from(Fact::Host)
                ),
            );
        }
    }
    for other in &report.divergence {
        let by = other
            .signer
            .as_deref()
            .map(|s| format!(", signed by {s}"))
            .unwrap_or_default();
        line(
            "other bits:",
            &format!("{} ({}{by})", other.outputs.join("; "), other.origin),
        );
    }
    if !report.signers.is_empty() {
        line("vouched for by:", &report.signers.join(", "));
    }
    match (&report.origin, report.elsewhere) {
        (Some(origin), false) => line("from:", origin),
        (origin, true) => line(
            "from:",
            &format!(
                "{}; its bytes are only there, and are fetched when they are needed",
                origin.as_deref().unwrap_or("the remote")
            ),
        ),
        (None, false) => {}
    }
    if let Some(made) = &report.made {
        let at = made.at.as_deref().map(output::when).unwrap_or_default();
        let wall = made
            .wall_s
            .map(|s| format!(" in {}", duration(s)))
            .unwrap_or_default();
        line(
            "made:",
            &match &made.host {
                Some(host) => format!("{at} on {host}{wall}"),
                None => format!("{at}{wall}"),
            },
        );
    }
    if let Some(last) = &report.last_execution {
        let end = match (last.end, last.wall_s, &last.message) {
            (_, Some(wall_s), _) => format!("took {}", duration(wall_s)),
            (_, _, Some(message)) => {
                format!("failed: {}", message.lines().next().unwrap_or_default())
            }
            ("unstable", ..) => "an input changed while it ran".to_owned(),
            _ => "it has not ended".to_owned(),
        };
        line(LAST_EXECUTED, &format!("{}, {end}", output::when(&last.at)));
        match &last.reason {
            Reason::Changed(changes) if !changes.is_empty() && report.state == Standing::Cached => {
                line("then because:", "");
                change_lines(&mut text, changes);
            }
            reason => line(
                "then because:",
                reason_text(reason).trim_matches(['(', ')']),
            ),
        }
    }
    text
}
