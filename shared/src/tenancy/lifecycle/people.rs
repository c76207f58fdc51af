//! A tenant's first administrator, and passwords.

use super::{Lifecycle, LifecycleError};
use crate::{
    control::audit::{self, Actor},
    db::{Bounded, DbError},
    ids::{TenantId, UserId},
    secrets::SecretText,
    tenancy::{KeyText, NewAdmin, NotServed, Tenant, TenantDb, TenantState, store::users::Role},
};
use argon2::{
    Argon2, PasswordHasher, PasswordVerifier,
    password_hash::{PasswordHash, SaltString},
};

/// Why nobody was installed, or no password set.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// There is no such tenant.
    #[error("there is no tenant {id}")]
    NoTenant {
        /// The id.
        id: TenantId,
    },
    /// It has an administrator.
    #[error("tenant {id} is installed already")]
    Installed {
        /// The tenant.
        id: TenantId,
    },
    /// There is no such user.
    #[error("tenant {id} has no user {name:?}")]
    NoUser {
        /// The tenant.
        id: TenantId,
        /// As given.
        name: String,
    },
    /// A name or password cannot be one.
    #[error("{problem}")]
    Unfit {
        /// Why.
        problem: &'static str,
    },
    /// It comes or goes, or its tables are of a newer release.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// A database or a cache.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

impl From<DbError> for PeopleError {
    fn from(error: DbError) -> Self {
        Self::Lifecycle(error.into())
    }
}

impl From<crate::tenancy::ResolveError> for PeopleError {
    fn from(error: crate::tenancy::ResolveError) -> Self {
        Self::Lifecycle(error.into())
    }
}

/// Longest name of a user.
const LONGEST_NAME: usize = 100;
/// Longest address.
const LONGEST_EMAIL: usize = 200;
/// Shortest password; the longest keeps hashing bounded.
const PASSWORD: std::ops::RangeInclusive<usize> = 6..=1_024;

fn fit(name: &str, email: Option<&str>, password: Option<&SecretText>) -> Result<(), PeopleError> {
    let unfit = |problem| Err(PeopleError::Unfit { problem });
    if !(1..=LONGEST_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return unfit("a user's name has 1 to 100 characters, none of them a control character");
    }
    let is_email = |email: &str| {
        email.len() <= LONGEST_EMAIL
            && email
                .split_once('@')
                .is_some_and(|(local, host)| !local.is_empty() && host.contains('.'))
            && !email.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    if email.is_some_and(|email| !is_email(email)) {
        return unfit("an address reads name@host, 200 characters at most");
    }
    if password.is_some_and(|password| !PASSWORD.contains(&password.reveal().len())) {
        return unfit("a password has 6 to 1,024 bytes");
    }
    Ok(())
}

/// A tenant's tables for its provider: a site is set up before it is served, and mended while it is not.
fn ours(tenant: &Tenant) -> Result<TenantDb, NotServed> {
    match tenant.context().state {
        TenantState::Active | TenantState::Suspended | TenantState::Leaving => tenant.tables(),
        TenantState::Provisioning | TenantState::Deleting => tenant.db(),
    }
}

impl Lifecycle {
    /// Hashes a password by Argon2id with the parameters that OWASP recommends at least (19 MiB, two passes), as a PHC text.
    /// Takes some tens of milliseconds of a processor: call it off the async threads.
    fn hash(&self, password: &SecretText) -> Result<String, PeopleError> {
        let mut bytes = [0_u8; 16];
        self.entropy.fill(&mut bytes);
        let unfit = |_| PeopleError::Unfit {
            problem: "the password cannot be hashed",
        };
        let salt = SaltString::encode_b64(&bytes).map_err(unfit)?;
        let hash = Argon2::default().hash_password(password.reveal().as_bytes(), &salt);
        Ok(hash.map_err(unfit)?.to_string())
    }

    async fn hashed(&self, password: &SecretText) -> Result<String, PeopleError> {
        let (own, password) = (self.clone(), password.clone());
        let hashing = tokio::task::spawn_blocking(move || own.hash(&password));
        hashing.await.unwrap_or(Err(PeopleError::Unfit {
            problem: "the password could not be hashed: the process is stopping",
        }))
    }

    /// An administrator to be made with its tenant.
    ///
    /// # Errors
    /// When name, address or password cannot be one.
    pub async fn new_admin(
        &self,
        name: &str,
        email: Option<&str>,
        password: Option<&SecretText>,
    ) -> Result<NewAdmin, PeopleError> {
        fit(name, email, password)?;
        let password_hash = match password {
            Some(password) => Some(self.hashed(password).await?),
            None => None,
        };
        Ok(NewAdmin {
            name: name.to_owned(),
            email: email.map(str::to_owned),
            password_hash,
        })
    }

    /// Gives a tenant that has nobody yet its first administrator, with a key where it shall have one.
    ///
    /// # Errors
    /// When there is no such tenant, it comes or goes, it has somebody, or a database is away.
    pub async fn install(
        &self,
        id: &TenantId,
        admin: &NewAdmin,
        with_key: bool,
        actor: &Actor,
    ) -> Result<Option<KeyText>, PeopleError> {
        let tenant = self.resolver.refresh(id).await?;
        let tenant = tenant.ok_or_else(|| PeopleError::NoTenant { id: id.clone() })?;
        let db = ours(&tenant)?;
        let now = self.clock.now();
        let mut tx = db.begin().await?;
        if tx.user_counts().await?.users > 0 {
            return Err(PeopleError::Installed { id: id.clone() });
        }
        // Its first user: no limit on users can stand in the way, one on keys neither.
        let user = UserId::generate(&self.clock, &self.entropy);
        let (email, password) = (admin.email.as_deref(), admin.password_hash.as_deref());
        tx.install_user(&user, &admin.name, Role::Admin, email, password, now)
            .await?;
        let key = with_key.then(|| KeyText::generate(&self.clock, &self.entropy));
        if let Some(key) = &key {
            tx.add_key(key, &user, "first", None, now).await?;
        }
        tx.commit().await?;
        self.record(actor, "tenant.install", id, &admin.name).await?;
        Ok(key)
    }

    /// Sets a user's password.
    ///
    /// # Errors
    /// When there is no such tenant or user, the password cannot be one, or a database is away.
    pub async fn set_password(
        &self,
        id: &TenantId,
        name: &str,
        password: &SecretText,
        actor: &Actor,
    ) -> Result<(), PeopleError> {
        fit(name, None, Some(password))?;
        let tenant = self.resolver.refresh(id).await?;
        let tenant = tenant.ok_or_else(|| PeopleError::NoTenant { id: id.clone() })?;
        let hash = self.hashed(password).await?;
        let mut tx = ours(&tenant)?.begin().await?;
        if !tx.set_password(name, &hash).await? {
            return Err(PeopleError::NoUser {
                id: id.clone(),
                name: name.to_owned(),
            });
        }
        tx.commit().await?;
        self.record(actor, "tenant.password", id, name).await
    }

    /// Whether a user has this password. Takes as long for a wrong one.
    ///
    /// # Errors
    /// When there is no such tenant, or a database is away.
    pub async fn has_password(&self, id: &TenantId, name: &str, password: &SecretText) -> Result<bool, PeopleError> {
        let tenant = self.resolver.by_id(id).await?;
        let tenant = tenant.ok_or_else(|| PeopleError::NoTenant { id: id.clone() })?;
        let Some(hash) = tenant.db()?.password_hash(name).await? else {
            return Ok(false);
        };
        let password = password.clone();
        let verifying = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.reveal().as_bytes(), &hash)
                    .is_ok()
            })
        });
        Ok(verifying.await.unwrap_or(false))
    }

    async fn record(&self, actor: &Actor, action: &str, id: &TenantId, user: &str) -> Result<(), PeopleError> {
        let entry = self
            .entry(actor, action, Some(id))
            .with(serde_json::json!({ "user": user }));
        let mut connection = self.control.write().acquire().bounded("write the audit log").await?;
        audit::append(&mut connection, &entry).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_passwords_are_looked_at() {
        let secret = |text: &str| SecretText::new(text.to_owned());
        assert!(fit("Änne", Some("a@b.example"), Some(&secret("sixsix"))).is_ok());
        assert!(fit("", None, None).is_err() && fit("a\nb", None, None).is_err());
        assert!(fit("a", Some("nobody"), None).is_err() && fit("a", Some("a b@c.d"), None).is_err());
        assert!(fit("a", None, Some(&secret("five5"))).is_err());
    }
}
