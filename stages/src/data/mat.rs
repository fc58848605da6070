//! MATLAB's file format, level 5 (`.mat` of MATLAB 5 to 7): arrays of numbers by name.
//!
//! Reads what data sets are published in: real, full arrays in little-endian order, plain or
//! compressed (zlib). Sizes in a file are never trusted: what is read is bounded by what is there,
//! and what is unpacked by the caller. Source: *MAT-File Format*, The MathWorks.

use std::io::Read as _;

use anyhow::{Context, bail, ensure};

/// Bytes in front of the first element.
const HEADER: usize = 128;

/// Types of elements.
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT16: u32 = 3;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const SINGLE: u32 = 7;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Classes of arrays: the first and the last that are full arrays of numbers.
const NUMBERS: std::ops::RangeInclusive<u32> = 6..=15;

/// A flag of an array: it has an imaginary part.
const COMPLEX: u32 = 0x0800;

/// An array as it lies in the file: the first dimension runs fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its sizes.
    pub dims: Vec<usize>,
    stored_as: u32,
    data: Vec<u8>,
}

impl Array {
    /// Its values, which must be stored as bytes.
    ///
    /// # Errors
    /// They are stored as something else.
    pub fn into_bytes(self) -> anyhow::Result<Vec<u8>> {
        ensure!(
            self.stored_as == UINT8,
            "its values are not bytes (type {})",
            self.stored_as
        );
        Ok(self.data)
    }

    /// Its values, which must be whole numbers from 0 on, however they are stored.
    ///
    /// # Errors
    /// One is not.
    pub fn whole_numbers(&self) -> anyhow::Result<Vec<u32>> {
        fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            let (values, _) = data.as_chunks::<N>();
            values.iter().map(|bytes| number(*bytes)).collect()
        }
        let data = &self.data;
        let values = match self.stored_as {
            INT8 => each(data, |b| f64::from(i8::from_le_bytes(b))),
            UINT8 => each(data, |b| f64::from(u8::from_le_bytes(b))),
            INT16 => each(data, |b| f64::from(i16::from_le_bytes(b))),
            UINT16 => each(data, |b| f64::from(u16::from_le_bytes(b))),
            INT32 => each(data, |b| f64::from(i32::from_le_bytes(b))),
            UINT32 => each(data, |b| f64::from(u32::from_le_bytes(b))),
            SINGLE => each(data, |b| f64::from(f32::from_le_bytes(b))),
            DOUBLE => each(data, f64::from_le_bytes),
            other => bail!("its values have an unknown type ({other})"),
        };
        let whole = |x: f64| {
            let good = x >= 0.0 && x <= f64::from(u32::MAX) && x.fract() == 0.0;
            good.then_some(x as u32)
                .with_context(|| format!("the value {x} is no whole number from 0 on"))
        };
        values.into_iter().map(whole).collect()
    }
}

/// The array of this name; unpacked, it may take `bytes_max` bytes.
///
/// # Errors
/// The bytes are no such file, are damaged or cut short, or hold no such array.
pub fn array(file: &[u8], name: &str, bytes_max: u64) -> anyhow::Result<Array> {
    let mut names = Vec::new();
    let mut rest = elements(file)?;
    while !rest.is_empty() {
        let (kind, body) = element(&mut rest)?;
        let found = match kind {
            COMPRESSED => {
                let mut unpacked = Vec::new();
                flate2::read::ZlibDecoder::new(body)
                    .take(bytes_max + 1)
                    .read_to_end(&mut unpacked)
                    .context("a compressed part is damaged or cut short")?;
                ensure!(
                    unpacked.len() as u64 <= bytes_max,
                    "a compressed part holds more than the {bytes_max} bytes expected"
                );
                let (kind, body) = element(&mut &unpacked[..])?;
                named(kind, body, name, &mut names)?
            }
            _ => named(kind, body, name, &mut names)?,
        };
        if let Some(array) = found {
            return Ok(array);
        }
    }
    bail!("there is no array `{name}` (there: {})", names.join(", "))
}

/// What comes after the header.
fn elements(file: &[u8]) -> anyhow::Result<&[u8]> {
    ensure!(
        file.len() > HEADER,
        "not a MAT-file of level 5: {} bytes are too few",
        file.len()
    );
    match &file[HEADER - 4..HEADER] {
        [0, 1, b'I', b'M'] => Ok(&file[HEADER..]),
        [0, 2, b'I', b'M'] => bail!(
            "a MAT-file of version 7.3 (HDF5), which is not read here: save it with `-v7` in MATLAB"
        ),
        [1, 0, b'M', b'I'] => bail!("a MAT-file in big-endian order, which is not read here"),
        _ => bail!("not a MAT-file of level 5"),
    }
}

/// Takes the first element: its type and bytes.
fn element<'a>(rest: &mut &'a [u8]) -> anyhow::Result<(u32, &'a [u8])> {
    let cut = "it is cut short or damaged";
    let (word, after) = rest.split_first_chunk::<4>().context(cut)?;
    let word = u32::from_le_bytes(*word);
    if word >> 16 != 0 {
        // A small element: two bytes of size, two of type, four of data.
        let (data, after) = after.split_at_checked(4).context(cut)?;
        let body = data.get(..(word >> 16) as usize).context(cut)?;
        *rest = after;
        return Ok((word & 0xffff, body));
    }
    let (size, after) = after.split_first_chunk::<4>().context(cut)?;
    let size = u32::from_le_bytes(*size) as usize;
    let (body, after) = after.split_at_checked(size).context(cut)?;
    // The next element begins at a multiple of 8; a compressed one is not filled up.
    let gap = match word {
        COMPRESSED => 0,
        _ => size.next_multiple_of(8) - size,
    };
    *rest = after.get(gap..).unwrap_or_default();
    Ok((word, body))
}

/// The array if it has this name; else its name is noted.
fn named(
    kind: u32,
    mut body: &[u8],
    name: &str,
    names: &mut Vec<String>,
) -> anyhow::Result<Option<Array>> {
    if kind != MATRIX {
        return Ok(None);
    }
    let flags = element(&mut body)?.1;
    let flags = flags.first_chunk::<4>().context("an array without flags")?;
    let flags = u32::from_le_bytes(*flags);
    let dims = element(&mut body)?.1;
    let own_name = String::from_utf8_lossy(element(&mut body)?.1).into_owned();
    if own_name != name {
        names.push(own_name);
        return Ok(None);
    }
    ensure!(
        NUMBERS.contains(&(flags & 0xff)) && flags & COMPLEX == 0,
        "`{name}` is no array of real numbers"
    );
    let size = |bytes: &[u8; 4]| usize::try_from(i32::from_le_bytes(*bytes));
    let dims: Result<Vec<usize>, _> = dims.as_chunks::<4>().0.iter().map(size).collect();
    let dims = dims.with_context(|| format!("`{name}` has a negative size"))?;
    let (stored_as, data) = element(&mut body)?;
    let width = match stored_as {
        INT8 | UINT8 => 1,
        INT16 | UINT16 => 2,
        INT32 | UINT32 | SINGLE => 4,
        DOUBLE => 8,
        other => bail!("`{name}` has values of an unknown type ({other})"),
    };
    let values = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    ensure!(
        values.and_then(|n| n.checked_mul(width)) == Some(data.len()),
        "`{name}` is said to be {dims:?}, but has {} bytes",
        data.len()
    );
    Ok(Some(Array {
        dims,
        stored_as,
        data: data.to_vec(),
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write as _;

    /// An element as MATLAB writes it.
    fn written(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if (1..=4).contains(&body.len()) {
            bytes.extend((kind | (body.len() as u32) << 16).to_le_bytes());
            bytes.extend(body);
            bytes.resize(8, 0);
            return bytes;
        }
        bytes.extend(kind.to_le_bytes());
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// An array of bytes (class 9) or doubles (class 6), plain.
    pub(crate) fn matrix(name: &str, dims: &[i32], stored_as: u32, data: &[u8]) -> Vec<u8> {
        let class: u32 = if stored_as == UINT8 { 9 } else { 6 };
        let flags = [class.to_le_bytes(), [0; 4]].concat();
        let dims: Vec<u8> = dims.iter().flat_map(|d| d.to_le_bytes()).collect();
        let parts = [
            written(UINT32, &flags),
            written(INT32, &dims),
            written(INT8, name.as_bytes()),
            written(stored_as, data),
        ];
        written(MATRIX, &parts.concat())
    }

    /// The same, compressed.
    pub(crate) fn compressed(matrix: &[u8]) -> Vec<u8> {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(matrix).unwrap();
        let body = zlib.finish().unwrap();
        let tag = [COMPRESSED.to_le_bytes(), (body.len() as u32).to_le_bytes()];
        [tag.concat(), body].concat()
    }

    pub(crate) fn mat_file(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
        bytes.resize(HEADER - 4, b' ');
        bytes.extend([0, 1, b'I', b'M']);
        bytes.extend(elements.concat());
        bytes
    }

    fn said(file: &[u8], name: &str) -> String {
        format!("{:#}", array(file, name, 1 << 20).unwrap_err())
    }

    #[test]
    fn arrays_are_found_plain_and_compressed() {
        let x = matrix("X", &[2, 3], UINT8, &[1, 2, 3, 4, 5, 6]);
        let doubles: Vec<u8> = [10.0f64, 1.0]
            .iter()
            .flat_map(|y| y.to_le_bytes())
            .collect();
        let y = matrix("y", &[2, 1], DOUBLE, &doubles);
        let small = matrix("label", &[3, 1], UINT8, &[7, 8, 9]);
        for file in [
            mat_file(&[x.clone(), y.clone(), small.clone()]),
            mat_file(&[compressed(&x), compressed(&y), compressed(&small)]),
            mat_file(&[compressed(&small), y, compressed(&x)]),
        ] {
            let found = |name: &str| array(&file, name, 1 << 20).unwrap();
            assert_eq!(found("X").dims, [2, 3]);
            assert_eq!(found("X").into_bytes().unwrap(), [1, 2, 3, 4, 5, 6]);
            assert_eq!(found("y").whole_numbers().unwrap(), [10, 1]);
            assert_eq!(found("label").whole_numbers().unwrap(), [7, 8, 9]);
            assert!(found("y").into_bytes().is_err());
            assert!(said(&file, "z").starts_with("there is no array `z` (there: "));
        }
    }

    #[test]
    fn other_files_are_refused_and_damaged_ones_never_panic() {
        assert_eq!(
            said(b"hello", "X"),
            "not a MAT-file of level 5: 5 bytes are too few"
        );
        assert_eq!(said(&[0; 200], "X"), "not a MAT-file of level 5");
        let good = mat_file(&[
            compressed(&matrix("a", &[40, 1], UINT8, &[3; 40])),
            matrix("X", &[2, 3], UINT8, &[1, 2, 3, 4, 5, 6]),
        ]);
        let mut newer = good.clone();
        newer[HEADER - 3] = 2;
        assert!(said(&newer, "X").contains("7.3 (HDF5)"));
        for end in 0..good.len() - 2 {
            assert!(array(&good[..end], "X", 1 << 20).is_err(), "{end}");
        }
        for at in HEADER..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let _ = array(&bad, "X", 1 << 20);
            }
        }
        let bomb = mat_file(&[compressed(&matrix("X", &[4096, 1], UINT8, &[0; 4096]))]);
        let why = array(&bomb, "X", 1000).unwrap_err().to_string();
        assert_eq!(
            why,
            "a compressed part holds more than the 1000 bytes expected"
        );
        let lies = mat_file(&[matrix("X", &[1 << 30, 1 << 30], UINT8, &[1, 2])]);
        assert!(said(&lies, "X").ends_with("but has 2 bytes"));
        let negative = mat_file(&[matrix("X", &[-2, -1], UINT8, &[1, 2])]);
        assert!(said(&negative, "X").starts_with("`X` has a negative size"));
        let half = matrix("y", &[1, 1], DOUBLE, &0.5f64.to_le_bytes());
        let half = array(&mat_file(&[half]), "y", 100).unwrap();
        assert!(half.whole_numbers().is_err());
    }
}
