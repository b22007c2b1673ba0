/// Converts a page from `OpenMetrics` to the text format 0.0.4, where a counter's metadata also names it with `_total`, an
/// info is a gauge, and there are neither units nor an end marker.
pub(super) fn to_text_format(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + 1024);
    let (mut name, mut suffix) = ("", "");
    // A name's help precedes its type, which decides the suffix of both.
    let mut types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for line in page.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let Some((keyword, rest)) = comment.split_once(' ') else { continue };
        let (metric, text) = rest.split_once(' ').unwrap_or((rest, ""));
        if metric != name {
            name = metric;
            suffix = match types.find(|(known, _)| *known == metric) {
                Some((_, "counter")) => "_total",
                Some((_, "info")) => "_info",
                _ => "",
            };
        }
        let text = match (keyword, text) {
            ("HELP", help) => help,
            ("TYPE", "info") => "gauge",
            ("TYPE", kind) => kind,
            _ => continue,
        };
        out.extend(["# ", keyword, " ", name, suffix, " ", text, "\n"]);
    }
    out
}
