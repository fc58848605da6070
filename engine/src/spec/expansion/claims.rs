//! The instances of claims: one for each look, and what else reads runs whose number a claim
//! decides.
//!
//! The other half of [`Expander`]: what only claims have.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::making::{Expander, Making};
use crate::plan::{Axes, AxisValue, Claim, InstanceIndex, Look, Need, Source};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::tying::claims::ClaimDef;
use crate::spec::tying::consumer::Consumer;
use crate::spec::tying::number::{First, Number};
use crate::spec::tying::work::{KindWork, Work};

/// The axis that tells the looks of a claim apart.
const REPETITIONS: &str = "n";

/// A claim that is made, with what is checked when all are.
struct Made {
    claim: Claim,
    key: Span,
    /// It reads all repetitions, whoever decides how many these are.
    reads_all: bool,
}

impl Expander<'_, '_> {
    /// Makes the instances of all claims.
    pub fn claims(&mut self, claims: Vec<ClaimDef>) -> Vec<Claim> {
        let made: Vec<Made> = claims.into_iter().map(|claim| self.claim(claim)).collect();
        self.check_numbers(&made);
        made.into_iter().map(|made| made.claim).collect()
    }

    fn claim(&mut self, claim: ClaimDef) -> Made {
        let consumer = Consumer {
            stage: None,
            name: &claim.instance,
            axes: &[],
            round_axis: None,
        };
        let work = KindWork::new(
            self.catalog.claim_kind.clone(),
            claim.with,
            claim.key,
            &consumer,
            self.tying.narrow,
            &mut self.problems,
        )
        .map_or(Work::Broken, Work::Kind);
        let mut making = Making {
            consumer_name: claim.instance.clone(),
            axes: Vec::new(),
            own_axes: self.none.clone(),
            only: None,
            round_axis: None,
            needs: claim.needs,
            after: Vec::new(),
            awaited: None,
            work,
            policy: Arc::default(),
            place: Arc::new((self.place)(claim.key)),
            key: claim.key,
            gathered: HashMap::default(),
            single: HashMap::default(),
            rows: 1,
            found: Default::default(),
        };
        let reads_all = matches!(claim.number, Number::All);
        let (looks, decides): (Vec<Option<First>>, bool) = match claim.number {
            Number::All | Number::Picked | Number::Unknown => (vec![None], false),
            Number::First(first) => (vec![Some(first)], false),
            Number::UntilDecided(looks) => (looks.into_iter().map(Some).collect(), true),
        };
        let runs = match decides {
            true => self.gathered_by(&making),
            false => Vec::new(),
        };
        let mut made = Vec::new();
        for (k, first) in looks.into_iter().enumerate() {
            let n = first.as_ref().map(|first| first.n);
            if let (true, Some(n)) = (decides, n) {
                making.own_axes = look_axes(n);
            }
            making.only = first;
            made.push(Look {
                n,
                instance: InstanceIndex(self.instances.len() as u32),
            });
            let (problems, warnings) = (self.problems.len(), self.warnings.len());
            self.make(&mut making, &[]);
            self.tell_wrong_parameters(&mut making);
            if k == 0 {
                self.sides_differ(&making);
            } else {
                self.warnings.truncate(warnings);
            }
            // What is wrong with one look is wrong with all.
            if self.problems.len() > problems {
                break;
            }
        }
        Made {
            claim: Claim {
                name: claim.name,
                source: claim.source,
                family: claim.family,
                looks: made,
                runs,
            },
            key: claim.key,
            reads_all,
        }
    }

    /// All instances that the references of a claim stand for.
    fn gathered_by(&self, making: &Making) -> Vec<InstanceIndex> {
        let mut found = BTreeSet::new();
        for item in making.needs.iter().flat_map(|need| &need.items) {
            if let Some(link) = item.target.link() {
                let rows = self
                    .tying
                    .links
                    .follow(link, &[], self.tying.values, self.table);
                let span = self.order.spans[link.stage];
                found.extend(rows.into_iter().map(|row| InstanceIndex(span.number(row))));
            }
        }
        found.into_iter().collect()
    }

    /// Other readers of runs whose number a claim decides: a claim has to say how many it reads,
    /// and a stage that gathers them has to wait.
    fn check_numbers(&mut self, made: &[Made]) {
        // By instance, the claim that decides whether it is run: of the runs that its first look
        // does not read, and of what is made from them.
        let mut decided_by: HashMap<InstanceIndex, usize> = HashMap::default();
        for (at, Made { claim, .. }) in made.iter().enumerate() {
            let first = claim.looks.first();
            let first = first.map(|look| &self.instances[look.instance.0 as usize]);
            let read: HashSet<_> = first.iter().flat_map(|look| look.producers()).collect();
            let later = claim.runs.iter().filter(|run| !read.contains(run));
            for run in later {
                decided_by.entry(*run).or_insert(at);
            }
        }
        if decided_by.is_empty() {
            return;
        }
        let mut told: HashSet<Arc<str>> = HashSet::default();
        let mut warnings = Vec::new();
        for (i, instance) in self.instances.iter().enumerate() {
            let mut awaited = instance.producers().chain(instance.after.iter().copied());
            let from = awaited.find_map(|p| decided_by.get(&p)).copied();
            let Some(at) = from else { continue };
            let index = InstanceIndex(i as u32);
            decided_by.entry(index).or_insert(at);
            let of_claim = made
                .iter()
                .find(|m| m.claim.looks.iter().any(|look| look.instance == index));
            let decider = &made[at];
            let name = &decider.claim.name;
            if let Some(reader) = of_claim {
                if reader.reads_all {
                    let text = format!(
                        "the claim `{}` reads all runs there are, and the claim `{name}` decides how many these are",
                        reader.claim.name
                    );
                    self.problems.push(
                        Problem::new(reader.key, text)
                            .also(decider.key, "this claim does")
                            .help("fix how many repetitions it reads (`n: 5`), or let it decide too (`until: decided, max_n: ...`)"),
                    );
                }
                continue;
            }
            let gathers = |need: &Need| {
                let gathered = need.items.iter().filter(|item| !item.axes.is_empty());
                let sources = gathered.filter_map(|item| match item.source {
                    Source::Output { instance, .. } => Some(instance),
                    Source::Files(_) => None,
                });
                sources.filter(|i| decided_by.contains_key(i)).count()
            };
            let after = instance.after.iter().filter(|i| decided_by.contains_key(i));
            let gathered = instance.needs.iter().map(gathers);
            let gathered = gathered.chain([after.count()]).max().unwrap_or_default();
            if gathered > 1 && told.insert(instance.stage.clone()) {
                let stage = &instance.stage;
                let text = format!(
                    "`{stage}` takes all runs whose number the claim `{name}` decides: it is run once they are all asked for, \
                     or with `repro run {stage}`"
                );
                warnings.push((i, text));
            }
        }
        let key_of: HashMap<&str, Span> = self
            .table
            .stages
            .iter()
            .map(|stage| (&*stage.name, stage.key))
            .collect();
        for (i, text) in warnings {
            if let Some(span) = key_of.get(&*self.instances[i].stage) {
                self.warnings.push(Problem::new(*span, text));
            }
        }
    }

    /// A claim that compares results with themselves can never be decided.
    fn sides_differ(&mut self, making: &Making) {
        let Some(claim) = self.instances.last() else {
            return;
        };
        let [a, b] = claim.needs.as_slice() else {
            return;
        };
        let sources = |need: &Need| -> HashSet<(u32, u32)> {
            let outputs = need.items.iter().filter_map(|item| match item.source {
                Source::Output { instance, output } => Some((instance.0, output)),
                _ => None,
            });
            outputs.collect()
        };
        let (one, other) = (sources(a), sources(b));
        let span = |name: &str| {
            let need = making.needs.iter().find(|n| *n.name == *name)?;
            Some(need.items.first()?.span)
        };
        let (Some(first), Some(second)) = (span(&a.name), span(&b.name)) else {
            return;
        };
        let both = one.intersection(&other).count();
        if one == other && !one.is_empty() {
            self.problems.push(
                Problem::new(second, "both sides of this claim are the same results")
                    .also(first, "the other side")
                    .help("compare two stages, or two groups of instances: `train[lr=0.1,*]`"),
            );
        } else if both > 0 {
            let noun = if both == 1 {
                "result is"
            } else {
                "results are"
            };
            self.warnings.push(
                Problem::new(second, format!("{both} {noun} on both sides of this claim"))
                    .help("comparing something with itself shows nothing"),
            );
        }
    }
}

/// `[n=10]`.
fn look_axes(n: u32) -> Axes {
    let value = AxisValue {
        value: n.into(),
        text: n.to_string().into(),
    };
    Arc::from([(Arc::from(REPETITIONS), Arc::new(value))])
}
