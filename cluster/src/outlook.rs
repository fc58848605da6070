//! What is known of a plan before anything is executed: who waits for whom, how long things take,
//! what they ask for, and which files they read. Data of its own, for the thread that submits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use repro_engine::catalog::Program;
use repro_engine::digest::{Content, Digest};
use repro_engine::files::{Files, Location};
use repro_engine::graph::Graph;
use repro_engine::plan::{EnvironmentPlace, Instance, InstanceIndex, Policy, Source, Work};
use repro_engine::session::Session;

use crate::pack::Chain;

/// How long something takes of which nothing is known.
const UNKNOWN_S: f64 = 1.0;

/// See the module.
pub struct Outlook {
    /// By position in the plan.
    pub instances: Vec<Foreseen>,
    /// Positions by name.
    pub by_id: HashMap<Arc<str>, u32>,
    graph: Graph,
    /// Files that the plan was read from.
    pub plan_files: Vec<PathBuf>,
    /// Environments in the project, by their path there.
    pub links: BTreeMap<String, PathBuf>,
}

/// An instance.
pub struct Foreseen {
    /// Its name.
    pub id: Arc<str>,
    /// What it takes: producers and positions of outputs.
    pub takes: Vec<(u32, u32)>,
    /// What it asks for.
    pub policy: Arc<Policy>,
    /// How long it took when it was last executed, if it ever was.
    pub known_s: Option<f64>,
    /// Files of the project, and outside, that no stage makes.
    pub files: Vec<Arc<Files>>,
    /// A program of the project that executes it.
    pub program: Option<PathBuf>,
    /// The run asks for it.
    pub is_wanted: bool,
    /// It is executed at another place than this is the outlook of.
    pub is_elsewhere: bool,
}

impl Outlook {
    /// Of an open project, for a run that asks for these; `is_there` is executed on the executor
    /// that it is for.
    pub fn of(session: &Session, wanted: &[bool], is_there: impl Fn(&Instance) -> bool) -> Outlook {
        let plan = &session.plan;
        let mut links = BTreeMap::new();
        let mut instances = Vec::with_capacity(plan.instances.len());
        for (instance, is_wanted) in plan.instances.iter().zip(wanted) {
            let known = session.index.get(&instance.id);
            let (mut files, mut takes) = (Vec::new(), Vec::new());
            for item in instance.needs.iter().flat_map(|need| &need.items) {
                match &item.source {
                    Source::Files(some) => files.push(some.clone()),
                    Source::Output { instance, output } => takes.push((instance.0, *output)),
                }
            }
            let mut program = None;
            match &instance.work {
                Work::Kind { kind, .. } => {
                    if let Program::External { path, .. } = &kind.program {
                        program = Some(path.clone());
                    }
                }
                Work::Command(command) => {
                    for environment in &command.setup.environments {
                        if let EnvironmentPlace::Dir(Location::Project(dir)) = &environment.place {
                            let path = dir.under(&session.project.root);
                            links.insert(dir.to_string(), path);
                        }
                    }
                }
            }
            instances.push(Foreseen {
                id: instance.id.clone(),
                policy: instance.policy.clone(),
                known_s: known.map(|k| f64::from(k.wall_s).max(0.001)),
                files,
                takes,
                program,
                is_wanted: *is_wanted,
                is_elsewhere: !is_there(instance),
            });
        }
        Outlook {
            by_id: (0..)
                .zip(&instances)
                .map(|(at, i): (u32, &Foreseen)| (i.id.clone(), at))
                .collect(),
            instances,
            graph: Graph::new(plan),
            plan_files: plan.files.clone(),
            links,
        }
    }

    /// An instance.
    pub fn at(&self, index: u32) -> &Foreseen {
        &self.instances[index as usize]
    }

    /// Of actions that are ready, each with what follows from it and from known results alone.
    /// `known` has a result; `fits` may be executed in the same element. Where several actions
    /// follow from one they could be executed side by side: they are in one chain only if it is
    /// known that this takes no longer than `target_s`.
    pub fn chains(
        &self,
        ready: &[u32],
        target_s: f64,
        known: impl Fn(u32) -> bool,
        fits: impl Fn(u32) -> bool,
    ) -> Vec<Chain> {
        let mut chain_of: HashMap<u32, usize> = HashMap::new();
        let mut chains: Vec<Chain> = Vec::with_capacity(ready.len());
        let mut next: BTreeSet<u32> = BTreeSet::new();
        let waiting = |index: u32| self.graph.waiting(InstanceIndex(index)).map(|i| i.0);
        for index in ready {
            chain_of.insert(*index, chains.len());
            chains.push(Chain {
                items: vec![*index],
                seconds: self.at(*index).seconds(),
            });
            next.extend(waiting(*index));
        }
        // The plan is in topological order.
        while let Some(index) = next.pop_first() {
            let here = self.at(index);
            let is_alone = here.is_elsewhere || !here.policy.mutexes.is_empty();
            if chain_of.contains_key(&index)
                || is_alone
                || !here.is_wanted
                || known(index)
                || !fits(index)
            {
                continue;
            }
            let mut chain = None;
            let is_of_one = self
                .graph
                .awaited(InstanceIndex(index))
                .all(|awaited| match chain_of.get(&awaited.0) {
                    Some(of) => *chain.get_or_insert(*of) == *of,
                    None => known(awaited.0),
                });
            let Some(of) = chain.filter(|_| is_of_one) else {
                continue;
            };
            let is_only_one = self
                .graph
                .awaited(InstanceIndex(index))
                .filter(|awaited| chain_of.contains_key(&awaited.0))
                .all(|awaited| self.graph.waiting(awaited).count() == 1);
            let seconds = here.known_s.map(|s| s + chains[of].seconds);
            if is_only_one || seconds.is_some_and(|s| s <= target_s) {
                chain_of.insert(index, of);
                chains[of].items.push(index);
                chains[of].seconds += here.seconds();
                next.extend(waiting(index));
            }
        }
        chains
    }

    /// All that these are made from, or come after, without themselves.
    pub fn ancestors(&self, of: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut open: Vec<u32> = of.iter().copied().collect();
        while let Some(index) = open.pop() {
            for awaited in self.graph.awaited(InstanceIndex(index)) {
                if !of.contains(&awaited.0) && found.insert(awaited.0) {
                    open.push(awaited.0);
                }
            }
        }
        found
    }
}

impl Foreseen {
    /// How long it takes, as far as that is known.
    pub fn seconds(&self) -> f64 {
        self.known_s.unwrap_or(UNKNOWN_S)
    }
}

/// Results by position in the plan.
pub type Learned = HashMap<u32, (Digest, Arc<[Content]>)>;

#[cfg(test)]
mod tests {
    use super::*;
    use repro_engine::catalog::Catalog;
    use repro_engine::index::Known;
    use repro_engine::open::Opening;

    const STUDY: &str = "version: 1
stages:
  base: {run: x, outputs: {o: o}}
  first: {matrix: {i: [0, 1]}, needs: {b: base.o}, run: x, outputs: {o: o}}
  second: {matrix: {i: [0, 1]}, needs: {f: first.o}, run: x, outputs: {o: o}}
  table: {needs: {all: \"second[*].o\"}, run: x, outputs: {o: o}}
";

    /// What is packed with what is ready, in names, after executions of so many seconds.
    fn chains(ready: &[&str], known: &[&str], seconds: Option<f32>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pipeline.yaml");
        std::fs::write(&file, STUDY).unwrap();
        let mut opening = Opening::new(Arc::new(Catalog::without_kinds(|_| Ok(<_>::default()))));
        opening.file = Some(file);
        opening.store = Some(dir.path().join("store"));
        let mut session = opening.session().unwrap();
        for instance in &session.plan.instances {
            if let Some(wall_s) = seconds {
                let known = Known {
                    key: Digest([0; 32]),
                    outputs: Default::default(),
                    wall_s,
                    elsewhere: false,
                    believed_under: None,
                };
                session.index.set(&instance.id, known);
            }
        }
        let outlook = Outlook::of(&session, &[true; 6], |_| true);
        let ready: Vec<u32> = ready.iter().map(|id| outlook.by_id[*id]).collect();
        let is_known = |index: u32| known.contains(&&*outlook.at(index).id);
        let chains = outlook.chains(&ready, 100.0, is_known, |_| true);
        let names = |chain: &Chain| {
            let names: Vec<&str> = chain.items.iter().map(|i| &*outlook.at(*i).id).collect();
            names.join(" ")
        };
        chains.iter().map(names).collect()
    }

    #[test]
    fn what_follows_from_one_alone_goes_with_it() {
        let both = ["first[i=0]", "first[i=1]"];
        let each = ["first[i=0] second[i=0]", "first[i=1] second[i=1]"];
        assert_eq!(chains(&both, &["base"], None), each);
        // The gather needs both.
        assert_eq!(chains(&both, &["base"], Some(1.0)), each);
        // With one known, it follows from the other.
        let known = ["base", "first[i=0]", "second[i=0]"];
        let rest = ["first[i=1] second[i=1] table"];
        assert_eq!(chains(&both[1..], &known, None), rest);
    }

    #[test]
    fn what_could_go_side_by_side_is_kept_together_only_if_it_is_short() {
        assert_eq!(chains(&["base"], &[], None), ["base"]);
        assert_eq!(
            chains(&["base"], &[], Some(50.0)),
            ["base first[i=0] second[i=0]"]
        );
        let all = ["base first[i=0] first[i=1] second[i=0] second[i=1] table"];
        assert_eq!(chains(&["base"], &[], Some(1.0)), all);
    }
}
