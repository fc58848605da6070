//! `repro diff remote:NAME`: what is here beside what a remote has.

use super::super::tables::by_instance;
use super::super::{Exit, output};
use super::DiffArgs;
use crate::ui::cell::Cell;
use crate::ui::stage_of;
use crate::ui::style::counted;
use crate::ui::table::Column;
use repro_engine::plan::Plan;
use repro_engine::results::diff::remote::{Beside, How, RemoteDiff};

/// Shows it.
pub(super) fn show(plan: &Plan, diff: &RemoteDiff, args: &DiffArgs) -> anyhow::Result<Exit> {
    if args.json {
        output::json(diff)?;
    } else if args.table.is_for_terminal() {
        args.table.refuse_sort()?;
        output::text(&text(diff, args.all))?;
    } else {
        let columns = ["difference", "outputs", "signed by", "made on"].map(Column::new);
        let rows = diff
            .instances
            .iter()
            .map(|one| (&*one.instance, cells(one)));
        let table = by_instance(plan, columns.to_vec(), rows);
        args.table.write(vec![table], "")?;
    }
    Ok(Exit::Done)
}

fn words(how: &How) -> String {
    match how {
        How::OnlyHere => "only here".to_owned(),
        How::OnlyThere => "only there".to_owned(),
        How::OtherOutputs { .. } => "same key, other outputs".to_owned(),
        How::NotUsed { why } => why.clone(),
    }
}

fn cells(one: &Beside) -> Vec<Cell> {
    let outputs = match &one.how {
        How::OtherOutputs { outputs } => outputs.join(", "),
        _ => String::new(),
    };
    vec![
        Cell::text(words(&one.how)),
        Cell::text(outputs),
        Cell::text(one.signers.join(", ")),
        Cell::text(one.host.clone().unwrap_or_default()),
    ]
}

/// For people: instances of one stage that differ in the same way are one line, unless all are asked
/// for.
fn text(diff: &RemoteDiff, all: bool) -> String {
    let remote = &diff.remote;
    let colour = output::colour();
    let mut text = format!("here → remote {remote}\n");
    let mut groups: Vec<(String, Vec<&Beside>)> = Vec::new();
    for one in &diff.instances {
        let alone = if all {
            &*one.instance
        } else {
            stage_of(&one.instance)
        };
        let key = format!("{alone} {:?} {:?}", one.how, one.signers);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(one),
            None => groups.push((key, vec![one])),
        }
    }
    let mut is_shortened = false;
    for members in groups.iter().map(|(_, members)| members) {
        let first = members[0];
        let name = match members.len() {
            1 => first.instance.clone(),
            n => format!("{n} instances of {}", stage_of(&first.instance)),
        };
        is_shortened |= members.len() > 1;
        let target = match members.len() {
            1 => &first.instance,
            _ => stage_of(&first.instance),
        };
        let mut line = format!("{}: {}", colour.bold(&name), words(&first.how));
        if let How::OtherOutputs { outputs } = &first.how {
            line.push_str(&format!(" ({})", outputs.join(", ")));
        }
        if !first.signers.is_empty() {
            line.push_str(&format!(", signed by {}", first.signers.join(", ")));
        }
        let host = first.host.as_ref().filter(|_| members.len() == 1);
        if let Some(host) = host {
            line.push_str(&format!(", made on {host}"));
        }
        let then = match &first.how {
            How::OnlyHere => format!("`repro push '{target}' --remote {remote}` publishes it"),
            How::OnlyThere => format!("`repro run --pull '{target}'` gets it"),
            How::OtherOutputs { .. } => format!("`repro verify '{target}'` executes it again"),
            How::NotUsed { .. } => String::new(),
        };
        text.push_str(&line);
        text.push('\n');
        if !then.is_empty() {
            text.push_str(&colour.dim(&format!("    {then}\n")));
        }
    }
    text.push_str(&format!(
        "{} the same on both sides\n",
        counted(diff.same, "instance")
    ));
    if diff.neither > 0 {
        let n = counted(diff.neither, "instance");
        text.push_str(&format!("{n} without a result on either side\n"));
    }
    if diff.unknown > 0 {
        let n = counted(diff.unknown, "instance");
        text.push_str(&format!(
            "{n} not asked for: what they need has no result, so their keys are not known\n"
        ));
    }
    if is_shortened {
        text.push_str(&colour.dim("(`--all` shows every instance)"));
        text.push('\n');
    }
    text
}
