//! The meta box of a picture file (ISO/IEC 14496-12, 8.11, and ISO/IEC 23008-12): items, where their bytes lie, what
//! they are to each other, and their properties.

use super::{Fields, IsoBox, boxes};
use crate::MediaError;
use std::borrow::Cow;

/// More boxes, items, extents or links than this no picture has: a camera's grid has some hundred.
const MOST: usize = 4_096;

/// A meta box.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meta<'a> {
    /// The item that is the picture.
    pub(crate) primary: u32,
    /// Items, in their order.
    pub(crate) items: Vec<Item<'a>>,
    /// Where their bytes lie.
    pub(crate) locations: Vec<Location>,
    /// What items are to each other.
    pub(crate) references: Vec<Reference>,
    /// Properties, which associations number from 1.
    pub(crate) properties: Vec<IsoBox<'a>>,
    /// Which item has which property.
    pub(crate) associations: Vec<Association>,
    /// The item data box, for items that are constructed from it.
    pub(crate) data: Option<IsoBox<'a>>,
    /// The boxes in it, and among its properties, that are not read here.
    pub(crate) others: Vec<IsoBox<'a>>,
}

/// An item's entry (`infe`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// Its number.
    pub(crate) id: u32,
    /// Its type: `av01`, `grid`, `Exif`, `mime`; nothing for entries older than version 2.
    pub(crate) kind: [u8; 4],
    /// 1: it is not meant to be shown by itself.
    pub(crate) flags: u32,
    /// The media type of a `mime` item.
    pub(crate) content_type: &'a [u8],
}

/// Where an item's bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// The item.
    pub(crate) item: u32,
    /// 0: in the file; 1: in the item data box; 2: within another item.
    pub(crate) construction: u16,
    /// Whether that file is another one.
    pub(crate) elsewhere: bool,
    /// Parts, with the base offset added.
    pub(crate) extents: Vec<Extent>,
}

/// A part of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// From the beginning of what the construction says.
    pub(crate) offset: u64,
    /// Its length; 0: to the end.
    pub(crate) length: u64,
}

/// A link from an item to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// What it is: `auxl`, `cdsc`, `dimg`, `thmb`, `prem`.
    pub(crate) kind: [u8; 4],
    /// The item that has it.
    pub(crate) from: u32,
    /// The items it leads to.
    pub(crate) to: Vec<u32>,
}

/// A property of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Association {
    /// The item.
    pub(crate) item: u32,
    /// The property's number, from 1.
    pub(crate) property: u16,
    /// Whether a reader that does not know the property must not show the item.
    pub(crate) essential: bool,
}

impl<'a> Meta<'a> {
    /// Reads a whole meta box.
    ///
    /// # Errors
    /// When a part of it contradicts itself or is larger than any picture's.
    pub(crate) fn parse(meta: &IsoBox<'a>) -> Result<Self, MediaError> {
        let (_, _, fields) = meta.full()?;
        let mut found = Self::default();
        for part in boxes(fields.rest(), meta.body_start.saturating_add(4)) {
            let part = part.map_err(|error| error.within("meta box"))?;
            match &part.kind {
                b"pitm" => found.primary = primary(&part)?,
                b"iinf" => found.items = items(&part)?,
                b"iloc" => found.locations = locations(&part)?,
                b"iref" => found.references = references(&part)?,
                b"iprp" => found.read_properties(&part)?,
                b"idat" => found.data = Some(part),
                _ => found.other(part)?,
            }
        }
        Ok(found)
    }

    fn other(&mut self, part: IsoBox<'a>) -> Result<(), MediaError> {
        bounded(self.others.len() + 1)?;
        self.others.push(part);
        Ok(())
    }

    fn read_properties(&mut self, properties: &IsoBox<'a>) -> Result<(), MediaError> {
        for part in boxes(properties.body, properties.body_start) {
            let part = part.map_err(|error| error.within("item properties"))?;
            match &part.kind {
                b"ipco" => {
                    for property in boxes(part.body, part.body_start) {
                        bounded(self.properties.len() + 1)?;
                        self.properties
                            .push(property.map_err(|error| error.within("item properties"))?);
                    }
                }
                b"ipma" => associations(&part, &mut self.associations)?,
                _ => self.other(part)?,
            }
        }
        Ok(())
    }

    /// The item of this number.
    pub(crate) fn item(&self, id: u32) -> Option<&Item<'a>> {
        self.items.iter().find(|item| item.id == id)
    }

    /// Properties of an item, with whether they are essential, in the order they apply.
    pub(crate) fn properties_of(&self, item: u32) -> impl Iterator<Item = (&IsoBox<'a>, bool)> {
        self.associations
            .iter()
            .filter(move |association| association.item == item)
            .filter_map(|association| {
                let place = usize::from(association.property).checked_sub(1)?;
                Some((self.properties.get(place)?, association.essential))
            })
    }

    /// An item's first property of a type.
    pub(crate) fn property(&self, item: u32, kind: [u8; 4]) -> Option<&IsoBox<'a>> {
        self.properties_of(item)
            .map(|(property, _)| property)
            .find(|property| property.kind == kind)
    }

    /// The bytes of an item out of the whole `file`; copied only where they lie in parts.
    ///
    /// # Errors
    /// When it has none, or they lie outside of the file.
    pub(crate) fn bytes_of(&self, item: u32, file: &'a [u8]) -> Result<Cow<'a, [u8]>, MediaError> {
        let location = self
            .locations
            .iter()
            .find(|location| location.item == item)
            .filter(|location| !location.elsewhere)
            .ok_or_else(|| MediaError::corrupt("an item has no place in the file"))?;
        let source = match location.construction {
            0 => file,
            1 => self
                .data
                .map(|data| data.body)
                .ok_or_else(|| MediaError::corrupt("an item's data box is missing"))?,
            _ => return Err(MediaError::corrupt("an item is made of another item")),
        };
        let part = |extent: &Extent| -> Option<&'a [u8]> {
            let start = usize::try_from(extent.offset).ok()?;
            let length = usize::try_from(extent.length).ok()?;
            let end = if length == 0 {
                source.len()
            } else {
                start.checked_add(length)?
            };
            source.get(start..end)
        };
        match location.extents.as_slice() {
            [] => Err(MediaError::corrupt("an item has no bytes")),
            [one] => part(one).map(Cow::Borrowed).ok_or(MediaError::Truncated),
            several => {
                let mut whole = Vec::new();
                for extent in several {
                    let part = part(extent).ok_or(MediaError::Truncated)?;
                    // Parts may overlap: without a bound a small file would grow as it is put together.
                    if whole.len().saturating_add(part.len()) > file.len() {
                        return Err(MediaError::corrupt("an item's parts are more than the file"));
                    }
                    whole.extend_from_slice(part);
                }
                Ok(Cow::Owned(whole))
            }
        }
    }
}

/// Refuses counts that no picture has, before anything is made of them.
pub(super) fn bounded(count: usize) -> Result<usize, MediaError> {
    if count > MOST {
        return Err(MediaError::corrupt("it has more boxes or items than any picture"));
    }
    Ok(count)
}

/// An item's number: 16 bits in the older versions of a box.
fn id(fields: &mut Fields<'_>, long: bool) -> Result<u32, MediaError> {
    if long {
        fields.u32()
    } else {
        fields.u16().map(u32::from)
    }
}

fn count(fields: &mut Fields<'_>, long: bool) -> Result<usize, MediaError> {
    bounded(usize::try_from(id(fields, long)?).unwrap_or(usize::MAX))
}

fn primary(part: &IsoBox<'_>) -> Result<u32, MediaError> {
    let (version, _, mut fields) = part.full()?;
    id(&mut fields, version > 0)
}

fn items<'a>(part: &IsoBox<'a>) -> Result<Vec<Item<'a>>, MediaError> {
    let (version, _, mut fields) = part.full()?;
    count(&mut fields, version > 0)?;
    let start = part.end().saturating_sub(fields.rest().len());
    let mut found = Vec::new();
    for entry in boxes(fields.rest(), start) {
        bounded(found.len() + 1)?;
        let entry = entry.map_err(|error| error.within("item list"))?;
        if &entry.kind != b"infe" {
            continue;
        }
        let (version, flags, mut fields) = entry.full()?;
        let id = id(&mut fields, version > 2)?;
        // The protection scheme.
        fields.u16()?;
        let kind = if version < 2 { [0; 4] } else { fields.kind()? };
        fields.text();
        let content_type = if &kind == b"mime" { fields.text() } else { &[] };
        found.push(Item {
            id,
            kind,
            flags,
            content_type,
        });
    }
    Ok(found)
}

fn locations(part: &IsoBox<'_>) -> Result<Vec<Location>, MediaError> {
    let (version, _, mut fields) = part.full()?;
    let sizes = fields.u16()?.to_be_bytes();
    let [offset_size, length_size, base_size, index_size] =
        [sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15];
    let items = count(&mut fields, version > 1)?;
    let mut found = Vec::new();
    let mut extents_in_all = 0_usize;
    for _ in 0..items {
        let item = id(&mut fields, version > 1)?;
        let construction = if version > 0 { fields.u16()? & 15 } else { 0 };
        // Data in another file: nothing here reads it.
        let elsewhere = fields.u16()? != 0;
        let base = fields.number(base_size)?;
        let count = usize::from(fields.u16()?);
        extents_in_all = bounded(extents_in_all.saturating_add(count))?;
        let mut extents = Vec::new();
        for _ in 0..count {
            if version > 0 {
                fields.number(index_size)?;
            }
            let offset = base
                .checked_add(fields.number(offset_size)?)
                .ok_or_else(|| MediaError::corrupt("an item lies beyond any file"))?;
            let length = fields.number(length_size)?;
            extents.push(Extent { offset, length });
        }
        found.push(Location {
            item,
            construction,
            elsewhere,
            extents,
        });
    }
    Ok(found)
}

fn references(part: &IsoBox<'_>) -> Result<Vec<Reference>, MediaError> {
    let (version, _, fields) = part.full()?;
    let mut found = Vec::new();
    let mut links = 0_usize;
    for link in boxes(fields.rest(), part.body_start.saturating_add(4)) {
        bounded(found.len() + 1)?;
        let link = link.map_err(|error| error.within("item references"))?;
        let mut fields = link.fields();
        let from = id(&mut fields, version > 0)?;
        let count = usize::from(fields.u16()?);
        links = bounded(links.saturating_add(count))?;
        let to = (0..count)
            .map(|_| id(&mut fields, version > 0))
            .collect::<Result<_, _>>()?;
        found.push(Reference {
            kind: link.kind,
            from,
            to,
        });
    }
    Ok(found)
}

fn associations(part: &IsoBox<'_>, found: &mut Vec<Association>) -> Result<(), MediaError> {
    let (version, flags, mut fields) = part.full()?;
    let items = bounded(usize::try_from(fields.u32()?).unwrap_or(usize::MAX))?;
    for _ in 0..items {
        let item = id(&mut fields, version > 0)?;
        for _ in 0..fields.u8()? {
            let (essential, property) = if flags & 1 == 1 {
                let word = fields.u16()?;
                (word >> 15 == 1, word & 0x7fff)
            } else {
                let byte = fields.u8()?;
                (byte >> 7 == 1, u16::from(byte & 0x7f))
            };
            bounded(found.len())?;
            found.push(Association {
                item,
                property,
                essential,
            });
        }
    }
    Ok(())
}
