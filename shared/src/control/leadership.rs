//! Leases on a name, kept in the control database: one owner at a time, each with a greater fence than those before it.
//!
//! No clock is compared with another machine's: an owner shows that it lives by a count that grows, and whoever would take over has
//! seen the count stand still for as long as the lease lasts, by its own clock.

use crate::{
    cache::Fence,
    db::{Bounded, Db, DbError, During, sql},
};
use sqlx::{Row, any::AnyRow};

sql! {
    GET = "SELECT owner, fence, beat FROM leases WHERE name = $1";
    MAKE = "INSERT INTO leases (name, owner, fence, beat) VALUES ($1, $2, 1, 0) ON CONFLICT (name) DO NOTHING RETURNING fence";
    BEAT = "UPDATE leases SET beat = beat + 1 WHERE name = $1 AND owner = $2 RETURNING fence";
    TAKE = "UPDATE leases SET owner = $1, fence = fence + 1, beat = 0 WHERE name = $2 AND fence = $3 AND beat = $4 RETURNING fence";
    RESIGN = "UPDATE leases SET owner = '' WHERE name = $1 AND owner = $2";
}

/// What somebody has seen of another's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    fence: i64,
    beat: i64,
    /// It was given back: nobody need wait for its end.
    pub is_free: bool,
}

/// Shows that the owner lives. `None`: it is not the owner any more, or never was.
///
/// # Errors
/// When the database is away.
pub async fn renew(db: &Db, name: &str, owner: &str) -> Result<Option<Fence>, DbError> {
    let query = BEAT.query().bind(name.to_owned()).bind(owner.to_owned());
    let row = query.fetch_optional(db.write()).bounded("renew a lease").await?;
    row.as_ref().map(fence).transpose()
}

/// How a lease stands. `None`: there never was one of that name.
///
/// # Errors
/// When the database is away.
pub async fn look(db: &Db, name: &str) -> Result<Option<Sight>, DbError> {
    const WHAT: &str = "look at a lease";
    // By the writer: a reader may be behind.
    let query = GET.query().bind(name.to_owned());
    let row = query.fetch_optional(db.write()).bounded(WHAT).await?;
    row.map(|row| {
        Ok(Sight {
            is_free: row.try_get::<String, _>(0).during(WHAT)?.is_empty(),
            fence: row.try_get(1).during(WHAT)?,
            beat: row.try_get(2).during(WHAT)?,
        })
    })
    .transpose()
}

/// Takes a lease that nothing has changed of since `seen`. `None`: somebody else has been first, or its owner lives.
///
/// # Errors
/// When the database is away.
pub async fn take(db: &Db, name: &str, owner: &str, seen: Option<Sight>) -> Result<Option<Fence>, DbError> {
    let query = match seen {
        None => MAKE.query().bind(name.to_owned()).bind(owner.to_owned()),
        Some(seen) => TAKE
            .query()
            .bind(owner.to_owned())
            .bind(name.to_owned())
            .bind(seen.fence)
            .bind(seen.beat),
    };
    let row = query.fetch_optional(db.write()).bounded("take a lease").await?;
    row.as_ref().map(fence).transpose()
}

/// Gives a lease back, so that nobody waits for its end.
///
/// # Errors
/// When the database is away.
pub async fn resign(db: &Db, name: &str, owner: &str) -> Result<(), DbError> {
    let query = RESIGN.query().bind(name.to_owned()).bind(owner.to_owned());
    query.execute(db.write()).bounded("give a lease back").await.map(drop)
}

fn fence(row: &AnyRow) -> Result<Fence, DbError> {
    Ok(Fence(row.try_get(0).during("read a lease")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    crate::on_both_sides!(one_owner_at_a_time_and_each_with_a_greater_fence);

    async fn one_owner_at_a_time_and_each_with_a_greater_fence(world: World) {
        let db = &world.services.control;
        let (name, a, b) = ("work", "a", "b");
        assert_eq!(look(db, name).await.unwrap(), None);
        assert_eq!(renew(db, name, a).await.unwrap(), None);
        let (one, two) = tokio::join!(take(db, name, a, None), take(db, name, b, None));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one.is_some() != two.is_some());
        let first = one.or(two).unwrap();
        assert_eq!(first, Fence(1));
        let (owner, other) = match renew(db, name, a).await.unwrap() {
            Some(fence) => {
                assert_eq!(fence, first);
                (a, b)
            }
            None => (b, a),
        };
        // Whoever was seen before its last sign of life keeps it.
        let seen = look(db, name).await.unwrap();
        assert_eq!(renew(db, name, owner).await.unwrap(), Some(first));
        assert_eq!(take(db, name, other, seen).await.unwrap(), None);
        // Nothing has been seen of it since.
        let seen = look(db, name).await.unwrap();
        assert!(!seen.unwrap().is_free);
        assert_eq!(take(db, name, other, seen).await.unwrap(), Some(Fence(2)));
        assert_eq!(renew(db, name, owner).await.unwrap(), None);
        assert_eq!(take(db, name, owner, seen).await.unwrap(), None);
        // What is not one's own cannot be given back.
        resign(db, name, owner).await.unwrap();
        assert!(!look(db, name).await.unwrap().unwrap().is_free);
        resign(db, name, other).await.unwrap();
        let seen = look(db, name).await.unwrap();
        assert!(seen.unwrap().is_free);
        assert_eq!(renew(db, name, other).await.unwrap(), None);
        assert_eq!(take(db, name, owner, seen).await.unwrap(), Some(Fence(3)));
    }
}
