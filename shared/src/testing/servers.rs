//! Addresses of the servers that `./test.sh` starts.

use crate::{
    clock::{Clock, Entropy},
    ids::JobId,
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// The value of a variable that `./test.sh` sets.
///
/// # Panics
/// When it is missing: a test that needs a server does not pass without.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tests are set up by their environment")]
pub fn required(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) => value,
        Err(std::env::VarError::NotPresent | std::env::VarError::NotUnicode(_)) => {
            panic!("{name} is not set: run ./test.sh, which starts the servers")
        }
    }
}

/// A PostgreSQL server: its maintenance database.
#[must_use]
pub fn postgres() -> String {
    required("MEDIAMILL_TEST_POSTGRES_URL")
}

/// A RabbitMQ server: its default virtual host.
#[must_use]
pub fn amqp() -> String {
    required("MEDIAMILL_TEST_AMQP_URL")
}

/// A Redis server.
#[must_use]
pub fn redis() -> String {
    required("MEDIAMILL_TEST_REDIS_URL")
}

/// A virtual host of a test's own on the RabbitMQ server: dropping it deletes it. Each takes some megabytes of a server
/// that stops to confirm when it has too little memory.
#[derive(Debug)]
pub struct VirtualHost {
    api: url::Url,
    /// What it is called.
    pub name: String,
    /// The queue URL.
    pub url: url::Url,
}

#[expect(clippy::expect_used, reason = "a test's fixture")]
impl VirtualHost {
    /// Makes one called `name`.
    ///
    /// # Panics
    /// When the management API does not make it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let api: url::Url = required("MEDIAMILL_TEST_RABBITMQ_API")
            .parse()
            .expect("MEDIAMILL_TEST_RABBITMQ_API is a URL");
        let mut url: url::Url = amqp().parse().expect("MEDIAMILL_TEST_AMQP_URL is a URL");
        url.set_path(name);
        let made = Self {
            name: name.to_owned(),
            api,
            url,
        };
        made.manage("PUT", &format!("vhosts/{name}"), "{}");
        let all = r#"{"configure":".*","write":".*","read":".*"}"#;
        made.manage("PUT", &format!("permissions/{name}/{}", made.api.username()), all);
        made
    }

    /// One with a name that nothing else has.
    ///
    /// # Panics
    /// When the management API does not make it.
    #[must_use]
    pub fn own() -> Self {
        Self::named(JobId::generate(&Clock::system(), &Entropy::system()).as_str())
    }

    /// One request to RabbitMQ's management API.
    fn manage(&self, method: &str, path: &str, body: &str) {
        // guest:guest, the only user of a server that listens on loopback alone.
        const AUTHORIZATION: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";
        let host = self.api.host_str().expect("a host");
        let port = self.api.port().expect("a port");
        let mut stream = TcpStream::connect((host, port)).expect("the management API listens");
        let request = format!(
            "{method} /api/{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {AUTHORIZATION}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.lines().next().unwrap_or_default();
        assert!(status.starts_with("HTTP/1.1 2"), "{method} {path}: {status}");
    }
}

impl Drop for VirtualHost {
    fn drop(&mut self) {
        // A failed test must not fail again here, and the server may be gone.
        if !std::thread::panicking() {
            self.manage("DELETE", &format!("vhosts/{}", self.name), "");
        }
    }
}
