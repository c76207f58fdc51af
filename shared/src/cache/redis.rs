//! The cache in Redis 7, shared by every process of an installation.
//!
//! Commands go over one multiplexed connection that is made again when it breaks; every call ends within
//! [`CALL_DEADLINE`], also when the server is there but silent. Signals come over a second connection, which one task
//! keeps subscribed. What must be one step is a script.

use super::{Added, CALL_DEADLINE, CHANNELS, CacheContext, CacheError, CachePort, Fence, Signal, Versioned};
use crate::{BoxError, retry::RetryPolicy};
use futures_util::StreamExt;
use redis::{
    Client, FromRedisValue, RedisResult, Script, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use std::{future::Future, sync::LazyLock, time::Duration};
use tokio::sync::broadcast;
use url::Url;

/// Signals that a slow listener may lag behind.
const SIGNALS: usize = 4_096;
/// Before every key, unless the URL says otherwise: installations may share a server.
const PREFIX: &str = "mediamill:";

/// A value is stored as `<version>:<bytes>`.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local old = redis.call('GET', KEYS[1])
         if old then
           local version = tonumber(string.match(old, '^(-?%d+):'))
           if version and version >= tonumber(ARGV[1]) then return 0 end
         end
         redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'PX', ARGV[3])
         return 1",
    )
});

/// 0: absent; 1: added; 2: over. Then the value. KEEPTTL: additions do not prolong a counter's life.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local old = redis.call('GET', KEYS[1])
         if not old then return {0, '0'} end
         local delta = tonumber(ARGV[1])
         if ARGV[2] ~= '' and delta > 0 and tonumber(old) + delta > tonumber(ARGV[2]) then return {2, old} end
         local new = redis.call('INCRBY', KEYS[1], ARGV[1])
         if new < 0 then
           redis.call('SET', KEYS[1], '0', 'KEEPTTL')
           new = 0
         end
         return {1, tostring(new)}",
    )
});

/// The fence is at least the server's time in milliseconds, so that it grows although everything was forgotten.
static ACQUIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local owner = redis.call('GET', KEYS[1])
         if owner and owner ~= ARGV[1] then return false end
         local fence = redis.call('GET', KEYS[2])
         if not owner or not fence then
           local time = redis.call('TIME')
           local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
           fence = math.max(tonumber(fence or '0') + 1, now)
           redis.call('SET', KEYS[2], string.format('%.0f', fence))
         end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
         return string.format('%.0f', tonumber(fence))",
    )
});

static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1")
});

/// A cache in Redis. Cloning shares its connections.
#[derive(Clone)]
pub struct RedisCache {
    connection: ConnectionManager,
    prefix: String,
    deadline: Duration,
    signals: broadcast::Sender<Signal>,
}

impl std::fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCache")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// What a URL says.
struct Settings {
    /// The server's, without our own parameters.
    server: Url,
    /// Of all keys.
    prefix: String,
    /// File of root certificates.
    ca: Option<String>,
    /// No call takes longer.
    deadline: Duration,
}

fn settings(url: &Url) -> Result<Settings, String> {
    let mut server = url.clone();
    let (mut prefix, mut ca, mut deadline) = (PREFIX.to_owned(), None, CALL_DEADLINE);
    let mut theirs: Vec<(String, String)> = Vec::new();
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "prefix" => prefix = value.into_owned(),
            "ca" => ca = Some(value.into_owned()),
            "protocol" => theirs.push((name.into_owned(), value.into_owned())),
            "timeout_ms" => {
                let known = value.parse().ok().filter(|millis| (1..=60_000).contains(millis));
                let millis = known.ok_or_else(|| format!("timeout_ms={value}: it is from 1 to 60000"))?;
                deadline = Duration::from_millis(millis);
            }
            other => {
                return Err(format!(
                    "unknown parameter {other:?}; known: prefix, ca, protocol, timeout_ms"
                ));
            }
        }
    }
    server.set_query(None);
    if !theirs.is_empty() {
        server.query_pairs_mut().extend_pairs(theirs);
    }
    Ok(Settings {
        server,
        prefix,
        ca,
        deadline,
    })
}

impl RedisCache {
    /// A cache at `redis://[user:password@]host:port/db[?prefix=…]`, `rediss` for TLS, `ca=/file.pem` to trust only
    /// those roots, `timeout_ms=` 1 to 60,000 in the place of [`CALL_DEADLINE`]. Connects when first used: a server that is away is no error.
    ///
    /// # Errors
    /// When the URL is none, or the file of certificates cannot be read.
    pub async fn open(url: &Url, context: CacheContext) -> Result<Self, CacheError> {
        crate::db::install_crypto();
        let refuse = |problem: String| CacheError::Url {
            url: crate::config::redacted(url),
            problem,
        };
        let Settings {
            server,
            prefix,
            ca,
            deadline,
        } = settings(url).map_err(refuse)?;
        let client = match ca {
            None => Client::open(server.as_str()),
            Some(path) => {
                let root = tokio::fs::read(&path)
                    .await
                    .map_err(|error| refuse(format!("{path} cannot be read: {error}")))?;
                Client::build_with_tls(
                    server.as_str(),
                    TlsCertificates {
                        client_tls: None,
                        root_cert: Some(root),
                    },
                )
            }
        }
        .map_err(|error| refuse(error.to_string()))?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_connection_timeout(Some(deadline))
            .set_response_timeout(Some(deadline));
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)
            .map_err(|error| refuse(error.to_string()))?;
        let signals = broadcast::channel(SIGNALS).0;
        let shutdown = context.shutdown.clone();
        let ear = keep_listening(client, context, prefix.clone(), signals.clone());
        // Listening ends with the process: waiting requests may still want to hear.
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            tokio::select! { () = ear => {}, () = stop.soft() => {} }
        });
        Ok(Self {
            connection,
            prefix,
            deadline,
            signals,
        })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, CacheError> {
        let failed = |source: BoxError| CacheError::Unavailable { operation, source };
        match tokio::time::timeout(self.deadline, call).await {
            Ok(result) => result.map_err(|error| failed(error.into())),
            Err(late) => Err(failed(late.into())),
        }
    }

    async fn command<T: FromRedisValue>(&self, operation: &'static str, command: &redis::Cmd) -> Result<T, CacheError> {
        let mut connection = self.connection.clone();
        self.call(operation, async { command.query_async(&mut connection).await })
            .await
    }
}

/// Subscribes, passes signals on, and begins anew when the connection ends.
async fn keep_listening(client: Client, context: CacheContext, prefix: String, signals: broadcast::Sender<Signal>) {
    let mut failures = 0_u32;
    loop {
        let result: RedisResult<()> = async {
            let mut ear = tokio::time::timeout(Duration::from_secs(2), client.get_async_pubsub())
                .await
                .map_err(|_| redis::RedisError::from((redis::ErrorKind::Io, "no connection in time")))??;
            for channel in CHANNELS {
                ear.subscribe(format!("{prefix}{channel}")).await?;
            }
            if failures > 0 {
                tracing::info!("hearing signals again");
            }
            failures = 0;
            let mut messages = ear.into_on_message();
            while let Some(message) = messages.next().await {
                let name = message.get_channel_name().to_owned();
                let channel = CHANNELS
                    .iter()
                    .find(|channel| name.strip_prefix(&prefix) == Some(**channel));
                if let (Some(channel), Ok(message)) = (channel, message.get_payload::<String>()) {
                    // An error says that nobody listens.
                    let _ = signals.send(Signal { channel, message });
                }
            }
            Ok(())
        }
        .await;
        failures = failures.saturating_add(1);
        if failures == 1 {
            let cause = result
                .err()
                .map_or_else(|| "the connection ended".to_owned(), |error| error.to_string());
            tracing::warn!(cause, "not hearing signals: answers wait for the next look");
        }
        let delay = RetryPolicy::RECONNECT.delay_after(failures, context.entropy.fraction());
        context.clock.sleep(delay.unwrap_or(RetryPolicy::RECONNECT.max)).await;
    }
}

impl CachePort for RedisCache {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, CacheError> {
        let found: Option<Vec<u8>> = self.command("get", redis::cmd("GET").arg(self.key(key))).await?;
        // What is not of this shape is not ours: as good as nothing.
        Ok(found.and_then(|bytes| {
            let colon = bytes.iter().position(|byte| *byte == b':')?;
            let version = std::str::from_utf8(bytes.get(..colon)?).ok()?.parse().ok()?;
            Some(Versioned {
                version,
                value: bytes.get(colon + 1..)?.to_vec(),
            })
        }))
    }

    async fn put(&self, key: &str, value: &Versioned, ttl: Duration) -> Result<bool, CacheError> {
        let mut connection = self.connection.clone();
        let mut script = PUT.prepare_invoke();
        script
            .key(self.key(key))
            .arg(value.version)
            .arg(value.value.as_slice())
            .arg(millis(ttl));
        self.call("put", script.invoke_async(&mut connection)).await
    }

    async fn remove(&self, key: &str) -> Result<(), CacheError> {
        self.command("remove", redis::cmd("DEL").arg(self.key(key))).await
    }

    async fn add_within(&self, key: &str, delta: i64, ceiling: Option<i64>) -> Result<Added, CacheError> {
        let mut connection = self.connection.clone();
        let mut script = ADD.prepare_invoke();
        let ceiling = ceiling.map_or_else(String::new, |ceiling| ceiling.to_string());
        script.key(self.key(key)).arg(delta).arg(ceiling);
        let (outcome, value): (i64, String) = self.call("add", script.invoke_async(&mut connection)).await?;
        let value = value.parse().unwrap_or(0);
        Ok(match outcome {
            0 => Added::Absent,
            1 => Added::Now(value),
            _ => Added::Over(value),
        })
    }

    async fn seed(&self, key: &str, value: i64, ttl: Duration) -> Result<bool, CacheError> {
        let mut command = redis::cmd("SET");
        command
            .arg(self.key(key))
            .arg(value.max(0))
            .arg("NX")
            .arg("PX")
            .arg(millis(ttl));
        let set: Option<String> = self.command("seed", &command).await?;
        Ok(set.is_some())
    }

    async fn acquire(&self, name: &str, owner: &str, ttl: Duration) -> Result<Option<Fence>, CacheError> {
        let mut connection = self.connection.clone();
        let mut script = ACQUIRE.prepare_invoke();
        script
            .key(self.key(&format!("lease:{name}")))
            .key(self.key(&format!("fence:{name}")))
            .arg(owner)
            .arg(millis(ttl));
        let fence: Option<String> = self.call("acquire", script.invoke_async(&mut connection)).await?;
        Ok(fence.and_then(|fence| fence.parse().ok()).map(Fence))
    }

    async fn release(&self, name: &str, owner: &str) -> Result<(), CacheError> {
        let mut connection = self.connection.clone();
        let mut script = RELEASE.prepare_invoke();
        script.key(self.key(&format!("lease:{name}"))).arg(owner);
        self.call::<()>("release", script.invoke_async(&mut connection)).await
    }

    async fn signal(&self, channel: &'static str, messages: &[String]) -> Result<(), CacheError> {
        let mut connection = self.connection.clone();
        let mut pipeline = redis::pipe();
        for message in messages {
            pipeline.cmd("PUBLISH").arg(self.key(channel)).arg(message).ignore();
        }
        self.call("signal", async { pipeline.query_async(&mut connection).await })
            .await
    }

    fn listen(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    async fn ping(&self) -> Result<(), CacheError> {
        self.command("ping", &redis::cmd("PING")).await
    }
}
