//! What a storage may be, by whose it is and who says so.
//!
//! What an operator says is believed, also of a tenant's storage. What a tenant's own key says decides what this installation
//! connects to, so it is held to [`Guard::admit`] when it is said, and the storage is marked: whoever opens it connects to what
//! the guard lets through, whatever its name resolves to by then.

use super::{ChangeError, Credentials, S3Settings, StorageSettings, StorageSettingsError, settings::wrong};
use crate::{
    control::{
        audit::Actor,
        storages::{Bounds, StorageError},
    },
    fetch::{EndpointRefused, Guard},
    tenancy::{Limit, Tenant},
    units::ByteCount,
};
use url::Url;

/// Storages that a tenant may add by its own key where the limit `storages` says nothing: all of them are asked whether they
/// are there.
pub const MOST_OF_A_TENANT: i64 = 100;

/// Who changes storages.
#[derive(Debug, Clone)]
pub struct Editor {
    actor: Actor,
    trusted: bool,
}

impl Editor {
    /// Whoever runs the installation: a key of the Tenants API, the command line.
    #[must_use]
    pub const fn operator(actor: Actor) -> Self {
        Self { actor, trusted: true }
    }

    /// A tenant, of its own storages.
    #[must_use]
    pub const fn tenant(actor: Actor) -> Self {
        Self { actor, trusted: false }
    }

    /// Who is written into the audit log.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Whether a place that it names is connected to wherever it is.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// How many storages the tenant may have, and how many must be active.
    pub(super) fn bounds(&self, tenant: Option<&Tenant>) -> Bounds {
        let Some(limits) = tenant.map(|tenant| &tenant.context().limits) else {
            return Bounds::default();
        };
        let most = match limits.storages {
            0 if !self.trusted => MOST_OF_A_TENANT,
            most => most,
        };
        Bounds {
            most,
            least_active: limits.min_active_storages,
        }
    }

    /// Goes on when this editor may say that a storage is there.
    pub(super) fn admits(&self, settings: &StorageSettings, guard: &Guard) -> Result<(), ChangeError> {
        match settings {
            StorageSettings::S3(s3) if !self.trusted => said_by_a_tenant(s3, guard),
            StorageSettings::S3(_) | StorageSettings::Directory(_) => Ok(()),
        }
    }
}

/// Goes on when a tenant may have storages of its own at all.
pub(super) fn allowed(tenant: Option<&Tenant>) -> Result<(), StorageError> {
    let forbids = |tenant: &Tenant| !tenant.context().limits.allows(Limit::ExternalStorage);
    if tenant.is_some_and(forbids) {
        return Err(StorageError::NotAllowed);
    }
    Ok(())
}

/// What a tenant's may be, whoever says it: a directory is on the provider's machines, and so is a file of certificates; a bucket
/// without credentials would be opened with the provider's.
pub(super) fn for_a_tenant(settings: &StorageSettings, has_credentials: bool) -> Result<(), StorageSettingsError> {
    match settings {
        StorageSettings::Directory(_) => Err(wrong("kind", "a tenant's storage is of the kind s3")),
        StorageSettings::S3(s3) if s3.ca.is_some() => {
            Err(wrong("ca", "a tenant's storage has a certificate that everybody knows"))
        }
        StorageSettings::S3(_) if !has_credentials => {
            Err(wrong("access_key", "a tenant's storage needs credentials of its own"))
        }
        StorageSettings::S3(_) => Ok(()),
    }
}

fn said_by_a_tenant(s3: &S3Settings, guard: &Guard) -> Result<(), ChangeError> {
    if let Some(endpoint) = &s3.endpoint {
        guard.admit(endpoint).map_err(|refused| match refused {
            EndpointRefused::Address(refused) => ChangeError::Address(refused),
            refused @ (EndpointRefused::Malformed
            | EndpointRefused::Plain
            | EndpointRefused::Extra
            | EndpointRefused::Port(_)) => wrong("endpoint", refused.to_string()).into(),
        })?;
    }
    let region = s3.region.as_deref().unwrap_or("us-east-1");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !(1..=63).contains(&region.len()) || !region.bytes().all(plain) {
        return Err(wrong("region", "a region is 1 to 63 characters of a-z, A-Z, 0-9 and -").into());
    }
    if s3.public_url.as_deref().is_some_and(|url| !is_for_browsers(url)) {
        let problem = "it is an http or https address without a name, a password, a query and a fragment";
        return Err(wrong("public_url", problem).into());
    }
    Ok(())
}

/// Whether files may begin with it in an answer's `Location`: it is written there as it was given. It is never connected to.
fn is_for_browsers(text: &str) -> bool {
    let visible = (1..=2048).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    visible
        && text.parse::<Url>().is_ok_and(|url| {
            let plain = url.username().is_empty() && url.password().is_none();
            matches!(url.scheme(), "http" | "https") && plain && url.query().is_none() && url.fragment().is_none()
        })
}

pub(super) fn checked_name(name: &str) -> Result<(), StorageSettingsError> {
    if (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(wrong(
            "name",
            "a storage's name is 1 to 100 characters, none of them a control character",
        ))
    }
}

pub(super) fn checked_numbers(capacity: ByteCount, weight: i64) -> Result<(), StorageSettingsError> {
    if !(1..=1_000).contains(&weight) {
        return Err(wrong("weight", "a weight is 1 to 1000"));
    }
    if capacity < ByteCount::ZERO {
        return Err(wrong("capacity", "a capacity is not below 0; 0 is no bound"));
    }
    Ok(())
}

/// The access key stands in a header of every request: the SDK panics where it cannot.
pub(super) fn checked_credentials(credentials: Option<&Credentials>) -> Result<(), StorageSettingsError> {
    let Some(Credentials { access_key, secret_key }) = credentials else {
        return Ok(());
    };
    if !(1..=256).contains(&access_key.len()) || !access_key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong(
            "access_key",
            "an access key is 1 to 256 visible characters of ASCII",
        ));
    }
    if !(1..=4096).contains(&secret_key.reveal().len()) {
        return Err(wrong("secret_key", "a secret key is 1 to 4096 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, secrets::SecretText};
    use serde_json::{Value, json};

    fn said(by: &Editor, more: &Value) -> Result<(), ChangeError> {
        let config = Config::from_pairs([("data_dir", "/data".to_owned())]).unwrap();
        let mut settings = json!({ "kind": "s3", "bucket": "pictures" });
        settings
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let settings = StorageSettings::from_json(&settings.to_string()).unwrap();
        by.admits(&settings, &Guard::from_config(&config))
    }

    #[test]
    fn what_a_tenant_says_of_a_place_is_not_simply_believed() {
        let (tenant, operator) = (Editor::tenant(Actor::cli()), Editor::operator(Actor::cli()));
        for more in [
            json!({}),
            json!({ "region": "eu-central-1", "endpoint": "https://s3.example:9000" }),
            json!({ "delivery": "public", "public_url": "https://cdn.example/a/" }),
            json!({ "delivery": "presign" }),
        ] {
            assert!(said(&tenant, &more).is_ok(), "{more}");
        }
        for (more, told) in [
            (json!({ "endpoint": "http://s3.example" }), "endpoint: it must be https"),
            (
                json!({ "endpoint": "https://s3.example:22" }),
                "endpoint: its port is 22",
            ),
            (
                json!({ "endpoint": "https://me:pw@s3.example" }),
                "endpoint: it has a name",
            ),
            (json!({ "endpoint": "https://127.0.0.1" }), "not at a public address"),
            (
                json!({ "endpoint": "https://[::ffff:10.0.0.1]:9000" }),
                "not at a public address",
            ),
            (json!({ "region": "" }), "region: "),
            (json!({ "region": "a.example/" }), "region: "),
            (json!({ "region": "é" }), "region: "),
            (
                json!({ "public_url": "https://a.example/\r\nSet-Cookie: a=b" }),
                "public_url: ",
            ),
            (json!({ "public_url": "https://a.example/ b" }), "public_url: "),
            (json!({ "public_url": "https://me@a.example/" }), "public_url: "),
            (json!({ "public_url": "https://a.example/#x" }), "public_url: "),
        ] {
            let error = said(&tenant, &more).unwrap_err().to_string();
            assert!(error.contains(told), "{more}: {error}");
            assert!(said(&operator, &more).is_ok(), "{more}");
        }
    }

    #[test]
    fn an_access_key_that_fits_no_header_is_refused() {
        let checked = |access_key: &str, secret_key: &str| {
            checked_credentials(Some(&Credentials {
                access_key: access_key.to_owned(),
                secret_key: SecretText::new(secret_key.to_owned()),
            }))
        };
        assert_eq!(checked("AKIA/x+y=", "any text, é too"), Ok(()));
        for access_key in ["", "a b", "a\r\nX-Other: b", "é", &"a".repeat(257)] {
            assert!(checked(access_key, "b").is_err(), "{access_key:?}");
        }
        assert!(checked("a", "").is_err() && checked("a", &"b".repeat(4097)).is_err());
        assert_eq!(checked_credentials(None), Ok(()));
    }
}
