//! What `train` can be told, and what is wrong with it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kind::ParamProblem;
use crate::kinds::network::model_problems;
use crate::nn::init::{FirstWeights, Init};
use crate::nn::spec::ModelSpec;
use crate::training::augment::Augment;
use crate::training::clip::Clip;
use crate::training::later::Later;
use crate::training::length::{EvalEvery, Length, StopAt};
use crate::training::mask::Masked;
use crate::training::optim::{Decays, Optimizer};
use crate::training::pace::Paces;
use crate::training::patience::Keep;
use crate::training::recipe::Recipe;
use crate::training::regularise::{Adversarial, Mixup, Regularisers};
use crate::training::schedule::Schedule;
use crate::training::subnetwork::Subnetwork;
use crate::training::trailing::{Averages, Lookahead, Trailing};

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{
    "seed": 1, "length": {"epochs": 30}, "optimizer": {"sgd": {"lr": 0.1}},
    "later": {"portions": {"after": 10, "every": 5, "share": 0.1}},
}]))]
pub struct Params {
    /// The network. May be left out if the need `init` brings one; with both, they must agree.
    #[serde(default)]
    pub model: Option<ModelSpec>,
    /// The initial weights; without effect if the need `init` brings them.
    #[serde(default)]
    pub init: Init,
    /// Which first weights differ from `init`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_weights: Option<FirstWeights>,
    /// The need `init` may be another network (another data set, another task): the layers that fit
    /// by name and shape are taken, the others start by `init`. By default that is an error.
    #[serde(default, skip_serializing_if = "is_no")]
    pub partial: bool,
    /// Seed of all random numbers: first weights, order, dropout, augmentation.
    pub seed: u64,
    /// How long to train.
    pub length: Length,
    /// Go on from here: so many epochs or steps of `length` count as done. The schedule, the order
    /// of images, dropout and augmentation are those of this place, as in the training that `init`
    /// is a checkpoint of. The optimizer starts afresh unless the need `optimizer` brings its
    /// memory. Rewinding to a later iteration (Frankle et al. 2020) is `starts_at` with a
    /// checkpoint and a mask; a phase of SWA (Izmailov et al. 2018) is `starts_at` with both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Length>,
    /// Stop before the length is reached.
    #[serde(default)]
    pub stop_at: Option<StopAt>,
    /// Images per step; an epoch's last step takes what is left.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Leave out the last batch of an epoch if it has fewer images. Kept by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_last: Option<bool>,
    /// How weights are updated from gradients.
    pub optimizer: Optimizer,
    /// What the optimizer's weight decay applies to.
    #[serde(default, skip_serializing_if = "is_all")]
    pub decays: Decays,
    /// How large the gradients of a step may be; by default as large as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_gradients: Option<Clip>,
    /// Factors on the learning rate by name: `{"conv*": 0.1, "fc2.bias": 2}`. A layer's name means
    /// all its parameters, a name that ends in `.weight` or `.bias` one of them; `*` stands for any
    /// characters. Of several the most specific counts: a name without `*`, else the one with more
    /// characters beside it. As parameter groups of PyTorch's optimizers (layer-wise rates of
    /// fine-tuning: Howard & Ruder 2018).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub learning_rates: BTreeMap<String, f64>,
    /// What does not learn, by names as in `learning_rates`: neither gradients nor weight decay
    /// move it, and clipping does not count its gradients. Batch norm's running statistics follow
    /// the data all the same, as with PyTorch's `requires_grad = False`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// How the learning rate changes over the training.
    #[serde(default)]
    pub schedule: Schedule,
    /// How the images of the need `later` join those of `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later: Option<Later>,
    /// Random changes of the training images.
    #[serde(default)]
    pub augment: Augment,
    /// Share of the target spread evenly over all classes, in [0, 1); only where there are classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Mixup (Zhang et al. 2018): an image becomes `λ·image + (1 - λ)·next`, its target `λ` of its
    /// own class and the rest of the next one's; λ is drawn from Beta(alpha, alpha) for each step,
    /// and the next image is that of the batch, whose order is random. The train accuracy counts
    /// the larger part as the answer. Only where there are classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixup: Option<Mixup>,
    /// Confidence penalty (Pereyra et al. 2017): the loss less this times the mean entropy of the
    /// outputs' softmax, in nats. The paper has 0.1 to 8; Ash & Adams (2020) try 0.0001 to 0.1. The
    /// recorded loss is the cross-entropy alone. Only where there are classes.
    #[serde(default, skip_serializing_if = "is_nothing")]
    #[schemars(extend("default" = 0.0), range(min = 0.0))]
    pub confidence_penalty: f64,
    /// Adversarial training (Goodfellow et al. 2015): the loss of the images, and `weight` times
    /// that of `image + epsilon·sign(∂loss/∂image)`, at the price of a second pass. Batch norm
    /// takes the statistics of the moved images for them, and its running statistics do not see
    /// them. The recorded loss is that of the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<Adversarial>,
    /// Weights stay as they are, and a network is looked for in them: each weight has a score, the
    /// optimizer moves the scores (momentum, decay and rates are theirs), and they say which
    /// weights compute. Biases, gains and shifts stay too. `model` is then the network that was
    /// found, the others at 0. The outputs `mask`, `scores` and `weights` come with it; `weights`
    /// is the whole network as it was before, and its digest proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnetwork: Option<Subnetwork>,
    /// What weights that the need `mask` masks are: `zero`, or `frozen`: they keep the values that
    /// the training began with, compute, and do not learn (Zhou et al. 2019, section 4).
    #[serde(default, skip_serializing_if = "Masked::is_zero")]
    pub masked: Masked,
    /// Averages of the weights along the way, as the output `averages`: `ema-0.999.safetensors`.
    /// The training does not see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub averages: Option<Averages>,
    /// Lookahead (Zhang et al. 2019): every few steps slow weights move towards those that the
    /// optimizer has reached, which start again from there; its memory stays. `model` is what the
    /// last step left, the slow weights where `every` divides the steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookahead: Option<Lookahead>,
    /// Epochs between two evaluations on the needs `test` and `validation`, or `{steps: 100}`; the
    /// end is always evaluated.
    #[serde(default)]
    pub eval_every: EvalEvery,
    /// Models to keep on the way, as the output `checkpoints`.
    #[serde(default)]
    pub checkpoints: Option<Checkpoints>,
}

/// When models are kept: `every`, `every_steps` or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoints {
    /// Epochs from one checkpoint to the next: `epoch-000002.safetensors` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub every: Option<u64>,
    /// Steps from one checkpoint to the next: `step-000500.safetensors` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub every_steps: Option<u64>,
    /// Also keep what the optimizer remembers then, as the output `optimizers`, for the need
    /// `optimizer` of a training that goes on from there.
    #[serde(default, skip_serializing_if = "is_no")]
    pub optimizer: bool,
}

fn is_nothing(value: &f64) -> bool {
    *value == 0.0
}

fn is_no(value: &bool) -> bool {
    !value
}

fn default_batch_size() -> usize {
    128
}

fn is_all(decays: &Decays) -> bool {
    *decays == Decays::All
}

/// More epochs than any study trains; each is a place to resume from, so their number must stay
/// small enough to list.
const MAX_EPOCHS: u64 = 100_000;

impl Params {
    /// A parameter that has no meaning if numbers are learnt, and why.
    pub(super) fn only_for_classes(&self) -> Option<(&'static [&'static str], &'static str)> {
        if self.label_smoothing != 0.0 {
            return Some((&["label_smoothing"], "smooths labels"));
        }
        if self.mixup.is_some() {
            return Some((&["mixup"], "mixes classes"));
        }
        if self.confidence_penalty != 0.0 {
            return Some((&["confidence_penalty"], "is about probabilities of classes"));
        }
        match self.stop_at {
            Some(StopAt::TrainAccuracy(_)) => Some((
                &["stop_at", "train_accuracy"],
                "waits for an accuracy, which only classes have",
            )),
            Some(StopAt::Patience(patience)) if patience.of.is_of_classes() => Some((
                &["stop_at", "patience", "of"],
                "watches a value that only classes have",
            )),
            _ => None,
        }
    }

    /// A parameter that has no meaning if classes are learnt, and why.
    pub(super) fn only_for_numbers(&self) -> Option<(&'static [&'static str], &'static str)> {
        match self.stop_at {
            Some(StopAt::Patience(patience)) if !patience.of.is_of_classes() => Some((
                &["stop_at", "patience", "of"],
                "watches a value that only numbers have",
            )),
            _ => None,
        }
    }

    /// How many epochs there are, where all have so many images; with a length in steps that must be
    /// known.
    pub(super) fn epochs(&self, images: Option<u64>) -> Option<u64> {
        match self.length {
            Length::Epochs(n) => Some(n),
            Length::Steps(n) => Some(n.div_ceil(self.steps_per_epoch(images?).max(1))),
        }
    }

    /// Steps in an epoch of so many images.
    pub(super) fn steps_per_epoch(&self, images: u64) -> u64 {
        let batch = (self.batch_size as u64).max(1);
        match self.drop_last {
            Some(true) => images / batch,
            _ => images.div_ceil(batch),
        }
    }

    /// What a state depends on beside the inputs. What came later counts where it is said: states
    /// of before stay good.
    pub(super) fn preimage(&self, recipe: Value) -> Value {
        let mut all =
            json!({"format": 1, "model": self.model, "init": self.init, "recipe": recipe});
        if let Some(differing) = &self.first_weights {
            all["first_weights"] = json!(differing);
        }
        if self.partial {
            all["partial"] = true.into();
        }
        all
    }

    /// What of the first weights differs from the rule.
    pub(super) fn differing(&self) -> FirstWeights {
        self.first_weights.clone().unwrap_or_default()
    }

    /// What is asked for beside the loss.
    fn regularisers(&self) -> Regularisers {
        Regularisers {
            mixup: self.mixup,
            confidence_penalty: self.confidence_penalty,
            adversarial: self.adversarial,
        }
    }

    /// What follows the weights.
    fn trailing(&self) -> Trailing {
        Trailing {
            averages: self.averages.clone(),
            lookahead: self.lookahead,
        }
    }

    /// How fast single layers learn.
    pub(super) fn paces(&self) -> Paces {
        Paces {
            rates: self.learning_rates.clone(),
            frozen: self.frozen.clone(),
        }
    }

    /// The training that they describe.
    pub(super) fn recipe(&self) -> Recipe {
        Recipe {
            seed: self.seed,
            length: self.length,
            stop_at: self.stop_at,
            batch_size: self.batch_size,
            optimizer: self.optimizer,
            masked: self.masked,
            decays: self.decays,
            clip_gradients: self.clip_gradients,
            paces: self.paces(),
            schedule: self.schedule.clone(),
            later: self.later,
            augment: self.augment,
            label_smoothing: self.label_smoothing,
            regularisers: self.regularisers(),
            eval_every: self.eval_every,
            checkpoint_every: self.checkpoints.and_then(|c| c.every),
            checkpoint_every_steps: self.checkpoints.and_then(|c| c.every_steps),
            keep_optimizer: self.checkpoints.is_some_and(|c| c.optimizer),
            starts_at: self.starts_at,
            subnetwork: self.subnetwork,
            trailing: self.trailing(),
            drop_last: self.drop_last,
        }
    }
}

/// What is wrong with the parameters, with the names given under `needs:`.
pub(super) fn problems(p: &Params, needs: &[String]) -> Vec<ParamProblem> {
    let mut problems = Vec::from_iter(p.model.iter().flat_map(model_problems));
    let first_weights = p.first_weights.iter().flat_map(FirstWeights::problems);
    problems.extend(first_weights.map(|(path, message)| {
        let problem = ParamProblem::whole(message);
        ParamProblem { path, ..problem }.within("first_weights")
    }));
    let mut add = |path: &[&str], message: &str, hint: &str| {
        problems.push(ParamProblem::new(path, message, hint));
    };
    if p.model.is_none() && !needs.iter().any(|n| n == "init") {
        add(
            &[],
            "`model` is missing",
            "say `model: {mlp: {hidden: [100, 100]}}`, or give a model under `needs: {init: ...}`",
        );
    }
    if let Some(message) = p.init.problem() {
        add(&["init"], &message, "");
    }
    let has_init = needs.iter().any(|n| n == "init");
    if p.first_weights.is_some() && has_init && !p.partial {
        add(
            &["first_weights"],
            "the need `init` brings all weights: nothing of this would be used",
            "leave it out, or say `partial: true`",
        );
    }
    if p.partial && !has_init {
        add(
            &["partial"],
            "there is no need `init` to take anything from",
            "give a model under `needs: {init: ...}`",
        );
    }
    later_problems(p, needs, &mut add);
    match p.length {
        Length::Steps(0) => add(&["length", "steps"], "must be at least 1", ""),
        Length::Epochs(n) if n > MAX_EPOCHS => add(
            &["length", "epochs"],
            &format!("at most {MAX_EPOCHS} are possible"),
            "",
        ),
        _ => {}
    }
    if let Some(StopAt::TrainAccuracy(a)) = p.stop_at
        && !(a > 0.0 && a <= 1.0)
    {
        add(
            &["stop_at", "train_accuracy"],
            &format!("must be above 0 and at most 1, got {a}"),
            "accuracies are fractions: 0.99 is 99 %",
        );
    }
    if let Some(StopAt::Patience(patience)) = p.stop_at {
        if patience.epochs == 0 {
            add(&["stop_at", "patience", "epochs"], "must be at least 1", "");
        }
        if !needs.iter().any(|n| n == "validation") {
            add(
                &["stop_at", "patience"],
                "there is no need `validation` to measure on",
                "hold some training data out: `split` makes them, `needs: {validation: ...}` takes them",
            );
        }
    }
    if let Some(message) = p.clip_gradients.and_then(Clip::problem) {
        add(&["clip_gradients", "norm"], &message, "");
    }
    for (at, message) in p.paces().problems() {
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        add(
            &at,
            &message,
            "to keep a layer as it is, name it under `frozen`",
        );
    }
    if p.batch_size == 0 {
        add(&["batch_size"], "must be at least 1", "");
    }
    if p.batch_size == 1 && p.model.as_ref().is_some_and(ModelSpec::norms_units) {
        add(
            &["batch_size"],
            "batch norm turns the only value of a unit into the same for every image: nothing can be learnt",
            "give 2 or more, or take layers without batch norm",
        );
    }
    for (at, message) in p.optimizer.problems() {
        add(&[&["optimizer"], &at[..]].concat(), &message, "");
    }
    if p.decays != Decays::All && !p.optimizer.says_decay() {
        add(
            &["decays"],
            "the optimizer has no weight decay that this could be about",
            "give it a `weight_decay`, such as `{sgd: {lr: 0.1, weight_decay: {l2: 0.0001}}}`, or leave `decays` out",
        );
    }
    for (at, message) in p.schedule.problems() {
        add(&[&["schedule"], &at[..]].concat(), &message, "");
    }
    if !(0.0..1.0).contains(&p.label_smoothing) {
        add(
            &["label_smoothing"],
            &format!("must be at least 0 and below 1, got {}", p.label_smoothing),
            "",
        );
    }
    for (at, message) in p.regularisers().problems() {
        add(at, &message, "");
    }
    for (at, message) in p.trailing().problems() {
        add(at, &message, "");
    }
    for (name, pixels) in [("crop", p.augment.crop), ("cutout", p.augment.cutout)] {
        if pixels > 1 << 16 {
            add(&["augment", name], "is larger than any image", "");
        }
    }
    match p.eval_every {
        EvalEvery::Epochs(0) => add(&["eval_every"], "must be at least 1", ""),
        EvalEvery::Steps(0) => add(&["eval_every", "steps"], "must be at least 1", ""),
        _ => {}
    }
    starts_at_problems(p, needs, &mut add);
    subnetwork_problems(p, needs, &mut add);
    if !p.masked.is_zero() && !needs.iter().any(|n| n == "mask") {
        let hint =
            "add `needs: {mask: ...}`, the output `mask` of a `prune` stage, or leave it out";
        add(
            &["masked"],
            "there is no mask whose weights it could be about",
            hint,
        );
    }
    if let Some(Checkpoints {
        every, every_steps, ..
    }) = p.checkpoints
    {
        for (name, every) in [("every", every), ("every_steps", every_steps)] {
            if every == Some(0) {
                add(&["checkpoints", name], "must be at least 1", "");
            }
        }
        if every.or(every_steps).is_none() {
            add(
                &["checkpoints"],
                "it does not say when",
                "e.g. `checkpoints: {every: 5}`",
            );
        }
    }
    if i64::try_from(p.seed).is_err() {
        add(&["seed"], "must be below 2^63", "");
    }
    problems
}

/// What is wrong with `starts_at`, and with the need `optimizer`.
fn starts_at_problems(p: &Params, needs: &[String], add: &mut impl FnMut(&[&str], &str, &str)) {
    let has = |name: &str| needs.iter().any(|n| n == name);
    let Some(at) = p.starts_at else {
        if has("optimizer") {
            let hint =
                "say where it was kept: `starts_at: {epochs: 5}` or `starts_at: {steps: 500}`";
            add(
                &[],
                "there is a need `optimizer`, and nothing says where to go on",
                hint,
            );
        }
        return;
    };
    if !has("init") {
        let hint = "give a checkpoint under `needs: {init: ...}`";
        add(&["starts_at"], "there are no weights to go on from", hint);
    }
    if p.later.is_some() {
        let text = "with `later` epochs differ in length, and this counts in epochs of one length";
        add(&["starts_at"], text, "");
    }
    let is_over = match (at, p.length) {
        (Length::Epochs(at), Length::Epochs(n)) | (Length::Steps(at), Length::Steps(n)) => at >= n,
        _ => false,
    };
    if is_over {
        let hint = "`length` counts from the beginning, what is done already included";
        add(
            &["starts_at"],
            "nothing of `length` is left to do from there",
            hint,
        );
    }
}

/// What is wrong with `subnetwork`, and what does not go with it.
fn subnetwork_problems(p: &Params, needs: &[String], add: &mut impl FnMut(&[&str], &str, &str)) {
    let Some(subnetwork) = p.subnetwork else {
        return;
    };
    if let Some((at, message)) = subnetwork.problem() {
        let hint = "it is the share that is kept: 0.3 leaves 30 % of each layer";
        let hint = if at.contains(&"keep") { hint } else { "" };
        add(&[&["subnetwork"], at].concat(), &message, hint);
    }
    if needs.iter().any(|n| n == "mask") {
        let hint = "leave the need `mask` out";
        add(
            &["subnetwork"],
            "the search itself says which weights compute",
            hint,
        );
    }
    if p.averages.is_some() || p.lookahead.is_some() {
        let text = "weights that stay have no average and no slow ones";
        add(
            &["subnetwork"],
            text,
            "leave `averages` and `lookahead` out",
        );
    }
    if p.starts_at.is_some() {
        let text = "a search goes on with its scores, which no checkpoint has";
        add(&["starts_at"], text, "leave it out");
    }
    if let Some(StopAt::Patience(patience)) = p.stop_at
        && patience.keep == Keep::Best
    {
        let text = "of a search the last network is the result";
        add(&["stop_at", "patience", "keep"], text, "leave it out");
    }
}

/// What is wrong with `later`, and with the need of this name.
fn later_problems(p: &Params, needs: &[String], add: &mut impl FnMut(&[&str], &str, &str)) {
    let has_need = needs.iter().any(|n| n == "later");
    let Some(later) = &p.later else {
        if has_need {
            let text = "there is a need `later`, and nothing says when its images join";
            add(
                &[],
                text,
                "e.g. `later: {portions: {after: 10, every: 5, share: 0.1}}`",
            );
        }
        return;
    };
    if !has_need {
        let hint = "give them under `needs: {later: ...}`";
        add(&["later"], "there are no images that could join", hint);
    }
    for (at, message) in later.problems() {
        add(&[&["later"], &at[..]].concat(), &message, "");
    }
    if p.schedule != Schedule::Constant {
        add(
            &["schedule"],
            "with `later` epochs differ in length, and a schedule counts in epochs of one length",
            "leave it out: the learning rate is then constant",
        );
    }
}
