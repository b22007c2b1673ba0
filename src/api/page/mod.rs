//! The document as a page for people: one HTML file without scripts and without anything from elsewhere.

mod fields;
mod markup;

use std::fmt::Write;

use serde_json::Value;

use self::fields::Schemas;
use self::markup::{at, escaped, prose, text};

const STYLE: &str = include_str!("page.css");

/// The page of an `OpenAPI` document.
pub(super) fn render(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let mut operations = Vec::new();
    for (path, methods) in at(&document, "/paths").as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            operations.push(Operation {
                path,
                method: method.to_uppercase(),
                described: operation,
                document: &document,
            });
        }
    }
    let mut tags: Vec<&str> = Vec::new();
    for operation in &operations {
        if !tags.contains(&operation.tag()) {
            tags.push(operation.tag());
        }
    }
    let mut html = String::new();
    let title = escaped(text(at(&document, "/info/title")));
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} API</title>\n<style>{STYLE}</style>\n\
         <main>\n<h1>{title} API <small>{version}</small></h1>\n<p>{description}</p>\n\
         <p>Everything is below <code>{base}</code>, and <a href=\"openapi.json\">openapi.json</a> is the machine-readable form of \
         this page. In the examples, <code>$URL</code> is the address of the port, such as <code>http://127.0.0.1:8081</code>, \
         and <code>$KEY</code> the secret of one of <code>[[api.keys]]</code>. Without keys in the settings, \
         an operators' port on a loopback address needs none, and <code>$KEY</code> may be empty.</p>\n",
        version = escaped(text(at(&document, "/info/version"))),
        description = escaped(text(at(&document, "/info/description"))),
        base = escaped(text(at(&document, "/servers/0/url"))),
    );
    html.push_str("<nav><ul>\n");
    for operation in &operations {
        let _ = writeln!(
            html,
            "<li><a href=\"#{id}\"><code>{method} {path}</code></a> {summary}</li>",
            id = operation.id(),
            method = operation.method,
            path = escaped(operation.path),
            summary = escaped(text(at(operation.described, "/summary"))),
        );
    }
    html.push_str("</ul></nav>\n");
    for tag in tags {
        let _ = writeln!(html, "<h2>{}</h2>", escaped(tag));
        for operation in operations.iter().filter(|operation| operation.tag() == tag) {
            operation.write(&mut html);
        }
    }
    html.push_str("</main>\n</html>\n");
    html
}

struct Operation<'a> {
    path: &'a str,
    method: String,
    described: &'a Value,
    document: &'a Value,
}

impl Operation<'_> {
    fn tag(&self) -> &str {
        text(at(self.described, "/tags/0"))
    }

    fn id(&self) -> String {
        escaped(text(at(self.described, "/operationId")))
    }

    /// What a key needs, as HTML.
    fn scope(&self) -> String {
        match text(at(self.described, "/security/0/key/0")) {
            "" => "any key".to_owned(),
            scope => format!("scope <code>{}</code>", escaped(scope)),
        }
    }

    fn write(&self, html: &mut String) {
        let _ = write!(
            html,
            "<section id=\"{}\">\n<h3>{}</h3>\n<p class=\"route\"><b>{}</b> <code>{}</code> <span>{}</span></p>\n",
            self.id(),
            escaped(text(at(self.described, "/summary"))),
            self.method,
            escaped(self.path),
            self.scope(),
        );
        let _ = writeln!(html, "<p>{}</p>", prose(text(at(self.described, "/description"))));
        let _ = writeln!(html, "<pre>{}</pre>", escaped(&self.curl()));
        self.write_parameters(html);
        self.write_body(html);
        self.write_responses(html);
        html.push_str("</section>\n");
    }

    /// A command that makes the request.
    fn curl(&self) -> String {
        let base = text(at(self.document, "/servers/0/url"));
        let mut path = self.path.to_owned();
        for parameter in self.parameters().filter(|parameter| at(parameter, "/in") == "path") {
            let example = match at(parameter, "/example") {
                Value::String(text) => text.replace('%', "%25").replace('/', "%2F").replace('#', "%23"),
                other => other.to_string(),
            };
            path = path.replace(&format!("{{{}}}", text(at(parameter, "/name"))), &example);
        }
        let mut command = format!("curl \"$URL{base}{path}\" -H \"Authorization: Bearer $KEY\"");
        let example = at(self.described, "/requestBody/content/application~1json/example");
        // curl sends a GET, and with a body a POST.
        if self.method != if example.is_null() { "GET" } else { "POST" } {
            let _ = write!(command, " -X {}", self.method);
        }
        if !example.is_null() {
            let _ = write!(command, " \\\n  --json '{example}'");
        }
        command
    }

    fn parameters(&self) -> impl Iterator<Item = &Value> {
        at(self.described, "/parameters").as_array().into_iter().flatten()
    }

    fn write_parameters(&self, html: &mut String) {
        let mut parameters = self.parameters().peekable();
        if parameters.peek().is_none() {
            return;
        }
        html.push_str("<h4>Parameters</h4>\n<table>\n");
        for parameter in parameters {
            let _ = writeln!(
                html,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escaped(text(at(parameter, "/name"))),
                escaped(text(at(parameter, "/in"))),
                prose(text(at(parameter, "/description"))),
            );
        }
        html.push_str("</table>\n");
    }

    fn write_body(&self, html: &mut String) {
        let schema = at(self.described, "/requestBody/content/application~1json/schema");
        if schema.is_null() {
            return;
        }
        html.push_str("<h4>Body</h4>\n");
        for variant in self.schemas().variants(schema) {
            let description = self.schemas().description(variant);
            if !description.is_empty() {
                let _ = writeln!(html, "<p>{}</p>", prose(description));
            }
            self.write_fields(variant, html);
        }
    }

    fn write_responses(&self, html: &mut String) {
        html.push_str("<h4>Responses</h4>\n<table>\n");
        for (status, response) in at(self.described, "/responses").as_object().into_iter().flatten() {
            let description = match text(at(response, "/description")) {
                "" => self.schemas().description(schema(response)),
                own => own,
            };
            let _ = writeln!(html, "<tr><td>{}</td><td>{}</td></tr>", escaped(status), prose(description));
        }
        html.push_str("</table>\n");
        let success = schema(at(self.described, "/responses/200"));
        if !self.schemas().fields(success).is_empty() {
            html.push_str("<h4>Fields of the response</h4>\n");
            self.write_fields(success, html);
        }
    }

    /// The fields of an object, as a table.
    fn write_fields(&self, schema: &Value, html: &mut String) {
        html.push_str("<table>\n");
        for field in self.schemas().fields(schema) {
            let _ = writeln!(
                html,
                "<tr><td><code>{}</code></td><td>{}{}</td><td>{}</td></tr>",
                escaped(&field.name),
                escaped(&field.kind),
                if field.is_optional { ", optional" } else { "" },
                prose(field.description),
            );
        }
        html.push_str("</table>\n");
    }

    const fn schemas(&self) -> Schemas<'_> {
        Schemas(self.document)
    }
}

/// The schema of a response's body.
fn schema(response: &Value) -> &Value {
    let content = at(response, "/content").as_object().and_then(|content| content.values().next());
    at(content.unwrap_or(response), "/schema")
}
