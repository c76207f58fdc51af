//! The demo's own roles: the api with the gallery, a worker and a scheduler, in this process.

use super::{gallery, tenant};
use crate::{
    helper, output,
    serve::{Failure, supervise},
};
use anyhow::{Context, bail};
use mediamill_shared::services::Services;
use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use tokio::net::TcpListener;

/// Ports tried after one that is taken.
const PORTS: u16 = 20;

/// Starts the roles. Returns where the api listens as this machine sees it, and the demo's host with the port.
pub(crate) async fn start(services: &Services, failure: &Failure) -> anyhow::Result<(String, String)> {
    let listener = listen(services.config.listen).await?;
    let address = listener.local_addr()?;
    let host = with_port(address.port());
    let base = format!("{}://{host}", services.config.public_scheme);
    let pages = gallery::router(services.clone(), base);
    let router = mediamill_api::router(services, None).merge(pages);
    let own = services.clone();
    supervise(&services.shutdown, "api", failure, async move {
        Ok(mediamill_api::serve(&own, "api", listener, router).await?)
    });
    let (own, settings) = (services.clone(), helper::worker(&services.config)?);
    supervise(&services.shutdown, "worker", failure, async move {
        mediamill_workers::run(own, settings).await;
        Ok(())
    });
    let own = services.clone();
    supervise(&services.shutdown, "scheduler", failure, async move {
        mediamill_scheduler::run(own).await?;
        Ok(())
    });
    Ok((format!("http://{}", reachable(address)), host))
}

/// The demo's host at the port of `url`.
pub(crate) fn host_of(url: &str) -> anyhow::Result<String> {
    let parsed = reqwest::Url::parse(url).with_context(|| format!("--url {url} is no URL"))?;
    if parsed.scheme() != "http" {
        bail!("--url {url}: the api speaks http, such as http://127.0.0.1:8080");
    }
    Ok(with_port(parsed.port_or_known_default().unwrap_or(80)))
}

fn with_port(port: u16) -> String {
    match port {
        80 => tenant::HOST.to_owned(),
        port => format!("{}:{port}", tenant::HOST),
    }
}

async fn listen(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut address = wanted;
    for _ in 0..=PORTS {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if address != wanted {
                    output::remark(format!("{wanted} is taken; serving on {address}"));
                }
                return Ok(listener);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse && address.port() < u16::MAX => {
                address.set_port(address.port().saturating_add(1));
            }
            Err(error) => return Err(error).with_context(|| format!("{address} cannot be listened on")),
        }
    }
    bail!("{wanted} and the {PORTS} ports after it are taken: name another with --listen")
}

/// Where a client on this machine reaches a listener on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_gives_way_to_the_next() {
        let first = listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        // Another test may be quicker at the port that was free a moment ago: then the one after it does as well.
        let held = listen(first).await.unwrap();
        let second = listen(held.local_addr().unwrap()).await.unwrap();
        assert!(second.local_addr().unwrap().port() > held.local_addr().unwrap().port());
    }

    #[test]
    fn hosts_carry_the_port_of_the_api() {
        assert_eq!(host_of("http://127.0.0.1:9000").unwrap(), "demo.localhost:9000");
        assert_eq!(host_of("http://api/").unwrap(), "demo.localhost");
        assert!(host_of("nonsense").is_err() && host_of("https://api").is_err());
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
    }
}
