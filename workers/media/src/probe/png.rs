//! PNG: the IHDR chunk (W3C PNG, third edition, 11.2.1).

use super::{Header, ProbeError, at};
use crate::MediaError;

pub(super) fn header(head: &[u8]) -> Result<Header, ProbeError> {
    if at::<4>(head, 12)? != *b"IHDR" {
        return Err(MediaError::corrupt("its header chunk is missing").into());
    }
    let width = u32::from_be_bytes(at(head, 16)?);
    let height = u32::from_be_bytes(at(head, 20)?);
    let [depth, colour] = at(head, 24)?;
    let deep = depth == 16;
    // Samples of a decoded pixel: a tRNS chunk further on may add alpha to greys, colours and palettes.
    let samples: u8 = match colour {
        0 | 4 => 2,
        2 | 3 | 6 => 4,
        other => return Err(MediaError::corrupt(format!("{other} is no colour type")).into()),
    };
    let pixel_bytes = if deep { samples * 2 } else { samples };
    // Deep samples are turned into 8 bits, and grey with alpha into RGBA, beside what they were made of.
    let turned = if deep || samples == 2 { 4 } else { 0 };
    Ok(Header::plain(
        width,
        height,
        pixel_bytes,
        u64::from(pixel_bytes) + turned,
    ))
}
