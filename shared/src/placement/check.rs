//! Whether a storage really works: everything that is ever asked of it, asked once, before anybody's files are in it.

use super::{Delivery, StorageSettings};
use crate::{
    chain,
    clock::{Clock, Entropy},
    ids::JobId,
    objects::{Body, ObjectError, ObjectKey, Objects, Store, s3::PART},
    units::ByteCount,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Serialize, Serializer};
use std::{fmt, time::Duration};

crate::jobs::names!(
    /// What is asked of a storage.
    CheckStep, "check" {
        /// It answers, and the bucket or directory is there.
        Reach = "reach",
        /// An object is written.
        Write = "write",
        /// One of more than 8 MiB is written, in parts.
        WriteParts = "write-parts",
        /// One that was begun in parts is given up.
        AbortParts = "abort-parts",
        /// Its size is told.
        Stat = "stat",
        /// It is read, and is what was written.
        Read = "read",
        /// A part of it is read.
        ReadRange = "read-range",
        /// It is in the listing.
        List = "list",
        /// An address of it is signed.
        Presign = "presign",
        /// It is removed, and gone.
        Delete = "delete",
        /// All of this is done within two minutes; told where it is not.
        InTime = "in-time",
    }
);

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The step.
    pub step: CheckStep,
    /// What is wrong, and what to do about it. `None`: all is well.
    pub problem: Option<Trouble>,
}

/// What is wrong with a storage, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    words: String,
    /// Nothing was connected to: a tenant chose where it is, and that is nowhere that may be.
    refused: bool,
}

impl Trouble {
    /// Whether it is at no address that a tenant's storage may be at.
    #[must_use]
    pub const fn is_address(&self) -> bool {
        self.refused
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Serialize for Trouble {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.words)
    }
}

impl From<String> for Trouble {
    fn from(words: String) -> Self {
        Self { words, refused: false }
    }
}

impl From<&str> for Trouble {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

impl From<ObjectError> for Trouble {
    fn from(error: ObjectError) -> Self {
        Self {
            words: advice(&error),
            refused: matches!(error, ObjectError::Address(_)),
        }
    }
}

/// More than one part.
const LARGE: usize = PART + 1;

/// Longest that all of it takes: a storage that answers always late, and never too late for one request, is none.
const LONGEST: Duration = Duration::from_secs(120);

/// Asks everything of a storage. Steps that need one that failed are left out; what was written is removed all the same, unless it
/// took too long.
pub(super) async fn check(
    objects: &Objects,
    settings: &StorageSettings,
    clock: &Clock,
    entropy: &Entropy,
) -> Vec<Finding> {
    let mut findings = Findings::default();
    let asked = tokio::time::timeout(LONGEST, ask(&mut findings, objects, settings, clock, entropy)).await;
    if asked.is_err() {
        let words = format!("it took more than {} s", LONGEST.as_secs());
        findings.judge(CheckStep::InTime, Err(words.into()));
    }
    findings.0
}

async fn ask(findings: &mut Findings, objects: &Objects, settings: &StorageSettings, clock: &Clock, entropy: &Entropy) {
    if !findings.judge(CheckStep::Reach, reach(objects).await) {
        return;
    }
    // Ids are no path: the key is one.
    let name = JobId::generate(clock, entropy);
    let (Ok(small), Ok(large)) = (format!("check/{name}.s").parse(), format!("check/{name}.l").parse()) else {
        return;
    };
    let mut bytes = vec![0; 1_000];
    entropy.fill(&mut bytes);
    let bytes = Bytes::from(bytes);
    let put = objects.put(&small, bytes.clone(), "application/octet-stream").await;
    if findings.judge(CheckStep::Write, put.map(drop).map_err(Trouble::from)) {
        let mut written = vec![&small];
        if findings.judge(CheckStep::WriteParts, write_large(objects, &large).await) {
            written.push(&large);
            findings.judge(
                CheckStep::AbortParts,
                objects.give_up(&large).await.map_err(Trouble::from),
            );
        }
        findings.judge(CheckStep::Stat, stat(objects, &small, bytes.len()).await);
        findings.judge(CheckStep::Read, read(objects, &small, None, &bytes).await);
        let part = bytes.slice(100..300);
        findings.judge(CheckStep::ReadRange, read(objects, &small, Some(100..300), &part).await);
        findings.judge(CheckStep::List, listed(objects, &written).await);
        if settings.delivery() == Delivery::Presign {
            findings.judge(CheckStep::Presign, presigned(objects, &small).await);
        }
    }
    findings.judge(CheckStep::Delete, deleted(objects, &small, &large).await);
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn judge(&mut self, step: CheckStep, result: Result<(), Trouble>) -> bool {
        let well = result.is_ok();
        self.0.push(Finding {
            step,
            problem: result.err(),
        });
        well
    }
}

async fn reach(objects: &Objects) -> Result<(), Trouble> {
    let Err(error) = objects.ping().await else {
        return Ok(());
    };
    // What is asked about a bucket has no body to say why not; a listing has.
    Err(objects.list("check", None, 1).await.err().unwrap_or(error).into())
}

async fn write_large(objects: &Objects, key: &ObjectKey) -> Result<(), Trouble> {
    let chunks = stream::iter([Ok(Bytes::from(vec![7; LARGE]))]);
    let body: Body = chunks.boxed();
    objects.put_stream(key, body, ByteCount::of(LARGE)).await?;
    Ok(())
}

async fn stat(objects: &Objects, key: &ObjectKey, bytes: usize) -> Result<(), Trouble> {
    match objects.stat(key).await? {
        Some(stat) if stat.bytes == ByteCount::of(bytes) => Ok(()),
        Some(stat) => Err(format!("it tells {} of an object of {bytes} bytes", stat.bytes).into()),
        None => Err("it does not know an object that was just written".into()),
    }
}

async fn read(
    objects: &Objects,
    key: &ObjectKey,
    range: Option<std::ops::Range<u64>>,
    expected: &Bytes,
) -> Result<(), Trouble> {
    let mut body = objects.get(key, range).await?.body;
    let mut read = Vec::with_capacity(expected.len());
    // No more of it: what it sends is not to be believed yet.
    while read.len() <= expected.len()
        && let Some(chunk) = body.try_next().await?
    {
        read.extend_from_slice(&chunk);
    }
    if read == **expected {
        Ok(())
    } else {
        Err("it gives other bytes than were written".into())
    }
}

async fn listed(objects: &Objects, written: &[&ObjectKey]) -> Result<(), Trouble> {
    let page = objects.list("check", None, 1_000).await?;
    // Others check it at the same time: a full page may end before these.
    let there = |key: &ObjectKey| page.iter().any(|listed| listed.key == *key);
    if page.len() == 1_000 || written.iter().all(|key| there(key)) {
        Ok(())
    } else {
        Err("its listing leaves out an object that was just written".into())
    }
}

async fn presigned(objects: &Objects, key: &ObjectKey) -> Result<(), Trouble> {
    match objects.presign(key, Duration::from_secs(60)).await? {
        Some(_) => Ok(()),
        None => Err("it signs no addresses: choose another delivery".into()),
    }
}

async fn deleted(objects: &Objects, small: &ObjectKey, large: &ObjectKey) -> Result<(), Trouble> {
    for key in [small, large] {
        objects.delete(key).await?;
        if objects.stat(key).await?.is_some() {
            return Err(
                "an object that was removed is still there: does the bucket keep versions, or lock objects?".into(),
            );
        }
    }
    Ok(())
}

/// Codes of <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, and what to do about them.
const ADVICE: [(&str, &str); 9] = [
    (
        "RequestTimeTooSkewed",
        "the clocks of this machine and of the service differ by more than 15 minutes: set this one's",
    ),
    ("InvalidAccessKeyId", "the service does not know the access key"),
    (
        "SignatureDoesNotMatch",
        "the secret key is not the access key's, or the region is another one",
    ),
    ("AuthorizationHeaderMalformed", "the region is another one"),
    (
        "PermanentRedirect",
        "the bucket is in another region, or needs the other addressing style",
    ),
    ("NoSuchBucket", "there is no such bucket"),
    (
        "AccessDenied",
        "the key has not the right to do it: it needs GetObject, PutObject, DeleteObject, AbortMultipartUpload and ListBucket",
    ),
    ("dns error", "the endpoint's name is not known"),
    ("Connection refused", "nobody listens at the endpoint"),
];

/// What a store said, and what to do about it.
fn advice(error: &ObjectError) -> String {
    let said = chain(error);
    let known = ADVICE.iter().find(|(code, _)| said.contains(code));
    known.map_or_else(|| said.clone(), |(_, advice)| format!("{advice} ({said})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::s3::S3Server;
    use std::net::SocketAddr;
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
        task::JoinSet,
    };

    /// A service that answers everything with `code`.
    async fn service(code: &'static str, tasks: &mut JoinSet<()>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let (mut first, mut line) = (String::new(), String::new());
                stream.read_line(&mut first).await.unwrap();
                while line != "\r\n" {
                    line.clear();
                    if stream.read_line(&mut line).await.unwrap() == 0 {
                        break;
                    }
                }
                let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                let answer = if first.starts_with("HEAD ") { head } else { head + &body };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn what_a_service_refuses_is_told_in_words() {
        let (clock, entropy, mut tasks) = (Clock::system(), Entropy::system(), JoinSet::new());
        let codes = ADVICE.iter().filter(|(code, _)| !code.contains(' '));
        for (code, words) in codes {
            let address = service(code, &mut tasks).await;
            let settings = format!(r#"{{"kind":"s3","bucket":"pictures","endpoint":"http://{address}"}}"#);
            let settings = StorageSettings::from_json(&settings).unwrap();
            let mut url = settings.to_url(None).unwrap();
            url.query_pairs_mut()
                .append_pair("access_key", "a")
                .append_pair("secret_key", "b");
            let objects = Objects::open(&url, clock.clone(), entropy.clone()).await.unwrap();
            let findings = check(&objects, &settings, &clock, &entropy).await;
            let [
                Finding {
                    step: CheckStep::Reach,
                    problem: Some(problem),
                },
            ] = findings.as_slice()
            else {
                panic!("{code}: {findings:?}")
            };
            assert!(problem.to_string().starts_with(words), "{code}: {problem}");
        }
    }

    #[tokio::test]
    async fn a_right_that_is_missing_is_told_by_what_needs_it() {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let server = S3Server::start().await.unwrap();
        let settings = server.settings_at("pictures", server.address()).unwrap();
        let url = settings.to_url(Some(&S3Server::credentials())).unwrap();
        let objects = Objects::open(&url, clock.clone(), entropy.clone()).await.unwrap();
        let failed = async |denied: &[&'static str]| {
            server.deny(denied);
            let findings = check(&objects, &settings, &clock, &entropy).await;
            let failed = findings.into_iter().filter_map(|finding| {
                let problem = finding.problem?.to_string();
                assert!(problem.contains("has not the right"), "{problem}");
                Some(finding.step)
            });
            failed.collect::<Vec<_>>()
        };
        assert_eq!(failed(&[]).await, []);
        for (operation, steps) in [
            ("PutObject", &[CheckStep::Write][..]),
            ("CreateMultipartUpload", &[CheckStep::WriteParts]),
            ("UploadPart", &[CheckStep::WriteParts]),
            ("CompleteMultipartUpload", &[CheckStep::WriteParts]),
            ("AbortMultipartUpload", &[CheckStep::AbortParts]),
            ("GetObject", &[CheckStep::Read, CheckStep::ReadRange]),
            ("ListObjectsV2", &[CheckStep::List]),
            ("DeleteObject", &[CheckStep::Delete]),
        ] {
            assert_eq!(failed(&[operation]).await, steps, "{operation}");
        }
    }
}
