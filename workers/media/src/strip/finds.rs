//! What a walk through a container has found so far, and what the policy lets stay of it.

use super::removed::{Removed, RemovedKind};
use crate::{Facts, Policy, exif, facts, iptc, tiff, xmp};

/// Parts that are told of at most: a file of a thousand EXIF blocks is not worth a longer list.
const MOST_PARTS: usize = 100;
/// A block larger than this is not edited and not looked into: it goes whole. 1 MiB; EXIF in a JPEG has 64 KiB.
pub(super) const LARGEST_BLOCK: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Finds {
    pub(super) policy: Policy,
    pub(super) removed: Vec<Removed>,
    pub(super) facts: Facts,
    /// What the first block of EXIF says.
    pub(super) orientation: Option<u8>,
    /// Why the bytes cannot be cleaned as they are coded.
    pub(super) lossy: Option<&'static str>,
    /// A block of EXIF that would be larger than this goes whole.
    pub(super) largest_exif: usize,
    /// Of the blocks that viewers turn the picture by.
    exif_kept: bool,
    hidden_exif_kept: bool,
    xmp_kept: bool,
    frames: u32,
    duration_ms: u64,
}

impl Finds {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            removed: Vec::new(),
            facts: Facts::default(),
            orientation: None,
            lossy: None,
            largest_exif: LARGEST_BLOCK,
            exif_kept: false,
            hidden_exif_kept: false,
            xmp_kept: false,
            frames: 0,
            duration_ms: 0,
        }
    }

    /// Whether what is no place stays.
    pub(super) const fn only_places(&self) -> bool {
        matches!(self.policy, Policy::StripLocation)
    }

    /// Something is gone.
    pub(super) fn add(&mut self, what: RemovedKind, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match self
            .removed
            .iter_mut()
            .find(|removed| removed.what == what && removed.bytes > 0)
        {
            Some(removed) => removed.bytes = removed.bytes.saturating_add(bytes),
            None => self.removed.push(Removed {
                what,
                detail: String::new(),
                bytes,
            }),
        }
    }

    /// Parts of something that is gone, each told once.
    pub(super) fn parts(&mut self, parts: Vec<Removed>) {
        for part in parts {
            if self.removed.len() < MOST_PARTS && !self.removed.contains(&part) {
                self.removed.push(part);
            }
        }
    }

    pub(super) fn part(&mut self, what: RemovedKind, said: &str) {
        self.parts(vec![Removed::part(what, said)]);
    }

    /// A TIFF block of EXIF that a viewer turns the picture by, `size` bytes with its header in the file. Returns what
    /// stays of it. One that holds nothing but the orientation is what is written here: no find. The first decides, so
    /// no other stays: alone in the file it would turn the picture another way.
    pub(super) fn exif(&mut self, block: &[u8], size: usize) -> Option<Vec<u8>> {
        if self.orientation.is_some() {
            self.exif_gone(block, size);
            return None;
        }
        let orientation = tiff::orientation(block);
        self.orientation = Some(orientation);
        if !self.only_places() && block == tiff::only_orientation(orientation) && orientation != 1 {
            return None;
        }
        let kept = self.exif_without_places(block, size);
        self.exif_kept = kept.is_some();
        kept
    }

    /// A TIFF block of EXIF where no viewer looks for the orientation. The first that can be kept is.
    pub(super) fn hidden_exif(&mut self, block: &[u8], size: usize) -> Option<Vec<u8>> {
        if self.hidden_exif_kept {
            self.exif_gone(block, size);
            return None;
        }
        let kept = self.exif_without_places(block, size);
        self.hidden_exif_kept = kept.is_some();
        kept
    }

    fn exif_without_places(&mut self, block: &[u8], size: usize) -> Option<Vec<u8>> {
        if self.only_places()
            && block.len() <= LARGEST_BLOCK
            && let Some((kept, removed)) = exif::without_places(block)
            && kept.len() <= self.largest_exif
        {
            self.told(facts::read(block).0);
            self.parts(removed);
            return Some(kept);
        }
        self.exif_gone(block, size);
        None
    }

    /// A TIFF block of EXIF that goes whatever the policy.
    pub(super) fn exif_gone(&mut self, block: &[u8], size: usize) {
        let (facts, given_away) = facts::read(block);
        self.told(facts);
        self.add(RemovedKind::Exif, size);
        self.parts(given_away);
    }

    fn told(&mut self, facts: Facts) {
        if self.facts == Facts::default() {
            self.facts = facts;
        }
    }

    /// A packet of XMP, `size` bytes with its header in the file. Returns what stays of it.
    pub(super) fn xmp(&mut self, packet: &[u8], size: usize) -> Option<Vec<u8>> {
        let told = (packet.len() <= LARGEST_BLOCK).then(|| xmp::read(packet)).flatten();
        if self.only_places()
            && !self.xmp_kept
            && let Some(told) = &told
        {
            self.xmp_kept = true;
            self.parts(told.places());
            return Some(told.without_places(packet));
        }
        self.add(RemovedKind::Xmp, size);
        self.parts(told.map(xmp::Told::everything).unwrap_or_default());
        None
    }

    /// Photoshop's image resources, or IPTC records alone, `size` bytes with their header in the file.
    pub(super) fn iptc(&mut self, resources: &[u8], size: usize) -> Option<Vec<u8>> {
        if self.only_places()
            && resources.len() <= LARGEST_BLOCK
            && let Some((kept, removed)) = iptc::without_places(resources)
        {
            self.parts(removed);
            return Some(kept);
        }
        self.add(RemovedKind::Iptc, size);
        if resources.len() <= LARGEST_BLOCK {
            self.parts(iptc::told(resources));
        }
        None
    }

    /// A frame of an animation, shown for `duration_ms`.
    pub(super) const fn frame(&mut self, duration_ms: u64) {
        self.frames = self.frames.saturating_add(1);
        self.duration_ms = self.duration_ms.saturating_add(duration_ms);
    }

    /// The frames of a track; those of the longest count.
    pub(super) fn frames(&mut self, frames: u32, duration_ms: u64) {
        self.frames = self.frames.max(frames);
        self.duration_ms = self.duration_ms.max(duration_ms);
    }

    /// The orientation that has to be written, because nothing that was kept says it.
    pub(super) fn orientation_to_write(&self) -> Option<u8> {
        self.orientation
            .filter(|orientation| !self.exif_kept && *orientation != 1)
    }

    /// The list for a person, and the facts.
    pub(super) fn finish(mut self) -> (Vec<Removed>, Facts, u8, Option<&'static str>) {
        self.removed.sort_by_key(|removed| removed.what);
        if self.frames > 1 {
            self.facts.frames = Some(self.frames);
            self.facts.duration_ms = Some(self.duration_ms);
        }
        (self.removed, self.facts, self.orientation.unwrap_or(1), self.lossy)
    }
}
