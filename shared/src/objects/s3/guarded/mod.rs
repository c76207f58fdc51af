//! Between the SDK's client and the network, where a tenant chose the endpoint.
//!
//! A name is resolved and judged for each connection ([`Gate`] as the client's resolver), an address that stands in the URL never
//! comes to a resolver and is judged before ([`GatedClient`]). Nobody follows redirects: neither the SDK nor its client does. What
//! the SDK gathers in memory has a bound; files are read as they come, up to the length that was told.

use crate::fetch::{AddressRefused, Guard};
use aws_sdk_s3::config::{ConfigBag, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connector_metadata::ConnectorMetadata,
        dns::{DnsFuture, ResolveDns, ResolveDnsError},
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponentsBuilder,
    },
};
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use std::{error::Error, io};
use url::Url;

/// Longest answer that is no file, bytes: a listing of a thousand names of a thousand bytes each, written as XML.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

/// Which way a client goes: one endpoint's, with TLS or without.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    guard: Guard,
    secure: bool,
}

impl Gate {
    pub(super) const fn new(guard: Guard, secure: bool) -> Self {
        Self { guard, secure }
    }

    /// Goes on when a request's URL has a name for its host, or an address that may be connected to.
    fn admit(&self, uri: &str) -> Result<(), AddressRefused> {
        let url: Url = uri.parse().map_err(|_| AddressRefused)?;
        let scheme = if self.secure { "https" } else { "http" };
        if url.scheme() != scheme {
            return Err(AddressRefused);
        }
        self.guard.admit_host(&url, self.secure)
    }
}

impl ResolveDns for Gate {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = self.guard.resolve(name, self.secure).await;
            found.map_err(ResolveDnsError::new)
        })
    }
}

/// A client whose requests go through a gate.
#[derive(Debug)]
pub(super) struct GatedClient {
    inner: SharedHttpClient,
    gate: Gate,
}

impl GatedClient {
    /// `inner` resolves names by the same gate.
    pub(super) const fn new(inner: SharedHttpClient, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

impl HttpClient for GatedClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(GatedConnector {
            inner: self.inner.http_connector(settings, components),
            gate: self.gate.clone(),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        HttpClient::validate_base_client_config(&self.inner, components, config)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        HttpClient::validate_final_config(&self.inner, components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

#[derive(Debug)]
struct GatedConnector {
    inner: SharedHttpConnector,
    gate: Gate,
}

impl HttpConnector for GatedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if let Err(refused) = self.gate.admit(request.uri()) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(refused.into())));
        }
        let file = is_for_a_file(&request);
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move { Ok(bounded(answer.await?, file)) })
    }
}

/// Whether a success has a file in it, which is read as it comes: the SDK names what it asks for.
fn is_for_a_file(request: &HttpRequest) -> bool {
    let query = request.uri().split_once('?').map_or("", |(_, query)| query);
    request.method() == "GET" && query.split('&').any(|pair| pair == "x-id=GetObject")
}

fn bounded(answer: HttpResponse, file: bool) -> HttpResponse {
    if file && answer.status().is_success() {
        return answer;
    }
    answer.map(|body: SdkBody| SdkBody::from_body_1_x(Limited::new(body, LONGEST_ANSWER)))
}

/// Whether an error says that nothing was connected to.
pub(super) fn refused(error: &(dyn Error + 'static)) -> Option<AddressRefused> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refused) = error.downcast_ref::<AddressRefused>() {
            return Some(*refused);
        }
        // What an error of the system's carries is no source of it.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests;
