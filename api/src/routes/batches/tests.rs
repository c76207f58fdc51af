//! The routes over real connections, on the embedded side; both sides of what is beneath them are tested in `workers`.

use mediamill_shared::{
    control::{
        audit::{Actor, Entry},
        jobs, operator_keys, tenants,
    },
    operators::{Scopes, hex_hmac},
    tenancy::TenantState,
    testing::World,
};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpListener;

struct Site {
    world: World,
    address: SocketAddr,
    http: Client,
    key: String,
}

impl Site {
    async fn open() -> Self {
        Self::over(World::embedded().await).await
    }

    async fn over(world: World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let services = world.services.clone();
        let (own, router) = (services.clone(), crate::router(&services, None));
        world.services.shutdown.spawn(async move {
            crate::serve(&own, "api", listener, router).await.unwrap();
        });
        let (config, clock, entropy) = (&services.config, &services.clock, &services.entropy);
        let entry = Entry::new(clock, entropy, &Actor::cli(), "key.create", None);
        let (secrets, scopes) = (&config.tenants_api_key_secret, Scopes::all());
        let key = operator_keys::create(&services.control, "test", &scopes, None, secrets, entropy, &entry);
        Self {
            key: key.await.unwrap().reveal(),
            world,
            address,
            http: Client::new(),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}/v1/tenants/batches{path}", self.address);
        self.http.request(method, url).header("x-api-key", &self.key)
    }

    async fn get(&self, path: &str) -> Value {
        self.request(Method::GET, path)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    fn csv(&self, rows: &str) -> RequestBuilder {
        self.request(Method::POST, "")
            .header("content-type", "text/csv; charset=utf-8")
            .body(rows.to_owned())
    }
}

const ROWS: &str = "id,host,admin\na,a.example,ann\nb,b.example,\n?,c.example,\n";

#[tokio::test]
async fn rows_are_taken_shown_and_their_keys_given_once() {
    let site = Site::open().await;
    let answer = site.csv(ROWS).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let batch: Value = answer.json().await.unwrap();
    assert_eq!(
        (&batch["rows"]["waiting"], &batch["rows"]["bad"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        (&batch["state"], &batch["first_keys"]),
        (&"running".into(), &"shown-once".into())
    );
    let id = batch["id"].as_str().unwrap();
    assert!(location.ends_with(id));
    let bad = site.get(&format!("/{id}/rows?state=bad")).await;
    assert_eq!(bad["rows"][0]["line"], 4);
    assert!(bad["rows"][0]["cause"].as_str().unwrap().contains("tenant id"), "{bad}");
    let page = site.get(&format!("/{id}/rows?limit=2")).await;
    assert_eq!(
        (page["rows"].as_array().unwrap().len(), &page["next_after"]),
        (2, &3.into())
    );
    assert_eq!(site.get("").await["batches"][0]["id"], *id);

    // What a scheduler and a worker would do.
    let services = &site.world.services;
    let batch_id = id.parse().unwrap();
    services.batches.feed(&batch_id).await.unwrap();
    for tenant in ["a", "b"] {
        let tenant = tenant.parse().unwrap();
        let subject = format!("tenant:{tenant}");
        let job = jobs::latest_about(&services.control, &tenant, &subject)
            .await
            .unwrap()
            .unwrap();
        let payload = jobs::payload(&services.control, &job.id).await.unwrap().unwrap();
        services
            .lifecycle
            .provision(&tenant, &serde_json::from_str(&payload).unwrap())
            .await
            .unwrap();
        let row = tenants::get(&services.control, &tenant).await.unwrap().unwrap();
        assert_eq!(row.state, TenantState::Active);
    }
    services.batches.feed(&batch_id).await.unwrap();
    let events = site
        .request(Method::GET, &format!("/{id}/events"))
        .send()
        .await
        .unwrap();
    let events = events.text().await.unwrap();
    assert!(
        events.contains("event: batch") && events.contains(r#""state":"done""#),
        "{events}"
    );

    let result = async || {
        let answer = site
            .request(Method::GET, &format!("/{id}/result"))
            .send()
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect::<Vec<_>>()
    };
    let first = result().await;
    assert_eq!(first.len(), 3);
    assert!(first[0]["key"].as_str().unwrap().starts_with("mm_"), "{first:?}");
    assert!(first[1].get("key").is_none());
    assert!(result().await.iter().all(|line| line.get("key").is_none()));
    services.shutdown.stop();
}

#[tokio::test]
async fn a_batch_is_the_operators_and_goes_by_their_word() {
    let site = Site::open().await;
    let url = format!("http://{}/v1/tenants/batches", site.address);
    assert_eq!(
        site.http.get(&url).send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    let stranger = site
        .http
        .get(&url)
        .header("x-api-key", &site.world.key)
        .send()
        .await
        .unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let picture = site.request(Method::POST, "").header("content-type", "image/png");
    let picture = picture.body(ROWS).send().await.unwrap();
    assert_eq!(picture.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);

    let batch: Value = site.csv(ROWS).send().await.unwrap().json().await.unwrap();
    let id = batch["id"].as_str().unwrap();
    let post = async |step: &str| {
        let answer = site
            .request(Method::POST, &format!("/{id}/{step}"))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(post("pause").await.1["state"], "paused");
    assert_eq!(post("pause").await.0, 200);
    assert_eq!(post("resume").await.1["state"], "running");
    assert_eq!(post("cancel").await.1["rows"]["cancelled"], 2);
    let (status, problem) = post("resume").await;
    assert!(
        status == 409 && problem["type"].as_str().unwrap().ends_with("batch-state"),
        "{problem}"
    );
    assert_eq!(post("retry").await.1["rows"]["waiting"], 2);
    let unknown = site.get("/01hf7y0000000000000000000a").await;
    assert_eq!(unknown["status"], 404);
    site.world.services.shutdown.stop();
}

#[tokio::test]
async fn what_is_sent_again_under_its_key_is_taken_once() {
    let site = Site::open().await;
    let send = async |rows: &str| {
        let answer = site.csv(rows).header("idempotency-key", "friday").send().await.unwrap();
        let replayed = answer.headers().contains_key("idempotent-replayed");
        (replayed, answer.json::<Value>().await.unwrap())
    };
    let (replayed, first) = send(ROWS).await;
    assert!(!replayed);
    let (replayed, second) = send(ROWS).await;
    assert!(replayed && first["id"] == second["id"], "{second}");
    let other = site.request(Method::POST, "").header("idempotency-key", "friday");
    let other = other
        .header("content-type", "application/x-ndjson")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    site.world.services.shutdown.stop();
}

#[tokio::test]
async fn a_wrong_signature_lets_nothing_of_the_body_happen() {
    let secret = [("tenants_api_request_secret", "0123456789abcdef".to_owned())];
    let site = Site::over(World::embedded_with(&secret).await).await;
    let answer = site.csv(ROWS).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "without one");
    let answer = site.csv(ROWS).header("x-signature", "00ff").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let secrets = &site.world.services.config.tenants_api_request_secret;
    let signature = hex_hmac(&secrets.all()[0], b"");
    let batches = site.request(Method::GET, "").header("x-signature", signature);
    let batches: Value = batches.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        batches["batches"].as_array().unwrap().len(),
        1,
        "the one whose body was read"
    );
    assert_eq!(
        (
            &batches["batches"][0]["state"],
            &batches["batches"][0]["rows"]["waiting"]
        ),
        (&"cancelled".into(), &0.into())
    );
    site.world.services.shutdown.stop();
}
