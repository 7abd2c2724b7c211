//! An issuer of our own: keys made here, or (RSA, which nothing here can make) one key's public half and a token.

use std::sync::atomic::{AtomicUsize, Ordering};

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::super::caller::Role;
use super::*;

/// Signed with RS256 by a key that is nowhere kept; it ends in 2096.
const RSA_TOKEN: &[&str] = &[
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InIiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkI",
    "joibGFrZWQiLCJzdWIiOiJyc2EiLCJleHAiOjQwMDAwMDAwMDAsInJvbGUiOiJyZWFkZXIifQ.UXZfgKnvdvHvrlEsO08r9GoRI_",
    "GEWng-z5xP8owAX1ExexFsSeA_n3TBIzQdeHa8rjeU3CT9oLnL188rahOFclkM2LMo6QHRv7VHiH1NW3Z3Yp8fKKO4ZQISgKDnbG",
    "jcU-TowvuET_XTmD5V9Tt1szxsbPkQgY6ckzL-NhnRcY3GeJYIk2atkd2XrefrImJdaeR1W1fkHJUhhuou80ggbMZHgqtDP8a6gP",
    "YdmY7ALHpOMFf5UsYPcf89aMCSSVRSCGE1Z0jzoXVFNjmBmPepy_x19a2GmA9BkAXhT1_vKoiWK3vB77TSW8-H6UV6a_Yv_jTMMa",
    "8qc3WX6LugXm3xow",
];
const RSA_MODULUS: &[&str] = &[
    "lQaBlR5n1UJYcDrRKiflVYxXOfrFpnpteVQ6N98uhSCQkn7vk_oOLmciZP5ax8r71ENC9AtCRyJmdugYrNqewribuUYUUybnp0E_",
    "aHXRuCymzx8PgmV_dEePCed_MloNCkSeVnZ1dPzM4Wy9stJ4m2FJhiTyGQSIWAqOFofN0YYKlIIfIJB80BPOF08xd41VL9O0kLzO",
    "vBU9co-hAr8FMjzvAja3f_nwxoHd8FXXydIbxdSttqzEvc8xajypIPPHH2XYr4Tuhe-CQ8KUC2e11O0X8ENFcGanNwayV_-qMIup",
    "Ix09A0yMy-O3CFgyolRUi37dn5R_kqr4siyNbvzfMQ",
];

#[derive(Debug)]
struct Hands(Mutex<Duration>);

impl crate::system::Clock for Hands {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + i64::try_from(self.monotonic().as_millis()).expect("short")
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().expect("no panic")
    }

    fn pause(&self, time: Duration) {
        *self.0.lock().expect("no panic") += time;
    }
}

/// What the issuer publishes, and how often it was asked.
#[derive(Debug, Default)]
struct Published {
    keys: Mutex<Option<Value>>,
    asked: AtomicUsize,
}

impl KeySource for Published {
    fn fetch(&self) -> Result<Vec<u8>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let keys = self.keys.lock().expect("no panic").clone();
        let keys = keys.ok_or_else(|| Error::new(Kind::Unavailable, "the issuer is away"))?;
        Ok(json!({ "keys": keys }).to_string().into_bytes())
    }
}

struct Signer {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(kid: &'static str) -> Signer {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Signer { kid, pair: pair.expect("a key") }
    }

    fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "x": x, "y": y })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let parts = [header, claims].map(|value| URL_SAFE_NO_PAD.encode(value.to_string()));
        let signed = parts.join(".");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": "ES256", "kid": self.kid }), claims)
    }
}

struct Bench {
    oidc: Oidc,
    published: Arc<Published>,
    clock: Arc<Hands>,
}

impl Bench {
    fn new(keys: Value) -> Bench {
        let published = Arc::new(Published::default());
        *published.keys.lock().expect("no panic") = Some(keys);
        let clock = Arc::new(Hands(Mutex::new(Duration::from_secs(1))));
        let system = System { clock: clock.clone(), ..System::real() };
        let issuer = Issuer {
            issuer: "https://issuer.example".into(),
            audience: "laked".into(),
            role_claim: "role".into(),
            namespaces_claim: "lake.namespaces".into(),
        };
        Bench { oidc: Oidc::new(issuer, published.clone(), system), published, clock }
    }

    fn publish(&self, keys: Option<Value>) {
        *self.published.keys.lock().expect("no panic") = keys;
    }

    fn asked(&self) -> usize {
        self.published.asked.load(Ordering::SeqCst)
    }

    fn pass(&self, seconds: u64) {
        crate::system::Clock::pause(self.clock.as_ref(), Duration::from_secs(seconds));
    }
}

fn claims(change: Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "laked", "sub": "ann", "exp": 1_700_003_600, "role": "writer",
    });
    claims.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
    claims
}

#[test]
fn a_claim_names_the_role_and_another_the_namespaces() {
    let signer = Signer::new("k");
    let bench = Bench::new(json!([signer.public()]));
    let caller = |change: Value| bench.oidc.caller(&signer.token(&claims(change))).expect("believed");
    let plain = caller(json!({ "aud": ["other", "laked"] }));
    assert_eq!((plain.name.as_str(), plain.role, plain.scope), ("oidc:ann", Role::Writer, Scope::All));
    assert_eq!(caller(json!({ "role": ["other", "reader", "admin"] })).role, Role::Admin);
    let scoped = caller(json!({ "lake": { "namespaces": ["a.b"] } }));
    let ident = |text: &str| namespace(text).expect("a namespace");
    assert!(scoped.may(Role::Writer, &ident("a.b")).is_ok() && scoped.may(Role::Reader, &ident("a")).is_err());
    let nowhere = caller(json!({ "lake": { "namespaces": [] } }));
    assert!(nowhere.may(Role::Reader, &ident("a")).is_err(), "an empty list is no namespace");
}

#[test]
fn rs256_is_believed_too() {
    let key = json!({ "kty": "RSA", "kid": "r", "e": "AQAB", "n": RSA_MODULUS.concat() });
    let bench = Bench::new(json!([key]));
    let text = RSA_TOKEN.concat();
    assert_eq!(bench.oidc.caller(&text).expect("believed").name, "oidc:rsa");
    let forged = text.replacen("ey", "eZ", 1);
    assert!(bench.oidc.caller(&forged).is_err());
}

#[test]
fn what_is_not_the_issuers_for_us_and_now_is_not_believed() {
    let (signer, stranger) = (Signer::new("k"), Signer::new("k"));
    let bench =
        Bench::new(json!([signer.public(), { "kty": "RSA", "kid": "r", "e": "AQAB", "n": RSA_MODULUS.concat() }]));
    for change in [
        json!({ "iss": "https://other.example" }),
        json!({ "aud": "other" }),
        json!({ "aud": null }),
        json!({ "nbf": 1_700_000_100 }),
        json!({ "exp": "soon" }),
    ] {
        let found = bench.oidc.caller(&signer.token(&claims(change.clone())));
        assert!(matches!(found, Err(Unknown::Wrong)), "{change}");
    }
    let old = bench.oidc.caller(&signer.token(&claims(json!({ "exp": 1_699_999_900 }))));
    assert!(matches!(old, Err(Unknown::Expired)));
    let without = bench.oidc.caller(&signer.token(&claims(json!({ "role": "king" }))));
    assert!(matches!(without, Err(Unknown::NoRole)));
    assert!(bench.oidc.caller(&stranger.token(&claims(json!({})))).is_err(), "another's signature");
    for header in [
        json!({ "alg": "none", "kid": "k" }),
        json!({ "alg": "HS256", "kid": "k" }),
        json!({ "alg": "RS256", "kid": "k" }),
        json!({ "alg": "ES256", "kid": "r" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "ES256", "kid": "k", "crit": ["x"] }),
    ] {
        assert!(bench.oidc.caller(&signer.sign(&header, &claims(json!({})))).is_err(), "{header}");
    }
    let text = signer.token(&claims(json!({})));
    let unsigned = format!("{}.", text.rsplit_once('.').expect("three parts").0);
    for broken in [unsigned.as_str(), "", "ey", "ey.x", "ey.x.y", "a.b.c.d"] {
        assert!(bench.oidc.caller(broken).is_err(), "{broken}");
    }
}

#[test]
fn keys_come_and_go_and_the_issuer_is_not_asked_often() {
    let (first, second) = (Signer::new("1"), Signer::new("2"));
    let bench = Bench::new(json!([first.public()]));
    let (by_first, by_second) =
        (first.token(&claims(json!({ "exp": 1_800_000_000 }))), second.token(&claims(json!({ "exp": 1_800_000_000 }))));
    for _ in 0..3 {
        assert!(bench.oidc.caller(&by_first).is_ok());
        assert!(bench.oidc.caller(&by_second).is_err());
    }
    assert_eq!(bench.asked(), 1, "once in thirty seconds, whoever asks");
    bench.publish(Some(json!([first.public(), second.public()])));
    bench.pass(30);
    assert!(bench.oidc.caller(&by_second).is_ok(), "a new key is found");
    assert_eq!(bench.asked(), 2);
    bench.publish(None);
    bench.pass(3601);
    assert!(bench.oidc.caller(&by_first).is_ok(), "an issuer that is away leaves the keys");
    assert_eq!(bench.asked(), 3);
    bench.publish(Some(json!([second.public()])));
    bench.pass(30);
    assert!(bench.oidc.caller(&by_first).is_err(), "a key that is withdrawn is not believed");
    assert!(bench.oidc.caller(&by_second).is_ok());
}
