//! A file in memory that a decoder reads, and that ends when the work is to stop.

use std::io::{BufRead, Cursor, Error, ErrorKind, Read, Result, Seek, SeekFrom};

/// So many bytes are handed out at most between two questions whether to go on.
const WINDOW: usize = 64 * 1024;
/// What a call counts for beside its bytes, so that many small ones are noticed too.
const CALL: usize = 16;

/// For decoders of the crate `image`: reading fails once the work is to stop.
pub(super) struct Watched<'a> {
    bytes: Cursor<&'a [u8]>,
    cancel: &'a dyn Fn() -> bool,
    unasked: usize,
    stopped: bool,
}

impl<'a> Watched<'a> {
    pub(super) fn new(bytes: &'a [u8], cancel: &'a dyn Fn() -> bool) -> Self {
        Self {
            bytes: Cursor::new(bytes),
            cancel,
            unasked: WINDOW,
            stopped: false,
        }
    }

    /// Counts `bytes`, and asks when it is time to.
    fn go_on(&mut self, bytes: usize) -> Result<()> {
        self.unasked += bytes + CALL;
        if self.unasked >= WINDOW {
            self.unasked = 0;
            self.stopped = self.stopped || (self.cancel)();
        }
        if self.stopped {
            return Err(Error::new(ErrorKind::TimedOut, "the work was stopped"));
        }
        Ok(())
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let length = buffer.len().min(WINDOW);
        self.go_on(length)?;
        self.bytes.read(&mut buffer[..length])
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        self.go_on(0)?;
        let rest = self.bytes.fill_buf()?;
        Ok(rest.get(..WINDOW).unwrap_or(rest))
    }

    fn consume(&mut self, count: usize) {
        self.unasked += count;
        self.bytes.consume(count);
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, place: SeekFrom) -> Result<u64> {
        self.bytes.seek(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_reader_is_asked_now_and_then_and_ends_when_told() {
        let asked = Cell::new(0);
        let cancel = || {
            asked.set(asked.get() + 1);
            asked.get() > 3
        };
        let bytes = vec![7; 1_000_000];
        let mut watched = Watched::new(&bytes, &cancel);
        let mut read = Vec::new();
        let error = watched.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!((WINDOW..=4 * WINDOW).contains(&read.len()), "{}", read.len());
    }
}
