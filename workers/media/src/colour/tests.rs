//! Conversions against the formulas that define the spaces, as differences of CIE ΔE 2000.

use super::*;
use crate::decode::{Cmyk, Decoded, Pixels};
use image::{GrayImage, Rgba, RgbaImage};
use moxcms::{LutDataType, LutStore, LutType, LutWarehouse, Matrix3d, ProfileClass};
use proptest::prelude::*;

pub(super) type Colour = [f64; 3];
pub(super) type Matrix = [[f64; 3]; 3];

/// From light in each space to light in sRGB, both as seen under the same white.
pub(super) const FROM_DISPLAY_P3: Matrix = [
    [1.224_940_1, -0.224_940_4, 0.0],
    [-0.042_056_9, 1.042_057_1, 0.0],
    [-0.019_637_6, -0.078_636_1, 1.098_273_5],
];
pub(super) const FROM_ADOBE_RGB: Matrix = [
    [1.398_355_7, -0.398_355_7, 0.0],
    [0.0, 1.0, 0.0],
    [0.0, -0.042_929_0, 1.042_929_0],
];
const FROM_PRO_PHOTO: Matrix = [
    [2.034_193, -0.727_420, -0.306_766],
    [-0.228_811, 1.231_729, -0.002_922],
    [-0.008_565, -0.153_273, 1.161_839],
];
/// From light in sRGB to CIE XYZ under D50.
const TO_XYZ: Matrix = [
    [0.436_074_7, 0.385_064_9, 0.143_080_4],
    [0.222_504_5, 0.716_878_6, 0.060_616_9],
    [0.013_932_2, 0.097_104_5, 0.714_173_3],
];

pub(super) fn times(matrix: &Matrix, [a, b, c]: Colour) -> Colour {
    matrix.map(|[x, y, z]| x * a + y * b + z * c)
}

pub(super) fn light(encoded: f64) -> f64 {
    if encoded <= 0.040_45 {
        encoded / 12.92
    } else {
        ((encoded + 0.055) / 1.055).powf(2.4)
    }
}

pub(super) fn encoded(light: f64) -> f64 {
    let light = light.clamp(0.0, 1.0);
    if light <= 0.003_130_8 {
        light * 12.92
    } else {
        1.055 * light.powf(1.0 / 2.4) - 0.055
    }
}

/// CIE L*a*b* of an sRGB colour, each 0 to 1.
fn lab(colour: Colour) -> Colour {
    let [x, y, z] = times(&TO_XYZ, colour.map(light));
    let curve = |ratio: f64| {
        if ratio > 216.0 / 24_389.0 {
            ratio.cbrt()
        } else {
            (24_389.0 / 27.0 * ratio + 16.0) / 116.0
        }
    };
    let [x, y, z] = [curve(x / 0.964_22), curve(y), curve(z / 0.825_21)];
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// ISO/CIE 11664-6.
pub(super) fn difference(one: Colour, other: Colour) -> f64 {
    let ([l1, a1, b1], [l2, a2, b2]) = (lab(one), lab(other));
    let chroma = f64::midpoint(a1.hypot(b1), a2.hypot(b2));
    let tame = |chroma: f64| (chroma.powi(7) / (chroma.powi(7) + 25_f64.powi(7))).sqrt();
    let stretch = 1.0 + 0.5 * (1.0 - tame(chroma));
    let (a1, a2) = (a1 * stretch, a2 * stretch);
    let (c1, c2) = (a1.hypot(b1), a2.hypot(b2));
    let hue = |a: f64, b: f64| b.atan2(a).to_degrees().rem_euclid(360.0);
    let (h1, h2) = (hue(a1, b1), hue(a2, b2));
    let grey = c1 * c2 < 1e-9;
    let turn = if grey {
        0.0
    } else {
        (h2 - h1 + 540.0).rem_euclid(360.0) - 180.0
    };
    let mean_hue = if grey {
        h1 + h2
    } else {
        (h1 + turn / 2.0).rem_euclid(360.0)
    };
    let (dl, dc) = (l2 - l1, c2 - c1);
    let dh = 2.0 * (c1 * c2).sqrt() * (turn / 2.0).to_radians().sin();
    let (l, c) = (f64::midpoint(l1, l2), f64::midpoint(c1, c2));
    let cosine = |degrees: f64| degrees.to_radians().cos();
    let t = 1.0 - 0.17 * cosine(mean_hue - 30.0) + 0.24 * cosine(2.0 * mean_hue) + 0.32 * cosine(3.0 * mean_hue + 6.0)
        - 0.20 * cosine(4.0 * mean_hue - 63.0);
    let sl = 1.0 + 0.015 * (l - 50.0).powi(2) / (20.0 + (l - 50.0).powi(2)).sqrt();
    let (sc, sh) = (1.0 + 0.045 * c, 1.0 + 0.015 * c * t);
    let rotation = 30.0 * (-((mean_hue - 275.0) / 25.0).powi(2)).exp();
    let rt = -2.0 * tame(c) * (2.0 * rotation).to_radians().sin();
    ((dl / sl).powi(2) + (dc / sc).powi(2) + (dh / sh).powi(2) + rt * (dc / sc) * (dh / sh)).sqrt()
}

pub(super) fn part(colour: [u8; 3]) -> Colour {
    colour.map(|sample| f64::from(sample) / 255.0)
}

fn converted(profile: &ColorProfile, colours: &[[u8; 3]]) -> Vec<[u8; 3]> {
    let width = u32::try_from(colours.len()).unwrap();
    let pixels = RgbImage::from_raw(width, 1, colours.concat()).unwrap();
    let mut image = DynamicImage::ImageRgb8(pixels);
    let conversion = ToSrgb::new(&profile.encode().unwrap(), image.color()).expect("another space than sRGB");
    conversion.convert(&mut image);
    image.as_bytes().as_chunks::<3>().0.to_vec()
}

/// Primaries, skin, sky, leaves, greys.
pub(super) const PATCHES: [[u8; 3]; 16] = [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [255, 255, 0],
    [0, 255, 255],
    [255, 0, 255],
    [115, 82, 68],
    [194, 150, 130],
    [98, 122, 157],
    [87, 108, 67],
    [214, 126, 44],
    [56, 61, 150],
    [243, 243, 242],
    [122, 122, 121],
    [52, 52, 52],
    [12, 20, 8],
];

#[test]
fn wide_spaces_are_converted_as_their_formulas_say() {
    type Curve = fn(f64) -> f64;
    let spaces: [(&str, ColorProfile, Matrix, Curve); 3] = [
        ("Display P3", ColorProfile::new_display_p3(), FROM_DISPLAY_P3, light),
        ("Adobe RGB", ColorProfile::new_adobe_rgb(), FROM_ADOBE_RGB, |v| {
            v.powf(2.199_218_75)
        }),
        ("ProPhoto", ColorProfile::new_pro_photo_rgb(), FROM_PRO_PHOTO, |v| {
            v.powf(1.8)
        }),
    ];
    for (name, profile, matrix, curve) in spaces {
        for (patch, got) in PATCHES.iter().zip(converted(&profile, &PATCHES)) {
            let meant = times(&matrix, part(*patch).map(curve)).map(encoded);
            let delta = difference(part(got), meant);
            assert!(delta < 1.0, "{name} {patch:?}: {got:?} is ΔE {delta:.2} off");
        }
    }
}

#[test]
fn red_stays_as_red_as_it_was() {
    // What sRGB's red is in Display P3 and in Adobe RGB: shown as it stands, it is dull.
    for (profile, stored) in [
        (ColorProfile::new_display_p3(), [234, 51, 35]),
        (ColorProfile::new_adobe_rgb(), [219, 0, 0]),
    ] {
        let [shown] = converted(&profile, &[stored])[..] else {
            panic!("one colour");
        };
        assert!(difference(part(shown), [1.0, 0.0, 0.0]) < 1.0, "{shown:?}");
        assert!(difference(part(stored), [1.0, 0.0, 0.0]) > 3.0);
    }
    // What no screen of sRGB shows becomes its purest red.
    assert_eq!(
        converted(&ColorProfile::new_display_p3(), &[[255, 0, 0]]),
        [[255, 0, 0]]
    );
}

#[test]
fn srgb_and_what_is_no_profile_change_nothing() {
    let rgb = DynamicImage::new_rgb8(1, 1);
    let srgb = ColorProfile::new_srgb().encode().unwrap();
    assert!(ToSrgb::new(&srgb, rgb.color()).is_none());
    assert!(ToSrgb::new(&srgb, ColorType::L8).is_none());
    let wide = ColorProfile::new_display_p3().encode().unwrap();
    for broken in [&b""[..], b"no profile", &wide[..wide.len() / 2], &[0xff; 4_096]] {
        assert!(ToSrgb::new(broken, rgb.color()).is_none());
    }
    let grey = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
    assert!(ToSrgb::new(&grey, rgb.color()).is_none(), "a profile of other pixels");
}

#[test]
fn greys_follow_their_curve_and_transparency_stays() {
    let profile = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
    let mut grey = DynamicImage::ImageLuma8(GrayImage::from_pixel(1, 1, [55].into()));
    ToSrgb::new(&profile, grey.color()).unwrap().convert(&mut grey);
    // 55 / 255 of the light is 129 in sRGB.
    assert!(grey.as_bytes()[0].abs_diff(129) <= 1, "{:?}", grey.as_bytes());
    let mut clear = DynamicImage::ImageRgba8(RgbaImage::from_pixel(1, 1, Rgba([55, 55, 55, 77])));
    ToSrgb::new(&profile, clear.color()).unwrap().convert(&mut clear);
    assert_eq!(clear.as_bytes()[3], 77);
    let wide = ColorProfile::new_display_p3().encode().unwrap();
    let mut clear = DynamicImage::ImageRgba8(RgbaImage::from_pixel(1, 1, Rgba([234, 51, 35, 77])));
    ToSrgb::new(&wide, clear.color()).unwrap().convert(&mut clear);
    let [red, green, blue, alpha] = clear.as_bytes()[..] else {
        panic!("one pixel");
    };
    assert!(red > 253 && green < 12 && blue < 12 && alpha == 77);
}

/// A printing process whose colours are those of the plain formula: a table of its sixteen corners in L*a*b*.
pub(super) fn printer() -> Vec<u8> {
    let corner = |number: u8| {
        let ink = |bit: u8| f64::from(number >> bit & 1);
        [3, 2, 1].map(|bit| (1.0 - ink(bit)) * (1.0 - ink(0)))
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let clut = (0..16)
        .flat_map(|number| {
            let [l, a, b] = lab(corner(number));
            [l * 652.8, (a + 128.0) * 256.0, (b + 128.0) * 256.0]
        })
        .map(|value| value.clamp(0.0, 65_535.0) as u16)
        .collect();
    let straight = |channels: usize| LutStore::Store16([0, u16::MAX].repeat(channels));
    let mut one = Matrix3d { v: [[0.0; 3]; 3] };
    for place in 0..3 {
        one.v[place][place] = 1.0;
    }
    let lut = LutDataType {
        num_input_channels: 4,
        num_output_channels: 3,
        num_clut_grid_points: 2,
        matrix: one,
        num_input_table_entries: 2,
        num_output_table_entries: 2,
        input_table: straight(4),
        clut_table: LutStore::Store16(clut),
        output_table: straight(3),
        lut_type: LutType::Lut16,
    };
    let mut profile = ColorProfile::default();
    profile.pcs = DataColorSpace::Lab;
    profile.color_space = DataColorSpace::Cmyk;
    profile.profile_class = ProfileClass::OutputDevice;
    profile.white_point = moxcms::WHITE_POINT_D50.to_xyzd();
    profile.media_white_point = Some(moxcms::WHITE_POINT_D50.to_xyzd());
    profile.lut_a_to_b_perceptual = Some(LutWarehouse::Lut(lut));
    profile.encode().unwrap()
}

#[test]
fn inks_become_the_colours_of_their_process() {
    let inks: Vec<[u8; 4]> = (0..16_u8)
        .map(|number| [3, 2, 1, 0].map(|bit| (number >> bit & 1) * 255))
        .collect();
    let width = u32::try_from(inks.len()).unwrap();
    let plain = shown(&inks.concat(), width, 1, None);
    let profiled = shown(&inks.concat(), width, 1, Some(&printer()));
    for ((inks, plain), profiled) in inks.iter().zip(plain.pixels()).zip(profiled.pixels()) {
        let delta = difference(part(plain.0), part(profiled.0));
        assert!(delta < 3.0, "{inks:?}: {profiled:?} for {plain:?}, ΔE {delta:.2}");
    }
    // Half an ink on paper: the table is interpolated in L*a*b*, the formula in sRGB.
    let half = |profile: Option<&[u8]>| shown(&[0, 128, 0, 0], 1, 1, profile).into_raw();
    assert_eq!(half(None), [255, 127, 255]);
    assert_ne!(half(Some(&printer())), half(None));
    assert_eq!(half(Some(b"no profile")), half(None));
    assert!(to_srgb_cmyk(&[0; 7], 2, 1, &printer()).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn damaged_profiles_change_colours_at_most(
        printed: bool,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut profile = if printed { printer() } else { ColorProfile::new_display_p3().encode().unwrap() };
        for (place, value) in changes {
            let place = place.index(profile.len());
            profile[place] = value;
        }
        let mut image = DynamicImage::new_rgb8(3, 2);
        if let Some(conversion) = ToSrgb::new(&profile, image.color()) {
            conversion.convert(&mut image);
        }
        prop_assert_eq!(shown(&[9; 24], 3, 2, Some(&profile)).dimensions(), (3, 2));
    }
}

/// Inks as the decoder shows them.
fn shown(inks: &[u8], width: u32, height: u32, profile: Option<&[u8]>) -> RgbImage {
    let pixels = Pixels::Ink(Cmyk {
        width,
        height,
        samples: inks.to_vec(),
    });
    let decoded = Decoded {
        pixels,
        profile: profile.map(<[u8]>::to_vec),
        cicp: None,
        turned: None,
    };
    decoded.into_light().0.into_image().unwrap().into_rgb8()
}
