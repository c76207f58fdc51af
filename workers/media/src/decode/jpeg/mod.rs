//! JPEG (ITU-T T.81, and Adobe's ways with four components): sequential and progressive, Huffman coded, 8 bits a sample.
//!
//! What a scaled picture needs, and no more: at N eighths of the size no more samples are made than N eighths have, and the
//! colours stay as they are coded, each in a plane of its own. Coded samples that make no sense are refused, not guessed.

mod headers;
mod huffman;
mod idct;
mod scans;

use super::{Cmyk, Decoded, Pixels};
use crate::{
    MediaError,
    planes::{Light, Plane, Planes},
    strip::MOST_SCANS,
};
use headers::{Colours, Frame, Headers, Scan};
use scans::{Kept, Target};

/// Coefficients of a block.
const BLOCK: usize = 64;

/// How a component's blocks lie.
#[derive(Debug, Clone, Copy)]
struct Grid {
    /// Blocks of it in a unit of all components, across and down.
    unit: (usize, usize),
    /// Such units.
    units: (usize, usize),
    /// Blocks, those that fill up the last units included.
    across: usize,
    down: usize,
    /// Blocks without them.
    used: (usize, usize),
    /// Samples across and down that are the picture's, at full size.
    samples: (f64, f64),
    /// The same for each pixel.
    sampling: (f64, f64),
    /// How many times as many another component has, in the direction in which it is most.
    fewer: usize,
}

fn grids(frame: &Frame) -> Vec<Grid> {
    let most = |side: fn(&headers::Component) -> usize| frame.components.iter().map(side).max().unwrap_or(1);
    let (most_across, most_down) = (most(|c| c.across), most(|c| c.down));
    let (width, height) = (usize::from(frame.width), usize::from(frame.height));
    let units = (width.div_ceil(8 * most_across), height.div_ceil(8 * most_down));
    let grid = |component: &headers::Component| Grid {
        unit: (component.across, component.down),
        units,
        across: units.0 * component.across,
        down: units.1 * component.down,
        used: (
            (width * component.across).div_ceil(8 * most_across),
            (height * component.down).div_ceil(8 * most_down),
        ),
        samples: (
            (width * component.across) as f64 / most_across as f64,
            (height * component.down) as f64 / most_down as f64,
        ),
        sampling: (
            component.across as f64 / most_across as f64,
            component.down as f64 / most_down as f64,
        ),
        fewer: most_across
            .div_ceil(component.across)
            .max(most_down.div_ceil(component.down)),
    };
    frame.components.iter().map(grid).collect()
}

/// Decodes a picture, at `eighths` of its size, 1 to 8, where it has light and not inks.
pub(super) fn decode(bytes: &[u8], eighths: u8, cancel: &dyn Fn() -> bool) -> Result<Decoded, MediaError> {
    let mut headers = Headers::new();
    let scan = headers.scan(bytes, 0)?.ok_or(MediaError::Truncated)?;
    let frame = headers.frame.clone();
    let frame = frame.ok_or_else(|| MediaError::corrupt("it has no frame header"))?;
    let colours = headers.colours();
    let inks = matches!(colours, Colours::Cmyk | Colours::Ycck);
    let eighths = if inks { 8 } else { usize::from(eighths.clamp(1, 8)) };
    let grids = grids(&frame);
    // Colours that are sampled less are not made fewer still.
    let size = |grid: &Grid| (eighths * grid.fewer).min(8);
    let targets = if !frame.progressive && scan.parts.len() == frame.components.len() {
        let mut targets: Vec<Target> = grids.iter().map(|grid| Target::new(*grid, size(grid))).collect();
        scans::sequential(bytes, &headers, &frame, &scan, &mut targets, cancel)?;
        targets
    } else {
        let kept = kept(bytes, &mut headers, &frame, &grids, scan, cancel)?;
        let samples = |(kept, grid): (Kept, &Grid)| kept.into_samples(size(grid), cancel);
        kept.into_iter().zip(&grids).map(samples).collect::<Result<_, _>>()?
    };
    let planes = targets.into_iter().map(Plane::from).collect();
    let planes = Planes::new(
        (frame.width.into(), frame.height.into()),
        planes,
        match colours {
            Colours::Grey => Light::Grey,
            Colours::Rgb => Light::Rgb,
            Colours::YCbCr | Colours::Cmyk | Colours::Ycck => Light::YCbCr,
        },
    );
    let pixels = if inks {
        let mut samples = planes.interleaved::<4>()?;
        self::inks(&mut samples, colours == Colours::Ycck);
        Pixels::Ink(Cmyk {
            width: frame.width.into(),
            height: frame.height.into(),
            samples,
        })
    } else {
        Pixels::Planes(planes)
    };
    Ok(Decoded::new(pixels, headers.profile()))
}

impl From<Target> for Plane {
    fn from(target: Target) -> Self {
        let of = |samples: f64| samples * target.size as f64 / 8.0;
        let (width, height) = target.grid.samples;
        Self::new(
            target.stride(),
            (of(width), of(height)),
            target.grid.sampling,
            target.samples,
        )
    }
}

/// The coefficients of all scans, of which `first` is the first.
fn kept(
    bytes: &[u8],
    headers: &mut Headers,
    frame: &Frame,
    grids: &[Grid],
    first: Scan,
    cancel: &dyn Fn() -> bool,
) -> Result<Vec<Kept>, MediaError> {
    let mut kept: Vec<Kept> = grids.iter().map(|grid| Kept::new(*grid)).collect();
    let mut scan = Some(first);
    let mut seen = vec![false; kept.len()];
    let mut scans = 0;
    while let Some(current) = scan {
        scans += 1;
        if scans > MOST_SCANS {
            return Err(MediaError::corrupt(format!("it has more than {MOST_SCANS} scans")));
        }
        for part in &current.parts {
            seen[part.component] = true;
        }
        let end = scans::partial(bytes, headers, frame, &current, &mut kept, cancel)?;
        if !frame.progressive && seen.iter().all(|seen| *seen) {
            break;
        }
        scan = headers.scan(bytes, end)?;
    }
    if seen.iter().any(|seen| !seen) {
        return Err(MediaError::corrupt("a component has no scan"));
    }
    Ok(kept)
}

/// Inks, 0 none, from what the file has: Adobe writes them the other way round, and everybody after it, with its marker
/// or without. YCCK is CMYK whose first three, taken for RGB, were turned into `YCbCr`.
fn inks(samples: &mut [u8], ycck: bool) {
    for pixel in samples.as_chunks_mut::<4>().0 {
        let [first, second, third, black] = *pixel;
        let [cyan, magenta, yellow] = if ycck {
            crate::planes::rgb(first, second, third)
        } else {
            [255 - first, 255 - second, 255 - third]
        };
        *pixel = [cyan, magenta, yellow, 255 - black];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Fit, Limits, Variant,
        geometry::{Bounds, Plan},
        resize::Scaler,
    };
    use image::{DynamicImage, RgbImage};
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

    fn coded(width: u16, height: u16, adapt: impl Fn(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
        let image = RgbImage::from_fn(width.into(), height.into(), |x, y| {
            // Edges, slopes and fine grain.
            let edge = if (x / 40 + y / 56) % 2 == 0 { 60 } else { 150 };
            let grain = (x * 7 + y * 13) % 11 * 2;
            let level = |value: u32| u8::try_from(value.min(255)).unwrap();
            image::Rgb([level(edge + grain), level(edge + x / 8), level(200 - edge + y / 8)])
        });
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, 92);
        adapt(&mut encoder);
        encoder.encode(&image, width, height, ColorType::Rgb).unwrap();
        out
    }

    fn scaled(bytes: &[u8], eighths: u8, width: u32) -> DynamicImage {
        let (source, _) = decode(bytes, eighths, &|| false).unwrap().into_light();
        let (across, down) = source.size();
        let bounds = Bounds::new(&Limits::default(), across, down, (u32::MAX, u64::MAX));
        let plan = Plan::new(&Variant::new("v", Some(width), None, Fit::Inside), across, down, bounds);
        source.scaled_image(&mut Scaler::default(), plan, false).unwrap()
    }

    /// Mean square error to PSNR, dB.
    fn psnr(one: &DynamicImage, other: &DynamicImage) -> f64 {
        assert_eq!((one.width(), one.height()), (other.width(), other.height()));
        let squares: f64 = one
            .as_bytes()
            .iter()
            .zip(other.as_bytes())
            .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
            .sum();
        10.0 * (255.0 * 255.0 * one.as_bytes().len() as f64 / squares.max(1e-9)).log10()
    }

    #[test]
    fn what_is_scaled_looks_the_same_from_fewer_samples() {
        for sampling in [
            SamplingFactor::R_4_4_4,
            SamplingFactor::R_4_2_2,
            SamplingFactor::R_4_2_0,
            SamplingFactor::R_4_1_1,
        ] {
            for progressive in [false, true] {
                let bytes = coded(601, 403, |encoder| {
                    encoder.set_sampling_factor(sampling);
                    encoder.set_progressive(progressive);
                });
                for eighths in 1..8 {
                    // As much smaller again as the margin asks for.
                    let width = 601 * u32::from(eighths) / 12;
                    let near = psnr(&scaled(&bytes, eighths, width), &scaled(&bytes, 8, width));
                    assert!(near > 33.0, "{sampling:?} {progressive} {eighths}: {near:.1} dB");
                }
            }
        }
    }

    #[test]
    fn planes_have_the_samples_that_were_asked_for() {
        let bytes = coded(601, 403, |encoder| encoder.set_sampling_factor(SamplingFactor::R_4_2_0));
        let Pixels::Planes(planes) = decode(&bytes, 4, &|| false).unwrap().pixels else {
            panic!("a photograph is of planes");
        };
        assert_eq!(planes.size(), (601, 403));
        // Luma at half of its size, and all there is of the colours: the same.
        assert_eq!(planes.samples(), [(304, 208); 3]);
    }

    #[test]
    fn bits_that_come_twice_are_refused() {
        let bytes = coded(64, 64, |encoder| encoder.set_progressive(true));
        let last = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
        let twice = [&bytes[..bytes.len() - 2], &bytes[last..]].concat();
        decode(&bytes, 8, &|| false).unwrap();
        let refused = decode(&twice, 8, &|| false).unwrap_err().to_string();
        assert!(refused.contains("bits that another had"), "{refused}");
        // Its last byte but three says which bits: of ones that are still to come it knows nothing.
        let mut skipped = bytes.clone();
        let bits = last + 3 + usize::from(bytes[last + 3]) - 2;
        skipped[bits] = 0x20;
        let refused = decode(&skipped, 8, &|| false).unwrap_err().to_string();
        assert!(refused.contains("no scan can have"), "{refused}");
    }

    #[test]
    fn a_flood_of_profiles_is_no_profile() {
        let bytes = coded(64, 64, |_| ());
        let flood = |part: &[u8]| [&bytes[..2], &part.repeat(200_000), &bytes[2..]].concat();
        let empty = [&[0xff, 0xe2, 0, 16][..], b"ICC_PROFILE\0", &[1, 1]].concat();
        let one = [&[0xff, 0xe2, 0, 17][..], b"ICC_PROFILE\0", &[1, 1, 7]].concat();
        for part in [empty, one] {
            let (_, profile) = decode(&flood(&part), 8, &|| false).unwrap().into_light();
            assert_eq!(profile, None);
        }
    }

    #[test]
    fn a_decoder_stops_when_it_is_told() {
        for progressive in [false, true] {
            let bytes = coded(200, 200, |encoder| encoder.set_progressive(progressive));
            let asked = std::cell::Cell::new(0);
            let cancel = || {
                asked.set(asked.get() + 1);
                asked.get() > 3
            };
            assert_eq!(decode(&bytes, 8, &cancel).unwrap_err(), MediaError::Cancelled);
        }
    }
}
