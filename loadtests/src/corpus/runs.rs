//! What is asked of every file: what a tenant has who says nothing, and every format and option there is.

use mediamill_media::{Fit, Gravity, Output, Policy, Rgb, Settings, Variant};

/// One way to process a file.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) settings: Settings,
    /// Whether its original may hold nothing but structure.
    pub(crate) clean: bool,
}

pub(crate) fn all() -> Vec<Run> {
    let settings = |policy, variants| Settings {
        policy,
        variants,
        ..Settings::default()
    };
    vec![
        Run {
            name: "default",
            settings: Settings::default(),
            clean: true,
        },
        Run {
            name: "options",
            settings: settings(Policy::StripLocation, options()),
            clean: false,
        },
        Run {
            name: "moving",
            settings: settings(Policy::Keep, moving()),
            clean: false,
        },
    ]
}

/// A variant for every format and every option.
fn options() -> Vec<Variant> {
    let with = |name: &str, change: &dyn Fn(&mut Variant)| {
        let mut variant = Variant::new(name, Some(200), None, Fit::Inside);
        change(&mut variant);
        variant
    };
    vec![
        with("jpeg", &|v| v.output = Output::Jpeg),
        with("png", &|v| v.output = Output::Png),
        with("webp", &|v| v.output = Output::Webp),
        with("webp-lossless", &|v| v.output = Output::WebpLossless),
        with("avif", &|v| v.output = Output::Avif),
        with("gif", &|v| v.output = Output::Gif),
        with("cover", &|v| {
            (v.height, v.fit, v.gravity) = (Some(300), Fit::Cover, Gravity { x: 900, y: 100 });
        }),
        with("contain", &|v| (v.height, v.fit) = (Some(300), Fit::Contain)),
        with("background", &|v| {
            (v.height, v.fit, v.background) = (Some(300), Fit::Contain, Some(Rgb([10, 200, 30])));
        }),
        with("sharpened", &|v| v.sharpen = 60),
        with("enlarged", &|v| (v.width, v.enlarge) = (Some(900), true)),
        with("linear", &|v| v.linear = true),
        with("whole", &|v| v.width = None),
    ]
}

/// The formats that move.
fn moving() -> Vec<Variant> {
    [
        ("auto", Output::Auto),
        ("gif", Output::Gif),
        ("webp", Output::Webp),
        ("webp-lossless", Output::WebpLossless),
    ]
    .into_iter()
    .map(|(name, output)| Variant {
        output,
        animated: true,
        ..Variant::new(name, Some(160), Some(160), Fit::Cover)
    })
    .collect()
}
