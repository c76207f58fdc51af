//! What a storage is: where it lies, and how to reach it. Credentials are apart, since these lie open in the database.

use crate::{
    objects::ObjectKey,
    secrets::{SecretBytes, SecretText},
};
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, str::FromStr};
use url::Url;

/// What a storage is, by its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StorageSettings {
    /// A bucket of any service that speaks S3.
    S3(S3Settings),
    /// A directory of every machine that runs a worker or an api: one that they share.
    Directory(DirectorySettings),
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// What every key begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// `https://host:port` of the service; Amazon's by region without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region; `us-east-1` without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket stands in the path, not in the host name; with an endpoint it does, where nobody says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// How files get to who asks for them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delivery: Delivery,
    /// What a file's public address begins with, for [`Delivery::Public`]; the prefix is not added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// File of PEM certificates that are trusted instead of the system's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectorySettings {
    /// Absolute path.
    pub path: PathBuf,
}

/// How files get from a storage to who asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Through the api.
    #[default]
    Relay,
    /// By a redirect to an address that is signed and lives ten minutes.
    Presign,
    /// By a redirect to the bucket's public address, which lives as long as the file.
    Public,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a storage asks for before it lets anybody in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: SecretText,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCredentials<A, S> {
    access_key: A,
    secret_key: S,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ***)", self.access_key)
    }
}

impl Credentials {
    /// As they are sealed.
    pub(super) fn to_bytes(&self) -> SecretBytes {
        let written = WrittenCredentials {
            access_key: self.access_key.as_str(),
            secret_key: self.secret_key.reveal(),
        };
        // Texts: serialising them has no way to fail.
        SecretBytes::new(serde_json::to_vec(&written).unwrap_or_default())
    }

    pub(super) fn from_bytes(bytes: &SecretBytes) -> Option<Self> {
        let written: WrittenCredentials<String, String> = serde_json::from_slice(bytes.reveal()).ok()?;
        Some(Self {
            access_key: written.access_key,
            secret_key: SecretText::new(written.secret_key),
        })
    }
}

/// Why settings are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageSettingsError {
    /// They are no JSON object of what settings have.
    #[error("a storage is a JSON object such as {{\"kind\": \"s3\", \"bucket\": \"pictures\"}}: {problem}")]
    Syntax {
        /// What the parser said.
        problem: String,
    },
    /// A member cannot be so.
    #[error("{member}: {problem}")]
    Member {
        /// Which.
        member: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

pub(super) fn wrong(member: &'static str, problem: impl Into<String>) -> StorageSettingsError {
    StorageSettingsError::Member {
        member,
        problem: problem.into(),
    }
}

impl StorageSettings {
    /// As it is stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts and numbers: serialising them has no way to fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a JSON object.
    ///
    /// # Errors
    /// When it is none, or a member cannot be so.
    pub fn from_json(text: &str) -> Result<Self, StorageSettingsError> {
        let settings: Self = serde_json::from_str(text).map_err(|error| StorageSettingsError::Syntax {
            problem: error.to_string(),
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// Whether members fit each other.
    ///
    /// # Errors
    /// Which one does not.
    pub fn check(&self) -> Result<(), StorageSettingsError> {
        match self {
            Self::S3(s3) => s3.check(),
            Self::Directory(directory) if directory.path.is_absolute() => Ok(()),
            Self::Directory(_) => Err(wrong("path", "a directory's path is absolute")),
        }
    }

    /// How files get to who asks for them.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::S3(s3) => s3.delivery,
            Self::Directory(_) => Delivery::Relay,
        }
    }

    /// A file's public address.
    #[must_use]
    pub fn public_url(&self, key: &ObjectKey) -> Option<String> {
        match self {
            Self::S3(s3) if s3.delivery == Delivery::Public => {
                let base = s3.public_url.as_deref()?.trim_end_matches('/');
                // Keys are of characters that stand in a URL for themselves.
                Some(format!("{base}/{key}"))
            }
            Self::S3(_) | Self::Directory(_) => None,
        }
    }

    /// As [`crate::objects::Objects::open`] reads it, credentials and all.
    ///
    /// # Errors
    /// When a member cannot stand in a URL.
    pub(super) fn to_url(&self, credentials: Option<&Credentials>) -> Result<Url, StorageSettingsError> {
        match self {
            Self::Directory(directory) => {
                Url::from_directory_path(&directory.path).map_err(|()| wrong("path", "a directory's path is absolute"))
            }
            Self::S3(s3) => s3.to_url(credentials),
        }
    }
}

impl S3Settings {
    fn check(&self) -> Result<(), StorageSettingsError> {
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, which others are as strict as or less.
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(plain) {
            return Err(wrong(
                "bucket",
                "a bucket's name is 3 to 63 characters of a-z, 0-9, - and .",
            ));
        }
        if let Some(prefix) = &self.prefix
            && prefix.trim_matches('/').parse::<ObjectKey>().is_err()
        {
            return Err(wrong("prefix", "a prefix is made as object keys are, such as sites/a"));
        }
        let http = |text: &str| {
            text.parse::<Url>()
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none())
        };
        if self.endpoint.as_deref().is_some_and(|endpoint| !http(endpoint)) {
            return Err(wrong(
                "endpoint",
                "an endpoint is http://host:port or https://host:port",
            ));
        }
        match (self.delivery, &self.public_url) {
            (Delivery::Public, None) => Err(wrong(
                "public_url",
                "public delivery needs the address that files begin with",
            )),
            (_, Some(url)) if !http(url) => Err(wrong("public_url", "it is an http or https address")),
            _ => Ok(()),
        }
    }

    fn to_url(&self, credentials: Option<&Credentials>) -> Result<Url, StorageSettingsError> {
        let prefix = self.prefix.as_deref().unwrap_or_default().trim_matches('/');
        let mut url: Url = format!("s3://{}/{prefix}", self.bucket)
            .parse()
            .map_err(|error: url::ParseError| wrong("bucket", error.to_string()))?;
        {
            let mut pairs = url.query_pairs_mut();
            if let Some(endpoint) = &self.endpoint {
                pairs.append_pair("endpoint", endpoint);
            }
            if let Some(region) = &self.region {
                pairs.append_pair("region", region);
            }
            if let Some(path_style) = self.path_style {
                pairs.append_pair("path_style", if path_style { "true" } else { "false" });
            }
            if self.delivery == Delivery::Presign {
                pairs.append_pair("presign", "true");
            }
            if let Some(ca) = &self.ca {
                pairs.append_pair("ca", &ca.to_string_lossy());
            }
            if let Some(credentials) = credentials {
                pairs.append_pair("access_key", &credentials.access_key);
                pairs.append_pair("secret_key", credentials.secret_key.reveal());
            }
        }
        Ok(url)
    }
}

impl FromStr for StorageSettings {
    type Err = StorageSettingsError;
    fn from_str(text: &str) -> Result<Self, StorageSettingsError> {
        Self::from_json(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StorageSettings, String> {
        StorageSettings::from_json(text).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_read_and_kept_as_short_as_can_be() {
        for text in [
            r#"{"kind":"s3","bucket":"pictures"}"#,
            r#"{"kind":"s3","bucket":"pictures","prefix":"a/b","endpoint":"https://s3.example:9000","region":"eu","path_style":false,"delivery":"public","public_url":"https://cdn.example/x"}"#,
            r#"{"kind":"directory","path":"/srv/pictures"}"#,
        ] {
            assert_eq!(read(text).unwrap().to_json(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, told) in [
            ("[]", "JSON object"),
            (r#"{"kind":"ftp"}"#, "unknown variant `ftp`"),
            (r#"{"kind":"s3"}"#, "missing field `bucket`"),
            (r#"{"kind":"s3","bucket":"b/../c"}"#, "bucket: "),
            (
                r#"{"kind":"s3","bucket":"abc","secret_key":"x"}"#,
                "unknown field `secret_key`",
            ),
            (r#"{"kind":"s3","bucket":"abc","endpoint":"localhost:9"}"#, "endpoint: "),
            (r#"{"kind":"s3","bucket":"abc","prefix":"../x"}"#, "prefix: "),
            (r#"{"kind":"s3","bucket":"abc","delivery":"public"}"#, "public_url: "),
            (r#"{"kind":"directory","path":"srv"}"#, "path: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_url_has_everything_and_a_secret_is_not_told() {
        let settings =
            read(r#"{"kind":"s3","bucket":"abc","prefix":"/p/q/","endpoint":"http://h:1","delivery":"presign"}"#);
        let credentials = Credentials {
            access_key: "a".into(),
            secret_key: SecretText::new("b/c".into()),
        };
        let url = settings.unwrap().to_url(Some(&credentials)).unwrap();
        assert_eq!(
            url.as_str(),
            "s3://abc/p/q?endpoint=http%3A%2F%2Fh%3A1&presign=true&access_key=a&secret_key=b%2Fc"
        );
        assert_eq!(format!("{credentials:?}"), "Credentials(a, ***)");
        assert_eq!(Credentials::from_bytes(&credentials.to_bytes()), Some(credentials));
    }

    #[test]
    fn a_public_address_is_the_base_and_the_key() {
        let settings = read(r#"{"kind":"s3","bucket":"abc","delivery":"public","public_url":"https://c.example/x/"}"#);
        let key = "media/a/b/thumb.jpg".parse().unwrap();
        assert_eq!(
            settings.unwrap().public_url(&key).as_deref(),
            Some("https://c.example/x/media/a/b/thumb.jpg")
        );
    }
}
