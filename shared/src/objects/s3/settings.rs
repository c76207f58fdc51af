//! What an `s3:` URL says.

use crate::{
    config::redacted,
    objects::{ObjectError, ObjectKey},
};
use aws_sdk_s3::config::Credentials;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::collections::BTreeMap;
use url::Url;

const KNOWN: [&str; 8] = [
    "endpoint",
    "region",
    "access_key",
    "secret_key",
    "session_token",
    "path_style",
    "presign",
    "ca",
];

/// A bucket and how to reach it.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) bucket: String,
    /// Empty, or with one slash at its end.
    pub(super) prefix: String,
    pub(super) endpoint: Option<Url>,
    pub(super) region: String,
    pub(super) credentials: Credentials,
    pub(super) path_style: bool,
    pub(super) presign: bool,
    /// PEM certificates, all of them readable.
    pub(super) ca: Option<Vec<u8>>,
}

pub(super) fn read(url: &Url) -> Result<Settings, ObjectError> {
    parse(url, environment).map_err(|problem| ObjectError::Url {
        url: redacted(url),
        problem,
    })
}

fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the names that every S3 tool reads")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn parse(url: &Url, environment: impl Fn(&str) -> Option<String>) -> Result<Settings, String> {
    if url.port().is_some() || !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("the host is the bucket, all else is a parameter".into());
    }
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or("no bucket")?;
    let mut given = parameters(url)?;
    let endpoint = given.remove("endpoint").map(|text| endpoint(&text)).transpose()?;
    // A token goes with the key that it was given for: one of the environment is nothing to anybody else's service.
    let own_key = given.contains_key("access_key");
    let session_token = given.remove("session_token");
    let session_token = session_token.or_else(|| environment("AWS_SESSION_TOKEN").filter(|_| !own_key));
    let mut with_default = |parameter: &str, variable: &str| given.remove(parameter).or_else(|| environment(variable));
    let region = with_default("region", "AWS_REGION").unwrap_or_else(|| "us-east-1".into());
    let access_key = with_default("access_key", "AWS_ACCESS_KEY_ID").ok_or("no access_key, nor AWS_ACCESS_KEY_ID")?;
    let secret_key =
        with_default("secret_key", "AWS_SECRET_ACCESS_KEY").ok_or("no secret_key, nor AWS_SECRET_ACCESS_KEY")?;
    let path_style = given
        .remove("path_style")
        .map(|text| truth("path_style", &text))
        .transpose()?;
    let presign = given
        .remove("presign")
        .map(|text| truth("presign", &text))
        .transpose()?;
    let ca = given.remove("ca").map(|path| certificates(&path)).transpose()?;
    Ok(Settings {
        bucket: bucket.into(),
        prefix: prefix(url.path())?,
        path_style: path_style.unwrap_or(endpoint.is_some()),
        endpoint,
        region,
        credentials: Credentials::new(access_key, secret_key, session_token, None, "mediamill"),
        presign: presign.unwrap_or(false),
        ca,
    })
}

fn parameters(url: &Url) -> Result<BTreeMap<String, String>, String> {
    let mut given = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        if !KNOWN.contains(&name.as_ref()) {
            return Err(format!(
                "unknown parameter {name:?}; known parameters: {}",
                KNOWN.join(", ")
            ));
        }
        if value.is_empty() {
            return Err(format!("parameter {name} is empty"));
        }
        if given.insert(name.to_string(), value.into_owned()).is_some() {
            return Err(format!("parameter {name} is there twice"));
        }
    }
    Ok(given)
}

fn endpoint(text: &str) -> Result<Url, String> {
    let endpoint: Url = text.parse().map_err(|error| format!("endpoint {text:?}: {error}"))?;
    if !matches!(endpoint.scheme(), "http" | "https") || endpoint.query().is_some() || !endpoint.username().is_empty() {
        return Err("endpoint must be http://host:port or https://host:port".into());
    }
    Ok(endpoint)
}

fn truth(name: &str, text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{name} must be true or false"))
}

fn prefix(path: &str) -> Result<String, String> {
    match path.trim_matches('/') {
        "" => Ok(String::new()),
        path => path
            .parse::<ObjectKey>()
            .map(|prefix| format!("{prefix}/"))
            .map_err(|error| format!("prefix {path:?}: {error}")),
    }
}

/// The SDK panics on certificates that it cannot read, so each is read here first.
fn certificates(path: &str) -> Result<Vec<u8>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("ca {path}: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| format!("ca {path}: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("ca {path}: no certificates in it"));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Settings, String> {
        let environment = |name: &str| (name == "AWS_REGION").then(|| "eu-north-1".to_owned());
        parse(&text.parse().unwrap(), environment)
    }

    #[test]
    fn everything_can_be_said() {
        let said = parsed(
            "s3://pictures/site/a?endpoint=https://s3.example:9000&access_key=a&secret_key=b%2Fc&region=r&presign=true",
        )
        .unwrap();
        assert_eq!((said.bucket.as_str(), said.prefix.as_str()), ("pictures", "site/a/"));
        assert_eq!(said.endpoint.unwrap().as_str(), "https://s3.example:9000/");
        assert_eq!(said.credentials.secret_access_key(), "b/c");
        assert_eq!((said.region.as_str(), said.path_style, said.presign), ("r", true, true));
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let said = parsed("s3://pictures?access_key=a&secret_key=b").unwrap();
        assert_eq!((said.prefix.as_str(), said.region.as_str()), ("", "eu-north-1"));
        assert_eq!((said.path_style, said.presign), (false, false));
    }

    #[test]
    fn a_token_of_the_environment_goes_with_its_key_alone() {
        let environment = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some("theirs".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("secret".to_owned()),
            "AWS_SESSION_TOKEN" => Some("token".to_owned()),
            _ => None,
        };
        let token = |url: &str| {
            let said = parse(&url.parse().unwrap(), environment).unwrap();
            said.credentials.session_token().map(str::to_owned)
        };
        assert_eq!(token("s3://pictures").as_deref(), Some("token"));
        assert_eq!(token("s3://pictures?access_key=a&secret_key=b"), None);
        let own = "s3://pictures?access_key=a&secret_key=b&session_token=c";
        assert_eq!(token(own).as_deref(), Some("c"));
    }

    #[test]
    fn mistakes_are_named() {
        for (url, problem) in [
            ("s3:///x?access_key=a&secret_key=b", "no bucket"),
            ("s3://b", "no access_key"),
            ("s3://b?access_key=a", "no secret_key"),
            ("s3://b?acces_key=a", "unknown parameter \"acces_key\""),
            ("s3://b?region=a&region=b", "twice"),
            ("s3://b?access_key=a&secret_key=b&presign=yes", "true or false"),
            (
                "s3://b?access_key=a&secret_key=b&endpoint=localhost:9000",
                "endpoint must be",
            ),
            ("s3://b/../c?access_key=a&secret_key=", "empty"),
            ("s3://b/a//c?access_key=a&secret_key=b", "prefix"),
            ("s3://b?access_key=a&secret_key=b&ca=/nowhere.pem", "ca /nowhere.pem"),
            ("s3://user:pass@b", "the host is the bucket"),
        ] {
            let said = parsed(url).unwrap_err();
            assert!(said.contains(problem), "{url}: {said}");
        }
    }
}
