//! What is known of data sets: those this program knows, their parts, and what is made of them.

use super::{AnswersFact, DataFact, Fact, Finding, Findings, Known, Place};
use crate::kinds::corrupt;
use crate::kinds::download::{self, Known as Set};
use crate::kinds::split::{self, By, Size};
use crate::nn::architecture::InputSize;

/// Of `download`.
pub fn download(params: &download::Params) -> Findings {
    let mut found = Findings::default();
    let Some(set) = params.dataset else {
        // Any file: nobody knows what is in it.
        return found;
    };
    let shapes = params.shapes.clone().unwrap_or_default();
    let (name, side, channels, train, test) = match set {
        Set::Shapes => (
            "shapes",
            16,
            1,
            u64::from(shapes.train),
            u64::from(shapes.test),
        ),
        Set::FashionMnist => ("fashion-mnist", 28, 1, 60_000, 10_000),
        Set::Mnist => ("mnist", 28, 1, 60_000, 10_000),
        Set::Cifar10 => ("cifar-10", 32, 3, 50_000, 10_000),
    };
    let parts = [
        ("train", "training", train, params.train_limit),
        ("test", "test", test, params.test_limit),
    ];
    for (part, called, images, limit) in parts {
        if let Some(limit) = limit.filter(|&limit| limit > images) {
            let field = format!("{part}_limit");
            found.warnings.push(Finding::new(
                Place::Param(vec![field.clone()]),
                format!("`{name}` has {images} {called} images: a `{field}` of {limit} keeps all of them"),
                "leave it out, or give a smaller number".to_owned(),
            ));
        }
        found.say(
            part,
            Fact::Data(DataFact {
                set: Some(name.to_owned()),
                image: Some(InputSize {
                    height: side,
                    width: side,
                    channels,
                }),
                answers: Some(AnswersFact::Classes(Some(10))),
                images: Some(limit.map_or(images, |limit| images.min(limit))),
            }),
        );
    }
    found
}

/// Of `dataset`: what these outputs hold is known only when they are read, but for what is to be learnt.
pub fn dataset(outputs: &[crate::kind::OutputSpec], answers: Option<AnswersFact>) -> Findings {
    let mut found = Findings::default();
    for output in outputs {
        let known = DataFact {
            answers,
            ..DataFact::default()
        };
        found.say(&output.name, Fact::Data(known));
    }
    found
}

/// Of `split`.
pub fn split(params: &split::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let data = known.first_data("data", &mut found).unwrap_or_default();
    let asked: u64 = params
        .parts
        .values()
        .map(|size| if let Size::Count(n) = size { *n } else { 0 })
        .fold(0, u64::saturating_add);
    if let Some(images) = data.images.filter(|&images| asked > images) {
        found.param(
            &["parts"],
            format!("the parts ask for {asked} images, but the data set has {images}"),
            "make the parts smaller, or give fractions",
        );
    }
    if params.by == By::Class && data.has_targets() {
        found.param(
            &["by"],
            "these data have no classes: numbers are to be learnt from them",
            "leave `by: class` out",
        );
    }
    for (name, size) in &params.parts {
        let images = match (size, data.images) {
            (Size::Count(n), _) => Some(*n),
            // Rounding is done class by class, and nobody knows yet how many images each has.
            (Size::Fraction(f), images) if *f == 1.0 => images,
            (Size::Fraction(f), Some(n)) if params.by == By::None && f * n as f64 % 1.0 == 0.0 => {
                Some((f * n as f64) as u64)
            }
            _ => None,
        };
        found.say(
            name,
            Fact::Data(DataFact {
                images,
                ..data.clone()
            }),
        );
    }
    found
}

/// Of `corrupt`.
pub fn corrupt(params: &corrupt::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let data = known.first_data("data", &mut found).unwrap_or_default();
    if matches!(params.labels, Some(corrupt::Labels::Wrong(_)))
        && data.answers == Some(AnswersFact::Classes(Some(1)))
    {
        found.param(
            &["labels", "wrong"],
            "a data set with one class has no wrong labels",
            "",
        );
    }
    if params.labels.is_some() && data.has_targets() {
        found.param(
            &["labels"],
            "these data have no labels: numbers are to be learnt from them",
            "`pixels` can be corrupted",
        );
    }
    found.say("data", Fact::Data(data));
    found
}
