//! Who may download: the reviews by the cluster.

use super::*;

#[tokio::test]
async fn only_authorized_users_may_download() {
    let lab = Lab::new().await;
    for (token, status, message) in [
        (None, 401, "Unauthorized\n"),
        (Some("wrong"), 401, "Unauthorized\n"),
        (Some("stranger"), 403, "Forbidden (user=stranger, verb=get, resource=deployments, subresource=cli-binary)\n"),
        (Some("good"), 200, ""),
    ] {
        let (code, _, body) = lab.request("GET", &format!("/v1/images/{HELLO}/tags"), token).await;
        assert_eq!(code, status, "{token:?}");
        assert!(message.is_empty() || body == message.as_bytes(), "{token:?}: {body:?}");
        // Other users do not learn which images exist.
        let (code, ..) = lab.request("GET", "/v1/images/other/tags", token).await;
        assert_eq!(code, if status == 200 { 404 } else { status }, "{token:?}");
    }
    assert_eq!(lab.request("GET", "/healthz", None).await.0, 200);

    let reviews = lab.reviews.lock().unwrap();
    let access = reviews.iter().rfind(|review| review["kind"] == "SubjectAccessReview").unwrap();
    assert_eq!(
        access["spec"],
        json!({
            "user": "system:serviceaccount:x:good", "uid": "1", "groups": ["g"], "extra": {"k": ["v"]},
            "resourceAttributes": {
                "namespace": "d8-cloud-instance-manager", "verb": "get", "group": "apps", "version": "v1",
                "resource": "deployments", "subresource": "cli-binary", "name": "registry-packages-proxy",
            },
        })
    );
}

#[tokio::test]
async fn reviews_are_cached() {
    let lab = Lab::new().await;
    let path = format!("/v1/images/{HELLO}/tags");
    let requests =
        (0..20).flat_map(|_| ["good", "stranger", "wrong"]).map(|token| lab.request("GET", &path, Some(token)));
    let answers = futures::future::join_all(requests).await;
    for (number, (code, ..)) in answers.iter().enumerate() {
        assert_eq!(*code, [200, 403, 401][number % 3]);
    }
    let reviews = lab.reviews.lock().unwrap();
    let of = |kind: &str| reviews.iter().filter(|review| review["kind"] == kind).count();
    assert_eq!(
        (of("TokenReview"), of("SubjectAccessReview")),
        (3, 2),
        "denials are cached, too, and concurrent requests share a review"
    );
}

#[tokio::test]
async fn requests_fail_while_the_cluster_is_unreachable() {
    let unreachable = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lab = Lab::with_cluster(unreachable, Reviews::default());
    let (code, _, body) = lab.request("GET", &format!("/v1/images/{HELLO}/tags"), Some("good")).await;
    assert_eq!(code, 500);
    assert!(String::from_utf8(body).unwrap().starts_with("the cluster could not be asked"));
}
