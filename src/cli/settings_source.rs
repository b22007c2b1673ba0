use std::path::{Path, PathBuf};

use crate::config::{self, AuthKeys, Config, Environment, Problems};

/// The files with settings.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SettingsSource {
    /// TOML file with settings; the environment overrides it
    #[arg(long, global = true, value_name = "FILE", env = "YAMABIKO_CONFIG")]
    config: Option<PathBuf>,

    /// .env file, read by Laravel's rules; variables of the process override it
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

impl SettingsSource {
    pub(super) fn load(&self, keys: AuthKeys) -> Result<Config, Problems> {
        // An empty YAMABIKO_CONFIG counts as unset, like every other variable.
        let file = self.config.as_deref().filter(|path| *path != Path::new(""));
        let mut environment = Environment::of_process();
        if let Some(path) = &self.env_file {
            environment = environment.with_file(path)?;
        }
        config::load(file, &environment, keys)
    }
}
