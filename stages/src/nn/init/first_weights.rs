//! What of the first weights differs from the rule: biases, scales, single layers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::Init;

/// What of the first weights differs from `init`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirstWeights {
    /// How biases start: a rule without fans (`constant`, `uniform`, `normal` ..) or `pytorch`. For
    /// the last layer's `output_bias` comes before it, and for each `by_name` before both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biases: Option<Init>,
    /// How the bias of the last layer starts. A rule of `by_name` for it comes before this; no
    /// factor of `scales` reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bias: Option<OutputBias>,
    /// Rules by name, in place of all others: `{"conv*": he_normal, "fc2.bias": {constant: 0.1}}`.
    /// A layer's name means its weight, a name that ends in `.weight` or `.bias` one parameter; `*`
    /// stands for any characters. Of several the most specific counts: a name without `*`, else the
    /// one with more characters beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_name: BTreeMap<String, Init>,
    /// A factor on all weights; biases and norms are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Factors by name, as in `by_name`, times `scale` where they meet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scales: BTreeMap<String, f64>,
}

/// How the bias of the last layer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputBias {
    /// As the training data are distributed (Goodfellow et al. 2016, section 8.4): ln p of a class
    /// with the share p, the mean of a number to be learnt. While the outputs are small, the first
    /// loss is the entropy of the classes.
    Marginals,
}

/// What is said of biases that no fan decides.
pub(super) const WITHOUT_FANS: &str = "give a rule without fans: `constant`, `uniform`, `uniform_range`, `normal`, or `pytorch` for a layer's bias";

impl FirstWeights {
    /// Mistakes that can be seen without a network: the field and what is wrong with it.
    pub fn problems(&self) -> Vec<(Vec<String>, String)> {
        let mut found = Vec::new();
        let mut add = |path: &[&str], message: Option<String>| {
            let path = path.iter().map(|s| (*s).to_owned()).collect();
            found.extend(message.map(|message| (path, message)));
        };
        if let Some(rule) = self.biases {
            let has_fans = rule != Init::Pytorch && rule.rule().anywhere().is_none();
            let message = has_fans.then(|| format!("biases have no fans: {WITHOUT_FANS}"));
            add(&["biases"], rule.problem().or(message));
        }
        for (pattern, rule) in &self.by_name {
            add(&["by_name", pattern], rule.problem());
        }
        let infinite = |x: f64| (!x.is_finite()).then(|| format!("must be finite, got {x}"));
        add(&["scale"], self.scale.and_then(infinite));
        for (pattern, factor) in &self.scales {
            add(&["scales", pattern], infinite(*factor));
        }
        found
    }
}
