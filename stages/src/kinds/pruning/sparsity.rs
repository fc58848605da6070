//! The kind `sparsity`: how many weights of each layer are left.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::{Fact, Findings, Known, MetricsFact, check_mask};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::network;
use crate::nn::architecture::Identity;
use crate::table;
use crate::task::Task;
use crate::training::mask;
use crate::weights::NamedTensors;
use repro_protocol::table::Row;

/// See the module.
pub struct Sparsity;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

impl Kind for Sparsity {
    type Params = Params;
    const NAME: &'static str = "sparsity";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Counts the weights that are left in each layer.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The model."),
        InputSpec::optional("mask", "The mask that says which weights are left."),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("metrics", "metrics.parquet")?])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        network::problems(p.network.as_ref())
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let model = known.first_model("model", params.network.is_some(), &mut found);
        let model = network::known(model, params.network.as_ref(), &mut found);
        let masks = known.masks("mask", &mut found);
        if let (Some(identity), Some(Some(mask))) = (&model.identity, masks.first()) {
            check_mask(mask, identity, &mut found);
        }
        let values = [
            "kept",
            "kept[*]",
            "total",
            "total[*]",
            "fraction",
            "fraction[*]",
        ];
        let values = values.map(|name| (None, name));
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let model = network::read(&task.input("model")?.path, p.network.as_ref())?;
        let masks = match task.inputs("mask") {
            [] => None,
            [one] => Some(mask::read(&one.path, &model.architecture)?),
            _ => anyhow::bail!(Failure::new("input `mask`: more than one artifact")),
        };
        let weights = model.architecture.parameters.iter();
        let weights = weights.filter(|p| p.role.is_weight());
        let counts = weights.map(|parameter| {
            let (kept, total) = count(&model.tensors, masks.as_ref(), &parameter.name);
            (parameter.layer(), kept, total)
        });
        table::write(task.output("metrics")?, &rows(&counts.collect::<Vec<_>>()))
    }
}

/// How many elements of a weight are left, and how many there are.
fn count(tensors: &NamedTensors, masks: Option<&NamedTensors>, name: &str) -> (usize, usize) {
    let left = match masks {
        Some(masks) => masks.get(name),
        None => tensors.get(name),
    };
    let total = tensors.get(name).map_or(0, |tensor| tensor.data.len());
    let kept = left.map_or(total, |of| of.data.iter().filter(|w| **w != 0.0).count());
    (kept, total)
}

/// Of all layers, then of each.
fn rows(counts: &[(&str, usize, usize)]) -> Vec<Row> {
    let sum = |of: fn(&(&str, usize, usize)) -> usize| counts.iter().map(of).sum::<usize>();
    let all = (String::new(), sum(|c| c.1), sum(|c| c.2));
    let each = counts
        .iter()
        .map(|(layer, kept, total)| (format!("[{layer}]"), *kept, *total));
    let values = std::iter::once(all).chain(each);
    let values = values.flat_map(|(of, kept, total)| {
        let fraction = kept as f64 / total.max(1) as f64;
        let values = [
            ("kept", kept as f64),
            ("total", total as f64),
            ("fraction", fraction),
        ];
        values.map(|(name, value)| Row {
            name: format!("{name}{of}"),
            value,
            ..Row::default()
        })
    });
    values.collect()
}

const DOC: &str = r#"
Counts weights, layer by layer: what `prune` or a search for a `subnetwork` has left of each.

```yaml
prune: {uses: prune, needs: {model: train.model}, with: {fraction: 0.8, scope: global}}
left: {uses: sparsity, needs: {model: prune.model, mask: prune.mask}}
```

`metrics` has `kept[fc1]`, `total[fc1]` and `fraction[fc1]` (kept over total) for the weight of the layer
`fc1`, and `kept`, `total` and `fraction` of all weights together. Biases and norms are not counted: they
are never pruned. Of a weight that the mask does not name everything is left. Without a mask a weight is
left if it is not 0.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::NamedTensor;

    #[test]
    fn layers_and_their_sum() {
        let tensor = |data: &[f32]| NamedTensor {
            shape: vec![data.len()],
            data: data.to_vec(),
        };
        let named = |all: &[(&str, &[f32])]| -> NamedTensors {
            let all = all.iter();
            all.map(|(n, data)| ((*n).to_owned(), tensor(data)))
                .collect()
        };
        let model = named(&[
            ("a.weight", &[1.0, 0.0, -0.0, 2.0]),
            ("b.weight", &[3.0; 4]),
        ]);
        assert_eq!(count(&model, None, "a.weight"), (2, 4));
        let mask = named(&[("a.weight", &[1.0, 1.0, 0.0, 1.0])]);
        assert_eq!(
            count(&model, Some(&mask), "a.weight"),
            (3, 4),
            "the mask decides"
        );
        assert_eq!(
            count(&model, Some(&mask), "b.weight"),
            (4, 4),
            "no mask, all is left"
        );
        let rows = rows(&[("a", 3, 4), ("b", 4, 4)]);
        let shown: Vec<_> = rows.iter().map(|r| (r.name.as_str(), r.value)).collect();
        let want = [
            ("kept", 7.0),
            ("total", 8.0),
            ("fraction", 0.875),
            ("kept[a]", 3.0),
            ("total[a]", 4.0),
            ("fraction[a]", 0.75),
            ("kept[b]", 4.0),
            ("total[b]", 4.0),
            ("fraction[b]", 1.0),
        ];
        assert_eq!(shown, want);
    }
}
