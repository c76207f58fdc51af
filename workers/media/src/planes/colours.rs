//! From luma and two colours to red, green and blue.

/// Pixels whose colours are made in one go.
const LANES: usize = 16;

/// RGB of luma and two colours, a row of each.
pub(super) fn colours(target: &mut [u8], [luma, blue, red]: [&[u8]; 3]) {
    let (lumas, luma) = luma.as_chunks::<LANES>();
    let (blues, blue) = blue.as_chunks::<LANES>();
    let (reds, red) = red.as_chunks::<LANES>();
    let mut target = target.as_chunks_mut::<3>().0.iter_mut();
    for ((luma, blue), red) in lumas.iter().zip(blues).zip(reds) {
        let (mut reds, mut greens, mut blues) = ([0; LANES], [0; LANES], [0; LANES]);
        for lane in 0..LANES {
            [reds[lane], greens[lane], blues[lane]] = rgb(luma[lane], blue[lane], red[lane]);
        }
        for (lane, pixel) in target.by_ref().take(LANES).enumerate() {
            *pixel = [reds[lane], greens[lane], blues[lane]];
        }
    }
    for (pixel, ((luma, blue), red)) in target.zip(luma.iter().zip(blue).zip(red)) {
        *pixel = rgb(*luma, *blue, *red);
    }
}

/// JFIF's matrix (ITU-T T.871, 7), in 16 bits with four places after the point: 1.402, 0.344136, 0.714136 and 1.772, of each
/// what is less than a half.
#[inline]
pub(crate) fn rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    // The upper half of a product of two numbers of 16 bits.
    const fn times(value: i16, part: i16) -> i16 {
        ((value as i32 * part as i32) >> 16) as i16
    }
    let luma = (i16::from(luma) << 4) + 8;
    let (blue, red) = ((i16::from(blue) - 128) << 4, (i16::from(red) - 128) << 4);
    #[expect(clippy::cast_sign_loss, reason = "clamped to a byte")]
    let byte = |value: i16| (value >> 4).clamp(0, 255) as u8;
    [
        byte(luma + red + times(red, 26_345)),
        byte(luma - times(blue, 22_553) - red + times(red, 18_734)),
        byte(luma + 2 * blue - times(blue, 14_942)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_the_matrix() {
        let step = [0_u8, 1, 31, 64, 100, 127, 128, 129, 180, 200, 254, 255];
        for luma in step {
            for blue in step {
                for red in step {
                    let (y, cb, cr) = (f64::from(luma), f64::from(blue) - 128.0, f64::from(red) - 128.0);
                    let exact = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
                    for (exact, made) in exact.into_iter().zip(rgb(luma, blue, red)) {
                        assert!(
                            (exact.clamp(0.0, 255.0) - f64::from(made)).abs() < 0.75,
                            "{luma} {blue} {red}"
                        );
                    }
                }
            }
        }
    }
}
