//! EXIF (CIPA DC-008): a TIFF 6.0 block of a few directories, read with bounds.
//!
//! Promises: nothing is copied, a directory has at most [`MOST_ENTRIES`] entries, pointers are followed to a fixed
//! depth. Damaged entries are left out; what can be read is read.

mod rewrite;
mod write;

pub(crate) use rewrite::without_places;
pub(crate) use write::{Field, directory, point};

/// Real directories have below two hundred.
const MOST_ENTRIES: usize = 1_000;

pub(crate) mod tag {
    //! Tags that have a meaning here.
    pub(crate) const DESCRIPTION: u16 = 0x010e;
    pub(crate) const MAKE: u16 = 0x010f;
    pub(crate) const MODEL: u16 = 0x0110;
    pub(crate) const STRIP_OFFSETS: u16 = 0x0111;
    pub(crate) const ORIENTATION: u16 = 0x0112;
    pub(crate) const STRIP_SIZES: u16 = 0x0117;
    pub(crate) const SOFTWARE: u16 = 0x0131;
    pub(crate) const ARTIST: u16 = 0x013b;
    pub(crate) const TILE_OFFSETS: u16 = 0x0144;
    pub(crate) const TILE_SIZES: u16 = 0x0145;
    pub(crate) const SUB_IFDS: u16 = 0x014a;
    pub(crate) const JPEG_OFFSET: u16 = 0x0201;
    pub(crate) const JPEG_SIZE: u16 = 0x0202;
    pub(crate) const XMP: u16 = 0x02bc;
    pub(crate) const COPYRIGHT: u16 = 0x8298;
    pub(crate) const IPTC: u16 = 0x83bb;
    pub(crate) const PHOTOSHOP: u16 = 0x8649;
    pub(crate) const EXIF: u16 = 0x8769;
    pub(crate) const GPS: u16 = 0x8825;
    pub(crate) const TAKEN_AT: u16 = 0x9003;
    pub(crate) const MAKER_NOTE: u16 = 0x927c;
    pub(crate) const USER_COMMENT: u16 = 0x9286;
    pub(crate) const INTEROP: u16 = 0xa005;
    pub(crate) const OWNER: u16 = 0xa430;
    pub(crate) const BODY_SERIAL: u16 = 0xa431;
    pub(crate) const LENS_MODEL: u16 = 0xa434;
    pub(crate) const LENS_SERIAL: u16 = 0xa435;
    /// Where a `GeoTIFF` says what it shows.
    pub(crate) const GEO_TIFF: [u16; 7] = [0x830e, 0x8480, 0x8482, 0x85d8, 0x87af, 0x87b0, 0x87b1];
}

/// Byte order of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    /// The order that a TIFF header says.
    pub(crate) fn of(block: &[u8]) -> Option<Self> {
        match block.get(..4)? {
            b"II*\0" => Some(Self::Little),
            b"MM\0*" => Some(Self::Big),
            _ => None,
        }
    }

    pub(crate) const fn header(self) -> [u8; 4] {
        match self {
            Self::Little => *b"II*\0",
            Self::Big => *b"MM\0*",
        }
    }

    pub(crate) fn short(self, bytes: &[u8], place: usize) -> Option<u16> {
        let bytes: [u8; 2] = bytes.get(place..place.checked_add(2)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    pub(crate) fn long(self, bytes: &[u8], place: usize) -> Option<u32> {
        let bytes: [u8; 4] = bytes.get(place..place.checked_add(4)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }

    /// An offset or a size.
    fn offset(self, bytes: &[u8], place: usize) -> Option<usize> {
        usize::try_from(self.long(bytes, place)?).ok()
    }

    pub(crate) const fn short_bytes(self, number: u16) -> [u8; 2] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    pub(crate) const fn long_bytes(self, number: u32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

/// Bytes of one value of a type; TIFF 6.0 section 2, and UTF-8 of EXIF 3.0.
const fn type_size(kind: u16) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 | 129 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 => Some(8),
        _ => None,
    }
}

/// An entry whose value lies within the block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) tag: u16,
    pub(crate) kind: u16,
    pub(crate) count: u32,
    pub(crate) value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Whether it is the orientation: one SHORT, as browsers have it, which pass over anything else.
    pub(crate) const fn is_orientation(&self) -> bool {
        self.tag == tag::ORIENTATION && self.kind == 3 && self.count == 1
    }

    /// Its text, when it is one: up to the first NUL that ends it, parts joined.
    pub(crate) fn text(&self) -> Option<String> {
        if !matches!(self.kind, 2 | 129) {
            return None;
        }
        let parts: Vec<_> = self
            .value
            .get(..self.value.len().min(1_000))?
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        let text = crate::strip::readable(&parts.join(" "));
        (!text.is_empty()).then_some(text)
    }

    /// Its first number, of SHORT, LONG or IFD.
    pub(crate) fn number(&self, order: Order) -> Option<u32> {
        self.numbers(order)?.next()
    }

    /// Its numbers, of SHORT, LONG or IFD.
    pub(crate) fn numbers(&self, order: Order) -> Option<impl Iterator<Item = u32> + 'a> {
        let size = match self.kind {
            3 => 2,
            4 | 13 => 4,
            _ => return None,
        };
        Some(self.value.chunks_exact(size).filter_map(move |part| {
            if size == 2 {
                order.short(part, 0).map(u32::from)
            } else {
                order.long(part, 0)
            }
        }))
    }

    /// Its values, of RATIONAL.
    pub(crate) fn rationals(&self, order: Order) -> Vec<f64> {
        let parts = self.value.chunks_exact(8).take(8);
        if self.kind != 5 {
            return Vec::new();
        }
        parts
            .filter_map(|part| Some(f64::from(order.long(part, 0)?) / f64::from(order.long(part, 4)?)))
            .collect()
    }
}

/// An image file directory.
#[derive(Debug, Default)]
pub(crate) struct Directory<'a> {
    pub(crate) entries: Vec<Entry<'a>>,
    /// Where the next one begins; 0 after the last.
    pub(crate) next: usize,
    /// Whether something of it could not be read.
    pub(crate) damaged: bool,
}

impl<'a> Directory<'a> {
    /// Reads the directory at `place`; none where nothing of it can be read.
    pub(crate) fn read(block: &'a [u8], order: Order, place: usize) -> Option<Self> {
        // A directory cannot lie within the header.
        let count = usize::from(order.short(block, place).filter(|_| place >= 8)?);
        let mut read = Self {
            damaged: count > MOST_ENTRIES,
            ..Self::default()
        };
        for number in 0..count.min(MOST_ENTRIES) {
            let start = place.checked_add(2 + number * 12)?;
            if block.len() < start.saturating_add(12) {
                read.damaged = true;
                return Some(read);
            }
            match Self::entry(block, order, start) {
                Some(entry) => read.entries.push(entry),
                None => read.damaged = true,
            }
        }
        read.next = order.offset(block, place.checked_add(2 + count * 12)?).unwrap_or(0);
        Some(read)
    }

    fn entry(block: &'a [u8], order: Order, start: usize) -> Option<Entry<'a>> {
        let tag = order.short(block, start)?;
        let kind = order.short(block, start + 2)?;
        let count = order.long(block, start + 4)?;
        let size = type_size(kind)?.checked_mul(usize::try_from(count).ok()?)?;
        let at = if size <= 4 {
            start + 8
        } else {
            order.offset(block, start + 8)?
        };
        let value = block.get(at..at.checked_add(size)?)?;
        Some(Entry {
            tag,
            kind,
            count,
            value,
        })
    }

    pub(crate) fn find(&self, tag: u16) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    /// The directory that the entry `tag` points to.
    pub(crate) fn follow(&self, block: &'a [u8], order: Order, tag: u16) -> Option<Self> {
        let place = usize::try_from(self.find(tag)?.number(order)?).ok()?;
        Self::read(block, order, place)
    }
}

/// The directories of a block of EXIF.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) order: Order,
    pub(crate) primary: Directory<'a>,
    pub(crate) exif: Option<Directory<'a>>,
    pub(crate) gps: Option<Directory<'a>>,
    pub(crate) interop: Option<Directory<'a>>,
    /// The second directory, which describes the thumbnail.
    pub(crate) thumbnail: Option<Directory<'a>>,
}

impl<'a> Block<'a> {
    /// Reads a block; none where it is no TIFF.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let order = Order::of(bytes)?;
        let primary = Directory::read(bytes, order, order.offset(bytes, 4)?)?;
        let exif = primary.follow(bytes, order, tag::EXIF);
        Some(Self {
            bytes,
            order,
            gps: primary.follow(bytes, order, tag::GPS),
            interop: exif.as_ref().and_then(|exif| exif.follow(bytes, order, tag::INTEROP)),
            thumbnail: (primary.next != 0)
                .then(|| Directory::read(bytes, order, primary.next))
                .flatten(),
            primary,
            exif,
        })
    }

    /// A field of the picture: in the first directory, or in EXIF's.
    pub(crate) fn field(&self, tag: u16) -> Option<&Entry<'a>> {
        self.primary
            .find(tag)
            .or_else(|| self.exif.as_ref().and_then(|exif| exif.find(tag)))
    }

    /// The thumbnail's JPEG.
    pub(crate) fn thumbnail_jpeg(&self) -> Option<&'a [u8]> {
        let directory = self.thumbnail.as_ref()?;
        let number = |tag| usize::try_from(directory.find(tag)?.number(self.order)?).ok();
        let start = number(tag::JPEG_OFFSET)?;
        self.bytes.get(start..start.checked_add(number(tag::JPEG_SIZE)?)?)
    }
}
