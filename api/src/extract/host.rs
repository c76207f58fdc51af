//! Which host a request is for, and which address it comes from: what the connection says, or a router that is believed.
//!
//! A router is believed when its connection comes from `router_addresses` and it sends one of `router_secret` as
//! `X-Router-Secret`. What anybody else says of hosts and addresses is not looked at.

use crate::{
    problem::{Cause, Problem},
    serve::Peer,
    state::State,
};
use axum::http::{HeaderMap, Version, header, request::Parts};
use mediamill_shared::tenancy::normal_host;
use std::net::IpAddr;

/// The value of a header that may be there once.
///
/// # Errors
/// When it is there more than once, or is no text.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let bad = |what| Problem::new(Cause::BadRequest, format!("header {name} {what}"));
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("is there more than once"));
    }
    value.to_str().map(Some).map_err(|_| bad("is no text"))
}

/// One of a router's headers. A list says that others wrote there before the router did.
fn routers<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let value = single(headers, name)?.map(str::trim);
    if value.is_some_and(|value| value.contains(',')) {
        let detail = format!("header {name} is a list: the router must set it, not add to it");
        return Err(Problem::new(Cause::BadRequest, detail));
    }
    Ok(value)
}

/// The peer's address, in the form that it has without an IPv6 socket in between.
fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical())
}

fn is_router(parts: &Parts, state: &State) -> Result<bool, Problem> {
    let config = &state.services.config;
    let near = peer(parts).is_some_and(|peer| config.router_addresses.has(peer));
    Ok(near && single(&parts.headers, "x-router-secret")?.is_some_and(|secret| config.router_secret.has(secret)))
}

/// The one host that the request itself names. HTTP/2 has it in its URI, and so has a request to a proxy (RFC 9112, 3.2.2): two
/// that differ are refused, since whoever stands before this process may have read the other one.
fn own(parts: &Parts) -> Result<Option<&str>, Problem> {
    let header = single(&parts.headers, header::HOST.as_str())?;
    match (header, parts.uri.authority()) {
        (Some(header), Some(authority)) if normal_host(header) != normal_host(authority.as_str()) => Err(Problem::new(
            Cause::BadRequest,
            "the request's Host is not the host of its URI",
        )),
        (Some(header), _) => Ok(Some(header)),
        (None, Some(authority)) if parts.version >= Version::HTTP_2 => Ok(Some(authority.as_str())),
        // RFC 9112, 3.2: a request of HTTP/1.1 has a Host, whatever its target says.
        (None, Some(_) | None) => Ok(None),
    }
}

/// The host that the client asked for, with its port, as it was written. `None`: it named none.
///
/// # Errors
/// When it named several.
pub(super) fn host(parts: &Parts, state: &State) -> Result<Option<String>, Problem> {
    let own = own(parts)?;
    let config = &state.services.config;
    if is_router(parts, state)?
        && let Some(forwarded) = routers(&parts.headers, &config.router_host_header)?
    {
        return Ok(Some(forwarded.to_owned()));
    }
    Ok(own.map(str::to_owned))
}

/// The client's address. `None`: the request came over no connection.
///
/// # Errors
/// When a router that is believed says something that is no address.
pub(super) fn client(parts: &Parts, state: &State) -> Result<Option<IpAddr>, Problem> {
    let config = &state.services.config;
    if is_router(parts, state)?
        && let Some(text) = routers(&parts.headers, &config.router_client_header)?
    {
        let bad = |_| {
            let detail = format!("header {} is no address", config.router_client_header);
            Problem::new(Cause::BadRequest, detail)
        };
        return text.parse::<IpAddr>().map(|ip| Some(ip.to_canonical())).map_err(bad);
    }
    Ok(peer(parts))
}
