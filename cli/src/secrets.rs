//! `mediamill secrets`: the master keys that seal what is stored.

use crate::{cli::Secrets, migrate, output};
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    chain,
    clock::Entropy,
    control::secrets::{self, Resealed},
    secrets::{Keyring, MasterKeyId},
    services::Services,
};
use serde_json::json;
use std::process::ExitCode;

/// Prints a new key. Needs no installation.
pub(crate) fn generate(json: bool) -> anyhow::Result<ExitCode> {
    let key = Keyring::generate(&Entropy::system());
    if json {
        output::json(&json!({ "master_key": key.reveal() }))?;
    } else {
        output::line(key.reveal());
        output::remark(
            "set MEDIAMILL_MASTER_KEYS to it in every process, and keep a copy apart from the database's: without it what is \
             sealed stays sealed; to replace a key, write the new one first, then the old one, and run `mediamill secrets \
             rotate`",
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn run(services: &Services, command: Secrets, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Secrets::Generate => generate(json),
        Secrets::Check => check(services, json).await,
        Secrets::Rotate => rotate(services, json).await,
    }
}

async fn check(services: &Services, json: bool) -> anyhow::Result<ExitCode> {
    migrate::ensure(services).await?;
    let keyring = services.secrets.keyring().ok();
    secrets::check(&services.control, keyring).await?;
    let ids: Vec<&str> = keyring
        .into_iter()
        .flat_map(Keyring::ids)
        .map(MasterKeyId::as_str)
        .collect();
    let words = if ids.is_empty() {
        "there is no master key, and nothing that is sealed; `mediamill secrets generate` prints one".to_owned()
    } else {
        format!(
            "master keys {} open all that is sealed; {} seals",
            ids.join(", "),
            ids.first().unwrap_or(&"none")
        )
    };
    if json {
        output::json(&json!({ "ok": true, "keys": ids }))?;
    } else {
        output::line(words);
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate(services: &Services, json: bool) -> anyhow::Result<ExitCode> {
    let keyring = services.secrets.keyring()?;
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "{spinner} {pos} secrets sealed anew, {elapsed}, {per_sec}",
    )?);
    let now = services.clock.now();
    let rotated = secrets::rotate(
        &services.control,
        keyring,
        now,
        &services.entropy,
        |of, outcome| match outcome {
            Resealed::Done => bar.inc(1),
            Resealed::Overtaken => {}
            Resealed::Failed(error) => bar.suspend(|| output::remark(format!("{of} is left: {}", chain(error)))),
        },
    )
    .await;
    bar.finish_and_clear();
    let rotation = rotated?;
    let retired: Vec<&str> = rotation.retired.iter().map(MasterKeyId::as_str).collect();
    if json {
        output::json(&json!({
            "primary": keyring.primary().as_str(), "resealed": rotation.resealed, "overtaken": rotation.overtaken,
            "left": rotation.left, "retired": retired,
        }))?;
    } else {
        output::line(format!(
            "{} secrets sealed anew under key {}, {} changed meanwhile, {} left",
            rotation.resealed,
            keyring.primary(),
            rotation.overtaken,
            rotation.left
        ));
        if rotation.left > 0 {
            output::remark("keep every key: run this again, with all processes on the new MEDIAMILL_MASTER_KEYS");
        } else if !retired.is_empty() {
            output::remark(format!(
                "nothing is sealed under {} any more: take it out of MEDIAMILL_MASTER_KEYS",
                retired.join(", ")
            ));
        }
    }
    Ok(if rotation.left == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
