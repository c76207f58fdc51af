//! Frames of animations, as they are shown.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

#[expect(dead_code, reason = "each test takes what it needs")]
mod drawn;

use drawn::{ApngFrame, GifFrame, WebpFrame, apng, gif, quarters, webp};
use mediamill_media::{Frames, Limits, MediaError, frames};

const CLEAR: [u8; 4] = [0; 4];
const RED: [u8; 4] = [255, 0, 0, 255];
const GREEN: [u8; 4] = [0, 255, 0, 255];
const BLUE: [u8; 4] = [0, 0, 255, 255];

fn opened(bytes: &[u8]) -> Frames<'_> {
    frames(bytes, &Limits::default(), &|| false).unwrap()
}

/// Of each frame its delay and its pixels at (0, 0), (2, 2) and (7, 5) of a canvas of 8 × 6.
fn shown(bytes: &[u8]) -> Vec<(u32, [[u8; 4]; 3])> {
    opened(bytes)
        .map(|frame| {
            let frame = frame.unwrap();
            assert_eq!(frame.image.dimensions(), (8, 6));
            let at = |x, y| frame.image.get_pixel(x, y).0;
            (frame.delay_ms, [at(0, 0), at(2, 2), at(7, 5)])
        })
        .collect()
}

#[test]
fn a_gif_disposes_of_its_frames() {
    let frame = |place, dispose, colour| GifFrame {
        place,
        delay: 7,
        dispose,
        colour,
    };
    let bytes = gif(
        8,
        6,
        Some(4),
        &[
            // Does not fill the screen.
            frame([2, 2, 6, 4], 1, 1),
            // Taken back to what was before.
            frame([0, 0, 3, 3], 3, 2),
            // Transparent: nothing changes; then its place is cleared.
            frame([2, 2, 2, 2], 2, 0),
            // A disposal that is none is kept, as everybody does; it stands out of the screen.
            frame([6, 4, 200, 200], 7, 3),
            frame([0, 0, 1, 1], 0, 2),
        ],
    );
    assert_eq!(opened(&bytes).plays.map(|plays| plays > 1), Some(true));
    assert_eq!(
        shown(&bytes),
        [
            (70, [CLEAR, RED, RED]),
            (70, [GREEN, GREEN, RED]),
            (70, [CLEAR, RED, RED]),
            (70, [CLEAR, CLEAR, BLUE]),
            (70, [GREEN, CLEAR, BLUE]),
        ]
    );
}

#[test]
fn an_apng_blends_and_disposes() {
    let frame = |place, dispose, blend, colour| ApngFrame {
        place,
        delay: 50,
        dispose,
        blend,
        colour,
    };
    let bytes = apng(
        8,
        6,
        0,
        &[
            frame([0, 0, 8, 6], 0, 0, RED),
            frame([2, 2, 3, 3], 2, 0, CLEAR),
            frame([0, 0, 3, 3], 1, 1, [0, 0, 255, 255]),
            frame([7, 5, 1, 1], 0, 1, CLEAR),
        ],
    );
    assert_eq!(opened(&bytes).plays, None);
    assert_eq!(
        shown(&bytes),
        [
            (50, [RED, RED, RED]),
            (50, [RED, CLEAR, RED]),
            (50, [BLUE, BLUE, RED]),
            (50, [CLEAR, CLEAR, RED]),
        ]
    );
}

#[test]
fn a_webp_blends_and_disposes() {
    let frame = |place, blend, clear, colour| WebpFrame {
        place,
        delay: 90,
        blend,
        clear,
        colour,
    };
    let bytes = webp(
        8,
        6,
        3,
        &[
            frame([0, 0, 8, 6], false, false, RED),
            frame([2, 2, 2, 2], false, false, CLEAR),
            frame([0, 0, 4, 4], true, true, BLUE),
            frame([6, 4, 2, 2], true, false, GREEN),
        ],
    );
    assert_eq!(opened(&bytes).plays, Some(3));
    assert_eq!(
        shown(&bytes),
        [
            (90, [RED, RED, RED]),
            (90, [RED, CLEAR, RED]),
            // Blended by the decoder with fewer places than it takes to keep 255.
            (90, [[0, 0, 254, 255], [0, 0, 254, 255], RED]),
            (90, [CLEAR, CLEAR, [0, 254, 0, 255]]),
        ]
    );
}

#[test]
fn a_picture_that_does_not_move_has_one_frame() {
    let mut bytes = std::io::Cursor::new(Vec::new());
    for format in [
        image::ImageFormat::Png,
        image::ImageFormat::WebP,
        image::ImageFormat::Jpeg,
    ] {
        bytes.get_mut().clear();
        bytes.set_position(0);
        quarters(8, 6).write_to(&mut bytes, format).unwrap();
        assert_eq!(shown(bytes.get_ref()).len(), 1, "{format:?}");
    }
}

#[test]
fn frames_end_at_the_first_that_is_damaged_or_when_told() {
    let frame = || GifFrame {
        place: [0, 0, 8, 6],
        delay: 1,
        dispose: 0,
        colour: 1,
    };
    let bytes = gif(8, 6, None, &[frame(), frame(), frame()]);
    let cut = &bytes[..bytes.len() - 60];
    let mut found = frames(cut, &Limits::default(), &|| false).unwrap();
    let outcomes: Vec<bool> = found.by_ref().map(|frame| frame.is_ok()).collect();
    assert_eq!(outcomes, [true, true, false]);
    assert!(found.next().is_none());
    let told = std::cell::Cell::new(false);
    let cancel = || told.get();
    let mut found = frames(&bytes, &Limits::default(), &cancel).unwrap();
    assert!(found.next().unwrap().is_ok());
    told.set(true);
    assert_eq!(found.next().unwrap().unwrap_err(), MediaError::Cancelled);
    assert!(found.next().is_none());
}
