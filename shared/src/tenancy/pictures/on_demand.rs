//! A variant that nobody has set, and a link asks for: `w400,h300,cover.webp`.

use super::{Object, PicturesError, VariantPreset, checked};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::str::FromStr;

/// Files that a picture may have, its original among them, under a limit of `variants`; 0 is no limit of the tenant's.
#[must_use]
pub const fn most_files(variants: i64) -> i64 {
    const MOST: i64 = 60;
    if variants > 0 && variants < MOST {
        variants + 1
    } else {
        MOST
    }
}

/// Longest text that is looked at.
const LONGEST: usize = 200;
/// Stands for the name while a variant is judged: no settings can say what it is stored under.
const NAMELESS: &str = "on-demand";
/// Hexadecimal digits of what it is stored under; with the underscore, what the tenants' tables hold.
const DIGITS: usize = 30;

/// A variant as a link asks for it. Links that mean the same have the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemand {
    preset: VariantPreset,
    name: String,
}

/// Why a text asks for no variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnDemandError {
    /// A part is no option.
    #[error(
        "{part:?} is no option: w400, h300, cover, contain, inside, gnorth, g250:700, q75, bgffffff, s20, enlarge, linear, \
         animated, and lossless of WebP"
    )]
    Option {
        /// As given.
        part: String,
    },
    /// An option comes twice.
    #[error("{option} is said twice")]
    Twice {
        /// Which.
        option: &'static str,
    },
    /// It ends like a format that nothing is written in.
    #[error(".{extension} is none of .jpg, .jpeg, .png, .webp, .avif and .gif")]
    Extension {
        /// As given.
        extension: String,
    },
    /// An option has a value that it may not have.
    #[error(transparent)]
    Value(#[from] PicturesError),
}

impl OnDemand {
    /// What it is stored under: an underscore, which no preset's name has, and 120 bits of a hash of what is wanted.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is wanted; its name says nothing.
    #[must_use]
    pub const fn preset(&self) -> &VariantPreset {
        &self.preset
    }
}

impl FromStr for OnDemand {
    type Err = OnDemandError;

    fn from_str(text: &str) -> Result<Self, OnDemandError> {
        if text.len() > LONGEST {
            let part = text.chars().take(20).collect::<String>() + "…";
            return Err(OnDemandError::Option { part });
        }
        let (options, extension) = text.split_once('.').map_or((text, None), |(a, b)| (a, Some(b)));
        let mut wanted = Map::new();
        let mut set = |option: &'static str, value: Value| match wanted.insert(option.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(OnDemandError::Twice { option }),
        };
        let output = match extension {
            None => None,
            Some("jpg" | "jpeg") => Some("jpeg"),
            Some(same @ ("png" | "webp" | "avif" | "gif")) => Some(same),
            Some(other) => {
                return Err(OnDemandError::Extension {
                    extension: other.to_owned(),
                });
            }
        };
        if let Some(output) = output {
            set("output", output.into())?;
        }
        let mut lossless = false;
        for part in options.split(',') {
            if part == "lossless" && output == Some("webp") && !lossless {
                lossless = true;
                continue;
            }
            let (option, value) = option(part).ok_or_else(|| OnDemandError::Option { part: part.to_owned() })?;
            set(option, value)?;
        }
        if lossless {
            wanted.insert("output".to_owned(), "webp-lossless".into());
        }
        plain(&mut wanted);
        wanted.insert("name".to_owned(), NAMELESS.into());
        let preset: Object<VariantPreset> =
            serde_json::from_value(wanted.into()).map_err(|error| PicturesError::Syntax {
                problem: error.to_string(),
            })?;
        let preset = checked(vec![preset.0])?.iter().next().cloned();
        let preset = preset.ok_or(PicturesError::TooMany { given: 0 })?;
        let name = name(&preset);
        Ok(Self { preset, name })
    }
}

/// Leaves out what says nothing: a gravity where nothing is cut or filled, a quality where nothing is lost, motion where nothing
/// moves. Points that have a name get it.
fn plain(wanted: &mut Map<String, Value>) {
    let text =
        |wanted: &Map<String, Value>, option: &str| wanted.get(option).and_then(Value::as_str).map(str::to_owned);
    if matches!(text(wanted, "fit").as_deref(), None | Some("inside")) {
        wanted.remove("gravity");
    }
    let output = text(wanted, "output").unwrap_or_default();
    if ["png", "gif", "webp-lossless"].contains(&output.as_str()) {
        wanted.remove("quality");
    }
    if ["jpeg", "png", "avif"].contains(&output.as_str()) {
        wanted.remove("animated");
    }
    let point = text(wanted, "gravity").and_then(|text| {
        let (x, y) = text.split_once(':')?;
        Some((number(x)?, number(y)?))
    });
    let Some(point) = point else { return };
    let named = match point {
        (500, 500) => "centre",
        (500, 0) => "north",
        (1_000, 0) => "northeast",
        (1_000, 500) => "east",
        (1_000, 1_000) => "southeast",
        (500, 1_000) => "south",
        (0, 1_000) => "southwest",
        (0, 500) => "west",
        (0, 0) => "northwest",
        _ => "",
    };
    let text = if named.is_empty() {
        format!("{}:{}", point.0, point.1)
    } else {
        named.to_owned()
    };
    wanted.insert("gravity".to_owned(), text.into());
}

/// Options in their order, those that are as they are without a word left out: part of what is stored.
fn name(preset: &VariantPreset) -> String {
    // Texts and numbers: serialising them has no way to fail.
    let text = serde_json::to_string(preset).unwrap_or_default();
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    let (digits, _) = digest.split_at(DIGITS);
    format!("_{digits}")
}

fn option(part: &str) -> Option<(&'static str, Value)> {
    Some(match part {
        "cover" | "contain" | "inside" => ("fit", part.into()),
        "enlarge" => ("enlarge", true.into()),
        "linear" => ("linear", true.into()),
        "animated" => ("animated", true.into()),
        _ => {
            if let Some(colour) = part.strip_prefix("bg") {
                return Some(("background", colour.into()));
            }
            if let Some(gravity) = part.strip_prefix('g') {
                return Some(("gravity", gravity.into()));
            }
            let mut letters = part.chars();
            let option = match letters.next()? {
                'w' => "width",
                'h' => "height",
                'q' => "quality",
                's' => "sharpen",
                _ => return None,
            };
            (option, number(letters.as_str())?.into())
        }
    })
}

fn number(text: &str) -> Option<u32> {
    let plain = (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> OnDemand {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_option_can_be_asked_for() {
        let all = read("w400,h300,cover,g250:700,q75,bgFFffff,s20,enlarge,linear,animated.webp");
        assert_eq!(
            serde_json::to_value(all.preset()).unwrap(),
            json!({
                "name": "on-demand", "width": 400, "height": 300, "fit": "cover", "gravity": "250:700", "output": "webp",
                "quality": 75, "background": "#ffffff", "sharpen": 20, "enlarge": true, "linear": true, "animated": true,
            })
        );
        assert_eq!(
            serde_json::to_value(read("w400").preset()).unwrap(),
            json!({ "name": "on-demand", "width": 400 })
        );
    }

    #[test]
    fn what_means_the_same_has_one_name_which_never_changes() {
        for (text, same) in [
            ("w400,h300,cover.webp", "cover,h300,w400.webp"),
            ("w400.jpg", "w400.jpeg"),
            ("w400", "w0400,q80,inside,gcentre,s0"),
            ("w400,bgABCDEF", "w400,bgabcdef"),
            ("w4,h4,cover,g500:0", "w4,h4,cover,gnorth"),
            ("w4,h4,cover,g0250:0700", "w4,h4,cover,g250:700"),
            ("w4,h4,cover,g500:500", "w4,h4,cover"),
            ("w4,gwest", "w4"),
            ("w4,q90,animated.png", "w4.png"),
            ("w4,q90,lossless.webp", "w4,lossless.webp"),
        ] {
            assert_eq!(read(text), read(same), "{text}");
        }
        assert_ne!(read("w400").name(), read("w400.jpg").name());
        // Files are stored under it.
        assert_eq!(read("w400,h300,cover.webp").name(), "_67cd8f0d36d54b9a235600a3b2cce6");
    }

    #[test]
    fn what_is_no_variant_says_why() {
        for (text, problem) in [
            ("", "is no option"),
            (".webp", "is no option"),
            ("w400,", "is no option"),
            ("400", "is no option"),
            ("w", "is no option"),
            ("w-1", "is no option"),
            ("w+1", "is no option"),
            ("w99999999999", "is no option"),
            ("lossless,w4.png", "is no option"),
            ("w400,w500", "width is said twice"),
            ("cover,contain", "fit is said twice"),
            ("w400.svg", ".svg is none of"),
            ("w400.", ". is none of"),
            ("w400.jpg.webp", ".jpg.webp is none of"),
            ("w0", "width 0 is not between"),
            ("w16384", "width 16384 is not between"),
            ("w1,q0", "quality 0"),
            ("w1,cover,gnowhere", "gravity \"nowhere\" is none of"),
            ("w1,bgfff", "is no colour"),
            ("w16383,h16383,contain", "boxes of 268402689 pixels"),
            (&"w".repeat(300), "is no option"),
        ] {
            let error = text.parse::<OnDemand>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_name_can_be_stored(text in "[wqshbgcover0-9,.:lanimt]{0,60}") {
            if let Ok(wanted) = text.parse::<OnDemand>() {
                prop_assert!(wanted.name().len() <= 32 && wanted.name().starts_with('_'));
            }
        }
    }
}
