//! Names that a limit goes by: ours, Chevereto's variable, and each one's trial twin.
//!
//! A name that begins with `CHEVERETO_` and is no limit is *carried*: kept as it is for the application that knows it.

use super::{Limit, LimitsError, Unit};
use crate::spelling::distance;

/// Before our name of a limit: its trial twin.
const TRIAL: &str = "trial.";
/// Before the rest of a variable: its trial twin.
const TRIAL_VARIABLE: &str = "TRIAL_";
const CHEVERETO: &str = "CHEVERETO_";
const OURS: &str = "MEDIAMILL_";
/// More than any variable of Chevereto has.
const LONGEST_CARRIED: usize = 100;

/// What a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// A limit's value.
    Plain(Limit),
    /// What stands before it on trial.
    Trial(Limit),
    /// A variable of Chevereto's that is no limit.
    Carried,
}

pub(super) fn key(name: &str) -> Result<Key, LimitsError> {
    let known = match name.strip_prefix(TRIAL) {
        Some(rest) => Limit::named(rest).map(Key::Trial),
        None => Limit::named(name).map(Key::Plain).or_else(|| by_variable(name)),
    };
    known.ok_or_else(|| LimitsError::Unknown {
        name: name.to_owned(),
        nearest: nearest(name),
    })
}

fn by_variable(name: &str) -> Option<Key> {
    let prefix = [CHEVERETO, OURS].into_iter().find(|prefix| name.starts_with(prefix))?;
    let rest = name.strip_prefix(prefix)?;
    let (plain, made): (String, fn(Limit) -> Key) = match rest.strip_prefix(TRIAL_VARIABLE) {
        Some(rest) => (format!("{prefix}{rest}"), Key::Trial),
        None => (name.to_owned(), Key::Plain),
    };
    let meant = |limit: &Limit| limit.chevereto() == Some(plain.as_str()) || our_variable(*limit) == plain;
    match Limit::ALL.iter().copied().find(meant) {
        Some(limit) => Some(made(limit)),
        None => (prefix == CHEVERETO && is_variable(rest)).then_some(Key::Carried),
    }
}

fn is_variable(text: &str) -> bool {
    (1..=LONGEST_CARRIED).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// How a limit's trial twin is stored.
pub(super) fn trial_name(limit: Limit) -> String {
    format!("{TRIAL}{}", limit.as_str())
}

/// Chevereto's variable, or one in its manner.
impl Limit {
    /// The variable it goes by in the compatible form: Chevereto's, or one of ours in the same manner.
    #[must_use]
    pub fn variable(self) -> String {
        variable(self)
    }
}

pub(super) fn variable(limit: Limit) -> String {
    limit.chevereto().map_or_else(|| our_variable(limit), str::to_owned)
}

/// The variable of the trial twin: `CHEVERETO_TRIAL_MAX_FILES`.
pub(super) fn trial_variable(limit: Limit) -> String {
    let plain = variable(limit);
    match plain.split_once('_') {
        Some((prefix, rest)) => format!("{prefix}_{TRIAL_VARIABLE}{rest}"),
        None => plain,
    }
}

fn our_variable(limit: Limit) -> String {
    let verb = match limit.unit() {
        Unit::Toggle => "ENABLE",
        Unit::Count
        | Unit::Bytes
        | Unit::Pixels
        | Unit::Seconds
        | Unit::PerHour
        | Unit::BytesPerMonth
        | Unit::Formats => "MAX",
    };
    format!("{OURS}{verb}_{}", limit.as_str().to_ascii_uppercase())
}

/// Up to three names, written in the manner of `name`, that differ from it by little.
fn nearest(name: &str) -> Vec<String> {
    let spelt: fn(Limit) -> String = if name.starts_with(TRIAL) {
        trial_name
    } else if name.starts_with(OURS) {
        our_variable
    } else {
        |limit| limit.as_str().to_owned()
    };
    let given = if name.starts_with(OURS) {
        name.to_owned()
    } else {
        name.to_ascii_lowercase()
    };
    let mut near: Vec<(usize, String)> = Limit::ALL
        .iter()
        .map(|limit| spelt(*limit))
        .map(|known| (distance(&given, &known), known))
        .filter(|(errors, known)| *errors <= 3 && errors.saturating_mul(2) < known.len())
        .collect();
    near.sort();
    // What is two slips further off than the best is noise.
    let best = near.first().map_or(0, |(errors, _)| *errors);
    near.retain(|(errors, _)| *errors <= best.saturating_add(1));
    near.into_iter().take(3).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_goes_by_our_name_and_by_chevereto_s() {
        for (name, meant) in [
            ("media", Key::Plain(Limit::Media)),
            ("trial.media", Key::Trial(Limit::Media)),
            ("CHEVERETO_MAX_FILES", Key::Plain(Limit::Media)),
            ("CHEVERETO_TRIAL_MAX_FILES", Key::Trial(Limit::Media)),
            ("CHEVERETO_TRIAL_ENABLE_USERS", Key::Trial(Limit::MultiUser)),
            (
                "CHEVERETO_TRIAL_MIN_STORAGES_ACTIVE",
                Key::Trial(Limit::MinActiveStorages),
            ),
            ("MEDIAMILL_MAX_PIXELS", Key::Plain(Limit::Pixels)),
            ("MEDIAMILL_TRIAL_ENABLE_EXIF_FACTS", Key::Trial(Limit::ExifFacts)),
            ("CHEVERETO_ENABLE_LIKES", Key::Carried),
            ("CHEVERETO_TRIAL_ENABLE_LIKES", Key::Carried),
        ] {
            assert_eq!(key(name), Ok(meant), "{name}");
        }
    }

    #[test]
    fn every_name_that_is_written_is_read() {
        for limit in Limit::ALL.iter().copied() {
            assert_eq!(key(limit.as_str()), Ok(Key::Plain(limit)));
            assert_eq!(key(&variable(limit)), Ok(Key::Plain(limit)));
            assert_eq!(key(&our_variable(limit)), Ok(Key::Plain(limit)));
            assert_eq!(key(&trial_name(limit)), Ok(Key::Trial(limit)));
            assert_eq!(key(&trial_variable(limit)), Ok(Key::Trial(limit)));
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_what_is_near() {
        for (name, text) in [
            ("medias", "unknown limit \"medias\"; did you mean media?"),
            ("Album", "unknown limit \"Album\"; did you mean albums?"),
            ("trial.medi", "unknown limit \"trial.medi\"; did you mean trial.media?"),
            (
                "MEDIAMILL_MAX_PIXEL",
                "unknown limit \"MEDIAMILL_MAX_PIXEL\"; did you mean MEDIAMILL_MAX_PIXELS?",
            ),
            (
                "zzzzzzzzz",
                "unknown limit \"zzzzzzzzz\"; docs/limits.md lists them all",
            ),
            ("", "unknown limit \"\"; docs/limits.md lists them all"),
            (
                "CHEVERETO_",
                "unknown limit \"CHEVERETO_\"; docs/limits.md lists them all",
            ),
            (
                "CHEVERETO_a b",
                "unknown limit \"CHEVERETO_a b\"; docs/limits.md lists them all",
            ),
        ] {
            assert_eq!(key(name).unwrap_err().to_string(), text);
        }
    }
}
