//! A kind with its types erased: what the engine is told of it, and the function that does the
//! work.

use std::ops::Deref;
use std::sync::Arc;

use repro_protocol::findings::Findings;
use repro_protocol::kind::{Description, Schema};

use super::check::{check, read};
use super::definition::{Kind, Place};
use crate::facts::Known;
use crate::task::Task;

/// A built-in kind: what the engine knows of it, and the function that does the work.
pub struct BuiltIn {
    /// What the engine knows.
    pub description: Description,
    /// Runs a job.
    pub run: fn(&mut Task) -> anyhow::Result<()>,
}

impl Deref for BuiltIn {
    type Target = Description;
    fn deref(&self) -> &Description {
        &self.description
    }
}

impl BuiltIn {
    /// Erases the types of a kind.
    pub fn of<K: Kind + 'static>() -> BuiltIn {
        let description = Description {
            name: K::NAME.into(),
            summary: K::SUMMARY.into(),
            doc: K::DOC.into(),
            revision: K::REVISION,
            numerics: K::PLACE.numerics().name().into(),
            inputs: K::INPUTS.to_vec(),
            counts: K::COUNTS.iter().map(|c| (*c).to_owned()).collect(),
            schema: Schema::later(|| schemars::schema_for!(K::Params).to_value()),
            check: Arc::new(check::<K>),
            member: Arc::new(|params, output, picks| {
                let params = read(params).map_err(|refused| refused.text)?;
                K::member(&params, output, picks)
            }),
            facts: Some(Arc::new(|params, known| {
                read(params).map_or_else(|_| Findings::default(), |p| K::facts(&p, &Known(known)))
            })),
            // Parameters that cannot be parsed have no states; `run` says what is wrong with them.
            states: Some(Arc::new(|params| {
                read(params).map_or_else(|_| Vec::new(), |p| K::states(&p))
            })),
            on_gpu: match K::PLACE {
                Place::Host => None,
                Place::Device => Some(Arc::new(|params| {
                    read(params).is_ok_and(|p| K::place(&p) == Place::Device)
                })),
            },
        };
        BuiltIn {
            description,
            run: |task| {
                let params = read(&task.job.params)
                    .map_err(|refused| anyhow::anyhow!("the job's parameters: {refused}"))?;
                K::run(&params, task)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kinds;

    #[test]
    fn who_may_compute_on_a_gpu_is_known_before() {
        let on_gpu = |kind: &str, params: Value| {
            let kind = kinds::find(kind).unwrap();
            kind.on_gpu.as_ref().is_some_and(|on_gpu| on_gpu(&params))
        };
        for kind in [
            "download",
            "split",
            "corrupt",
            "perturb",
            "shuffle",
            "summarise",
            "claim",
        ] {
            assert!(!on_gpu(kind, json!({"seed": 1})), "{kind}");
        }
        let evaluate = (kinds::find("evaluate").unwrap().check)(&json!({}), &[]);
        assert!(on_gpu("evaluate", evaluate.unwrap().params));
        for (by, is_there) in [
            (json!("magnitude"), false),
            (json!({"random": {"seed": 1}}), false),
            (json!({"snip": {"seed": 1}}), true),
            (json!({"grasp": {"seed": 1}}), true),
            (json!({"synflow": {}}), true),
        ] {
            assert_eq!(
                on_gpu("prune", json!({"fraction": 0.5, "by": by})),
                is_there,
                "{by}"
            );
        }
    }
}
