//! Which share of its weights each layer loses: `fraction`, and what differs from it by a layer's
//! sort, its name, or because it is the last. Does not know which weights go.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Params;
use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::nn::init::{by_layer, whole_layers};
use crate::nn::layer::Parameter;

/// Shares that differ from `fraction`, each in [0, 1] (layerwise only). A name counts before
/// `output_layer_fraction`, and that before the sort.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Of convolutions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub conv: Option<f64>,
    /// Of dense layers, and of the matrices of recurrent ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dense: Option<f64>,
    /// Of layers by their names, in which `*` stands for any characters; with 0 a layer stays
    /// whole. Of several names for one layer the most specific counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_name: BTreeMap<String, f64>,
}

/// Where in the parameters something is wrong, and what.
pub(super) type Misfit = (Vec<String>, Failure);

impl Rates {
    /// Every share, by its place.
    pub(super) fn shares(&self) -> Vec<(Vec<&str>, f64)> {
        let sorts = [("conv", self.conv), ("dense", self.dense)];
        let sorts = sorts
            .into_iter()
            .filter_map(|(sort, share)| Some((vec!["rates", sort], share?)));
        let names = self.by_name.iter();
        let names = names.map(|(name, share)| (vec!["rates", "by_name", name.as_str()], *share));
        sorts.chain(names).collect()
    }

    fn of_sort(&self, weight: &Parameter) -> Option<f64> {
        match weight.shape.len() {
            4 => self.conv,
            _ => self.dense,
        }
    }
}

/// The share that each parameter loses, by position in the architecture.
///
/// # Errors
/// A name that means no weight, or two equally specific ones.
pub(super) fn shares(p: &Params, architecture: &Architecture) -> Result<Vec<f64>, Misfit> {
    let rates = p.rates.clone().unwrap_or_default();
    let at = |name: &str| ["rates", "by_name", name].map(str::to_owned).to_vec();
    let named = by_layer(&rates.by_name, architecture).map_err(|(name, why)| (at(&name), why))?;
    let named: Vec<Option<f64>> = named.into_iter().map(Option::<&f64>::copied).collect();
    for name in rates.by_name.keys() {
        let meant = whole_layers(std::slice::from_ref(name), architecture);
        let meant = meant.map_err(|why| (at(name), why))?;
        let mut meant = meant.iter().zip(&architecture.parameters);
        if !meant.any(|(is_meant, parameter)| *is_meant && parameter.role.is_weight()) {
            let text = format!("`{name}` means no weight: nothing else is pruned");
            return Err((
                at(name),
                Failure::new(text).hint("name layers, as in `fc*`"),
            ));
        }
    }
    let output = architecture.output_weight();
    let parameters = architecture.parameters.iter().enumerate().zip(named);
    let share = |((position, parameter), named): ((usize, &Parameter), Option<f64>)| {
        let last = p.output_layer_fraction.filter(|_| position == output);
        let rate = named.or(last).or_else(|| rates.of_sort(parameter));
        rate.unwrap_or(p.fraction)
    };
    Ok(parameters.map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::architecture::tests::architecture;

    fn params(with: serde_json::Value) -> Params {
        serde_json::from_value(with).unwrap()
    }

    /// Frankle & Carbin 2019, figure 2: 10 % of convolutions, 20 % of dense layers, the output
    /// layer at half of that; and a name before all of them.
    #[test]
    fn the_most_specific_share_counts() {
        let a = architecture(serde_json::json!("conv-2"), (8, 8, 3), 10);
        let of = |with: serde_json::Value| {
            let shares = shares(&params(with), &a).unwrap();
            let weights = a.parameters.iter().zip(shares);
            let weights = weights.filter(|(p, _)| p.role.is_weight());
            weights.map(|(_, share)| share).collect::<Vec<_>>()
        };
        let paper = serde_json::json!({"fraction": 0.5, "output_layer_fraction": 0.1,
            "rates": {"conv": 0.1, "dense": 0.2}});
        assert_eq!(of(paper), [0.1, 0.1, 0.2, 0.2, 0.1]);
        let named = serde_json::json!({"fraction": 0.5, "output_layer_fraction": 0.1,
            "rates": {"conv": 0.1, "by_name": {"*": 0.3, "conv*": 0.4, "conv1": 0.0}}});
        assert_eq!(of(named), [0.0, 0.4, 0.3, 0.3, 0.3]);
        let plain = serde_json::json!({"fraction": 0.5, "rates": {}});
        assert_eq!(of(plain), [0.5; 5]);
    }

    #[test]
    fn a_name_that_means_nothing_is_told() {
        let model = serde_json::json!({"mlp": {"hidden": [5], "batch_norm": {}}});
        let a = architecture(model, (1, 2, 1), 2);
        for (name, why) in [
            ("conv*", "`conv*` names no layer of this network"),
            ("bn1", "`bn1` means no weight: nothing else is pruned"),
            (
                "fc1.bias",
                "`fc1.bias` means no weight: nothing else is pruned",
            ),
        ] {
            let with = serde_json::json!({"fraction": 0.5, "rates": {"by_name": {name: 0.1}}});
            let (at, failure) = shares(&params(with), &a).unwrap_err();
            assert_eq!(at, ["rates", "by_name", name]);
            assert_eq!(failure.message, why);
        }
        let with =
            serde_json::json!({"fraction": 0.5, "rates": {"by_name": {"fc*": 0.1, "*c1": 0.2}}});
        let (_, failure) = shares(&params(with), &a).unwrap_err();
        assert!(failure.message.contains("neither is more specific"));
    }
}
