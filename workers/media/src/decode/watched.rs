//! A file in memory that a decoder reads, and that ends when the work is to stop.

use std::io::{BufRead, Cursor, Error, ErrorKind, Read, Result, Seek, SeekFrom};
use zune_core::bytestream::{ZByteIoError, ZByteReaderTrait, ZCursor, ZSeekFrom};

/// So many bytes are handed out at most between two questions whether to go on.
const WINDOW: usize = 64 * 1024;
/// What a call counts for beside its bytes, so that many small ones are noticed too.
const CALL: usize = 16;

/// When it is time to ask again.
struct Watch<'a> {
    cancel: &'a dyn Fn() -> bool,
    unasked: usize,
    stopped: bool,
}

impl<'a> Watch<'a> {
    fn new(cancel: &'a dyn Fn() -> bool) -> Self {
        Self {
            cancel,
            unasked: WINDOW,
            stopped: false,
        }
    }

    /// Counts `bytes`, and says whether the work is to stop.
    #[inline]
    fn stopped(&mut self, bytes: usize) -> bool {
        self.unasked += bytes + CALL;
        if self.unasked >= WINDOW {
            self.unasked = 0;
            self.stopped = self.stopped || (self.cancel)();
        }
        self.stopped
    }
}

/// For decoders of the crate `image`: reading fails once the work is to stop.
pub(super) struct Watched<'a> {
    bytes: Cursor<&'a [u8]>,
    watch: Watch<'a>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(bytes: &'a [u8], cancel: &'a dyn Fn() -> bool) -> Self {
        Self {
            bytes: Cursor::new(bytes),
            watch: Watch::new(cancel),
        }
    }

    fn go_on(&mut self, bytes: usize) -> Result<()> {
        if self.watch.stopped(bytes) {
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
        self.watch.unasked += count;
        self.bytes.consume(count);
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, place: SeekFrom) -> Result<u64> {
        self.go_on(0)?;
        self.bytes.seek(place)
    }
}

/// For zune-jpeg, which takes the end of a file well: the file ends once the work is to stop.
pub(super) struct Ending<'a> {
    bytes: ZCursor<&'a [u8]>,
    watch: Watch<'a>,
}

impl<'a> Ending<'a> {
    pub(super) fn new(bytes: &'a [u8], cancel: &'a dyn Fn() -> bool) -> Self {
        Self {
            bytes: ZCursor::new(bytes),
            watch: Watch::new(cancel),
        }
    }

    #[inline]
    fn ends(&mut self, bytes: usize) -> bool {
        self.watch.stopped(bytes)
    }
}

impl ZByteReaderTrait for Ending<'_> {
    #[inline]
    fn read_byte_no_error(&mut self) -> u8 {
        if self.ends(1) {
            0
        } else {
            self.bytes.read_byte_no_error()
        }
    }

    #[inline]
    fn read_exact_bytes(&mut self, buffer: &mut [u8]) -> std::result::Result<(), ZByteIoError> {
        if self.ends(buffer.len()) {
            return Err(ZByteIoError::NotEnoughBytes(0, buffer.len()));
        }
        self.bytes.read_exact_bytes(buffer)
    }

    fn read_bytes(&mut self, buffer: &mut [u8]) -> std::result::Result<usize, ZByteIoError> {
        if self.ends(buffer.len()) {
            Ok(0)
        } else {
            self.bytes.read_bytes(buffer)
        }
    }

    fn peek_bytes(&mut self, buffer: &mut [u8]) -> std::result::Result<usize, ZByteIoError> {
        self.bytes.peek_bytes(buffer)
    }

    fn peek_exact_bytes(&mut self, buffer: &mut [u8]) -> std::result::Result<(), ZByteIoError> {
        self.bytes.peek_exact_bytes(buffer)
    }

    #[inline]
    fn z_seek(&mut self, from: ZSeekFrom) -> std::result::Result<u64, ZByteIoError> {
        self.bytes.z_seek(from)
    }

    #[inline]
    fn is_eof(&mut self) -> std::result::Result<bool, ZByteIoError> {
        if self.watch.stopped {
            Ok(true)
        } else {
            self.bytes.is_eof()
        }
    }

    fn z_position(&mut self) -> std::result::Result<u64, ZByteIoError> {
        self.bytes.z_position()
    }

    fn read_remaining(&mut self, sink: &mut Vec<u8>) -> std::result::Result<usize, ZByteIoError> {
        self.bytes.read_remaining(sink)
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
        // Byte by byte as well.
        asked.set(0);
        let mut ending = Ending::new(&bytes, &cancel);
        let read = (0..bytes.len())
            .take_while(|_| ending.read_byte_no_error() == 7)
            .count();
        assert!(read < 4 * WINDOW, "{read}");
        assert!(ending.is_eof().unwrap());
    }
}
