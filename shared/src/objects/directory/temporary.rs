//! Files that are being written: in `.tmp`, hashed on the way, gone when dropped.

use crate::{
    clock::Entropy,
    objects::Stored,
    units::{ByteCount, Millis},
};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// Name of the directory, no key can name it.
pub(super) const NAME: &str = ".tmp";

/// A temporary file that was not touched for so long has no writer any more, in this process or another.
const ABANDONED: Duration = Duration::from_hours(6);

/// The directory of files that are being written.
#[derive(Debug)]
pub(super) struct Temporaries {
    directory: PathBuf,
    entropy: Entropy,
}

impl Temporaries {
    pub(super) fn open(root: &Path, entropy: Entropy) -> io::Result<Self> {
        let directory = root.join(NAME);
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, entropy })
    }

    /// A new, empty file.
    pub(super) fn create(&self) -> io::Result<Writing> {
        loop {
            let mut name = [0_u8; 16];
            self.entropy.fill(&mut name);
            let path = self.directory.join(format!("{:032x}", u128::from_le_bytes(name)));
            match File::create_new(&path) {
                Ok(file) => {
                    return Ok(Writing {
                        file,
                        hash: Sha256::new(),
                        bytes: ByteCount::ZERO,
                        temporary: Temporary { path, placed: false },
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes what writers that died left. One that cannot be removed is logged: it is no reason not to start.
    pub(super) fn sweep(&self, now: Millis) {
        if let Err(error) = self.try_sweep(now) {
            tracing::warn!(directory = %self.directory.display(), error = %error, "could not sweep abandoned writes");
        }
    }

    fn try_sweep(&self, now: Millis) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let touched = entry.metadata()?.modified()?;
            let touched = touched.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let touched = Millis::new(i64::try_from(touched).unwrap_or(i64::MAX));
            if now.since(touched) >= ABANDONED {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// A file that is being written. Dropping it removes it.
pub(super) struct Writing {
    file: File,
    hash: Sha256,
    bytes: ByteCount,
    temporary: Temporary,
}

impl Writing {
    pub(super) fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.hash.update(piece);
        self.bytes = self.bytes.plus(ByteCount::of(piece.len()));
        Ok(())
    }

    /// Brings the bytes to the disk.
    pub(super) fn finish(self) -> io::Result<(Temporary, Stored)> {
        self.file.sync_all()?;
        let stored = Stored {
            bytes: self.bytes,
            sha256: hex::encode(self.hash.finalize()),
        };
        Ok((self.temporary, stored))
    }
}

/// A name in `.tmp`. Dropping it removes the file, unless it was placed.
pub(super) struct Temporary {
    path: PathBuf,
    placed: bool,
}

impl Temporary {
    /// Moves the file to `target`, in one step.
    pub(super) fn rename(&mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(file = %self.path.display(), error = %error, "could not remove an abandoned write");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
