//! An OpenID Connect issuer on this machine, and callers who hold its tokens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::Guarded;

/// The issuer: its URL, and the key it signs with. Its server ends with the test's process.
struct Issuer {
    url: String,
    pair: EcdsaKeyPair,
}

impl Issuer {
    fn start() -> Issuer {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        let pair = pair.expect("a key");
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let keys = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y }] });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let description = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let lines: Vec<String> =
                    reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let body = match lines.first().map(String::as_str) {
                    Some("GET /.well-known/openid-configuration HTTP/1.1") => description.to_string(),
                    Some("GET /keys HTTP/1.1") => keys.to_string(),
                    _ => String::new(),
                };
                let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = reader.into_inner().write_all((head + &body).as_bytes());
            }
        });
        Issuer { url, pair }
    }

    fn token(&self, claims: &Value) -> String {
        let mut all = json!({ "iss": self.url, "aud": "laked", "sub": "ann", "exp": 4_000_000_000_u64 });
        all.as_object_mut().expect("an object").extend(claims.as_object().expect("an object").clone());
        let parts = [json!({ "alg": "ES256", "kid": "k" }), all].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn an_issuers_tokens_are_believed_for_what_their_claims_say() {
    let issuer = Issuer::start();
    let guarded = Guarded::with(&[("OIDC_ISSUER", &issuer.url), ("OIDC_AUDIENCE", "laked")]);
    let writer = issuer.token(&json!({ "laked_role": "writer", "laked_namespaces": ["glucose"] }));
    let status =
        |method: &str, path: &str, token: &str, body: &Value| guarded.send(method, path, Some(token), body).status;
    assert_eq!(status("GET", "/v1/namespaces/glucose", &writer, &Value::Null), 200);
    assert_eq!(status("GET", "/v1/namespaces/finance", &writer, &Value::Null), 403);
    assert_eq!(status("GET", "/status", &writer, &Value::Null), 403);
    assert_eq!(status("POST", "/v1/namespaces", &writer, &json!({ "namespace": ["glucose", "x"] })), 200);
    let reader = issuer.token(&json!({ "laked_role": ["x", "reader"] }));
    assert_eq!(status("POST", "/v1/namespaces", &reader, &json!({ "namespace": ["y"] })), 403);
    assert_eq!(status("GET", "/v1/namespaces/finance", &reader, &Value::Null), 404, "there is none, he is told");
    let nobody =
        [json!({ "aud": "other", "laked_role": "admin" }), json!({ "exp": 1_000_000_000, "laked_role": "admin" })];
    for claims in nobody {
        assert_eq!(status("GET", "/v1/config", &issuer.token(&claims), &Value::Null), 401, "{claims}");
    }
    assert_eq!(status("GET", "/v1/config", &issuer.token(&json!({})), &Value::Null), 403, "no role");
    assert_eq!(
        status(
            "GET",
            "/v1/config",
            &Issuer { url: issuer.url.clone(), ..Issuer::start() }.token(&json!({})),
            &Value::Null
        ),
        401
    );
    let log = guarded.log();
    assert!(log.lines().any(|line| line.contains("oidc:ann") && line.contains("glucose.x")), "{log}");
    let (_, hidden) = writer.rsplit_once('.').expect("a signature");
    assert!(!log.contains(hidden), "a token is in the log");
}
