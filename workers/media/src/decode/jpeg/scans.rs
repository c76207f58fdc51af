//! Scans: blocks of coefficients out of bits (ITU-T T.81, annexes F.2 and G.2).

use super::{
    BLOCK, Grid,
    headers::{Frame, Headers, Part, Scan},
    huffman::{Bits, Codes, Meaning, Table},
    idct::{self, Block, FEW, ORDER, Sizes},
};
use crate::MediaError;

/// A component's samples while they are made.
pub(super) struct Target {
    pub(super) grid: Grid,
    /// Samples a side of a block, 1 to 8.
    pub(super) size: usize,
    pub(super) samples: Vec<u8>,
}

impl Target {
    pub(super) fn new(grid: Grid, size: usize) -> Self {
        Self {
            grid,
            size,
            samples: vec![0; grid.across * size * grid.down * size],
        }
    }

    pub(super) const fn stride(&self) -> usize {
        self.grid.across * self.size
    }

    /// Its block at this column and row, whose coefficients before the place `end` of the file's order may be other than 0.
    fn block(&mut self, sizes: &Sizes, (column, row): (usize, usize), block: &Block, end: usize) {
        let stride = self.stride();
        let start = row * self.size * stride + column * self.size;
        let Some(plane) = self.samples.get_mut(start..) else {
            return;
        };
        if end <= 1 {
            idct::flat(block[0], self.size, plane, stride);
        } else {
            sizes.samples(block, end <= FEW, self.size, plane, stride);
        }
    }
}

fn broken(bits: &Bits<'_>) -> MediaError {
    if bits.ended() {
        MediaError::Truncated
    } else {
        MediaError::corrupt("its coded samples make no sense")
    }
}

fn table(tables: &[Option<Codes>], number: usize, meaning: Meaning) -> Result<Table, MediaError> {
    let codes = tables.get(number).and_then(Option::as_ref);
    let codes = codes.ok_or_else(|| MediaError::corrupt("a Huffman table is missing"))?;
    Ok(Table::new(codes, meaning))
}

/// When the decoder starts anew (B.2.1).
struct Restarts {
    interval: usize,
    left: usize,
}

impl Restarts {
    const fn new(interval: usize) -> Self {
        Self {
            interval,
            left: interval,
        }
    }

    /// Before every unit: whether a marker was passed.
    fn due(&mut self, bits: &mut Bits<'_>) -> Result<bool, MediaError> {
        if self.interval == 0 {
            return Ok(false);
        }
        if self.left > 0 {
            self.left -= 1;
            return Ok(false);
        }
        self.left = self.interval - 1;
        match bits.marker() {
            Some((0xd0..=0xd7, _)) => Ok(true),
            None => Err(MediaError::Truncated),
            Some(_) => Err(MediaError::corrupt("a restart marker is missing")),
        }
    }
}

/// All of a block (F.2.2), of which coefficients from `used` on are passed over: where the others end, or `None` where the bits
/// are no code.
#[expect(clippy::inline_always, reason = "a sixth of a decode: the bits stay in registers")]
#[inline(always)]
fn whole_block(
    bits: &mut Bits<'_>,
    (dc, ac): (&Table, &Table),
    steps: &[i16; BLOCK],
    predicted: &mut i16,
    used: usize,
    block: &mut Block,
) -> Option<usize> {
    let (_, difference) = bits.value(dc)?;
    *predicted = predicted.wrapping_add(low(difference));
    block[0] = predicted.wrapping_mul(steps[0]);
    let mut place = 1;
    let mut end = 1;
    while place < used {
        let (zeros, value) = bits.value(ac)?;
        place += zeros;
        if place >= BLOCK {
            return Some(end);
        }
        block[usize::from(ORDER[place]) % BLOCK] = low(value).wrapping_mul(steps[place]);
        place += 1;
        end = place;
    }
    bits.pass(ac, place)?;
    Some(end)
}

/// Values have at most 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "of at most 15 magnitude bits")]
const fn low(value: i32) -> i16 {
    value as i16
}

/// A part of a scan of whole blocks.
struct Whole {
    component: usize,
    dc: Table,
    ac: Table,
    steps: [i16; BLOCK],
    predicted: i16,
    /// Coefficients from here on are passed over.
    used: usize,
}

impl Whole {
    fn new(headers: &Headers, frame: &Frame, part: Part, used: usize) -> Result<Self, MediaError> {
        let ac = table(&headers.ac, part.ac, Meaning::Coefficient)?;
        Ok(Self {
            component: part.component,
            dc: table(&headers.dc, part.dc, Meaning::Difference)?,
            ac: if used < BLOCK { ac.passing() } else { ac },
            steps: headers.steps(&frame.components[part.component])?,
            predicted: 0,
            used,
        })
    }
}

/// A scan of all components of a frame that has but this one: into samples at once.
pub(super) fn sequential(
    bytes: &[u8],
    headers: &Headers,
    frame: &Frame,
    scan: &Scan,
    targets: &mut [Target],
    cancel: &dyn Fn() -> bool,
) -> Result<(), MediaError> {
    let mut parts: Vec<Whole> = scan
        .parts
        .iter()
        .map(|part| Whole::new(headers, frame, *part, idct::used(targets[part.component].size)))
        .collect::<Result<_, _>>()?;
    let sizes = Sizes::new();
    let mut bits = Bits::new(bytes, scan.at);
    let mut restarts = Restarts::new(headers.restart);
    let units = targets.first().map_or((0, 0), |target| target.grid.units);
    for down in 0..units.1 {
        if cancel() {
            return Err(MediaError::Cancelled);
        }
        for across in 0..units.0 {
            if restarts.due(&mut bits)? {
                for part in &mut parts {
                    part.predicted = 0;
                }
            }
            for part in &mut parts {
                let target = &mut targets[part.component];
                let (columns, rows) = target.grid.unit;
                for place in 0..columns * rows {
                    let mut block = [0; BLOCK];
                    let tables = (&part.dc, &part.ac);
                    let end = whole_block(
                        &mut bits,
                        tables,
                        &part.steps,
                        &mut part.predicted,
                        part.used,
                        &mut block,
                    )
                    .ok_or_else(|| broken(&bits))?;
                    let place = (across * columns + place % columns, down * rows + place / columns);
                    target.block(&sizes, place, &block, end);
                }
            }
            if bits.overrun() {
                return Err(broken(&bits));
            }
        }
    }
    Ok(())
}

/// Coefficients of a component, kept until the last scan.
pub(super) struct Kept {
    grid: Grid,
    blocks: Vec<Block>,
    /// How much a step is: as its first scan found it.
    steps: Option<[i16; BLOCK]>,
    /// Bits of each coefficient that are still missing; `None` before its first scan.
    missing: [Option<u32>; BLOCK],
}

impl Kept {
    pub(super) fn new(grid: Grid) -> Self {
        Self {
            grid,
            blocks: vec![[0; BLOCK]; grid.across * grid.down],
            steps: None,
            missing: [None; BLOCK],
        }
    }

    /// Notes a scan. Every bit of a coefficient comes once, and the upper ones first: so no block is gone through more often
    /// than its coefficients have bits.
    fn note(&mut self, scan: &Scan) -> Result<(), MediaError> {
        let before = (scan.before > 0).then_some(scan.before);
        for missing in self.missing.iter_mut().take(scan.last + 1).skip(scan.first) {
            if *missing != before {
                return Err(MediaError::corrupt(
                    "a scan has bits that another had, or misses some before them",
                ));
            }
            *missing = Some(scan.missing);
        }
        Ok(())
    }

    /// Samples of them.
    pub(super) fn into_samples(self, size: usize, cancel: &dyn Fn() -> bool) -> Result<Target, MediaError> {
        let sizes = Sizes::new();
        let mut steps = [0; BLOCK];
        for (place, step) in ORDER.iter().zip(self.steps.unwrap_or([1; BLOCK])) {
            steps[usize::from(*place) % BLOCK] = step;
        }
        let mut target = Target::new(self.grid, size);
        for (row, blocks) in self.blocks.chunks(self.grid.across.max(1)).enumerate() {
            if cancel() {
                return Err(MediaError::Cancelled);
            }
            for (column, block) in blocks.iter().enumerate() {
                let mut scaled = *block;
                for (value, step) in scaled.iter_mut().zip(&steps) {
                    *value = value.wrapping_mul(*step);
                }
                let flat = block.iter().skip(1).all(|value| *value == 0);
                target.block(&sizes, (column, row), &scaled, if flat { 1 } else { BLOCK });
            }
        }
        Ok(target)
    }
}

/// What a scan's bits are.
enum Kind {
    Whole(Vec<Whole>),
    FirstDc(Vec<(usize, Table, i16)>),
    RefinedDc,
    FirstAc(Table),
    RefinedAc(Table),
}

/// A scan of some coefficients of some components.
struct Partial<'a> {
    scan: &'a Scan,
    kind: Kind,
    /// Blocks that have nothing more in this scan (G.1.2.2).
    without: u32,
}

/// A scan into the coefficients that it is of.
pub(super) fn partial(
    bytes: &[u8],
    headers: &Headers,
    frame: &Frame,
    scan: &Scan,
    kept: &mut [Kept],
    cancel: &dyn Fn() -> bool,
) -> Result<usize, MediaError> {
    for part in &scan.parts {
        let kept = &mut kept[part.component];
        kept.note(scan)?;
        if kept.steps.is_none() {
            kept.steps = Some(headers.steps(&frame.components[part.component])?);
        }
    }
    let mut partial = Partial {
        scan,
        kind: Kind::new(headers, frame, scan)?,
        without: 0,
    };
    let mut bits = Bits::new(bytes, scan.at);
    let mut restarts = Restarts::new(headers.restart);
    // A scan of one component has no padding, and a block a unit (A.2.2).
    let alone = match scan.parts.as_slice() {
        [part] => Some(kept[part.component].grid.used),
        _ => None,
    };
    let units = alone.unwrap_or_else(|| kept.first().map_or((0, 0), |kept| kept.grid.units));
    for down in 0..units.1 {
        if cancel() {
            return Err(MediaError::Cancelled);
        }
        for across in 0..units.0 {
            if restarts.due(&mut bits)? {
                partial.restart();
            }
            for (number, part) in scan.parts.iter().enumerate() {
                let kept = &mut kept[part.component];
                let (columns, rows) = if alone.is_some() { (1, 1) } else { kept.grid.unit };
                for place in 0..columns * rows {
                    let (column, row) = (across * columns + place % columns, down * rows + place / columns);
                    let Some(block) = kept.blocks.get_mut(row * kept.grid.across + column) else {
                        continue;
                    };
                    partial.block(&mut bits, number, block).ok_or_else(|| broken(&bits))?;
                }
            }
            if bits.overrun() {
                return Err(broken(&bits));
            }
        }
    }
    Ok(bits.place())
}

impl Kind {
    fn new(headers: &Headers, frame: &Frame, scan: &Scan) -> Result<Self, MediaError> {
        let part = |parts: &[Part]| parts.first().map_or(0, |part| part.ac);
        Ok(match (frame.progressive, scan.first, scan.before) {
            (false, ..) => Self::Whole(
                scan.parts
                    .iter()
                    .map(|part| {
                        let whole = Whole::new(headers, frame, *part, BLOCK)?;
                        // They are multiplied when all are there.
                        Ok(Whole {
                            steps: [1; BLOCK],
                            ..whole
                        })
                    })
                    .collect::<Result<_, MediaError>>()?,
            ),
            (true, 0, 0) => Self::FirstDc(
                scan.parts
                    .iter()
                    .map(|part| {
                        let table = table(&headers.dc, part.dc, Meaning::Difference)?;
                        Ok((part.component, table, 0))
                    })
                    .collect::<Result<_, MediaError>>()?,
            ),
            (true, 0, _) => Self::RefinedDc,
            (true, _, 0) => Self::FirstAc(table(&headers.ac, part(&scan.parts), Meaning::Symbol)?),
            (true, _, _) => Self::RefinedAc(table(&headers.ac, part(&scan.parts), Meaning::Symbol)?),
        })
    }
}

impl Partial<'_> {
    fn restart(&mut self) {
        self.without = 0;
        match &mut self.kind {
            Kind::Whole(parts) => parts.iter_mut().for_each(|part| part.predicted = 0),
            Kind::FirstDc(parts) => parts.iter_mut().for_each(|(_, _, predicted)| *predicted = 0),
            Kind::RefinedDc | Kind::FirstAc(_) | Kind::RefinedAc(_) => {}
        }
    }

    /// A block of the part with this number; `None` where the bits are no code.
    fn block(&mut self, bits: &mut Bits<'_>, number: usize, block: &mut Block) -> Option<()> {
        let missing = self.scan.missing;
        match &mut self.kind {
            Kind::Whole(parts) => {
                let part = parts.get_mut(number)?;
                let tables = (&part.dc, &part.ac);
                whole_block(bits, tables, &part.steps, &mut part.predicted, part.used, block)?;
            }
            Kind::FirstDc(parts) => {
                let (_, table, predicted) = parts.get_mut(number)?;
                let (_, difference) = bits.value(table)?;
                *predicted = predicted.wrapping_add(low(difference));
                block[0] = predicted.wrapping_shl(missing);
            }
            Kind::RefinedDc => block[0] |= low(bits.bits(1).cast_signed() << missing),
            Kind::FirstAc(table) => {
                if self.without > 0 {
                    self.without -= 1;
                } else {
                    self.without = first_ac(bits, table, self.scan, block)?;
                }
            }
            Kind::RefinedAc(table) => self.without = refined_ac(bits, table, self.scan, self.without, block)?,
        }
        Some(())
    }
}

/// How many blocks after this one have nothing: 2 to the power of `zeros`, and so many bits more, with this one (G.1.2.2).
fn run_of_blocks(bits: &mut Bits<'_>, zeros: u32) -> u32 {
    (1 << zeros) + bits.bits(zeros)
}

/// Coefficients' upper bits (G.1.2.2); how many blocks from the next on have none.
fn first_ac(bits: &mut Bits<'_>, table: &Table, scan: &Scan, block: &mut Block) -> Option<u32> {
    let mut place = scan.first;
    while place <= scan.last {
        let symbol = bits.symbol(table)?;
        let (zeros, size) = (symbol >> 4, symbol & 15);
        if size == 0 {
            if zeros < 15 {
                return Some(run_of_blocks(bits, zeros) - 1);
            }
            place += 16;
            continue;
        }
        place += zeros as usize;
        let value = bits.magnitude(size);
        if let Some(order) = ORDER.get(place) {
            block[usize::from(*order) % BLOCK] = low(value << scan.missing);
        }
        place += 1;
    }
    Some(0)
}

/// Another bit of each coefficient, and those that are new with it (G.1.2.3).
fn refined_ac(bits: &mut Bits<'_>, table: &Table, scan: &Scan, without: u32, block: &mut Block) -> Option<u32> {
    let bit = low(1 << scan.missing);
    let mut place = scan.first;
    let mut without = without;
    while without == 0 && place <= scan.last {
        let symbol = bits.symbol(table)?;
        let (mut zeros, size) = (symbol >> 4, symbol & 15);
        let mut new = 0;
        if size != 0 {
            // Only ever one more bit, 1: of this sign.
            new = if bits.bits(1) == 1 { bit } else { -bit };
        } else if zeros < 15 {
            without = run_of_blocks(bits, zeros);
            break;
        }
        // Past as many coefficients that are still zero; the others on the way have their bit here.
        while place <= scan.last {
            let value = &mut block[usize::from(ORDER[place]) % BLOCK];
            if *value != 0 {
                refine(bits, value, bit);
            } else if zeros == 0 {
                *value = new;
                place += 1;
                break;
            } else {
                zeros -= 1;
            }
            place += 1;
        }
    }
    if without == 0 {
        return Some(0);
    }
    while place <= scan.last {
        let value = &mut block[usize::from(ORDER[place]) % BLOCK];
        if *value != 0 {
            refine(bits, value, bit);
        }
        place += 1;
    }
    Some(without - 1)
}

fn refine(bits: &mut Bits<'_>, value: &mut i16, bit: i16) {
    if bits.bits(1) == 1 && *value & bit == 0 {
        *value = value.wrapping_add(if *value > 0 { bit } else { -bit });
    }
}
