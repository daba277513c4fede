"""What Python needs in a browser: the page's JavaScript, its lifecycle, the worker's side of a tab."""
