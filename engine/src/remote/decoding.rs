//! Reading what [`super::encoding`] wrote: bytes of strangers, so sizes are known before they are
//! believed.

use super::encoding::{Encoding, FRAME, HEADER_BYTES, Header, PLAIN};
use std::io::{self, Read};

/// Bytes that nothing of ours wrote, or that were damaged since.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBytes {
    /// It does not begin as it should.
    #[error("it does not begin like an object of repro")]
    Header,
    /// It says it is of another size than it has to be.
    #[error("it says it holds {said} bytes, where {limit}")]
    Size {
        /// In the header.
        said: u64,
        /// What was expected.
        limit: Limit,
    },
    /// A frame that cannot be.
    #[error("a compressed frame is damaged")]
    Frame,
    /// It ends too early.
    #[error("it is cut off")]
    Short,
    /// More follows.
    #[error("there is more after its end")]
    Long,
}

impl From<BadBytes> for io::Error {
    fn from(bad: BadBytes) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, bad)
    }
}

impl BadBytes {
    /// If an error of a [`Decoder`] says that the bytes are bad, and not that they could not be
    /// read.
    pub fn of(error: &io::Error) -> Option<&BadBytes> {
        error.get_ref()?.downcast_ref()
    }
}

/// How many plain bytes a reader is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many, since what names the object says so.
    Exactly(u64),
    /// Not more than this.
    AtMost(u64),
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::Exactly(n) => write!(f, "it has to be {n}"),
            Limit::AtMost(n) => write!(f, "at most {n} are taken"),
        }
    }
}

/// Reads the plain bytes of an encoded stream. Errors that [`BadBytes::of`] knows are of the bytes,
/// all others of the stream.
pub struct Decoder<R> {
    inner: R,
    encoding: Encoding,
    plain_bytes: u64,
    left: u64,
    pub(super) frame: Vec<u8>,
    frame_at: usize,
    pub(super) stored: Vec<u8>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    at_end: bool,
}

impl<R: Read> Decoder<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is none, or announces what `limit` does not allow.
    pub fn new(mut inner: R, limit: Limit) -> io::Result<Decoder<R>> {
        let mut bytes = [0; HEADER_BYTES];
        fill(&mut inner, &mut bytes)?;
        let header = Header::parse(&bytes).ok_or(BadBytes::Header)?;
        let said = header.plain_bytes;
        let fits = match limit {
            Limit::Exactly(n) => said == n,
            Limit::AtMost(n) => said <= n,
        };
        if !fits {
            return Err(BadBytes::Size { said, limit }.into());
        }
        Ok(Decoder {
            inner,
            encoding: header.encoding,
            plain_bytes: said,
            left: said,
            frame: Vec::new(),
            frame_at: 0,
            stored: Vec::new(),
            zstd: None,
            at_end: false,
        })
    }

    /// How many bytes it will give.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    fn next_frame(&mut self) -> io::Result<()> {
        let expected = self.left.min(FRAME as u64) as usize;
        let mut length = [0; 4];
        fill(&mut self.inner, &mut length)?;
        let length = u32::from_le_bytes(length);
        let stored = (length & !PLAIN) as usize;
        self.frame.resize(expected, 0);
        self.frame_at = 0;
        if length & PLAIN != 0 {
            if stored != expected {
                return Err(BadBytes::Frame.into());
            }
            fill(&mut self.inner, &mut self.frame)?;
        } else {
            if stored > zstd::zstd_safe::compress_bound(expected) {
                return Err(BadBytes::Frame.into());
            }
            self.stored.resize(stored, 0);
            fill(&mut self.inner, &mut self.stored)?;
            let zstd = match &mut self.zstd {
                Some(zstd) => zstd,
                none => none.insert(zstd::bulk::Decompressor::new()?),
            };
            // Never writes more than the frame takes, whatever the stored bytes ask for.
            match zstd.decompress_to_buffer(&self.stored, &mut self.frame[..]) {
                Ok(n) if n == expected => {}
                _ => return Err(BadBytes::Frame.into()),
            }
        }
        self.left -= expected as u64;
        Ok(())
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if self.frame_at < self.frame.len() {
                let n = out.len().min(self.frame.len() - self.frame_at);
                out[..n].copy_from_slice(&self.frame[self.frame_at..self.frame_at + n]);
                self.frame_at += n;
                return Ok(n);
            }
            if self.left == 0 {
                if !self.at_end {
                    if read_some(&mut self.inner, &mut [0])? > 0 {
                        return Err(BadBytes::Long.into());
                    }
                    self.at_end = true;
                }
                return Ok(0);
            }
            match self.encoding {
                Encoding::Plain => {
                    let want = self.left.min(out.len() as u64) as usize;
                    let n = read_some(&mut self.inner, &mut out[..want])?;
                    if n == 0 {
                        return Err(BadBytes::Short.into());
                    }
                    self.left -= n as u64;
                    return Ok(n);
                }
                Encoding::Zstd => self.next_frame()?,
            }
        }
    }
}

pub(super) fn read_some(inner: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match inner.read(out) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

pub(super) fn fill(inner: &mut impl Read, out: &mut [u8]) -> io::Result<()> {
    let mut at = 0;
    while at < out.len() {
        match read_some(inner, &mut out[at..])? {
            0 => return Err(BadBytes::Short.into()),
            n => at += n,
        }
    }
    Ok(())
}

/// All plain bytes at once.
///
/// # Errors
/// As of [`Decoder`].
pub fn decode_all(inner: impl Read, limit: Limit) -> io::Result<Vec<u8>> {
    let mut decoder = Decoder::new(inner, limit)?;
    // Not reserved by what the header says: an object may claim more than follows.
    let mut bytes = Vec::with_capacity(decoder.plain_bytes().min(FRAME as u64) as usize);
    decoder.read_to_end(&mut bytes)?;
    Ok(bytes)
}
