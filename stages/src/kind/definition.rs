//! What a kind is: typed parameters, declared inputs and outputs, one function.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use repro_protocol::findings::Findings;
use repro_protocol::kind::{InputSpec, OutputSpec, ParamProblem, StatePoint, no_member};
use repro_protocol::relpath::BadPath;

use crate::device;
use crate::facts::Known;
use crate::task::Task;
use repro_numerics::exact::numerics::Numerics;

/// The outputs of a kind, or the error that the path of one is invalid.
pub type Outputs = Result<Vec<OutputSpec>, BadPath>;

/// Where a kind computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the CPU, whatever the run chose.
    Host,
    /// On the device that the run chose for it ([`device::open`]).
    Device,
}

impl Place {
    /// What arithmetic promises there.
    pub const fn numerics(self) -> Numerics {
        match self {
            Place::Host => Numerics::ExactF32,
            Place::Device => device::NUMERICS,
        }
    }
}

/// A kind of stage.
pub trait Kind {
    /// The parameters of `with:`. All of them are in the key, so none may be mere tuning.
    /// Stochastic kinds have a required `seed`. Choices are one-key maps; serialising gives every
    /// default explicitly.
    type Params: Serialize + DeserializeOwned + JsonSchema;
    /// What `uses:` says.
    const NAME: &'static str;
    /// Raised when the bytes of any output may change for the same inputs.
    const REVISION: u32;
    /// Where it computes. What its arithmetic promises follows from that.
    const PLACE: Place = Place::Host;
    /// One sentence.
    const SUMMARY: &'static str;
    /// The guide to the kind, in Markdown: what it computes, the source, an example.
    const DOC: &'static str;
    /// Inputs it can take.
    const INPUTS: &'static [InputSpec];
    /// Inputs whose items are observations: the job says which come from one another.
    const COUNTS: &'static [&'static str] = &[];
    /// The outputs with these parameters.
    ///
    /// # Errors
    /// The path of an output is invalid.
    fn outputs(params: &Self::Params) -> Outputs;
    /// The outputs where they depend on the names given under `needs:` too.
    ///
    /// # Errors
    /// As [`Kind::outputs`].
    fn outputs_with(params: &Self::Params, _needs: &[String]) -> Outputs {
        Self::outputs(params)
    }
    /// Spells out defaults that depend on other parameters.
    fn settle(_params: &mut Self::Params) {}
    /// Checks what types cannot say: ranges, combinations with the names given under `needs:`.
    fn validate(params: &Self::Params, needs: &[String]) -> Vec<ParamProblem>;
    /// The file that `stage.output[name=value]` means, where the output is a directory, or why
    /// there is none.
    fn member(
        _params: &Self::Params,
        output: &str,
        _picks: &[(String, Value)],
    ) -> Result<String, String> {
        no_member(output)
    }
    /// What the parameters and the facts about the inputs say of the outputs before anything runs,
    /// and what cannot work. By default nothing is known.
    fn facts(_params: &Self::Params, _known: &Known) -> Findings {
        Findings::default()
    }
    /// Where it computes with these parameters.
    fn place(_params: &Self::Params) -> Place {
        Self::PLACE
    }
    /// The resumable states on the way to the result, longest first.
    fn states(_params: &Self::Params) -> Vec<StatePoint> {
        Vec::new()
    }
    /// Does the work.
    fn run(params: &Self::Params, task: &mut Task) -> anyhow::Result<()>;
}
