//! From a figure to marks on a sheet: ranges, ticks, curves, bands, points, grids, and the names of
//! curves beside their ends.

use crate::figure::{Axis, Body, Entry, Figure, Grid, Line, Scale};
use crate::marks::{Anchor, Drawing, Frame, Ink, Mark};
use crate::number::{log_ticks, short, ticks};

/// The sheet that a figure is drawn on.
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// Width in points.
    pub width: f64,
    /// Height in points; rows of points take what they need.
    pub height: f64,
    /// Size of words in points.
    pub size: f64,
    /// Family of words, on paper.
    pub font: String,
}

impl Default for Style {
    fn default() -> Style {
        Style {
            width: 640.0,
            height: 340.0,
            size: 12.0,
            font: "Helvetica, Arial, sans-serif".to_owned(),
        }
    }
}

/// Dashes of curves, so that they differ without colours.
const DASHES: [&[f64]; 4] = [&[], &[6.0, 3.0], &[2.0, 2.0], &[8.0, 3.0, 2.0, 3.0]];

/// Dashes of a curve, by its number.
pub fn dash(series: usize) -> &'static [f64] {
    DASHES[(series / crate::svg::SERIES.len() + series) % DASHES.len()]
}

/// How wide words are, about.
fn width_of(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.56
}

/// At most so many characters, the middle left out.
pub fn shortened(text: &str, most: usize) -> String {
    let n = text.chars().count();
    if n <= most {
        return text.to_owned();
    }
    let head = most.saturating_sub(1).div_ceil(2);
    let tail = most.saturating_sub(1) - head;
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(n - tail).collect();
    format!("{begin}…{end}")
}

/// Draws a figure.
pub fn draw(figure: &Figure, style: &Style) -> Drawing {
    let mut pen = Pen {
        drawing: Drawing {
            width: style.width,
            height: style.height,
            title: figure.title.clone(),
            description: figure.note.clone(),
            ..Drawing::default()
        },
        style,
        series: None,
    };
    match &figure.body {
        Body::Lines(lines) => pen.lines(figure, lines),
        Body::Rows(entries) => pen.rows(figure, entries),
        Body::Grid(grid) => pen.grid(figure, grid),
    }
    pen.drawing
}

/// The range of values, with room; one value gets room around it.
fn range(values: impl Iterator<Item = f64>, scale: Scale) -> [f64; 2] {
    let fits = |v: &f64| v.is_finite() && (scale == Scale::Linear || *v > 0.0);
    let (low, high) = values
        .filter(fits)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
    match (low <= high, scale) {
        (false, Scale::Linear) => [0.0, 1.0],
        (false, Scale::Log) => [0.1, 1.0],
        (true, Scale::Linear) if low == high => {
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            [low - room, high + room]
        }
        (true, Scale::Log) if low == high => [low / 2.0, high * 2.0],
        _ => [low, high],
    }
}

/// The same, wider by a twentieth at each end.
fn wider([low, high]: [f64; 2], scale: Scale) -> [f64; 2] {
    match scale {
        Scale::Linear => {
            let room = (high - low) * 0.05;
            [low - room, high + room]
        }
        Scale::Log => {
            let room = (high / low).powf(0.05);
            [low / room, high * room]
        }
    }
}

/// Where a value lies between two ends, from 0 to 1.
fn place(value: f64, [low, high]: [f64; 2], scale: Scale) -> f64 {
    match scale {
        Scale::Linear => (value - low) / (high - low),
        Scale::Log => (value.max(low * 1e-3).max(f64::MIN_POSITIVE) / low).ln() / (high / low).ln(),
    }
}

struct Pen<'s> {
    drawing: Drawing,
    style: &'s Style,
    series: Option<usize>,
}

impl Pen<'_> {
    fn put(&mut self, mark: Mark) {
        self.drawing.marks.push((self.series, mark));
    }

    fn line(&mut self, points: Vec<(f64, f64)>, ink: Ink, width: f64, dash: &'static [f64]) {
        self.put(Mark::Line {
            points,
            ink,
            width,
            dash,
        });
    }

    fn words(&mut self, at: (f64, f64), anchor: Anchor, ink: Ink, text: impl Into<String>) {
        self.put(Mark::Words {
            at,
            anchor,
            size: self.style.size,
            ink,
            upright: false,
            text: text.into(),
        });
    }

    /// The frame of a plot: ticks of both axes and their names.
    fn axes(&mut self, x: &Axis, y: &Axis, frame: Frame) {
        let [left, top, right, bottom] = frame.plot;
        let size = self.style.size;
        let steps = |range: [f64; 2], scale, about| match scale {
            Scale::Linear => ticks(range[0], range[1], about),
            Scale::Log => log_ticks(range[0], range[1]),
        };
        for tick in steps(frame.y, y.scale, 5) {
            let at = bottom - place(tick, frame.y, y.scale) * (bottom - top);
            self.line(vec![(left, at), (right, at)], Ink::Rule, 1.0, &[]);
            let text = short(tick);
            self.words(
                (left - 6.0, at + size * 0.35),
                Anchor::End,
                Ink::Faint,
                text,
            );
        }
        let about = ((right - left) / (size * 6.0)).max(2.0) as usize;
        for tick in steps(frame.x, x.scale, about) {
            let at = left + place(tick, frame.x, x.scale) * (right - left);
            self.line(vec![(at, bottom), (at, bottom + 4.0)], Ink::Faint, 1.0, &[]);
            let text = short(tick);
            self.words((at, bottom + size + 6.0), Anchor::Middle, Ink::Faint, text);
        }
        self.line(vec![(left, bottom), (right, bottom)], Ink::Faint, 1.0, &[]);
        let middle = ((left + right) / 2.0, bottom + size * 2.0 + 10.0);
        self.words(middle, Anchor::Middle, Ink::Text, x.label.clone());
        self.put(Mark::Words {
            at: (size, (top + bottom) / 2.0),
            anchor: Anchor::Middle,
            size,
            ink: Ink::Text,
            upright: true,
            text: y.label.clone(),
        });
        self.drawing.frame = frame;
    }

    fn lines(&mut self, figure: &Figure, lines: &[Line]) {
        let size = self.style.size;
        let longest = lines
            .iter()
            .map(|l| width_of(&shortened(&l.label, 24), size));
        let names = longest.fold(0.0, f64::max).min(self.style.width * 0.3);
        let plot = [
            size * 5.0,
            8.0,
            self.style.width - names - 14.0,
            self.style.height - size * 3.2 - 4.0,
        ];
        let points = || lines.iter().flat_map(|l| &l.points);
        let xs = range(points().map(|p| p.x), figure.x.scale);
        let ends = |p: &crate::figure::Point| {
            let [low, high] = p.band.unwrap_or([p.mean, p.mean]);
            [low, p.mean, high]
        };
        let ys = wider(
            range(points().flat_map(ends), figure.y.scale),
            figure.y.scale,
        );
        let frame = Frame { plot, x: xs, y: ys };
        self.axes(&figure.x, &figure.y, frame);
        let [left, top, right, bottom] = plot;
        let across = |x: f64| left + place(x, xs, figure.x.scale) * (right - left);
        let up = |y: f64| {
            let at = bottom - place(y, ys, figure.y.scale) * (bottom - top);
            at.clamp(top - 2.0, bottom + 2.0)
        };
        let mut ends: Vec<(f64, usize)> = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            self.series = Some(i);
            let bands: Vec<(f64, [f64; 2])> = line
                .points
                .iter()
                .filter_map(|p| Some((p.x, p.band?)))
                .collect();
            if bands.len() > 1 {
                let upper = bands.iter().map(|(x, b)| (across(*x), up(b[1])));
                let lower = bands.iter().rev().map(|(x, b)| (across(*x), up(b[0])));
                let points = upper.chain(lower).collect();
                let ink = Ink::Series(i);
                self.put(Mark::Area { points, ink });
            }
            let way: Vec<(f64, f64)> = line
                .points
                .iter()
                .map(|p| (across(p.x), up(p.mean)))
                .collect();
            // A curve of few points shows them.
            if way.len() <= 12 {
                for (p, at) in line.points.iter().zip(&way) {
                    self.put(Mark::Dot {
                        at: *at,
                        radius: 2.5,
                        ink: Ink::Series(i),
                        pale: false,
                        tip: format!(
                            "{}: {} {}, {} {}{}, n = {}",
                            line.label,
                            figure.x.label,
                            short(p.x),
                            figure.y.label,
                            short(p.mean),
                            between(p.band),
                            p.n
                        ),
                    });
                }
            }
            if let Some(last) = way.last() {
                ends.push((last.1, i));
            }
            self.line(way, Ink::Series(i), 1.8, dash(i));
        }
        // Names beside the ends, moved apart.
        ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut below = top;
        let step = (size * 1.15).min((bottom - top) / ends.len().max(1) as f64);
        let room = ends.len() as f64 * step;
        for (rank, (y, i)) in ends.into_iter().enumerate() {
            let latest = bottom - room + (rank + 1) as f64 * step;
            let at = (y + size * 0.35)
                .max(below + step)
                .min(latest.max(below + step));
            below = at;
            self.series = Some(i);
            let text = shortened(&lines[i].label, 24);
            self.words((right + 8.0, at), Anchor::Start, Ink::Series(i), text);
        }
        self.series = None;
    }

    fn rows(&mut self, figure: &Figure, entries: &[Entry]) {
        let size = self.style.size;
        let step = size * 2.0;
        let longest = entries
            .iter()
            .map(|e| width_of(&shortened(&e.label, 32), size));
        let left = longest.fold(0.0, f64::max).min(self.style.width * 0.45) + 10.0;
        let top = 4.0;
        let bottom = top + step * entries.len() as f64;
        self.drawing.height = bottom + size * 3.2 + 4.0;
        let plot = [left, top, self.style.width - 14.0, bottom];
        let scale = figure.x.scale;
        let all = entries.iter().flat_map(|e| {
            let own = e.values.iter().map(|(_, v)| *v);
            own.chain(e.band.into_iter().flatten()).chain([e.mean])
        });
        let xs = wider(range(all, scale), scale);
        let right = plot[2];
        let across = |x: f64| left + place(x, xs, scale) * (right - left);
        let steps = match scale {
            Scale::Linear => ticks(xs[0], xs[1], 6),
            Scale::Log => log_ticks(xs[0], xs[1]),
        };
        for tick in steps {
            let at = across(tick);
            self.line(vec![(at, top), (at, bottom)], Ink::Rule, 1.0, &[]);
            let text = short(tick);
            self.words((at, bottom + size + 4.0), Anchor::Middle, Ink::Faint, text);
        }
        let middle = ((left + right) / 2.0, bottom + size * 2.0 + 9.0);
        self.words(middle, Anchor::Middle, Ink::Text, figure.x.label.clone());
        for (i, entry) in entries.iter().enumerate() {
            let y = top + step * (i as f64 + 0.5);
            let text = shortened(&entry.label, 32);
            self.words((left - 8.0, y + size * 0.35), Anchor::End, Ink::Text, text);
            for (name, value) in entry.values.iter().filter(|(_, v)| v.is_finite()) {
                self.put(Mark::Dot {
                    at: (across(*value), y),
                    radius: 3.0,
                    ink: Ink::Series(0),
                    pale: true,
                    tip: format!("{} {name}: {}", entry.label, short(*value)),
                });
            }
            if let Some([low, high]) = entry.band {
                let (a, b) = (across(low), across(high));
                self.line(vec![(a, y + 7.0), (b, y + 7.0)], Ink::Text, 1.5, &[]);
                for end in [a, b] {
                    self.line(vec![(end, y + 4.5), (end, y + 9.5)], Ink::Text, 1.0, &[]);
                }
            }
            self.put(Mark::Dot {
                at: (across(entry.mean), y + 7.0),
                radius: 3.0,
                ink: Ink::Text,
                pale: false,
                tip: format!(
                    "{}: mean {}{}, n = {}",
                    entry.label,
                    short(entry.mean),
                    between(entry.band),
                    entry.values.len()
                ),
            });
        }
        self.drawing.frame = Frame {
            plot,
            x: xs,
            y: [0.0, entries.len() as f64],
        };
    }

    fn grid(&mut self, figure: &Figure, grid: &Grid) {
        let size = self.style.size;
        let plot = [
            size * 5.0,
            8.0,
            self.style.width - size * 7.0,
            self.style.height - size * 3.2 - 4.0,
        ];
        let [left, top, right, bottom] = plot;
        let known = || grid.cells.iter().flatten().copied();
        // Of a surface the heights differ by powers; equal steps would show its rim only.
        let scale = match grid.contours && known().all(|v| v > 0.0) {
            true => Scale::Log,
            false => Scale::Linear,
        };
        let values = range(known(), scale);
        let edges = |places: &[f64], index: usize| -> [f64; 2] {
            let n = places.len();
            let here = places[index];
            let gap = |a: usize, b: usize| (places[b] - places[a]) / 2.0;
            let (before, after) = match (index, n) {
                (_, 0 | 1) => (0.5, 0.5),
                (0, _) => (gap(0, 1), gap(0, 1)),
                (i, _) if i + 1 == n => (gap(i - 1, i), gap(i - 1, i)),
                (i, _) => (gap(i - 1, i), gap(i, i + 1)),
            };
            [here - before, here + after]
        };
        // Named steps of an axis that is no range have equal room.
        let even = |places: &[f64]| -> Vec<f64> { (0..places.len()).map(|i| i as f64).collect() };
        let (xs, ys) = match grid.contours {
            true => (grid.xs.clone(), grid.ys.clone()),
            false => (even(&grid.xs), even(&grid.ys)),
        };
        if xs.is_empty() || ys.is_empty() {
            return;
        }
        let ends = |places: &[f64]| [edges(places, 0)[0], edges(places, places.len() - 1)[1]];
        let (x_range, y_range) = (ends(&xs), ends(&ys));
        let across = |x: f64| left + place(x, x_range, Scale::Linear) * (right - left);
        let up = |y: f64| bottom - place(y, y_range, Scale::Linear) * (bottom - top);
        for j in 0..ys.len() {
            for i in 0..xs.len() {
                let Some(value) = grid.at(i, j) else { continue };
                let ([x0, x1], [y0, y1]) = (edges(&xs, i), edges(&ys, j));
                let at = (across(x0), up(y1));
                let tip = format!(
                    "{} {}, {} {}: {} {}",
                    figure.x.label,
                    short(grid.xs[i]),
                    figure.y.label,
                    short(grid.ys[j]),
                    grid.label,
                    short(value)
                );
                self.put(Mark::Box {
                    at,
                    size: (across(x1) - at.0 + 0.3, up(y0) - at.1 + 0.3),
                    ink: Ink::Ramp(place(value, values, scale).clamp(0.0, 1.0)),
                    tip,
                });
            }
        }
        if grid.contours {
            for k in 1..10 {
                let part = f64::from(k) / 10.0;
                let level = match scale {
                    Scale::Linear => values[0] + part * (values[1] - values[0]),
                    Scale::Log => values[0] * (values[1] / values[0]).powf(part),
                };
                for [a, b] in contour(grid, level) {
                    let way = vec![(across(a.0), up(a.1)), (across(b.0), up(b.1))];
                    self.line(way, Ink::Text, 0.7, &[]);
                }
            }
            let frame = Frame {
                plot,
                x: x_range,
                y: y_range,
            };
            self.axes(
                &Axis::linear(&figure.x.label),
                &Axis::linear(&figure.y.label),
                frame,
            );
        } else {
            for (i, x) in grid.xs.iter().enumerate() {
                let at = (across(i as f64), bottom + size + 6.0);
                self.words(at, Anchor::Middle, Ink::Faint, short(*x));
            }
            for (j, y) in grid.ys.iter().enumerate() {
                let at = (left - 6.0, up(j as f64) + size * 0.35);
                self.words(at, Anchor::End, Ink::Faint, short(*y));
            }
            let middle = ((left + right) / 2.0, bottom + size * 2.0 + 10.0);
            self.words(middle, Anchor::Middle, Ink::Text, figure.x.label.clone());
            self.put(Mark::Words {
                at: (size, (top + bottom) / 2.0),
                anchor: Anchor::Middle,
                size,
                ink: Ink::Text,
                upright: true,
                text: figure.y.label.clone(),
            });
        }
        // What a colour means.
        let steps = 20;
        for k in 0..steps {
            let height = (bottom - top) / f64::from(steps);
            self.put(Mark::Box {
                at: (right + 12.0, bottom - f64::from(k + 1) * height),
                size: (10.0, height + 0.3),
                ink: Ink::Ramp((f64::from(k) + 0.5) / f64::from(steps)),
                tip: String::new(),
            });
        }
        for (value, y) in [(values[1], top + size * 0.7), (values[0], bottom)] {
            self.words((right + 26.0, y), Anchor::Start, Ink::Faint, short(value));
        }
    }
}

/// ` [0.1, 0.2]`.
fn between(band: Option<[f64; 2]>) -> String {
    band.map_or_else(String::new, |[low, high]| {
        format!(" [{}, {}]", short(low), short(high))
    })
}

/// Pieces of the line of equal height, by marching squares; a saddle is cut along its mean.
pub fn contour(grid: &Grid, level: f64) -> Vec<[(f64, f64); 2]> {
    let mut pieces = Vec::new();
    for j in 1..grid.ys.len() {
        for i in 1..grid.xs.len() {
            let corners = [(i - 1, j - 1), (i, j - 1), (i, j), (i - 1, j)];
            let heights = corners.map(|(a, b)| grid.at(a, b));
            let [Some(a), Some(b), Some(c), Some(d)] = heights else {
                continue;
            };
            let heights = [a, b, c, d];
            let crossing = |from: usize, to: usize| -> Option<(f64, f64)> {
                let (ha, hb) = (heights[from], heights[to]);
                if (ha < level) == (hb < level) {
                    return None;
                }
                let part = (level - ha) / (hb - ha);
                let at = |k: usize| (grid.xs[corners[k].0], grid.ys[corners[k].1]);
                let ((x0, y0), (x1, y1)) = (at(from), at(to));
                Some((x0 + part * (x1 - x0), y0 + part * (y1 - y0)))
            };
            let found = [(0, 1), (1, 2), (2, 3), (3, 0)].map(|(a, b)| crossing(a, b));
            let all: Vec<(f64, f64)> = found.into_iter().flatten().collect();
            match all[..] {
                [a, b] => pieces.push([a, b]),
                [s, e, n, w] => {
                    let mean = heights.iter().sum::<f64>() / 4.0;
                    let together = (heights[0] < level) == (mean < level);
                    match together {
                        true => pieces.extend([[s, e], [n, w]]),
                        false => pieces.extend([[s, w], [e, n]]),
                    }
                }
                _ => {}
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of height r² of x² + y² is a circle of radius r.
    #[test]
    fn lines_of_equal_height_are_where_the_height_is() {
        let places: Vec<f64> = (-20..=20).map(|i| f64::from(i) / 10.0).collect();
        let heights = places
            .iter()
            .flat_map(|y| places.iter().map(move |x| Some(x * x + y * y)));
        let grid = Grid {
            cells: heights.collect(),
            xs: places.clone(),
            ys: places.clone(),
            label: String::new(),
            contours: true,
        };
        let pieces = contour(&grid, 1.0);
        assert!(pieces.len() > 40, "{}", pieces.len());
        for (x, y) in pieces.into_iter().flatten() {
            assert!(((x * x + y * y).sqrt() - 1.0).abs() < 0.01, "{x} {y}");
        }
    }

    #[test]
    fn a_place_on_a_log_axis_goes_by_ratios() {
        let at = |v| place(v, [1.0, 100.0], Scale::Log);
        assert!((at(10.0) - 0.5).abs() < 1e-12);
        assert_eq!(place(5.0, [0.0, 10.0], Scale::Linear), 0.5);
    }
}
