//! Writes an executable to a file and hashes it, on a blocking thread.

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

/// Bytes in one chunk for the blocking thread.
const CHUNK: usize = 512 * 1024;

/// Chunks in the queue. Enough that neither side waits for the other, at most a few megabytes.
const QUEUE: usize = 6;

/// A command for the blocking thread.
enum WriteCommand {
    /// Empty the file; an entry nearer to the root begins.
    Restart,
    /// Append these bytes to the file.
    Append(Vec<u8>),
}

/// A [`Sink`] that writes an executable to a file.
pub(super) struct ExecutableWriter {
    commands: Option<mpsc::Sender<WriteCommand>>,
    chunk: Vec<u8>,
    task: JoinHandle<io::Result<(Digest, u64)>>,
}

impl ExecutableWriter {
    /// Creates `path`, which must not exist, with mode 0755.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = disk::create_new(path, disk::EXECUTABLE)?;
        let (commands, queue) = mpsc::channel(QUEUE);
        let task = tokio::task::spawn_blocking(move || write(file, queue));
        Ok(Self { commands: Some(commands), chunk: Vec::with_capacity(CHUNK), task })
    }

    /// Closes the file. Returns its digest and size. The bytes are not synced yet.
    pub(super) async fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.send_chunk().await?;
        self.commands = None;
        (&mut self.task).await.map_err(io::Error::other)?
    }

    async fn send_chunk(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.send(WriteCommand::Append(chunk)).await
    }

    async fn send(&mut self, command: WriteCommand) -> io::Result<()> {
        if let Some(commands) = &self.commands
            && commands.send(command).await.is_ok()
        {
            return Ok(());
        }
        // The blocking thread ended early and returns the reason.
        self.commands = None;
        (&mut self.task).await.map_err(io::Error::other)?.and(Err(io::Error::other("the file was closed early")))
    }
}

impl Sink for ExecutableWriter {
    async fn restart(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.send(WriteCommand::Restart).await
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

/// Executes the commands until the queue is closed. Returns the digest and size of the file.
fn write(mut file: File, mut queue: mpsc::Receiver<WriteCommand>) -> io::Result<(Digest, u64)> {
    let mut hash = Sha256::new();
    let mut size = 0;
    while let Some(command) = queue.blocking_recv() {
        match command {
            WriteCommand::Restart => {
                file.rewind()?;
                file.set_len(0)?;
                hash = Sha256::new();
                size = 0;
            }
            WriteCommand::Append(bytes) => {
                file.write_all(&bytes)?;
                hash.update(&bytes);
                size += bytes.len() as u64;
            }
        }
    }
    Ok((Digest::from_sha256(hash.finalize().into()), size))
}
