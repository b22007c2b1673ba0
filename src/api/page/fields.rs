//! The fields of bodies, with those of the objects in them.

use serde_json::Value;

use super::markup::{at, text};

/// How deep objects are followed, should one contain itself.
const MAX_DEPTH: usize = 4;

/// The schemas of a document.
#[derive(Clone, Copy)]
pub(super) struct Schemas<'a>(pub(super) &'a Value);

/// One field of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// With the names of the objects that it is in: `messages[].channel`.
    pub(super) name: String,
    /// Its JSON type, such as `integer or string`, or `object[]` for a list of objects.
    pub(super) kind: String,
    pub(super) is_optional: bool,
    pub(super) description: &'a str,
}

impl<'a> Schemas<'a> {
    /// The alternatives of a body: itself, or the schemas of which it is one.
    pub(super) fn variants(self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolved(schema);
        let variants = at(schema, "/oneOf").as_array();
        variants
            .map_or_else(|| vec![schema], |variants| variants.iter().map(|one| self.resolved(one)).collect())
    }

    /// The fields of an object. Empty if it is none, or one of several.
    pub(super) fn fields(self, schema: &'a Value) -> Vec<Field<'a>> {
        let mut fields = Vec::new();
        self.add(schema, "", 0, &mut fields);
        fields
    }

    /// What a schema says about itself, or what it refers to says.
    pub(super) fn description(self, schema: &'a Value) -> &'a str {
        let schema = not_null(schema);
        let own = text(at(schema, "/description"));
        if own.is_empty() { text(at(self.resolved(schema), "/description")) } else { own }
    }

    fn add(self, schema: &'a Value, path: &str, depth: usize, fields: &mut Vec<Field<'a>>) {
        let schema = self.resolved(schema);
        for part in list(schema, "/allOf") {
            self.add(part, path, depth, fields);
        }
        for (name, field) in at(schema, "/properties").as_object().into_iter().flatten() {
            let is_optional = !list(schema, "/required").any(|required| required == name);
            let name = format!("{path}{name}");
            let (inner, suffix) = match at(field, "/items") {
                Value::Null => (not_null(field), "."),
                items => (items, "[]."),
            };
            let inner_path = format!("{name}{suffix}");
            let (kind, description) = (self.kind(field), self.description(field));
            fields.push(Field { name, kind, is_optional, description });
            if depth < MAX_DEPTH {
                self.add(inner, &inner_path, depth + 1, fields);
            }
        }
    }

    fn kind(self, schema: &'a Value) -> String {
        let schema = self.resolved(not_null(schema));
        let shown = |name: &str| match name {
            "array" => self.kind(at(schema, "/items")) + "[]",
            name => name.to_owned(),
        };
        match at(schema, "/type") {
            Value::String(name) => shown(name),
            Value::Array(names) => {
                let names = names.iter().map(text).filter(|name| *name != "null").map(shown);
                names.collect::<Vec<_>>().join(" or ")
            }
            _ if at(schema, "/allOf").is_array() => "object".to_owned(),
            _ => {
                let variants = list(schema, "/oneOf").map(|variant| self.kind(variant));
                let kind = variants.collect::<Vec<_>>().join(" or ");
                if kind.is_empty() { "any JSON".to_owned() } else { kind }
            }
        }
    }

    /// The schema that a reference names.
    fn resolved(self, schema: &'a Value) -> &'a Value {
        let name = at(schema, "/$ref").as_str().and_then(|path| path.rsplit('/').next());
        name.map_or(schema, |name| at(self.0, &format!("/components/schemas/{name}")))
    }
}

/// Without `null`, which stands for a field that is missing.
fn not_null(schema: &Value) -> &Value {
    let mut variants = list(schema, "/oneOf").filter(|variant| at(variant, "/type") != "null");
    match (variants.next(), variants.next()) {
        (Some(only), None) => only,
        _ => schema,
    }
}

fn list<'v>(schema: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    at(schema, pointer).as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_in_objects_lists_and_references_are_followed() {
        let document = json!({ "components": { "schemas": {
            "User": { "description": "The ID.", "oneOf": [{ "type": "integer" }, { "type": "string" }] },
            "Page": { "type": "object", "required": ["next"], "properties": { "next": { "type": "string" } } },
            "List": { "description": "A list.", "allOf": [{ "$ref": "#/components/schemas/Page" }, {
                "type": "object",
                "required": ["entries", "to"],
                "properties": {
                    "entries": { "type": "array", "items": { "$ref": "#/components/schemas/Page" } },
                    "names": { "type": "array", "items": { "type": "string" }, "description": "Texts." },
                    "of": { "oneOf": [{ "$ref": "#/components/schemas/User", "description": "Whose." }, { "type": "null" }] },
                    "to": { "$ref": "#/components/schemas/User" },
                    "until": { "type": ["integer", "null"] },
                    "users": { "type": ["array", "null"], "items": { "type": "integer" } },
                    "data": {},
                    "self": { "$ref": "#/components/schemas/Loop" },
                },
            }] },
            "Loop": { "type": "object", "properties": { "self": { "$ref": "#/components/schemas/Loop" } } },
        } } });
        let (schemas, list) = (Schemas(&document), json!({ "$ref": "#/components/schemas/List" }));
        assert_eq!(schemas.description(&list), "A list.");
        let fields = schemas.fields(&list);
        let told: Vec<_> = fields
            .iter()
            .map(|field| (&*field.name, &*field.kind, field.is_optional, field.description))
            .collect();
        assert_eq!(
            told[..9],
            [
                ("next", "string", false, ""),
                ("data", "any JSON", true, ""),
                ("entries", "object[]", false, ""),
                ("entries[].next", "string", false, ""),
                ("names", "string[]", true, "Texts."),
                ("of", "integer or string", true, "Whose."),
                ("self", "object", true, ""),
                ("self.self", "object", true, ""),
                ("self.self.self", "object", true, ""),
            ]
        );
        assert_eq!(
            told[told.len() - 3..],
            [
                ("to", "integer or string", false, "The ID."),
                ("until", "integer", true, ""),
                ("users", "integer[]", true, ""),
            ]
        );
        let user = json!({ "$ref": "#/components/schemas/User" });
        assert_eq!((schemas.variants(&list).len(), schemas.variants(&user).len()), (1, 2));
    }
}
