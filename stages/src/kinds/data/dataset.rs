//! `dataset`: own images, arrays and tables as data sets.
//!
//! Decides what the parts are called and how they are normalised; the formats are `data::own`'s.

mod params;
mod reading;
mod sources;
#[cfg(test)]
mod tests;

use crate::data::own::assemble::{Normalisation, assemble};
use crate::facts::{DataFact, Fact, Findings, Known};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::task::Task;
use repro_protocol::job::Event;

pub use params::{ArrayName, Fixed, Idx, Normalise, Npy, Npz, Params};
use reading::read;
use sources::sources;

/// See the module.
pub struct DatasetKind;

impl Kind for DatasetKind {
    type Params = Params;
    const NAME: &'static str = "dataset";
    /// Also stands for the JPEG decoder (zune-jpeg 0.5.15, without vector instructions), whose bits
    /// are part of the result.
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Makes data sets of own images, arrays and tables.";
    const DOC: &'static str = include_str!("dataset/guide.md");
    const INPUTS: &'static [InputSpec] = &[InputSpec::optional("*", "A part of the data: a directory, a file, a list of files to be put together, or the files `x` and `y`.").many()];

    fn outputs(params: &Params) -> Outputs {
        let parts = params.parts.keys().cloned().collect::<Vec<_>>();
        outputs(&parts)
    }

    fn outputs_with(params: &Params, needs: &[String]) -> Outputs {
        match params.parts.is_empty() {
            true => outputs(needs),
            false => Self::outputs(params),
        }
    }

    /// What the parts hold is known only when they are read, but for what is to be learnt.
    fn facts(params: &Params, known: &Known) -> Findings {
        let needs: Vec<String> = known.0.inputs.keys().map(|&name| name.to_owned()).collect();
        let mut found = Findings::default();
        for output in Self::outputs_with(params, &needs).into_iter().flatten() {
            let data = DataFact {
                answers: params.answers(),
                ..DataFact::default()
            };
            found.say(&output.name, Fact::Data(data));
        }
        found
    }

    fn validate(params: &Params, needs: &[String]) -> Vec<ParamProblem> {
        params.problems(needs)
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let formats = params.formats();
        let [(_, format)] = &formats[..] else {
            anyhow::bail!("the job has {} formats, not one", formats.len());
        };
        let mut parts = Vec::new();
        let mut warnings = Vec::new();
        for (part, sources) in sources(params, &task.job.inputs)? {
            let raw = read(&part, &sources, format, &mut warnings).map_err(|e| {
                match e.downcast::<Failure>() {
                    Ok(failure) => failure.within(&format!("`{part}`")).into(),
                    Err(e) => e.context(format!("`{part}`")),
                }
            })?;
            parts.push((part, raw));
        }
        for text in warnings {
            task.send(&Event::Warning { text });
        }
        let normalisation = match &params.normalise {
            Normalise::None => Normalisation::Given(vec![0.0], vec![1.0]),
            Normalise::Fixed(fixed) => Normalisation::Given(fixed.mean.clone(), fixed.std.clone()),
            Normalise::Measured => {
                let train = parts.iter().map(|(name, _)| name).find(|n| *n == "train");
                Normalisation::Of(
                    train
                        .or(parts.first().map(|(n, _)| n))
                        .cloned()
                        .unwrap_or_default(),
                )
            }
        };
        let sets = assemble(
            &params.name,
            parts,
            params.classes.as_deref(),
            &normalisation,
        )?;
        for (part, set) in sets {
            task.figures
                .insert(format!("examples.{part}"), set.len() as f64);
            set.save(task.output(&part)?)?;
        }
        Ok(())
    }
}

fn outputs(parts: &[String]) -> Outputs {
    let output = |name: &String| OutputSpec::new(name, &format!("{name}.safetensors"));
    parts.iter().map(output).collect()
}
