//! The SDK's client as we want it: deadlines everywhere, our clock, no environment, no surprises by default.

use super::{
    guarded::{Gate, GatedClient},
    settings::Settings,
};
use crate::{clock::Clock, fetch::Guard, units::ByteCount};
use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the store may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// For a connection.
    pub(super) connect: Duration,
    /// For an answer's beginning to a request without a body.
    pub(super) attempt: Duration,
    /// For nothing to move in a body.
    pub(super) stall: Duration,
}

/// Bytes a second that a connection must carry on the average of a request's body.
const SLOWEST: u64 = 128 * 1024;

/// Attempts at a request, the first included.
const ATTEMPTS: u32 = 3;

impl Deadlines {
    /// For production.
    pub(super) const PATIENT: Self = Self {
        connect: Duration::from_secs(3),
        attempt: Duration::from_secs(10),
        stall: Duration::from_secs(10),
    };

    /// For a request whose body has `bytes`: for each attempt and for all of them, the pauses between included.
    pub(super) fn timeouts(self, bytes: ByteCount) -> TimeoutConfig {
        let attempt = self.attempt + Duration::from_secs(bytes.unsigned() / SLOWEST);
        TimeoutConfig::builder()
            .connect_timeout(self.connect)
            .operation_attempt_timeout(attempt)
            .operation_timeout(attempt.saturating_mul(ATTEMPTS))
            .build()
    }
}

/// A client; with a `guard`, one that connects to what that lets through.
pub(super) fn build(settings: &Settings, guard: Option<&Guard>, clock: &Clock, deadlines: Deadlines) -> Client {
    let mut config = Config::builder();
    config.set_endpoint_url(settings.endpoint.as_ref().map(ToString::to_string));
    let config = config
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(settings.credentials.clone())
        .force_path_style(settings.path_style)
        .http_client(match guard {
            None => http_client(settings),
            Some(guard) => guarded_client(settings, guard),
        })
        .time_source(Time(clock.clone()))
        .timeout_config(deadlines.timeouts(ByteCount::ZERO))
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(ATTEMPTS)
                .with_initial_backoff(Duration::from_millis(200))
                .with_max_backoff(Duration::from_secs(2)),
        )
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(deadlines.stall)
                .build(),
        )
        // A checksum of the SDK's own would be a trailer, which not every server takes. The signature has the SHA-256.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenSupported)
        .build();
    Client::from_conf(config)
}

fn is_plain(settings: &Settings) -> bool {
    let endpoint = settings.endpoint.as_ref();
    endpoint.is_some_and(|endpoint| endpoint.scheme() == "http")
}

fn http_client(settings: &Settings) -> SharedHttpClient {
    if is_plain(settings) {
        return Builder::new().build_http();
    }
    let secure = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    match roots(settings) {
        None => secure.build_https(),
        Some(context) => secure.tls_context(context).build_https(),
    }
}

/// The same without TLS too: the SDK has no other client that takes a resolver.
fn guarded_client(settings: &Settings, guard: &Guard) -> SharedHttpClient {
    let gate = Gate::new(guard.clone(), !is_plain(settings));
    let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    let client = match roots(settings) {
        None => client,
        Some(context) => client.tls_context(context),
    };
    SharedHttpClient::new(GatedClient::new(client.build_with_resolver(gate.clone()), gate))
}

/// Who is trusted, where it is not the system's roots: nobody, where nobody is verified.
fn roots(settings: &Settings) -> Option<TlsContext> {
    let roots = match &settings.ca {
        Some(pem) => TrustStore::empty().with_pem_certificate(pem.clone()),
        None if is_plain(settings) => TrustStore::empty(),
        None => return None,
    };
    // Building only puts the parts together. Were it to fail, no server would be trusted by ours: say so.
    let context = TlsContext::builder().with_trust_store(roots).build();
    let told = context.inspect_err(|error| tracing::error!(error = %error, "the ca of an objects url is not used"));
    told.ok()
}

/// The injected clock, for signatures.
#[derive(Debug)]
struct Time(Clock);

impl TimeSource for Time {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.0.now().get()).unwrap_or(0))
    }
}
