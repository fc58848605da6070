//! Where two artifacts that should be the same first differ, in terms of their tensors and tables;
//! and how far apart the tensors of two artifacts are.

use std::collections::BTreeSet;
use std::path::Path;

use crate::table;
use crate::weights::{NamedTensor, TensorFile};

/// Bytes of the largest file that is read to explain a difference.
const EXPLAINED_BYTES_MAX: u64 = 1 << 30;

/// What the first difference between two files means: `tensor w[3]: 0.5, then 0.25`, or a cell of a
/// table. `None` where neither format says more, and for files above 1 GiB.
pub fn describe(old: &Path, new: &Path) -> Option<String> {
    let is_small = |p| std::fs::metadata(p).is_ok_and(|m| m.len() <= EXPLAINED_BYTES_MAX);
    if !is_small(old) || !is_small(new) {
        return None;
    }
    tensors_differ(old, new).or_else(|| tables_differ(old, new))
}

/// What is measured of two tensors of one name.
pub const FIGURES: [&str; 4] = ["norm A", "norm B", "norm of B − A", "cosine"];

/// Of every tensor of two files: both Euclidean norms, that of the difference, and the cosine of the
/// angle between them; and of all that both have in the same shape as one vector, called `all`. A
/// figure that is not defined is missing. `None` where a file has no tensors or is above 1 GiB.
pub fn measure(a: &Path, b: &Path) -> Option<([&'static str; 4], Vec<(String, [Option<f64>; 4])>)> {
    let is_small = |p| std::fs::metadata(p).is_ok_and(|m| m.len() <= EXPLAINED_BYTES_MAX);
    if !is_small(a) || !is_small(b) {
        return None;
    }
    let read = |path| TensorFile::read(path).ok();
    let (a, b) = (read(a)?, read(b)?);
    let names: BTreeSet<&String> = a.tensors.keys().chain(b.tensors.keys()).collect();
    let mut rows = Vec::new();
    let mut all = Sums::default();
    for name in names {
        let (a, b) = (a.tensors.get(name), b.tensors.get(name));
        let row = match (a, b) {
            (Some(a), Some(b)) if a.shape == b.shape => {
                let sums = Sums::of(&a.data, &b.data);
                all.add(&sums);
                sums.figures()
            }
            _ => {
                let norm = |t: &NamedTensor| Sums::of(&t.data, &t.data).a.sqrt();
                [a.map(norm), b.map(norm), None, None]
            }
        };
        rows.push((name.clone(), row));
    }
    if rows.len() > 1 && all.a + all.b > 0.0 {
        rows.push(("all".to_owned(), all.figures()));
    }
    (!rows.is_empty()).then_some((FIGURES, rows))
}

/// Sums over two vectors, in double precision and in the order of their elements.
#[derive(Default)]
struct Sums {
    a: f64,
    b: f64,
    both: f64,
    apart: f64,
}

impl Sums {
    fn of(a: &[f32], b: &[f32]) -> Sums {
        let mut sums = Sums::default();
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            sums.a += a * a;
            sums.b += b * b;
            sums.both += a * b;
            sums.apart += (b - a) * (b - a);
        }
        sums
    }

    fn add(&mut self, other: &Sums) {
        self.a += other.a;
        self.b += other.b;
        self.both += other.both;
        self.apart += other.apart;
    }

    fn figures(&self) -> [Option<f64>; 4] {
        let (a, b) = (self.a.sqrt(), self.b.sqrt());
        // The angle to nothing is none.
        let cosine = (a > 0.0 && b > 0.0).then(|| self.both / (a * b));
        [Some(a), Some(b), Some(self.apart.sqrt()), cosine]
    }
}

fn tensors_differ(old: &Path, new: &Path) -> Option<String> {
    let read = |path| TensorFile::read(path).ok();
    let (old, new) = (read(old)?, read(new)?);
    for (name, a) in &old.tensors {
        let Some(b) = new.tensors.get(name) else {
            return Some(format!("tensor `{name}` is missing"));
        };
        if a.shape != b.shape {
            return Some(format!(
                "tensor `{name}`: shape {:?}, then {:?}",
                a.shape, b.shape
            ));
        }
        let differing = |(x, y): (&f32, &f32)| x.to_bits() != y.to_bits();
        let mut places = (0..)
            .zip(a.data.iter().zip(&b.data))
            .filter(|(_, p)| differing(*p));
        if let Some((first, (x, y))) = places.next() {
            let all = 1 + places.count();
            let place = position(first, &a.shape);
            return Some(format!(
                "tensor `{name}`{place}: {x:?}, then {y:?} ({all} of {} values of it differ)",
                a.data.len()
            ));
        }
    }
    let more = new
        .tensors
        .keys()
        .find(|name| !old.tensors.contains_key(*name));
    if let Some(name) = more {
        return Some(format!("tensor `{name}` is new"));
    }
    (old.metadata != new.metadata).then(|| "the metadata".to_owned())
}

/// `[3, 5]` of a row-major index.
fn position(mut index: usize, shape: &[usize]) -> String {
    let mut places = Vec::new();
    for extent in shape.iter().rev() {
        places.push((index % extent.max(&1)).to_string());
        index /= extent.max(&1);
    }
    places.reverse();
    format!("[{}]", places.join(", "))
}

fn tables_differ(old: &Path, new: &Path) -> Option<String> {
    let read = |path| Some(table::read(path).ok()?.rows);
    let (old, new) = (read(old)?, read(new)?);
    let place = old.iter().zip(&new).position(|(a, b)| a != b);
    let Some(row) = place else {
        return (old.len() != new.len()).then(|| format!("{} rows, then {}", old.len(), new.len()));
    };
    let (a, b) = (&old[row], &new[row]);
    let columns = [
        ("run", format!("{:?}", a.run), format!("{:?}", b.run)),
        ("stage", format!("{:?}", a.stage), format!("{:?}", b.stage)),
        ("seed", format!("{:?}", a.seed), format!("{:?}", b.seed)),
        ("epoch", format!("{:?}", a.epoch), format!("{:?}", b.epoch)),
        ("step", format!("{:?}", a.step), format!("{:?}", b.step)),
        ("split", format!("{:?}", a.split), format!("{:?}", b.split)),
        ("name", a.name.clone(), b.name.clone()),
        ("value", format!("{:?}", a.value), format!("{:?}", b.value)),
    ];
    let (column, a, b) = columns.into_iter().find(|(_, a, b)| a != b)?;
    Some(format!("row {row}, column `{column}`: {a}, then {b}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use repro_protocol::table::Row;

    use super::*;
    use crate::weights::Encoding;

    #[test]
    fn tensors_are_measured_by_norm_and_angle() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let write = |path: &Path, tensors: &[(&str, &[f32])]| {
            let tensors = tensors.iter().map(|(name, data)| {
                let (shape, data) = (vec![data.len()], data.to_vec());
                ((*name).to_owned(), NamedTensor { shape, data })
            });
            let tensors: BTreeMap<String, NamedTensor> = tensors.collect();
            TensorFile::from(tensors)
                .write(path, Encoding::F32)
                .unwrap();
        };
        write(
            &a,
            &[
                ("gone", &[3., 4.]),
                ("turned", &[3., 4.]),
                ("zero", &[0., 0.]),
            ],
        );
        write(
            &b,
            &[
                ("longer", &[6., 8., 0.]),
                ("turned", &[-4., 3.]),
                ("zero", &[0., 2.]),
            ],
        );
        let (figures, rows) = measure(&a, &b).unwrap();
        assert_eq!(figures, FIGURES);
        let some = |row: [f64; 4]| row.map(Some);
        let expected = [
            ("gone", [Some(5.), None, None, None]),
            ("longer", [None, Some(10.), None, None]),
            ("turned", some([5., 5., 50f64.sqrt(), 0.])),
            ("zero", [Some(0.), Some(2.), Some(2.), None]),
            ("all", some([5., 29f64.sqrt(), 54f64.sqrt(), 0.])),
        ];
        assert_eq!(rows, expected.map(|(name, row)| (name.to_owned(), row)));
        // Of a file with itself: no distance, and one direction.
        let (_, rows) = measure(&b, &b).unwrap();
        let turned = rows.iter().find(|(name, _)| name == "turned").unwrap();
        assert_eq!(turned.1, some([5., 5., 0., 1.]));
        std::fs::write(&a, "no tensors").unwrap();
        assert!(measure(&a, &b).is_none());
    }

    #[test]
    fn the_first_differing_value_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let said = || describe(&old, &new).unwrap_or_default();
        let tensors = |data: [f32; 6]| {
            let tensor = NamedTensor {
                shape: vec![2, 3],
                data: data.to_vec(),
            };
            let tensors = BTreeMap::from([("layer.weight".to_owned(), tensor)]);
            TensorFile {
                tensors,
                metadata: BTreeMap::new(),
            }
        };
        tensors([0., 1., 2., 3., 4., 5.])
            .write(&old, Encoding::F32)
            .unwrap();
        tensors([0., 1., 2., 3., 4.5, 6.])
            .write(&new, Encoding::F32)
            .unwrap();
        assert_eq!(
            said(),
            "tensor `layer.weight`[1, 1]: 4.0, then 4.5 (2 of 6 values of it differ)"
        );
        // 0 and -0 have different bits.
        tensors([-0., 1., 2., 3., 4., 5.])
            .write(&new, Encoding::F32)
            .unwrap();
        assert_eq!(
            said(),
            "tensor `layer.weight`[0, 0]: 0.0, then -0.0 (1 of 6 values of it differ)"
        );
        TensorFile::default().write(&new, Encoding::F32).unwrap();
        assert_eq!(said(), "tensor `layer.weight` is missing");

        let row = |epoch, value| Row {
            name: "loss".into(),
            epoch: Some(epoch),
            value,
            ..Row::default()
        };
        table::write(&old, &[row(1, 0.5), row(2, 0.25)]).unwrap();
        table::write(&new, &[row(1, 0.5), row(2, 0.26)]).unwrap();
        assert_eq!(said(), "row 1, column `value`: 0.25, then 0.26");
        table::write(&new, &[row(1, 0.5)]).unwrap();
        assert_eq!(said(), "2 rows, then 1");
        std::fs::write(&new, "text").unwrap();
        assert_eq!(said(), "");
    }
}
