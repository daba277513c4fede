"""What there is inside Pyodide only, on Node or in a browser."""
