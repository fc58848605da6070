//! `shapes`: a data set that is drawn, not downloaded: grey images of 16×16 pixels in ten classes.
//!
//! Every image shows one figure on an uneven ground. Drawn at random for each image: place, size,
//! rotation (up to about 25 degrees either way), stroke width, brightness of figure and ground, a
//! linear gradient of the ground, two stray lines (clutter), a rectangle that hides part of the
//! figure, and noise on each pixel. The classes: disk, ring, square, frame, triangle, cross, plus,
//! horizontal bars, vertical bars, checker. Rotation stays small because a cross is a plus turned
//! by 45 degrees.
//!
//! Bits: image `i` of a part depends on (seed, part, `i`) only, so that fewer images are a prefix
//! of more. Arithmetic is integer or f64 with `+ - * /` in a fixed order (IEEE-754, no fused
//! operations, no library functions), so every machine draws the same bytes. Rotations are
//! rational: `t = k/64` gives cos = (1-t²)/(1+t²), sin = 2t/(1+t²), with whole k from -14 to 14.
//!
//! Classes are balanced: each run of ten images holds every class once, in random order. Then some
//! training labels (15 of 100 unless told otherwise) are replaced by wrong ones: real data has such
//! labels, and a network that has learned half of them by heart is what makes a warm start lag
//! behind training from scratch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BadDataset, Dataset, ImageShape, Info};
use repro_numerics::exact::rng::Stream;

/// Rows and columns of an image.
pub const SIDE: usize = 16;

/// Each pixel is the mean of `SUB`×`SUB` points.
const SUB: usize = 3;

/// Class names in label order.
pub const CLASSES: [&str; 10] = [
    "disk",
    "ring",
    "square",
    "frame",
    "triangle",
    "cross",
    "plus",
    "horizontal-bars",
    "vertical-bars",
    "checker",
];

/// What to draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shapes {
    /// Seed of everything drawn.
    pub seed: u64,
    /// Number of training images, 1 to 1,000,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub train: u32,
    /// Number of test images, 1 to 1,000,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub test: u32,
    /// Standard deviation of the noise of a pixel, in grey levels (0 to 100 of 255).
    pub noise: u8,
    /// Percentage of the training images that carry a wrong label (0 to 100); test labels are
    /// always right.
    pub mislabelled: u8,
}

impl Default for Shapes {
    fn default() -> Shapes {
        Shapes {
            seed: 0,
            train: 6000,
            test: 2000,
            noise: 10,
            mislabelled: 15,
        }
    }
}

impl Shapes {
    /// Draws the training and the test part. Both carry the mean and standard deviation of the
    /// training part.
    ///
    /// # Errors
    /// When there is nothing to draw, or all training pixels are equal.
    pub fn draw(&self) -> Result<(Dataset, Dataset), BadDataset> {
        let (train_images, mut train_labels) = self.part("shapes train", self.train);
        self.mislabel(&mut train_labels);
        let (test_images, test_labels) = self.part("shapes test", self.test);
        let (mean, std) = mean_and_std(&train_images);
        let info = Info {
            name: "shapes".into(),
            shape: ImageShape {
                height: SIDE,
                width: SIDE,
                channels: 1,
            },
            classes: CLASSES.map(str::to_owned).to_vec(),
            mean: vec![mean],
            std: vec![std],
            columns: Vec::new(),
            targets: Vec::new(),
        };
        let train = Dataset::new(
            info.clone(),
            train_images,
            train_labels,
            (0..self.train).collect(),
        )?;
        let test = Dataset::new(info, test_images, test_labels, (0..self.test).collect())?;
        Ok((train, test))
    }

    fn part(&self, purpose: &str, n: u32) -> (Vec<u8>, Vec<u8>) {
        let mut images = Vec::with_capacity(n as usize * SIDE * SIDE);
        let mut labels = Vec::with_capacity(n as usize);
        let mut order = Vec::new();
        for i in 0..n {
            if i % 10 == 0 {
                order = Stream::new(self.seed, purpose, 0, u64::from(i / 10)).permutation(10);
            }
            let label = order[(i % 10) as usize] as u8;
            let mut stream = Stream::new(self.seed, purpose, 1, u64::from(i));
            images.extend_from_slice(
                &Scene::random(&mut stream, label).image(&mut stream, self.noise),
            );
            labels.push(label);
        }
        (images, labels)
    }
}

impl Shapes {
    fn mislabel(&self, labels: &mut [u8]) {
        for (i, label) in labels.iter_mut().enumerate() {
            let mut stream = Stream::new(self.seed, "shapes mislabel", 0, i as u64);
            if stream.below(100) < u32::from(self.mislabelled) {
                let other = stream.below(CLASSES.len() as u32 - 1) as u8;
                *label = other + u8::from(other >= *label);
            }
        }
    }
}

/// Mean and standard deviation of pixels in units of [0, 1]: integer sums, then f64, rounded once.
fn mean_and_std(pixels: &[u8]) -> (f32, f32) {
    let sum: u64 = pixels.iter().map(|&p| u64::from(p)).sum();
    let squares: u64 = pixels.iter().map(|&p| u64::from(p) * u64::from(p)).sum();
    let n = pixels.len() as f64;
    let mean = sum as f64 / n;
    let variance = squares as f64 / n - mean * mean;
    ((mean / 255.0) as f32, (variance.sqrt() / 255.0) as f32)
}

/// Everything drawn at random but the noise. Lengths in pixels, levels in 0..255.
struct Scene {
    label: u8,
    centre: [f64; 2],
    radius: f64,
    /// cos and sin of the rotation.
    turn: [f64; 2],
    /// Half the width of a stroke, in radii.
    stroke: f64,
    figure: f64,
    ground: f64,
    /// Change of the ground per pixel to the right and down.
    gradient: [f64; 2],
    lines: [Line; 2],
    hidden: Hidden,
}

/// A stray line: from a point in a direction, for a length.
struct Line {
    from: [f64; 2],
    /// Not normalised: the line ends at `from + way`.
    way: [f64; 2],
    level: f64,
}

/// A rectangle that shows the ground.
struct Hidden {
    from: [f64; 2],
    size: [f64; 2],
}

impl Scene {
    /// The order of the draws is part of the bits.
    fn random(stream: &mut Stream, label: u8) -> Scene {
        let mut within = |low: f64, high: f64| low + (high - low) * stream.uniform_f64();
        let side = SIDE as f64;
        let centre = [within(6.25, side - 6.25), within(6.25, side - 6.25)];
        let radius = within(4.2, 6.0);
        let t = f64::from((within(-14.0, 15.0) + 64.0) as u32) / 64.0 - 1.0;
        let turn = [(1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)];
        let stroke = within(0.14, 0.24);
        let ground = within(20.0, 110.0);
        let figure = ground + within(55.0, 130.0);
        let gradient = [within(-4.0, 4.0), within(-4.0, 4.0)];
        let lines = [(); 2].map(|()| Line {
            from: [within(0.0, side), within(0.0, side)],
            way: [within(-8.0, 8.0), within(-8.0, 8.0)],
            level: ground + within(30.0, 110.0),
        });
        let hidden = Hidden {
            from: [within(0.0, side), within(0.0, side)],
            size: [within(2.0, 5.0), within(2.0, 5.0)],
        };
        Scene {
            label,
            centre,
            radius,
            turn,
            stroke,
            figure,
            ground,
            gradient,
            lines,
            hidden,
        }
    }

    fn image(&self, stream: &mut Stream, noise: u8) -> [u8; SIDE * SIDE] {
        let mut image = [0; SIDE * SIDE];
        for (i, pixel) in image.iter_mut().enumerate() {
            let (row, column) = (i / SIDE, i % SIDE);
            let mut sum = 0.0;
            for s in 0..SUB * SUB {
                let offset = |k: usize| (2 * k + 1) as f64 / (2 * SUB) as f64;
                sum += self.level([
                    column as f64 + offset(s % SUB),
                    row as f64 + offset(s / SUB),
                ]);
            }
            // The sum of four random bytes: nearly normal, standard deviation 147.8.
            let bytes = stream.next_u32().to_le_bytes();
            let deviate = (bytes.iter().map(|&b| i32::from(b)).sum::<i32>() - 510) as f64 / 147.8;
            let level = sum / (SUB * SUB) as f64 + deviate * f64::from(noise);
            // The cast cuts off at 0 and 255.
            *pixel = (level + 0.5) as u8;
        }
        image
    }

    /// The grey level at a point.
    fn level(&self, [x, y]: [f64; 2]) -> f64 {
        let half = SIDE as f64 / 2.0;
        let ground = self.ground + self.gradient[0] * (x - half) + self.gradient[1] * (y - half);
        let Hidden { from, size } = &self.hidden;
        if x >= from[0] && x < from[0] + size[0] && y >= from[1] && y < from[1] + size[1] {
            return ground;
        }
        let (dx, dy) = (
            (x - self.centre[0]) / self.radius,
            (y - self.centre[1]) / self.radius,
        );
        let [cos, sin] = self.turn;
        if inside(
            self.label,
            self.stroke,
            cos * dx + sin * dy,
            cos * dy - sin * dx,
        ) {
            return self.figure;
        }
        self.lines
            .iter()
            .find(|line| line.covers(x, y))
            .map_or(ground, |line| line.level)
    }
}

impl Line {
    /// The point is within half a pixel of the line.
    fn covers(&self, x: f64, y: f64) -> bool {
        let (dx, dy) = (x - self.from[0], y - self.from[1]);
        let [wx, wy] = self.way;
        let along = dx * wx + dy * wy;
        let across = dx * wy - dy * wx;
        let square = wx * wx + wy * wy;
        along >= 0.0 && along <= square && across * across <= 0.25 * square
    }
}

/// Whether a point belongs to the figure; the figure fills about the square from -1 to 1, `y`
/// points down, `w` is half a stroke.
fn inside(label: u8, w: f64, x: f64, y: f64) -> bool {
    let (ax, ay) = (x.abs(), y.abs());
    let far = if ax > ay { ax } else { ay };
    let near = if ax > ay { ay } else { ax };
    let square = x * x + y * y;
    // Bars: three strokes of width 2w at -0.7, 0 and 0.7.
    let bar = |v: f64| v <= w || (v >= 0.7 - w && v <= 0.7 + w);
    match label {
        0 => square <= 0.81,
        1 => square <= 1.0 && square >= (1.0 - 2.0 * w) * (1.0 - 2.0 * w),
        2 => far <= 0.8,
        3 => far <= 0.9 && far >= 0.9 - 2.0 * w,
        4 => y <= 0.75 && ax <= 0.5 * (y + 1.0),
        5 => ax - ay <= 1.4 * w && ay - ax <= 1.4 * w && far <= 0.85,
        6 => near <= w && far <= 0.95,
        7 => bar(ay) && ax <= 0.9,
        8 => bar(ax) && ay <= 0.9,
        _ => far <= 0.9 && cell(x + 0.9) % 2 == cell(y + 0.9) % 2,
    }
}

/// Which cell of 0.6 a positive number lies in.
fn cell(x: f64) -> u32 {
    (x / 0.6) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(set: &Dataset) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(set.images()).update(&set.label_bytes());
        hasher.finalize().to_hex()[..16].to_owned()
    }

    #[test]
    fn frozen_bytes() {
        let (train, test) = Shapes::default().draw().unwrap();
        assert_eq!((train.len(), test.len()), (6000, 2000));
        assert_eq!([digest(&train), digest(&test)], GOLDEN);
        assert_eq!(
            (
                train.info().mean[0].to_bits(),
                train.info().std[0].to_bits()
            ),
            GOLDEN_BITS
        );
        assert_eq!(train.info(), test.info());
    }

    const GOLDEN: [&str; 2] = ["8f94ba05c817e3c9", "70fa791f33bdbea1"];
    const GOLDEN_BITS: (u32, u32) = (1_051_333_931, 1_044_008_379);

    #[test]
    fn fewer_images_are_a_prefix_of_more() {
        let many = Shapes {
            train: 57,
            test: 23,
            ..Shapes::default()
        };
        let few = Shapes {
            train: 31,
            test: 9,
            ..many.clone()
        };
        let (mut many, few) = (many.draw().unwrap(), few.draw().unwrap());
        many.0.truncate(31);
        many.1.truncate(9);
        assert_eq!(many.0.images(), few.0.images());
        assert_eq!(many.0.labels(), few.0.labels());
        assert_eq!(many.1.images(), few.1.images());
        let other = Shapes {
            seed: 1,
            train: 31,
            test: 9,
            ..Shapes::default()
        }
        .draw()
        .unwrap();
        assert_ne!(other.0.images(), few.0.images());
    }

    #[test]
    fn classes_are_balanced_and_the_asked_share_is_mislabelled() {
        let clean = Shapes {
            mislabelled: 0,
            ..Shapes::default()
        }
        .draw()
        .unwrap();
        for set in [&clean.0, &clean.1] {
            for class in 0..10 {
                assert_eq!(
                    set.labels().iter().filter(|&&l| l == class).count() * 10,
                    set.len()
                );
            }
        }
        let noisy = Shapes::default().draw().unwrap();
        let wrong = clean
            .0
            .labels()
            .iter()
            .zip(noisy.0.labels())
            .filter(|(a, b)| a != b)
            .count();
        // 900 expected; 5 standard deviations are 138.
        assert!((762..1038).contains(&wrong), "{wrong}");
        assert_eq!(clean.1, noisy.1.clone());
        assert_eq!(clean.0.images(), noisy.0.images());
    }

    #[test]
    fn figures_differ_from_each_other() {
        // Without rotation, each class covers points that tell it from every other.
        let cover = |label| {
            (0..400)
                .map(|i| {
                    inside(
                        label,
                        0.2,
                        (i % 20) as f64 / 10.0 - 0.95,
                        (i / 20) as f64 / 10.0 - 0.95,
                    )
                })
                .collect::<Vec<_>>()
        };
        let covers: Vec<_> = (0..10).map(cover).collect();
        for (i, a) in covers.iter().enumerate() {
            let share = a.iter().filter(|&&c| c).count();
            assert!((40..=300).contains(&share), "{}: {share}", CLASSES[i]);
            for (j, b) in covers.iter().enumerate().take(i) {
                assert!(
                    a.iter().zip(b).filter(|(x, y)| x != y).count() >= 30,
                    "{} and {}",
                    CLASSES[i],
                    CLASSES[j]
                );
            }
        }
    }
}
