//! A dead job told to a person: what a retry and a purge would do, and its payload without what opens something.

use crate::jobs::JobKind;

/// What becomes of a dead job, a sentence each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// When it is retried.
    pub retry: &'static str,
    /// When it is purged.
    pub purge: &'static str,
}

/// What retrying and purging do to a job of this kind.
#[must_use]
pub const fn fate(kind: JobKind) -> Fate {
    let (retry, purge) = match kind {
        JobKind::MediaProcess => (
            "makes the picture of the bytes that are still staged, in its tenant's turn",
            "removes the staged bytes and what was placed of the picture, and gives back what is reserved; there will be no picture",
        ),
        JobKind::MediaFetch => (
            "fetches the picture again where its bytes are not staged yet, and makes it, in its tenant's turn",
            "removes the staged bytes and what was placed of the picture, and gives back what is reserved; there will be no picture",
        ),
        JobKind::MediaVariant => (
            "makes the variant, in its tenant's turn",
            "removes what was placed of the variant and gives back what is reserved; whoever asks for it again has it made",
        ),
        JobKind::MediaDelete => (
            "removes what is left of the picture, in its tenant's turn",
            "leaves of the picture what is there: a picture that is still shown has to be deleted again",
        ),
        JobKind::MediaMove => (
            "moves the picture's files",
            "leaves the files where they are recorded: the storage's next task finds them",
        ),
        JobKind::MediaVerify => (
            "reads the picture's files again",
            "leaves them unread: the storage's next task reads them",
        ),
        JobKind::ObjectsRemove => (
            "removes the objects that no row speaks of",
            "leaves them where they are; nothing shows them",
        ),
        JobKind::TenantProvision => (
            "makes the tenant",
            "takes back what was made of the tenant: its id and hosts are free",
        ),
        JobKind::TenantMigrate => (
            "moves the tenant, if its move was not given up meanwhile",
            "gives the move up: the tenant stays where it is, open for uploads",
        ),
        JobKind::TenantDeprovision => (
            "goes on removing the tenant",
            "forgets this attempt: the scheduler begins the tenant's removal again",
        ),
        JobKind::Noop => ("does nothing, once more", "removes it"),
    };
    Fate { retry, purge }
}

/// A payload as it is shown: JSON, without hashes of a tenant's first administrator. What cannot be read is a text.
#[must_use]
pub fn payload_shown(kind: JobKind, payload: &str) -> serde_json::Value {
    let mut value: serde_json::Value = serde_json::from_str(payload).unwrap_or_else(|_| payload.into());
    let hidden = match kind {
        JobKind::TenantProvision => value.get_mut("admin"),
        JobKind::Noop
        | JobKind::MediaProcess
        | JobKind::MediaFetch
        | JobKind::MediaVariant
        | JobKind::MediaDelete
        | JobKind::MediaMove
        | JobKind::MediaVerify
        | JobKind::ObjectsRemove
        | JobKind::TenantMigrate
        | JobKind::TenantDeprovision => None,
    };
    if let Some(admin) = hidden
        && !admin.is_null()
    {
        *admin = "***".into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrators_hashes_are_not_shown() {
        let payload = r#"{"admin":{"name":"a","password_hash":"$argon2"},"enabled":true}"#;
        let shown = payload_shown(JobKind::TenantProvision, payload);
        assert_eq!(shown, serde_json::json!({ "admin": "***", "enabled": true }));
        let without = payload_shown(JobKind::TenantProvision, r#"{"admin":null}"#);
        assert_eq!(without, serde_json::json!({ "admin": null }));
        assert_eq!(payload_shown(JobKind::Noop, "not JSON"), serde_json::json!("not JSON"));
    }
}
