//! Images of bytes that lie on the device, and what a network sees of them.

use std::ops::Range;

use repro_numerics::shape::Image;

use super::Done;
use crate::device::Device;
use crate::fault::Fault;
use crate::memory::{Memory, Pool};

/// Images on the device.
#[derive(Debug)]
pub struct Pictures {
    bytes: Memory,
    /// What each byte stands for, by channel.
    meanings: Memory,
    image: Image,
    count: usize,
}

/// How an image is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its number.
    pub image: u32,
    /// Rows and columns that the frame lies below and right of the image: what is outside of it has
    /// byte 0.
    pub offset: (i32, i32),
    /// Left and right are exchanged, once that is done.
    pub is_mirrored: bool,
    /// Rows and columns that are 0 in the end.
    pub cut: (Range<u32>, Range<u32>),
}

impl Pictures {
    /// Values of an image.
    pub fn features(&self) -> usize {
        self.image.features()
    }
}

impl Frame {
    /// The image as it is.
    pub fn whole(image: u32) -> Frame {
        Frame {
            image,
            offset: (0, 0),
            is_mirrored: false,
            cut: (0..0, 0..0),
        }
    }

    /// As the kernel reads it.
    fn words(&self) -> [u32; 8] {
        let ((down, right), (rows, columns)) = (self.offset, &self.cut);
        [
            self.image,
            u32::from(self.is_mirrored),
            down.cast_unsigned(),
            right.cast_unsigned(),
            rows.start,
            rows.end,
            columns.start,
            columns.end,
        ]
    }
}

impl Device {
    /// Takes images to the device; none where they are too many for its kernels to count, or would
    /// fill more than a quarter of its memory.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Bytes that are no whole images; meanings for another number of channels.
    pub fn pictures(
        &self,
        pool: &Pool,
        bytes: &[u8],
        meanings: &[[f32; 256]],
        image: Image,
    ) -> Result<Option<Pictures>, Fault> {
        let count = bytes.len() / image.features();
        assert_eq!(bytes.len(), count * image.features(), "whole images");
        assert_eq!(meanings.len(), image.channels, "meanings of channels");
        if i32::try_from(bytes.len()).is_err() || bytes.len() as u64 > self.room() / 4 {
            return Ok(None);
        }
        let word = |four: &[u8]| {
            let byte = |i: usize| u32::from(four.get(i).copied().unwrap_or(0));
            byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
        };
        let words: Vec<u32> = bytes.chunks(4).map(word).collect();
        Ok(Some(Pictures {
            bytes: self.upload_words(pool, &words)?,
            meanings: self.upload(pool, meanings.as_flattened())?,
            image,
            count,
        }))
    }

    /// Writes what frames show, as inputs of a network: `[frames, features]`.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// An image that there is not; values of another number.
    pub fn show(
        &self,
        pool: &Pool,
        pictures: &Pictures,
        frames: &[Frame],
        to: &mut Memory,
    ) -> Done {
        let (image, n) = (pictures.image, to.len());
        assert!(
            frames.iter().all(|f| (f.image as usize) < pictures.count),
            "an image that there is not"
        );
        assert_eq!(n, frames.len() * image.features(), "inputs: length");
        let words: Vec<u32> = frames.iter().flat_map(Frame::words).collect();
        let frames = self.upload_words(pool, &words)?;
        let launch = self
            .kernel("show_images")
            .reads_all(&pictures.bytes)
            .reads_all(&pictures.meanings);
        let launch = launch.reads_all(&frames).writes(to, n).int(n);
        let launch = launch.int(image.height).int(image.width);
        launch.int(image.channels).for_each(n)
    }
}
