//! Hostile names, fed to everything that builds an identifier, a cache key, an object key or a database's name: each is
//! refused, or what is built holds nothing but the name, and no two names build the same.

use super::{
    LimitOverrides, ServerName, TablePrefix, normal_host, normal_hosts,
    resolver::{host_key, plan_key, tenant_key},
};
use crate::{
    control::plans,
    db::Engine,
    ids::{BatchId, JobId, MediaId, TenantId},
    objects::ObjectKey,
    secrets::Env,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Texts that have broken something somewhere, and any others.
fn hostile() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "",
        ".",
        "..",
        "../..",
        "/",
        "//",
        "a/../b",
        "a\0b",
        "\0",
        "a b",
        " a",
        "a ",
        "a\r\nSet-Cookie: x",
        "a\n",
        "\"",
        "a\"b",
        "'; DROP TABLE tenants; --",
        "`a`",
        "$1",
        "{media}",
        "%2f",
        "%00",
        "a%2e%2e",
        "\u{feff}a",
        "a\u{200b}",
        "\u{202e}a",
        "ａ",
        "а",
        "İ",
        "ß",
        "A",
        "a:b",
        "a,b",
        "*",
        "*.a.example",
        "a_b",
        "a-b",
        "-a",
        "_a",
        "t1_users",
        "pg_catalog",
        "sqlite_master",
        "main",
        "con",
        "nul",
        "~",
        "a;b",
        "a|b",
        "a?b",
        "a#b",
        "a@b",
        "[::1]",
        "1.2.3.4:80",
        "xn--a",
        "a..b",
        "a.example.",
        "a.example:8080",
        "a.example.:8080",
        "A.EXAMPLE",
    ]);
    let plain = "[0-9a-z*._:/ -]{0,70}";
    let long = (1..6_000_usize).prop_map(|length| "a".repeat(length));
    prop_oneof![
        3 => known.clone().prop_map(str::to_owned),
        3 => any::<String>(),
        3 => plain.prop_map(|text: String| text),
        1 => long,
        2 => (plain, known).prop_map(|(text, more)| format!("{text}{more}")),
    ]
}

/// Lower-case letters, digits and what else is named: nothing that separates, quotes, escapes or ends a line.
fn is_plain(text: &str, more: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
}

fn url(text: &str) -> url::Url {
    text.parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_id_is_itself_or_none(text in hostile()) {
        if let Ok(id) = text.parse::<TenantId>() {
            prop_assert!(is_plain(&text, "-_") && (1..=16).contains(&text.len()));
            prop_assert_eq!((id.as_str(), tenant_key(&id)), (text.as_str(), format!("tenant:{text}")));
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<TenantId>(&json).unwrap(), id);
        } else {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert!(serde_json::from_str::<TenantId>(&json).is_err());
        }
        for generated in [
            text.parse::<JobId>().map(|id| id.to_string()),
            text.parse::<MediaId>().map(|id| id.to_string()),
            text.parse::<BatchId>().map(|id| id.to_string()),
        ].into_iter().flatten() {
            prop_assert!(is_plain(&generated, "") && generated.len() == 26 && generated == text);
        }
    }

    #[test]
    fn a_host_is_labels_and_dots_or_none(text in hostile()) {
        if let Some(host) = normal_host(&text) {
            prop_assert!(is_plain(&host, "-_.") && host.len() <= 253, "{}", host);
            prop_assert!(host.split('.').all(|label| (1..=63).contains(&label.len())), "{}", host);
            prop_assert_eq!(normal_host(&host), Some(host.clone()), "it is itself");
            prop_assert_eq!(host_key(&host), format!("host:{}", host));
            // What was left out is a port, a last dot and case.
            let lower = text.to_ascii_lowercase();
            let rest = lower.strip_prefix(&host).unwrap();
            let port = rest.strip_prefix('.').unwrap_or(rest);
            prop_assert!(port.is_empty() || port.strip_prefix(':').unwrap().bytes().all(|b| b.is_ascii_digit()));
        }
        if let Ok(hosts) = normal_hosts(&["main.example", &text]) {
            for host in hosts {
                let name = host.strip_prefix("*.").unwrap_or(&host);
                prop_assert!(is_plain(name, "-_."), "{}", host);
            }
        }
    }

    #[test]
    fn a_plan_a_server_and_a_prefix_are_themselves_or_none(text in hostile()) {
        if plans::is_id(&text) {
            prop_assert!(is_plain(&text.to_ascii_lowercase(), "-_.") && (1..=64).contains(&text.len()));
            prop_assert_eq!(plan_key(&text), format!("plan:{}", text));
        }
        if let Ok(name) = text.parse::<ServerName>() {
            prop_assert!(is_plain(&text, "-") && (1..=32).contains(&text.len()) && name.as_str() == text);
        }
        if let Ok(prefix) = text.parse::<TablePrefix>() {
            prop_assert!(is_plain(&text, "") && (2..=16).contains(&text.len()) && text.starts_with('t'));
            prop_assert_eq!(prefix.as_str(), &text);
            let postgres = Engine::Postgres.own_url(&url("postgres://u:p@h:1/media"), &text);
            prop_assert_eq!(postgres.path(), format!("/media_{text}"));
            prop_assert!(postgres.path().len() <= 64 && postgres.host_str() == Some("h"));
            let sqlite = Engine::Sqlite.own_url(&url("sqlite:///d/m.db"), &text);
            let (_, folder) = text.split_at(text.len() - 2);
            prop_assert_eq!(sqlite.path(), format!("/d/m.db.tenants/{folder}/{text}.db"));
        }
    }

    #[test]
    fn an_object_key_stays_in_its_tenant(variant in hostile(), extension in hostile()) {
        let tenant: TenantId = "t".parse().unwrap();
        let media: MediaId = "0".repeat(26).parse().unwrap();
        if let Ok(key) = ObjectKey::placed(&tenant, &media, &variant, &extension) {
            let parts: Vec<&str> = key.as_str().split('/').collect();
            prop_assert_eq!(&parts[..3], &["media", "t", media.as_str()]);
            prop_assert!(key.as_str().len() <= 900 && parts.len() <= 8);
            prop_assert!(parts.iter().all(|part| !part.starts_with('.') && !part.is_empty()));
            prop_assert_eq!(parts.len(), 4, "neither part brings a folder of its own: {:?}", key);
        }
        if let Ok(key) = variant.parse::<ObjectKey>() {
            prop_assert_eq!(key.as_str(), &variant);
            prop_assert!(variant.bytes().all(|b| b.is_ascii_graphic() && !b"\\?#%*\"':".contains(&b)));
        }
    }

    #[test]
    fn names_of_limits_and_of_an_env_are_known_or_plain(name in hostile(), value in hostile()) {
        let json = serde_json::json!({ name.clone(): value.clone() }).to_string();
        if let Ok(limits) = LimitOverrides::from_json(&json) {
            let stored = limits.to_json();
            prop_assert_eq!(LimitOverrides::from_json(&stored).unwrap(), limits);
        }
        let values = BTreeMap::from([(name.clone(), value.clone().into())]);
        if let Ok(env) = Env::new(values) {
            prop_assert!(is_plain(&name.to_ascii_lowercase(), "_") && (1..=64).contains(&name.len()));
            prop_assert!(!value.contains('\0'));
            prop_assert_eq!(Env::from_json(env.to_json().reveal()).unwrap(), env);
        }
    }

    #[test]
    fn no_two_names_build_the_same(one in hostile(), other in hostile()) {
        prop_assume!(one != other);
        if let (Ok(one), Ok(other)) = (one.parse::<TenantId>(), other.parse::<TenantId>()) {
            let job: JobId = "0".repeat(26).parse().unwrap();
            prop_assert_ne!(tenant_key(&one), tenant_key(&other));
            prop_assert_ne!(ObjectKey::staged(&one, &job), ObjectKey::staged(&other, &job));
            // Nor does one's folder hold the other's objects.
            let folder = format!("media/{one}/");
            let others = format!("media/{other}/");
            prop_assert!(!others.starts_with(&folder));
        }
        if let (Ok(one), Ok(other)) = (one.parse::<TablePrefix>(), other.parse::<TablePrefix>()) {
            let tables = |prefix: &TablePrefix| -> Vec<String> {
                super::sql::TENANT_TABLES.iter().map(|table| format!("{prefix}_{table}")).collect()
            };
            prop_assert!(tables(&one).iter().all(|table| !tables(&other).contains(table)));
        }
        let keys = |text: &str| {
            let tenant = text.parse::<TenantId>().ok().map(|id| tenant_key(&id));
            let host = normal_host(text).map(|host| host_key(&host));
            let plan = plans::is_id(text).then(|| plan_key(text));
            [tenant, host, plan]
        };
        for (kind, key) in keys(&one).into_iter().enumerate() {
            for (other_kind, other_key) in keys(&other).into_iter().enumerate() {
                if kind != other_kind && key.is_some() {
                    prop_assert_ne!(&key, &other_key);
                }
            }
        }
    }
}
