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
        Err(_) => panic!("{name} is not set: run ./test.sh, which starts the servers"),
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
