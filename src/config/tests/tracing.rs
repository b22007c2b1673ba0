//! `[tracing]`.

use secrecy::ExposeSecret as _;

use super::*;

#[test]
fn a_collector_comes_from_the_file_or_from_variables() {
    let off = env(&[]).settings.server.tracing;
    assert!(off.target().is_none());
    let config = with(
        "[tracing]\nendpoint = \"http://c:4318\"\nsample = 1\nheaders = { X-Scope-OrgID = \"7\" }\n",
        &[("YAMABIKO__TRACING__SAMPLE", " 0.5 ")],
    )
    .unwrap();
    let tracing = &config.settings.server.tracing;
    assert_eq!(tracing.target().unwrap().unwrap().url.to_string(), "http://c:4318/v1/traces");
    assert_eq!(tracing.sample.to_string(), "0.5");
    assert_eq!(tracing.headers["X-Scope-OrgID"].expose_secret(), "7");
    let variables = [
        ("YAMABIKO__TRACING__ENDPOINT", "https://c"),
        ("YAMABIKO__TRACING__HEADERS", "{ Authorization = \"Bearer a\" }"),
    ];
    let tracing = env(&variables).settings.server.tracing;
    assert_eq!(tracing.target().unwrap().unwrap().headers["authorization"], "Bearer a");
}

#[test]
fn problems_name_the_setting_and_no_secret() {
    for (text, problem) in [
        ("endpoint = \"hunter2:4318\"", "tracing.endpoint: is not a URL of http or https"),
        ("sample = 1.5", "tracing.sample: must be from 0 to 1, not 1.5"),
        ("sample = -1", "tracing.sample: must be from 0 to 1, not -1"),
        ("sample = \"all\"", "tracing.sample: must be a number, not \"all\""),
        ("headers = [\"hunter2\"]", "tracing.headers: must be a table of strings"),
        (
            "endpoint = \"http://c\"\nheaders = { X-Key = \"hunter2\\n\" }",
            "tracing.headers: the value of the header \"X-Key\"",
        ),
        (
            "endpoint = \"http://a:hunter2@c\"\nheaders = { Authorization = \"hunter2\" }",
            "tracing.endpoint: has user:password@ beside an Authorization",
        ),
    ] {
        let found = problems(&format!("[tracing]\n{text}\n"), &[]);
        assert!(found.len() == 1 && found[0].starts_with(problem), "{text}: {found:#?}");
        assert!(!found[0].contains("hunter2"), "{found:#?}");
    }
}
