//! IDX, the file format of MNIST and Fashion-MNIST: a big-endian header, then one byte per pixel or
//! label.
//!
//! Parses bytes at hand and undoes gzip within bounds; where they come from is the caller's
//! business.

use std::io::Read;

use anyhow::{Context, bail, ensure};

use super::ImageShape;

/// Magic number of a file of bytes in three dimensions.
const IMAGES: u32 = 0x0000_0803;
/// Magic number of a file of bytes in one dimension.
const LABELS: u32 = 0x0000_0801;

/// Unpacks a gzip file that must hold at most `bytes_max` bytes.
///
/// # Errors
/// When it is no gzip file, is cut short or damaged, or holds more.
pub fn gunzip(packed: &[u8], bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(packed)
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .context("the gzip file is damaged or cut short")?;
    ensure!(
        bytes.len() as u64 <= bytes_max,
        "the gzip file holds more than the {bytes_max} bytes expected"
    );
    Ok(bytes)
}

/// The images of an `idx3-ubyte` file: their number, size (one channel) and pixels
/// `[N, rows, columns]`.
///
/// # Errors
/// When the magic number or the size is wrong.
pub fn images(bytes: &[u8]) -> anyhow::Result<(usize, ImageShape, &[u8])> {
    let ([n, height, width], pixels) = parse(bytes, IMAGES, "images")?;
    Ok((
        n,
        ImageShape {
            height,
            width,
            channels: 1,
        },
        pixels,
    ))
}

/// The labels of an `idx1-ubyte` file, `[N]`.
///
/// # Errors
/// When the magic number or the size is wrong.
pub fn labels(bytes: &[u8]) -> anyhow::Result<&[u8]> {
    Ok(parse::<1>(bytes, LABELS, "labels")?.1)
}

fn parse<'a, const D: usize>(
    bytes: &'a [u8],
    magic: u32,
    what: &str,
) -> anyhow::Result<([usize; D], &'a [u8])> {
    let (words, _) = bytes.as_chunks::<4>();
    let Some((&found, dims)) = words.split_first().filter(|(_, dims)| dims.len() >= D) else {
        bail!(
            "not an IDX file of {what}: {} bytes are too few for its header",
            bytes.len()
        );
    };
    let found = u32::from_be_bytes(found);
    ensure!(
        found == magic,
        "not an IDX file of {what}: the magic number is {found:#010x}, not {magic:#010x}"
    );
    let mut sizes = [0; D];
    for (size, word) in sizes.iter_mut().zip(dims) {
        *size = u32::from_be_bytes(*word) as usize;
    }
    let data = &bytes[4 * (D + 1)..];
    let expected = sizes
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size));
    ensure!(
        expected == Some(data.len()),
        "an IDX file of {what} with sizes {sizes:?} has {} bytes of data",
        data.len()
    );
    Ok((sizes, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn file(words: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn well_formed_files() {
        let bytes = file(&[IMAGES, 2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let (n, shape, pixels) = images(&bytes).unwrap();
        assert_eq!(
            (n, shape.to_string().as_str(), pixels),
            (2, "1x3x1", &[1, 2, 3, 4, 5, 6][..])
        );
        assert_eq!(labels(&file(&[LABELS, 2], &[7, 8])).unwrap(), [7, 8]);
        assert!(labels(&file(&[LABELS, 0], &[])).unwrap().is_empty());
    }

    #[test]
    fn malformed_files() {
        let error = |bytes: &[u8]| images(bytes).unwrap_err().to_string();
        assert_eq!(
            error(&file(&[LABELS, 2, 1, 3], &[0; 6])),
            "not an IDX file of images: the magic number is 0x00000801, not 0x00000803"
        );
        assert_eq!(
            error(&[0, 0, 8, 3, 0]),
            "not an IDX file of images: 5 bytes are too few for its header"
        );
        assert_eq!(
            error(&file(&[IMAGES, 2, 1, 3], &[0; 5])),
            "an IDX file of images with sizes [2, 1, 3] has 5 bytes of data"
        );
        assert!(error(&file(&[IMAGES, 2, 1, 3], &[0; 7])).contains("7 bytes of data"));
        assert!(error(&file(&[IMAGES, u32::MAX, u32::MAX, u32::MAX], &[0; 6])).contains("sizes"));
    }

    #[test]
    fn gzip_is_bounded_and_checked() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&[5; 1000]).unwrap();
        let packed = gz.finish().unwrap();
        assert_eq!(gunzip(&packed, 1000).unwrap(), [5; 1000]);
        assert_eq!(
            gunzip(&packed, 999).unwrap_err().to_string(),
            "the gzip file holds more than the 999 bytes expected"
        );
        assert!(gunzip(&packed[..packed.len() - 3], 1000).is_err());
        assert!(gunzip(b"not gzip", 1000).is_err());
        let mut damaged = packed.clone();
        let crc = packed.len() - 8;
        damaged[crc] ^= 1;
        assert!(gunzip(&damaged, 1000).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (images(&bytes), labels(&bytes), gunzip(&bytes, 100));
        }
    }
}
