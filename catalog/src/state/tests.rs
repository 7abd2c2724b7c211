//! One suite over SQLite in a file, SQLite in memory, and PostgreSQL; then what only several sessions can show.

use std::collections::BTreeMap;

use super::{
    Database, DeletionRow, Dropped, Keep, Kept, LIFETIME_MS, RUNNING, RunRow, Sort, State, Swap, TokenRow, Which,
};
use crate::error::Kind;
use crate::postgres_server::PostgresServer;

fn postgres(server: &PostgresServer) -> Database {
    server.url().parse().expect("a URL")
}

fn move_of(name: &str, from: Option<&str>, to: &str) -> Swap {
    Swap {
        sort: Sort::Table,
        namespace: "n".into(),
        name: name.into(),
        from: from.map(str::to_string),
        to: to.to_string(),
        body: None,
    }
}

fn namespace(state: &State, name: &str) {
    assert!(state.add_namespace(name, &BTreeMap::new()).expect("adds"), "{name}");
}

fn suite(state: &State) {
    namespaces_are_kept_in_order_of_their_bytes(state);
    pointers_move_all_or_none(state);
    names_are_one_space_and_move(state);
    an_answer_is_kept_with_what_it_answers(state);
    requests_that_share_a_transaction_keep_their_own_answers(state);
    a_dropped_table_comes_back_once_unless_purged(state);
    tokens_are_kept_and_revoked_once(state);
    deletions_are_kept_until_they_end(state);
    a_run_claims_its_table_until_it_ends_or_is_late(state);
    state.settle().expect("settles");
}

fn deletions_are_kept_until_they_end(state: &State) {
    let row = |run: &str, part, due_ms| DeletionRow {
        run: run.into(),
        part,
        table: "u".into(),
        namespace: "n".into(),
        name: "t".into(),
        due_ms,
        again_ms: due_ms,
        files: vec![0, 1, 255],
    };
    let (first, second) = (row("a", 0, 5), row("a", 1, 5));
    state.set_deletions("a", &[first.clone(), second.clone(), row("a", 2, 5)]).expect("are kept");
    state.set_deletions("b", &[row("b", 0, 9)]).expect("are kept");
    state.set_deletions("a", &[first.clone(), second.clone()]).expect("are replaced");
    assert_eq!(state.deletions_of("u").expect("reads"), [first.clone(), second.clone(), row("b", 0, 9)]);
    assert_eq!(state.deletion_at(4).expect("reads"), None);
    assert_eq!(state.deletion_at(5).expect("reads"), Some(first));
    state.put_off_deletion("a", 0, 20).expect("is put off");
    assert_eq!(state.deletion_at(10).expect("reads"), Some(second));
    state.end_deletion("a", 1).expect("ends");
    state.end_deletion("b", 0).expect("ends");
    assert_eq!(state.next_deletion_ms().expect("reads"), Some(20));
    let put_off = state.deletion_at(20).expect("reads").expect("a row");
    assert_eq!((put_off.due_ms, put_off.again_ms), (5, 20));
    state.set_deletions("a", &[]).expect("ends");
    assert_eq!(state.next_deletion_ms().expect("reads"), None);
}

fn a_run_claims_its_table_until_it_ends_or_is_late(state: &State) {
    let row = |id: &str, name: &str, owner: &str, began_ms| RunRow {
        id: id.into(),
        owner: owner.into(),
        namespace: "n".into(),
        name: name.into(),
        task: "compact".into(),
        state: RUNNING.into(),
        why: "w".into(),
        began_ms,
        ended_ms: None,
        deadline_ms: began_ms + 100,
        sequence: 7,
        report: vec![b'{', b'}'],
        table_uuid: "x".into(),
    };
    let begin = |row: &RunRow| state.begin_run(row).expect("writes");
    let (first, other) = (row("a", "t", "one", 10), row("b", "t", "two", 50));
    assert!(begin(&first) && !begin(&other), "one of a table at a time");
    assert!(begin(&row("c", "u", "two", 60)), "another table is free");
    assert!(begin(&row("d", "t", "two", 110)), "whose deadline has come holds nothing");
    state.end_run("d", "done", 120, b"[1]").expect("ends");
    state.end_run("d", "failed", 130, b"[2]").expect("it has ended already");
    let ended =
        RunRow { state: "done".into(), ended_ms: Some(120), report: b"[1]".to_vec(), ..row("d", "t", "two", 110) };
    assert_eq!(state.run("d").expect("reads"), Some(ended.clone()));
    assert_eq!(state.cut_off_runs("one", "cut-off", 200).expect("ends"), [first]);
    assert_eq!(state.cut_off_runs("one", "cut-off", 300).expect("none is left"), []);
    let ids =
        |which: Which<'_>| state.runs(&which, 10).expect("lists").into_iter().map(|run| run.id).collect::<String>();
    let (all, of_t) = (Which::default(), Which { table: Some(("n", "t")), ..Which::default() });
    assert_eq!((ids(all), ids(of_t)), ("dca".to_string(), "da".to_string()));
    assert_eq!(ids(Which { before: Some((110, "d")), ..of_t }), "a");
    assert_eq!(ids(Which { task: Some("expire"), ..of_t }), "");
    assert_eq!(state.runs(&all, 1).expect("lists"), [ended]);
    // Old ones are forgotten, by age and by number: never one that goes on, nor the newest of a task on a table that is
    // there, as `u` is and `t` is not.
    let left = |from_ms, most| {
        state.forget_runs(Keep { from_ms, most }).expect("forgets");
        ids(all)
    };
    assert_eq!(left(110, 100), "dc", "c goes on");
    state.end_run("c", "done", 120, b"").expect("ends");
    assert_eq!(left(1000, 100), "c", "u was compacted then, however long ago");
    assert!(begin(&row("e", "u", "one", 400)));
    state.end_run("e", "done", 401, b"").expect("ends");
    assert_eq!(left(0, 2), "ec");
    assert_eq!(left(0, 1), "e", "c is not the newest any more");
    assert!(begin(&RunRow { task: "expire".into(), ..row("f", "u", "three", 500) }));
    assert_eq!(left(0, 1), "fe", "of each task one");
    assert_eq!(ids(Which { table: Some(("n", "u")), task: Some("compact"), before: None }), "e");
    let is_running = || state.run("f").expect("reads").is_some_and(|run| run.state == RUNNING);
    state.cut_off_late_runs(600, "cut-off", 700).expect("looks");
    assert!(is_running(), "its deadline is not past");
    state.cut_off_late_runs(601, "cut-off", 700).expect("ends");
    assert!(!is_running(), "its daemon never came back");
}

fn tokens_are_kept_and_revoked_once(state: &State) {
    assert!(!state.any_token().expect("reads"));
    let text = |text: &str| text.to_string();
    let forever = TokenRow {
        id: text("b"),
        label: text("l"),
        role: text("reader"),
        namespaces: text("[\"a\"]"),
        hash: text("h"),
        made_ms: 2,
        expires_ms: None,
        revoked_ms: None,
    };
    let ending = TokenRow { id: text("a"), expires_ms: Some(5), ..forever.clone() };
    state.add_token(&forever).expect("adds");
    state.add_token(&ending).expect("adds");
    assert_eq!(state.tokens().expect("lists"), [ending, forever.clone()]);
    assert!(state.revoke_token("b", 9).expect("revokes") && !state.revoke_token("b", 10).expect("is revoked"));
    assert!(!state.revoke_token("c", 9).expect("there is none"));
    assert_eq!(state.token("b").expect("reads"), Some(TokenRow { revoked_ms: Some(9), ..forever }));
    assert_eq!(state.token("c").expect("reads"), None);
    assert!(state.any_token().expect("reads"));
    assert_eq!(state.session_key("first").expect("keeps"), "first");
    assert_eq!(state.session_key("second").expect("is kept"), "first");
}

fn namespaces_are_kept_in_order_of_their_bytes(state: &State) {
    let names = ["a", "Z", "é", "a b", "a\u{1f}b", "n", "a.b", "日本"];
    names.iter().for_each(|name| namespace(state, name));
    let mut sorted = names.map(str::to_string);
    sorted.sort();
    assert_eq!(state.namespaces().expect("lists"), sorted);
    assert!(!state.add_namespace("é", &BTreeMap::new()).expect("is there"));
    let properties = BTreeMap::from([("k\"ey".to_string(), "välue\n".to_string())]);
    assert!(state.set_namespace("é", &BTreeMap::new(), &properties).expect("sets"));
    assert!(!state.set_namespace("é", &BTreeMap::new(), &properties).expect("has others now"));
    assert!(!state.set_namespace("none", &BTreeMap::new(), &properties).expect("no such"));
    assert_eq!(state.namespace("é").expect("reads"), Some(properties));
    assert_eq!(state.namespace("none").expect("reads"), None);
    assert_eq!(state.remove_namespace("a").expect_err("has one below").kind(), Kind::Conflict);
    assert!(state.remove_namespace("a\u{1f}b").expect("is empty"));
    assert!(state.remove_namespace("a").expect("'a b' and 'a.b' are not below it"));
    assert!(!state.remove_namespace("a").expect("is gone"));
}

fn pointers_move_all_or_none(state: &State) {
    let pointer = |name: &str| state.pointer(Sort::Table, "n", name).expect("reads");
    assert!(state.swap(&[move_of("t", None, "t0"), move_of("u", None, "u0")]).expect("makes"));
    assert!(!state.swap(&[move_of("v", None, "v0"), move_of("t", None, "t1")]).expect("t is there"));
    assert_eq!((pointer("t"), pointer("v")), (Some("t0".into()), None));
    assert!(!state.swap(&[move_of("u", Some("u0"), "u1"), move_of("t", Some("x"), "t1")]).expect("t is not at x"));
    assert_eq!(pointer("u"), Some("u0".into()));
    assert!(state.swap(&[move_of("u", Some("u0"), "u1"), move_of("t", Some("t0"), "t1")]).expect("moves"));
    assert_eq!((pointer("t"), pointer("u")), (Some("t1".into()), Some("u1".into())));
    let orphan = Swap { namespace: "none".into(), ..move_of("t", None, "x") };
    assert!(!state.swap(&[orphan]).expect("there is no such namespace"));
    assert_eq!(state.remove_namespace("n").expect_err("has tables").kind(), Kind::Conflict);
}

fn names_are_one_space_and_move(state: &State) {
    let view = |name: &str| Swap { sort: Sort::View, ..move_of(name, None, "w0") };
    assert!(!state.swap(&[view("t")]).expect("a table has that name"));
    assert!(state.swap(&[view("w")]).expect("makes"));
    let names = |sort| state.names(sort, "n").expect("lists");
    assert_eq!((names(Sort::Table), names(Sort::View)), (vec!["t".to_string(), "u".into()], vec!["w".to_string()]));
    assert_eq!(state.pointer(Sort::Table, "n", "w").expect("reads"), None);
    assert_eq!(state.rename(Sort::Table, ("n", "t"), ("n", "w")).expect_err("taken").kind(), Kind::Exists);
    assert_eq!(state.rename(Sort::Table, ("n", "t"), ("none", "t")).expect_err("no such").kind(), Kind::NotFound);
    assert!(!state.rename(Sort::View, ("n", "t"), ("n", "x")).expect("t is no view"));
    assert!(state.rename(Sort::Table, ("n", "t"), ("Z", "T")).expect("moves"));
    assert_eq!(state.pointer(Sort::Table, "Z", "T").expect("reads"), Some("t1".into()));
    assert!(!state.remove(Sort::View, "Z", "T").expect("is a table"));
    assert!(state.remove(Sort::Table, "Z", "T").expect("removes"));
    assert!(!state.remove(Sort::Table, "Z", "T").expect("is gone"));
}

fn an_answer_is_kept_with_what_it_answers(state: &State) {
    let (key, request, body) = ("k".to_string(), vec![0, 1, 255], vec![0xff, 0]);
    let kept = Kept { key, request, status: 200, body, kept_ms: 1 << 40 };
    let answering = state.answering(kept.clone());
    let pointer = || state.pointer(Sort::Table, "n", "u").expect("reads");
    assert!(!answering.swap(&[move_of("u", Some("x"), "y")]).expect("u is not at x"));
    assert!(answering.swap(&[move_of("u", Some("u1"), "u2")]).expect("the answer was not kept with a failure"));
    assert!(!answering.swap(&[move_of("u", Some("u2"), "u3")]).expect("the key is taken"));
    assert_eq!(answering.remove(Sort::Table, "n", "u").expect_err("the key is taken").kind(), Kind::Conflict);
    assert_eq!(pointer(), Some("u2".into()));
    assert_eq!(state.answer("k").expect("reads"), Some(kept.clone()));
    assert_eq!(state.answer("none").expect("reads"), None);
    let later = Kept { kept_ms: kept.kept_ms + LIFETIME_MS + 1, status: 409, ..kept };
    assert!(state.keep(&later).expect("the old one has expired"));
    assert!(!state.keep(&later).expect("and this one has not"));
    assert_eq!(state.answer("k").expect("reads"), Some(later));
}

/// Requests that share a transaction keep an answer each, and only those that had theirs done.
fn requests_that_share_a_transaction_keep_their_own_answers(state: &State) {
    let names: Vec<String> = (0..32).map(|n| format!("shared-{n:02}")).collect();
    let kept_ms = 1 << 41;
    std::thread::scope(|scope| {
        for (n, name) in names.iter().enumerate() {
            scope.spawn(move || {
                // Every fourth asks for what cannot be.
                let from = (n % 4 == 3).then_some("nowhere");
                let (key, body) = (name.clone(), name.clone().into_bytes());
                let own = state.answering(Kept { key, request: vec![1], status: 200, body, kept_ms });
                assert_eq!(own.swap(&[move_of(name, from, "x")]).expect("is told"), from.is_none());
            });
        }
    });
    for (n, name) in names.iter().enumerate() {
        let (there, kept) = (state.pointer(Sort::Table, "n", name), state.answer(name).expect("reads"));
        assert_eq!(there.expect("reads").is_some(), n % 4 != 3);
        assert_eq!(kept.map(|kept| kept.body), (n % 4 != 3).then(|| name.clone().into_bytes()));
        state.remove(Sort::Table, "n", name).expect("removes");
    }
}

fn a_dropped_table_comes_back_once_unless_purged(state: &State) {
    let at = |id: &str, dropped_ms| Dropped {
        id: id.into(),
        namespace: "n".into(),
        name: "back".into(),
        metadata_location: "b0".into(),
        dropped_ms,
        within: Some("[]".into()),
    };
    let day = 24 * 60 * 60 * 1000;
    let pointer = || state.pointer(Sort::Table, "n", "back").expect("reads");
    let back = |now_ms| state.undrop("n", "back", now_ms).expect("looks");
    assert!(state.swap(&[move_of("back", None, "b0")]).expect("makes"));
    let elsewhere = Dropped { metadata_location: "b1".into(), ..at("0", 1) };
    assert!(!state.drop_table(&elsewhere, false).expect("is not there any more"));
    assert!(state.drop_table(&at("1", 1000), false).expect("drops"));
    assert_eq!((pointer(), back(1001 + day)), (None, None));
    assert_eq!(back(1000 + day), Some("b0".into()));
    assert_eq!((pointer(), back(1001)), (Some("b0".into()), None));
    assert!(state.drop_table(&at("2", 2000), true).expect("purges"));
    assert_eq!((pointer(), back(2001)), (None, None));
    assert_eq!(state.purges((0, "")).expect("lists"), [at("2", 2000)]);
    state.purged("2").expect("is done");
    assert_eq!(state.purges((0, "")).expect("lists"), []);
}

#[test]
fn sqlite_keeps_the_state() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = Database::File(folder.path().join("catalog.db"));
    suite(&State::open(&database).expect("opens"));
    let again = State::open(&database).expect("opens again");
    assert_eq!(again.pointer(Sort::Table, "n", "u").expect("reads"), Some("u2".into()));
    suite(&State::open(&Database::Memory).expect("opens"));
}

#[test]
fn postgresql_keeps_the_state_for_several() {
    let server = PostgresServer::start();
    let database = postgres(&server);
    let first = State::open(&database).expect("opens");
    suite(&first);
    let second = State::open(&database).expect("opens beside it");
    assert_eq!(second.pointer(Sort::Table, "n", "u").expect("reads"), Some("u2".into()));
    assert_eq!(first.add_namespace("a\0", &BTreeMap::new()).expect_err("no text").kind(), Kind::Invalid);
    no_move_is_lost_between_two(&first, &second);
    an_unanswered_commit_is_settled(&server, &first);
    what_lay_idle_and_died_is_replaced(&server, &first);
    a_newer_schema_is_refused(&server, &database);
}

/// Each of eight threads moves one pointer from where it found it, on two states; as many moves as succeeded arrived.
fn no_move_is_lost_between_two(first: &State, second: &State) {
    assert!(first.swap(&[move_of("race", None, "0")]).expect("makes"));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let state = if n % 2 == 0 { first } else { second };
            scope.spawn(move || {
                let mut won = 0;
                while won < 25 {
                    let at = state.pointer(Sort::Table, "n", "race").expect("reads").expect("is there");
                    let next = (at.parse::<u32>().expect("a number") + 1).to_string();
                    won += u32::from(state.swap(&[move_of("race", Some(&at), &next)]).expect("answers"));
                }
            });
        }
    });
    assert_eq!(first.pointer(Sort::Table, "n", "race").expect("reads"), Some("200".into()));
}

/// A session whose COMMIT is still on its way holds the lock: settling waits for it, and then the outcome is seen.
fn an_unanswered_commit_is_settled(server: &PostgresServer, state: &State) {
    let connect = || ::postgres::Client::connect(&server.url(), ::postgres::NoTls).expect("connects");
    let (mut lost, mut watching) = (connect(), connect());
    lost.batch_execute(super::postgres::BEGIN).expect("begins");
    lost.batch_execute("UPDATE tables SET metadata_location = 'late' WHERE name = 'race'").expect("moves");
    std::thread::scope(|scope| {
        let settled = scope.spawn(|| {
            state.settle().expect("settles");
            state.pointer(Sort::Table, "n", "race").expect("reads")
        });
        let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        while watching.query_one(waits, &[]).expect("answers").get::<_, i64>(0) == 0 {
            assert!(!settled.is_finished(), "it did not wait");
        }
        lost.batch_execute("COMMIT").expect("commits");
        assert_eq!(settled.join().expect("ends"), Some("late".into()));
    });
}

fn what_lay_idle_and_died_is_replaced(server: &PostgresServer, state: &State) {
    let mut admin = ::postgres::Client::connect(&server.url(), ::postgres::NoTls).expect("connects");
    let kill = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'laked'";
    let mut kill = || admin.query(kill, &[]).expect("kills").len();
    assert!(kill() > 0);
    assert!(state.swap(&[move_of("idle", None, "0")]).expect("is done on a fresh connection"));
    assert!(kill() > 0);
    assert_eq!(state.pointer(Sort::Table, "n", "idle").expect("reads"), Some("0".into()));
    // In the middle of a transaction it is an error, and nothing took effect.
    let cut = state.transact(|session| {
        session.execute("UPDATE tables SET metadata_location = 'cut' WHERE name = 'idle'", &[])?;
        session.query("SELECT pg_terminate_backend(pg_backend_pid())", &[]).map(drop)
    });
    assert_eq!(cut.expect_err("is cut off").kind(), Kind::Unavailable);
    state.settle().expect("settles");
    assert_eq!(state.pointer(Sort::Table, "n", "idle").expect("reads"), Some("0".into()));
}

fn a_newer_schema_is_refused(server: &PostgresServer, database: &Database) {
    let mut admin = ::postgres::Client::connect(&server.url(), ::postgres::NoTls).expect("connects");
    admin.batch_execute("UPDATE schema_version SET version = 1000").expect("updates");
    let refused = State::open(database).expect_err("is newer");
    assert_eq!(refused.kind(), Kind::Invalid, "{refused}");
}

/// What a copy is compared by.
fn said(state: &State) -> String {
    let namespaces: Vec<_> = state.namespaces().expect("lists");
    let properties: Vec<_> = namespaces.iter().map(|name| state.namespace(name).expect("reads")).collect();
    format!(
        "{namespaces:?} {properties:?} {:?} {:?}",
        state.pointers().expect("lists"),
        state.answer("k").expect("reads")
    )
}

#[test]
fn a_backup_of_either_is_restored_into_either() {
    let server = PostgresServer::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (first, again) = (folder.path().join("first.backup"), folder.path().join("again.backup"));
    let sqlite = State::open(&Database::Memory).expect("opens");
    suite(&sqlite);
    for n in 0..600 {
        assert!(sqlite.swap(&[move_of(&format!("many-{n:04}"), None, "x")]).expect("makes"));
    }
    let copied = sqlite.back_up(&first).expect("backs up");
    assert_eq!((copied.namespaces, copied.tables), (6, 602));
    assert!(!folder.path().join("first.backup-wal").exists(), "a backup is one file");
    let shared = State::open(&postgres(&server)).expect("opens");
    assert_eq!(shared.restore(&first, false).expect("restores"), copied);
    assert_eq!(said(&shared), said(&sqlite));
    assert_eq!(shared.restore(&first, false).expect_err("is not empty").kind(), Kind::Conflict);
    assert!(shared.remove(Sort::Table, "n", "u").expect("removes"));
    shared.back_up(&again).expect("backs up");
    let back = State::open(&Database::File(folder.path().join("catalog.db"))).expect("opens");
    suite(&back);
    back.restore(&again, true).expect("restores");
    assert_eq!(said(&back), said(&shared));
    assert_ne!(said(&back), said(&sqlite));
    std::fs::copy("/bin/sh", folder.path().join("sh")).expect("copies");
    assert_eq!(back.restore(&folder.path().join("sh"), true).expect_err("no backup").kind(), Kind::Invalid);
    assert_eq!(said(&back), said(&shared), "and nothing was lost");
}

#[test]
fn a_database_that_cannot_be_used_says_why() {
    for (url, kind, words) in [
        ("postgres://u@192.0.2.1/d", Kind::Invalid, "in the clear"),
        ("postgres://u@/d?host=/nonexistent", Kind::Unavailable, "No such file"),
        ("postgres://u@h/d?nonsense=1", Kind::Invalid, "URL cannot be read"),
    ] {
        let error = State::open(&url.parse().expect("a URL")).expect_err(url);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Sixteen threads, each with a pointer of its own and all with one they fight over; requests share transactions, and
/// each is told of its own.
#[test]
fn requests_that_share_a_transaction_are_told_of_their_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let state = State::open(&Database::File(folder.path().join("catalog.db"))).expect("opens");
    namespace(&state, "n");
    assert!(state.swap(&[move_of("all", None, "0")]).expect("makes"));
    let won: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let state = &state;
                scope.spawn(move || {
                    let (name, mut won) = (format!("own{n}"), 0);
                    assert!(state.swap(&[move_of(&name, None, "0")]).expect("makes"));
                    for at in 0..20 {
                        let (from, to) = (at.to_string(), (at + 1).to_string());
                        assert!(state.swap(&[move_of(&name, Some(&from), &to)]).expect("moves"));
                        let all = state.pointer(Sort::Table, "n", "all").expect("reads").expect("is there");
                        let next = (all.parse::<u32>().expect("a number") + 1).to_string();
                        let both = [move_of(&name, Some(&to), &to), move_of("all", Some(&all), &next)];
                        won += u32::from(state.swap(&both).expect("answers"));
                    }
                    won
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("ends")).sum()
    });
    assert_eq!(state.pointer(Sort::Table, "n", "all").expect("reads"), Some(won.to_string()));
    assert!(won >= 20, "{won}");
}
