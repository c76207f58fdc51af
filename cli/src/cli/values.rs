//! Values as people write them on the command line, parsed once.

use crate::moments;
use mediamill_shared::{
    quota::Period,
    secrets::{Env, SecretText},
    tenancy::{Isolation, LimitOverrides, PictureSettings, ServerName},
    units::{ByteCount, Millis, SpanError},
};
use std::{path::PathBuf, time::Duration};

/// `90s`, `30m`, `12h`, `30d`, `8w`.
pub(super) fn duration(text: &str) -> Result<Duration, SpanError> {
    mediamill_shared::units::span(text)
}

/// `20M`, `500 GB`, `64 MiB` or a number of bytes.
pub(super) fn byte_size(text: &str) -> Result<ByteCount, String> {
    mediamill_shared::config::size(text)
}

/// When something ends: a moment, or a time from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// At this moment.
    At(Millis),
    /// So long after now.
    In(Duration),
}

impl Until {
    /// As a moment.
    pub(crate) fn from(self, now: Millis) -> Millis {
        match self {
            Self::At(at) => at,
            Self::In(time) => now.after(time),
        }
    }
}

/// `30d`, `2026-12-31 23:59:59`, `2026-12-31T23:59:59Z` or `2026-12-31`.
pub(super) fn until(text: &str) -> Result<Until, String> {
    duration(text).map(Until::In).or_else(|_| {
        moments::read(text).map(Until::At).ok_or_else(|| {
            format!("{text:?} is no moment; write \"2026-12-31 23:59:59\" (UTC), or a time from now such as 12h or 30d")
        })
    })
}

/// The beginning of an hour: `2026-12-31`, `2026-12-31 23:00:00` or `2026-12-31T23:00:00Z`.
pub(super) fn hour(text: &str) -> Result<Millis, String> {
    let at = moments::read(text).filter(|at| Period::hour_of(*at).start == *at);
    at.ok_or_else(|| format!("{text:?} begins no hour; write 2026-12-31 or 2026-12-31T23:00:00Z (UTC)"))
}

/// `0` and `1`, and the words for them.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("write 1 or 0".to_owned()),
    }
}

/// `prefix`, `database` or Chevereto's `table`.
pub(super) fn isolation(text: &str) -> Result<Isolation, String> {
    Isolation::parse(text).map_err(|_| "write prefix or database".to_owned())
}

/// A choice that can be given back: `auto` leaves it to whoever decides otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Choice<T>(pub(crate) Option<T>);

pub(super) fn isolation_choice(text: &str) -> Result<Choice<Isolation>, String> {
    match text {
        "auto" => Ok(Choice(None)),
        text => isolation(text).map(|isolation| Choice(Some(isolation))),
    }
}

pub(super) fn server_choice(text: &str) -> Result<Choice<ServerName>, String> {
    match text {
        "auto" => Ok(Choice(None)),
        text => text
            .parse()
            .map(|server| Choice(Some(server)))
            .map_err(|error: mediamill_shared::tenancy::ServerNameError| error.to_string()),
    }
}

/// `NAME=VALUE` as the limit it sets.
pub(super) fn assignment(text: &str) -> Result<LimitOverrides, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "write NAME=VALUE, such as media=1000 or upload_bytes=20M".to_owned())?;
    let object = serde_json::json!({ name.trim(): value.trim() });
    LimitOverrides::from_json(&object.to_string()).map_err(|error| error.to_string())
}

/// The name under which a limit is stored; ours, a trial twin's, or a variable of Chevereto's.
pub(super) fn limit_name(text: &str) -> Result<String, String> {
    // 0 is a value of every limit, and the stored form says what the name means.
    let object = serde_json::json!({ text.trim(): 0 });
    let known = LimitOverrides::from_json(&object.to_string()).map_err(|error| error.to_string())?;
    let stored: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&known.to_json()).map_err(|error| error.to_string())?;
    stored
        .into_iter()
        .next()
        .map(|(name, _)| name)
        .ok_or_else(|| format!("{text:?} names no limit"))
}

/// Configuration values as they were given: secret, so they are looked at where an error can be worded without them.
#[derive(Debug, Clone)]
pub(crate) struct EnvText(SecretText);

#[expect(clippy::unnecessary_wraps, reason = "the shape of a parser")]
pub(super) fn env_text(text: &str) -> Result<EnvText, String> {
    Ok(EnvText(SecretText::new(text.to_owned())))
}

impl EnvText {
    /// A JSON object of strings; `@FILE` and `-` say where it is.
    pub(crate) fn read(&self) -> anyhow::Result<Env> {
        let text = match self.0.reveal() {
            "-" => crate::input::all_of_stdin()?,
            given => match given.strip_prefix('@') {
                Some(file) => crate::input::file(std::path::Path::new(file))?,
                None => self.0.clone(),
            },
        };
        Ok(Env::from_json(text.reveal())?)
    }
}

/// Where picture settings are.
#[derive(Debug, Clone)]
pub(crate) enum PicturesAt {
    /// Nowhere: nothing is set any more.
    None,
    /// On standard input.
    Input,
    /// In a file.
    File(PathBuf),
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a parser")]
pub(super) fn pictures_at(text: &str) -> Result<PicturesAt, String> {
    Ok(match text {
        "none" => PicturesAt::None,
        "-" => PicturesAt::Input,
        file => PicturesAt::File(file.into()),
    })
}

impl PicturesAt {
    /// The settings that are there.
    pub(crate) fn read(&self) -> anyhow::Result<PictureSettings> {
        let text = match self {
            Self::None => return Ok(PictureSettings::default()),
            Self::Input => crate::input::all_of_stdin()?,
            Self::File(path) => crate::input::file(path)?,
        };
        Ok(PictureSettings::from_json(text.reveal())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("30d").unwrap(), Duration::from_secs(30 * 86_400));
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        for bad in [
            "",
            "d",
            "30",
            "-1d",
            "1.5h",
            "1 d",
            "99999999999999999999d",
            "18446744073709551615w",
            "3é",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_is_a_moment_or_a_time_from_now() {
        let now = Millis::new(1_000);
        assert_eq!(until("1m").unwrap().from(now), Millis::new(61_000));
        assert_eq!(until("1970-01-02 00:00:00").unwrap().from(now), Millis::new(86_400_000));
        assert!(until("tomorrow").is_err());
    }

    #[test]
    fn a_limit_is_named_in_any_of_its_names() {
        for (given, stored) in [
            ("media", "media"),
            ("CHEVERETO_MAX_FILES", "media"),
            ("trial.media", "trial.media"),
            ("CHEVERETO_ENABLE_SOMETHING", "CHEVERETO_ENABLE_SOMETHING"),
            ("image_formats", "image_formats"),
        ] {
            assert_eq!(limit_name(given).unwrap(), stored);
        }
        assert!(limit_name("no_such").is_err());
        assert!(assignment("media").is_err() && assignment("media=x").is_err());
        assert_eq!(
            assignment("upload_bytes=20M").unwrap().to_json(),
            r#"{"upload_bytes":20000000}"#
        );
    }
}
