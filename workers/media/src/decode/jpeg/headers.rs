//! What stands between scans: frame, tables, scan headers (ITU-T T.81, annex B), and what tells of colours (JFIF, Adobe, ICC).

use super::{BLOCK, huffman::Codes};
use crate::{MediaError, colour::LARGEST_PROFILE};

/// Tables of a kind that a file may have at a time.
pub(super) const TABLES: usize = 4;

/// A component of the frame (B.2.2).
#[derive(Debug, Clone)]
pub(super) struct Component {
    id: u8,
    /// Samples across and down, in proportion to the other components.
    pub(super) across: usize,
    pub(super) down: usize,
    /// Its quantisation table.
    table: usize,
}

/// The frame (B.2.2).
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
}

/// A component's part in a scan: its place in the frame, and its tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) component: usize,
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// A scan's header (B.2.3).
#[derive(Debug, Clone)]
pub(super) struct Scan {
    pub(super) parts: Vec<Part>,
    /// The first and the last coefficient of it.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Bits of each coefficient that were there before, 0 if none were, and that are still missing.
    pub(super) before: u32,
    pub(super) missing: u32,
    /// Where its bits begin.
    pub(super) at: usize,
}

/// What was read so far.
#[derive(Debug)]
pub(super) struct Headers {
    pub(super) frame: Option<Frame>,
    pub(super) dc: [Option<Codes>; TABLES],
    pub(super) ac: [Option<Codes>; TABLES],
    quantisation: [Option<[u16; BLOCK]>; TABLES],
    /// Units between restarts; 0: there are none.
    pub(super) restart: usize,
    jfif: bool,
    /// What Adobe's marker says of the colours.
    adobe: Option<u8>,
    /// Parts of a profile: number, count, bytes. `None`: there are parts that no profile has.
    profile: Option<Vec<(u8, u8, Vec<u8>)>>,
}

/// What samples of a component mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    YCbCr,
    Rgb,
    Cmyk,
    /// CMYK whose first three, taken for RGB, were turned into `YCbCr`.
    Ycck,
}

fn short() -> MediaError {
    MediaError::corrupt("a segment is shorter than what it holds")
}

/// `bytes` from the first marker at or after `at`: its code, what it holds, and where that ends.
fn segment(bytes: &[u8], at: usize) -> Result<(u8, &[u8], usize), MediaError> {
    let mut place = at;
    loop {
        let rest = bytes.get(place..).ok_or(MediaError::Truncated)?;
        place += memchr::memchr(0xff, rest).ok_or(MediaError::Truncated)?;
        let code = *bytes.get(place + 1).ok_or(MediaError::Truncated)?;
        match code {
            0xff => place += 1,
            0x00 | 0x01 | 0xd0..=0xd8 => place += 2,
            0xd9 => return Ok((code, &[], place + 2)),
            _ => {
                let rest = bytes.get(place + 2..).ok_or(MediaError::Truncated)?;
                let length = rest.first_chunk::<2>().ok_or(MediaError::Truncated)?;
                let length = usize::from(u16::from_be_bytes(*length));
                if length < 2 {
                    return Err(MediaError::corrupt("a segment is shorter than its own length"));
                }
                let held = rest.get(2..length).ok_or(MediaError::Truncated)?;
                return Ok((code, held, place + 2 + length));
            }
        }
    }
}

impl Headers {
    pub(super) const fn new() -> Self {
        Self {
            frame: None,
            dc: [const { None }; TABLES],
            ac: [const { None }; TABLES],
            quantisation: [None; TABLES],
            restart: 0,
            jfif: false,
            adobe: None,
            profile: Some(Vec::new()),
        }
    }

    /// Reads segments from `at` up to the next scan; `None` at the picture's end.
    pub(super) fn scan(&mut self, bytes: &[u8], at: usize) -> Result<Option<Scan>, MediaError> {
        let mut place = at;
        loop {
            let (code, held, end) = segment(bytes, place)?;
            place = end;
            match code {
                0xc0..=0xc2 => self.frame(held, code == 0xc2)?,
                0xc4 => self.codes(held)?,
                0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    return Err(MediaError::corrupt("it has a frame that its header did not tell of"));
                }
                0xda => return self.scan_header(held, end).map(Some),
                0xd9 => return Ok(None),
                0xdb => self.quantisation(held)?,
                0xdd => {
                    let interval = held.first_chunk::<2>().ok_or_else(short)?;
                    self.restart = u16::from_be_bytes(*interval).into();
                }
                0xe0 if held.starts_with(b"JFIF\0") => self.jfif = true,
                0xe2 => self.profile_part(held),
                0xee if held.starts_with(b"Adobe") => self.adobe = held.get(11).copied(),
                _ => {}
            }
        }
    }

    fn frame(&mut self, held: &[u8], progressive: bool) -> Result<(), MediaError> {
        if self.frame.is_some() {
            return Err(MediaError::corrupt("it has two frame headers"));
        }
        let (first, components) = held.split_first_chunk::<6>().ok_or_else(short)?;
        let [bits, height, height_low, width, width_low, count] = *first;
        if bits != 8 {
            return Err(MediaError::corrupt("its samples have other bits than its header says"));
        }
        let components: Vec<Component> = components
            .as_chunks::<3>()
            .0
            .iter()
            .take(count.into())
            .map(|[id, sampling, table]| Component {
                id: *id,
                across: usize::from(sampling >> 4),
                down: usize::from(sampling & 15),
                table: usize::from(table & 3),
            })
            .collect();
        if components.len() != usize::from(count) {
            return Err(short());
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(MediaError::corrupt(format!("{count} colour components")));
        }
        let sampled = |sampling: usize| (1..=4).contains(&sampling);
        if !components.iter().all(|c| sampled(c.across) && sampled(c.down)) {
            return Err(MediaError::corrupt("a component is sampled in a way that is none"));
        }
        // One alone has a block a unit, whatever it says (A.2.2).
        let components = match components.as_slice() {
            [one] => vec![Component {
                across: 1,
                down: 1,
                ..one.clone()
            }],
            _ => components,
        };
        self.frame = Some(Frame {
            width: u16::from_be_bytes([width, width_low]),
            height: u16::from_be_bytes([height, height_low]),
            progressive,
            components,
        });
        Ok(())
    }

    fn codes(&mut self, held: &[u8]) -> Result<(), MediaError> {
        let mut rest = held;
        while let Some((which, codes)) = rest.split_first() {
            let (codes, following) = Codes::read(codes)?;
            let tables = if which >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let table = tables.get_mut(usize::from(which & 15));
            *table.ok_or_else(|| MediaError::corrupt("a Huffman table has a number that is none"))? = Some(codes);
            rest = following;
        }
        Ok(())
    }

    fn quantisation(&mut self, held: &[u8]) -> Result<(), MediaError> {
        let mut rest = held;
        while let Some((which, steps)) = rest.split_first() {
            let table = self.quantisation.get_mut(usize::from(which & 15));
            let table = table.ok_or_else(|| MediaError::corrupt("a quantisation table has a number that is none"))?;
            let mut read = [0; BLOCK];
            if which >> 4 == 0 {
                let (given, following) = steps.split_first_chunk::<BLOCK>().ok_or_else(short)?;
                read = given.map(u16::from);
                rest = following;
            } else {
                let (given, following) = steps.split_at_checked(2 * BLOCK).ok_or_else(short)?;
                for (step, given) in read.iter_mut().zip(given.as_chunks::<2>().0) {
                    *step = u16::from_be_bytes(*given);
                }
                rest = following;
            }
            *table = Some(read);
        }
        Ok(())
    }

    fn scan_header(&self, held: &[u8], at: usize) -> Result<Scan, MediaError> {
        let frame = self
            .frame
            .as_ref()
            .ok_or_else(|| MediaError::corrupt("a scan stands before its frame header"))?;
        let (count, rest) = held.split_first().ok_or_else(short)?;
        let (parts, rest) = rest.split_at_checked(2 * usize::from(*count)).ok_or_else(short)?;
        let parts: Option<Vec<Part>> = parts
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[id, tables]| {
                Some(Part {
                    component: frame.components.iter().position(|component| component.id == *id)?,
                    dc: usize::from(tables >> 4 & 3),
                    ac: usize::from(tables & 3),
                })
            })
            .collect();
        let parts = parts.ok_or_else(|| MediaError::corrupt("a scan is of a component that the frame has not"))?;
        let twice = |place: usize, part: &Part| parts.iter().take(place).any(|other| other.component == part.component);
        if parts.is_empty() || parts.iter().enumerate().any(|(place, part)| twice(place, part)) {
            return Err(MediaError::corrupt("a scan has no component, or one twice"));
        }
        let [first, last, bits] = *rest.first_chunk::<3>().ok_or_else(short)?;
        let scan = if frame.progressive {
            Scan {
                parts,
                first: first.into(),
                last: last.into(),
                before: u32::from(bits >> 4),
                missing: u32::from(bits & 15),
                at,
            }
        } else {
            Scan {
                parts,
                first: 0,
                last: BLOCK - 1,
                before: 0,
                missing: 0,
                at,
            }
        };
        // G.1.1.1: first coefficients stand alone, others have a scan for each component.
        let alone = !frame.progressive || (scan.first == 0) == (scan.last == 0);
        let several = frame.progressive && scan.first > 0 && scan.parts.len() > 1;
        // G.1.1.1.2: a bit at a time.
        let skips = scan.before > 0 && scan.before != scan.missing + 1;
        if scan.first > scan.last || scan.last >= BLOCK || scan.missing > 13 || !alone || several || skips {
            return Err(MediaError::corrupt("a scan has coefficients that no scan can have"));
        }
        Ok(scan)
    }

    /// How much a step of each coefficient is, in the file's order, for the component at this place.
    pub(super) fn steps(&self, component: &Component) -> Result<[i16; BLOCK], MediaError> {
        let table = self.quantisation.get(component.table).and_then(Option::as_ref);
        let table = table.ok_or_else(|| MediaError::corrupt("a quantisation table is missing"))?;
        // Those of more than 15 bits are for samples of more than 8.
        Ok(table.map(u16::cast_signed))
    }

    /// APP2 (ICC.1, annex B.4).
    fn profile_part(&mut self, held: &[u8]) {
        let (Some(parts), Some([number, count, bytes @ ..])) = (&mut self.profile, held.strip_prefix(b"ICC_PROFILE\0"))
        else {
            return;
        };
        // Each has a number of its own, of one byte, and some of the profile: there are few, and their sum is soon told.
        let new = *number > 0 && !bytes.is_empty() && parts.iter().all(|(other, ..)| other != number);
        let so_far: usize = parts.iter().map(|(_, _, bytes)| bytes.len()).sum();
        if new && so_far + bytes.len() <= LARGEST_PROFILE {
            parts.push((*number, *count, bytes.to_vec()));
        } else {
            self.profile = None;
        }
    }

    /// The profile, where all its parts are there.
    pub(super) fn profile(&mut self) -> Option<Vec<u8>> {
        let mut parts = self.profile.take()?;
        parts.sort_by_key(|(number, ..)| *number);
        let count = usize::from(parts.first()?.1);
        let numbered = (1..)
            .zip(&parts)
            .all(|(place, (number, ..))| place == usize::from(*number));
        (parts.len() == count && numbered).then(|| parts.into_iter().flat_map(|(_, _, bytes)| bytes).collect())
    }

    /// What is written nowhere is guessed as everybody does.
    pub(super) fn colours(&self) -> Colours {
        let ids: Vec<u8> = self
            .frame
            .iter()
            .flat_map(|frame| frame.components.iter().map(|component| component.id))
            .collect();
        match (ids.as_slice(), self.adobe) {
            ([_], _) => Colours::Grey,
            ([_, _, _, _], None | Some(0)) => Colours::Cmyk,
            // 2, and what nobody writes, as libjpeg has it.
            ([_, _, _, _], Some(_)) => Colours::Ycck,
            (_, _) if self.jfif => Colours::YCbCr,
            (_, Some(0)) | (b"RGB", None) => Colours::Rgb,
            _ => Colours::YCbCr,
        }
    }
}
