//! Addresses of the servers that `./test.sh` starts.

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

/// A virtual host of a test's own on the RabbitMQ server, named `name`; it goes with the server.
///
/// # Panics
/// When the management API does not make it.
#[expect(clippy::expect_used, reason = "a test's fixture")]
pub async fn own_vhost(name: &str) -> String {
    let api: url::Url = required("MEDIAMILL_TEST_RABBITMQ_API")
        .parse()
        .expect("MEDIAMILL_TEST_RABBITMQ_API is a URL");
    management(&api, "PUT", &format!("/api/vhosts/{name}")).await;
    management(&api, "PUT", &format!("/api/permissions/{name}/{}", api.username())).await;
    let mut url: url::Url = amqp().parse().expect("MEDIAMILL_TEST_AMQP_URL is a URL");
    url.set_path(name);
    url.into()
}

/// One request to RabbitMQ's management API; anything but a success is a panic.
#[expect(clippy::expect_used, reason = "a test's fixture")]
async fn management(api: &url::Url, method: &str, path: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // guest:guest, the only user of a server that listens on loopback alone.
    const AUTHORIZATION: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";
    let body = if path.contains("permissions") {
        r#"{"configure":".*","write":".*","read":".*"}"#
    } else {
        "{}"
    };
    let host = api.host_str().expect("a host");
    let port = api.port().expect("a port");
    let mut stream = tokio::net::TcpStream::connect((host, port))
        .await
        .expect("the management API listens");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {AUTHORIZATION}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let good = answer.starts_with("HTTP/1.1 2");
    assert!(good, "{method} {path}: {}", answer.lines().next().unwrap_or_default());
}
