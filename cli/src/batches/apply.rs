//! `mediamill tenants apply`: tenants become what a file declares.

use super::{Source, import, source, watch};
use crate::{cli::Apply, output};
use anyhow::bail;
use mediamill_shared::{
    control::{
        audit::Actor,
        batches::Step,
        changes::Change,
        secrets,
        tenants::{self, Filter, TenantRow},
    },
    ids::TenantId,
    rows::{Format, Row, RowReader},
    secrets::SealedFor,
    services::Services,
    tenancy::{Field, Host, TenantSpec, TenantState},
};
use std::{collections::BTreeMap, process::ExitCode};
use tokio::io::AsyncReadExt;

/// Tenants looked at together.
const TOGETHER: usize = 500;
const PAGE: i64 = 500;
const PIECE: usize = 64 * 1024;

/// What apply says, and whether something of it was not done.
struct Told {
    json: bool,
    refused: bool,
}

impl Told {
    fn tell(&self, sign: char, id: &TenantId, what: &str) -> anyhow::Result<()> {
        if self.json {
            return output::json(&serde_json::json!({ "change": sign.to_string(), "tenant": id, "what": what }));
        }
        output::line(output::plain(format!("{sign} {id} {what}").trim_end()));
        Ok(())
    }

    fn refuse(&mut self, id: &TenantId, why: &str) {
        self.refused = true;
        output::remark(output::plain(&format!("{id}: {why}")));
    }
}

pub(crate) async fn apply(services: &Services, args: Apply, json: bool) -> anyhow::Result<ExitCode> {
    let declared = declared(source(&args.file, args.format).await?).await?;
    if args.prune && declared.is_empty() {
        bail!(
            "{} declares no tenants: with --prune every tenant would leave",
            args.file.display()
        );
    }
    let mut told = Told { json, refused: false };
    let mut missing = Vec::new();
    let all: Vec<&(i64, TenantSpec)> = declared.values().collect();
    for some in all.chunks(TOGETHER) {
        let ids: Vec<TenantId> = some.iter().map(|(_, spec)| spec.id.clone()).collect();
        let present = tenants::many(&services.control, &ids).await?;
        for (line, spec) in some {
            match present.get(&spec.id) {
                None => {
                    told.tell('+', &spec.id, &spec.hosts.join(" "))?;
                    missing.push((*line, spec.clone()));
                }
                Some((row, hosts)) => change(services, spec, row, hosts, args.dry_run, &mut told).await?,
            }
        }
    }
    if args.prune {
        prune(services, &declared, args.dry_run, &mut told).await?;
    }
    if !args.dry_run && !missing.is_empty() {
        told.refused |= !create(services, missing).await?;
    }
    Ok(if told.refused {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Every declaration by its tenant, with its line. All of the file must be right before any of it is done.
async fn declared(source: Source) -> anyhow::Result<BTreeMap<TenantId, (i64, TenantSpec)>> {
    let Source { mut bytes, format, .. } = source;
    let (mut reader, mut declared, mut bad) = (RowReader::new(format), BTreeMap::new(), Vec::new());
    let mut take = |Row { line, content }| match content {
        Err(row) => bad.push(format!("line {line}: {}", row.cause)),
        Ok(spec) => {
            let id = spec.id.clone();
            if let Some((earlier, _)) = declared.insert(id.clone(), (line, spec)) {
                bad.push(format!(
                    "line {line}: tenant {id} is declared in line {earlier} already"
                ));
            }
        }
    };
    let mut piece = vec![0_u8; PIECE];
    loop {
        let read = bytes.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        reader.push(piece.get(..read).unwrap_or_default(), &mut take);
    }
    if let Some(row) = reader.finish() {
        take(row);
    }
    if !bad.is_empty() {
        for line in &bad {
            output::remark(output::plain(line));
        }
        bail!("{} rows are wrong: nothing was changed", bad.len());
    }
    Ok(declared)
}

/// Tells what differs, and makes it as declared.
async fn change(
    services: &Services,
    spec: &TenantSpec,
    row: &TenantRow,
    hosts: &[Host],
    dry_run: bool,
    told: &mut Told,
) -> anyhow::Result<()> {
    let mut change = Change::default();
    let mut any = false;
    for difference in spec.differences(row, hosts) {
        told.tell('~', &spec.id, &difference.to_string())?;
        match difference.field {
            Field::Hosts => {
                let had = |name: &String| hosts.iter().any(|host| host.name == *name);
                change.add_hosts = spec.hosts.iter().filter(|name| !had(name)).cloned().collect();
                let lost = hosts.iter().map(|host| host.name.clone());
                change.remove_hosts = lost.filter(|name| !spec.hosts.contains(name)).collect();
            }
            Field::MainHost => change.main_host = spec.hosts.first().cloned(),
            Field::Plan => change.plan = Some(spec.plan.clone()),
            Field::Limits => change.limits = Some(spec.limits.clone()),
            Field::Pictures => change.pictures = Some(spec.pictures.clone()),
            Field::TrialUntil => change.trial_until = Some(spec.trial_until),
            Field::Enabled => {
                change.state = Some(if spec.enabled {
                    TenantState::Active
                } else {
                    TenantState::Suspended
                });
            }
            Field::Isolation | Field::Server => {
                told.refuse(&spec.id, "`mediamill tenants move` changes where its tables are");
                continue;
            }
        }
        any = true;
    }
    if let Some(sealed) = changed_env(services, spec, row).await? {
        told.tell('~', &spec.id, "env: changed")?;
        change.env = Some(Some(sealed));
        any = true;
    }
    if !any || dry_run {
        return Ok(());
    }
    if let Err(error) = services.lifecycle.change(&spec.id, &change, &Actor::cli()).await {
        told.refuse(&spec.id, &mediamill_shared::chain(&error));
    }
    Ok(())
}

/// A declared environment that is another than the present one, sealed. One that is not declared stays.
async fn changed_env(services: &Services, spec: &TenantSpec, row: &TenantRow) -> anyhow::Result<Option<String>> {
    if spec.env.is_empty() {
        return Ok(None);
    }
    let of = SealedFor::TenantEnv(spec.id.clone());
    if services.secrets.open_env(&of, row.env.as_deref())? == spec.env {
        return Ok(None);
    }
    let keyring = services.secrets.keyring()?;
    secrets::register(&services.control, keyring, services.clock.now(), &services.entropy).await?;
    Ok(services.secrets.seal_env(&of, &spec.env, &services.entropy)?)
}

/// Lets tenants leave that are not declared.
async fn prune(
    services: &Services,
    declared: &BTreeMap<TenantId, (i64, TenantSpec)>,
    dry_run: bool,
    told: &mut Told,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = tenants::page(&services.control, &Filter::default(), after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.serial.clone());
        for row in &page {
            let served = match row.state {
                TenantState::Active | TenantState::Suspended => true,
                TenantState::Provisioning | TenantState::Leaving | TenantState::Deleting => false,
            };
            if !served || declared.contains_key(&row.id) {
                continue;
            }
            told.tell('-', &row.id, row.host.as_deref().unwrap_or_default())?;
            if dry_run {
                continue;
            }
            let left = services
                .lifecycle
                .leave(&row.id, services.lifecycle.grace(), &Actor::cli())
                .await;
            if let Err(error) = left {
                told.refuse(&row.id, &mediamill_shared::chain(&error));
            }
        }
    }
}

/// Makes the tenants that there are not, as a batch of their own. Returns whether all of them were made.
async fn create(services: &Services, missing: Vec<(i64, TenantSpec)>) -> anyhow::Result<bool> {
    let opened = services.batches.open(Format::Ndjson, None, &Actor::cli(), None).await;
    let (id, _) = opened?;
    let mut receiving = services.batches.receive(&id, Format::Ndjson);
    let keys = missing.iter().any(|(_, spec)| spec.admin.is_some());
    for (line, spec) in missing {
        let row = Row {
            line,
            content: Ok(spec),
        };
        receiving.take(row).await?;
    }
    receiving.finish().await?;
    services.batches.step(&id, Step::Close).await?;
    let (_, counts) = watch::until_done(services, &id).await?;
    import::tell_of_bad(services, &id, &counts).await?;
    if keys {
        output::remark(format!("`mediamill tenants batches result {id}` has the first keys"));
    }
    Ok(import::refused(&counts) == 0)
}
