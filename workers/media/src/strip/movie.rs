//! The movie of an AVIF sequence (ISO/IEC 14496-12): what its boxes tell is overwritten in place, so that its tracks go on
//! pointing where they do.

use super::{
    finds::Finds,
    items::{Items, Trouble},
    removed::RemovedKind,
};
use crate::{
    MediaError,
    isobmff::{IsoBox, all, boxed},
};
use std::ops::Range;

/// What is written over which bytes of a file; as many as were there.
#[derive(Debug, Default)]
pub(super) struct Patches(Vec<(Range<usize>, Vec<u8>)>);

impl Patches {
    pub(super) fn put(&mut self, range: Range<usize>, bytes: Vec<u8>) {
        self.0.push((range, bytes));
    }

    /// Makes an empty box of the one at `range`.
    pub(super) fn blank(&mut self, range: Range<usize>) {
        let length = range.len();
        self.put(range, boxed(*b"free", &vec![0; length.saturating_sub(8)]));
    }

    /// Zeros over all of these, which may lie over one another.
    pub(super) fn zeros(&mut self, mut ranges: Vec<Range<usize>>) {
        ranges.sort_by_key(|range| range.start);
        let mut end = 0;
        for range in ranges {
            let start = range.start.max(end);
            end = end.max(range.end);
            if start < end {
                self.zero(start..end);
            }
        }
    }

    fn zero(&mut self, range: Range<usize>) {
        let length = range.len();
        self.put(range, vec![0; length]);
    }

    /// In the order of the file; none where two lie over one another.
    pub(super) fn sorted(mut self) -> Option<Vec<(Range<usize>, Vec<u8>)>> {
        self.0.sort_by_key(|(range, _)| range.start);
        let apart = self.0.windows(2).all(|pair| match pair {
            [(first, _), (second, _)] => first.end <= second.start,
            _ => true,
        });
        apart.then_some(self.0)
    }
}

/// Which boxes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Movie,
    Track,
    Media,
}

/// Cleans the movie box, and counts the frames of its tracks; returns the items that lie in the file's data.
pub(super) fn clean<'a>(
    movie: &IsoBox<'a>,
    patches: &mut Patches,
    finds: &mut Finds,
) -> Result<Vec<Items<'a>>, Trouble> {
    let mut items = Vec::new();
    container(Level::Movie, movie, &mut items, patches, finds)?;
    Ok(items)
}

fn container<'a>(
    level: Level,
    parent: &IsoBox<'a>,
    items: &mut Vec<Items<'a>>,
    patches: &mut Patches,
    finds: &mut Finds,
) -> Result<(), Trouble> {
    let children = all(parent.body, parent.body_start, "movie")?;
    for child in &children {
        match (level, &child.kind) {
            (Level::Movie, b"mvhd") | (Level::Track, b"tkhd") | (Level::Media, b"mdhd") => {
                times(child, patches, finds)?;
            }
            (Level::Movie, b"trak") => container(Level::Track, child, items, patches, finds)?,
            (Level::Track, b"mdia") => container(Level::Media, child, items, patches, finds)?,
            (Level::Media, b"hdlr") => handler(child, patches, finds)?,
            (Level::Movie, b"mvex" | b"iods") | (Level::Track, b"edts" | b"tref") | (Level::Media, b"minf") => {}
            (_, b"free" | b"skip") if child.body.iter().all(|byte| *byte == 0) => {}
            _ => {
                if &child.kind == b"meta" {
                    // One that cannot be read is not known to name anything outside itself.
                    items.extend(Items::of_track(child).ok());
                }
                finds.add(RemovedKind::Private, child.range().len());
                patches.blank(child.range());
            }
        }
    }
    if level == Level::Media {
        let find = |kind: &[u8; 4]| children.iter().find(|child| child.kind == *kind);
        if let (Some(header), Some(information)) = (find(b"mdhd"), find(b"minf")) {
            frames(header, information, finds)?;
        }
    }
    Ok(())
}

/// When it was made and changed.
fn times(header: &IsoBox<'_>, patches: &mut Patches, finds: &mut Finds) -> Result<(), MediaError> {
    let (version, _, mut fields) = header.full()?;
    let told = fields.take(if version == 1 { 16 } else { 8 })?;
    if told.iter().any(|byte| *byte != 0) {
        finds.add(RemovedKind::TakenAt, told.len());
        let start = header.body_start + 4;
        patches.zero(start..start + told.len());
    }
    Ok(())
}

/// What a track is, and which program's name it bears.
fn handler(handler: &IsoBox<'_>, patches: &mut Patches, finds: &mut Finds) -> Result<(), Trouble> {
    if !matches!(handler.body.get(8..12), Some(b"pict" | b"auxv")) {
        return Err(Trouble::Strange("its movie has tracks that are no pictures"));
    }
    let name = handler.body.get(24..).unwrap_or_default();
    if name.iter().any(|byte| *byte != 0) {
        finds.add(RemovedKind::Software, name.len());
        patches.zero(handler.body_start + 24..handler.end());
    }
    Ok(())
}

/// Frames and their time, from the table of the track's media.
fn frames(header: &IsoBox<'_>, information: &IsoBox<'_>, finds: &mut Finds) -> Result<(), MediaError> {
    let (version, _, mut fields) = header.full()?;
    fields.take(if version == 1 { 16 } else { 8 })?;
    let scale = u64::from(fields.u32()?.max(1));
    let information = all(information.body, information.body_start, "media information")?;
    let Some(table) = information.iter().find(|child| &child.kind == b"stbl") else {
        return Ok(());
    };
    let table = all(table.body, table.body_start, "sample table")?;
    let Some(times) = table.iter().find(|child| &child.kind == b"stts") else {
        return Ok(());
    };
    let (_, _, mut fields) = times.full()?;
    let (mut count, mut ticks) = (0_u32, 0_u64);
    for _ in 0..fields.u32()? {
        let (number, each) = (fields.u32()?, fields.u32()?);
        count = count.saturating_add(number);
        ticks = ticks.saturating_add(u64::from(number) * u64::from(each));
    }
    finds.frames(count, ticks.saturating_mul(1_000) / scale);
    Ok(())
}
