//! Where a process's master keys come from: its configuration, or on one machine a file that makes itself.

use super::{Keyring, KeyringError, SecretText};
use crate::{clock::Entropy, config::Config};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The file's name, in the data directory.
const NAME: &str = "master.key";

/// The key file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("master key file {} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be made.
    #[error("master key file {} cannot be made", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds no keys.
    #[error("master key file {} holds no master keys: put back the file that was there", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyringError,
    },
}

impl Keyring {
    /// The keys of `master_keys`. Without any, those of `{data_dir}/master.key` when the control database is SQLite: the
    /// file is made with one new key when it is not there, for its owner alone, and is on the disk before this returns;
    /// processes that race for it get the same key. More keys may be written into it. `None`: another database and no keys. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be read or made, or holds no keys.
    pub fn load(config: &Config, entropy: &Entropy) -> Result<Option<Self>, KeyFileError> {
        if let Some(keys) = &config.master_keys {
            return Ok(Some(keys.clone()));
        }
        if config.database_url.scheme() != "sqlite" {
            return Ok(None);
        }
        from_file(&config.data_dir.join(NAME), entropy).map(Some)
    }
}

fn from_file(path: &Path, entropy: &Entropy) -> Result<Keyring, KeyFileError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(path, entropy).map_err(|source| KeyFileError::Unwritable {
                path: path.to_owned(),
                source,
            })?;
            fs::read_to_string(path)
        }
        read => read,
    };
    let text = text.map(SecretText::new).map_err(|source| KeyFileError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    Keyring::parse(text.reveal()).map_err(|source| KeyFileError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Makes the file with one key, unless somebody was first.
fn make(path: &Path, entropy: &Entropy) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut chance = [0_u8; 8];
    entropy.fill(&mut chance);
    let whole = directory.join(format!(".{NAME}.{}", hex::encode(chance)));
    // Written whole under another name, then linked: a link is never made over a file that is there, and nobody reads
    // half a key.
    let linked = write(&whole, &Keyring::generate(entropy)).and_then(|()| match fs::hard_link(&whole, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&whole);
    linked.and(removed)?;
    File::open(directory)?.sync_all()
}

fn write(path: &Path, key: &SecretText) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn config(folder: &Path, more: &[(&'static str, &str)]) -> Config {
        let folder = ("data_dir", folder.display().to_string());
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Config::from_pairs(std::iter::once(folder).chain(more)).unwrap()
    }

    fn load(config: &Config) -> Result<Option<Keyring>, KeyFileError> {
        Keyring::load(config, &Entropy::system())
    }

    #[test]
    fn on_one_machine_a_key_makes_itself_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder.path().join("data"), &[]);
        let first = load(&config).unwrap().unwrap();
        let again = load(&config).unwrap().unwrap();
        assert_eq!(first.primary(), again.primary());
        let file = folder.path().join("data/master.key");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(file.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left over"
        );
    }

    #[test]
    fn processes_that_race_get_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &[]);
        let ids: std::collections::BTreeSet<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| load(&config).unwrap().unwrap()))
                .collect();
            let keys = racers.into_iter().map(|racer| racer.join().unwrap());
            keys.map(|keys| keys.primary().clone()).collect()
        });
        assert_eq!(ids.len(), 1);
    }

    #[test]
    fn configured_keys_need_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let key = Keyring::generate(&Entropy::system());
        let keys = load(&config(folder.path(), &[("master_keys", key.reveal())]))
            .unwrap()
            .unwrap();
        assert!(key.reveal().starts_with(keys.primary().as_str()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn other_databases_make_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &[("database_url", "postgres://db/x")]);
        assert!(load(&config).unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_file_is_told_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("master.key"), "a:hush").unwrap();
        let error = load(&config(folder.path(), &[])).unwrap_err();
        let told = crate::chain(&error);
        assert!(
            told.contains("holds no master keys") && !told.contains("hush"),
            "{told}"
        );
        assert_eq!(fs::read_to_string(folder.path().join("master.key")).unwrap(), "a:hush");
    }
}
