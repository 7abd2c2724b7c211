//! TLS: certificates of files, read again when they change.

use std::path::Path;

use super::{Guarded, lakectl_as};

/// A fresh certificate of this machine that vouches for itself, and its key, in these files.
fn renew(certificate: &Path, key: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(certificate, made.cert.pem()).expect("writes");
    std::fs::write(key, made.signing_key.serialize_pem()).expect("writes");
    made.cert.pem()
}

#[test]
fn lakectl_speaks_tls_and_a_new_certificate_is_taken_up() {
    let files = tempfile::tempdir().expect("a folder");
    let file = |name: &str| files.path().join(name);
    let (certificate, key, believed) = (file("tls.pem"), file("tls.key"), file("believed.pem"));
    let first = renew(&certificate, &key);
    std::fs::write(&believed, &first).expect("writes");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let guarded = Guarded::with(&[("TLS_CERTIFICATE", &text(&certificate)), ("TLS_KEY", &text(&key))]);
    let url = guarded.daemon.url.clone();
    assert!(url.starts_with("https://"), "{url}");
    let reader = guarded.token("reader", &[]);
    let believed_text = text(&believed);
    let list = ["--url", &url, "--ca-file", &believed_text, "table", "list"];
    let (well, said) = lakectl_as(Some(&reader.text), &list);
    assert!(well, "{said}");
    assert!(!lakectl_as(Some(&reader.text), &["--url", &url, "table", "list"]).0, "nobody vouches for it");
    let plain = url.replace("https", "http");
    assert!(!lakectl_as(Some(&reader.text), &["--url", &plain, "table", "list"]).0, "no plain HTTP beside it");

    let second = renew(&certificate, &key);
    std::fs::write(&believed, &second).expect("writes");
    guarded.daemon.until("the new certificate is taken up", || lakectl_as(Some(&reader.text), &list).0);
    // What cannot be used is not taken up.
    std::fs::write(&certificate, "nothing").expect("writes");
    assert!(lakectl_as(Some(&reader.text), &list).0);
}
