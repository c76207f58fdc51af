//! The demo's data directory: fresh each time, never somebody else's.
//!
//! A directory is only ever emptied when it holds the marker that an earlier demo wrote, and nobody uses it.

use anyhow::{Context, bail};
use mediamill_shared::config::Config;
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

const MARKER: &str = ".mediamill-demo";
const DEFAULT: &str = "mediamill-demo";

/// The demo's directory, held until this is dropped: a second demo finds it taken.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

/// Points the embedded back ends of `config` at the demo's directory and makes it. `None`: no back end is embedded.
pub(crate) fn prepare(config: &mut Config, asked: Option<PathBuf>) -> anyhow::Result<Option<Held>> {
    let usual = Config::from_pairs([])?;
    let data = match asked {
        Some(directory) => directory,
        None if config.data_dir == usual.data_dir => PathBuf::from(DEFAULT),
        None => config.data_dir.clone(),
    };
    let derived = |directory: &Path| Config::from_pairs([("data_dir", directory.display().to_string())]);
    let (old, new) = (derived(&config.data_dir)?, derived(&data)?);
    let own_database = config.database_url == old.database_url;
    let own_objects = config.objects_url == old.objects_url;
    if own_database {
        config.database_url = new.database_url;
    }
    if own_objects {
        config.objects_url = new.objects_url;
    }
    config.data_dir = new.data_dir;
    if own_database || own_objects {
        // Objects may only go together with the rows that name them.
        return take(&config.data_dir, own_database).map(Some);
    }
    Ok(None)
}

fn take(directory: &Path, anew: bool) -> anyhow::Result<Held> {
    let shown = directory.display();
    std::fs::create_dir_all(directory).with_context(|| format!("{shown} cannot be made"))?;
    let entries = || std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = entries().with_context(|| format!("{shown} cannot be read"))?;
    let ours = found.iter().any(|entry| entry.file_name() == MARKER);
    if !ours && !found.is_empty() {
        bail!("{shown} is not empty and no demo's directory: name another with --data DIR");
    }
    let marker = directory.join(MARKER);
    let lock = File::options().create(true).append(true).open(&marker);
    let lock = lock.with_context(|| format!("{} cannot be written", marker.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("another demo uses {shown}: stop it, or name another with --data DIR"),
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("{shown} cannot be locked")),
    }
    if anew {
        for entry in found.iter().filter(|entry| entry.file_name() != MARKER) {
            let path = entry.path();
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(&path),
                Ok(_) => std::fs::remove_file(&path),
                Err(error) => Err(error),
            };
            removed.with_context(|| format!("{}, an earlier demo's, cannot be removed", path.display()))?;
        }
    }
    Ok(Held { _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&'static str, &str)]) -> Config {
        Config::from_pairs(pairs.iter().map(|(name, value)| (*name, (*value).to_owned()))).unwrap()
    }

    #[test]
    fn an_earlier_demo_makes_room_and_other_files_never_do() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("demo");
        drop(take(&data, true).unwrap());
        std::fs::write(data.join("mediamill.db"), "old").unwrap();
        let held = take(&data, true).unwrap();
        assert!(!data.join("mediamill.db").try_exists().unwrap());
        let error = take(&data, true).unwrap_err().to_string();
        assert!(error.contains("another demo"), "{error}");
        drop(held);

        std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
        let error = take(folder.path(), true).unwrap_err().to_string();
        assert!(error.contains("not empty"), "{error}");
        assert!(folder.path().join("thesis.txt").try_exists().unwrap());
    }

    #[test]
    fn only_what_was_not_chosen_moves_into_the_demos_directory() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("demo");
        let mut all = config(&[]);
        assert!(prepare(&mut all, Some(data.clone())).unwrap().is_some());
        assert_eq!(all.database_url.path(), data.join("mediamill.db").display().to_string());
        assert_eq!(all.objects_url.path(), data.join("objects").display().to_string());

        let chosen = [("database_url", "postgres://db/x"), ("objects_url", "s3://bucket")];
        let mut none = config(&chosen);
        assert!(prepare(&mut none, Some(folder.path().join("other"))).unwrap().is_none());
        assert_eq!(none.database_url.as_str(), "postgres://db/x");
        assert!(!folder.path().join("other").try_exists().unwrap());
    }

    #[test]
    fn objects_stay_when_their_rows_lie_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        drop(take(folder.path(), false).unwrap());
        std::fs::create_dir(folder.path().join("objects")).unwrap();
        drop(take(folder.path(), false).unwrap());
        assert!(folder.path().join("objects").try_exists().unwrap());
    }
}
