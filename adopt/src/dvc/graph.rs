//! Who makes what a stage depends on: DVC's rule (`dvc/repo/graph.py`), by paths alone.

use std::collections::{BTreeMap, BTreeSet};

use repro_engine::spec::yaml::{Problem, Report, Span};

use super::expand::Instance;
use super::paths::{Place, below};

/// An output of a stage: its instance, and the position there.
pub type Made = (usize, usize);

/// What a dependency takes from other stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Nothing: no stage makes it.
    Nothing,
    /// An output, or what lies at a path in it.
    Output { of: Made, inside: String },
    /// The outputs below it.
    Below(Vec<Made>),
}

/// All outputs by path.
pub struct Graph {
    outs: BTreeMap<Place, (Made, Span)>,
}

impl Graph {
    /// Outputs of all stages; two at one path are reported.
    pub fn new(instances: &[Instance], names: &[String], report: &mut Report) -> Graph {
        let mut outs: BTreeMap<Place, (Made, Span)> = BTreeMap::new();
        for (i, instance) in instances.iter().enumerate() {
            for (at, out) in instance.outs.iter().enumerate() {
                if let Some(((other, _), first)) = outs.get(&out.place) {
                    report.push(
                        Problem::new(
                            out.span,
                            format!(
                                "`{}` and `{}` both write `{}`",
                                names[*other], names[i], out.own
                            ),
                        )
                        .also(*first, "the other one")
                        .help("DVC refuses this too: give each a path of its own"),
                    );
                    continue;
                }
                outs.insert(out.place.clone(), ((i, at), out.span));
            }
        }
        for (place, ((maker, _), span)) in &outs {
            let Place::Inside(path) = place else { continue };
            let mut end = path.as_str();
            while let Some((parent, _)) = end.rsplit_once('/') {
                end = parent;
                if let Some(((other, _), outer)) = outs.get(&Place::Inside(end.to_owned())) {
                    report.push(
                        Problem::new(
                            *span,
                            format!(
                                "`{path}`, which `{}` writes, lies in `{end}`, which `{}` writes",
                                names[*maker], names[*other]
                            ),
                        )
                        .also(*outer, "the other one")
                        .help("DVC refuses this too: an output cannot lie in another one"),
                    );
                    break;
                }
            }
        }
        Graph { outs }
    }

    /// What a path takes from stages.
    pub fn taken(&self, place: &Place) -> Taken {
        let Place::Inside(path) = place else {
            return match self.outs.get(place) {
                Some(&(of, _)) => Taken::Output {
                    of,
                    inside: String::new(),
                },
                None => Taken::Nothing,
            };
        };
        let mut end = path.as_str();
        loop {
            if let Some(&(of, _)) = self.outs.get(&Place::Inside(end.to_owned())) {
                let inside = below(path, end).unwrap_or("").to_owned();
                return Taken::Output { of, inside };
            }
            match end.rsplit_once('/') {
                Some((parent, _)) => end = parent,
                None => break,
            }
        }
        let inner = |out: &Place| matches!(out, Place::Inside(out) if below(out, path).is_some());
        let parts: Vec<Made> = self
            .outs
            .iter()
            .filter(|(out, _)| inner(out))
            .map(|(_, (made, _))| *made)
            .collect();
        match parts.is_empty() {
            true => Taken::Nothing,
            false => Taken::Below(parts),
        }
    }

    /// Pairs of a stage and one that it takes something from.
    pub fn edges(&self, instances: &[Instance]) -> BTreeSet<(usize, usize)> {
        let mut edges = BTreeSet::new();
        for (i, instance) in instances.iter().enumerate() {
            let params = instance.params.iter().map(|(path, _)| path);
            for path in instance.deps.iter().chain(params) {
                match self.taken(&path.place) {
                    Taken::Nothing => {}
                    Taken::Output { of: (by, _), .. } => {
                        edges.insert((i, by));
                    }
                    Taken::Below(parts) => edges.extend(parts.iter().map(|(by, _)| (i, *by))),
                }
            }
        }
        edges
    }
}
