//! Which pictures: files as they are named, folders with everything beneath, or the samples.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// Something to upload.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// Its name in the report: the path beneath what was named.
    pub(crate) name: String,
    /// Size in bytes when it was found.
    pub(crate) bytes: u64,
    /// Where its bytes are.
    pub(crate) source: Source,
}

/// Where bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// In a file, which is read while it is sent.
    File(PathBuf),
    /// In memory.
    Memory(Vec<u8>),
}

/// Every regular file at or beneath `paths`, hidden ones beneath a folder left out, in order. Names decide nothing:
/// what is no picture is told apart by its content, by the api. Links to folders are not followed.
pub(crate) fn find(paths: &[PathBuf]) -> anyhow::Result<Vec<Picture>> {
    let mut found = Vec::new();
    for path in paths {
        let kind = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
        if kind.is_dir() {
            walk(path, path, &mut found)?;
        } else {
            found.push(picture(path.parent().unwrap_or(path), path)?);
        }
    }
    if found.is_empty() {
        bail!(
            "there is no file at {}",
            paths
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    Ok(found)
}

/// A few photographs that carry what cameras leave in them.
pub(crate) fn samples() -> Vec<Picture> {
    let samples = mediamill_media::sample::photographs().into_iter();
    samples
        .map(|sample| Picture {
            name: sample.name.to_string(),
            bytes: u64::try_from(sample.bytes.len()).unwrap_or(u64::MAX),
            source: Source::Memory(sample.bytes),
        })
        .collect()
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Picture>) -> anyhow::Result<()> {
    let read = || format!("{} cannot be read", folder.display());
    let mut entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(read)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if entry.file_type().with_context(read)?.is_dir() {
            walk(root, &path, found)?;
        } else if std::fs::metadata(&path).is_ok_and(|kind| kind.is_file()) {
            found.push(picture(root, &path)?);
        }
    }
    Ok(())
}

fn picture(root: &Path, path: &Path) -> anyhow::Result<Picture> {
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("{} cannot be read", path.display()))?
        .len();
    Ok(Picture {
        name: path.strip_prefix(root).unwrap_or(path).display().to_string(),
        bytes,
        source: Source::File(path.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_walked_in_order_and_hidden_files_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("b/c")).unwrap();
        std::fs::create_dir_all(at(".git")).unwrap();
        for name in ["z.jpg", "b/c/no-extension", "b/1.png", ".hidden", ".git/config"] {
            std::fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), at("b/loop")).unwrap();
        let names =
            |paths: &[PathBuf]| -> Vec<String> { find(paths).unwrap().into_iter().map(|found| found.name).collect() };
        assert_eq!(
            names(&[folder.path().to_owned()]),
            ["b/1.png", "b/c/no-extension", "z.jpg"]
        );
        assert_eq!(names(&[at("z.jpg"), at(".hidden")]), ["z.jpg", ".hidden"]);
        assert_eq!(find(&[at("z.jpg")]).unwrap().first().unwrap().bytes, 5);
    }

    #[test]
    fn nothing_to_upload_is_an_error_that_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        assert!(find(&[folder.path().join("missing")]).is_err());
    }
}
