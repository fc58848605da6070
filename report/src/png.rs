//! Drawings as PNG, with the colours of paper and a font of our own, so that a figure looks the same
//! on every machine. Letters outside of Latin, Greek and common signs are drawn as boxes.

use tiny_skia::{
    FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash,
    Transform,
};
use ttf_parser::{Face, OutlineBuilder};

use crate::marks::{Drawing, Ink, Mark};
use crate::svg::rgb;

/// Metrics as Helvetica's, which the layout reckons with; see `fonts/LICENSE`.
const FONT: &[u8] = include_bytes!("../fonts/figure-sans.ttf");
/// Points of an inch.
const INCH: f64 = 72.0;
/// Pixels of the largest picture: four bytes each are held in memory.
const PIXELS_MAX: f64 = 1e8;
/// Opacity of areas and of pale points, as on the page.
const AREA: f32 = 0.18;
const PALE: f32 = 0.5;

/// A drawing as a PNG with so many dots per inch.
///
/// # Errors
/// It would have more than a hundred million pixels, or none.
pub fn png(drawing: &Drawing, dpi: f64) -> anyhow::Result<Vec<u8>> {
    let scale = dpi / INCH;
    let (width, height) = (drawing.width * scale, drawing.height * scale);
    let pixmap = (width * height <= PIXELS_MAX)
        .then(|| Pixmap::new(width.round() as u32, height.round() as u32))
        .flatten();
    let mut pixmap = pixmap.ok_or_else(|| {
        anyhow::anyhow!("a picture of {width:.0} by {height:.0} pixels cannot be made; ask for fewer dots per inch")
    })?;
    pixmap.fill(tiny_skia::Color::WHITE);
    let face = Face::parse(FONT, 0)?;
    let to_pixels = Transform::from_scale(scale as f32, scale as f32);
    for (_, mark) in &drawing.marks {
        paint(&mut pixmap, &face, mark, to_pixels);
    }
    encoded(&pixmap, dpi)
}

/// Every pixel is opaque, so there is no alpha in the file.
fn encoded(pixmap: &Pixmap, dpi: f64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, pixmap.width(), pixmap.height());
    encoder.set_color(::png::ColorType::Rgb);
    encoder.set_depth(::png::BitDepth::Eight);
    let per_metre = (dpi / 0.0254).round() as u32;
    encoder.set_pixel_dims(Some(::png::PixelDimensions {
        xppu: per_metre,
        yppu: per_metre,
        unit: ::png::Unit::Meter,
    }));
    let mut writer = encoder.write_header()?;
    let pixels = pixmap.pixels().iter();
    let colours: Vec<u8> = pixels
        .flat_map(|p| [p.red(), p.green(), p.blue()])
        .collect();
    writer.write_image_data(&colours)?;
    writer.finish()?;
    Ok(bytes)
}

fn colour(ink: Ink, opacity: f32) -> Paint<'static> {
    let [r, g, b] = rgb(ink);
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, (opacity * 255.0).round() as u8);
    paint
}

fn fill(pixmap: &mut Pixmap, path: Option<Path>, paint: &Paint, at: Transform) {
    if let Some(path) = path {
        pixmap.fill_path(&path, paint, FillRule::Winding, at, None);
    }
}

fn way(points: &[(f64, f64)]) -> PathBuilder {
    let mut way = PathBuilder::new();
    for (i, (x, y)) in points.iter().enumerate() {
        match i {
            0 => way.move_to(*x as f32, *y as f32),
            _ => way.line_to(*x as f32, *y as f32),
        }
    }
    way
}

fn paint(pixmap: &mut Pixmap, face: &Face, mark: &Mark, to_pixels: Transform) {
    match mark {
        Mark::Line {
            points,
            ink,
            width,
            dash,
        } => {
            let stroke = Stroke {
                width: *width as f32,
                line_cap: LineCap::Butt,
                line_join: LineJoin::Round,
                dash: StrokeDash::new(dash.iter().map(|d| *d as f32).collect(), 0.0),
                ..Stroke::default()
            };
            if let Some(path) = way(points).finish() {
                pixmap.stroke_path(&path, &colour(*ink, 1.0), &stroke, to_pixels, None);
            }
        }
        Mark::Area { points, ink } => {
            fill(pixmap, way(points).finish(), &colour(*ink, AREA), to_pixels);
        }
        Mark::Box { at, size, ink, .. } => {
            let [x, y, w, h] = [at.0, at.1, size.0, size.1].map(|v| v as f32);
            let path = Rect::from_xywh(x, y, w, h).map(PathBuilder::from_rect);
            fill(pixmap, path, &colour(*ink, 1.0), to_pixels);
        }
        Mark::Dot {
            at,
            radius,
            ink,
            pale,
            ..
        } => {
            let opacity = if *pale { PALE } else { 1.0 };
            let path = PathBuilder::from_circle(at.0 as f32, at.1 as f32, *radius as f32);
            fill(pixmap, path, &colour(*ink, opacity), to_pixels);
        }
        Mark::Words {
            at,
            anchor,
            size,
            ink,
            upright,
            text,
        } => {
            let (path, width) = letters(face, text, *size as f32);
            let back = anchor.back(width.into()) as f32;
            let place = to_pixels.pre_translate(at.0 as f32, at.1 as f32);
            let place = match upright {
                false => place,
                true => place.pre_concat(Transform::from_rotate(-90.0)),
            };
            fill(
                pixmap,
                path,
                &colour(*ink, 1.0),
                place.pre_translate(-back, 0.0),
            );
        }
    }
}

/// The outlines of a text from the origin of its base line on, and its width.
fn letters(face: &Face, text: &str, size: f32) -> (Option<Path>, f32) {
    let scale = size / f32::from(face.units_per_em());
    let mut pen = Pen {
        path: PathBuilder::new(),
        at: 0.0,
        scale,
    };
    for letter in text.chars() {
        let glyph = face.glyph_index(letter).unwrap_or_default();
        face.outline_glyph(glyph, &mut pen);
        pen.at += f32::from(face.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
    }
    let width = pen.at;
    (pen.path.finish(), width)
}

/// Draws glyphs, whose heights go up, on a sheet where they go down.
struct Pen {
    path: PathBuilder,
    at: f32,
    scale: f32,
}

impl Pen {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.at + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) =
            (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::Anchor;

    fn decoded(bytes: &[u8]) -> (usize, usize, Vec<u8>) {
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width as usize, info.height as usize, pixels)
    }

    fn sheet(marks: Vec<Mark>) -> Drawing {
        Drawing {
            width: 72.0,
            height: 36.0,
            marks: marks.into_iter().map(|mark| (None, mark)).collect(),
            ..Drawing::default()
        }
    }

    fn words(at: (f64, f64), anchor: Anchor, upright: bool) -> Mark {
        let (size, ink, text) = (10.0, Ink::Text, "μ ± 0.5".to_owned());
        Mark::Words {
            at,
            anchor,
            size,
            ink,
            upright,
            text,
        }
    }

    /// The columns and rows between which anything is darker than paper.
    fn bounds(drawing: &Drawing) -> [usize; 4] {
        let (width, _, pixels) = decoded(&png(drawing, 144.0).unwrap());
        let dark = (0..pixels.len() / 3).filter(|i| pixels[3 * i] < 128);
        let places: Vec<(usize, usize)> = dark.map(|i| (i % width, i / width)).collect();
        let (x, y) = (places.iter().map(|p| p.0), places.iter().map(|p| p.1));
        [x.clone().min(), x.max(), y.clone().min(), y.max()].map(|v| v.unwrap())
    }

    #[test]
    fn marks_are_where_the_sheet_has_them() {
        let square = Mark::Box {
            at: (10.0, 5.0),
            size: (20.0, 10.0),
            ink: Ink::Text,
            tip: String::new(),
        };
        let (width, height, _) = decoded(&png(&sheet(Vec::new()), 144.0).unwrap());
        assert_eq!((width, height), (144, 72), "two pixels for a point");
        assert_eq!(bounds(&sheet(vec![square])), [20, 59, 10, 29]);
    }

    #[test]
    fn words_stand_on_their_line_and_by_their_anchor() {
        let start = bounds(&sheet(vec![words((20.0, 20.0), Anchor::Start, false)]));
        let end = bounds(&sheet(vec![words((60.0, 20.0), Anchor::End, false)]));
        assert!(
            (38..=44).contains(&start[0]) && start[1] > start[0] + 40,
            "{start:?}"
        );
        assert!((114..=120).contains(&end[1]), "{end:?}");
        // The tail of the first letter goes below the line; nothing else does.
        assert!(
            start[2] >= 20 && start[2] < 30 && (39..=46).contains(&start[3]),
            "{start:?}"
        );
        let up = bounds(&sheet(vec![words((20.0, 34.0), Anchor::Start, true)]));
        assert!(up[3] - up[2] > up[1] - up[0], "it goes up: {up:?}");
    }

    #[test]
    fn a_picture_that_no_memory_holds_is_an_error() {
        let said = png(&sheet(Vec::new()), 72_000.0).unwrap_err().to_string();
        assert!(said.contains("fewer dots per inch"), "{said}");
    }
}
