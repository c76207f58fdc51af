//! Names that survive a power cut: files linked and unlinked, and the directories on the way, synced.

use super::temporary::Temporary;
use crate::objects::ObjectKey;
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

/// How often a write meets somebody who removes its directory before it gives up.
const RACES: usize = 64;

/// Directories remembered; past it all are forgotten, which costs syncs and nothing else.
const REMEMBERED: usize = 65_536;

/// The places of objects below a root.
#[derive(Debug)]
pub(super) struct Places {
    root: PathBuf,
    /// Directories whose own names are known to be on the disk, so that a write into them need not sync their parents.
    durable: Mutex<HashSet<Identity>>,
}

/// One directory in its life: the number alone may be given to a later one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    born: SystemTime,
}

impl Places {
    /// Makes the root when it is not there.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        let missing: Vec<_> = root.ancestors().take_while(|path| !path.is_dir()).collect();
        fs::create_dir_all(&root)?;
        missing.into_iter().filter_map(Path::parent).try_for_each(sync)?;
        Ok(Self {
            root,
            durable: Mutex::default(),
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Moves a written file to the place of `key`. On return it is there after a power cut too.
    pub(super) fn link(&self, mut temporary: Temporary, key: &ObjectKey) -> io::Result<()> {
        let target = self.path(key);
        let directory = target.parent().unwrap_or(&self.root);
        for _ in 0..RACES {
            match fs::create_dir_all(directory).and_then(|()| temporary.rename(&target)) {
                Ok(()) => return self.sync_up(directory),
                // A delete of the last object in it took the directory away.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // It went between its being found and its being looked at; a file in its place stays.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && !directory.is_file() => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            ErrorKind::ResourceBusy,
            "its directory was removed again and again",
        ))
    }

    /// Syncs `directory`, and above it each directory that holds a name not known to be on the disk.
    fn sync_up(&self, directory: &Path) -> io::Result<()> {
        sync(directory)?;
        let below_root = directory.ancestors().take_while(|path| *path != self.root);
        for (child, parent) in below_root.filter_map(|child| Some((child, child.parent()?))) {
            let identity = match identity(child) {
                Ok(identity) => identity,
                // The object was deleted meanwhile, and its directory with it.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            if identity.as_ref().is_some_and(|identity| self.is_durable(identity)) {
                continue;
            }
            sync(parent)?;
            if let Some(identity) = identity {
                self.remember(identity);
            }
        }
        Ok(())
    }

    /// Removes the object of `key`, and directories that are empty without it. On return it is gone after a power cut too.
    pub(super) fn unlink(&self, key: &ObjectKey) -> io::Result<()> {
        let target = self.path(key);
        match fs::remove_file(&target) {
            Ok(()) => {}
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {}
                _ => return Err(error),
            },
        }
        let directory = target.parent().unwrap_or(&self.root);
        sync(directory)?;
        for emptied in directory.ancestors().take_while(|path| *path != self.root) {
            // Not empty, or gone: both are as it should be.
            if fs::remove_dir(emptied).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn is_durable(&self, identity: &Identity) -> bool {
        let durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        durable.contains(identity)
    }

    fn remember(&self, identity: Identity) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() >= REMEMBERED {
            durable.clear();
        }
        durable.insert(identity);
    }
}

/// Brings a directory's names to the disk. One that is gone has none.
fn sync(directory: &Path) -> io::Result<()> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Err(error),
        _ => Ok(()),
    }
}

/// `None` on file systems that do not know when a directory was made.
fn identity(directory: &Path) -> io::Result<Option<Identity>> {
    let metadata = fs::metadata(directory)?;
    Ok(metadata.created().ok().map(|born| Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        born,
    }))
}
