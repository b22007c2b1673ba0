//! The `OpenAPI` document and its page.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{KEYS, LARAVEL, OPERATOR, problem, serve, serve_with_keys};
use crate::support::{Request, Server};

fn document(server: &Server) -> Value {
    let response = server.get_admin("/api/v1/openapi.json");
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    response.json()
}

/// The operations of the document: the method, the path, and what is said about them.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    operations
}

/// A request that the document describes, with the values of its examples.
fn request(server: &Server, base: &str, (method, path, operation): &(String, String, Value)) -> Request {
    let mut path = path.clone();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "path" {
            let name = parameter["name"].as_str().unwrap();
            let example = parameter["example"].as_str().unwrap_or_else(|| panic!("no example: {parameter}"));
            path = path.replace(&format!("{{{name}}}"), &example.replace('/', "%2F"));
        }
    }
    assert!(!path.contains('{'), "{path}");
    let target = format!("{base}{path}");
    let address = if base.starts_with("/yamabiko") { server.address } else { server.admin };
    match &**method {
        "POST" | "DELETE" if operation["requestBody"].is_null() => {
            Request::post_json(address, target, "").method(if method == "POST" { "POST" } else { "DELETE" })
        }
        "POST" | "PUT" | "DELETE" => {
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            assert!(example.is_object(), "no example: {operation}");
            let request = Request::post_json(address, target, example.to_string());
            match &**method {
                "PUT" => request.method("PUT"),
                "DELETE" => request.method("DELETE"),
                _ => request,
            }
        }
        "GET" => Request::get(address, target),
        other => panic!("{other}"),
    }
}

#[test]
fn the_document_is_valid_openapi() {
    let document = document(&serve());
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["servers"], json!([{ "url": "/api/v1" }]));
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{method} {path}");
        let parameters: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| {
                assert_eq!(parameter["required"], true, "{parameter}");
                parameter["name"].as_str().unwrap()
            })
            .collect();
        let named: BTreeSet<&str> =
            path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        assert_eq!(parameters, named, "{path}");
        for status in ["200", "400", "401", "403"] {
            let content = &operation["responses"][status]["content"];
            let kind = match (status, &*path) {
                ("200", "/tail") => "application/x-ndjson",
                ("200", _) => "application/json",
                _ => "application/problem+json",
            };
            assert!(content[kind]["schema"].is_object(), "{method} {path} {status}: {operation}");
        }
    }
    // Every reference leads somewhere.
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[test]
fn every_path_of_the_document_answers_and_needs_the_scope_that_it_names() {
    let (open, server) = (serve(), serve_with_keys());
    let document = document(&server);
    let operations = operations(&document);
    // The tail goes on: `tail.rs`. Every key may ask what it is: `key.rs`.
    for operation in operations.iter().filter(|(_, path, _)| path != "/tail" && path != "/key") {
        let (method, path, described) = operation;
        let response = request(&open, "/api/v1", operation).send();
        // What the examples name does not exist.
        let is_known =
            response.status == 200 || (response.status == 404 && response.json()["code"] != "not_found");
        assert!(is_known, "{method} {path}: {response:?}");

        let scope = described["security"][0]["key"][0].as_str().unwrap();
        let with = |secret: &str| {
            request(&server, "/yamabiko/api/v1", operation)
                .header("Authorization", format!("Bearer {secret}"))
                .send()
        };
        let (right, wrong) = if scope == "publish" { (LARAVEL, OPERATOR) } else { (OPERATOR, LARAVEL) };
        assert_eq!(with(right).status, response.status, "{method} {path}");
        let (status, code, detail) = problem(&with(wrong));
        assert_eq!((status, &*code), (403, "missing_scope"), "{method} {path}");
        assert!(detail.contains(&format!("{scope:?}")), "{method} {path}: {detail}");
        for base in ["/yamabiko/api/v1", "/api/v1"] {
            let keyless = request(&server, base, operation).send();
            assert_eq!(problem(&keyless).0, 401, "{method} {path}");
        }
    }
}

#[test]
fn the_page_shows_every_operation_and_loads_nothing() {
    let server = Server::start(|options| {
        options.config(KEYS);
    });
    for (response, base) in [
        (server.get_admin("/api/v1/docs"), "/api/v1"),
        (server.get("/yamabiko/api/v1/docs"), "/yamabiko/api/v1"),
    ] {
        assert_eq!(
            (response.status, response.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
        assert!(response.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
        let page = response.text();
        for word in ["<script", "src=", "url(", "@import", "<link"] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("light dark"));
        for (method, path, operation) in operations(&document(&server)) {
            assert!(page.contains(&format!("<code>{method} {path}</code>")), "{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
        }
        for field in [
            "<code>idempotency_key</code></td><td>string, optional</td><td>A message with the same key",
            "<code>to</code></td><td>integer or string, optional</td><td>Only this user receives it.",
            "<code>sender.id</code></td><td>integer or string</td><td>The ID of a user",
            "<code>channels[].name</code></td><td>string</td>",
            "<code>next</code></td><td>string, optional</td><td>The <code>cursor</code> of the next page.",
        ] {
            assert!(page.contains(field), "{field}");
        }
        assert!(page.contains(&format!("$URL{base}/publish")), "{page}");
    }
    assert_eq!(server.get("/yamabiko/api/v1/openapi.json").json()["servers"][0]["url"], "/yamabiko/api/v1");
}
