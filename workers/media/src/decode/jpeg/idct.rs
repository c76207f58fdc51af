//! From coefficients to samples (ITU-T T.81, A.3.3), at full size or at N eighths of it: the N × N lowest coefficients of a
//! block are those of N × N samples.

use super::BLOCK;

/// Coefficients of a block where [`ORDER`] says.
pub(super) type Block = [i16; BLOCK];

/// Bits after the point of a cosine, and of what the first of two passes leaves.
const COSINE: u32 = 15;
const BETWEEN: u32 = 4;

/// The file's order of coefficients (T.81, figure A.6): rows times eight and columns.
const ZIGZAG: [u8; BLOCK] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Where a block keeps its coefficients, in the file's order: in pairs that are multiplied and added in one step, those of
/// the columns 0 and 2, 4 and 6, 1 and 3, 5 and 7; of each the rows 0, 2, 4, 6, then 1, 3, 5, 7.
pub(super) static ORDER: [u8; BLOCK] = {
    let mut order = [0; BLOCK];
    let mut place = 0;
    while place < BLOCK {
        let (row, column) = (ZIGZAG[place] / 8, ZIGZAG[place] % 8);
        let pair = column % 2 * 2 + column / 4;
        order[place] = ((pair * 2 + row % 2) * 4 + row / 2) * 2 + column / 2 % 2;
        place += 1;
    }
    order
};
/// Where the coefficients end that `size` samples a side are made of, in the file's order.
pub(super) fn used(size: usize) -> usize {
    let low = |zigzag: &u8| usize::from(zigzag / 8) < size && usize::from(zigzag % 8) < size;
    ZIGZAG.iter().rposition(low).map_or(1, |last| last + 1)
}

/// Of a block whose coefficients stand before this place in the file's order, those of the rows and columns from 4 on are 0.
pub(super) const FEW: usize = 10;

/// Cosines of the pairs 0 2, 4 6, 1 3, 5 7, the second in the upper half, for half of the samples: the others have the odd ones
/// with the other sign.
type Cosines = [[i32; 4]; 4];

/// Cosines of every size.
pub(super) struct Sizes([Cosines; 8]);

#[expect(clippy::cast_possible_truncation, reason = "2^14 at most, and rounded")]
fn cosines(size: u32) -> Cosines {
    let at = |sample: u32, frequency: u32| -> i16 {
        if frequency >= size {
            return 0;
        }
        let scale = if frequency == 0 { 0.5_f64.sqrt() } else { 1.0 } / 2.0;
        let angle = f64::from((2 * sample + 1) * frequency) * std::f64::consts::PI / f64::from(2 * size);
        (scale * angle.cos() * f64::from(1 << COSINE)).round() as i16
    };
    let both = |sample: u32, [low, high]: [u32; 2]| {
        i32::from(at(sample, low).cast_unsigned()) | i32::from(at(sample, high)) << 16
    };
    [0, 1, 2, 3].map(|sample| [[0, 2], [4, 6], [1, 3], [5, 7]].map(|pair| both(sample, pair)))
}

impl Sizes {
    pub(super) fn new() -> Self {
        Self([1, 2, 3, 4, 5, 6, 7, 8].map(cosines))
    }

    /// `block` as `size` rows of `size` samples, 1 to 8, at the start of `plane`, whose rows are `stride` apart; `few`: there is
    /// none from [`FEW`] on.
    #[inline]
    pub(super) fn samples(&self, block: &Block, few: bool, size: usize, plane: &mut [u8], stride: usize) {
        match size {
            1 => self.sized::<1>(block, few, plane, stride),
            2 => self.sized::<2>(block, few, plane, stride),
            3 => self.sized::<3>(block, few, plane, stride),
            4 => self.sized::<4>(block, few, plane, stride),
            5 => self.sized::<5>(block, few, plane, stride),
            6 => self.sized::<6>(block, few, plane, stride),
            7 => self.sized::<7>(block, few, plane, stride),
            _ => self.sized::<8>(block, few, plane, stride),
        }
    }

    fn sized<const N: usize>(&self, block: &Block, few: bool, plane: &mut [u8], stride: usize) {
        let cosines = &self.0[N - 1];
        let rows = if few || N <= 4 {
            kernel::samples::<N, true>(block, cosines)
        } else {
            kernel::samples::<N, false>(block, cosines)
        };
        for (target, row) in plane.chunks_mut(stride).zip(rows).take(N) {
            if let (Some(target), Some(row)) = (target.first_chunk_mut::<N>(), row.first_chunk::<N>()) {
                *target = *row;
            }
        }
    }
}

/// A block that has but its first coefficient: the same all over.
pub(super) fn flat(first: i16, size: usize, plane: &mut [u8], stride: usize) {
    let level = ((i32::from(first) + 4) >> 3) + 128;
    let level = u8::try_from(level.clamp(0, 255)).unwrap_or(0);
    for target in plane.chunks_mut(stride).take(size) {
        if let Some(target) = target.get_mut(..size) {
            target.fill(level);
        }
    }
}

/// What is added before the bits after the point go: a half, and in the second pass the 128 that samples stand around.
const FIRST: i32 = 1 << (COSINE - BETWEEN - 1);
const FIRST_SHIFT: i32 = (COSINE - BETWEEN).cast_signed();
const SECOND: i32 = (1 << (COSINE + BETWEEN - 1)) + (128 << (COSINE + BETWEEN));
const SECOND_SHIFT: i32 = (COSINE + BETWEEN).cast_signed();

#[cfg(not(target_arch = "x86_64"))]
use portable as kernel;
#[cfg(target_arch = "x86_64")]
use sse2 as kernel;

/// Eight or four numbers a step, by what every processor of this kind has.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use super::{Block, Cosines, FIRST, FIRST_SHIFT, SECOND, SECOND_SHIFT};
    use safe_arch::{
        add_i32_m128i, m128i, mul_i16_horizontal_add_m128i, pack_i16_to_u8_m128i, pack_i32_to_i16_m128i,
        set_splat_i32_m128i, shr_imm_i32_m128i, sub_i32_m128i, unpack_high_i32_m128i, unpack_high_i64_m128i,
        unpack_low_i32_m128i, unpack_low_i64_m128i,
    };

    /// Eight columns of samples of eight columns of coefficients, in halves of four.
    #[inline]
    fn pass<const N: usize, const FEW: bool, const SHIFT: i32>(
        pairs: &[[m128i; 2]; 4],
        cosines: &Cosines,
        round: i32,
    ) -> [m128i; 8] {
        let round = set_splat_i32_m128i(round);
        let mut out = [m128i::default(); 8];
        for sample in 0..N.div_ceil(2) {
            let half = |half: usize| {
                let product = |pair: usize| {
                    mul_i16_horizontal_add_m128i(pairs[pair][half], set_splat_i32_m128i(cosines[sample][pair]))
                };
                let (mut even, mut odd) = (add_i32_m128i(product(0), round), product(2));
                if !FEW {
                    even = add_i32_m128i(even, product(1));
                    odd = add_i32_m128i(odd, product(3));
                }
                (
                    shr_imm_i32_m128i::<SHIFT>(add_i32_m128i(even, odd)),
                    shr_imm_i32_m128i::<SHIFT>(sub_i32_m128i(even, odd)),
                )
            };
            let ((left, left_mirrored), (right, right_mirrored)) = (half(0), half(1));
            // The middle one of an odd number is its own counterpart: its odd cosines are 0.
            out[N - 1 - sample] = pack_i32_to_i16_m128i(left_mirrored, right_mirrored);
            out[sample] = pack_i32_to_i16_m128i(left, right);
        }
        out
    }

    /// Four rows of four pairs, as columns.
    #[inline]
    fn turned([a, b, c, d]: [m128i; 4]) -> [m128i; 4] {
        let (ab, cd) = (unpack_low_i32_m128i(a, b), unpack_low_i32_m128i(c, d));
        let (ab_end, cd_end) = (unpack_high_i32_m128i(a, b), unpack_high_i32_m128i(c, d));
        [
            unpack_low_i64_m128i(ab, cd),
            unpack_high_i64_m128i(ab, cd),
            unpack_low_i64_m128i(ab_end, cd_end),
            unpack_high_i64_m128i(ab_end, cd_end),
        ]
    }

    #[inline]
    pub(super) fn samples<const N: usize, const FEW: bool>(block: &Block, cosines: &Cosines) -> [[u8; 8]; 8] {
        let (eights, _) = block.as_chunks::<8>();
        let at = |place: usize| m128i::from(eights[place]);
        let columns = [0, 1, 2, 3].map(|pair| [at(2 * pair), at(2 * pair + 1)]);
        let between = pass::<N, FEW, FIRST_SHIFT>(&columns, cosines, FIRST);
        let half = |start: usize| turned([0, 1, 2, 3].map(|place| between[start + place]));
        let (left, right) = (half(0), half(4));
        let rows = [0, 1, 2, 3].map(|pair| [left[pair], right[pair]]);
        let out = pass::<N, FEW, SECOND_SHIFT>(&rows, cosines, SECOND);
        let mut samples = [[0; 8]; 8];
        for (target, [even, odd]) in samples.as_chunks_mut::<2>().0.iter_mut().zip(out.as_chunks::<2>().0) {
            let bytes: [u8; 16] = pack_i16_to_u8_m128i(*even, *odd).into();
            if let [even, odd] = bytes.as_chunks::<8>().0 {
                *target = [*even, *odd];
            }
        }
        samples
    }
}

/// The same for every other processor, to the bit.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::{Block, Cosines, FIRST, FIRST_SHIFT, SECOND, SECOND_SHIFT};

    fn narrow(value: i32) -> i16 {
        i16::try_from(value.clamp(i16::MIN.into(), i16::MAX.into())).unwrap_or(0)
    }

    fn pass<const N: usize, const FEW: bool>(
        pairs: &[[[i16; 8]; 2]; 4],
        cosines: &Cosines,
        round: i32,
        shift: i32,
    ) -> [[i16; 8]; 8] {
        let mut out = [[0; 8]; 8];
        for sample in 0..N.div_ceil(2) {
            let (mut here, mut mirrored) = ([0; 8], [0; 8]);
            for lane in 0..8 {
                let product = |pair: usize| {
                    let place = lane % 4 * 2;
                    let values = &pairs[pair][lane / 4];
                    let both = cosines[sample][pair];
                    let (low, high) = (both << 16 >> 16, both >> 16);
                    (i32::from(values[place]) * low).wrapping_add(i32::from(values[place + 1]) * high)
                };
                let (mut even, mut odd) = (product(0).wrapping_add(round), product(2));
                if !FEW {
                    even = even.wrapping_add(product(1));
                    odd = odd.wrapping_add(product(3));
                }
                here[lane] = narrow(even.wrapping_add(odd) >> shift);
                mirrored[lane] = narrow(even.wrapping_sub(odd) >> shift);
            }
            out[N - 1 - sample] = mirrored;
            out[sample] = here;
        }
        out
    }

    pub(super) fn samples<const N: usize, const FEW: bool>(block: &Block, cosines: &Cosines) -> [[u8; 8]; 8] {
        let (eights, _) = block.as_chunks::<8>();
        let columns = [0, 1, 2, 3].map(|pair| [eights[2 * pair], eights[2 * pair + 1]]);
        let between = pass::<N, FEW>(&columns, cosines, FIRST, FIRST_SHIFT);
        let rows = [0, 1, 2, 3].map(|pair| {
            [0, 4].map(|half| -> [i16; 8] { std::array::from_fn(|lane| between[half + lane / 2][2 * pair + lane % 2]) })
        });
        pass::<N, FEW>(&rows, cosines, SECOND, SECOND_SHIFT)
            .map(|row| row.map(|value| u8::try_from(value.clamp(0, 255)).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the specification says, in floating point, for `size` samples a side.
    fn exact(natural: &[i16; BLOCK], size: usize) -> Vec<f64> {
        let scale = |frequency: usize| if frequency == 0 { 0.5_f64.sqrt() } else { 1.0 };
        let cosine = |sample: usize, frequency: usize| {
            ((2 * sample + 1) as f64 * frequency as f64 * std::f64::consts::PI / (2 * size) as f64).cos()
        };
        let sample = |y: usize, x: usize| -> f64 {
            let sum: f64 = (0..size * size)
                .map(|place| {
                    let (v, u) = (place / size, place % size);
                    scale(u) * scale(v) * f64::from(natural[v * 8 + u]) * cosine(x, u) * cosine(y, v)
                })
                .sum();
            sum / 4.0 + 128.0
        };
        (0..size * size)
            .map(|place| sample(place / size, place % size))
            .collect()
    }

    fn ordered(natural: &[i16; BLOCK]) -> Block {
        let mut block = [0; BLOCK];
        for (place, zigzag) in ORDER.iter().zip(ZIGZAG) {
            block[usize::from(*place)] = natural[usize::from(zigzag)];
        }
        block
    }

    fn made(block: &Block, few: bool, size: usize) -> Vec<u8> {
        let mut plane = vec![0; 10 * size];
        Sizes::new().samples(block, few, size, &mut plane, 10);
        plane.chunks(10).flat_map(|row| row[..size].to_vec()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Coefficients as a picture has them: any first one, the others less the higher they are.
        #[test]
        fn samples_are_the_exact_ones_rounded(
            first in -1_024_i16..1_016,
            others in proptest::collection::vec(-200_i16..200, BLOCK - 1),
        ) {
            let mut natural = [first; BLOCK];
            for (place, value) in (1..).zip(others) {
                natural[place] = value / i16::try_from(1 + place / 8 + place % 8).unwrap();
            }
            for size in 1..=8 {
                for (exact, sample) in exact(&natural, size).into_iter().zip(made(&ordered(&natural), false, size)) {
                    prop_assert!((exact.clamp(0.0, 255.0) - f64::from(sample)).abs() < 0.6, "{size}: {exact} {sample}");
                }
            }
        }

        #[test]
        fn every_kernel_makes_the_same_of_anything(values in proptest::collection::vec(any::<i16>(), BLOCK)) {
            let block: Block = values.try_into().unwrap();
            let sizes = Sizes::new();
            macro_rules! same {
                ($($size:literal)*) => {$(
                    let (one, other) = (
                        kernel::samples::<$size, false>(&block, &sizes.0[$size - 1]),
                        portable::samples::<$size, false>(&block, &sizes.0[$size - 1]),
                    );
                    for row in 0..$size {
                        prop_assert_eq!(&one[row][..$size], &other[row][..$size]);
                    }
                )*};
            }
            same!(1 2 3 4 5 6 7 8);
        }
    }

    #[test]
    fn what_is_not_used_changes_nothing() {
        let ends: Vec<usize> = (1..=8).map(used).collect();
        assert_eq!(ends, [1, 5, 13, 25, 40, 52, 60, 64]);
        for size in 1..=8 {
            let mut natural = [0; BLOCK];
            for (place, zigzag) in ZIGZAG.iter().enumerate() {
                natural[usize::from(*zigzag)] = i16::try_from(place).unwrap() * 3 - 90;
            }
            let whole = made(&ordered(&natural), false, size);
            for zigzag in &ZIGZAG[used(size)..] {
                natural[usize::from(*zigzag)] = 0;
            }
            assert_eq!(made(&ordered(&natural), false, size), whole, "{size}");
        }
    }

    #[test]
    fn short_ways_end_at_the_same_samples() {
        let mut natural = [0; BLOCK];
        for (place, value) in ZIGZAG.iter().take(FEW).zip([-300, 40, -77, 12, 90, -5, 33, -21, 8, 60]) {
            natural[usize::from(*place)] = value;
        }
        let block = ordered(&natural);
        for size in 1..=8 {
            assert_eq!(made(&block, true, size), made(&block, false, size), "{size}");
        }
        let mut first = [0; BLOCK];
        for value in [-2_000, -1_024, -1_000, -4, -3, 0, 3, 4, 500, 1_016, 2_000] {
            first[0] = value;
            for size in 1..=8 {
                let mut plane = vec![0; size * size];
                flat(value, size, &mut plane, size);
                for (one, other) in plane.into_iter().zip(made(&first, false, size)) {
                    // What lies half way between two may become either.
                    assert!(
                        one.abs_diff(other) <= u8::from(value % 8 != 0),
                        "{value} {size}: {one} {other}"
                    );
                }
            }
        }
    }
}
