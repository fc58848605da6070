//! The kind `narrow`: whole units and channels removed, and a network that is really smaller.
//!
//! `narrow/channels.rs` says what can be cut; here it is decided which units go.

mod channels;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::channels::{Producer, cut, producers, smaller};
use crate::facts::{Fact, Findings, Known, MetricsFact, ModelFact, refuse};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::nn::architecture::Architecture;
use crate::nn::init::whole_layers;
use crate::nn::model::Model;
use crate::table;
use crate::task::Task;
use crate::weights::NamedTensors;
use repro_numerics::exact::rng::Stream;
use repro_protocol::table::Row;

/// See the module.
pub struct Narrow;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Share of the units or channels of each layer that is removed, at least 0 and below 1. At least
    /// one stays.
    pub fraction: f64,
    /// Which go.
    #[serde(default)]
    pub by: Ranking,
    /// The layers that become narrower, by names in which `*` stands for any characters; all that can
    /// by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
}

/// Which units go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// Those with the least sum of absolute weights (Li et al. 2017, section 3.1).
    #[default]
    L1,
    /// Those with the least sum of squared weights.
    L2,
    /// Any: the control.
    Random(AtRandom),
}

/// Units drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AtRandom {
    /// Of the draw.
    pub seed: u64,
}

impl Kind for Narrow {
    type Params = Params;
    const NAME: &'static str = "narrow";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Removes whole units and channels, so that the network becomes smaller (structured pruning).";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[InputSpec::required("model", "The network.")];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("metrics", "metrics.parquet")?,
        ])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let mut found = Vec::new();
        if !(0.0..1.0).contains(&p.fraction) {
            let message = format!("must be at least 0 and below 1, got {}", p.fraction);
            found.push(ParamProblem::new(&["fraction"], message, ""));
        }
        if p.layers.as_ref().is_some_and(Vec::is_empty) {
            let hint = "name some, or leave `layers` out for all";
            found.push(ParamProblem::new(&["layers"], "names no layer", hint));
        }
        found
    }

    fn facts(p: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let model = known.first_model("model", false, &mut found);
        let identity = model.and_then(|model| model.identity);
        let mut narrowed = None;
        if let Some(Ok(architecture)) = identity.map(Architecture::new) {
            match counts(p, &architecture) {
                Ok((_, counts)) => narrowed = smaller(&architecture.identity, &counts).ok(),
                Err(failure) => refuse(("model", 0), failure, &mut found),
            }
        }
        found.say("model", Fact::Model(ModelFact { identity: narrowed }));
        let values = ["parameters", "parameters_before", "fraction", "units[*]"];
        let values = values.map(|name| (None, name));
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let model = Model::read(&task.input("model")?.path)?;
        let (producers, counts) = counts(p, &model.architecture)?;
        let kept = producers.iter().zip(&counts);
        let kept = kept.map(|(producer, count)| {
            stay(p.by, producer, *count, &model.architecture, &model.tensors)
        });
        let kept = Vec::from_iter(kept);
        let tensors = cut(&model.architecture, &producers, &kept, &model.tensors);
        let identity = smaller(&model.architecture.identity, &counts)?;
        let narrowed = Model {
            architecture: Architecture::new(identity)?,
            tensors,
        };
        narrowed
            .architecture
            .check(&narrowed.tensors, "the narrowed network")?;
        let [before, after] = [&model, &narrowed].map(trained);
        let mut rows = vec![
            ("parameters".to_owned(), after),
            ("parameters_before".to_owned(), before),
            ("fraction".to_owned(), after / before),
        ];
        for (producer, count) in producers.iter().zip(&counts).filter(|(p, _)| !p.is_whole) {
            let layer = model.architecture.parameters[producer.weight].layer();
            rows.push((format!("units[{layer}]"), *count as f64));
        }
        let rows = rows.into_iter().map(|(name, value)| Row {
            name,
            value,
            ..Row::default()
        });
        table::write(task.output("metrics")?, &Vec::from_iter(rows))?;
        narrowed.write(task.output("model")?)
    }
}

/// Numbers that are learnt.
fn trained(model: &Model) -> f64 {
    let parameters = model.architecture.parameters.iter();
    let trained = parameters.filter(|p| p.role.is_trained());
    let sizes = trained.map(|p| p.shape.iter().product::<usize>());
    sizes.sum::<usize>() as f64
}

/// Every layer, and how many of its units stay.
///
/// # Errors
/// There is nothing to cut, or a name means nothing that can be.
fn counts(p: &Params, architecture: &Architecture) -> Result<(Vec<Producer>, Vec<usize>), Failure> {
    // Says what networks cannot be narrowed at all.
    smaller(&architecture.identity, &[])?;
    let producers = producers(architecture);
    let narrower = |producer: &&Producer| !producer.is_whole;
    let names = producers.iter().filter(narrower);
    let names = names.map(|producer| architecture.parameters[producer.weight].layer());
    let names = Vec::from_iter(names);
    if names.is_empty() {
        return Err(Failure::new(
            "no layer of this network can be narrowed: each is the last, is added to others, or is normalised as a whole",
        )
        .hint("give a network with hidden layers, or use `prune`, which removes single weights"));
    }
    let meant = match &p.layers {
        None => vec![true; architecture.parameters.len()],
        Some(patterns) => {
            for pattern in patterns {
                let meant = whole_layers(std::slice::from_ref(pattern), architecture)?;
                let narrowed = producers.iter().filter(narrower);
                if !narrowed.into_iter().any(|producer| meant[producer.weight]) {
                    let text = format!("`{pattern}` means no layer that can be narrowed");
                    return Err(Failure::new(text).hint(format!("those are: {}", names.join(", "))));
                }
            }
            whole_layers(patterns, architecture)?
        }
    };
    let counts = producers.iter().map(|producer| {
        let units = architecture.parameters[producer.weight].shape[0];
        match producer.is_whole || !meant[producer.weight] {
            true => units,
            false => (units - (p.fraction * units as f64).round() as usize).max(1),
        }
    });
    let counts = counts.collect();
    Ok((producers, counts))
}

/// The units that stay, ascending. Of two with one score the first stays.
fn stay(
    by: Ranking,
    producer: &Producer,
    count: usize,
    architecture: &Architecture,
    tensors: &NamedTensors,
) -> Vec<usize> {
    let weight = &architecture.parameters[producer.weight];
    let units = weight.shape[0];
    let data = tensors.get(&weight.name).map_or(&[][..], |t| &t.data);
    let rows = data.chunks_exact((data.len() / units).max(1));
    let scores: Vec<f64> = match by {
        Ranking::L1 => rows
            .map(|row| row.iter().map(|w| f64::from(w.abs())).sum())
            .collect(),
        Ranking::L2 => rows
            .map(|row| row.iter().map(|w| f64::from(*w) * f64::from(*w)).sum())
            .collect(),
        Ranking::Random(AtRandom { seed }) => {
            let mut stream = Stream::new(seed, "narrow", 0, producer.weight as u64);
            let order = stream.permutation(units as u32);
            order.into_iter().map(f64::from).collect()
        }
    };
    let mut order = Vec::from_iter(0..units);
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(count);
    order.sort_unstable();
    order
}

const DOC: &str = r#"
Structured pruning: of each layer the least units of dense layers and the least channels of
convolutions go, with their biases, their batch norm and everything that the next layer read of them
(Li, Kadav, Durdanovic, Samet & Graf, *Pruning Filters for Efficient ConvNets*, ICLR 2017). No mask is
left: `model` is a smaller network, written out, that trains and evaluates in less time, and that
PyTorch reads.

```yaml
small: {uses: narrow, needs: {model: dense.model}, with: {fraction: 0.5}}
tuned: {uses: train, needs: {init: small.model, train: data.train, test: data.test}, with: {seed: 1, length: {epochs: 5}, optimizer: {sgd: {lr: 0.01}}}}
fresh: {uses: train, needs: {train: data.train, test: data.test}, with: {seed: 1, model: {mlp: {hidden: [150, 50]}}, length: {epochs: 5}, optimizer: {sgd: {lr: 0.01}}}}
```

`round(fraction · units)` units of each layer go, and one stays at least. `fresh` is the control of Liu
et al. (*Rethinking the Value of Network Pruning*, ICLR 2019): the small network from first weights of
its own. Layers stay whole where their outputs are added to others (the last of a `residual` block, and
the one before a block), where group or layer norm normalises them together, and at the end of the
network. A `resnet` must be written out with `conv` and `residual`.

`metrics` has `parameters` and `parameters_before`, the numbers that are learnt, `fraction`, the first by
the second, and `units[LAYER]`, what each layer has left.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::architecture::tests::architecture;
    use serde_json::{Value, json};

    fn named(model: Value, with: Value) -> Result<Vec<(String, usize)>, Failure> {
        let architecture = architecture(model, (8, 8, 3), 4);
        let params: Params = serde_json::from_value(with).unwrap();
        let (producers, counts) = counts(&params, &architecture)?;
        let layers = producers.iter().zip(counts);
        let layer =
            |(p, n): (&Producer, usize)| (architecture.parameters[p.weight].layer().to_owned(), n);
        Ok(layers.map(layer).collect())
    }

    #[test]
    fn what_is_added_or_last_stays_whole() {
        let model = json!({"conv": {"layers": [
            {"conv": {"channels": 8}}, {"batch_norm": {}}, {"activation": "relu"},
            {"conv": {"channels": 6}}, {"depthwise": {}},
            {"residual": {"layers": [{"conv": {"channels": 10}}, {"activation": "relu"}, {"conv": {"channels": 6}}]}},
            {"pool": {"max": 2}}, {"dense": 20}, {"group_norm": {"groups": 2}}, {"dense": 3}, {"activation": "tanh"}]}});
        let found = named(model.clone(), json!({"fraction": 0.5})).unwrap();
        let found: Vec<(&str, usize)> = found.iter().map(|(l, n)| (l.as_str(), *n)).collect();
        let want = [
            ("conv1", 4),
            ("conv2", 6),
            ("block1.conv1", 5),
            ("block1.conv2", 6),
            ("fc1", 20),
            ("fc2", 1),
            ("fc3", 4),
        ];
        assert_eq!(found, want);
        let some = named(
            model.clone(),
            json!({"fraction": 0.75, "layers": ["conv1"]}),
        )
        .unwrap();
        assert_eq!((some[0].1, some[2].1), (2, 10));
        let whole = named(model, json!({"fraction": 0.5, "layers": ["conv2"]})).unwrap_err();
        assert_eq!(whole.hint.unwrap(), "those are: conv1, block1.conv1, fc2");
    }

    #[test]
    fn networks_without_anything_to_cut_are_told() {
        for (model, told) in [
            (json!("logistic-regression"), "no layer of this network"),
            (json!("resnet-8"), "width of their stage"),
            (json!({"rnn": {"units": 4}}), "recurrent"),
        ] {
            let failure = named(model, json!({"fraction": 0.5})).unwrap_err();
            assert!(failure.message.contains(told), "{}", failure.message);
        }
    }
}
