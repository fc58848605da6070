//! Async under a blocking seam: one runtime per backend, and a stream of bytes as a reader.

use std::future::Future;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::failure;
use crate::remote::BackendError;

/// Drives the futures of one backend. Callers wait on their own threads; sockets are served by two
/// more.
#[derive(Clone)]
pub(super) struct Runtime(Arc<Running>);

struct Running(Option<tokio::runtime::Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        // A look-up of a name that hangs must not hold up the end of the program.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Runtime {
    pub fn new() -> Result<Runtime, BackendError> {
        // TLS needs one provider for the whole process; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("repro-remote")
            .enable_all()
            .build()
            .map(|runtime| Runtime(Arc::new(Running(Some(runtime)))))
            .map_err(|e| failure::local("start", "the network threads", &e))
    }

    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        match &self.0.0 {
            Some(runtime) => runtime.block_on(future),
            None => unreachable!("the runtime goes with its last handle"),
        }
    }

    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        match &self.0.0 {
            Some(runtime) => runtime.spawn(future),
            None => unreachable!("the runtime goes with its last handle"),
        }
    }
}

/// Pieces that arrive, read in order. Ending too early, or not ending, is an error.
pub(super) struct StreamReader {
    runtime: Runtime,
    pieces: BoxStream<'static, object_store::Result<Bytes>>,
    piece: Bytes,
    bytes_left: u64,
}

impl StreamReader {
    pub fn new(
        runtime: Runtime,
        pieces: BoxStream<'static, object_store::Result<Bytes>>,
        bytes_left: u64,
    ) -> StreamReader {
        StreamReader {
            runtime,
            pieces,
            piece: Bytes::new(),
            bytes_left,
        }
    }
}

impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.wait(self.pieces.next()) {
                Some(Ok(piece)) if piece.len() as u64 > self.bytes_left => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "more bytes came than were announced",
                    ));
                }
                Some(Ok(piece)) => {
                    self.bytes_left -= piece.len() as u64;
                    self.piece = piece;
                }
                Some(Err(e)) => return Err(failure::of_reading(&e)),
                None if self.bytes_left > 0 => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("the body ended {} bytes too early", self.bytes_left),
                    ));
                }
                None => return Ok(0),
            }
        }
        let bytes = buffer.len().min(self.piece.len());
        buffer[..bytes].copy_from_slice(&self.piece.split_to(bytes));
        Ok(bytes)
    }
}
