//! AVIF: the container read here, AV1 decoded by `re_rav1d`, which is a port of dav1d to Rust.
//!
//! Its interface is safe, but it was C once: it has unsafe code within, and a panic of it in the middle of a frame ends
//! the process instead of unwinding. One thread and one frame are all it is given, so that its memory is known.

use super::{Cicp, Decoded, Pixels, light, yuv};
use crate::{
    MediaError,
    avif::{self, Nclx, Picture},
    isobmff::{Meta, boxes},
};
use re_rav1d::dav1d::{Decoder, Error, Picture as Frame, PixelLayout, PlanarImageComponent, Settings, pixel};

pub(super) fn decode(bytes: &[u8], cancel: &dyn Fn() -> bool) -> Result<Decoded, MediaError> {
    let meta = meta(bytes)?;
    let picture = avif::picture(&meta)?;
    let frame = frame(&meta, picture.item, bytes, &picture)?;
    let colours = picture.colours.unwrap_or_else(|| colours(&frame));
    let alpha_follows = picture.alpha.is_some();
    let mut samples = yuv::to_rgb(
        &planes(&frame, colours.full_range)?,
        colours.matrix,
        alpha_follows,
        cancel,
    )?;
    drop(frame);
    let pixels = match picture.alpha {
        None => light(picture.width, picture.height, samples, image::RgbImage::from_raw),
        Some(alpha) => {
            let frame = self::frame(&meta, alpha, bytes, &picture)?;
            let full_range =
                colours_of(&meta, alpha).map_or_else(|| self::colours(&frame).full_range, |c| c.full_range);
            yuv::add_alpha(
                &mut samples,
                &planes(&frame, full_range)?,
                picture.premultiplied,
                cancel,
            )?;
            light(picture.width, picture.height, samples, image::RgbaImage::from_raw)
        }
    };
    let mut decoded = Decoded::new(Pixels::Light(pixels), picture.profile.map(<[u8]>::to_vec));
    if decoded.profile.is_none() {
        decoded.cicp = cicp(colours);
    }
    decoded.turned = Some(picture.orientation);
    Ok(decoded)
}

fn meta(bytes: &[u8]) -> Result<Meta<'_>, MediaError> {
    for found in boxes(bytes, 0) {
        let found = found.map_err(|error| error.within("file"))?;
        if &found.kind == b"meta" {
            return Meta::parse(&found);
        }
    }
    Err(MediaError::Truncated)
}

fn colours_of(meta: &Meta<'_>, item: u32) -> Option<Nclx> {
    avif::colours(meta, item).ok()?.1
}

/// The one frame of an item.
fn frame(meta: &Meta<'_>, item: u32, file: &[u8], picture: &Picture<'_>) -> Result<Frame, MediaError> {
    // The meta box and its items are borrowed from the same file.
    let bytes = meta.bytes_of(item, file)?;
    one_frame(&bytes)?;
    let mut settings = Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    let pixels = picture.width.saturating_mul(picture.height);
    settings.set_frame_size_limit(pixels.max(1));
    let mut decoder = Decoder::with_settings(&settings).map_err(refused)?;
    match decoder.send_data(bytes.into_owned(), None, None, None) {
        Ok(()) | Err(Error::Again) => {}
        Err(error) => return Err(refused(error)),
    }
    let frame = decoder.get_picture().map_err(refused)?;
    if (frame.width(), frame.height()) != (picture.width, picture.height) {
        return Err(MediaError::corrupt("its size is not what its header says"));
    }
    Ok(frame)
}

fn refused(error: Error) -> MediaError {
    match error {
        Error::Again => MediaError::corrupt("it holds no frame"),
        other => MediaError::corrupt(format!("its AV1 frame cannot be decoded: {other}")),
    }
}

/// Counts frames in a sequence of OBUs (AV1, 5.3): a decoder keeps up to eight, and only one was reckoned with.
fn one_frame(mut obus: &[u8]) -> Result<(), MediaError> {
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;
    let cut = || MediaError::corrupt("its AV1 data ends within a unit");
    let mut frames = 0;
    while let Some((header, rest)) = obus.split_first() {
        let extended = header & 4 != 0;
        let sized = header & 2 != 0;
        let rest = if extended { rest.get(1..).ok_or_else(cut)? } else { rest };
        let (size, rest) = if sized {
            leb128(rest).ok_or_else(cut)?
        } else {
            (rest.len(), rest)
        };
        if matches!((header >> 3) & 15, FRAME_HEADER | FRAME) {
            frames += 1;
        }
        obus = rest.get(size..).ok_or_else(cut)?;
    }
    match frames {
        1 => Ok(()),
        0 => Err(MediaError::corrupt("it holds no frame")),
        _ => Err(MediaError::Unsupported {
            format: "AVIF",
            problem: "several frames in one picture: export it with one layer".to_owned(),
        }),
    }
}

/// A number of up to eight bytes with seven bits each (AV1, 4.10.5), and what follows it.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(8) {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(number).ok()?, bytes.get(place + 1..)?));
        }
    }
    None
}

/// The colours that the AV1 sequence header tells.
fn colours(frame: &Frame) -> Nclx {
    use pixel::{ColorPrimaries as Primaries, MatrixCoefficients as Matrix, TransferCharacteristic as Transfer};
    Nclx {
        primaries: match frame.color_primaries() {
            Primaries::BT709 => 1,
            Primaries::BT470M => 4,
            Primaries::BT470BG => 5,
            Primaries::ST170M => 6,
            Primaries::ST240M => 7,
            Primaries::BT2020 => 9,
            Primaries::P3DCI => 11,
            Primaries::P3Display => 12,
            _ => 2,
        },
        transfer: match frame.transfer_characteristic() {
            Transfer::BT1886 => 1,
            Transfer::BT470M => 4,
            Transfer::BT470BG => 5,
            Transfer::ST170M => 6,
            Transfer::Linear => 8,
            Transfer::SRGB => 13,
            Transfer::BT2020Ten => 14,
            Transfer::BT2020Twelve => 15,
            Transfer::PerceptualQuantizer => 16,
            Transfer::HybridLogGamma => 18,
            _ => 2,
        },
        matrix: match frame.matrix_coefficients() {
            Matrix::Identity => 0,
            Matrix::BT709 => 1,
            Matrix::BT470M => 4,
            Matrix::BT470BG => 5,
            Matrix::ST170M => 6,
            Matrix::ST240M => 7,
            Matrix::YCgCo => 8,
            Matrix::BT2020NonConstantLuminance => 9,
            Matrix::BT2020ConstantLuminance => 10,
            Matrix::ST2085 => 11,
            Matrix::ChromaticityDerivedNonConstantLuminance => 12,
            Matrix::ChromaticityDerivedConstantLuminance => 13,
            Matrix::ICtCp => 14,
            _ => 2,
        },
        full_range: frame.color_range() == pixel::YUVRange::Full,
    }
}

/// Unspecified is sRGB, and sRGB needs no telling.
fn cicp(colours: Nclx) -> Option<Cicp> {
    let known = |number: u16, otherwise: u8| match u8::try_from(number) {
        Ok(number) if number != 2 => number,
        _ => otherwise,
    };
    let (primaries, transfer) = (known(colours.primaries, 1), known(colours.transfer, 13));
    ((primaries, transfer) != (1, 13)).then_some(Cicp { primaries, transfer })
}

fn planes(frame: &Frame, full_range: bool) -> Result<yuv::Planes, MediaError> {
    let plane = |component| yuv::Plane {
        stride: usize::try_from(frame.stride(component)).unwrap_or(0),
        bytes: Box::new(frame.plane(component)),
    };
    let depth = frame
        .bits_per_component()
        .and_then(|bits| u8::try_from(bits.0).ok())
        .ok_or_else(|| MediaError::corrupt("its samples have no depth"))?;
    let layout = frame.pixel_layout();
    Ok(yuv::Planes {
        width: usize::try_from(frame.width()).unwrap_or(0),
        height: usize::try_from(frame.height()).unwrap_or(0),
        depth,
        full_range,
        halved_across: matches!(layout, PixelLayout::I420 | PixelLayout::I422),
        halved_down: layout == PixelLayout::I420,
        luma: plane(PlanarImageComponent::Y),
        chroma: (layout != PixelLayout::I400).then(|| [plane(PlanarImageComponent::U), plane(PlanarImageComponent::V)]),
    })
}
