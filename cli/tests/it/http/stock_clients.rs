//! Clients of the tus protocol that others wrote, fresh from their registries: a large upload whose line is cut three times.

use super::Site;
use mediamill_shared::{
    clock::Stopwatch,
    control::{jobs, resumable},
    ids::UploadId,
    jobs::ProcessMedia,
    objects::{ObjectKey, Store},
    testing::{PATIENCE, World, faults::Proxy},
    units::ByteCount,
};
use reqwest::{Method, StatusCode};
use sha2::{Digest, Sha256};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

mediamill_shared::on_both_sides!(
    tus_js_client_takes_a_large_upload_through_three_cuts,
    tuspy_takes_a_large_upload_through_three_cuts,
);

/// As large as uploads may be.
const SIZE: usize = 200_000_000;

async fn tus_js_client_takes_a_large_upload_through_three_cuts(world: World) {
    let folder = tempfile::tempdir().unwrap();
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--no-save", "tus-js-client@4"]);
    if !installed("tus-js-client", install, folder.path()).await {
        return;
    }
    let mut client = Command::new("node");
    client
        .arg(script("tus-js-client.cjs"))
        .env("NODE_PATH", folder.path().join("node_modules"));
    resumes(world, client).await;
}

async fn tuspy_takes_a_large_upload_through_three_cuts(world: World) {
    let folder = tempfile::tempdir().unwrap();
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--target", ".", "tuspy==1.1.0"]);
    if !installed("tuspy", install, folder.path()).await {
        return;
    }
    let mut client = Command::new("python3");
    client.arg(script("tuspy.py")).env("PYTHONPATH", folder.path());
    resumes(world, client).await;
}

fn script(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "clients", name].iter().collect()
}

/// Installs a client. Where that cannot be, since a registry is out of reach, the test says so: nothing of ours is at fault.
async fn installed(name: &str, mut install: Command, folder: &Path) -> bool {
    let output = install
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let why = match tokio::time::timeout(Duration::from_secs(120), output).await {
        Ok(Ok(output)) if output.status.success() => return true,
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(late) => late.to_string(),
    };
    // Not by a macro that the harness keeps to itself while a test passes.
    let mut shown = std::io::stderr().lock();
    writeln!(
        shown,
        "SKIPPED: {name} could not be installed, and is not tested: {}",
        why.trim()
    )
    .unwrap();
    false
}

/// A bitmap of 8,000 by 8,333 pixels with some bytes behind it, in `file`; its checksum.
fn large(file: &Path) -> String {
    let mut bytes = super::resumable::bitmap(8_000, 8_333, 7);
    bytes.resize(SIZE, 0);
    std::fs::write(file, &bytes).unwrap();
    hex(&Sha256::digest(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The one upload that has pieces, once it has more than `wanted` bytes.
async fn past(site: &Site, wanted: usize) -> UploadId {
    let (services, tenant) = (&site.world.services, site.world.tenant().await);
    let watch = Stopwatch::start();
    loop {
        // The tests' S3 server cannot list what is being removed.
        let first = services
            .objects
            .list(ObjectKey::STAGED, None, 1)
            .await
            .unwrap_or_default();
        if let Some((_, id)) = first.first().and_then(|listed| listed.key.upload()) {
            let upload = resumable::get(&services.control, tenant.id(), &id)
                .await
                .unwrap()
                .unwrap();
            if upload.received > ByteCount::of(wanted) {
                assert!(upload.received < ByteCount::of(SIZE), "it was over before it was cut");
                return id;
            }
        }
        assert!(watch.elapsed() < PATIENCE * 5, "{wanted} bytes do not arrive");
        services.clock.sleep(Duration::from_millis(5)).await;
    }
}

async fn resumes(world: World, mut client: Command) {
    let site = Site::without_worker(world).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.bmp");
    let sha256 = large(&file);
    let (proxy, url) = Proxy::to(&format!("http://{}", site.address).parse().unwrap()).await;
    let endpoint = url.join("/v1/tus").unwrap();
    let client = client
        .args([endpoint.as_str(), World::HOST, &site.world.key])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut ids = Vec::new();
    for share in [1, 2, 3] {
        ids.push(past(&site, SIZE / 5 * share).await);
        proxy.cut();
    }
    let ended = tokio::time::timeout(PATIENCE * 5, client.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    let (said, wrong) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert!(ended.status.success(), "{wrong}");
    // It went on with what was there: there was never another upload.
    let at = format!("/v1/tus/{}", ids[0]);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(said.trim().ends_with(&at), "{said} is not {at}");
    let answer = site.request(Method::HEAD, &at).header("tus-resumable", "1.0.0");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let job = answer.headers()["job-id"].to_str().unwrap().parse().unwrap();
    let services = &site.world.services;
    let payload = jobs::payload(&services.control, &job).await.unwrap().unwrap();
    let payload: ProcessMedia = serde_json::from_str(&payload).unwrap();
    assert_eq!((payload.bytes, payload.sha256), (ByteCount::of(SIZE), sha256));
    assert_eq!(payload.file_name.as_deref(), Some("large.bmp"));
    // What the job names is what is stored, and nothing else is.
    let staged = payload.staged.parse().unwrap();
    let stored = services.objects.stat(&staged).await.unwrap().unwrap();
    assert_eq!(stored.bytes, ByteCount::of(SIZE));
    let watch = Stopwatch::start();
    loop {
        let left = services.objects.list(ObjectKey::STAGED, None, 2).await;
        if left.as_ref().is_ok_and(|left| left.len() == 1) {
            break;
        }
        assert!(watch.elapsed() < PATIENCE, "{left:?}");
        services.clock.sleep(Duration::from_millis(20)).await;
    }
    services.shutdown.stop();
}
