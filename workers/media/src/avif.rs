//! AVIF (AV1 Image File Format 1.1, over ISO/IEC 23008-12): which item is the picture, how it is coded, which one is
//! its transparency, and how it is displayed.

use crate::{
    MediaError,
    isobmff::{IsoBox, Meta},
};

/// What `auxC` says of an item that is a picture's alpha.
const ALPHA: [&[u8]; 2] = [
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
];

/// The picture of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture<'a> {
    /// The item that is coded with AV1.
    pub(crate) item: u32,
    /// Pixels across, as stored.
    pub(crate) width: u32,
    /// Pixels down, as stored.
    pub(crate) height: u32,
    /// How its samples are coded.
    pub(crate) coding: Coding,
    /// The item that is its alpha.
    pub(crate) alpha: Option<u32>,
    /// Whether colours were multiplied by it.
    pub(crate) premultiplied: bool,
    /// How to turn it for display, an EXIF orientation, 1 to 8.
    pub(crate) orientation: u8,
    /// Its ICC profile.
    pub(crate) profile: Option<&'a [u8]>,
    /// Its colours in numbers, where the file says so itself.
    pub(crate) colours: Option<Nclx>,
}

/// From `av1C` (AV1 in ISOBMFF, 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coding {
    /// Bits of a sample: 8, 10 or 12.
    pub(crate) depth: u8,
    /// Whether there is no chroma.
    pub(crate) monochrome: bool,
    /// Whether chroma has half as many samples across.
    pub(crate) halved_across: bool,
    /// Whether chroma has half as many samples down.
    pub(crate) halved_down: bool,
}

/// Colours by number (ITU-T H.273).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nclx {
    /// Colour primaries.
    pub(crate) primaries: u16,
    /// Transfer characteristics.
    pub(crate) transfer: u16,
    /// Matrix coefficients.
    pub(crate) matrix: u16,
    /// Whether samples use their whole range.
    pub(crate) full_range: bool,
}

/// Finds the picture in a meta box.
///
/// # Errors
/// When it is not coded with AV1, is put together of tiles, needs a property that is not known here, or is damaged.
pub(crate) fn picture<'a>(meta: &Meta<'a>) -> Result<Picture<'a>, MediaError> {
    let item = meta.primary;
    let kind = meta
        .item(item)
        .ok_or_else(|| MediaError::corrupt("its primary item is missing"))?
        .kind;
    match &kind {
        b"av01" => {}
        b"grid" | b"iovl" => {
            return Err(refuse(
                "AVIF",
                "a picture put together of tiles: export it in one piece",
            ));
        }
        b"hvc1" | b"hev1" => return Err(heic()),
        other => {
            let coded = String::from_utf8_lossy(other).into_owned();
            return Err(refuse(
                "HEIF",
                &format!("a picture coded as {coded}: export it as JPEG or AVIF"),
            ));
        }
    }
    known_to_be_shown(meta, item)?;
    let (width, height) = size(meta, item)?;
    let coding = coding(meta, item)?;
    let alpha = alpha(meta, item);
    let premultiplied = alpha.is_some_and(|alpha| {
        meta.references
            .iter()
            .any(|reference| &reference.kind == b"prem" && reference.from == item && reference.to.contains(&alpha))
    });
    let (profile, colours) = colours(meta, item)?;
    Ok(Picture {
        item,
        width,
        height,
        coding,
        alpha,
        premultiplied,
        orientation: orientation(meta, item)?,
        profile,
        colours,
    })
}

fn refuse(format: &'static str, problem: &str) -> MediaError {
    MediaError::Unsupported {
        format,
        problem: problem.to_owned(),
    }
}

/// HEIC, by its name.
pub(crate) fn heic() -> MediaError {
    refuse("HEIC", "nothing here decodes HEVC: export it as JPEG or AVIF")
}

fn missing(property: &str) -> MediaError {
    MediaError::corrupt(format!("its picture has no {property} property"))
}

/// A reader that does not know an essential property must not show the item.
fn known_to_be_shown(meta: &Meta<'_>, item: u32) -> Result<(), MediaError> {
    for (property, essential) in meta.properties_of(item) {
        match &property.kind {
            b"ispe" | b"av1C" | b"pixi" | b"colr" | b"irot" | b"imir" | b"pasp" | b"auxC" | b"clli" | b"mdcv"
            | b"a1lx" => {}
            // What is cut off shall not be seen.
            b"clap" => return Err(refuse("AVIF", "a clean aperture: export it cropped")),
            b"lsel" | b"a1op" => return Err(refuse("AVIF", "several layers: export it with one")),
            other if essential => {
                let name = String::from_utf8_lossy(other).into_owned();
                return Err(refuse("AVIF", &format!("it needs the property {name}")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `ispe` (ISO/IEC 23008-12, 6.5.3).
pub(crate) fn size(meta: &Meta<'_>, item: u32) -> Result<(u32, u32), MediaError> {
    let property = meta.property(item, *b"ispe").ok_or_else(|| missing("size"))?;
    let (_, _, mut fields) = property.full()?;
    Ok((fields.u32()?, fields.u32()?))
}

/// `av1C`.
pub(crate) fn coding(meta: &Meta<'_>, item: u32) -> Result<Coding, MediaError> {
    let property = meta
        .property(item, *b"av1C")
        .ok_or_else(|| missing("AV1 configuration"))?;
    let mut fields = property.fields();
    if fields.u8()? != 0x81 {
        return Err(refuse("AVIF", "an AV1 configuration of another version"));
    }
    fields.u8()?;
    let flags = fields.u8()?;
    let depth = match (flags & 0x40 != 0, flags & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    Ok(Coding {
        depth,
        monochrome: flags & 0x10 != 0,
        halved_across: flags & 0x08 != 0,
        halved_down: flags & 0x04 != 0,
    })
}

/// The item that is `item`'s alpha (ISO/IEC 23008-12, 6.5.8 and 6.6.2.1).
fn alpha(meta: &Meta<'_>, item: u32) -> Option<u32> {
    let is_alpha = |auxiliary: u32| {
        let Some(Ok((_, _, mut fields))) = meta.property(auxiliary, *b"auxC").map(IsoBox::full) else {
            return false;
        };
        ALPHA.contains(&fields.text()) && meta.item(auxiliary).is_some_and(|item| &item.kind == b"av01")
    };
    meta.references
        .iter()
        .filter(|reference| &reference.kind == b"auxl" && reference.to.contains(&item))
        .map(|reference| reference.from)
        .find(|auxiliary| is_alpha(*auxiliary))
}

/// `colr`, of which an item may have one with a profile and one with numbers (ISO/IEC 14496-12, 12.1.5).
pub(crate) fn colours<'a>(meta: &Meta<'a>, item: u32) -> Result<(Option<&'a [u8]>, Option<Nclx>), MediaError> {
    let (mut profile, mut numbers) = (None, None);
    for (property, _) in meta.properties_of(item) {
        if &property.kind != b"colr" {
            continue;
        }
        let mut fields = property.fields();
        match &fields.kind()? {
            b"prof" | b"rICC" => {
                profile.get_or_insert(fields.rest());
            }
            b"nclx" if numbers.is_none() => {
                numbers = Some(Nclx {
                    primaries: fields.u16()?,
                    transfer: fields.u16()?,
                    matrix: fields.u16()?,
                    full_range: fields.u8()? & 0x80 != 0,
                });
            }
            _ => {}
        }
    }
    Ok((profile, numbers))
}

/// `irot`, quarters of a turn against the clock, and then `imir`, 0 above for below, 1 left for right (ISO/IEC 23008-12,
/// 6.5.10 and 6.5.12), as the EXIF orientation that looks the same.
fn orientation(meta: &Meta<'_>, item: u32) -> Result<u8, MediaError> {
    let flag = |kind: [u8; 4]| -> Result<Option<u8>, MediaError> {
        meta.property(item, kind)
            .map(|property| property.fields().u8())
            .transpose()
    };
    let turns = flag(*b"irot")?.unwrap_or(0) & 3;
    let mirror = flag(*b"imir")?.map(|byte| byte & 1);
    Ok(match (turns, mirror) {
        (1, None) => 8,
        (1, Some(0)) | (3, Some(1)) => 5,
        (1, Some(_)) | (3, Some(0)) => 7,
        (2, None) => 3,
        (2, Some(0)) | (0, Some(1)) => 2,
        (2, Some(_)) | (0, Some(0)) => 4,
        (3, _) => 6,
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::{boxed, boxes};

    /// A meta box with an item of `kind`, and properties of it beside its size and configuration, all essential.
    fn file(kind: [u8; 4], properties: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut all = boxed(*b"ispe", &[0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 3]);
        all.extend(boxed(*b"av1C", &[0x81, 0, 0x4c, 0]));
        for (kind, body) in properties {
            all.extend(boxed(**kind, body));
        }
        let count = u8::try_from(properties.len()).unwrap() + 2;
        let mut links = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 1, count];
        links.extend((1..=count).map(|number| 0x80 | number));
        let entry = boxed(*b"infe", &[&[2, 0, 0, 0, 0, 1, 0, 0][..], &kind, b"\0"].concat());
        let parts = [
            vec![0; 4],
            boxed(*b"pitm", &[0, 0, 0, 0, 0, 1]),
            boxed(*b"iinf", &[vec![0, 0, 0, 0, 0, 1], entry].concat()),
            boxed(*b"iprp", &[boxed(*b"ipco", &all), boxed(*b"ipma", &links)].concat()),
        ];
        boxed(*b"meta", &parts.concat())
    }

    fn read<T>(bytes: &[u8], look: impl FnOnce(Result<Picture<'_>, MediaError>) -> T) -> T {
        let meta = boxes(bytes, 0).next().unwrap().unwrap();
        look(Meta::parse(&meta).and_then(|meta| picture(&meta)))
    }

    #[test]
    fn a_picture_is_told_by_its_properties() {
        let colours = b"nclx\0\x09\0\x10\0\x09\x80";
        read(
            &file(*b"av01", &[(b"colr", b"profICC"), (b"colr", colours)]),
            |picture| {
                let picture = picture.unwrap();
                assert_eq!((picture.width, picture.height), (4, 3));
                let coding = Coding {
                    depth: 10,
                    monochrome: false,
                    halved_across: true,
                    halved_down: true,
                };
                assert_eq!(picture.coding, coding);
                assert_eq!(picture.profile, Some(&b"ICC"[..]));
                let numbers = picture.colours.unwrap();
                assert_eq!((numbers.primaries, numbers.transfer, numbers.matrix), (9, 16, 9));
                assert!(numbers.full_range && picture.alpha.is_none());
            },
        );
    }

    #[test]
    fn turns_and_mirrors_are_orientations() {
        // ISO/IEC 23008-12 and libavif's table.
        for (turns, mirror, expected) in [
            (0, None, 1),
            (0, Some(1), 2),
            (2, None, 3),
            (0, Some(0), 4),
            (1, Some(0), 5),
            (3, None, 6),
            (1, Some(1), 7),
            (1, None, 8),
            (2, Some(1), 4),
            (3, Some(1), 5),
        ] {
            let (turned, mirrored) = ([turns], mirror.map(|mirror| [mirror]));
            let mut properties: Vec<(&[u8; 4], &[u8])> = vec![(b"irot", &turned)];
            if let Some(mirrored) = &mirrored {
                properties.push((b"imir", mirrored));
            }
            let found = read(&file(*b"av01", &properties), |picture| picture.unwrap().orientation);
            assert_eq!(found, expected, "{turns} {mirror:?}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_refused_with_its_reason() {
        let refusal = |kind: [u8; 4], properties: &[(&[u8; 4], &[u8])]| {
            read(&file(kind, properties), |picture| picture.unwrap_err().to_string())
        };
        assert!(refusal(*b"grid", &[]).contains("tiles"));
        assert!(refusal(*b"hvc1", &[]).contains("HEIC"));
        assert!(refusal(*b"unci", &[]).contains("unci"));
        assert!(refusal(*b"av01", &[(b"clap", &[0; 32])]).contains("clean aperture"));
        assert!(refusal(*b"av01", &[(b"what", &[])]).contains("property what"));
    }
}
