//! The Dockerfile copies every file that the code includes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn the_image_is_built_with_every_file_that_the_code_includes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let (dockerfile, ignored) = (read("Dockerfile"), read(".dockerignore"));
    let mut files = vec![root.join("src")];
    let mut outside = BTreeSet::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            for included in text.split("include_").skip(1).filter_map(|rest| rest.split('"').nth(1)) {
                let up = included.matches("../").count();
                let folder = path.ancestors().nth(1 + up).unwrap();
                let name = included.trim_start_matches("../");
                let folder_of_file = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                if up > 0 && folder == root {
                    outside.insert(folder_of_file.to_owned());
                }
            }
        }
    }
    assert!(
        outside.contains("config"),
        "config/default.toml is included, but only these were found: {outside:?}"
    );
    for folder in outside {
        // With a folder come those in it.
        let is_in = |text: &str, line: &dyn Fn(&str) -> String| {
            let mut folders = Path::new(&folder).ancestors().filter_map(Path::to_str);
            folders.any(|folder| text.contains(&line(folder)))
        };
        let copy = |folder: &str| format!("\nCOPY {folder} {folder}\n");
        assert!(is_in(&dockerfile, &copy), "Dockerfile does not copy {folder}");
        let admit = |folder: &str| format!("\n!{folder}\n");
        assert!(is_in(&ignored, &admit), ".dockerignore keeps {folder} out");
    }
}
