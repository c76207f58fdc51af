//! The items of an AVIF (ISO/IEC 23008-12): which the picture needs, where they lie, and a meta box that has only those.

use crate::{
    MediaError,
    isobmff::{self, IsoBox, Meta, boxed},
};
use std::{collections::BTreeSet, ops::Range};

/// Kinds of items that are pictures, or made of pictures.
const PICTURES: [&[u8; 4]; 5] = [b"av01", b"grid", b"iovl", b"iden", b"tmap"];
/// Properties that the look depends on, or that say how to decode; ISO/IEC 23008-12, AV1-ISOBMFF, AVIF 1.1.
const PROPERTIES: [&[u8; 4]; 17] = [
    b"av1C", b"ispe", b"pixi", b"colr", b"pasp", b"clap", b"irot", b"imir", b"auxC", b"a1op", b"a1lx", b"lsel",
    b"clli", b"mdcv", b"cclv", b"amve", b"rloc",
];

/// An item, and where its bytes lie.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) entry: isobmff::Item<'a>,
    /// Whether its data is in the meta box itself.
    pub(super) inside: bool,
    pub(super) extents: Vec<Range<usize>>,
}

#[derive(Debug)]
pub(super) struct Items<'a> {
    pub(super) meta: Meta<'a>,
    pub(super) all: Vec<Item<'a>>,
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
    /// The items of a picture's meta box.
    pub(super) fn read(meta: &IsoBox<'a>) -> Result<Self, Trouble> {
        let read = Self::of_track(meta)?;
        let meta = &read.meta;
        if meta.item(meta.primary).is_none() || read.other(*b"hdlr").is_none() {
            return Err(MediaError::corrupt("its primary item is missing, or what handles its items").into());
        }
        let numbers: BTreeSet<u32> = meta.items.iter().map(|item| item.id).collect();
        if numbers.len() < meta.items.len() {
            return Err(Trouble::Strange("two of its items have one number"));
        }
        if meta.items.iter().any(|item| item.kind == [0; 4]) {
            return Err(Trouble::Strange("its items do not say what they are"));
        }
        if meta
            .locations
            .iter()
            .any(|place| place.elsewhere || place.construction > 1)
        {
            return Err(Trouble::Strange(
                "an item of it lies in another item, or in another file",
            ));
        }
        let mut extents = meta.locations.iter().flat_map(|place| &place.extents);
        if extents.any(|extent| extent.length == 0) {
            return Err(Trouble::Strange("an item of it has no size"));
        }
        Ok(read)
    }

    /// The items of a track's meta box, whatever they are.
    pub(super) fn of_track(meta: &IsoBox<'a>) -> Result<Self, MediaError> {
        let meta = Meta::parse(meta)?;
        let locate = |entry: &isobmff::Item<'a>| {
            let place = meta.locations.iter().find(|place| place.item == entry.id);
            let extents = place.map_or(&[][..], |place| &place.extents);
            Ok(Item {
                entry: *entry,
                inside: place.is_some_and(|place| place.construction == 1),
                extents: extents
                    .iter()
                    .map(range)
                    .collect::<Option<_>>()
                    .ok_or(MediaError::Truncated)?,
            })
        };
        let all = meta.items.iter().map(locate).collect::<Result<_, MediaError>>()?;
        Ok(Self { meta, all })
    }

    fn other(&self, kind: [u8; 4]) -> Option<&IsoBox<'a>> {
        self.meta.others.iter().find(|other| other.kind == kind)
    }

    /// Whether an item is a picture, or made of pictures.
    pub(super) fn is_picture(&self, id: u32) -> bool {
        self.meta.item(id).is_some_and(|item| PICTURES.contains(&&item.kind))
    }

    /// Whether an item is a smaller picture of another.
    pub(super) fn is_thumbnail(&self, id: u32) -> bool {
        let mut references = self.meta.references.iter();
        references.any(|reference| &reference.kind == b"thmb" && reference.from == id)
    }

    fn is_tone_map(&self, id: u32) -> bool {
        self.meta.item(id).is_some_and(|item| &item.kind == b"tmap")
    }

    /// The items that the picture needs: itself, what it is made of, what belongs to those (alpha, gain map).
    pub(super) fn needed(&self) -> Vec<u32> {
        let mut needed = vec![self.meta.primary];
        let mut next = 0;
        while let Some(id) = needed.get(next).copied() {
            next += 1;
            for reference in &self.meta.references {
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
        let handler = self.other(*b"hdlr").and_then(|handler| handler.body.get(..12));
        let mut handler = handler.ok_or(MediaError::Truncated)?.to_vec();
        // Reserved, and a name of nothing.
        handler.resize(12 + 13 + pad, 0);
        let mut primary = full(wide).to_vec();
        put_id(&mut primary, self.meta.primary, wide);
        let mut infos = full(false).to_vec();
        let kept = self.all.iter().filter(|item| needed.contains(&item.entry.id));
        let count = u16::try_from(kept.clone().count()).map_err(|_| MediaError::corrupt("it has too many items"))?;
        infos.extend(count.to_be_bytes());
        for Item { entry, .. } in kept {
            let version = if wide { 3 << 24 } else { 2 << 24 };
            let mut info = (entry.flags | version).to_be_bytes().to_vec();
            put_id(&mut info, entry.id, wide);
            info.extend([0, 0]);
            info.extend(entry.kind);
            info.push(0);
            infos.extend(boxed(*b"infe", &info));
        }
        let mut references = full(wide).to_vec();
        for reference in &self.meta.references {
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
        out.extend(boxed(*b"iprp", &self.properties(needed, wide)?));
        let groups = self.groups(needed)?;
        if !groups.is_empty() {
            out.extend(boxed(*b"grpl", &groups));
        }
        if let Some(data) = data {
            out.extend(boxed(*b"idat", data));
        }
        Ok(out)
    }

    /// Properties keep their numbers: one that goes leaves an empty box.
    fn properties(&self, needed: &[u32], wide: bool) -> Result<Vec<u8>, MediaError> {
        let mut container = Vec::new();
        for property in &self.meta.properties {
            if PROPERTIES.contains(&&property.kind) {
                container.extend(boxed(property.kind, property.body));
            } else {
                container.extend(boxed(*b"free", &[]));
            }
        }
        let associations = &self.meta.associations;
        let long = associations.iter().any(|association| association.property > 0x7f);
        let mut links = vec![u8::from(wide), 0, 0, u8::from(long)];
        let items: BTreeSet<u32> = needed.iter().copied().collect();
        links.extend(u32::try_from(items.len()).unwrap_or(u32::MAX).to_be_bytes());
        for item in items {
            let of_item = associations.iter().filter(|association| association.item == item);
            put_id(&mut links, item, wide);
            let count = u8::try_from(of_item.clone().count());
            links.push(count.map_err(|_| MediaError::corrupt("an item of it has too many properties"))?);
            for association in of_item {
                let [high, low] = association.property.to_be_bytes();
                let essential = u8::from(association.essential) << 7;
                if long {
                    links.extend([high | essential, low]);
                } else {
                    links.push(low | essential);
                }
            }
        }
        Ok([boxed(*b"ipco", &container), boxed(*b"ipma", &links)].concat())
    }

    /// Alternatives to one another, as far as they are left.
    fn groups(&self, needed: &[u32]) -> Result<Vec<u8>, MediaError> {
        let mut out = Vec::new();
        let Some(groups) = self.other(*b"grpl") else {
            return Ok(out);
        };
        for group in isobmff::boxes(groups.body, groups.body_start) {
            let group = group.map_err(|error| error.within("groups"))?;
            if &group.kind != b"altr" {
                continue;
            }
            let mut fields = group.fields();
            let head = fields.take(8)?;
            let mut ids = Vec::new();
            for _ in 0..fields.u32()? {
                let id = fields.u32()?;
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

    /// How many bytes of boxes and properties go that nobody needs.
    pub(super) fn unknown(&self) -> usize {
        let others = self.meta.others.iter().filter(|other| match &other.kind {
            b"hdlr" | b"grpl" => false,
            // What fills a place that was cleaned here.
            b"free" => other.body.iter().any(|byte| *byte != 0),
            _ => true,
        });
        let properties = self.meta.properties.iter().filter(|property| {
            !(PROPERTIES.contains(&&property.kind) || &property.kind == b"free" && property.body.is_empty())
        });
        others.chain(properties).map(|gone| gone.range().len()).sum()
    }
}

/// Where an extent lies, in the file or in the meta box's data.
fn range(extent: &isobmff::Extent) -> Option<Range<usize>> {
    let start = usize::try_from(extent.offset).ok()?;
    Some(start..start.checked_add(usize::try_from(extent.length).ok()?)?)
}

/// Appends an identifier of 16 or 32 bits.
fn put_id(out: &mut Vec<u8>, id: u32, wide: bool) {
    let bytes = id.to_be_bytes();
    out.extend_from_slice(if wide { &bytes } else { &bytes[2..] });
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
