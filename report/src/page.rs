//! The report as one page: no request leaves it, and without scripts everything can be read.
//!
//! Decides the order of what is told and how much of it fits. The content policy allows this
//! page's own style and script by their digests, pictures inside the page, and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::draw::{Style, draw};
use crate::figure::{Body, Figure, Line, Scale};
use crate::graph;
use crate::made::Media;
use crate::number::{Ordered, bytes, duration, energy, plain, short, signed, with_band};
use crate::runs::Table;
use crate::study::{Claim, Instance, Stage, Study, sentence};
use crate::svg::{Sheet, escaped, svg};
use crate::verdict;

const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");
/// What a page that is watched does besides, at the place that `page.js` marks.
const WATCH_JS: &str = include_str!("watch.js");
const WATCH_PLACE: &str = "/* watch */\n";

/// Bytes that a page may have.
pub const BUDGET: usize = 1_500_000;

/// How much is shown.
#[derive(Debug, Clone, Copy)]
struct Detail {
    points: usize,
    instances: usize,
    arms: usize,
    pictures: bool,
}

/// Tried one after the other until the page fits.
const DETAILS: [Detail; 4] = [
    Detail {
        points: 400,
        instances: 400,
        arms: 2000,
        pictures: true,
    },
    Detail {
        points: 160,
        instances: 100,
        arms: 1000,
        pictures: true,
    },
    Detail {
        points: 60,
        instances: 20,
        arms: 300,
        pictures: false,
    },
    Detail {
        points: 24,
        instances: 3,
        arms: 60,
        pictures: false,
    },
];

/// The page, at most `budget` bytes if that can be had by leaving out points and rows; what is left
/// out is said where it would stand.
pub fn page(study: &Study, budget: usize) -> String {
    within(budget, |detail| page_of(study, detail, Life::Still))
}

/// The page for somebody who watches: it asks whoever it came from for what is new.
pub fn live(study: &Study, budget: usize) -> String {
    within(budget, |detail| page_of(study, detail, Life::Live))
}

/// Whether a page stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Still,
    Live,
}

fn within(budget: usize, page: impl Fn(Detail) -> String) -> String {
    let mut text = String::new();
    for detail in DETAILS {
        text = page(detail);
        if text.len() <= budget {
            break;
        }
    }
    text
}

fn page_of(study: &Study, detail: Detail, life: Life) -> String {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text.as_bytes()));
    let (script, may_ask) = match life {
        Life::Still => (JS.replace(WATCH_PLACE, ""), ""),
        Life::Live => (JS.replace(WATCH_PLACE, WATCH_JS), " connect-src 'self';"),
    };
    // A page inside this one has the same policy, and styles of its own.
    let has_pages = study.made.iter().any(|made| made.media == Media::Html);
    let styles = match has_pages && detail.pictures {
        true => "'unsafe-inline'".to_owned(),
        false => format!("'sha256-{}'", hash(CSS)),
    };
    let mut t = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         {styles}; script-src 'sha256-{}';{may_ask} img-src data:; base-uri 'none'; form-action \
         'none'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} – report</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{CSS}</style>\n</head>\n<body>\n",
        hash(&script),
        escaped(&study.name)
    );
    let _ = write!(
        t,
        "<a class=\"skip\" href=\"#claims\">Skip to the claims</a>\n<header><h1>{}</h1>{}{}</header>\n",
        escaped(&study.name),
        paragraph(study.description.as_deref().unwrap_or("")),
        counts(study)
    );
    t.push_str("<nav aria-label=\"Sections\"><ul><li><a href=\"#claims\">Claims</a></li><li><a href=\"#figures\">Figures</a></li><li><a href=\"#stages\">Stages</a></li><li><a href=\"#runs\">Runs</a></li><li><a href=\"#again\">Run it again</a></li></ul></nav>\n<main>\n");
    if let Some(given) = &study.given {
        t.push_str(&paragraph(&given.remarks.join(" ")));
    }
    claims(&mut t, &study.claims);
    figures(&mut t, study, detail);
    stages(&mut t, study, detail);
    arms(&mut t, study, detail);
    again(&mut t, study);
    let _ = write!(
        t,
        "</main>\n<footer><p>Written by <code>repro report</code>. Intervals are at 95 % unless \
         a claim says otherwise. This page loads nothing from anywhere.</p></footer>\n<script>{script}</script>\n</body>\n</html>\n"
    );
    t
}

fn paragraph(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text => format!("<p>{}</p>", escaped(text)),
    }
}

/// What came out, in one line.
fn counts(study: &Study) -> String {
    let n = |verdict: Option<&str>| study.claims.iter().filter(|c| c.verdict == verdict).count();
    let mut items = Vec::new();
    for (verdict, word) in [
        (Some("holds"), "hold"),
        (Some("refuted"), "refuted"),
        (Some("inconclusive"), "inconclusive"),
        (None, "open"),
    ] {
        let n = n(verdict);
        if n > 0 {
            let claims = if n == 1 { "claim" } else { "claims" };
            let word = if n == 1 && word == "hold" {
                "holds"
            } else {
                word
            };
            items.push(format!("{n} {claims} {word}"));
        }
    }
    let all = || study.stages.iter().flat_map(|s| &s.instances);
    let cached = all().filter(|i| i.state == "cached").count();
    items.push(format!(
        "{cached} of {} instances have results",
        all().count()
    ));
    if let Some(given) = &study.given {
        items.push(format!("{} have values in {}", given.instances, given.file));
    }
    let spent: f64 = all().filter_map(|i| i.seconds).sum();
    if spent > 0.0 || study.given.is_none() {
        items.push(format!("{} of computation", duration(spent)));
    }
    items.extend(energy_in_all(all()));
    let items: String = items
        .iter()
        .map(|i| format!("<li>{}</li>", escaped(i)))
        .collect();
    format!("<ul class=\"sum\">{items}</ul>")
}

/// What executions used, where any is known.
fn energy_in_all<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Option<String> {
    let (mut joules, mut uncounted) = (0.0, "");
    for instance in instances {
        joules += instance.joules.unwrap_or(0.0);
        if instance.gpus_uncounted {
            uncounted = " without GPUs that are not counted";
        }
    }
    (joules > 0.0).then(|| energy(joules) + uncounted)
}

fn claims(t: &mut String, claims: &[Claim]) {
    t.push_str("<section aria-labelledby=\"claims\"><h2 id=\"claims\">Claims</h2>\n");
    if claims.is_empty() {
        t.push_str("<p>The study claims nothing.</p>");
    } else {
        t.push_str("<p class=\"faint small\">The bar is the interval, the point on it the estimate. Small points are observations, one for each repetition. A claim holds where the whole interval lies in the green area, is refuted where it lies outside, and is inconclusive otherwise. Of claims that are a family the corrected p decides.</p>\n");
    }
    for claim in claims {
        let verdict = claim.verdict.unwrap_or("open");
        let _ = write!(
            t,
            "<article class=\"claim {verdict}\" id=\"claim-{name}\"><div><h3>{name} <span class=\"v\">{verdict}</span></h3>",
            name = escaped(&claim.name),
        );
        let _ = write!(t, "<p>{}</p>", escaped(&summary(claim)));
        if let Some(source) = &claim.source {
            let _ = write!(t, "<p>The paper: {}</p>", escaped(source));
        }
        if let Some(note) = &claim.note {
            let _ = write!(t, "<p class=\"faint\">{}</p>", escaped(note));
        }
        if let Some(flipped) = &claim.flipped {
            let _ = write!(t, "<p class=\"flip\">{}</p>", escaped(flipped));
        }
        for line in [&claim.reason, &claim.committed].into_iter().flatten() {
            let _ = write!(t, "<p class=\"faint small\">{}</p>", escaped(line));
        }
        t.push_str("</div><div>");
        if let Some(drawing) = verdict::drawing(claim) {
            t.push_str(&svg(&drawing, Sheet::Page, ""));
        }
        if !claim.values.is_empty() {
            t.push_str("<details class=\"small\"><summary>Observations</summary><table><thead><tr><th scope=\"col\">repetition</th><th scope=\"col\" class=\"n\">value</th></tr></thead><tbody>");
            for (name, value) in claim.values.iter().take(200) {
                let name = if name.is_empty() { "all" } else { name };
                let _ = write!(
                    t,
                    "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td></tr>",
                    escaped(name),
                    signed(*value)
                );
            }
            t.push_str("</tbody></table></details>");
        }
        t.push_str("</div></article>\n");
    }
    t.push_str("</section>\n");
}

/// What came out of a claim, as a sentence.
pub fn summary(claim: &Claim) -> String {
    let mut text = format!("Expected: {}.", claim.expects);
    if let Some(estimate) = claim.estimate {
        let _ = write!(text, " Found: {}", signed(estimate));
        if let Some([low, high]) = claim.interval {
            let percent = claim.confidence.map_or(95.0, |c| c * 100.0);
            let _ = write!(
                text,
                ", {} % interval [{}, {}]",
                short(percent),
                signed(low),
                signed(high)
            );
        }
        let _ = write!(text, ", n = {}", claim.n);
        if let Some(effect) = &claim.effect {
            let _ = write!(text, ", {effect}");
        }
        text.push('.');
    } else if claim.verdict.is_none() {
        text.push_str(" No result yet.");
    }
    if let Some(sides) = &claim.sides {
        let _ = write!(
            text,
            " {}: {} in {}, {} in {}.",
            sides.of,
            short(sides.a),
            sides.a_name,
            short(sides.b),
            sides.b_name
        );
    }
    text
}

fn figures(t: &mut String, study: &Study, detail: Detail) {
    t.push_str("<section aria-labelledby=\"figures\"><h2 id=\"figures\">Figures</h2>\n");
    if study.figures.is_empty() && study.made.is_empty() {
        t.push_str("<p>Nothing to draw yet: no stage has a table of metrics with a result.</p>");
    }
    if let Some(given) = &study.given {
        t.push_str(&paragraph(&given.of_figures()));
    }
    for figure in &study.figures {
        let figure = figure.thinned(detail.points);
        let drawing = draw(&figure, &Style::default());
        let class = match figure.body {
            Body::Lines(_) => "curves",
            Body::Rows(_) => "rows",
            Body::Grid(_) => "grid",
        };
        let _ = write!(
            t,
            "<figure class=\"{class}\" id=\"fig-{}\"><figcaption><h3>{}</h3><p class=\"faint small\">{}</p></figcaption><div class=\"scroll\"><div class=\"narrow\">{}</div></div>",
            escaped(&figure.name),
            escaped(&figure.title),
            escaped(&figure.note),
            svg(&drawing, Sheet::Page, "")
        );
        if let Body::Lines(lines) = &figure.body {
            let frame = drawing.frame;
            let numbers = |values: &mut dyn Iterator<Item = f64>| -> Vec<serde_json::Value> {
                values.map(number).collect()
            };
            let series = lines.iter().map(|line| {
                let end = |at: usize| -> Vec<serde_json::Value> {
                    let ends = line.points.iter().map(|p| p.band.map(|b| b[at]));
                    ends.map(|e| e.map_or(serde_json::Value::Null, number))
                        .collect()
                };
                json!({
                    "l": line.label,
                    "x": numbers(&mut line.points.iter().map(|p| p.x)),
                    "m": numbers(&mut line.points.iter().map(|p| p.mean)),
                    "a": end(0),
                    "b": end(1),
                })
            });
            let data = json!({
                "s": series.collect::<Vec<_>>(),
                "plot": numbers(&mut frame.plot.into_iter()),
                "x": numbers(&mut frame.x.into_iter()),
                "y": numbers(&mut frame.y.into_iter()),
                "lx": figure.x.scale == Scale::Log,
                "ly": figure.y.scale == Scale::Log,
                "xl": figure.x.label,
                "yl": figure.y.label,
            });
            // Names of stages are the user's: nothing of them may end the element.
            let data = data.to_string().replace('<', "\\u003c");
            let _ = write!(t, "<script type=\"application/json\">{data}</script>");
        }
        t.push_str("<details class=\"small\"><summary>Numbers</summary><div class=\"scroll\">");
        numbers(t, &figure);
        t.push_str("</div></details></figure>\n");
    }
    for made in &study.made {
        t.push_str(&match detail.pictures {
            true => made.element(),
            false => made.left_out(),
        });
    }
    for undrawn in &study.undrawn {
        let _ = write!(
            t,
            "<p class=\"small\">{}</p>",
            escaped(&sentence(&undrawn.to_string()))
        );
    }
    for remark in &study.remarks {
        let _ = write!(t, "<p class=\"faint small\">{}</p>", escaped(remark));
    }
    t.push_str("</section>\n");
}

fn number(value: f64) -> serde_json::Value {
    plain(value)
        .parse::<f64>()
        .map_or(serde_json::Value::Null, |v| json!(v))
}

fn table(t: &mut String, caption: &str, head: &[String], rows: &[Vec<String>], csv: &str) {
    let _ = write!(
        t,
        "<table data-csv=\"{}\"><caption>{}</caption><thead><tr>",
        escaped(csv),
        escaped(caption)
    );
    for (i, name) in head.iter().enumerate() {
        let class = if i == 0 { "" } else { " class=\"n\"" };
        let _ = write!(t, "<th scope=\"col\"{class}>{}</th>", escaped(name));
    }
    t.push_str("</tr></thead><tbody>");
    for row in rows {
        t.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let (tag, class) = if i == 0 {
                ("th scope=\"row\"", "")
            } else {
                ("td", " class=\"n\"")
            };
            let end = if i == 0 { "th" } else { "td" };
            let _ = write!(t, "<{tag}{class}>{}</{end}>", escaped(cell));
        }
        t.push_str("</tr>");
    }
    t.push_str("</tbody></table>");
}

/// The numbers of a figure: curves side by side.
fn numbers(t: &mut String, figure: &Figure) {
    let csv = format!("{}.csv", figure.name);
    let Body::Lines(lines) = &figure.body else {
        let (head, rows) = figure.table();
        return table(t, &figure.title, &head, &rows, &csv);
    };
    let mut rows: BTreeMap<Ordered, Vec<String>> = BTreeMap::new();
    for (i, Line { points, .. }) in lines.iter().enumerate() {
        for p in points {
            let empty = || vec![String::new(); lines.len()];
            let cells = rows.entry(Ordered(p.x)).or_insert_with(empty);
            cells[i] = with_band(p.mean, p.band);
        }
    }
    let mut head = vec![figure.x.label.clone()];
    head.extend(lines.iter().map(|l| l.label.clone()));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(x, cells)| [short(x.0)].into_iter().chain(cells).collect())
        .collect();
    table(
        t,
        &format!("{}: mean ± half of the interval", figure.y.label),
        &head,
        &rows,
        &csv,
    );
}

fn stages(t: &mut String, study: &Study, detail: Detail) {
    let stages = &study.stages;
    t.push_str("<section aria-labelledby=\"stages\"><h2 id=\"stages\">Stages</h2>\n<p class=\"faint small\">A box is a stage, a square in it an instance: ");
    let states: Vec<&str> = graph::STATES
        .into_iter()
        .filter(|s| {
            stages
                .iter()
                .flat_map(|s| &s.instances)
                .any(|i| i.shade() == *s)
        })
        .collect();
    for state in states {
        let _ = write!(
            t,
            "<span><svg class=\"key\" aria-hidden=\"true\"><rect class=\"st-{state}\"/></svg>{}</span> ",
            match state {
                "elsewhere" => "made elsewhere",
                state => state,
            }
        );
    }
    t.push_str("</p>\n");
    if let Some(given) = &study.given {
        t.push_str(&paragraph(&given.of_stages()));
    }
    t.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Graph of the stages\">",
    );
    t.push_str(&graph::svg(stages));
    t.push_str("</div>\n");
    for (i, stage) in stages.iter().enumerate() {
        one_stage(t, i, stage, stages, detail);
    }
    t.push_str("</section>\n");
}

fn one_stage(t: &mut String, i: usize, stage: &Stage, all: &[Stage], detail: Detail) {
    let n = stage.instances.len();
    let cached = stage
        .instances
        .iter()
        .filter(|i| i.state == "cached")
        .count();
    let spent: f64 = stage.instances.iter().filter_map(|i| i.seconds).sum();
    let instances = if n == 1 { "instance" } else { "instances" };
    let _ = write!(
        t,
        "<details class=\"stage\" id=\"stage-{i}\"><summary>{} <span class=\"faint\">{}, {n} {instances}, {cached} with a result, {}</span></summary>",
        escaped(&stage.name),
        escaped(&stage.kind),
        duration(spent)
    );
    t.push_str(&paragraph(stage.description.as_deref().unwrap_or("")));
    let mut inputs: Vec<String> = stage
        .needs
        .iter()
        .map(|(from, names)| {
            let from_name = escaped(&all[*from].name);
            format!(
                "{} from <a href=\"#stage-{from}\">{from_name}</a>",
                escaped(&names.join(", "))
            )
        })
        .collect();
    inputs.extend(
        stage
            .files
            .iter()
            .map(|f| format!("<code>{}</code>", escaped(f))),
    );
    if !inputs.is_empty() {
        let _ = write!(t, "<p>Takes {}.</p>", inputs.join("; "));
    }
    let most = |get: fn(&Instance) -> Option<f64>| {
        stage
            .instances
            .iter()
            .filter_map(get)
            .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))))
    };
    let mut facts = Vec::new();
    if let Some(longest) = most(|i| i.seconds) {
        facts.push(format!("longest {}", duration(longest)));
    }
    if let Some(memory) = most(|i| i.memory) {
        facts.push(format!("largest process {}", bytes(memory as u64)));
    }
    let spent = energy_in_all(&stage.instances);
    facts.extend(spent.map(|energy| format!("{energy} in all")));
    if !facts.is_empty() {
        let _ = write!(t, "<p>{}.</p>", facts.join(", "));
    }
    t.push_str("<ul class=\"small\">");
    for line in &stage.why {
        let _ = write!(t, "<li>{}</li>", escaped(line));
    }
    t.push_str("</ul>");
    if !stage.params.is_empty() {
        let what = if stage.kind == "command" {
            "Command"
        } else {
            "Parameters"
        };
        let _ = write!(
            t,
            "<details><summary>{what} of the first instance</summary><pre tabindex=\"0\">{}</pre></details>",
            escaped(&stage.params)
        );
    }
    if let Some(log) = &stage.log {
        let _ = write!(
            t,
            "<details><summary>End of the log of the first instance</summary><pre tabindex=\"0\">{}</pre></details>",
            escaped(log)
        );
    }
    if let Some(first) = stage.instances.first() {
        for command in ["show", "why", "verify"] {
            let _ = write!(
                t,
                "<p class=\"small\"><code data-copy>repro {command} '{}'</code></p>",
                escaped(&first.name)
            );
        }
    }
    let has_devices = stage.instances.iter().any(|i| i.device.is_some());
    let device = |of: &str| has_devices.then(|| of.to_owned());
    let head = ["instance", "state", "key", "time", "memory", "energy"];
    let head = head.into_iter().map(str::to_owned).chain(device("device"));
    let head: Vec<String> = head.chain(["from".to_owned()]).collect();
    let rows: Vec<Vec<String>> = stage
        .instances
        .iter()
        .take(detail.instances)
        .map(|i| {
            let cells = vec![
                i.name.clone(),
                i.state.to_owned(),
                i.key.clone(),
                i.seconds.map(duration).unwrap_or_default(),
                i.memory.map(|m| bytes(m as u64)).unwrap_or_default(),
                energy_in_all([i]).unwrap_or_default(),
            ];
            let cells = cells
                .into_iter()
                .chain(device(i.device.as_deref().unwrap_or_default()));
            let from = i.origin.clone().unwrap_or_else(|| "here".to_owned());
            cells.chain([from]).collect()
        })
        .collect();
    let caption = match n > rows.len() {
        true => format!(
            "The first {} of {n} instances; repro status lists all",
            rows.len()
        ),
        false => "Instances".to_owned(),
    };
    t.push_str("<details><summary>Instances</summary><div class=\"scroll\">");
    table(t, &caption, &head, &rows, "instances.csv");
    t.push_str("</div></details></details>\n");
}

fn arms(t: &mut String, study: &Study, detail: Detail) {
    t.push_str("<section aria-labelledby=\"runs\"><h2 id=\"runs\">Runs</h2>\n");
    if study.arms.is_empty() {
        t.push_str("<p>No result has a table of metrics yet.</p></section>\n");
        return;
    }
    let columns = Table::of(&study.arms, &study.asked);
    t.push_str("<p class=\"faint small\">Last values: mean ± half of the 95 % interval over repetitions. Runs that differ only in what repeats the experiment are one row.");
    if !columns.hidden.is_empty() {
        let _ = write!(t, " Not shown: {}.", escaped(&columns.hidden.join(", ")));
    }
    if study.arms.len() > detail.arms {
        let _ = write!(
            t,
            " The first {} of {} rows; repro metrics has all.",
            detail.arms,
            study.arms.len()
        );
    }
    t.push_str("</p>\n<div class=\"scroll\"><table data-csv=\"runs.csv\"><caption>Runs</caption><thead><tr><th scope=\"col\">stage</th>");
    for axis in &columns.axes {
        let _ = write!(t, "<th scope=\"col\">{}</th>", escaped(axis));
    }
    t.push_str("<th scope=\"col\" class=\"n\">n</th>");
    for metric in &columns.metrics {
        let _ = write!(t, "<th scope=\"col\" class=\"n\">{}</th>", escaped(metric));
    }
    t.push_str("</tr></thead><tbody>");
    for arm in study.arms.iter().take(detail.arms) {
        let _ = write!(t, "<tr><th scope=\"row\">{}</th>", escaped(&arm.stage));
        for axis in &columns.axes {
            let _ = write!(
                t,
                "<td>{}</td>",
                escaped(arm.axis(axis).unwrap_or_default())
            );
        }
        let _ = write!(t, "<td class=\"n\">{}</td>", arm.n);
        for metric in &columns.metrics {
            let _ = match arm.metrics.get(metric) {
                Some(m) => write!(
                    t,
                    "<td class=\"n\" data-v=\"{v}\" data-c=\"{v}\">{}</td>",
                    with_band(m.mean, m.band),
                    v = plain(m.mean)
                ),
                None => write!(t, "<td class=\"n\"></td>"),
            };
        }
        t.push_str("</tr>");
    }
    t.push_str("</tbody></table></div></section>\n");
}

fn again(t: &mut String, study: &Study) {
    // What a command computes is its own program's to repeat.
    let bits = match study.stages.iter().any(|stage| stage.kind == "command") {
        true => {
            "Built-in kinds give the same bits from the same inputs; a command does if its program does."
        }
        false => "The same stages with the same inputs give the same bits.",
    };
    let _ = write!(
        t,
        "<section aria-labelledby=\"again\"><h2 id=\"again\">Run it again</h2>\n<p>{bits} These commands run the study, show the verdicts, and check one result by executing it once more:</p>\n"
    );
    for command in &study.commands {
        let _ = writeln!(t, "<p><code data-copy>{}</code></p>", escaped(command));
    }
    t.push_str("</section>\n");
}
