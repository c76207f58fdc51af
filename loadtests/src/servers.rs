//! Private PostgreSQL, Redis and RabbitMQ on free loopback ports, to be killed and started again.

use anyhow::{Context, bail};
use mediamill_shared::clock::{Clock, Stopwatch};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

/// A server that is not ready by then is not coming.
const READY: Duration = Duration::from_secs(60);

/// A free loopback port.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A server process of ours. Killed when dropped.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// Where it takes connections; none for a role that takes none.
    pub(crate) port: Option<u16>,
    command: Box<dyn Fn() -> Command + Send>,
    child: Option<Child>,
}

impl Server {
    fn new(name: &'static str, port: Option<u16>, command: impl Fn() -> Command + Send + 'static) -> Self {
        Self {
            name,
            port,
            command: Box::new(command),
            child: None,
        }
    }

    /// Starts it and waits until its port, if it has one, takes connections.
    pub(crate) async fn start(&mut self, clock: &Clock) -> anyhow::Result<()> {
        let mut command = (self.command)();
        // A group of its own: a shell's children end with it.
        command.process_group(0).kill_on_drop(true).stdin(Stdio::null());
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("{} cannot be started", self.name))?,
        );
        let Some(port) = self.port else { return Ok(()) };
        let watch = Stopwatch::start();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if watch.elapsed() > READY {
                bail!("{} takes no connections on port {port}", self.name);
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Ends it and everything it started, at once.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        if let Some(pid) = child.id() {
            kill_group(pid);
        }
        child.wait().await?;
        Ok(())
    }

    /// Whether it is still what was started.
    pub(crate) fn lives(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            kill_group(pid);
        }
    }
}

/// Ends a server and what it started; the group is its own since its start.
fn kill_group(pid: u32) {
    // One that has ended already is no failure.
    let _ = std::process::Command::new("kill")
        .args(["-KILL", "--", &format!("-{pid}")])
        .stderr(Stdio::null())
        .status();
}

fn log(dir: &Path, name: &str) -> anyhow::Result<Stdio> {
    Ok(std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join(format!("{name}.log")))?
        .into())
}

fn logged(mut command: Command, dir: &Path, name: &str) -> Command {
    if let (Ok(out), Ok(err)) = (log(dir, name), log(dir, name)) {
        command.stdout(out).stderr(err);
    }
    command
}

/// A program of ours or of the machine, its output in `dir`.
pub(crate) fn program(
    name: &'static str,
    port: Option<u16>,
    dir: &Path,
    command: impl Fn() -> Command + Send + 'static,
) -> Server {
    let dir = dir.to_owned();
    Server::new(name, port, move || logged(command(), &dir, name))
}

/// Redis, nothing on disk: a restart loses everything, which must not matter.
pub(crate) fn redis(dir: &Path) -> anyhow::Result<Server> {
    let port = free_port()?;
    let own = dir.to_owned();
    Ok(program("redis", Some(port), dir, move || {
        let mut command = Command::new("redis-server");
        command
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(&own);
        command
    }))
}

/// PostgreSQL with everything on disk before a commit returns.
pub(crate) async fn postgres(dir: &Path) -> anyhow::Result<Server> {
    let binaries = newest_postgres()?;
    let data = dir.join("postgres");
    std::fs::create_dir_all(&data)?;
    let root = is_root();
    let as_owner = move |program: PathBuf| {
        if root {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
                .arg(program);
            command
        } else {
            Command::new(program)
        }
    };
    if root {
        open_to_all(dir)?;
        let status = Command::new("chown")
            .arg("postgres:postgres")
            .arg(&data)
            .status()
            .await?;
        anyhow::ensure!(status.success(), "the data folder cannot be given to the user postgres");
    }
    let mut init = as_owner(binaries.join("initdb"));
    init.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-D"])
        .arg(data.join("data"));
    let status = logged(init, dir, "initdb")
        .current_dir("/")
        .status()
        .await
        .context("initdb cannot be started")?;
    anyhow::ensure!(status.success(), "initdb failed, see {}/initdb.log", dir.display());
    let port = free_port()?;
    let own = data.clone();
    Ok(program("postgres", Some(port), dir, move || {
        let mut command = as_owner(binaries.join("postgres"));
        command
            .current_dir("/")
            .arg("-D")
            .arg(own.join("data"))
            .args([
                "-p",
                &port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "max_connections=200",
            ])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", own.display()));
        command
    }))
}

fn newest_postgres() -> anyhow::Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL's server is not installed under /usr/lib/postgresql")?
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_string_lossy().parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, path)| path.join("initdb").is_file())
        .collect();
    found.sort();
    found
        .pop()
        .map(|(_, path)| path)
        .context("PostgreSQL's server is not installed under /usr/lib/postgresql")
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

fn open_to_all(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// RabbitMQ with an epmd of its own.
pub(crate) struct Rabbit {
    pub(crate) server: Server,
    epmd: u16,
    data: PathBuf,
}

impl Rabbit {
    /// Removes all that it has stored; it must not run.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(&self.data)?;
        std::fs::create_dir(&self.data)?;
        Ok(())
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        // epmd outlives the broker.
        let _ = std::process::Command::new("epmd")
            .args(["-port", &self.epmd.to_string(), "-kill"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// RabbitMQ. Its confirmed messages survive a kill.
pub(crate) fn rabbitmq(dir: &Path) -> anyhow::Result<Rabbit> {
    let home = dir.join("rabbitmq");
    for part in ["mnesia", "log", "home"] {
        std::fs::create_dir_all(home.join(part))?;
    }
    let (port, distribution, epmd) = (free_port()?, free_port()?, free_port()?);
    std::fs::write(home.join("enabled_plugins"), "[].")?;
    std::fs::write(
        home.join("rabbitmq.conf"),
        format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nvm_memory_high_watermark.absolute = 512MiB\ndisk_free_limit.absolute = 64MB\n"
        ),
    )?;
    let data = home.join("mnesia");
    let server = program("rabbitmq", Some(port), dir, move || {
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        command
            .env("HOME", home.join("home"))
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("mm{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_MNESIA_BASE", home.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", home.join("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", home.join("none"))
            .env("RABBITMQ_PID_FILE", home.join("pid"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            );
        command
    });
    Ok(Rabbit { server, epmd, data })
}
