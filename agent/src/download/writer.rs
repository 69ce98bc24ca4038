//! Writes the executable to the staging directory, hashing it on the way, off the async threads.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    path::Path,
};

use d8_crds::values::digest::Digest;
use d8_rpp::layer::Sink;
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::disk;

/// Bytes handed over at a time.
const CHUNK: usize = 512 * 1024;

/// Chunks on their way: enough that neither side waits for the other, and few megabytes.
const QUEUE: usize = 6;

enum Piece {
    Restart,
    Bytes(Vec<u8>),
}

/// The executable on its way to the disk.
pub(super) struct Writer {
    pieces: Option<mpsc::Sender<Piece>>,
    chunk: Vec<u8>,
    task: JoinHandle<io::Result<(Digest, u64)>>,
}

impl Writer {
    /// Creates `path`, which must not exist, with mode 0755.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = disk::create_new(path, disk::EXECUTABLE)?;
        let (pieces, queue) = mpsc::channel(QUEUE);
        let task = tokio::task::spawn_blocking(move || write(file, queue));
        Ok(Self { pieces: Some(pieces), chunk: Vec::with_capacity(CHUNK), task })
    }

    /// Ends the file and closes it. Its bytes are not synced yet.
    pub(super) async fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.send_chunk().await?;
        self.pieces = None;
        (&mut self.task).await.map_err(io::Error::other)?
    }

    async fn send_chunk(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.send(Piece::Bytes(chunk)).await
    }

    async fn send(&mut self, piece: Piece) -> io::Result<()> {
        if let Some(pieces) = &self.pieces
            && pieces.send(piece).await.is_ok()
        {
            return Ok(());
        }
        // The other side ended before us: it has the reason.
        self.pieces = None;
        (&mut self.task).await.map_err(io::Error::other)?.and(Err(io::Error::other("the file was closed early")))
    }
}

impl Sink for Writer {
    async fn restart(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.send(Piece::Restart).await
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = (CHUNK - self.chunk.len()).min(bytes.len());
            self.chunk.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            if self.chunk.len() == CHUNK {
                self.send_chunk().await?;
            }
        }
        Ok(())
    }
}

fn write(mut file: File, mut queue: mpsc::Receiver<Piece>) -> io::Result<(Digest, u64)> {
    let mut hash = Sha256::new();
    let mut size = 0;
    while let Some(piece) = queue.blocking_recv() {
        match piece {
            Piece::Restart => {
                file.rewind()?;
                file.set_len(0)?;
                hash = Sha256::new();
                size = 0;
            }
            Piece::Bytes(bytes) => {
                file.write_all(&bytes)?;
                hash.update(&bytes);
                size += bytes.len() as u64;
            }
        }
    }
    Ok((Digest::from_sha256(hash.finalize().into()), size))
}
