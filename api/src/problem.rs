//! Failures as problem documents, RFC 9457: a stable type for every cause.

use crate::routes::views::rfc3339;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    db::DbError,
    objects::ObjectError,
    placement::{AdmitError, ReadError},
    quota::{OverQuota, OverRate, RateError, ReserveError},
    telemetry::names,
    tenancy::{Frozen, Limit, Reason, ResolveError},
};
use serde_json::{Map, Value, json};

/// The member that says it in seconds; the header follows it.
const RETRY_AFTER: &str = "retry_after";

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $status:ident;)+) => {
        /// Every cause that this API answers with. A cause never changes its code or status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Cause { $($(#[doc = $doc])+ $variant),+ }

        impl Cause {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The last segment of the problem's type.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> StatusCode {
                // The tus protocol's own, which no registry has.
                if self == Self::ChecksumMismatch
                    && let Ok(own) = StatusCode::from_u16(460)
                {
                    return own;
                }
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            /// What it means.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim()),+ }
            }
        }
    };
}

causes! {
    /// The request cannot be understood.
    BadRequest = "bad-request", BAD_REQUEST;
    /// The upload has no bytes.
    EmptyUpload = "empty-upload", BAD_REQUEST;
    /// The request has no API key.
    MissingKey = "missing-key", UNAUTHORIZED;
    /// The API key opens nothing here.
    WrongKey = "wrong-key", UNAUTHORIZED;
    /// A request to the Tenants API must be signed, and this one is not.
    MissingSignature = "missing-signature", UNAUTHORIZED;
    /// The signature is not one over this request, or its time is too far from ours.
    WrongSignature = "wrong-signature", UNAUTHORIZED;
    /// This very request was sent before: every one needs a nonce of its own.
    RequestReplayed = "request-replayed", UNAUTHORIZED;
    /// The Tenants API is not for this address.
    AddressNotAllowed = "address-not-allowed", FORBIDDEN;
    /// The link's signature is of none of this site's link keys.
    WrongLink = "wrong-link", FORBIDDEN;
    /// The key is right, but does not allow this.
    MissingScope = "missing-scope", FORBIDDEN;
    /// There is no storage to put it in.
    NoStorage = "no-storage", FORBIDDEN;
    /// The provider has this switched off, for the tenant or for all.
    SwitchedOff = "switched-off", FORBIDDEN;
    /// The tenant is not served at the moment.
    TenantSuspended = "tenant-suspended", FORBIDDEN;
    /// A limit of the tenant is used up.
    OverQuota = "over-quota", FORBIDDEN;
    /// The tenant has not fitted its limits for longer than its grace: uploads are refused until it does; reads and deletes go on.
    Frozen = "frozen", FORBIDDEN;
    /// Nobody is served at this host name.
    UnknownHost = "unknown-host", NOT_FOUND;
    /// There is no such thing here.
    NotFound = "not-found", NOT_FOUND;
    /// The thing is there, but not by this method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED;
    /// The batch is in a state that does not allow this.
    BatchState = "batch-state", CONFLICT;
    /// The body did not arrive in time.
    BodyTimeout = "body-timeout", REQUEST_TIMEOUT;
    /// Something that is there already, or its state, does not allow this.
    Conflict = "conflict", CONFLICT;
    /// The storage does not work; `steps` says what is wrong.
    StorageBroken = "storage-broken", UNPROCESSABLE_ENTITY;
    /// The storage's endpoint is not known, or not at an address that a tenant's storage may be at; nothing was sent there.
    StorageAddressRefused = "storage-address-refused", UNPROCESSABLE_ENTITY;
    /// It has changed since the version that the request names.
    VersionChanged = "version-changed", PRECONDITION_FAILED;
    /// The body is longer than this route takes.
    BodyTooLong = "body-too-long", PAYLOAD_TOO_LARGE;
    /// The upload is larger than the tenant may send.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE;
    /// The upload is no picture of a format that is taken.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE;
    /// The range begins past the end.
    RangeNotSatisfiable = "range-not-satisfiable", RANGE_NOT_SATISFIABLE;
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY;
    /// The upload was accepted, but no picture could be made of it.
    MediaFailed = "media-failed", UNPROCESSABLE_ENTITY;
    /// A limit of the tenant that counts by the hour or the month is used up until the next one begins.
    RateLimited = "rate-limited", TOO_MANY_REQUESTS;
    /// Too many wrong keys came from this address: wait.
    TooManyWrongKeys = "too-many-wrong-keys", TOO_MANY_REQUESTS;
    /// The tenant had its storages tried too often in the last minute, or has one tried right now: wait.
    TooManyTrials = "too-many-trials", TOO_MANY_REQUESTS;
    /// Another version of the tus protocol is spoken here: see `Tus-Version`.
    ProtocolVersion = "protocol-version", PRECONDITION_FAILED;
    /// The upload is elsewhere than `Upload-Offset` says: ask where.
    OffsetMismatch = "offset-mismatch", CONFLICT;
    /// The body is not of the type that this request takes.
    WrongContentType = "wrong-content-type", UNSUPPORTED_MEDIA_TYPE;
    /// The bytes are others than `Upload-Checksum` says; none of them is kept.
    ChecksumMismatch = "checksum-mismatch", BAD_REQUEST;
    /// A final upload is made of its parts, and takes no bytes of its own.
    UploadIsFinal = "upload-is-final", FORBIDDEN;
    /// The upload was given up, refused, or its time is over: begin another.
    UploadGone = "upload-gone", GONE;
    /// The upload is being finished: ask again in a moment.
    UploadBusy = "upload-busy", LOCKED;
    /// The upload's bytes are not in the store yet.
    UploadIncomplete = "upload-incomplete", CONFLICT;
    /// What arrived is not what was announced.
    UploadMismatch = "upload-mismatch", UNPROCESSABLE_ENTITY;
    /// The tenant has as many unfinished uploads as it may: finish or end some first.
    TooManyUploads = "too-many-uploads", TOO_MANY_REQUESTS;
    /// Something went wrong here; the trace id finds it in the logs.
    Internal = "internal", INTERNAL_SERVER_ERROR;
    /// A part that is needed does not answer: try again.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE;
}

/// A failure, as it is answered.
#[derive(Debug, Clone)]
pub struct Problem {
    cause: Cause,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    /// A failure by `cause`; `detail` is for people.
    #[must_use]
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            cause,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    /// The tenant's limit `toggle` is off, and with it `what`.
    pub(crate) fn switched_off(toggle: Limit, what: &str) -> Self {
        let name = toggle.as_str();
        let detail = format!("the provider has switched {what} off for this tenant ({name})");
        Self::new(Cause::SwitchedOff, detail).with("limit_name", name)
    }

    /// What is answered where there is nothing.
    pub(crate) fn no_route() -> Self {
        Self::new(Cause::NotFound, "there is no such route; /docs shows what there is")
    }

    /// The same with a member of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The cause.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// What happened, for people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Something is away. What, stands in the log and not in the answer.
    pub(crate) fn unavailable(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::warn!(error, "{what}");
        Self::new(
            Cause::Unavailable,
            "a part that is needed does not answer; try again in a moment",
        )
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        if error.is_transient() {
            return Self::unavailable("answering 503: the database failed", &error);
        }
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "answering 500: the database refused a statement"
        );
        Self::new(Cause::Internal, "something went wrong here")
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        Self::unavailable("answering 503: the tenant could not be looked up", &error)
    }
}

impl From<ObjectError> for Problem {
    fn from(error: ObjectError) -> Self {
        match &error {
            ObjectError::Missing { .. } => Self::new(Cause::NotFound, "the file is not there"),
            ObjectError::TooLong { limit, .. } => {
                Self::new(Cause::TooLarge, format!("an upload may have {limit}")).with("limit", limit.get())
            }
            ObjectError::Body { .. } => Self::new(Cause::BadRequest, "the body broke off"),
            ObjectError::Range { size, .. } => {
                Self::new(Cause::RangeNotSatisfiable, format!("the file has {} bytes", size.get()))
            }
            ObjectError::Full { .. }
            | ObjectError::Refused { .. }
            | ObjectError::Unavailable { .. }
            | ObjectError::Address(_)
            | ObjectError::Url { .. } => Self::unavailable("answering 503: the object store failed", &error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Objects(error) => error.into(),
            ReadError::Db(error) => error.into(),
        }
    }
}

impl From<AdmitError> for Problem {
    fn from(error: AdmitError) -> Self {
        let detail = error.to_string();
        match error {
            AdmitError::TooFewActive { active, least } => Self::new(Cause::NoStorage, detail)
                .with("limit_name", Limit::MinActiveStorages.as_str())
                .with("limit", least)
                .with("used", active),
            AdmitError::Nowhere => Self::new(Cause::NoStorage, detail).with("limit_name", Limit::LocalStorage.as_str()),
            AdmitError::Db(error) => error.into(),
        }
    }
}

impl From<&Frozen> for Problem {
    fn from(frozen: &Frozen) -> Self {
        let (reason, used, allowed) = (&frozen.reason, frozen.used, frozen.allowed);
        let (since, freeze_at) = (rfc3339(frozen.since), rfc3339(frozen.freeze_at));
        let what = if *reason == Reason::Trial.as_str() {
            format!("the trial has been over since {since}")
        } else {
            format!("{reason} is at {used} where the limit is {allowed}, since {since}")
        };
        let detail = format!("uploads are frozen: {what}, and the grace for it was over at {freeze_at}");
        Self::new(Cause::Frozen, detail)
            .with("limit_name", reason.as_str())
            .with("limit", allowed)
            .with("used", used)
            .with("since", since)
            .with("freeze_at", freeze_at)
    }
}

impl From<OverQuota> for Problem {
    fn from(over: OverQuota) -> Self {
        Self::new(Cause::OverQuota, over.to_string())
            .with("limit_name", over.resource.as_str())
            .with("limit", over.limit)
            .with("used", over.used)
            .with("asked", over.asked)
    }
}

impl From<ReserveError> for Problem {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Over(over) => over.into(),
            ReserveError::Db(error) => error.into(),
        }
    }
}

impl From<OverRate> for Problem {
    fn from(over: OverRate) -> Self {
        let standing = over.standing;
        metrics::counter!(names::RATE_REFUSALS, "limit" => standing.resource.as_str()).increment(1);
        Self::new(Cause::RateLimited, over.to_string())
            .with("limit_name", standing.resource.as_str())
            .with("limit", standing.limit)
            .with("used", standing.used)
            .with("asked", over.asked)
            .with("resets_at", rfc3339(standing.period.end))
            .with(RETRY_AFTER, over.retry_after)
    }
}

impl From<RateError> for Problem {
    fn from(error: RateError) -> Self {
        match error {
            RateError::Over(over) => over.into(),
            RateError::Db(error) => error.into(),
        }
    }
}

/// A problem's members, beside its answer.
#[derive(Clone)]
struct Document(Map<String, Value>);

/// The same answer; where it is a problem, with what clients of Chevereto's API v1 look for in an error.
pub(crate) fn enveloped(mut response: Response) -> Response {
    let Some(Document(mut body)) = response.extensions_mut().remove() else {
        return response;
    };
    let status = response.status();
    let message = body.get("detail").cloned().unwrap_or_default();
    body.insert("status_code".into(), status.as_u16().into());
    body.insert("error".into(), json!({ "message": message, "code": status.as_u16() }));
    body.insert(
        "status_txt".into(),
        status.canonical_reason().unwrap_or_default().into(),
    );
    *response.body_mut() = Value::Object(body).to_string().into();
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.cause.status();
        let mut body = Map::new();
        body.insert("type".into(), format!("/problems/{}", self.cause.code()).into());
        body.insert("title".into(), self.cause.title().into());
        body.insert("status".into(), status.as_u16().into());
        body.insert("detail".into(), self.detail.into());
        let retry_after = self.more.get(RETRY_AFTER).and_then(Value::as_u64);
        body.extend(self.more);
        let mut response = (status, Json(Value::Object(body.clone()))).into_response();
        response.extensions_mut().insert(Document(body));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.cause {
            Cause::MissingKey | Cause::WrongKey => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Cause::Unavailable | Cause::UploadBusy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            Cause::RateLimited => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.unwrap_or(1)));
            }
            // As long as they are counted.
            Cause::TooManyWrongKeys | Cause::TooManyTrials => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
            }
            _ => {}
        }
        response
    }
}
