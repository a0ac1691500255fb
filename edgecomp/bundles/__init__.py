"""What is shipped: manifest, launchers, verification, comparison."""
