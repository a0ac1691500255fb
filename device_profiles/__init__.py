"""One TOML file a device."""
