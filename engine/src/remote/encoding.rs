//! How bytes are written on a remote: a short header, then the bytes as they are or in independent
//! zstd frames, where that pays. One request gets all of it, and a reader knows from the first
//! bytes how much there will be.
//!
//! ```text
//! "repro o1"  encoding: 1 byte, 0 or 1   7 zero bytes   plain bytes: u64
//! 0: the plain bytes
//! 1: frames of 1 MiB of plain bytes (the last may be shorter), each: u32 stored bytes, highest bit set where they are
//!    plain; then the stored bytes
//! ```
//!
//! Numbers are little-endian. What is read is hostile: a reader says how much it expects, holds two
//! frames at most, and refuses whatever does not fit. Whether the bytes are the right ones is not
//! known here; whoever reads them hashes them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rayon::prelude::*;
use tempfile::NamedTempFile;

use super::backend::Body;

const MAGIC: &[u8; 8] = b"repro o1";
/// Bytes of a header.
pub const HEADER_BYTES: usize = 24;
/// Plain bytes of a frame.
pub(super) const FRAME: usize = 1 << 20;
/// In a frame's length: the stored bytes are plain.
pub(super) const PLAIN: u32 = 1 << 31;
/// Fast: it runs beside what the machine is there for.
const LEVEL: i32 = 1;
/// Compression pays when it saves one byte in this many.
const WORTH: usize = 16;
/// Too few bytes to bother.
const SMALL: usize = 256;
/// Files up to this size are encoded in memory.
const IN_MEMORY: u64 = 4 << 20;
/// Frames compressed at once.
const BATCH: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Zstd,
}

/// The first bytes of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) encoding: Encoding,
    pub(super) plain_bytes: u64,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = match self.encoding {
            Encoding::Plain => 0,
            Encoding::Zstd => 1,
        };
        bytes[16..].copy_from_slice(&self.plain_bytes.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let encoding = match bytes[8] {
            0 => Encoding::Plain,
            1 => Encoding::Zstd,
            _ => return None,
        };
        let plain_bytes = u64::from_le_bytes(*bytes.last_chunk()?);
        let header = Header {
            encoding,
            plain_bytes,
        };
        (header.to_bytes() == *bytes).then_some(header)
    }
}

/// Encoded bytes, ready to be sent.
pub enum Encoded {
    /// In memory.
    Bytes(Vec<u8>),
    /// In a file of their own, removed with this value.
    Spooled(NamedTempFile),
    /// A header; the bytes follow as they lie in the file they were made from.
    AsItLies([u8; HEADER_BYTES]),
}

impl Encoded {
    /// What is sent, given the file that [`encode_file`] was given.
    pub fn body<'a>(&'a self, file: &'a Path) -> Body<'a> {
        match self {
            Encoded::Bytes(bytes) => Body::Bytes(bytes),
            Encoded::Spooled(spool) => Body::File(spool.path()),
            Encoded::AsItLies(header) => Body::Headed(header, file),
        }
    }
}

/// Encodes bytes in memory.
///
/// # Errors
/// Of the compressor, which has none but for memory.
pub fn encode_bytes(plain: &[u8]) -> io::Result<Vec<u8>> {
    let header = |encoding| Header {
        encoding,
        plain_bytes: plain.len() as u64,
    };
    if plain.len() >= SMALL && (plain.len() <= FRAME || looks_worth_it(plain)?) {
        let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
        let mut out = Vec::with_capacity(HEADER_BYTES + plain.len() / 2);
        out.extend_from_slice(&header(Encoding::Zstd).to_bytes());
        for chunk in plain.chunks(FRAME) {
            append_frame(&mut out, chunk, &zstd.compress(chunk)?);
        }
        if pays(plain.len(), out.len() - HEADER_BYTES) {
            return Ok(out);
        }
    }
    Ok([&header(Encoding::Plain).to_bytes()[..], plain].concat())
}

/// Encodes a file of so many bytes. What must be spooled goes to `scratch_dir`.
///
/// # Errors
/// Of the disk; or the file is not of that size.
pub fn encode_file(path: &Path, plain_bytes: u64, scratch_dir: &Path) -> io::Result<Encoded> {
    let mut file = File::open(path)?;
    if plain_bytes <= IN_MEMORY {
        let mut plain = Vec::with_capacity(plain_bytes as usize + 1);
        (&mut file).take(plain_bytes + 1).read_to_end(&mut plain)?;
        if plain.len() as u64 != plain_bytes {
            return Err(io::Error::other("its size has changed"));
        }
        return encode_bytes(&plain).map(Encoded::Bytes);
    }
    let header = |encoding| Header {
        encoding,
        plain_bytes,
    };
    if !samples_pay(&mut file, plain_bytes)? {
        return Ok(Encoded::AsItLies(header(Encoding::Plain).to_bytes()));
    }
    file.seek(SeekFrom::Start(0))?;
    let mut spool = tempfile::Builder::new()
        .prefix("encoded-")
        .tempfile_in(scratch_dir)?;
    spool.write_all(&header(Encoding::Zstd).to_bytes())?;
    let mut left = plain_bytes;
    let mut batch = vec![0; BATCH * FRAME];
    let mut out = Vec::new();
    while left > 0 {
        let n = left.min(batch.len() as u64) as usize;
        file.read_exact(&mut batch[..n])?;
        let frames: Vec<Vec<u8>> = batch[..n]
            .par_chunks(FRAME)
            .map(|chunk| zstd::bulk::compress(chunk, LEVEL))
            .collect::<io::Result<_>>()?;
        out.clear();
        for (chunk, frame) in batch[..n].chunks(FRAME).zip(&frames) {
            append_frame(&mut out, chunk, frame);
        }
        spool.write_all(&out)?;
        left -= n as u64;
    }
    Ok(Encoded::Spooled(spool))
}

fn pays(plain: usize, stored: usize) -> bool {
    stored + plain / WORTH < plain
}

fn append_frame(out: &mut Vec<u8>, plain: &[u8], compressed: &[u8]) {
    // Both are at most a little more than a frame.
    if pays(plain.len(), compressed.len()) {
        out.extend_from_slice(&(compressed.len() as u32).to_le_bytes());
        out.extend_from_slice(compressed);
    } else {
        out.extend_from_slice(&(plain.len() as u32 | PLAIN).to_le_bytes());
        out.extend_from_slice(plain);
    }
}

/// Whether eight samples, spread evenly, compress: sparing the work on what will not.
fn looks_worth_it(plain: &[u8]) -> io::Result<bool> {
    const SAMPLES: usize = 8;
    const SAMPLE: usize = 32 << 10;
    let step = (plain.len() - SAMPLE) / (SAMPLES - 1);
    let mut stored = 0;
    for sample in 0..SAMPLES {
        let at = sample * step;
        stored += zstd::bulk::compress(&plain[at..at + SAMPLE], LEVEL)?.len();
    }
    Ok(pays(SAMPLES * SAMPLE, stored))
}

/// Whether a quarter of a frame at the beginning, in the middle and at the end compress.
fn samples_pay(file: &mut File, plain_bytes: u64) -> io::Result<bool> {
    let mut sample = vec![0; FRAME / 4];
    let last = plain_bytes - sample.len() as u64;
    let (mut plain, mut stored) = (0, 0);
    for at in [0, last / 2, last] {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut sample)?;
        plain += sample.len();
        stored += zstd::bulk::compress(&sample, LEVEL)?.len();
    }
    Ok(pays(plain, stored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::decoding::{BadBytes, Decoder, Limit, decode_all};
    use proptest::prelude::*;

    fn noise(n: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .take(n)
        .collect()
    }

    /// Some that compress, some that do not, around the sizes where something changes.
    fn plain() -> impl Strategy<Value = Vec<u8>> {
        let sizes = prop_oneof![
            0usize..2000,
            FRAME - 2..FRAME + 3,
            2 * FRAME - 1..2 * FRAME + 2
        ];
        (sizes, any::<u64>(), 0u8..3).prop_map(|(n, seed, how)| match how {
            0 => vec![seed as u8; n],
            1 => noise(n, seed),
            _ => {
                let mut bytes = vec![7; n];
                let half = noise(n / 2, seed);
                bytes[..n / 2].copy_from_slice(&half);
                bytes
            }
        })
    }

    /// Gives bytes in small pieces.
    struct Dribble<'a>(&'a [u8], usize);
    impl Read for Dribble<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(out.len()).min(self.0.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn what_was_encoded_is_decoded(plain in plain(), piece in 1usize..5000) {
            let encoded = encode_bytes(&plain).unwrap();
            prop_assert!(encoded.len() <= plain.len() + HEADER_BYTES);
            let limit = Limit::Exactly(plain.len() as u64);
            prop_assert!(decode_all(Dribble(&encoded, piece), limit).unwrap() == plain);
            for limit in [Limit::Exactly(plain.len() as u64 + 1), Limit::AtMost((plain.len() as u64).wrapping_sub(1))] {
                if limit != Limit::AtMost(u64::MAX) {
                    let refused = decode_all(&encoded[..], limit).unwrap_err();
                    prop_assert!(matches!(BadBytes::of(&refused), Some(BadBytes::Size { .. })), "{}", refused);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Cut off anywhere, it is refused: only the whole is the whole.
        #[test]
        fn a_cut_is_found(how in any::<bool>(), n in 0usize..3000, keep in 0.0f64..1.0) {
            let encoded = encode_bytes(&if how { vec![1; n] } else { noise(n, 3) }).unwrap();
            let keep = (encoded.len() as f64 * keep) as usize;
            if keep < encoded.len() {
                let error = decode_all(&encoded[..keep], Limit::AtMost(1 << 20)).unwrap_err();
                prop_assert!(BadBytes::of(&error).is_some(), "{error}");
            }
        }

        /// Whatever is altered: no panic, never more bytes than allowed, and the error says that
        /// the bytes are bad.
        #[test]
        fn altered_bytes_do_no_harm(how in any::<bool>(), n in 0usize..3000, at in prop_oneof![0usize..64, 0usize..4000], with in any::<u8>(), tail in proptest::collection::vec(any::<u8>(), 0..20)) {
            let plain = if how { (0..n).map(|i| (i / 7) as u8).collect() } else { noise(n, 3) };
            let mut encoded = encode_bytes(&plain).unwrap();
            let at = at % encoded.len();
            encoded[at] ^= with;
            encoded.extend_from_slice(&tail);
            match decode_all(&encoded[..], Limit::AtMost(5000)) {
                Ok(bytes) => prop_assert!(bytes.len() <= 5000),
                Err(error) => prop_assert!(BadBytes::of(&error).is_some(), "{error}"),
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(encoding in 0u8..3, size in 0u64..5000, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&[encoding, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend_from_slice(&size.to_le_bytes());
            bytes.extend_from_slice(&rest);
            match decode_all(&bytes[..], Limit::AtMost(4000)) {
                Ok(plain) => prop_assert!(plain.len() <= 4000),
                Err(error) => prop_assert!(BadBytes::of(&error).is_some(), "{error}"),
            }
        }
    }

    /// A frame that unpacks to a gigabyte costs what a frame costs.
    #[test]
    fn a_bomb_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        assert!(bomb.len() < 10_000, "{}", bomb.len());
        for said in [100, FRAME as u64, 64 << 20] {
            let mut bytes = Header {
                encoding: Encoding::Zstd,
                plain_bytes: said,
            }
            .to_bytes()
            .to_vec();
            bytes.extend_from_slice(&(bomb.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&bomb);
            let mut decoder = Decoder::new(&bytes[..], Limit::AtMost(1 << 30)).unwrap();
            let error = io::copy(&mut decoder, &mut io::sink()).unwrap_err();
            assert_eq!(BadBytes::of(&error), Some(&BadBytes::Frame));
            assert!(decoder.frame.capacity() <= FRAME && decoder.stored.capacity() <= 2 * FRAME);
            let error = decode_all(&bytes[..], Limit::Exactly(99)).unwrap_err();
            assert!(matches!(BadBytes::of(&error), Some(BadBytes::Size { .. })));
        }
    }

    /// A stream without an end is left as soon as the object's is reached.
    #[test]
    fn an_endless_stream_is_left() {
        for plain in [vec![5; 100_000], noise(100_000, 1)] {
            let encoded = encode_bytes(&plain).unwrap();
            let mut endless = (&encoded[..]).chain(io::repeat(0));
            let error = decode_all(&mut endless, Limit::AtMost(1 << 20)).unwrap_err();
            assert_eq!(BadBytes::of(&error), Some(&BadBytes::Long));
        }
        let error = decode_all(io::repeat(0), Limit::AtMost(1 << 20)).unwrap_err();
        assert_eq!(BadBytes::of(&error), Some(&BadBytes::Header));
    }

    #[test]
    fn files_are_encoded_as_it_pays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let n = IN_MEMORY as usize + FRAME / 2;
        for (plain, spooled) in [(noise(n, 9), false), (vec![1; n], true)] {
            std::fs::write(&path, &plain).unwrap();
            let encoded = encode_file(&path, n as u64, dir.path()).unwrap();
            assert_eq!(matches!(encoded, Encoded::Spooled(_)), spooled);
            let body = encoded.body(&path);
            let mut sent = Vec::new();
            body.open().unwrap().read_to_end(&mut sent).unwrap();
            assert_eq!(sent.len() as u64, body.bytes_total().unwrap());
            assert_eq!(sent.len() < n / 100, spooled);
            assert!(decode_all(&sent[..], Limit::Exactly(n as u64)).unwrap() == plain);
        }
        std::fs::write(&path, b"short").unwrap();
        assert!(encode_file(&path, 6, dir.path()).is_err());
        assert!(encode_file(&path, 4, dir.path()).is_err());
    }
}
