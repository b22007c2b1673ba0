//! Builds a Redis URL from `REDIS_HOST` and related variables, as Laravel's `config/database.php` reads them.

use form_urlencoded::byte_serialize;

use super::{Environment, Problem};

/// The URL and the variables used; `None` without `REDIS_HOST`.
pub(super) fn compose(
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<(String, Vec<&'static str>)> {
    let mut used = Vec::new();
    let mut read = |name: &'static str| {
        let text = environment.laravel_text(name, problems)?;
        used.push(name);
        Some(text)
    };
    let host = read("REDIS_HOST")?;
    let username = read("REDIS_USERNAME");
    let password = read("REDIS_PASSWORD");
    let port = read("REDIS_PORT");
    let database = read("REDIS_DB");
    let scheme = read("REDIS_SCHEME");

    let number = |name, text: Option<String>, default: u16, problems: &mut Vec<Problem>| match text {
        None => default,
        Some(text) => text.trim().parse().unwrap_or_else(|_| {
            problems.push(Problem::new(
                name,
                None,
                format!("{text:?} is not a whole number from 0 to 65535"),
            ));
            default
        }),
    };
    let database = number("REDIS_DB", database, 0, problems);
    // A socket has no port; the variable is often set to -1 or 0.
    if let Some(path) = host.strip_prefix("unix://").or(host.starts_with('/').then_some(&*host)) {
        let parameters = [("db", Some(database.to_string())), ("user", username), ("pass", password)];
        let given =
            parameters.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(&value?))));
        return Some((format!("redis+unix://{path}?{}", given.collect::<Vec<_>>().join("&")), used));
    }
    let port = number("REDIS_PORT", port, 6379, problems);
    let login = match (username, password) {
        (None, None) => String::new(),
        (username, None) => format!("{}@", encode(&username.unwrap_or_default())),
        (username, Some(password)) => {
            format!("{}:{}@", encode(&username.unwrap_or_default()), encode(&password))
        }
    };
    // Laravel and phpredis select TLS by the host's scheme or by REDIS_SCHEME.
    let (host, tls) = match host.split_once("://") {
        Some((scheme, host)) => (host.to_owned(), is_tls(scheme)),
        None => (host, scheme.as_deref().is_some_and(is_tls)),
    };
    let scheme = if tls { "rediss" } else { "redis" };
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let database = if database == 0 { String::new() } else { format!("/{database}") };
    Some((format!("{scheme}://{login}{host}:{port}{database}"), used))
}

/// Translates the schemes of phpredis: `tls://` and `ssl://` for TLS, `tcp://` without.
pub(super) fn from_laravel(url: String) -> String {
    match url.split_once("://") {
        Some(("tls" | "ssl", rest)) => format!("rediss://{rest}"),
        Some(("tcp", rest)) => format!("redis://{rest}"),
        _ => url,
    }
}

fn is_tls(scheme: &str) -> bool {
    matches!(scheme, "tls" | "ssl" | "rediss")
}

fn encode(text: &str) -> String {
    // Form encoding writes a space as +, which is not a space in the user part of a URL.
    byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    fn composed(variables: &[(&str, &str)]) -> Option<String> {
        let mut problems = Vec::new();
        let url = compose(&variables.iter().copied().collect(), &mut problems);
        assert_eq!(problems, []);
        url.map(|(url, _)| url)
    }

    #[test]
    fn laravels_variables_make_a_url() {
        assert_eq!(composed(&[]), None);
        assert_eq!(composed(&[("REDIS_PASSWORD", "null"), ("REDIS_PORT", "6379")]), None);
        assert_eq!(
            composed(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PASSWORD", "null"), ("REDIS_PORT", "6379")])
                .unwrap(),
            "redis://127.0.0.1:6379"
        );
        assert_eq!(composed(&[("REDIS_HOST", "redis"), ("REDIS_DB", "2")]).unwrap(), "redis://redis:6379/2");
        assert_eq!(composed(&[("REDIS_HOST", "::1")]).unwrap(), "redis://[::1]:6379");
        assert_eq!(composed(&[("REDIS_HOST", "tls://r.example")]).unwrap(), "rediss://r.example:6379");
        assert_eq!(
            composed(&[("REDIS_HOST", "r.example"), ("REDIS_SCHEME", "tls"), ("REDIS_USERNAME", "app")])
                .unwrap(),
            "rediss://app@r.example:6379"
        );
    }

    #[test]
    fn a_path_makes_a_socket_url() {
        for (host, port) in
            [("/run/redis.sock", "-1"), ("unix:///run/redis.sock", "0"), ("/run/redis.sock", "null")]
        {
            let variables = [
                ("REDIS_HOST", host),
                ("REDIS_PASSWORD", "p&ss w"),
                ("REDIS_PORT", port),
                ("REDIS_PERSISTENT", "true"),
                ("REDIS_CLIENT", "phpredis"),
            ];
            let url = composed(&variables).unwrap();
            let info = url.into_connection_info().unwrap();
            assert_eq!(info.addr(), &redis::ConnectionAddr::Unix("/run/redis.sock".into()));
            assert_eq!(info.redis_settings().password(), Some("p&ss w"));
        }
    }

    #[test]
    fn any_password_is_encoded() {
        let password = "p@ss:w/o?r#d %+\"日本";
        let url = composed(&[("REDIS_HOST", "r"), ("REDIS_USERNAME", "us:er"), ("REDIS_PASSWORD", password)]);
        let info = url.unwrap().into_connection_info().unwrap();
        assert_eq!(info.redis_settings().password(), Some(password));
        assert_eq!(info.redis_settings().username(), Some("us:er"));
    }

    #[test]
    fn an_invalid_port_is_a_problem() {
        let mut problems = Vec::new();
        let environment =
            Environment::from_iter([("REDIS_HOST", "r"), ("REDIS_PORT", "tcp://10.0.0.1:6379")]);
        compose(&environment, &mut problems);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].key, "REDIS_PORT");
    }
}
