//! Drawings as SVG: in the page, where colours follow light and dark, and on paper.

use std::fmt::Write;

use crate::marks::{Anchor, Drawing, Ink, Mark};
use crate::number::coordinate as c;

/// Where a drawing is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sheet {
    /// In the page, which has the colours.
    Page,
    /// By itself, on white.
    Paper,
}

/// Colours of series that people who see few colours can tell apart (Okabe and Ito 2008), without
/// yellow, which is too light on paper.
pub const SERIES: [[u8; 3]; 7] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [230, 159, 0],
    [90, 90, 90],
];
const RAMP: [[u8; 3]; 5] = [
    [68, 1, 84],
    [59, 82, 139],
    [33, 145, 140],
    [94, 201, 98],
    [253, 231, 37],
];

/// Red, green and blue on paper.
pub fn rgb(ink: Ink) -> [u8; 3] {
    match ink {
        Ink::Text => [26, 26, 26],
        Ink::Faint => [96, 96, 96],
        Ink::Rule => [216, 216, 216],
        Ink::Series(i) => SERIES[i % SERIES.len()],
        Ink::Good => [0, 130, 90],
        Ink::Ramp(t) => {
            let t = t.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
            let i = (t as usize).min(RAMP.len() - 2);
            let part = t - i as f64;
            let mix = |k: usize| {
                let (a, b) = (f64::from(RAMP[i][k]), f64::from(RAMP[i + 1][k]));
                (a + (b - a) * part).round() as u8
            };
            [mix(0), mix(1), mix(2)]
        }
    }
}

fn hex(ink: Ink) -> String {
    let [r, g, b] = rgb(ink);
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn colour(ink: Ink, sheet: Sheet) -> String {
    match (sheet, ink) {
        (Sheet::Page, Ink::Text) => "var(--text)".to_owned(),
        (Sheet::Page, Ink::Faint) => "var(--faint)".to_owned(),
        (Sheet::Page, Ink::Rule) => "var(--rule)".to_owned(),
        (Sheet::Page, Ink::Good) => "var(--good)".to_owned(),
        (Sheet::Page, Ink::Series(i)) => format!("var(--s{})", i % SERIES.len()),
        _ => hex(ink),
    }
}

/// Text in HTML and SVG; quotes too, so it can stand in an attribute.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for ch in text.chars() {
        match ch {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(ch),
            ch if ch.is_control() => out.push('\u{fffd}'),
            ch => out.push(ch),
        }
    }
    out
}

/// The drawing as SVG. `font` is the family of its words on paper.
pub fn svg(drawing: &Drawing, sheet: Sheet, font: &str) -> String {
    let (w, h) = (c(drawing.width), c(drawing.height));
    let mut text = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\"");
    if sheet == Sheet::Paper {
        let _ = write!(
            text,
            " width=\"{w}pt\" height=\"{h}pt\" font-family=\"{}\"",
            escaped(font)
        );
    }
    let _ = write!(
        text,
        " role=\"img\"><title>{}</title>",
        escaped(&drawing.title)
    );
    if !drawing.description.is_empty() {
        let _ = write!(text, "<desc>{}</desc>", escaped(&drawing.description));
    }
    if sheet == Sheet::Paper {
        text.push_str("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>");
    }
    let mut open: Option<Option<usize>> = None;
    for (series, mark) in &drawing.marks {
        if open != Some(*series) {
            if open.is_some() {
                text.push_str("</g>");
            }
            let _ = match series {
                Some(i) => write!(text, "<g class=\"s\" data-s=\"{i}\">"),
                None => write!(text, "<g class=\"ax\">"),
            };
            open = Some(*series);
        }
        draw(&mut text, mark, sheet);
    }
    if open.is_some() {
        text.push_str("</g>");
    }
    text.push_str("</svg>");
    text
}

fn way(points: &[(f64, f64)]) -> String {
    let mut d = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let _ = write!(d, "{}{} {}", if i == 0 { "M" } else { "L" }, c(*x), c(*y));
    }
    d
}

/// The end of an element that may say something when it is pointed at.
fn ended(tip: &str, element: &str) -> String {
    match tip {
        "" => "/>".to_owned(),
        tip => format!("><title>{}</title></{element}>", escaped(tip)),
    }
}

fn draw(text: &mut String, mark: &Mark, sheet: Sheet) {
    let _ = match mark {
        Mark::Line {
            points,
            ink,
            width,
            dash,
        } => {
            let _ = write!(
                text,
                "<path class=\"l\" d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"",
                way(points),
                colour(*ink, sheet),
                c(*width)
            );
            if !dash.is_empty() {
                let dashes: Vec<String> = dash.iter().map(|d| c(*d)).collect();
                let _ = write!(text, " stroke-dasharray=\"{}\"", dashes.join(" "));
            }
            write!(text, "/>")
        }
        Mark::Area { points, ink } => write!(
            text,
            "<path class=\"a\" d=\"{}Z\" fill=\"{}\" fill-opacity=\".18\"/>",
            way(points),
            colour(*ink, sheet)
        ),
        Mark::Dot {
            at,
            radius,
            ink,
            pale,
            tip,
        } => {
            let _ = write!(
                text,
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"",
                c(at.0),
                c(at.1),
                c(*radius),
                colour(*ink, sheet)
            );
            if *pale {
                text.push_str(" fill-opacity=\".5\"");
            }
            write!(text, "{}", ended(tip, "circle"))
        }
        Mark::Box { at, size, ink, tip } => {
            let _ = write!(
                text,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"",
                c(at.0),
                c(at.1),
                c(size.0),
                c(size.1),
                colour(*ink, sheet)
            );
            write!(text, "{}", ended(tip, "rect"))
        }
        Mark::Words {
            at,
            anchor,
            size,
            ink,
            upright,
            text: words,
        } => {
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let (x, y) = (c(at.0), c(at.1));
            let turned = match upright {
                true => format!(" transform=\"rotate(-90 {x} {y})\""),
                false => String::new(),
            };
            write!(
                text,
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{}\"{anchor}{turned}>{}</text>",
                c(*size),
                colour(*ink, sheet),
                escaped(words)
            )
        }
    };
}
