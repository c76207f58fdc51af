//! Configuration.
use url::Url;

/// A URL fit for logs: password and secret query parameters left out.
#[must_use]
pub fn redacted(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // A URL with a password has a host, so setting one has no way to fail.
        let _ = shown.set_password(Some("***"));
    }
    if url.query().is_some() {
        shown.query_pairs_mut().clear();
        for (name, value) in url.query_pairs() {
            let secret = ["secret", "password", "key", "token"]
                .iter()
                .any(|word| name.to_ascii_lowercase().contains(word));
            shown
                .query_pairs_mut()
                .append_pair(&name, if secret { "***" } else { &value });
        }
    }
    shown.into()
}

/// Stand-in until the real one lands.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "stand-in")]
pub struct Config {
    pub data_dir: std::path::PathBuf,
    pub database_url: Url,
    pub queue_url: Url,
    pub cache_url: Url,
    pub objects_url: Url,
    pub listen: std::net::SocketAddr,
    pub public_scheme: String,
    pub database_connections: u32,
    pub max_upload_size: crate::units::ByteCount,
    pub max_pixels: i64,
    pub body_timeout: std::time::Duration,
    pub worker_media_slots: usize,
    pub worker_memory: crate::units::ByteCount,
    pub grace_period: std::time::Duration,
    pub tenant_cache_ttl: std::time::Duration,
    pub tenant_cache_entries: u64,
    pub idempotency_ttl: std::time::Duration,
    pub job_retention: std::time::Duration,
}
