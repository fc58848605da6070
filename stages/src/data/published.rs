//! The published data sets this program knows: their files, checksums, official addresses, classes
//! and normalisation.
//!
//! The files are verified before their format is looked at. How a file is found is
//! [`crate::fetch`]'s business.

use anyhow::Context;

use super::pinned::Pinned;
use super::{Dataset, ImageShape, Info, cifar, idx};
use crate::fetch::http::{Client, Limits};
use crate::fetch::{Place, Search, first_good, mirrors};
use crate::task::Task;

/// A data set of four gzipped IDX files.
pub struct IdxSet {
    name: &'static str,
    addresses: [&'static str; 2],
    /// Training images, training labels, test images, test labels.
    files: [Pinned; 4],
    classes: [&'static str; 10],
    mean: f32,
    std: f32,
}

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const ARTICLES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];
const OBJECTS: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// MNIST: LeCun, Cortes and Burges; LeCun et al. 1998, "Gradient-based learning applied to document
/// recognition".
pub const MNIST: IdxSet = IdxSet {
    name: "mnist",
    addresses: [
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ],
    files: [
        Pinned::new(
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Pinned::new(
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        Pinned::new(
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Pinned::new(
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ],
    classes: DIGITS,
    mean: 0.1307,
    std: 0.3081,
};

/// Fashion-MNIST: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
pub const FASHION_MNIST: IdxSet = IdxSet {
    name: "fashion-mnist",
    addresses: [
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ],
    files: [
        Pinned::new(
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        Pinned::new(
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        Pinned::new(
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        Pinned::new(
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ],
    classes: ARTICLES,
    mean: 0.2860,
    std: 0.3530,
};

impl IdxSet {
    /// Gets, verifies and parses the four files: training and test part.
    ///
    /// # Errors
    /// When a file cannot be had or is wrong.
    pub fn get(&self, task: &mut Task, client: &Client) -> anyhow::Result<(Dataset, Dataset)> {
        let mut raw = Vec::with_capacity(4);
        for file in &self.files {
            raw.push(self.get_raw(file, task, client)?);
        }
        Ok((self.part(&raw[0], &raw[1])?, self.part(&raw[2], &raw[3])?))
    }

    /// One file, verified and unpacked.
    fn get_raw(&self, file: &Pinned, task: &mut Task, client: &Client) -> anyhow::Result<Vec<u8>> {
        let in_mirror = format!("{}/{}", self.name, file.name);
        let mut places: Vec<Place> = mirrors(task)
            .iter()
            .flat_map(|m| [m.join(&in_mirror), m.join(file.name)])
            .collect();
        places.extend(
            self.addresses
                .iter()
                .map(|address| Place::parse(address).join(file.name)),
        );
        let limits = Limits {
            bytes_exact: Some(file.bytes),
            bytes_max: None,
            verified: true,
            ..Limits::default()
        };
        let search = Search {
            file: &in_mirror,
            in_mirror: Some(&in_mirror),
            places,
            limits,
        };
        let packed = first_good(task, client, &search, |_, got| file.read(got.path))?;
        idx::gunzip(&packed, 64 << 20).with_context(|| in_mirror.clone())
    }

    fn part(&self, images: &[u8], labels: &[u8]) -> anyhow::Result<Dataset> {
        let (n, shape, pixels) =
            idx::images(images).with_context(|| format!("{}: images", self.name))?;
        let labels = idx::labels(labels).with_context(|| format!("{}: labels", self.name))?;
        let info = info(self.name, shape, &self.classes, &[self.mean], &[self.std]);
        Ok(Dataset::new(
            info,
            pixels.to_vec(),
            labels.to_vec(),
            (0..n as u32).collect(),
        )?)
    }
}

/// CIFAR-10 (Krizhevsky 2009): training (the five batches in order) and test part.
///
/// # Errors
/// When it cannot be had or a file inside is wrong.
pub fn cifar_10(task: &mut Task, client: &Client) -> anyhow::Result<(Dataset, Dataset)> {
    let mut places = Vec::new();
    for mirror in mirrors(task) {
        for base in [mirror.join("cifar-10"), mirror] {
            places.extend(
                ["cifar-10-binary.tar.gz", "cifar-10-batches-bin.tar.xz"]
                    .map(|archive| base.join(archive)),
            );
            if let Place::Local(dir) = &base {
                let unpacked = [dir.join("cifar-10-batches-bin"), dir.clone()];
                places.extend(
                    unpacked
                        .into_iter()
                        .filter(|dir| dir.join(cifar::FILES[0].name).exists())
                        .map(Place::Local),
                );
            }
        }
    }
    places.push(Place::Remote(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz".into(),
    ));
    // Any packing is welcome: what is inside gets verified.
    let limits = Limits {
        bytes_exact: None,
        bytes_max: Some(256 << 20),
        verified: true,
        ..Limits::default()
    };
    let search = Search {
        file: "cifar-10-binary.tar.gz",
        in_mirror: Some("cifar-10/cifar-10-binary.tar.gz"),
        places,
        limits,
    };
    let files = first_good(task, client, &search, |_, got| {
        cifar::read(got.path, &cifar::FILES)
    })?;
    let shape = ImageShape {
        height: 32,
        width: 32,
        channels: 3,
    };
    let info = info(
        "cifar-10",
        shape,
        &OBJECTS,
        &[0.4914, 0.4822, 0.4465],
        &[0.2470, 0.2435, 0.2616],
    );
    let part = |files: &[Vec<u8>]| -> anyhow::Result<Dataset> {
        let (images, labels) = cifar::records(files)?;
        let origin = (0..labels.len() as u32).collect();
        Ok(Dataset::new(info.clone(), images, labels, origin)?)
    };
    Ok((part(&files[..5])?, part(&files[5..])?))
}

fn info(name: &str, shape: ImageShape, classes: &[&str], mean: &[f32], std: &[f32]) -> Info {
    Info {
        name: name.to_owned(),
        shape,
        classes: classes.iter().map(|&c| c.to_owned()).collect(),
        mean: mean.to_vec(),
        std: std.to_vec(),
        columns: Vec::new(),
        targets: Vec::new(),
    }
}
