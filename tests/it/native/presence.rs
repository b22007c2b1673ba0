//! Who is on a channel, on kinds with `presence`.

use serde_json::{Value, json};

use crate::native::{OK, join, join_as, message, unix_time};
use crate::support::{Client, Options, Request, Server, claims, eventually, token};

/// `chat` and `notes` have presence, and `notes` has a history too.
const SETTINGS: &str = r#"
[channels.chat]
presence = true
[channels.notes]
presence = true
history = { messages = 1000, age = "10m" }
"#;

fn start(change: impl FnOnce(&mut Options)) -> Server {
    Server::start(|options| {
        options.config(SETTINGS).set("limits.messages_per_second", 0);
        change(options);
    })
}

fn connected(users: &[(i64, &str)]) -> Value {
    let users: Vec<Value> = users.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect();
    json!({ "type": "connected", "users": users })
}

fn change(message_type: &str, id: i64, name: &str) -> Value {
    let sender = json!({ "name": "System", "id": 0 });
    json!({ "type": message_type, "sender": sender, "data": { "user": { "name": name, "id": id } } })
}

fn came(id: i64, name: &str) -> Value {
    change("connectOther", id, name)
}

fn left(id: i64, name: &str) -> Value {
    change("disconnectOther", id, name)
}

/// Connects a user who is not there yet, and reads what it is told.
fn arrive(server: &Server, id: i64, name: &str, channel: &str, others: &[(i64, &str)]) -> Client {
    let mut client = join(server, id, name, channel);
    assert_eq!([client.expect_json(), client.expect_json()], [connected(others), came(id, name)]);
    client
}

#[test]
fn clients_see_who_is_there_who_comes_and_who_leaves() {
    let server = start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "chat:room1");
    assert_eq!(aoi.expect_text(), r#"{"type":"connected","users":[]}"#);
    let aoi_came =
        r#"{"type":"connectOther","sender":{"name":"System","id":0},"data":{"user":{"name":"Aoi","id":7}}}"#;
    assert_eq!(aoi.expect_text(), aoi_came);
    let mut ren = join(&server, 8, "Ren", "chat:room1");
    assert_eq!(ren.expect_text(), r#"{"type":"connected","users":[{"id":7,"name":"Aoi"}]}"#);
    let ren_came =
        r#"{"type":"connectOther","sender":{"name":"System","id":0},"data":{"user":{"name":"Ren","id":8}}}"#;
    assert_eq!([ren.expect_text(), aoi.expect_text()], [ren_came, ren_came]);
    let mut yui = join(&server, 9, "Yui", "chat:room1");
    let list = r#"{"type":"connected","users":[{"id":7,"name":"Aoi"},{"id":8,"name":"Ren"}]}"#;
    assert_eq!(yui.expect_text(), list);
    for client in [&mut aoi, &mut ren, &mut yui] {
        assert_eq!(client.expect_json(), came(9, "Yui"));
    }
    ren.close();
    let ren_left = r#"{"type":"disconnectOther","sender":{"name":"System","id":0},"data":{"user":{"name":"Ren","id":8}}}"#;
    assert_eq!([aoi.expect_text(), yui.expect_text()], [ren_left, ren_left]);
    // A connection that breaks leaves as well.
    yui.vanish();
    assert_eq!(aoi.expect_json(), left(9, "Yui"));
    aoi.expect_quiet();
}

#[test]
fn messages_and_changes_come_in_one_order() {
    let server = start(|_| {});
    let mut aoi = arrive(&server, 7, "Aoi", "chat:", &[]);
    for _ in 0..20 {
        let mut ren = arrive(&server, 8, "Ren", "chat:", &[(7, "Aoi")]);
        for number in 0..5 {
            ren.say(&json!({ "message": number }));
        }
        let mut others: Vec<String> = (0..10).map(|_| ren.expect_text()).collect();
        others.retain(|text| text != OK);
        assert_eq!(others.len(), 5);
        ren.close();
        assert_eq!(aoi.expect_json(), came(8, "Ren"));
        for number in 0..5 {
            assert_eq!(aoi.expect_json(), message(8, "Ren", &json!({ "message": number })));
        }
        assert_eq!(aoi.expect_json(), left(8, "Ren"));
    }
}

#[test]
fn a_second_connection_of_a_user_changes_nothing_for_others() {
    let server = start(|_| {});
    let mut aoi = arrive(&server, 7, "Aoi", "chat:", &[]);
    let ren = arrive(&server, 8, "Ren", "chat:", &[(7, "Aoi")]);
    assert_eq!(aoi.expect_json(), came(8, "Ren"));
    // Another tab, in which the name has changed, and one whose token has the ID as a text: their user is there already.
    let mut tab = join(&server, 8, "Renata", "chat:");
    assert_eq!(tab.expect_json(), connected(&[(7, "Aoi"), (8, "Ren")]));
    tab.expect_quiet();
    assert_eq!(aoi.expect_json()["data"]["message"], "marker");
    let mut text = join_as(&server, &json!("8"), "chat:");
    assert_eq!(text.expect_json(), connected(&[(7, "Aoi"), (8, "Ren")]));
    // Their order does not matter.
    ren.close();
    text.close();
    aoi.expect_quiet();
    tab.close();
    assert_eq!(aoi.expect_json(), left(8, "Ren"));
    aoi.expect_quiet();
}

#[test]
fn a_page_that_is_reloaded_leaves_and_comes_back() {
    let server = start(|_| {});
    let mut aoi = arrive(&server, 7, "Aoi", "chat:", &[]);
    let mut ren = arrive(&server, 8, "Ren", "chat:", &[(7, "Aoi")]);
    assert_eq!(aoi.expect_json(), came(8, "Ren"));
    for _ in 0..10 {
        ren.leave_page();
        ren = arrive(&server, 8, "Ren", "chat:", &[(7, "Aoi")]);
        assert_eq!([aoi.expect_json(), aoi.expect_json()], [left(8, "Ren"), came(8, "Ren")]);
    }
    // If the new page is there before the old one leaves, others see nothing, and it lists its user like any other page.
    let mut new = join(&server, 8, "Ren", "chat:");
    assert_eq!(new.expect_json(), connected(&[(7, "Aoi"), (8, "Ren")]));
    ren.leave_page();
    new.expect_quiet();
    assert_eq!(aoi.expect_json()["data"]["message"], "marker");
    aoi.expect_quiet();
    drop(new);
    assert_eq!(aoi.expect_json(), left(8, "Ren"));
}

#[test]
fn other_kinds_and_other_channels_see_nothing() {
    let server = start(|_| {});
    let mut others: Vec<Client> = ["other", "other:", "other:room1"]
        .map(|channel| {
            let mut client = join(&server, 6, "Mio", channel);
            client.expect_quiet();
            client
        })
        .into();
    for channel in ["chat", "chat:", "chat:room2"] {
        others.push(arrive(&server, 6, "Mio", channel, &[]));
    }
    arrive(&server, 7, "Aoi", "chat:room1", &[]).close();
    let mut ren = arrive(&server, 8, "Ren", "chat:room1", &[]);
    ren.expect_quiet();
    for client in &mut others {
        client.expect_quiet();
    }
    let plain = Server::start(|_| {});
    join(&plain, 7, "Aoi", "chat:").expect_quiet();
}

#[test]
fn ids_may_be_texts_and_names_anything() {
    let server = start(|options| {
        options.set("sender.name", "運\"営").set("sender.id", -1);
    });
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    aoi.expect_text();
    let system = "{\"name\":\"運\\\"営\",\"id\":-1}";
    let user = r#"{"user":{"name":"Aoi","id":7}}"#;
    let came = format!(r#"{{"type":"connectOther","sender":{system},"data":{user}}}"#);
    assert_eq!(aoi.expect_text(), came);
    let long = "x".repeat(5000);
    for (id, name) in [
        (json!("01ARZ3NDEKTSV4RRFFQ69G5FAV"), "あおい"),
        (json!("a\"b\\"), "\"},{\"id\":1,\"name\":\""),
        (json!(9_007_199_254_740_993_i64), "</script>\u{2028}\0\n😀"),
        (json!(-5), ""),
        (json!("山"), &*long),
    ] {
        let mut token = claims(0, name, "chat:");
        token["id"] = id.clone();
        let mut client = Client::connect(&server, &token).expect("upgraded");
        assert_eq!(client.expect_json(), connected(&[(7, "Aoi")]));
        for (who, other) in [("it", &mut client), ("another", &mut aoi)] {
            let frame = other.expect_json();
            assert_eq!(frame["data"], json!({ "user": { "id": id, "name": name } }), "{who}");
        }
        let mut seen = join(&server, 9, "Yui", "chat:");
        assert!(seen.expect_json()["users"].as_array().unwrap().contains(&json!({ "id": id, "name": name })));
        drop((client, seen));
        // Three changes: Yui has come, and both have left.
        for _ in 0..3 {
            aoi.expect_json();
        }
    }
    aoi.expect_quiet();
}

#[test]
fn the_list_follows_what_a_client_has_missed() {
    // What was missed does not fit into the outbox at once.
    let server = start(|options| {
        options.set("limits.outbox_bytes", 70_000);
    });
    let text = "x".repeat(500);
    let rejoin = |id: i64, since: &str| {
        let target = format!("/?token={}&since={since}", token(&claims(id, "Aoi", "notes:")));
        Client::upgrade(Request::get(server.address, target)).expect("upgraded")
    };
    let mut ren = arrive(&server, 8, "Ren", "notes:", &[]);
    let mut aoi = rejoin(7, "");
    let answer = aoi.expect_json();
    assert_eq!(answer["type"], "recovered");
    assert_eq!([aoi.expect_json(), aoi.expect_json()], [connected(&[(8, "Ren")]), came(7, "Aoi")]);
    let since = answer["id"].as_str().unwrap().to_owned();
    drop(aoi);
    assert_eq!([ren.expect_json(), ren.expect_json()], [came(7, "Aoi"), left(7, "Aoi")]);
    for number in 0..300 {
        ren.say(&json!({ "number": number, "text": text }));
        ren.expect_sent();
        assert_eq!(ren.expect_json()["data"]["number"], number);
    }
    let mut aoi = rejoin(7, &since);
    assert_eq!(aoi.expect_json(), json!({ "type": "recovered", "count": 300 }));
    for number in 0..300 {
        assert_eq!(aoi.expect_json()["data"]["number"], number);
    }
    assert_eq!([aoi.expect_json(), aoi.expect_json()], [connected(&[(8, "Ren")]), came(7, "Aoi")]);
    assert_eq!(ren.expect_json(), came(7, "Aoi"));
    // Also after a gap, and where there is no history.
    for (since, channel) in [("0-0", "notes:"), ("1-1", "chat:")] {
        let target = format!("/?token={}&since={since}", token(&claims(9, "Yui", channel)));
        let mut yui = Client::upgrade(Request::get(server.address, target)).expect("upgraded");
        let types = [(); 3].map(|()| yui.expect_json()["type"].clone());
        assert_eq!(types, ["gap", "connected", "connectOther"], "{channel}");
    }
}

#[test]
fn whoever_is_closed_has_left() {
    let server = start(|options| {
        options.set("limits.connections_per_user", 1);
    });
    let mut aoi = arrive(&server, 7, "Aoi", "chat:", &[]);
    // Over the limit: never there.
    let first = arrive(&server, 8, "Ren", "chat:", &[(7, "Aoi")]);
    assert_eq!(aoi.expect_json(), came(8, "Ren"));
    assert_eq!(join(&server, 8, "Ren", "chat:").expect_close().0, 1013);
    aoi.expect_quiet();
    // Removed by the application.
    let mut removed = first;
    assert_eq!(removed.expect_json()["data"]["message"], "marker");
    server.post_admin("/disconnect", r#"{"user":8}"#);
    assert_eq!(removed.expect_close().0, 4403);
    assert_eq!(aoi.expect_json(), left(8, "Ren"));
    // An expired token.
    let mut short = claims(9, "Yui", "chat:");
    short["exp"] = json!(unix_time() + 2);
    let mut yui = Client::connect(&server, &short).expect("upgraded");
    assert_eq!([yui.expect_json(), yui.expect_json()], [connected(&[(7, "Aoi")]), came(9, "Yui")]);
    assert_eq!(yui.expect_close().0, 4401);
    assert_eq!([aoi.expect_json(), aoi.expect_json()], [came(9, "Yui"), left(9, "Yui")]);
    aoi.expect_quiet();
}

#[test]
fn a_list_that_does_not_fit_says_how_many_it_omits() {
    let server = start(|options| {
        options.set("limits.outbox_bytes", 70_000);
    });
    let name = "x".repeat(4000);
    let _clients: Vec<Client> = (1..=20)
        .map(|id| {
            let mut client = join(&server, id, &name, "chat:");
            let list = client.expect_json();
            let (listed, omitted) =
                (list["users"].as_array().unwrap().len(), list["omitted"].as_u64().unwrap_or_default());
            assert_eq!(i64::try_from(listed).unwrap() + i64::try_from(omitted).unwrap(), id - 1, "{omitted}");
            assert_eq!(omitted > 0, id > 9, "{id}");
            assert_eq!(client.expect_json(), came(id, &name));
            client
        })
        .collect();
    server.expect_metric("yamabiko_presence_users_omitted_total", (1..=11).sum::<i64>());
    let line = server.expect_log(|line| line["omitted"] == 11);
    assert_eq!((&line["level"], &line["channel"]), (&json!("WARN"), &json!("chat:")));
}

#[test]
fn nothing_is_left_of_those_who_come_and_go() {
    let server = start(|_| {});
    let mut aoi = arrive(&server, 7, "Aoi", "chat:", &[]);
    for round in 1..=20 {
        let clients: Vec<Client> =
            (0..20).map(|id| join(&server, 100 * round + id, "Ren", "chat:")).collect();
        if round % 2 == 0 {
            clients.into_iter().for_each(Client::vanish);
        } else {
            clients.into_iter().for_each(Client::close);
        }
    }
    let mut there = std::collections::BTreeSet::new();
    for _ in 0..20 * 20 * 2 {
        let frame = aoi.expect_json();
        let id = frame["data"]["user"]["id"].as_i64().unwrap();
        let changed = if frame["type"] == "connectOther" { there.insert(id) } else { there.remove(&id) };
        assert!(changed, "{frame}");
    }
    assert!(there.is_empty());
    aoi.expect_quiet();
    // Its channel, and what its clients are told of others.
    eventually("the channels are gone", || server.metric("yamabiko_channels") == 2);
    aoi.close();
    eventually("the channels are gone", || server.metric("yamabiko_channels") == 0);
}
