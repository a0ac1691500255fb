"""Reports as text, HTML and plots."""
