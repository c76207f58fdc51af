//! How a process is set up: defaults, then a TOML file, then environment variables `MEDIAMILL_*`.
//!
//! One flat list of keys, each declared once below: its name, default, meaning and reader. An unknown key, in the file or
//! in the environment, is refused. Secrets stand in URLs and in `master_keys`; they are never printed.

mod access;
mod helpers;
mod servers;
mod timers;
pub(crate) mod values;

pub use access::{AddressList, PortList, SecretList, SignatureMode};
pub use helpers::MediaHelpers;
pub use servers::{PlacementPolicy, ServerEntry, ServerList};
pub use timers::TimerPeriods;
pub use values::size;

use crate::{
    secrets::Keyring,
    spelling::distance,
    tenancy::{Isolation, LimitOverrides},
    units::ByteCount,
};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use url::Url;

/// Begins every variable.
const PREFIX: &str = "MEDIAMILL_";
/// Variables that begin so but are no keys: the configuration file's name, and what drivers and tests read.
const NOT_KEYS: &[&str] = &[
    "MEDIAMILL_CONFIG",
    "MEDIAMILL_TEST_",
    "MEDIAMILL_REGENERATE",
    "MEDIAMILL_LOADTEST_",
];

/// The configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML. Without the parser's own error: it quotes the line, and the line may hold a secret.
    #[error("configuration file {} is no TOML: line {line}: {problem}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Why.
        problem: String,
    },
    /// There is no such key.
    #[error("unknown configuration key {name}{}", nearest(name))]
    Unknown {
        /// As given.
        name: String,
    },
    /// A value does not fit its key.
    #[error("configuration key {key}: {problem}")]
    Value {
        /// Which.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

trait Value: Sized {
    fn read(text: &str) -> Result<Self, String>;
    fn show(&self) -> String;
}

macro_rules! parsed {
    ($($type:ty => $what:literal),+ $(,)?) => {
        $(impl Value for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!(concat!("{:?} is no ", $what), text))
            }
            fn show(&self) -> String {
                self.to_string()
            }
        })+
    };
}
parsed!(SocketAddr => "address and port", u32 => "whole number", u64 => "whole number", i64 => "whole number", usize => "whole number",
    bool => "true or false", String => "text");

impl Value for Url {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| format!("it is no URL: {error}"))
    }
    fn show(&self) -> String {
        redacted(self)
    }
}

impl Value for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        std::path::absolute(text).map_err(|error| format!("{text:?} is no path: {error}"))
    }
    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for ByteCount {
    fn read(text: &str) -> Result<Self, String> {
        values::size(text)
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Duration {
    fn read(text: &str) -> Result<Self, String> {
        values::duration(text)
    }
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for LogFormat {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is neither text nor json")),
        }
    }
    fn show(&self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }
}

impl Value for Option<SocketAddr> {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "" | "none" => Ok(None),
            text => SocketAddr::read(text).map(Some),
        }
    }
    fn show(&self) -> String {
        self.map_or_else(|| "none".to_owned(), |address| address.to_string())
    }
}

impl Value for LimitOverrides {
    fn read(text: &str) -> Result<Self, String> {
        Self::from_json(text).map_err(|error| error.to_string())
    }
    fn show(&self) -> String {
        self.to_json()
    }
}

macro_rules! own_reader {
    ($($type:ty),+ $(,)?) => {
        $(impl Value for $type {
            fn read(text: &str) -> Result<Self, String> {
                <$type>::read(text)
            }
            fn show(&self) -> String {
                <$type>::show(self)
            }
        })+
    };
}
own_reader!(
    ServerList,
    PlacementPolicy,
    SecretList,
    AddressList,
    PortList,
    SignatureMode,
    MediaHelpers,
    TimerPeriods
);

impl Value for Option<Isolation> {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "" | "auto" => Ok(None),
            text => Isolation::parse(text).map(Some).map_err(|error| error.to_string()),
        }
    }
    fn show(&self) -> String {
        self.map_or("auto", Isolation::as_str).to_owned()
    }
}

impl Value for Option<Keyring> {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "" | "none" => Ok(None),
            text => Keyring::parse(text).map(Some).map_err(|error| error.to_string()),
        }
    }
    fn show(&self) -> String {
        self.as_ref().map_or("none", |_| "***").to_owned()
    }
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:literal),+ $(,)?) => {
        /// The configuration, every value in place.
        #[derive(Clone)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $key: $type),+
        }

        /// Name, default and meaning of every key.
        const KEYS: &[(&str, &str, &str)] = &[$((stringify!($key), $default, concat!($($doc),+))),+];

        impl Config {
            fn read(values: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
                let data_dir = values.get("data_dir").map_or("mediamill-data", String::as_str);
                let data_dir = PathBuf::read(data_dir).map_err(|problem| ConfigError::Value { key: "data_dir", problem })?;
                Ok(Self {
                    $($key: {
                        let text = match values.get(stringify!($key)) {
                            Some(text) => text.clone(),
                            None => $default.replace("{data_dir}", &data_dir.display().to_string()),
                        };
                        <$type as Value>::read(&text).map_err(|problem| ConfigError::Value { key: stringify!($key), problem })?
                    }),+
                })
            }

            /// Every key with its value, secrets left out.
            #[must_use]
            pub fn shown(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($key), Value::show(&self.$key))),+]
            }
        }
    };
}

keys! {
    /// Where embedded back ends keep their files. Relative to the working directory.
    data_dir: PathBuf = "mediamill-data",
    /// Control database, which shared tenants' tables lie in too: `sqlite:///path/file.db` or `postgres://user:password@host:port/name?sslmode=verify-full`.
    database_url: Url = "sqlite://{data_dir}/mediamill.db",
    /// Keys that seal stored secrets, `ID:BASE64KEY`, several between spaces or commas: the first seals, all open. `mediamill secrets generate` prints one. `none`: with an SQLite control database `{data_dir}/master.key`, which makes itself; with another, secrets are refused.
    master_keys: Option<Keyring> = "none",
    /// Connections that one process opens to the database at most.
    database_connections: u32 = "16",
    /// More database servers to place tenants on, separated by white space: `NAME=URL`, `NAME*WEIGHT=URL`; `main*0` keeps new tenants off the control database's.
    tenant_databases: ServerList = "",
    /// Where new tenants go when neither they nor their plan name a server: `fewest` (tenants), `weight` (fewest for its weight) or a server's name.
    tenant_placement: PlacementPolicy = "weight",
    /// How new tenants' tables are kept apart when neither they nor their plan say: `prefix` (shared database), `database` (one each), or `auto`: `database` on SQLite, `prefix` on PostgreSQL.
    tenant_isolation: Option<Isolation> = "auto",
    /// Connections to databases of one tenant each that one process opens at most, over all servers.
    tenant_connections: u32 = "50",
    /// What the provider enforces on every tenant, whatever it or its plan says: a JSON object of limits (`docs/limits.md`). Never stored.
    tenant_enforced: LimitOverrides = "{}",
    /// How long a removed tenant can come back before it is purged.
    tenant_grace: Duration = "30d",
    /// Secrets that requests to the Tenants API are signed with, at most two, separated by white space: the second is on its way out. `none`: signatures are not asked for.
    tenants_api_request_secret: SecretList = "none",
    /// What a signature must cover: `body` (as Chevereto) or `full` (method, path, time and nonce too: a replay is refused). A full one is always checked where it is sent.
    tenants_api_signature: SignatureMode = "body",
    /// Secret that keys of the Tenants API are hashed with; without it a plain SHA-256 is stored.
    tenants_api_key_secret: SecretList = "none",
    /// Addresses and networks that may use the Tenants API, separated by commas or white space; empty is any.
    tenants_api_ip_allow_list: AddressList = "",
    /// Secret that a router sends as `X-Router-Secret`; only then, and only from `router_addresses`, a forwarded host and client address are believed.
    router_secret: SecretList = "none",
    /// Addresses and networks of routers.
    router_addresses: AddressList = "127.0.0.0/8 ::1/128",
    /// Header with the host that the client asked the router for.
    router_host_header: String = "x-forwarded-host",
    /// Header with the client's address, as the router saw it.
    router_client_header: String = "x-real-ip",
    /// Queue: `embedded:` (the `jobs` table itself, for one machine) or `amqp://user:password@host:port/vhost` (`amqps` for TLS).
    queue_url: Url = "embedded:",
    /// Context cache, counters, leases: `memory:` (one process) or `redis://:password@host:port/0` (`rediss` for TLS); `?timeout_ms=500` is how long a call may take, 1 to 60000.
    cache_url: Url = "memory:",
    /// Object storage: `file:///path` or `s3://bucket/prefix?endpoint=https://host&region=…&access_key=…&secret_key=…`; `presign=true` redirects viewers to the store, and lets clients upload to it (`docs/direct.md`).
    objects_url: Url = "file://{data_dir}/objects",
    /// Address that the api listens on.
    listen: SocketAddr = "127.0.0.1:8080",
    /// Address where any role answers `/livez`, `/readyz` and `/metrics` and nothing else, such as `0.0.0.0:9100`; `none` is nowhere. The api answers them on its own address too.
    operations_listen: Option<SocketAddr> = "none",
    /// `http` or `https`: how the URLs in answers begin, where a proxy ends TLS.
    public_scheme: String = "http",
    /// Largest upload, where neither tenant nor plan says otherwise.
    max_upload_size: ByteCount = "200 MB",
    /// Most pixels of a picture, where neither tenant nor plan says otherwise.
    max_pixels: i64 = "200000000",
    /// Longest pause within a request's body.
    body_timeout: Duration = "30s",
    /// Longest time that one upload may take, one straight to the store from its announcement to its completion. Staged bytes that no job wants are removed when they are twice as old.
    upload_timeout: Duration = "1h",
    /// How long an upload in pieces (`docs/resumable.md`) may take from its first request to its last byte; it is given up then.
    resumable_expiry: Duration = "24h",
    /// Uploads in pieces, and straight to the store, that a tenant may have open at a time.
    resumable_uploads: u32 = "1000",
    /// Bytes that those may hold together, announced ones included.
    resumable_bytes: ByteCount = "50 GB",
    /// Whether tenants with many jobs wait for those with few; off, the queue is first come, first served.
    fair_dispatch: bool = "true",
    /// Jobs of a tenant in each pool's queue, while others wait too, for each 1 of its limit `dispatch_weight`. Workers that would be idle take more.
    dispatch_share: u32 = "4",
    /// Longest time that fetching one upload from a URL may take, redirects included. It is cut at 3 minutes, whatever this says.
    fetch_timeout: Duration = "60s",
    /// Ports that uploads are fetched from, separated by commas or white space.
    fetch_ports: PortList = "80 443",
    /// Addresses and networks that uploads may be fetched from although they are not public: an intranet's own picture server, say. Empty is none.
    fetch_allow_private: AddressList = "",
    /// Addresses and networks that a storage which a tenant adds by its own key (`docs/storages.md`) may be at although they are not public, and without TLS: an intranet's own object store, say. Every tenant's key reaches them then. Empty is none.
    storage_allow_private: AddressList = "",
    /// Pictures that a worker decodes at a time; 0 is one for each processor. Four times as many are in hand: their bytes come and go meanwhile.
    worker_media_slots: usize = "0",
    /// Memory that a worker takes at most, its helper processes included. A quarter, and never more than 192 MiB, is its own, the rest for pictures; one that needs more fails.
    worker_memory: ByteCount = "2 GiB",
    /// Where pictures are decoded: `process` (helper processes that can open nothing and reach nobody) or `inline` (the worker's own process, for systems that cannot confine one; a decoder that is taken over has all that the worker has, and the AVIF one ends it where it panics).
    media_helpers: MediaHelpers = "process",
    /// How long a helper process may work on one picture, by the clock and of processor time; it is ended then. An attempt takes at most 120s, whatever this says.
    media_helper_timeout: Duration = "60s",
    /// How long a stopping process finishes what it has in hand.
    grace_period: Duration = "25s",
    /// How long a process believes what it knows of a tenant or a key before it asks again.
    tenant_cache_ttl: Duration = "1s",
    /// Tenants that a process remembers at most.
    tenant_cache_entries: u64 = "100000",
    /// How long an `Idempotency-Key` is remembered.
    idempotency_ttl: Duration = "24h",
    /// How long finished jobs are told.
    job_retention: Duration = "7d",
    /// How old an object has to be, by its storage's clock, that no row has and no job may still record, before `reconcile-objects` removes it (`docs/scheduler.md`); 0 is never. A backup of the databases that is older than this is not restored without setting it to 0 first.
    orphan_age: Duration = "7d",
    /// How often timers run that are not to run as often as `mediamill scheduler list` says: `NAME=TIME`, separated by commas or white space, such as `reconcile-usage=15m`. From 100ms to 30d.
    timer_periods: TimerPeriods = "",
    /// `text` or `json`.
    log_format: LogFormat = "text",
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,mediamill_workers=debug`.
    log_level: String = "info",
    /// Whether `/metrics` is served.
    metrics: bool = "true",
}

impl Config {
    /// From `file` or the file that `MEDIAMILL_CONFIG` names, and the environment, which has the last word.
    ///
    /// # Errors
    /// When a key is unknown or a value does not fit.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let variables: BTreeMap<String, String> =
            std::env::vars().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        let named = variables.get("MEDIAMILL_CONFIG").map(PathBuf::from);
        let mut values = match file.map(Path::to_owned).or(named) {
            Some(path) => from_file(&path)?,
            None => BTreeMap::new(),
        };
        values.extend(from_environment(&variables)?);
        Self::from_values(&values)
    }

    /// From names and values alone.
    ///
    /// # Errors
    /// When a key is unknown or a value does not fit.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Result<Self, ConfigError> {
        let values = pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Self::from_values(&values)
    }

    fn from_values(values: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        if let Some(name) = values.keys().find(|name| !is_key(name)) {
            return Err(ConfigError::Unknown { name: name.clone() });
        }
        let mut config = Self::read(values)?;
        if !matches!(config.public_scheme.as_str(), "http" | "https") {
            let problem = format!("{:?} is neither http nor https", config.public_scheme);
            return Err(ConfigError::Value {
                key: "public_scheme",
                problem,
            });
        }
        if config.worker_media_slots == 0 {
            config.worker_media_slots = std::thread::available_parallelism().map_or(1, usize::from);
        }
        Ok(config)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

fn is_key(name: &str) -> bool {
    KEYS.iter().any(|(key, _, _)| *key == name)
}

fn from_file(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = text
            .get(..error.span().map_or(0, |span| span.start))
            .unwrap_or_default();
        ConfigError::Syntax {
            path: path.to_owned(),
            line: before.matches('\n').count().saturating_add(1),
            problem: error.message().to_owned(),
        }
    })?;
    let plain = |value: toml::Value| match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(table.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

fn from_environment(variables: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut values = BTreeMap::new();
    for (variable, value) in variables {
        if NOT_KEYS.iter().any(|name| variable.starts_with(name)) {
            continue;
        }
        let name = variable.strip_prefix(PREFIX).unwrap_or(variable).to_ascii_lowercase();
        if !is_key(&name) {
            return Err(ConfigError::Unknown { name: variable.clone() });
        }
        values.insert(name, value.clone());
    }
    Ok(values)
}

/// `; did you mean …?`, when a key is near.
fn nearest(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
    match KEYS.iter().map(|(key, _, _)| (distance(&name, key), key)).min() {
        Some((errors, key)) if errors <= 4 => format!("; did you mean {key}?"),
        _ => String::new(),
    }
}

/// All keys as a table in Markdown: `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration\n\nDefaults, then the TOML file named by `--config` or `MEDIAMILL_CONFIG`, then environment variables. \
         In the file a key is written as here; as a variable it is in capitals with `MEDIAMILL_` before it. \
         Unknown keys are refused. Sizes: `20M`, `20 MB` (decimal), `64 MiB`; durations: `500ms`, `30s`, `5m`, `2h`, `7d`.\n\n\
         | key | default | meaning |\n|---|---|---|\n",
    );
    for (key, default, doc) in KEYS {
        // Writing to a String has no way to fail.
        let _ = writeln!(text, "| `{key}` | `{default}` | {} |", doc.trim());
    }
    text
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_one_process_in_one_directory() {
        let config = Config::from_pairs([("data_dir", "/data".into())]).unwrap();
        assert_eq!(config.database_url.as_str(), "sqlite:///data/mediamill.db");
        assert_eq!(config.objects_url.as_str(), "file:///data/objects");
        assert_eq!(config.max_upload_size, ByteCount::new(200_000_000));
        assert!(config.worker_media_slots >= 1);
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest() {
        let variables = BTreeMap::from([("MEDIAMILL_DATABSE_URL".to_owned(), "x".to_owned())]);
        let error = from_environment(&variables).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown configuration key MEDIAMILL_DATABSE_URL; did you mean database_url?"
        );
        let error = Config::from_pairs([("qqqqqqqqqqqq", String::new())]).unwrap_err();
        assert_eq!(error.to_string(), "unknown configuration key qqqqqqqqqqqq");
    }

    #[test]
    fn a_file_is_read_and_the_environment_has_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mediamill.toml");
        std::fs::write(&path, "listen = \"0.0.0.0:80\"\nmax_pixels = 5\nmetrics = false\n").unwrap();
        let mut values = from_file(&path).unwrap();
        values
            .extend(from_environment(&BTreeMap::from([("MEDIAMILL_MAX_PIXELS".to_owned(), "7".to_owned())])).unwrap());
        let config = Config::from_values(&values).unwrap();
        assert_eq!(
            (config.listen.port(), config.max_pixels, config.metrics),
            (80, 7, false)
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = Config::from_pairs([
            ("database_url", "postgres://me:hush@db/x".into()),
            ("objects_url", "s3://b?secret_key=hush&access_key=hush&region=r".into()),
            ("master_keys", format!("k1:hush{}=", "A".repeat(39))),
        ])
        .unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("hush") && shown.contains("region=r"), "{shown}");
        assert!(config.shown().contains(&("master_keys", "***".into())), "{shown}");
    }

    #[test]
    fn what_is_no_master_key_is_refused_without_being_told() {
        for value in ["hush", "k1:hush", "k1 hush"] {
            let error = Config::from_pairs([("master_keys", value.into())])
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("configuration key master_keys: ") && !error.contains("hush"),
                "{error}"
            );
        }
        for empty in ["", "none"] {
            let config = Config::from_pairs([("master_keys", empty.into())]).unwrap();
            assert!(config.shown().contains(&("master_keys", "none".into())));
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_by_its_line_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mediamill.toml");
        std::fs::write(&path, "metrics = true\nmaster_keys = \"k1:hush\n").unwrap();
        let error = crate::chain(&from_file(&path).unwrap_err());
        assert!(error.contains("line 2") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn the_reference_is_up_to_date() {
        crate::testing::generated("docs/configuration.md", &reference());
    }
}
