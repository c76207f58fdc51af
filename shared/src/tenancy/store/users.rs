//! Users and their API keys.

use super::super::{ApiKey, FirstAdmin, FirstKey, KeyText, TablePrefix, TenantDb, TenantTx, sql::tenant_sql};
use crate::{
    db::{Bounded, DbError, During, Engine, Literal},
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
    ROLE = "SELECT role FROM {users} WHERE id = $1";
    ADD_KEY = "INSERT INTO {api_keys} (id, user_id, name, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
    KEY = "SELECT id, hash, expires_at, revoked_at, user_id FROM {api_keys} WHERE id = $1";
    LIVE_KEYS = "SELECT CAST(COUNT(*) AS BIGINT) FROM {api_keys} WHERE revoked_at IS NULL";
    COUNT_USERS = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN role = 'admin' THEN 1 ELSE 0 END), 0) AS BIGINT), \
        CAST(COALESCE(SUM(CASE WHEN role = 'manager' THEN 1 ELSE 0 END), 0) AS BIGINT) FROM {users}";
    INSTALL = "INSERT INTO {users} (id, name, role, email, password_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    SET_PASSWORD = "UPDATE {users} SET password_hash = $1 WHERE name = $2 RETURNING id";
    PASSWORD = "SELECT password_hash FROM {users} WHERE name = $1";
    USERS = "SELECT id, name, role, email, created_at FROM {users} WHERE id > $1 ORDER BY id LIMIT $2";
    REVOKE = "UPDATE {api_keys} SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
}

/// Texts that add the first administrator, with its key if it has one, to tables that are made in the same round trip.
pub(in crate::tenancy) fn first_admin_text(
    engine: Engine,
    prefix: Option<&TablePrefix>,
    admin: &FirstAdmin,
    now: Millis,
) -> Result<String, DbError> {
    let mut text = INSTALL.with(
        prefix,
        engine,
        &[
            Literal::Text(admin.user.as_str()),
            Literal::Text(&admin.name),
            Literal::Text(Role::Admin.as_str()),
            Literal::text(admin.email.as_deref()),
            Literal::text(admin.password_hash.as_deref()),
            Literal::Integer(now.get()),
        ],
    );
    if let Some(key) = &admin.key {
        text.push_str(&ADD_KEY.with(
            prefix,
            engine,
            &[
                Literal::Text(key.id.as_str()),
                Literal::Text(admin.user.as_str()),
                Literal::Text(FIRST_KEY),
                Literal::Bytes(&key.hash()?),
                Literal::Integer(now.get()),
                Literal::Null,
            ],
        ));
    }
    Ok(text)
}

/// What a first administrator's key is called.
const FIRST_KEY: &str = "first";

impl FirstKey {
    fn hash(&self) -> Result<Vec<u8>, DbError> {
        hex::decode(&self.sha256).map_err(|error| DbError::unreadable("add the first key", error))
    }
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

    /// Adds a user with an address and a password's hash.
    ///
    /// # Errors
    /// A conflict when the name is taken.
    pub async fn install_user(
        &mut self,
        id: &UserId,
        name: &str,
        role: Role,
        email: Option<&str>,
        password_hash: Option<&str>,
        now: Millis,
    ) -> Result<(), DbError> {
        let query = self
            .query(INSTALL)
            .bind(id.as_str().to_owned())
            .bind(name.to_owned())
            .bind(role.as_str())
            .bind(email.map(str::to_owned))
            .bind(password_hash.map(str::to_owned))
            .bind(now.get());
        query.execute(&mut *self.tx).bounded("add a user").await.map(|_| ())
    }

    /// Adds the first administrator, with its key if it has one.
    ///
    /// # Errors
    /// A conflict when the name is taken.
    pub(in crate::tenancy) async fn add_first_admin(&mut self, admin: &FirstAdmin, now: Millis) -> Result<(), DbError> {
        const WHAT: &str = "add the first key";
        let (email, password) = (admin.email.as_deref(), admin.password_hash.as_deref());
        self.install_user(&admin.user, &admin.name, Role::Admin, email, password, now)
            .await?;
        let Some(key) = &admin.key else { return Ok(()) };
        let hash = key.hash()?;
        let query = self
            .query(ADD_KEY)
            .bind(key.id.as_str().to_owned())
            .bind(admin.user.as_str().to_owned())
            .bind(FIRST_KEY)
            .bind(hash)
            .bind(now.get())
            .bind(None::<i64>);
        query.execute(&mut *self.tx).bounded(WHAT).await.map(|_| ())
    }

    /// Replaces a user's password hash. Returns whether there is such a user.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn set_password(&mut self, name: &str, password_hash: &str) -> Result<bool, DbError> {
        let query = self
            .query(SET_PASSWORD)
            .bind(password_hash.to_owned())
            .bind(name.to_owned());
        let row = query.fetch_optional(&mut *self.tx).bounded("set a password").await?;
        Ok(row.is_some())
    }

    /// How many users there are, and administrators and managers among them. Until the transaction ends nobody else counts
    /// them so.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn user_counts(&mut self) -> Result<UserCounts, DbError> {
        const WHAT: &str = "count users";
        self.hold_usage().await?;
        let row = self.query(COUNT_USERS).fetch_one(&mut *self.tx).bounded(WHAT).await?;
        read_counts(&row)
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

    /// How many keys are not revoked. Until the transaction ends nobody else learns of it to add another.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn live_keys(&mut self) -> Result<i64, DbError> {
        self.hold_usage().await?;
        let row = self
            .query(LIVE_KEYS)
            .fetch_one(&mut *self.tx)
            .bounded("count keys")
            .await?;
        row.try_get(0).during("count keys")
    }
}

impl TenantDb {
    /// Users after `after`, at most `limit`, without what proves who they are.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn users_page(&self, after: Option<&UserId>, limit: i64) -> Result<Vec<User>, DbError> {
        const WHAT: &str = "list users";
        let query = self
            .query(USERS)
            .bind(after.map_or_else(String::new, |id| id.as_str().to_owned()));
        let rows = query
            .bind(limit)
            .fetch_all(&mut *self.reader().await?)
            .bounded(WHAT)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(User {
                    id: crate::control::jobs::text(row, 0)?,
                    name: row.try_get(1).during(WHAT)?,
                    role: crate::control::jobs::text(row, 2)?,
                    email: row.try_get(3).during(WHAT)?,
                    created_at: Millis::new(row.try_get(4).during(WHAT)?),
                })
            })
            .collect()
    }

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

    /// What a user may do. `None`: there is no such user any more.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn user_role(&self, id: &UserId) -> Result<Option<Role>, DbError> {
        const WHAT: &str = "look up a user's role";
        let query = self.query(ROLE).bind(id.as_str().to_owned());
        let row = query.fetch_optional(&mut *self.reader().await?).bounded(WHAT).await?;
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
                user: crate::control::jobs::text(&row, 4)?,
                hash: row.try_get(1).during(WHAT)?,
                expires_at: row.try_get::<Option<i64>, _>(2).during(WHAT)?.map(Millis::new),
                revoked: row.try_get::<Option<i64>, _>(3).during(WHAT)?.is_some(),
            })
        })
        .transpose()
    }

    /// A user's password hash. `None`: no such user, or none set.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn password_hash(&self, name: &str) -> Result<Option<String>, DbError> {
        const WHAT: &str = "look up a user";
        let query = self.query(PASSWORD).bind(name.to_owned());
        let row = query.fetch_optional(&mut *self.reader().await?).bounded(WHAT).await?;
        Ok(row.map(|row| row.try_get(0).during(WHAT)).transpose()?.flatten())
    }

    /// How many users there are, and administrators and managers among them.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn user_counts(&self) -> Result<UserCounts, DbError> {
        const WHAT: &str = "count users";
        let query = self.query(COUNT_USERS);
        let row = query.fetch_one(&mut *self.reader().await?).bounded(WHAT).await?;
        read_counts(&row)
    }

    /// How many keys are not revoked.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn key_count(&self) -> Result<i64, DbError> {
        const WHAT: &str = "count keys";
        let query = self.query(LIVE_KEYS);
        let row = query.fetch_one(&mut *self.reader().await?).bounded(WHAT).await?;
        row.try_get(0).during(WHAT)
    }

    /// Revokes a key. Returns whether it was live.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn revoke_key(&self, id: &KeyId, now: Millis) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let query = tx.query(REVOKE).bind(now.get()).bind(id.as_str().to_owned());
        let done = query.execute(&mut *tx.tx).bounded("revoke a key").await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}

/// A user of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, of which a tenant has one each.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Its address.
    pub email: Option<String>,
    /// Made.
    pub created_at: Millis,
}

/// How many users a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserCounts {
    /// All of them.
    pub users: i64,
    /// Administrators.
    pub admins: i64,
    /// Managers.
    pub managers: i64,
}

fn read_counts(row: &sqlx::any::AnyRow) -> Result<UserCounts, DbError> {
    const WHAT: &str = "count users";
    Ok(UserCounts {
        users: row.try_get(0).during(WHAT)?,
        admins: row.try_get(1).during(WHAT)?,
        managers: row.try_get(2).during(WHAT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use futures_util::future::join_all;

    crate::on_both_sides!(of_keys_that_are_made_at_once_as_many_as_fit_are_made);

    async fn of_keys_that_are_made_at_once_as_many_as_fit_are_made(world: World) {
        let (services, db) = (&world.services, world.tenant().await.db().unwrap());
        let user = UserId::generate(&services.clock, &services.entropy);
        let now = services.clock.now();
        let mut tx = db.begin().await.unwrap();
        tx.add_user(&user, "one", Role::User, now).await.unwrap();
        let limit = tx.live_keys().await.unwrap() + 2;
        tx.commit().await.unwrap();
        let made = (0..6).map(async |_| {
            let mut tx = db.begin().await.unwrap();
            if tx.live_keys().await.unwrap() >= limit {
                return false;
            }
            let key = KeyText::generate(&services.clock, &services.entropy);
            tx.add_key(&key, &user, "k", None, now).await.unwrap();
            tx.commit().await.unwrap();
            true
        });
        let made = join_all(made).await.into_iter().filter(|made| *made).count();
        assert_eq!(made, 2);
    }
}
