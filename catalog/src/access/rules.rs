//! What each route needs. One table a router; whoever adds a route adds its line, or it is refused.

use super::caller::Role;

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it is how one logs in, or what a load balancer asks.
    Nothing,
    /// Anybody who is known.
    Known,
    /// A role in the namespace of the path's `{namespace}`, its levels joined by U+001F.
    Within(Role),
    /// A role in the namespace of the path's `{namespace}`, its levels joined by dots.
    Dotted(Role),
    /// A role here; the namespaces are in the body, so the handler asks [`Caller::may`](super::Caller::may) for each.
    Named(Role),
    /// A role, and all namespaces.
    Whole(Role),
}

impl Needs {
    /// Whether the route changes something: it gets a line in the audit log. Admins' reading is no change.
    pub fn changes(self, method: &str) -> bool {
        let reads = matches!(method, "GET" | "HEAD" | "OPTIONS");
        match self {
            Needs::Nothing | Needs::Known => false,
            Needs::Within(role) | Needs::Dotted(role) | Needs::Named(role) | Needs::Whole(role) => {
                role >= Role::Writer && !reads
            }
        }
    }
}

/// A route's method (`*` for any without a line of its own), its path as it is routed, and what it needs. `GET` stands
/// for `HEAD` too.
pub type Rule = (&'static str, &'static str, Needs);

const READ: Needs = Needs::Within(Role::Reader);
const WRITE: Needs = Needs::Within(Role::Writer);

/// The rules of the catalog's own routes.
pub const RULES: &[Rule] = &[
    ("POST", "/v1/oauth/tokens", Needs::Nothing),
    ("GET", "/v1/config", Needs::Known),
    // A list holds only what its caller gets to see.
    ("GET", "/v1/namespaces", Needs::Named(Role::Reader)),
    ("POST", "/v1/namespaces", Needs::Named(Role::Writer)),
    ("GET", "/v1/namespaces/{namespace}", READ),
    ("DELETE", "/v1/namespaces/{namespace}", WRITE),
    ("POST", "/v1/namespaces/{namespace}/properties", WRITE),
    ("GET", "/v1/namespaces/{namespace}/tables", READ),
    ("POST", "/v1/namespaces/{namespace}/tables", WRITE),
    ("POST", "/v1/namespaces/{namespace}/register", WRITE),
    ("GET", "/v1/namespaces/{namespace}/tables/{table}", READ),
    ("POST", "/v1/namespaces/{namespace}/tables/{table}", WRITE),
    ("DELETE", "/v1/namespaces/{namespace}/tables/{table}", WRITE),
    ("POST", "/v1/namespaces/{namespace}/tables/{table}/unregister", WRITE),
    // Readers report what they scanned, and have scans planned.
    ("POST", "/v1/namespaces/{namespace}/tables/{table}/metrics", READ),
    ("GET", "/v1/namespaces/{namespace}/tables/{table}/metrics", READ),
    ("POST", "/v1/namespaces/{namespace}/tables/{table}/undrop", WRITE),
    ("POST", "/v1/namespaces/{namespace}/tables/{table}/plan", READ),
    ("GET", "/v1/namespaces/{namespace}/tables/{table}/plan/{plan}", READ),
    ("DELETE", "/v1/namespaces/{namespace}/tables/{table}/plan/{plan}", READ),
    ("POST", "/v1/namespaces/{namespace}/tables/{table}/tasks", READ),
    ("POST", "/v1/tables/rename", Needs::Named(Role::Writer)),
    ("POST", "/v1/transactions/commit", Needs::Named(Role::Writer)),
    ("GET", "/v1/namespaces/{namespace}/views", READ),
    ("POST", "/v1/namespaces/{namespace}/views", WRITE),
    ("POST", "/v1/namespaces/{namespace}/register-view", WRITE),
    ("GET", "/v1/namespaces/{namespace}/views/{view}", READ),
    ("POST", "/v1/namespaces/{namespace}/views/{view}", WRITE),
    ("DELETE", "/v1/namespaces/{namespace}/views/{view}", WRITE),
    ("POST", "/v1/views/rename", Needs::Named(Role::Writer)),
    // What is not there; clients ask, and are told so.
    ("*", "/v1/{*rest}", Needs::Known),
    ("GET", "/access/tokens", Needs::Whole(Role::Admin)),
    ("POST", "/access/tokens", Needs::Whole(Role::Admin)),
    ("DELETE", "/access/tokens/{token}", Needs::Whole(Role::Admin)),
];

/// What a route needs: the rule of its method, else of any method.
pub fn find(rules: &[Rule], method: &str, path: &str) -> Option<Needs> {
    let of = |method: &str| rules.iter().find(|(m, p, _)| *m == method && *p == path).map(|(_, _, needs)| *needs);
    let read = || if method == "HEAD" { of("GET") } else { None };
    of(method).or_else(read).or_else(|| of("*"))
}

/// The methods that a path has rules for.
pub fn methods<'a>(rules: &'a [Rule], path: &'a str) -> impl Iterator<Item = &'static str> + 'a {
    rules.iter().filter(move |(method, p, _)| *p == path && *method != "*").map(|(method, _, _)| *method)
}
