//! SVHN's cropped digits: one `.mat` file for each part, with the images `X` and the labels `y`.
//!
//! `X` is `[32, 32, 3, N]`, the first dimension (rows) fastest; in `y` the digit 0 is 10.

use anyhow::{Context, ensure};

use super::mat;

/// Height and width.
const SIDE: usize = 32;
/// Bytes of an image.
const IMAGE: usize = SIDE * SIDE * 3;
/// The larger part has 225,045,504 bytes of images.
const UNPACKED_MAX: u64 = 256 << 20;

/// The images (`[N, 32, 32, 3]`) and labels (0 to 9) of a file.
///
/// # Errors
/// The file is damaged, or its arrays are others.
pub fn part(file: &[u8]) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let x = mat::array(file, "X", UNPACKED_MAX)?;
    let y = mat::array(file, "y", UNPACKED_MAX)?;
    let [SIDE, SIDE, 3, n] = x.dims[..] else {
        anyhow::bail!("`X` is {:?}, expected [32, 32, 3, N]", x.dims);
    };
    let labels = y.whole_numbers().context("`y`")?;
    ensure!(
        labels.len() == n,
        "there are {n} images and {} labels",
        labels.len()
    );
    let label = |(i, label): (usize, u32)| match label {
        10 => Ok(0),
        1..=9 => Ok(label as u8),
        other => anyhow::bail!("image {i} has the label {other}; they are 1 to 10"),
    };
    let labels: anyhow::Result<Vec<u8>> = labels.into_iter().enumerate().map(label).collect();
    let x = x.into_bytes().context("`X`")?;
    let mut images = Vec::with_capacity(x.len());
    for image in x.chunks_exact(IMAGE) {
        for row in 0..SIDE {
            for column in 0..SIDE {
                let at = |channel: usize| image[row + SIDE * (column + SIDE * channel)];
                images.extend([at(0), at(1), at(2)]);
            }
        }
    }
    Ok((images, labels?))
}

#[cfg(test)]
mod tests {
    use super::super::mat::tests::{compressed, mat_file, matrix};
    use super::*;

    /// Two images; each byte says where it is.
    fn images() -> Vec<u8> {
        let mut x = vec![0; 2 * IMAGE];
        for n in 0..2 {
            for (row, column, channel) in [(0, 0, 0), (3, 0, 1), (0, 5, 2), (31, 31, 1)] {
                let at = row + SIDE * (column + SIDE * (channel + 3 * n));
                x[at] = (100 * n + 10 * channel + row + column + 1) as u8;
            }
        }
        x
    }

    fn file(labels: &[u8]) -> Vec<u8> {
        let x = matrix("X", &[32, 32, 3, 2], 2, &images());
        let y = matrix("y", &[labels.len() as i32, 1], 2, labels);
        mat_file(&[compressed(&x), compressed(&y)])
    }

    #[test]
    fn columns_become_rows_and_ten_is_zero() {
        let (images, labels) = part(&file(&[10, 9])).unwrap();
        assert_eq!(labels, [0, 9]);
        for n in 0..2 {
            for (row, column, channel) in [(0, 0, 0), (3, 0, 1), (0, 5, 2), (31, 31, 1)] {
                let at = channel + 3 * (column + SIDE * (row + SIDE * n));
                let want = (100 * n + 10 * channel + row + column + 1) as u8;
                assert_eq!(images[at], want, "{n} {row} {column} {channel}");
            }
        }
        assert_eq!(images.iter().filter(|x| **x != 0).count(), 8);
    }

    #[test]
    fn other_arrays_are_refused() {
        let said = |file: &[u8]| format!("{:#}", part(file).unwrap_err());
        assert_eq!(said(&file(&[1, 2, 3])), "there are 2 images and 3 labels");
        assert_eq!(
            said(&file(&[1, 0])),
            "image 1 has the label 0; they are 1 to 10"
        );
        let y = matrix("y", &[1, 1], 2, &[1]);
        let flat = matrix("X", &[32, 32, 1], 2, &[0; 1024]);
        let text = said(&mat_file(&[flat, y.clone()]));
        assert_eq!(text, "`X` is [32, 32, 1], expected [32, 32, 3, N]");
        assert_eq!(said(&mat_file(&[y])), "there is no array `X` (there: y)");
    }
}
