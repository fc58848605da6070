//! Small data sets for tests.

use super::{Answers, Dataset, ImageShape, Info, Values};

/// `n` images of 2×3×2 with two classes; every byte tells where it came from.
pub(crate) fn tiny(n: usize) -> Dataset {
    let info = Info {
        name: "tiny".into(),
        shape: ImageShape {
            height: 2,
            width: 3,
            channels: 2,
        },
        classes: vec!["even".into(), "odd".into()],
        mean: vec![0.5, 0.25],
        std: vec![0.5, 0.125],
        columns: Vec::new(),
        targets: Vec::new(),
    };
    let images: Vec<u8> = (0..n * 12).map(|i| (i * 7 % 256) as u8).collect();
    let labels: Vec<u8> = (0..n).map(|i| (i % 2) as u8).collect();
    Dataset::new(info, images, labels, (0..n as u32).collect()).unwrap()
}

impl Dataset {
    /// The bytes of a set that has bytes.
    pub(crate) fn images(&self) -> &[u8] {
        match self.values() {
            Values::Bytes(bytes) => bytes,
            Values::Floats(_) => panic!("it has floats"),
        }
    }

    /// The bytes of example `i`.
    pub(crate) fn image(&self, i: usize) -> &[u8] {
        &self.images()[i * self.features()..(i + 1) * self.features()]
    }

    /// Labels as published files have them.
    pub(crate) fn label_bytes(&self) -> Vec<u8> {
        self.labels().iter().map(|&l| l as u8).collect()
    }
}

/// `n` rows of three columns, with targets.
pub(crate) fn table(n: usize) -> Dataset {
    let info = Info {
        name: "table".into(),
        shape: ImageShape::table(3),
        classes: Vec::new(),
        mean: vec![0.5, 0.25, 0.0],
        std: vec![0.5, 0.125, 1.0],
        columns: ["a", "b", "c"].map(str::to_owned).to_vec(),
        targets: vec!["price".into()],
    };
    let values = (0..n * 3).map(|i| i as f32 / 8.0).collect();
    let targets = (0..n).map(|i| i as f32 * 1.5).collect();
    let origin = (0..n as u32).collect();
    Dataset::of(
        info,
        Values::Floats(values),
        Answers::Targets(targets),
        origin,
    )
    .unwrap()
}
