//! What an admin sees of the bot from outside.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use crate::scene::{Scene, is_in};

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The value of the counter whose name and labels are `line`.
fn value(metrics: &str, line: &str) -> u64 {
    let values =
        metrics.lines().filter_map(|other| other.strip_prefix(line)?.trim().parse::<u64>().ok());
    values.sum()
}

#[tokio::test]
async fn metrics_count_what_a_migration_did_and_name_nobody() {
    let address = free_address();
    let settings = json!({ "web": { "metrics": address } });
    let scene = Scene::with_settings("metrics", settings).await;
    let room = scene.private_room("Counted").await;
    let get = async |path: &str| reqwest::get(format!("http://{address}{path}")).await.unwrap();
    assert_eq!(get("/health").await.status(), 200);

    let chats = scene.planned().await;
    let metrics = get("/metrics").await.text().await.unwrap();
    assert_eq!(value(&metrics, "tern_migrations{phase=\"awaiting_go\"}"), 1, "{metrics}");
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &room).await);

    let metrics = get("/metrics").await.text().await.unwrap();
    assert_eq!(value(&metrics, "tern_migrations{phase=\"awaiting_go\"}"), 0, "{metrics}");
    assert_eq!(value(&metrics, "tern_migrations{phase=\"finished\"}"), 1, "{metrics}");
    for step in ["invite", "join"] {
        let counted = format!("tern_steps_total{{step=\"{step}\",outcome=\"done\"}}");
        assert_eq!(value(&metrics, &counted), 1, "{metrics}");
    }
    for server in [&scene.pair.old, &scene.pair.new] {
        let host = server.url().strip_prefix("http://").unwrap();
        let answered = format!("tern_requests_total{{server=\"{host}\",status=\"200\"}}");
        assert!(value(&metrics, &answered) > 0, "{metrics}");
    }
    assert!(!metrics.contains('@') && !metrics.contains("metrics-old"), "{metrics}");
}
