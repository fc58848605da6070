//! Tests of [`super`]. Names are those that PyTorch gives: of torchvision's `resnet18`, of the nets
//! of its examples, and of `nn.Sequential`; a file is what
//! `safetensors.torch.save_file(net.state_dict(), path)` writes.

use super::*;
use crate::nn::architecture::{Head, Identity, InputSize};
use crate::nn::model::Model;
use crate::weights::{Encoding, TensorFile};
use serde_json::{Value, json};

fn architecture(model: Value) -> Architecture {
    Architecture::new(identity(model)).unwrap()
}

fn identity(model: Value) -> Identity {
    Identity {
        model: serde_json::from_value(model).unwrap(),
        input: InputSize {
            height: 8,
            width: 8,
            channels: 3,
        },
        outputs: Head::Classes(10),
    }
}

/// The network's own tensors, each with a number of its own, under other names.
fn renamed(architecture: &Architecture, name: impl Fn(&str) -> String) -> NamedTensors {
    let tensor = |(i, p): (usize, &crate::nn::layer::Parameter)| {
        let data = vec![i as f32; p.shape.iter().product()];
        let shape = p.shape.clone();
        (name(&p.name), NamedTensor { shape, data })
    };
    architecture
        .parameters
        .iter()
        .enumerate()
        .map(tensor)
        .collect()
}

/// All come where they belong.
fn fits(architecture: &Architecture, name: impl Fn(&str) -> String) {
    let got = adopt(architecture, renamed(architecture, &name), "it").unwrap();
    assert_eq!(got, renamed(architecture, str::to_owned));
}

fn says(architecture: &Architecture, tensors: NamedTensors) -> String {
    adopt(architecture, tensors, "it").unwrap_err().message
}

/// `features.0.weight` for the layer at a position of the list.
fn at<'a>(table: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> String + 'a {
    |name| {
        let (layer, last) = name.rsplit_once('.').unwrap();
        let found = table.iter().find(|(ours, _)| *ours == layer);
        format!("{}.{last}", found.unwrap_or_else(|| panic!("{layer}")).1)
    }
}

#[test]
fn case_23_a_resnet_of_torchvision_or_of_the_cifar_nets() {
    let net = architecture(json!({"resnet": {"widths": [4, 8], "blocks": [1, 2]}}));
    fits(&net, str::to_owned);
    fits(&net, |name| format!("module.{name}"));
    fits(&net, |name| format!("_orig_mod.module.{name}"));
    fits(&net, |name| {
        name.replace("downsample", "shortcut")
            .replace("fc.", "linear.")
    });
    let mut counted = renamed(&net, str::to_owned);
    let scalar = NamedTensor {
        shape: vec![],
        data: vec![7.0],
    };
    counted.insert("bn1.num_batches_tracked".into(), scalar);
    assert_eq!(
        adopt(&net, counted, "it").unwrap(),
        renamed(&net, str::to_owned)
    );
}

#[test]
fn case_23_numbered_layers_of_sequential() {
    // nn.Sequential(Flatten, Linear, BatchNorm1d, ReLU, Linear, BatchNorm1d, ReLU, Linear): two
    // hidden layers of one width.
    let net = architecture(json!({"mlp": {"hidden": [192, 192], "batch_norm": {}}}));
    fits(
        &net,
        at(&[
            ("fc1", "1"),
            ("bn1", "2"),
            ("fc2", "4"),
            ("bn2", "5"),
            ("fc3", "10"),
        ]),
    );
    let conv = |c: usize| json!({"conv": {"channels": c}});
    let layers =
        json!([conv(4), {"activation": "relu"}, conv(4), {"pool": {"max": 2}}, {"dense": 6}]);
    let net = architecture(json!({"conv": {"layers": layers}}));
    // Read in the order of letters, `classifier` would come first, and 10 before 2.
    fits(
        &net,
        at(&[
            ("conv1", "features.2"),
            ("conv2", "features.10"),
            ("fc1", "classifier.1"),
            ("fc2", "classifier.3"),
        ]),
    );
    fits(
        &net,
        at(&[
            ("conv1", "conv1"),
            ("conv2", "conv2"),
            ("fc1", "fc1"),
            ("fc2", "fc2"),
        ]),
    );
    fits(
        &net,
        at(&[
            ("conv1", "layer1.0"),
            ("conv2", "layer2.0"),
            ("fc1", "hidden"),
            ("fc2", "out"),
        ]),
    );
    // Norms before and after flattening, of one width.
    let norm = json!({"batch_norm": {}});
    let layers = json!([conv(4), norm, {"dense": 4}, norm]);
    let net = architecture(json!({"conv": {"layers": layers}}));
    fits(
        &net,
        at(&[
            ("conv1", "features.0"),
            ("bn1", "features.1"),
            ("fc1", "classifier.0"),
            ("bn2", "classifier.1"),
            ("fc2", "classifier.3"),
        ]),
    );
}

#[test]
fn case_23_no_order_is_guessed() {
    let net = architecture(json!({"mlp": {"hidden": [20, 20, 20]}}));
    let names = [
        ("fc1", "input"),
        ("fc2", "second"),
        ("fc3", "middle"),
        ("fc4", "out"),
    ];
    let said = says(&net, renamed(&net, at(&names)));
    assert_eq!(
        said,
        "it: which comes first of `middle`, `second`? They have one shape, and their names do not say"
    );
}

#[test]
fn case_23_what_does_not_match_is_listed() {
    let net = architecture(json!({"mlp": {"hidden": [20]}}));
    let mut other = renamed(&net, str::to_owned);
    other.insert(
        "fc2.weight".into(),
        NamedTensor {
            shape: vec![1000, 20],
            data: vec![0.0; 20_000],
        },
    );
    assert_eq!(
        says(&net, other),
        "it is not the network that `model` says: without a partner are, of the network, fc2.bias [10] + fc2.weight [10, 20]; \
         of the file, fc2.bias [10] + fc2.weight [1000, 20]"
    );
    let said = says(&net, NamedTensors::new());
    assert!(
        said.contains("fc1.weight") && said.ends_with("of the file, nothing"),
        "{said}"
    );
}

#[test]
fn case_23_a_file_without_our_words_is_read_where_the_network_is_given() {
    let net = architecture(json!({"mlp": {"hidden": [5]}}));
    let names = [("fc1", "net.0"), ("fc2", "net.2")];
    let file = tempfile::NamedTempFile::new().unwrap();
    let theirs = TensorFile {
        tensors: renamed(&net, at(&names)),
        metadata: [("format".to_owned(), "pt".to_owned())].into(),
    };
    theirs.write(file.path(), Encoding::F32).unwrap();
    let model = Model::read_as(file.path(), Some(&net.identity)).unwrap();
    assert_eq!(model.tensors, renamed(&net, str::to_owned));
    let refused = Model::read(file.path())
        .unwrap_err()
        .downcast::<Failure>()
        .unwrap();
    assert!(
        refused.message.contains("does not say which network"),
        "{refused}"
    );
    assert!(refused.hint.unwrap().contains("`with: {model: ...}`"));
    // An artifact says it itself, whatever is given.
    model.write(file.path()).unwrap();
    let other = identity(json!({"mlp": {"hidden": [6]}}));
    let own = Model::read_as(file.path(), Some(&other)).unwrap();
    assert_eq!(own.architecture.identity, net.identity);
}
