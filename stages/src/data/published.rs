//! The published data sets this program knows: their files, checksums, official addresses, classes
//! and normalisation.
//!
//! The files are verified before their format is looked at. How a file is found is
//! [`crate::fetch`]'s business.

use anyhow::Context;

use super::pinned::Pinned;
use super::{Dataset, ImageShape, Info, cifar, idx, svhn};
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

/// In the order of `fine_label_names.txt`.
#[rustfmt::skip]
const HUNDRED_OBJECTS: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed",
    "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud",
    "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl",
    "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower",
    "leopard", "lion", "lizard", "lobster", "man", "maple_tree",
    "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit",
    "raccoon", "ray", "road", "rocket", "rose", "sea",
    "seal", "shark", "shrew", "skunk", "skyscraper", "snail",
    "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper",
    "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
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
        let packed = pinned_file(self.name, file, &self.addresses, task, client)?;
        let of = || format!("{}/{}", self.name, file.name);
        idx::gunzip(&packed, 64 << 20).with_context(of)
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

/// One file of a data set, verified.
fn pinned_file(
    set: &str,
    file: &Pinned,
    addresses: &[&str],
    task: &mut Task,
    client: &Client,
) -> anyhow::Result<Vec<u8>> {
    let in_mirror = format!("{set}/{}", file.name);
    let mut places: Vec<Place> = mirrors(task)
        .iter()
        .flat_map(|m| [m.join(&in_mirror), m.join(file.name)])
        .collect();
    let official = addresses.iter();
    places.extend(official.map(|address| Place::parse(address).join(file.name)));
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
    first_good(task, client, &search, |_, got| file.read(got.path))
}

/// CIFAR-10 or CIFAR-100.
pub struct CifarSet {
    name: &'static str,
    /// The published archive and its packing again with xz.
    archives: [&'static str; 2],
    /// What an archive unpacks to.
    folder: &'static str,
    /// All but the last are the training part.
    files: &'static [Pinned],
    /// Bytes of labels in front of an image.
    heads: usize,
    classes: &'static [&'static str],
    mean: [f32; 3],
    std: [f32; 3],
}

/// CIFAR-10: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
pub const CIFAR_10: CifarSet = CifarSet {
    name: "cifar-10",
    archives: ["cifar-10-binary.tar.gz", "cifar-10-batches-bin.tar.xz"],
    folder: "cifar-10-batches-bin",
    files: &cifar::FILES,
    heads: 1,
    classes: &OBJECTS,
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2470, 0.2435, 0.2616],
};

/// CIFAR-100: Krizhevsky 2009, with its 100 classes.
pub const CIFAR_100: CifarSet = CifarSet {
    name: "cifar-100",
    archives: ["cifar-100-binary.tar.gz", "cifar-100-binary.tar.xz"],
    folder: "cifar-100-binary",
    files: &cifar::FILES_100,
    heads: 2,
    classes: &HUNDRED_OBJECTS,
    mean: [0.5071, 0.4865, 0.4409],
    std: [0.2673, 0.2564, 0.2762],
};

impl CifarSet {
    /// Training (its files in order) and test part.
    ///
    /// # Errors
    /// When it cannot be had or a file inside is wrong.
    pub fn get(&self, task: &mut Task, client: &Client) -> anyhow::Result<(Dataset, Dataset)> {
        let mut places = Vec::new();
        for mirror in mirrors(task) {
            for base in [mirror.join(self.name), mirror] {
                places.extend(self.archives.map(|archive| base.join(archive)));
                if let Place::Local(dir) = &base {
                    let unpacked = [dir.join(self.folder), dir.clone()];
                    places.extend(
                        unpacked
                            .into_iter()
                            .filter(|dir| dir.join(self.files[0].name).exists())
                            .map(Place::Local),
                    );
                }
            }
        }
        let archive = self.archives[0];
        places.push(Place::Remote(format!(
            "https://www.cs.toronto.edu/~kriz/{archive}"
        )));
        // Any packing is welcome: what is inside gets verified.
        let limits = Limits {
            bytes_exact: None,
            bytes_max: Some(256 << 20),
            verified: true,
            ..Limits::default()
        };
        let search = Search {
            file: archive,
            in_mirror: Some(&format!("{}/{archive}", self.name)),
            places,
            limits,
        };
        let files = first_good(task, client, &search, |_, got| {
            cifar::read(got.path, self.files)
        })?;
        let info = info(self.name, COLOUR, self.classes, &self.mean, &self.std);
        let part = |files: &[Vec<u8>]| -> anyhow::Result<Dataset> {
            let (images, labels) = cifar::records(files, self.heads)?;
            let origin = (0..labels.len() as u32).collect();
            Ok(Dataset::new(info.clone(), images, labels, origin)?)
        };
        let (train, test) = files.split_at(files.len() - 1);
        Ok((part(train)?, part(test)?))
    }
}

/// The cropped digits of SVHN (Netzer et al. 2011, "Reading digits in natural images with
/// unsupervised feature learning"): training and test part, without the additional 531,131 images.
///
/// # Errors
/// When a file cannot be had or is wrong.
pub fn svhn(task: &mut Task, client: &Client) -> anyhow::Result<(Dataset, Dataset)> {
    let files = [
        Pinned::new(
            "train_32x32.mat",
            182_040_794,
            "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
        Pinned::new(
            "test_32x32.mat",
            64_275_384,
            "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        ),
    ];
    let mean = [0.4377, 0.4438, 0.4728];
    let info = info("svhn", COLOUR, &DIGITS, &mean, &[0.1980, 0.2010, 0.1970]);
    let mut part = |file: &Pinned| -> anyhow::Result<Dataset> {
        let address = "http://ufldl.stanford.edu/housenumbers";
        let bytes = pinned_file("svhn", file, &[address], task, client)?;
        let (images, labels) = svhn::part(&bytes).with_context(|| format!("svhn/{}", file.name))?;
        let origin = (0..labels.len() as u32).collect();
        Ok(Dataset::new(info.clone(), images, labels, origin)?)
    };
    Ok((part(&files[0])?, part(&files[1])?))
}

const COLOUR: ImageShape = ImageShape {
    height: 32,
    width: 32,
    channels: 3,
};

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
