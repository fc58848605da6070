//! Words on their way to a GPU: in memory of the host that the GPU reads by itself. So a caller's
//! words may change when the call returns, though the GPU is not there yet.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUevent_flags};

use super::{Failed, at};

/// Words of a piece.
const WORDS: usize = 1 << 18;
/// So many pieces may be on their way.
const PIECES: usize = 8;

/// Pieces that are used in turn, each made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Staging {
    pieces: Vec<Piece>,
    next: usize,
}

#[derive(Debug)]
struct Piece {
    words: *mut u32,
    /// The GPU has read it.
    sent: sys::CUevent,
}

impl Staging {
    /// Copies the words, and asks for them to be copied to `to`.
    ///
    /// # Safety
    /// The context of the stream is current, and `to` is memory of it of at least that length.
    pub(super) unsafe fn send(
        &mut self,
        words: &[u32],
        to: sys::CUdeviceptr,
        stream: sys::CUstream,
    ) -> Result<(), Failed> {
        for (number, words) in words.chunks(WORDS).enumerate() {
            let piece = self.piece()?;
            let to = to + (number * WORDS * size_of::<u32>()) as u64;
            // SAFETY: the event is the piece's. Once it has come, nobody reads the piece, which is
            // at least as long as a chunk. It lives until `free`, which waits for no copy: its
            // caller does.
            unsafe {
                result::event::synchronize(piece.sent).map_err(at("cuEventSynchronize"))?;
                ptr::copy_nonoverlapping(words.as_ptr(), piece.words, words.len());
                let staged = std::slice::from_raw_parts(piece.words, words.len());
                result::memcpy_htod_async(to, staged, stream).map_err(at("cuMemcpyHtoDAsync"))?;
                result::event::record(piece.sent, stream).map_err(at("cuEventRecord"))?;
            }
        }
        Ok(())
    }

    fn piece(&mut self) -> Result<&Piece, Failed> {
        let place = self.next;
        self.next = (place + 1) % PIECES;
        if place == self.pieces.len() {
            self.pieces.push(Piece::new()?);
        }
        Ok(&self.pieces[place])
    }

    /// # Safety
    /// The context is current, and nothing is under way.
    pub(super) unsafe fn free(&mut self) {
        for piece in self.pieces.drain(..) {
            // SAFETY: these are the piece's own, and this is its end. Errors cannot be helped here.
            unsafe {
                let _ = result::event::destroy(piece.sent);
                let _ = result::free_host(piece.words.cast::<c_void>());
            }
        }
    }
}

impl Piece {
    fn new() -> Result<Piece, Failed> {
        let sent = result::event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING)
            .map_err(at("cuEventCreate"))?;
        // SAFETY: a context is current.
        match unsafe { result::malloc_host(WORDS * size_of::<u32>(), 0) } {
            Ok(words) => Ok(Piece {
                words: words.cast(),
                sent,
            }),
            Err(error) => {
                // SAFETY: the event was made above, and nobody has it.
                let _ = unsafe { result::event::destroy(sent) };
                Err(("cuMemHostAlloc", error))
            }
        }
    }
}
