//! Listings in byte order of keys, whatever order the file system keeps.
//!
//! Memory is bounded by the listing's limit, not by the size of a directory: each is read through, as often as needed,
//! and only its next few names are kept.

use crate::{
    objects::{Listed, ObjectKey},
    units::{ByteCount, Millis},
};
use std::{
    collections::BinaryHeap,
    fs,
    io::{self, ErrorKind},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Keys have no more segments.
const DEEPEST: usize = 8;

fn moment(time: SystemTime) -> Option<Millis> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Millis::new)
}

/// A name in a directory as it orders in keys: directories with the slash that follows them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

impl Name {
    fn is_directory(&self) -> bool {
        self.0.ends_with('/')
    }
}

/// Objects whose keys begin with `below` (empty, or ending in a slash), after `after`, at most `limit`.
pub(super) fn list(root: &Path, below: &str, after: Option<&ObjectKey>, limit: usize) -> io::Result<Vec<Listed>> {
    let mut listing = Listing {
        root,
        after: after.map_or("", ObjectKey::as_str),
        limit,
        found: Vec::new(),
    };
    // A prefix that is no key names nothing of ours, `..` least of all.
    if below.is_empty() || below.trim_end_matches('/').parse::<ObjectKey>().is_ok() {
        listing.walk(below)?;
    }
    Ok(listing.found)
}

struct Listing<'a> {
    root: &'a Path,
    after: &'a str,
    limit: usize,
    found: Vec<Listed>,
}

impl Listing<'_> {
    fn walk(&mut self, below: &str) -> io::Result<()> {
        if below.split('/').count() > DEEPEST {
            return Ok(());
        }
        let mut done: Option<Name> = None;
        loop {
            let wanted = self.limit - self.found.len();
            let names = self.next_names(below, done.as_ref(), wanted)?;
            let last = names.len() < wanted;
            for name in names {
                let path = format!("{below}{}", name.0);
                if name.is_directory() {
                    self.walk(&path)?;
                } else {
                    self.take(&path)?;
                }
                if self.found.len() >= self.limit {
                    return Ok(());
                }
                done = Some(name);
            }
            // Directories may have held nothing, so a full set of names is not a full set of objects.
            if last {
                return Ok(());
            }
        }
    }

    fn take(&mut self, path: &str) -> io::Result<()> {
        let Ok(key) = path.parse::<ObjectKey>() else {
            return Ok(());
        };
        match fs::symlink_metadata(self.root.join(path)) {
            Ok(metadata) => self.found.push(Listed {
                key,
                bytes: ByteCount::of_u64(metadata.len()),
                modified: metadata.modified().ok().and_then(moment),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The first `wanted` names in a directory after `done` that may hold what was asked for.
    fn next_names(&self, below: &str, done: Option<&Name>, wanted: usize) -> io::Result<Vec<Name>> {
        let entries = match fs::read_dir(self.root.join(below)) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let mut first = BinaryHeap::new();
        for entry in entries {
            let Some(name) = key_part(&entry?)? else { continue };
            if done.is_none_or(|done| name > *done) && self.may_follow(&format!("{below}{}", name.0)) {
                first.push(name);
                if first.len() > wanted {
                    first.pop();
                }
            }
        }
        Ok(first.into_sorted_vec())
    }

    /// Whether `path` is an object after `after`, or a directory that may hold some.
    fn may_follow(&self, path: &str) -> bool {
        path > self.after || (path.ends_with('/') && self.after.starts_with(path))
    }
}

/// `None` for what is no object of ours: hidden names, links, devices.
fn key_part(entry: &fs::DirEntry) -> io::Result<Option<Name>> {
    let Ok(name) = entry.file_name().into_string() else {
        return Ok(None);
    };
    if name.parse::<ObjectKey>().is_err() {
        return Ok(None);
    }
    let kind = entry.file_type()?;
    Ok(match (kind.is_dir(), kind.is_file()) {
        (true, _) => Some(Name(format!("{name}/"))),
        (_, true) => Some(Name(name)),
        _ => None,
    })
}
