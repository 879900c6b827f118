"""HTML pages, figures and curves that several reports share."""
