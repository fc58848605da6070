//! What is written of a study that is made by hand: the same bytes each time, nothing that loads,
//! nothing of a user's names as markup, and no more bytes than allowed.

use std::collections::BTreeMap;

use repro_report::draw::{Style, draw};
use repro_report::figure::{Axis, Body, Entry, Figure, Grid, Line, Point};
use repro_report::svg::{Sheet, svg};
use repro_report::{Arm, Claim, Instance, Measured, Sides, Stage, Study, markdown, page, pdf};

const HOSTILE: &str = "</script><script>alert(1)</script>|\"'`";

fn curves(points: usize) -> Figure {
    let line = |label: &str, up: f64| Line {
        label: label.to_owned(),
        points: (0..points)
            .map(|i| {
                let mean = up + i as f64 / points as f64;
                Point {
                    x: i as f64,
                    mean,
                    band: Some([mean - 0.1, mean + 0.1]),
                    n: 5,
                }
            })
            .collect(),
    };
    Figure {
        name: "curve-test-accuracy".to_owned(),
        title: "test_accuracy over time".to_owned(),
        note: "Mean of up to 5 repetitions; the band is its 95 % interval.".to_owned(),
        x: Axis::linear("epoch"),
        y: Axis::linear("test_accuracy"),
        body: Body::Lines(vec![line("scratch", 0.0), line(HOSTILE, 0.5)]),
    }
}

fn points() -> Figure {
    let entry = |label: &str, mean: f64| Entry {
        label: label.to_owned(),
        values: vec![
            ("seed=0".to_owned(), mean - 0.01),
            ("seed=1".to_owned(), mean + 0.01),
        ],
        mean,
        band: Some([mean - 0.02, mean + 0.02]),
    };
    Figure {
        name: "last".to_owned(),
        title: "test_accuracy, last value".to_owned(),
        note: String::new(),
        x: Axis::linear("test_accuracy"),
        y: Axis::default(),
        body: Body::Rows(vec![entry("scratch", 0.81), entry("warm", 0.74)]),
    }
}

fn plane() -> Figure {
    let places: Vec<f64> = (-2..=2).map(f64::from).collect();
    let cells = places
        .iter()
        .flat_map(|y| places.iter().map(move |x| Some(0.1 + x * x + y * y)));
    Figure {
        name: "plane".to_owned(),
        title: "test_loss in the plane".to_owned(),
        note: String::new(),
        x: Axis::linear("x"),
        y: Axis::linear("y"),
        body: Body::Grid(Grid {
            cells: cells.collect(),
            xs: places.clone(),
            ys: places.clone(),
            label: "test_loss".to_owned(),
            contours: true,
        }),
    }
}

fn study(instances: usize, points_of_curve: usize) -> Study {
    let measured = Measured {
        values: vec![("seed=0".to_owned(), 0.81), ("seed=1".to_owned(), 0.83)],
        mean: 0.82,
        band: Some([0.7, 0.94]),
    };
    let instance = |i: usize| Instance {
        name: format!("train[seed={i}]"),
        state: if i % 7 == 3 { "stale" } else { "cached" },
        key: "0123456789ab".to_owned(),
        seconds: Some(1.5),
        memory: Some(3e7),
        joules: Some(12.0),
        gpus_uncounted: false,
        device: (i == 2).then(|| HOSTILE.to_owned()),
        origin: None,
    };
    Study {
        name: HOSTILE.to_owned(),
        description: Some("Does it help?".to_owned()),
        claims: vec![
            Claim {
                name: "warm-start-hurts".to_owned(),
                source: Some("Ash & Adams 2020: 39.4 % and 36.1 %".to_owned()),
                verdict: Some("holds"),
                expects: "difference above 0".to_owned(),
                bounds: Some([0.0, f64::INFINITY]),
                estimate: Some(0.07),
                interval: Some([0.05, 0.09]),
                confidence: Some(0.95),
                n: 2,
                reason: Some("the interval lies above 0".to_owned()),
                values: vec![("seed=0".to_owned(), 0.06), ("seed=1".to_owned(), 0.08)],
                sides: Some(Sides {
                    a: 0.81,
                    b: 0.74,
                    a_name: "scratch".to_owned(),
                    b_name: "warm".to_owned(),
                    of: "test_accuracy".to_owned(),
                }),
                committed: Some(
                    "Committed 2026-11-01 (abc), 3 days before the first of its results."
                        .to_owned(),
                ),
                flipped: Some("In an earlier report: inconclusive.".to_owned()),
                ..Claim::default()
            },
            Claim {
                name: "open-one".to_owned(),
                expects: "mean above 0.5".to_owned(),
                ..Claim::default()
            },
        ],
        given: None,
        asked: vec!["test_accuracy".to_owned()],
        figures: vec![curves(points_of_curve), points(), plane()],
        undrawn: Vec::new(),
        remarks: vec!["1 table has no result yet.".to_owned()],
        stages: vec![
            Stage {
                name: "data".to_owned(),
                kind: "download".to_owned(),
                instances: vec![instance(0)],
                ..Stage::default()
            },
            Stage {
                name: "train".to_owned(),
                kind: "train".to_owned(),
                description: Some("The control.".to_owned()),
                needs: BTreeMap::from([(0, vec!["train".to_owned()])]),
                instances: (0..instances).map(instance).collect(),
                why: vec!["train[seed=0]: cached".to_owned()],
                params: "{\"lr\": 0.1}".to_owned(),
                log: Some(HOSTILE.to_owned()),
                ..Stage::default()
            },
        ],
        arms: vec![Arm {
            stage: "train".to_owned(),
            axes: vec![("lr".to_owned(), "0.1".to_owned())],
            n: 2,
            metrics: BTreeMap::from([("test_accuracy".to_owned(), measured)]),
        }],
        made: Vec::new(),
        commands: vec!["repro run".to_owned()],
    }
}

/// The page without its style and script, which are files of their own.
fn body(page: &str) -> String {
    let from = page
        .find("<a class=\"skip\"")
        .expect("a link past the head");
    let to = page.rfind("<footer>").expect("a footer");
    page[from..to].replace("><", ">\n<")
}

#[test]
fn a_study_has_one_page() {
    let text = page::page(&study(3, 5), page::BUDGET);
    assert_eq!(text, page::page(&study(3, 5), page::BUDGET));
    insta::assert_snapshot!("page", body(&text));
}

#[test]
fn a_study_has_one_summary_in_markdown() {
    let (text, drawings) = markdown::markdown(&study(3, 5));
    insta::assert_snapshot!("markdown", text);
    for (name, _) in &drawings {
        assert!(text.contains(&format!("({name})")), "{name} is not shown");
    }
}

#[test]
fn figures_are_drawn_the_same_everywhere() {
    for figure in [curves(5), points(), plane()] {
        let drawing = draw(&figure, &Style::default());
        let name = format!("paper-{}", figure.name);
        insta::assert_snapshot!(
            name,
            svg(&drawing, Sheet::Paper, "serif").replace("><", ">\n<")
        );
    }
}

#[test]
fn names_of_users_are_no_markup() {
    let text = page::page(&study(3, 5), page::BUDGET);
    assert!(
        !text.contains("alert(1)</script>"),
        "a name became a script"
    );
    assert_eq!(text.matches("<script>").count(), 1);
    let drawing = draw(&curves(3), &Style::default());
    assert!(!svg(&drawing, Sheet::Paper, "\"><script>").contains("<script>"));
}

/// Addresses of name spaces are no requests.
/// A reader sees at a glance what was not made here.
#[test]
fn results_from_elsewhere_have_a_colour() {
    let mut study = study(3, 5);
    study.stages[1].instances[0].origin = Some("lab, signed by ada".to_owned());
    let text = page::page(&study, page::BUDGET);
    assert_eq!(text.matches("<rect class=\"st-elsewhere\"").count(), 2);
    assert!(text.contains("train[seed=0]: cached, from lab, signed by ada"));
    assert!(text.contains("</svg>made elsewhere</span>"));
}

#[test]
fn the_page_loads_nothing() {
    let text = page::page(&study(3, 5), page::BUDGET);
    let text = text.replace("http://www.w3.org/2000/svg", "");
    for word in [
        "http:",
        "https:",
        "src=\"/",
        "@import",
        "url(",
        "fetch(",
        "<link rel=\"style",
    ] {
        assert!(!text.contains(word), "{word}");
    }
    assert!(text.contains("default-src 'none'"));
    let watched = page::live(&study(3, 5), page::BUDGET);
    assert!(watched.contains("fetch(") && watched.contains("connect-src 'self'"));
}

#[test]
fn a_large_study_fits_and_says_what_it_left_out() {
    let mut study = study(10_000, 5000);
    for i in 0..40 {
        let mut figure = curves(5000);
        figure.name = format!("curve-{i}");
        study.figures.push(figure);
    }
    let text = page::page(&study, page::BUDGET);
    assert!(text.len() <= page::BUDGET, "{} bytes", text.len());
    assert!(text.contains("of 10000 instances"));
    assert!(text.contains("of up to 5000 points a curve"));
}

#[test]
fn a_pdf_finds_its_objects() {
    let file = pdf::pdf(&draw(&curves(4), &Style::default()));
    let text = String::from_utf8(file).unwrap();
    let start: usize = text
        .rsplit("startxref\n")
        .next()
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(text[start..].starts_with("xref\n"));
    let places = text[start..]
        .lines()
        .skip(3)
        .take_while(|l| l.ends_with(" n "));
    let mut n = 0;
    for (i, line) in places.enumerate() {
        let place: usize = line[..10].parse().unwrap();
        assert!(
            text[place..].starts_with(&format!("{} 0 obj", i + 1)),
            "{line}"
        );
        n += 1;
    }
    assert_eq!(n, 5);
    let length: usize = text
        .split("/Length ")
        .nth(1)
        .unwrap()
        .split('>')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let stream = text.split("stream\n").nth(1).unwrap();
    assert_eq!(stream.find("endstream"), Some(length));
}
