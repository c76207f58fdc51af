//! First administrators and passwords.

use super::row;
use crate::{input, output};
use anyhow::Context;
use mediamill_shared::{clock::Entropy, control::audit::Actor, ids::TenantId, secrets::SecretText, services::Services};
use serde_json::json;

pub(super) async fn install(
    services: &Services,
    id: &TenantId,
    user: &str,
    email: Option<&str>,
    password_stdin: bool,
    json: bool,
) -> anyhow::Result<()> {
    row(services, id).await?;
    let password = if password_stdin {
        Some(input::value(None)?)
    } else {
        None
    };
    let admin = services.lifecycle.new_admin(user, email, password.as_ref()).await?;
    let key = services.lifecycle.install(id, &admin, true, &Actor::cli()).await?;
    let key = key.context("a first administrator without a key")?;
    if json {
        return output::json(&json!({ "id": id, "user": user, "key": key.reveal() }));
    }
    output::line(key.reveal());
    output::remark(format!(
        "{user} administers tenant {id}; above is its key, which is not shown again"
    ));
    Ok(())
}

pub(super) async fn password(
    services: &Services,
    id: &TenantId,
    user: &str,
    password_stdin: bool,
    json: bool,
) -> anyhow::Result<()> {
    let (password, made) = if password_stdin {
        (input::value(None)?, false)
    } else {
        (random(&services.entropy), true)
    };
    services
        .lifecycle
        .set_password(id, user, &password, &Actor::cli())
        .await?;
    if json {
        let shown = made.then(|| password.reveal());
        return output::json(&json!({ "id": id, "user": user, "password": shown }));
    }
    if made {
        output::line(password.reveal());
    }
    output::remark(format!("the password of {user} in tenant {id} is set"));
    Ok(())
}

/// 120 random bits in 24 characters that read well over the telephone.
fn random(entropy: &Entropy) -> SecretText {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; 24];
    entropy.fill(&mut bytes);
    let letter = |byte: u8| char::from(LETTERS.get(usize::from(byte % 32)).copied().unwrap_or(b'a'));
    SecretText::new(bytes.into_iter().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_made_up_are_long_and_never_the_same() {
        let (one, other) = (random(&Entropy::system()), random(&Entropy::system()));
        assert_eq!(one.reveal().len(), 24);
        assert_ne!(one, other);
    }
}
