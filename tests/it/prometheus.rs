//! A real Prometheus scrapes a real node.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::metrics::dashboard_queries;
use crate::native::join;
use crate::support::application::application;
use crate::support::ports::own_port;
use crate::support::redis::RedisServer;
use crate::support::{Request, Response, SECRET, Server, eventually};

/// Debian's Prometheus, which scrapes one node as the job `yamabiko`.
struct Prometheus {
    address: SocketAddr,
    process: Child,
    _folder: TempDir,
}

impl Prometheus {
    fn start(node: &Server, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/yamabiko.rules.yml");
        let target = node.admin;
        let text = format!(
            "global: {{ evaluation_interval: 1s }}\nrule_files: [{rules:?}]\nscrape_configs:\n  - job_name: yamabiko\n    \
             scrape_interval: 1s\n    scrape_timeout: 1s\n    \
             static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
        fs::write(&config, text).unwrap();
        let address: SocketAddr = ([127, 0, 0, 1], own_port()).into();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's package prometheus");
        let prometheus = Self { address, process, _folder: folder };
        eventually("Prometheus is ready", || {
            std::net::TcpStream::connect(address).is_ok()
                && Request::get(address, "/-/ready").send().status == 200
        });
        prometheus
    }

    /// The series that a query returns, or why it cannot be answered.
    fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = unchunked(&Request::get(self.address, format!("/api/v1/query?query={encoded}")).send());
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    fn expect(&self, query: &str, holds: impl Fn(f64) -> bool) {
        eventually(query, || {
            let series = self.query(query);
            series.iter().any(|series| holds(series["value"][1].as_str().unwrap().parse().unwrap()))
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The JSON of a response, whose body Prometheus sends in chunks if it is long.
fn unchunked(response: &Response) -> Value {
    if response.header("transfer-encoding") != Some("chunked") {
        return response.json();
    }
    let (mut body, mut rest) = (String::new(), response.text());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        let (chunk, after) = after.split_at(size);
        body.push_str(chunk);
        rest = after.trim_start_matches("\r\n");
    }
    serde_json::from_str(&body).unwrap()
}

/// A node with Redis, a webhook and an app, on which messages were sent on a channel with a gate, three or more of them.
fn node_with_traffic(redis: &RedisServer) -> Server {
    let gate = application(|_| Some((200, r#"{"decision":"allow"}"#.to_owned())));
    let config = format!(
        "[events]\nsecret = \"the-secret-of-events-with-32-bytes-or-more\"\n\
         [tracing]\nendpoint = \"http://127.0.0.1:1\"\nsample = 1\n\
         [channels.room]\ngate = {{ url = \"http://127.0.0.1:{gate}/gate\" }}\n\
         [[webhooks]]\nurl = \"http://127.0.0.1:{gate}/webhook\"\n\
         [[apps]]\nid = \"1\"\nkey = \"page\"\nsecret = \"{SECRET}\"\n"
    );
    let node = Server::start(|options| {
        options.set("redis.url", redis.url()).config(&config);
    });
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    let mut aoi = join(&node, 7, "Aoi", "room:1");
    let mut sent = 0;
    // One that arrives right behind something else is not measured.
    eventually("a message is measured", || {
        aoi.say(&json!({ "message": "hi" }));
        aoi.expect_sent();
        aoi.expect_json();
        sent += 1;
        sent >= 3 && node.metric("yamabiko_end_to_end_duration_seconds_count{kind=\"room\"}") > 0
    });
    node
}

#[test]
fn every_query_of_the_dashboard_has_data_and_every_alert_is_evaluated() {
    let redis = RedisServer::start();
    let node = node_with_traffic(&redis);
    let prometheus = Prometheus::start(&node, &[]);
    // The first scrape that Prometheus has stored has everything.
    prometheus.expect("yamabiko_end_to_end_duration_seconds_count{kind=\"room\"}", |count| count >= 1.0);
    let queries = dashboard_queries();
    assert!(queries.len() > 40, "{queries:#?}");
    for query in queries {
        let query = query.replace("=~\"$job\"", "=\"yamabiko\"").replace("=~\"$instance\"", "=~\".*\"");
        let query = query.replace("$__rate_interval", "1m");
        assert!(!query.contains('$'), "{query}");
        // These show only what goes wrong.
        if query.ends_with("> 0") {
            assert_eq!(prometheus.query(&query), [Value::Null; 0], "{query}");
        } else {
            eventually(&format!("data for {query}"), || !prometheus.query(&query).is_empty());
        }
    }
    let documented = include_str!("../../docs/deploy.md").split("```promql\n").nth(1).unwrap();
    for query in documented.split("```").next().unwrap().lines() {
        eventually(&format!("data for {query}"), || !prometheus.query(query).is_empty());
    }
    let count = |metric: &str| format!("sum({metric}_count)");
    for metric in [
        "yamabiko_delivery_duration_seconds",
        "yamabiko_broker_round_trip_duration_seconds",
        "yamabiko_handshake_duration_seconds{protocol=\"native\"}",
        "yamabiko_gate_duration_seconds{kind=\"room\"}",
    ] {
        let (name, labels) = metric.split_once('{').map_or((metric, ""), |(name, labels)| (name, labels));
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}") };
        prometheus.expect(&format!("sum({name}_count{labels})"), |count| count >= 1.0);
    }
    prometheus.expect(&count("yamabiko_api_duration_seconds"), |count| count >= 0.0);
    let second = "histogram_quantile(0.99, sum by (le) (yamabiko_end_to_end_duration_seconds_bucket))";
    prometheus.expect(second, |seconds| seconds > 0.0 && seconds <= 10.0);
    prometheus.expect("yamabiko_channel_messages_total{kind=\"room\"}", |count| count >= 1.0);
    let rules = || {
        let answer = unchunked(&Request::get(prometheus.address, "/api/v1/rules").send());
        answer["data"]["groups"][0]["rules"].as_array().unwrap().clone()
    };
    eventually("every alert is evaluated", || rules().iter().all(|rule| rule["health"] != "unknown"));
    let rules = rules();
    assert!(rules.len() >= 16, "{rules:#?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

#[test]
fn native_histograms_and_exemplars_are_scraped_by_a_prometheus_that_stores_them() {
    let redis = RedisServer::start();
    let node = node_with_traffic(&redis);
    let prometheus = Prometheus::start(&node, &["--enable-feature=native-histograms,exemplar-storage"]);
    let histogram = "yamabiko_end_to_end_duration_seconds{kind=\"room\"}";
    prometheus.expect(&format!("histogram_count({histogram})"), |count| count >= 1.0);
    prometheus.expect(&format!("histogram_quantile(0.5, {histogram})"), |half| half > 0.0 && half < 10.0);
    // The other kinds of metrics have the same names as in the other formats.
    prometheus.expect("yamabiko_messages_accepted_total", |count| count >= 3.0);
    prometheus.expect("yamabiko_connections_closed_total{reason=\"client_closed\"}", |count| count <= 1.0);
    prometheus.expect("yamabiko_build_info", |value| (value - 1.0).abs() < 0.1);

    let span = "yamabiko_span_duration_seconds_bucket{span=\"deliver\"}";
    let is_trace = |text: &str| text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit());
    let encoded: String = form_urlencoded::byte_serialize(span.as_bytes()).collect();
    let target = format!("/api/v1/query_exemplars?query={encoded}&start=0&end=99999999999");
    eventually("exemplars", || {
        let answer = unchunked(&Request::get(prometheus.address, &target).send());
        let exemplar = &answer["data"][0]["exemplars"][0];
        exemplar["labels"]["trace_id"].as_str().is_some_and(is_trace)
    });
    let page = Request::get(node.admin, "/metrics").header("Accept", "application/openmetrics-text").send();
    let page = page.text();
    let of_span = |line: &&str| {
        line.starts_with("yamabiko_span_duration_seconds_bucket") && line.contains("\"deliver\"")
    };
    let exemplar = page.lines().filter(of_span).find_map(|line| line.split_once(" # {trace_id=\""));
    assert!(exemplar.is_some_and(|(_, exemplar)| exemplar.get(..32).is_some_and(is_trace)), "{page}");
}
