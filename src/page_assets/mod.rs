//! The files of the pages that the server contains, and those that all of them share.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A name, and its content.
pub(crate) type PageFile = (&'static str, &'static str);

/// The files of a page.
#[derive(Debug)]
pub(crate) struct PageAssets {
    pub(crate) files: &'static [&'static [PageFile]],
    /// What it shows, whatever its name says.
    pub(crate) texts: &'static [&'static [PageFile]],
    /// The `Content-Security-Policy` of the page.
    pub(crate) policy: &'static str,
}

/// Lists the files of a folder beside the source file that calls it.
macro_rules! page_files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!($folder, "/", $name)))),*]
    };
}

pub(crate) use page_files;

const SHARED: &[PageFile] = page_files!(".": "before-paint.js", "colors.css", "icon.svg");

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

impl PageAssets {
    pub(crate) fn page(&self, html: &'static str) -> Response {
        self.response(HTML, html)
    }

    /// A file of the page, or one that all pages have.
    pub(crate) fn file(&self, name: &str) -> Response {
        let files = self.files.iter().copied().flatten().chain(SHARED);
        let files = files.map(|(name, content)| (name, content, content_type(name)));
        let texts = self.texts.iter().copied().flatten().map(|(name, content)| (name, content, TEXT));
        match files.chain(texts).find(|(known, ..)| **known == name) {
            Some((_, content, content_type)) => self.response(content_type, content),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn response(&self, content_type: &'static str, content: &'static str) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(self.policy)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            // Another build of the server may have another page.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, content).into_response()
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => TEXT,
    }
}
