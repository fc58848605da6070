//! CIFAR-10 and CIFAR-100 in their binary version: files of records, found in any packing of them.
//!
//! A record is one label byte (in CIFAR-100 two: first one of 20 superclasses, which is not used),
//! then 1,024 red, 1,024 green and 1,024 blue bytes; each plane row-major. The checksums pin the
//! files inside, not the archive, so that `.tar.gz`, `.tar.xz` and an unpacked directory all serve.
//! Entry names and sizes of an archive are never trusted: only the known names are looked at,
//! nothing is written to disk.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::pinned::Pinned;

/// Bytes of a plane.
const PLANE: usize = 32 * 32;
/// An archive that unpacks to more than this is neither (184,440,000 bytes of images at most).
const UNPACKED_MAX: u64 = 256 << 20;

/// The files of CIFAR-100, training part first.
pub const FILES_100: [Pinned; 2] = [
    Pinned::new(
        "train.bin",
        153_700_000,
        "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
    ),
    Pinned::new(
        "test.bin",
        30_740_000,
        "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
    ),
];

/// The files of CIFAR-10, training batches first.
pub const FILES: [Pinned; 6] = [
    Pinned::new(
        "data_batch_1.bin",
        30_730_000,
        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    ),
    Pinned::new(
        "data_batch_2.bin",
        30_730_000,
        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    ),
    Pinned::new(
        "data_batch_3.bin",
        30_730_000,
        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    ),
    Pinned::new(
        "data_batch_4.bin",
        30_730_000,
        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    ),
    Pinned::new(
        "data_batch_5.bin",
        30_730_000,
        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    ),
    Pinned::new(
        "test_batch.bin",
        30_730_000,
        "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    ),
];

/// Reads these files, verified, from a directory or an archive at `path`.
///
/// # Errors
/// When one is missing, has the wrong size or checksum, or the archive is damaged.
pub fn read(path: &Path, files: &[Pinned]) -> anyhow::Result<Vec<Vec<u8>>> {
    if path.is_dir() {
        return files
            .iter()
            .map(|file| file.read(&path.join(file.name)))
            .collect();
    }
    let packed =
        std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut packed = std::io::BufReader::with_capacity(1 << 18, packed);
    let start = std::io::BufRead::fill_buf(&mut packed)?;
    let unpacked: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::read::MultiGzDecoder::new(packed))
    } else if start.starts_with(b"\xfd7zXZ\0") {
        // 64 MiB of dictionary is what `xz -9` uses.
        Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, 96 << 10))
    } else {
        bail!("neither a gzip nor an xz archive");
    };
    from_tar(unpacked.take(UNPACKED_MAX), files)
}

fn from_tar(archive: impl Read, files: &[Pinned]) -> anyhow::Result<Vec<Vec<u8>>> {
    let damaged = "the archive is damaged, cut short or too large";
    let mut found: Vec<Option<Vec<u8>>> = vec![None; files.len()];
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().context(damaged)? {
        let entry = entry.context(damaged)?;
        let path = entry.path_bytes().into_owned();
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let Some(i) = files.iter().position(|file| file.name.as_bytes() == name) else {
            continue;
        };
        ensure!(
            found[i].is_none(),
            "the archive holds {} twice",
            files[i].name
        );
        let bytes_max = files[i].bytes;
        let mut bytes = Vec::new();
        entry
            .take(bytes_max + 1)
            .read_to_end(&mut bytes)
            .context(damaged)?;
        files[i].check(&bytes)?;
        found[i] = Some(bytes);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    let missing: Vec<&str> = files
        .iter()
        .zip(&found)
        .filter(|(_, bytes)| bytes.is_none())
        .map(|(file, _)| file.name)
        .collect();
    ensure!(
        missing.is_empty(),
        "the archive lacks {}",
        missing.join(", ")
    );
    Ok(found.into_iter().flatten().collect())
}

/// The images (`[N, 32, 32, 3]`) and labels of some files, one after the other; of the bytes in
/// front of an image (`heads`) the last is the label.
///
/// # Errors
/// When a file does not hold whole records.
pub fn records(files: &[Vec<u8>], heads: usize) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let record = heads + 3 * PLANE;
    let total: usize = files.iter().map(Vec::len).sum();
    let mut images = Vec::with_capacity(total);
    let mut labels = Vec::with_capacity(total / record);
    for bytes in files {
        ensure!(
            bytes.len().is_multiple_of(record),
            "a CIFAR file has {} bytes, which are no whole records of {record}",
            bytes.len(),
        );
        for record in bytes.chunks_exact(record) {
            let (head, planes) = record.split_at(heads);
            labels.extend(head.last());
            let (red, rest) = planes.split_at(PLANE);
            let (green, blue) = rest.split_at(PLANE);
            for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
                images.extend_from_slice(&[r, g, b]);
            }
        }
    }
    Ok((images, labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    // sha256sum of `aaaa` and `bbb`.
    const SMALL: [Pinned; 2] = [
        Pinned::new(
            "a.bin",
            4,
            "61be55a8e2f6b4e172338bddf184d6dbee29c98853e0a0485ecee7f27b9af0b4",
        ),
        Pinned::new(
            "b.bin",
            3,
            "3e744b9dc39389baf0c5a0660589b8402f3dbb49b89b3e75f2c9355852a3c677",
        ),
    ];

    fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in entries {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        read(&path, &SMALL).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn members_are_found_in_any_order_and_place() {
        let good = tar_of(&[
            ("../../etc/b.bin", b"bbb"),
            ("readme.html", b"hello"),
            ("/a.bin", b"aaaa"),
        ]);
        assert_eq!(
            read_bytes(&gz(&good)).unwrap(),
            [b"aaaa".to_vec(), b"bbb".to_vec()]
        );
        let mut xz =
            lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
        xz.write_all(&good).unwrap();
        assert_eq!(
            read_bytes(&xz.finish().unwrap()).unwrap(),
            [b"aaaa".to_vec(), b"bbb".to_vec()]
        );
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.bin"), "aaaa").unwrap();
        std::fs::write(dir.path().join("b.bin"), "bbb").unwrap();
        assert_eq!(
            read(dir.path(), &SMALL).unwrap(),
            [b"aaaa".to_vec(), b"bbb".to_vec()]
        );
    }

    #[test]
    fn wrong_archives_are_refused() {
        let packed = |entries: &[(&str, &[u8])]| read_bytes(&gz(&tar_of(entries))).unwrap_err();
        assert_eq!(packed(&[("a.bin", b"aaaa")]), "the archive lacks b.bin");
        let error = packed(&[("a.bin", b"aaax"), ("b.bin", b"bbb")]);
        assert!(
            error.starts_with("a.bin has the wrong checksum: expected sha256:61be55"),
            "{error}"
        );
        assert_eq!(
            packed(&[("a.bin", b"aaaaa"), ("b.bin", b"bbb")]),
            "a.bin has the wrong size: expected 4 bytes, got more"
        );
        assert_eq!(
            packed(&[("a.bin", b"aaaa"), ("x/a.bin", b"aaaa")]),
            "the archive holds a.bin twice"
        );
        assert_eq!(
            read_bytes(b"hello").unwrap_err(),
            "neither a gzip nor an xz archive"
        );
        let good = gz(&tar_of(&[("a.bin", b"aaaa"), ("b.bin", b"bbb")]));
        assert!(read_bytes(&good[..40]).is_err());
        assert!(read_bytes(&gz(b"no tar at all")).is_err());
    }

    #[test]
    fn planes_become_pixels() {
        for heads in [1, 2] {
            let record = heads + 3 * PLANE;
            let mut file = vec![0; 3 * record];
            file[record] = 7;
            file[record + heads - 1] = 3;
            for (plane, value) in [10, 20, 30].into_iter().enumerate() {
                file[record + heads + plane * PLANE + 33] = value;
            }
            let (images, labels) = records(&[file.clone(), file], heads).unwrap();
            assert_eq!(labels, [0, 3, 0, 0, 3, 0], "the label is the last byte");
            assert_eq!(images[3 * PLANE + 3 * 33..][..3], [10, 20, 30]);
            assert_eq!(images.iter().map(|&x| u32::from(x)).sum::<u32>(), 120);
            assert!(records(&[vec![0; record + 1]], heads).is_err());
        }
    }
}
