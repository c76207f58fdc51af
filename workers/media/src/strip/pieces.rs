//! A file put together from parts of another and a few of our own: every kept byte is copied once, at the end.

use crate::MediaError;
use std::ops::Range;

/// A real file's pictures lie in few places; a file of crumbs would cost more memory than its size.
const MOST_PARTS: usize = 1 << 16;

#[derive(Debug)]
enum Part {
    Kept(Range<usize>),
    Own(Vec<u8>),
}

/// What a file is to consist of.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    source: &'a [u8],
    parts: Vec<Part>,
    length: usize,
}

/// A place between two parts, to insert at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(usize);

impl<'a> Pieces<'a> {
    pub(super) const fn of(source: &'a [u8]) -> Self {
        Self {
            source,
            parts: Vec::new(),
            length: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.length
    }

    /// Takes over bytes of the source.
    pub(super) fn keep(&mut self, range: Range<usize>) -> Result<(), MediaError> {
        let length = self.source.get(range.clone()).ok_or(MediaError::Truncated)?.len();
        if length == 0 {
            return Ok(());
        }
        self.length += length;
        if let Some(Part::Kept(last)) = self.parts.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
            return Ok(());
        }
        self.push(Part::Kept(range))
    }

    /// Writes bytes that the source does not have.
    pub(super) fn write(&mut self, bytes: Vec<u8>) -> Result<(), MediaError> {
        self.length += bytes.len();
        if let Some(Part::Own(last)) = self.parts.last_mut() {
            last.extend(bytes);
            return Ok(());
        }
        self.push(Part::Own(bytes))
    }

    fn push(&mut self, part: Part) -> Result<(), MediaError> {
        if self.parts.len() >= MOST_PARTS {
            return Err(MediaError::corrupt(format!(
                "its picture is scattered over more than {MOST_PARTS} places"
            )));
        }
        self.parts.push(part);
        Ok(())
    }

    /// Where the next part will begin.
    pub(super) fn mark(&mut self) -> Result<Mark, MediaError> {
        // An empty part of our own stands there: parts that follow do not grow together with those before.
        self.push(Part::Own(Vec::new()))?;
        Ok(Mark(self.parts.len() - 1))
    }

    /// Adds to what stands at `mark`.
    pub(super) fn write_at(&mut self, mark: Mark, bytes: &[u8]) {
        if let Some(Part::Own(own)) = self.parts.get_mut(mark.0) {
            own.extend_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    /// Writes over bytes of our own at `mark`, from `place` on.
    pub(super) fn overwrite(&mut self, mark: Mark, place: usize, bytes: &[u8]) {
        if let Some(Part::Own(own)) = self.parts.get_mut(mark.0)
            && let Some(target) = own.get_mut(place..place.saturating_add(bytes.len()))
        {
            target.copy_from_slice(bytes);
        }
    }

    /// The file.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.length);
        for part in &self.parts {
            match part {
                // Every range was looked at when it was kept.
                Part::Kept(range) => out.extend_from_slice(self.source.get(range.clone()).unwrap_or_default()),
                Part::Own(own) => out.extend_from_slice(own),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_in_their_order_and_marks_where_they_were_set() {
        let mut pieces = Pieces::of(b"abcdefgh");
        pieces.keep(0..2).unwrap();
        let mark = pieces.mark().unwrap();
        pieces.keep(2..4).unwrap();
        pieces.keep(4..5).unwrap();
        pieces.write(b"XY".to_vec()).unwrap();
        pieces.write_at(mark, b"--");
        pieces.overwrite(mark, 1, b"+");
        assert_eq!(pieces.len(), 9);
        assert_eq!(pieces.finish(), b"ab-+cdeXY");
    }

    #[test]
    fn what_is_not_there_is_cut_off_and_crumbs_are_refused() {
        assert_eq!(Pieces::of(b"abc").keep(2..4), Err(MediaError::Truncated));
        let source = vec![0; 4 * MOST_PARTS];
        let mut pieces = Pieces::of(&source);
        let error = (0..2 * MOST_PARTS).find_map(|n| pieces.keep(2 * n..2 * n + 1).err());
        assert_eq!(error.map(|error| error.code()), Some("corrupt"));
    }
}
