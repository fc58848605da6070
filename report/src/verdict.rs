//! The drawing of a verdict: the interval against the bound, the observations as points.

use crate::marks::{Anchor, Drawing, Frame, Ink, Mark};
use crate::number::{short, signed, ticks};
use crate::study::Claim;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 84.0;
const SIZE: f64 = 11.0;

/// Draws it; `None` where nothing was measured.
pub fn drawing(claim: &Claim) -> Option<Drawing> {
    let estimate = claim.estimate?;
    let [low, high] = claim.interval.unwrap_or([estimate, estimate]);
    let bounds = claim.bounds.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
    let finite = bounds.iter().copied().filter(|b| b.is_finite());
    let observed = claim.values.iter().map(|(_, v)| *v);
    let all: Vec<f64> = finite
        .chain(observed)
        .chain([low, high, estimate])
        .collect();
    let all = all.into_iter().filter(|v| v.is_finite());
    let (from, to) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    let room = match to - from {
        0.0 => 1.0,
        span => span * 0.12,
    };
    let x = [from - room, to + room];
    let plot = [14.0, 10.0, WIDTH - 14.0, HEIGHT - 26.0];
    let across = |v: f64| plot[0] + (v - x[0]) / (x[1] - x[0]) * (plot[2] - plot[0]);
    let mut marks = Vec::new();
    let mut put = |mark| marks.push((None, mark));
    // Where the claim holds.
    let edge = |bound: f64, otherwise: f64| match bound.is_finite() {
        true => across(bound),
        false => otherwise,
    };
    if claim.bounds.is_some() {
        let (a, b) = (edge(bounds[0], plot[0]), edge(bounds[1], plot[2]));
        put(Mark::Area {
            points: vec![(a, plot[1]), (b, plot[1]), (b, plot[3]), (a, plot[3])],
            ink: Ink::Good,
        });
    }
    for bound in bounds.into_iter().filter(|b| b.is_finite()) {
        let at = across(bound);
        put(Mark::Line {
            points: vec![(at, plot[1] - 4.0), (at, plot[3])],
            ink: Ink::Good,
            width: 1.5,
            dash: &[4.0, 2.0],
        });
    }
    for tick in ticks(x[0], x[1], 5) {
        put(Mark::Line {
            points: vec![(across(tick), plot[3]), (across(tick), plot[3] + 4.0)],
            ink: Ink::Faint,
            width: 1.0,
            dash: &[],
        });
        put(Mark::Words {
            at: (across(tick), plot[3] + SIZE + 6.0),
            anchor: Anchor::Middle,
            size: SIZE,
            ink: Ink::Faint,
            upright: false,
            text: short(tick),
        });
    }
    put(Mark::Line {
        points: vec![(plot[0], plot[3]), (plot[2], plot[3])],
        ink: Ink::Faint,
        width: 1.0,
        dash: &[],
    });
    for (name, value) in claim.values.iter().filter(|(_, v)| v.is_finite()) {
        put(Mark::Dot {
            at: (across(*value), plot[1] + 10.0),
            radius: 3.2,
            ink: Ink::Series(0),
            pale: true,
            tip: format!("{name}: {}", signed(*value)),
        });
    }
    let y = plot[3] - 14.0;
    if let Some([low, high]) = claim.interval {
        let (a, b) = (across(low), across(high));
        put(Mark::Line {
            points: vec![(a, y), (b, y)],
            ink: Ink::Text,
            width: 2.0,
            dash: &[],
        });
        for end in [a, b] {
            put(Mark::Line {
                points: vec![(end, y - 4.0), (end, y + 4.0)],
                ink: Ink::Text,
                width: 1.5,
                dash: &[],
            });
        }
    }
    put(Mark::Dot {
        at: (across(estimate), y),
        radius: 4.0,
        ink: Ink::Text,
        pale: false,
        tip: format!("estimate {}", signed(estimate)),
    });
    let interval = claim.interval.map_or_else(String::new, |[low, high]| {
        format!(", interval {} to {}", signed(low), signed(high))
    });
    Some(Drawing {
        width: WIDTH,
        height: HEIGHT,
        title: format!(
            "{}: estimate {}{interval}; expected {}",
            claim.name,
            signed(estimate),
            claim.expects
        ),
        description: String::new(),
        marks,
        frame: Frame {
            plot,
            x,
            y: [0.0, 1.0],
        },
    })
}
