//! The report as Markdown with SVGs beside it: for a repository, where code hosts show both.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use repro_engine::whole;

use crate::draw::{Style, draw};
use crate::made::Media;
use crate::number::{short, signed, with_band};
use crate::runs::Table;
use crate::study::{Study, sentence};
use crate::svg::{Sheet, svg};
use crate::verdict;

/// Figures in the summary.
const FIGURES: usize = 12;
/// Rows of the table of runs.
const ARMS: usize = 60;
/// Points of a curve.
const POINTS: usize = 120;

/// A text in a cell: nothing of it is markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for ch in text.chars() {
        match ch {
            '\n' | '\r' => out.push(' '),
            '|' | '*' | '_' | '`' | '[' | ']' | '<' | '\\' => {
                out.push('\\');
                out.push(ch);
            }
            ch => out.push(ch),
        }
    }
    out
}

/// The text, and the files it shows by name.
pub fn markdown(study: &Study) -> (String, Vec<(String, Vec<u8>)>) {
    let mut t = format!("# {}\n\n", cell(&study.name));
    if let Some(description) = &study.description {
        let _ = write!(t, "{}\n\n", cell(description.trim()));
    }
    if let Some(given) = &study.given {
        let _ = write!(t, "{}\n\n", cell(&given.remarks.join(" ")));
    }
    let style = Style::default();
    let mut drawings = Vec::new();
    if !study.claims.is_empty() {
        t.push_str("## Claims\n\n| claim | verdict | estimate | interval | n | expected | source |\n|---|---|---|---|---|---|---|\n");
        for claim in &study.claims {
            let interval = claim.interval.map_or_else(String::new, |[low, high]| {
                let percent = claim.confidence.map_or(95.0, |c| c * 100.0);
                format!(
                    "\\[{}, {}\\] {} %",
                    signed(low),
                    signed(high),
                    short(percent)
                )
            });
            let _ = writeln!(
                t,
                "| {} | **{}** | {} | {interval} | {} | {} | {} |",
                cell(&claim.name),
                claim.verdict.unwrap_or("open"),
                claim.estimate.map(signed).unwrap_or_default(),
                claim.n,
                cell(&claim.expects),
                cell(claim.source.as_deref().unwrap_or(""))
            );
        }
        t.push('\n');
        let open = study.claims.iter().filter(|c| c.verdict.is_none());
        for (claim, why) in open.filter_map(|c| Some((c, c.reason.as_ref()?))) {
            let _ = writeln!(t, "{}: {}\n", cell(&claim.name), cell(why));
        }
        for claim in &study.claims {
            if let Some(drawing) = verdict::drawing(claim) {
                let name = format!("claim-{}.svg", crate::figure::slug(&claim.name));
                let _ = writeln!(
                    t,
                    "{}:  \n![{}]({name})\n",
                    cell(&claim.name),
                    cell(&drawing.title)
                );
                drawings.push((name, svg(&drawing, Sheet::Paper, &style.font).into_bytes()));
            }
        }
    }
    if !(study.figures.is_empty() && study.made.is_empty()) {
        t.push_str("## Figures\n\n");
        if let Some(given) = &study.given {
            let _ = write!(t, "{}\n\n", cell(&given.of_figures()));
        }
    }
    for figure in study.figures.iter().take(FIGURES) {
        let figure = figure.thinned(POINTS);
        let name = format!("{}.svg", figure.name);
        let _ = write!(
            t,
            "### {}\n\n![{}]({name})\n\n{}\n\n",
            cell(&figure.title),
            cell(&figure.title),
            cell(&figure.note)
        );
        let drawn = svg(&draw(&figure, &style), Sheet::Paper, &style.font);
        drawings.push((name, drawn.into_bytes()));
    }
    if study.figures.len() > FIGURES {
        let more = study.figures.len() - FIGURES;
        let _ = write!(t, "{more} further figures: `repro report` shows them.\n\n");
    }
    for made in &study.made {
        let name = format!(
            "made-{}.{}",
            crate::figure::slug(&made.name),
            made.media.ending()
        );
        // Code hosts show pictures, and no pages.
        let mark = if made.media == Media::Html { "" } else { "!" };
        let said = cell(&made.name);
        let _ = write!(t, "### {said}\n\n{mark}[{said}]({name})\n\n");
        drawings.push((name, made.bytes.clone()));
    }
    let undrawn = study.undrawn.iter().map(|u| sentence(&u.to_string()));
    for remark in undrawn.chain(study.remarks.iter().cloned()) {
        let _ = write!(t, "{}\n\n", cell(&remark));
    }
    if !study.arms.is_empty() {
        let columns = Table::of(&study.arms, &study.asked);
        t.push_str(
            "## Runs\n\nLast values: mean ± half of the 95 % interval over repetitions.\n\n",
        );
        let head: Vec<String> = ["stage".to_owned()]
            .into_iter()
            .chain(columns.axes.iter().map(|a| cell(a)))
            .chain(["n".to_owned()])
            .chain(columns.metrics.iter().map(|m| cell(m)))
            .collect();
        let _ = writeln!(
            t,
            "| {} |\n|{}",
            head.join(" | "),
            "---|".repeat(head.len())
        );
        for arm in study.arms.iter().take(ARMS) {
            let cells: Vec<String> = [cell(&arm.stage)]
                .into_iter()
                .chain(
                    columns
                        .axes
                        .iter()
                        .map(|a| cell(arm.axis(a).unwrap_or_default())),
                )
                .chain([arm.n.to_string()])
                .chain(columns.metrics.iter().map(|m| {
                    arm.metrics
                        .get(m)
                        .map(|m| with_band(m.mean, m.band))
                        .unwrap_or_default()
                }))
                .collect();
            let _ = writeln!(t, "| {} |", cells.join(" | "));
        }
        if study.arms.len() > ARMS {
            let _ = writeln!(t, "\nThe first {ARMS} of {} rows.", study.arms.len());
        }
        if !columns.hidden.is_empty() {
            let hidden = columns.hidden.iter().map(|m| cell(m));
            let hidden = hidden.collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                t,
                "\nNot in the table: {hidden}. `repro metrics` shows them."
            );
        }
        t.push('\n');
    }
    t.push_str("Written by `repro report --md`.\n");
    (t, drawings)
}

/// Writes it as `README.md` with its drawings into a directory; returns the files.
///
/// # Errors
/// A file cannot be written.
pub fn write(study: &Study, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (text, drawings) = markdown(study);
    let mut files = vec![dir.join("README.md")];
    whole::write_beside(&files[0], text.as_bytes())?;
    for (name, drawing) in drawings {
        let path = dir.join(name);
        whole::write_beside(&path, &drawing)?;
        files.push(path);
    }
    Ok(files)
}
