//! Configuration.
use url::Url;

/// A URL fit for logs: password and secret query parameters left out.
#[must_use]
pub fn redacted(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // A URL with a password has a host, so setting one has no way to fail.
        let _ = shown.set_password(Some("***"));
    }
    if url.query().is_some() {
        shown.query_pairs_mut().clear();
        for (name, value) in url.query_pairs() {
            let secret = ["secret", "password", "key", "token"]
                .iter()
                .any(|word| name.to_ascii_lowercase().contains(word));
            shown
                .query_pairs_mut()
                .append_pair(&name, if secret { "***" } else { &value });
        }
    }
    shown.into()
}
