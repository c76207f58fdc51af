//! A tenant's rows in a file, one JSON object a line: what is kept of it when it goes.
//!
//! The file appears under its name when it is whole. Objects are listed by key and checksum; they are copied by the
//! store's own means. Nothing that proves who somebody is (password hashes, keys' hashes) and nothing sealed is written.

use super::row;
use crate::{moments, operator, output};
use anyhow::Context;
use mediamill_shared::{
    control::tenants,
    ids::TenantId,
    services::Services,
    tenancy::{
        TenantDb,
        store::media::{Media, Variant},
    },
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// Rows read at a time.
const PAGE: i64 = 500;

#[derive(Debug, Default)]
struct Counts {
    users: u64,
    media: u64,
    objects: u64,
}

pub(super) async fn run(services: &Services, id: &TenantId, path: &Path, json: bool) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        write(services, id, &mut |line| output::json(&line)).await?;
        return Ok(());
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let cannot = || format!("{} cannot be written", path.display());
    let mut file = BufWriter::new(File::create(&partial).with_context(cannot)?);
    let mut line = |line: Value| {
        serde_json::to_writer(&mut file, &line)?;
        Ok(file.write_all(b"\n")?)
    };
    let counts = write(services, id, &mut line).await?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
    file.and_then(|file| file.sync_all()).with_context(cannot)?;
    std::fs::rename(&partial, path).with_context(cannot)?;
    let Counts { users, media, objects } = counts;
    output::done(
        json,
        &json!({ "id": id, "file": path, "users": users, "media": media, "objects": objects }),
        format!(
            "{} has {users} users and {media} pictures of tenant {id}; their {objects} objects are in the store, under the \
             keys that it lists",
            path.display()
        ),
    )
}

async fn write(
    services: &Services,
    id: &TenantId,
    line: &mut impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<Counts> {
    let row = row(services, id).await?;
    let hosts = tenants::hosts(&services.control, id).await?;
    let limits: Value = serde_json::from_str(&row.limits.to_json())?;
    line(json!({
        "kind": "tenant", "id": id, "state": row.state, "hosts": hosts, "plan": row.plan, "limits": limits,
        "pictures": row.pictures,
        "trial_until": row.trial_until, "created_at": row.created_at, "exported": moments::shown(services.clock.now()),
    }))?;
    let tenant = operator::refreshed(services, id).await?;
    let db = tenant.tables()?;
    let mut counts = Counts::default();
    users(&db, &mut counts, line).await?;
    media(&db, &mut counts, line).await?;
    let usage = db.usage().await?;
    line(json!({ "kind": "usage", "media": usage.media, "bytes": usage.bytes }))?;
    Ok(counts)
}

async fn users(
    db: &TenantDb,
    counts: &mut Counts,
    line: &mut impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = db.users_page(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id.clone());
        for user in &page {
            counts.users = counts.users.saturating_add(1);
            line(json!({
                "kind": "user", "id": user.id, "name": user.name, "role": user.role, "email": user.email,
                "created_at": user.created_at,
            }))?;
        }
    }
}

async fn media(
    db: &TenantDb,
    counts: &mut Counts,
    line: &mut impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut before = None;
    loop {
        let page = db.media_page(before.as_ref(), PAGE, None).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        before = Some(last.id.clone());
        for (media, variants) in &page {
            counts.media = counts.media.saturating_add(1);
            counts.objects = counts
                .objects
                .saturating_add(u64::try_from(variants.len()).unwrap_or(u64::MAX));
            line(one(media, variants)?)?;
        }
    }
}

fn one(media: &Media, variants: &[Variant]) -> anyhow::Result<Value> {
    let (removed, facts): (Value, Value) = (
        serde_json::from_str(&media.removed)?,
        serde_json::from_str(&media.facts)?,
    );
    let variants: Vec<Value> = variants
        .iter()
        .map(|variant| {
            json!({
                "name": variant.name, "format": variant.format, "object": variant.object.as_str(), "sha256": variant.sha256,
                "bytes": variant.bytes, "width": variant.width, "height": variant.height,
                "storages": variant.places.held().iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(json!({
        "kind": "media", "id": media.id, "file_name": media.file_name, "format": media.format, "width": media.width,
        "height": media.height, "uploaded_bytes": media.uploaded_bytes, "stored_bytes": media.stored_bytes,
        "removed": removed, "facts": facts, "created_at": media.created_at,
        "expires_at": media.expires_at, "frames": media.frames, "sha256": media.sha256, "variants": variants,
    }))
}
