//! What is known of the inputs of a stage, and the problems of those that have the wrong type.

use std::collections::BTreeSet;

use repro_protocol::findings::{self, Findings, Item};

use super::fact::{DataFact, Fact, MaskFact, MetricsFact, ModelFact};
use crate::nn::model::Model;

/// How many models an input stands for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Several {
    /// There is certainly more than one.
    pub(crate) certain: bool,
    /// There are as many as the input has items.
    pub(crate) counted: bool,
    /// So many items are directories of models.
    pub(crate) directories: usize,
}

/// What is known of the inputs of a stage, as facts.
pub struct Known<'a>(pub &'a findings::Known<'a>);

impl Known<'_> {
    fn items(&self, name: &str) -> &[Item<'_>] {
        self.0.inputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether an input is given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.inputs.contains_key(name)
    }

    fn facts(&self, name: &str) -> impl Iterator<Item = (usize, Option<Fact>)> {
        let fact = |item: &Item| {
            let fact = serde_json::from_value(item.fact.cloned()?).ok()?;
            match (fact, item.member.is_some()) {
                (Fact::Checkpoints(kept), true) => Some(Fact::Model(kept.model)),
                (_, true) => None,
                (fact, false) => Some(fact),
            }
        };
        self.items(name).iter().map(fact).enumerate()
    }

    /// The first of an input's artifacts that is the output of this name of some stage.
    pub(crate) fn output_called(&self, name: &str, output: &str) -> Option<usize> {
        let mut items = self.items(name).iter();
        items.position(|item| item.from.is_some_and(|(_, of)| of == output))
    }

    /// What is known of a directory, and the file of it that is the only artifact of an input.
    pub(crate) fn only_member(&self, name: &str) -> Option<(Fact, &str)> {
        let [item] = self.items(name) else {
            return None;
        };
        let fact = serde_json::from_value(item.fact.cloned()?).ok()?;
        Some((fact, item.member?))
    }

    /// The first of an input's artifacts that is also one of another input's: the same whole
    /// output, or the same file.
    pub(crate) fn common(&self, name: &str, other: &str) -> Option<usize> {
        let is_same = |a: &Item, b: &Item| {
            let whole = a.member.is_none() && b.member.is_none();
            let output = a.from.is_some() && a.from == b.from;
            let file = a.file.is_some() && a.file == b.file;
            whole && (output || file)
        };
        let theirs = self.items(other);
        let mut items = self.items(name).iter();
        items.position(|a| theirs.iter().any(|b| is_same(a, b)))
    }

    /// The axes that tell an input's artifacts apart.
    pub(crate) fn axes(&self, name: &str) -> BTreeSet<String> {
        let names = self.items(name).iter().flat_map(|item| &item.axes);
        names.map(|axis| (*axis).to_owned()).collect()
    }

    /// The facts about an input's artifacts, if they have the wanted type; the others are problems.
    fn wanted<T>(
        &self,
        name: &str,
        wanted: &str,
        pick: impl Fn(Fact) -> Result<T, Fact>,
        found: &mut Findings,
    ) -> Vec<Option<T>> {
        let mut list = Vec::new();
        for (item, fact) in self.facts(name) {
            list.push(match fact.map(&pick) {
                None => None,
                Some(Ok(fact)) => Some(fact),
                Some(Err(other)) => {
                    let hint = match (&other, self.items(name)[item].from) {
                        (Fact::Checkpoints(kept), Some((stage, output))) => {
                            format!("name one: `{stage}.{output}[{}]`", kept.pick)
                        }
                        _ => String::new(),
                    };
                    let message = format!(
                        "this is {}; the input `{name}` takes {wanted}",
                        other.called()
                    );
                    found.input((name, item), message, hint);
                    None
                }
            });
        }
        list
    }

    pub(crate) fn data(&self, name: &str, found: &mut Findings) -> Vec<Option<DataFact>> {
        let pick = |fact| match fact {
            Fact::Data(data) => Ok(data),
            other => Err(other),
        };
        self.wanted(name, "data sets", pick, found)
    }

    /// The facts about models; `named`: a parameter says which network the files of other programs
    /// hold.
    pub(crate) fn models(
        &self,
        name: &str,
        named: bool,
        found: &mut Findings,
    ) -> Vec<Option<ModelFact>> {
        let pick = |fact| match fact {
            Fact::Model(model) => Ok(model),
            other => Err(other),
        };
        let mut models = self.wanted(name, "models", pick, found);
        self.look_into_files(name, named, &mut models, found);
        models
    }

    /// The facts about models and directories of models, and whether there are several.
    pub(crate) fn collections(
        &self,
        name: &str,
        named: bool,
        found: &mut Findings,
    ) -> (Vec<Option<ModelFact>>, Several) {
        let mut several = Several::default();
        let pick = |fact| match fact {
            Fact::Model(model) => Ok((model, None)),
            Fact::Checkpoints(kept) => Ok((kept.model, Some(kept.several))),
            other => Err(other),
        };
        let known = self.wanted(name, "models", pick, found);
        several.certain = known.len() > 1;
        several.counted = true;
        let mut models = Vec::new();
        for item in known {
            let (model, directory) = item.map_or((None, None), |(m, d)| (Some(m), d));
            several.certain |= directory == Some(true);
            several.directories += usize::from(directory.is_some());
            several.counted &= model.is_some() && directory.is_none();
            models.push(model);
        }
        self.look_into_files(name, named, &mut models, found);
        (models, several)
    }

    /// Files of the project can be looked into before anything runs.
    fn look_into_files(
        &self,
        name: &str,
        named: bool,
        models: &mut [Option<ModelFact>],
        found: &mut Findings,
    ) {
        for (at, item) in self.items(name).iter().enumerate() {
            let Some(file) = &item.file else { continue };
            match Model::peek(file, named) {
                Ok(None) => {}
                Ok(identity) => models[at] = Some(ModelFact { identity }),
                Err(failure) => {
                    found.input(
                        (name, at),
                        failure.message,
                        failure.hint.unwrap_or_default(),
                    );
                }
            }
        }
    }

    /// The facts about the only data set of an input.
    pub(crate) fn first_data(&self, name: &str, found: &mut Findings) -> Option<DataFact> {
        self.data(name, found).into_iter().next().flatten()
    }

    /// The facts about the only model of an input.
    pub(crate) fn first_model(
        &self,
        name: &str,
        named: bool,
        found: &mut Findings,
    ) -> Option<ModelFact> {
        self.models(name, named, found).into_iter().next().flatten()
    }

    /// The producer that these inputs have in common, if each is one artifact of it.
    pub(crate) fn maker_of(&self, names: [&str; 2]) -> Option<&str> {
        let maker = |name| match self.items(name) {
            [one] => one.from.map(|(producer, _)| producer),
            _ => None,
        };
        let [a, b] = names.map(maker);
        a.filter(|_| a == b)
    }

    pub(crate) fn masks(&self, name: &str, found: &mut Findings) -> Vec<Option<MaskFact>> {
        let pick = |fact| match fact {
            Fact::Mask(mask) => Ok(mask),
            other => Err(other),
        };
        self.wanted(name, "pruning masks", pick, found)
    }

    pub(crate) fn tables(&self, name: &str, found: &mut Findings) -> Vec<Option<MetricsFact>> {
        let pick = |fact| match fact {
            Fact::Metrics(table) => Ok(table),
            other => Err(other),
        };
        self.wanted(name, "tables of metrics", pick, found)
    }
}
