//! Drawings as PDF, in vectors, with the reader's own Helvetica: no font is embedded. Letters
//! outside of Windows-1252 are written as `?`.

use std::fmt::Write;

use crate::marks::{Drawing, Ink, Mark};
use crate::number::coordinate as c;
use crate::svg::rgb;

/// Widths of Helvetica from the space to `~`, in thousandths (Adobe Core 14).
const WIDTHS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

fn width(text: &str, size: f64) -> f64 {
    let of = |ch: char| {
        let at = (ch as usize).checked_sub(32);
        f64::from(at.and_then(|at| WIDTHS.get(at)).copied().unwrap_or(556))
    };
    text.chars().map(of).sum::<f64>() * size / 1000.0
}

/// A text in Windows-1252, as a PDF string.
fn string(text: &str) -> String {
    let mut out = String::from("(");
    for ch in text.chars() {
        let byte: u32 = match ch {
            '−' => '-'.into(),
            '–' => 0x96,
            '…' => 0x85,
            '€' => 0x80,
            ch if (ch as u32) < 256 && !ch.is_control() => ch.into(),
            _ => '?'.into(),
        };
        match byte {
            0x28 | 0x29 | 0x5c => {
                out.push('\\');
                out.push(char::from(byte as u8));
            }
            32..=126 => out.push(char::from(byte as u8)),
            _ => drop(write!(out, "\\{byte:03o}")),
        }
    }
    out.push(')');
    out
}

fn colour(ink: Ink, operator: &str) -> String {
    let [r, g, b] = rgb(ink).map(|v| format!("{:.3}", f64::from(v) / 255.0));
    format!("{r} {g} {b} {operator}\n")
}

/// The drawing as a PDF of one page.
pub fn pdf(drawing: &Drawing) -> Vec<u8> {
    let height = drawing.height;
    let mut page = String::new();
    for (_, mark) in &drawing.marks {
        draw(&mut page, mark, height);
    }
    let (w, h) = (c(drawing.width), c(height));
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        format!(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 {w} {h}]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>/ExtGState<</A <</ca .18>>/H <</ca .5>>/O <</ca 1>>>>>>>>"
        ),
        format!("<</Length {}>>stream\n{page}endstream", page.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
    ];
    let mut file = String::from("%PDF-1.4\n");
    let mut places = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        places.push(file.len());
        let _ = writeln!(file, "{} 0 obj{object}endobj", i + 1);
    }
    let start = file.len();
    let _ = writeln!(file, "xref\n0 {}\n0000000000 65535 f ", objects.len() + 1);
    for place in places {
        let _ = writeln!(file, "{place:010} 00000 n ");
    }
    let _ = writeln!(
        file,
        "trailer<</Size {}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF",
        objects.len() + 1
    );
    file.into_bytes()
}

fn way(page: &mut String, points: &[(f64, f64)], height: f64) {
    for (i, (x, y)) in points.iter().enumerate() {
        let operator = if i == 0 { "m" } else { "l" };
        let _ = writeln!(page, "{} {} {operator}", c(*x), c(height - y));
    }
}

fn draw(page: &mut String, mark: &Mark, height: f64) {
    match mark {
        Mark::Line {
            points,
            ink,
            width,
            dash,
        } => {
            page.push_str(&colour(*ink, "RG"));
            let dashes: Vec<String> = dash.iter().map(|d| c(*d)).collect();
            let _ = writeln!(page, "{} w [{}] 0 d", c(*width), dashes.join(" "));
            way(page, points, height);
            page.push_str("S\n");
        }
        Mark::Area { points, ink } => {
            page.push_str("/A gs\n");
            page.push_str(&colour(*ink, "rg"));
            way(page, points, height);
            page.push_str("f\n/O gs\n");
        }
        Mark::Box { at, size, ink, .. } => {
            page.push_str(&colour(*ink, "rg"));
            let y = height - at.1 - size.1;
            let _ = writeln!(
                page,
                "{} {} {} {} re f",
                c(at.0),
                c(y),
                c(size.0),
                c(size.1)
            );
        }
        Mark::Dot {
            at,
            radius,
            ink,
            pale,
            ..
        } => {
            if *pale {
                page.push_str("/H gs\n");
            }
            page.push_str(&colour(*ink, "rg"));
            // Four curves are a circle to a thousandth of its radius.
            let (x, y, r) = (at.0, height - at.1, *radius);
            let k = r * 0.5523;
            let n = |v: f64| format!("{v:.2}");
            let _ = writeln!(page, "{} {} m", n(x + r), n(y));
            for [a, b, d, e, f, g] in [
                [x + r, y + k, x + k, y + r, x, y + r],
                [x - k, y + r, x - r, y + k, x - r, y],
                [x - r, y - k, x - k, y - r, x, y - r],
                [x + k, y - r, x + r, y - k, x + r, y],
            ] {
                let _ = writeln!(
                    page,
                    "{} {} {} {} {} {} c",
                    n(a),
                    n(b),
                    n(d),
                    n(e),
                    n(f),
                    n(g)
                );
            }
            page.push_str("f\n/O gs\n");
        }
        Mark::Words {
            at,
            anchor,
            size,
            ink,
            upright,
            text,
        } => {
            page.push_str(&colour(*ink, "rg"));
            let back = anchor.back(width(text, *size));
            let (x, y) = (at.0, height - at.1);
            let matrix = match upright {
                false => format!("1 0 0 1 {} {}", c(x - back), c(y)),
                true => format!("0 1 -1 0 {} {}", c(x), c(y - back)),
            };
            let _ = writeln!(
                page,
                "BT /F {} Tf {matrix} Tm {} Tj ET",
                c(*size),
                string(text)
            );
        }
    }
}
