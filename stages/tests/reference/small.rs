//! The perceptrons and the eight rows that the scripts draw: six columns, and mostly three
//! classes.

use repro_stages::data::{Answers, Dataset, ImageShape, Info, Values};
use repro_stages::nn::architecture::{Architecture, Head, Identity, InputSize};
use repro_stages::nn::model::Model;
use repro_stages::weights::NamedTensor;
use serde_json::Value;

use super::unit;

/// `{mlp: ..}` on six columns.
pub fn perceptron(model: Value, outputs: Head) -> Architecture {
    Architecture::new(Identity {
        model: serde_json::from_value(model).unwrap(),
        input: InputSize {
            height: 1,
            width: 1,
            channels: 6,
        },
        outputs,
    })
    .unwrap()
}

/// The network with weights drawn as `FIXTURE/PARAMETER`.
pub fn drawn(architecture: Architecture, fixture: &str) -> Model {
    let tensors = (architecture.parameters.iter())
        .map(|p| {
            let len = p.shape.iter().product();
            let data = unit(&format!("{fixture}/{}", p.name), len);
            let shape = p.shape.clone();
            (p.name.clone(), NamedTensor { shape, data })
        })
        .collect();
    Model {
        architecture,
        tensors,
    }
}

/// Eight rows drawn as `FIXTURE/inputs`, labelled 0, 1, 2, 0 ...
pub fn eight(fixture: &str) -> Dataset {
    rows(fixture, 8)
}

/// So many of them.
pub fn rows(fixture: &str, count: u32) -> Dataset {
    let info = Info {
        name: "drawn".into(),
        shape: ImageShape::table(6),
        classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        mean: vec![0.0; 6],
        std: vec![1.0; 6],
        columns: ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec(),
        targets: Vec::new(),
    };
    let values = Values::Floats(unit(&format!("{fixture}/inputs"), 6 * count as usize));
    let labels = Answers::Labels((0..count).map(|i| i % 3).collect());
    Dataset::of(info, values, labels, (0..count).collect()).unwrap()
}
