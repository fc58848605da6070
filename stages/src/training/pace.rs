//! How fast each parameter learns beside the others: factors on the learning rate by name, and
//! layers that stay as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::nn::init::{by_layer, whole_layers};

/// What a recipe says of single layers. Names are those of layers, or of parameters where they end
/// in `.weight` or `.bias`; `*` stands for any characters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Paces {
    /// Factors on the learning rate. Of several names for one parameter the most specific counts.
    pub rates: BTreeMap<String, f64>,
    /// What does not learn.
    pub frozen: Vec<String>,
}

/// How fast a parameter learns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Not at all: neither gradient nor weight decay moves it, and clipping does not count its
    /// gradient.
    Frozen,
    /// At so many times the learning rate.
    Times(f64),
}

/// A field of [`Paces`] (`learning_rates` or `frozen`), and what is wrong there.
pub type Misfit = (Vec<String>, Failure);

impl Paces {
    /// Nothing is said: all learn alike.
    pub fn is_even(&self) -> bool {
        self.rates.is_empty() && self.frozen.is_empty()
    }

    /// Mistakes that can be seen without a network.
    pub fn problems(&self) -> Vec<(Vec<String>, String)> {
        let bad = |factor: f64| !(factor.is_finite() && factor > 0.0);
        let rates = self.rates.iter().filter(|(_, factor)| bad(**factor));
        rates
            .map(|(name, factor)| {
                let at = vec!["learning_rates".to_owned(), name.clone()];
                (at, format!("must be finite and above 0, got {factor}"))
            })
            .collect()
    }

    /// The pace of every parameter, by position in [`Architecture::parameters`]; none where all
    /// learn alike.
    ///
    /// # Errors
    /// A name that means nothing; two equally specific ones for one parameter; nothing left to
    /// learn.
    pub fn of(&self, architecture: &Architecture) -> Result<Option<Vec<Pace>>, Misfit> {
        if self.is_even() {
            return Ok(None);
        }
        let frozen = whole_layers(&self.frozen, architecture);
        let frozen = frozen.map_err(|failure| (vec!["frozen".to_owned()], failure))?;
        let trained = architecture.parameters.iter().map(|p| p.role.is_trained());
        if trained
            .zip(&frozen)
            .all(|(trained, frozen)| !trained || *frozen)
        {
            let failure = Failure::new("every layer of this network is frozen")
                .hint("leave one out: nothing would be learnt");
            return Err((vec!["frozen".to_owned()], failure));
        }
        let rates = by_layer(&self.rates, architecture)
            .map_err(|(name, failure)| (vec!["learning_rates".to_owned(), name], failure))?;
        let pace = |(rate, frozen): (Option<&f64>, bool)| match (frozen, rate) {
            (true, _) => Pace::Frozen,
            (false, rate) => Pace::Times(rate.copied().unwrap_or(1.0)),
        };
        Ok(Some(rates.into_iter().zip(frozen).map(pace).collect()))
    }
}
