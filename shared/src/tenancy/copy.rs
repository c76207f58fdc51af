//! Copying a tenant's rows from one place to another, and comparing the two.
//!
//! By pages in the order of each table's key, so memory is bounded. Texts are copied as they are; the order of a key may
//! differ between engines and collations, so both sides are read in their own order and compared by a sum that does not
//! depend on it.

use super::{
    Place,
    databases::TenantDatabases,
    db::render,
    lifecycle::MoveError,
    sql::{TenantSql, tenant_sql},
};
use crate::db::{Bounded, DbError, During};
use sha2::{Digest, Sha256};
use sqlx::{Any, AnyConnection, Row, any::AnyArguments, any::AnyRow, query::Query};

/// Rows read at a time.
const PAGE: i64 = 500;

tenant_sql! {
    READ_USERS = "SELECT id, name, role, email, password_hash, created_at FROM {users} WHERE id > $1 ORDER BY id LIMIT $2";
    WRITE_USERS = "INSERT INTO {users} (id, name, role, email, password_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    READ_KEYS = "SELECT id, user_id, name, hash, created_at, expires_at, revoked_at FROM {api_keys} WHERE id > $1 ORDER BY id LIMIT $2";
    WRITE_KEYS = "INSERT INTO {api_keys} (id, user_id, name, hash, created_at, expires_at, revoked_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    READ_MEDIA = "SELECT id, job, key_id, file_name, state, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at, frames, \
        expires_at, sha256 FROM {media} WHERE id > $1 ORDER BY id LIMIT $2";
    WRITE_MEDIA = "INSERT INTO {media} (id, job, key_id, file_name, state, format, width, height, uploaded_bytes, stored_bytes, removed, facts, \
        created_at, frames, expires_at, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    READ_VARIANTS = "SELECT media || ' ' || name, media, name, format, object_key, width, height, bytes, sha256, storages FROM {variants} \
        WHERE media || ' ' || name > $1 ORDER BY media || ' ' || name LIMIT $2";
    WRITE_VARIANTS = "INSERT INTO {variants} (media, name, format, object_key, width, height, bytes, sha256, storages) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    READ_LEDGER = "SELECT job, media, bytes, at, animation_bytes FROM {usage_ledger} WHERE job > $1 ORDER BY job LIMIT $2";
    WRITE_LEDGER = "INSERT INTO {usage_ledger} (job, media, bytes, at, animation_bytes) VALUES ($1, $2, $3, $4, $5)";
    READ_HOLDERS = "SELECT sha256 || ' ' || holder, sha256, holder, media, at FROM {holders} \
        WHERE sha256 || ' ' || holder > $1 ORDER BY sha256 || ' ' || holder LIMIT $2";
    WRITE_HOLDERS = "INSERT INTO {holders} (sha256, holder, media, at) VALUES ($1, $2, $3, $4)";
    READ_USAGE = "SELECT CAST(id AS TEXT), media, bytes, animation_bytes FROM {usage} WHERE CAST(id AS TEXT) > $1 ORDER BY id LIMIT $2";
    WRITE_USAGE = "UPDATE {usage} SET media = $2, bytes = $3, animation_bytes = $4 WHERE CAST(id AS TEXT) = $1";
}

#[derive(Debug, Clone, Copy)]
enum Column {
    Text,
    Number,
    Bytes,
}

/// How one table is read and written. The first column of what is read is what pages go on from.
struct Table {
    name: &'static str,
    read: TenantSql,
    write: TenantSql,
    columns: &'static [Column],
    /// Columns at the beginning that are read only: a key that is made of several.
    made: usize,
}

use Column::{Bytes, Number, Text};

const TABLES: [Table; 7] = [
    Table {
        name: "users",
        read: READ_USERS,
        write: WRITE_USERS,
        columns: &[Text, Text, Text, Text, Text, Number],
        made: 0,
    },
    Table {
        name: "api_keys",
        read: READ_KEYS,
        write: WRITE_KEYS,
        columns: &[Text, Text, Text, Bytes, Number, Number, Number],
        made: 0,
    },
    Table {
        name: "media",
        read: READ_MEDIA,
        write: WRITE_MEDIA,
        columns: &[
            Text, Text, Text, Text, Text, Text, Number, Number, Number, Number, Text, Text, Number, Number, Number,
            Text,
        ],
        made: 0,
    },
    Table {
        name: "variants",
        read: READ_VARIANTS,
        write: WRITE_VARIANTS,
        columns: &[Text, Text, Text, Text, Text, Number, Number, Number, Text, Text],
        made: 1,
    },
    Table {
        name: "usage_ledger",
        read: READ_LEDGER,
        write: WRITE_LEDGER,
        columns: &[Text, Number, Number, Number, Number],
        made: 0,
    },
    Table {
        name: "holders",
        read: READ_HOLDERS,
        write: WRITE_HOLDERS,
        columns: &[Text, Text, Text, Text, Number],
        made: 1,
    },
    Table {
        name: "usage",
        read: READ_USAGE,
        write: WRITE_USAGE,
        columns: &[Text, Number, Number, Number],
        made: 0,
    },
];

type Bound = Query<'static, Any, AnyArguments>;

fn bind(mut query: Bound, row: &AnyRow, table: &Table) -> Result<Bound, DbError> {
    const WHAT: &str = "copy a tenant's rows";
    for (place, column) in table.columns.iter().enumerate().skip(table.made) {
        query = match column {
            Column::Text => query.bind(row.try_get::<Option<String>, _>(place).during(WHAT)?),
            Column::Number => query.bind(row.try_get::<Option<i64>, _>(place).during(WHAT)?),
            Column::Bytes => query.bind(row.try_get::<Option<Vec<u8>>, _>(place).during(WHAT)?),
        };
    }
    Ok(query)
}

async fn page(
    connection: &mut AnyConnection,
    place: &Place,
    sql: TenantSql,
    after: &str,
) -> Result<Vec<AnyRow>, DbError> {
    let query = render(place, sql).bind(after.to_owned()).bind(PAGE);
    query.fetch_all(connection).bounded("read a tenant's rows").await
}

fn key(row: &AnyRow) -> Result<String, DbError> {
    row.try_get(0).during("read a tenant's rows")
}

/// Copies every row. The new place holds nothing yet but its empty tables.
pub(super) async fn copy(
    databases: &TenantDatabases,
    from: &Place,
    to: &Place,
    each: impl Fn(u64) + Send + Sync,
) -> Result<(), DbError> {
    for table in &TABLES {
        let mut after = String::new();
        loop {
            let rows = page(&mut *databases.reader(from).await?, from, table.read, &after).await?;
            let Some(last) = rows.last() else { break };
            after = key(last)?;
            let mut tx = databases.begin(to).await?;
            for row in &rows {
                let query = bind(render(to, table.write), row, table)?;
                query.execute(&mut *tx).bounded("copy a tenant's rows").await?;
            }
            tx.commit("copy a tenant's rows").await?;
            each(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        }
    }
    Ok(())
}

/// How many rows there are and a sum over them that does not depend on their order.
async fn sum(databases: &TenantDatabases, place: &Place, table: &Table) -> Result<(i64, [u8; 32]), DbError> {
    const WHAT: &str = "compare a tenant's rows";
    let (mut count, mut sum, mut after) = (0_i64, [0_u8; 32], String::new());
    loop {
        let rows = page(&mut *databases.reader(place).await?, place, table.read, &after).await?;
        let Some(last) = rows.last() else {
            return Ok((count, sum));
        };
        after = key(last)?;
        for row in &rows {
            let mut hash = Sha256::new();
            for (place, column) in table.columns.iter().enumerate() {
                let bytes = match column {
                    Column::Text => row
                        .try_get::<Option<String>, _>(place)
                        .during(WHAT)?
                        .map(String::into_bytes),
                    Column::Number => row
                        .try_get::<Option<i64>, _>(place)
                        .during(WHAT)?
                        .map(|number| number.to_be_bytes().to_vec()),
                    Column::Bytes => row.try_get::<Option<Vec<u8>>, _>(place).during(WHAT)?,
                };
                match bytes {
                    None => hash.update([0]),
                    Some(bytes) => {
                        hash.update([1]);
                        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
                        hash.update(bytes);
                    }
                }
            }
            for (total, part) in sum.iter_mut().zip(hash.finalize()) {
                *total = total.wrapping_add(part);
            }
            count = count.saturating_add(1);
        }
    }
}

/// Whether both places hold the same rows.
pub(super) async fn compare(databases: &TenantDatabases, from: &Place, to: &Place) -> Result<(), MoveError> {
    for table in &TABLES {
        let (there, here) = (sum(databases, from, table).await?, sum(databases, to, table).await?);
        if there != here {
            return Err(MoveError::Differs {
                table: table.name,
                from: there.0,
                from_sum: hex::encode(there.1),
                to: here.0,
                to_sum: hex::encode(here.1),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenancy::sql::TENANT_TABLES;

    #[test]
    fn every_table_of_a_tenant_is_copied() {
        let mut copied: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        let mut all = TENANT_TABLES.to_vec();
        copied.sort_unstable();
        all.sort_unstable();
        assert_eq!(copied, all);
    }
}
