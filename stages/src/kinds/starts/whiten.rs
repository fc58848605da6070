//! The kind `whiten`: first filters that make the pixels of a patch uncorrelated.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::facts::{Fact, Findings, Known, ModelFact, refuse, shown};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::nn::architecture::Architecture;
use crate::nn::model::Model;
use crate::task::Task;
use crate::training::evaluation::check_data;
use crate::training::patches::Patches;
use repro_numerics::exact::symmetric::Eigen;

/// See the module.
pub struct Whiten;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Images whose patches are looked at, the first ones, or all where there are fewer. The
    /// author's code: 5000.
    #[serde(default = "five_thousand")]
    #[schemars(range(min = 1))]
    pub images: usize,
    /// Added to the eigenvalues, so that directions in which patches hardly differ stay quiet. The
    /// author's code: 0.0005.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
}

fn five_thousand() -> usize {
    5000
}

fn epsilon() -> f64 {
    5e-4
}

impl Kind for Whiten {
    type Params = Params;
    const NAME: &'static str = "whiten";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Makes the first filters of a network whiten the patches of images (Page 2019, Jordan 2024).";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The network."),
        InputSpec::required("train", "The images; several sets are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("model", "model.safetensors")?])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let checks = [
            ("images", p.images >= 1, "must be at least 1"),
            (
                "epsilon",
                p.epsilon.is_finite() && p.epsilon > 0.0,
                "must be finite and above 0",
            ),
        ];
        let wrong = checks.into_iter().filter(|(_, good, _)| !good);
        wrong
            .map(|(name, _, message)| ParamProblem::new(&[name], message, ""))
            .collect()
    }

    fn facts(_: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let identity = shown("train", known, &mut found);
        let architecture = identity.clone().map(Architecture::new);
        if let Some(Ok(architecture)) = architecture
            && let Err(failure) = fitting(&architecture)
        {
            refuse(("model", 0), failure, &mut found);
        }
        found.say("model", Fact::Model(ModelFact { identity }));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("train"), "train")?;
        let mut model = Model::read(&task.input("model")?.path)?;
        check_data(&data, &model.architecture.identity, "train")?;
        let patches = fitting(&model.architecture)?;
        let of_patches = patches.moments(&data, p.images).second();
        let filters = filters(patches.size(), of_patches, p.epsilon);
        let name = &model.architecture.parameters[patches.weight].name;
        let Some(weight) = model.tensors.get_mut(name) else {
            anyhow::bail!("the model has no `{name}`");
        };
        weight.data = filters;
        model.write(task.output("model")?)
    }
}

/// The patches of a first layer with two filters for each of their values.
fn fitting(architecture: &Architecture) -> Result<Patches, Failure> {
    let patches = Patches::of(architecture)?;
    let shape = &architecture.parameters[patches.weight].shape;
    let layer = match shape.len() {
        4 => format!("a convolution with `channels: {}`", 2 * patches.size()),
        _ => format!("{} units", 2 * patches.size()),
    };
    let (filters, wanted) = (shape[0], 2 * patches.size());
    if filters != wanted {
        let text = format!(
            "its first layer has {filters} filters, and patches of {} values take {wanted}: two for each",
            patches.size()
        );
        let hint = format!(
            "write the network out with {layer} as its first layer; of the named ones only `airbench94` has such a stem, for images of three channels"
        );
        return Err(Failure::new(text).hint(hint));
    }
    Ok(patches)
}

/// `v / √(λ + ε)` for each eigenvector, the largest eigenvalue first, then all of them with the
/// other sign.
fn filters(size: usize, second_moments: Vec<f64>, epsilon: f64) -> Vec<f32> {
    let eigen = Eigen::of(size, second_moments);
    let components = eigen.values.iter().zip(eigen.vectors.chunks_exact(size));
    let scaled = components.flat_map(|(value, vector)| {
        let by = (value.max(0.0) + epsilon).sqrt();
        vector.iter().map(move |x| (x / by) as f32)
    });
    let mut all = Vec::from_iter(scaled);
    all.extend(all.clone().iter().map(|x| -x));
    all
}

const DOC: &str = r#"
The first layer's filters become those that whiten the patches it looks at: the eigenvectors of the
patches' second moments (the mean of `x·xᵀ`, of normalised pixels), each divided by the square root
of its eigenvalue, and all of them once more with the other sign (Page, *How to Train Your ResNet 8:
Bag of Tricks*, 2019; Jordan, *94% on CIFAR-10 in 3.29 Seconds on a Single GPU*, 2024,
arXiv:2404.00498, section 3.2). So the layer needs two filters for each value of a patch: 24 for 2 × 2
pixels of three channels, as `airbench94` has. Biases and all other layers stay. The filters are not
meant to learn:

```yaml
fresh: {uses: train, needs: {train: data.train}, with: {model: airbench94, init: he_uniform, seed: 1, length: {epochs: 0}, optimizer: {sgd: {lr: 0.1}}}}
start: {uses: whiten, needs: {model: fresh.model, train: data.train}}
train: {uses: train, needs: {init: start.model, train: data.train, test: data.test}, with: {seed: 1, frozen: ["conv1.weight"], length: {epochs: 8}, optimizer: {sgd: {lr: 0.1, momentum: 0.9, nesterov: true}}}}
```

Only patches inside the image count, also where the layer pads. Of the named networks `airbench94` has
such a stem, for images of three channels; write others out (`{conv: {layers: [{conv: {channels: 8, kernel: 2,
padding: valid}}, ...]}}` for 2 × 2 pixels of one channel).
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// The law: with ε = 0 the first half of the filters gives uncorrelated values of variance 1.
    #[test]
    fn patches_become_white() {
        let n = 3;
        let moments = vec![2.0, 0.5, 0.1, 0.0, 1.0, -0.3, 0.0, 0.0, 0.7];
        let full = |i: usize, j: usize| moments[i.min(j) * n + i.max(j)];
        let filters = filters(n, moments.clone(), 0.0);
        let value = |i: usize, k: usize| f64::from(filters[i * n + k]);
        for i in 0..n {
            for j in 0..n {
                let mut of_pair = 0.0;
                for k in 0..n {
                    for l in 0..n {
                        of_pair += value(i, k) * full(k, l) * value(j, l);
                    }
                }
                let wanted = f64::from(u8::from(i == j));
                assert!((of_pair - wanted).abs() < 1e-6, "{i} {j}: {of_pair}");
            }
        }
        let (first, second) = filters.split_at(n * n);
        assert!(first.iter().zip(second).all(|(a, b)| *a == -b));
    }

    /// Directions without any variance stay finite.
    #[test]
    fn epsilon_bounds_the_filters() {
        let filters = filters(2, vec![1.0, 1.0, 0.0, 1.0], 1e-4);
        assert!(filters.iter().all(|x| x.abs() <= 100.0), "{filters:?}");
    }
}
