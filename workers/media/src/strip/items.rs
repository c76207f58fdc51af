//! The items of an AVIF (ISO/IEC 23008-12, in a meta box of ISO/IEC 14496-12): which there are, which the picture needs,
//! and a meta box that has only those.

use super::boxes::{Found, Reader, boxed, boxes, put_id};
use crate::MediaError;
use std::ops::Range;

/// Items, extents and references at most; a grid of the largest picture has hundreds.
const MOST: usize = 1 << 12;
/// Kinds of items that are pictures, or made of pictures.
const PICTURES: [&[u8; 4]; 5] = [b"av01", b"grid", b"iovl", b"iden", b"tmap"];
/// Properties that the look depends on, or that say how to decode; ISO/IEC 23008-12, AV1-ISOBMFF, AVIF 1.1.
const PROPERTIES: [&[u8; 4]; 17] = [
    b"av1C", b"ispe", b"pixi", b"colr", b"pasp", b"clap", b"irot", b"imir", b"auxC", b"a1op", b"a1lx", b"lsel",
    b"clli", b"mdcv", b"cclv", b"amve", b"rloc",
];

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) id: u32,
    pub(super) kind: [u8; 4],
    flags: u32,
    /// Of a mime item.
    pub(super) media_type: Vec<u8>,
    /// Whether its data is in the meta box itself.
    pub(super) inside: bool,
    pub(super) extents: Vec<Range<usize>>,
}

#[derive(Debug, Clone)]
struct Reference {
    kind: [u8; 4],
    from: u32,
    to: Vec<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Items<'a> {
    pub(super) all: Vec<Item>,
    pub(super) primary: u32,
    references: Vec<Reference>,
    /// The data that is in the meta box, and where that is in the file.
    pub(super) data: Option<Found<'a>>,
    properties: Vec<Found<'a>>,
    associations: Vec<Found<'a>>,
    groups: Vec<Found<'a>>,
    handler: &'a [u8],
    /// Bytes of boxes that nobody needs.
    pub(super) unknown: usize,
}

/// Why a meta box cannot be rewritten.
pub(super) enum Trouble {
    /// The file is no picture.
    Broken(MediaError),
    /// It uses what is not understood here.
    Strange(&'static str),
}

impl From<MediaError> for Trouble {
    fn from(error: MediaError) -> Self {
        Self::Broken(error)
    }
}

impl<'a> Items<'a> {
    /// The items of a track's meta box: what they are and where they lie, and nothing more.
    pub(super) fn of_track(body: &'a [u8]) -> Result<Self, Trouble> {
        let mut reader = Reader(body);
        reader.full()?;
        let mut read = Self::default();
        let children = boxes(reader.0)?;
        let child = |kind: &[u8; 4]| children.iter().find(|child| child.kind == *kind);
        if let (Some(infos), Some(locations)) = (child(b"iinf"), child(b"iloc")) {
            read.infos(infos.body)?;
            read.locations(locations.body)?;
        }
        read.data = child(b"idat").cloned();
        Ok(read)
    }

    /// Reads the meta box with this body.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Trouble> {
        let mut reader = Reader(body);
        reader.full()?;
        let mut read = Self::default();
        let children = boxes(reader.0)?;
        let child = |kind: &[u8; 4]| children.iter().find(|child| child.kind == *kind);
        let needed = |kind| child(kind).ok_or_else(|| MediaError::corrupt("a box of its items is missing"));
        read.handler = needed(b"hdlr")?.body;
        read.infos(needed(b"iinf")?.body)?;
        read.locations(needed(b"iloc")?.body)?;
        let mut primary = Reader(needed(b"pitm")?.body);
        let (version, _) = primary.full()?;
        read.primary = primary.id(version > 0)?;
        if let Some(references) = child(b"iref") {
            read.references(references.body)?;
        }
        for part in boxes(needed(b"iprp")?.body)? {
            match &part.kind {
                b"ipco" => read.properties = boxes(part.body)?,
                b"ipma" => read.associations.push(part),
                _ => read.unknown += part.whole.len(),
            }
        }
        read.groups = child(b"grpl").map_or(Ok(Vec::new()), |groups| boxes(groups.body))?;
        for child in children {
            match &child.kind {
                b"idat" => read.data = Some(child),
                b"hdlr" | b"iinf" | b"iloc" | b"pitm" | b"iref" | b"iprp" | b"grpl" => {}
                // What fills a place that was cleaned here.
                b"free" if child.body.iter().all(|byte| *byte == 0) => {}
                _ => read.unknown += child.whole.len(),
            }
        }
        Ok(read)
    }

    fn infos(&mut self, body: &[u8]) -> Result<(), Trouble> {
        let mut reader = Reader(body);
        let (version, _) = reader.full()?;
        reader.id(version > 0)?;
        for info in boxes(reader.0)?.iter().filter(|info| &info.kind == b"infe") {
            let mut reader = Reader(info.body);
            let (version, flags) = reader.full()?;
            if version < 2 {
                return Err(Trouble::Strange("its items do not say what they are"));
            }
            let id = reader.id(version > 2)?;
            reader.short()?;
            let kind = reader.array()?;
            let media_type = match &kind {
                b"mime" => reader.0.split(|byte| *byte == 0).nth(1).unwrap_or_default(),
                _ => &[],
            };
            if self.all.iter().any(|item| item.id == id) {
                return Err(Trouble::Strange("two of its items have one number"));
            }
            if self.all.len() >= MOST {
                return Err(Trouble::Strange("it has too many items"));
            }
            self.all.push(Item {
                id,
                kind,
                flags,
                media_type: media_type.iter().copied().take(100).collect(),
                inside: false,
                extents: Vec::new(),
            });
        }
        Ok(())
    }

    fn locations(&mut self, body: &[u8]) -> Result<(), Trouble> {
        let mut reader = Reader(body);
        let (version, _) = reader.full()?;
        let [sizes, more] = reader.array()?;
        let (offset_size, length_size, base_size) = (sizes >> 4, sizes & 15, more >> 4);
        let index_size = if version > 0 { more & 15 } else { 0 };
        let mut extents = 0;
        for _ in 0..reader.id(version > 1)? {
            let id = reader.id(version > 1)?;
            let method = if version > 0 { reader.short()? & 15 } else { 0 };
            let elsewhere = reader.short()?;
            let base = reader.sized(base_size)?;
            let count = reader.short()?;
            let mut found = Vec::new();
            for _ in 0..count {
                reader.sized(index_size)?;
                let start = base
                    .checked_add(reader.sized(offset_size)?)
                    .ok_or(MediaError::Truncated)?;
                let length = reader.sized(length_size)?;
                if length == 0 {
                    return Err(Trouble::Strange("an item of it has no size"));
                }
                found.push(start..start.checked_add(length).ok_or(MediaError::Truncated)?);
            }
            extents += found.len();
            if method > 1 || elsewhere != 0 || extents > MOST {
                return Err(Trouble::Strange(
                    "an item of it lies in another item, or in another file",
                ));
            }
            if let Some(item) = self
                .all
                .iter_mut()
                .find(|item| item.id == id && item.extents.is_empty())
            {
                item.inside = method == 1;
                item.extents = found;
            }
        }
        Ok(())
    }

    fn references(&mut self, body: &[u8]) -> Result<(), Trouble> {
        let mut reader = Reader(body);
        let (version, _) = reader.full()?;
        let mut total = 0;
        for reference in boxes(reader.0)? {
            let mut reader = Reader(reference.body);
            let from = reader.id(version > 0)?;
            let count = reader.short()?;
            let to = (0..count)
                .map(|_| reader.id(version > 0))
                .collect::<Result<Vec<_>, _>>()?;
            total += to.len();
            if total > MOST {
                return Err(Trouble::Strange("it has too many references"));
            }
            self.references.push(Reference {
                kind: reference.kind,
                from,
                to,
            });
        }
        Ok(())
    }

    /// Whether an item is a picture, or made of pictures.
    pub(super) fn is_picture(&self, id: u32) -> bool {
        let found = self.all.iter().find(|item| item.id == id);
        found.is_some_and(|item| PICTURES.contains(&&item.kind))
    }

    /// Whether an item is a smaller picture of another.
    pub(super) fn is_thumbnail(&self, id: u32) -> bool {
        self.references
            .iter()
            .any(|reference| &reference.kind == b"thmb" && reference.from == id)
    }

    /// The items that the picture needs: itself, what it is made of, what belongs to those (alpha, gain map).
    pub(super) fn needed(&self) -> Vec<u32> {
        let mut needed = vec![self.primary];
        let mut next = 0;
        while let Some(id) = needed.get(next).copied() {
            next += 1;
            for reference in &self.references {
                let made_of = reference.from == id && matches!(&reference.kind, b"dimg" | b"prem");
                // A tone map is made of the primary picture, and read in its place.
                let belongs = reference.to.contains(&id)
                    && (&reference.kind == b"auxl" || (&reference.kind == b"dimg" && self.is_tone_map(reference.from)));
                let found: &[u32] = if made_of {
                    &reference.to
                } else if belongs {
                    std::slice::from_ref(&reference.from)
                } else {
                    &[]
                };
                for id in found {
                    if !needed.contains(id) && self.is_picture(*id) {
                        needed.push(*id);
                    }
                }
            }
        }
        needed
    }

    fn is_tone_map(&self, id: u32) -> bool {
        self.all.iter().any(|item| item.id == id && &item.kind == b"tmap")
    }

    /// The body of a meta box with the items `needed`, which lie where `located` says (id, in the box itself, extents),
    /// `pad` bytes longer than it has to be.
    pub(super) fn write(
        &self,
        needed: &[u32],
        located: &[(u32, bool, Vec<Range<usize>>)],
        data: Option<&[u8]>,
        pad: usize,
    ) -> Result<Vec<u8>, MediaError> {
        let wide = needed.iter().any(|id| *id > 0xffff);
        let full = |version: bool| [u8::from(version), 0, 0, 0];
        let mut handler = self.handler.get(..12).ok_or(MediaError::Truncated)?.to_vec();
        // Reserved, and a name of nothing.
        handler.resize(12 + 13 + pad, 0);
        let mut primary = full(wide).to_vec();
        put_id(&mut primary, self.primary, wide);
        let mut infos = full(false).to_vec();
        let kept = self.all.iter().filter(|item| needed.contains(&item.id));
        let count = u16::try_from(kept.clone().count()).map_err(|_| MediaError::corrupt("it has too many items"))?;
        infos.extend(count.to_be_bytes());
        for item in kept {
            let mut info = (item.flags | if wide { 3 << 24 } else { 2 << 24 })
                .to_be_bytes()
                .to_vec();
            put_id(&mut info, item.id, wide);
            info.extend([0, 0]);
            info.extend(item.kind);
            info.push(0);
            infos.extend(boxed(*b"infe", &info));
        }
        let mut references = full(wide).to_vec();
        for reference in &self.references {
            let to: Vec<u32> = reference.to.iter().copied().filter(|id| needed.contains(id)).collect();
            if to.is_empty() || !needed.contains(&reference.from) || &reference.kind == b"thmb" {
                continue;
            }
            let mut body = Vec::new();
            put_id(&mut body, reference.from, wide);
            body.extend(u16::try_from(to.len()).unwrap_or(u16::MAX).to_be_bytes());
            for id in to {
                put_id(&mut body, id, wide);
            }
            references.extend(boxed(reference.kind, &body));
        }
        let mut out = vec![0; 4];
        out.extend(boxed(*b"hdlr", &handler));
        out.extend(boxed(*b"pitm", &primary));
        out.extend(boxed(*b"iloc", &locations(located, wide)?));
        out.extend(boxed(*b"iinf", &infos));
        if references.len() > 4 {
            out.extend(boxed(*b"iref", &references));
        }
        out.extend(boxed(*b"iprp", &self.properties(needed)?));
        let groups = self.groups(needed)?;
        if !groups.is_empty() {
            out.extend(boxed(*b"grpl", &groups));
        }
        if let Some(data) = data {
            out.extend(boxed(*b"idat", data));
        }
        Ok(out)
    }

    /// Properties keep their numbers: one that goes leaves an empty box of its size.
    fn properties(&self, needed: &[u32]) -> Result<Vec<u8>, MediaError> {
        let mut container = Vec::new();
        for property in &self.properties {
            if PROPERTIES.contains(&&property.kind) {
                container.extend(boxed(property.kind, property.body));
            } else {
                container.extend(boxed(*b"free", &[]));
            }
        }
        let mut out = boxed(*b"ipco", &container);
        for association in &self.associations {
            let mut reader = Reader(association.body);
            let head = reader.take(4)?;
            let (version, flags) = Reader(head).full()?;
            let mut kept = Vec::new();
            let mut count: u32 = 0;
            for _ in 0..reader.long()? {
                let start = reader;
                let id = reader.id(version > 0)?;
                let number = usize::from(reader.byte()?);
                reader.take(if flags & 1 == 0 { number } else { 2 * number })?;
                if needed.contains(&id) {
                    count += 1;
                    kept.extend_from_slice(start.0.get(..start.0.len() - reader.0.len()).unwrap_or_default());
                }
            }
            out.extend(boxed(*b"ipma", &[head, &count.to_be_bytes(), &kept].concat()));
        }
        Ok(out)
    }

    /// Alternatives to one another, as far as they are left.
    fn groups(&self, needed: &[u32]) -> Result<Vec<u8>, MediaError> {
        let mut out = Vec::new();
        for group in self.groups.iter().filter(|group| &group.kind == b"altr") {
            let mut reader = Reader(group.body);
            let head = reader.take(8)?;
            let mut ids = Vec::new();
            for _ in 0..reader.long()? {
                let id = reader.long()?;
                if needed.contains(&id) {
                    ids.push(id);
                }
            }
            if !ids.is_empty() {
                let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
                out.extend(boxed(group.kind, &[head, &count.to_be_bytes(), &ids].concat()));
            }
        }
        Ok(out)
    }

    /// How many bytes of properties go.
    pub(super) fn unknown_properties(&self) -> usize {
        self.properties
            .iter()
            .filter(|property| {
                !(PROPERTIES.contains(&&property.kind) || &property.kind == b"free" && property.body.is_empty())
            })
            .map(|property| property.whole.len())
            .sum()
    }
}

/// The body of a box that says where items lie: offsets and sizes of 32 bits.
fn locations(located: &[(u32, bool, Vec<Range<usize>>)], wide: bool) -> Result<Vec<u8>, MediaError> {
    let inside = located.iter().any(|(_, inside, _)| *inside);
    let version = if wide { 2 } else { u8::from(inside) };
    let number = |number: usize| u32::try_from(number).map_err(|_| MediaError::corrupt("it is larger than 4 GiB"));
    let mut out = vec![version, 0, 0, 0, 0x44, 0];
    put_id(&mut out, number(located.len())?, wide);
    for (id, inside, extents) in located {
        put_id(&mut out, *id, wide);
        if version > 0 {
            out.extend([0, u8::from(*inside)]);
        }
        out.extend([0, 0]);
        out.extend(u16::try_from(extents.len()).unwrap_or(u16::MAX).to_be_bytes());
        for extent in extents {
            out.extend(number(extent.start)?.to_be_bytes());
            out.extend(number(extent.len())?.to_be_bytes());
        }
    }
    Ok(out)
}
