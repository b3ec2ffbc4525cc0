//! Where a store lies: URLs and files.

use crate::stage::*;
use nixie::store::Store;
use nixie::store::contract::StoreError;

#[tokio::test]
async fn urls_say_what_is_wrong_with_them() {
    for url in [
        "mysql://host/db",
        "sqlite:nixie.db",
        "sqlite://nixie.db",
        "sqlite:///var/lib/",
        "postgres://nixie:secret@host:port/db",
        "",
    ] {
        let error = Store::connect_lazy(url).await.unwrap_err();
        assert!(matches!(error, StoreError::Url { .. }), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let store = Store::connect_lazy("postgres://nixie:secret@localhost/db")
        .await
        .unwrap();
    assert!(!format!("{store:?}").contains("secret"));
}

#[tokio::test]
async fn a_file_that_is_not_there_is_passing() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/nixie.db", directory.path().display());
    let store = Store::connect_lazy(&url).await.unwrap();
    assert!(store.check().await.unwrap_err().is_passing());
    store.migrate().await.unwrap();
    store.check().await.unwrap();
}

/// Addresses are personal data.
#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::sqlite();
    let store = stage.open().await;
    commit(&store, &batch([telling("a", "dead@example.org", 0)])).await;
    let path = std::path::PathBuf::from(stage.url.strip_prefix("sqlite://").unwrap());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
