//! Which network fits which data, and which data go together.

use repro_protocol::findings::Findings;

use super::fact::{AnswersFact, DataFact, MaskFact};
use super::known::Known;
use crate::failure::Failure;
use crate::nn::architecture::{Architecture, Head, Identity, InputSize};
use crate::training::evaluation::OTHER_ANSWERS;

/// What several data sets are when put together; those that do not fit are problems.
pub(crate) fn together(sets: &[Option<DataFact>], name: &str, found: &mut Findings) -> DataFact {
    let mut whole = DataFact::default();
    let mut images = (!sets.is_empty()).then_some(0u64);
    for (item, set) in sets.iter().enumerate() {
        images = images
            .zip(set.as_ref().and_then(|set| set.images))
            .map(|(sum, n)| sum.saturating_add(n));
        let Some(set) = set else { continue };
        let sort = |of: &DataFact| match of.answers? {
            AnswersFact::Classes(_) => Some("classes".to_owned()),
            AnswersFact::Targets(_) => Some("numbers to be learnt".to_owned()),
        };
        let number = |of: &DataFact| of.outputs().map(|outputs| outputs.width().to_string());
        let texts = [
            ("", whole.set.clone(), set.set.clone()),
            ("images of ", whole.image.map(size), set.image.map(size)),
            ("", sort(&whole), sort(set)),
            (
                if set.has_targets() {
                    "targets: "
                } else {
                    "classes: "
                },
                number(&whole),
                number(set),
            ),
        ];
        let differs = texts.into_iter().find_map(|(what, a, b)| {
            let (a, b) = (a?, b?);
            (a != b).then(|| format!("{what}`{b}` cannot be put together with {what}`{a}`"))
        });
        if let Some(message) = differs {
            found.input(
                (name, item),
                message,
                "only parts of one data set go together",
            );
            continue;
        }
        whole.set = whole.set.or_else(|| set.set.clone());
        whole.image = whole.image.or(set.image);
        whole.is_test |= set.is_test;
        whole.answers = match (whole.answers, set.answers) {
            (None | Some(AnswersFact::Classes(None)), Some(known)) => Some(known),
            (known, _) => known,
        };
    }
    whole.images = images;
    whole
}

/// Data for a network must have its size and classes.
pub(crate) fn check_all(
    sets: &[Option<DataFact>],
    identity: Option<&Identity>,
    name: &str,
    found: &mut Findings,
) {
    check_all_or("", sets, identity, name, found);
}

/// [`check_all`], with a remedy of its own for data that do not fit; an empty one is none.
pub(crate) fn check_all_or(
    remedy: &str,
    sets: &[Option<DataFact>],
    identity: Option<&Identity>,
    name: &str,
    found: &mut Findings,
) {
    let or_else = |usual: &'static str| match remedy {
        "" => usual.to_owned(),
        other => other.to_owned(),
    };
    let Some(identity) = identity else { return };
    for (item, set) in sets.iter().enumerate() {
        let Some(set) = set else { continue };
        if set.images == Some(0) {
            found.input((name, item), "this data set has no images", "");
        }
        if let Some(image) = set.image
            && image != identity.input
        {
            found.input(
                (name, item),
                format!(
                    "these images are {} (height, width, channels), the model is made for {}",
                    size(image),
                    size(identity.input)
                ),
                or_else("use data of the same size as the model is trained on"),
            );
        } else if let Some(message) = other_answers(set, identity.outputs) {
            let hint = match (set.has_targets(), identity.outputs) {
                (true, Head::Classes(_)) | (false, Head::Targets(_)) => OTHER_ANSWERS,
                _ => "",
            };
            found.input((name, item), message, or_else(hint));
        }
    }
}

/// The model of the input `model`, to which the data of another input can be shown.
pub(crate) fn shown(data: &str, known: &Known, found: &mut Findings) -> Option<Identity> {
    let model = known.first_model("model", false, found);
    let identity = model.and_then(|model| model.identity);
    fit(data, identity.as_ref(), known, found);
    identity
}

/// The data sets of an input belong together and can be shown to the network, as far as both are
/// known.
pub(crate) fn fit(data: &str, identity: Option<&Identity>, known: &Known, found: &mut Findings) {
    let sets = known.data(data, found);
    together(&sets, data, found);
    check_all(&sets, identity, data, found);
}

/// An artifact of an input cannot work, as running would say.
pub(crate) fn refuse(input: (&str, usize), failure: Failure, found: &mut Findings) {
    found.input(input, failure.message, failure.hint.unwrap_or_default());
}

/// Why the answers of a data set are not the outputs of a network.
fn other_answers(set: &DataFact, outputs: Head) -> Option<String> {
    match (set.answers?, outputs) {
        (AnswersFact::Classes(None), Head::Classes(_)) => None,
        (AnswersFact::Classes(None), Head::Targets(_)) => {
            Some(format!("this data set has classes, the model {outputs}"))
        }
        _ => {
            let has = set.outputs().filter(|has| *has != outputs)?;
            let n = outputs.width();
            Some(match (has, outputs) {
                (Head::Classes(_), Head::Classes(_)) => {
                    format!("this data set has {has}, the model {n}")
                }
                _ => format!("this data set has {has}, the model {outputs}"),
            })
        }
    }
}

pub(crate) fn check_mask(mask: &MaskFact, identity: &Identity, found: &mut Findings) {
    let Some(of) = mask.identity.as_ref().filter(|of| *of != identity) else {
        return;
    };
    let made = |identity: &Identity| Architecture::new(identity.clone()).ok();
    let (Some(theirs), Some(ours)) = (made(of), made(identity)) else {
        return;
    };
    let foreign = theirs
        .parameters
        .iter()
        .filter(|p| p.role.is_weight())
        .find(|p| {
            !ours
                .parameters
                .iter()
                .any(|own| own.role.is_weight() && own.name == p.name && own.shape == p.shape)
        });
    if let Some(weight) = foreign {
        found.input(
            ("mask", 0),
            format!(
                "this mask is of another model: its weight `{}` {:?} is none of this one",
                weight.name, weight.shape
            ),
            "a mask is the output `mask` of a `prune` stage on a model of the same shape",
        );
    }
}

/// `28x28x1`
pub(crate) fn size(image: InputSize) -> String {
    format!("{}x{}x{}", image.height, image.width, image.channels)
}
