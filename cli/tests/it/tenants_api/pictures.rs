//! What a provider says of tenants' pictures, and what is made of them.

use super::{Provider, problem};
use mediamill_media::sample;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

/// Makes a tenant at `<id>.example`. Returns it and the key of its administrator.
async fn tenant(p: &Provider, id: &str, more: Value) -> (Value, String) {
    let mut body = json!({ "id": id, "hostname": format!("{id}.example"), "is_enabled": true });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = p.post("/tenants", body).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let made = answer.json().await.unwrap();
    let admin = json!({ "username": "ann", "email": "ann@a.example", "password": "correct horse", "with_key": true });
    let installed = p.post(&format!("/tenants/{id}/install"), admin).await;
    let installed: Value = installed.json().await.unwrap();
    (made, installed["key"].as_str().unwrap().to_owned())
}

/// Uploads a picture of 320 × 240. Returns name, width and height of every file of it.
async fn made(p: &Provider, id: &str, key: &str, number: u32) -> Vec<(String, i64, i64)> {
    let request = p.http.post(format!("http://{}/v1/media?wait=60", p.address));
    let request = request.header(header::HOST, format!("{id}.example")).bearer_auth(key);
    let answer = request.body(sample::small(number)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let body: Value = answer.json().await.unwrap();
    let mut files = Vec::new();
    for file in body["media"][0]["variants"].as_array().unwrap() {
        let url: reqwest::Url = file["url"].as_str().unwrap().parse().unwrap();
        let served = p.http.get(format!("http://{}{}", p.address, url.path()));
        let served = served
            .header(header::HOST, format!("{id}.example"))
            .send()
            .await
            .unwrap();
        assert_eq!(served.status(), StatusCode::OK, "{url}");
        files.push((
            file["name"].as_str().unwrap().to_owned(),
            file["width"].as_i64().unwrap(),
            file["height"].as_i64().unwrap(),
        ));
    }
    files.sort();
    files
}

fn files(wanted: &[(&str, i64, i64)]) -> Vec<(String, i64, i64)> {
    let original = ("original".to_owned(), 320, 240);
    let others = wanted
        .iter()
        .map(|(name, width, height)| ((*name).to_owned(), *width, *height));
    let mut files: Vec<_> = others.chain([original]).collect();
    files.sort();
    files
}

pub(super) async fn pictures_become_what_the_tenant_or_its_plan_says(provider: Provider) {
    let p = &provider;
    let own = json!({ "variants": [
        { "name": "card", "width": 64, "height": 48, "fit": "cover" }, { "name": "strip-9", "width": 160 },
    ] });
    let plans = json!({ "variants": [{ "name": "half", "height": 120 }] });
    let plan = json!({ "id": "basic", "pictures": plans });
    let answer = p.post("/tenants-plans", plan).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.json::<Value>().await.unwrap()["mediamill"]["pictures"], plans);
    let (shown, one) = tenant(p, "one", json!({ "plan_id": "basic", "pictures": own })).await;
    assert_eq!(shown["mediamill"]["pictures"], own);
    let (shown, two) = tenant(p, "two", json!({ "plan_id": "basic" })).await;
    assert_eq!(shown["mediamill"].get("pictures"), None, "only what is its own");
    let (_, three) = tenant(p, "three", json!({ "pictures": null })).await;

    let cards = files(&[("card", 64, 48), ("strip-9", 160, 120)]);
    assert_eq!(made(p, "one", &one, 1).await, cards);
    assert_eq!(made(p, "two", &two, 2).await, files(&[("half", 160, 120)]));
    let builtin = files(&[("thumb", 320, 240), ("medium", 320, 240), ("large", 320, 240)]);
    let made_by_default = made(p, "three", &three, 3).await;
    let names = |files: &[(String, i64, i64)]| files.iter().map(|(name, _, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&made_by_default), names(&builtin));

    is_changed(p, &one, &own).await;
    provider.close();
}

async fn is_changed(p: &Provider, key: &str, own: &Value) {
    let merged = p
        .patch("/tenants/one?merge=true", json!({ "pictures": { "metadata": "keep" } }))
        .await;
    assert_eq!(merged.status(), StatusCode::NO_CONTENT);
    let shown = p.read("/tenants/one").await["mediamill"]["pictures"].clone();
    assert_eq!(
        (&shown["metadata"], &shown["variants"]),
        (&"keep".into(), &own["variants"])
    );
    // Settings that are there when there is less room: the first ones are made.
    let less = json!({ "limits": { "MEDIAMILL_MAX_VARIANTS": "1" } });
    assert_eq!(p.patch("/tenants/one", less).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(made(p, "one", key, 4).await, files(&[("card", 64, 48)]));
    let refused = problem(
        p.patch("/tenants/one", json!({ "pictures": own })).await,
        403,
        "over-quota",
    )
    .await;
    assert_eq!(
        (&refused["limit_name"], &refused["limit"], &refused["member"]),
        (&"variants".into(), &1.into(), &"pictures".into())
    );
    for (bad, told) in [
        (json!({ "size": 1 }), "size"),
        (json!({ "variants": [{ "name": "original" }] }), "names no variant"),
        (json!({ "variants": [{ "name": "a", "width": 0 }] }), "width 0"),
        (json!([]), "a JSON object"),
    ] {
        let answer = p.patch("/tenants/one", json!({ "pictures": bad })).await;
        let document = problem(answer, 400, "bad-request").await;
        assert!(document["detail"].as_str().unwrap().contains(told), "{document}");
    }
    assert_eq!(
        p.patch("/tenants/one", json!({ "pictures": null })).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(p.read("/tenants/one").await["mediamill"].get("pictures"), None);
    assert_eq!(made(p, "one", key, 5).await, files(&[("half", 160, 120)]));
    let none = json!({ "pictures": null });
    assert_eq!(
        p.patch("/tenants-plans/basic", none).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(p.read("/tenants-plans/basic").await["mediamill"].get("pictures"), None);
}
