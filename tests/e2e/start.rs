//! What can be wrong when the bot starts. There is no chat then: the process ends with a message.

use std::{fs, path::Path, process::Command};

use lab::pair;

use crate::scene::TERN;

/// Runs the bot with this configuration, and gives what it said when it ended in failure.
fn fails(folder: &Path, config: &str) -> String {
    let path = folder.join("config.yaml");
    fs::write(&path, config).unwrap();
    let output = Command::new(TERN).arg("--config").arg(&path).output().unwrap();
    assert!(!output.status.success(), "the bot did not end in failure");
    String::from_utf8(output.stderr).unwrap()
}

fn config(url: &str, user_id: &str, password: &str, data: &Path) -> String {
    format!(
        "bot:\n  homeserver: {url}\n  user_id: \"{user_id}\"\n  password: \"{password}\"\n\
         storage:\n  path: {}\n",
        data.display()
    )
}

#[tokio::test]
async fn a_wrong_password_of_its_own_is_named() {
    let pair = pair().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bot = pair.old.account("badstart-tern").await.unwrap();
    let config = config(pair.old.url(), bot.user_id().as_str(), "wrong", folder.path());
    let said = fails(folder.path(), &config);
    assert!(said.contains("password"), "{said}");
    assert!(said.contains(bot.user_id().as_str()), "{said}");
}

#[test]
fn a_homeserver_that_is_down_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("http://127.0.0.1:9", "@tern:localhost:9", "secret", folder.path());
    let said = fails(folder.path(), &config);
    assert!(said.contains("127.0.0.1:9"), "{said}");
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let said = fails(folder.path(), "bot:\n  user_id: \"@tern:a.example\"\n  pasword: x\n");
    assert!(said.contains("pasword") && said.contains('3'), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // A file in its place: unlike permissions, this also stops a superuser.
    fs::write(&data, "").unwrap();
    let config = config("http://127.0.0.1:9", "@tern:localhost:9", "secret", &data);
    let said = fails(folder.path(), &config);
    assert!(said.contains(&data.display().to_string()), "{said}");
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named_with_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = config("http://127.0.0.1:9", "@tern:localhost:9", "secret", folder.path());
    let said = fails(folder.path(), &format!("{config}web:\n  metrics: {address}\n"));
    assert!(said.contains(&format!("web.metrics: cannot listen on {address}")), "{said}");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("registration.example.yaml");
    let said = fails(
        folder.path(),
        &format!(
            "{config}web:\n  listen: {address}\nappservices:\n  example.org:\n    \
             registration: {}\n",
            example.display()
        ),
    );
    assert!(said.contains(&format!("web.listen: cannot listen on {address}")), "{said}");
}

#[test]
fn a_homeserver_that_answers_garbage_is_named() {
    // A fake: no real homeserver answers like this.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut connection = connection;
            let mut request = [0; 4096];
            let _read = std::io::Read::read(&mut connection, &mut request);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            let _written = std::io::Write::write_all(&mut connection, answer.as_bytes());
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{address}");
    let said = fails(folder.path(), &config(&url, "@tern:a.example", "secret", folder.path()));
    assert!(said.contains(&address.to_string()), "{said}");
}
