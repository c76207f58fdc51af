//! Users and their API keys.

use super::super::{ApiKey, KeyText, TenantDb, TenantTx, sql::tenant_sql};
use crate::{
    db::{Bounded, DbError, During},
    ids::{KeyId, UserId},
    units::Millis,
};
use sqlx::Row;

crate::jobs::names!(
    /// What a user may do on its site.
    Role, "role" {
        /// Everything.
        Admin = "admin",
        /// Other people's pictures too.
        Manager = "manager",
        /// Its own pictures.
        User = "user",
    }
);

tenant_sql! {
    ADD_USER = "INSERT INTO {users} (id, name, role, created_at) VALUES ($1, $2, $3, $4)";
    USER = "SELECT id FROM {users} WHERE name = $1";
    ADD_KEY = "INSERT INTO {api_keys} (id, user_id, name, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
    KEY = "SELECT id, hash, expires_at, revoked_at FROM {api_keys} WHERE id = $1";
    LIVE_KEYS = "SELECT CAST(COUNT(*) AS BIGINT) FROM {api_keys} WHERE revoked_at IS NULL";
    REVOKE = "UPDATE {api_keys} SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
}

impl TenantTx {
    /// Adds a user.
    ///
    /// # Errors
    /// A conflict when the name is taken.
    pub async fn add_user(&mut self, id: &UserId, name: &str, role: Role, now: Millis) -> Result<(), DbError> {
        let query = self
            .query(ADD_USER)
            .bind(id.as_str().to_owned())
            .bind(name.to_owned())
            .bind(role.as_str())
            .bind(now.get());
        query.execute(&mut *self.tx).bounded("add a user").await.map(|_| ())
    }

    /// Adds a key of `user`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn add_key(
        &mut self,
        key: &KeyText,
        user: &UserId,
        name: &str,
        expires_at: Option<Millis>,
        now: Millis,
    ) -> Result<(), DbError> {
        let query = self
            .query(ADD_KEY)
            .bind(key.id().as_str().to_owned())
            .bind(user.as_str().to_owned())
            .bind(name.to_owned())
            .bind(key.hash())
            .bind(now.get())
            .bind(expires_at.map(Millis::get));
        query.execute(&mut *self.tx).bounded("add a key").await.map(|_| ())
    }

    /// How many keys are not revoked.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn live_keys(&mut self) -> Result<i64, DbError> {
        let row = self
            .query(LIVE_KEYS)
            .fetch_one(&mut *self.tx)
            .bounded("count keys")
            .await?;
        row.try_get(0).during("count keys")
    }
}

impl TenantDb {
    /// The user with this name.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn user_named(&self, name: &str) -> Result<Option<UserId>, DbError> {
        let row = self
            .query(USER)
            .bind(name.to_owned())
            .fetch_optional(&mut *self.reader().await?)
            .bounded("look up a user")
            .await?;
        row.map(|row| crate::control::jobs::text(&row, 0)).transpose()
    }

    /// A key by its id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn key(&self, id: &KeyId) -> Result<Option<ApiKey>, DbError> {
        const WHAT: &str = "look up a key";
        let row = self
            .query(KEY)
            .bind(id.as_str().to_owned())
            .fetch_optional(&mut *self.reader().await?)
            .bounded(WHAT)
            .await?;
        row.map(|row| {
            Ok(ApiKey {
                id: crate::control::jobs::text(&row, 0)?,
                hash: row.try_get(1).during(WHAT)?,
                expires_at: row.try_get::<Option<i64>, _>(2).during(WHAT)?.map(Millis::new),
                revoked: row.try_get::<Option<i64>, _>(3).during(WHAT)?.is_some(),
            })
        })
        .transpose()
    }

    /// Revokes a key. Returns whether it was live.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn revoke_key(&self, id: &KeyId, now: Millis) -> Result<bool, DbError> {
        let query = self.query(REVOKE).bind(now.get()).bind(id.as_str().to_owned());
        query
            .execute(self.write())
            .bounded("revoke a key")
            .await
            .map(|done| done.rows_affected() > 0)
    }
}
