//! `repro diff`: what two runs, or a lock file and now, have different.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::sharing::{Network, bring};
use super::{Context, Exit, PipelineArgs, metrics, open, output};
use crate::ui::stage_of;
use crate::ui::style::Colour;
use repro_engine::digest::{Content, Shape};
use repro_engine::explain;
use repro_engine::record::event::{Change, ClaimResult, Verdict};
use repro_engine::record::history::{self, Left, Run};
use repro_engine::record::journal;
use repro_engine::record::lockfile::LockFile;
use repro_engine::session::Session;

/// Compare two runs: changed keys and outputs, the fields that changed them, metrics, and verdicts.
///
/// First what was changed by hand, then what followed from it, then the verdicts of claims. Instances of one stage that changed
/// for the same cause are told together, with the means of their metrics.
///
/// Without arguments the last two runs. With one, that run and the last one. With --lock a lock file of another time
/// (`git show HEAD~1:repro.lock | repro diff --lock -`) and the present one.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// The earlier run (`last-1` when absent).
    #[arg(value_name = "RUN_A", conflicts_with = "lock")]
    a: Option<String>,
    /// The later run (`last` when absent).
    #[arg(value_name = "RUN_B", conflicts_with = "lock")]
    b: Option<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Compare this lock file with repro.lock; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Every instance and every input, instead of one entry for all that changed in the same way.
    #[arg(long)]
    all: bool,
    /// Never use the network: leave out metrics that are on a remote only.
    #[arg(long)]
    offline: bool,
    /// Write one object: a, b, instances, claims.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Diff {
    a: String,
    b: String,
    instances: Vec<InstanceDiff>,
    claims: Vec<ClaimDiff>,
}

#[derive(Serialize)]
struct InstanceDiff {
    instance: String,
    change: &'static str,
    fields: Vec<Change>,
    /// Names of the outputs that differ.
    outputs: Vec<String>,
    metrics: Vec<MetricDiff>,
}

#[derive(Serialize)]
struct MetricDiff {
    name: String,
    a: Option<f64>,
    b: Option<f64>,
}

#[derive(Serialize)]
struct ClaimDiff {
    name: String,
    a: Option<Verdict>,
    b: Option<Verdict>,
    estimate_a: Option<f64>,
    estimate_b: Option<f64>,
}

/// Changed inputs of one instance that are told.
const INPUTS_SHOWN: usize = 6;

/// One side: key and outputs as texts, by instance.
struct Side {
    key: String,
    outputs: BTreeMap<String, String>,
}

impl Side {
    /// An output with its size, by what is known of the key.
    fn content(&self, session: &Session, name: &str) -> Option<Content> {
        let record = session.any_record(&self.key.parse().ok()?)?;
        let content = record.outputs.get(name)?;
        (self.outputs.get(name) == Some(&content.to_string())).then_some(*content)
    }
}

/// Runs the command.
pub fn main(context: &Context, args: &DiffArgs) -> anyhow::Result<Exit> {
    let session = open::session(context, &args.pipeline)?;
    let diff = match &args.lock {
        Some(file) => of_locks(&session, file, Network::unless(args.offline))?,
        None => of_runs(&session, args)?,
    };
    if args.json {
        output::json(&diff)?;
    } else {
        output::text(&render(&diff, args.all))?;
    }
    Ok(Exit::Done)
}

fn of_locks(session: &Session, file: &std::path::Path, network: Network) -> anyhow::Result<Diff> {
    let (old, name) = if file.as_os_str() == "-" {
        let mut copy = tempfile::NamedTempFile::new()?;
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text)?;
        std::io::Write::write_all(&mut copy, &text)?;
        (LockFile::read(copy.path())?, "standard input".to_owned())
    } else {
        anyhow::ensure!(file.is_file(), "there is no file `{}`", file.display());
        (LockFile::read(file)?, file.display().to_string())
    };
    let new = LockFile::read(&session.project.lock_file())?;
    let side = |lock: LockFile| {
        lock.blocks
            .into_iter()
            .map(|(id, b)| {
                (
                    id,
                    Side {
                        key: b.key.hex(),
                        outputs: b.outputs,
                    },
                )
            })
            .collect()
    };
    let (old, new) = (side(old), side(new));
    bring_tables(session, &old, &new, network)?;
    Ok(Diff {
        a: name,
        b: "repro.lock".into(),
        instances: compare(session, &old, &new),
        claims: Vec::new(),
    })
}

fn of_runs(session: &Session, args: &DiffArgs) -> anyhow::Result<Diff> {
    let dir = session.runs_dir();
    let runs = journal::list(&dir)?;
    anyhow::ensure!(
        runs.len() >= 2 || args.a.is_some(),
        "{} runs are recorded here; two are needed",
        runs.len()
    );
    let a = history::named(&runs, args.a.as_deref().unwrap_or("last-1"))?;
    let b = history::named(&runs, args.b.as_deref().unwrap_or("last"))?;
    let side = |run: &str| -> anyhow::Result<BTreeMap<String, Side>> {
        let left = history::results_after(&dir, &runs, run)?;
        Ok(left
            .into_iter()
            .map(|(id, left)| (id, recorded(session, left)))
            .collect())
    };
    let claims = |run: &str| -> anyhow::Result<Vec<ClaimResult>> {
        Ok(Run::read_ends(&dir, run)?
            .summary()
            .map(|s| s.claims.clone())
            .unwrap_or_default())
    };
    let (claims_a, claims_b) = (claims(a)?, claims(b)?);
    let names: BTreeSet<&str> = claims_a
        .iter()
        .chain(&claims_b)
        .map(|c| c.name.as_str())
        .collect();
    let claims = names.into_iter().map(|name| {
        let of = |claims: &[ClaimResult]| {
            claims
                .iter()
                .find(|c| c.name == name)
                .map(|c| (c.verdict, c.estimate))
        };
        let (a, b) = (of(&claims_a), of(&claims_b));
        ClaimDiff {
            name: name.to_owned(),
            a: a.map(|c| c.0),
            b: b.map(|c| c.0),
            estimate_a: a.and_then(|c| c.1),
            estimate_b: b.and_then(|c| c.1),
        }
    });
    let claims = claims
        .filter(|c| c.a != c.b || c.estimate_a != c.estimate_b)
        .collect();
    let (old, new) = (side(a)?, side(b)?);
    bring_tables(session, &old, &new, Network::unless(args.offline))?;
    Ok(Diff {
        a: a.to_owned(),
        b: b.to_owned(),
        instances: compare(session, &old, &new),
        claims,
    })
}

fn recorded(session: &Session, left: Left) -> Side {
    let outputs = left.outputs.or_else(|| {
        session
            .any_record(&left.key.parse().ok()?)
            .map(|r| r.outputs)
    });
    Side {
        key: left.key,
        outputs: outputs
            .unwrap_or_default()
            .into_iter()
            .map(|(name, content)| (name, content.to_string()))
            .collect(),
    }
}

/// Gets the tables that differ and are known to be elsewhere, and says which cannot be had.
fn bring_tables(
    session: &Session,
    a: &BTreeMap<String, Side>,
    b: &BTreeMap<String, Side>,
    network: Network,
) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    for (id, side) in a.iter().chain(b) {
        for name in side.outputs.keys() {
            let differs = a.get(id).and_then(|s| s.outputs.get(name))
                != b.get(id).and_then(|s| s.outputs.get(name));
            if differs
                && metrics::is_table(name, path_of(session, id, name).as_deref())
                && let Some(content) = side.content(session, name)
            {
                wanted.push(content);
            }
        }
    }
    let failed = bring(session, wanted, network)?;
    if let Some(why) = failed.values().next() {
        crate::say!(
            "warning: {} tables of metrics are on the remote only and are left out ({why}); `repro pull STAGE` gets them",
            failed.len()
        );
    }
    Ok(())
}

/// Where an output of the present plan appears.
fn path_of(session: &Session, id: &str, output: &str) -> Option<String> {
    let instance = session.plan.instances.iter().find(|i| *i.id == *id)?;
    let spec = instance.outputs.iter().find(|o| *o.name == *output)?;
    Some(spec.path.to_string())
}

fn compare(
    session: &Session,
    a: &BTreeMap<String, Side>,
    b: &BTreeMap<String, Side>,
) -> Vec<InstanceDiff> {
    let ids: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let mut diffs = Vec::new();
    for id in ids {
        let (old, new) = (a.get(id), b.get(id));
        let empty = BTreeMap::new();
        let (old_outputs, new_outputs) = (
            old.map_or(&empty, |s| &s.outputs),
            new.map_or(&empty, |s| &s.outputs),
        );
        let names: BTreeSet<&String> = old_outputs.keys().chain(new_outputs.keys()).collect();
        let outputs: Vec<String> = names
            .into_iter()
            .filter(|n| old_outputs.get(*n) != new_outputs.get(*n))
            .cloned()
            .collect();
        let same_key = old.map(|s| &s.key) == new.map(|s| &s.key);
        if same_key && outputs.is_empty() {
            continue;
        }
        let change = match (old, new) {
            (None, _) => "new",
            (_, None) => "gone",
            _ if outputs.is_empty() => "other key, same outputs",
            _ if same_key => "same key, other outputs",
            _ => "changed",
        };
        let preimage =
            |side: Option<&Side>| side.and_then(|s| session.preimage(&s.key.parse().ok()?));
        let fields = match (preimage(old), preimage(new)) {
            (Some(old), Some(new)) => explain::changes(&old, &new),
            _ => Vec::new(),
        };
        let metrics = outputs
            .iter()
            .map(|name| (name, path_of(session, id, name)))
            .filter(|(name, path)| metrics::is_table(name, path.as_deref()))
            .flat_map(|(name, path)| {
                let sides = (old_outputs.get(name), new_outputs.get(name));
                metric_diffs(session, (name, path.as_deref()), sides)
            })
            .collect();
        diffs.push(InstanceDiff {
            instance: id.clone(),
            change,
            fields,
            outputs,
            metrics,
        });
    }
    diffs
}

/// Last values that differ; a table that is no longer in the store has none.
fn metric_diffs(
    session: &Session,
    named: (&str, Option<&str>),
    (a, b): (Option<&String>, Option<&String>),
) -> Vec<MetricDiff> {
    let values = |text: Option<&String>| -> BTreeMap<String, f64> {
        let digest = text
            .and_then(|t| {
                t.strip_prefix("file:")
                    .or_else(|| t.strip_prefix("program:"))
            })
            .and_then(|hex| hex.parse().ok());
        let rows = digest.and_then(|digest| {
            metrics::read(
                session,
                &Content {
                    shape: Shape::File,
                    digest,
                    bytes_total: 0,
                },
                named,
            )
            .ok()
        });
        let name = |row: &repro_protocol::table::Row| {
            let parts = [
                row.run.clone(),
                row.stage.clone(),
                row.seed.map(|s| format!("seed={s}")),
                Some(metrics::full_name(row)),
            ];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        metrics::last(rows.unwrap_or_default())
            .into_iter()
            .map(|row| (name(&row), row.value))
            .collect()
    };
    let (a, b) = (values(a), values(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let diff = |name: &String| MetricDiff {
        name: name.clone(),
        a: a.get(name).copied(),
        b: b.get(name).copied(),
    };
    names
        .into_iter()
        .filter(|n| a.get(*n).map(|x| x.to_bits()) != b.get(*n).map(|x| x.to_bits()))
        .map(diff)
        .collect()
}

/// For people: what changed and why, what follows from it, metrics, verdicts. Instances of one stage with one cause are told
/// together, unless all are asked for.
fn render(diff: &Diff, all: bool) -> String {
    let colour = output::colour();
    let mut text = format!("{} → {}\n", diff.a, diff.b);
    if diff.instances.is_empty() && diff.claims.is_empty() {
        text.push_str("no difference\n");
    }
    let mut groups = grouped(&diff.instances, all);
    // What a person did comes before what followed from it; what claims compute is told by their verdicts.
    groups.sort_by_key(|group| group.rank());
    let mut is_shortened = false;
    for group in &groups {
        is_shortened |= group.render(&mut text, colour);
    }
    for claim in &diff.claims {
        text.push_str(&claim_line(claim, colour));
    }
    if is_shortened {
        text.push_str(&colour.dim("(`--all` shows every instance)"));
        text.push('\n');
    }
    text
}

fn claim_line(claim: &ClaimDiff, colour: Colour) -> String {
    let verdict = |v: Option<Verdict>| match v {
        Some(Verdict::Holds) => "holds",
        Some(Verdict::Refuted) => "refuted",
        Some(Verdict::Inconclusive) => "inconclusive",
        None => "no verdict",
    };
    let number = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), |x| format!("{x:+.4}"));
    let estimates = format!(
        "{} → {}",
        number(claim.estimate_a),
        number(claim.estimate_b)
    );
    let verdicts = match claim.a == claim.b {
        true => format!("{} as before", verdict(claim.b)),
        false => colour.bold(&format!("{} → {}", verdict(claim.a), verdict(claim.b))),
    };
    format!(
        "claim {}: {verdicts}, estimate {estimates}\n",
        colour.bold(&claim.name)
    )
}

/// Instances of one stage that changed in the same way and for the same cause.
struct Group<'a> {
    members: Vec<&'a InstanceDiff>,
}

/// Fields of the instance's own: those that are no inputs.
fn own_fields(diff: &InstanceDiff) -> impl Iterator<Item = &Change> {
    let is_own = |c: &&Change| !c.field.starts_with("inputs.");
    diff.fields.iter().filter(is_own)
}

fn grouped(instances: &[InstanceDiff], all: bool) -> Vec<Group<'_>> {
    let mut groups: Vec<(String, Group)> = Vec::new();
    for diff in instances {
        let mut id = format!("{} {}", stage_of(&diff.instance), diff.change);
        for change in &diff.fields {
            // Digests of inputs differ from instance to instance; which inputs they are does not.
            match change.field.starts_with("inputs.") {
                true => id.push_str(&format!(" {}", stage_of(&change.field))),
                false => id.push_str(&format!(" {}", crate::ui::change::render(change))),
            }
        }
        match groups.iter_mut().find(|(other, _)| *other == id && !all) {
            Some((_, group)) => group.members.push(diff),
            None => groups.push((
                id,
                Group {
                    members: vec![diff],
                },
            )),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

impl Group<'_> {
    fn first(&self) -> &InstanceDiff {
        self.members[0]
    }

    fn is_claim(&self) -> bool {
        self.first().instance.starts_with("claim:")
    }

    /// Own changes, new and gone ones, what follows, claims.
    fn rank(&self) -> u8 {
        let first = self.first();
        match first.change {
            _ if self.is_claim() => 3,
            "new" | "gone" => 1,
            _ if own_fields(first).next().is_some() => 0,
            _ => 2,
        }
    }

    /// Whether something was left out.
    fn render(&self, text: &mut String, colour: Colour) -> bool {
        let first = self.first();
        let outputs = match first.outputs.is_empty() {
            true => String::new(),
            false => format!(" ({})", first.outputs.join(", ")),
        };
        let many = self.members.len() > 1;
        let name = match many {
            true => format!(
                "{} instances of {}",
                self.members.len(),
                stage_of(&first.instance)
            ),
            false => first.instance.clone(),
        };
        text.push_str(&format!(
            "{}: {}{outputs}\n",
            colour.bold(&name),
            first.change
        ));
        if many {
            let (a, z) = (
                &first.instance,
                &self.members[self.members.len() - 1].instance,
            );
            text.push_str(&colour.dim(&format!("    {a} … {z}\n")));
            for change in own_fields(first) {
                text.push_str(&format!("    {}\n", crate::ui::change::render(change)));
            }
            let inputs: BTreeSet<&str> = first
                .fields
                .iter()
                .filter(|c| c.field.starts_with("inputs."))
                .map(|c| stage_of(&c.field))
                .collect();
            for input in inputs {
                text.push_str(&format!("    {input}: changed\n"));
            }
            self.render_means(text);
            return true;
        }
        let (inputs, own): (Vec<&Change>, Vec<&Change>) = first
            .fields
            .iter()
            .partition(|c| c.field.starts_with("inputs."));
        for change in own {
            text.push_str(&format!("    {}\n", crate::ui::change::render(change)));
        }
        for change in inputs.iter().take(INPUTS_SHOWN) {
            text.push_str(&format!("    {}\n", crate::ui::change::render(change)));
        }
        if inputs.len() > INPUTS_SHOWN {
            text.push_str(&format!(
                "    … and {} more inputs\n",
                inputs.len() - INPUTS_SHOWN
            ));
        }
        for metric in &first.metrics {
            text.push_str(&metric_line(&metric.name, metric.a, metric.b, ""));
        }
        false
    }

    /// Of every metric the mean over the instances that have it on both sides.
    fn render_means(&self, text: &mut String) {
        // A seed tells the members apart, as their names do.
        let without_seed = |name: &str| -> String {
            let words = name.split(' ').filter(|word| !word.starts_with("seed="));
            words.collect::<Vec<_>>().join(" ")
        };
        let mut sums: BTreeMap<String, (f64, f64, u32)> = BTreeMap::new();
        for metric in self.members.iter().flat_map(|m| &m.metrics) {
            if let (Some(a), Some(b)) = (metric.a, metric.b) {
                let sum = sums.entry(without_seed(&metric.name)).or_default();
                *sum = (sum.0 + a, sum.1 + b, sum.2 + 1);
            }
        }
        for (name, (a, b, n)) in sums {
            let mean = |sum: f64| Some(sum / f64::from(n));
            let over = format!(", mean over {n}");
            text.push_str(&metric_line(&name, mean(a), mean(b), &over));
        }
    }
}

fn metric_line(name: &str, a: Option<f64>, b: Option<f64>, over: &str) -> String {
    let value = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), |v| format!("{v:.4}"));
    let by = a
        .zip(b)
        .map(|(a, b)| format!(" ({:+.4})", b - a))
        .unwrap_or_default();
    format!("    {name}: {} → {}{by}{over}\n", value(a), value(b))
}
