//! Which runs are one observation. What repeats an experiment is said by axes; but what one action
//! made, rounds of one loop, and branches of one trunk are no repetitions of one another, whatever
//! axes they differ in: they are averaged first.
//!
//! Shared by the kinds that count runs. Knows no statistics but the mean.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::series::{Series, compare_axes};
use crate::stats::mean;

/// A run, or a pair of runs, that may be an observation of its own.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// What tells it apart from others.
    pub axes: BTreeMap<String, Value>,
    /// The figure.
    pub value: f64,
    /// What ties it to others.
    pub ties: Ties,
}

/// What ties a candidate to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ties {
    /// Chains of actions it stands in.
    chains: BTreeSet<String>,
    /// Producers it shares with some.
    sources: BTreeSet<String>,
    /// Those who agree on this are one and the same.
    same: Option<String>,
    /// The bytes it was read from, where they are known.
    bytes: Option<String>,
}

impl Ties {
    /// Those of a run; `side` keeps the numbers of several gathers apart.
    pub fn of(series: &Series, side: &str) -> Ties {
        let part = series.part.as_deref().unwrap_or_default();
        let chain = series.chain.map(|n| format!("{side}:{n}:{part}"));
        Ties {
            same: chain.as_ref().map(|c| format!("{c}:{}", series.digest)),
            bytes: (!series.digest.is_empty()).then(|| format!("{part}:{}", series.digest)),
            chains: chain.into_iter().collect(),
            sources: series
                .sources
                .iter()
                .map(|n| format!("{side}:{n}"))
                .collect(),
        }
    }

    /// Whether one action made both, or one was made from the other.
    pub fn is_chained(&self, other: &Ties) -> bool {
        !self.chains.is_disjoint(&other.chains)
    }

    /// Those of what is made of two.
    pub fn and(&self, other: &Ties) -> Ties {
        let both = |a: &Option<String>, b: &Option<String>| {
            Some(format!("{} {}", a.as_ref()?, b.as_ref()?))
        };
        Ties {
            chains: &self.chains | &other.chains,
            sources: &self.sources | &other.sources,
            same: both(&self.same, &other.same),
            bytes: both(&self.bytes, &other.bytes),
        }
    }
}

/// What candidates amount to.
#[derive(Debug, Clone, PartialEq)]
pub struct Observations {
    /// One mean for each, in the order of their axes.
    pub values: Vec<f64>,
    /// Candidates that went in.
    pub runs: usize,
    /// There would be more if axes alone decided.
    pub tied: bool,
    /// All were read from the same bytes, so they are one, whatever made them.
    pub alike: bool,
}

/// Averages the candidates that agree on the axes of `over`, then those of these units that are
/// tied.
///
/// A chain always ties. A source ties unless all units have it: then it tells none of them apart.
/// Some equal bytes tie nothing, since chance may repeat a coarse figure; where all are equal there
/// was no chance in it.
pub fn observations(mut all: Vec<Candidate>, over: &[String]) -> Observations {
    let runs = all.len();
    let first = all.first().and_then(|one| one.ties.bytes.clone());
    let alike = runs > 1 && first.is_some() && all.iter().all(|one| one.ties.bytes == first);
    all.sort_by(|a, b| compare_axes(&a.axes, &b.axes));
    let mut at: BTreeMap<String, usize> = BTreeMap::new();
    let mut units: Vec<Vec<Candidate>> = Vec::new();
    for one in all {
        let key: Vec<_> = one
            .axes
            .iter()
            .filter(|(axis, _)| over.contains(axis))
            .collect();
        let unit = *at.entry(format!("{key:?}")).or_insert(units.len());
        match units.get_mut(unit) {
            Some(members) => members.push(one),
            None => units.push(vec![one]),
        }
    }
    // The first unit of each set stands for it.
    let mut set: Vec<usize> = (0..units.len()).collect();
    let mut unite = |members: &BTreeSet<usize>| {
        let sets: BTreeSet<usize> = members.iter().map(|&unit| set[unit]).collect();
        if let Some(&first) = sets.first() {
            let tied = set.iter_mut().filter(|s| sets.contains(s));
            tied.for_each(|s| *s = first);
        }
    };
    let having = |ties: fn(&Ties) -> &BTreeSet<String>| {
        let mut having: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (unit, members) in units.iter().enumerate() {
            for tie in members.iter().flat_map(|m| ties(&m.ties)) {
                having.entry(tie).or_default().insert(unit);
            }
        }
        having.into_values()
    };
    having(|ties| &ties.chains).for_each(|members| unite(&members));
    having(|ties| &ties.sources)
        .filter(|members| members.len() < units.len())
        .for_each(|members| unite(&members));
    let tied = (0..units.len()).any(|unit| set[unit] != unit);
    if alike {
        set.fill(0);
    }
    let mut values = Vec::new();
    for first in 0..units.len() {
        let mut counted: BTreeSet<&str> = BTreeSet::new();
        let mut means = Vec::new();
        let members = units
            .iter()
            .enumerate()
            .filter(|(unit, _)| set[*unit] == first);
        for (_, members) in members {
            let figures: Vec<f64> = members
                .iter()
                .filter(|m| m.ties.same.as_ref().is_none_or(|same| counted.insert(same)))
                .map(|m| m.value)
                .collect();
            means.extend((!figures.is_empty()).then(|| mean(&figures)));
        }
        values.extend((!means.is_empty()).then(|| mean(&means)));
    }
    Observations {
        alike: alike && !tied && units.len() > 1,
        tied,
        runs,
        values,
    }
}

impl Observations {
    /// Why there are fewer than runs, where ties and not only axes say so.
    pub fn told(&self, one: &str, many: &str) -> Option<String> {
        let n = self.values.len();
        if self.alike {
            return Some(format!(
                "all {} {many} gave the same bytes and count as one: does what repeats them, such as a seed, reach the program? If it does, \
                 the task does not tell them apart: measure what varies, such as a loss, or make it harder",
                self.runs
            ));
        }
        self.tied.then(|| {
            format!(
                "{} {many} make {n} independent {}: what one action made, or what was made from one another or from one producer, \
                 is no repetition and is averaged first",
                self.runs,
                if n == 1 { one } else { many }
            )
        })
    }
}

/// The axes on which these runs differ and that are not among `known`, each with its values.
pub fn unaccounted(
    axes: &[&BTreeMap<String, Value>],
    known: &[&[String]],
) -> BTreeMap<String, Vec<Value>> {
    let names: BTreeSet<&String> = axes.iter().flat_map(|a| a.keys()).collect();
    let mut found = BTreeMap::new();
    for name in names {
        let mut values: Vec<Value> = Vec::new();
        for axes in axes {
            let value = axes.get(name).cloned().unwrap_or_default();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        if values.len() > 1 && !known.iter().any(|names| names.contains(name)) {
            found.insert(name.clone(), values);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn candidate(axes: Value, value: f64, chain: Option<u32>, sources: &[u32]) -> Candidate {
        let axes: BTreeMap<String, Value> = serde_json::from_value(axes).unwrap();
        let mut series = Series::default();
        series.digest = value.to_string();
        series.chain = chain;
        series.sources = sources.to_vec();
        Candidate {
            axes,
            value,
            ties: Ties::of(&series, "a"),
        }
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn case_1_one_action_counts_once_wherever_it_stands() {
        let twins = (0..5).map(|s| candidate(json!({"seed": s}), 0.5, Some(0), &[]));
        let found = observations(twins.collect(), &names(&["seed"]));
        assert_eq!((found.values.as_slice(), found.runs), (&[0.5][..], 5));
        assert!(
            found
                .told("run", "runs")
                .unwrap()
                .starts_with("5 runs make 1 independent run:")
        );
        // Within one unit too: the mean of 0.2 and 0.5, not of 0.2, 0.2 and 0.5.
        let order = |o: u32, v, chain| candidate(json!({"seed": 0, "order": o}), v, chain, &[]);
        let all = vec![
            order(1, 0.2, Some(0)),
            order(2, 0.2, Some(0)),
            order(3, 0.5, None),
        ];
        assert_eq!(observations(all, &names(&["seed"])).values, [0.35]);
    }

    #[test]
    fn case_1_runs_that_all_gave_the_same_bytes_are_one() {
        let run = |(seed, value): (u32, f64)| candidate(json!({"seed": seed}), value, None, &[]);
        let seen = |values: &[f64]| {
            let all = (0..).zip(values.iter().copied()).map(run);
            observations(all.collect(), &names(&["seed"]))
        };
        let found = seen(&[0.5, 0.5, 0.5]);
        assert_eq!((found.values.as_slice(), found.alike), (&[0.5][..], true));
        assert!(
            found
                .told("run", "runs")
                .unwrap()
                .contains("gave the same bytes")
        );
        // Chance may repeat a coarse figure.
        assert_eq!(seen(&[0.5, 0.5, 0.75]).values, [0.5, 0.5, 0.75]);
    }

    #[test]
    fn case_40_nested_runs_are_averaged_first() {
        let all = |told: bool| -> Vec<Candidate> {
            let run = |(s, o): (u32, u32)| {
                let sources: &[u32] = if told { &[s] } else { &[] };
                let value = f64::from(10 * s + o);
                candidate(json!({"seed": s, "order": o}), value, None, sources)
            };
            (0..3)
                .flat_map(|s| (0..3).map(move |o| (s, o)))
                .map(run)
                .collect()
        };
        let nested = [1.0, 11.0, 21.0];
        assert_eq!(observations(all(false), &names(&["seed"])).values, nested);
        assert!(!observations(all(false), &names(&["seed"])).tied);
        // Said the other way round, the graph knows better.
        let found = observations(all(true), &names(&["seed", "order"]));
        assert_eq!((found.values.as_slice(), found.tied), (&nested[..], true));
        assert_eq!(
            observations(all(false), &names(&["seed", "order"]))
                .values
                .len(),
            9
        );
    }

    #[test]
    fn a_source_that_all_units_have_ties_none() {
        // Seeds crossed with data sets: each seed has one trunk, each data set is every seed's.
        let run = |(s, d): (u32, u32)| {
            let axes = json!({"seed": s, "data": d});
            candidate(axes, f64::from(s), None, &[s, 100 + d])
        };
        let all = (0..4).flat_map(|s| (0..2).map(move |d| (s, d))).map(run);
        let found = observations(all.collect(), &names(&["seed"]));
        assert_eq!(found.values, [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn axes_that_nobody_speaks_of_are_found() {
        let runs = [
            json!({"seed": 0, "lr": 0.1}),
            json!({"seed": 1, "lr": 0.1}),
            json!({"seed": 1, "lr": 1}),
        ];
        let runs: Vec<BTreeMap<String, Value>> = runs
            .into_iter()
            .map(|r| serde_json::from_value(r).unwrap())
            .collect();
        let axes: Vec<&BTreeMap<String, Value>> = runs.iter().collect();
        let seed = names(&["seed"]);
        let found = unaccounted(&axes, &[&seed, &[]]);
        assert_eq!(
            found,
            BTreeMap::from([("lr".to_owned(), vec![json!(0.1), json!(1)])])
        );
        assert!(unaccounted(&axes[..2], &[&seed]).is_empty());
    }
}
