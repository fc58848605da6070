//! `repro diff`: what two runs, commits or instances have different.

mod pair;
mod remote;
mod sets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::sharing::network;
use super::tables::{TableArgs, by_instance};
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::cell::Cell;
use crate::ui::style::Colour;
use crate::ui::table::{Column, Table};
use crate::ui::{notices, stage_of};
use repro_engine::change::in_words;
use repro_engine::exchange::Which;
use repro_engine::plan::Plan;
use repro_engine::record::event::{Change, Verdict};
use repro_engine::record::lockfile::LockFile;
use repro_engine::results::diff::remote::{PREFIX, of_remote};
use repro_engine::results::diff::{self, ClaimDiff, Compared, Diff, Difference, InstanceDiff};

/// Compare two runs, commits or instances: what was changed, and what came of it.
///
/// Of runs and commits, the changes made by hand come first, then what follows from them, then the
/// verdicts of claims. Instances of one stage that changed for the same reason are shown together,
/// with the means of their metrics.
///
/// A and B are runs (`last`, `last-1`, or the beginning of a name in `repro log`), commits
/// (`HEAD~1`, a branch) with a repro.lock, or two instances (`'scratch[seed=0]' 'warm[seed=0]'`).
/// Two instances are shown side by side: fields of their keys, all metrics, and of models every
/// tensor with both norms, the norm of the difference and the cosine.
///
/// A and B may also be sets of instances: `'train[lr=0.1,*]' 'train[lr=0.01,*]'`, or two stages.
/// Each metric is shown with its mean on both sides and the difference of pairs that agree in what
/// repeats the experiment (the seed, and the axes that claims name in `over`), each with half of
/// its 95 % interval. Whatever else a set has several of is averaged first.
///
/// A may also be a remote, `remote:NAME` (`remote:` is the default one): what is here is compared
/// with what it has under the same keys, of B or of everything. What is only here, only there, or
/// has other bytes there is shown, and who vouches for it. Nothing is fetched or published.
///
/// Without arguments, the last two runs are compared. A run alone is compared with the last one, a
/// commit alone with the present repro.lock. With --lock, an earlier lock file (`-` is standard
/// input) is compared with the present one.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// The earlier run or commit, or instances; by default `last-1`.
    #[arg(value_name = "A", conflicts_with = "lock")]
    a: Option<String>,
    /// The later one; by default `last`.
    #[arg(value_name = "B", conflicts_with = "lock")]
    b: Option<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Compare this lock file with repro.lock; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Show every instance and every input, instead of one entry for all that changed in the same
    /// way.
    #[arg(long)]
    all: bool,
    /// Never use the network: leave out metrics that are only on a remote.
    #[arg(long)]
    offline: bool,
    /// Write one object: a, b, instances, claims. Of two instances: a, b, fields, metrics, outputs.
    /// Of sets: a, b, metrics. Of a remote: remote, same, neither, unknown, instances.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    table: TableArgs,
}

/// Changed inputs of one instance that are shown.
const INPUTS_SHOWN: usize = 6;

/// Runs the command.
pub fn main(context: &Context, args: &DiffArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    if let Some(name) = args.a.as_deref().and_then(|a| a.strip_prefix(PREFIX)) {
        anyhow::ensure!(!args.offline, "a remote cannot be asked with --offline");
        let name = Some(name).filter(|name| !name.is_empty());
        let which = Which::named(name, None)?;
        let of = Vec::from_iter(args.b.clone());
        let diff = of_remote(&session, &of, &which, &mut notices())?;
        return remote::show(&session.plan, &diff, args);
    }
    let network = network(args.offline);
    let diff = match &args.lock {
        Some(file) => {
            let (old, name) = other_lock(file)?;
            diff::of_lock(&session, old, &name, network, &mut notices())?
        }
        None => {
            let (a, b) = (args.a.as_deref(), args.b.as_deref());
            match diff::of_names(&session, a, b, network, &mut notices())? {
                Compared::Sides(diff) => diff,
                Compared::Instances(pair) => return pair::show(&pair, args),
                Compared::Sets(sets) => return sets::show(context, &session, sets, args),
            }
        }
    };
    for other in &diff.others {
        crate::say!("warning: {other}; `repro log` lists runs, and `-C FILE` chooses the pipeline");
    }
    if let Some(left_out) = &diff.left_out {
        crate::say!(
            "warning: {} tables of metrics are on the remote only and are left out ({}); `repro pull STAGE` gets them",
            left_out.tables,
            left_out.why
        );
    }
    if args.json {
        output::json(&diff)?;
    } else if args.table.is_for_terminal() {
        args.table.refuse_sort()?;
        output::text(&render(&diff, args.all))?;
    } else {
        args.table
            .write(tables(&session.plan, &diff), "no difference\n")?;
    }
    Ok(Exit::Done)
}

/// A lock file and its name; `-` is standard input.
fn other_lock(file: &Path) -> anyhow::Result<(LockFile, String)> {
    if file.as_os_str() != "-" {
        anyhow::ensure!(file.is_file(), "there is no file `{}`", file.display());
        return Ok((LockFile::read(file)?, file.display().to_string()));
    }
    let mut copy = tempfile::NamedTempFile::new()?;
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    copy.write_all(&text)?;
    Ok((LockFile::read(copy.path())?, "standard input".to_owned()))
}

/// Metrics of each instance and verdicts that differ, side by side.
fn tables(plan: &Plan, diff: &Diff) -> Vec<Table> {
    let mut tables = Vec::new();
    let metrics = diff.instances.iter();
    let rows = metrics.flat_map(|i| i.metrics.iter().map(|m| (&*i.instance, pair::metric(m))));
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        let columns = pair::columns("a", "b");
        tables.push(by_instance(plan, columns, rows.into_iter()));
    }
    if !diff.claims.is_empty() {
        let mut table = Table::new(vec![
            Column::new("claim").naming(),
            Column::new("verdict a").fields(["verdict_a"]),
            Column::new("verdict b").fields(["verdict_b"]),
            Column::figure("estimate a").fields(["estimate_a"]),
            Column::figure("estimate b").fields(["estimate_b"]),
        ]);
        for claim in &diff.claims {
            let verdict = |v: Option<Verdict>| Cell::text(v.map_or("", Verdict::word));
            let number = |x: Option<f64>| x.map_or_else(Cell::empty, Cell::number);
            table.push(vec![
                Cell::text(&claim.name),
                verdict(claim.a),
                verdict(claim.b),
                number(claim.estimate_a),
                number(claim.estimate_b),
            ]);
        }
        tables.push(table);
    }
    tables
}

/// For people: what changed and why, what follows from it, metrics, verdicts. Instances of one
/// stage with one cause are shown together, unless all are asked for.
fn render(diff: &Diff, all: bool) -> String {
    let colour = output::colour();
    let mut text = format!("{} → {}\n", diff.a, diff.b);
    if diff.instances.is_empty() && diff.claims.is_empty() {
        text.push_str("no difference\n");
    }
    let mut groups = grouped(&diff.instances, all);
    // What a person did comes before what followed from it; what claims compute is told by their
    // verdicts.
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
    let verdict = |v: Option<Verdict>| v.map_or("no verdict", Verdict::word);
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

/// Instances of one stage that changed for the same cause.
struct Group<'a> {
    members: Vec<&'a InstanceDiff>,
}

/// Fields of the instance's own: those that are not inputs.
fn own_fields(diff: &InstanceDiff) -> impl Iterator<Item = &Change> {
    let is_own = |c: &&Change| !c.field.starts_with("inputs.");
    diff.fields.iter().filter(is_own)
}

/// Wordings of one cause that are shown one by one.
const WORDINGS: usize = 3;

/// Groups changes as a dry run does: by the fields that changed. If there are few wordings of a
/// change, each is shown. If there are many (a command that holds a matrix value has one for each
/// instance), the first is shown as an example.
fn grouped(instances: &[InstanceDiff], all: bool) -> Vec<Group<'_>> {
    let one = |diff| Group {
        members: vec![diff],
    };
    if all {
        return instances.iter().map(one).collect();
    }
    let mut groups = Vec::new();
    for (_, members) in by(instances.iter().collect(), cause) {
        let worded = by(members.clone(), wording);
        match worded.len() <= WORDINGS {
            true => groups.extend(worded.into_iter().map(|(_, members)| Group { members })),
            false => groups.push(Group { members }),
        }
    }
    groups
}

/// Members that agree, in the order in which they first appear.
fn by(
    all: Vec<&InstanceDiff>,
    key: fn(&InstanceDiff) -> String,
) -> Vec<(String, Vec<&InstanceDiff>)> {
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<(String, Vec<&InstanceDiff>)> = Vec::new();
    for diff in all {
        let key = key(diff);
        let place = *at.entry(key.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, members)) => members.push(diff),
            None => groups.push((key, vec![diff])),
        }
    }
    groups
}

/// The stage, and which of its fields and inputs changed: not which instance of a gathered stage.
fn cause(diff: &InstanceDiff) -> String {
    let mut text = format!("{} {}", stage_of(&diff.instance), diff.change.words());
    for change in &diff.fields {
        text.push_str(&format!(" {}", stage_of(&change.field)));
    }
    text
}

/// How the instance's own fields changed.
fn wording(diff: &InstanceDiff) -> String {
    let words: Vec<String> = own_fields(diff).map(in_words).collect();
    words.join("\n")
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
            Difference::New | Difference::Gone => 1,
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
            first.change.words()
        ));
        if many {
            let (a, z) = (
                &first.instance,
                &self.members[self.members.len() - 1].instance,
            );
            text.push_str(&colour.dim(&format!("    {a} … {z}\n")));
            let differ = self.members.iter().any(|m| wording(m) != wording(first));
            for change in own_fields(first) {
                let example = if differ { "e.g. " } else { "" };
                text.push_str(&format!("    {example}{}\n", in_words(change)));
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
            text.push_str(&format!("    {}\n", in_words(change)));
        }
        for change in inputs.iter().take(INPUTS_SHOWN) {
            text.push_str(&format!("    {}\n", in_words(change)));
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

    /// For every metric the mean over the instances that have it on both sides.
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
