"""The napari plugin: reader, sample data and the widget."""
