//! JPEG: segments up to the first scan (ITU-T T.81, annex B).

use super::{Header, ProbeError, TABLES, at, unsupported};
use crate::MediaError;

/// A component of a frame: how often it is sampled, across and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Component {
    across: u8,
    down: u8,
}

/// A frame header (T.81, B.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    width: u16,
    height: u16,
    progressive: bool,
    components: Vec<Component>,
}

pub(super) fn header(head: &[u8]) -> Result<Header, ProbeError> {
    let (frame, in_scan, profile) = first_scan(head)?;
    Ok(frame.header(in_scan, profile))
}

/// The frame, how many components the first scan has, and what a profile before it takes.
fn first_scan(head: &[u8]) -> Result<(Frame, u8, u64), ProbeError> {
    let mut place = 2_usize;
    let mut frame: Option<Frame> = None;
    let mut profile = 0_u64;
    loop {
        let [marker, code] = at(head, place)?;
        // Some programs leave bytes between segments: every decoder passes over them.
        if marker != 0xff || code == 0 {
            place += 1;
            continue;
        }
        match code {
            // A fill byte.
            0xff => {
                place += 1;
                continue;
            }
            // Markers without a segment.
            0x01 | 0xd0..=0xd8 => {
                place += 2;
                continue;
            }
            0xd9 => return Err(MediaError::Truncated.into()),
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                if frame.is_some() {
                    return Err(MediaError::corrupt("it has two frame headers").into());
                }
                frame = Some(frame_header(head, place, code)?);
            }
            0xde => return Err(unsupported("JPEG", "hierarchical coding").into()),
            0xda => {
                let Some(frame) = frame else {
                    return Err(MediaError::corrupt("a scan stands before its frame header").into());
                };
                let [in_scan] = at(head, place + 4)?;
                return Ok((frame, in_scan, profile));
            }
            _ => {}
        }
        let length = u16::from_be_bytes(at(head, place + 2)?);
        if length < 2 {
            return Err(MediaError::corrupt("a segment is shorter than its own length").into());
        }
        // A profile in parts (ICC.1, annex B.4): held in parts, and put together.
        if code == 0xe2 {
            profile = profile.saturating_add(u64::from(length) * 4);
        }
        place += 2 + usize::from(length);
    }
}

fn frame_header(head: &[u8], place: usize, code: u8) -> Result<Frame, ProbeError> {
    let [bits] = at(head, place + 4)?;
    let height = u16::from_be_bytes(at(head, place + 5)?);
    let width = u16::from_be_bytes(at(head, place + 7)?);
    let [count] = at(head, place + 9)?;
    if u16::from_be_bytes(at(head, place + 2)?) < 8 + 3 * u16::from(count) {
        return Err(MediaError::corrupt("its frame header is shorter than what it holds").into());
    }
    if height == 0 && width > 0 {
        // B.2.5.
        return Err(unsupported("JPEG", "a height that is told behind the first scan").into());
    }
    match code {
        0xc0..=0xc2 => {}
        0xc3 | 0xc7 | 0xcb | 0xcf => return Err(unsupported("JPEG", "lossless coding").into()),
        0xc9..=0xcf => return Err(unsupported("JPEG", "arithmetic coding").into()),
        _ => return Err(unsupported("JPEG", "hierarchical coding").into()),
    }
    if bits != 8 {
        return Err(unsupported("JPEG", format!("{bits} bits a sample")).into());
    }
    if !matches!(count, 1 | 3 | 4) {
        return Err(MediaError::corrupt(format!("{count} colour components")).into());
    }
    let components = (0..usize::from(count))
        .map(|number| {
            let [_, sampling, _] = at::<3>(head, place + 10 + number * 3)?;
            let component = Component {
                across: sampling >> 4,
                down: sampling & 15,
            };
            if !(1..=4).contains(&component.across) || !(1..=4).contains(&component.down) {
                return Err(MediaError::corrupt("a component is sampled in a way that is none").into());
            }
            Ok(component)
        })
        .collect::<Result<_, ProbeError>>()?;
    Ok(Frame {
        width,
        height,
        progressive: code == 0xc2,
        components,
    })
}

impl Frame {
    fn apart(&self, in_scan: u8) -> bool {
        !self.progressive && usize::from(in_scan) < self.components.len()
    }

    /// With the number of components in the first scan: when it has all of them and is not progressive, samples are made as
    /// they come; else all coefficients are kept until the last scan.
    fn header(&self, in_scan: u8, profile: u64) -> Header {
        let most = |side: fn(&Component) -> u8| self.components.iter().map(side).max().unwrap_or(1);
        let (most_across, most_down) = (most(|c| c.across), most(|c| c.down));
        let units_across = u64::from(self.width).div_ceil(8 * u64::from(most_across));
        let units_down = u64::from(self.height).div_ceil(8 * u64::from(most_down));
        let mut blocks = [(0, 1); 4];
        for (slot, component) in blocks.iter_mut().zip(&self.components) {
            let fewer = most_across
                .div_ceil(component.across)
                .max(most_down.div_ceil(component.down));
            let in_unit = u64::from(component.across) * u64::from(component.down);
            *slot = (units_across * units_down * in_unit, fewer);
        }
        // What is neither as large as the others nor half of it is scaled, a strip at a time.
        let plain = |one: u8, most: u8| one == most || one * 2 == most;
        let strips = self
            .components
            .iter()
            .any(|c| !plain(c.across, most_across) || !plain(c.down, most_down));
        let rows = if strips { 1_024 } else { 256 };
        let pixel_bytes = u8::try_from(self.components.len()).unwrap_or(4);
        let coded = Coded {
            blocks,
            kept: self.progressive || self.apart(in_scan),
            whole: super::pixels(self.width.into(), self.height.into()) * u64::from(pixel_bytes),
            inks: pixel_bytes == 4,
            // Rows of whole pixels while they are put together, a profile, tables.
            beside: u64::from(self.width) * rows + profile + TABLES,
        };
        Header {
            width: self.width.into(),
            height: self.height.into(),
            pixel_bytes,
            decoder_bytes: coded.bytes(8),
            coded: Some(coded),
        }
    }
}

/// What the samples of a frame take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coded {
    /// Of each component: its blocks, and how many times as many samples another has across or down.
    blocks: [(u64, u8); 4],
    /// Whether all coefficients are.
    kept: bool,
    /// Whether they are inks, which are always decoded at full size.
    inks: bool,
    /// Bytes of its pixels.
    whole: u64,
    /// Bytes beside the samples.
    beside: u64,
}

impl Coded {
    /// Bytes that decoding takes at so many eighths of its size, its pixels at full size included where that is all.
    pub(crate) fn bytes(self, eighths: u8) -> u64 {
        let eighths = if self.inks { 8 } else { eighths };
        let samples = self.blocks.iter().map(|(blocks, fewer)| {
            let side = u64::from(eighths.saturating_mul(*fewer).min(8));
            let kept = if self.kept { 128 } else { 0 };
            blocks.saturating_mul(side * side + kept)
        });
        let samples = samples.fold(0, u64::saturating_add);
        let whole = if eighths == 8 { self.whole } else { 0 };
        samples.saturating_add(whole).saturating_add(self.beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(code: u8, bits: u8, sampling: &[u8], in_scan: u8) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, code, 0, 0, bits, 0x03, 0xe8, 0x03, 0xe8];
        bytes[5] = u8::try_from(8 + 3 * sampling.len()).unwrap();
        bytes.push(u8::try_from(sampling.len()).unwrap());
        for sampling in sampling {
            bytes.extend([1, *sampling, 0]);
        }
        bytes.extend([0xff, 0xda, 0, 12, in_scan]);
        bytes
    }

    #[test]
    fn what_keeps_all_coefficients_is_known_to_take_more() {
        let bytes = |code, in_scan| {
            header(&file(code, 8, &[0x22, 0x11, 0x11], in_scan))
                .unwrap()
                .decoder_bytes
        };
        let once = bytes(0xc0, 3);
        let million = 1_000_000;
        // One and a half samples and three bytes a pixel, and what is beside them.
        assert!(once < 7 * million, "{once}");
        for kept in [bytes(0xc2, 3), bytes(0xc0, 1), bytes(0xc1, 2)] {
            assert!(kept >= once + 3 * million, "{kept} {once}");
        }
    }

    #[test]
    fn less_than_all_of_it_takes_less() {
        let header = header(&file(0xc0, 8, &[0x22, 0x11, 0x11], 3)).unwrap();
        let coded = header.coded.unwrap();
        let beside = coded.beside;
        // Units of 16 × 16: 63 × 63 of them, with four blocks of luma.
        let units = 63 * 63;
        for (eighths, luma, colour) in [(1, 1, 4), (4, 16, 64), (5, 25, 64), (7, 49, 64)] {
            assert_eq!(
                coded.bytes(eighths) - beside,
                units * (4 * luma + 2 * colour),
                "{eighths}"
            );
        }
        assert_eq!(coded.bytes(8) - beside, units * 6 * 64 + 3 * 1_000_000);
        // Inks are never fewer.
        let inks = super::header(&file(0xc0, 8, &[0x11; 4], 4)).unwrap().coded.unwrap();
        assert_eq!(inks.bytes(1), inks.bytes(8));
    }

    #[test]
    fn bytes_between_segments_are_passed_over() {
        let whole = file(0xc0, 8, &[0x22, 0x11, 0x11], 3);
        let mut dirty = whole.clone();
        dirty.splice(2..2, *b"junk \xff\0 junk");
        assert_eq!(header(&dirty), header(&whole));
    }

    #[test]
    fn kinds_that_no_decoder_takes_are_refused_by_their_name() {
        let refusal = |code, bits| header(&file(code, bits, &[0x11], 1)).unwrap_err().to_string();
        assert!(refusal(0xc1, 12).contains("12 bits a sample"));
        assert!(refusal(0xc3, 8).contains("lossless"));
        assert!(refusal(0xc9, 8).contains("arithmetic"));
        assert!(refusal(0xc5, 8).contains("hierarchical"));
        assert!(refusal(0xde, 8).contains("hierarchical"));
        let error = header(&file(0xc0, 8, &[0x51], 1)).unwrap_err();
        assert!(error.to_string().contains("sampled"), "{error}");
    }
}
