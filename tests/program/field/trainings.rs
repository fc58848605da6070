//! What is said of trainings whose parameters or needs come to something else than they seem to,
//! before anything runs where that is known, else when they run.

use super::language::refused;
use super::mistakes::said;
use crate::support::TestSpace;

/// Drawn images and a training `t` on half of them.
fn study(needs: &str, with: &str) -> String {
    format!(
        "version: 1
stages:
  data: {{uses: download, with: {{dataset: shapes, shapes: {{train: 40, test: 10}}}}}}
  halves: {{uses: split, needs: {{data: data.train}}, with: {{parts: {{a: 0.5, b: 0.5}}, seed: 7}}}}
  t:
    uses: train
    needs: {{train: halves.a, {needs}}}
    with: {{model: {{mlp: {{hidden: [4]}}}}, seed: 1, batch_size: 10, optimizer: {{adam: {{}}}}, {with}}}
"
    )
}

/// What is said without anything running, where nothing is refused.
fn planned(yaml: &str) -> String {
    let space = TestSpace::with_pipeline(yaml);
    space.run(&["run", "-n"]).expect(0, &[]).err
}

#[test]
fn data_that_never_join_are_said() {
    let later = "later: halves.b, test: data.test";
    let of = |with: &str| planned(&study(later, with));
    let never =
        "stages.t.with.later: no image of `later` ever joins: the training ends after 3 epochs";
    let portions =
        |after: u64| format!("later: {{portions: {{after: {after}, every: 1, share: 0.5}}}}");
    for (with, is_said) in [
        (format!("length: {{epochs: 3}}, {}", portions(3)), true),
        (format!("length: {{epochs: 3}}, {}", portions(2)), false),
        // Two steps an epoch until something joins.
        (format!("length: {{steps: 6}}, {}", portions(3)), true),
        (format!("length: {{steps: 7}}, {}", portions(3)), false),
    ] {
        let said = of(&with);
        assert_eq!(said.contains(never), is_said, "{with}: {said}");
    }
    let said = of("length: {epochs: 3}, later: {portions: {after: 1, every: 1, images: 21}}");
    let all = "stages.t.with.later.portions.images: `later` has 20 images: a portion of 21 is all of them";
    assert!(said.contains(all), "{said}");
    let once = "length: {epochs: 3}, later: {portions: {after: 1, every: 1, share: 1}}";
    let said = planned(&study("later: halves.a", once));
    let twice = "these are images of `train` too";
    assert!(said.contains(twice), "{said}");
    assert!(!of(once).contains(twice));
}

/// A training that stops before its data joined was silent about it.
#[test]
fn a_training_that_stops_before_data_join_says_so() {
    let stops = |after: u64| {
        let with = format!(
            "length: {{epochs: 4}}, stop_at: {{train_accuracy: 0.01}}, later: {{portions: {{after: {after}, every: 1, share: 1}}}}"
        );
        let space = TestSpace::with_pipeline(&study("later: halves.b", &with));
        space.run(&["run"]).expect(0, &[]).err
    };
    let said = "before any image of `later` joined";
    let early = stops(3);
    assert!(early.contains(said), "{early}");
    assert!(!stops(0).contains(said));
}

/// Who chooses by the test set was told nothing.
#[test]
fn the_test_set_is_no_validation_set() {
    let patience = "length: {epochs: 2}, stop_at: {patience: {of: validation_loss, epochs: 1}}";
    let remedy = "hold some training data out";
    refused(
        &study("validation: data.test", patience),
        &[
            "stages.t.needs.validation: this is the test set of `shapes`",
            remedy,
        ],
    );
    refused(
        &study("validation: halves.b, test: halves.b", patience),
        &[
            "stages.t.needs.validation: these are the images of `test`",
            remedy,
        ],
    );
    // Another stage's copy of it is the same images.
    let copy = |parts: &str, needs: &str| {
        let split = format!(
            "  own: {{uses: split, needs: {{data: data.test}}, with: {{parts: {{{parts}}}, seed: 1}}}}\n"
        );
        study(needs, patience) + &split
    };
    refused(
        &copy("all: 1.0", "validation: own.all"),
        &["this is the test set of `shapes`"],
    );
    planned(&copy("a: 0.5, b: 0.5", "validation: own.a, test: own.b"));
    planned(&study("validation: halves.b, test: data.test", patience));
    // Nothing is known of what a command makes, until it is there.
    let yaml = study("validation: two.x, test: one.x", patience)
        + "  one: {run: \"cp -R ${needs.d} ${outputs.x}\", needs: {d: data.test}, outputs: {x: x}}\n"
        + "  two: {run: \"cp -R ${needs.d} ${outputs.x}\", needs: {d: data.test}, outputs: {x: x}}\n";
    TestSpace::with_pipeline(&yaml).run(&["run"]).expect(
        1,
        &["input `validation`: these are the images of `test`", remedy],
    );
}

/// Fixup is for residual networks without normalisation.
#[test]
fn fixup_elsewhere_is_said_before_anything_runs() {
    let said = planned(&study(
        "test: data.test",
        "length: {epochs: 1}, init: fixup",
    ));
    let doubt =
        "stages.t.with.init: Fixup is for residual networks, and this one has no residual blocks";
    assert!(said.contains(doubt), "{said}");
}

/// A batch with an odd number of images lost one in silence, and one of more than there are was
/// known only when it ran.
#[test]
fn gradinit_says_which_batches_have_halves() {
    let of = |batch: u64| {
        let start = format!(
            "  g: {{uses: gradinit, needs: {{model: t.model, train: halves.a}}, with: {{seed: 1, batch_size: {batch}}}}}\n"
        );
        study("test: data.test", "length: {epochs: 0}") + &start
    };
    refused(
        &of(5),
        &["stages.g.with.batch_size: must be even: it has two halves, and 5 images have none"],
    );
    refused(
        &of(42),
        &[
            "half a batch of 42 has 21 images, and there are 20",
            "give at most 40",
        ],
    );
    let said = planned(&of(22));
    assert!(
        said.contains("there are 20 images for batches of 22"),
        "{said}"
    );
    assert!(!planned(&of(20)).contains("batches of"));
}

/// Names of other programs were taken for slips of names that mean something else.
#[test]
fn first_weights_of_other_programs_are_understood() {
    for (name, want) in [
        ("xavier_uniform", "did you mean `glorot_uniform`?"),
        ("XavierNormal", "did you mean `glorot_normal`?"),
        ("glorot", "did you mean `glorot_uniform`?"),
        ("GlorotUniform", "did you mean `glorot_uniform`?"),
        ("he", "did you mean `he_normal`?"),
        ("msra", "did you mean `kaiming_normal`?"),
        (
            "xavier_uniform_",
            "write `{torch: {xavier_uniform_: {gain: 1.0}}}`",
        ),
        (
            "kaiming_normal_",
            "write `{torch: {kaiming_normal_: {a: 0.0}}}`",
        ),
        ("sparse_", "write `{torch: {sparse_: {sparsity: ...}}}`"),
        ("zeros", "write `{keras: zeros}`"),
        (
            "TruncatedNormal",
            "write `{keras: {truncated_normal: {mean: 0.0}}}`",
        ),
        (
            "trunc_normal",
            "write `{torch: {trunc_normal_: {a: -2.0}}}`",
        ),
        ("eye", "write `{identity: {gain: 1.0}}`"),
    ] {
        let said = said("init", name.into());
        assert_eq!(said, format!("init: unknown choice `{name}` / {want}"));
    }
    let keras = said("init", serde_json::json!({"keras": "kaiming_normal"}));
    assert!(keras.ends_with("did you mean `he_normal`?"), "{keras}");
    let map = said("init", serde_json::json!({"xavier_normal_": {"gain": 2.0}}));
    assert!(
        map.ends_with("write `{torch: {xavier_normal_: {gain: 1.0}}}`"),
        "{map}"
    );
    let schedule = said("schedule", "CosineAnnealingLR".into());
    assert!(schedule.contains("write `{cosine: "), "{schedule}");
}

/// A memory of another place of the training was refused only when everything before it had run.
#[test]
fn the_memory_of_another_step_is_refused_before_anything_runs() {
    let yaml = |from: &str, at: &str, train: &str| {
        let next = format!(
            "  next:
    uses: train
    needs: {{train: {train}, init: \"t.checkpoints[epoch=1]\", optimizer: \"t.optimizers[{from}]\"}}
    with: {{seed: 1, batch_size: 10, length: {{epochs: 9}}, starts_at: {{{at}}}, optimizer: {{adam: {{}}}}}}
"
        );
        let kept = "checkpoints: {every: 1, every_steps: 3, optimizer: true}";
        study("test: data.test", &format!("length: {{epochs: 3}}, {kept}")) + &next
    };
    for (from, at, train, steps) in [
        ("epoch=2", "epochs: 1", "halves.a", [4, 2]),
        ("step=3", "epochs: 1", "halves.a", [3, 2]),
        ("epoch=1", "epochs: 1", "data.train", [2, 4]),
        ("epoch=last", "steps: 5", "halves.a", [6, 5]),
    ] {
        let [of, is] = steps;
        let text = format!(
            "stages.next.with.starts_at: the optimizer's memory is of step {of}, and `starts_at` is step {is}"
        );
        refused(&yaml(from, at, train), &[&text]);
    }
    planned(&yaml("epoch=1", "epochs: 1", "halves.a"));
    planned(&yaml("epoch=1", "steps: 2", "data.train"));
}

/// A network learnt on images of another size: the way to take parts of it was named nowhere, what
/// was said of taken layers was left out, and the log did not say which layers were taken.
#[test]
fn parts_of_another_network_are_taken_and_told() {
    let yaml = |with: &str| {
        let own = format!(
            "  small: {{uses: transform, needs: {{data: data.train}}, with: {{center_crop: {{height: 8, width: 8}}}}}}
  next:
    uses: train
    needs: {{train: small.data, init: t.model}}
    with: {{seed: 2, length: {{epochs: 1}}, optimizer: {{adam: {{}}}}, {with}}}
"
        );
        study("test: data.test", "length: {epochs: 1}") + &own
    };
    refused(
        &yaml(""),
        &[
            "stages.next.needs.train: these images are 8x8x1",
            "or say `partial: true`",
        ],
    );
    for (first, at) in [
        ("by_name: {fc2: he_normal}", "by_name.fc2"),
        ("scales: {\"fc2*\": 2}", "scales.fc2*"),
        ("output_bias: marginals", "output_bias"),
    ] {
        let said = refused(
            &yaml(&format!("partial: true, first_weights: {{{first}}}")),
            &[
                "`init` brings all that this is about",
                "fresh are fc1.weight, fc1.bias",
            ],
        );
        assert!(said.contains(&format!("first_weights.{at}")), "{said}");
    }
    let space = TestSpace::with_pipeline(&yaml(
        "partial: true, first_weights: {scale: 2, by_name: {\"fc*\": he_normal}}",
    ));
    space.ok(&["run"]);
    let log = space.ok(&["logs", "next"]);
    assert!(log.contains("from `init`: fc2; fresh: fc1"), "{log}");
}
