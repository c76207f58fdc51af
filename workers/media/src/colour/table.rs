//! Whole files in wide colours and in inks, made into variants: a table of colour differences against the formulas.

use super::tests::{
    Colour, FROM_ADOBE_RGB, FROM_DISPLAY_P3, Matrix, PATCHES, difference, encoded, light, part, printer, times,
};
use crate::{Fit, Output, Policy, Settings, Variant, process};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use jpeg_encoder::{ColorType, Encoder};
use moxcms::ColorProfile;

/// Pixels of a patch, across and down: more than a JPEG's blocks share.
const SIDE: u32 = 32;

/// `count` patches beside each other; samples by `of`.
fn chart<const N: usize>(count: usize, of: impl Fn(usize) -> [u8; N]) -> (u32, Vec<u8>) {
    let width = u32::try_from(count).unwrap() * SIDE;
    let row: Vec<u8> = (0..width)
        .flat_map(|x| of(usize::try_from(x / SIDE).unwrap()))
        .collect();
    (width, row.repeat(usize::try_from(SIDE).unwrap()))
}

fn jpeg(width: u32, pixels: &[u8], colours: ColorType, profile: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, 100);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::R_4_4_4);
    if !profile.is_empty() {
        encoder.add_icc_profile(profile).unwrap();
    }
    let (width, height) = (u16::try_from(width).unwrap(), u16::try_from(SIDE).unwrap());
    encoder.encode(pixels, width, height, colours).unwrap();
    out
}

fn written<E: ImageEncoder>(mut encoder: E, width: u32, pixels: &[u8], profile: &[u8]) {
    encoder.set_icc_profile(profile.to_vec()).unwrap();
    encoder
        .write_image(pixels, width, SIDE, ExtendedColorType::Rgb8)
        .unwrap();
}

/// The patches of each variant: as it is, made smaller, and in each format that goes out.
fn shown(bytes: &[u8], count: usize) -> Vec<(String, Vec<Colour>)> {
    let width = u32::try_from(count).unwrap() * SIDE;
    let variant = |name: &str, width: u32, output: Output| Variant {
        output,
        quality: 100,
        ..Variant::new(name, Some(width), None, Fit::Inside)
    };
    let settings = Settings {
        policy: Policy::Strip,
        variants: vec![
            variant("whole", width, Output::Png),
            variant("half", width / 2, Output::Png),
            variant("jpeg", width, Output::Jpeg),
            variant("webp", width, Output::WebpLossless),
        ],
        ..Settings::default()
    };
    let made = process(bytes, &settings, &|| false).unwrap();
    made.variants
        .iter()
        .map(|variant| {
            let image: RgbImage = image::load_from_memory(&variant.bytes).unwrap().into_rgb8();
            let step = image.width() / u32::try_from(count).unwrap();
            let middle = |number: usize| u32::try_from(number).unwrap() * step + step / 2;
            let patches = (0..count).map(|number| part(image.get_pixel(middle(number), image.height() / 2).0));
            (variant.name.clone(), patches.collect())
        })
        .collect()
}

/// Prints a line of the table, and holds it to its bound.
fn hold(name: &str, shown: &[(String, Vec<Colour>)], meant: &[Colour], bound: f64) {
    for (variant, patches) in shown {
        let deltas: Vec<f64> = patches
            .iter()
            .zip(meant)
            .map(|(got, meant)| difference(*got, *meant))
            .collect();
        let most = deltas.iter().copied().fold(0.0, f64::max);
        let mean = deltas.iter().sum::<f64>() / f64::from(u32::try_from(deltas.len()).unwrap());
        #[expect(clippy::print_stdout, reason = "the table, for who asks for it")]
        let () = println!("{name:24} {variant:6} mean ΔE2000 {mean:5.2}  most {most:5.2}");
        assert!(most < bound, "{name} {variant}: {most:.2}, {deltas:.2?}");
    }
}

#[test]
fn wide_colours_look_the_same_from_every_container_to_every_format() {
    type Curve = fn(f64) -> f64;
    let spaces: [(&str, ColorProfile, Matrix, Curve); 2] = [
        ("Display P3", ColorProfile::new_display_p3(), FROM_DISPLAY_P3, light),
        ("Adobe RGB", ColorProfile::new_adobe_rgb(), FROM_ADOBE_RGB, |v| {
            v.powf(2.199_218_75)
        }),
    ];
    for (space, profile, matrix, curve) in spaces {
        let profile = profile.encode().unwrap();
        let meant = PATCHES.map(|patch| times(&matrix, part(patch).map(curve)).map(encoded));
        let (width, pixels) = chart(PATCHES.len(), |number| PATCHES[number]);
        let in_memory = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            out
        };
        let png = in_memory(&|out| {
            written(image::codecs::png::PngEncoder::new(out), width, &pixels, &profile);
        });
        let webp = in_memory(&|out| {
            written(
                image::codecs::webp::WebPEncoder::new_lossless(out),
                width,
                &pixels,
                &profile,
            );
        });
        hold(&format!("{space}, PNG"), &shown(&png, PATCHES.len()), &meant, 2.0);
        hold(&format!("{space}, WebP"), &shown(&webp, PATCHES.len()), &meant, 2.0);
        // Codes of the highest quality are a step or two off before anything is converted.
        let jpeg = jpeg(width, &pixels, ColorType::Rgb, &profile);
        hold(&format!("{space}, JPEG"), &shown(&jpeg, PATCHES.len()), &meant, 3.0);
    }
}

#[test]
fn inks_look_as_their_process_prints_them() {
    let inks: Vec<[u8; 4]> = (0..16_u8)
        .map(|number| [3, 2, 1, 0].map(|bit| (number >> bit & 1) * 255))
        .collect();
    // What is left of white by each ink and then by black: the process of `printer`.
    let meant: Vec<Colour> = inks
        .iter()
        .map(|inks| {
            let left = inks.map(|ink| 1.0 - f64::from(ink) / 255.0);
            [left[0] * left[3], left[1] * left[3], left[2] * left[3]]
        })
        .collect();
    let (width, pixels) = chart(inks.len(), |number| inks[number]);
    for (name, colours) in [("CMYK", ColorType::Cmyk), ("YCCK", ColorType::CmykAsYcck)] {
        for (with, profile) in [("no profile", Vec::new()), ("a profile", printer())] {
            let bytes = jpeg(width, &pixels, colours, &profile);
            hold(&format!("{name}, {with}"), &shown(&bytes, inks.len()), &meant, 4.0);
        }
    }
}
