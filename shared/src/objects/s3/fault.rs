//! What an S3 error means for the caller.

use super::guarded;
use crate::objects::{ObjectError, ObjectKey, Subject};
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use std::error::Error;

/// A kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Missing,
    Range,
    Full,
    Refused,
    Unavailable,
}

pub(super) fn meaning<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Meaning {
    match error {
        SdkError::ServiceError(answer) => classify(
            answer.raw().status().as_u16(),
            answer.err().code().unwrap_or_default(),
            answer.err().message().unwrap_or_default(),
        ),
        SdkError::ConstructionFailure(_) => Meaning::Refused,
        // Timeouts, connections, unreadable answers, and what later releases add.
        _ => Meaning::Unavailable,
    }
}

/// From the status, the code and the message; answers to HEAD have a status only.
fn classify(status: u16, code: &str, message: &str) -> Meaning {
    match (status, code) {
        (_, "NoSuchKey" | "NotFound") | (404, "") => Meaning::Missing,
        (416, _) | (_, "InvalidRange") => Meaning::Range,
        // Garage has no code for a bucket that is full, and answers 403.
        (507, _) => Meaning::Full,
        _ if [code, message].iter().any(|text| speaks_of_space(text)) => Meaning::Full,
        // The body or a part of it did not arrive as it was sent, or somebody ended the upload: once more, from the start.
        (
            _,
            "BadDigest"
            | "IncompleteBody"
            | "InvalidDigest"
            | "InvalidPart"
            | "NoSuchUpload"
            | "RequestTimeout"
            | "XAmzContentSHA256Mismatch",
        )
        | (408 | 409 | 425 | 429, _) => Meaning::Unavailable,
        (501 | 505, _) => Meaning::Refused,
        (500.., _) => Meaning::Unavailable,
        _ => Meaning::Refused,
    }
}

fn speaks_of_space(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [
        "quota",
        "storagefull",
        "insufficientstorage",
        "insufficientcapacity",
        "no space left",
    ]
    .iter()
    .any(|word| text.contains(word))
}

/// An error of the SDK as one of ours.
pub(super) fn fault<E>(subject: Subject, operation: &'static str, error: SdkError<E, HttpResponse>) -> ObjectError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if let Some(refused) = guarded::refused(&error) {
        return ObjectError::Address(refused);
    }
    let meaning = meaning(&error);
    let source = Box::new(error);
    match meaning {
        Meaning::Full => ObjectError::Full { subject, source },
        // Who expects a missing object asks for it; here it is the bucket, or an upload that is gone.
        Meaning::Refused | Meaning::Missing => ObjectError::Refused {
            subject,
            operation,
            source,
        },
        Meaning::Range | Meaning::Unavailable => ObjectError::Unavailable {
            subject,
            operation,
            source,
        },
    }
}

/// A failure on our own side that should not be.
pub(super) fn odd(key: &ObjectKey, operation: &'static str, error: impl Error + Send + Sync + 'static) -> ObjectError {
    ObjectError::Unavailable {
        subject: key.into(),
        operation,
        source: error.into(),
    }
}

/// An answer that breaks the protocol.
pub(super) fn wrong(subject: Subject, operation: &'static str, problem: &str) -> ObjectError {
    ObjectError::Unavailable {
        subject,
        operation,
        source: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_several_makers_are_told_apart() {
        for (status, code, message, meaning) in [
            (404, "NoSuchKey", "", Meaning::Missing),
            (404, "", "", Meaning::Missing),
            (404, "NoSuchBucket", "", Meaning::Refused),
            (403, "SignatureDoesNotMatch", "", Meaning::Refused),
            (403, "", "", Meaning::Refused),
            (301, "PermanentRedirect", "", Meaning::Refused),
            (400, "ExpiredToken", "", Meaning::Refused),
            (501, "NotImplemented", "", Meaning::Refused),
            (416, "InvalidRange", "", Meaning::Range),
            (507, "XMinioStorageFull", "", Meaning::Full),
            (
                403,
                "AccessDenied",
                "Forbidden: Object size quota is reached",
                Meaning::Full,
            ),
            (400, "XAmzContentSHA256Mismatch", "", Meaning::Unavailable),
            (404, "NoSuchUpload", "", Meaning::Unavailable),
            (503, "SlowDown", "", Meaning::Unavailable),
            (500, "InternalError", "", Meaning::Unavailable),
            (429, "TooManyRequests", "", Meaning::Unavailable),
        ] {
            assert_eq!(classify(status, code, message), meaning, "{status} {code}");
        }
    }
}
