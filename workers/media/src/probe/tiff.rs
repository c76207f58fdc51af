//! TIFF 6.0: the first directory (IFD), wherever in the file it lies.

use super::{Header, ProbeError, TABLES, at, pixels, unsupported};
use crate::MediaError;

const WIDTH: u16 = 256;
const LENGTH: u16 = 257;
const BITS: u16 = 258;
const PHOTOMETRIC: u16 = 262;
const SUBFILE: u16 = 254;
const SAMPLES: u16 = 277;
const EXTRA: u16 = 338;
const FORMAT: u16 = 339;
const PLANES: u16 = 284;
const TILE_WIDTH: u16 = 322;
const TILE_LENGTH: u16 = 323;
const ROWS_PER_STRIP: u16 = 278;
const PROFILE: u16 = 34_675;
const DNG_VERSION: u16 = 50_706;
/// Entries that a decoder reads: those above, coding, strips, tiles, layout, predictor, inks, meaning of further samples,
/// tables of JPEG, and how YCbCr is sampled.
const READ: [u16; 21] = [
    SUBFILE,
    WIDTH,
    LENGTH,
    BITS,
    259,
    PHOTOMETRIC,
    266,
    273,
    SAMPLES,
    ROWS_PER_STRIP,
    279,
    284,
    317,
    TILE_WIDTH,
    TILE_LENGTH,
    324,
    325,
    338,
    FORMAT,
    347,
    530,
];

/// The first directory of a TIFF file, and the bytes that its entries point into.
#[derive(Debug, Clone)]
pub(crate) struct Directory<'a> {
    bytes: &'a [u8],
    little: bool,
    /// Tag, type, count, and where its value or the offset of it stands.
    entries: Vec<(u16, u16, u32, usize)>,
}

impl<'a> Directory<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// [`ProbeError::NeedMore`] when it lies behind the end of `bytes`.
    pub(crate) fn first(bytes: &'a [u8]) -> Result<Self, ProbeError> {
        let little = at::<1>(bytes, 0)? == *b"I";
        let mut directory = Self {
            bytes,
            little,
            entries: Vec::new(),
        };
        let start = usize::try_from(directory.long(4)?).unwrap_or(usize::MAX);
        if start < 8 {
            return Err(MediaError::corrupt("its directory lies within its header").into());
        }
        let count = usize::from(directory.short(start)?);
        for entry in 0..count {
            let place = start.saturating_add(2 + entry * 12);
            directory.entries.push((
                directory.short(place)?,
                directory.short(place.saturating_add(2))?,
                directory.long(place.saturating_add(4))?,
                place.saturating_add(8),
            ));
        }
        Ok(directory)
    }

    fn short(&self, place: usize) -> Result<u16, ProbeError> {
        let bytes = at(self.bytes, place)?;
        Ok(if self.little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    }

    fn long(&self, place: usize) -> Result<u32, ProbeError> {
        let bytes = at(self.bytes, place)?;
        Ok(if self.little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }

    /// Whether it has an entry.
    fn has(&self, tag: u16) -> bool {
        self.entries.iter().any(|entry| entry.0 == tag)
    }

    /// Up to eight whole numbers of an entry; none where it is missing.
    fn numbers(&self, tag: u16) -> Result<Vec<u32>, ProbeError> {
        const MOST: u32 = 8;
        let Some(&(_, kind, count, value)) = self.entries.iter().find(|entry| entry.0 == tag) else {
            return Ok(Vec::new());
        };
        let size = match kind {
            1 => 1_u32,
            3 => 2,
            4 => 4,
            _ => return Err(MediaError::corrupt(format!("its entry {tag} is no whole number")).into()),
        };
        let start = if count.saturating_mul(size) <= 4 {
            value
        } else {
            usize::try_from(self.long(value)?).unwrap_or(usize::MAX)
        };
        (0..usize::try_from(count.min(MOST)).unwrap_or(0))
            .map(|number| match kind {
                1 => at::<1>(self.bytes, start.saturating_add(number)).map(|[byte]| byte.into()),
                3 => self.short(start.saturating_add(number * 2)).map(u32::from),
                _ => self.long(start.saturating_add(number * 4)),
            })
            .collect()
    }

    /// The number of an entry that has one; none where it is missing.
    fn number(&self, tag: u16) -> Result<Option<u32>, ProbeError> {
        match self.entries.iter().find(|entry| entry.0 == tag) {
            Some((.., count, _)) if *count != 1 => {
                Err(MediaError::corrupt(format!("its entry {tag} has {count} values instead of one")).into())
            }
            _ => Ok(self.numbers(tag)?.first().copied()),
        }
    }

    /// Memory that a decoder takes to read the entries that it needs.
    fn values_bytes(&self) -> Result<u64, ProbeError> {
        // Offsets and sizes of a strip for each row and colour of the tallest picture.
        const MOST: u64 = 1 << 19;
        const VALUE: u64 = 64;
        let read = self.entries.iter().filter(|entry| READ.contains(&entry.0));
        let values: u64 = read.map(|entry| u64::from(entry.2)).sum();
        if values > MOST {
            return Err(MediaError::corrupt("its directory has more values than any picture's").into());
        }
        Ok(values * VALUE)
    }

    /// Whether colours are multiplied by their opacity (TIFF 6.0, section 18: associated alpha).
    pub(crate) fn premultiplied(&self) -> bool {
        self.number(EXTRA) == Ok(Some(1))
    }

    /// The ICC profile (ICC.1, annex B.3), where the file has it whole.
    pub(crate) fn profile(&self) -> Option<&'a [u8]> {
        let (_, _, count, value) = self.entries.iter().find(|entry| entry.0 == PROFILE)?;
        let start = usize::try_from(self.long(*value).ok()?).ok()?;
        let end = start.checked_add(usize::try_from(*count).ok()?)?;
        self.bytes.get(start..end)
    }
}

pub(super) fn header(head: &[u8]) -> Result<Header, ProbeError> {
    let directory = Directory::first(head)?;
    if at::<2>(head, 8)? == *b"CR" || directory.has(DNG_VERSION) {
        return Err(unsupported("TIFF", "a camera's raw file: export it as a JPEG").into());
    }
    if directory.number(SUBFILE)?.unwrap_or(0) & 1 == 1 {
        let problem = "its first picture is only a preview: export it as a JPEG or a plain TIFF";
        return Err(unsupported("TIFF", problem).into());
    }
    let needed = |tag: u16, name: &str| -> Result<u32, ProbeError> {
        directory
            .number(tag)?
            .ok_or_else(|| MediaError::corrupt(format!("its {name} is missing")).into())
    };
    let (width, height) = (needed(WIDTH, "width")?, needed(LENGTH, "height")?);
    let samples = directory.number(SAMPLES)?.unwrap_or(1);
    let bits = directory.numbers(BITS)?;
    let depth = bits.first().copied().unwrap_or(1);
    if bits.iter().any(|other| *other != depth) {
        return Err(unsupported("TIFF", "samples of different depths").into());
    }
    let floating = directory.numbers(FORMAT)?.first() == Some(&3);
    // What is decoded to, bytes of a pixel; and what the file's own samples take, where that is more.
    let (decoded, stored) = match (needed(PHOTOMETRIC, "photometric interpretation")?, samples, depth) {
        (0 | 1, 1, 1) => (1, 1),
        (0 | 1, 1 | 2, 8) | (2, 3 | 4, 8) => (samples, samples),
        (0 | 1, 1 | 2, 16) | (2, 3 | 4, 16) => (samples * 2, samples * 2),
        (2, 3 | 4, 32) if floating => (samples * 4, samples * 4),
        (5, 4, 8) => (3, 4),
        (5, 4, 16) => (6, 8),
        (3, ..) => return Err(unsupported("TIFF", "a palette: save it as a PNG").into()),
        (6, ..) => return Err(unsupported("TIFF", "YCbCr colours: save it as a JPEG").into()),
        (8, ..) => return Err(unsupported("TIFF", "L*a*b* colours: save it in RGB").into()),
        (_, samples, depth) => {
            let problem = format!("{samples} samples of {depth} bits: save it in RGB with 8 or 16 bits");
            return Err(unsupported("TIFF", problem).into());
        }
    };
    if samples > 1 && directory.number(PLANES)? == Some(2) && directory.has(TILE_WIDTH) {
        return Err(unsupported("TIFF", "tiles of one colour each: save it in strips or as a PNG").into());
    }
    let converted = if depth > 8 || samples == 2 { 4 } else { 0 };
    let part = largest_part(&directory, width, height, stored)?;
    Ok(Header {
        width,
        height,
        pixel_bytes: u8::try_from(decoded).unwrap_or(16),
        decoder_bytes: pixels(width, height)
            .saturating_mul(u64::from(decoded + stored).max(u64::from(decoded + converted)))
            .saturating_add(part)
            .saturating_add(directory.values_bytes()?)
            .saturating_add(TABLES),
        coded: None,
    })
}

/// Bytes of the largest strip or tile, of which one is held at a time. A tile may be larger than the picture, but not
/// for no reason.
fn largest_part(directory: &Directory<'_>, width: u32, height: u32, stored: u32) -> Result<u64, ProbeError> {
    const SMALL_TILE: u64 = 1024 * 1024;
    let part = match (directory.number(TILE_WIDTH)?, directory.number(TILE_LENGTH)?) {
        (Some(across), Some(down)) => {
            let tile = pixels(across, down);
            if tile > SMALL_TILE.max(pixels(width, height).saturating_mul(2)) {
                return Err(MediaError::corrupt("its tiles are larger than its picture").into());
            }
            tile
        }
        _ => pixels(width, directory.number(ROWS_PER_STRIP)?.unwrap_or(height).min(height)),
    };
    Ok(part.saturating_mul(stored.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one directory: tag, type, value.
    fn file(entries: &[(u16, u16, u32)], start: u32) -> Vec<u8> {
        let mut bytes = b"II*\0".to_vec();
        bytes.extend(start.to_le_bytes());
        bytes.resize(usize::try_from(start).unwrap(), 0);
        bytes.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
        for (tag, kind, value) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(1_u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        bytes
    }

    const GREY: [(u16, u16, u32); 4] = [(WIDTH, 3, 640), (LENGTH, 4, 480), (BITS, 3, 8), (PHOTOMETRIC, 3, 1)];

    #[test]
    fn a_directory_at_the_end_is_waited_for() {
        let bytes = file(&GREY, 5_000);
        for length in [8, 100, 4_999, 5_001, 5_030] {
            assert_eq!(header(&bytes[..length]), Err(ProbeError::NeedMore), "{length}");
        }
        let header = header(&bytes).unwrap();
        assert_eq!((header.width, header.height, header.pixel_bytes), (640, 480, 1));
    }

    #[test]
    fn what_no_decoder_takes_is_refused_with_what_to_do() {
        let refusal = |changed: (u16, u16, u32)| {
            let mut entries: Vec<_> = GREY.into_iter().filter(|entry| entry.0 != changed.0).collect();
            entries.push(changed);
            header(&file(&entries, 8)).unwrap_err().to_string()
        };
        assert!(refusal((PHOTOMETRIC, 3, 3)).contains("palette"));
        assert!(refusal((PHOTOMETRIC, 3, 8)).contains("L*a*b*"));
        assert!(refusal((BITS, 3, 12)).contains("1 samples of 12 bits"));
        assert!(refusal((DNG_VERSION, 4, 1)).contains("raw"));
        assert!(refusal((SUBFILE, 4, 1)).contains("preview"));
        assert!(refusal((WIDTH, 2, 640)).contains("no whole number"));
        let mut tiled = GREY.to_vec();
        tiled.retain(|entry| entry.0 != PHOTOMETRIC);
        tiled.extend([
            (PHOTOMETRIC, 3, 2),
            (SAMPLES, 3, 3),
            (PLANES, 3, 2),
            (TILE_WIDTH, 3, 64),
        ]);
        let error = header(&file(&tiled, 8)).unwrap_err().to_string();
        assert!(error.contains("tiles of one colour each"), "{error}");
    }
}
