//! Every route of the listener, taken from its own table of rules, by everybody who might come.

use laked_catalog::access::{Needs, Role};
use serde_json::{Value, json};

use super::Guarded;

/// The namespace of the callers with a scope.
const OWN: &str = "glucose";

/// A route whose rule is there before it.
const TO_COME: &str = "/v1/namespaces/{namespace}/tables/{table}/unregister";

/// A path with its parameters filled in.
fn path_of(route: &str, namespace: &str) -> String {
    let path = route.replace("{namespace}", namespace).replace("{*rest}", "nothing");
    let mut path = path.replace("{table}", "none").replace("{view}", "none").replace("{plan}", "none");
    path = path.replace("{token}", "none").replace("{run}", "none");
    assert!(!path.contains('{'), "a parameter that the walk does not know: {path}");
    path
}

/// A body that names a namespace, for the routes whose path does not.
fn body_of(route: &str, namespace: &str) -> Value {
    match route {
        "/v1/namespaces" => json!({ "namespace": [namespace, "below"] }),
        "/v1/tables/rename" | "/v1/views/rename" => json!({
            "source": { "namespace": [namespace], "name": "none" },
            "destination": { "namespace": [namespace], "name": "other" },
        }),
        "/v1/transactions/commit" => json!({ "table-changes": [{
            "identifier": { "namespace": [namespace], "name": "none" }, "requirements": [], "updates": [],
        }] }),
        "/access/tokens" => json!({ "role": "reader" }),
        _ => Value::Null,
    }
}

/// Whether such a caller of [`OWN`] may use the route there.
fn may(role: Role, needs: Needs) -> bool {
    match needs {
        Needs::Nothing | Needs::Known => true,
        Needs::Within(needed) | Needs::Dotted(needed) | Needs::Named(needed) => role >= needed,
        Needs::Whole(needed) => role == Role::Admin && role >= needed,
    }
}

#[test]
fn each_route_lets_in_whom_its_rule_says_and_nobody_else() {
    let guarded = Guarded::new();
    let scoped = ["--namespace", OWN];
    let callers = [
        (Role::Reader, guarded.token("reader", &scoped)),
        (Role::Writer, guarded.token("writer", &scoped)),
        (Role::Admin, guarded.token("admin", &[])),
    ];
    let expired = guarded.token("admin", &["--expires", "1ms"]);
    let revoked = guarded.token("admin", &[]);
    super::lakectl(&["token", "revoke", "--lake", &guarded.lake(), &revoked.id]);
    let wrong = format!("{}{}", &revoked.text[..revoked.text.len() - 4], "beef");
    let nobody = [None, Some(wrong.as_str()), Some("None"), Some(&expired.text), Some(&revoked.text)];

    let rules = laked::daemon::rules();
    assert!(rules.len() > 35, "only {} rules", rules.len());
    for (method, route, needs) in rules {
        let method = if method == "*" { "PUT" } else { method };
        let admin = &callers[2].1.text;
        let asked = guarded.send(method, &path_of(route, "nowhere"), Some(admin), &Value::Null);
        if asked.body.contains("NoSuchEndpointException") && !route.contains("{*rest}") {
            assert_eq!(route, TO_COME, "a rule for a route that is not there");
            continue;
        }
        let refused = |status: u16| matches!(status, 401 | 403);
        let own = |token: Option<&str>| guarded.send(method, &path_of(route, OWN), token, &body_of(route, OWN)).status;
        for token in nobody {
            let status = own(token);
            if needs == Needs::Nothing {
                // A login without credentials is refused by the login itself.
                assert!(route == "/health" || status == 400, "{method} {route}: {status}");
            } else {
                assert_eq!(status, 401, "{method} {route} by nobody");
            }
        }
        for (role, token) in &callers {
            if needs != Needs::Nothing {
                let status = own(Some(&token.text));
                assert_eq!(!refused(status), may(*role, needs), "{method} {route} by {role:?}: {status}");
            }
        }
        let elsewhere =
            |token: &str| guarded.send(method, &path_of(route, "finance"), Some(token), &body_of(route, "finance"));
        let bounded = matches!(needs, Needs::Within(_) | Needs::Dotted(_) | Needs::Whole(_))
            || (matches!(needs, Needs::Named(_)) && method != "GET");
        for (role, token) in callers.iter().filter(|(role, _)| bounded && *role != Role::Admin) {
            let answer = elsewhere(&token.text);
            assert_eq!(answer.status, 403, "{method} {route} elsewhere by {role:?}: {}", answer.body);
        }
    }
}

#[test]
fn health_tells_its_reasons_only_to_whom_it_knows() {
    let guarded = Guarded::new();
    let reader = guarded.token("reader", &[]);
    let told = |token: Option<&str>| guarded.send("GET", "/health", token, &Value::Null).body;
    assert!(!told(None).contains("reasons") && told(None).contains("ready"));
    assert!(told(Some(&reader.text)).contains("reasons"));
}
