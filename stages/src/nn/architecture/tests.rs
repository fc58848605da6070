//! Published sizes, names, and layers that do not fit.

use super::*;

pub(crate) fn architecture(
    model: serde_json::Value,
    (height, width, channels): (usize, usize, usize),
    classes: usize,
) -> Architecture {
    let model = serde_json::from_value(model).unwrap();
    Architecture::new(Identity {
        model,
        input: InputSize {
            height,
            width,
            channels,
        },
        outputs: Head::Classes(classes),
    })
    .unwrap()
}

fn weights(a: &Architecture) -> usize {
    a.parameters
        .iter()
        .filter(|p| p.role.is_weight())
        .map(|p| p.shape.iter().product::<usize>())
        .sum()
}

/// Published sizes: LeNet-300-100 has 266,200 weights; Zhang et al. 2017 give 1,209,866 and
/// 1,735,178 parameters for their perceptrons on 28×28×3; Conv-2 of Frankle & Carbin 2019 has
/// 4,300,992 weights on 32×32×3.
#[test]
fn published_sizes() {
    let mlp = |hidden: &[usize]| serde_json::json!({"mlp": {"hidden": hidden}});
    assert_eq!(
        weights(&architecture(mlp(&[300, 100]), (28, 28, 1), 10)),
        266_200
    );
    let all = |a: Architecture| {
        a.parameters
            .iter()
            .map(|p| p.shape.iter().product::<usize>())
            .sum::<usize>()
    };
    assert_eq!(all(architecture(mlp(&[512]), (28, 28, 3), 10)), 1_209_866);
    assert_eq!(
        all(architecture(mlp(&[512, 512, 512]), (28, 28, 3), 10)),
        1_735_178
    );
    let conv = serde_json::json!({"conv": {"layers": [
        {"conv": {"channels": 64}}, {"activation": "relu"}, {"conv": {"channels": 64}}, {"activation": "relu"}, {"pool": {"max": 2}},
        {"dense": 256}, {"activation": "relu"}, {"dense": 256}, {"activation": "relu"}]}});
    assert_eq!(weights(&architecture(conv, (32, 32, 3), 10)), 4_300_992);
}

#[test]
fn names_and_shapes() {
    let conv = serde_json::json!({"conv": {"layers": [
        {"conv": {"channels": 4, "kernel": 5, "stride": 2, "padding": "valid"}}, {"batch_norm": {}}, {"activation": "tanh"},
        {"pool": "global_average"}, {"dropout": 0.5}]}});
    let a = architecture(conv, (12, 13, 3), 7);
    let list: Vec<String> = a
        .parameters
        .iter()
        .map(|p| format!("{} {:?}", p.name, p.shape))
        .collect();
    assert_eq!(
        list,
        [
            "conv1.weight [4, 3, 5, 5]",
            "conv1.bias [4]",
            "bn1.weight [4]",
            "bn1.bias [4]",
            "bn1.running_mean [4]",
            "bn1.running_var [4]",
            "fc1.weight [7, 4]",
            "fc1.bias [7]",
        ]
    );
    assert_eq!(a.parameters[a.output_weight()].name, "fc1.weight");
}

fn listed(a: &Architecture) -> Vec<String> {
    let line = |p: &Parameter| format!("{} {:?}", p.name, p.shape);
    a.parameters.iter().map(line).collect()
}

fn trained(a: &Architecture) -> usize {
    let trained = a.parameters.iter().filter(|p| p.role.is_trained());
    trained.map(|p| p.shape.iter().product::<usize>()).sum()
}

/// 11,173,962 parameters is what ResNet-18 for CIFAR has everywhere (He et al. 2016 with a 3×3 stem
/// and 1×1 shortcuts); the code of Ash & Adams 2020 has 0.70M. ResNet-34: 21,282,122.
#[test]
fn residual_networks_have_the_published_sizes() {
    let resnet = |spec: serde_json::Value, classes| {
        architecture(serde_json::json!({"resnet": spec}), (32, 32, 3), classes)
    };
    let resnet18 = resnet(serde_json::json!({}), 10);
    assert_eq!(trained(&resnet18), 11_173_962);
    let narrow = serde_json::json!({"widths": [16, 32, 64, 128]});
    assert_eq!(trained(&resnet(narrow, 10)), 701_466);
    let resnet34 = serde_json::json!({"blocks": [3, 4, 6, 3]});
    assert_eq!(trained(&resnet(resnet34, 10)), 21_282_122);
    let list = listed(&resnet18);
    // 20 convolutions, each with a norm of four tensors, and the classifier.
    assert_eq!(list.len(), 20 * 5 + 2);
    assert_eq!(list[0], "conv1.weight [64, 3, 3, 3]");
    assert_eq!(list[5], "layer1.0.conv1.weight [64, 64, 3, 3]");
    let second: Vec<&String> = list.iter().filter(|l| l.starts_with("layer2.0.")).collect();
    let norm = |name: &str| {
        ["weight", "bias", "running_mean", "running_var"]
            .map(|part| format!("layer2.0.{name}.{part} [128]"))
    };
    let want = [
        vec!["layer2.0.conv1.weight [128, 64, 3, 3]".to_owned()],
        norm("bn1").to_vec(),
        vec!["layer2.0.conv2.weight [128, 128, 3, 3]".to_owned()],
        norm("bn2").to_vec(),
        vec!["layer2.0.downsample.0.weight [128, 64, 1, 1]".to_owned()],
        norm("downsample.1").to_vec(),
    ]
    .concat();
    assert_eq!(second, want.iter().collect::<Vec<_>>());
    assert_eq!(list[100..], ["fc.weight [10, 512]", "fc.bias [10]"]);
    assert_eq!(
        resnet18.parameters[resnet18.output_weight()].name,
        "fc.weight"
    );
    assert_eq!(resnet18.layer_count(), 3 + 8 + 8 * 5 + 3 * 2 + 2);
}

#[test]
fn blocks_and_norms_have_names_of_their_own() {
    let a = architecture(
        serde_json::json!({"conv": {"layers": [
            {"conv": {"channels": 4, "bias": false}}, {"group_norm": {"groups": 2}}, {"activation": "gelu"},
            {"residual": {"layers": [{"depthwise": {"stride": 2}}, {"layer_norm": {}}, {"conv": {"channels": 6, "kernel": 1}}]}},
            {"residual": {"activation": "relu", "layers": [
                {"residual": {"shortcut": "projection", "layers": [{"conv": {"channels": 6}}]}}]}},
            {"pool": "global_average"}, {"residual": {"layers": [{"dense": 6}, {"layer_norm": {}}]}}]}}),
        (5, 7, 3),
        2,
    );
    let norm = |name: &str| {
        ["weight", "bias", "running_mean", "running_var"].map(|part| format!("{name}.{part} [6]"))
    };
    let want: Vec<String> = [
        &[
            "conv1.weight [4, 3, 3, 3]",
            "gn1.weight [4]",
            "gn1.bias [4]",
        ]
        .map(str::to_owned)[..],
        &[
            "block1.conv1.weight [4, 1, 3, 3]",
            "block1.conv1.bias [4]",
            "block1.ln1.weight [4, 3, 4]",
            "block1.ln1.bias [4, 3, 4]",
            "block1.conv2.weight [6, 4, 1, 1]",
            "block1.conv2.bias [6]",
            "block1.downsample.0.weight [6, 4, 1, 1]",
        ]
        .map(str::to_owned),
        &norm("block1.downsample.1"),
        &[
            "block2.block1.conv1.weight [6, 6, 3, 3]",
            "block2.block1.conv1.bias [6]",
        ]
        .map(str::to_owned),
        &["block2.block1.downsample.0.weight [6, 6, 1, 1]".to_owned()],
        &norm("block2.block1.downsample.1"),
        &[
            "block3.fc1.weight [6, 6]",
            "block3.fc1.bias [6]",
            "block3.ln1.weight [6]",
            "block3.ln1.bias [6]",
            "fc1.weight [2, 6]",
            "fc1.bias [2]",
        ]
        .map(str::to_owned),
    ]
    .concat();
    assert_eq!(listed(&a), want);
}

/// New fields must not show in what existing models are described by: keys and files hold the text.
#[test]
fn old_descriptions_keep_their_bytes() {
    let text = r#"{"conv":{"layers":[{"conv":{"channels":6,"kernel":3,"stride":1,"padding":"same"}},{"batch_norm":{}},{"dense":4}]}}"#;
    let model: ModelSpec = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&model).unwrap(), text);
}

#[test]
fn layers_that_do_not_fit_are_named() {
    let make = |layers: serde_json::Value| {
        let model =
            serde_json::from_value(serde_json::json!({"conv": {"layers": layers}})).unwrap();
        Architecture::new(Identity {
            model,
            input: InputSize {
                height: 4,
                width: 4,
                channels: 1,
            },
            outputs: Head::Classes(10),
        })
        .unwrap_err()
        .message
    };
    let text =
        make(serde_json::json!([{"pool": {"max": 2}}, {"pool": {"max": 2}}, {"pool": {"max": 2}}]));
    assert!(
        text.starts_with("model: layer 3 (its input is 1x1x1):"),
        "{text}"
    );
    assert!(make(serde_json::json!([{"conv": {"channels": 0}}])).contains("layer 1"));
    assert!(
        make(serde_json::json!([{"conv": {"channels": 2, "kernel": 2}}])).contains("odd kernel")
    );
    assert!(make(serde_json::json!([{"dropout": 1.0}])).contains("below 1"));
    assert!(make(serde_json::json!([{"dense": usize::MAX}])).contains("layer 1"));
    let block = |shortcut: &str, layers: serde_json::Value| {
        make(serde_json::json!([{"residual": {"shortcut": shortcut, "layers": layers}}]))
    };
    let wide = serde_json::json!([{"conv": {"channels": 2}}]);
    let text = block("identity", wide);
    assert!(
        text.contains("layer 1 (its input is 4x4x1): its layers make 4x4x2 of 4x4x1"),
        "{text}"
    );
    let text = block(
        "auto",
        serde_json::json!([{"activation": "relu"}, {"conv": {"channels": 2, "kernel": 5, "padding": "valid"}}]),
    );
    assert!(
        text.contains("its layer 2 (input 4x4x1): a window of 5x5"),
        "{text}"
    );
    let text = block(
        "auto",
        serde_json::json!([{"conv": {"channels": 2, "kernel": 2, "padding": "valid"}}]),
    );
    assert!(text.contains("no strided 1x1 convolution"), "{text}");
    assert!(
        make(serde_json::json!([{"conv": {"channels": 6}}, {"group_norm": {"groups": 4}}]))
            .contains("layer 2 (its input is 4x4x6): 6 channels")
    );
}

/// What a model file says of its network: text of classifiers has not changed, and nothing is both.
#[test]
fn an_identity_is_of_classes_or_of_targets() {
    let text = |outputs: &str| {
        format!(
            r#"{{"model":{{"mlp":{{"hidden":[4],"activation":"relu","batch_norm":null,"dropout":0.0}}}},"input":{{"height":2,"width":2,"channels":1}}{outputs}}}"#
        )
    };
    for (written, outputs) in [
        (r#","classes":3"#, Head::Classes(3)),
        (r#","targets":2"#, Head::Targets(2)),
    ] {
        let identity: Identity = serde_json::from_str(&text(written)).unwrap();
        assert_eq!(identity.outputs, outputs);
        assert!(
            serde_json::to_string(&identity)
                .unwrap()
                .ends_with(&format!("{written}}}"))
        );
    }
    for wrong in ["", r#","classes":3,"targets":2"#] {
        let error = serde_json::from_str::<Identity>(&text(wrong)).unwrap_err();
        assert!(
            error.to_string().contains("one of `classes` and `targets`"),
            "{error}"
        );
    }
}
