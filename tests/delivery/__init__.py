"""What is delivered: image, chart, tools."""
