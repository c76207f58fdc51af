//! Huffman codes and the bits they stand in (ITU-T T.81, annexes C and F.2.2).

use super::BLOCK;
use crate::MediaError;

/// Codes of up to this many bits are looked up at once, with the magnitude bits that follow them where those fit.
const LOOKED_UP: u32 = 11;

/// A code's symbol, taken apart, and often the value after it: what a block's loop needs, in one word.
///
/// Bits 0 to 4: how many bits it takes, 0 where the code is longer than what was looked up, or is none. Bit 5: whether
/// the upper half is the value, else it is how many magnitude bits follow, or the symbol. Bits 6 to 12: zeros before the
/// value.
#[derive(Debug, Clone, Copy)]
struct Entry(u32);

const IS_VALUE: u32 = 1 << 5;
/// So many zeros end every block.
const REST: u32 = 64;

impl Entry {
    const NONE: Self = Self(0);

    const fn value(taken: u32, run: u32, value: i32) -> Self {
        Self(taken | IS_VALUE | run << 6 | value.cast_unsigned() << 16)
    }

    const fn open(taken: u32, run: u32, rest: u32) -> Self {
        Self(taken | run << 6 | rest << 16)
    }

    const fn taken(self) -> u32 {
        self.0 & 31
    }

    const fn run(self) -> usize {
        (self.0 >> 6 & 127) as usize
    }

    const fn is_value(self) -> bool {
        self.0 & IS_VALUE != 0
    }

    const fn rest(self) -> u32 {
        self.0 >> 16
    }

    const fn as_value(self) -> i32 {
        self.0.cast_signed() >> 16
    }
}

/// Bits that are looked at when coefficients are passed over.
const PASSED: u32 = 12;

/// As many coefficients as a word tells of whole: how many bits they take, how many places of the block, and whether its
/// end follows, whose bits are among them.
#[derive(Debug, Clone, Copy)]
struct Passage {
    taken: u8,
    places: u8,
    ends: bool,
}

/// What symbols of a table mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The size of a difference (F.1.2.1).
    Difference,
    /// Zeros, and the size of the coefficient after them (F.1.2.2).
    Coefficient,
    /// Whatever its reader makes of it: those of progressive scans.
    Symbol,
}

impl Meaning {
    /// Zeros, and magnitude bits.
    fn split(self, symbol: u8) -> (u32, u32) {
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        match self {
            Self::Symbol => (0, 0),
            Self::Difference => (0, size),
            Self::Coefficient if size == 0 && run != 15 => (REST, 0),
            Self::Coefficient => (run, size),
        }
    }

    fn entry(self, symbol: u8, length: u32) -> Entry {
        let (run, size) = self.split(symbol);
        let rest = if self == Self::Symbol { symbol.into() } else { size };
        Entry::open(length, run, rest)
    }
}

/// A table as a file has it (B.2.4.2): how many codes there are of each length, and their symbols, the shorter first.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    counts: [u8; 16],
    symbols: [u8; 256],
}

impl Codes {
    /// The table at the start of `bytes`, and what follows it.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), MediaError> {
        let short = || MediaError::corrupt("a Huffman table is cut off");
        let (counts, rest) = bytes.split_first_chunk::<16>().ok_or_else(short)?;
        let count = counts.iter().copied().map(usize::from).sum();
        let (given, rest) = rest.split_at_checked(count).ok_or_else(short)?;
        let mut symbols = [0; 256];
        symbols
            .get_mut(..count)
            .ok_or_else(|| MediaError::corrupt("a Huffman table has more than 256 codes"))?
            .copy_from_slice(given);
        let mut codes = 0_u32;
        for (length, count) in (1..).zip(counts) {
            codes = (codes << 1) + u32::from(*count);
            if codes > 1 << length {
                return Err(MediaError::corrupt(
                    "a Huffman table has more codes than bits can tell apart",
                ));
            }
        }
        let counts = *counts;
        Ok((Self { counts, symbols }, rest))
    }
}

/// A table to decode with.
pub(super) struct Table {
    looked_up: Box<[Entry; 1 << LOOKED_UP]>,
    /// By length: the first code, left-aligned in 16 bits, that is longer.
    ends: [u32; 17],
    /// By length: where the symbols of its codes are, less the first of these codes.
    offsets: [i32; 17],
    symbols: [u8; 256],
    meaning: Meaning,
    passages: Vec<Passage>,
}

impl Table {
    pub(super) fn new(codes: &Codes, meaning: Meaning) -> Self {
        let mut table = Self {
            looked_up: Box::new([Entry::NONE; 1 << LOOKED_UP]),
            ends: [0; 17],
            offsets: [0; 17],
            symbols: codes.symbols,
            meaning,
            passages: Vec::new(),
        };
        let (mut code, mut place) = (0_u32, 0_u32);
        for (length, count) in (1_u32..).zip(codes.counts) {
            let slot = length as usize;
            table.offsets[slot] = place.cast_signed() - code.cast_signed();
            for _ in 0..count {
                table.enter(code, length, table.symbols[place as usize & 255]);
                code += 1;
                place += 1;
            }
            table.ends[slot] = code << (16 - length);
            code <<= 1;
        }
        table
    }

    /// The same, to pass over coefficients with too.
    pub(super) fn passing(mut self) -> Self {
        self.passages = (0..1 << PASSED).map(|word| self.passage(word)).collect();
        self
    }

    fn passage(&self, word: u32) -> Passage {
        let mut passage = Passage {
            taken: 0,
            places: 0,
            ends: false,
        };
        while !passage.ends {
            let have = PASSED - u32::from(passage.taken);
            // What is not there reads as zeros: a code of more bits than there are is not taken for one.
            let rest = word << passage.taken & ((1 << PASSED) - 1);
            let entry = self.looked_up[(rest >> (PASSED - LOOKED_UP)) as usize];
            let magnitude = if entry.is_value() { 0 } else { entry.rest() };
            let bits = entry.taken() + magnitude;
            if entry.taken() == 0 || bits > have {
                break;
            }
            passage.ends = entry.run() >= BLOCK;
            // Some bits each: no sum leaves a byte.
            passage.taken += bits.to_le_bytes()[0];
            if !passage.ends {
                passage.places += entry.run().to_le_bytes()[0] + 1;
            }
        }
        passage
    }

    /// Every word that begins with `code`.
    fn enter(&mut self, code: u32, length: u32, symbol: u8) {
        let Some(spare) = LOOKED_UP.checked_sub(length) else {
            return;
        };
        let (run, size) = self.meaning.split(symbol);
        let open = self.meaning.entry(symbol, length);
        for following in 0..1_u32 << spare {
            let entry = if self.meaning != Meaning::Symbol && size <= spare {
                Entry::value(length + size, run, extend(following >> (spare - size), size))
            } else {
                open
            };
            if let Some(slot) = self.looked_up.get_mut((code << spare | following) as usize) {
                *slot = entry;
            }
        }
    }

    /// What `word` begins with, the first bit uppermost.
    #[inline]
    fn entry(&self, word: u64) -> Option<Entry> {
        let entry = self.looked_up[(word >> (64 - LOOKED_UP)) as usize];
        if entry.taken() == 0 {
            self.long(word)
        } else {
            Some(entry)
        }
    }

    /// A code that is longer than what is looked up.
    #[cold]
    fn long(&self, word: u64) -> Option<Entry> {
        let code = (word >> 48) as u32;
        let length = (LOOKED_UP + 1..=16).find(|length| code < self.ends[*length as usize])?;
        let place = (code >> (16 - length)).cast_signed() + self.offsets[length as usize];
        let symbol = self.symbols.get(usize::try_from(place).ok()?)?;
        Some(self.meaning.entry(*symbol, length))
    }
}

/// Magnitude bits to a value (F.2.2.1).
const fn extend(bits: u32, size: u32) -> i32 {
    if size == 0 {
        return 0;
    }
    let bits = bits.cast_signed();
    if bits < 1 << (size - 1) {
        bits - (1 << size) + 1
    } else {
        bits
    }
}

/// The bits of a scan, and the markers between them.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, the first of them uppermost.
    word: u64,
    /// How many there are.
    have: u32,
    /// How many of all that there were are zeros that no byte gave.
    made_up: u32,
}

impl<'a> Bits<'a> {
    /// The scan that begins at `at`.
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            word: 0,
            have: 0,
            made_up: 0,
        }
    }

    /// At least 32 bits.
    #[inline]
    fn fill(&mut self) {
        if self.have >= 32 {
            return;
        }
        if let Some(next) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>()) {
            let next = u32::from_be_bytes(*next);
            // No byte of it is 0xff: adding one carries out of none.
            if (next & !next.wrapping_add(0x0101_0101)) & 0x8080_8080 == 0 {
                self.word |= u64::from(next) << (32 - self.have);
                self.at += 4;
                self.have += 32;
                return;
            }
        }
        self.fill_slowly();
    }

    #[cold]
    fn fill_slowly(&mut self) {
        while self.have <= 56 {
            let byte = match self.bytes.get(self.at..).unwrap_or_default() {
                [0xff, 0x00, ..] => {
                    self.at += 2;
                    0xff
                }
                // A marker, or the end: zeros from here on.
                [0xff, ..] | [] => {
                    self.made_up = self.made_up.saturating_add(8);
                    0
                }
                [byte, ..] => {
                    self.at += 1;
                    *byte
                }
            };
            self.word |= u64::from(byte) << (56 - self.have);
            self.have += 8;
        }
    }

    #[inline]
    fn take(&mut self, count: u32) {
        self.word <<= count;
        self.have -= count;
    }

    /// A value, and how many zeros stand before it; 64 at a block's end. `None` where the bits are no code.
    #[expect(
        clippy::inline_always,
        reason = "a sixth of a decode: the loops over blocks are nothing but this"
    )]
    #[inline(always)]
    pub(super) fn value(&mut self, table: &Table) -> Option<(usize, i32)> {
        self.fill();
        let entry = table.entry(self.word)?;
        self.take(entry.taken());
        if entry.is_value() {
            return Some((entry.run(), entry.as_value()));
        }
        let size = entry.rest();
        let value = extend(self.peek(size), size);
        self.take(size);
        Some((entry.run(), value))
    }

    /// Passes over the rest of a block, from `place` on. `None` where the bits are no code.
    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    pub(super) fn pass(&mut self, table: &Table, mut place: usize) -> Option<()> {
        while place < BLOCK {
            self.fill();
            if let Some(passage) = table.passages.get((self.word >> (64 - PASSED)) as usize) {
                let after = place + usize::from(passage.places);
                // Else some of it is the next block's.
                if passage.taken > 0 && after + usize::from(passage.ends) <= BLOCK {
                    self.take(passage.taken.into());
                    if passage.ends {
                        break;
                    }
                    place = after;
                    continue;
                }
            }
            place += self.value(table)?.0 + 1;
        }
        Some(())
    }

    /// A symbol of a table of such. `None` where the bits are no code.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Option<u32> {
        self.fill();
        let entry = table.entry(self.word)?;
        self.take(entry.taken());
        Some(entry.rest())
    }

    /// The next `count` bits, 15 at most.
    #[inline]
    fn peek(&self, count: u32) -> u32 {
        // In two steps: there may be none.
        (self.word >> 32 >> (32 - count)) as u32
    }

    /// `count` bits, 15 at most.
    #[inline]
    pub(super) fn bits(&mut self, count: u32) -> u32 {
        self.fill();
        let bits = self.peek(count);
        self.take(count);
        bits
    }

    /// `size` magnitude bits, 15 at most.
    #[inline]
    pub(super) fn magnitude(&mut self, size: u32) -> i32 {
        extend(self.bits(size), size)
    }

    /// Whether more bits were taken than there are before the next marker.
    #[inline]
    pub(super) const fn overrun(&self) -> bool {
        self.have < self.made_up
    }

    /// Where a marker may stand next.
    pub(super) const fn place(&self) -> usize {
        self.at
    }

    /// Whether there are no bytes any more.
    pub(super) fn ended(&self) -> bool {
        self.bytes.len() <= self.at.saturating_add(1)
    }

    /// Forgets what is left before the next marker; its code, and where it ends. `None`: there is none.
    pub(super) fn marker(&mut self) -> Option<(u8, usize)> {
        (self.word, self.have, self.made_up) = (0, 0, 0);
        loop {
            let rest = self.bytes.get(self.at..)?;
            self.at += memchr::memchr(0xff, rest)?;
            match self.bytes.get(self.at + 1)? {
                0xff => self.at += 1,
                0x00 => self.at += 2,
                code => {
                    self.at += 2;
                    return Some((*code, self.at));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The codes of the specification's table K.3, for differences of luma.
    fn luma() -> Codes {
        let mut bytes = vec![0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(0..12);
        Codes::read(&bytes).unwrap().0
    }

    #[test]
    fn values_come_as_they_were_written() {
        let table = Table::new(&luma(), Meaning::Difference);
        // No bits; one; two, -3; eight, 128; eleven, -2047.
        let bits = [
            "00",
            "010",
            "1",
            "011",
            "00",
            "111110",
            "10000000",
            "111111110",
            "00000000000",
        ]
        .concat();
        let mut bytes: Vec<u8> = Vec::new();
        for byte in bits.as_bytes().chunks(8) {
            let byte = format!("{:0<8}", std::str::from_utf8(byte).unwrap());
            bytes.push(u8::from_str_radix(&byte, 2).unwrap());
            if bytes.last() == Some(&0xff) {
                bytes.push(0);
            }
        }
        let mut bits = Bits::new(&bytes, 0);
        let values: Vec<i32> = (0..5).map(|_| bits.value(&table).unwrap().1).collect();
        assert_eq!(values, [0, 1, -3, 128, -2047]);
        assert!(!bits.overrun());
        // Beyond the end there are zeros, and it is told.
        for _ in 0..8 {
            bits.value(&table).unwrap();
        }
        assert!(bits.overrun() && bits.ended());
    }

    proptest! {
        /// Whatever the bits are, and whichever symbols a table has: in strides and step by step it ends at the same bit.
        #[test]
        fn passing_over_ends_where_reading_ends(
            symbols in proptest::collection::vec(any::<u8>(), 30),
            bytes in proptest::collection::vec(0_u8..255, 4..200),
            first in 1..BLOCK,
        ) {
            let mut codes = vec![0, 2, 1, 2, 2, 3, 2, 4, 3, 2, 3, 2, 1, 1, 1, 1];
            codes.extend(symbols);
            let table = Table::new(&Codes::read(&codes).unwrap().0, Meaning::Coefficient).passing();
            let (mut strides, mut steps) = (Bits::new(&bytes, 0), Bits::new(&bytes, 0));
            loop {
                let passed = strides.pass(&table, first);
                let mut place = first;
                let mut read = Some(());
                while place < BLOCK && read.is_some() {
                    read = steps.value(&table).map(|(zeros, _)| place += zeros + 1);
                }
                prop_assert_eq!(passed, read);
                if read.is_none() || steps.overrun() {
                    break;
                }
                let place = |bits: &Bits<'_>| bits.at * 8 + bits.made_up as usize - bits.have as usize;
                prop_assert_eq!(place(&strides), place(&steps));
            }
        }
    }

    #[test]
    fn tables_that_are_none_are_refused() {
        let refused = |bytes: &[u8]| Codes::read(bytes).unwrap_err().to_string();
        assert!(refused(&[0; 15]).contains("cut off"));
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(refused(&[&counts[..], &[0; 3]].concat()).contains("more codes than bits"));
        counts = [0; 16];
        counts[15] = 255;
        counts[14] = 2;
        assert!(refused(&[&counts[..], &[0; 257]].concat()).contains("more than 256"));
        counts[14] = 0;
        assert!(refused(&[&counts[..], &[0; 250]].concat()).contains("cut off"));
    }

    #[test]
    fn codes_that_are_none_end_it() {
        let table = Table::new(&luma(), Meaning::Difference);
        assert!(
            Bits::new(&[0xff, 0x00, 0xff, 0x00, 0xff, 0x00], 0)
                .value(&table)
                .is_none()
        );
    }

    #[test]
    fn markers_are_found_behind_stuffed_and_filling_bytes() {
        let bytes = [1, 0xff, 0x00, 2, 0xff, 0xff, 0xd0, 3, 0xff, 0xd9];
        let mut bits = Bits::new(&bytes, 0);
        assert_eq!(bits.bits(8), 1);
        assert_eq!(bits.marker(), Some((0xd0, 7)));
        assert_eq!(bits.marker(), Some((0xd9, 10)));
        assert_eq!(bits.marker(), None);
    }
}
