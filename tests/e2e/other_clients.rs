use std::{path::Path, process::Stdio, time::Duration};

use lab::install;
use tokio::{process::Command, time};

use crate::scene::Scene;

/// Enough for a login, a chat and two answers on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn an_independent_client_chats_with_the_bot_encrypted() {
    nio_chats_with(&Scene::new("nio").await).await;
}

/// Says `help` and `status` to the bot, as the old account.
pub(crate) async fn nio_chats_with(scene: &Scene<'_>) {
    let python = install::nio().await.unwrap();
    let store = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/other_clients.py");
    let output = Command::new(python)
        .arg(script)
        .args([scene.old.url(), scene.old.user_id().as_str(), scene.old.password()])
        .arg(scene.bot.user_id().as_str())
        .arg(store.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = time::timeout(PATIENCE, output).await.unwrap().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
