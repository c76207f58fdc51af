//! BMP: the file header and the DIB header, from OS/2's 12 bytes to version 5.

use super::{Header, ProbeError, at, unsupported};
use crate::MediaError;

const CORE: u32 = 12;

pub(super) fn header(head: &[u8]) -> Result<Header, ProbeError> {
    let size = u32::from_le_bytes(at(head, 14)?);
    if size == CORE {
        let width = u16::from_le_bytes(at(head, 18)?);
        let height = u16::from_le_bytes(at(head, 20)?);
        return Ok(plain(width.into(), height.into()));
    }
    match size {
        40 | 52 | 56 | 108 | 124 => {}
        16 | 64 => return Err(unsupported("BMP", "an OS/2 2.x header: save it as a PNG").into()),
        other => return Err(MediaError::corrupt(format!("a header of {other} bytes is none")).into()),
    }
    let width = i32::from_le_bytes(at(head, 18)?);
    // Negative: the rows stand from above down.
    let height = i32::from_le_bytes(at(head, 22)?);
    let compression = u32::from_le_bytes(at(head, 30)?);
    let Ok(width) = u32::try_from(width) else {
        return Err(MediaError::corrupt("its width is negative").into());
    };
    match compression {
        0..=3 => {}
        4 => return Err(unsupported("BMP", "it holds a JPEG: send that").into()),
        5 => return Err(unsupported("BMP", "it holds a PNG: send that").into()),
        6 => return Err(unsupported("BMP", "colour masks of Windows CE: save it as a PNG").into()),
        11..=13 => return Err(unsupported("BMP", "CMYK: save it as a TIFF").into()),
        other => return Err(MediaError::corrupt(format!("compression {other} is none")).into()),
    }
    Ok(plain(width, height.unsigned_abs()))
}

/// RGB or RGBA, which loses an alpha that says nothing where it lies.
fn plain(width: u32, height: u32) -> Header {
    Header::plain(width, height, 4, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dib(size: u32, width: i32, height: i32, compression: u32) -> Vec<u8> {
        let mut bytes = b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0".to_vec();
        bytes.extend(size.to_le_bytes());
        bytes.extend(width.to_le_bytes());
        bytes.extend(height.to_le_bytes());
        bytes.extend([1, 0, 24, 0]);
        bytes.extend(compression.to_le_bytes());
        bytes.resize(14 + usize::try_from(size).unwrap(), 0);
        bytes
    }

    #[test]
    fn headers_of_every_version_are_read() {
        for size in [40, 52, 56, 108, 124] {
            for height in [480, -480] {
                let header = header(&dib(size, 640, height, 0)).unwrap();
                assert_eq!((header.width, header.height), (640, 480), "{size}");
            }
        }
        let core = b"BM\x46\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0\x80\x02\xe0\x01\x01\0\x18\0";
        let header = header(core).unwrap();
        assert_eq!((header.width, header.height), (640, 480));
    }

    #[test]
    fn what_no_decoder_takes_is_refused_by_its_name() {
        let refusal = |bytes: &[u8]| header(bytes).unwrap_err().to_string();
        assert!(refusal(&dib(64, 1, 1, 0)).contains("OS/2"));
        assert!(refusal(&dib(40, 1, 1, 4)).contains("JPEG"));
        assert!(refusal(&dib(41, 1, 1, 0)).contains("41 bytes"));
        assert!(refusal(&dib(40, -1, 1, 0)).contains("negative"));
        assert_eq!(header(&dib(40, 1, i32::MIN, 0)).unwrap().height, 1 << 31);
    }
}
