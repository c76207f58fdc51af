//! A file system that is soon full.

use std::{path::Path, process::Command};
use tempfile::TempDir;

/// Some megabytes. Dropping it unmounts it. To mount one needs root.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

#[expect(clippy::expect_used, reason = "a test's fixture")]
impl SmallDisk {
    /// Mounts one of a megabyte.
    ///
    /// # Panics
    /// When it may not.
    #[must_use]
    pub fn mounted() -> Self {
        Self::of_mebibytes(1)
    }

    /// Mounts one.
    ///
    /// # Panics
    /// When it may not.
    #[must_use]
    pub fn of_mebibytes(size: u32) -> Self {
        let at = TempDir::new().expect("a temporary folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}m"), "tmpfs"])
            .arg(at.path())
            .status()
            .expect("mount can be started");
        assert!(mounted.success(), "mount failed: this test needs root");
        Self(at)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file that leaves `room` bytes free.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn fill(&self, room: usize) {
        let listed = Command::new("df")
            .args(["--output=avail", "--block-size=1"])
            .arg(self.path())
            .output()
            .expect("df can be started");
        let listed = String::from_utf8_lossy(&listed.stdout);
        let free: usize = listed
            .lines()
            .nth(1)
            .and_then(|line| line.trim().parse().ok())
            .expect("a number");
        std::fs::write(self.path().join("filler"), vec![0; free.saturating_sub(room)]).expect("a file that fits");
    }

    /// Removes what [`SmallDisk::fill`] wrote.
    ///
    /// # Panics
    /// When it is not there.
    pub fn empty(&self) {
        std::fs::remove_file(self.path().join("filler")).expect("a file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what still has a file open there may finish.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
