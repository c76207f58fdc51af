//! Parts that become one picture.

use super::{Site, accepted, becomes, begin, begin_part, head, number, picture, problem, send, settled, text, tus};
use futures_util::future::join_all;
use mediamill_media::sample;
use mediamill_shared::testing::World;
use reqwest::{Method, StatusCode};

mediamill_shared::on_both_sides!(
    parts_become_one_picture_once,
    a_final_upload_needs_whole_parts_of_its_tenant,
);

async fn parts_become_one_picture_once(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(40);
    let cuts = [0, 900_000, 901_000, bytes.len()];
    let mut parts = Vec::new();
    for range in cuts.windows(2) {
        let part = &bytes[range[0]..range[1]];
        let at = begin_part(&site, part.len()).await;
        let answer = send(&site, &at, 0, part).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(text(&answer, "media-id"), None, "a part is no picture");
        assert_eq!(text(&head(&site, &at).await, "upload-concat"), Some("partial"));
        parts.push(at);
    }
    let concat = format!("final;{} http://{}{} {}", parts[0], World::HOST, parts[1], parts[2]);
    let unite = async || {
        let request = tus(&site, Method::POST, "/v1/tus")
            .header("upload-concat", &concat)
            .header("upload-metadata", "filename YS5ibXA=");
        request.send().await.unwrap()
    };
    // All at once, and again: there is one picture.
    let answers = join_all((0..3).map(|_| unite())).await;
    let mut made = Vec::new();
    for answer in answers {
        match answer.status().as_u16() {
            201 => made.push((text(&answer, "location").unwrap().to_owned(), accepted(&answer))),
            423 => drop(problem(answer, 423, "upload-busy").await),
            other => panic!("{other}"),
        }
    }
    let answer = unite().await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let (at, (media, job)) = (text(&answer, "location").unwrap().to_owned(), accepted(&answer));
    assert!(
        made.iter()
            .all(|one| *one == (at.clone(), (media.clone(), job.clone()))),
        "{made:?}"
    );
    let answer = head(&site, &at).await;
    assert_eq!(number(&answer, "upload-offset"), Some(bytes.len()));
    assert_eq!(number(&answer, "upload-length"), Some(bytes.len()));
    assert_eq!(
        text(&answer, "upload-concat"),
        Some(format!("final;{}", parts.join(" ")).as_str())
    );
    problem(send(&site, &at, bytes.len(), b"").await, 403, "upload-is-final").await;
    assert_eq!(head(&site, &parts[0]).await.status(), StatusCode::GONE);
    becomes(&site, &media, &job, &bytes).await;
    settled(&site).await;
    site.close().await;
}

async fn a_final_upload_needs_whole_parts_of_its_tenant(world: World) {
    let site = Site::of(world).await;
    let bytes = sample::small(1);
    let (part, whole) = (begin_part(&site, bytes.len()).await, begin(&site, bytes.len()).await);
    send(&site, &part, 0, &bytes[..100]).await;
    let unite = async |concat: String| {
        let request = tus(&site, Method::POST, "/v1/tus").header("upload-concat", concat);
        request.send().await.unwrap()
    };
    problem(unite(format!("final;{part}")).await, 400, "bad-request").await;
    problem(unite(format!("final;{whole}")).await, 400, "bad-request").await;
    problem(
        unite("final;/v1/tus/01hzzzzzzzzzzzzzzzzzzzzzzz".into()).await,
        404,
        "not-found",
    )
    .await;
    let request = tus(&site, Method::POST, "/v1/tus").header("upload-concat", format!("final;{part}"));
    let answer = request.header("upload-length", bytes.len()).send().await.unwrap();
    problem(answer, 400, "bad-request").await;
    // What it becomes is judged like anything else.
    let noise = begin_part(&site, 200).await;
    send(&site, &noise, 0, &[7; 200]).await;
    problem(unite(format!("final;{noise}")).await, 415, "unsupported-media-type").await;
    problem(unite(format!("final;{noise}")).await, 410, "upload-gone").await;
    for at in [part, whole] {
        assert_eq!(
            tus(&site, Method::DELETE, &at).send().await.unwrap().status(),
            StatusCode::NO_CONTENT
        );
    }
    settled(&site).await;
    site.close().await;
}
