//! Bringing the control database to this release's schema.

use super::{Bounded, Db, DbError, During, Sql};
use sqlx::{Row, migrate::Migrator};

static CONTROL: Migrator = sqlx::migrate!("../migrations/control");

impl Db {
    /// Applies the control migrations that are missing. Called twice it changes nothing; called by two processes at
    /// once, one waits for the other.
    ///
    /// # Errors
    /// When the database is away, or was migrated by a newer release.
    pub async fn migrate_control(&self) -> Result<(), DbError> {
        // Over one connection: another SQLite connection would go on with a stale schema.
        let mut connection = self.writer().await?;
        CONTROL
            .run(&mut *connection)
            .await
            .map_err(|error| DbError::Migrate(Box::new(error)))
    }

    /// Applies those up to `version`: the database of an older release.
    #[cfg(test)]
    pub(crate) async fn migrate_control_to(&self, version: i64) -> Result<(), DbError> {
        let older = CONTROL.iter().filter(|migration| migration.version <= version);
        let mut connection = self.writer().await?;
        Migrator::with_migrations(older.cloned().collect())
            .run(&mut *connection)
            .await
            .map_err(|error| DbError::Migrate(Box::new(error)))
    }

    /// How many control migrations this database lacks.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn control_migrations_missing(&self) -> Result<usize, DbError> {
        const HAS_TABLE_SQLITE: Sql = Sql::new(
            "SELECT CAST(COUNT(*) AS BIGINT) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
        );
        const HAS_TABLE_POSTGRES: Sql = Sql::new(
            "SELECT CAST(COUNT(*) AS BIGINT) FROM pg_tables WHERE schemaname = current_schema() AND tablename = '_sqlx_migrations'",
        );
        const APPLIED: Sql = Sql::new("SELECT CAST(COUNT(*) AS BIGINT) FROM _sqlx_migrations");
        let known = CONTROL.iter().count();
        let has_table = match self.engine {
            super::Engine::Sqlite => HAS_TABLE_SQLITE,
            super::Engine::Postgres => HAS_TABLE_POSTGRES,
        };
        let count = |sql: Sql| async move {
            let row = sql
                .query()
                .fetch_one(self.read())
                .bounded("look for migrations")
                .await?;
            row.try_get::<i64, _>(0).during("look for migrations")
        };
        if count(has_table).await? == 0 {
            return Ok(known);
        }
        Ok(known.saturating_sub(usize::try_from(count(APPLIED).await?).unwrap_or(0)))
    }
}
