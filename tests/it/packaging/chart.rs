//! The Helm chart: what it renders is valid, and suits the server.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{command, tool};
use crate::support::{SECRET, Server};

/// Renders the chart with several sets of values.
fn render(cases: &Value) -> Value {
    let mut python = command(tool("python"), &["tests/chart/render.py"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(cases.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn object<'a>(case: &'a Value, kind: &str, name: &str) -> &'a Value {
    let objects = case["objects"].as_array().unwrap_or_else(|| panic!("not rendered: {case}"));
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}: {case}"))
}

#[test]
fn the_chart_renders_what_kubernetes_accepts_and_the_server_understands() {
    let settings = "[redis]\nprefix = \"laravel_database_\"\n\n[channels.chat]\nhistory = { messages = 100, age = \"2m\" }\n";
    let cases = json!({
        "small": { "existingSecret": "mine" },
        "everything": {
            "replicas": 3,
            "secrets": { "YAMABIKO__AUTH__SECRET": SECRET },
            "settings": settings,
            "shutdownGraceSeconds": 20,
            "ingress": { "enabled": true, "className": "nginx", "host": "ws.example.org", "tlsSecret": "ws-tls", "annotations": { "a": "b" } },
            "autoscaling": { "enabled": true },
            "serviceMonitor": { "enabled": true, "labels": { "release": "prometheus" } },
            "networkPolicy": { "enabled": true },
            "imagePullSecrets": [{ "name": "registry" }],
            "podAnnotations": { "a": "b" },
            "podLabels": { "team": "web" },
            "nodeSelector": { "disk": "ssd" },
            "tolerations": [{ "key": "web", "operator": "Exists" }],
            "affinity": { "nodeAffinity": {} },
            "service": { "annotations": { "a": "b" }, "type": "LoadBalancer" },
        },
        "no secret": {},
        "misspelt": { "existingSecret": "mine", "replica": 3 },
    });
    let rendered = render(&cases);
    for name in ["small", "everything"] {
        assert_eq!(rendered[name]["messages"], json!([]), "{name}");
    }
    assert!(rendered["no secret"]["error"].as_str().unwrap().contains("set existingSecret"), "{rendered}");
    assert!(rendered["misspelt"]["messages"].to_string().contains("replica"), "{}", rendered["misspelt"]);

    let case = &rendered["everything"];
    let deployment = &object(case, "Deployment", "live-yamabiko")["spec"];
    assert_eq!(deployment["replicas"], Value::Null, "the autoscaler decides");
    let pod = &deployment["template"]["spec"];
    let container = &pod["containers"][0];
    // preStop, server.shutdown_grace, 5 seconds for webhooks, and some for the end of the process.
    assert_eq!(pod["terminationGracePeriodSeconds"], 5 + 20 + 15);
    assert_eq!(container["envFrom"], json!([{ "secretRef": { "name": "live-yamabiko" } }]));

    // The server starts with these settings and variables, only on free ports, and answers the probes.
    let config = object(case, "ConfigMap", "live-yamabiko")["data"]["yamabiko.toml"].as_str().unwrap();
    let secret = &object(case, "Secret", "live-yamabiko")["stringData"];
    assert_eq!(container["args"], json!(["--config", "/etc/yamabiko/yamabiko.toml", "serve"]));
    let server = Server::start(|options| {
        options.config(config);
        for variable in container["env"].as_array().unwrap() {
            let (name, value) = (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
            let value = match name {
                "YAMABIKO__SERVER__PORT" => "0",
                "YAMABIKO__SERVER__HOST" => "127.0.0.1",
                "YAMABIKO__ADMIN__LISTEN" => "127.0.0.1:0",
                _ => value,
            };
            options.env(name, value);
        }
        for (name, value) in secret.as_object().unwrap() {
            options.env(name, value.as_str().unwrap());
        }
    });
    let ports = container["ports"].as_array().unwrap();
    let port = |name: &Value| &ports.iter().find(|port| port["name"] == *name).unwrap()["containerPort"];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let request = &container[probe]["httpGet"];
        assert_eq!(*port(&request["port"]), 8081, "{probe}");
        assert_eq!(server.get_admin(request["path"].as_str().unwrap()).status, 200, "{probe}");
    }
    let monitor = &object(case, "ServiceMonitor", "live-yamabiko")["spec"];
    assert_eq!(server.get_admin(monitor["endpoints"][0]["path"].as_str().unwrap()).status, 200);
    // It selects the service of the operators' port, and not the other one.
    let wanted = monitor["selector"]["matchLabels"].as_object().unwrap();
    for (service, is_selected) in [("live-yamabiko-operators", true), ("live-yamabiko", false)] {
        let labels = &object(case, "Service", service)["metadata"]["labels"];
        assert_eq!(wanted.iter().all(|(name, value)| labels[name] == *value), is_selected, "{service}");
    }
    // The selectors find the pods.
    let labels = &deployment["template"]["metadata"]["labels"];
    for selector in [
        &deployment["selector"]["matchLabels"],
        &object(case, "Service", "live-yamabiko")["spec"]["selector"],
        &object(case, "PodDisruptionBudget", "live-yamabiko")["spec"]["selector"]["matchLabels"],
        &object(case, "NetworkPolicy", "live-yamabiko")["spec"]["podSelector"]["matchLabels"],
    ] {
        assert!(
            selector.as_object().unwrap().iter().all(|(name, value)| labels[name] == *value),
            "{selector}"
        );
    }
}

#[test]
fn the_versions_of_the_chart_are_those_of_the_server() {
    let chart = std::fs::read_to_string(super::project().join("deploy/helm/yamabiko/Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for line in [format!("version: {version}"), format!("appVersion: \"{version}\"")] {
        assert!(chart.lines().any(|known| known == line), "{line}");
    }
}
