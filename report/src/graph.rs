//! The study as a graph: one box for each stage, its instances as cells, laid out in layers.

use std::fmt::Write;

use crate::draw::shortened;
use crate::number::coordinate as c;
use crate::study::Stage;
use crate::svg::escaped;

const BOX: f64 = 172.0;
const GAP: f64 = 56.0;
const ROW: f64 = 14.0;
const CELL: f64 = 9.0;
const PER_ROW: usize = 17;
/// Cells in a box; further instances share cells.
const CELLS: usize = PER_ROW * 6;
/// The worst first: a cell of several instances shows the worst.
pub const STATES: [&str; 8] = [
    "failed",
    "running",
    "stale",
    "missing",
    "unknown",
    "held",
    "elsewhere",
    "cached",
];

struct Placed {
    x: f64,
    y: f64,
    height: f64,
}

fn cells(stage: &Stage) -> Vec<(&'static str, String)> {
    let n = stage.instances.len();
    let cells = n.min(CELLS);
    let of = |cell: usize| {
        let own = &stage.instances[cell * n / cells..(cell + 1) * n / cells];
        let worst = STATES.iter().find(|s| own.iter().any(|i| i.shade() == **s));
        let state = worst.copied().unwrap_or("unknown");
        let tip = match own {
            [one] => match &one.origin {
                Some(origin) => format!("{}: {}, from {origin}", one.name, one.state),
                None => format!("{}: {}", one.name, one.state),
            },
            [first, .., last] => format!("{} to {}: {state}", first.name, last.name),
            [] => String::new(),
        };
        (state, tip)
    };
    (0..cells).map(of).collect()
}

/// A layer is the longest way from a stage that needs nothing.
fn layers(stages: &[Stage]) -> Vec<Vec<usize>> {
    let mut depth = vec![0usize; stages.len()];
    for (i, stage) in stages.iter().enumerate() {
        let before = stage
            .needs
            .keys()
            .filter(|n| **n < i)
            .map(|n| depth[*n] + 1);
        depth[i] = before.max().unwrap_or(0);
    }
    let mut layers = vec![Vec::new(); depth.iter().max().map_or(0, |d| d + 1)];
    for (i, d) in depth.iter().enumerate() {
        layers[*d].push(i);
    }
    // A few sweeps put stages beside what they need and who needs them.
    let mut rank: Vec<f64> = vec![0.0; stages.len()];
    let set = |layer: &[usize], rank: &mut Vec<f64>| {
        for (at, i) in layer.iter().enumerate() {
            rank[*i] = at as f64;
        }
    };
    layers.iter().for_each(|layer| set(layer, &mut rank));
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); stages.len()];
    for (i, stage) in stages.iter().enumerate() {
        stage.needs.keys().for_each(|n| users[*n].push(i));
    }
    for sweep in 0..4 {
        let down = sweep % 2 == 0;
        for k in 0..layers.len() {
            let k = if down { k } else { layers.len() - 1 - k };
            let middle = |i: usize| {
                let near: Vec<usize> = match down {
                    true => stages[i].needs.keys().copied().collect(),
                    false => users[i].clone(),
                };
                match near.len() {
                    0 => rank[i],
                    n => near.iter().map(|j| rank[*j]).sum::<f64>() / n as f64,
                }
            };
            let mut layer: Vec<(f64, usize)> = layers[k].iter().map(|i| (middle(*i), *i)).collect();
            layer.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            layers[k] = layer.into_iter().map(|(_, i)| i).collect();
            set(&layers[k].clone(), &mut rank);
        }
    }
    layers
}

/// The graph as SVG; a box leads to its stage.
pub fn svg(stages: &[Stage]) -> String {
    let layers = layers(stages);
    let mut placed: Vec<Placed> = stages
        .iter()
        .map(|stage| {
            let rows = stage.instances.len().min(CELLS).div_ceil(PER_ROW) as f64;
            Placed {
                x: 0.0,
                y: 0.0,
                height: 42.0 + rows * (CELL + 1.0),
            }
        })
        .collect();
    let tall = |layer: &[usize]| layer.iter().map(|i| placed[*i].height + ROW).sum::<f64>();
    let height = layers.iter().map(|l| tall(l)).fold(0.0, f64::max) + 2.0;
    for (k, layer) in layers.iter().enumerate() {
        let own: f64 = layer.iter().map(|i| placed[*i].height + ROW).sum();
        let mut y = (height - own) / 2.0 + ROW / 2.0;
        for i in layer {
            placed[*i].x = 1.0 + k as f64 * (BOX + GAP);
            placed[*i].y = y;
            y += placed[*i].height + ROW;
        }
    }
    let width = layers.len() as f64 * (BOX + GAP) - GAP + 2.0;
    let (w, h) = (c(width), c(height));
    let mut text = format!(
        "<svg class=\"graph\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" \
         width=\"{w}\" height=\"{h}\" role=\"group\" aria-label=\"Stages and what they need; the \
         list below says the same\">"
    );
    for (i, stage) in stages.iter().enumerate() {
        for (from, names) in &stage.needs {
            let (a, b) = (&placed[*from], &placed[i]);
            let (x0, y0) = (a.x + BOX, a.y + a.height / 2.0);
            let (x1, y1) = (b.x, b.y + b.height / 2.0);
            let bend = (x1 - x0) / 2.0;
            let _ = write!(
                text,
                "<path class=\"edge\" d=\"M{} {}C{} {} {} {} {} {}\"><title>{} → {}: {}</title></path>",
                c(x0),
                c(y0),
                c(x0 + bend),
                c(y0),
                c(x1 - bend),
                c(y1),
                c(x1),
                c(y1),
                escaped(&stages[*from].name),
                escaped(&stage.name),
                escaped(&names.join(", "))
            );
        }
    }
    for (i, (stage, at)) in stages.iter().zip(&placed).enumerate() {
        let n = stage.instances.len();
        let count = if n == 1 {
            String::new()
        } else {
            format!(" ×{n}")
        };
        let _ = write!(
            text,
            "<a href=\"#stage-{i}\"><title>{}</title><rect class=\"box\" x=\"{x}\" y=\"{y}\" \
             width=\"{BOX}\" height=\"{}\" rx=\"5\"/><text x=\"{tx}\" y=\"{}\" class=\"name\">{}</text>\
             <text x=\"{tx}\" y=\"{}\" class=\"kind\">{}</text>",
            escaped(&format!("{} ({}){count}", stage.name, stage.kind)),
            c(at.height),
            c(at.y + 16.0),
            escaped(&shortened(&stage.name, 23)),
            c(at.y + 31.0),
            escaped(&shortened(&format!("{}{count}", stage.kind), 27)),
            x = c(at.x),
            y = c(at.y),
            tx = c(at.x + 8.0),
        );
        for (k, (state, tip)) in cells(stage).into_iter().enumerate() {
            let x = at.x + 8.0 + (k % PER_ROW) as f64 * (CELL + 0.2);
            let y = at.y + 36.0 + (k / PER_ROW) as f64 * (CELL + 1.0);
            let _ = write!(
                text,
                "<rect class=\"st-{state}\" x=\"{}\" y=\"{}\" width=\"8\" height=\"8\" rx=\"1\"><title>{}</title></rect>",
                c(x),
                c(y),
                escaped(&tip)
            );
        }
        text.push_str("</a>");
    }
    text.push_str("</svg>");
    text
}
