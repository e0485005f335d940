"""Results to JSON, and from JSON to the page and the terminal. Each report is a pure function of the document."""
